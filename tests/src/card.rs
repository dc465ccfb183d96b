//! A guest with addresses, in its smallest form: a driver at a port that tells others its Ethernet address when it is asked (ARP,
//! neighbour discovery) and keeps all else that comes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use etherparse::{Ipv4Header, PacketBuilder, TcpHeader};

use crate::driver::features::{EVENT_IDX, MODERN, SEND_OFFLOADS};
use crate::driver::header::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, NetHeader};
use crate::driver::nic::{Nic, NicOptions};
use crate::superframe::finished;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A guest.
pub struct Card {
    nic: Nic,
    mac: [u8; 6],
    gateway: [u8; 6],
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    /// Packets of IP that came and were not asked for yet.
    inbox: Vec<Vec<u8>>,
    /// Fragments of packets that are not whole yet.
    parts: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// All frames that came.
    received: Vec<Vec<u8>>,
    /// Super-frames among them, with what stands before each.
    super_frames: Vec<(NetHeader, Vec<u8>)>,
    sent: usize,
}

impl Card {
    /// Plugs a guest in, and finds its gateway. It takes whole packets with finished checksums only.
    ///
    /// # Panics
    /// If the gateway does not answer.
    #[must_use]
    pub fn connect(
        socket: &Path,
        mac: [u8; 6],
        v4: Ipv4Addr,
        v6: Option<Ipv6Addr>,
        gateway: Ipv4Addr,
    ) -> Self {
        Self::connect_with(0, socket, mac, (v4, v6), gateway)
    }

    /// The same with more features: what it takes of what is left to be done.
    ///
    /// # Panics
    /// If the gateway does not answer.
    #[must_use]
    pub fn connect_with(
        more_features: u64,
        socket: &Path,
        mac: [u8; 6],
        (v4, v6): (Ipv4Addr, Option<Ipv6Addr>),
        gateway: Ipv4Addr,
    ) -> Self {
        let features = MODERN | EVENT_IDX | SEND_OFFLOADS | more_features;
        let nic =
            Nic::connect(socket, &NicOptions { features, ..NicOptions::default() }.with_frames_of(66_000));
        let (inbox, parts, received, super_frames) = Default::default();
        let mut card =
            Self { nic, mac, gateway: [0xff; 6], v4, v6, inbox, parts, received, super_frames, sent: 0 };
        let deadline = Instant::now() + LIMIT;
        while card.gateway == [0xff; 6] {
            assert!(Instant::now() < deadline, "the gateway {gateway} does not answer {v4}");
            card.nic.send(&arp(1, (mac, v4), ([0; 6], gateway), [0xff; 6]));
            let answer = card.nic.receive_within(Duration::from_millis(200));
            if let Some(frame) = answer.map(|frame| frame.bytes)
                && frame[12..14] == [8, 6]
                && frame[28..32] == gateway.octets()
                && frame[21] == 2
            {
                card.gateway = frame[22..28].try_into().unwrap();
            }
        }
        card
    }

    /// Its address of the same version as another one.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn address(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.v4.into() } else { self.v6.expect("an address of IPv6").into() }
    }

    /// Sends a packet of IP to the gateway; `header` counts from the Ethernet header on.
    pub fn send(&mut self, header: NetHeader, packet: &[u8]) {
        let data = (14 + packet.len()).saturating_sub(usize::from(header.hdr_len));
        self.sent += if header.gso_size == 0 { 1 } else { data.div_ceil(usize::from(header.gso_size)) };
        let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        self.nic.send_with(header, &[&self.gateway[..], &self.mac, &kind, packet].concat());
    }

    /// How many packets it sent to the gateway, as many as super-frames are cut into.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Sends a frame as it is.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.nic.send(frame);
    }

    /// The next packet of IP that `is_meant`; others stay.
    pub fn next(&mut self, limit: Duration, is_meant: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self.inbox.iter().position(|packet| is_meant(packet)) {
                return Some(self.inbox.remove(at));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let came = self.nic.receive_within(left)?;
            if came.header.gso_type == 0 {
                self.take(finished(came.header, came.bytes));
            } else {
                self.super_frames.push((came.header, came.bytes));
            }
        }
    }

    /// All frames that came so far, from the Ethernet header on.
    #[must_use]
    pub fn received(&self) -> &[Vec<u8>] {
        &self.received
    }

    /// The next super-frame, from its Ethernet header on, and what stands before it. Who asks for packets meanwhile gets none of it.
    pub fn next_super_frame(&mut self, limit: Duration) -> Option<(NetHeader, Vec<u8>)> {
        let deadline = Instant::now() + limit;
        while self.super_frames.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.next(left.min(Duration::from_millis(50)), |_| false);
            if left.is_zero() {
                return None;
            }
        }
        Some(self.super_frames.remove(0))
    }

    fn take(&mut self, frame: Vec<u8>) {
        match frame[12..14] {
            [8, 6] if frame[21] == 1 && frame[38..42] == self.v4.octets() => {
                let asker = frame[22..28].try_into().unwrap();
                let address = Ipv4Addr::from_octets(frame[28..32].try_into().unwrap());
                self.nic.send(&arp(2, (self.mac, self.v4), (asker, address), asker));
            }
            [0x86, 0xdd] if is_solicitation(&frame, self.v6) => self.advertise(&frame),
            [8, 0] | [0x86, 0xdd] => self.keep(frame[14..].to_vec()),
            _ => {}
        }
        self.received.push(frame);
    }

    /// Puts fragments together.
    fn keep(&mut self, packet: Vec<u8>) {
        let Some(name) = datagram(&packet) else { return self.inbox.push(packet) };
        let parts = self.parts.entry(name.clone()).or_default();
        parts.push(packet);
        if let Some(whole) = together(parts) {
            self.parts.remove(&name);
            self.inbox.push(whole);
        }
    }

    /// Answers a neighbour solicitation (RFC 4861, 4.4).
    fn advertise(&mut self, asked: &[u8]) {
        let Some(own) = self.v6 else { return };
        let (to_mac, to): ([u8; 6], [u8; 16]) =
            (asked[6..12].try_into().unwrap(), asked[22..38].try_into().unwrap());
        let option = [&[2, 1][..], &self.mac].concat();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.mac, to_mac)
            .ipv6(own.octets(), to, 255)
            .icmpv6_raw(136, 0, [0x60, 0, 0, 0])
            .write(&mut frame, &[&own.octets()[..], &option].concat())
            .unwrap();
        self.nic.send(&frame);
    }
}

