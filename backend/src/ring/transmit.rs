//! A guest's transmit ring: where frames enter the switch, a burst at a time.

use std::ops::Range;

use viaduct_switch::{
    Claims, DropReason, Frame, Head, Marks, Metadata, NetworkIndex, PortIndex, RawClaims, TakenTag, Volume,
    frame::HEAD_MAX,
};

use super::chain::{Direction, Segments};
use super::copy::copy;
use super::layout::Ready;
use super::receive::Refused;
use super::{CHAIN_MAX, Core, RingError};
use crate::memory::Segment;

/// Frames that one burst holds at most.
pub(crate) const BURST_FRAMES: usize = 64;

/// Payload bytes after which a burst ends, so that a burst of super-frames stays short in time.
const BURST_BYTES: u64 = 128 * 1024;

/// Descriptors after which a burst ends.
const BURST_SEGMENTS: usize = 512;

/// Bytes that a packet has at most in most networks, with its headers.
const SEGMENT_BYTES: u64 = 1514;

/// Bytes of the longest frame that virtio-net allows (virtio 1.2, 5.1.6.3.1: 65550 and the header), with two tags.
pub(crate) const FRAME_MAX: u64 = 65_550 + 8;

/// Bytes of the header before each frame, in a driver of virtio 1.0 or later (virtio 1.2, 5.1.6.1).
const HEADER_LEN: usize = 12;
const HEADER_LEN_U32: u32 = 12;
const HEAD_MAX_U32: u32 = 128;
const _: () = assert!(HEADER_LEN_U32 as usize == HEADER_LEN && HEAD_MAX_U32 as usize == HEAD_MAX);

/// The payload of a [`Frame`]: the segments after its head, in the burst's list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Place of the first segment.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Span {
    /// The segments, of the list that they were put into; a short frame has none.
    #[inline]
    pub(crate) fn of(self, list: &Segments) -> &[Segment] {
        if self.count == 0 { &[] } else { list.get(self.first as usize, self.count as usize) }
    }
}

/// When a burst ends that is not full: a visit may then take one frame more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BurstLimit {
    chains: usize,
    bytes: u64,
}

impl Default for BurstLimit {
    /// At what any burst holds at most.
    fn default() -> Self {
        Self { chains: BURST_FRAMES, bytes: BURST_BYTES }
    }
}

impl BurstLimit {
    /// Ends it after about as many packets, and as many bytes of frames: at one frame at least.
    pub fn of(room: Volume) -> Self {
        let segmented = room.frames.saturating_mul(SEGMENT_BYTES);
        Self {
            chains: usize::try_from(room.frames).unwrap_or(BURST_FRAMES).clamp(1, BURST_FRAMES),
            bytes: room.bytes.min(segmented).clamp(1, BURST_BYTES),
        }
    }
}

/// Frames that were read and not completed yet, all from one ring.
pub struct Burst {
    pub(super) frames: Vec<Frame<Span>>,
    /// The first frame that is shown: others but for a part of them are looked at one after the other.
    pub(super) first: usize,
    pub(super) filled: usize,
    pub(super) segments: Segments,
    /// Chains that were taken, in `ready[..chains]`; behind them some that were only looked at.
    ready: [Ready; BURST_FRAMES],
    pub(super) chains: usize,
    pub(super) bytes: u64,
    limit: BurstLimit,
    /// Frames may be merged; and those of them whose transport checksum the kernel vouches for, a bit each.
    pub(super) is_mergeable: bool,
    pub(super) vouched: u64,
    /// Datagrams in super-frames of UDP that came by a device.
    pub(super) datagrams: u32,
    /// Chains that held no frame for us.
    pub dropped: [(DropReason, u64); 6],
}

impl Burst {
    /// An empty burst.
    #[must_use]
    pub fn new(port: PortIndex) -> Self {
        let meta = Metadata::new(port, 0, Default::default());
        let frame = Frame { head: Head::default(), meta, payload: Span::default() };
        Self {
            frames: vec![frame; BURST_FRAMES],
            first: 0,
            filled: 0,
            segments: Segments::with_capacity(BURST_SEGMENTS + CHAIN_MAX),
            ready: [Ready::default(); BURST_FRAMES],
            chains: 0,
            bytes: 0,
            limit: BurstLimit::default(),
            is_mergeable: false,
            vouched: 0,
            datagrams: 0,
            dropped: [
                (DropReason::BadChain, 0),
                (DropReason::TooLong, 0),
                (DropReason::BadOffload, 0),
                (DropReason::DeviceOverrun, 0),
                (DropReason::InactiveLink, 0),
                (DropReason::StormControl, 0),
            ],
        }
    }

