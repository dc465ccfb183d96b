//! Port security through real rings: what guests send that is not theirs reaches nobody, is counted by name, and teaches the
//! switch nothing. The frames are made by scapy, which knows the protocols from elsewhere than we do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(40);

/// What scapy is asked for: who sends it, the reason for which it is dropped or nothing, and the frame. Station `n` has
/// 02:00:00:00:00:0n, 10.0.0.n and fd00::n.
const FRAMES: &str = r#"
from scapy.all import *
def mac(n): return "02:00:00:00:00:%02x" % n
def eth(n, dst="ff:ff:ff:ff:ff:ff"): return Ether(src=mac(n), dst=dst)
def ip4(n, dst="10.0.0.9"): return IP(src="10.0.0.%d" % n, dst=dst)
def ip6(n, dst="fd00::9"): return IPv6(src="fd00::%x" % n, dst=dst, hlim=255)
def local(n): return IPv6(src="fe80::ff:fe00:%x" % n, dst="ff02::1", hlim=255)
def arp(op, n, m, of): return eth(n) / ARP(op=op, hwsrc=mac(m), psrc=of, pdst="10.0.0.254")
def na(n, target, m): return eth(n) / local(n) / ICMPv6ND_NA(tgt=target) / ICMPv6NDOptDstLLAddr(lladdr=mac(m))
def ns(source, target): return eth(2) / IPv6(src=source, dst="ff02::1:ff00:9", hlim=255) / ICMPv6ND_NS(tgt=target)
def offer(n): return eth(n) / ip4(n, "255.255.255.255") / UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"])
def advertise(n): return eth(n) / local(n) / UDP(sport=547, dport=546) / DHCP6_Advertise()
def ra(n): return eth(n) / local(n) / ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=mac(n)) / ICMPv6NDOptPrefixInfo(prefix="fd00:bad::", prefixlen=64) / ICMPv6NDOptMTU()
def discover(src="0.0.0.0", dst="255.255.255.255"): return eth(2) / IP(src=src, dst=dst) / UDP(sport=68, dport=67) / BOOTP(chaddr=b"\x02\0\0\0\0\2") / DHCP(options=[("message-type", "discover"), "end"])
def mldr(src, dst): return eth(2) / IPv6(src=src, dst=dst, hlim=1) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ICMPv6MLReport2()
udp = UDP(sport=1000, dport=2000) / b"payload of a datagram"
for who, reason, packet in [
    ("guest", "", eth(2) / ip4(2) / udp),
    ("guest", "", eth(2) / ip6(2) / udp),
    ("guest", "", eth(2) / local(2) / udp),
    ("guest", "", eth(2) / ip4(100) / udp),
    ("guest", "", eth(7) / IP(src="10.7.1.2", dst="10.0.0.9") / udp),
    ("guest", "", arp(1, 2, 2, "10.0.0.2")),
    ("guest", "", arp(2, 2, 2, "10.0.0.100")),
    ("guest", "", na(2, "fd00::2", 2)),
    ("guest", "", ns("fd00::2", "fd00::9") / ICMPv6NDOptSrcLLAddr(lladdr=mac(2))),
    ("guest", "", ns("::", "fd00::2")),
    ("guest", "", eth(2) / IPv6(src="::", dst="ff02::2", hlim=255) / ICMPv6ND_RS()),
    ("guest", "", mldr("::", "ff02::16")),
    ("guest", "", discover()),
    ("guest", "", eth(2) / IPv6(src="fe80::ff:fe00:2", dst="ff02::1:2") / UDP(sport=546, dport=547) / DHCP6_Solicit()),
    ("guest", "", eth(2) / IP(src="10.0.0.2", dst="10.0.0.9", flags="MF", id=7) / UDP(sport=1, dport=2, len=4000) / (b"x" * 64)),
    ("guest", "spoof-mac", eth(9) / ip4(2) / udp),
    ("guest", "spoof-mac", eth(254) / ip4(254) / udp),
    ("guest", "spoof-ipv4", eth(2) / ip4(9) / udp),
    ("guest", "spoof-ipv4", eth(7) / ip4(2) / udp),
    ("guest", "spoof-ipv4", eth(2) / IP(src="10.0.0.9", dst="10.0.0.8", frag=99, id=7) / (b"x" * 64)),
    ("guest", "spoof-ipv4", eth(2) / Dot1Q(vlan=0) / ip4(9) / udp),
    ("guest", "spoof-ipv6", eth(2) / ip6(9) / udp),
    ("guest", "spoof-ipv6", eth(2) / local(9) / udp),
    ("guest", "spoof-ipv6", eth(2) / ip6(9) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / udp),
    ("guest", "spoof-arp", arp(2, 2, 2, "10.0.0.254")),
    ("guest", "spoof-arp", arp(1, 2, 2, "10.0.0.254")),
    ("guest", "spoof-arp", arp(2, 2, 9, "10.0.0.2")),
    ("guest", "spoof-arp", eth(2) / ARP(op=1, hwsrc=mac(2), psrc="0.0.0.0", pdst="10.0.0.9")),
    ("guest", "spoof-nd", na(2, "fd00::9", 2)),
    ("guest", "spoof-nd", na(2, "fd00::2", 9)),
    ("guest", "spoof-nd", ns("::", "fd00::9")),
    ("guest", "spoof-nd", ns("fd00::2", "fd00::9") / ICMPv6NDOptSrcLLAddr(lladdr=mac(9))),
    ("guest", "spoof-unspecified", eth(2) / IP(src="0.0.0.0", dst="10.0.0.9") / ICMP()),
    ("guest", "spoof-unspecified", discover(dst="10.0.0.9")),
    ("guest", "spoof-unspecified", eth(2) / IPv6(src="::", dst="fd00::9") / ICMPv6EchoRequest()),
    ("guest", "rogue-dhcp", offer(2)),
    ("guest", "rogue-dhcp", advertise(2)),
    ("guest", "rogue-router", ra(2)),
    ("guest", "rogue-router", eth(2) / local(2) / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) / ICMPv6ND_RA()),
    ("guest", "rogue-router", eth(2) / local(2) / ICMPv6ND_Redirect(tgt="fe80::ff:fe00:2", dst="fd00::9")),
    ("guest", "rogue-router", eth(2) / ip4(2, "224.0.0.1") / ICMP(type=9)),
    ("guest", "spoof-hidden", Dot3(src=mac(2), dst="ff:ff:ff:ff:ff:ff") / LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(code=0x806) / ARP(op=2, psrc="10.0.0.254")),
    ("guest", "unreadable", eth(2) / IP(bytes(ip4(2) / udp)[:12] + b"\x0a\0\0\x02", ihl=4)),
    ("guest", "unreadable", eth(2) / IPv6(src="fe80::ff:fe00:2", dst="ff02::1", hlim=64) / ICMPv6ND_RA()),
    ("server", "", offer(3)),
    ("server", "", advertise(3)),
    ("server", "", ra(3)),
    ("server", "spoof-ipv4", eth(3) / ip4(9) / udp),
    ("server", "spoof-arp", arp(2, 3, 3, "10.0.0.254")),
    ("free", "", eth(9) / ip4(9) / udp),
    ("free", "", arp(2, 9, 9, "10.0.0.254")),
    ("unknown", "", eth(4) / ip4(99) / udp),
    ("unknown", "", arp(2, 4, 4, "10.0.0.99")),
    ("unknown", "spoof-mac", eth(5) / ip4(99) / udp),
    ("unknown", "rogue-router", ra(4)),
]:
    print(who, reason or "-", packet.command()[:90].replace(" ", ""), bytes(packet).ljust(60, b"\0").hex())
