//! What hostile stations try: to pass by what is not judged, and to spend what is their neighbours'.

use viaduct_switch::{Claims, DropReason, Gso, GsoKind, PartialChecksum};

use crate::lab::*;
use crate::rules::{connect, tcp_port, udp_port};

/// Station 0 is the victim, which lets nothing in; 1 and 2 collude and let everything in.
fn lab() -> Lab {
    let mut lab = Lab::new(4);
    let all = viaduct_switch::security::RuleSpec::new(viaduct_switch::security::Direction::Ingress);
    lab.group(0, &[]);
    lab.group(1, &[all]);
    lab.join(0, Some(&[0]));
    lab.join(1, Some(&[1]));
    lab.join(2, Some(&[1]));
    lab
}

/// Connections that stations hold.
fn held(lab: &Lab, station: usize) -> (usize, usize) {
    lab.switch.conntrack().unwrap().held(port(station))
}

/// A connection costs the port that opened it. Replies to it that are sent to a neighbour would make it the neighbour's.
#[test]
fn nobody_is_charged_for_connections_of_others_by_replies_that_come_to_him() {
    let mut lab = lab();
    for number in 0..20 {
        lab.passes(1, 2, &udp(1, 2, false, (1000 + number, 7)));
        lab.passes(2, 1, &udp(2, 1, false, (7, 1000 + number)));
        let mut to_victim = udp(2, 1, false, (7, 1000 + number));
        to_victim[..6].copy_from_slice(&mac(0));
        lab.drops_as(2, &to_victim, DropReason::GroupIngress);
    }
    assert_eq!((held(&lab, 0), held(&lab, 1)), ((0, 0), (20, 0)));
    for number in 0..20 {
        lab.passes(2, 1, &udp(2, 1, false, (7, 1000 + number)));
    }
}

/// The same where a port's addresses are not known: it may get what it might have asked for, and is not charged.
#[test]
fn a_port_without_known_addresses_is_not_charged_for_others_either() {
    let mut lab = lab();
    lab.join_anywhere(0, &[0]);
    for number in 0..20 {
        lab.passes(1, 2, &udp(1, 2, false, (1000 + number, 7)));
        lab.passes(2, 1, &udp(2, 1, false, (7, 1000 + number)));
        let mut to_victim = udp(2, 1, false, (7, 1000 + number));
        to_victim[..6].copy_from_slice(&mac(0));
        lab.passes(2, 0, &to_victim);
    }
    assert_eq!((held(&lab, 0), held(&lab, 1)), ((0, 0), (20, 0)));
}

/// "Port unreachable" ends a datagram socket that is connected. Only who got the datagram can say so, or who routes for him.
#[test]
fn an_error_about_a_connection_comes_from_its_other_end_or_from_outside() {
    for is_v6 in [false, true] {
        let mut lab = lab();
        let question = udp(0, 3, is_v6, (1000, 53));
        lab.passes(0, 3, &question);
        lab.passes(3, 0, &udp(3, 0, is_v6, (53, 1000)));
        // Station 1 knows addresses and ports, and its groups let it send anything.
        lab.drops_as(1, &too_big(1, 0, is_v6, &question), DropReason::CtForgedQuote);
        // 3 is not filtered: that may be a router.
        lab.passes(3, 0, &too_big(3, 0, is_v6, &question));
        let question = udp(0, 1, is_v6, (1000, 53));
        lab.passes(0, 1, &question);
        lab.passes(1, 0, &too_big(1, 0, is_v6, &question));
        lab.drops_as(2, &too_big(2, 0, is_v6, &question), DropReason::CtForgedQuote);
    }
}

const SYN: Segment = Segment { flags: "S", sequence: 100, acknowledgement: 0, payload: 0 };

/// Who is open in both directions is never displaced: that takes an answer, however the question was cut.
#[test]
fn fragmented_syns_are_embryonic_as_others_are() {
    let mut lab = lab();
    for number in 0..300 {
        let mut syn = tcp(1, 2, false, (1000 + number, 80), SYN);
        syn.extend([0; 36]);
        // What finds no place of an own one to take is refused.
        for fragment in fragments(&syn, number, &[0, 32]) {
            lab.send(1, &fragment);
        }
    }
    let (all, embryonic) = held(&lab, 1);
    assert_eq!(all, embryonic);
    assert!((200..=256).contains(&all), "a sixteenth of the table: {all}");
}

// Claims

fn claims(start: u16, offset: u16, gso: Option<GsoKind>) -> Claims {
    let gso = gso.map(|kind| Gso { kind, size: 500, ecn: false });
    Claims { checksum: Some(PartialChecksum { start, offset }), gso }
}

