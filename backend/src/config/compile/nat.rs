//! Settings of NAT.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::nat::{
    FilteringBehavior, Floating, MappingBehavior, NatSettings, PrefixNat, Published, Reserved, SourceAddress,
    SourceNat, SourceRule,
};
use viaduct_switch::packet::number;
use viaduct_switch::security::{Family, Prefix};

use super::Numbered;
use crate::config::{
    Config, Filtering, GatewaySettings, Mapping, Membership, Network, NetworkMode, Overlay, Port,
    PortProtocol, Publication, Router, SourceTarget,
};

impl Config {
    /// All that is said about NAT.
    #[must_use]
    pub fn nat_settings(&self, numbers: &impl Numbered) -> NatSettings {
        let mut settings = NatSettings::default();
        for (name, network) in &self.networks {
            settings.sources.extend(self.source_nat(name, network, numbers));
            settings.prefixes.extend(prefixes(name, network, numbers).into_iter().flatten());
        }
        for port in self.ports.values() {
            self.reach(port, numbers, &mut settings);
        }
        settings.reserved = self.tunnel_ports(numbers, &settings.sources);
        settings
    }

    /// The UDP ports at which tunnels end, where translated packets leave, too: what comes there is a tunnel's.
    fn tunnel_ports(&self, numbers: &impl Numbered, sources: &[SourceNat]) -> Vec<Reserved> {
        let overlays = self.networks.values().filter_map(|network| network.overlay.as_ref());
        let reserved = |overlay: &Overlay| {
            let outside = numbers.outside(&overlay.uplink)?;
            let is_translated = overlay.port > 0 && sources.iter().any(|source| source.outside == outside);
            let ports = overlay.port..=overlay.port;
            is_translated.then_some(Reserved { outside, protocol: number::UDP, ports })
        };
        let mut all: Vec<Reserved> = overlays.filter_map(reserved).collect();
        all.sort_by_key(|reserved| (reserved.outside, *reserved.ports.start()));
        all.dedup();
        all
    }

    /// The addresses beside an uplink's own for which the switch answers out there, since they stand for stations: floating ones,
    /// those of published ports, and those of pools.
    #[must_use]
    pub fn translated_at(&self, uplink: &str) -> BTreeSet<Ipv4Addr> {
        let own = |address: &Ipv4Addr| {
            let addressing = self.uplinks.get(uplink).and_then(|uplink| uplink.addressing.as_ref());
            addressing.is_some_and(|addressing| {
                addressing.addresses.iter().any(|subnet| subnet.address == IpAddr::V4(*address))
            })
        };
        let mut found = BTreeSet::new();
        let is_translated =
            |network: &&Network| network.mode == NetworkMode::Nat && network.way_out() == Some(uplink);
        for network in self.networks.values().filter(is_translated) {
            for rule in &network.gateway.source_rules {
                if let SourceTarget::Pool(ranges) = &rule.to {
                    let all = ranges.iter().flat_map(|(first, last)| first.to_bits()..=last.to_bits());
                    found.extend(all.map(Ipv4Addr::from_bits));
                }
            }
        }
        for port in self.ports.values() {
            let network = port.membership.native().and_then(|name| self.networks.get(name));
            if network.filter(is_translated).is_some() {
                found.extend(&port.floating);
                found.extend(port.publish.iter().filter_map(|publication| publication.address));
            }
        }
        found.retain(|address| !own(address));
        found
    }

    /// How packets of a network leave it: by its own uplink, or that of a network of mode `nat` that a router joins with it.
    fn source_nat(&self, name: &str, network: &Network, numbers: &impl Numbered) -> Option<SourceNat> {
        let way_out =
            if network.mode == NetworkMode::Nat { network } else { self.joined_nat(name, network)? };
        let GatewaySettings { nat, source_rules, .. } = &way_out.gateway;
        let written =
            source_rules.iter().map(|rule| SourceRule { sources: rule.source, to: target(&rule.to) });
        let rest = SourceRule { sources: Prefix::all(Family::Ipv4), to: SourceAddress::Masquerade };
        Some(SourceNat {
            inside: numbers.network(name)?,
            outside: numbers.outside(way_out.way_out()?)?,
            rules: written.chain([rest]).collect(),
            mapping: mapping(nat.mapping),
            filtering: filtering(nat.filtering),
            ports: nat.ports.0..=nat.ports.1,
            ports_per_guest: nat.port_limit.map(u32::from),
        })
    }

