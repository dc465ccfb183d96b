//! Connections whose packets are judged again, because rules or places changed, and what is no connection's.

use etherparse::PacketBuilder;
use viaduct_switch::conntrack::{Filter, State};
use viaduct_switch::security::{Direction, Protocol, RuleSpec};
use viaduct_switch::{DropReason, FrameRate, JudgeLimits};

use crate::lab::*;
use crate::rules::{connect, tcp_port, udp_port};

const DATA: Segment = Segment { flags: "A", sequence: 101, acknowledgement: 901, payload: 5 };
const REPLY: Segment = Segment { flags: "A", sequence: 901, acknowledgement: 101, payload: 5 };

/// ICMP is let in, for the version of IP.
fn icmp(is_v6: bool) -> RuleSpec {
    let protocol = Some(if is_v6 { Protocol::ICMPV6 } else { Protocol::ICMP });
    RuleSpec { protocol, ..RuleSpec::new(Direction::Ingress) }
}

#[test]
fn an_error_about_a_connection_passes_as_long_as_rules_vouch_for_that() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(3);
        lab.group(0, &[tcp_port(22), tcp_port(80)]);
        lab.join(1, Some(&[0]));
        connect(&mut lab, 0, 1, is_v6, (1000, 80));
        let sent = tcp(1, 0, is_v6, (80, 1000), Segment { payload: 600, ..REPLY });
        lab.passes(1, 0, &sent);
        // Another rule goes, and no packet of the connection was seen since.
        lab.group(0, &[tcp_port(80)]);
        lab.passes(2, 1, &too_big(2, 1, is_v6, &sent));
        lab.group(0, &[tcp_port(22)]);
        lab.drops_as(2, &too_big(2, 1, is_v6, &sent), DropReason::GroupIngress);
        // A rule that lets all errors in is enough.
        lab.group(0, &[icmp(is_v6)]);
        lab.passes(2, 1, &too_big(2, 1, is_v6, &sent));
    }
}

/// Station 0 sends from its own addresses at another port: there, rules vouch for what it opened only if the port may have them.
#[test]
fn a_station_that_moves_keeps_its_connections_where_it_may_be() {
    let frame = udp(0, 1, false, (1000, 7));
    for (may_be, outcome) in
        [(true, Outcome::To(vec![1])), (false, Outcome::Dropped(DropReason::GroupEgress, 2))]
    {
        let mut lab = Lab::new(3);
        lab.group(0, &[]);
        lab.join(0, Some(&[0]));
        lab.passes(0, 1, &frame);
        lab.join_as(2, &[0], vec![if may_be { v4(0) } else { v4(2) }]);
        assert_eq!(lab.send(2, &frame), outcome);
    }
}

#[test]
fn messages_that_have_no_connections_pass_by_rules_of_either_kind() {
    // A redirect (RFC 792): neither a request nor an answer nor an error about a packet.
    let mut redirect = Vec::new();
    ip(0, 1, ends(0, 1, false)).icmpv4_raw(5, 1, [10, 0, 0, 9]).write(&mut redirect, &[0; 28]).unwrap();
    let mut lab = Lab::new(2);
    for stateful in [true, false] {
        lab.group_of(0, stateful, &[udp_port(7)]);
        lab.join(1, Some(&[0]));
        lab.drops_as(0, &redirect, DropReason::GroupIngress);
        lab.group_of(0, stateful, &[icmp(false)]);
        lab.passes(0, 1, &redirect);
    }
    assert_eq!(lab.switch.conntrack().unwrap().counters().opened, 0);
}

#[test]
fn a_query_is_judged_again_by_what_it_asks_for() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(2);
        let echo_requests =
            RuleSpec { icmp_type: Some(if is_v6 { 128 } else { 8 }), icmp_code: Some(0), ..icmp(is_v6) };
        lab.group(0, &[tcp_port(22), echo_requests]);
        lab.join(1, Some(&[0]));
        lab.passes(0, 1, &echo(0, 1, is_v6, 9));
        lab.group(0, &[echo_requests]);
        lab.passes(0, 1, &echo(0, 1, is_v6, 9));
        lab.passes(1, 0, &echo_reply(1, 0, is_v6, 9));
        lab.group(0, &[tcp_port(22)]);
        lab.drops_as(0, &echo(0, 1, is_v6, 9), DropReason::GroupIngress);
    }
}

