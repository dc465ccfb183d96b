//! Multicast groups and storms through real rings. The messages are made by scapy, which knows IGMP and MLD from
//! elsewhere than we do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::process::Command;
use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::stream::{Flow, frame, mac};

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(60);

const PORTS: [&str; 4] = ["router", "a", "b", "c"];

/// What scapy is asked for, by name: hosts have the addresses of their ports' numbers.
const FRAMES: &str = r#"
from scapy.all import *
from scapy.contrib.igmp import IGMP
from scapy.contrib.igmpv3 import IGMPv3, IGMPv3mr, IGMPv3gr
alert = [IPOption_Router_Alert()]
def mac(n): return "02:00:00:00:00:%02x" % n
def ether4(n, group): return Ether(src=mac(n), dst="01:00:5e:%02x:%02x:%02x" % tuple([b & (0x7f if i == 1 else 0xff) for i, b in enumerate(bytes(map(int, group.split("."))))][1:]))
def igmp(n, to, message): return ether4(n, to) / IP(src="10.0.0.%d" % n, dst=to, ttl=1, options=alert) / message
def mld(n, to, message):
    return Ether(src=mac(n), dst="33:33:%02x:%02x:%02x:%02x" % tuple(inet_pton(socket.AF_INET6, to)[12:])) / IPv6(src="fe80::%x" % n, dst=to, hlim=1) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / message
group4, group6 = "239.1.2.3", "ff05::1:3"
frames = {
    "query 4": igmp(1, "224.0.0.1", IGMP(type=0x11, mrcode=10, gaddr="0.0.0.0")),
    "query 6": mld(1, "ff02::1", ICMPv6MLQuery(mrd=1000, mladdr="::")),
    "rogue 4": igmp(4, "224.0.0.1", IGMP(type=0x11, mrcode=10, gaddr="0.0.0.0")),
    "a joins 4": igmp(2, "224.0.0.22", IGMPv3(type=0x22) / IGMPv3mr(records=[IGMPv3gr(rtype=4, maddr=group4)])),
    "b joins 4": igmp(3, group4, IGMP(type=0x16, gaddr=group4)),
    "a leaves 4": igmp(2, "224.0.0.2", IGMP(type=0x17, gaddr=group4)),
    "a joins 6": mld(2, "ff02::16", ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4, dst="ff02::1:ff00:%x" % n) for n in range(20)] + [ICMPv6MLDMultAddrRec(rtype=4, dst=group6)])),
    "b joins 6": mld(3, group6, ICMPv6MLReport(mladdr=group6)),
    "a leaves 6": mld(2, "ff02::2", ICMPv6MLDone(mladdr=group6)),
    "data 4": ether4(4, group4) / IP(src="10.0.0.4", dst=group4) / UDP(dport=5000) / b"four",
    "data 6": Ether(src=mac(4), dst="33:33:00:01:00:03") / IPv6(src="fe80::4", dst=group6) / UDP(dport=5000) / b"six",
    "mdns": ether4(4, "224.0.0.251") / IP(src="10.0.0.4", dst="224.0.0.251", ttl=255) / UDP(dport=5353) / b"mdns",
}
for name, packet in frames.items(): print(name + "=" + bytes(packet).hex())
"#;

struct Scapy(Vec<(String, Vec<u8>)>);

impl Scapy {
    fn new() -> Self {
        let output = Command::new("/usr/bin/python3")
            .args(["-c", FRAMES])
            .output()
            .expect("/usr/bin/python3 is missing");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "scapy made no frames (scripts/setup installs it): {errors}");
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let text = String::from_utf8(output.stdout).unwrap();
        let named = text.lines().filter_map(|line| line.split_once('='));
        Self(named.map(|(name, hex)| (name.to_owned(), bytes(hex))).collect())
    }

    fn frame(&self, name: &str) -> &[u8] {
        &self.0.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no frame {name}")).1
    }
}

struct Stage {
    daemon: Daemon,
    scapy: Scapy,
    cards: [Nic; 4],
}

impl Stage {
    fn new(lines: &str) -> Self {
        let mut config = format!("[network.lab]\n{lines}\n");
        for port in PORTS {
            config += &format!("[port.{port}]\nnetwork = \"lab\"\nmulticast_router = {}\n", port == "router");
        }
        let daemon = Daemon::start(&config);
        let cards = PORTS.map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
        Self { daemon, scapy: Scapy::new(), cards }
    }

    /// Sends a frame of scapy's; the ports where it arrived, unchanged.
    fn send(&mut self, from: usize, name: &str) -> Vec<usize> {
        let frame = self.scapy.frame(name).to_vec();
        self.cards[from].send(&frame);
        self.cards[from].drain();
        let mut reached = Vec::new();
        for (port, card) in self.cards.iter_mut().enumerate() {
            let arrived = card.collect(QUIET).iter().filter(|received| received.bytes == frame).count();
            assert!(arrived <= 1, "{name} arrived {arrived} times");
            if arrived == 1 {
                reached.push(port);
            }
        }
        reached
    }

