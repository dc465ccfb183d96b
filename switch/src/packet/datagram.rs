//! UDP datagrams in packets that stand by themselves, without an Ethernet header: taken apart and made, both versions of IP.

use std::net::{IpAddr, SocketAddr};

use super::{PacketError, number, parse_ip};
use crate::offload::checksum::{UDP_CHECKSUM, fold, sum};

/// A UDP header's bytes (RFC 768).
const UDP: usize = 8;

/// How many routers what we send may pass (RFC 1700, "IP time to live parameter").
const HOP_LIMIT: u8 = 64;

/// Bytes of the headers before a datagram's payload.
#[must_use]
pub fn overhead(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 + UDP } else { 40 + UDP }
}

/// A datagram: who sent what to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// The sender's address and port.
    pub source: SocketAddr,
    /// The receiver's, of the same version of IP.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why a packet is no datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoDatagram {
    /// Its headers are wrong.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// It is a fragment.
    #[error("the packet is a fragment")]
    Fragment,
    /// It carries another protocol than UDP.
    #[error("the packet's protocol is {0}, not 17 (UDP)")]
    Protocol(u8),
    /// A checksum is wrong, or missing where there has to be one.
    #[error("the checksum of the packet's {0} header is wrong")]
    Checksum(&'static str),
}

impl<'a> Datagram<'a> {
    /// Takes a packet apart whose checksums are complete. What stands behind the datagram is not looked at.
    ///
    /// # Errors
    /// Why it is no datagram.
    pub fn open(packet: &'a [u8]) -> Result<Self, NoDatagram> {
        let parsed = parse_ip(packet)?;
        if parsed.fragment.is_some() {
            return Err(NoDatagram::Fragment);
        }
        let ports = parsed.ports().filter(|_| parsed.protocol == number::UDP);
        let ports = ports.ok_or(NoDatagram::Protocol(parsed.protocol))?;
        let (source, destination) = (parsed.source.into(), parsed.destination.into());
        let datagram = packet.get(usize::from(parsed.transport_at)..).unwrap_or_default();
        let length = datagram.get(4..6).map_or(0, |length| usize::from(super::view::u16_at(length, 0)));
        let datagram = datagram.get(..length).ok_or(PacketError::UdpBadLength)?;
        check(packet, (source, destination), datagram)?;
        Ok(Self {
            source: SocketAddr::new(source, ports.source),
            destination: SocketAddr::new(destination, ports.destination),
            payload: datagram.get(UDP..).ok_or(PacketError::UdpBadLength)?,
        })
    }

    /// Makes the packet, with checksums; `None` if the payload is longer than a packet can carry, or if the addresses are not
    /// of one version of IP.
    #[must_use]
    pub fn seal(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(UDP + self.payload.len()).ok()?;
        let mut packet = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header_v4(source.octets(), destination.octets(), length)?
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header_v6(source.octets(), destination.octets(), length)
            }
            _ => return None,
        };
        let start = packet.len();
        packet.extend(self.source.port().to_be_bytes());
        packet.extend(self.destination.port().to_be_bytes());
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend_from_slice(self.payload);
        let total = pseudo_header((self.source.ip(), self.destination.ip()), length) + sum(&packet[start..]);
        // 0 would mean that there is none (RFC 768; RFC 8200, 8.1).
        let checksum = match !fold(total) {
            0 => 0xffff,
            checksum => checksum,
        };
        let field = start + usize::from(UDP_CHECKSUM);
        packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        Some(packet)
    }
}

/// Whether the checksums before the payload are right. UDP's may be missing in IPv4 (RFC 768), not in IPv6 (RFC 8200, 8.1).
fn check(packet: &[u8], addresses: (IpAddr, IpAddr), datagram: &[u8]) -> Result<(), NoDatagram> {
    let is_v4 = addresses.0.is_ipv4();
    let header = packet.get(..usize::from(packet[0] & 15) * 4).filter(|_| is_v4);
    if header.is_some_and(|header| fold(sum(header)) != 0xffff) {
        return Err(NoDatagram::Checksum("IPv4"));
    }
    let is_missing = is_v4 && datagram.get(6..8) == Some(&[0, 0]);
    let length = u16::try_from(datagram.len()).map_err(|_| PacketError::UdpBadLength)?;
    let is_right = fold(pseudo_header(addresses, length) + sum(datagram)) == 0xffff;
    let has_field = is_v4 || datagram.get(6..8) != Some(&[0, 0]);
    if is_missing || is_right && has_field { Ok(()) } else { Err(NoDatagram::Checksum("UDP")) }
}

