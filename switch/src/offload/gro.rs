//! Generic receive offload: makes one super-frame of the segments of a flow that came in one burst, the inverse of
//! [`Segmenter`](super::Segmenter).
//!
//! Segments become one only if cutting the super-frame again gives the very same bytes. So all of their headers are
//! equal, timestamps and other options, TOS with ECN and TTL included, but for what cutting writes anew: lengths,
//! checksums, which must be right; IPv4 identifications, which must count up; sequence numbers, which must follow one
//! another; and FIN and PSH, which only the last one may have, and CWR, which only the first one may. They are all as
//! long as the first one, but for the last, which may be shorter. That is what Linux asks of them too
//! (Documentation/networking/segmentation-offloads.rst: "the output of GRO ... should be able to be resegmented").
//!
//! A flow is never reordered: a frame of a flow that does not fit closes what was collected of it.

use arrayvec::ArrayVec;

use super::Capabilities;
use super::checksum::{TCP_CHECKSUM, UDP_CHECKSUM, finished, fold, sum, tcp_end};
use super::layout::{Layout, Version, get_u16, protocol, put_u16, version};
use crate::frame::{Claims, Gso, GsoKind, HEAD_MAX, PartialChecksum};

/// The most frames of one burst.
pub const BURST_MAX: usize = 64;

/// Flows that are collected at the same time; a frame of another one takes the place of the one that came first.
const FLOWS_MAX: usize = 8;

/// The longest IP packet, which no super-frame exceeds.
const PACKET_MAX: usize = 65_535;

const FLAG_FIN: u8 = 0x01;
const FLAG_PSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
const FLAG_ECE: u8 = 0x40;
const FLAG_CWR: u8 = 0x80;

/// Bytes of a UDP header, and of the headers of IPv4 without options and of IPv6.
const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Frames that go on together: one that stays as it is, or several that became a super-frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuperFrame {
    /// The places of its frames in the burst, in their order.
    pub members: ArrayVec<u8, BURST_MAX>,
    /// What is left to be done to it: nothing if it is one frame.
    pub claims: Claims,
    /// Bytes of headers: where the payload of each of its frames begins.
    pub headers: usize,
    /// The whole length in bytes.
    pub length: usize,
}

/// Makes super-frames of a burst's frames, each from its Ethernet header on to its end; those beyond [`BURST_MAX`] are
/// left out. `into` is emptied first, and holds each frame once in the end, in the order in which super-frames began.
/// Nothing is merged that a receiver with these capabilities would not take.
pub fn coalesce(frames: &[&[u8]], capabilities: Capabilities, into: &mut Vec<SuperFrame>) {
    into.clear();
    let mut flows: ArrayVec<Flow, FLOWS_MAX> = ArrayVec::new();
    for (frame, at) in frames.iter().take(BURST_MAX).zip(0..) {
        let segment = Parsed::of(frame, capabilities);
        let known = segment.as_ref().and_then(|segment| flows.iter().position(|flow| flow.takes(segment)));
        if let (Some(segment), Some(known)) = (&segment, known) {
            if flows[known].append(segment, at, into) {
                flows.remove(known);
            }
            continue;
        }
        flows.retain(|flow| !flow.is_touched_by(frame));
        let place = into.len();
        into.push(SuperFrame::single(at, frame.len(), segment.as_ref()));
        if let Some(segment) = segment.filter(|segment| !segment.ends) {
            if flows.is_full() {
                flows.remove(0);
            }
            flows.push(Flow::new(segment, place));
        }
    }
}

/// A frame that may be part of a super-frame.
struct Parsed {
    version: Version,
    network: usize,
    transport: usize,
    kind: GsoKind,
    /// The headers without what differs from segment to segment; behind them zeroes.
    common: [u8; HEAD_MAX],
    headers: usize,
    payload: usize,
    sequence: u32,
    /// IPv4's identification; 0 for IPv6.
    id: u16,
    /// It must be the last one.
    ends: bool,
    /// It must be the first one.
    begins: bool,
}