fn is_solicitation(frame: &[u8], own: Option<Ipv6Addr>) -> bool {
    let is_icmp = frame.len() >= 78 && frame[20] == 58 && frame[54] == 135;
    is_icmp && own.is_some_and(|own| frame[62..78] == own.octets())
}

/// A frame of ARP (RFC 826): 1 asks, 2 answers.
#[must_use]
pub fn arp(operation: u8, own: ([u8; 6], Ipv4Addr), asked: ([u8; 6], Ipv4Addr), to: [u8; 6]) -> Vec<u8> {
    let fixed = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    let (mine, other) = (own.1.octets(), asked.1.octets());
    [&to[..], &own.0, &fixed, &own.0, &mine, &asked.0, &other, &[0; 18]].concat()
}

/// A packet of UDP between these ends.
///
/// # Panics
/// If they are of two versions of IP.
#[must_use]
pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (from.0, to.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip = PacketBuilder::ipv4(source.octets(), destination.octets(), 64);
            ip.udp(from.1, to.1).write(&mut bytes, data).unwrap();
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = PacketBuilder::ipv6(source.octets(), destination.octets(), 64);
            ip.udp(from.1, to.1).write(&mut bytes, data).unwrap();
        }
        _ => panic!("two versions of IP"),
    }
    bytes
}

/// A packet of TCP between these ends, with sequence and acknowledgement numbers, and flags as letters.
///
/// # Panics
/// If they are of two versions of IP.
#[must_use]
pub fn tcp(
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    (sequence, ack): (u32, u32),
    flags: &str,
    data: &[u8],
) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, sequence, 0xffff);
    header.acknowledgment_number = ack;
    (header.syn, header.ack) = (flags.contains('S'), flags.contains('A'));
    (header.fin, header.psh) = (flags.contains('F'), flags.contains('P'));
    let mut bytes = Vec::new();
    match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
            ip.tcp_header(header).write(&mut bytes, data).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = PacketBuilder::ipv6(from.octets(), to.octets(), 64);
            ip.tcp_header(header).write(&mut bytes, data).unwrap();
        }
        _ => panic!("two versions of IP"),
    }
    bytes
}

/// The bytes before the transport header, and which it is.
fn transport(packet: &[u8]) -> (usize, u8) {
    if packet[0] >> 4 == 6 { (40, packet[6]) } else { (usize::from(packet[0] & 0xf) * 4, packet[9]) }
}

