//! What a hostile wire or a hostile guest can do with an uplink between them: nothing to bystanders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::LAB_AND_OFFICE;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::stream::{frame, mac, mac_text, number_of};

const LIMIT: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(300);
/// A station out there.
const STATION: [u8; 6] = [2, 0, 0, 0xee, 0, 1];

/// Two cards on the network of an uplink, a wire that anything can be sent on, and two bystanders elsewhere.
struct Scene {
    outside: Namespace,
    daemon: Daemon,
    cards: [Nic; 2],
    bystander: Bystander,
    inside: Namespace,
}

impl Scene {
    fn new() -> Self {
        let (inside, outside) = (Namespace::new("inside"), Namespace::new("outside"));
        // Nothing but what the test sends.
        for namespace in [&inside, &outside] {
            namespace.run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
        }
        cable((&inside, "eth1"), (&outside, "eth1"));
        let config = format!("{LAB_AND_OFFICE}[port.d]\nnetwork = \"office\"\nmtu = 65535\n");
        let daemon = Daemon::start_in(&inside, &config);
        daemon.wait_for_state("wan", "attached");
        let bystander = Bystander::start(["a", "b"].map(|port| daemon.socket(port)));
        let options = NicOptions { queue_size: 1024, ..NicOptions::default() }.with_frames_of(66_000);
        let cards = ["c", "d"].map(|port| Nic::connect(&daemon.socket(port), &options));
        Self { outside, daemon, cards, bystander, inside }
    }

    /// Sends frames on the wire as they are, each `times` times; those that the kernel refuses are left out.
    fn send_on_wire(&self, times: u32, frames: &[Vec<u8>]) {
        let program = "import socket, sys\n\
                       s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
                       s.bind(('eth1', 0))\n\
                       for line in sys.stdin:\n    frame = bytes.fromhex(line)\n    for _ in range(int(sys.argv[1])):\n        \
                       try: s.send(frame)\n        except OSError: pass\n";
        let mut command = self.outside.command("python3");
        let mut sender =
            command.args(["-c", program, &times.to_string()]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = sender.stdin.take().unwrap();
        for frame in frames {
            let line: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(input, "{line}").unwrap();
        }
        drop(input);
        assert!(sender.wait().unwrap().success());
    }

    /// The numbers of the frames that the first card gets: so many, and whatever comes beside them.
    fn received(&mut self, count: usize) -> Vec<u64> {
        let came = self.cards[0].collect_at_least(count, QUIET);
        came.iter().filter_map(|received| number_of(&received.bytes)).collect()
    }

    /// The port at which an address is known now.
    fn port_of(&self, address: [u8; 6]) -> Option<String> {
        let (fdb, text) = (self.daemon.fdb(), mac_text(address));
        fdb.into_iter().find(|entry| entry.mac == text).map(|entry| entry.port)
    }

    fn finish(mut self) {
        assert_eq!(self.daemon.show().port("wan").state, "attached");
        assert!(self.daemon.is_alive());
        self.bystander.wait_for_rounds(3);
        self.bystander.finish();
    }
}

/// `frame` with tags before its type: each of type and tag control information.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat());
    frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect()
}

#[test]
fn tags_on_the_wire_lead_to_no_network_but_their_own() {
    let mut scene = Scene::new();
    let numbered = |number| frame([0xff; 6], STATION, number, 100);
    let frames = [
        numbered(1),
        tagged(&numbered(2), &[(0x8100, 0xe000)]),
        tagged(&numbered(3), &[(0x8100, 0x0fff)]),
        tagged(&numbered(4), &[(0x8100, 10)]),
        tagged(&numbered(5), &[(0x8100, 0), (0x8100, 0)]),
        tagged(&numbered(6), &[(0x8100, 1), (0x8100, 2), (0x8100, 3)]),
        tagged(&numbered(7), &[(0x88a8, 10), (0x8100, 20)]),
        tagged(&numbered(8), &[(0x9100, 10)]),
        numbered(9)[..12].iter().copied().chain([0x81, 0, 0]).collect(),
        numbered(10),
    ];
    scene.send_on_wire(1, &frames);
    // A priority tag names no network (IEEE 802.1Q-2018, 6.9): the frame belongs to the native one.
    assert_eq!(scene.received(3), [1, 2, 10]);
    scene.finish();
}

