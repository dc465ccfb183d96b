//! What passes, and what does not.

use viaduct_switch::security::{Direction, Protocol, RuleSpec};
use viaduct_switch::{DropReason, FrameRate, JudgeLimits};

use crate::lab::*;

/// TCP to a port is let in.
pub(crate) fn tcp_port(to: u16) -> RuleSpec {
    let protocol = Some(Protocol::TCP);
    RuleSpec { protocol, ports: Some((to, to)), ..RuleSpec::new(Direction::Ingress) }
}

pub(crate) fn udp_port(to: u16) -> RuleSpec {
    RuleSpec { protocol: Some(Protocol::UDP), ..tcp_port(to) }
}

const SYN: Segment = Segment { flags: "S", sequence: 100, acknowledgement: 0, payload: 0 };
const SYN_ACK: Segment = Segment { flags: "SA", sequence: 900, acknowledgement: 101, payload: 0 };
const ACK: Segment = Segment { flags: "A", sequence: 101, acknowledgement: 901, payload: 0 };

/// Opens a connection of TCP.
pub(crate) fn connect(lab: &mut Lab, from: usize, to: usize, is_v6: bool, ports: (u16, u16)) {
    lab.passes(from, to, &tcp(from, to, is_v6, ports, SYN));
    lab.passes(to, from, &tcp(to, from, is_v6, (ports.1, ports.0), SYN_ACK));
    lab.passes(from, to, &tcp(from, to, is_v6, ports, ACK));
}

/// Two tiers: web (station 0) takes 8080 from all, db (station 1) takes 3306 from members of web alone; 2 is anybody.
fn two_tiers() -> Lab {
    let mut lab = Lab::new(4);
    lab.group(0, &[tcp_port(8080)]);
    lab.group(1, &[RuleSpec { group: Some(group(0)), ..tcp_port(3306) }]);
    lab.join(0, Some(&[0]));
    lab.join(1, Some(&[1]));
    lab
}

#[test]
fn two_tiers_reach_what_they_are_meant_to_and_nothing_else() {
    for is_v6 in [false, true] {
        let mut lab = two_tiers();
        connect(&mut lab, 2, 0, is_v6, (4000, 8080));
        connect(&mut lab, 0, 1, is_v6, (4001, 3306));
        for (from, to, port) in [(2, 0, 22), (2, 1, 3306), (0, 1, 22), (1, 0, 22), (2, 1, 8080)] {
            let syn = tcp(from, to, is_v6, (5000, port), SYN);
            assert_eq!(lab.send(from, &syn), Outcome::Dropped(DropReason::GroupIngress, to));
        }
        // What was not begun by the guest is no reply.
        lab.drops_as(2, &tcp(2, 1, is_v6, (3306, 4001), SYN_ACK), DropReason::CtNotSyn);
        // What the guest begins is answered.
        connect(&mut lab, 1, 2, is_v6, (6000, 443));
        lab.passes(1, 3, &udp(1, 3, is_v6, (53, 53)));
        lab.passes(3, 1, &udp(3, 1, is_v6, (53, 53)));
        lab.drops_as(3, &udp(3, 1, is_v6, (53, 54)), DropReason::GroupIngress);
    }
}

#[test]
fn both_sides_have_to_allow_it() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(2);
        let out = RuleSpec { direction: Direction::Egress, ..udp_port(53) };
        lab.group_of(0, true, &[out]);
        lab.group(1, &[udp_port(53), udp_port(54)]);
        lab.join(0, Some(&[0]));
        lab.join(1, Some(&[1]));
        lab.passes(0, 1, &udp(0, 1, is_v6, (9, 53)));
        assert_eq!(lab.send(0, &udp(0, 1, is_v6, (9, 54))), Outcome::Dropped(DropReason::GroupEgress, 0));
    }
}

#[test]
fn errors_about_a_connection_pass_and_others_do_not() {
    for is_v6 in [false, true] {
        let mut lab = two_tiers();
        connect(&mut lab, 1, 2, is_v6, (6000, 443));
        let sent = Segment { payload: 600, ..ACK };
        let packet = tcp(1, 2, is_v6, (6000, 443), sent);
        lab.passes(1, 2, &packet);
        // From a router on the way.
        lab.passes(3, 1, &too_big(3, 1, is_v6, &packet));
        let other = tcp(1, 2, is_v6, (6001, 443), sent);
        lab.drops_as(3, &too_big(3, 1, is_v6, &other), DropReason::CtUnknownQuote);
        let future = tcp(1, 2, is_v6, (6000, 443), Segment { sequence: 900_000, ..sent });
        lab.drops_as(3, &too_big(3, 1, is_v6, &future), DropReason::CtForgedQuote);
    }
}

