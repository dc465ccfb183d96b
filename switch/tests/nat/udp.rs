//! UDP: RFC 4787.

use viaduct_switch::DropReason;
use viaduct_switch::nat::{FilteringBehavior, MappingBehavior};

use crate::lab::*;

#[test]
fn masqueraded_packets_are_answered() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let (to, request) = lab.pass(A, &udp(A, sent));
    let seen = ends_of(&request);
    assert_eq!((to, &request[..6], &request[6..12]), (PEER, &mac(PEER).0[..], &gateway(2).0[..]));
    assert_eq!((seen.from.0, seen.to), (OUTSIDE, sent.to));
    assert_eq!(request[22], 8, "the hop limit");
    let (to, reply) = lab.pass(PEER, &udp(PEER, seen.turned()));
    assert_eq!((to, ends_of(&reply)), (A, sent.turned()));
    // Both again, by the connection that is known.
    assert_eq!(lab.pass(A, &udp(A, sent)).1, request);
    assert_eq!(lab.pass(PEER, &udp(PEER, seen.turned())).1, reply);
    assert_eq!((lab.connections(), lab.mappings()), (1, 1));
}

#[test]
fn udp_r1_endpoint_independent_mapping() {
    let mut lab = Lab::new();
    let own = (v4(A), 5000);
    let mapped = ends_of(&lab.pass(A, &udp(A, ends(own, (v4(PEER), 53)))).1).from;
    for to in [(v4(PEER), 54), (v4(OTHER), 53), (std::net::Ipv4Addr::new(198, 51, 100, 7), 9)] {
        assert_eq!(ends_of(&lab.pass(A, &udp(A, ends(own, to))).1), ends(mapped, to));
    }
    assert_eq!((lab.connections(), lab.mappings()), (4, 1));
    // With the other behavior, each peer sees another port.
    let mut settings = lab.settings.clone();
    settings.sources[0].mapping = MappingBehavior::EndpointDependent;
    let mut lab = Lab::with(settings);
    let mut ports = [53, 54, 55].map(|to| ends_of(&lab.pass(A, &udp(A, ends(own, (v4(PEER), to)))).1).from.1);
    ports.sort_unstable();
    assert!(ports.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(lab.mappings(), 3);
}

#[test]
fn udp_r3_no_port_is_shared_and_parity_and_range_are_kept() {
    let mut lab = Lab::new();
    let mut seen = std::collections::BTreeSet::new();
    for station in [A, B, C] {
        for own in [5000, 5001, 5002, 1024, 65_535] {
            let out = lab.pass(station, &udp(station, ends((v4(station), own), (v4(PEER), 53))));
            let mapped = ends_of(&out.1).from.1;
            assert_eq!(mapped % 2, own % 2, "parity");
            assert!((1024..=65_023).contains(&mapped), "range");
            assert!(seen.insert(mapped), "no port stands for two stations' ports");
        }
    }
    let mut settings = lab.settings.clone();
    settings.sources[0].ports = 512..=2000;
    let mut lab = Lab::with(settings);
    for (own, range) in [(68, 512..=1023), (1023, 512..=1023), (1024, 1024..=2000), (9999, 1024..=2000)] {
        let mapped = ends_of(&lab.pass(A, &udp(A, ends((v4(A), own), (v4(PEER), 53)))).1).from.1;
        assert!(range.contains(&mapped), "{own} to {mapped}");
    }
}

#[test]
fn udp_r5_a_mapping_lives_for_two_minutes_without_an_answer_and_for_five_with_one() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let seen = ends_of(&lab.pass(A, &udp(A, sent)).1);
    lab.wait(119);
    assert_eq!(ends_of(&lab.pass(PEER, &udp(PEER, seen.turned())).1), sent.turned());
    lab.wait(299);
    assert_eq!(ends_of(&lab.pass(PEER, &udp(PEER, seen.turned())).1), sent.turned());
    lab.wait(302);
    assert_eq!(lab.connections(), 0);
    assert_eq!(lab.offer(PEER, &udp(PEER, seen.turned())).0, 2, "to the gateway, which has the address");
}

#[test]
fn udp_r6_what_goes_out_refreshes() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let seen = ends_of(&lab.pass(A, &udp(A, sent)).1);
    for _ in 0..10 {
        lab.wait(100);
        assert_eq!(ends_of(&lab.pass(A, &udp(A, sent)).1), seen);
    }
    assert_eq!(ends_of(&lab.pass(PEER, &udp(PEER, seen.turned())).1), sent.turned());
}

