//! Super-frames and what becomes of them, made and taken apart by the `etherparse` crate: an implementation of
//! headers and checksums that is not the switch's.

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TcpHeader, TransportHeader};

use crate::driver::header::{GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, NEEDS_CSUM, NetHeader};

/// In `gso_type`: the first segment alone may carry CWR (virtio 1.2, 5.1.6.2).
pub const GSO_ECN: u8 = 0x80;
const SENDER_PORT: u16 = 40_000;
const RECEIVER_PORT: u16 = 5001;
const FIRST_SEQUENCE: u32 = 0xffff_fc00;
const V4: ([u8; 4], [u8; 4]) = ([10, 0, 1, 1], [10, 0, 1, 2]);
const V6: ([u8; 16], [u8; 16]) = (
    [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
);

/// What a super-frame is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv4 with CWR.
    Tcp4Ecn,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4, many datagrams.
    Udp4,
    /// UDP over IPv6, many datagrams.
    Udp6,
    /// One UDP datagram over IPv4, to be fragmented.
    UdpFragment4,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Tcp4, Self::Tcp4Ecn, Self::Tcp6, Self::Udp4, Self::Udp6, Self::UdpFragment4];

    /// The header's `gso_type`.
    #[must_use]
    pub fn gso_type(self) -> u8 {
        match self {
            Self::Tcp4 => GSO_TCPV4,
            Self::Tcp4Ecn => GSO_TCPV4 | GSO_ECN,
            Self::Tcp6 => GSO_TCPV6,
            Self::Udp4 | Self::Udp6 => GSO_UDP_L4,
            Self::UdpFragment4 => GSO_UDP,
        }
    }

    fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp4Ecn | Self::Tcp6)
    }

    fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }

    /// Length of the transport header, and where its checksum is.
    fn transport(self) -> (usize, u16) {
        if self.is_tcp() { (32, 16) } else { (8, 6) }
    }
}

/// A frame with what stands before it.
#[derive(Clone, Debug)]
pub struct SuperFrame {
    /// What its sender left to be done.
    pub header: NetHeader,
    /// The frame; its checksum holds the pseudo-header's sum only.
    pub bytes: Vec<u8>,
    /// Length of all headers.
    pub headers_len: usize,
}

impl SuperFrame {
    /// A frame of `kind` that carries `payload` in segments of `size` bytes.
    #[must_use]
    pub fn new(kind: Kind, to: [u8; 6], from: [u8; 6], payload: &[u8], size: u16) -> Self {
        let mut frame = Self::with_partial_checksum(kind, to, from, payload);
        frame.header.gso_type = kind.gso_type();
        frame.header.gso_size = size;
        frame.header.hdr_len = frame.headers_len as u16;
        frame
    }

    /// An ordinary frame whose checksum is left to be done.
    #[must_use]
    pub fn with_partial_checksum(kind: Kind, to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Self {
        let mut bytes = build(kind, to, from, payload);
        let (transport_len, checksum_offset) = kind.transport();
        let headers_len = bytes.len() - payload.len();
        let start = headers_len - transport_len;
        let sum = pseudo_header_sum(kind, bytes.len() - start);
        let at = start + usize::from(checksum_offset);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let header = NetHeader {
            flags: NEEDS_CSUM,
            csum_start: start as u16,
            csum_offset: checksum_offset,
            ..NetHeader::default()
        };
        Self { header, bytes, headers_len }
    }
}

fn build(kind: Kind, to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from, to);
    let ip = if kind.is_v6() { ethernet.ipv6(V6.0, V6.1, 64) } else { ethernet.ipv4(V4.0, V4.1, 64) };
    let mut bytes = Vec::new();
    if kind.is_tcp() {
        let mut header = TcpHeader::new(SENDER_PORT, RECEIVER_PORT, FIRST_SEQUENCE, 512);
        (header.ack, header.psh, header.fin, header.cwr) = (true, true, true, kind == Kind::Tcp4Ecn);
        // Two NOPs and a timestamp, as Linux sends.
        header.set_options_raw(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        ip.tcp_header(header).write(&mut bytes, payload).unwrap();
    } else {
        ip.udp(SENDER_PORT, RECEIVER_PORT).write(&mut bytes, payload).unwrap();
    }
    bytes
}

/// The un-complemented sum over addresses, protocol and length (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header_sum(kind: Kind, transport_bytes: usize) -> u16 {
    let addresses: Vec<u8> = if kind.is_v6() { [V6.0, V6.1].concat() } else { [V4.0, V4.1].concat() };
    let protocol = if kind.is_tcp() { 6 } else { 17 };
    let sum: u32 = addresses.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    fold(sum + protocol + transport_bytes as u32)
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Does what `header` leaves to be done for the checksum, as a driver's stack would (virtio 1.2, 5.1.6.4.2).
#[must_use]
pub fn finished(header: NetHeader, mut bytes: Vec<u8>) -> Vec<u8> {
    if header.flags & NEEDS_CSUM != 0 {
        let start = usize::from(header.csum_start);
        let at = start + usize::from(header.csum_offset);
        let words = bytes[start..].chunks(2);
        let sum: u32 =
            words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
        bytes[at..at + 2].copy_from_slice(&(!fold(sum)).to_be_bytes());
    }
    bytes
}

/// One packet as a receiver's stack reads it, its checksums verified.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The transport's payload.
    pub payload: Vec<u8>,
    /// The TCP header, if it is TCP.
    pub tcp: Option<TcpHeader>,
    /// IPv4 identification.
    pub identification: Option<u16>,
}

