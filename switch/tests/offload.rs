//! Super-frames cut by the switch, read by an independent parser: every segment is well-formed, its checksums
//! hold, and together they say what the super-frame said.
#![expect(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may stop at its own mistakes, and chooses its own numbers"
)]

use etherparse::defrag::IpDefragPool;
use etherparse::{NetSlice, SlicedPacket, TransportSlice, UdpHeader};
use proptest::prelude::*;
use viaduct_switch::offload::{Checksums, Segmenter, finish_checksum};
use viaduct_switch::{Claims, Gso, GsoKind, PartialChecksum};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A super-frame to be built.
#[derive(Clone, Debug)]
struct Shape {
    tags: usize,
    v6: bool,
    /// IPv4 option words, or IPv6 destination options of 8 bytes each.
    network_options: usize,
    tcp_options: usize,
    payload: Vec<u8>,
    size: u16,
    flags: u8,
    sequence: u32,
    id: u16,
}

fn shape() -> impl Strategy<Value = Shape> {
    let headers = (0..=2usize, any::<bool>(), 0..=4usize, 0..=10usize);
    let payload = (1..=9000usize, any::<u8>()).prop_map(|(length, seed)| payload(length, seed));
    (headers, payload, 64..2000u16, any::<(u8, u32, u16)>()).prop_map(|(headers, payload, size, numbers)| {
        let (tags, v6, network_options, tcp_options) = headers;
        let (flags, sequence, id) = numbers;
        Shape { tags, v6, network_options, tcp_options, payload, size, flags, sequence, id }
    })
}

fn payload(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 7) as u8 ^ (at as u8).wrapping_mul(31) ^ seed).collect()
}

/// The one's complement sum, computed in the plainest way.
fn plain_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    words.fold(0, |sum, word| (sum + word) % 0xffff) as u16
}

impl Shape {
    fn network(&self) -> usize {
        14 + 4 * self.tags
    }

    fn transport(&self) -> usize {
        self.network() + if self.v6 { 40 + 8 * self.network_options } else { 20 + 4 * self.network_options }
    }

    fn addresses(&self) -> Vec<u8> {
        (0..if self.v6 { 32 } else { 8 }).map(|at| 0x20 + at).collect()
    }

    /// Ethernet, tags and IP, for `length` bytes of transport.
    fn front(&self, protocol: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in 0..self.tags {
            frame.extend(if tag + 1 < self.tags { [0x88, 0xa8, 0, 5] } else { [0x81, 0, 0, 6] });
        }
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(((8 * self.network_options + length) as u16).to_be_bytes());
            frame.extend([if self.network_options > 0 { 60 } else { protocol }, 64]);
            frame.extend(self.addresses());
            for option in 1..=self.network_options {
                let next = if option < self.network_options { 60 } else { protocol };
                frame.extend([next, 0, 1, 4, 0, 0, 0, 0]);
            }
        } else {
            frame.extend([0x08, 0, 0x45 + self.network_options as u8, 0]);
            frame.extend(((20 + 4 * self.network_options + length) as u16).to_be_bytes());
            frame.extend(self.id.to_be_bytes());
            frame.extend([0x40, 0, 64, protocol, 0, 0]);
            frame.extend(self.addresses());
            frame.extend(vec![1; 4 * self.network_options]);
        }
        frame
    }

    /// The sum of the pseudo-header (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1).
    fn pseudo(&self, protocol: u8, length: usize) -> u16 {
        let mut bytes = self.addresses();
        bytes.extend([0, protocol]);
        bytes.extend((length as u16).to_be_bytes());
        plain_sum(&bytes)
    }

    fn tcp(&self) -> Vec<u8> {
        let length = 20 + 4 * self.tcp_options + self.payload.len();
        let mut frame = self.front(TCP, length);
        frame.extend([0, 80, 0, 81]);
        frame.extend(self.sequence.to_be_bytes());
        frame.extend([9, 9, 9, 9, (5 + self.tcp_options as u8) << 4, self.flags, 1, 0]);
        frame.extend(self.pseudo(TCP, length).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(vec![1; 4 * self.tcp_options]);
        frame.extend(&self.payload);
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let length = 8 + self.payload.len();
        let mut frame = self.front(UDP, length);
        frame.extend([0, 80, 0, 81]);
        frame.extend((length as u16).to_be_bytes());
        frame.extend(self.pseudo(UDP, length).to_be_bytes());
        frame.extend(&self.payload);
        frame
    }

    fn claims(&self, kind: GsoKind) -> Claims {
        let offset = if matches!(kind, GsoKind::Tcp4 | GsoKind::Tcp6) { 16 } else { 6 };
        let checksum = Some(PartialChecksum { start: self.transport() as u16, offset });
        Claims {
            checksum,
            gso: Some(Gso { kind, size: self.size, ecn: self.flags & 0x80 != 0 && offset == 16 }),
        }
    }

    fn tcp_kind(&self) -> GsoKind {
        if self.v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 }
    }
}

