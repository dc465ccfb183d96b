//! What the control side may say, and what it means.

use std::net::Ipv4Addr;

use super::*;
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::packet::number;
use crate::router::{InterfaceSettings, RouterIndex, Routing, Serves};

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// Network 0 is inside, network 1 outside with an address of its own and one that stands for a station.
fn routing() -> Routing {
    let interface = |of: usize, addresses: &[(&str, u8)]| InterfaceSettings {
        network: network(of),
        router: RouterIndex(u16::try_from(of).unwrap()),
        mac: MacAddress([2, 0, 0, 0, 1, u8::try_from(of).unwrap()]),
        mtu: 1500,
        addresses: addresses.iter().map(|(address, length)| (v4(address).into(), *length)).collect(),
        serves: Serves::default(),
        is_outside: false,
        groups: Vec::new(),
    };
    let outside = [("192.0.2.120", 32), ("192.0.2.1", 24)];
    Routing::compile([interface(0, &[("10.0.0.1", 24)]), interface(1, &outside)], []).unwrap()
}

fn published(ports: std::ops::RangeInclusive<u16>, station_port: u16) -> Published {
    Published {
        outside: network(1),
        address: None,
        protocol: number::TCP,
        ports,
        inside: network(0),
        station: v4("10.0.0.9"),
        station_port,
    }
}

fn floating() -> Floating {
    Floating { outside: network(1), address: v4("192.0.2.120"), inside: network(0), station: v4("10.0.0.9") }
}

#[test]
fn masquerading_uses_the_gateways_own_address() {
    let sources = vec![SourceNat::masquerade(network(0), network(1))];
    let nat = Nat::compile(&NatSettings { sources, ..NatSettings::default() }, &routing()).unwrap();
    let source = nat.source(network(0)).unwrap();
    assert_eq!(source.choose(v4("10.0.0.9")), Some((0, &[(v4("192.0.2.1"), v4("192.0.2.1"))][..])));
    assert!(nat.is_pooled(network(1), v4("192.0.2.1")) && nat.concerns(network(1)));
    assert!(!nat.is_pooled(network(1), v4("192.0.2.120")) && !nat.concerns(network(2)));
}

#[test]
fn the_first_rule_that_has_the_source_counts() {
    let rule = |sources: &str, to| SourceRule { sources: sources.parse().unwrap(), to };
    let pool = vec![(v4("192.0.2.8"), v4("192.0.2.9"))];
    let mut masquerade = SourceNat::masquerade(network(0), network(1));
    masquerade.rules = vec![
        rule("10.0.0.8/32", SourceAddress::Keep),
        rule("10.0.0.0/28", SourceAddress::Pool(pool.clone())),
    ];
    let settings = NatSettings { sources: vec![masquerade], ..NatSettings::default() };
    let nat = Nat::compile(&settings, &routing()).unwrap();
    let choose = |station| nat.source(network(0)).unwrap().choose(v4(station));
    assert_eq!(choose("10.0.0.8"), None);
    assert_eq!(choose("10.0.0.9"), Some((1, &pool[..])));
    assert_eq!(choose("10.0.0.99"), None);
}

#[test]
fn published_ports_come_before_a_floating_address() {
    let mut ports = published(8000..=8009, 80);
    ports.address = Some(v4("192.0.2.120"));
    let settings =
        NatSettings { floating: vec![floating()], published: vec![ports], ..NatSettings::default() };
    let nat = Nat::compile(&settings, &routing()).unwrap();
    let port_of =
        |protocol, port| nat.target(network(1), v4("192.0.2.120"), (protocol, port)).map(|to| to.port);
    assert_eq!(port_of(number::TCP, 8009), Some(Some(89)));
    assert_eq!(port_of(number::TCP, 8010), Some(None));
    assert_eq!(port_of(number::TCP, 7999), Some(None));
    assert_eq!(port_of(number::UDP, 8009), Some(None));
    assert_eq!(nat.target(network(1), v4("192.0.2.1"), (number::TCP, 8009)), None);
    assert_eq!(nat.floating(network(0), v4("10.0.0.9"), network(1)), Some(v4("192.0.2.120")));
}

