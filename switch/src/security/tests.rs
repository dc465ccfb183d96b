mod changes;
mod frames;
mod matching;
mod model;
mod reference;
mod rules;
mod spoofing;

use super::*;
use crate::ids::PortIndex;
use crate::mac::MacAddress;

fn group(index: usize) -> GroupIndex {
    GroupIndex::new(index).unwrap()
}

fn address_group(index: usize) -> AddressGroupIndex {
    AddressGroupIndex::new(index).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// A port of zone 0 with these addresses, in these groups.
fn member(addresses: &[&str], groups: &[usize]) -> PortSecurity {
    PortSecurity {
        groups: Some(groups.iter().map(|index| group(*index)).collect()),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ..PortSecurity::new(Zone(0), MacAddress([2, 0, 0, 0, 0, 1]))
    }
}

/// A group with these rules and no others.
fn rules(specs: &[RuleSpec]) -> Group {
    Group { stateful: true, rules: specs.iter().map(|spec| Rule::try_from(*spec).unwrap()).collect() }
}

fn ingress() -> RuleSpec {
    RuleSpec::new(Direction::Ingress)
}

fn tcp(ports: u16) -> RuleSpec {
    RuleSpec { protocol: Some(Protocol::TCP), ports: Some((ports, ports)), ..ingress() }
}

fn from(prefix: &str) -> Option<Prefix> {
    Some(prefix.parse().unwrap())
}

/// Whether the port's guest may be asked for a service by an address, or ask for it there.
fn allows(
    security: &SecurityControl,
    of: usize,
    direction: Direction,
    remote: &str,
    service: Service,
) -> bool {
    let remote = remote.parse().unwrap();
    match security.policy().judge(port(of), direction, remote, service, Tracking::Stateful) {
        Verdict::Allowed(_) => true,
        Verdict::Denied => false,
        Verdict::Unfiltered => panic!("the port is filtered"),
    }
}

/// Whether the port's guest may be reached by an address at a port of TCP.
fn reaches(security: &SecurityControl, of: usize, remote: &str, tcp: u16) -> bool {
    allows(security, of, Direction::Ingress, remote, Service::port(Protocol::TCP, tcp))
}
