//! What NAT is to do, as the data path asks it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::mappings::OutsideAddress;
use super::settings::{
    FilteringBehavior, Floating, MappingBehavior, NatError, NatSettings, Published, Reserved, SourceAddress,
    SourceNat,
};
use super::{POOL_MAX, prefix::PrefixTranslation};
use crate::ids::NetworkIndex;
use crate::packet::{Address, number};
use crate::router::{Interface, Routing};
use crate::security::Prefix;

/// What NAT is to do: part of the compiled policy, immutable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nat {
    /// By inside network.
    sources: Vec<Option<Source>>,
    /// Networks that take part for IPv4, inside or outside.
    is_concerned: Vec<bool>,
    /// By outside network and address there.
    targets: HashMap<(NetworkIndex, Ipv4Addr), Targets>,
    /// The floating address of a station.
    floating: HashMap<(NetworkIndex, Ipv4Addr), (NetworkIndex, Ipv4Addr)>,
    /// Addresses that mappings may use.
    pools: Vec<(NetworkIndex, Ipv4Addr)>,
    /// Prefixes of IPv6.
    prefixes: Vec<PrefixTranslation>,
    /// Ports at which the switch itself is reached.
    reserved: Vec<Reserved>,
}

/// How packets leave a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    pub(crate) outside: NetworkIndex,
    rules: Vec<(Prefix, Choice)>,
    pub(crate) mapping: MappingBehavior,
    pub(crate) filtering: FilteringBehavior,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) ports_per_guest: Option<u32>,
}

/// The address that packets get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// Their own.
    Keep,
    /// One of these ranges; none, if the outside network's gateway has no address.
    Pool(Vec<(Ipv4Addr, Ipv4Addr)>),
}

/// To whom packets to an outside address go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Targets {
    /// Published ports, in ascending order.
    published: Vec<(u8, RangeInclusive<u16>, Target)>,
    /// What is not published.
    floating: Option<Target>,
}

/// A station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) network: NetworkIndex,
    pub(crate) address: Ipv4Addr,
    /// `None`: the packet's own.
    pub(crate) port: Option<u16>,
}

impl Nat {
    /// Compiles what the control side says. The routers' interfaces tell the addresses that masquerading uses: compile anew
    /// when they change.
    ///
    /// # Errors
    /// The first contradiction found; see [`NatError`].
    pub fn compile(settings: &NatSettings, routing: &Routing) -> Result<Self, NatError> {
        let mut nat = Self::default();
        for floating in &settings.floating {
            nat.add_floating(floating, routing)?;
        }
        for published in &settings.published {
            nat.add_published(published, routing)?;
        }
        for source in &settings.sources {
            nat.add_source(source, routing)?;
        }
        for prefix in &settings.prefixes {
            let prefix = PrefixTranslation::compile(prefix)?;
            for network in [prefix.inside, prefix.outside] {
                interface(routing, network)?;
            }
            nat.prefixes.push(prefix);
        }
        nat.reserved.clone_from(&settings.reserved);
        nat.pools.sort_unstable();
        nat.pools.dedup();
        Ok(nat)
    }

    fn add_floating(&mut self, floating: &Floating, routing: &Routing) -> Result<(), NatError> {
        let Floating { outside, address, inside, station } = *floating;
        self.concern(routing, inside, outside)?;
        let targets = self.targets.entry((outside, address)).or_default();
        let target = Target { network: inside, address: station, port: None };
        if targets.floating.replace(target).is_some() {
            return Err(NatError::Contradiction { outside, address });
        }
        if self.floating.insert((inside, station), (outside, address)).is_some() {
            return Err(NatError::TwoFloating { inside, station });
        }
        Ok(())
    }

