//! The frame around a message: Ethernet, IP and UDP.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Malformed;
use super::lending::Address;
use crate::mac::MacAddress;
use crate::offload::checksum;
use crate::packet::{self, Contents, Packet, number};

/// The port on which servers listen (RFC 2131, 4.1).
pub const SERVER_PORT: u16 = 67;

/// The port on which clients listen.
pub const CLIENT_PORT: u16 = 68;

const IP: usize = 20;
const UDP: usize = 8;

/// Network control, as routers mark what keeps a network going (RFC 4594, 3.1: DSCP CS6).
const CLASS: u8 = 0xc0;

/// How many routers what we send may pass.
const HOP_LIMIT: u8 = 64;

/// Where a datagram comes from and goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope<A = Ipv4Addr> {
    /// The station that sends the frame.
    pub source_mac: MacAddress,
    /// The station, or all, that gets it.
    pub destination_mac: MacAddress,
    /// The sender's address.
    pub source: A,
    /// The receiver's, or that of all.
    pub destination: A,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
}

/// What the two versions of IP do not have in common.
trait Internet: Address {
    /// The bytes of Ethernet's type field.
    const ETHERNET_TYPE: [u8; 2];

    /// Whether a UDP datagram needs a checksum.
    const NEEDS_CHECKSUM: bool;

    /// The header before a datagram of `length` bytes.
    fn header(envelope: &Envelope<Self>, length: usize) -> Vec<u8>;

    /// Finds out whether a header's own checksum is right, if it has one.
    fn check(header: &[u8]) -> Result<(), Malformed>;

    fn sum(self) -> u64;
}

impl Internet for Ipv4Addr {
    const ETHERNET_TYPE: [u8; 2] = [8, 0];
    const NEEDS_CHECKSUM: bool = false;

    fn header(envelope: &Envelope<Self>, length: usize) -> Vec<u8> {
        let [high, low] = be(IP + length);
        let mut header = vec![0x45, CLASS, high, low, 0, 0, 0, 0, HOP_LIMIT, number::UDP, 0, 0];
        header.extend(envelope.source.octets());
        header.extend(envelope.destination.octets());
        let sum = !checksum::fold(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn check(header: &[u8]) -> Result<(), Malformed> {
        let is_right = checksum::fold(checksum::sum(header)) == 0xffff;
        if is_right { Ok(()) } else { Err(Malformed::Checksum { header: "IPv4" }) }
    }

    fn sum(self) -> u64 {
        checksum::sum(&self.octets())
    }
}

impl Internet for Ipv6Addr {
    const ETHERNET_TYPE: [u8; 2] = [0x86, 0xdd];
    /// RFC 8200, 8.1.
    const NEEDS_CHECKSUM: bool = true;

    fn header(envelope: &Envelope<Self>, length: usize) -> Vec<u8> {
        let [high, low] = be(length);
        let mut header = vec![0x60 | CLASS >> 4, CLASS << 4, 0, 0, high, low, number::UDP, HOP_LIMIT];
        header.extend(envelope.source.octets());
        header.extend(envelope.destination.octets());
        header
    }

    fn check(_header: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }

    fn sum(self) -> u64 {
        checksum::sum(&self.octets())
    }
}

/// Takes a frame of IPv4 apart that has no VLAN tags and whose checksums are complete. Ports are not judged.
///
/// # Errors
/// What is wrong with the frame.
pub fn open(frame: &[u8]) -> Result<(Envelope, &[u8]), Malformed> {
    open_any(frame)
}

/// The same of IPv6.
///
/// # Errors
/// What is wrong with the frame.
pub fn open_v6(frame: &[u8]) -> Result<(Envelope<Ipv6Addr>, &[u8]), Malformed> {
    open_any(frame)
}

fn open_any<A: Internet>(frame: &[u8]) -> Result<(Envelope<A>, &[u8]), Malformed> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let Contents::Ip(packet) = packet::parse(frame, length)? else { return Err(Malformed::NotDhcp) };
    let (Some(source), Some(destination)) = (A::of(packet.source.into()), A::of(packet.destination.into()))
    else {
        return Err(Malformed::NotDhcp);
    };
    if packet.fragment.is_some() {
        return Err(Malformed::Fragment);
    }
    let ports = packet.ports().filter(|_| packet.protocol == number::UDP).ok_or(Malformed::NotDhcp)?;
    let payload = payload(frame, &packet, source.sum() + destination.sum(), A::NEEDS_CHECKSUM)?;
    let (network, transport) = (usize::from(packet.network_at), usize::from(packet.transport_at));
    A::check(frame.get(network..transport).ok_or(Malformed::NotDhcp)?)?;
    let envelope = Envelope {
        source_mac: mac(frame, 6),
        destination_mac: mac(frame, 0),
        source,
        destination,
        source_port: ports.source,
        destination_port: ports.destination,
    };
    Ok((envelope, payload))
}

/// The datagram's payload, once its checksum is found right. One of 0 is none (RFC 768).
fn payload<'a>(
    frame: &'a [u8],
    packet: &Packet,
    addresses: u64,
    needs_checksum: bool,
) -> Result<&'a [u8], Malformed> {
    let transport = usize::from(packet.transport_at);
    let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
    let datagram = frame.get(transport..end).ok_or(Malformed::NotDhcp)?;
    let &[_, _, _, _, length_high, length_low, sum_high, sum_low, ..] = datagram else {
        return Err(Malformed::NotDhcp);
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let datagram = datagram.get(..length).ok_or(Malformed::NotDhcp)?;
    let is_absent = (sum_high, sum_low) == (0, 0) && !needs_checksum;
    let is_right =
        is_absent || checksum::fold(addresses + pseudo_header(length) + checksum::sum(datagram)) == 0xffff;
    if !is_right {
        return Err(Malformed::Checksum { header: "UDP" });
    }
    datagram.get(UDP..).ok_or(Malformed::NotDhcp)
}