impl Parsed {
    /// `None` if the frame cannot be part of any super-frame that the receiver takes.
    fn of(frame: &[u8], capabilities: Capabilities) -> Option<Self> {
        let layout = Layout::parse(frame)?;
        let (kind, headers, field) = match (layout.protocol, layout.version) {
            (protocol::TCP, Version::V4) => (GsoKind::Tcp4, tcp_end(frame, layout.transport)?, TCP_CHECKSUM),
            (protocol::TCP, Version::V6) => (GsoKind::Tcp6, tcp_end(frame, layout.transport)?, TCP_CHECKSUM),
            (protocol::UDP, _) => (GsoKind::Udp, layout.transport + UDP_HEADER, UDP_CHECKSUM),
            _ => return None,
        };
        let payload = frame.len().checked_sub(headers).filter(|payload| *payload > 0)?;
        let wanted = capabilities.checksum && capabilities.takes(kind, frame);
        let whole = wanted && headers <= HEAD_MAX && has_exact_lengths(frame, &layout);
        if !whole || !has_right_checksums(frame, &layout, field) {
            return None;
        }
        let mut common = [0; HEAD_MAX];
        common[..headers].copy_from_slice(&frame[..headers]);
        let mut parsed = Self {
            version: layout.version,
            network: layout.network,
            transport: layout.transport,
            kind,
            common,
            headers,
            payload,
            sequence: 0,
            id: 0,
            ends: false,
            begins: false,
        };
        parsed.take_out_ip();
        parsed.take_out_transport(capabilities)?;
        Some(parsed)
    }

    /// Puts what IP writes anew for each segment out of the common headers.
    fn take_out_ip(&mut self) {
        let ip = &mut self.common[self.network..];
        match self.version {
            Version::V4 => {
                self.id = get_u16(ip, 4);
                ip[2..6].fill(0);
                ip[10..12].fill(0);
            }
            Version::V6 => ip[4..6].fill(0),
        }
    }

    fn take_out_transport(&mut self, capabilities: Capabilities) -> Option<()> {
        let header = &mut self.common[self.transport..];
        if self.kind == GsoKind::Udp {
            header[4..8].fill(0);
            return Some(());
        }
        let flags = header[13];
        // Segments of a stream that runs: no SYN, RST or URG.
        if flags & !(FLAG_FIN | FLAG_PSH | FLAG_ECE | FLAG_CWR) != FLAG_ACK {
            return None;
        }
        self.ends = flags & (FLAG_FIN | FLAG_PSH) != 0;
        self.begins = flags & FLAG_CWR != 0;
        if self.begins && !capabilities.ecn {
            return None;
        }
        self.sequence = u32::from_be_bytes(*header[4..].first_chunk()?);
        header[13] &= !(FLAG_FIN | FLAG_PSH | FLAG_CWR);
        header[4..8].fill(0);
        header[16..18].fill(0);
        Some(())
    }
}

/// Whether IP and UDP end where the frame does: padding would be lost, and so would be what is cut.
fn has_exact_lengths(frame: &[u8], layout: &Layout) -> bool {
    let packet = frame.len() - layout.network;
    let exact = match layout.version {
        Version::V4 => {
            layout.transport == layout.network + IPV4_HEADER
                && usize::from(get_u16(frame, layout.network + 2)) == packet
        }
        Version::V6 => {
            layout.transport == layout.network + IPV6_HEADER
                && usize::from(get_u16(frame, layout.network + 4)) + IPV6_HEADER == packet
        }
    };
    let is_udp = layout.protocol == protocol::UDP;
    let datagram = || usize::from(get_u16(frame, layout.transport + 4)) == frame.len() - layout.transport;
    exact && (!is_udp || datagram())
}

/// Whether the checksums are those that cutting would write.
fn has_right_checksums(frame: &[u8], layout: &Layout, field: u16) -> bool {
    let is_right = |total: u64, at: usize, offset: u16| {
        let stored = get_u16(frame, at);
        // Without the field itself: its complement is its negative.
        finished(total + u64::from(!stored), offset) == stored
    };
    let header = &frame[layout.network..layout.transport];
    let ip = layout.version == Version::V6 || is_right(sum(header), layout.network + 10, 10);
    let total = sum(&frame[layout.transport..])
        + pseudo(frame, layout.version, layout.network, layout.protocol, frame.len() - layout.transport);
    ip && is_right(total, layout.transport + usize::from(field), field)
}

/// The sum of the pseudo-header of a transport packet of `length` bytes (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1).
fn pseudo(frame: &[u8], version: Version, network: usize, protocol: u8, length: usize) -> u64 {
    sum(addresses(frame, version, network).unwrap_or_default()) + u64::from(protocol) + length as u64
}

/// Both addresses of the IP packet at `network`.
fn addresses(frame: &[u8], version: Version, network: usize) -> Option<&[u8]> {
    match version {
        Version::V4 => frame.get(network + 12..network + 20),
        Version::V6 => frame.get(network + 8..network + 40),
    }
}

/// A super-frame that may grow still.
struct Flow {
    first: Parsed,
    /// Its place among the super-frames.
    place: usize,
    /// Payload collected so far.
    payload: usize,
    /// Frames collected so far.
    count: u16,
}

