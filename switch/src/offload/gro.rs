//! Generic receive offload: makes one super-frame of the segments of a flow that came in one burst, the inverse of
//! [`Segmenter`](super::Segmenter).
//!
//! Segments become one only if cutting the super-frame again gives the very same bytes. So all of their headers are
//! equal, timestamps and other options, tags, TOS with ECN and TTL included, but for what cutting writes anew: lengths,
//! checksums, which must be right; IPv4 identifications, which must count up; sequence numbers, which must follow one
//! another; and FIN and PSH, which only the last one may have, and CWR, which only the first one may. They are all as
//! long as the first one, but for the last, which may be shorter. That is what Linux asks of them too
//! (Documentation/networking/segmentation-offloads.rst: "the output of GRO ... should be able to be resegmented").
//!
//! One thing may come out of it changed: identifications that are all the same, of datagrams that must not be fragmented.
//! FreeBSD and macOS send them so, as do adapters that cut without counting. Virtio-net's header has no word for that (in
//! Linux it is SKB_GSO_TCP_FIXEDID, which a guest is not told of either), so cutting again counts them up. Of such
//! datagrams, which RFC 6864 calls atomic, the field has no meaning and everybody must ignore it (4.1): nothing that was
//! sent is lost. Where it would have a meaning, without DF, it has to count up.
//!
//! No station is reordered: its next frame that does not fit closes what was collected of it, whatever flow the frame is
//! of. Only heads are read; the bytes behind them are summed by the caller, and only where a frame would fit else.

use arrayvec::ArrayVec;

use super::Capabilities;
use super::checksum::{TCP_CHECKSUM, UDP_CHECKSUM, finished, fold, sum, tcp_end};
use super::layout::{Layout, Version, get_u16, protocol, put_u16, version};
use crate::frame::{Claims, Gso, GsoKind, HEAD_MAX, Metadata, PartialChecksum};

/// The most frames of one burst.
pub const BURST_MAX: usize = 64;

/// Stations of which frames are collected at the same time; one more takes the place of the one that came first.
const FLOWS_MAX: usize = 8;

/// The longest IP packet, which no super-frame exceeds.
const PACKET_MAX: usize = 65_535;

/// DF, in the seventh byte of an IPv4 header (RFC 791, 3.1).
const DONT_FRAGMENT: u8 = 0x40;

const FLAG_FIN: u8 = 0x01;
const FLAG_PSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
const FLAG_ECE: u8 = 0x40;
const FLAG_CWR: u8 = 0x80;

/// Bytes of a UDP header, and of the headers of IPv4 without options and of IPv6.
const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Where a frame says which station sent it.
const SENDER: std::ops::Range<usize> = 6..12;

/// A frame of a burst, on its way to one receiver.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its place in the burst.
    pub place: u8,
    /// Its first bytes, from the Ethernet header on: all of it, or an even number of bytes.
    pub head: &'a [u8],
    /// What is known of it.
    pub meta: &'a Metadata,
}

/// What is known of the bytes behind a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// Their [`sum`].
    Sum(u64),
    /// That the transport checksum of all is right: whoever handed the frame over has looked.
    Vouched,
}

/// Frames that go on together: one that stays as it is, or several that became a super-frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuperFrame {
    /// The places of its frames in the burst, in their order.
    pub members: ArrayVec<u8, BURST_MAX>,
    /// What is left to be done to it: what was left of one frame, if it is one.
    pub claims: Claims,
    /// Bytes of headers: where the payload of each of its frames begins.
    pub headers: usize,
    /// The whole length in bytes.
    pub length: usize,
}

/// Makes super-frames of a burst's frames; those beyond [`BURST_MAX`] are left out. `into` is emptied first, and holds
/// each frame once in the end, in the order in which super-frames began. Nothing is merged that a receiver with these
/// capabilities would not take. `behind` tells of the frame at a place in the burst.
pub fn coalesce<'a>(
    members: impl Iterator<Item = Member<'a>>,
    capabilities: Capabilities,
    behind: impl Fn(u8) -> Behind,
    into: &mut Vec<SuperFrame>,
) {
    into.clear();
    let mut flows: ArrayVec<Flow<'a>, FLOWS_MAX> = ArrayVec::new();
    for member in members.take(BURST_MAX) {
        let segment = Parsed::of(member, capabilities);
        let known = segment.as_ref().and_then(|segment| {
            let known = flows.iter().position(|flow| flow.is_followed_by(segment))?;
            (flows[known].is_right(&behind) && segment.is_right(&behind)).then_some(known)
        });
        if let (Some(segment), Some(known)) = (&segment, known) {
            if flows[known].append(segment, into) {
                flows.remove(known);
            }
            continue;
        }
        flows.retain(|flow| !flow.is_of_sender_of(&member));
        let place = into.len();
        into.push(SuperFrame::single(&member, segment.as_ref()));
        if let Some(segment) = segment.filter(|segment| !segment.ends) {
            if flows.is_full() {
                flows.remove(0);
            }
            flows.push(Flow::new(segment, place));
        }
    }
}

