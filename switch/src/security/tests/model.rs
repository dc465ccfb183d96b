//! Random groups, ports and changes of them: verdicts are the reference's, and nothing that stopped to be allowed is
//! taken for current.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::reference::{Packet, World};
use super::*;

#[derive(Clone, Debug)]
enum Change {
    Group(usize, Option<(bool, Vec<RuleSpec>)>),
    AddRule(usize, RuleSpec),
    RemoveRule(usize, usize),
    AddressGroup(usize, Vec<Prefix>),
    AddAddress(usize, Prefix),
    RemoveAddress(usize, Prefix),
    Port(usize, Option<PortSecurity>),
}

fn address() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0..16_u8).prop_map(|(is_v4, host)| {
        if is_v4 {
            Ipv4Addr::new(10, 0, host & 1, host).into()
        } else {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, u16::from(host & 1), u16::from(host)).into()
        }
    })
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), prop::sample::select(vec![0_u8, 1, 2, 3, 8])).prop_map(|(address, less)| {
        let bits = Family::of(address).bits();
        Prefix::covering(address, bits - less * (bits / 16)).unwrap()
    })
}

const PROTOCOLS: [Protocol; 5] =
    [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6, Protocol(47)];

fn rule() -> impl Strategy<Value = RuleSpec> {
    let service = (prop::option::of(prop::sample::select(PROTOCOLS.to_vec())), 0..6_u16, 0..4_u16, 0..3_u8);
    let remote = (0..5_u8, prefix(), 0..4_usize);
    (any::<bool>(), 0..4_u8, service, remote).prop_filter_map("a rule", |(out, version, service, remote)| {
        let (protocol, first, more, how) = service;
        let mut spec = RuleSpec::new(if out { Direction::Egress } else { Direction::Ingress });
        spec.ethertype = [None, None, Some(Family::Ipv4), Some(Family::Ipv6)][usize::from(version)];
        spec.protocol = protocol;
        match protocol {
            Some(protocol) if protocol.has_ports() && how > 0 => spec.ports = Some((first, first + more)),
            Some(protocol) if protocol.is_icmp() && how > 0 => {
                spec.icmp_type = u8::try_from(first).ok();
                spec.icmp_code = u8::try_from(more).ok().filter(|_| how > 1);
            }
            _ => {}
        }
        let (kind, prefix, index) = remote;
        match kind {
            1 | 2 => spec.prefix = Some(prefix),
            3 => spec.group = Some(group(index)),
            4 => spec.address_group = Some(address_group(index & 1)),
            _ => {}
        }
        Rule::try_from(spec).ok().map(|_| spec)
    })
}

fn settings() -> impl Strategy<Value = PortSecurity> {
    let groups = prop::option::weighted(0.9, prop::collection::vec(0..4_usize, 0..4));
    let addresses = prop::collection::vec(address(), 0..3);
    let pairs = prop::collection::vec(prefix(), 0..2);
    (0..2_u16, groups, addresses, pairs).prop_map(|(zone, groups, addresses, pairs)| PortSecurity {
        groups: groups.map(|groups| groups.into_iter().map(group).collect()),
        addresses,
        pairs: pairs.into_iter().map(|prefix| AddressPair { prefix, mac: None }).collect(),
        ..PortSecurity::new(Zone(zone), MacAddress([2; 6]))
    })
}

fn change() -> impl Strategy<Value = Change> {
    let rules = prop::collection::vec(rule(), 0..6);
    prop_oneof![
        2 => (0..4_usize, prop::option::weighted(0.9, (prop::bool::weighted(0.8), rules)))
            .prop_map(|(index, group)| Change::Group(index, group)),
        3 => (0..4_usize, rule()).prop_map(|(index, rule)| Change::AddRule(index, rule)),
        3 => (0..4_usize, 0..6_usize).prop_map(|(index, at)| Change::RemoveRule(index, at)),
        1 => (0..2_usize, prop::collection::vec(prefix(), 0..4)).prop_map(|(index, all)| Change::AddressGroup(index, all)),
        1 => (0..2_usize, prefix()).prop_map(|(index, prefix)| Change::AddAddress(index, prefix)),
        1 => (0..2_usize, prefix()).prop_map(|(index, prefix)| Change::RemoveAddress(index, prefix)),
        4 => (0..4_usize, prop::option::weighted(0.9, settings())).prop_map(|(index, port)| Change::Port(index, port)),
    ]
}

/// A change that gives each group some rules.
fn groups() -> impl Strategy<Value = Vec<Change>> {
    let rules = prop::collection::vec(rule(), 3..8);
    prop::collection::vec((prop::bool::weighted(0.8), rules), 4).prop_map(|groups| {
        (0..4).zip(groups).map(|(index, group)| Change::Group(index, Some(group))).collect()
    })
}

/// A change that sets each port up.
fn ports() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(settings(), 4)
        .prop_map(|ports| (0..4).zip(ports).map(|(index, port)| Change::Port(index, Some(port))).collect())
}

