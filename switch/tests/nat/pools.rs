//! Pools, limits, holds and exhaustion (RFC 6888), and what happens when addresses and rules change.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use viaduct_switch::DropReason;
use viaduct_switch::nat::{Floating, NatSettings, SourceAddress, SourceNat, SourceRule};

use crate::lab::*;

/// A station of A's network: those with even numbers send by A's port, the others by B's, since no port may have all that is
/// left of a table.
fn guest(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + 0x1_0000 + number)
}

/// The outside end of what a guest sends from a port to the peer.
fn mapped(lab: &mut Lab, guest: Ipv4Addr, port: u16) -> Option<(Ipv4Addr, u16)> {
    let station = if guest.to_bits().is_multiple_of(2) { A } else { B };
    let outside = lab.send(station, &udp(station, ends((guest, port), (v4(PEER), 53))));
    outside.sent.first().map(|(_, bytes)| ends_of(bytes).from)
}

fn pool(ranges: &[(Ipv4Addr, Ipv4Addr)], ports_per_guest: Option<u32>) -> NatSettings {
    let to = SourceAddress::Pool(ranges.to_vec());
    let rules = vec![SourceRule { sources: "0.0.0.0/0".parse().unwrap(), to }];
    let masquerade = SourceNat::masquerade(network(0), network(2));
    NatSettings {
        sources: vec![SourceNat { rules, ports_per_guest, ..masquerade }],
        ..NatSettings::default()
    }
}

fn outside_address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

#[test]
fn pools_are_paired_and_need_not_be_contiguous() {
    let ranges = [(outside_address(100), outside_address(101)), (outside_address(200), outside_address(200))];
    let mut lab = Lab::with(pool(&ranges, None));
    let mut used: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    for number in 0..30 {
        let addresses: BTreeSet<Ipv4Addr> =
            (0..5).map(|port| mapped(&mut lab, guest(number), 5000 + port).unwrap().0).collect();
        assert_eq!(addresses.len(), 1, "a station has one address");
        *used.entry(*addresses.first().unwrap()).or_default() += 1;
    }
    let all = [100, 101, 200].map(outside_address);
    assert_eq!(used, all.into_iter().map(|address| (address, 10)).collect(), "and all are used alike");
}

#[test]
fn a_guest_has_no_more_ports_than_it_may() {
    let mut lab = Lab::with(pool(&[(OUTSIDE, OUTSIDE)], Some(10)));
    for port in 0..10 {
        assert!(mapped(&mut lab, guest(0), 5000 + port).is_some());
    }
    assert_eq!(mapped(&mut lab, guest(0), 6000), None);
    assert!(mapped(&mut lab, guest(0), 5000).is_some(), "what it has goes on");
    assert!(mapped(&mut lab, guest(1), 6000).is_some(), "others have their own");
    // Without a limit, one takes no more than is left to others.
    let mut settings = pool(&[(OUTSIDE, OUTSIDE)], None);
    settings.sources[0].ports = 2000..=2099;
    let mut lab = Lab::with(settings);
    let taken = (0..100).filter(|port| mapped(&mut lab, guest(0), 5000 + port).is_some()).count();
    assert_eq!(taken, 50);
    assert!(mapped(&mut lab, guest(1), 5000).is_some());
}

#[test]
fn ports_cannot_be_guessed() {
    let mut lab = Lab::new();
    let ports: Vec<u16> =
        (0..400).map(|port| mapped(&mut lab, guest(0), 5000 + 2 * port).unwrap().1).collect();
    let distances: BTreeSet<u16> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(distances.len() > 390, "{} distances", distances.len());
    // They are spread over all of the range.
    for quarter in 0..4 {
        let range = 1024 + quarter * 16_000..1024 + (quarter + 1) * 16_000;
        let count = ports.iter().filter(|port| range.contains(&u32::from(**port))).count();
        assert!((50..=150).contains(&count), "{count} of 400 in {range:?}");
    }
}

#[test]
fn a_port_is_held_for_two_minutes_and_its_station_gets_it_again() {
    let mut settings = Lab::new().settings;
    settings.sources[0].ports = 2000..=2000;
    let mut lab = Lab::with(settings);
    let own = mapped(&mut lab, guest(0), 5000);
    assert_eq!(own, Some((OUTSIDE, 2000)));
    // Its connection ends two minutes later, its port is free two minutes after that.
    lab.wait(125);
    assert_eq!((lab.connections(), lab.mappings()), (0, 1));
    assert_eq!(mapped(&mut lab, guest(1), 5000), None);
    assert_eq!(mapped(&mut lab, guest(0), 5000), own);
    lab.wait(125 + 110);
    assert_eq!(mapped(&mut lab, guest(1), 5000), None);
    lab.wait(15);
    assert_eq!(mapped(&mut lab, guest(1), 5000), own);
    let counters = lab.switch.conntrack().unwrap().mappings().unwrap().snapshot().counters;
    assert_eq!((counters.made, counters.renewed, counters.ended, counters.exhausted), (2, 1, 1, 2));
}

