//! Floating addresses and published ports, from outside and from inside.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use viaduct_switch::DropReason;
use viaduct_switch::nat::{Floating, NatSettings, Published};

use crate::lab::*;

const FLOATING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 120);

fn published(protocol: u8, ports: RangeInclusive<u16>, station: usize, station_port: u16) -> Published {
    let inside = network(NETWORK_OF[station]);
    Published {
        outside: network(2),
        address: None,
        protocol,
        ports,
        inside,
        station: v4(station),
        station_port,
    }
}

/// A has a floating address; B's port 80 is published as 10080, UDP too, and C's 7000 to 7009 as 8000 to 8009.
fn lab() -> Lab {
    let floating =
        vec![Floating { outside: network(2), address: FLOATING, inside: network(0), station: v4(A) }];
    let published = vec![
        published(6, 10_080..=10_080, B, 80),
        published(17, 10_080..=10_080, B, 80),
        published(6, 8000..=8009, C, 7000),
    ];
    let mut lab = Lab::with(NatSettings { floating, published, ..Lab::new().settings });
    lab.add_addresses(&[FLOATING]);
    lab
}

#[test]
fn a_floating_address_leads_both_ways() {
    let mut lab = lab();
    let asked = ends((v4(PEER), 5000), (FLOATING, 22));
    let (to, syn) = lab.pass(PEER, &tcp(PEER, asked, "S", (100, 0)));
    let seen = ends_of(&syn);
    assert_eq!((to, seen), (A, ends(asked.from, (v4(A), 22))), "peers keep their address");
    let (to, answer) = lab.pass(A, &tcp(A, seen.turned(), "SA", (900, 101)));
    assert_eq!((to, ends_of(&answer)), (PEER, asked.turned()));
    // And what the station begins appears with it, its ports as they are.
    let sent = ends((v4(A), 7), (v4(PEER), 53));
    assert_eq!(ends_of(&lab.pass(A, &udp(A, sent)).1), ends((FLOATING, 7), sent.to));
    let (to, request) = lab.pass(PEER, &echo(PEER, (v4(PEER), FLOATING), 77, false));
    assert_eq!((to, address_at(&request, 30), u16_at(&request, 38)), (A, v4(A), 77));
    let (to, reply) = lab.pass(A, &echo(A, (v4(A), v4(PEER)), 77, true));
    assert_eq!((to, address_at(&reply, 26)), (PEER, FLOATING));
    assert_eq!(lab.mappings(), 0);
}

#[test]
fn published_ports_and_ranges_lead_to_their_stations() {
    let mut lab = lab();
    for (protocol, port, station, own) in [(6, 10_080, B, 80), (17, 10_080, B, 80), (6, 8004, C, 7004)] {
        let asked = ends((v4(PEER), 5000), (OUTSIDE, port));
        let frame = if protocol == 6 { tcp(PEER, asked, "S", (100, 0)) } else { udp(PEER, asked) };
        let (to, bytes) = lab.pass(PEER, &frame);
        let seen = ends_of(&bytes);
        assert_eq!((to, seen), (station, ends(asked.from, (v4(station), own))));
        let answer = if protocol == 6 {
            tcp(station, seen.turned(), "SA", (1, 101))
        } else {
            udp(station, seen.turned())
        };
        let (to, bytes) = lab.pass(station, &answer);
        assert_eq!((to, ends_of(&bytes)), (PEER, asked.turned()));
    }
    // Beside the range nothing is published.
    let beside = tcp(PEER, ends((v4(PEER), 5000), (OUTSIDE, 8010)), "S", (1, 0));
    assert_eq!(lab.lose(PEER, &beside), DropReason::NatUnsolicited);
}

#[test]
fn hairpin_by_floating_addresses_and_published_ports() {
    let mut lab = lab();
    // C asks A by its floating address, and B by its published port: both see C as the outside does.
    for (to, address, station, own) in [((FLOATING, 22), OUTSIDE, A, 22), ((OUTSIDE, 10_080), OUTSIDE, B, 80)]
    {
        let sent = ends((v4(C), 5000), to);
        let (port, syn) = lab.pass(C, &tcp(C, sent, "S", (100, 0)));
        let seen = ends_of(&syn);
        assert_eq!((port, seen.from.0, seen.to), (station, address, (v4(station), own)));
        let (port, answer) = lab.pass(station, &tcp(station, seen.turned(), "SA", (1, 101)));
        assert_eq!((port, ends_of(&answer)), (C, sent.turned()));
    }
    // A asks B, in its own network, and appears with its floating address; and itself.
    for (to, station, own) in [((OUTSIDE, 10_080), B, 80), ((FLOATING, 80), A, 80)] {
        let sent = ends((v4(A), 5000), to);
        let (port, syn) = lab.pass(A, &tcp(A, sent, "S", (100, 0)));
        let seen = ends_of(&syn);
        assert_eq!((port, seen), (station, ends((FLOATING, 5000), (v4(station), own))));
        let (port, answer) = lab.pass(station, &tcp(station, seen.turned(), "SA", (1, 101)));
        assert_eq!((port, ends_of(&answer)), (A, sent.turned()));
    }
}

#[test]
fn stations_are_not_reached_by_their_own_addresses_from_outside() {
    let mut lab = lab();
    let direct = ends((v4(PEER), 5000), (v4(B), 80));
    // The outside's own routes know no inside network.
    assert_eq!(lab.offer(PEER, &tcp(PEER, direct, "S", (1, 0))).0, 2);
    assert_eq!(lab.offer(PEER, &echo(PEER, (v4(PEER), OUTSIDE), 7, false)).0, 2, "the gateway answers");
}

#[test]
fn published_ports_are_never_chosen_for_mappings() {
    let mut lab = lab();
    lab.settings.sources[0].ports = 10_079..=10_082;
    lab.apply(OUTSIDE);
    let mut seen: Vec<u16> = (0..3)
        .map(|number| ends_of(&lab.pass(B, &udp(B, ends((v4(B), 5000 + number), (v4(PEER), 53)))).1).from.1)
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [10_079, 10_081, 10_082]);
}
