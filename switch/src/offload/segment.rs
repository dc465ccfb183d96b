//! Cuts super-frames of TCP and UDP as a network adapter would: each segment has all headers, with lengths,
//! sequence number, flags and checksums of its own.

use super::Checksums;
use super::checksum::{TCP_CHECKSUM, UDP_CHECKSUM, finished, pseudo_sum, sum, tcp_end};
use super::fragment::Fragments;
use super::layout::{Layout, Version, get_u16, protocol, put_u16};
use crate::drops::DropReason;
use crate::frame::{Claims, Gso, GsoKind, PartialChecksum};

/// The most segments that one frame is cut into: the longest frame in segments of 48 bytes. A smaller
/// segment size serves no TCP, but would let one frame cost a receiver thousands.
pub const SEGMENTS_MAX: usize = 1366;

/// Bytes of headers that the segments of one frame may have together: no more than four times the longest frame.
/// Long chains of options or extension headers in each of many small segments would multiply a receiver's
/// traffic, and our work, by thirty.
const HEADERS_MAX: usize = 256 * 1024;

const FLAG_FIN: u8 = 0x01;
const FLAG_PSH: u8 = 0x08;
const FLAG_CWR: u8 = 0x80;

/// One frame that was cut from a super-frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// How many bytes of the buffer it fills.
    pub length: usize,
    /// What is still left to be done by the receiver: at most the checksum.
    pub claims: Claims,
}

/// Cuts one super-frame, segment by segment.
#[derive(Debug)]
pub struct Segmenter<'a> {
    cut: Cut<'a>,
}

#[derive(Debug)]
enum Cut<'a> {
    Segments(Segments<'a>),
    Fragments(Fragments<'a>),
}

impl<'a> Segmenter<'a> {
    /// Prepares to cut `frame`, the whole super-frame from its Ethernet header on. `fragment_id` becomes
    /// the identification if UDP over IPv6 has to be fragmented: take another one for each frame
    /// (RFC 8200, 4.5).
    ///
    /// # Errors
    /// [`DropReason::NotSegmentable`] if the claims contradict the headers, the headers are malformed, or
    /// there would be more than [`SEGMENTS_MAX`] segments.
    pub fn new(
        frame: &'a [u8],
        claims: &Claims,
        checksums: Checksums,
        fragment_id: u32,
    ) -> Result<Self, DropReason> {
        let cut = Cut::plan(frame, claims, checksums, fragment_id).ok_or(DropReason::NotSegmentable)?;
        let (payload, size, headers) = match &cut {
            Cut::Segments(segments) => (segments.payload().len(), segments.size, segments.headers),
            Cut::Fragments(fragments) => {
                let (payload, size) = (fragments.payload().len(), fragments.size());
                (payload, size, fragments.length_max().saturating_sub(size.min(payload)))
            }
        };
        let count = payload.div_ceil(size);
        let too_costly = count > SEGMENTS_MAX || count.saturating_mul(headers) > HEADERS_MAX;
        if too_costly { Err(DropReason::NotSegmentable) } else { Ok(Self { cut }) }
    }

    /// How many bytes the longest segment has: a buffer of this length takes each of them.
    #[must_use]
    pub fn segment_length_max(&self) -> usize {
        match &self.cut {
            Cut::Segments(segments) => segments.headers + segments.size.min(segments.payload().len()),
            Cut::Fragments(fragments) => fragments.length_max(),
        }
    }

    /// Writes the next segment to the buffer's beginning; `None` after the last.
    ///
    /// # Errors
    /// [`DropReason::SmallBuffer`] if the segment does not fit; the same one can be asked for again.
    pub fn next_into(&mut self, buffer: &mut [u8]) -> Result<Option<Segment>, DropReason> {
        match &mut self.cut {
            Cut::Segments(segments) => segments.next_into(buffer),
            Cut::Fragments(fragments) => fragments.next_into(buffer),
        }
    }
}

impl<'a> Cut<'a> {
    fn plan(frame: &'a [u8], claims: &Claims, checksums: Checksums, fragment_id: u32) -> Option<Self> {
        let (gso, checksum) = (claims.gso?, claims.checksum?);
        let layout = Layout::parse(frame)?;
        let (expected, offset) = match (gso.kind, layout.version) {
            (GsoKind::Tcp4, Version::V4) | (GsoKind::Tcp6, Version::V6) => (protocol::TCP, TCP_CHECKSUM),
            (GsoKind::Udp | GsoKind::UdpFragment, _) => (protocol::UDP, UDP_CHECKSUM),
            _ => return None,
        };
        let start = usize::from(checksum.start);
        let agrees = layout.protocol == expected && start == layout.transport && checksum.offset == offset;
        if !agrees || gso.size == 0 {
            return None;
        }
        let headers = match expected {
            protocol::TCP => tcp_end(frame, layout.transport)?,
            _ => udp_end(frame, layout.transport)?,
        };
        match gso.kind {
            GsoKind::UdpFragment => {
                Fragments::plan(frame, layout, gso.size, fragment_id).map(Self::Fragments)
            }
            _ => Segments::plan(frame, layout, headers, (gso, checksum, checksums)).map(Self::Segments),
        }
    }
}

/// Where the UDP header at `transport` ends; `None` if its length is not that of the rest of the frame.
fn udp_end(frame: &[u8], transport: usize) -> Option<usize> {
    let end = transport + 8;
    let whole = end <= frame.len() && usize::from(get_u16(frame, transport + 4)) == frame.len() - transport;
    whole.then_some(end)
}

/// The cutting of TCP and of UDP into many datagrams.
#[derive(Debug)]
struct Segments<'a> {
    frame: &'a [u8],
    layout: Layout,
    /// How many bytes of headers each segment has.
    headers: usize,
    /// Payload bytes of each segment but the last.
    size: usize,
    /// Bytes from the transport header to the frame's end.
    transport_length: u16,
    checksum: PartialChecksum,
    checksums: Checksums,
    /// Payload bytes written so far.
    offset: usize,
    /// Segments written so far.
    written: u16,
}