/// RFC 5508, 6, REQ-8: it is counted, and the gateway gets what could not leave as it came in, to tell its sender.
#[test]
fn icmp_r8_exhaustion_is_counted_and_the_gateways_to_answer() {
    let mut settings = Lab::new().settings;
    settings.sources[0].ports = 2000..=2000;
    let mut lab = Lab::with(settings);
    let of = |station| {
        let (from, to) = (v4(station), v4(PEER));
        let request = ends((from, 5000), (to, 53));
        [udp(station, request), tcp(station, request, "S", (1, 0)), echo(station, (from, to), 77, false)]
    };
    for frame in of(B) {
        lab.pass(B, &frame);
    }
    let exhausted = |lab: &Lab| {
        let counters = lab.switch.conntrack().unwrap().mappings().unwrap().snapshot().counters;
        counters.exhausted
    };
    for sent in of(A) {
        let before = exhausted(&lab);
        let outside = lab.send(A, &sent);
        assert_eq!(
            (&outside.dropped[..], &outside.offered[..]),
            (&[DropReason::NatExhausted][..], &[(0, sent.clone())][..])
        );
        assert_eq!(exhausted(&lab), before + 1, "it is counted");
        // Its sender is told by type 3, code 13, with what it sent.
        let told = lab.answer(A, &sent);
        assert_eq!((address_at(&told, 26), address_at(&told, 30)), (Ipv4Addr::new(10, 0, 0, 1), v4(A)));
        assert_eq!((told[23], told[34], told[35]), (1, 3, 13));
        assert_eq!(told[42..], sent[14..told.len() - 28], "it quotes what was sent");
    }
    assert_eq!(lab.mappings(), 3);
}

#[test]
fn one_address_has_64000_mappings() {
    let settings = pool(&[(OUTSIDE, OUTSIDE)], Some(1000));
    let mut lab = Lab::sized(settings, 120_000);
    let mut seen = BTreeSet::new();
    for number in 0..64 {
        for port in 0..1000 {
            assert!(seen.insert(mapped(&mut lab, guest(number), 5000 + port).unwrap()));
        }
    }
    assert_eq!((seen.len(), lab.mappings()), (64_000, 64_000));
    assert_eq!(mapped(&mut lab, guest(64), 5000), None, "all are taken");
    let mappings = lab.switch.conntrack().unwrap().mappings().unwrap();
    assert_eq!(mappings.snapshot().addresses[0].used, [0, 64_000, 0]);
    // Ports of TCP are others.
    let syn = tcp(A, ends((guest(64), 5000), (v4(PEER), 80)), "S", (1, 0));
    assert_eq!(lab.send(A, &syn).sent.len(), 1);
    lab.wait(245);
    assert_eq!(lab.mappings(), 1);
    assert!(mapped(&mut lab, guest(64), 5000).is_some(), "they are used again");
}

#[test]
fn sixteen_addresses_have_a_million_translations() {
    let settings = pool(&[(outside_address(100), outside_address(115))], Some(1000));
    let mut lab = Lab::sized(settings, 1_750_000);
    let mut seen = HashSet::with_capacity(1_000_000);
    for number in 0..1000 {
        for port in 0..1000 {
            let (address, port) = mapped(&mut lab, guest(number), 5000 + port).unwrap();
            assert!((outside_address(100)..=outside_address(115)).contains(&address), "{address}");
            assert!(seen.insert((address, port)), "{address} {port} stands for two");
        }
    }
    assert_eq!(seen.len(), 1_000_000);
    assert_eq!((lab.mappings(), lab.connections()), (1_000_000, 1_000_000));
    let table = lab.switch.conntrack().unwrap();
    let snapshot = table.mappings().unwrap().snapshot();
    assert_eq!(snapshot.addresses.len(), 16);
    let each = snapshot.bytes / snapshot.room;
    assert!(each <= 200, "{each} bytes for a mapping, its station and its peer");
}

#[test]
fn masquerading_follows_the_outside_address() {
    let floating = outside_address(120);
    let of_b = Floating { outside: network(2), address: floating, inside: network(0), station: v4(B) };
    let mut lab = Lab::with(NatSettings { floating: vec![of_b], ..Lab::new().settings });
    lab.add_addresses(&[floating]);
    let (by_mapping, by_floating) =
        (ends((v4(A), 5000), (v4(PEER), 53)), ends((v4(B), 5000), (v4(PEER), 53)));
    lab.pass(A, &udp(A, by_mapping));
    let kept = ends_of(&lab.pass(B, &udp(B, by_floating)).1);
    assert_eq!(lab.apply(OUTSIDE), 0, "nothing has changed");
    // Another address: what relied on the old one ends, and nothing else.
    let other = outside_address(77);
    assert_eq!(lab.apply(other), 1);
    assert_eq!((lab.connections(), lab.mappings()), (1, 0));
    assert_eq!(ends_of(&lab.pass(PEER, &udp(PEER, kept.turned())).1), by_floating.turned());
    assert_eq!(ends_of(&lab.pass(A, &udp(A, by_mapping)).1).from.0, other);
    // A rule that goes takes its connections along.
    lab.settings.floating.clear();
    assert_eq!(lab.apply(other), 1);
    assert_eq!(lab.connections(), 1);
    lab.settings.sources.clear();
    assert_eq!(lab.apply(other), 1);
    assert_eq!((lab.connections(), lab.mappings()), (0, 0));
}

#[test]
fn without_an_outside_address_nothing_leaves() {
    let mut settings = pool(&[], None);
    settings.sources[0].rules[0].to = SourceAddress::Pool(Vec::new());
    let mut lab = Lab::with(settings);
    let outside = lab.send(A, &udp(A, ends((v4(A), 5000), (v4(PEER), 53))));
    assert_eq!((&outside.dropped[..], outside.sent.len()), (&[DropReason::NatExhausted][..], 0));
}
