//! Frames for tests of port security.

use std::net::IpAddr;

use crate::mac::MacAddress;
use crate::packet::{Contents, parse};

pub(super) const BROADCAST: MacAddress = MacAddress::BROADCAST;
pub(super) const ROUTER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);

pub(super) fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A frame of this type.
pub(super) fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&BROADCAST.0[..], &mac(1).0, &kind.to_be_bytes(), payload].concat()
}

/// What a frame says.
pub(super) fn contents(frame: &[u8]) -> Contents {
    parse(&frame[..frame.len().min(128)], u32::try_from(frame.len()).unwrap()).unwrap()
}

/// A packet of the addresses' version.
pub(super) fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Contents {
    let [from, to] = [source, destination].map(octets);
    let length = u16::try_from(payload.len()).unwrap();
    contents(&if from.len() == 4 {
        let length = (length + 20).to_be_bytes();
        let header = [0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
        frame(0x0800, &[&header[..], &from, &to, payload].concat())
    } else {
        let length = length.to_be_bytes();
        let header = [0x60, 0, 0, 0, length[0], length[1], protocol, 255];
        frame(0x86dd, &[&header[..], &from, &to, payload].concat())
    })
}

/// A datagram without data.
pub(super) fn udp(source: &str, destination: &str, ports: (u16, u16)) -> Contents {
    let bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), [0, 8], [0, 0]].concat();
    ip(source, destination, 17, &bytes)
}

/// The first fragment of a datagram of IPv4.
pub(super) fn fragment(source: &str, destination: &str, ports: (u16, u16)) -> Contents {
    let ports = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), [0, 40], [0, 0]].concat();
    let [from, to] = [source, destination].map(octets);
    let header = [0x45, 0, 0, 28, 0, 1, 0x20, 0, 64, 17, 0, 0];
    contents(&frame(0x0800, &[&header[..], &from, &to, &ports].concat()))
}

/// A message of ICMP or ICMPv6, by the addresses' version, with four bytes behind the checksum.
pub(super) fn icmp(source: &str, destination: &str, kind: u8) -> Contents {
    let protocol = if source.contains(':') { 58 } else { 1 };
    ip(source, destination, protocol, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

/// An option with a MAC address: 1 the source's, 2 the target's.
pub(super) fn option(kind: u8, mac: MacAddress) -> Vec<u8> {
    [&[kind, 1][..], &mac.0].concat()
}

/// A message of neighbour discovery about `target`, if its kind has one.
pub(super) fn neighbour(source: &str, destination: &str, kind: u8, target: &str, options: &[u8]) -> Contents {
    let target = if matches!(kind, 133 | 134) { Vec::new() } else { octets(target) };
    let body = match kind {
        // The destination that is better reached by the target.
        137 => [&[0; 4][..], &target, &octets("fd00::99")].concat(),
        134 => vec![0; 12],
        _ => [&[0; 4][..], &target].concat(),
    };
    ip(source, destination, 58, &[&[kind, 0, 0, 0][..], &body, options].concat())
}

/// An ARP message.
pub(super) fn arp(operation: u8, sender: (MacAddress, &str), target: &str) -> Contents {
    let begin = [0, 1, 8, 0, 6, 4, 0, operation];
    let message = [&begin[..], &sender.0.0, &octets(sender.1), &[0; 6], &octets(target)].concat();
    contents(&frame(0x0806, &message))
}