"#;

const PORTS: [&str; 5] = ["witness", "guest", "server", "free", "unknown"];

const CONFIG: &str = r#"
[network.lab]
[port.witness]
network = "lab"
[port.guest]
network = "lab"
mac = "02:00:00:00:00:02"
addresses = ["10.0.0.2", "fd00::2"]
allowed_address_pairs = [{ address = "10.0.0.100" }, { address = "10.7.0.0/16", mac = "02:00:00:00:00:07" }]
[port.server]
network = "lab"
mac = "02:00:00:00:00:03"
addresses = ["10.0.0.3", "fd00::3"]
trusted = true
[port.free]
network = "lab"
[port.unknown]
network = "lab"
mac = "02:00:00:00:00:04"
port_security = true
"#;

/// One of scapy's frames.
struct Probe {
    from: String,
    /// Empty if it passes.
    reason: String,
    what: String,
    frame: Vec<u8>,
}

fn probes() -> Vec<Probe> {
    let output =
        Command::new("/usr/bin/python3").args(["-c", FRAMES]).output().expect("/usr/bin/python3 is missing");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "scapy made no frames (scripts/setup installs it): {errors}");
    let probe = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let byte = |at: usize| u8::from_str_radix(&words[3][2 * at..2 * at + 2], 16).unwrap();
        Probe {
            from: words[0].to_owned(),
            reason: words[1].replace("-", if words[1] == "-" { "" } else { "-" }),
            what: words[2].to_owned(),
            frame: (0..words[3].len() / 2).map(byte).collect(),
        }
    };
    String::from_utf8(output.stdout).unwrap().lines().map(probe).collect()
}