/// Headers that contradict themselves are none of a bridge's business: they pass as they are.
#[test]
fn packets_that_lie_about_their_lengths_pass_unchanged() {
    let mut scene = Scene::new();
    let mut frames = Vec::new();
    for (first, total, protocol) in
        [(0x4f, 20, 17), (0x45, 9000, 6), (0x45, 0, 17), (0x40, 60, 1), (0x4f, 60, 6)]
    {
        let mut lie = frame([0xff; 6], STATION, 100 + frames.len() as u64, 120);
        lie[12..14].copy_from_slice(&[8, 0]);
        lie[14] = first;
        lie[16..18].copy_from_slice(&u16::to_be_bytes(total));
        lie[20..22].copy_from_slice(&[0x20, 0xff]);
        lie[23] = protocol;
        frames.push(lie);
    }
    // IPv6: a payload longer than the frame, a chain of extension headers, a neighbour's option of length 0.
    for (length, next, rest) in
        [(9000_u16, 17_u8, [0_u8; 8]), (60, 0, [0; 8]), (24, 58, [135, 0, 0, 0, 0, 0, 0, 0])]
    {
        let mut lie = frame([0xff; 6], STATION, 100 + frames.len() as u64, 120);
        lie[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        lie[18..20].copy_from_slice(&length.to_be_bytes());
        lie[20] = next;
        lie[54..62].copy_from_slice(&rest);
        frames.push(lie);
    }
    scene.send_on_wire(1, &frames);
    let received = scene.cards[0].collect_at_least(frames.len(), QUIET);
    let received: Vec<Vec<u8>> = received.into_iter().map(|received| received.bytes).collect();
    assert_eq!(received, frames);
    scene.finish();
}

/// What does not fit the wire is counted, and the device goes on.
#[test]
fn frames_that_fit_no_wire_are_dropped_and_counted() {
    let mut scene = Scene::new();
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 1, 60)]);
    scene.cards.iter_mut().for_each(|card| drop(card.collect(QUIET)));
    let card = &mut scene.cards[1];
    // From a port that may send it, to an interface whose MTU is 1500.
    for length in [1515, 9014, 65_549] {
        card.send(&frame(STATION, mac(4), 2, length));
    }
    card.send(&frame(STATION, mac(4), 3, 60)[..13]);
    card.send(&frame(STATION, mac(4), 4, 65_600));
    for header in [
        NetHeader {
            flags: 1,
            gso_type: 1,
            hdr_len: 54,
            gso_size: 0,
            csum_start: 34,
            csum_offset: 16,
            ..NetHeader::default()
        },
        NetHeader {
            flags: 1,
            gso_type: 1,
            hdr_len: 65_535,
            gso_size: 1,
            csum_start: 65_000,
            csum_offset: 16,
            ..NetHeader::default()
        },
        NetHeader {
            flags: 1,
            gso_type: 5,
            hdr_len: 42,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 6,
            ..NetHeader::default()
        },
        NetHeader {
            flags: 1,
            gso_type: 4,
            hdr_len: 54,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
            ..NetHeader::default()
        },
    ] {
        card.send_with(header, &frame(STATION, mac(4), 5, 6000));
    }
    card.send(&frame([0xff; 6], mac(4), 6, 100));
    assert_eq!(scene.received(1), [6], "what is right arrives");
    scene.cards[1].drain();
    let state = scene.daemon.show();
    let [sender, wan] = ["d", "wan"].map(|port| state.port(port));
    assert!(sender.dropped("runt") == 1 && sender.dropped("too-long") == 1, "{:?}", sender.drops);
    let lost = sender.dropped_in_all() + wan.dropped_in_all();
    assert!(lost >= 8, "of 9 that cannot be sent {lost} are counted: {:?} {:?}", sender.drops, wan.drops);
    scene.finish();
}

/// Without port security an address is where it was last seen, and comes back to its owner with its next frame.
#[test]
fn a_guest_that_sends_with_the_address_of_a_station_outside_holds_it_until_that_speaks() {
    let mut scene = Scene::new();
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 1, 100)]);
    assert_eq!(scene.received(1), [1]);
    wait_until("the station to be known there", LIMIT, || scene.port_of(STATION).as_deref() == Some("wan"));
    scene.cards[1].send(&frame([0xff; 6], STATION, 2, 100));
    assert_eq!(scene.received(1), [2]);
    wait_until("the station to be known there", LIMIT, || scene.port_of(STATION).as_deref() == Some("d"));
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 3, 100)]);
    assert_eq!(scene.received(1), [3]);
    wait_until("the station to be known there", LIMIT, || scene.port_of(STATION).as_deref() == Some("wan"));
    scene.finish();
}

