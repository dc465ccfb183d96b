//! The same TCP segments through the kernel's connection tracking and through the switch's: what each of them makes of
//! every one. Where they differ, it says so here, with the reason; `docs/connection-tracking.md` explains them.
//!
//! The kernel forwards between two cables, with a rule that writes what it made of a segment into its DSCP field and drops
//! what is invalid. Behind each segment goes a datagram that always passes: when that is there, the segment was either, too,
//! or never comes. So nothing here waits for a time to pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use etherparse::PacketBuilder;
use viaduct_switch::conntrack::{Conntrack, Direction, Invalid as Reason, Limits, Verdict};
use viaduct_switch::packet::{Contents, parse};
use viaduct_switch::{Nanos, NetworkIndex, PortIndex};
use viaduct_tests::namespace::{Namespace, cable};

const SYN: u8 = 2;
const ACK: u8 = 16;
const FIN: u8 = 1;
const RST: u8 = 4;

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    New,
    Established,
    Invalid,
}
use Fate::{Established, Invalid, New};

/// A segment of a sequence.
#[derive(Clone, Copy, Debug)]
struct Step {
    is_back: bool,
    flags: u8,
    sequence: u32,
    ack: u32,
    length: usize,
    window: u16,
    scale: Option<u8>,
    /// What both make of it, or the switch and the kernel, and why they differ.
    fate: Fate,
    kernel: Option<(Fate, &'static str)>,
}

/// A segment from the side that opens.
fn there(flags: u8, sequence: u32, ack: u32, length: usize, fate: Fate) -> Step {
    Step { is_back: false, flags, sequence, ack, length, window: 1000, scale: None, fate, kernel: None }
}

/// A segment from the other side.
fn back(flags: u8, sequence: u32, ack: u32, length: usize, fate: Fate) -> Step {
    Step { is_back: true, ..there(flags, sequence, ack, length, fate) }
}

impl Step {
    fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    fn scaled(self, scale: u8) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// The kernel does something else.
    fn but_kernel(self, fate: Fate, reason: &'static str) -> Self {
        Self { kernel: Some((fate, reason)), ..self }
    }

    fn frame(&self, flow: u16) -> Vec<u8> {
        let ends = [([10, 1, 0, 2], flow), ([10, 2, 0, 2], 80)];
        let (from, to) = if self.is_back { (ends[1], ends[0]) } else { (ends[0], ends[1]) };
        let mut tcp = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], ROUTER).ipv4(from.0, to.0, 64).tcp(
            from.1,
            to.1,
            self.sequence,
            self.window,
        );
        for (flag, set) in [(FIN, 0), (SYN, 1), (RST, 2)] {
            if self.flags & flag != 0 {
                tcp = match set {
                    0 => tcp.fin(),
                    1 => tcp.syn(),
                    _ => tcp.rst(),
                };
            }
        }
        if self.flags & ACK != 0 {
            tcp = tcp.ack(self.ack);
        }
        if let Some(scale) = self.scale {
            tcp = tcp.options(&[etherparse::TcpOptionElement::WindowScale(scale)]).unwrap();
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, &vec![7; self.length]).unwrap();
        frame
    }
}

const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];

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
struct Kernel {
    stations: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _namespaces: [Namespace; 2],
}

