//! Connections and mappings that outlive their switch.

use std::net::Ipv4Addr;

use viaduct_switch::DropReason;
use viaduct_switch::conntrack::{Extent, NotRestored, Record};
use viaduct_switch::nat::{Floating, Mapping, NatSettings, Published};

use crate::lab::*;

const FLOATING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 120);

/// What there is to be kept of a lab.
fn kept(lab: &Lab) -> (Vec<Mapping>, Vec<Record>) {
    let table = lab.switch.conntrack().unwrap();
    let (mut mappings, mut records) = (Vec::new(), Vec::new());
    let mut from = Some(0);
    while let Some(slot) = from {
        from = table.mappings().unwrap().records(slot, 10, lab.now, |_, mapping| mappings.push(mapping));
    }
    assert_eq!(table.records(0, u32::MAX, Extent::Lasting, lab.now, |_, record| records.push(record)), None);
    (mappings, records)
}

/// What came of it, mappings first.
type Outcome = (Vec<Result<(), NotRestored>>, Vec<Result<(), NotRestored>>);

fn restore(lab: &Lab, (mappings, records): &(Vec<Mapping>, Vec<Record>)) -> Outcome {
    let mappings = mappings.iter().map(|mapping| lab.switch.restore_mapping(mapping, &lab.policy, lab.now));
    let mappings = mappings.collect();
    let restored = |record| lab.switch.restore_connection(record, &lab.policy, false, lab.now).map(drop);
    (mappings, records.iter().map(restored).collect())
}

/// A new switch that goes by what this one does, and has what it had.
fn successor(lab: &Lab) -> Lab {
    let other = Lab::with(lab.settings.clone());
    let (mappings, records) = restore(&other, &kept(lab));
    assert!(mappings.iter().chain(&records).all(Result::is_ok), "{mappings:?} {records:?}");
    other
}

/// A connection of A's to the peer's port 80, and how it looks outside.
fn opened(lab: &mut Lab) -> (Ends, Ends) {
    let sent = ends((v4(A), 5000), (v4(PEER), 80));
    let seen = ends_of(&lab.pass(A, &tcp(A, sent, "S", (100, 0))).1);
    lab.pass(PEER, &tcp(PEER, seen.turned(), "SA", (900, 101)));
    lab.pass(A, &tcp(A, sent, "A", (101, 901)));
    (sent, seen)
}

#[test]
fn connections_keep_their_outside_ports_in_either_direction() {
    let mut lab = Lab::new();
    let (sent, seen) = opened(&mut lab);
    let asked = ends((v4(B), 6001), (v4(PEER), 53));
    let question = ends_of(&lab.pass(B, &udp(B, asked)).1);
    let pinged = (v4(C), v4(PEER));
    let id = u16_at(&lab.pass(C, &echo(C, pinged, 77, false)).1, 38);
    for is_first_outside in [true, false] {
        let mut lab = successor(&lab);
        assert_eq!((lab.connections(), lab.mappings()), (3, 3));
        if is_first_outside {
            let (to, data) = lab.pass(PEER, &tcp(PEER, seen.turned(), "A", (70_901, 90_101)));
            assert_eq!((to, ends_of(&data)), (A, sent.turned()));
        }
        let (to, data) = lab.pass(A, &tcp(A, sent, "A", (90_101, 70_901)));
        assert_eq!((to, ends_of(&data)), (PEER, seen));
        assert_eq!(ends_of(&lab.pass(PEER, &udp(PEER, question.turned())).1), asked.turned());
        assert_eq!(ends_of(&lab.pass(B, &udp(B, asked)).1), question);
        let (to, reply) = lab.pass(PEER, &echo(PEER, (v4(PEER), OUTSIDE), id, true));
        assert_eq!((to, u16_at(&reply, 38)), (C, 77));
        // The station's port has the same mapping towards others, too.
        let other = ends((v4(B), 6001), (v4(OTHER), 99));
        assert_eq!(ends_of(&lab.pass(B, &udp(B, other)).1).from, question.from);
        // And they end as they do.
        lab.wait(430);
        assert_eq!((lab.connections(), lab.mappings()), (1, 1));
        assert_eq!(lab.offer(PEER, &udp(PEER, question.turned())).0, 2);
    }
}

#[test]
fn a_port_that_is_held_is_held_for_the_rest_of_its_time() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let seen = ends_of(&lab.pass(A, &udp(A, sent)).1);
    lab.wait(122 + 60);
    assert_eq!((lab.connections(), lab.mappings()), (0, 1));
    let mut other = successor(&lab);
    assert_eq!((other.connections(), other.mappings()), (0, 1));
    assert_eq!(ends_of(&other.pass(A, &udp(A, sent)).1), seen, "its station gets it again");
    let mut other = successor(&lab);
    other.wait(62);
    assert_eq!(other.mappings(), 0);
}

