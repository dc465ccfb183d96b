//! VLANs on the wire of ports: access ports, trunks, native networks, service tags, priorities, and what hops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN, OFFLOADS, SEND_OFFLOADS};
use viaduct_tests::driver::header::NEEDS_CSUM;
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::FRAME_MAX;
use viaduct_tests::stream::{frame, mac, number_of};
use viaduct_tests::superframe::{Kind, SuperFrame, fragment, verified};

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(60);
const BROADCAST: [u8; 6] = [0xff; 6];

const NETWORKS: &str = "
[network.ten]
vlan = 10
[network.twenty]
vlan = 20
[network.thirty]
vlan = 30
inner_tags = true
";

/// An access port of each network, trunks of several kinds.
const PORTS: [(&str, &str); 7] = [
    ("a10", "network = \"ten\"\npriority = 5"),
    ("b10", "network = \"ten\""),
    ("a20", "network = \"twenty\""),
    ("a30", "network = \"thirty\""),
    ("all", "trunk = [\"t*\"]"),
    ("mixed", "native = \"ten\"\ntrunk = [\"twenty\"]\ntag_types = [\"0x9100\"]"),
    ("metro", "native = \"twenty\"\ntrunk = [\"ten\"]\nservice_vlan = 300"),
];

fn config() -> String {
    PORTS.iter().fold(NETWORKS.to_owned(), |text, (name, lines)| text + &format!("[port.{name}]\n{lines}\n"))
}

/// A card on each port.
fn cards(daemon: &Daemon) -> Vec<Nic> {
    PORTS.iter().map(|(name, _)| Nic::connect(&daemon.socket(name), &NicOptions::default())).collect()
}

/// The numbered frame with these words as tags.
fn tagged(to: [u8; 6], from: [u8; 6], tags: &[u16], number: u64) -> Vec<u8> {
    let plain = frame(to, from, number, 60);
    let tags: Vec<u8> = tags.iter().flat_map(|word| word.to_be_bytes()).collect();
    [&plain[..12], &tags, &plain[12..]].concat()
}