impl Kernel {
    fn new() -> Self {
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

    fn pass(&mut self, step: &Step, flow: u16) -> Fate {
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
struct Switch(Conntrack);

impl Switch {
    fn new() -> Self {
        Self(Conntrack::new(Limits { connections: 65_536, ..Limits::default() }, 1))
    }

    fn pass(&self, step: &Step, flow: u16) -> Fate {
        self.explain(step, flow).0
    }

    /// What became of a segment, and why if it is invalid.
    fn explain(&self, step: &Step, flow: u16) -> (Fate, Option<Reason>) {
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

/// Why the two differ.
const GUESSED: &str =
    "the kernel believes a reset of a SYN whatever it acknowledges, and is done with the connection";
const OLD: &str = "the kernel lets through what is too old to matter, and takes no note of it";
const REUSED: &str =
    "the kernel goes on with the entry of a connection that was reset; the switch asks the rules anew";
const ANSWERED: &str =
    "for the kernel anything that comes back is an answer; for the switch only what belongs to the SYN";

/// A connection that is open, from 1000 and 5000.
fn opened(rest: &[Step]) -> Vec<Step> {
    let opening = [
        there(SYN, 1000, 0, 0, New),
        back(SYN | ACK, 5000, 1001, 0, Established),
        there(ACK, 1001, 5001, 0, Established),
    ];
    [&opening, rest].concat()
}

/// Sequences, each on a flow of its own.
fn sequences() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        (
            "opened, used and ended",
            opened(&[
                there(ACK, 1001, 5001, 100, Established),
                back(ACK, 5001, 1101, 500, Established),
                there(FIN | ACK, 1101, 5501, 0, Established),
                back(ACK, 5501, 1102, 0, Established),
                back(FIN | ACK, 5501, 1102, 0, Established),
                there(ACK, 1102, 5502, 0, Established),
                there(ACK, 1102, 5502, 0, Established),
                there(SYN, 90_000, 0, 0, New),
            ]),
        ),
        (
            "in the midst",
            vec![
                there(ACK, 1, 1, 10, Invalid),
                back(SYN | ACK, 1, 1, 0, Invalid),
                there(RST, 1, 0, 0, Invalid),
            ],
        ),
        (
            "flags that contradict",
            vec![
                there(SYN | FIN, 1, 0, 0, Invalid),
                there(SYN | RST, 1, 0, 0, Invalid),
                there(0, 1, 0, 0, Invalid),
                there(FIN, 1, 0, 0, Invalid),
            ],
        ),
        (
            "a SYN again",
            vec![
                there(SYN, 1000, 0, 0, New),
                there(SYN, 1000, 0, 0, New),
                back(SYN | ACK, 5000, 1001, 0, Established),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(ACK, 1001, 5001, 0, Established),
            ],
        ),
        (
            "a SYN again with another number",
            vec![
                there(SYN, 1000, 0, 0, New),
                there(SYN, 700_000, 0, 0, New),
                back(SYN | ACK, 5000, 700_001, 0, Established),
                there(ACK, 700_001, 5001, 0, Established),
            ],
        ),
        (
            "both open at the same time",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(SYN, 5000, 0, 0, Established),
                there(SYN | ACK, 1000, 5001, 0, Established),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(ACK, 1001, 5001, 50, Established),
                back(ACK, 5001, 1051, 50, Established),
            ],
        ),
        (
            "refused",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(RST | ACK, 0, 1001, 0, Established),
                there(SYN, 2000, 0, 0, New),
            ],
        ),
        (
            "refused by somebody who guesses",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(RST | ACK, 0, 77, 0, Invalid).but_kernel(Established, GUESSED),
                back(SYN | ACK, 5000, 1001, 0, Established).but_kernel(Invalid, GUESSED),
            ],
        ),
        (
            "data again and out of order",
            opened(&[
                there(ACK, 1501, 5001, 400, Established),
                there(ACK, 1001, 5001, 500, Established),
                there(ACK, 1501, 5001, 400, Established),
                back(ACK, 5001, 1901, 0, Established),
                back(ACK, 5001, 1501, 0, Established),
            ]),
        ),
        (
            "outside of the window",
            opened(&[
                there(ACK, 2001, 5001, 0, Established),
                there(ACK, 500_000, 5001, 10, Invalid),
                there(ACK, 1001u32.wrapping_sub(5000), 5001, 10, Invalid).but_kernel(Established, OLD),
                back(ACK, 500_000, 1001, 10, Invalid),
                there(ACK, 1001, 5001, 10, Established),
            ]),
        ),
        (
            "acknowledging what was not sent",
            opened(&[
                there(ACK, 1001, 500_000, 0, Invalid),
                back(ACK, 5001, 500_000, 0, Invalid),
                there(ACK, 1001, 5001u32.wrapping_sub(70_000), 0, Invalid).but_kernel(Established, OLD),
                there(ACK, 1001, 5001, 0, Established),
            ]),
        ),
        (
            "scaled windows",
            vec![
                there(SYN, 1000, 0, 0, New).scaled(7),
                back(SYN | ACK, 5000, 1001, 0, Established).scaled(2),
                there(ACK, 1001, 5001, 0, Established),
                back(ACK, 5001 + 127_000, 1001, 100, Established),
                back(ACK, 5001 + 400_000, 1001, 100, Invalid),
                back(ACK, 5001, 1001, 0, Established),
                there(ACK, 1001 + 3900, 5001, 50, Established),
            ],
        ),
        (
            "windows of which one side does not scale",
            vec![
                there(SYN, 1000, 0, 0, New).scaled(7),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(ACK, 1001, 5001, 0, Established),
                back(ACK, 5001 + 100_000, 1001, 100, Invalid),
            ],
        ),
        (
            "a closed window is probed",
            opened(&[
                there(ACK, 1001, 5001, 1000, Established),
                back(ACK, 5001, 2001, 0, Established).window(0),
                there(ACK, 2001, 5001, 1, Established),
            ]),
        ),
        (
            "numbers that wrap",
            vec![
                there(SYN, u32::MAX - 1, 0, 0, New),
                back(SYN | ACK, u32::MAX, u32::MAX, 0, Established),
                there(ACK, u32::MAX, 0, 100, Established),
                back(ACK, 0, 99, 100, Established),
                there(ACK, 99, 100, 0, Established),
            ],
        ),
        (
            "a reset with the next number",
            opened(&[
                back(RST, 5001, 0, 0, Established),
                there(SYN, 9000, 0, 0, New).but_kernel(Established, REUSED),
            ]),
        ),
        (
            "a reset in the window",
            opened(&[
                back(RST, 5100, 0, 0, Established),
                there(ACK, 1001, 5001, 10, Established),
                back(ACK, 5001, 1011, 10, Established),
            ]),
        ),
        (
            "a reset outside of the window",
            opened(&[
                back(RST, 500_000, 0, 0, Invalid),
                back(RST, 4000, 0, 0, Invalid),
                there(ACK, 1001, 5001, 10, Established),
            ]),
        ),
        (
            "a reset behind data",
            opened(&[
                back(ACK, 5001, 1001, 300, Established),
                back(RST | ACK, 5301, 1001, 0, Established),
                there(SYN, 9000, 0, 0, New).but_kernel(Established, REUSED),
            ]),
        ),
        (
            "a SYN to an open connection",
            opened(&[
                there(SYN, 700_000, 0, 0, Established),
                back(ACK, 5001, 1001, 0, Established),
                there(ACK, 1001, 5001, 10, Established),
            ]),
        ),
        (
            "a SYN from the other side of an open connection",
            opened(&[back(SYN, 700_000, 0, 0, Invalid), there(ACK, 1001, 5001, 10, Established)]),
        ),
        (
            "both end at the same time",
            opened(&[
                there(FIN | ACK, 1001, 5001, 0, Established),
                back(FIN | ACK, 5001, 1001, 0, Established),
                there(ACK, 1002, 5002, 0, Established),
                back(ACK, 5002, 1002, 0, Established),
                there(SYN, 90_000, 0, 0, New),
            ]),
        ),
        (
            "what one side forgot",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(ACK, 300_000, 400_000, 0, Established),
                there(RST, 400_000, 0, 0, New).but_kernel(Established, ANSWERED),
                there(SYN, 1000, 0, 0, New),
                back(SYN | ACK, 5000, 1001, 0, Established),
            ],
        ),
        (
            "an opening that the opener completes himself",
            vec![there(SYN, 1000, 0, 0, New), there(ACK, 1001, 5001, 0, Invalid)],
        ),
        (
            "an answer to another number",
            vec![there(SYN, 1000, 0, 0, New), back(SYN | ACK, 5000, 500_000, 0, Invalid)],
        ),
    ]
}

