//! What the control side says about NAT: plain data, checked when it is compiled.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::ids::NetworkIndex;
use crate::security::Prefix;

/// The ports that mappings use unless told otherwise. The last 512 are left to the gateway's own sockets, which may share
/// the outside network's address with its guests.
pub const PORTS_DEFAULT: RangeInclusive<u16> = 1024..=65_023;

/// All that is said about NAT.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NatSettings {
    /// Which networks' packets leave with another source address.
    pub sources: Vec<SourceNat>,
    /// Stations that have an address of an outside network for themselves.
    pub floating: Vec<Floating>,
    /// Ports of outside addresses that lead to stations.
    pub published: Vec<Published>,
    /// Prefixes of IPv6 that are translated.
    pub prefixes: Vec<PrefixNat>,
    /// Ports that no mapping gets, since the switch itself is reached there.
    pub reserved: Vec<Reserved>,
}

/// Ports of all addresses of an outside network that no mapping gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// The outside network.
    pub outside: NetworkIndex,
    /// The protocol's number.
    pub protocol: u8,
    /// The ports.
    pub ports: RangeInclusive<u16>,
}

/// How packets of IPv4 leave a network for an outside one. Packets to other networks of its router keep their addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceNat {
    /// The network whose stations are hidden; each network has at most one [`SourceNat`]. A network whose packets keep their
    /// addresses, but that uses published ports and floating addresses of the outside network, has no rule.
    pub inside: NetworkIndex,
    /// Where they appear.
    pub outside: NetworkIndex,
    /// Asked in this order; the first one that has the source address counts. What none has, keeps its address: a last rule for
    /// `0.0.0.0/0` with [`SourceAddress::Masquerade`] leaves nothing over.
    pub rules: Vec<SourceRule>,
    /// Whether one port of the outside stands for a station's port towards all peers.
    pub mapping: MappingBehavior,
    /// Who may answer there.
    pub filtering: FilteringBehavior,
    /// The ports to choose from, and the identifiers of ICMP requests; [`PORTS_DEFAULT`].
    pub ports: RangeInclusive<u16>,
    /// How many mappings one station may have; `None`: no more than are free on its outside address.
    pub ports_per_guest: Option<u32>,
}

impl SourceNat {
    /// All packets of `inside` appear in `outside` with that network's own address, as RFC 4787 and its kin want it.
    #[must_use]
    pub fn masquerade(inside: NetworkIndex, outside: NetworkIndex) -> Self {
        let all = Prefix::covering(Ipv4Addr::UNSPECIFIED.into(), 0);
        let rules = all.map(|sources| SourceRule { sources, to: SourceAddress::Masquerade });
        Self {
            inside,
            outside,
            rules: rules.into_iter().collect(),
            mapping: MappingBehavior::default(),
            filtering: FilteringBehavior::default(),
            ports: PORTS_DEFAULT,
            ports_per_guest: None,
        }
    }
}

/// Which address packets get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRule {
    /// Those of these stations.
    pub sources: Prefix,
    /// This one.
    pub to: SourceAddress,
}

/// An address in place of a station's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceAddress {
    /// The one that the gateway has in the outside network: the first one of its version that is no prefix of its own. As long as
    /// it has none, nothing leaves.
    Masquerade,
    /// One of these ranges, each from the first to the last. A station gets all its mappings on one of them (RFC 4787, 4.1,
    /// REQ-2: paired).
    Pool(Vec<(Ipv4Addr, Ipv4Addr)>),
    /// Its own.
    Keep,
}

/// Whether one port of the outside stands for a station's port towards all peers (RFC 4787, 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MappingBehavior {
    /// It does: peers can tell one another of it.
    #[default]
    EndpointIndependent,
    /// Each peer's address and port gets one of its own, as with Linux.
    EndpointDependent,
}

