//! The packet that an ICMP error is about, as far as the error quotes it.

use super::ip::Ip;
use super::view::{View, u16_at, u32_at};
use super::{Address, PacketError, Ports, number};
use crate::offload::layout::Version;

/// The packet that an ICMP error is about. It went the other way: its source is the one that the error should go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Who sent the packet.
    pub source: Address,
    /// Where it went.
    pub destination: Address,
    /// What it carried.
    pub protocol: u8,
    /// What its transport header begins with.
    pub transport: QuotedTransport,
}

/// The first eight bytes of the transport header of a packet that an error is about: more need not be quoted (RFC 792).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuotedTransport {
    /// TCP, with the sequence number by which a forged error is told from a true one (RFC 5927, 4.1).
    Tcp(Ports, u32),
    /// Another transport with ports.
    Ports(Ports),
    /// An ICMP request, with its type and id.
    Request(u8, u16),
    /// An ICMP reply, with its type and id.
    Reply(u8, u16),
    /// Another protocol.
    Other,
}

impl Quote {
    /// Reads what stands behind the eight bytes of the error's own header.
    pub(super) fn parse(view: &View<'_>, outer: &Ip) -> Result<Self, PacketError> {
        let version = if outer.source.is_v4() { Version::V4 } else { Version::V6 };
        let ip = Ip::parse_quoted(version, view, outer.transport + 8).map_err(of_quote)?;
        // RFC 1122, 3.2.2 and RFC 4443, 2.4: no error is about a later fragment, or about a packet to or from many.
        if ip.is_later_fragment() || ip.source.is_group() {
            return Err(PacketError::QuoteBad);
        }
        let header = view.chunk::<8>(ip.transport, PacketError::QuoteTruncated).map_err(of_quote)?;
        let transport = QuotedTransport::of(&ip, header)?;
        Ok(Self { source: ip.source, destination: ip.destination, protocol: ip.protocol, transport })
    }
}

/// What it means for the error that its quote cannot be read.
fn of_quote(error: PacketError) -> PacketError {
    match error {
        PacketError::Truncated | PacketError::BadExtension | PacketError::FragmentTiny => {
            PacketError::QuoteTruncated
        }
        PacketError::QuoteTruncated | PacketError::BeyondHead => error,
        _ => PacketError::QuoteBad,
    }
}

impl QuotedTransport {
    fn of(ip: &Ip, header: &[u8; 8]) -> Result<Self, PacketError> {
        let (kind, id) = (header[0], u16_at(header, 4));
        match ip.protocol {
            number::TCP => Ok(Self::Tcp(Ports::of(header), u32_at(header, 4))),
            number::UDP | number::UDP_LITE | number::SCTP | number::DCCP => {
                Ok(Self::Ports(Ports::of(header)))
            }
            number::ICMP if ip.source.is_v4() => match kind {
                8 | 13 | 15 | 17 => Ok(Self::Request(kind, id)),
                0 | 14 | 16 | 18 => Ok(Self::Reply(kind, id)),
                _ => Err(PacketError::QuoteBad),
            },
            number::ICMPV6 if !ip.source.is_v4() => match kind {
                128 => Ok(Self::Request(kind, id)),
                129 => Ok(Self::Reply(kind, id)),
                _ => Err(PacketError::QuoteBad),
            },
            _ => Ok(Self::Other),
        }
    }
}
