//! Packets put together and read back.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

use crate::lab::*;

/// A packet's ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) from: (Ipv4Addr, u16),
    pub(crate) to: (Ipv4Addr, u16),
}

impl Ends {
    /// Those of the answer.
    pub(crate) fn turned(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

pub(crate) fn ends(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Ends {
    Ends { from, to }
}

/// A frame of a station to its gateway.
pub(crate) fn ethernet(station: usize) -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2(mac(station).0, gateway(NETWORK_OF[station]).0)
}

pub(crate) fn udp(station: usize, ends: Ends) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ethernet(station).ipv4(ends.from.0.octets(), ends.to.0.octets(), 9);
    ip.udp(ends.from.1, ends.to.1).write(&mut frame, &[7; 20]).unwrap();
    frame
}

/// A TCP segment with sequence and acknowledgement numbers, and flags as letters.
pub(crate) fn tcp(station: usize, ends: Ends, flags: &str, numbers: (u32, u32)) -> Vec<u8> {
    segment(station, ends, flags, numbers, &[])
}

/// The same with data.
pub(crate) fn segment(
    station: usize,
    ends: Ends,
    flags: &str,
    (sequence, ack): (u32, u32),
    data: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ethernet(station).ipv4(ends.from.0.octets(), ends.to.0.octets(), 9);
    let mut header = ip.tcp(ends.from.1, ends.to.1, sequence, 1000);
    for flag in flags.chars() {
        header = match flag {
            'S' => header.syn(),
            'A' => header.ack(ack),
            'F' => header.fin(),
            _ => header.rst(),
        };
    }
    header.write(&mut frame, data).unwrap();
    frame
}

/// An echo request or reply; the first ports of the ends are no ports.
pub(crate) fn echo(station: usize, ends: (Ipv4Addr, Ipv4Addr), id: u16, is_reply: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ethernet(station).ipv4(ends.0.octets(), ends.1.octets(), 9);
    let echo = if is_reply { ip.icmpv4_echo_reply(id, 1) } else { ip.icmpv4_echo_request(id, 1) };
    echo.write(&mut frame, &[7; 20]).unwrap();
    frame
}

/// An ICMP error about a packet as it arrived, of which `quoted` bytes are quoted.
pub(crate) fn error(
    station: usize,
    ends: (Ipv4Addr, Ipv4Addr),
    (kind, code): (u8, u8),
    about: &[u8],
    quoted: usize,
) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ethernet(station).ipv4(ends.0.octets(), ends.1.octets(), 9);
    let quote = &about[14..about.len().min(14 + quoted)];
    ip.icmpv4_raw(kind, code, [0, 0, 5, 0x78]).write(&mut frame, quote).unwrap();
    frame
}

pub(crate) fn address_at(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from_octets(frame[at..at + 4].try_into().unwrap())
}

pub(crate) fn u16_at(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// The ends of a packet of TCP or UDP without IP options.
pub(crate) fn ends_of(frame: &[u8]) -> Ends {
    ends((address_at(frame, 26), u16_at(frame, 34)), (address_at(frame, 30), u16_at(frame, 36)))
}

/// The sum in ones' complement of words, the checksum among them, in the plainest way.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Checks the checksums of a whole packet of IPv4 behind an Ethernet header.
pub(crate) fn check(frame: &[u8]) {
    check_packet(&frame[14..], false);
}

/// The same for a packet that may be cut off behind.
pub(crate) fn check_packet(packet: &[u8], is_quoted: bool) {
    let header = usize::from(packet[0] & 0xf) * 4;
    assert_eq!(sum(&packet[..header]), 0xffff, "the header checksum of {packet:02x?}");
    let length = usize::from(u16_at(packet, 2));
    let is_fragment = u16_at(packet, 6) & 0x3fff != 0;
    if packet.len() < length || is_fragment {
        return;
    }
    let data = &packet[header..length];
    let mut pseudo = packet[12..20].to_vec();
    pseudo.extend([0, packet[9]]);
    pseudo.extend((data.len() as u16).to_be_bytes());
    pseudo.extend(data);
    match packet[9] {
        17 if u16_at(data, 6) == 0 => {}
        6 | 17 => assert_eq!(sum(&pseudo), 0xffff, "the checksum of {packet:02x?}, quoted: {is_quoted}"),
        1 => {
            assert_eq!(sum(data), 0xffff, "the checksum of {packet:02x?}, quoted: {is_quoted}");
            if matches!(data[0], 3 | 11 | 12) {
                check_packet(&data[8..], true);
            }
        }
        _ => {}
    }
}