fn packet() -> impl Strategy<Value = Packet> {
    let service = (prop::sample::select(PROTOCOLS.to_vec()), 0..8_u8, 0..8_u8);
    (any::<bool>(), address(), service).prop_map(|(out, remote, (protocol, high, low))| Packet {
        direction: if out { Direction::Egress } else { Direction::Ingress },
        remote,
        protocol,
        service: match protocol {
            protocol if protocol.has_ports() => [0, low],
            protocol if protocol.is_icmp() => [high, low],
            _ => [0, 0],
        },
    })
}

fn apply_to_world(world: &mut World, change: &Change) {
    match change {
        Change::Group(index, Some(wanted)) => drop(world.groups.insert(group(*index), wanted.clone())),
        Change::Group(index, None) => drop(world.groups.remove(&group(*index))),
        Change::AddRule(index, rule) => {
            let (_, rules) = world.groups.entry(group(*index)).or_insert((true, Vec::new()));
            rules.push(*rule);
        }
        Change::RemoveRule(index, at) => {
            if let Some((_, rules)) = world.groups.get_mut(&group(*index)) {
                // A rule that stands there twice is one rule, however it was written.
                let gone = rules.get(*at).map(|spec| Rule::try_from(*spec).unwrap());
                rules.retain(|spec| Some(Rule::try_from(*spec).unwrap()) != gone);
            }
        }
        Change::AddressGroup(index, all) => {
            drop(world.address_groups.insert(address_group(*index), all.clone()));
        }
        Change::AddAddress(index, prefix) => {
            world.address_groups.entry(address_group(*index)).or_default().push(*prefix);
        }
        Change::RemoveAddress(index, prefix) => {
            let prefixes = world.address_groups.entry(address_group(*index)).or_default();
            prefixes.retain(|other| other != prefix);
        }
        Change::Port(index, Some(settings)) => drop(world.ports.insert(port(*index), settings.clone())),
        Change::Port(index, None) => drop(world.ports.remove(&port(*index))),
    }
}

fn apply(security: &mut SecurityControl, world: &World, change: &Change) {
    match change {
        Change::Group(index, wanted) => {
            let wanted =
                wanted.as_ref().map(|(stateful, specs)| Group { stateful: *stateful, ..rules(specs) });
            security.set_group(group(*index), wanted.as_ref());
        }
        Change::AddRule(index, rule) => security.add_rule(group(*index), Rule::try_from(*rule).unwrap()),
        Change::RemoveRule(index, at) => {
            if let Some(rule) = world.groups.get(&group(*index)).and_then(|(_, rules)| rules.get(*at)) {
                security.remove_rule(group(*index), &Rule::try_from(*rule).unwrap());
            }
        }
        Change::AddressGroup(index, all) => security.set_address_group(address_group(*index), all),
        Change::AddAddress(index, prefix) => security.add_address(address_group(*index), *prefix),
        Change::RemoveAddress(index, prefix) => security.remove_address(address_group(*index), *prefix),
        Change::Port(index, settings) => security.set_port(port(*index), settings.clone()),
    }
}

/// What the tables say about a packet; `None`: the port is not filtered.
fn verdict(policy: &SecurityPolicy, of: PortIndex, packet: &Packet, tracking: Tracking) -> Option<bool> {
    let service = Service::port(packet.protocol, u16::from_be_bytes(packet.service));
    match policy.judge(of, packet.direction, packet.remote, service, tracking) {
        Verdict::Unfiltered => None,
        Verdict::Allowed(_) => Some(true),
        Verdict::Denied => Some(false),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn verdicts_are_the_references_and_what_was_taken_away_is_outdated(
        begin in (groups(), ports()),
        changes in prop::collection::vec(change(), 1..30),
        packets in prop::collection::vec(packet(), 40),
        seed: u64,
    ) {
        let (mut security, mut world) = (SecurityControl::new(seed), World::default());
        for change in begin.0.into_iter().chain(begin.1).chain(changes) {
            let before = security.policy().clone();
            apply(&mut security, &world, &change);
            apply_to_world(&mut world, &change);
            let now = security.policy();
            for of in (0..4).map(port) {
                for (packet, tracking) in packets.iter().flat_map(|packet| {
                    [Tracking::Stateful, Tracking::Stateless].map(|tracking| (packet, tracking))
                }) {
                    let [was, is] = [&before, now].map(|policy| verdict(policy, of, packet, tracking));
                    prop_assert_eq!(is, world.allows(of, packet, tracking), "{:?} {:?}", of, packet);
                    let lost = was != Some(false) && is == Some(false);
                    let current = now.is_current(of, before.generation());
                    prop_assert!(!lost || !current, "{:?} was allowed to {:?}", packet, of);
                }
            }
            prop_assert_eq!(before.generation() == now.generation(), (0..4).map(port).all(|of| {
                now.is_current(of, before.generation())
            }));
        }
    }
}
