//! What a frame's head says: the one reading of it on which rules and connections rely.
//!
//! Reading is strict, for where a switch and a host read a packet differently, rules can be evaded: whatever contradicts
//! itself is a [`PacketError`] with a name of its own. Only bytes within the lengths that the headers state count; what
//! stands behind an IP packet is padding. Headers must lie within the head, as a private copy of the frame's first bytes;
//! no checksum is looked at.
//!
//! ```text
//! Ethernet, up to four VLAN tags
//!   └─ ARP                                            Contents::Arp
//!   └─ IPv4, options     ┐                            Contents::Ip(Packet)
//!   └─ IPv6, extensions  ┴─ TCP, UDP, SCTP, ...         Transport::Tcp, Ports
//!                        └─ ICMP ─ request, reply       Transport::Icmp(IcmpMessage::Request, Reply)
//!                                └ error ─ IP ─ ports   (IcmpMessage::Error(Quote))
//!                                └ neighbour discovery  (IcmpMessage::Neighbour)
//! ```

mod address;
pub mod datagram;
mod error;
mod ip;
mod neighbour;
mod plain;
mod quote;
mod transport;
mod view;

pub use address::Address;
pub use error::PacketError;
pub use neighbour::{Arp, Neighbour};
pub(crate) use plain::Plain;
pub use quote::{Quote, QuotedTransport};

use crate::drops::DropReason;
use crate::frame::Frame;
use crate::offload::layout::{Version, type_field};
use crate::vlan::type_at;
use ip::Ip;
use view::View;

/// The packet of IP in a frame of `length` bytes that begins with `head`, as [`parse`] reads it, and most more quickly; `None`: it
/// is none, or contradicts itself.
#[must_use]
#[inline]
pub fn ip_packet(head: &[u8], length: u32) -> Option<Packet> {
    Packet::plain(head, length).or_else(|| match parse(head, length) {
        Ok(Contents::Ip(packet)) => Some(packet),
        _ => None,
    })
}

/// IP protocol numbers (IANA, "Assigned Internet Protocol Numbers").
pub mod number {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// GRE (RFC 2784).
    pub const GRE: u8 = 47;
    /// DCCP (RFC 4340).
    pub const DCCP: u8 = 33;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// A packet of IPv4 or IPv6.
    Ip(Packet),
    /// An ARP message.
    Arp(Arp),
    /// Something else, of this Ethernet type; a length, if it is below 0x600 (IEEE 802.3-2018, 3.2.6).
    Other(u16),
}

/// A packet of IPv4 or IPv6. Offsets count from the frame's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Who sent it.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// The protocol of the transport header, behind all extension headers. In a later fragment of IPv6 the number of the
    /// first header behind the fragment's own.
    pub protocol: u8,
    /// How many routers it may still pass.
    pub hop_limit: u8,
    /// The class of service: differentiated services code point in the upper six bits, ECN in the lower two (RFC 2474, 3;
    /// RFC 3168, 5).
    pub traffic_class: u8,
    /// Where the IP header begins.
    pub network_at: u16,
    /// Where the transport header begins; in a later fragment, its data.
    pub transport_at: u16,
    /// Where the packet ends: what follows in the frame is padding.
    pub end_at: u32,
    /// Which part of a packet it is; `None`: a whole one.
    pub fragment: Option<Fragment>,
    /// The transport header.
    pub transport: Transport,
}

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// What all fragments of a packet have in common: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Where its data belongs, in bytes; a multiple of 8.
    pub offset: u16,
    /// How many bytes of data it has; never 0. `offset + length` is at most 65,535.
    pub length: u16,
    /// Whether there are parts behind it.
    pub more: bool,
}

/// A transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP, UDP-Lite, SCTP or DCCP.
    Ports(Ports),
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp(Icmp),
    /// A fragment but the first: the header is elsewhere.
    Fragment,
    /// Another protocol.
    Other,
}

/// The ports of a transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

/// A TCP segment's header (RFC 9293, 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// Its ports.
    pub ports: Ports,
    /// The sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// The sequence number that is expected next, if ACK is set.
    pub acknowledgement: u32,
    /// Its flags.
    pub flags: TcpFlags,
    /// The window as it stands there, not scaled.
    pub window: u16,
    /// How many bytes of data it has; in a first fragment, only those that the fragment holds.
    pub payload: u16,
    /// Options that a SYN has; without SYN, none.
    pub syn: SynOptions,
}