/// Leaves the checksum of a packet of TCP or UDP to be finished, and the packet to be cut into segments with `size` bytes of
/// data (virtio 1.2, 5.1.6.2).
#[must_use]
pub fn unfinished(packet: &mut [u8], size: Option<u16>) -> NetHeader {
    let ((start, protocol), is_v6) = (transport(packet), packet[0] >> 4 == 6);
    let (offset, header) =
        if protocol == 6 { (16, usize::from(packet[start + 12] >> 4) * 4) } else { (6, 8) };
    let addresses = if is_v6 { &packet[8..40] } else { &packet[12..20] };
    let length = packet.len() - start;
    let words = addresses.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + length as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[start + offset..start + offset + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    let gso_type = match (size, protocol, is_v6) {
        (None, ..) => 0,
        (_, 6, false) => GSO_TCPV4,
        (_, 6, true) => GSO_TCPV6,
        _ => GSO_UDP_L4,
    };
    NetHeader {
        flags: NEEDS_CSUM,
        gso_type,
        gso_size: size.unwrap_or(0),
        hdr_len: if size.is_some() { (14 + start + header) as u16 } else { 0 },
        csum_start: (14 + start) as u16,
        csum_offset: offset as u16,
        num_buffers: 0,
    }
}

/// A packet in fragments with at most `size` bytes of data each, a multiple of eight (RFC 791, 3.2; RFC 8200, 4.5).
#[must_use]
pub fn fragments(packet: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let (start, protocol) = transport(packet);
    let (header, data) = packet.split_at(start);
    let one = |(number, part): (usize, &[u8])| {
        let (place, more) = ((number * size / 8) as u16, (number + 1) * size < data.len());
        let mut bytes = header.to_vec();
        if packet[0] >> 4 == 6 {
            bytes[4..6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
            bytes[6] = 44;
            bytes.extend([protocol, 0]);
            bytes.extend((place << 3 | u16::from(more)).to_be_bytes());
            bytes.extend(u32::from(id).to_be_bytes());
        } else {
            let mut ip = Ipv4Header::from_slice(header).unwrap().0;
            (ip.identification, ip.dont_fragment, ip.more_fragments) = (id, false, more);
            ip.fragment_offset = etherparse::IpFragOffset::try_new(place).unwrap();
            ip.set_payload_len(part.len()).unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            bytes.clear();
            ip.write(&mut bytes).unwrap();
        }
        [&bytes[..], part].concat()
    };
    data.chunks(size).enumerate().map(one).collect()
}

/// An ICMP error about a packet, which is quoted as far as it fits into the least MTU.
#[must_use]
pub fn icmp_error(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), about: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
            ip.icmpv4_raw(kind, code, [0; 4]).write(&mut bytes, &about[..about.len().min(520)]).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = PacketBuilder::ipv6(from.octets(), to.octets(), 64);
            let quote = &about[..about.len().min(1232)];
            ip.icmpv6_raw(kind, code, [0; 4]).write(&mut bytes, quote).unwrap();
        }
        _ => panic!("two versions of IP"),
    }
    bytes
}

/// The packet that fragments are parts of, once all are there (RFC 791, 3.2; RFC 8200, 4.5).
fn together(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut parts: Vec<Part<'_>> = parts.iter().map(|packet| Part::of(packet)).collect();
    parts.sort_by_key(|part| part.offset);
    let (first, last) = (parts.first()?, parts.last()?);
    let is_whole = parts.windows(2).all(|two| two[0].offset + two[0].data.len() == two[1].offset);
    if first.offset != 0 || last.has_more || !is_whole {
        return None;
    }
    let data: Vec<u8> = parts.iter().flat_map(|part| part.data.to_vec()).collect();
    let mut whole = first.header.to_vec();
    if whole[0] >> 4 == 6 {
        whole[4..6].copy_from_slice(&(data.len() as u16).to_be_bytes());
        whole[6] = first.protocol;
    } else {
        let mut ip = Ipv4Header::from_slice(&whole).unwrap().0;
        ip.more_fragments = false;
        ip.set_payload_len(data.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        whole.clear();
        ip.write(&mut whole).unwrap();
    }
    whole.extend(data);
    Some(whole)
}

/// A fragment.
struct Part<'a> {
    header: &'a [u8],
    protocol: u8,
    offset: usize,
    has_more: bool,
    data: &'a [u8],
}

impl<'a> Part<'a> {
    fn of(packet: &'a [u8]) -> Self {
        let (start, protocol) = transport(packet);
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        if packet[0] >> 4 == 6 {
            let (place, header) = (word(42), &packet[..start]);
            let (offset, has_more) = (usize::from(place & !7), place & 1 != 0);
            Self { header, protocol: packet[40], offset, has_more, data: &packet[48..] }
        } else {
            let (header, data) = packet.split_at(start);
            let ip = Ipv4Header::from_slice(header).unwrap().0;
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum, "the header of {packet:02x?}");
            let (offset, has_more) = (usize::from(ip.fragment_offset.value()) * 8, ip.more_fragments);
            Self { header, protocol, offset, has_more, data }
        }
    }
}

/// Of which datagram a packet is a fragment: sender and identification; `None`: it is whole.
fn datagram(packet: &[u8]) -> Option<Vec<u8>> {
    let is_v6 = packet[0] >> 4 == 6;
    let is_fragment = if is_v6 { packet[6] == 44 } else { (packet[6] & 0x3f, packet[7]) != (0, 0) };
    let name = if is_v6 { [&packet[8..24], &packet[44..48]] } else { [&packet[12..16], &packet[4..6]] };
    is_fragment.then(|| name.concat())
}
