//! What became of packets that a router sent on, for those that follow: one table for each worker.
//!
//! The flow cache tells what is to be done with a frame by its Ethernet header, and of what is routed no more than that it is. Where
//! it goes from here depends on its addresses, and where addresses are translated on its connection. A path is that
//! answer. It holds for one second, in which it has to be found anew: so nothing that changes with time is in it, and a station
//! that is sent to is noted as used. Within that second it depends on what it names: the places of the next station's Ethernet
//! address and of its port. Another policy ends all paths. Who goes by one still takes note of each packet in the table of
//! connections, which says whether its connection lives.

mod table;

use std::hash::Hasher;
use std::net::Ipv4Addr;

pub(crate) use table::{Paths, Sought, Table};

use super::{Hop, Neighbours};
use crate::conntrack::{Reference, Tuple};
use crate::fdb::{Fdb, Seen};
use crate::ids::{NETWORKS_MAX, NetworkIndex, PORTS_MAX, PortIndex};
use crate::nat::Sums;
use crate::packet::{Packet, Plain, Ports, TcpFlags, Transport, number};

/// The bytes of an Ethernet header, which no MTU counts.
const ETHERNET: u32 = 14;

/// What all packets have in common that enter at a port in a network, and whether their connections matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Port in bits 0 to 11, network in 12 to 23.
    bits: u64,
    /// Which of the bits above count.
    mask: u64,
}

/// Where the protocol stands among the bits of a key, and both ports.
const PROTOCOL_SHIFT: u32 = 24;
const PORTS_SHIFT: u32 = 32;

const _: () = assert!(PORTS_MAX == 1 << 12 && NETWORKS_MAX == 1 << 12);

impl Origin {
    /// That of packets of IPv4 which enter at `port` in `network`; `is_translated` says whether their connections matter.
    #[inline]
    pub(crate) fn new(port: PortIndex, network: NetworkIndex, is_translated: bool) -> Self {
        let bits = u64::from(port.raw()) | u64::from(network.raw()) << 12;
        Self { bits, mask: if is_translated { u64::MAX } else { 0 } }
    }

    /// The key of a plain packet.
    #[inline(always)]
    pub(crate) fn key(self, plain: &Plain) -> PathKey {
        self.key_of(plain.addresses, plain.ports, plain.protocol)
    }

    #[inline(always)]
    fn key_of(self, addresses: u64, ports: u32, protocol: u8) -> PathKey {
        let flow = u64::from(ports) << PORTS_SHIFT | u64::from(protocol) << PROTOCOL_SHIFT;
        PathKey { addresses, origin: self.bits | flow & self.mask }
    }

    /// The key under which plain packets look for the path of this one; `None`: there is none.
    pub(crate) fn key_like(self, packet: &Packet) -> Option<PathKey> {
        if is_by_itself(packet) {
            return None;
        }
        let ports = match packet.transport {
            // What may open a connection is looked at by itself.
            Transport::Tcp(tcp) if !tcp.flags.has(TcpFlags::SYN) => Some(tcp.ports),
            Transport::Ports(ports) if packet.protocol == number::UDP => Some(ports),
            _ => None,
        };
        let ports = ports.or_else(|| (self.mask == 0).then_some(Ports { source: 0, destination: 0 }))?;
        let ports = u32::from(ports.source) << 16 | u32::from(ports.destination);
        let [source, destination] = [packet.source.to_v4()?, packet.destination.to_v4()?];
        let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
        Some(self.key_of(addresses, ports, packet.protocol))
    }
}

/// Whether a packet is looked at by itself: a fragment, or one with a tag that its station put on it, which goes nowhere.
#[inline]
fn is_by_itself(packet: &Packet) -> bool {
    packet.fragment.is_some() || u32::from(packet.network_at) != ETHERNET
}

/// What a path of IPv4 is found by: whatever its answer depends on in a plain packet, but for what [`Path::admits`] asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathKey {
    /// Source and destination.
    addresses: u64,
    /// Port where it came in, network, and where addresses are translated, protocol and both ports.
    origin: u64,
}

impl PathKey {
    /// Whether its packet's connection matters.
    #[inline]
    pub(crate) fn is_of_connection(&self) -> bool {
        self.origin >> PROTOCOL_SHIFT != 0
    }
}