    pub(super) fn clear(&mut self) {
        self.clear_for(BurstLimit::default());
    }

    /// Empties it for what ends at `limit`.
    #[inline]
    fn clear_for(&mut self, limit: BurstLimit) {
        self.limit = limit;
        self.first = 0;
        self.filled = 0;
        self.segments.clear();
        self.chains = 0;
        self.bytes = 0;
        self.is_mergeable = false;
        self.vouched = 0;
        self.datagrams = 0;
        self.dropped.iter_mut().for_each(|(_, count)| *count = 0);
    }

    /// The frames and the list of segments that their [`Span`]s name.
    pub fn parts(&mut self) -> (&mut [Frame<Span>], &Segments) {
        (self.frames.get_mut(self.first..self.filled).unwrap_or_default(), &self.segments)
    }

    /// The same, for who takes something off the frames' beginnings.
    pub fn parts_mut(&mut self) -> (&mut [Frame<Span>], &mut Segments) {
        (self.frames.get_mut(self.first..self.filled).unwrap_or_default(), &mut self.segments)
    }

    /// Shows these frames alone, counted as the burst was read, until it is told otherwise.
    pub(crate) fn show(&mut self, frames: Range<usize>) {
        (self.first, self.filled) = (frames.start, frames.end.min(self.frames.len()));
    }

    /// Has nobody believe that the checksums of these frames, a bit each, are right: what the kernel vouched for was outside.
    pub fn distrust(&mut self, frames: u64) {
        self.vouched &= !(frames << (self.first % BURST_FRAMES));
    }

    /// What is said of the network of the frame that was loaded, which has no tag.
    pub fn set_network(&mut self, network: NetworkIndex) {
        if let Some(frame) = self.frames.first_mut() {
            frame.meta.tag = Some(TakenTag { network, priority: None });
        }
    }

    /// The frames to be looked at and the list of segments that their [`Span`]s name.
    pub fn frames(&self) -> (&[Frame<Span>], &Segments) {
        (self.frames.get(self.first..self.filled).unwrap_or_default(), &self.segments)
    }

    /// Makes the burst hold one frame of our own, whose bytes must stay where they are until the burst is
    /// done.
    pub fn load(&mut self, port: PortIndex, bytes: &mut [u8]) {
        self.clear();
        let (Ok(length), Some(frame)) = (u32::try_from(bytes.len()), self.frames.first_mut()) else { return };
        frame.head = Head::from_bytes(bytes);
        frame.meta = Metadata::new(port, length, Default::default());
        frame.payload = Span::default();
        if let Some(rest) = bytes.get_mut(HEAD_MAX..) {
            let len = u32::try_from(rest.len()).unwrap_or(0);
            frame.payload.count =
                u32::from(self.segments.push(Segment { host: rest.as_mut_ptr(), len }).is_ok());
        }
        self.filled = 1;
    }

    /// What was chosen before for the frame that was loaded.
    pub fn set_marks(&mut self, marks: Marks) {
        if let Some(frame) = self.frames.first_mut() {
            frame.meta.marks = marks;
        }
    }

    /// Bytes of all frames together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// If frames may be merged into super-frames: those whose transport checksum the kernel vouches for, a bit each.
    pub fn mergeable(&self) -> Option<u64> {
        self.is_mergeable.then_some(self.vouched >> (self.first % BURST_FRAMES))
    }

    pub(super) fn is_full(&self) -> bool {
        self.chains >= self.limit.chains
            || self.bytes >= self.limit.bytes
            || self.segments.descriptors().max(self.segments.len()) >= BURST_SEGMENTS
    }

    pub(super) fn count_drop(&mut self, reason: DropReason) {
        let row = self.dropped.iter_mut().find(|(row, _)| *row == reason);
        row.into_iter().for_each(|(_, count)| *count += 1);
    }
}

/// The device's side of a transmit ring.
pub struct TransmitRing {
    core: Core,
    header_len: usize,
    port: PortIndex,
    limit: BurstLimit,
}