#[test]
fn published_ports_floating_addresses_and_ways_round_the_outside_go_on() {
    let floating =
        vec![Floating { outside: network(2), address: FLOATING, inside: network(0), station: v4(A) }];
    let (outside, inside, station) = (network(2), network(0), v4(B));
    let published = vec![Published {
        outside,
        address: None,
        protocol: 6,
        ports: 10_080..=10_080,
        inside,
        station,
        station_port: 80,
    }];
    let mut lab = Lab::with(NatSettings { floating, published, ..Lab::new().settings });
    lab.add_addresses(&[FLOATING]);
    let open = |lab: &mut Lab, from: usize, sent: Ends| {
        let (to, syn) = lab.pass(from, &tcp(from, sent, "S", (100, 0)));
        let seen = ends_of(&syn);
        lab.pass(to, &tcp(to, seen.turned(), "SA", (900, 101)));
        lab.pass(from, &tcp(from, sent, "A", (101, 901)));
        (from, sent, to, seen)
    };
    let all = [
        (PEER, ends((v4(PEER), 4000), (OUTSIDE, 10_080))),
        (PEER, ends((v4(PEER), 4001), (FLOATING, 22))),
        (A, ends((v4(A), 4002), (v4(PEER), 80))),
        (C, ends((v4(C), 4003), (OUTSIDE, 10_080))),
    ]
    .map(|(from, sent)| open(&mut lab, from, sent));
    let mut other = Lab::with(lab.settings.clone());
    other.add_addresses(&[FLOATING]);
    let (mappings, records) = restore(&other, &kept(&lab));
    assert!(mappings.iter().chain(&records).all(Result::is_ok), "{mappings:?} {records:?}");
    for (from, sent, to, seen) in all {
        let (reached, data) = other.pass(from, &tcp(from, sent, "A", (90_101, 70_901)));
        assert_eq!((reached, ends_of(&data)), (to, seen));
        let (reached, data) = other.pass(to, &tcp(to, seen.turned(), "A", (70_901, 90_101)));
        assert_eq!((reached, ends_of(&data)), (from, sent.turned()));
    }
}

#[test]
fn what_is_translated_no_longer_is_not_restored_and_what_is_not_there_yet_is_waited_for() {
    let mut lab = Lab::new();
    let (_, seen) = opened(&mut lab);
    let kept = kept(&lab);
    // The gateway outside has another address: that of before may still come.
    let mut other = Lab::new();
    other.apply(Ipv4Addr::new(192, 0, 2, 2));
    let waits = vec![Err(NotRestored::Waits)];
    assert_eq!(restore(&other, &kept), (waits.clone(), waits.clone()));
    other.apply(OUTSIDE);
    assert_eq!(restore(&other, &kept), (vec![Ok(())], vec![Ok(())]));
    assert_eq!(restore(&other, &kept).1, vec![Err(NotRestored::Taken)]);
    assert_eq!((other.connections(), other.mappings()), (1, 1));
    // A's network is masqueraded no longer, though others are.
    let sources = vec![lab.settings.sources[1].clone()];
    let other = Lab::with(NatSettings { sources, ..NatSettings::default() });
    assert_eq!(restore(&other, &kept), (vec![Err(NotRestored::NotAllowed)], waits));
    assert_eq!((other.connections(), other.mappings()), (0, 0));
    // The port is published by now.
    let (outside, inside, station) = (network(2), network(0), v4(B));
    let ports = seen.from.1..=seen.from.1;
    let published =
        vec![Published { outside, address: None, protocol: 6, ports, inside, station, station_port: 80 }];
    let mut other = Lab::with(NatSettings { published, ..lab.settings.clone() });
    let (mappings, records) = restore(&other, &kept);
    assert_eq!((mappings, records), (vec![Err(NotRestored::Taken)], vec![Err(NotRestored::NotAllowed)]));
    assert_eq!(other.lose(PEER, &tcp(PEER, seen.turned(), "A", (901, 101))), DropReason::CtNotSyn);
}

#[test]
fn a_connection_without_its_mapping_leaves_nothing_behind() {
    let mut lab = Lab::new();
    opened(&mut lab);
    let (mappings, records) = kept(&lab);
    let other = Lab::new();
    assert_eq!(restore(&other, &(Vec::new(), records.clone())).1, [Err(NotRestored::NotAllowed)]);
    let mut wrong = mappings[0];
    wrong.inside.port = 1;
    assert_eq!(restore(&other, &(vec![wrong], records)).1, [Err(NotRestored::Taken)]);
    assert_eq!((other.connections(), other.mappings()), (0, 1));
}