/// All segments; partial checksums are finished, so that they can be verified.
fn cut(frame: &[u8], claims: &Claims, checksums: Checksums) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(frame, claims, checksums, 0xfeed).unwrap();
    let mut buffer = vec![0; segmenter.segment_length_max()];
    let mut segments = Vec::new();
    while let Some(segment) = segmenter.next_into(&mut buffer).unwrap() {
        let mut bytes = buffer[..segment.length].to_vec();
        assert_eq!(segment.claims.gso, None);
        if let Some(checksum) = segment.claims.checksum {
            assert_eq!(checksums, Checksums::Partial);
            finish_checksum(&mut bytes, checksum).unwrap();
        }
        segments.push(bytes);
    }
    segments
}

/// Addresses, and for IPv4 the header's checksum.
fn check_network(packet: &SlicedPacket<'_>) {
    if let Some(NetSlice::Ipv4(ip)) = &packet.net {
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
    }
}

fn tcp_checksum(packet: &SlicedPacket<'_>) -> u16 {
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP: {packet:?}") };
    match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
        }
        NetSlice::Ipv6(ip) => {
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
        }
        NetSlice::Arp(_) => panic!("ARP"),
    }
}

fn udp_checksum(net: &NetSlice<'_>, header: &UdpHeader, payload: &[u8]) -> u16 {
    match net {
        NetSlice::Ipv4(ip) => {
            header.calc_checksum_ipv4_raw(ip.header().source(), ip.header().destination(), payload).unwrap()
        }
        NetSlice::Ipv6(ip) => {
            header.calc_checksum_ipv6_raw(ip.header().source(), ip.header().destination(), payload).unwrap()
        }
        NetSlice::Arp(_) => panic!("ARP"),
    }
}

/// The bytes that no segment may change: Ethernet and tags.
fn check_front(shape: &Shape, original: &[u8], segment: &[u8]) {
    assert_eq!(segment[..shape.network()], original[..shape.network()]);
}

fn check_tcp(shape: &Shape, checksums: Checksums) {
    let original = shape.tcp();
    let segments = cut(&original, &shape.claims(shape.tcp_kind()), checksums);
    let (mut received, last) = (Vec::<u8>::new(), segments.len() - 1);
    for (index, bytes) in segments.iter().enumerate() {
        check_front(shape, &original, bytes);
        let packet = SlicedPacket::from_ethernet(bytes).unwrap();
        check_network(&packet);
        assert_eq!(tcp_checksum(&packet), checksum_of_tcp(&packet));
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
        assert_eq!(tcp.sequence_number(), shape.sequence.wrapping_add(received.len() as u32));
        assert_eq!(tcp.options(), vec![1; 4 * shape.tcp_options]);
        let flag = |bit: u8| shape.flags & bit != 0;
        assert_eq!((tcp.fin(), tcp.psh()), (flag(1) && index == last, flag(8) && index == last));
        assert_eq!(tcp.cwr(), flag(0x80) && index == 0);
        assert_eq!((tcp.syn(), tcp.rst(), tcp.ack(), tcp.urg()), (flag(2), flag(4), flag(16), flag(32)));
        if let Some(NetSlice::Ipv4(ip)) = &packet.net {
            assert_eq!(ip.header().identification(), shape.id.wrapping_add(index as u16));
        }
        let is_full = tcp.payload().len() == usize::from(shape.size);
        assert!(is_full || index == last);
        received.extend(tcp.payload());
    }
    assert_eq!(received, shape.payload);
}