/// Whose packets to a mapping are let in (RFC 4787, 5). Packets of other inside networks are not held back: that is for
/// security groups.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FilteringBehavior {
    /// Those from addresses to which the station has sent by it.
    #[default]
    AddressDependent,
    /// Everybody's.
    EndpointIndependent,
    /// Those from addresses and ports to which the station has sent by it.
    AddressAndPortDependent,
}

/// A station that has an address of an outside network for itself: what comes to that goes to the station, and what the
/// station sends there appears with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floating {
    /// The outside network.
    pub outside: NetworkIndex,
    /// The address there.
    pub address: Ipv4Addr,
    /// The station's network.
    pub inside: NetworkIndex,
    /// The station's own address.
    pub station: Ipv4Addr,
}

/// Ports of an outside address that lead to a station.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The outside network.
    pub outside: NetworkIndex,
    /// The address there; `None`: the one that the gateway has in that network.
    pub address: Option<Ipv4Addr>,
    /// The protocol's number: TCP's or UDP's.
    pub protocol: u8,
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// The station's network.
    pub inside: NetworkIndex,
    /// The station's own address.
    pub station: Ipv4Addr,
    /// The station's port for the first of the ports; those behind follow.
    pub station_port: u16,
}

/// A prefix of IPv6 that appears as another one (RFC 6296): no state is kept, and no checksum changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixNat {
    /// The network whose stations have the inner prefix.
    pub inside: NetworkIndex,
    /// Their prefix, at most 112 bits long.
    pub inner: Prefix,
    /// Where they appear.
    pub outside: NetworkIndex,
    /// As this prefix, which is as long.
    pub outer: Prefix,
}

/// Why NAT was not compiled.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NatError {
    /// A network has two settings.
    #[error("network {0} is translated twice; leave one out")]
    DuplicateInside(NetworkIndex),
    /// A network is translated to itself.
    #[error("network {0} is translated to itself; name another network as its outside")]
    OutsideIsInside(NetworkIndex),
    /// A network has no interface of a router.
    #[error("network {0} takes part in NAT, but has no gateway; give it one")]
    NoInterface(NetworkIndex),
    /// The addresses of both sides overlap, so that neither side's stations can be told from the other's (RFC 4787, 8, REQ-7).
    #[error(
        "{subnet} of network {inside} overlaps with {other} of its outside network {outside}; change one of them"
    )]
    Overlap {
        /// The inside network.
        inside: NetworkIndex,
        /// Its subnet.
        subnet: Prefix,
        /// The outside network.
        outside: NetworkIndex,
        /// The subnet there.
        other: Prefix,
    },
    /// A range that has nothing in it.
    #[error("the range {0} of network {1} is empty; give its lower end first")]
    EmptyRange(String, NetworkIndex),
    /// A range that has port 0 in it, which no packet may have.
    #[error("port 0 of network {0} cannot be used; begin with 1")]
    PortZero(NetworkIndex),
    /// More addresses than are kept account of.
    #[error("the pools of outside network {0} have more than {max} addresses; use less", max = super::POOL_MAX)]
    PoolTooLarge(NetworkIndex),
    /// Two rules want one outside address, or one port of it.
    #[error("{address} of outside network {outside} has two meanings for the same packets; leave one out")]
    Contradiction {
        /// The outside network.
        outside: NetworkIndex,
        /// The address there.
        address: Ipv4Addr,
    },
    /// A station has two floating addresses of one outside network.
    #[error("{station} of network {inside} has two floating addresses; leave one out")]
    TwoFloating {
        /// The station's network.
        inside: NetworkIndex,
        /// The station.
        station: Ipv4Addr,
    },
    /// Only TCP and UDP have ports that can be published.
    #[error("protocol {0} has no ports that could be published; use TCP (6) or UDP (17)")]
    NoPorts(u8),
    /// A prefix that cannot be translated to the other.
    #[error(
        "{inner} cannot be translated to {outer}: both must be of IPv6, of one length, and at most 112 bits long"
    )]
    BadPrefixes {
        /// The inner prefix.
        inner: Prefix,
        /// The outer one.
        outer: Prefix,
    },
}