struct Stage {
    daemon: Daemon,
    cards: BTreeMap<&'static str, Nic>,
}

impl Stage {
    fn new() -> Self {
        let daemon = Daemon::start(CONFIG);
        let card = |port| (port, Nic::connect(&daemon.socket(port), &NicOptions::default()));
        let cards = PORTS.into_iter().map(card).collect();
        Self { daemon, cards }
    }

    /// How often the witness gets the frame that a port sends, and for what reason it was dropped.
    fn send(&mut self, from: &str, frame: &[u8]) -> (usize, BTreeMap<String, u64>) {
        let drops = |stage: &Self| -> BTreeMap<String, u64> {
            let port = stage.daemon.show().port(from).clone();
            port.drops.into_iter().map(|drops| (drops.reason, drops.frames)).collect()
        };
        let (before, received) = (drops(self), self.daemon.show().port(from).received.frames);
        let card = self.cards.get_mut(from).unwrap();
        card.send(frame);
        card.drain();
        wait_until("the frame to be decided about", Duration::from_secs(5), || {
            self.daemon.show().port(from).received.frames > received
        });
        let arrived = self.cards.get_mut("witness").unwrap().collect(QUIET);
        // A priority tag is taken off.
        let count = arrived.iter().filter(|received| received.bytes == frame).count();
        let mut after = drops(self);
        after.retain(|reason, count| {
            *count -= before.get(reason).unwrap_or(&0);
            *count > 0
        });
        (count, after)
    }
}

#[test]
fn what_is_not_the_guests_reaches_nobody_and_is_counted_by_name() {
    let mut stage = Stage::new();
    let probes = probes();
    // Twice, so that what passes is replayed the second time, beside what does not.
    for probe in probes.iter().chain(&probes) {
        let (count, drops) = stage.send(&probe.from, &probe.frame);
        let expected: BTreeMap<String, u64> =
            if probe.reason.is_empty() { BTreeMap::new() } else { [(probe.reason.clone(), 1)].into() };
        assert_eq!((count, &drops), (usize::from(probe.reason.is_empty()), &expected), "{}", probe.what);
    }
    let guests = |mac: &str| ["02:00:00:00:00:02", "02:00:00:00:00:07"].contains(&mac);
    let learned = stage.daemon.fdb();
    assert!(
        learned.iter().filter(|known| known.port == "guest").all(|known| guests(&known.mac)),
        "{learned:?}"
    );
}

#[test]
fn addresses_change_while_guests_run() {
    let mut stage = Stage::new();
    let probes = probes();
    let frame = &probes.iter().find(|probe| probe.reason == "spoof-ipv4").unwrap().frame;
    assert_eq!(stage.send("guest", frame).0, 0);
    let moved = CONFIG.replace("[\"10.0.0.2\", \"fd00::2\"]", "[\"10.0.0.9\"]");
    let told = stage.daemon.apply(&moved);
    assert!(told.contains("addresses 10.0.0.2 fd00::2 -> 10.0.0.9"), "{told}");
    assert_eq!(stage.send("guest", frame).0, 1, "at once");
    let own = &probes[0].frame;
    assert_eq!(stage.send("guest", own).0, 0, "the old address is no longer its own");
    let told = stage.daemon.apply(&moved.replace("[\"10.0.0.9\"]", "[]"));
    assert!(told.contains("addresses 10.0.0.9 -> none"), "{told}");
    assert_eq!(
        [stage.send("guest", frame).0, stage.send("guest", own).0],
        [1, 1],
        "held to its MAC address alone"
    );
}