#[test]
fn udp_r8_filtering_is_address_dependent_unless_said_otherwise() {
    let behaviors = [
        (FilteringBehavior::AddressDependent, [true, false]),
        (FilteringBehavior::EndpointIndependent, [true, true]),
        (FilteringBehavior::AddressAndPortDependent, [false, false]),
    ];
    for (filtering, let_in) in behaviors {
        let mut settings = Lab::new().settings;
        settings.sources[0].filtering = filtering;
        let mut lab = Lab::with(settings);
        let sent = ends((v4(A), 5000), (v4(PEER), 53));
        let mapped = ends_of(&lab.pass(A, &udp(A, sent)).1).from;
        for ((from, own), is_in) in [(PEER, 54), (OTHER, 53)].into_iter().zip(let_in) {
            let unasked = ends((v4(from), own), mapped);
            if is_in {
                let expected = ends((v4(from), own), sent.from);
                assert_eq!(ends_of(&lab.pass(from, &udp(from, unasked)).1), expected, "{filtering:?}");
                // And is answered by the same mapping.
                assert_eq!(ends_of(&lab.pass(A, &udp(A, expected.turned())).1), unasked.turned());
            } else {
                assert_eq!(lab.lose(from, &udp(from, unasked)), DropReason::NatFiltered, "{filtering:?}");
            }
        }
        assert_eq!(lab.mappings(), 1);
    }
}

#[test]
fn udp_r9_hairpin_with_the_external_source_address_and_port() {
    let mut lab = Lab::new();
    for (from, to) in [(B, A), (C, A), (A, A)] {
        let mapped = ends_of(&lab.pass(to, &udp(to, ends((v4(to), 5000), (v4(PEER), 53)))).1).from;
        let sent = ends((v4(from), 6000), mapped);
        let (port, bytes) = lab.pass(from, &udp(from, sent));
        let seen = ends_of(&bytes);
        assert_eq!((port, seen.to), (to, (v4(to), 5000)));
        let outward = ends_of(&lab.pass(from, &udp(from, ends((v4(from), 6000), (v4(PEER), 53)))).1).from;
        assert_eq!(seen.from, outward, "its external source address and port");
        let (port, bytes) = lab.pass(to, &udp(to, seen.turned()));
        assert_eq!((port, ends_of(&bytes)), (from, sent.turned()));
    }
}

#[test]
fn udp_r11_the_same_packets_get_the_same_mappings_whatever_else_happens() {
    let mapped = |others: usize| {
        let mut lab = Lab::new();
        let own = (v4(A), 5000);
        let first = ends_of(&lab.pass(A, &udp(A, ends(own, (v4(PEER), 53)))).1).from;
        for other in 0..others as u16 {
            lab.pass(B, &udp(B, ends((v4(B), 2000 + other), (v4(PEER), 53))));
        }
        // Behavior does not change with what is in use (RFC 4787, 7).
        for to in [(v4(OTHER), 1), (v4(PEER), 2)] {
            assert_eq!(ends_of(&lab.pass(A, &udp(A, ends(own, to))).1).from, first);
        }
        first
    };
    assert_eq!(mapped(0), mapped(500));
}

/// RFC 4787, 9, REQ-12: whatever error is told of a mapping's packets, by whomever, it stays for as long as without.
#[test]
fn udp_r12_icmp_never_ends_a_mapping() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let request = lab.pass(A, &udp(A, sent)).1;
    let seen = ends_of(&request);
    lab.pass(PEER, &udp(PEER, seen.turned()));
    let before = (lab.connections(), lab.mappings());
    for (kind, code) in errors() {
        for (from, reporter) in [(PEER, v4(PEER)), (ROUTER, FAR_ROUTER)] {
            let report = error(from, (reporter, OUTSIDE), (kind, code), &request, 1000);
            let (to, told) = lab.pass(from, &report);
            assert_eq!((to, told[34], told[35]), (A, kind, code), "it arrives");
            assert_eq!((lab.connections(), lab.mappings()), before, "{kind} {code}");
            assert_eq!(lab.pass(A, &udp(A, sent)).1, request, "{kind} {code}: by the same outside end");
            let (to, answer) = lab.pass(PEER, &udp(PEER, seen.turned()));
            assert_eq!((to, ends_of(&answer)), (A, sent.turned()), "{kind} {code}");
        }
    }
    // As long as after any other answer.
    lab.pass(PEER, &error(PEER, (v4(PEER), OUTSIDE), (3, 3), &request, 1000));
    lab.wait(299);
    assert_eq!(ends_of(&lab.pass(PEER, &udp(PEER, seen.turned())).1), sent.turned());
    assert_eq!((lab.connections(), lab.mappings()), before);
}

#[test]
fn a_udp_packet_without_a_checksum_stays_so() {
    let mut lab = Lab::new();
    let mut frame = udp(A, ends((v4(A), 5000), (v4(PEER), 53)));
    frame[40..42].fill(0);
    assert_eq!(lab.pass(A, &frame).1[40..42], [0, 0]);
}