#[test]
fn the_kernel_and_the_switch_agree_but_for_what_is_listed() {
    let (mut kernel, switch) = (Kernel::new(), Switch::new());
    let mut wrong = Vec::new();
    for (flow, (name, steps)) in (20_000u16..).zip(sequences()) {
        for (number, step) in steps.iter().enumerate() {
            let expected = (step.fate, step.kernel.map_or(step.fate, |(fate, _)| fate));
            let found = (switch.pass(step, flow), kernel.pass(step, flow));
            if found != expected {
                wrong.push(format!(
                    "{name}, step {number}: switch and kernel said {found:?}, not {expected:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two stations that talk, one of which now and then is not what it seems.
struct Talk {
    random: u64,
    next: [u32; 2],
    acked: [u32; 2],
}

impl Talk {
    fn below(&mut self, limit: u32) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as u32 % limit
    }

    fn segment(&mut self) -> Step {
        let side = self.below(2) as usize;
        let (own, other) = (self.next[side], self.next[1 - side]);
        let length = self.below(300);
        let (mut flags, mut sequence, mut ack) = (ACK, own, other);
        let mut counts = length;
        match self.below(16) {
            0 => flags = RST,
            1 => (flags, sequence) = (RST | ACK, own.wrapping_add(self.below(4000))),
            2 => (flags, counts) = (FIN | ACK, length + 1),
            3 => sequence = own.wrapping_add(self.below(5000)),
            4 => sequence = own.wrapping_sub(self.below(5000)),
            5 => ack = other.wrapping_add(self.below(1000)),
            6 => ack = other.wrapping_sub(self.below(100_000)),
            7 => (flags, sequence) = (SYN, self.below(u32::MAX)),
            8 => (flags, sequence) = (SYN | ACK, self.below(u32::MAX)),
            _ => {}
        }
        if flags != ACK && flags != (FIN | ACK) {
            return Step { is_back: side == 1, ..there(flags, sequence, ack, 0, Established) };
        }
        if sequence == own && ack == other && own.wrapping_sub(self.acked[side]) + counts < 1000 {
            self.next[side] = own.wrapping_add(counts);
            self.acked[1 - side] = other;
        }
        Step { is_back: side == 1, ..there(flags, sequence, ack, length as usize, Established) }
    }
}

/// Random talks: the switch lets nothing through as a part of a connection that the kernel calls invalid, and is stricter for the
/// listed reasons alone. A talk ends where the two differ, for then they know different things.
#[test]
fn the_switch_is_never_laxer_than_the_kernel_and_stricter_for_known_reasons_only() {
    let (mut kernel, switch) = (Kernel::new(), Switch::new());
    let (mut segments, mut stricter, mut wrong) = (0, 0, Vec::new());
    for flow in 1000..1400u16 {
        let (one, other) = (u32::from(flow) << 20, u32::from(flow) << 16 | 7);
        let mut steps = vec![
            there(SYN, one, 0, 0, New),
            back(SYN | ACK, other, one.wrapping_add(1), 0, Established),
            there(ACK, one.wrapping_add(1), other.wrapping_add(1), 0, Established),
        ];
        let start = [one.wrapping_add(1), other.wrapping_add(1)];
        let mut talk = Talk { random: flow.into(), next: start, acked: start };
        steps.extend((0..20).map(|_| talk.segment()));
        for (number, step) in steps.iter().enumerate() {
            segments += 1;
            let ((own, reason), theirs) = (switch.explain(step, flow), kernel.pass(step, flow));
            if own == theirs {
                continue;
            }
            let is_known = match (own, theirs, reason) {
                // OLD.
                (Invalid, Established, Some(Reason::SequenceBehind | Reason::AckBehind)) => true,
                // AHEAD.
                (Invalid, Established, Some(Reason::SequenceAhead | Reason::ResetOutside)) => true,
                // STRAY.
                (Invalid, Established, Some(Reason::StraySyn)) => step.is_back && step.flags == SYN | ACK,
                // BARE: to an opening, only an acknowledgement without data is let through.
                (Invalid, Established, Some(Reason::NotSyn)) => step.is_back && step.length > 0,
                // RESET: the kernel counts the number of a reset as sent, though it did not believe it.
                (Invalid, Established, Some(Reason::AckAhead)) => {
                    steps[..number].iter().any(|step| step.flags & RST != 0)
                }
                // ENDING: one has sent a FIN.
                (Established, New, None) => {
                    let has_fin = |is_back| {
                        steps[..number].iter().any(|step| step.is_back == is_back && step.flags & FIN != 0)
                    };
                    !step.is_back && step.flags == SYN && (has_fin(true) || has_fin(false))
                }
                // ANEW: a connection that is over may be followed by one from the other side, if the rules allow it.
                (New, Invalid, None) => step.is_back && step.flags == SYN,
                // REUSED.
                (New, Established, None) => step.flags == SYN,
                _ => false,
            };
            stricter += 1;
            if !is_known {
                wrong.push(format!(
                    "talk {flow}, step {number}: {own:?} ({reason:?}), kernel {theirs:?}: {step:?}\n{:?}",
                    &steps[..number]
                ));
            }
            break;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {segments}, {stricter} stricter:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(6)].join("\n")
    );
    assert!(segments > 2000, "{segments}");
}