#[test]
fn what_ends_with_a_port_or_a_network_is_its_own() {
    let mut lab = Lab::with(&[0, 0, 1, 1], JudgeLimits::UNLIMITED, 64);
    lab.group(0, &[]);
    for station in 0..4 {
        lab.join(station, Some(&[0]));
    }
    lab.group(0, &[udp_port(7)]);
    for (from, to) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
        lab.passes(from, to, &udp(from, to, false, (1, 7)));
    }
    let held = |lab: &Lab| [0, 1, 2, 3].map(|of| lab.switch.conntrack().unwrap().held(port(of)).0);
    assert_eq!(held(&lab), [1, 1, 1, 1]);
    lab.switch.forget_connections(port(1), lab.now, |_| ());
    assert_eq!(held(&lab), [1, 0, 1, 1]);
    lab.switch.forget_network(network(1), lab.now);
    assert_eq!(held(&lab), [1, 0, 0, 0]);
}

#[test]
fn a_guest_finds_its_addresses_and_neighbours_whatever_its_rules_are() {
    let mut lab = Lab::new(4);
    lab.group_of(0, true, &[]);
    lab.join(0, Some(&[0]));
    lab.join(1, Some(&[0]));
    let datagram = |from: usize, to_mac: [u8; 6], to: [u8; 4], ports: (u16, u16)| {
        let mut frame = Vec::new();
        let source = [10, 0, 0, mac(from)[5]];
        let builder = PacketBuilder::ethernet2(mac(from), to_mac).ipv4(source, to, 64);
        builder.udp(ports.0, ports.1).write(&mut frame, &[1; 300]).unwrap();
        frame
    };
    let all = [255; 4];
    let asks = datagram(0, [0xff; 6], all, (68, 67));
    assert_eq!(lab.send(0, &asks), Outcome::To(vec![2, 3]), "and no other guest is asked");
    lab.drops_as(0, &datagram(0, [0xff; 6], all, (68, 66)), DropReason::GroupEgress);
    // The server's answer, and one that another guest made up.
    lab.passes(2, 0, &datagram(2, mac(0), [10, 0, 0, 1], (67, 68)));
    lab.drops_as(2, &datagram(2, mac(0), [10, 0, 0, 1], (66, 68)), DropReason::GroupIngress);
    lab.group_of(1, true, &[RuleSpec::new(Direction::Egress)]);
    lab.join(1, Some(&[1]));
    lab.drops_as(1, &datagram(1, mac(0), [10, 0, 0, 1], (67, 68)), DropReason::GroupIngress);
}

/// Nobody knows where station 1 is; of who might be it, only those that vouch for the connection get its packets.
#[test]
fn packets_of_a_connection_to_a_station_that_was_lost_reach_who_vouches_for_it() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(4);
        lab.group(0, &[tcp_port(22), tcp_port(80)]);
        lab.group(1, &[]);
        lab.join(1, Some(&[0]));
        lab.join(2, Some(&[1]));
        connect(&mut lab, 0, 1, is_v6, (1000, 80));
        lab.switch.forget_port(port(1));
        let data = tcp(0, 1, is_v6, (1000, 80), DATA);
        assert_eq!(lab.send(0, &data), Outcome::To(vec![1, 3]));
        lab.group(0, &[tcp_port(80)]);
        assert_eq!(lab.send(0, &data), Outcome::To(vec![1, 3]), "by what holds now");
        lab.group(0, &[tcp_port(22)]);
        assert_eq!(lab.send(0, &data), Outcome::To(vec![3]));
        // It counts as any packet of the connection does.
        let end = tcp(0, 1, is_v6, (1000, 80), Segment { flags: "AF", sequence: 106, ..DATA });
        assert_eq!(lab.send(0, &end), Outcome::To(vec![3]));
        let tracked = lab.switch.conntrack().unwrap();
        let closing = Filter { state: Some(State::FinWait), ..Filter::default() };
        assert_eq!(tracked.list(&closing, 0, 9, lab.now).connections.len(), 1);
        // From the other side: who opened the connection is lost.
        lab.group(0, &[tcp_port(80)]);
        lab.announce(1);
        connect(&mut lab, 3, 1, is_v6, (1001, 80));
        lab.switch.forget_port(port(3));
        let back = tcp(1, 3, is_v6, (80, 1001), REPLY);
        assert_eq!(lab.send(1, &back), Outcome::To(vec![0, 3]));
        // No rule lets the guest send this, but for the connection.
        lab.group_of(0, true, &[tcp_port(80), tcp_port(81)]);
        assert_eq!(lab.send(1, &back), Outcome::To(vec![0, 3]));
        lab.group_of(0, true, &[tcp_port(81)]);
        lab.drops_as(1, &back, DropReason::GroupEgress);
    }
}