impl Flow {
    fn new(first: Parsed, place: usize) -> Self {
        let payload = first.payload;
        Self { first, place, payload, count: 1 }
    }

    /// Whether the segment is the next one.
    fn takes(&self, next: &Parsed) -> bool {
        let first = &self.first;
        let same = (first.headers, first.network, first.transport, first.kind)
            == (next.headers, next.network, next.transport, next.kind)
            && first.common == next.common;
        let follows = u32::try_from(self.payload).is_ok_and(|payload| match first.kind {
            GsoKind::Udp => true,
            _ => next.sequence == first.sequence.wrapping_add(payload),
        });
        let counts = first.version == Version::V6 || next.id == first.id.wrapping_add(self.count);
        let fits = next.payload <= first.payload
            && first.headers - first.network + self.payload + next.payload <= PACKET_MAX;
        same && follows && counts && fits && !next.begins
    }

    /// Adds the segment, which it takes; says whether it was the last one.
    fn append(&mut self, next: &Parsed, at: u8, into: &mut [SuperFrame]) -> bool {
        self.payload += next.payload;
        self.count += 1;
        if let Some(whole) = into.get_mut(self.place) {
            whole.members.push(at);
            whole.length += next.payload;
            whole.claims = self.claims();
        }
        next.ends || next.payload < self.first.payload
    }

    fn claims(&self) -> Claims {
        let first = &self.first;
        let offset = if first.kind == GsoKind::Udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
        // Both are at most the length of a packet.
        let (start, size) = (u16::try_from(first.transport), u16::try_from(first.payload));
        Claims {
            checksum: Some(PartialChecksum { start: start.unwrap_or(0), offset }),
            gso: Some(Gso { kind: first.kind, size: size.unwrap_or(0), ecn: first.begins }),
        }
    }

    /// Whether the frame may be of the same flow, and so must not be overtaken by what comes later.
    fn is_touched_by(&self, frame: &[u8]) -> bool {
        let first = &self.first;
        let Some((version, network)) = version(frame) else { return false };
        if version != first.version || network != first.network {
            return false;
        }
        let others = addresses(&first.common, version, network);
        if addresses(frame, version, network).is_some_and(|own| Some(own) != others) {
            return false;
        }
        // Fragments have no ports, and so may be of any flow between these two.
        let Some(layout) = Layout::parse(frame) else { return true };
        let (own, others) = (frame.get(layout.transport..layout.transport + 4), first.transport);
        let is_udp = first.kind == GsoKind::Udp;
        let same_protocol = layout.protocol == if is_udp { protocol::UDP } else { protocol::TCP };
        same_protocol && own.is_none_or(|own| own == &first.common[others..others + 4])
    }
}

impl SuperFrame {
    /// One frame alone.
    fn single(at: u8, length: usize, segment: Option<&Parsed>) -> Self {
        let headers = segment.map_or(0, |segment| segment.headers);
        let mut members = ArrayVec::new();
        members.push(at);
        Self { members, claims: Claims::default(), headers, length }
    }

    /// Makes `headers`, the first bytes of the first of its frames and at least [`SuperFrame::headers`] of them, those of
    /// the whole; `last` is the last of its frames. What it holds beyond is left alone. A frame alone keeps its own.
    pub fn patch_headers(&self, headers: &mut [u8], last: &[u8]) {
        let (Some(checksum), Some(gso)) = (self.claims.checksum, self.claims.gso) else { return };
        let Some((version, network)) = version(headers) else { return };
        let transport = usize::from(checksum.start);
        if headers.len() < self.headers || last.len() < self.headers {
            return;
        }
        let length = self.length - transport;
        let write = |headers: &mut [u8], at: usize, length: usize| {
            put_u16(headers, at, u16::try_from(length).unwrap_or(u16::MAX));
        };
        match version {
            Version::V4 => {
                write(headers, network + 2, self.length - network);
                put_u16(headers, network + 10, 0);
                let total = sum(&headers[network..transport]);
                put_u16(headers, network + 10, !fold(total));
            }
            Version::V6 => write(headers, network + 4, self.length - network - IPV6_HEADER),
        }
        let protocol = if gso.kind == GsoKind::Udp {
            write(headers, transport + 4, length);
            protocol::UDP
        } else {
            headers[transport + 13] |= last[transport + 13] & (FLAG_FIN | FLAG_PSH);
            protocol::TCP
        };
        let pseudo = fold(pseudo(headers, version, network, protocol, length));
        put_u16(headers, transport + usize::from(checksum.offset), pseudo);
    }
}

#[cfg(test)]
mod tests;
