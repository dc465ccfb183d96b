//! ICMP: RFC 5508.

use std::net::Ipv4Addr;

use viaduct_switch::DropReason;
use viaduct_switch::gateway::Output;

use crate::lab::*;

#[test]
fn icmp_r1_queries_pass_and_a_clash_of_identifiers_is_resolved() {
    let mut lab = Lab::new();
    let mut ids = std::collections::BTreeSet::new();
    for station in [A, B, C] {
        let (to, request) = lab.pass(station, &echo(station, (v4(station), v4(PEER)), 77, false));
        assert_eq!((to, address_at(&request, 26)), (PEER, OUTSIDE));
        let id = u16_at(&request, 38);
        assert!(ids.insert(id), "all have sent 77");
        let (to, reply) = lab.pass(PEER, &echo(PEER, (v4(PEER), OUTSIDE), id, true));
        assert_eq!((to, address_at(&reply, 30), u16_at(&reply, 38)), (station, v4(station), 77));
    }
}

#[test]
fn icmp_r2_a_query_is_remembered_for_a_minute() {
    let mut lab = Lab::new();
    let id = u16_at(&lab.pass(A, &echo(A, (v4(A), v4(PEER)), 77, false)).1, 38);
    lab.wait(60);
    assert_eq!(lab.pass(PEER, &echo(PEER, (v4(PEER), OUTSIDE), id, true)).0, A);
    lab.wait(62);
    assert_eq!(lab.offer(PEER, &echo(PEER, (v4(PEER), OUTSIDE), id, true)).0, 2);
}

/// What a station sends, how much of it is quoted, and how it looks outside.
fn requests(lab: &mut Lab) -> Vec<(Vec<u8>, Vec<u8>)> {
    let to = (v4(PEER), 80);
    let frames = [
        udp(A, ends((v4(A), 5000), to)),
        tcp(A, ends((v4(A), 5001), to), "S", (100, 0)),
        echo(A, (v4(A), v4(PEER)), 77, false),
    ];
    frames.map(|sent| (sent.clone(), lab.pass(A, &sent).1)).into()
}

/// RFC 5508, 4.2, REQ-3 to REQ-5: whoever reports an error about what a station sent, the station sees the packet that it sent.
#[test]
fn icmp_r3_r4_r5_errors_are_translated_with_what_they_quote() {
    let mut lab = Lab::new();
    for (sent, seen) in requests(&mut lab) {
        for (from, reporter) in [(PEER, v4(PEER)), (ROUTER, FAR_ROUTER)] {
            for (kind, code) in [(3, 1), (3, 3), (3, 4), (11, 0), (12, 0)] {
                for quoted in [28, 40, 1000] {
                    let report = error(from, (reporter, OUTSIDE), (kind, code), &seen, quoted);
                    let (to, got) = lab.pass(from, &report);
                    assert_eq!((to, address_at(&got, 26), address_at(&got, 30)), (A, reporter, v4(A)));
                    assert_eq!((got[34], got[35], &got[38..42]), (kind, code, &report[38..42]));
                    // All but the hop limit and the header's checksum, which it passed a router with.
                    let original = &sent[14..];
                    let inner = &got[42..];
                    assert_eq!(inner[..8], original[..8]);
                    assert_eq!(inner[9], original[9]);
                    assert_eq!(inner[12..], original[12..inner.len()], "as the station sent it");
                }
            }
        }
    }
}

/// RFC 1191 through a translation: who is too long for what follows learns the length from the router that knows it, about the
/// packet that he himself sent, be that router the gateway or one far away.
#[test]
fn path_mtu_is_discovered_through_nat() {
    let long = |station, ends: Ends| {
        let mut frame = Vec::new();
        let ip = ethernet(station).ipv4(ends.from.0.octets(), ends.to.0.octets(), 9);
        ip.udp(ends.from.1, ends.to.1).write(&mut frame, &[7; 1480]).unwrap();
        frame
    };
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    // The gateway's own, on the way out: A's network takes 9000 bytes, the outside 1500.
    let told = lab.answer(A, &long(A, sent));
    assert_eq!((address_at(&told, 26), address_at(&told, 30)), (Ipv4Addr::new(10, 0, 0, 1), v4(A)));
    assert_eq!((told[34], told[35], u16_at(&told, 40)), (3, 4, 1500));
    assert_eq!(told[42..], long(A, sent)[14..told.len() - 28], "as the station sent it");
    // A router's far away.
    let request = lab.pass(A, &udp(A, sent)).1;
    let (to, told) = lab.pass(ROUTER, &error(ROUTER, (FAR_ROUTER, OUTSIDE), (3, 4), &request, 1000));
    assert_eq!((to, told[34], told[35], u16_at(&told, 40)), (A, 3, 4, 0x578));
    assert_eq!(ends_of(&told[28..]), sent);
    // On the way in: the peer learns it about what it sent to the outside address, and nothing of who is behind that.
    let of_c = ends((v4(C), 5000), (v4(PEER), 53));
    let seen = ends_of(&lab.pass(C, &udp(C, of_c)).1);
    let answer = long(PEER, seen.turned());
    let told = lab.answer(PEER, &answer);
    assert_eq!((address_at(&told, 26), address_at(&told, 30)), (OUTSIDE, v4(PEER)));
    assert_eq!((told[34], told[35], u16_at(&told, 40)), (3, 4, 1500));
    assert_eq!(told[42..], answer[14..told.len() - 28], "as the peer sent it");
}