fn checksum_of_tcp(packet: &SlicedPacket<'_>) -> u16 {
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
    tcp.checksum()
}

fn check_udp(shape: &Shape, checksums: Checksums) {
    let original = shape.udp();
    let mut received = Vec::<u8>::new();
    for bytes in cut(&original, &shape.claims(GsoKind::Udp), checksums) {
        check_front(shape, &original, &bytes);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        check_network(&packet);
        let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no UDP") };
        assert_eq!(usize::from(udp.length()), 8 + udp.payload().len());
        let expected = udp_checksum(packet.net.as_ref().unwrap(), &udp.to_header(), udp.payload());
        assert_eq!(udp.checksum(), expected);
        received.extend(udp.payload());
    }
    assert_eq!(received, shape.payload);
}

fn check_fragments(shape: &Shape) {
    let original = shape.udp();
    let segments = cut(&original, &shape.claims(GsoKind::UdpFragment), Checksums::Partial);
    let mut pool = IpDefragPool::<(), ()>::new();
    let mut datagram = None;
    for bytes in &segments {
        check_front(shape, &original, bytes);
        let packet = SlicedPacket::from_ethernet(bytes).unwrap();
        check_network(&packet);
        assert!(bytes.len() <= shape.transport() + 8 + usize::from(shape.size));
        let whole = pool.process_sliced_packet(&packet, (), ()).unwrap().map(|whole| whole.payload);
        assert!(datagram.is_none());
        datagram = if segments.len() == 1 { Some(bytes[shape.transport()..].to_vec()) } else { whole };
    }
    let datagram = datagram.expect("the fragments make a whole datagram");
    let (header, received) = UdpHeader::from_slice(&datagram).unwrap();
    let packet = SlicedPacket::from_ethernet(&segments[0]).unwrap();
    assert_eq!(header.checksum, udp_checksum(packet.net.as_ref().unwrap(), &header, received));
    assert_eq!(received, shape.payload);
}

/// A stream that fills the longest frame, in segments as an Ethernet of 1500 bytes takes them.
fn longest(v6: bool) -> Shape {
    let payload = payload(65_000, 3);
    Shape {
        tags: 0,
        v6,
        network_options: 0,
        tcp_options: 3,
        payload,
        size: 1448,
        flags: 0x99,
        sequence: u32::MAX - 9999,
        id: 65_530,
    }
}

#[test]
fn the_longest_streams_and_datagrams_are_cut() {
    for v6 in [false, true] {
        check_tcp(&longest(v6), Checksums::Finished);
        check_tcp(&longest(v6), Checksums::Partial);
        check_udp(&longest(v6), Checksums::Finished);
        check_fragments(&longest(v6));
    }
}

