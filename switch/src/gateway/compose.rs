//! Frames and packets that the gateway makes of its own.

use std::net::IpAddr;

use crate::mac::MacAddress;
use crate::multicast::ROUTER_ALERT_V4;
use crate::offload::checksum::{fold, sum};
use crate::offload::layout::protocol;
use crate::packet::{Address, number};

/// The bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// How many routers what the gateway sends may pass, as a rule.
pub(crate) const HOP_LIMIT: u8 = 64;

/// Of messages that no router passes, which who gets them can tell by it (RFC 4861, 3.1).
pub(crate) const HOP_LIMIT_ON_LINK: u8 = 255;

/// Network control (RFC 4594, 3.1: CS6): what keeps a network going, and errors (RFC 1812, 4.3.2.5).
pub(crate) const NETWORK_CONTROL: u8 = 0xc0;

/// "Don't fragment" (RFC 791, 3.1).
const DONT_FRAGMENT: u8 = 0x40;

/// What stands in an IP header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    /// By what fragments of an IPv4 packet are told; `None`: it is not to be cut (RFC 6864, 4.1).
    pub(crate) id: Option<u16>,
}

/// A frame from `from` to `to` with a packet of IP.
pub(crate) fn frame(from: MacAddress, to: MacAddress, packet: &[u8]) -> Vec<u8> {
    let kind = if packet.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&to.0[..], &from.0, &kind, packet].concat()
}

/// A packet of either version of IP.
pub(crate) fn packet(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut packet = match header.source.is_v4() {
        true => header_v4(header, &[], payload.len()),
        false => header_v6(header, payload.len()),
    };
    packet.extend_from_slice(payload);
    packet
}

/// The same with the Router Alert option (RFC 2113, 2.1; RFC 2711, 2.1, for multicast listener discovery).
pub(super) fn alerting_packet(header: &Header, payload: &[u8]) -> Vec<u8> {
    if header.source.is_v4() {
        return [&header_v4(header, &ROUTER_ALERT_V4, payload.len()), payload].concat();
    }
    let options = [header.protocol, 0, 5, 2, 0, 0, 1, 0];
    let header = Header { protocol: protocol::HOP_BY_HOP, ..*header };
    packet(&header, &[&options[..], payload].concat())
}

/// `options` must be a multiple of four bytes, at most 40.
fn header_v4(header: &Header, options: &[u8], payload: usize) -> Vec<u8> {
    let words = u8::try_from(options.len() / 4).unwrap_or(0);
    let mut bytes = vec![0x45 + words, header.traffic_class];
    bytes.extend(length(20 + options.len() + payload));
    bytes.extend(header.id.unwrap_or(0).to_be_bytes());
    bytes.extend([if header.id.is_none() { DONT_FRAGMENT } else { 0 }, 0]);
    bytes.extend([header.hop_limit, header.protocol, 0, 0]);
    put_address(&mut bytes, header.source);
    put_address(&mut bytes, header.destination);
    bytes.extend_from_slice(options);
    let checksum = !fold(sum(&bytes));
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn header_v6(header: &Header, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0x60 | header.traffic_class >> 4, header.traffic_class << 4, 0, 0];
    bytes.extend(length(payload));
    bytes.extend([header.protocol, header.hop_limit]);
    put_address(&mut bytes, header.source);
    put_address(&mut bytes, header.destination);
    bytes
}

/// A message of ICMP, or of ICMPv6 if the addresses are of that version: the four bytes behind its checksum, and its body.
pub(crate) fn icmp(ends: (Address, Address), kind: [u8; 2], rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut message = [&kind[..], &[0, 0], &rest, body].concat();
    let checksum = !fold(icmp_sum(ends, &message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The sum that the checksum of a message makes 0xffff (RFC 792; RFC 4443, 2.3).
pub(crate) fn icmp_sum((source, destination): (Address, Address), message: &[u8]) -> u64 {
    if source.is_v4() { sum(message) } else { transport_sum((source, destination), number::ICMPV6, message) }
}

/// The same for a transport whose checksum covers the pseudo-header of its version of IP (RFC 9293, 3.1; RFC 8200, 8.1).
pub(crate) fn transport_sum((source, destination): (Address, Address), protocol: u8, bytes: &[u8]) -> u64 {
    let address = |address: Address| match address.into() {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    address(source) + address(destination) + sum(&length.to_be_bytes()) + sum(&[0, protocol]) + sum(bytes)
}

pub(crate) fn put_address(bytes: &mut Vec<u8>, address: Address) {
    match address.into() {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// The Ethernet address of a group of stations of IP (RFC 1112, 6.4; RFC 2464, 7), or of all stations.
pub(crate) fn group_mac(address: Address) -> MacAddress {
    let [.., a, b, c, d] = address.to_bits().to_be_bytes();
    match (address.is_v4(), a) {
        (true, 224..240) => MacAddress([1, 0, 0x5e, b & 0x7f, c, d]),
        (true, _) => MacAddress::BROADCAST,
        (false, _) => MacAddress([0x33, 0x33, a, b, c, d]),
    }
}
