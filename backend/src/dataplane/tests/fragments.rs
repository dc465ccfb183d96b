//! Fragments that come before the first one of their datagram, through real rings.

use std::net::Ipv4Addr;

use viaduct_switch::MacAddress;
use viaduct_switch::security::{
    Direction, Group, GroupIndex, PortSecurity, Protocol, Rule, RuleSpec, SecurityControl, Zone,
};

use super::*;

/// A network of which station 1 takes nothing but UDP to port 7.
fn filtered(cpus: &[usize]) -> Dataplane {
    let mut dataplane = dataplane(cpus);
    let mut security = SecurityControl::new(3);
    let group = GroupIndex::new(0).unwrap();
    let ingress =
        RuleSpec { protocol: Some(Protocol::UDP), ports: Some((7, 7)), ..RuleSpec::new(Direction::Ingress) };
    let rules = [ingress, RuleSpec::new(Direction::Egress)].map(|rule| Rule::try_from(rule).unwrap());
    security.set_group(group, Some(&Group { stateful: true, rules: rules.into() }));
    let own = PortSecurity::new(Zone(0), MacAddress([2, 0, 0, 0, 0, 1]));
    security.set_port(port(1), Some(PortSecurity { groups: Some(vec![group]), ..own }));
    let policy = policy_of(6, &[]).with_security(Arc::new(security.policy().clone()));
    dataplane.set_policy(Arc::new(policy));
    dataplane
}

/// A part of a datagram of 600 bytes from station `from` to port 7, or another, of station 1: 200 bytes, the last of which is
/// its number.
fn part(from: u8, id: u16, number: u8, to_port: u16) -> Vec<u8> {
    let more: u16 = if number == 2 { 0 } else { 0x2000 };
    let mut frame = vec![0; 12];
    frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, from, 8, 0, 0x45, 0]);
    frame.extend(220u16.to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend((more | (200 * u16::from(number) / 8)).to_be_bytes());
    frame.extend([64, 17, 0, 0]);
    frame.extend(Ipv4Addr::new(10, 0, 0, from).octets());
    frame.extend(Ipv4Addr::new(10, 0, 0, 1).octets());
    if number == 0 {
        frame.extend([9u16, to_port, 600, 0].map(u16::to_be_bytes).concat());
    }
    frame.resize(12 + 34 + 200, number);
    frame
}

impl Guest {
    fn send_part(&mut self, id: u16, number: u8, to_port: u16) {
        let from = u8::try_from(self.port.get()).unwrap();
        self.offer(1, &part(from, id, number, to_port));
        self.kick(1);
        self.wait_used(1, self.offered[1]);
    }
}

#[test]
fn fragments_that_come_out_of_order_arrive_all() {
    for cpus in [&[0][..], &[0, 1]] {
        let mut dataplane = filtered(cpus);
        let (mut a, mut b) = (Guest::new(0), Guest::new(1));
        (0..SIZE).for_each(|_| b.offer(0, &[]));
        dataplane.attach(a.setup([0, 0]));
        dataplane.attach(b.setup([0, 0]));
        b.send(0, 9);
        b.wait_used(1, 1);
        let mut arrived = 0;
        for (id, order) in (0..).zip([[2u8, 1, 0], [1, 2, 0], [1, 0, 2], [2, 0, 1], [0, 1, 2]]) {
            for number in order {
                a.send_part(id, number, 7);
            }
            b.wait_used(0, arrived + 3);
            let mut got: Vec<u8> = (arrived..arrived + 3).map(|slot| b.received(slot)).collect();
            got.sort_unstable();
            assert_eq!(got, [0, 1, 2], "{order:?}");
            arrived += 3;
        }
        // What is not let in is dropped as a whole.
        for number in [2, 1, 0] {
            a.send_part(99, number, 8);
        }
        a.send_part(100, 0, 7);
        b.wait_used(0, arrived + 1);
        // The first one is counted at the receiver, what had to wait for it at the sender.
        let denied = [1, 0].map(|index| drops(&dataplane, index, DropReason::GroupIngress));
        assert_eq!(denied, [1, 2]);
        assert_eq!(drops(&dataplane, 0, DropReason::FragmentNoFirst), 0);
    }
}

#[test]
fn endless_later_fragments_cost_nobody_else() {
    let mut dataplane = filtered(&[0]);
    let (mut a, mut b, mut c) = (Guest::new(0), Guest::new(1), Guest::new(2));
    (0..SIZE).for_each(|_| b.offer(0, &[]));
    for guest in [&a, &b, &c] {
        dataplane.attach(guest.setup([0, 0]));
    }
    b.send(0, 9);
    b.wait_used(1, 1);
    for id in 0..1000 {
        c.send_part(id, 1, 7);
    }
    let refused = [DropReason::FragmentHeldFull, DropReason::FragmentPortFull]
        .map(|reason| drops(&dataplane, 2, reason))
        .iter()
        .sum::<u64>();
    assert!(refused >= 700, "{refused}");
    for number in [2, 1, 0] {
        a.send_part(1, number, 7);
    }
    b.wait_used(0, 3);
    // What is kept for a port goes with it.
    dataplane.detach(port(2));
    assert_eq!(drops(&dataplane, 2, DropReason::FragmentNoFirst) + refused, 1000);
}
