//! Connections that outlive their switch: by the rules of today.

use viaduct_switch::conntrack::{Extent, NotRestored, Record};
use viaduct_switch::{DropReason, JudgeLimits, Policy};

use crate::lab::*;
use crate::rules::{connect, tcp_port};

const DATA: Segment = Segment { flags: "A", sequence: 90_101, acknowledgement: 70_901, payload: 5 };
const REPLY: Segment = Segment { flags: "A", sequence: 70_901, acknowledgement: 90_106, payload: 5 };

fn records(lab: &Lab) -> Vec<Record> {
    let mut records = Vec::new();
    let table = lab.switch.conntrack().unwrap();
    assert_eq!(table.records(0, u32::MAX, Extent::Lasting, lab.now, |_, record| records.push(record)), None);
    records
}

fn restore(lab: &Lab, records: &[Record]) -> Vec<Result<(), NotRestored>> {
    let policy: &Policy = &lab.policy();
    let restored = |record| lab.switch.restore_connection(record, policy, false, lab.now).map(drop);
    records.iter().map(restored).collect()
}

/// Station 1 takes connections to these ports.
fn lab(ports: &[u16]) -> Lab {
    let rules: Vec<_> = ports.iter().map(|port| tcp_port(*port)).collect();
    let mut lab = Lab::with(&[0; 3], JudgeLimits::UNLIMITED, 8192);
    lab.group(0, &rules);
    lab.group(1, &[]);
    lab.join(1, Some(&[0]));
    lab.join(0, Some(&[1]));
    lab
}

#[test]
fn a_connection_goes_on_if_rules_of_today_allow_it_and_by_its_original_direction() {
    for is_v6 in [false, true] {
        let mut before = lab(&[22, 80]);
        connect(&mut before, 0, 1, is_v6, (1000, 80));
        connect(&mut before, 0, 1, is_v6, (1001, 22));
        let mut kept = records(&before);
        kept.sort_by_key(|record| record.tuples[0].source_port);
        let mut after = lab(&[80]);
        assert_eq!(restore(&after, &kept), [Ok(()), Err(NotRestored::NotAllowed)]);
        // Answers pass though nothing lets station 0 be reached.
        after.passes(1, 0, &tcp(1, 0, is_v6, (80, 1000), REPLY));
        after.passes(0, 1, &tcp(0, 1, is_v6, (1000, 80), DATA));
        after.drops_as(1, &tcp(1, 0, is_v6, (22, 1001), REPLY), DropReason::CtNotSyn);
        after.drops_as(0, &tcp(0, 1, is_v6, (1001, 22), DATA), DropReason::CtNotSyn);
        assert_eq!(after.switch.conntrack().unwrap().held(port(0)), (1, 0));
        // And what is taken away from then on ends it as it does all others.
        after.group(0, &[]);
        after.drops_as(0, &tcp(0, 1, is_v6, (1000, 80), DATA), DropReason::GroupIngress);
    }
}

#[test]
fn who_is_filtered_by_now_is_asked_about_the_next_packet() {
    let mut before = Lab::new(3);
    before.group(0, &[tcp_port(80)]);
    before.join(1, Some(&[0]));
    connect(&mut before, 0, 1, false, (1000, 80));
    let kept = records(&before);
    let mut after = lab(&[80]);
    assert_eq!(restore(&after, &kept), [Ok(())]);
    after.passes(0, 1, &tcp(0, 1, false, (1000, 80), DATA));
    after.passes(1, 0, &tcp(1, 0, false, (80, 1000), REPLY));
    let mut after = lab(&[80]);
    after.group_of(1, true, &[]);
    assert_eq!(restore(&after, &kept), [Ok(())]);
    after.drops_as(0, &tcp(0, 1, false, (1000, 80), DATA), DropReason::GroupEgress);
}

#[test]
fn nothing_is_restored_before_something_tracks_connections() {
    let mut before = lab(&[80]);
    connect(&mut before, 0, 1, false, (1000, 80));
    let after = Lab::new(3);
    assert_eq!(restore(&after, &records(&before)), [Err(NotRestored::Waits)]);
}