/// Makes a frame of a payload, which must be shorter than 65,000 bytes.
#[must_use]
pub fn seal(envelope: &Envelope, payload: &[u8]) -> Vec<u8> {
    seal_any(envelope, payload)
}

/// The same of IPv6.
#[must_use]
pub fn seal_v6(envelope: &Envelope<Ipv6Addr>, payload: &[u8]) -> Vec<u8> {
    seal_any(envelope, payload)
}

fn seal_any<A: Internet>(envelope: &Envelope<A>, payload: &[u8]) -> Vec<u8> {
    let mut frame = [envelope.destination_mac.0, envelope.source_mac.0].concat();
    frame.extend(A::ETHERNET_TYPE);
    frame.extend(A::header(envelope, UDP + payload.len()));
    frame.extend(udp_header(envelope, payload));
    frame.extend_from_slice(payload);
    frame
}

fn udp_header<A: Internet>(envelope: &Envelope<A>, payload: &[u8]) -> [u8; UDP] {
    let length = UDP + payload.len();
    let mut header = [0; UDP];
    header[..2].copy_from_slice(&envelope.source_port.to_be_bytes());
    header[2..4].copy_from_slice(&envelope.destination_port.to_be_bytes());
    header[4..6].copy_from_slice(&be(length));
    let total = envelope.source.sum()
        + envelope.destination.sum()
        + pseudo_header(length)
        + checksum::sum(&header)
        + checksum::sum(payload);
    let sum = match !checksum::fold(total) {
        0 => 0xffff,
        sum => sum,
    };
    header[6..].copy_from_slice(&sum.to_be_bytes());
    header
}

/// What UDP's checksum covers beside the datagram and the addresses (RFC 768; RFC 8200, 8.1).
fn pseudo_header(length: usize) -> u64 {
    let [high, low] = be(length);
    checksum::sum(&[0, number::UDP, high, low])
}

fn be(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn mac(frame: &[u8], at: usize) -> MacAddress {
    let bytes = frame.get(at..at + 6).and_then(|bytes| bytes.try_into().ok());
    MacAddress(bytes.unwrap_or([0; 6]))
}
