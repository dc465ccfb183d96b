//! What is told of a packet, by `trace` and by the lists of mappings.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::explain::{Explanation, Fate, Outcome};
use viaduct_switch::nat::{Cause, Floating, NatSettings, Published};
use viaduct_switch::{Claims, Frame, Head, Metadata};

use crate::lab::*;

const FLOATING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 120);

fn explain(lab: &Lab, station: usize, bytes: &[u8]) -> Explanation {
    let meta = Metadata::new(port(station), bytes.len() as u32, Claims::default());
    let frame = Frame { head: Head::from_bytes(bytes), meta, payload: &[][..] };
    lab.switch.explain(lab.worker.policy(), lab.now, &frame)
}

/// What is told that becomes of the packet's addresses.
fn changes(explanation: &Explanation) -> Vec<Outcome> {
    let outcomes = explanation.steps.iter().flat_map(|step| &step.outcomes);
    let is_change = |outcome: &&Outcome| matches!(outcome, Outcome::Redirected(..) | Outcome::Disguised(..));
    outcomes.filter(is_change).cloned().collect()
}

fn lab() -> Lab {
    let floating =
        vec![Floating { outside: network(2), address: FLOATING, inside: network(0), station: v4(A) }];
    let published = vec![Published {
        outside: network(2),
        address: None,
        protocol: 6,
        ports: 10_080..=10_080,
        inside: network(0),
        station: v4(B),
        station_port: 80,
    }];
    let mut lab = Lab::with(NatSettings { floating, published, ..Lab::new().settings });
    lab.add_addresses(&[FLOATING]);
    lab
}

#[test]
fn what_is_told_of_a_packet_is_what_becomes_of_it() {
    let mut lab = lab();
    let peer = (v4(PEER), 80);
    let frames = [
        (B, udp(B, ends((v4(B), 5000), peer))),
        (A, udp(A, ends((v4(A), 5000), peer))),
        (C, tcp(C, ends((v4(C), 5000), (OUTSIDE, 10_080)), "S", (1, 0))),
        (PEER, tcp(PEER, ends(peer, (OUTSIDE, 10_080)), "S", (1, 0))),
        (PEER, tcp(PEER, ends(peer, (OUTSIDE, 10_081)), "S", (1, 0))),
        (PEER, echo(PEER, (v4(PEER), FLOATING), 7, false)),
        (PEER, echo(PEER, (v4(PEER), OUTSIDE), 7, false)),
        (B, tcp(B, ends((v4(B), 5001), peer), "A", (1, 1))),
        (PEER, tcp(PEER, ends(peer, (v4(B), 80)), "S", (1, 0))),
    ];
    // The second time, connections are known.
    for (station, bytes) in frames.iter().chain(&frames) {
        let before = (lab.connections(), lab.mappings());
        let explained = explain(&lab, *station, bytes);
        assert_eq!((lab.connections(), lab.mappings()), before, "nothing is changed by asking");
        let outside = lab.send(*station, bytes);
        match &explained.fate {
            Fate::Leaves(departures) => {
                let told: Vec<usize> = departures.iter().map(|departure| departure.port.get()).collect();
                let sent: Vec<usize> = outside.sent.iter().map(|(to, _)| *to).collect();
                assert_eq!(told, sent);
                let seen = &outside.sent[0].1;
                for change in changes(&explained) {
                    match change {
                        Outcome::Redirected(to, ..) => assert_eq!(to, IpAddr::from(address_at(seen, 30))),
                        Outcome::Disguised(from, ..) => assert_eq!(from, IpAddr::from(address_at(seen, 26))),
                        _ => {}
                    }
                }
                assert_ne!(changes(&explained), []);
            }
            Fate::ToGateway => assert_eq!((outside.offered.len(), outside.sent.len()), (1, 0)),
            Fate::Dropped(reason) => assert_eq!(outside.dropped, [*reason]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn it_is_told_by_which_rule_a_packet_is_translated() {
    let mut lab = lab();
    let sent = udp(B, ends((v4(B), 5000), (v4(PEER), 53)));
    let chosen = Outcome::Disguised(OUTSIDE.into(), None, Cause::Rule(0));
    assert_eq!(changes(&explain(&lab, B, &sent)), [chosen]);
    let seen = ends_of(&lab.pass(B, &sent).1);
    let known = Outcome::Disguised(OUTSIDE.into(), Some(seen.from.1), Cause::Connection);
    assert_eq!(changes(&explain(&lab, B, &sent)), [known]);
    let back = Outcome::Redirected(v4(B).into(), 5000, Cause::Connection);
    assert_eq!(changes(&explain(&lab, PEER, &udp(PEER, seen.turned()))), [back]);
    let asked = tcp(A, ends((v4(A), 5000), (OUTSIDE, 10_080)), "S", (1, 0));
    let both = [
        Outcome::Redirected(v4(B).into(), 80, Cause::Published),
        Outcome::Disguised(FLOATING.into(), Some(5000), Cause::Floating),
    ];
    assert_eq!(changes(&explain(&lab, A, &asked)), both);
}

#[test]
fn mappings_are_listed() {
    let mut lab = lab();
    let mut expected = Vec::new();
    for own in 5000..5010 {
        let sent = ends((v4(B), own), (v4(PEER), 53));
        expected.push((sent.from, ends_of(&lab.pass(B, &udp(B, sent)).1).from));
    }
    lab.wait(7);
    let mappings = lab.switch.conntrack().unwrap().mappings().unwrap();
    let (mut listed, mut from) = (Vec::new(), Some(0));
    while let Some(start) = from {
        let (page, next) = mappings.list(start, 4, lab.now);
        assert!(page.len() <= 4);
        for mapping in page {
            assert_eq!((mapping.connections, mapping.age_s, mapping.port), (1, 7, port(B)));
            assert_eq!((mapping.inside.network, mapping.outside.network), (network(0), network(2)));
            let end = |end: viaduct_switch::nat::Endpoint| (end.address, end.port);
            listed.push((end(mapping.inside), end(mapping.outside)));
        }
        from = next;
    }
    assert_eq!(listed, expected);
    let snapshot = mappings.snapshot();
    assert_eq!((snapshot.mappings, snapshot.guests, snapshot.counters.made), (10, 1, 10));
    assert_eq!(snapshot.addresses[0].used, [0, 10, 0]);
}