    fn add_published(&mut self, published: &Published, routing: &Routing) -> Result<(), NatError> {
        let Published { outside, address, protocol, ref ports, inside, station, station_port } = *published;
        self.concern(routing, inside, outside)?;
        if !matches!(protocol, number::TCP | number::UDP) {
            return Err(NatError::NoPorts(protocol));
        }
        check_ports(ports, outside)?;
        let last = ports.end() - ports.start();
        if station_port == 0 || station_port.checked_add(last).is_none() {
            return Err(NatError::EmptyRange(format!("from station port {station_port} on"), inside));
        }
        // Without an address of its own the gateway has none that could be published.
        let own = || interface(routing, outside).map(masquerade_address);
        let Some(address) = address.map_or_else(own, |address| Ok(Some(address)))? else { return Ok(()) };
        let published = &mut self.targets.entry((outside, address)).or_default().published;
        let meets = |(other, range, _): &(u8, RangeInclusive<u16>, Target)| {
            *other == protocol && range.start() <= ports.end() && ports.start() <= range.end()
        };
        if published.iter().any(meets) {
            return Err(NatError::Contradiction { outside, address });
        }
        published.push((
            protocol,
            ports.clone(),
            Target { network: inside, address: station, port: Some(station_port) },
        ));
        published.sort_unstable_by_key(|(protocol, ports, _)| (*protocol, *ports.start()));
        Ok(())
    }

    fn add_source(&mut self, settings: &SourceNat, routing: &Routing) -> Result<(), NatError> {
        let SourceNat { inside, outside, ref rules, mapping, filtering, ref ports, ports_per_guest } =
            *settings;
        self.concern(routing, inside, outside)?;
        check_ports(ports, inside)?;
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            let choice = match &rule.to {
                SourceAddress::Keep => Choice::Keep,
                SourceAddress::Masquerade => {
                    let own = masquerade_address(interface(routing, outside)?);
                    Choice::Pool(own.map(|own| (own, own)).into_iter().collect())
                }
                SourceAddress::Pool(ranges) => Choice::Pool(ranges.clone()),
            };
            self.add_pool(outside, &choice)?;
            compiled.push((rule.sources, choice));
        }
        let ports = ports.clone();
        let source = Source { outside, rules: compiled, mapping, filtering, ports, ports_per_guest };
        if self.sources.len() <= inside.get() {
            self.sources.resize_with(inside.get() + 1, || None);
        }
        match self.sources[inside.get()].replace(source) {
            Some(_) => Err(NatError::DuplicateInside(inside)),
            None => Ok(()),
        }
    }

    fn add_pool(&mut self, outside: NetworkIndex, choice: &Choice) -> Result<(), NatError> {
        let Choice::Pool(ranges) = choice else { return Ok(()) };
        for &(first, last) in ranges {
            if last < first {
                return Err(NatError::EmptyRange(format!("{first}-{last}"), outside));
            }
            if last.to_bits() - first.to_bits() >= POOL_MAX {
                return Err(NatError::PoolTooLarge(outside));
            }
            for bits in first.to_bits()..=last.to_bits() {
                let address = Ipv4Addr::from_bits(bits);
                // Both could mean another station by one packet.
                let is_floating =
                    self.targets.get(&(outside, address)).is_some_and(|targets| targets.floating.is_some());
                if is_floating {
                    return Err(NatError::Contradiction { outside, address });
                }
                self.pools.push((outside, address));
            }
        }
        Ok(())
    }

    /// Notes that both networks take part, whose addresses must not be the same.
    fn concern(
        &mut self,
        routing: &Routing,
        inside: NetworkIndex,
        outside: NetworkIndex,
    ) -> Result<(), NatError> {
        if inside == outside {
            return Err(NatError::OutsideIsInside(inside));
        }
        let (own, others) = (interface(routing, inside)?, interface(routing, outside)?);
        for (_, subnet) in own.addresses.iter().filter(|(address, _)| address.is_v4()) {
            let meets = |(_, other): &&(Address, Prefix)| {
                subnet.contains(other.address()) || other.contains(subnet.address())
            };
            if let Some((_, other)) = others.addresses.iter().find(meets) {
                return Err(NatError::Overlap { inside, subnet: *subnet, outside, other: *other });
            }
        }
        for network in [inside, outside] {
            if self.is_concerned.len() <= network.get() {
                self.is_concerned.resize(network.get() + 1, false);
            }
            self.is_concerned[network.get()] = true;
        }
        Ok(())
    }

    /// Whether packets of IPv4 that arrive in `network` may be translated.
    #[inline]
    pub(crate) fn concerns(&self, network: NetworkIndex) -> bool {
        self.is_concerned.get(network.get()).is_some_and(|is| *is)
    }

    /// How packets leave `network`.
    #[inline]
    pub(crate) fn source(&self, network: NetworkIndex) -> Option<&Source> {
        self.sources.get(network.get())?.as_ref()
    }

    /// To whom packets to a port of an outside address go.
    pub(crate) fn target(
        &self,
        outside: NetworkIndex,
        address: Ipv4Addr,
        (protocol, port): (u8, u16),
    ) -> Option<Target> {
        let targets = self.targets.get(&(outside, address))?;
        let behind = targets
            .published
            .partition_point(|(other, ports, _)| (*other, *ports.start()) <= (protocol, port));
        let published = behind.checked_sub(1).and_then(|at| targets.published.get(at));
        match published {
            Some((other, ports, target)) if *other == protocol && ports.contains(&port) => {
                let first = target.port.unwrap_or(port);
                Some(Target { port: Some(first.wrapping_add(port - ports.start())), ..*target })
            }
            _ => targets.floating,
        }
    }

    /// The floating address of a station in `outside`.
    pub(crate) fn floating(
        &self,
        inside: NetworkIndex,
        station: Ipv4Addr,
        outside: NetworkIndex,
    ) -> Option<Ipv4Addr> {
        let (network, address) = *self.floating.get(&(inside, station))?;
        (network == outside).then_some(address)
    }

    /// Whether the address is one by which stations appear outside.
    pub(crate) fn has_outside(&self, outside: NetworkIndex, address: Ipv4Addr) -> bool {
        self.is_pooled(outside, address) || self.targets.contains_key(&(outside, address))
    }

    /// Whether mappings may use the address.
    pub(crate) fn is_pooled(&self, outside: NetworkIndex, address: Ipv4Addr) -> bool {
        self.pools.binary_search(&(outside, address)).is_ok()
    }

    /// Whether a mapping of some network may have this port of an address of `outside`.
    pub(crate) fn may_map(&self, outside: NetworkIndex, port: u16) -> bool {
        self.sources.iter().flatten().any(|source| source.outside == outside && source.ports.contains(&port))
    }

    /// Outside addresses that mappings may use.
    pub(crate) fn outside_addresses(&self) -> Vec<OutsideAddress> {
        let reserved = |key: &(NetworkIndex, Ipv4Addr)| {
            let published = self.targets.get(key).map_or(&[][..], |targets| &targets.published);
            let published = published.iter().map(|(protocol, ports, _)| (*protocol, ports.clone()));
            let own = self.reserved.iter().filter(|reserved| reserved.outside == key.0);
            published.chain(own.map(|reserved| (reserved.protocol, reserved.ports.clone()))).collect()
        };
        let address = |key: &(NetworkIndex, Ipv4Addr)| OutsideAddress {
            network: key.0,
            address: key.1,
            reserved: reserved(key),
        };
        self.pools.iter().map(address).collect()
    }

    /// Prefixes of IPv6 that are translated.
    #[inline]
    pub(crate) fn prefixes(&self) -> &[PrefixTranslation] {
        &self.prefixes
    }
}

