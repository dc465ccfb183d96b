//! Transport headers: TCP, ICMP, and those that begin with two ports.

use super::ip::Ip;
use super::quote::Quote;
use super::view::{View, u16_at, u32_at};
use super::{Icmp, IcmpMessage, PacketError, Ports, SynOptions, Tcp, TcpFlags, Transport, neighbour, number};

/// The header is that of TCP's fixed part, at least (RFC 9293, 3.1).
const TCP_HEADER: usize = 20;

/// Reads the transport header of a packet that has one.
#[inline]
pub(super) fn parse(view: &View<'_>, ip: &Ip) -> Result<Transport, PacketError> {
    if ip.is_later_fragment() {
        return later_fragment(ip);
    }
    let at = ip.transport;
    match ip.protocol {
        number::TCP => Tcp::parse(view, ip).map(Transport::Tcp),
        number::UDP => udp(view, ip).map(Transport::Ports),
        number::UDP_LITE | number::SCTP | number::DCCP => {
            let header = view.chunk::<8>(at, or_tiny(ip, PacketError::UdpTruncated))?;
            Ok(Transport::Ports(Ports::of(header)))
        }
        number::ICMP if ip.source.is_v4() => icmp(view, ip, icmp_v4).map(Transport::Icmp),
        number::ICMPV6 if !ip.source.is_v4() => icmp(view, ip, icmp_v6).map(Transport::Icmp),
        _ => Ok(Transport::Other),
    }
}

/// RFC 3128, 2 and RFC 1858, 3.2.2: a fragment that begins within a TCP header could rewrite its flags.
fn later_fragment(ip: &Ip) -> Result<Transport, PacketError> {
    let offset = ip.fragment.map_or(0, |fragment| usize::from(fragment.offset));
    let header = if ip.protocol == number::TCP { TCP_HEADER } else { 8 };
    if offset < header { Err(PacketError::FragmentOverHeader) } else { Ok(Transport::Fragment) }
}

/// `error`, or that the first fragment is too small for its header (RFC 1858, 3.1).
#[inline]
fn or_tiny(ip: &Ip, error: PacketError) -> PacketError {
    if ip.fragment.is_some() { PacketError::FragmentTiny } else { error }
}

impl Ports {
    #[inline]
    pub(super) fn of(header: &[u8; 8]) -> Self {
        Self { source: u16_at(header, 0), destination: u16_at(header, 2) }
    }
}

/// RFC 768. What stands behind the datagram within the packet is no padding that could hide something: it is left to the
/// receiver (RFC 9868).
#[inline]
fn udp(view: &View<'_>, ip: &Ip) -> Result<Ports, PacketError> {
    let header = view.chunk::<8>(ip.transport, or_tiny(ip, PacketError::UdpTruncated))?;
    let length = usize::from(u16_at(header, 4));
    let is_too_long = ip.fragment.is_none() && length > view.rest(ip.transport);
    if length < 8 || is_too_long { Err(PacketError::UdpBadLength) } else { Ok(Ports::of(header)) }
}

impl Tcp {
    /// RFC 9293, 3.1.
    #[inline]
    fn parse(view: &View<'_>, ip: &Ip) -> Result<Self, PacketError> {
        let at = ip.transport;
        let header = view.chunk::<TCP_HEADER>(at, or_tiny(ip, PacketError::TcpTruncated))?;
        let length = usize::from(header[12] >> 4) * 4;
        let rest = view.rest(at);
        if length < TCP_HEADER || length > rest {
            let is_tiny = ip.fragment.is_some() && length > rest;
            return Err(if is_tiny { PacketError::FragmentTiny } else { PacketError::TcpBadOffset });
        }
        let flags = TcpFlags(header[13]);
        // Only those of a SYN say something that counts for the whole connection.
        let syn = if flags.has(TcpFlags::SYN) {
            SynOptions::parse(view.range(at + TCP_HEADER, at + length, PacketError::TcpBadOffset)?)?
        } else {
            SynOptions::default()
        };
        Ok(Self {
            ports: Ports { source: u16_at(header, 0), destination: u16_at(header, 2) },
            sequence: u32_at(header, 4),
            acknowledgement: u32_at(header, 8),
            flags,
            window: u16_at(header, 14),
            // A packet has at most 65,535 bytes behind its header.
            payload: u16::try_from(rest - length).unwrap_or(u16::MAX),
            syn,
        })
    }
}

impl SynOptions {
    /// RFC 9293, 3.2; RFC 7323, 2.2; RFC 2018, 2.
    fn parse(mut options: &[u8]) -> Result<Self, PacketError> {
        /// RFC 7323, 2.3: a shift of more than 14 counts as 14.
        const SCALE_MAX: u8 = 14;
        let mut found = Self::default();
        while let Some((&kind, rest)) = options.split_first() {
            options = match (kind, rest) {
                (0, _) => break,
                (1, _) => rest,
                (3, &[3, scale, ref rest @ ..]) => {
                    found.window_scale = Some(scale.min(SCALE_MAX));
                    rest
                }
                (4, &[2, ref rest @ ..]) => {
                    found.may_acknowledge_selectively = true;
                    rest
                }
                (3 | 4, _) => return Err(PacketError::TcpBadOption),
                (_, &[length, ..]) if length >= 2 => {
                    options.get(usize::from(length)..).ok_or(PacketError::TcpBadOption)?
                }
                _ => return Err(PacketError::TcpBadOption),
            };
        }
        Ok(found)
    }
}

type Reader = fn(&View<'_>, &Ip, u8, &[u8; 8]) -> Result<IcmpMessage, PacketError>;

/// RFC 792 and RFC 4443, 2.1: the first eight bytes are alike.
fn icmp(view: &View<'_>, ip: &Ip, message: Reader) -> Result<Icmp, PacketError> {
    let short = or_tiny(ip, PacketError::IcmpTruncated);
    // Some messages of ICMPv6 have four bytes behind the checksum, all that matter here have eight or more.
    let header = view.chunk::<8>(ip.transport, short)?;
    Ok(Icmp { kind: header[0], code: header[1], message: message(view, ip, header[0], header)? })
}

/// RFC 792, RFC 950, RFC 1256. Source quench (RFC 6633, 5) and redirects say nothing that a connection may depend on: they
/// are no errors here.
fn icmp_v4(view: &View<'_>, ip: &Ip, kind: u8, header: &[u8; 8]) -> Result<IcmpMessage, PacketError> {
    match kind {
        3 | 11 | 12 => Quote::parse(view, ip).map(IcmpMessage::Error),
        8 | 13 | 15 | 17 => Ok(IcmpMessage::Request(u16_at(header, 4))),
        0 | 14 | 16 | 18 => Ok(IcmpMessage::Reply(u16_at(header, 4))),
        _ => Ok(IcmpMessage::Other),
    }
}

/// RFC 4443, RFC 4861.
fn icmp_v6(view: &View<'_>, ip: &Ip, kind: u8, header: &[u8; 8]) -> Result<IcmpMessage, PacketError> {
    match kind {
        1..=4 => Quote::parse(view, ip).map(IcmpMessage::Error),
        128 => Ok(IcmpMessage::Request(u16_at(header, 4))),
        129 => Ok(IcmpMessage::Reply(u16_at(header, 4))),
        133..=137 => neighbour::parse(view, ip, kind).map(IcmpMessage::Neighbour),
        _ => Ok(IcmpMessage::Other),
    }
}
