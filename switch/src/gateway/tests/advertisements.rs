//! Neighbour discovery: RFC 4861, 7.1, 7.2, and RFC 4862, 5.4.

use super::*;
use crate::router::link_local_of;

const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

fn group_of(text: &str) -> (MacAddress, String) {
    let group = discovery::solicited_node(address(text));
    (compose::group_mac(group), group.to_string())
}

/// A solicitation of station 5 for the gateway.
fn solicitation(source: &str, target: &str, option: Option<(u8, MacAddress)>) -> Vec<u8> {
    let (to, group) = group_of(target);
    nd(135, 0, (mac(5), to), (source, &group), (target, option))
}

#[test]
fn who_asks_for_the_gateway_is_answered_and_noted() {
    let own = link_local_of(GATEWAY).to_string();
    for target in ["fd00::1", &own] {
        for source in ["fd00::5", "fe80::5"] {
            let mut lab = Lab::new();
            let out = lab.receive(5, 0, &solicitation(source, target, Some((1, mac(5)))));
            // Router, solicited, override.
            let expected = nd(136, 0xe0, (GATEWAY, mac(5)), (target, source), (target, Some((2, GATEWAY))));
            let [(0, answer)] = &sent(&out)[..] else { panic!("{out:?}") };
            assert_eq!(
                (&answer[..14], &answer[16..]),
                (&expected[..14], &expected[16..]),
                "but for its class"
            );
            assert_eq!(lab.known(0, source), Some(mac(5)));
            assert_eq!(lab.state(0, source), Some(NeighbourState::Stale));
        }
    }
}

#[test]
fn a_probe_for_the_gateways_address_is_answered_to_all() {
    let mut lab = Lab::new();
    let out = lab.receive(5, 0, &solicitation("::", "fd00::1", None));
    let [(0, answer)] = &sent(&out)[..] else { panic!("{out:?}") };
    assert_eq!(answer[..6], [0x33, 0x33, 0, 0, 0, 1]);
    let Contents::Ip(packet) = read(answer) else { panic!() };
    assert_eq!(packet.destination, address("ff02::1"));
    assert_eq!(answer[58], 0xa0, "router and override, not solicited");
    assert_eq!(lab.gateway.table.len(), 0);
}

/// RFC 4861, 7.1.1; what the reading of packets checks has its own tests.
#[test]
fn bad_solicitations_are_neither_answered_nor_noted() {
    let good = solicitation("fd00::5", "fd00::1", Some((1, mac(5))));
    let mut bad_sum = good.clone();
    bad_sum[57] ^= 1;
    let (to, _) = group_of("fd00::1");
    let bad = [
        bad_sum,
        solicitation("::", "fd00::1", Some((1, mac(5)))),
        nd(135, 0, (mac(5), to), ("::", "ff02::1"), ("fd00::1", None)),
        solicitation("fd00::5", "ff02::5", None),
        solicitation("fd00::5", "fd00::1", Some((1, GATEWAY))),
        solicitation("fd00::5", "fd00::1", Some((1, MacAddress::BROADCAST))),
        // Not from this link (CVE-2008-2476).
        solicitation("fd00:1::5", "fd00::1", Some((1, mac(5)))),
        solicitation("2001:db8::5", "fd00::1", Some((1, mac(5)))),
    ];
    let mut lab = Lab::new();
    for frame in bad {
        let out = lab.receive(5, 0, &frame);
        assert_eq!(dropped(&out), [(5, DropReason::GatewayBadMessage)], "{frame:x?}");
        assert_eq!((out.len(), lab.gateway.table.len()), (1, 0));
    }
    for (at, value) in [(21, 254), (55, 1)] {
        let mut frame = good.clone();
        frame[at] = value;
        let out = lab.receive(5, 0, &frame);
        assert_eq!((dropped(&out).len(), out.len(), lab.gateway.table.len()), (1, 1, 0));
    }
    assert_eq!(lab.receive(5, 0, &solicitation("fd00::5", "fd00::9", Some((1, mac(5))))), []);
}

#[test]
fn who_speaks_with_the_gateways_address_is_a_conflict() {
    for frame in [
        solicitation("fd00::1", "fd00::9", Some((1, mac(5)))),
        nd(136, OVERRIDE, (mac(5), GATEWAY), ("fd00::5", "fd00::1"), ("fd00::1", Some((2, mac(5))))),
    ] {
        let mut lab = Lab::new();
        let out = lab.receive(5, 0, &frame);
        let conflict =
            Output::Conflict { port: port(5), network: network(0), address: address("fd00::1"), mac: mac(5) };
        assert_eq!((out.len(), &out[0], lab.gateway.table.len()), (2, &conflict, 0));
        let (_, defence) = &sent(&out)[0];
        assert_eq!((defence[58], &defence[..6]), (0xa0, &[0x33, 0x33, 0, 0, 0, 1][..]), "told to all");
        assert_eq!(lab.receive(5, 0, &frame), [], "once in ten seconds");
    }
}

#[test]
fn a_solicitation_without_option_is_answered_to_its_sender() {
    let mut lab = Lab::new();
    let own = link_local_of(GATEWAY).to_string();
    let out = lab.receive(5, 0, &nd(135, 0, (mac(5), GATEWAY), ("fe80::5", &own), (&own, None)));
    assert_eq!(sent(&out)[0].1[..6], mac(5).0);
    assert_eq!(lab.gateway.table.len(), 0);
}