impl<'a> Segments<'a> {
    fn plan(
        frame: &'a [u8],
        layout: Layout,
        headers: usize,
        (gso, checksum, checksums): (Gso, PartialChecksum, Checksums),
    ) -> Option<Self> {
        let transport_length = u16::try_from(frame.len() - layout.transport).ok()?;
        let size = usize::from(gso.size);
        Some(Self {
            frame,
            layout,
            headers,
            size,
            transport_length,
            checksum,
            checksums,
            offset: 0,
            written: 0,
        })
    }

    fn payload(&self) -> &'a [u8] {
        &self.frame[self.headers..]
    }

    fn next_into(&mut self, buffer: &mut [u8]) -> Result<Option<Segment>, DropReason> {
        let payload = self.payload();
        // A frame without any payload is one segment.
        if self.written > 0 && self.offset >= payload.len() {
            return Ok(None);
        }
        let end = (self.offset + self.size).min(payload.len());
        let length = self.headers + end - self.offset;
        let segment = buffer.get_mut(..length).ok_or(DropReason::SmallBuffer)?;
        segment[..self.headers].copy_from_slice(&self.frame[..self.headers]);
        segment[self.headers..].copy_from_slice(&payload[self.offset..end]);
        self.finish(segment, end == payload.len()).ok_or(DropReason::NotSegmentable)?;
        self.offset = end;
        self.written += 1;
        let checksum = (self.checksums == Checksums::Partial).then_some(self.checksum);
        Ok(Some(Segment { length, claims: Claims { checksum, gso: None } }))
    }

    /// Makes the headers that were copied fit the segment.
    fn finish(&self, segment: &mut [u8], is_last: bool) -> Option<()> {
        let transport = self.layout.transport;
        if self.layout.version == Version::V4 {
            let id = self.layout.network + 4;
            put_u16(segment, id, get_u16(segment, id).wrapping_add(self.written));
        }
        self.layout.set_length(segment)?;
        let length = u16::try_from(segment.len() - transport).ok()?;
        match self.layout.protocol {
            protocol::TCP => self.finish_tcp(segment, is_last)?,
            _ => put_u16(segment, transport + 4, length),
        }
        let field = transport + usize::from(self.checksum.offset);
        let pseudo = pseudo_sum(self.frame, field, self.transport_length, length);
        put_u16(segment, field, pseudo);
        if self.checksums == Checksums::Finished {
            let total = sum(&segment[transport..]);
            put_u16(segment, field, finished(total, self.checksum.offset));
        }
        Some(())
    }

    /// RFC 9293, 3.1: each segment has its own sequence number; FIN and PSH belong to the last byte.
    /// RFC 3168, 6.1.2: CWR is said once.
    fn finish_tcp(&self, segment: &mut [u8], is_last: bool) -> Option<()> {
        let tcp = segment.get_mut(self.layout.transport..)?;
        let sequence = tcp.get_mut(4..8)?.first_chunk_mut::<4>()?;
        let advanced = u32::from_be_bytes(*sequence).wrapping_add(u32::try_from(self.offset).ok()?);
        *sequence = advanced.to_be_bytes();
        let flags = tcp.get_mut(13)?;
        if !is_last {
            *flags &= !(FLAG_FIN | FLAG_PSH);
        }
        if self.written > 0 {
            *flags &= !FLAG_CWR;
        }
        Some(())
    }
}
