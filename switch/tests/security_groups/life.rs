//! Rules and members that change while connections run.

use viaduct_switch::security::RuleSpec;
use viaduct_switch::{DropReason, Nanos};

use crate::lab::*;
use crate::rules::{connect, tcp_port, udp_port};

const DATA: Segment = Segment { flags: "A", sequence: 101, acknowledgement: 901, payload: 5 };

#[test]
fn a_rule_that_goes_takes_with_it_what_it_alone_allowed() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(2);
        lab.group(0, &[tcp_port(22), tcp_port(80)]);
        lab.join(1, Some(&[0]));
        connect(&mut lab, 0, 1, is_v6, (1000, 22));
        connect(&mut lab, 0, 1, is_v6, (1001, 80));
        connect(&mut lab, 1, 0, is_v6, (1002, 80));
        lab.group(0, &[tcp_port(80)]);
        lab.drops_as(0, &tcp(0, 1, is_v6, (1000, 22), DATA), DropReason::GroupIngress);
        // What was dropped was not sent, and is not acknowledged.
        let answer = Segment { acknowledgement: 101, ..reply() };
        lab.drops_as(1, &tcp(1, 0, is_v6, (22, 1000), answer), DropReason::GroupEgress);
        lab.passes(0, 1, &tcp(0, 1, is_v6, (1001, 80), DATA));
        lab.passes(1, 0, &tcp(1, 0, is_v6, (80, 1001), reply()));
        lab.passes(1, 0, &tcp(1, 0, is_v6, (1002, 80), DATA));
        // It comes back, and so does what it allowed.
        lab.group(0, &[tcp_port(22), tcp_port(80)]);
        lab.passes(0, 1, &tcp(0, 1, is_v6, (1000, 22), DATA));
    }
}

fn reply() -> Segment {
    Segment { sequence: 901, acknowledgement: 106, ..DATA }
}

#[test]
fn who_joins_is_let_in_at_once_and_who_leaves_is_cut_off() {
    for is_v6 in [false, true] {
        let mut lab = Lab::new(3);
        lab.group(0, &[]);
        lab.group(1, &[RuleSpec { group: Some(group(0)), ..tcp_port(3306) }]);
        lab.join(0, Some(&[0]));
        lab.join(1, Some(&[1]));
        lab.join(2, Some(&[]));
        connect(&mut lab, 0, 1, is_v6, (1000, 3306));
        lab.join(2, Some(&[0]));
        connect(&mut lab, 2, 1, is_v6, (1000, 3306));
        lab.passes(0, 1, &tcp(0, 1, is_v6, (1000, 3306), DATA));
        lab.group(2, &[]);
        lab.join(0, Some(&[2]));
        lab.drops_as(0, &tcp(0, 1, is_v6, (1000, 3306), DATA), DropReason::GroupIngress);
        lab.passes(2, 1, &tcp(2, 1, is_v6, (1000, 3306), DATA));
    }
}

/// A changed group starts no epoch: what was decided about where frames go holds on.
#[test]
fn changes_of_groups_leave_kept_decisions_alone() {
    let mut lab = Lab::new(3);
    lab.switch.set_verification(false);
    lab.group(0, &[udp_port(7)]);
    lab.join(1, Some(&[0]));
    for _ in 0..3 {
        lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    }
    let before = lab.worker.flow_counters().snapshot();
    for port in 8..50 {
        lab.group(0, &[udp_port(7), udp_port(port)]);
        lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    }
    let after = lab.worker.flow_counters().snapshot();
    assert_eq!(after.misses, before.misses);
    lab.join(2, Some(&[0]));
    lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    assert_eq!(lab.worker.flow_counters().snapshot().misses, before.misses + 1, "others are filtered now");
}

#[test]
fn a_port_that_is_not_filtered_any_more_passes_everything() {
    let mut lab = Lab::new(2);
    lab.group(0, &[]);
    lab.join(1, Some(&[0]));
    lab.drops_as(0, &udp(0, 1, false, (1, 7)), DropReason::GroupIngress);
    lab.join(1, None);
    lab.passes(0, 1, &udp(0, 1, false, (1, 7)));
    lab.join(1, Some(&[0]));
    lab.drops_as(0, &udp(0, 1, false, (1, 7)), DropReason::GroupIngress);
}

/// Whoever gets the number of a port that went has none of its connections.
#[test]
fn connections_end_with_their_port() {
    let mut lab = Lab::new(2);
    lab.group(0, &[]);
    lab.join(1, Some(&[0]));
    lab.passes(1, 0, &udp(1, 0, false, (1, 7)));
    lab.passes(0, 1, &udp(0, 1, false, (7, 1)));
    lab.switch.forget_connections(port(1), lab.now, |_| ());
    lab.drops_as(0, &udp(0, 1, false, (7, 1)), DropReason::GroupIngress);
    assert_eq!(lab.switch.conntrack().unwrap().held(port(1)), (0, 0));
}

#[test]
fn a_silent_connection_ends_and_the_table_is_empty_again() {
    let mut lab = Lab::new(2);
    lab.group(0, &[]);
    lab.join(1, Some(&[0]));
    for port in 1..200 {
        lab.passes(1, 0, &udp(1, 0, false, (port, 7)));
    }
    lab.now = Nanos::from_seconds(300);
    for _ in 0..20 {
        lab.switch.expire_connections(lab.now, 4096, |_| ());
        lab.now = Nanos(lab.now.0 + 500_000_000);
    }
    lab.drops_as(0, &udp(0, 1, false, (7, 1)), DropReason::GroupIngress);
    let counters = lab.switch.conntrack().unwrap().counters();
    assert_eq!((counters.opened, counters.expired), (199, 199));
}

/// A station that moved takes its connections along, where its new port's rules vouch for them.
#[test]
fn a_station_that_moves_is_judged_by_its_new_port() {
    let mut lab = Lab::new(3);
    lab.group(0, &[tcp_port(80)]);
    lab.group(1, &[]);
    lab.join(1, Some(&[0]));
    connect(&mut lab, 0, 1, false, (1000, 80));
    lab.join(2, Some(&[1]));
    // Station 1 is at port 2 now, whose rules let nobody in.
    lab.send(2, &arp(1));
    let frame = tcp(0, 1, false, (1000, 80), DATA);
    assert_eq!(lab.send(0, &frame), Outcome::Dropped(DropReason::GroupIngress, 2));
    lab.join(2, Some(&[0]));
    lab.passes(0, 2, &frame);
    lab.passes(2, 0, &tcp(1, 0, false, (80, 1000), reply()));
}