/// A frame that may be part of a super-frame, if its checksums are right.
struct Parsed<'a> {
    member: Member<'a>,
    layout: Layout,
    kind: GsoKind,
    /// The headers without what differs from segment to segment; behind them zeroes.
    common: [u8; HEAD_MAX],
    headers: usize,
    payload: usize,
    sequence: u32,
    /// IPv4's identification; 0 for IPv6.
    id: u16,
    /// Nobody may look at its identification (RFC 6864, 4): it is no fragment and cannot become one. IPv6 has none.
    is_atomic: bool,
    /// It must be the last one.
    ends: bool,
    /// It must be the first one.
    begins: bool,
}

impl<'a> Parsed<'a> {
    /// `None` if the frame cannot be part of any super-frame that the receiver takes.
    fn of(member: Member<'a>, capabilities: Capabilities) -> Option<Self> {
        let Member { head, meta, .. } = member;
        let layout = Layout::parse(head)?;
        let (kind, headers) = match (layout.protocol, layout.version) {
            (protocol::TCP, Version::V4) => (GsoKind::Tcp4, tcp_end(head, layout.transport)?),
            (protocol::TCP, Version::V6) => (GsoKind::Tcp6, tcp_end(head, layout.transport)?),
            (protocol::UDP, _) => (GsoKind::Udp, layout.transport + UDP_HEADER),
            _ => return None,
        };
        let length = usize::try_from(meta.length).ok()?;
        let payload = length.checked_sub(headers).filter(|payload| *payload > 0)?;
        let wanted = capabilities.checksum && capabilities.takes(kind, head);
        let is_plain = headers <= head.len().min(HEAD_MAX) && is_plain(&meta.claims, &layout, kind);
        if !wanted || !is_plain || !has_exact_lengths(head, length, &layout) {
            return None;
        }
        let mut common = [0; HEAD_MAX];
        common[..headers].copy_from_slice(&head[..headers]);
        let (sequence, id, is_atomic, ends, begins) = (0, 0, true, false, false);
        let mut parsed =
            Self { member, layout, kind, common, headers, payload, sequence, id, is_atomic, ends, begins };
        parsed.take_out_ip();
        parsed.take_out_transport(capabilities)?;
        Some(parsed)
    }

    /// Puts what IP writes anew for each segment out of the common headers.
    fn take_out_ip(&mut self) {
        let ip = &mut self.common[self.layout.network..];
        match self.layout.version {
            Version::V4 => {
                self.id = get_u16(ip, 4);
                self.is_atomic = ip[6] & DONT_FRAGMENT != 0;
                ip[2..6].fill(0);
                ip[10..12].fill(0);
            }
            Version::V6 => ip[4..6].fill(0),
        }
    }

    fn take_out_transport(&mut self, capabilities: Capabilities) -> Option<()> {
        let header = &mut self.common[self.layout.transport..];
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

    /// Whether the checksums are those that cutting would write.
    fn is_right(&self, behind: &impl Fn(u8) -> Behind) -> bool {
        let Self { member: Member { place, head, meta }, layout, .. } = self;
        let is_right = |total: u64, at: usize, offset: u16| {
            let stored = get_u16(head, at);
            // Without the field itself: its complement is its negative.
            finished(total + u64::from(!stored), offset) == stored
        };
        let header = &head[layout.network..layout.transport];
        if layout.version == Version::V4 && !is_right(sum(header), layout.network + 10, 10) {
            return false;
        }
        let field = checksum_field(self.kind);
        let at = layout.transport + usize::from(field);
        let transport_length = self.headers - layout.transport + self.payload;
        let pseudo = pseudo(head, layout.version, layout.network, layout.protocol, transport_length);
        match behind(*place) {
            _ if meta.claims.checksum.is_some() => get_u16(head, at) == fold(pseudo),
            // RFC 768: a datagram without a checksum has none that is right.
            Behind::Vouched => get_u16(head, at) != 0 || field == TCP_CHECKSUM,
            Behind::Sum(rest) => is_right(sum(&head[layout.transport..]) + rest + pseudo, at, field),
        }
    }
}

/// Where a segment of this kind has its checksum, in its transport header.
fn checksum_field(kind: GsoKind) -> u16 {
    if kind == GsoKind::Udp { UDP_CHECKSUM } else { TCP_CHECKSUM }
}

/// Whether nothing is left to be done, or the segment's own checksum alone.
fn is_plain(claims: &Claims, layout: &Layout, kind: GsoKind) -> bool {
    let own = |checksum: PartialChecksum| {
        usize::from(checksum.start) == layout.transport && checksum.offset == checksum_field(kind)
    };
    claims.gso.is_none() && claims.checksum.is_none_or(own)
}

/// Whether IP and UDP end where the frame does: padding would be lost, and so would be what is cut.
fn has_exact_lengths(head: &[u8], length: usize, layout: &Layout) -> bool {
    let packet = length - layout.network;
    let exact = match layout.version {
        Version::V4 => {
            layout.transport == layout.network + IPV4_HEADER
                && usize::from(get_u16(head, layout.network + 2)) == packet
        }
        Version::V6 => {
            layout.transport == layout.network + IPV6_HEADER
                && usize::from(get_u16(head, layout.network + 4)) + IPV6_HEADER == packet
        }
    };
    let is_udp = layout.protocol == protocol::UDP;
    let datagram = || usize::from(get_u16(head, layout.transport + 4)) == length - layout.transport;
    exact && (!is_udp || datagram())
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
struct Flow<'a> {
    first: Parsed<'a>,
    /// Whether the first one's checksums are right, once that was looked at.
    is_right: Option<bool>,
    /// Its place among the super-frames.
    place: usize,
    /// Payload collected so far.
    payload: usize,
    /// Frames collected so far.
    count: u16,
    /// By how much the identification grows from frame to frame, 0 or 1, once two are known.
    step: Option<u16>,
}

impl<'a> Flow<'a> {
    fn new(first: Parsed<'a>, place: usize) -> Self {
        let payload = first.payload;
        Self { first, is_right: None, place, payload, count: 1, step: None }
    }