#[test]
fn queries_are_answered_and_answers_alone_are_not_let_in() {
    for is_v6 in [false, true] {
        let mut lab = two_tiers();
        lab.drops_as(2, &echo_reply(2, 1, is_v6, 9), DropReason::CtUnsolicitedReply);
        lab.passes(1, 2, &echo(1, 2, is_v6, 9));
        lab.passes(2, 1, &echo_reply(2, 1, is_v6, 9));
        lab.drops_as(2, &echo(2, 1, is_v6, 9), DropReason::GroupIngress);
    }
}

#[test]
fn groups_without_memory_are_asked_about_each_packet() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(2);
        let to = |direction, port| RuleSpec { direction, ..udp_port(port) };
        lab.group_of(0, false, &[to(Direction::Egress, 53), to(Direction::Ingress, 4000)]);
        lab.join(0, Some(&[0]));
        lab.passes(0, 1, &udp(0, 1, is_v6, (4000, 53)));
        lab.passes(1, 0, &udp(1, 0, is_v6, (53, 4000)));
        lab.passes(0, 1, &udp(0, 1, is_v6, (4001, 53)));
        lab.drops_as(1, &udp(1, 0, is_v6, (53, 4001)), DropReason::GroupIngress);
        assert_eq!(lab.switch.conntrack().unwrap().counters().opened, 0);
        // Segments of no connection are not invalid to them.
        let any = |direction| RuleSpec { protocol: Some(Protocol::TCP), ..RuleSpec::new(direction) };
        lab.group_of(0, false, &[any(Direction::Egress), any(Direction::Ingress)]);
        lab.passes(1, 0, &tcp(1, 0, is_v6, (1, 2), ACK));
    }
}

#[test]
fn a_station_with_memory_is_answered_by_one_without() {
    let mut lab = Lab::new(2);
    lab.group(0, &[]);
    let every = RuleSpec::new;
    lab.group_of(1, false, &[every(Direction::Egress), RuleSpec { ports: Some((53, 53)), ..udp_port(53) }]);
    lab.join(0, Some(&[0]));
    lab.join(1, Some(&[1]));
    lab.passes(0, 1, &udp(0, 1, false, (9, 53)));
    lab.passes(1, 0, &udp(1, 0, false, (53, 9)));
    assert_eq!(lab.send(0, &udp(0, 1, false, (9, 54))), Outcome::Dropped(DropReason::GroupIngress, 1));
    assert_eq!(lab.send(1, &udp(1, 0, false, (9, 54))), Outcome::Dropped(DropReason::GroupIngress, 0));
}

/// What a cached decision knows of is where the frame goes; a connection belongs to the ports that vouch for it.
#[test]
fn a_connection_of_one_station_is_no_way_to_another() {
    for flow_entries in [0, 8192] {
        let mut lab = Lab::with(&[0, 0, 0], JudgeLimits::UNLIMITED, flow_entries);
        lab.group(0, &[udp_port(53)]);
        lab.group(1, &[]);
        lab.join(1, Some(&[0]));
        lab.join(2, Some(&[1]));
        lab.passes(0, 1, &udp(0, 1, false, (9, 53)));
        // The same packet, with another station's MAC address.
        let mut misled = udp(0, 1, false, (9, 53));
        misled[..6].copy_from_slice(&mac(2));
        assert_eq!(lab.send(0, &misled), Outcome::Dropped(DropReason::GroupIngress, 2));
        lab.passes(0, 1, &udp(0, 1, false, (9, 53)));
        lab.passes(1, 0, &udp(1, 0, false, (53, 9)));
    }
}

#[test]
fn what_is_no_packet_of_ip_passes_no_rules_but_arp_does() {
    let mut lab = two_tiers();
    let mut frame = udp(2, 0, false, (1, 8080));
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    lab.drops_as(2, &frame, DropReason::GroupNotIp);
    assert_eq!(lab.send(2, &arp(2)), Outcome::To(vec![0, 1, 3]));
    assert_eq!(lab.send(0, &arp(0)), Outcome::To(vec![1, 2, 3]));
}

