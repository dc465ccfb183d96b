//! A guest's receive ring: where frames leave the switch.

use viaduct_switch::DropReason;

use super::chain::{Direction, Segments};
use super::copy::{copy, write_if_different};
use super::layout::Ready;
use super::{CHAIN_MAX, Core, RingError};
use crate::memory::Segment;

/// Why a frame was not put into the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// This frame is lost; the ring goes on.
    Frame(DropReason),
    /// The ring is broken.
    Ring(RingError),
}

impl From<RingError> for Refused {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

/// Where the `num_buffers` field lies in the header (virtio 1.2, 5.1.6.1).
const NUM_BUFFERS: std::ops::Range<usize> = 10..12;

/// One buffer that a frame is written into: its head, the ring's entries that it takes, and how many bytes it holds.
#[derive(Clone, Copy)]
struct Buffer {
    head: u16,
    slots: u16,
    len: u64,
}

/// The device's side of a receive ring.
pub struct ReceiveRing {
    core: Core,
    header_len: usize,
    mergeable: bool,
    /// Used entries written and not yet published. As wide as a register on purpose: the compiler may read a
    /// narrower field together with its neighbour, and a read that is wider than the last write to it waits until
    /// every store before that, those into guests' memory included, has reached the cache.
    pending: usize,
    segments: Segments,
    buffers: Vec<Buffer>,
    /// The next chains, looked at ahead of time: `ready[..ready_end]`, of which `ready_next` are used.
    ready: [Ready; READY_MAX],
    ready_next: usize,
    ready_end: usize,
    /// The last frame that found too little room, while nothing has changed since.
    short: Option<Short>,
}

/// Why a frame found no place: asked again for each frame, this could cost a lot.
#[derive(Clone, Copy)]
struct Short {
    /// The first chain that was looked at.
    taken: u16,
    /// Entries of the ring that were looked at.
    ahead: u16,
    /// The bytes that the chains hold, less than were needed.
    room: u64,
    reason: DropReason,
}

/// Chains that are looked at ahead of time.
const READY_MAX: usize = 64;

impl ReceiveRing {
    /// `header_len`: 10 or 12 bytes of `virtio_net_hdr`; `mergeable`: VIRTIO_NET_F_MRG_RXBUF is in force.
    pub fn new(core: Core, header_len: usize, mergeable: bool) -> Self {
        let segments = Segments::with_capacity(2 * CHAIN_MAX);
        Self {
            core,
            header_len,
            mergeable,
            pending: 0,
            segments,
            buffers: Vec::with_capacity(CHAIN_MAX),
            ready: [Ready::default(); READY_MAX],
            ready_next: 0,
            ready_end: 0,
            short: None,
        }
    }

    /// Looks at the chains that `frames` frames will take, and has their memory fetched meanwhile.
    #[inline]
    pub fn prepare(&mut self, frames: usize) -> Result<(), RingError> {
        if self.ready_next < self.ready_end { Ok(()) } else { self.look_ahead(frames) }
    }

    #[inline(never)]
    fn look_ahead(&mut self, frames: usize) -> Result<(), RingError> {
        (self.ready_next, self.ready_end) = (0, 0);
        self.core.make_room(READY_MAX);
        let ready = &mut self.ready[..frames.min(READY_MAX)];
        self.ready_end = self.core.look_ahead(Direction::Write, self.header_len, ready)?;
        Ok(())
    }

    /// The ring behind.
    pub fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Writes one frame: the header, the private head, and the segments of another guest's memory (or ours)
    /// that follow. `length` is the frame's, header not counted. The guest sees it after
    /// [`ReceiveRing::publish`].
    #[inline]
    pub fn put(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
    ) -> Result<(), Refused> {
        self.prepare(1)?;
        if self.put_plain(header, head, rest, length) {
            return Ok(());
        }
        let total = u64::from(length) + self.header_len as u64;
        match self.next_ready() {
            None => Err(Refused::Frame(DropReason::NoBuffer)),
            Some(Ready { whole: Some(place), head: chain, .. }) if u64::from(place.len) >= total => {
                self.write(&[place], header, 1, head, rest);
                self.use_one(chain, 1, u32::try_from(total).unwrap_or(u32::MAX));
                Ok(())
            }
            Some(_) => self.put_scattered(total, header, head, rest),
        }
    }