fn advertisement(station: usize, flags: u8, option: Option<(u8, MacAddress)>) -> Vec<u8> {
    let own = link_local_of(GATEWAY).to_string();
    nd(136, flags, (mac(station), GATEWAY), ("fd00::5", &own), ("fd00::5", option))
}

/// RFC 4861, 7.2.5: what becomes of an entry that is asked for.
#[test]
fn who_is_asked_for_becomes_known_by_an_advertisement() {
    let option = Some((2, mac(5)));
    for (flags, option, expected) in [
        (SOLICITED, option, NeighbourState::Reachable),
        (SOLICITED | OVERRIDE, option, NeighbourState::Reachable),
        (0, option, NeighbourState::Stale),
        (OVERRIDE, option, NeighbourState::Stale),
        (SOLICITED | OVERRIDE, None, NeighbourState::Incomplete),
    ] {
        let mut lab = Lab::new();
        lab.receive(77, 1, &udp(mac(77), "fd00:1::77", "fd00::5", 64, 4));
        assert_eq!(lab.state(0, "fd00::5"), Some(NeighbourState::Incomplete));
        let out = lab.receive(5, 0, &advertisement(5, flags, option));
        assert_eq!(lab.state(0, "fd00::5"), Some(expected), "{flags:x}");
        let is_known = expected != NeighbourState::Incomplete;
        assert_eq!((again(&out).len(), lab.known(0, "fd00::5").is_some()), (usize::from(is_known), is_known));
    }
}

#[test]
fn nobody_becomes_known_by_an_advertisement_that_was_not_asked_for() {
    let mut lab = Lab::new();
    assert_eq!(lab.receive(5, 0, &advertisement(5, SOLICITED | OVERRIDE, Some((2, mac(5))))), []);
    assert_eq!(lab.gateway.table.len(), 0);
}

/// RFC 4861, 7.2.5, I and II, at the port where the neighbour is.
#[test]
fn a_known_neighbour_may_say_that_it_moved() {
    let other = Some((2, mac(6)));
    for (flags, option, state, station) in [
        (0, other, NeighbourState::Stale, 5),
        (SOLICITED, other, NeighbourState::Stale, 5),
        (OVERRIDE, other, NeighbourState::Stale, 6),
        (OVERRIDE, Some((2, mac(5))), NeighbourState::Reachable, 5),
        (0, None, NeighbourState::Reachable, 5),
    ] {
        let mut lab = Lab::new();
        lab.introduce(0, 5, "fd00::5");
        lab.receive(5, 0, &advertisement(5, flags, option));
        assert_eq!(lab.state(0, "fd00::5"), Some(state), "{flags:x} {option:?}");
        assert_eq!(lab.known(0, "fd00::5"), Some(mac(station)));
    }
    // Who is not reachable stays as it is if the claim does not hold against it.
    let mut lab = Lab::new();
    lab.receive(5, 0, &solicitation("fd00::5", "fd00::1", Some((1, mac(5)))));
    lab.receive(5, 0, &advertisement(5, 0, other));
    assert_eq!(lab.known(0, "fd00::5"), Some(mac(5)));
}

#[test]
fn an_answer_to_all_is_none() {
    let mut lab = Lab::new();
    lab.introduce(0, 5, "fd00::5");
    let all = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
    let frame = nd(136, SOLICITED, (mac(5), all), ("fd00::5", "ff02::1"), ("fd00::5", Some((2, mac(6)))));
    assert_eq!(dropped(&lab.receive(5, 0, &frame)), [(5, DropReason::GatewayBadMessage)]);
    assert_eq!(lab.known(0, "fd00::5"), Some(mac(5)));
}

#[test]
fn an_address_is_probed_once_and_used_after_a_second() {
    let mut lab = Lab::new();
    let own = link_local_of(GATEWAY).to_string();
    lab.gateway.probe(network(0), address(&own), lab.now);
    let out = lab.wait(1000);
    let (to, group) = group_of(&own);
    let expected = nd(135, 0, (GATEWAY, to), ("::", &group), (&own, None));
    let [(0, probe)] = &sent(&out)[..] else { panic!("{out:?}") };
    assert_eq!(probe[16..], expected[16..]);
    assert_eq!(lab.receive(5, 0, &solicitation("fe80::5", &own, Some((1, mac(5))))), [], "not answered yet");
    let out = lab.wait(1000);
    assert!(matches!(out[0], Output::Probed { taken_by: None, .. }), "{out:?}");
    assert_eq!(sent(&lab.receive(5, 0, &solicitation("fe80::5", &own, Some((1, mac(5)))))).len(), 1);
}

#[test]
fn an_address_that_somebody_has_or_wants_is_not_used() {
    let own = link_local_of(GATEWAY).to_string();
    let all = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
    for answer in [
        nd(136, OVERRIDE, (mac(5), all), (&own, "ff02::1"), (&own, Some((2, mac(5))))),
        solicitation("::", &own, None),
    ] {
        let mut lab = Lab::new();
        lab.gateway.probe(network(0), address(&own), lab.now);
        lab.wait(1000);
        let out = lab.receive(5, 0, &answer);
        assert!(matches!(out[..], [Output::Probed { taken_by: Some(by), .. }] if by == mac(5)), "{out:?}");
        // Without an address it asks nobody.
        assert_eq!(lab.wait(10_000), []);
        assert_eq!(sent(&lab.receive(77, 1, &udp(mac(77), "fd00:1::77", "fd00::5", 64, 4))), []);
    }
}