    /// The uplink by which packets of a network leave: its own, or that of a network with which a router joins it.
    #[must_use]
    pub fn uplink_of(&self, name: &str) -> Option<&str> {
        let way_out = |name: &String| self.networks.get(name)?.way_out();
        let is_joined = |router: &&Router| router.networks.iter().any(|other| other == name);
        let joined = || self.routers.values().find(is_joined)?.networks.iter().find_map(way_out);
        self.networks.get(name)?.way_out().or_else(joined)
    }

    /// The network of mode `nat` by whose uplink packets leave a network that has none.
    fn joined_nat(&self, name: &str, network: &Network) -> Option<&Network> {
        if network.way_out().is_some() {
            return None;
        }
        let router =
            self.routers.values().find(|router| router.networks.iter().any(|other| other == name))?;
        let mut joined = router.networks.iter().filter_map(|other| self.networks.get(other));
        joined.find(|other| other.mode == NetworkMode::Nat)
    }

    /// How the outside reaches a port.
    fn reach(&self, port: &Port, numbers: &impl Numbered, settings: &mut NatSettings) {
        let Membership::Access(name) = &port.membership else { return };
        let Some(network) = self.networks.get(name).filter(|network| network.mode == NetworkMode::Nat) else {
            return;
        };
        let outside = network.way_out().and_then(|uplink| numbers.outside(uplink));
        let (Some(outside), Some(inside)) = (outside, numbers.network(name)) else { return };
        let stations = port.addresses_in(network);
        settings.floating.extend(stations.zip(&port.floating).map(|(station, &address)| Floating {
            outside,
            address,
            inside,
            station,
        }));
        let Some(station) = port.addresses_in(network).next() else { return };
        settings.published.extend(port.publish.iter().map(|publication| {
            let Publication { address, outside: (first, last), inside: (station_port, _), protocol } =
                *publication;
            Published {
                outside,
                address,
                protocol: protocol_number(protocol),
                ports: first..=last,
                inside,
                station,
                station_port,
            }
        }));
    }
}

fn prefixes(name: &str, network: &Network, numbers: &impl Numbered) -> Option<Vec<PrefixNat>> {
    let (inside, outside) = (numbers.network(name)?, numbers.outside(network.way_out()?)?);
    let pairs = network.gateway.nat.prefixes.iter();
    Some(pairs.map(|pair| PrefixNat { inside, inner: pair.inside, outside, outer: pair.outside }).collect())
}

fn target(to: &SourceTarget) -> SourceAddress {
    match to {
        SourceTarget::Masquerade => SourceAddress::Masquerade,
        SourceTarget::Keep => SourceAddress::Keep,
        SourceTarget::Pool(ranges) => SourceAddress::Pool(ranges.clone()),
    }
}

fn mapping(mapping: Mapping) -> MappingBehavior {
    match mapping {
        Mapping::EndpointIndependent => MappingBehavior::EndpointIndependent,
        Mapping::AddressAndPortDependent => MappingBehavior::EndpointDependent,
    }
}

fn filtering(filtering: Filtering) -> FilteringBehavior {
    match filtering {
        Filtering::EndpointIndependent => FilteringBehavior::EndpointIndependent,
        Filtering::AddressDependent => FilteringBehavior::AddressDependent,
        Filtering::AddressAndPortDependent => FilteringBehavior::AddressAndPortDependent,
    }
}

fn protocol_number(protocol: PortProtocol) -> u8 {
    match protocol {
        PortProtocol::Tcp => number::TCP,
        PortProtocol::Udp => number::UDP,
    }
}
