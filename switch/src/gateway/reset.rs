//! Answers TCP segments that no connection and no service wants (RFC 9293, 3.10.7.1).

use super::compose::{self, HOP_LIMIT, Header};
use crate::offload::checksum::fold;
use crate::packet::{Packet, Tcp, TcpFlags, number};

/// A packet that tells the sender of a segment that nobody is there; `None` if that was told so itself.
pub(super) fn reset(packet: &Packet, tcp: &Tcp) -> Option<Vec<u8>> {
    let flags = tcp.flags;
    if flags.has(TcpFlags::RST) {
        return None;
    }
    let length =
        u32::from(tcp.payload) + u32::from(flags.has(TcpFlags::SYN)) + u32::from(flags.has(TcpFlags::FIN));
    let (sequence, acknowledgement, answer) = match flags.has(TcpFlags::ACK) {
        true => (tcp.acknowledgement, 0, TcpFlags::RST),
        false => (0, tcp.sequence.wrapping_add(length), TcpFlags::RST | TcpFlags::ACK),
    };
    let mut segment = Vec::with_capacity(20);
    segment.extend(tcp.ports.destination.to_be_bytes());
    segment.extend(tcp.ports.source.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([5 << 4, answer, 0, 0, 0, 0, 0, 0]);
    let ends = (packet.destination, packet.source);
    let checksum = !fold(compose::transport_sum(ends, number::TCP, &segment));
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    let header = Header {
        source: ends.0,
        destination: ends.1,
        protocol: number::TCP,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        id: None,
    };
    Some(compose::packet(&header, &segment))
}