impl TransmitRing {
    /// `header_len`: 10 or 12 bytes of `virtio_net_hdr` (virtio 1.2, 5.1.6.1).
    pub fn new(core: Core, header_len: usize, port: PortIndex) -> Self {
        Self { core, header_len, port, limit: BurstLimit::default() }
    }

    /// Ends bursts there from now on.
    pub fn set_limit(&mut self, limit: BurstLimit) {
        self.limit = limit;
    }

    /// The ring behind.
    pub fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// The port whose guest transmits here.
    pub fn port(&self) -> PortIndex {
        self.port
    }

    /// Reads the frames that are available, up to a burst's bounds. Gives the number of chains taken, which
    /// [`TransmitRing::complete`] gives back.
    pub fn read(&mut self, burst: &mut Burst) -> Result<u16, RingError> {
        burst.clear_for(self.limit);
        while self.read_run(burst)? {}
        // No more than a burst's.
        Ok(u16::try_from(burst.chains).unwrap_or(0))
    }

    /// Reads the chains that can be looked at together; says whether there may be more. What breaks the ring waits until
    /// the chains before it are done.
    #[inline]
    fn read_run(&mut self, burst: &mut Burst) -> Result<bool, RingError> {
        let first = burst.chains;
        let count = self.core.look_ahead(Direction::Read, self.header_len, &mut burst.ready[first..])?;
        let mut outcome = Ok(());
        for ahead in 0..count {
            outcome = self.read_chain(ahead, burst);
            if outcome.is_err() {
                break;
            }
            burst.chains += 1;
            if burst.is_full() {
                break;
            }
        }
        let taken = &burst.ready[first..burst.chains];
        self.core.take(taken);
        let several = taken.last().is_some_and(|last| last.slots > 1);
        match outcome {
            Err(error) if burst.chains == 0 => Err(error),
            _ => Ok(several && outcome.is_ok() && !burst.is_full()),
        }
    }

    #[inline]
    fn read_chain(&mut self, ahead: usize, burst: &mut Burst) -> Result<(), RingError> {
        let before = burst.segments.len();
        match self.read_frame(ahead, burst) {
            Ok(()) => {}
            Err(Refused::Ring(error)) => return Err(error),
            Err(Refused::Frame(reason)) => {
                burst.segments.truncate(before);
                burst.count_drop(reason);
            }
        }
        Ok(())
    }

    #[inline]
    fn read_frame(&mut self, ahead: usize, burst: &mut Burst) -> Result<(), Refused> {
        match burst.ready[burst.chains].whole {
            // By far the most frames: one buffer, and the header of today.
            Some(place) if self.header_len == HEADER_LEN && place.len > HEADER_LEN_U32 => {
                self.read_plain(place, burst).map_err(Refused::Frame)
            }
            _ => self.read_gathered(ahead, burst),
        }
    }

    /// Reads a frame that lies in one piece behind its header of twelve bytes.
    #[inline]
    fn read_plain(&mut self, place: Segment, burst: &mut Burst) -> Result<(), DropReason> {
        let length = place.len - HEADER_LEN_U32;
        if u64::from(length) > FRAME_MAX {
            return Err(DropReason::TooLong);
        }
        let frame = &mut burst.frames[burst.filled];
        let head_len = HEAD_MAX.min(length as usize);
        // SAFETY: the place is `HEADER_LEN + length` bytes of mapped guest memory, of which the header is the first
        // part, and the room, ours alone, has HEAD_MAX bytes.
        let header = unsafe {
            let bytes = place.host.add(HEADER_LEN);
            copy(bytes, frame.head.room().as_mut_ptr(), head_len);
            place.host.cast::<[u8; HEADER_LEN]>().read_unaligned()
        };
        frame.head.set_len(head_len);
        frame.payload = Span::default();
        if let Some(len) = length.checked_sub(HEAD_MAX_U32).filter(|&len| len > 0) {
            let first = burst.segments.len();
            let host = place.host.wrapping_add(HEADER_LEN + HEAD_MAX);
            burst.segments.push(Segment { host, len }).map_err(|_| DropReason::BadChain)?;
            frame.payload = span(first, 1);
        }
        frame.meta = Metadata::new(self.port, length, Claims::default());
        let claims = claims_in(&header);
        if !claims.is_plain() {
            frame.meta.claims = claims.check(length)?;
        }
        burst.filled += 1;
        burst.bytes += u64::from(length);
        Ok(())
    }

