//! What the switch reads in a head is what an independent parser reads in the whole frame, and no bytes whatever make it
//! read beyond them.
#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test may stop at its own mistakes, and chooses its own numbers"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use viaduct_switch::packet::{Contents, Packet, Transport, parse};

/// A frame as it may come from a guest: of random headers, as another library writes them.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let addresses = any::<([u8; 16], [u8; 16])>();
    let transport = (any::<(u16, u16, u32, u32, u16)>(), 0..4u8, 0..64u8);
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    (any::<bool>(), addresses, transport, payload, 0..20usize).prop_map(
        |(is_v6, ends, transport, payload, padding)| {
            let mut frame = write(is_v6, ends, transport, &payload);
            frame.resize(frame.len() + padding, 0xee);
            frame
        },
    )
}

type Numbers = ((u16, u16, u32, u32, u16), u8, u8);

fn write(is_v6: bool, ends: ([u8; 16], [u8; 16]), transport: Numbers, payload: &[u8]) -> Vec<u8> {
    let ((source, destination, sequence, acknowledgement, window), kind, flags) = transport;
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if is_v6 {
        ethernet.ipv6(ends.0, ends.1, 9)
    } else {
        let v4 = |end: [u8; 16]| [end[0], end[1], end[2], end[3]];
        ethernet.ipv4(v4(ends.0), v4(ends.1), 9)
    };
    let mut frame = Vec::new();
    match kind {
        0 => ip.udp(source, destination).write(&mut frame, payload),
        1 => ip.icmpv4_echo_request(source, destination).write(&mut frame, payload),
        _ => {
            let mut tcp = ip.tcp(source, destination, sequence, window);
            for (bit, set) in [TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH].into_iter().enumerate() {
                if flags & 1 << bit != 0 {
                    tcp = set(tcp);
                }
            }
            if flags & 16 != 0 {
                tcp = tcp.ack(acknowledgement);
            }
            tcp.write(&mut frame, payload)
        }
    }
    .unwrap();
    frame
}

type TcpStep = etherparse::PacketBuilderStep<etherparse::TcpHeader>;
const TCP_FIN: fn(TcpStep) -> TcpStep = |step| step.fin();
const TCP_SYN: fn(TcpStep) -> TcpStep = |step| step.syn();
const TCP_RST: fn(TcpStep) -> TcpStep = |step| step.rst();
const TCP_PSH: fn(TcpStep) -> TcpStep = |step| step.psh();

/// What the switch reads of a frame's first 128 bytes.
fn read(frame: &[u8]) -> Option<Packet> {
    match parse(&frame[..frame.len().min(128)], frame.len() as u32) {
        Ok(Contents::Ip(packet)) => Some(packet),
        _ => None,
    }
}

fn same_addresses(packet: &Packet, net: &NetSlice<'_>) -> bool {
    match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            packet.source == Ipv4Addr::from(header.source()).into()
                && packet.destination == Ipv4Addr::from(header.destination()).into()
                && packet.hop_limit == header.ttl()
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            packet.source == Ipv6Addr::from(header.source()).into()
                && packet.destination == Ipv6Addr::from(header.destination()).into()
                && packet.hop_limit == header.hop_limit()
        }
        _ => false,
    }
}

fn same_transport(packet: &Packet, other: Option<&TransportSlice<'_>>) -> bool {
    match (packet.transport, other) {
        (Transport::Tcp(tcp), Some(TransportSlice::Tcp(other))) => {
            let flags = [other.fin(), other.syn(), other.rst(), other.psh(), other.ack(), other.urg()];
            let flags = flags.iter().enumerate().fold(0, |sum, (bit, is_set)| sum | u8::from(*is_set) << bit);
            tcp.flags.0 & 0x3f == flags
                && (tcp.ports.source, tcp.ports.destination)
                    == (other.source_port(), other.destination_port())
                && (tcp.sequence, tcp.window) == (other.sequence_number(), other.window_size())
                && tcp.acknowledgement == other.acknowledgment_number()
                && usize::from(tcp.payload) == other.payload().len()
        }
        (Transport::Ports(ports), Some(TransportSlice::Udp(other))) => {
            (ports.source, ports.destination) == (other.source_port(), other.destination_port())
        }
        (Transport::Icmp(_), Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_))) => true,
        // The other version's ICMP is a protocol as any.
        (Transport::Other, Some(TransportSlice::Icmpv4(_))) => !packet.source.is_v4(),
        (Transport::Other, Some(TransportSlice::Icmpv6(_))) => packet.source.is_v4(),
        (Transport::Other, Some(TransportSlice::Igmp(_)))
        | (Transport::Other | Transport::Fragment, None) => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn an_independent_parser_reads_the_same(frame in any_frame()) {
        let packet = read(&frame).unwrap();
        let other = SlicedPacket::from_ethernet(&frame).unwrap();
        prop_assert!(same_addresses(&packet, other.net.as_ref().unwrap()), "{packet:?} {other:?}");
        prop_assert!(same_transport(&packet, other.transport.as_ref()), "{packet:?} {other:?}");
    }

    /// A few bytes changed: what is read then, the other parser reads too.
    #[test]
    fn what_is_read_of_a_broken_frame_an_independent_parser_reads_too(
        frame in any_frame(),
        changes in proptest::collection::vec((14..60usize, any::<u8>()), 1..4),
        length in 14..400usize,
    ) {
        let mut frame = frame;
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(length);
        if let Some(packet) = read(&frame)
            && let Ok(other) = SlicedPacket::from_ethernet(&frame)
        {
            prop_assert!(same_addresses(&packet, other.net.as_ref().unwrap()), "{packet:?} {other:?}");
            // The other parser reads less of fragments and of what it does not know.
            if packet.fragment.is_none() && other.transport.is_some() {
                prop_assert!(same_transport(&packet, other.transport.as_ref()), "{packet:?} {other:?}");
            }
        }
    }

    /// No bytes make the parser read beyond the head, or believe in a packet beyond the frame.
    #[test]
    fn any_bytes_are_read_or_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof![Just([8, 0]), Just([0x86, 0xdd]), Just([8, 6]), any::<[u8; 2]>()],
        version in 0..3u8,
        length in 0..400u32,
    ) {
        if let Some(field) = bytes.get_mut(12..14) {
            field.copy_from_slice(&kind);
        }
        if let Some(first) = bytes.get_mut(14) {
            *first = [*first, 0x45, 0x60][usize::from(version)];
        }
        let head = bytes.len().min(length as usize).min(128);
        if let Ok(Contents::Ip(packet)) = parse(&bytes[..head], length) {
            prop_assert!(packet.end_at <= length && u32::from(packet.transport_at) <= packet.end_at);
            prop_assert!(usize::from(packet.transport_at) <= 128);
        }
    }
}