/// TCP's control bits as they stand in byte 13 of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronizes sequence numbers.
    pub const SYN: u8 = 2;
    /// Resets the connection.
    pub const RST: u8 = 4;
    /// Data to be pushed.
    pub const PSH: u8 = 8;
    /// The acknowledgement counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;

    /// Whether any of `flags` is set.
    #[must_use]
    #[inline]
    pub const fn has(self, flags: u8) -> bool {
        self.0 & flags != 0
    }
}

/// Options of a SYN that hold for a whole connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SynOptions {
    /// By how many bits later windows are shifted, 0 to 14 (RFC 7323, 2.2).
    pub window_scale: Option<u8>,
    /// Whether the sender understands selective acknowledgements (RFC 2018, 2).
    pub may_acknowledge_selectively: bool,
}

/// An ICMP or ICMPv6 message's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// What it is.
    pub message: IcmpMessage,
}

/// What an ICMP or ICMPv6 message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpMessage {
    /// A request with this id, which a reply repeats.
    Request(u16),
    /// A reply with this id.
    Reply(u16),
    /// An error about this packet.
    Error(Quote),
    /// Neighbour discovery.
    Neighbour(Neighbour),
    /// Something else.
    Other,
}

/// Reads the head of a frame of `length` bytes that begins with its Ethernet header.
///
/// # Errors
/// A [`PacketError`] that names what is wrong.
#[inline]
pub fn parse(head: &[u8], length: u32) -> Result<Contents, PacketError> {
    let at = type_field(head);
    let Some(kind) = type_at(head, at) else { return Err(PacketError::Truncated) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match kind {
        [0x08, 0x00] => Packet::parse(Version::V4, head, at + 2, length).map(Contents::Ip),
        [0x86, 0xdd] => Packet::parse(Version::V6, head, at + 2, length).map(Contents::Ip),
        [0x08, 0x06] => Arp::parse(&View::new(head, length), at + 2).map(Contents::Arp),
        other => Ok(Contents::Other(u16::from_be_bytes(other))),
    }
}

/// Reads a whole packet that stands by itself, without an Ethernet header: offsets count from its first byte.
///
/// # Errors
/// A [`PacketError`] that names what is wrong.
pub fn parse_ip(packet: &[u8]) -> Result<Packet, PacketError> {
    let version = match packet.first().map(|first| first >> 4) {
        Some(4) => Version::V4,
        Some(6) => Version::V6,
        Some(_) => return Err(PacketError::BadVersion),
        None => return Err(PacketError::Truncated),
    };
    Packet::parse(version, packet, 0, packet.len())
}

impl Contents {
    /// What a frame carries, of which the claims are about just that.
    ///
    /// # Errors
    /// What is wrong with the head, or [`DropReason::BadOffload`].
    #[inline]
    pub(crate) fn of<P>(frame: &Frame<P>) -> Result<Self, DropReason> {
        let contents = parse(frame.head.bytes(), frame.meta.length)?;
        if frame.meta.claims.fit(&contents) { Ok(contents) } else { Err(DropReason::BadOffload) }
    }
}

impl Packet {
    #[inline]
    fn parse(version: Version, head: &[u8], at: usize, length: usize) -> Result<Self, PacketError> {
        let ip = Ip::parse(version, head, at, length)?;
        let transport = transport::parse(&View::new(head, ip.end), &ip)?;
        // Headers lie within the head, and no frame is longer than 65,550 bytes.
        let offset = |at: usize| u16::try_from(at).map_err(|_| PacketError::BeyondHead);
        Ok(Self {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            hop_limit: ip.hop_limit,
            traffic_class: ip.traffic_class,
            network_at: offset(at)?,
            transport_at: offset(ip.transport)?,
            end_at: u32::try_from(ip.end).map_err(|_| PacketError::BadLength)?,
            fragment: ip.fragment,
            transport,
        })
    }

    /// The ports of TCP and of transports like UDP; `None` where there are none, or not in this fragment.
    #[must_use]
    pub fn ports(&self) -> Option<Ports> {
        match self.transport {
            Transport::Tcp(tcp) => Some(tcp.ports),
            Transport::Ports(ports) => Some(ports),
            _ => None,
        }
    }

    /// Whether the transport header is in an earlier fragment.
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        matches!(self.transport, Transport::Fragment)
    }
}

#[cfg(test)]
mod tests;