    /// Writes one frame if it is as most are: the next buffer was looked at, lies in one piece, has room for all of it, and wants a
    /// header of twelve bytes. Says whether it did.
    #[inline]
    pub(crate) fn put_plain(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
    ) -> bool {
        let Some(Ready { whole: Some(place), head: chain, .. }) = self.next_ready() else { return false };
        let total = u64::from(length) + header.len() as u64;
        if self.header_len != header.len() || u64::from(place.len) < total {
            return false;
        }
        write_plain(place, header, head, rest);
        self.log_written(&[place], head, rest);
        self.use_one(chain, 1, u32::try_from(total).unwrap_or(u32::MAX));
        true
    }

    /// The next chain, if it was looked at.
    #[inline]
    fn next_ready(&self) -> Option<Ready> {
        self.ready.get(self.ready_next..self.ready_end)?.first().copied()
    }

    #[inline]
    fn use_one(&mut self, head: u16, slots: u16, written: u32) {
        self.core.use_one(self.pending, head, slots, written);
        self.pending += 1;
        self.ready_next += 1;
    }

    /// The general case: chains of several buffers, and several chains merged.
    fn put_scattered(
        &mut self,
        total: u64,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
    ) -> Result<(), Refused> {
        self.gather(total)?;
        let count = u16::try_from(self.buffers.len()).unwrap_or(u16::MAX);
        self.write(self.segments.get(0, self.segments.len()), header, count, head, rest);
        let mut left = total;
        for index in 0..self.buffers.len() {
            let Buffer { head, slots, len } = self.buffers[index];
            let written = len.min(left);
            left -= written;
            self.use_one(head, slots, u32::try_from(written).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Collects chains until they hold `total` bytes; takes none if they can't.
    fn gather(&mut self, total: u64) -> Result<(), Refused> {
        self.check_short(total)?;
        self.core.make_room(CHAIN_MAX);
        self.segments.clear();
        self.buffers.clear();
        let (mut room, mut ahead) = (0, 0);
        while room < total {
            let count = self.buffers.len();
            if count > 0 && !self.mergeable || count >= CHAIN_MAX {
                return self.note_short(room, ahead, DropReason::SmallBuffer);
            }
            let Some(mut chain) = self.chain(count, ahead)? else {
                return self.note_short(room, ahead, DropReason::NoBuffer);
            };
            let walked =
                self.core.walk(&mut chain, usize::from(ahead), Direction::Write, &mut self.segments)?;
            let Ready { head, slots, .. } = chain;
            let len = walked.unwrap_or(0);
            self.buffers.push(Buffer { head, slots, len });
            if len == 0 {
                return self.give_back();
            }
            ahead += slots;
            room += len;
        }
        Ok(())
    }

    /// Refuses the frame at once if one that needed no more was refused and nothing came since.
    fn check_short(&mut self, total: u64) -> Result<(), Refused> {
        let Some(short) = self.short.filter(|short| total > short.room) else { return Ok(()) };
        let came = short.reason == DropReason::NoBuffer && self.core.peek(short.ahead)?.is_some();
        let changed = came || self.core.taken() != short.taken;
        if changed { Ok(()) } else { Err(Refused::Frame(short.reason)) }
    }

    fn note_short(&mut self, room: u64, ahead: u16, reason: DropReason) -> Result<(), Refused> {
        self.short = Some(Short { taken: self.core.taken(), ahead, room, reason });
        Err(Refused::Frame(reason))
    }

    /// The chain `number` places after the next one, `ahead` entries of the ring away, if it is there; each descriptor
    /// is read once only.
    fn chain(&mut self, number: usize, ahead: u16) -> Result<Option<Ready>, RingError> {
        let known = self.ready.get(self.ready_next..self.ready_end).unwrap_or_default();
        match known.get(number) {
            Some(ready) => Ok(Some(*ready)),
            None => self.core.peek(ahead),
        }
    }

    /// Uses up the chains that were gathered, the last of which is malformed, empty: else it would be met again and
    /// again.
    fn give_back(&mut self) -> Result<(), Refused> {
        for index in 0..self.buffers.len() {
            let Buffer { head, slots, .. } = self.buffers[index];
            self.use_one(head, slots, 0);
        }
        Err(Refused::Frame(DropReason::BadBuffer))
    }

    /// Copies header, head and rest into `places`, which are large enough.
    #[inline]
    fn write(&self, places: &[Segment], header: &[u8; 12], buffers: u16, head: &[u8], rest: &[Segment]) {
        let Some((&place, later)) = places.split_first() else { return };
        let mut writer = Writer { place, later };
        writer.write_header(header, buffers, self.header_len);
        writer.write(head.as_ptr(), head.len());
        for segment in rest {
            writer.write(segment.host, segment.len as usize);
        }
        self.log_written(places, head, rest);
    }

    /// Notes the written part of `places`, if writes are noted.
    #[inline]
    fn log_written(&self, places: &[Segment], head: &[u8], rest: &[Segment]) {
        if self.core.is_logged() {
            let written = self.header_len + head.len();
            let rest: u64 = rest.iter().map(|segment| u64::from(segment.len)).sum();
            self.core.log_places(places, written as u64 + rest);
        }
    }

    /// Lets the guest see what was put; says whether it wants to be notified.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let count = std::mem::take(&mut self.pending);
        // A ring of few entries comes around to the same place soon.
        self.short.take_if(|_| count > 0);
        self.core.publish(count)
    }
}

/// Writes a header of twelve bytes, with `buffers` as its `num_buffers`.
///
/// Its last two fields are joined in a register. Joined in memory they would be read back wider than they were written,
/// and such a read waits until every store before it has reached the cache, those into guests' memory included: then
/// nothing overlaps any more, and a frame costs three times as much.
///
/// # Safety
/// Twelve bytes of mapped guest memory begin at `to`.
#[inline]
unsafe fn put_header(to: *mut u8, header: &[u8; 12], buffers: u16) {
    let [first @ .., sum_low, sum_high, _, _] = *header;
    let last = u32::from(u16::from_le_bytes([sum_low, sum_high])) | u32::from(buffers) << 16;
    // SAFETY: as the caller says.
    unsafe {
        write_if_different(to.cast(), u64::from_ne_bytes(first));
        write_if_different(to.add(8).cast(), last.to_le());
    }
}

/// Writes a frame that fits into one piece of memory, behind a header of twelve bytes; what does not fit is left out.
#[inline]
fn write_plain(place: Segment, header: &[u8; 12], head: &[u8], rest: &[Segment]) {
    let room = place.len as usize;
    let mut at = header.len() + head.len();
    if at > room {
        return;
    }
    // SAFETY: `place` is `room` bytes of mapped guest memory, enough for header and head, which is ours.
    unsafe {
        put_header(place.host, header, 1);
        copy(head.as_ptr(), place.host.add(header.len()), head.len());
    }
    for segment in rest {
        let len = segment.len as usize;
        if len > room - at {
            return;
        }
        // SAFETY: the segment is mapped memory of a guest, or ours, and `len` bytes are left of `place`. Both may be the
        // same guest's: an overlap harms nobody else.
        unsafe { copy(segment.host, place.host.add(at), len) };
        at += len;
    }
}

/// Writes into a run of segments one after the other.
struct Writer<'a> {
    /// What is left of the segment that is written to.
    place: Segment,
    later: &'a [Segment],
}

impl Writer<'_> {
    /// Writes the first `len` bytes of the header, with `buffers` as its `num_buffers`.
    #[inline]
    fn write_header(&mut self, header: &[u8; 12], buffers: u16, len: usize) {
        if len != header.len() || self.place.len <= 12 {
            let mut whole = *header;
            whole[NUM_BUFFERS].copy_from_slice(&buffers.to_le_bytes());
            return self.write(whole.as_ptr(), len);
        }
        // SAFETY: `place` is more than 12 bytes of mapped guest memory.
        unsafe {
            put_header(self.place.host, header, buffers);
            self.place.host = self.place.host.add(header.len());
        }
        self.place.len -= 12;
    }

    /// Copies `len` bytes from `from`: memory of ours, or mapped memory of a guest.
    #[inline]
    fn write(&mut self, mut from: *const u8, mut len: usize) {
        while len > 0 {
            if self.place.len == 0 {
                let Some((&next, later)) = self.later.split_first() else { return };
                (self.place, self.later) = (next, later);
            }
            let now = len.min(self.place.len as usize);
            // SAFETY: `from` has `len >= now` readable bytes, and `place` is `now` or more bytes of mapped guest
            // memory. Both may be the same guest's: an overlap harms nobody else.
            unsafe {
                copy(from, self.place.host, now);
                from = from.add(now);
                self.place.host = self.place.host.add(now);
            }
            self.place.len -= u32::try_from(now).unwrap_or(self.place.len);
            len -= now;
        }
    }
}