#[test]
fn a_storm_from_outside_is_limited_and_a_guest_that_reflects_everything_harms_itself() {
    let mut scene = Scene::new();
    let kinds = [[0xff; 6], [1, 0, 0x5e, 1, 2, 3], [0x33, 0x33, 0, 0, 0, 0x16], mac(77)];
    let frames: Vec<Vec<u8>> = kinds.iter().map(|to| frame(*to, STATION, 1, 200)).collect();
    // What a switch that is not run meanwhile has no room for is lost before it: hence until so many have come.
    let end = std::time::Instant::now() + LIMIT;
    while scene.daemon.show().port("wan").received.frames < 60_000 && std::time::Instant::now() < end {
        scene.send_on_wire(20_000, &frames);
    }
    wait_until("the storm to have come in", LIMIT, || {
        scene.daemon.show().port("wan").received.frames >= 60_000
    });
    let wan = scene.daemon.show().port("wan").clone();
    assert!(wan.dropped("storm-broadcast") > 0, "{:?}", wan.drops);
    // All that the card gets it sends back, for as long as something comes.
    let end = std::time::Instant::now() + Duration::from_secs(1);
    scene.send_on_wire(10, &[frame([0xff; 6], STATION, 1, 200)]);
    while std::time::Instant::now() < end {
        for received in scene.cards[0].collect(Duration::from_millis(5)) {
            scene.cards[0].send(&received.bytes);
        }
    }
    wait_until("the uplink to carry frames as before", LIMIT, || {
        scene.send_on_wire(1, &[frame([0xff; 6], STATION, 99, 100)]);
        scene.received(0).contains(&99)
    });
    scene.finish();
}

/// IGMP and MLD messages that contradict themselves, one a line; made by scapy, which knows both from elsewhere than we do.
const MALFORMED: &str = r#"
from scapy.all import *
from scapy.contrib.igmp import IGMP
from scapy.contrib.igmpv3 import IGMPv3, IGMPv3mr, IGMPv3gr
conf.verb = 0
def igmp(message, **ip): return bytes(Ether(src="02:00:00:ee:00:01", dst="01:00:5e:01:02:03") / IP(src="10.0.0.9", dst="239.1.2.3", ttl=1, proto=2, options=[IPOption_Router_Alert()], **ip) / message)
def mld(message, **ip): return bytes(Ether(src="02:00:00:ee:00:01", dst="33:33:00:00:00:16") / IPv6(src="fe80::9", dst="ff02::16", hlim=1, **ip) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / message)
join = bytes(IGMP(type=0x16, gaddr="239.1.2.3"))
def report4(count, records): return bytes(IGMPv3(type=0x22) / IGMPv3mr(numgrp=count, records=records))
def report6(count, records): return ICMPv6MLReport2(records_number=count, records=records)
good6 = ICMPv6MLDMultAddrRec(rtype=4, dst="ff05::1:3")
frames = [
    igmp(bytes([join[0], 0, join[2] ^ 1, join[3]]) + join[4:]),
    igmp(join[:7]), igmp(join[:1]), igmp(b""),
    igmp(report4(0xffff, [])), igmp(report4(2, [IGMPv3gr(rtype=4, maddr="239.1.2.3")])),
    igmp(report4(1, [IGMPv3gr(rtype=4, maddr="239.1.2.3", numsrc=0xffff)])),
    mld(ICMPv6MLReport(mladdr="ff05::1:3", cksum=1)),
    mld(ICMPv6MLReport(mladdr="ff05::1:3")) [:-1],
    mld(report6(0xffff, [])), mld(report6(2, [good6])),
    mld(report6(1, [ICMPv6MLDMultAddrRec(rtype=4, dst="ff05::1:3", sources_number=0xffff)])),
    mld(report6(1, [good6]), plen=9000),
]
for frame in frames: print(frame.hex())
"#;

fn malformed() -> Vec<Vec<u8>> {
    let output = Command::new("/usr/bin/python3").args(["-c", MALFORMED]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "scapy made no frames (scripts/setup installs it): {errors}");
    let bytes = |hex: &str| {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    String::from_utf8(output.stdout).unwrap().lines().map(bytes).collect()
}

/// An IGMP message of 8 bytes for a group of the last number, with right checksums.
fn igmp(kind: u8, number: u8) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let total: u32 = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        (!(((total & 0xffff) + (total >> 16)) as u16)).to_be_bytes()
    };
    let mut packet =
        [0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 9, 239, 1, 2, number, 0x94, 4, 0, 0].to_vec();
    let mut message = [kind, 0, 0, 0, 239, 1, 2, number];
    let (of_packet, of_message) = (sum(&packet), sum(&message));
    packet[10..12].copy_from_slice(&of_packet);
    message[2..4].copy_from_slice(&of_message);
    [&[1, 0, 0x5e, 1, 2, number][..], &STATION, &[8, 0], &packet, &message].concat()
}