/// Takes `bytes` apart; panics when a length or a checksum is wrong.
#[must_use]
pub fn verified(bytes: &[u8]) -> Packet {
    let packet = PacketHeaders::from_ethernet_slice(bytes).expect("a well-formed packet");
    let payload = packet.payload.slice().to_vec();
    let net = packet.net.expect("an IP packet");
    let identification = match &net {
        NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum, "the IPv4 header's checksum");
            assert_eq!(usize::from(ip.total_len) + 14, bytes.len(), "the IPv4 total length");
            Some(ip.identification)
        }
        NetHeaders::Ipv6(ip, _) => {
            assert_eq!(usize::from(ip.payload_length) + 54, bytes.len(), "the IPv6 payload length");
            None
        }
        NetHeaders::Arp(_) => panic!("an IP packet was sent"),
    };
    let tcp = verified_transport(&net, packet.transport.expect("TCP or UDP"), &payload);
    Packet { payload, tcp, identification }
}

fn verified_transport(net: &NetHeaders, transport: TransportHeader, payload: &[u8]) -> Option<TcpHeader> {
    let (found, right) = match (net, &transport) {
        (NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
            (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload))
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
            (tcp.checksum, tcp.calc_checksum_ipv6(ip, payload))
        }
        (NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) => {
            (udp.checksum, udp.calc_checksum_ipv4(ip, payload))
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
            (udp.checksum, udp.calc_checksum_ipv6(ip, payload))
        }
        _ => panic!("TCP or UDP was sent"),
    };
    assert_eq!(found, right.unwrap(), "the transport's checksum");
    if let TransportHeader::Udp(udp) = &transport {
        assert_eq!(usize::from(udp.length), payload.len() + 8, "the UDP length");
    }
    transport.tcp()
}

/// One IPv4 fragment: its offset in bytes, whether more follow, and its part of the datagram.
#[must_use]
pub fn fragment(bytes: &[u8]) -> (usize, bool, u16, Vec<u8>) {
    let (ip, rest) = etherparse::Ipv4Header::from_slice(&bytes[14..]).expect("an IPv4 header");
    assert_eq!(ip.calc_header_checksum(), ip.header_checksum, "the fragment's header checksum");
    assert_eq!(usize::from(ip.total_len) + 14, bytes.len(), "the fragment's total length");
    (usize::from(ip.fragment_offset.value()) * 8, ip.more_fragments, ip.identification, rest.to_vec())
}

/// The packet whose IP payload was put together again from fragments; its checksum verified.
#[must_use]
pub fn reassembled(first_fragment: &[u8], datagram: &[u8]) -> Packet {
    let (mut ip, _) = etherparse::Ipv4Header::from_slice(&first_fragment[14..]).expect("an IPv4 header");
    ip.more_fragments = false;
    ip.set_payload_len(datagram.len()).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut bytes = first_fragment[..14].to_vec();
    ip.write(&mut bytes).unwrap();
    bytes.extend_from_slice(datagram);
    verified(&bytes)
}