impl Source {
    /// The rule's number and the address for packets of a station; `None`: they keep theirs.
    pub(crate) fn choose(&self, station: Ipv4Addr) -> Option<(usize, &[(Ipv4Addr, Ipv4Addr)])> {
        let mut rules = self.rules.iter().enumerate();
        let (number, (_, choice)) = rules.find(|(_, (sources, _))| sources.contains(station.into()))?;
        match choice {
            Choice::Keep => None,
            Choice::Pool(ranges) => Some((number, ranges)),
        }
    }
}

fn interface(routing: &Routing, network: NetworkIndex) -> Result<&Interface, NatError> {
    routing.interface(network).ok_or(NatError::NoInterface(network))
}

/// The address that the gateway itself has: not one of those that stand for stations, which are prefixes of their own.
fn masquerade_address(interface: &Interface) -> Option<Ipv4Addr> {
    interface.addresses.iter().filter(|(_, subnet)| subnet.length() < 32).find_map(|(own, _)| own.to_v4())
}

fn check_ports(ports: &RangeInclusive<u16>, network: NetworkIndex) -> Result<(), NatError> {
    if ports.is_empty() {
        return Err(NatError::EmptyRange(format!("{}-{}", ports.start(), ports.end()), network));
    }
    if *ports.start() == 0 { Err(NatError::PortZero(network)) } else { Ok(()) }
}