#[test]
fn an_error_about_a_connection_to_a_station_that_was_lost_reaches_who_vouches_for_it() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(4);
        lab.group(0, &[tcp_port(80)]);
        lab.group(1, &[]);
        lab.join(1, Some(&[0]));
        lab.join(2, Some(&[1]));
        connect(&mut lab, 0, 1, is_v6, (1000, 80));
        let sent = tcp(1, 0, is_v6, (80, 1000), Segment { payload: 600, ..REPLY });
        lab.passes(1, 0, &sent);
        lab.switch.forget_port(port(1));
        assert_eq!(lab.send(3, &too_big(3, 1, is_v6, &sent)), Outcome::To(vec![0, 1]));
    }
}

#[test]
fn what_is_invalid_is_dropped_for_that_reason_wherever_its_receiver_is() {
    let mut lab = Lab::new(2);
    lab.group(0, &[]);
    lab.join(1, Some(&[0]));
    lab.switch.forget_port(port(1));
    lab.drops_as(0, &tcp(0, 1, false, (5, 6), DATA), DropReason::CtNotSyn);
    lab.drops_as(0, &udp(0, 1, false, (5, 6)), DropReason::GroupIngress);
}

#[test]
fn what_is_for_a_group_of_stations_opens_no_connection() {
    let mut lab = Lab::new(3);
    lab.group(0, &[]);
    lab.join(0, Some(&[0]));
    let mut frame = Vec::new();
    let to = [1, 0, 0x5e, 0, 0, 251];
    let builder = PacketBuilder::ethernet2(mac(0), to).ipv4([10, 0, 0, 1], [224, 0, 0, 251], 1);
    builder.udp(5353, 5353).write(&mut frame, &[1; 30]).unwrap();
    assert_eq!(lab.send(0, &frame), Outcome::To(vec![1, 2]));
    assert_eq!(lab.switch.conntrack().unwrap().counters().opened, 0);
    // To one station whose place is not known it does.
    lab.switch.forget_port(port(1));
    assert_eq!(lab.send(0, &udp(0, 1, false, (5, 6))), Outcome::To(vec![1, 2]));
    assert_eq!(lab.switch.conntrack().unwrap().counters().opened, 1);
}

#[test]
fn a_scan_for_stations_that_nobody_knows_is_cut_to_its_rate_and_connections_go_on() {
    let rate = FrameRate::new(1000);
    let judging = JudgeLimits { new_connections: rate, judged_packets: rate };
    let mut lab = Lab::with(&[0, 0, 0], judging, 8192);
    lab.group(0, &[udp_port(7)]);
    lab.join(1, Some(&[0]));
    lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    lab.passes(1, 0, &udp(1, 0, false, (7, 1)));
    lab.switch.forget_port(port(1));
    let outcomes: Vec<_> = (1000..2000).map(|from| lab.send(0, &udp(0, 1, false, (from, 7)))).collect();
    let cut = Outcome::Dropped(DropReason::ConnectionRate, 0);
    assert!(outcomes[..200].iter().all(|outcome| *outcome == Outcome::To(vec![1, 2])));
    assert!(outcomes[300..].iter().all(|outcome| *outcome == cut));
    assert_eq!(lab.send(0, &udp(0, 1, false, (1, 7))), Outcome::To(vec![1, 2]), "known, and vouched for");
}
