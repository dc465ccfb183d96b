//! Trains: datagrams of a tunnel that come or go as one super-frame of UDP.
//!
//! ```text
//! outer headers ─┬─ tunnel's header, inner frame ─┬─ tunnel's header, inner frame ─┬─ ... the last one may be shorter
//!                └── one segment's payload ───────┘
//! ```
//!
//! Whoever cuts it, an adapter, the kernel or its receiver, makes of it the datagrams that would have been sent one by one, and all between
//! has one packet to look at. So the segments of an inner super-frame leave with one system call and one pass through the kernel.

use super::endpoint::EndpointSettings;
use super::outer::Outer;
use crate::drops::DropReason;
use crate::frame::{Frame, Gso, GsoKind, HEAD_MAX};
use crate::offload::checksum::UDP_CHECKSUM;
use crate::offload::{fold, sum};

/// Datagrams of a train that is sent: as many as any Linux takes that takes trains at all (`UDP_MAX_SEGMENTS` was 64 from 6.2 to 6.8).
pub const TRAIN_SENT_MAX: usize = 64;

/// Datagrams of a train that is taken: as many as Linux sends (`UDP_MAX_SEGMENTS`), so that one frame costs its receiver no more than two
/// bursts.
pub const TRAIN_TAKEN_MAX: usize = 128;

/// The longest IP packet, which no train exceeds.
const PACKET_MAX: usize = 65_535;

const UDP_HEADER: usize = 8;

/// A train that came, to be taken apart: its outer headers, and where its datagrams lie.
#[derive(Clone, Debug)]
pub struct Train {
    headers: [u8; HEAD_MAX],
    /// Bytes of outer headers, that of UDP included.
    len: usize,
    network_at: usize,
    transport_at: usize,
    is_v4: bool,
    /// Bytes behind the UDP header of each datagram but the last.
    size: usize,
    /// Those of all datagrams.
    payload: usize,
}

impl Train {
    /// Reads a super-frame of UDP for an end of ours, whose IP header is this and begins at `network_at`. `None`: it is no train, as what
    /// is to be cut is no outer datagram.
    ///
    /// # Errors
    /// [`DropReason::TunnelTruncated`] if headers say that it is longer than it is, [`DropReason::BadOffload`] if they say something
    /// else than its claims, or it would be cut into more than [`TRAIN_TAKEN_MAX`].
    pub(super) fn read<P>(
        frame: &Frame<P>,
        (outer, network_at): (&Outer, usize),
        end: &EndpointSettings,
    ) -> Option<Result<Self, DropReason>> {
        let (gso, checksum) = (frame.meta.claims.gso?, frame.meta.claims.checksum?);
        let is_outer = gso.kind == GsoKind::Udp && usize::from(checksum.start) == outer.transport_at;
        if !is_outer || !end.kind.is_udp() {
            return None;
        }
        if checksum.offset != UDP_CHECKSUM {
            return Some(Err(DropReason::BadOffload));
        }
        Some(Self::of(frame.head.bytes(), frame.meta.length, (outer, network_at), gso))
    }

    fn of(
        head: &[u8],
        length: u32,
        (outer, network_at): (&Outer, usize),
        gso: Gso,
    ) -> Result<Self, DropReason> {
        if u32::try_from(outer.end_at).is_ok_and(|end| end > length) {
            return Err(DropReason::TunnelTruncated);
        }
        let len = outer.transport_at + UDP_HEADER;
        let known = head.get(..len).ok_or(DropReason::TunnelTruncated)?;
        let field = known.get(outer.transport_at + 4..).and_then(<[u8]>::first_chunk);
        let said = field.map_or(0, |field| usize::from(u16::from_be_bytes(*field)));
        let (payload, size) = (outer.end_at.saturating_sub(len), usize::from(gso.size));
        let is_whole = said == outer.end_at - outer.transport_at;
        if !is_whole || size == 0 || payload.div_ceil(size) > TRAIN_TAKEN_MAX {
            return Err(DropReason::BadOffload);
        }
        let mut headers = [0; HEAD_MAX];
        headers.get_mut(..len).ok_or(DropReason::TunnelTruncated)?.copy_from_slice(known);
        let (transport_at, is_v4) = (outer.transport_at, outer.source.is_v4());
        Ok(Self { headers, len, network_at, transport_at, is_v4, size, payload })
    }

    /// How many datagrams there are.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.payload.div_ceil(self.size)
    }

    /// Where a datagram's bytes behind its UDP header lie, counted from the frame's first byte.
    #[must_use]
    pub fn place(&self, datagram: usize) -> std::ops::Range<usize> {
        let from = (datagram * self.size).min(self.payload);
        self.len + from..self.len + (from + self.size).min(self.payload)
    }

    /// Writes the outer headers of a datagram with `length` bytes behind them to the beginning of `room`; says how many bytes these are.
    /// It has no UDP checksum: that of the train was not made yet.
    #[must_use]
    pub fn put_headers(&self, length: usize, room: &mut [u8; HEAD_MAX]) -> usize {
        *room = self.headers;
        let udp = UDP_HEADER + length;
        put(room, self.transport_at + 4, udp);
        put(room, self.transport_at + 6, 0);
        if self.is_v4 {
            put(room, self.network_at + 2, self.transport_at - self.network_at + udp);
            put(room, self.network_at + 10, 0);
            let header = room.get(self.network_at..self.transport_at).unwrap_or_default();
            let checksum = !fold(sum(header));
            put(room, self.network_at + 10, checksum.into());
        } else {
            put(room, self.network_at + 4, udp);
        }
        self.len
    }
}

/// Writes a field of two bytes.
fn put(room: &mut [u8; HEAD_MAX], at: usize, value: usize) {
    if let Some(field) = room.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *field = u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes();
    }
}

/// What was coupled so far of a train that is about to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coupled {
    datagrams: usize,
    /// Bytes of the first one behind its UDP header; all but the last have as many.
    size: usize,
    /// Bytes of the last one.
    last: usize,
    /// Those of all.
    payload: usize,
}

impl Coupled {
    /// Whether a datagram with `length` bytes behind its UDP header may be added to a train whose IP and UDP headers have `headers` bytes.
    #[must_use]
    #[inline]
    pub fn takes(&self, length: usize, headers: usize) -> bool {
        self.datagrams == 0
            || (self.datagrams < TRAIN_SENT_MAX
                && length <= self.size
                && self.last == self.size
                && headers + self.payload + length <= PACKET_MAX)
    }

    /// Adds one.
    #[inline]
    pub fn add(&mut self, length: usize) {
        if self.datagrams == 0 {
            self.size = length;
        }
        self.datagrams += 1;
        self.last = length;
        self.payload += length;
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Into pieces of how many bytes it is to be cut.
    #[must_use]
    #[inline]
    pub fn size(&self) -> u16 {
        u16::try_from(self.size).unwrap_or(u16::MAX)
    }
}