/// A checksum that is to be stored elsewhere than in a checksum's place would change what was judged after it was judged,
/// by whoever finishes it: a receiver that forwards, or the network card of the machine.
#[test]
fn a_checksum_is_claimed_where_it_belongs_only() {
    for is_v6 in [false, true] {
        let mut lab = lab();
        let transport = if is_v6 { 54 } else { 34 };
        let segment = tcp(1, 2, is_v6, (1000, 80), SYN);
        let datagram = udp(1, 2, is_v6, (1000, 80));
        let ping = echo(1, 2, is_v6, 7);
        for (frame, start, offset, is_true) in [
            (&segment, transport, 16, true),
            (&segment, transport, 2, false),
            (&segment, transport, 13, false),
            (&segment, transport + 2, 14, false),
            (&segment, 14, 12, false),
            (&segment, transport - 20, 36, false),
            (&datagram, transport, 6, true),
            (&datagram, transport, 0, false),
            (&datagram, transport, 16, false),
            (&datagram, transport + 8, 6, true),
            (&datagram, transport + 4, 2, false),
            (&ping, transport, 2, true),
            (&ping, transport, 0, false),
        ] {
            let outcome = lab.send_claiming(1, frame, claims(start, offset, None));
            let expected =
                if is_true { Outcome::To(vec![2]) } else { Outcome::Dropped(DropReason::BadOffload, 1) };
            assert_eq!(outcome, expected, "{is_v6} {start} {offset}");
        }
        // The receiver is filtered, and so it is judged; the sender need not be.
        let outcome = lab.send_claiming(3, &tcp(3, 2, is_v6, (1, 80), SYN), claims(transport, 2, None));
        assert_eq!(outcome, Outcome::Dropped(DropReason::BadOffload, 3), "{is_v6}");
    }
}

/// The segments of a super-frame are what its head is, but for numbers that move on.
#[test]
fn a_super_frame_is_what_its_head_says() {
    let mut lab = lab();
    connect(&mut lab, 1, 2, false, (1000, 80));
    connect(&mut lab, 1, 2, true, (1000, 80));
    let data = |flags| Segment { flags, sequence: 101, acknowledgement: 901, payload: 1200 };
    let segment = |is_v6, flags| tcp(1, 2, is_v6, (1000, 80), data(flags));
    let datagram = |is_v6| {
        let mut frame = Vec::new();
        ip(1, 2, ends(1, 2, is_v6)).udp(1000, 80).write(&mut frame, &[7; 1200]).unwrap();
        frame
    };
    let fragment = fragments(&segment(false, "A"), 9, &[0, 1008]).swap_remove(0);
    for (frame, start, offset, kind, is_true) in [
        (segment(false, "A"), 34, 16, GsoKind::Tcp4, true),
        (segment(true, "A"), 54, 16, GsoKind::Tcp6, true),
        (segment(false, "A"), 34, 16, GsoKind::Tcp6, false),
        (segment(true, "A"), 54, 16, GsoKind::Tcp4, false),
        (segment(false, "A"), 34, 6, GsoKind::Udp, false),
        (segment(false, "A"), 54, 16, GsoKind::Tcp4, false),
        (segment(false, "S"), 34, 16, GsoKind::Tcp4, false),
        (segment(false, "R"), 34, 16, GsoKind::Tcp4, false),
        (fragment, 34, 16, GsoKind::Tcp4, false),
        (datagram(false), 34, 6, GsoKind::Udp, true),
        (datagram(true), 54, 6, GsoKind::Udp, true),
        (datagram(false), 34, 6, GsoKind::UdpFragment, true),
        (datagram(false), 34, 16, GsoKind::Tcp4, false),
        (datagram(false), 42, 6, GsoKind::Udp, false),
    ] {
        let outcome = lab.send_claiming(1, &frame, claims(start, offset, Some(kind)));
        let expected =
            if is_true { Outcome::To(vec![2]) } else { Outcome::Dropped(DropReason::BadOffload, 1) };
        assert_eq!(outcome, expected, "{kind:?} {start} {offset}");
    }
}

/// Rules say nothing about what is no packet of IP, and nothing is believed of it either.
#[test]
fn what_is_no_packet_claims_nothing() {
    let mut lab = lab();
    lab.group(2, &[tcp_port(1), udp_port(1)]);
    let outcome = lab.send_claiming(1, &arp(1), claims(14, 14, None));
    assert_eq!(outcome, Outcome::Dropped(DropReason::BadOffload, 1));
}