    /// Whether the segment is the next one, but for its checksums.
    fn is_followed_by(&self, next: &Parsed<'_>) -> bool {
        let first = &self.first;
        let (one, other) = (first.member.meta, next.member.meta);
        let same = (first.headers, first.layout, first.kind) == (next.headers, next.layout, next.kind)
            && (one.source, one.tag, one.marks, one.claims)
                == (other.source, other.tag, other.marks, other.claims)
            && first.common == next.common;
        let follows = u32::try_from(self.payload).is_ok_and(|payload| match first.kind {
            GsoKind::Udp => true,
            _ => next.sequence == first.sequence.wrapping_add(payload),
        });
        let fits = next.payload <= first.payload
            && first.headers - first.layout.network + self.payload + next.payload <= PACKET_MAX;
        same && follows && fits && self.step_to(next).is_some() && !next.begins
    }

    /// By how much the identification grows from frame to frame, if that of `next` fits in.
    fn step_to(&self, next: &Parsed<'_>) -> Option<u16> {
        let first = &self.first;
        let fits = |step: u16| next.id == first.id.wrapping_add(step * self.count);
        let steps = match self.step {
            Some(step) => step..=step,
            None => u16::from(!first.is_atomic)..=1,
        };
        steps.into_iter().find(|step| fits(*step))
    }

    fn is_right(&mut self, behind: &impl Fn(u8) -> Behind) -> bool {
        *self.is_right.get_or_insert_with(|| self.first.is_right(behind))
    }

    /// Adds the segment, which follows; says whether it was the last one.
    fn append(&mut self, next: &Parsed<'_>, into: &mut [SuperFrame]) -> bool {
        self.step = self.step_to(next);
        self.payload += next.payload;
        self.count += 1;
        if let Some(whole) = into.get_mut(self.place) {
            whole.members.push(next.member.place);
            whole.length += next.payload;
            whole.claims = self.claims();
        }
        next.ends || next.payload < self.first.payload
    }

    fn claims(&self) -> Claims {
        let first = &self.first;
        let offset = checksum_field(first.kind);
        // Both are at most the length of a packet.
        let (start, size) = (u16::try_from(first.layout.transport), u16::try_from(first.payload));
        Claims {
            checksum: Some(PartialChecksum { start: start.unwrap_or(0), offset }),
            gso: Some(Gso { kind: first.kind, size: size.unwrap_or(0), ecn: first.begins }),
        }
    }

    /// Whether the frame is of the same station, which must not be reordered; one that is too short to say so may be.
    fn is_of_sender_of(&self, member: &Member<'_>) -> bool {
        member.head.get(SENDER).is_none_or(|sender| Some(sender) == self.first.member.head.get(SENDER))
    }
}

impl SuperFrame {
    /// One frame alone.
    fn single(member: &Member<'_>, segment: Option<&Parsed<'_>>) -> Self {
        let headers = segment.map_or(0, |segment| segment.headers);
        let mut members = ArrayVec::new();
        members.push(member.place);
        let length = usize::try_from(member.meta.length).unwrap_or(usize::MAX);
        Self { members, claims: member.meta.claims, headers, length }
    }

    /// Makes `headers`, the first bytes of the first of its frames and at least [`SuperFrame::headers`] of them, those of
    /// the whole; `last` is the last of its frames, or as much of it. What it holds beyond is left alone. A frame alone keeps its own.
    pub fn patch_headers(&self, headers: &mut [u8], last: &[u8]) {
        let (Some(checksum), Some(gso)) = (self.claims.checksum, self.claims.gso) else { return };
        let Some((version, network)) = version(headers) else { return };
        let transport = usize::from(checksum.start);
        if self.members.len() < 2 || headers.len() < self.headers || last.len() < self.headers {
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