    /// Sends data until it reaches whom it should, and nobody else any more.
    fn data_comes_to_reach(&mut self, name: &str, expected: &[usize]) {
        let what = format!("{name} to reach {expected:?} only");
        wait_until(&what, Duration::from_secs(20), || self.send(3, name) == expected);
    }

    /// The router asks, and hosts had time to answer.
    fn ask(&mut self, family: &str, joins: &[(usize, &str)]) {
        assert_eq!(self.send(0, &format!("query {family}")), [1, 2, 3], "a query is for all");
        for &(port, name) in joins {
            assert_eq!(self.send(port, name), [0], "a report is for routers");
        }
    }
}

#[test]
fn groups_reach_their_members_and_routers_until_they_leave() {
    let mut stage = Stage::new("");
    assert_eq!(stage.send(3, "data 4"), [0, 1, 2], "nobody asked yet: all get it");
    for family in ["4", "6"] {
        let data = format!("data {family}");
        stage.ask(family, &[(1, &format!("a joins {family}")), (2, &format!("b joins {family}"))]);
        assert_eq!(stage.send(3, &data), [0, 1, 2]);
        assert_eq!(stage.send(1, &format!("a leaves {family}")), [0]);
        stage.data_comes_to_reach(&data, &[0, 2]);
        assert_eq!(stage.send(1, &format!("a joins {family}")), [0]);
        assert_eq!(stage.send(3, &data), [0, 1, 2], "who comes back gets it at once");
    }
    assert_eq!(stage.send(3, "mdns"), [0, 1, 2], "the link's own groups reach all");
    let shown: serde_json::Value =
        serde_json::from_slice(&stage.daemon.command(&["show", "multicast", "--json"]).stdout).unwrap();
    let groups: Vec<_> =
        shown.as_array().unwrap().iter().map(|group| group["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["0.0.0.0", "239.1.2.3", "::", "ff05::1:3"]);
    assert_eq!(shown[1]["members"].as_array().unwrap().len(), 2);
    assert_eq!((&shown[0]["routers"], &shown[0]["members"][0]["port"]), (&true.into(), &"router".into()));
    let text = stage.daemon.command(&["show", "multicast"]).stdout;
    assert!(String::from_utf8(text).unwrap().contains("routers, IPv6"));
}

#[test]
fn only_a_router_is_believed() {
    let mut stage = Stage::new("");
    assert_eq!(stage.send(3, "rogue 4"), [0_usize; 0]);
    assert_eq!(stage.daemon.show().port("c").dropped("rogue-query"), 1);
    assert_eq!(stage.send(1, "a joins 4"), [0, 2, 3], "reports are for all while no router asked");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(stage.send(3, "data 4"), [0, 1, 2]);
}

#[test]
fn who_leaves_fast_gets_nothing_more() {
    let mut stage = Stage::new("multicast_fast_leave = true");
    stage.ask("4", &[(1, "a joins 4"), (2, "b joins 4")]);
    assert_eq!(stage.send(1, "a leaves 4"), [0]);
    stage.data_comes_to_reach("data 4", &[0, 2]);
}

#[test]
fn a_storm_is_cut_and_counted_and_costs_neighbours_nothing() {
    let mut config = String::from("[network.lab]\n");
    for port in PORTS {
        config += &format!("[port.{port}]\nnetwork = \"lab\"\nstorm = {{ broadcast = \"100pps\" }}\n");
    }
    let daemon = Daemon::start(&config);
    let [stormy, a, b, c] = &mut PORTS.map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    // Known addresses: what the neighbours exchange is no storm itself.
    for (card, to, from) in [(&mut *a, mac(3), mac(2)), (&mut *b, mac(2), mac(3))] {
        card.send(&frame(to, from, 0, 60));
    }
    wait_until("the neighbours to be known", Duration::from_secs(5), || daemon.fdb().len() == 2);
    [&mut *a, &mut *b].into_iter().for_each(Nic::drain);
    a.collect(QUIET);
    b.collect(QUIET);
    let start = Instant::now();
    let mut flow = Flow::new(mac(2), mac(3));
    for round in 0..20 {
        for number in 0..100 {
            stormy.send(&frame([0xff; 6], mac(1), 100 * round + number, 60));
        }
        flow.carry(a, b, std::iter::repeat_n(600, 50));
    }
    wait_until("the storm to be over", Duration::from_secs(10), || {
        daemon.show().port("router").received.frames == 2000
    });
    stormy.drain();
    // A burst of 64 at once, which is the least, and then 100 a second.
    let allowed = 64 + start.elapsed().as_millis() as usize / 10 + 1;
    let arrived = c.collect(QUIET).iter().filter(|received| received.bytes.starts_with(&[0xff; 6])).count();
    let dropped = usize::try_from(daemon.show().port("router").dropped("storm-broadcast")).unwrap();
    assert_eq!(arrived + dropped, 2000, "what did not arrive is counted");
    assert!((64..=allowed).contains(&arrived), "{arrived} of 2000 arrived, {allowed} were allowed");
    assert!(PORTS.iter().all(|port| daemon.show().port(port).dropped("no-buffer") == 0));
}