#[test]
fn no_mapping_gets_a_port_at_which_the_switch_is_reached() {
    let sources = vec![SourceNat::masquerade(network(0), network(1))];
    let reserved = Reserved { outside: network(1), protocol: number::UDP, ports: 4789..=4789 };
    let elsewhere = Reserved { outside: network(0), ..reserved.clone() };
    let settings = NatSettings { sources, reserved: vec![elsewhere, reserved], ..NatSettings::default() };
    let nat = Nat::compile(&settings, &routing()).unwrap();
    let addresses = nat.outside_addresses();
    assert_eq!(addresses.len(), 1);
    assert_eq!(addresses[0].reserved, [(number::UDP, 4789..=4789)]);
}

#[test]
fn contradictions_are_named() {
    let masquerade = SourceNat::masquerade(network(0), network(1));
    let pool = |from, to| {
        let to = SourceAddress::Pool(vec![(v4(from), v4(to))]);
        let rules = vec![SourceRule { sources: "10.0.0.0/24".parse().unwrap(), to }];
        NatSettings { sources: vec![SourceNat { rules, ..masquerade.clone() }], ..NatSettings::default() }
    };
    let of = |settings: &NatSettings| Nat::compile(settings, &routing()).unwrap_err().to_string();
    let publish = |published| NatSettings { published, ..NatSettings::default() };
    let float = |floating| NatSettings { floating, ..NatSettings::default() };
    let source = |sources| NatSettings { sources, ..NatSettings::default() };
    let cases = [
        (source(vec![masquerade.clone(), masquerade.clone()]), "translated twice"),
        (
            source(vec![SourceNat::masquerade(network(0), network(0))]),
            "network 0 is translated to itself; name another network",
        ),
        (
            source(vec![SourceNat::masquerade(network(0), network(7))]),
            "network 7 takes part in NAT, but has no gateway; give it one",
        ),
        (source(vec![SourceNat { ports: 0..=9, ..masquerade.clone() }]), "begin with 1"),
        (pool("192.0.2.9", "192.0.2.8"), "lower end first"),
        (pool("192.0.0.0", "192.0.255.255"), "more than 4096"),
        (publish(vec![published(80..=90, 1), published(90..=91, 1)]), "two meanings"),
        (publish(vec![published(1..=65_535, 2)]), "is empty"),
        (publish(vec![Published { protocol: 47, ..published(1..=2, 1) }]), "protocol 47"),
        (float(vec![floating(), floating()]), "two meanings"),
        (float(vec![floating(), Floating { address: v4("192.0.2.121"), ..floating() }]), "two floating"),
        (
            NatSettings { floating: vec![floating()], ..pool("192.0.2.119", "192.0.2.121") },
            "192.0.2.120 of outside network 1 has two meanings",
        ),
    ];
    for (settings, text) in cases {
        let error = of(&settings);
        assert!(error.contains(text), "{error}");
    }
    for (inner, outer) in
        [("10.0.0.0/24", "192.0.2.0/24"), ("fd00::/64", "2001:db8::/56"), ("fd00::/120", "2001:db8::/120")]
    {
        let [inner, outer] = [inner, outer].map(|prefix| prefix.parse().unwrap());
        let prefix = PrefixNat { inside: network(0), inner, outside: network(1), outer };
        let settings = NatSettings { prefixes: vec![prefix], ..NatSettings::default() };
        let error = Nat::compile(&settings, &routing()).unwrap_err();
        assert_eq!(error, NatError::BadPrefixes { inner, outer });
    }
}

/// RFC 4787, 8, REQ-7: detected when the outside network's address is known.
#[test]
fn udp_r7_an_address_clash_is_detected() {
    let interface = |of: usize, address: &str| InterfaceSettings {
        network: network(of),
        router: RouterIndex(u16::try_from(of).unwrap()),
        mac: MacAddress([2, 0, 0, 0, 1, 0]),
        mtu: 1500,
        addresses: vec![(v4(address).into(), 24)],
        serves: Serves::default(),
        is_outside: false,
        groups: Vec::new(),
    };
    let sources = vec![SourceNat::masquerade(network(0), network(1))];
    let settings = NatSettings { sources, ..NatSettings::default() };
    let routing = Routing::compile([interface(0, "10.0.0.1"), interface(1, "10.0.0.77")], []).unwrap();
    let error = Nat::compile(&settings, &routing).unwrap_err();
    assert!(matches!(error, NatError::Overlap { .. }), "{error}");
    let routing = Routing::compile([interface(0, "10.0.0.1"), interface(1, "10.0.1.77")], []).unwrap();
    assert!(Nat::compile(&settings, &routing).is_ok());
}