/// Lets the port of this name send, and tells what comes out where.
fn send(cards: &mut [Nic], from: &str, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let place = PORTS.iter().position(|(name, _)| *name == from).expect("a port");
    cards[place].send(bytes);
    cards[place].drain();
    // Copies leave within one burst or soon after: what did not come while the first port was waited for does not come.
    let mut quiet = QUIET;
    let mut arrived = |(card, (name, _)): (&mut Nic, &(&'static str, &str))| {
        let received = card.collect(std::mem::replace(&mut quiet, Duration::from_millis(3)));
        received.into_iter().map(|received| (*name, received.bytes)).collect::<Vec<_>>()
    };
    cards.iter_mut().zip(&PORTS).flat_map(&mut arrived).collect()
}

fn drops(daemon: &Daemon, port: &str, reason: &str) -> u64 {
    daemon.show().port(port).dropped(reason)
}

#[test]
fn every_port_gets_its_networks_broadcasts_with_its_tags_and_no_others() {
    let daemon = Daemon::start_with("verify_flow_cache = true", &config());
    let mut cards = cards(&daemon);
    for round in 0..2 {
        let out = |tags: &[u16], port| (port, tagged(BROADCAST, mac(1), tags, round));
        let plain = tagged(BROADCAST, mac(1), &[], round);
        // The port's own priority, 5, stands in the tags of what comes from a10.
        let ten = |c: u16| {
            vec![
                out(&[0x8100, c | 10], "all"),
                out(&[], "mixed"),
                out(&[0x88a8, c | 300, 0x8100, c | 10], "metro"),
            ]
        };
        let expected = [vec![out(&[], "b10")], ten(0xa000)].concat();
        assert_eq!(send(&mut cards, "a10", &plain), expected);
        let expected = [vec![out(&[], "a10")], ten(0)].concat();
        assert_eq!(send(&mut cards, "b10", &plain), expected);
        let expected = [out(&[0x8100, 20], "all"), out(&[0x8100, 20], "mixed"), out(&[0x88a8, 300], "metro")];
        assert_eq!(send(&mut cards, "a20", &plain), expected);
        assert_eq!(send(&mut cards, "a30", &plain), [out(&[0x8100, 30], "all")]);
        // From trunk to trunk a priority stays.
        let expected = [out(&[], "a20"), out(&[0x8100, 0xf014], "mixed"), out(&[0x88a8, 0xf12c], "metro")];
        assert_eq!(send(&mut cards, "all", &tagged(BROADCAST, mac(1), &[0x8100, 0xf014], round)), expected);
        let expected = [out(&[], "a10"), out(&[], "b10"), out(&[0x8100, 0x600a], "all"), out(&[], "mixed")];
        let service = [0x88a8, 0x212c, 0x8100, 0x600a];
        assert_eq!(send(&mut cards, "metro", &tagged(BROADCAST, mac(1), &service, round)), expected);
    }
}

#[test]
fn the_same_address_lives_in_every_network() {
    let daemon = Daemon::start_with("verify_flow_cache = true", &config());
    let mut cards = cards(&daemon);
    for port in ["a10", "a20", "a30"] {
        send(&mut cards, port, &frame(BROADCAST, mac(1), 0, 60));
    }
    for (port, id) in [("a10", 10), ("a20", 20), ("a30", 30)] {
        for number in 1..4 {
            let out = send(&mut cards, "all", &tagged(mac(1), mac(2), &[0x8100, id], number));
            assert_eq!(out, [(port, frame(mac(1), mac(2), number, 60))]);
        }
        let back = send(&mut cards, port, &frame(mac(2), mac(1), 9, 60));
        let priority = if port == "a10" { 0xa000 } else { 0 };
        assert_eq!(back, [("all", tagged(mac(2), mac(1), &[0x8100, priority | id], 9))]);
    }
    let state = daemon.show_json();
    let known = daemon.fdb();
    let vlans: BTreeSet<_> =
        known.iter().filter(|entry| entry.port == "all").map(|entry| entry.vlan.unwrap()).collect();
    assert_eq!(vlans, [10, 20, 30].into(), "{known:?}");
    let port = state["ports"].as_array().unwrap().iter().find(|port| port["name"] == "mixed").unwrap();
    assert_eq!((&port["network"], &port["native"]), (&"ten,twenty".into(), &"ten".into()));
    let table = String::from_utf8(daemon.command(&["show", "ports"]).stdout).unwrap();
    assert!(table.contains("ten and 1 tagged network") && table.contains("3 tagged networks"), "{table}");
}

#[test]
fn what_does_not_belong_is_dropped_by_name_and_reaches_nobody() {
    let daemon = Daemon::start_with("verify_flow_cache = true", &config());
    let mut cards = cards(&daemon);
    let thousand: Vec<u16> = [0x8100, 20].repeat(300);
    let cases: &[(&str, &[u16], &str)] = &[
        ("a10", &[0x8100, 10], "vlan-on-access"),
        ("a10", &[0x8100, 20], "vlan-on-access"),
        ("a10", &[0x88a8, 300, 0x8100, 20], "vlan-on-access"),
        ("a10", &[0x8100, 0xfff], "vlan-reserved"),
        ("a10", &[0x8100, 0, 0x8100, 20], "vlan-inner-tag"),
        ("a10", &thousand, "vlan-on-access"),
        ("mixed", &[0x8100, 30], "vlan-not-allowed"),
        ("mixed", &[0x88a8, 20], "vlan-not-allowed"),
        ("mixed", &[0x8100, 10, 0x8100, 20], "vlan-inner-tag"),
        ("mixed", &[0x9100, 20, 0x9100, 20], "vlan-inner-tag"),
        ("mixed", &[0x8100, 0xefff], "vlan-reserved"),
        ("mixed", &thousand, "vlan-inner-tag"),
        ("all", &[], "vlan-untagged"),
        ("all", &[0x8100, 0x2000], "vlan-untagged"),
        ("metro", &[], "vlan-untagged"),
        ("metro", &[0x8100, 10], "vlan-not-allowed"),
        ("metro", &[0x88a8, 301, 0x8100, 10], "vlan-not-allowed"),
        ("metro", &[0x88a8, 300, 0x8100, 20, 0x8100, 10], "vlan-inner-tag"),
    ];
    for (port, tags, reason) in cases {
        let before = drops(&daemon, port, reason);
        assert_eq!(send(&mut cards, port, &tagged(BROADCAST, mac(1), tags, 1)), [], "{port} {tags:x?}");
        assert_eq!(drops(&daemon, port, reason), before + 1, "{port} {tags:x?} {reason}");
    }
    let whole = tagged(BROADCAST, mac(1), &[0x88a8, 300, 0x8100, 10], 1);
    for end in 14..22 {
        assert_eq!(send(&mut cards, "metro", &whole[..end]), [], "{end} bytes");
    }
    assert_eq!(drops(&daemon, "metro", "vlan-truncated"), 8);
    assert!(daemon.fdb().is_empty(), "none of them taught an address");
    // 0x9100 is taken where it is said, and a tenant's own tags where its network allows them.
    let plain = |port| (port, frame(BROADCAST, mac(1), 2, 60));
    let out = send(&mut cards, "mixed", &tagged(BROADCAST, mac(1), &[0x9100, 20], 2));
    assert_eq!(out[0], plain("a20"));
    let own = [0x8100, 10, 0x88a8, 7];
    let out = send(&mut cards, "a30", &tagged(BROADCAST, mac(1), &own, 3));
    assert_eq!(out, [("all", tagged(BROADCAST, mac(1), &[&[0x8100, 30], &own[..]].concat(), 3))]);
}

/// QEMU has it announced for a guest that does not do so itself: every network of the port has to learn where it is now.
#[test]
fn the_announcement_of_a_migrated_guest_enters_each_network_of_its_port() {
    let daemon = Daemon::start_with("verify_flow_cache = true", &config());
    let mut cards = cards(&daemon);
    let assert_announced = |cards: &mut [Nic], from: &str, guest: [u8; 6], expected: &[(&str, Vec<u8>)]| {
        let place = PORTS.iter().position(|(name, _)| *name == from).expect("a port");
        let body = [&guest[..], &[0, 0]].concat();
        assert!(cards[place].session.accepts(&Message::new(request::SEND_RARP).body(&body)));
        let mut reached = Vec::new();
        for (card, (name, _)) in cards.iter_mut().zip(&PORTS) {
            let least = expected.iter().filter(|(port, _)| port == name).count();
            for received in card.collect_at_least(least, QUIET) {
                let kind = received.bytes.len() - 48;
                assert_eq!((&received.bytes[..6], &received.bytes[6..12]), (&BROADCAST[..], &guest[..]));
                assert_eq!(received.bytes[kind..kind + 2], [0x80, 0x35], "the ethertype of RARP (RFC 903)");
                reached.push((*name, received.bytes[12..kind].to_vec()));
            }
        }
        assert_eq!(reached, expected);
    };
    let out = |port, tags: &[u16]| (port, bytes_of(tags));
    let [ten, twenty] = [[0x8100, 10], [0x8100, 20]];
    // No network of this trunk is without a tag.
    let expected = [
        ("a10", bytes_of(&[])),
        ("b10", bytes_of(&[])),
        ("a20", bytes_of(&[])),
        ("a30", bytes_of(&[])),
        out("mixed", &[]),
        out("mixed", &twenty),
        out("metro", &[0x88a8, 300, 0x8100, 10]),
        out("metro", &[0x88a8, 300]),
    ];
    assert_announced(&mut cards, "all", mac(1), &expected);
    let expected = [
        out("a10", &[]),
        out("b10", &[]),
        out("a20", &[]),
        out("all", &ten),
        out("all", &twenty),
        out("metro", &[0x88a8, 300, 0x8100, 10]),
        out("metro", &[0x88a8, 300]),
    ];
    assert_announced(&mut cards, "mixed", mac(2), &expected);
    let expected = [
        out("a10", &[]),
        out("b10", &[]),
        out("a20", &[]),
        out("all", &ten),
        out("all", &twenty),
        out("mixed", &[]),
        out("mixed", &twenty),
    ];
    assert_announced(&mut cards, "metro", mac(3), &expected);
    assert_eq!(drops(&daemon, "all", "vlan-untagged") + drops(&daemon, "metro", "vlan-untagged"), 0);
    // Learned in each of them: nobody else gets what is for the guest.
    for (from, tags) in [("a10", &ten), ("a20", &twenty), ("a30", &[0x8100, 30])] {
        let out = send(&mut cards, from, &frame(mac(1), mac(9), 7, 60));
        let priority = if from == "a10" { 0xa000 } else { 0 };
        assert_eq!(out, [("all", tagged(mac(1), mac(9), &[tags[0], tags[1] | priority], 7))]);
    }
}

/// A card that takes frames of any length, and `features` over.
fn large(daemon: &Daemon, port: &str, features: u64) -> Nic {
    let options = NicOptions {
        features: MODERN | EVENT_IDX | features,
        queue_size: 1024,
        send_bytes: FRAME_MAX as u64 + 13,
        send_buffers: 16,
        ..NicOptions::default()
    };
    Nic::connect(&daemon.socket(port), &options)
}

#[test]
fn super_frames_get_and_lose_tags_whole_or_cut() {
    let daemon = Daemon::start(&config());
    let tags: [(&str, &[u16]); 3] = [("a20", &[]), ("all", &[0x8100, 20]), ("metro", &[0x88a8, 300])];
    for (from, sent_with) in tags {
        for (to, wanted) in tags.iter().filter(|(to, _)| *to != from) {
            for features in [OFFLOADS, 0] {
                let mut sender = large(&daemon, from, SEND_OFFLOADS);
                let mut receiver = large(&daemon, to, features);
                receiver.send(&tagged(BROADCAST, mac(2), wanted, 0));
                sender.expect_frame("the first frame");
                for kind in Kind::ALL {
                    check_super_frame(kind, (&mut sender, sent_with), (&mut receiver, wanted));
                }
            }
        }
    }
}

fn bytes_of(tags: &[u16]) -> Vec<u8> {
    tags.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Sends one super-frame from port to port, each with its tags; cut or whole it says what was said, behind the tags.
fn check_super_frame(kind: Kind, (sender, with): (&mut Nic, &[u16]), (receiver, wanted): (&mut Nic, &[u16])) {
    let payload: Vec<u8> = (0..20_000).map(|index: u32| (index * 7 + index / 251) as u8).collect();
    let plain = SuperFrame::new(kind, mac(2), mac(1), &payload, 1400);
    let mut header = plain.header;
    header.csum_start += 2 * with.len() as u16;
    header.hdr_len += 2 * with.len() as u16;
    sender.send_with(header, &[&plain.bytes[..12], &bytes_of(with), &plain.bytes[12..]].concat());
    sender.send(&tagged(mac(2), mac(1), with, 77));
    let tags = bytes_of(wanted);
    let mut sum = 0;
    loop {
        let received = receiver.expect_frame("a part of the super-frame, or the frame that closes it");
        assert_eq!(received.bytes[12..12 + tags.len()], tags, "{kind:?}");
        let untagged = [&received.bytes[..12], &received.bytes[12 + tags.len()..]].concat();
        if number_of(&untagged) == Some(77) {
            break;
        }
        if received.header.gso_type != 0 {
            assert_eq!(untagged, plain.bytes, "{kind:?}");
            assert_eq!(received.header.csum_start, plain.header.csum_start + tags.len() as u16);
            assert_eq!(received.header.hdr_len, plain.header.hdr_len + tags.len() as u16);
            sum += payload.len();
        } else if kind == Kind::UdpFragment4 {
            let (offset, more, _, part) = fragment(&untagged);
            // The first one has the UDP header as well.
            sum += part.len() - if offset == 0 { 8 } else { 0 };
            assert!(more || offset > 0);
        } else {
            assert_eq!(received.header.flags & NEEDS_CSUM, 0);
            sum += verified(&untagged).payload.len();
        }
    }
    assert_eq!(sum, payload.len(), "{kind:?} with {with:x?} to {wanted:x?}");
}

#[test]
fn memberships_change_while_frames_flow_and_none_is_lost() {
    let daemon = Daemon::start(&config());
    let mut cards = cards(&daemon);
    let steady = |cards: &mut [Nic], number| {
        let out = send(cards, "b10", &frame(mac(1), mac(2), number, 60));
        assert_eq!(out, [("a10", frame(mac(1), mac(2), number, 60))], "the others carry on");
    };
    send(&mut cards, "a10", &frame(BROADCAST, mac(1), 0, 60));
    steady(&mut cards, 1);
    // Another VLAN id, another network, more networks: all without a new session.
    for (number, (change, tags)) in [
        (config().replace("vlan = 20", "vlan = 21"), &[0x8100, 21][..]),
        (config().replace("native = \"ten\"\ntrunk = [\"twenty\"]", "native = \"twenty\""), &[]),
        (config().replace("trunk = [\"twenty\"]\ntag", "trunk = [\"t*\"]\ntag"), &[0x8100, 20]),
    ]
    .into_iter()
    .enumerate()
    {
        let number = 10 * (number as u64 + 1);
        daemon.apply(&change);
        steady(&mut cards, number);
        let out = send(&mut cards, "a20", &frame(BROADCAST, mac(3), number + 1, 60));
        assert!(out.contains(&("mixed", tagged(BROADCAST, mac(3), tags, number + 1))), "{out:x?}");
        assert!(out.iter().all(|(port, _)| ["all", "mixed", "metro"].contains(port)), "{out:x?}");
        assert_eq!(daemon.show().port("mixed").connections, 1);
    }
}