proptest! {
    #[test]
    fn tcp_segments_say_what_the_super_frame_said(shape in shape()) {
        check_tcp(&shape, Checksums::Finished);
        check_tcp(&shape, Checksums::Partial);
    }

    #[test]
    fn udp_datagrams_say_what_the_super_frame_said(shape in shape()) {
        check_udp(&shape, Checksums::Finished);
        check_udp(&shape, Checksums::Partial);
    }

    #[test]
    fn fragments_make_the_datagram_again(shape in shape()) {
        check_fragments(&shape);
    }

    #[test]
    fn a_partial_checksum_is_finished_as_the_sender_would_have(shape in shape()) {
        let mut tcp = shape.tcp();
        finish_checksum(&mut tcp, PartialChecksum { start: shape.transport() as u16, offset: 16 }).unwrap();
        let packet = SlicedPacket::from_ethernet(&tcp).unwrap();
        prop_assert_eq!(tcp_checksum(&packet), checksum_of_tcp(&packet));
        let mut udp = shape.udp();
        finish_checksum(&mut udp, PartialChecksum { start: shape.transport() as u16, offset: 6 }).unwrap();
        let packet = SlicedPacket::from_ethernet(&udp).unwrap();
        let Some(TransportSlice::Udp(slice)) = &packet.transport else { panic!("no UDP") };
        let net = packet.net.as_ref().unwrap();
        prop_assert_eq!(udp_checksum(net, &slice.to_header(), slice.payload()), slice.checksum());
    }

    #[test]
    fn claims_that_contradict_the_headers_are_refused(shape in shape()) {
        let wrong_version = if shape.v6 { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
        let wrong = [
            (shape.tcp(), wrong_version), (shape.tcp(), GsoKind::Udp), (shape.tcp(), GsoKind::UdpFragment),
            (shape.udp(), shape.tcp_kind()),
        ];
        for (frame, kind) in wrong {
            prop_assert!(Segmenter::new(&frame, &shape.claims(kind), Checksums::Finished, 0).is_err());
        }
        let mut shifted = shape.claims(shape.tcp_kind());
        shifted.checksum = Some(PartialChecksum { start: shape.transport() as u16 + 4, offset: 16 });
        prop_assert!(Segmenter::new(&shape.tcp(), &shifted, Checksums::Finished, 0).is_err());
    }

    /// Bytes changed anywhere in the headers, frames cut short: no panic, and no segment longer than said.
    #[test]
    fn garbage_never_panics(
        shape in shape(), is_tcp: bool, kind in 0..4usize, changes: Vec<(u8, u8)>, short in 0..120usize,
        start in 0..200u16, keep_start: bool,
    ) {
        let mut frame = if is_tcp { shape.tcp() } else { shape.udp() };
        for (at, value) in changes {
            let at = usize::from(at) % frame.len();
            frame[at] = value;
        }
        frame.truncate(frame.len() - short.min(frame.len()));
        let kind = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp, GsoKind::UdpFragment][kind];
        let mut claims = shape.claims(kind);
        if !keep_start {
            claims.checksum = claims.checksum.map(|checksum| PartialChecksum { start, ..checksum });
        }
        if let Ok(mut segmenter) = Segmenter::new(&frame, &claims, Checksums::Finished, 0) {
            let most = segmenter.segment_length_max();
            let mut buffer = vec![0; most];
            while let Ok(Some(segment)) = segmenter.next_into(&mut buffer) {
                prop_assert!(segment.length <= most);
            }
        }
        let _ = finish_checksum(&mut frame, claims.checksum.unwrap());
    }

    #[test]
    fn random_bytes_never_panic(
        mut frame in proptest::collection::vec(any::<u8>(), 0..300), is_v6: bool, start: u8, offset in 0..20u16,
    ) {
        if frame.len() > 14 {
            frame[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[8, 0] });
        }
        let checksum = PartialChecksum { start: start.into(), offset };
        for kind in [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp, GsoKind::UdpFragment] {
            let claims = Claims { checksum: Some(checksum), gso: Some(Gso { kind, size: 8, ecn: false }) };
            if let Ok(mut segmenter) = Segmenter::new(&frame, &claims, Checksums::Partial, 0) {
                let mut buffer = [0; 400];
                while let Ok(Some(_)) = segmenter.next_into(&mut buffer) {}
            }
        }
        let _ = finish_checksum(&mut frame, checksum);
    }
}
