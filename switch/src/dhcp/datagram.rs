//! The frame around a message: Ethernet, IPv4 and UDP.

use std::net::{IpAddr, Ipv4Addr};

use super::Malformed;
use crate::mac::MacAddress;
use crate::offload::checksum;
use crate::packet::{self, Contents, Packet, number};

/// The port on which servers listen (RFC 2131, 4.1).
pub const SERVER_PORT: u16 = 67;

/// The port on which clients listen.
pub const CLIENT_PORT: u16 = 68;

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;

/// How many routers what we send may pass.
const HOP_LIMIT: u8 = 64;

/// Where a datagram comes from and goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The station that sends the frame.
    pub source_mac: MacAddress,
    /// The station, or all, that gets it.
    pub destination_mac: MacAddress,
    /// The sender's address.
    pub source: Ipv4Addr,
    /// The receiver's, or the broadcast address.
    pub destination: Ipv4Addr,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
}

/// Takes a frame apart that has no VLAN tags and whose checksums are complete. Ports are not judged.
///
/// # Errors
/// What is wrong with the frame.
pub fn open(frame: &[u8]) -> Result<(Envelope, &[u8]), Malformed> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let Contents::Ip(packet) = packet::parse(frame, length)? else { return Err(Malformed::NotDhcp) };
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source.into(), packet.destination.into())
    else {
        return Err(Malformed::NotDhcp);
    };
    if packet.fragment.is_some() {
        return Err(Malformed::Fragment);
    }
    let ports = packet.ports().filter(|_| packet.protocol == number::UDP).ok_or(Malformed::NotDhcp)?;
    let payload = payload(frame, &packet, (source, destination))?;
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

/// The datagram's payload, once the checksums before it are found right. A UDP checksum of 0 is none (RFC 768).
fn payload<'a>(
    frame: &'a [u8],
    packet: &Packet,
    (source, destination): (Ipv4Addr, Ipv4Addr),
) -> Result<&'a [u8], Malformed> {
    let (network, transport) = (usize::from(packet.network_at), usize::from(packet.transport_at));
    let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
    let header = frame.get(network..transport).ok_or(Malformed::NotDhcp)?;
    if checksum::fold(checksum::sum(header)) != 0xffff {
        return Err(Malformed::Checksum { header: "IPv4" });
    }
    let datagram = frame.get(transport..end).ok_or(Malformed::NotDhcp)?;
    let &[_, _, _, _, length_high, length_low, sum_high, sum_low, ..] = datagram else {
        return Err(Malformed::NotDhcp);
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let datagram = datagram.get(..length).ok_or(Malformed::NotDhcp)?;
    let is_right = (sum_high, sum_low) == (0, 0)
        || checksum::fold(pseudo_header(source, destination, length) + checksum::sum(datagram)) == 0xffff;
    if !is_right {
        return Err(Malformed::Checksum { header: "UDP" });
    }
    datagram.get(UDP..).ok_or(Malformed::NotDhcp)
}

/// Makes a frame of a payload, which must be shorter than 65,000 bytes.
#[must_use]
pub fn seal(envelope: &Envelope, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + IP + UDP + payload.len());
    frame.extend(envelope.destination_mac.0);
    frame.extend(envelope.source_mac.0);
    frame.extend([8, 0]);
    frame.extend(ip_header(envelope, payload.len()));
    frame.extend(udp_header(envelope, payload));
    frame.extend_from_slice(payload);
    frame
}

fn ip_header(envelope: &Envelope, payload: usize) -> [u8; IP] {
    let [high, low] = be(IP + UDP + payload);
    let mut header = [0; IP];
    // Network control, as routers mark what keeps a network going (RFC 4594, 3.1: DSCP CS6).
    header[..4].copy_from_slice(&[0x45, 0xc0, high, low]);
    header[8..10].copy_from_slice(&[HOP_LIMIT, number::UDP]);
    header[12..16].copy_from_slice(&envelope.source.octets());
    header[16..].copy_from_slice(&envelope.destination.octets());
    let sum = !checksum::fold(checksum::sum(&header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn udp_header(envelope: &Envelope, payload: &[u8]) -> [u8; UDP] {
    let length = UDP + payload.len();
    let mut header = [0; UDP];
    header[..2].copy_from_slice(&envelope.source_port.to_be_bytes());
    header[2..4].copy_from_slice(&envelope.destination_port.to_be_bytes());
    header[4..6].copy_from_slice(&be(length));
    let total = pseudo_header(envelope.source, envelope.destination, length)
        + checksum::sum(&header)
        + checksum::sum(payload);
    let sum = match !checksum::fold(total) {
        0 => 0xffff,
        sum => sum,
    };
    header[6..].copy_from_slice(&sum.to_be_bytes());
    header
}

/// What UDP's checksum covers beside the datagram (RFC 768).
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> u64 {
    let [high, low] = be(length);
    checksum::sum(&source.octets())
        + checksum::sum(&destination.octets())
        + checksum::sum(&[0, number::UDP, high, low])
}

fn be(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn mac(frame: &[u8], at: usize) -> MacAddress {
    let bytes = frame.get(at..at + 6).and_then(|bytes| bytes.try_into().ok());
    MacAddress(bytes.unwrap_or([0; 6]))
}
