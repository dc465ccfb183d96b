//! Random rules, members, changes and packets: a plain evaluator says the same about each packet, with a flow cache as without.

use std::collections::HashMap;
use std::net::IpAddr;

use proptest::prelude::*;
use viaduct_switch::JudgeLimits;
use viaduct_switch::security::{Direction, Prefix, Protocol, RuleSpec};

use crate::lab::*;

const STATIONS: usize = 4;
const GROUPS: usize = 3;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Group(usize, bool, Vec<RuleSpec>),
    Join(usize, Option<Vec<usize>>),
    /// From, to, whether it is IPv6, ports.
    Packet(usize, usize, bool, (u16, u16)),
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let remote = (0..4u8, 0..GROUPS, 0..STATIONS, 28..=32u8, any::<bool>());
    (any::<bool>(), 0..3u8, 1..5u16, 0..3u16, remote).prop_map(|(is_egress, kind, first, more, remote)| {
        let direction = if is_egress { Direction::Egress } else { Direction::Ingress };
        let mut rule = RuleSpec::new(direction);
        if kind > 0 {
            rule.protocol = Some(if kind == 1 { Protocol::TCP } else { Protocol::UDP });
            rule.ports = Some((first, first + more));
        }
        let (kind, group_of, station, length, is_v6) = remote;
        match kind {
            0 => rule.group = Some(group(group_of)),
            1 if is_v6 => rule.prefix = format!("{}/{}", v6(station), length + 96).parse().ok(),
            1 => rule.prefix = Some(masked(station, length)),
            _ => {}
        }
        rule
    })
}

fn masked(station: usize, length: u8) -> Prefix {
    let IpAddr::V4(address) = v4(station) else { unreachable!() };
    let bits = address.to_bits() & (u32::MAX << (32 - length));
    format!("{}/{length}", std::net::Ipv4Addr::from_bits(bits)).parse().unwrap()
}

fn event() -> impl Strategy<Value = Event> {
    let rules = prop::collection::vec(rule(), 0..5);
    let members = prop::option::weighted(0.9, prop::collection::vec(0..GROUPS, 0..3));
    let ports = (1..7u16, 1..7u16);
    prop_oneof![
        1 => (0..GROUPS, any::<bool>(), rules).prop_map(|(index, stateful, rules)| Event::Group(index, stateful, rules)),
        1 => (0..STATIONS, members).prop_map(|(station, groups)| Event::Join(station, groups)),
        20 => (0..STATIONS, 0..STATIONS, any::<bool>(), ports)
            .prop_filter("to another one", |(from, to, ..)| from != to)
            .prop_map(|(from, to, is_v6, ports)| Event::Packet(from, to, is_v6, ports)),
    ]
}

/// One direction of a connection: source, destination, source port, destination port.
type Tuple = (IpAddr, IpAddr, u16, u16);

/// The plain evaluator: rules are gone through one by one, and connections are a map.
#[derive(Default)]
struct Reference {
    groups: HashMap<usize, (bool, Vec<RuleSpec>)>,
    members: HashMap<usize, Vec<usize>>,
    /// By both directions: the one that opened it.
    connections: HashMap<Tuple, Tuple>,
}

impl Reference {
    fn is_member(&self, address: IpAddr, of: usize) -> bool {
        (0..STATIONS)
            .filter(|station| [v4(*station), v6(*station)].contains(&address))
            .any(|station| self.members.get(&station).is_some_and(|groups| groups.contains(&of)))
    }

    fn matches(&self, rule: &RuleSpec, direction: Direction, tuple: &Tuple) -> bool {
        let &(source, destination, _, port) = tuple;
        let remote = if direction == Direction::Egress { destination } else { source };
        let remote_is = rule.prefix.is_none_or(|prefix| prefix.contains(remote))
            && rule.group.is_none_or(|of| self.is_member(remote, of.get()));
        rule.direction == direction
            && rule.protocol.is_none_or(|protocol| protocol == Protocol::UDP)
            && rule.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
            && remote_is
    }

    /// Whether groups of this kind of the station allow it.
    fn allows(&self, station: usize, stateful: bool, direction: Direction, tuple: &Tuple) -> bool {
        let groups = self.members[&station].iter().filter_map(|index| self.groups.get(index));
        let mut rules = groups.filter(|(kind, _)| *kind == stateful).flat_map(|(_, rules)| rules);
        rules.any(|rule| self.matches(rule, direction, tuple))
    }

    /// Whether a datagram passes; if so, it may open a connection.
    fn passes(&mut self, from: usize, to: usize, packet: Tuple) -> bool {
        let original = self.connections.get(&packet).copied();
        let opener = original.unwrap_or(packet);
        let is_reply = opener != packet;
        let mut vouched = false;
        for (station, direction) in [(from, Direction::Egress), (to, Direction::Ingress)] {
            if !self.members.contains_key(&station) {
                continue;
            }
            let at_opening = match (direction, is_reply) {
                (Direction::Egress, false) | (Direction::Ingress, true) => Direction::Egress,
                _ => Direction::Ingress,
            };
            let by_memory = self.allows(station, true, at_opening, &opener);
            if !by_memory && !self.allows(station, false, direction, &packet) {
                return false;
            }
            vouched |= by_memory;
        }
        if vouched && original.is_none() {
            let (source, destination, source_port, destination_port) = packet;
            self.connections.insert(packet, packet);
            self.connections.insert((destination, source, destination_port, source_port), packet);
        }
        true
    }
}

/// Applies the events to both, and compares what they say about each packet.
fn compare(events: &[Event], flow_entries: usize) -> Result<(), TestCaseError> {
    let mut lab = Lab::with(&[0; STATIONS], JudgeLimits::UNLIMITED, flow_entries);
    let mut reference = Reference::default();
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Group(index, stateful, rules) => {
                lab.group_of(*index, *stateful, rules);
                reference.groups.insert(*index, (*stateful, rules.clone()));
            }
            Event::Join(station, groups) => {
                lab.join(*station, groups.as_deref());
                match groups {
                    Some(groups) => reference.members.insert(*station, groups.clone()),
                    None => reference.members.remove(station),
                };
            }
            Event::Packet(from, to, is_v6, ..) if lab_is_open(&reference, *from, *to) => {
                lab.passes(*from, *to, &udp(*from, *to, *is_v6, (1, 1)));
            }
            Event::Packet(from, to, is_v6, ports) => {
                let (source, destination) = ends(*from, *to, *is_v6);
                let expected = reference.passes(*from, *to, (source, destination, ports.0, ports.1));
                let outcome = lab.send(*from, &udp(*from, *to, *is_v6, *ports));
                prop_assert_eq!(
                    outcome == Outcome::To(vec![*to]),
                    expected,
                    "event {}: {:?}",
                    number,
                    outcome
                );
            }
        }
    }
    Ok(())
}

/// Whether neither is filtered: then no connection is noted.
fn lab_is_open(reference: &Reference, from: usize, to: usize) -> bool {
    !reference.members.contains_key(&from) && !reference.members.contains_key(&to)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_plain_evaluator_says_the_same(events in prop::collection::vec(event(), 1..150)) {
        compare(&events, 0)?;
        compare(&events, 512)?;
    }
}
