//! Fragments get the verdict of their first one.

use viaduct_switch::DropReason;

use crate::lab::*;
use crate::rules::udp_port;

/// Station 1 takes port 7 alone.
fn lab() -> Lab {
    let mut lab = Lab::new(3);
    lab.group(0, &[udp_port(7)]);
    lab.join(1, Some(&[0]));
    lab
}

fn datagram(to_port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    ip(0, 1, ends(0, 1, false)).udp(9, to_port).write(&mut frame, &[5; 192]).unwrap();
    frame
}

#[test]
fn fragments_follow_the_first_one() {
    let mut lab = lab();
    for fragment in fragments(&datagram(7), 1, &[0, 64, 128]) {
        lab.passes(0, 1, &fragment);
    }
    for fragment in fragments(&datagram(8), 2, &[0, 64, 128]) {
        lab.drops_as(0, &fragment, DropReason::GroupIngress);
    }
}

#[test]
fn fragments_that_come_early_wait_for_the_first_one() {
    for (id, to, passed) in [(1, 7, vec![1, 1]), (2, 8, vec![])] {
        let mut lab = lab();
        let [first, second, third] = fragments(&datagram(to), id, &[0, 64, 128]).try_into().unwrap();
        assert_eq!(lab.send(0, &third), Outcome::Held);
        assert_eq!(lab.send(0, &second), Outcome::Held);
        let outcome = lab.send(0, &first);
        assert_eq!(outcome == Outcome::To(vec![1]), to == 7, "{outcome:?}");
        assert_eq!(lab.go_on(), passed);
        assert_eq!(lab.kept(), 0);
    }
}

#[test]
fn what_serves_to_evade_rules_is_dropped_by_name() {
    let mut lab = lab();
    let whole = datagram(7);
    // The first fragment ends within the header of UDP: it has to be a multiple of 8, so TCP's is cut.
    let mut syn = tcp(0, 1, false, (9, 7), Segment { flags: "S", ..Segment::default() });
    syn.extend([0; 64]);
    let [tiny, _] = fragments(&syn, 1, &[0, 8]).try_into().unwrap();
    lab.drops_as(0, &tiny, DropReason::FragmentTiny);
    let [first, second, _] = fragments(&whole, 2, &[0, 64, 128]).try_into().unwrap();
    lab.passes(0, 1, &first);
    lab.passes(0, 1, &second);
    let [_, overlap, _] = fragments(&whole, 2, &[0, 120, 160]).try_into().unwrap();
    lab.drops_as(0, &overlap, DropReason::FragmentOverlap);
    lab.drops_as(0, &fragments(&whole, 2, &[0, 64, 128])[2], DropReason::FragmentOverlap);
    let mut long = fragments(&whole, 3, &[0, 64])[1].clone();
    long[20..22].copy_from_slice(&0x1fff_u16.to_be_bytes());
    lab.drops_as(0, &long, DropReason::FragmentOverlong);
}

/// A datagram that is let in to one station is no way to another.
#[test]
fn fragments_go_where_their_first_one_may() {
    let mut lab = lab();
    lab.group(1, &[]);
    lab.join(2, Some(&[1]));
    let [first, mut second] = fragments(&datagram(7), 1, &[0, 64]).try_into().unwrap();
    lab.passes(0, 1, &first);
    second[..6].copy_from_slice(&mac(2));
    lab.drops_as(0, &second, DropReason::GroupIngress);
}

#[test]
fn fragments_of_ports_that_are_not_filtered_are_not_looked_at() {
    let mut lab = lab();
    let mut overlong = fragments(&datagram(7), 3, &[0, 64])[1].clone();
    overlong[20..22].copy_from_slice(&0x1fff_u16.to_be_bytes());
    overlong[..6].copy_from_slice(&mac(2));
    lab.passes(0, 2, &overlong);
    assert_eq!(lab.switch.fragments().unwrap().begun, 0);
}