/// A station, or a router behind it, reports an error about what it got: outside that is the outside address's.
#[test]
fn icmp_r5_errors_of_inside_stations_appear_with_the_outside_address() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let seen = ends_of(&lab.pass(A, &udp(A, sent)).1);
    let answer = udp(PEER, seen.turned());
    let (_, got) = lab.pass(PEER, &answer);
    for reporter in [v4(A), Ipv4Addr::new(10, 0, 0, 200)] {
        let report = error(A, (reporter, v4(PEER)), (3, 3), &got, 1000);
        let (to, told) = lab.pass(A, &report);
        assert_eq!((to, address_at(&told, 26), address_at(&told, 30)), (PEER, OUTSIDE, v4(PEER)));
        assert_eq!(told[42 + 12..], answer[14 + 12..], "it quotes what the peer sent");
    }
}

#[test]
fn icmp_r6_errors_neither_refresh_nor_end_anything() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let request = lab.pass(A, &udp(A, sent)).1;
    let report = error(PEER, (v4(PEER), OUTSIDE), (3, 3), &request, 1000);
    for _ in 0..11 {
        lab.wait(10);
        lab.pass(PEER, &report);
    }
    assert_eq!(lab.connections(), 1, "it ends nothing");
    lab.wait(12);
    assert_eq!(lab.connections(), 0, "two minutes after the request");
    assert_eq!(lab.offer(PEER, &report).0, 2, "and is about nothing that is known");
}

#[test]
fn icmp_r7_hairpinned_errors() {
    let mut lab = Lab::new();
    let mapped = ends_of(&lab.pass(A, &udp(A, ends((v4(A), 5000), (v4(PEER), 53)))).1).from;
    let request = udp(C, ends((v4(C), 6000), mapped));
    let (to, got) = lab.pass(C, &request);
    assert_eq!(to, A);
    let report = error(A, (v4(A), address_at(&got, 26)), (3, 3), &got, 1000);
    let (to, told) = lab.pass(A, &report);
    assert_eq!((to, address_at(&told, 26), address_at(&told, 30)), (C, OUTSIDE, v4(C)));
    assert_eq!(told[42 + 12..], request[14 + 12..]);
}

#[test]
fn errors_that_are_forged_or_about_nothing_are_dropped() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5001), (v4(PEER), 80));
    let seen = lab.pass(A, &tcp(A, sent, "S", (100, 0))).1;
    // About another port: nobody's, so that it is the gateway's to know, which has sent nothing and answers nothing.
    let mut other = seen.clone();
    other[35] ^= 1;
    let whole = [udp(PEER, ends((OUTSIDE, 6001), (v4(PEER), 53))), other, seen.clone()];
    for (about, quoted) in whole.iter().zip([28, 28, 20]) {
        for (kind, code) in errors() {
            let report = error(ROUTER, (FAR_ROUTER, OUTSIDE), (kind, code), about, quoted);
            let answers = lab.answers(ROUTER, &report);
            let is_end = |output: &Output| matches!(output, Output::Local { .. } | Output::Dropped { .. });
            assert!(answers.iter().all(is_end), "{kind} {code}: {answers:?}");
            let is_dropped = matches!(answers.last(), None | Some(Output::Dropped { .. }));
            assert!(is_dropped, "{kind} {code}: {answers:?}");
        }
    }
    // About a segment that was never sent.
    let mut never = seen.clone();
    never[38] ^= 1;
    let report = error(ROUTER, (FAR_ROUTER, OUTSIDE), (3, 1), &never, 28);
    assert!(lab.send(ROUTER, &report).sent.is_empty());
    // From inside, about what was never received.
    let report = error(A, (v4(A), v4(PEER)), (3, 1), &seen, 28);
    assert_eq!(lab.lose(A, &report), DropReason::CtForgedQuote);
    let mut stray = udp(PEER, ends((v4(PEER), 9), (v4(A), 9)));
    stray[22] = 8;
    let report = error(A, (v4(A), v4(PEER)), (3, 3), &stray, 1000);
    assert_eq!(lab.lose(A, &report), DropReason::CtUnknownQuote);
}

/// What passed a router says so; what has passed too many is the gateway's, as it came in.
#[test]
fn hop_limits_count_down_and_the_last_hop_is_told() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let mut last = udp(A, sent);
    last[22] = 1;
    let checksum = !sum(&[&last[14..24], &last[26..34]].concat());
    last[24..26].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(lab.offer(A, &last), (0, last.clone()));
    let seen = ends_of(&lab.pass(A, &udp(A, sent)).1);
    // On the way back as well: whoever traces from outside sees the gateway.
    let mut last = udp(PEER, seen.turned());
    last[22] = 1;
    let checksum = !sum(&[&last[14..24], &last[26..34]].concat());
    last[24..26].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(lab.offer(PEER, &last), (2, last.clone()));
}

/// RFC 2827: a station that forges an address of the outside takes no port, and has nobody out there told anything.
#[test]
fn who_forges_an_address_of_another_network_is_not_translated() {
    let mut lab = Lab::new();
    let stranger = Ipv4Addr::new(203, 0, 113, 9);
    for forged in [stranger, v4(OTHER), v4(C), OUTSIDE, Ipv4Addr::new(10, 0, 0, 255)] {
        let request = ends((forged, 5000), (v4(PEER), 53));
        assert_eq!(lab.lose(A, &udp(A, request)), DropReason::NotRoutable, "{forged}");
        assert_eq!(lab.lose(A, &tcp(A, request, "S", (1, 0))), DropReason::NotRoutable, "{forged}");
        assert_eq!(lab.lose(A, &echo(A, (forged, v4(PEER)), 77, false)), DropReason::NotRoutable, "{forged}");
    }
    assert_eq!((lab.connections(), lab.mappings()), (0, 0));
}