/// RFC 791, 3.1. Atomic datagrams: whoever finds this one too long says so (RFC 6864, 4.1).
fn header_v4(source: [u8; 4], destination: [u8; 4], length: u16) -> Option<Vec<u8>> {
    let mut header = vec![0x45, 0];
    header.extend(length.checked_add(20)?.to_be_bytes());
    header.extend([0, 0, 0x40, 0, HOP_LIMIT, number::UDP, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let checksum = !fold(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some(header)
}

/// RFC 8200, 3.
fn header_v6(source: [u8; 16], destination: [u8; 16], length: u16) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([number::UDP, HOP_LIMIT]);
    header.extend(source);
    header.extend(destination);
    header
}

/// What UDP's checksum covers beside the datagram (RFC 768; RFC 8200, 8.1).
fn pseudo_header((source, destination): (IpAddr, IpAddr), length: u16) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum(&source.octets()) + sum(&destination.octets()),
        (IpAddr::V6(source), IpAddr::V6(destination)) => sum(&source.octets()) + sum(&destination.octets()),
        _ => 0,
    };
    addresses + u64::from(number::UDP) + u64::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(is_v4: bool) -> (SocketAddr, SocketAddr) {
        let text = if is_v4 { ("10.0.0.9:5353", "10.0.0.1:53") } else { ("[fd00::9]:5353", "[fd00::1]:53") };
        (text.0.parse().unwrap(), text.1.parse().unwrap())
    }

    fn sample(is_v4: bool, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = addresses(is_v4);
        Datagram { source, destination, payload }.seal().unwrap()
    }

    #[test]
    fn the_checksum_is_the_one_of_scapy() {
        // IP(src="10.0.0.9", dst="10.0.0.1", id=0, flags="DF")/UDP(sport=5353, dport=53)/b"hello"
        let packet = sample(true, b"hello");
        let expected = "4500002100004000401126c30a0000090a00000114e90035000d92da68656c6c6f";
        let text: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_checksum_may_be_missing_in_ipv4_alone() {
        for is_v4 in [true, false] {
            let mut packet = sample(is_v4, b"hello");
            let field = if is_v4 { 26 } else { 46 };
            packet[field..field + 2].fill(0);
            assert_eq!(Datagram::open(&packet).is_ok(), is_v4);
        }
    }

    #[test]
    fn fragments_and_other_protocols_are_told_apart() {
        let mut packet = sample(true, b"hello, this is long enough");
        packet[6] = 0x20;
        assert!(Datagram::open(&packet).is_err());
        let mut packet = sample(true, &[0; 40]);
        packet[9] = 132;
        assert_eq!(Datagram::open(&packet), Err(NoDatagram::Protocol(132)));
        assert_eq!(Datagram::open(&[]), Err(NoDatagram::Packet(PacketError::Truncated)));
        assert_eq!(Datagram::open(&[0; 40]), Err(NoDatagram::Packet(PacketError::BadVersion)));
        let (v4, v6) = (addresses(true).0, addresses(false).0);
        assert_eq!(Datagram { source: v4, destination: v6, payload: &[] }.seal(), None);
    }

    proptest! {
        #[test]
        fn what_was_made_is_read_and_one_changed_bit_is_noticed(
            is_v4: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            bit in 0..2000_usize,
        ) {
            let packet = sample(is_v4, &payload);
            let (source, destination) = addresses(is_v4);
            prop_assert_eq!(Datagram::open(&packet), Ok(Datagram { source, destination, payload: &payload }));
            let mut changed = packet.clone();
            let at = bit / 8 % packet.len();
            changed[at] ^= 1 << (bit % 8);
            // IPv6 leaves its traffic class, flow label and hop limit uncovered.
            let is_covered = is_v4 || !matches!(at, 0..4 | 7);
            prop_assert!(!is_covered || Datagram::open(&changed).is_err());
        }

        #[test]
        fn reading_anything_ends(bytes in proptest::collection::vec(any::<u8>(), 0..100), first in 0x40..0x70_u8) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let _ = Datagram::open(&bytes);
        }
    }
}
