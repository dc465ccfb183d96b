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

pub(crate) use table::{Paths, Sought};

use super::{Hop, Neighbours};
use crate::conntrack::{Reference, Tuple};
use crate::fdb::{Fdb, Seen};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Packet, TcpFlags, Transport};

/// The bytes of an Ethernet header, which no MTU counts.
const ETHERNET: u32 = 14;

/// Where addresses are translated: a bit of [`PathKey::origin`].
const OF_CONNECTION: u64 = 1 << 40;

/// What a path is found by: whatever its answer depends on in a packet, but for what [`Path::admits`] asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathKey {
    source: u128,
    destination: u128,
    /// Port where it came in, network, and where addresses are translated, protocol.
    origin: u64,
    /// Where addresses are translated, both ports.
    ports: u32,
}

impl PathKey {
    /// The key of a packet that entered at `port` in `network`; `None`: each of its kind is looked at by itself. `is_translated`
    /// says whether its connection matters.
    #[inline]
    pub(crate) fn of(
        port: PortIndex,
        network: NetworkIndex,
        packet: &Packet,
        is_translated: bool,
    ) -> Option<Self> {
        // A tag that a station put on itself goes nowhere.
        if packet.fragment.is_some() || u32::from(packet.network_at) != ETHERNET {
            return None;
        }
        let origin = u64::from(port.raw()) | u64::from(network.raw()) << 16;
        let (source, destination) = (packet.source.to_bits(), packet.destination.to_bits());
        if !is_translated {
            return Some(Self { source, destination, origin, ports: 0 });
        }
        let ports = match packet.transport {
            // What may open a connection is looked at by itself.
            Transport::Tcp(tcp) if !tcp.flags.has(TcpFlags::SYN) => tcp.ports,
            Transport::Ports(ports) => ports,
            _ => return None,
        };
        let origin = origin | u64::from(packet.protocol) << 32 | OF_CONNECTION;
        Some(Self {
            source,
            destination,
            origin,
            ports: u32::from(ports.source) << 16 | u32::from(ports.destination),
        })
    }
}

impl PathKey {
    #[inline]
    fn hash_into(&self, hasher: &mut impl Hasher) {
        hasher.write_u128(self.source);
        hasher.write_u128(self.destination);
        hasher.write_u64(self.origin ^ u64::from(self.ports) << 32);
    }

    /// Whether its packet's connection matters.
    #[inline]
    pub(crate) fn is_of_connection(&self) -> bool {
        self.origin & OF_CONNECTION != 0
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
}

/// Where packets of a flow go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) hop: Hop,
    /// The port by which they leave.
    pub(crate) to: PortIndex,
    /// Their connection, and what it makes of them; `None`: they keep their addresses.
    pub(crate) translation: Option<(Reference, Leaving)>,
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
    #[inline]
    pub(crate) fn admits(&self, packet: &Packet, wire_length: u32) -> bool {
        packet.hop_limit > 1 && wire_length <= u32::from(self.hop.mtu) + ETHERNET
    }
}

#[cfg(test)]
mod tests;