    /// Reads a frame of any other shape.
    #[inline(never)]
    fn read_gathered(&mut self, ahead: usize, burst: &mut Burst) -> Result<(), Refused> {
        let first = burst.segments.len();
        let chain = &mut burst.ready[burst.chains];
        let total = match chain.whole {
            Some(segment) => burst.segments.push(segment).map(|()| u64::from(segment.len)),
            // All chains before it in this run take one entry each.
            None => self.core.walk(chain, ahead, Direction::Read, &mut burst.segments)?,
        };
        let length =
            total?.checked_sub(self.header_len as u64).ok_or(Refused::Frame(DropReason::BadChain))?;
        if length > FRAME_MAX {
            return Err(Refused::Frame(DropReason::TooLong));
        }
        let frame = &mut burst.frames[burst.filled];
        let mut header = [0; 12];
        let mut rest = Reader { segments: burst.segments.from(first), done: 0 };
        rest.read_header(&mut header, self.header_len);
        let head_len = usize::try_from(length).unwrap_or(HEAD_MAX).min(HEAD_MAX);
        rest.read(&mut frame.head.room()[..head_len]);
        frame.head.set_len(head_len);
        let done = rest.done;
        frame.payload = span(first + done, burst.segments.len() - first - done);
        let length = u32::try_from(length).map_err(|_| Refused::Frame(DropReason::TooLong))?;
        let claims = claims_in(&header).check(length).map_err(Refused::Frame)?;
        frame.meta = Metadata::new(self.port, length, claims);
        burst.filled += 1;
        burst.bytes += u64::from(length);
        Ok(())
    }

    /// Gives the burst's chains back to the guest, in order; says whether it wants to be notified.
    pub fn complete(&mut self, burst: &Burst) -> bool {
        self.core.complete(burst.ready.get(..burst.chains).unwrap_or_default())
    }
}

/// The offload fields of a `virtio_net_hdr` (virtio 1.2, 5.1.6.1; little-endian, as is a legacy x86 guest's).
#[inline]
pub(super) fn claims_in(header: &[u8; 12]) -> RawClaims {
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    RawClaims {
        flags: header[0],
        gso_type: header[1],
        hdr_len: word(2),
        gso_size: word(4),
        csum_start: word(6),
        csum_offset: word(8),
    }
}

pub(super) fn span(first: usize, count: usize) -> Span {
    // The list is shorter than 2^32 by construction.
    Span { first: u32::try_from(first).unwrap_or(0), count: u32::try_from(count).unwrap_or(0) }
}

/// Takes bytes from the front of a run of segments, which shrink accordingly.
struct Reader<'a> {
    segments: &'a mut [Segment],
    /// Segments that are used up.
    done: usize,
}

impl Reader<'_> {
    /// Reads the first `len` bytes of the header: 12 in one piece nearly always.
    #[inline]
    fn read_header(&mut self, header: &mut [u8; 12], len: usize) {
        match self.segments.first_mut() {
            Some(segment) if len == 12 && segment.len > 12 => {
                // SAFETY: the segment is more than 12 bytes of mapped guest memory.
                unsafe {
                    *header = segment.host.cast::<[u8; 12]>().read_unaligned();
                    segment.host = segment.host.add(12);
                }
                segment.len -= 12;
            }
            _ => self.read(&mut header[..len.min(12)]),
        }
    }

    /// Fills `to`; the caller has checked that the segments hold as much.
    #[inline]
    fn read(&mut self, to: &mut [u8]) {
        let mut at = 0;
        while at < to.len() {
            let Some(segment) = self.segments.get_mut(self.done) else { return };
            let room = segment.len as usize;
            let len = room.min(to.len() - at);
            // SAFETY: the segment is `room >= len` bytes of mapped guest memory; `to` has `len` bytes from `at`
            // on and is our own, so the two can't overlap.
            unsafe { copy(segment.host, to.as_mut_ptr().add(at), len) };
            at += len;
            // SAFETY: at most one past the segment's end.
            segment.host = unsafe { segment.host.add(len) };
            segment.len -= u32::try_from(len).unwrap_or(segment.len);
            if segment.len == 0 {
                self.done += 1;
            }
        }
    }
}