#[test]
fn headers_that_contradict_themselves_pass_no_rules() {
    let mut lab = two_tiers();
    let mut frame = tcp(2, 0, false, (1, 8080), SYN);
    frame[14 + 20 + 12] = 0x10;
    lab.drops_as(2, &frame, DropReason::Unreadable);
    lab.passes(2, 3, &udp(2, 3, false, (1, 2)));
}

#[test]
fn frames_for_all_reach_those_whose_rules_let_them_in() {
    let mut lab = two_tiers();
    lab.group(2, &[udp_port(7)]);
    lab.join(3, Some(&[2]));
    let mut frame = udp(2, 0, false, (9, 7));
    frame[..6].copy_from_slice(&[0xff; 6]);
    assert_eq!(lab.send(2, &frame), Outcome::To(vec![3]));
    let mut frame = udp(2, 0, false, (9, 8));
    frame[..6].copy_from_slice(&[0xff; 6]);
    assert_eq!(lab.send(2, &frame), Outcome::Dropped(DropReason::GroupIngress, 2), "nobody is left");
    lab.group_of(2, true, &[]);
    let mut frame = udp(3, 0, false, (9, 7));
    frame[..6].copy_from_slice(&[0xff; 6]);
    assert_eq!(lab.send(3, &frame), Outcome::Dropped(DropReason::GroupEgress, 3));
}

/// Nobody knows where the station is; its answer is a reply all the same.
#[test]
fn a_connection_to_a_station_that_is_not_known_yet_is_one() {
    for is_v6 in [false, true] {
        let mut lab = two_tiers();
        lab.switch.forget_port(port(2));
        let syn = tcp(0, 2, is_v6, (1, 80), SYN);
        assert_eq!(lab.send(0, &syn), Outcome::To(vec![2, 3]), "and not to the filtered one");
        lab.passes(2, 0, &tcp(2, 0, is_v6, (80, 1), SYN_ACK));
        lab.passes(0, 2, &tcp(0, 2, is_v6, (1, 80), ACK));
        // The same towards a filtered one.
        lab.switch.forget_port(port(0));
        let syn = tcp(2, 0, is_v6, (1, 8080), SYN);
        assert_eq!(lab.send(2, &syn), Outcome::To(vec![0, 3]));
        lab.passes(0, 2, &tcp(0, 2, is_v6, (8080, 1), SYN_ACK));
    }
}

#[test]
fn a_network_is_a_zone_of_its_own() {
    let mut lab = Lab::with(&[0, 0, 1, 1], JudgeLimits::UNLIMITED, 64);
    lab.group(0, &[]);
    for station in [0, 2] {
        lab.join(station, Some(&[0]));
    }
    // Stations 2 and 3 have the addresses of 0 and 1.
    let alias = |mut frame: Vec<u8>, from: usize, to: usize| {
        frame[..6].copy_from_slice(&mac(to));
        frame[6..12].copy_from_slice(&mac(from));
        frame
    };
    lab.passes(0, 1, &udp(0, 1, false, (9, 53)));
    let answer = alias(udp(1, 0, false, (53, 9)), 3, 2);
    lab.drops_as(3, &answer, DropReason::GroupIngress);
    lab.passes(1, 0, &udp(1, 0, false, (53, 9)));
}

#[test]
fn a_scan_is_cut_to_its_rate_and_connections_go_on() {
    let rate = FrameRate::new(1000);
    let judging = JudgeLimits { new_connections: rate, judged_packets: FrameRate::new(2000) };
    let mut lab = Lab::with(&[0, 0, 0], judging, 8192);
    lab.group(0, &[udp_port(7)]);
    lab.join(1, Some(&[0]));
    lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    let count = |lab: &mut Lab, ports: std::ops::Range<u16>, to: u16| {
        let outcomes = ports.map(|port| lab.send(0, &udp(0, 1, false, (port, to))));
        outcomes.filter(|outcome| *outcome != Outcome::Dropped(DropReason::ConnectionRate, 0)).count()
    };
    // A quarter of a second's may come at once; one came before.
    assert_eq!(count(&mut lab, 1000..2000, 7), 249);
    assert_eq!(count(&mut lab, 2000..4000, 8), 500 - 249 - 1);
    // Nothing new is asked about, and what is known passes.
    lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    lab.passes(1, 0, &udp(1, 0, false, (7, 1)));
    lab.passes(2, 1, &udp(2, 1, false, (1, 7)));
}