#[test]
fn messages_about_groups_that_lie_are_dropped_on_the_wire_and_at_guests_and_floods_of_them_cut() {
    let mut scene = Scene::new();
    let lies = malformed();
    let count = lies.len() as u64;
    scene.send_on_wire(1, &lies);
    lies.iter().for_each(|lie| scene.cards[1].send(lie));
    for port in ["wan", "d"] {
        wait_until(&format!("those at {port} to be counted"), LIMIT, || {
            scene.daemon.show().port(port).dropped("bad-membership") == count
        });
    }
    assert_eq!(scene.cards[0].collect(QUIET).len(), 0, "none of them reaches anybody");
    // A guest's query would have it decide who is heard; a router may be out there.
    scene.cards[1].send(&igmp(0x11, 0));
    scene.cards[1].drain();
    assert_eq!(scene.cards[0].collect(QUIET).len(), 0);
    assert_eq!(scene.daemon.show().port("d").dropped("rogue-query"), 1);
    let joins: Vec<Vec<u8>> = (0..200).map(|number| igmp(0x16, number)).collect();
    scene.send_on_wire(20, &joins);
    joins.iter().cycle().take(4000).for_each(|join| scene.cards[1].send(join));
    wait_until("all messages to be looked at", LIMIT, || {
        scene.daemon.show().port("d").received.frames >= 4000
    });
    let state = scene.daemon.show();
    for port in ["wan", "d"] {
        // They are multicast frames, too: which of the two limits is met first depends on how fast they come.
        let cut = ["storm-membership", "storm-multicast"].map(|reason| state.port(port).dropped(reason));
        assert!(cut[0] > 0 && cut[0] + cut[1] > 1000, "{port}: {:?}", state.port(port).drops);
    }
    scene.cards[0].collect(QUIET);
    scene.send_on_wire(1, &[frame(mac(0x77), STATION, 42, 100)]);
    assert_eq!(scene.received(1), [42], "what is no message about groups passes as before");
    scene.finish();
}

/// The least that Ethernet's header takes, addresses that no station has, and those of others.
#[test]
fn frames_without_content_and_with_addresses_of_others_harm_their_senders_alone() {
    let mut scene = Scene::new();
    let header = |to: [u8; 6], from: [u8; 6]| [&to[..], &from, &[0x88, 0xb5]].concat();
    // A header alone is a frame, shorter than a wire carries: it is padded there, and passes here.
    scene.send_on_wire(1, &[header([0xff; 6], STATION)]);
    assert_eq!(scene.cards[0].collect_at_least(1, QUIET).len(), 1);
    let no_station = [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0; 6]];
    let frames: Vec<Vec<u8>> = no_station.iter().map(|from| frame([0xff; 6], *from, 1, 60)).collect();
    scene.send_on_wire(1, &frames);
    frames.iter().for_each(|frame| scene.cards[1].send(frame));
    wait_until("frames of no station to be counted", LIMIT, || {
        let state = scene.daemon.show();
        ["wan", "d"].map(|port| state.port(port).dropped("bad-source")) == [3, 3]
    });
    assert_eq!(scene.received(0), [0_u64; 0]);
    // The guest behind c is known; a station out there and another guest claim to be it, and it comes back each time.
    let owner = mac(3);
    for (round, liar) in ["wan", "d", "wan"].into_iter().enumerate() {
        scene.cards[0].send(&frame([0xff; 6], owner, 1, 60));
        wait_until("the owner to be known", LIMIT, || scene.port_of(owner).as_deref() == Some("c"));
        let lie = frame([0xff; 6], owner, 10 + round as u64, 60);
        match liar {
            "wan" => scene.send_on_wire(1, &[lie]),
            _ => scene.cards[1].send(&lie),
        }
        wait_until("the lie to be believed", LIMIT, || scene.port_of(owner).as_deref() == Some(liar));
    }
    scene.cards[0].send(&frame([0xff; 6], owner, 1, 60));
    wait_until("the owner to be known", LIMIT, || scene.port_of(owner).as_deref() == Some("c"));
    scene.cards[0].collect(QUIET);
    scene.send_on_wire(1, &[frame(owner, STATION, 43, 100)]);
    assert_eq!(scene.received(1), [43]);
    // The uplink's own address belongs to the host's kernel, not to the switch: there is nothing to win by it.
    let own: [u8; 6] = {
        let text = scene.inside.run("cat /sys/class/net/eth1/address");
        let bytes: Vec<u8> =
            text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    scene.cards[1].send(&frame([0xff; 6], own, 44, 60));
    assert_eq!(scene.received(1), [44]);
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 45, 60)]);
    assert_eq!(scene.received(1), [45], "the uplink carries what it did");
    scene.finish();
}