/// The same of IPv6, of which no packet is translated that has a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathKeyV6 {
    source: u128,
    destination: u128,
    origin: u64,
}

impl PathKeyV6 {
    /// The key of a packet that entered at `port` in `network`; `None`: each of its kind is looked at by itself.
    #[inline]
    pub(crate) fn of(port: PortIndex, network: NetworkIndex, packet: &Packet) -> Option<Self> {
        if is_by_itself(packet) || packet.source.is_v4() {
            return None;
        }
        let origin = Origin::new(port, network, false).bits;
        Some(Self { source: packet.source.to_bits(), destination: packet.destination.to_bits(), origin })
    }
}

/// By what records of a table are found.
pub(crate) trait Key: Copy + Eq + Default {
    /// Hands all of it to a hasher.
    fn hash_into(&self, hasher: &mut impl Hasher);
}

impl Key for PathKey {
    #[inline(always)]
    fn hash_into(&self, hasher: &mut impl Hasher) {
        hasher.write_u64(self.addresses);
        hasher.write_u64(self.origin);
    }
}

impl Key for PathKeyV6 {
    #[inline]
    fn hash_into(&self, hasher: &mut impl Hasher) {
        hasher.write_u128(self.source);
        hasher.write_u128(self.destination);
        hasher.write_u64(self.origin);
    }
}

/// What a packet's addresses and ports become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaving {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Leaving {
    /// The addresses and ports of a tuple of IPv4.
    #[inline]
    pub(crate) fn of(tuple: &Tuple) -> Option<Self> {
        let (source, destination) = (tuple.source.to_v4()?, tuple.destination.to_v4()?);
        let Tuple { source_port, destination_port, .. } = *tuple;
        Some(Self { source, destination, source_port, destination_port })
    }

    /// Those of a packet as it stands there; `None`: it has other addresses, or no ports.
    pub(crate) fn as_it_came(packet: &Packet) -> Option<Self> {
        let (source, destination) = (packet.source.to_v4()?, packet.destination.to_v4()?);
        let Ports { source: source_port, destination: destination_port } = packet.ports()?;
        Some(Self { source, destination, source_port, destination_port })
    }

    /// As they stand one behind the other in a packet without options.
    #[inline(always)]
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let ([a, b, c, d], [e, f, g, h]) = (self.source.octets(), self.destination.octets());
        let ([i, j], [k, l]) = (self.source_port.to_be_bytes(), self.destination_port.to_be_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// How packets are translated that go by a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Translation {
    /// Their connection.
    pub(crate) found: Reference,
    /// What it makes of them.
    pub(crate) leaving: Leaving,
    /// What that does to the sums over it.
    pub(crate) sums: Sums,
}

impl Translation {
    /// That of packets like this one, which belong to connection `found`, to the addresses and ports of `tuple`; `None`: it is none of
    /// IPv4, or has no ports.
    pub(crate) fn of(found: Reference, tuple: &Tuple, packet: &Packet) -> Option<Self> {
        let (leaving, came) = (Leaving::of(tuple)?, Leaving::as_it_came(packet)?);
        Some(Self { found, leaving, sums: Sums::of(&came, &leaving) })
    }
}

/// Where packets of a flow go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) hop: Hop,
    /// The port by which they leave.
    pub(crate) to: PortIndex,
    /// `None`: they keep their addresses.
    pub(crate) translation: Option<Translation>,
    /// By what it is known that the next station is there.
    pub(crate) station: Seen,
}

impl Path {
    /// Whether what the path was made of is as it was.
    #[inline]
    pub(crate) fn is_current(&self, neighbours: &Neighbours, fdb: &Fdb) -> bool {
        neighbours.is_current(self.hop.seen) && fdb.is_current(self.station)
    }

    /// Whether a packet may go this way by its own: others may have less hops left, or be longer. `wire_length` is that of the
    /// longest frame that it becomes, in bytes with its Ethernet header.
    #[inline(always)]
    pub(crate) fn admits(&self, hop_limit: u8, wire_length: u32) -> bool {
        hop_limit > 1 && wire_length <= u32::from(self.hop.mtu) + ETHERNET
    }
}

#[cfg(test)]
mod tests;
