//! The two that are compared.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use viaduct_switch::conntrack::{Conntrack, Direction, Invalid as Reason, Limits, Verdict};
use viaduct_switch::packet::{Contents, parse};
use viaduct_switch::{Nanos, NetworkIndex, PortIndex};
use viaduct_tests::namespace::{Namespace, cable};

use crate::step::Fate::{self, Established, Invalid, New};
use crate::step::Step;

pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Sends frames into one cable and reports what comes out of the other: a program in the stations' namespace.
const STATIONS: &str = r#"
import socket, sys
socks = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800)) for _ in range(2)]
for sock, name in zip(socks, ("west", "east")):
    sock.bind((name, 0x800)); sock.settimeout(20)
number = 0
print("ready", flush=True)
for line in sys.stdin:
    side, frame = line.split(); side = int(side); frame = bytes.fromhex(frame)
    number += 1
    ends = [bytes([10, 1, 0, 2]), bytes([10, 2, 0, 2])]
    if side: ends.reverse()
    udp = bytes([0, 7, 0, 7, 0, 12, 0, 0]) + number.to_bytes(4, "big")
    ip = bytearray(bytes([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0]) + ends[0] + ends[1])
    total = sum(int.from_bytes(ip[at:at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xffff) + (total >> 16); total = (total & 0xffff) + (total >> 16)
    ip[10:12] = (0xffff - total).to_bytes(2, "big")
    socks[side].send(frame); socks[side].send(frame[:14] + ip + udp)
    fate = "none"
    while True:
        got = socks[1 - side].recv(4096)
        if got[23] == 17 and got[42:46] == number.to_bytes(4, "big"): break
        if got[23] == 6 and got[26:34] == frame[26:34]: fate = str(got[15] >> 2)
    print(fate, flush=True)
"#;

/// The kernel's connection tracking in a namespace, and the stations at both of its cables.
pub(crate) struct Kernel {
    stations: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _namespaces: [Namespace; 2],
}

impl Kernel {
    pub(crate) fn new() -> Self {
        let [router, stations] = ["router", "stations"].map(Namespace::new);
        for (number, end) in [(1, "west"), (2, "east")] {
            cable((&router, end), (&stations, end));
            router.ip(&format!("addr add 10.{number}.0.1/24 dev {end}"));
            router.ip(&format!("link set {end} address 02:00:00:00:00:01"));
            router.ip(&format!("neigh replace 10.{number}.0.2 lladdr 02:00:00:00:00:09 dev {end}"));
            stations.ip(&format!("link set {end} promisc on"));
        }
        router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
        router.run(
            "nft 'table ip t { chain f { type filter hook forward priority 0; policy accept; \
             ct state new ip dscp set 1; ct state established ip dscp set 2; ct state invalid drop; }; }'",
        );
        // A segment in the midst opens nothing there, either.
        router.run("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0");
        let mut child = stations
            .command("/usr/bin/python3")
            .args(["-c", STATIONS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 starts");
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut kernel = Self { stations: child, to, from, _namespaces: [router, stations] };
        assert_eq!(kernel.line(), "ready");
        kernel
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the stations answer");
        line.trim().to_owned()
    }

    pub(crate) fn pass(&mut self, step: &Step, flow: u16) -> Fate {
        let hex: String = step.frame(flow).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.to, "{} {hex}", u8::from(step.is_back)).unwrap();
        match self.line().as_str() {
            "1" => New,
            "2" => Established,
            "none" => Invalid,
            other => panic!("the stations said {other:?} about {step:?}"),
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.stations.kill();
        let _ = self.stations.wait();
    }
}

/// The switch's table, as the security groups use it: what may open a connection may.
pub(crate) struct Switch(Conntrack);

impl Switch {
    pub(crate) fn new() -> Self {
        Self(Conntrack::new(Limits { connections: 65_536, ..Limits::default() }, 1))
    }

    pub(crate) fn pass(&self, step: &Step, flow: u16) -> Fate {
        self.explain(step, flow).0
    }

    /// What became of a segment, and why if it is invalid.
    pub(crate) fn explain(&self, step: &Step, flow: u16) -> (Fate, Option<Reason>) {
        let frame = step.frame(flow);
        let Ok(Contents::Ip(packet)) = parse(&frame[..frame.len().min(128)], frame.len() as u32) else {
            panic!()
        };
        let (zone, port) = (NetworkIndex::new(1).unwrap(), PortIndex::new(1).unwrap());
        match self.0.look_up(zone, &packet, Nanos(0)) {
            Verdict::New => {
                self.0.open(zone, &packet, port, 1, Nanos(0)).unwrap();
                (New, None)
            }
            Verdict::Established(found) => {
                self.0.track(found, &packet, Nanos(0)).unwrap();
                // The kernel calls a connection new until its other side answered.
                let connection = self.0.connection(found.id, Nanos(0)).unwrap();
                let is_unanswered = connection.state == viaduct_switch::conntrack::State::SynSent;
                let is_new = is_unanswered && found.direction == Direction::Original;
                (if is_new { New } else { Established }, None)
            }
            Verdict::Invalid(reason) => (Invalid, Some(reason)),
            other => panic!("{other:?}"),
        }
    }
}
