//! What tells the packets of a connection: addresses, ports and protocol of one of its directions.

use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;

use super::Invalid;
use crate::ids::NetworkIndex;
use crate::packet::{Address, IcmpMessage, Packet, Plain, Ports, Quote, QuotedTransport, Transport, number};

/// One direction of a connection as its packets show it. For ICMP requests and replies the first port is the id and the
/// second the type; for protocols without ports both are 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuple {
    /// The network to which the packets belong: connections of different networks never meet.
    pub zone: NetworkIndex,
    /// Who sends them.
    pub source: Address,
    /// Where they go.
    pub destination: Address,
    /// The protocol of the transport header.
    pub protocol: u8,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
}

/// What a packet is to a table of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A packet that may open a connection, or belong to one.
    Flow(Tuple),
    /// A reply, which never opens one.
    Reply(Tuple),
    /// An ICMP error about a packet of this tuple, with the sequence number of TCP.
    Error(Tuple, Option<u32>),
    /// A message that no connection has: neighbour discovery, multicast membership, and ICMP that is neither.
    Untracked,
}

impl Tuple {
    /// The tuple of the packets that answer those of this one.
    #[must_use]
    pub fn reversed(self) -> Self {
        let (source_port, destination_port) = match self.icmp_counterpart() {
            Some(kind) => (self.source_port, kind),
            None => (self.destination_port, self.source_port),
        };
        Self { source: self.destination, destination: self.source, source_port, destination_port, ..self }
    }

    /// For ICMP, the type that answers the second port, or is answered by it.
    fn icmp_counterpart(self) -> Option<u16> {
        let pairs: &[(u16, u16)] = match self.protocol {
            number::ICMP if self.source.is_v4() => &[(8, 0), (13, 14), (15, 16), (17, 18)],
            number::ICMPV6 if !self.source.is_v4() => &[(128, 129)],
            _ => return None,
        };
        pairs.iter().find_map(|&(request, reply)| match self.destination_port {
            kind if kind == request => Some(reply),
            kind if kind == reply => Some(request),
            _ => None,
        })
    }

    /// The tuple of a packet of network `zone` with these ports.
    #[inline]
    pub(super) fn with_ports(zone: NetworkIndex, packet: &Packet, ports: Ports) -> Self {
        Self {
            zone,
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            source_port: ports.source,
            destination_port: ports.destination,
        }
    }

    /// What `packet` of network `zone` is.
    #[inline]
    pub(super) fn of(zone: NetworkIndex, packet: &Packet) -> Result<Kind, Invalid> {
        let with = |source, destination| Self::with_ports(zone, packet, Ports { source, destination });
        match &packet.transport {
            Transport::Tcp(tcp) => Ok(Kind::Flow(Self::with_ports(zone, packet, tcp.ports))),
            Transport::Ports(ports) => Ok(Kind::Flow(Self::with_ports(zone, packet, *ports))),
            Transport::Other => Ok(Kind::Flow(with(0, 0))),
            Transport::Fragment => Err(Invalid::LaterFragment),
            Transport::Icmp(icmp) => match icmp.message {
                IcmpMessage::Request(id) => Ok(Kind::Flow(with(id, icmp.kind.into()))),
                IcmpMessage::Reply(id) => Ok(Kind::Reply(with(id, icmp.kind.into()))),
                IcmpMessage::Error(quote) => Self::of_quote(zone, packet, &quote),
                IcmpMessage::Neighbour(_) | IcmpMessage::Other => Ok(Kind::Untracked),
            },
        }
    }

    /// The tuple of a packet of network `zone` that may open a connection; `None`: it may not.
    #[inline]
    pub(crate) fn of_flow(zone: NetworkIndex, packet: &Packet) -> Option<Self> {
        match Self::of(zone, packet) {
            Ok(Kind::Flow(tuple)) => Some(tuple),
            _ => None,
        }
    }

    /// The tuple of the packet that an error is about. The error goes to who sent that packet.
    fn of_quote(zone: NetworkIndex, error: &Packet, quote: &Quote) -> Result<Kind, Invalid> {
        if quote.source != error.destination {
            return Err(Invalid::ForgedQuote);
        }
        let (source_port, destination_port, sequence) = match quote.transport {
            QuotedTransport::Tcp(ports, sequence) => (ports.source, ports.destination, Some(sequence)),
            QuotedTransport::Ports(ports) => (ports.source, ports.destination, None),
            QuotedTransport::Request(kind, id) | QuotedTransport::Reply(kind, id) => (id, kind.into(), None),
            QuotedTransport::Other => (0, 0, None),
        };
        let (source, destination, protocol) = (quote.source, quote.destination, quote.protocol);
        let tuple = Self { zone, source, destination, protocol, source_port, destination_port };
        Ok(Kind::Error(tuple, sequence))
    }

    /// A number that depends on all of it and on the seed, which no guest knows.
    #[inline]
    pub(super) fn hash(&self, hasher: &foldhash::quality::FixedState) -> u64 {
        let rest = rest_of(self.ports(), self.protocol, self.zone);
        if let (Some(source), Some(destination)) = (self.source.to_v4(), self.destination.to_v4()) {
            let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
            return hash_v4(addresses, rest, hasher);
        }
        let mut hasher = hasher.build_hasher();
        hasher.write_u128(self.source.to_bits());
        hasher.write_u128(self.destination.to_bits());
        hasher.write_u64(rest);
        hasher.finish()
    }

    /// What the tuple of a plain packet of network `zone` hashes to.
    #[inline]
    pub(super) fn hash_plain(
        zone: NetworkIndex,
        plain: &Plain,
        hasher: &foldhash::quality::FixedState,
    ) -> u64 {
        hash_v4(plain.addresses, rest_of(plain.ports.into(), plain.protocol, zone), hasher)
    }

    /// The tuple of a plain packet of network `zone`, which may open a connection.
    #[inline]
    pub(crate) fn of_plain(zone: NetworkIndex, plain: &Plain) -> Self {
        let [source, destination] = [plain.addresses >> 32, plain.addresses]
            .map(|bits| Address::from(Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or(0))));
        let [source_port, destination_port] =
            [plain.ports >> 16, plain.ports].map(|bits| u16::try_from(bits & 0xffff).unwrap_or(0));
        Self { zone, source, destination, protocol: plain.protocol, source_port, destination_port }
    }

    /// Both ports in 32 bits.
    #[inline]
    pub(super) fn ports(&self) -> u64 {
        u64::from(self.source_port) << 16 | u64::from(self.destination_port)
    }
}

/// What tells packets between two addresses apart, in one word.
#[inline]
fn rest_of(ports: u64, protocol: u8, zone: NetworkIndex) -> u64 {
    ports << 32 | u64::from(protocol) << 16 | u64::from(zone.raw())
}

/// By far the most packets: both addresses are a word.
#[inline]
fn hash_v4(addresses: u64, rest: u64, hasher: &foldhash::quality::FixedState) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(addresses);
    hasher.write_u64(rest);
    hasher.finish()
}
