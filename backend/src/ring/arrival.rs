//! Frames that enter a burst from elsewhere than a guest's ring.

use std::ops::Range;

use viaduct_switch::claims::FLAG_DATA_VALID;
use viaduct_switch::{Claims, DropReason, GsoKind, Metadata, PortIndex, frame::HEAD_MAX};

use super::copy::copy;
use super::transmit::{BURST_FRAMES, Burst, FRAME_MAX, Span, claims_in, span};
use crate::memory::{Segment, copy_out};

/// Bytes of a VLAN tag (IEEE 802.1Q-2018, 9.3), and of the two addresses that stand before it.
const TAG: usize = 4;
const ADDRESSES: usize = 12;

/// Datagrams in super-frames of UDP after which a burst ends: who has to take them apart shall not be held up for longer than by a few
/// bursts of others.
const BURST_DATAGRAMS: u32 = 128;

/// A frame that came by an interface.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its `virtio_net_hdr`: claims, to be checked as a guest's.
    pub header: [u8; 12],
    /// The VLAN tag that was taken off it, type and control information as on the wire.
    pub tag: Option<[u8; TAG]>,
    /// Its first bytes: at least as many as are there, up to a head's.
    pub head: *const u8,
    /// Where all of it lies from the moment on in which the burst is looked at.
    pub body: *mut u8,
    /// Its length in bytes, without the tag.
    pub length: u32,
}

/// What becomes of a frame that was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// It stays.
    Keep,
    /// It was for the device itself.
    Taken,
    /// It is dropped, and counted.
    Drop(DropReason),
}

impl Burst {
    /// Makes the burst empty, for frames of a device: they lie in memory that nobody writes to before the burst is
    /// completed. `merge` says whether they may become super-frames.
    pub(crate) fn begin(&mut self, merge: bool) {
        self.clear();
        self.is_mergeable = merge;
    }

    /// Makes the burst empty, for parts of the frame that `whole` shows.
    pub(crate) fn begin_apart(&mut self, whole: &Self) {
        self.begin(whole.is_mergeable);
    }

    /// Adds a frame that begins with these headers, and goes on with these bytes of the frame that `whole` shows and that lies where it
    /// is until this burst is done with. Says whether there was room.
    pub(crate) fn add_part(&mut self, whole: &Self, headers: &[u8], bytes: Range<usize>) -> bool {
        let (Some(frame), [source, ..]) = (self.frames.get_mut(self.filled), whole.frames().0) else {
            return false;
        };
        let (before, room) = frame.head.room().split_at_mut(headers.len().min(HEAD_MAX));
        before.copy_from_slice(headers.get(..HEAD_MAX).unwrap_or(headers));
        let (mut skipped, mut left, mut filled) = (bytes.start, bytes.len(), 0);
        let first = self.segments.len();
        let head = source.head.bytes();
        let head = Segment { host: head.as_ptr().cast_mut(), len: u32::try_from(head.len()).unwrap_or(0) };
        let Span { first: rest, count } = source.payload;
        let rest = whole.segments.get(rest as usize, count as usize);
        for piece in std::iter::once(&head).chain(rest) {
            let passed = skipped.min(piece.len as usize);
            skipped -= passed;
            let mut len = left.min(piece.len as usize - passed);
            left -= len;
            let mut host = piece.host.wrapping_add(passed);
            let taken = len.min(room.len() - filled);
            copy_out(&[], &[Segment { host, len: length_of(taken) }], &mut room[filled..filled + taken]);
            (filled, host, len) = (filled + taken, host.wrapping_add(taken), len - taken);
            if len > 0 && self.segments.push(Segment { host, len: length_of(len) }).is_err() {
                self.segments.truncate(first);
                return false;
            }
        }
        frame.head.set_len(headers.len() + filled);
        let length = length_of(headers.len() + bytes.len() - left);
        frame.meta = Metadata::new(source.meta.source, length, Claims::default());
        frame.payload = span(first, self.segments.len() - first);
        self.filled += 1;
        true
    }

    /// Whether one more frame may be added.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        !self.is_full() && self.datagrams < BURST_DATAGRAMS
    }

    /// Frames that were added, those that were dropped included.
    pub(crate) fn taken(&self) -> u16 {
        u16::try_from(self.chains).unwrap_or(0)
    }

    /// Counts a frame that cannot be added.
    pub(crate) fn skip(&mut self, reason: DropReason) {
        self.chains += 1;
        self.count_drop(reason);
    }

    /// Counts frames that were lost before they could be added.
    pub(crate) fn count(&mut self, reason: DropReason, frames: u64) {
        let row = self.dropped.iter_mut().find(|(row, _)| *row == reason);
        row.into_iter().for_each(|(_, count)| *count += frames);
    }

    /// Takes the frames out for which `judge` says so by what they begin with.
    pub(crate) fn keep(&mut self, mut judge: impl FnMut(&[u8]) -> Judgement) {
        let (mut kept, vouched) = (0, std::mem::take(&mut self.vouched));
        for place in 0..self.filled {
            match judge(self.frames[place].head.bytes()) {
                Judgement::Keep => {
                    if kept != place {
                        self.frames.swap(kept, place);
                    }
                    self.vouched |= (vouched >> (place % BURST_FRAMES) & 1) << (kept % BURST_FRAMES);
                    kept += 1;
                }
                Judgement::Taken => {}
                Judgement::Drop(reason) => self.count_drop(reason),
            }
        }
        self.filled = kept;
    }

    /// Adds a frame, for which there must be room.
    ///
    /// # Safety
    /// `head` is readable now, for the frame's first bytes; `body` has `length` readable bytes from the moment on in
    /// which the burst is looked at until it is completed.
    #[inline]
    pub(crate) unsafe fn add(&mut self, port: PortIndex, arrival: &Arrival) {
        self.chains += 1;
        // SAFETY: as the caller promises.
        if let Err(reason) = unsafe { self.try_add(port, arrival) } {
            self.count_drop(reason);
        }
    }

    /// # Safety
    /// As [`Burst::add`].
    #[inline]
    unsafe fn try_add(&mut self, port: PortIndex, arrival: &Arrival) -> Result<(), DropReason> {
        if u64::from(arrival.length) > FRAME_MAX {
            return Err(DropReason::TooLong);
        }
        // What is too short for a tag is too short for anything, as the switch will find.
        let tag = arrival.tag.filter(|_| arrival.length as usize >= ADDRESSES);
        let tag_len = tag.map_or(0, |_| TAG);
        let own = (arrival.length as usize).min(HEAD_MAX - tag_len);
        let first = self.segments.len();
        let frame = &mut self.frames[self.filled];
        let room = frame.head.room();
        // SAFETY: `own` bytes can be read, as the caller promises, and with the tag they are no more than `room` has.
        unsafe {
            match tag {
                None => copy(arrival.head, room.as_mut_ptr(), own),
                Some(tag) => {
                    copy(arrival.head, room.as_mut_ptr(), ADDRESSES);
                    room[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&tag);
                    let behind = room.as_mut_ptr().add(ADDRESSES + TAG);
                    copy(arrival.head.add(ADDRESSES), behind, own - ADDRESSES);
                }
            }
        }
        frame.head.set_len(own + tag_len);
        let own_len = u32::try_from(own).unwrap_or(0);
        let rest = Segment { host: arrival.body.wrapping_add(own), len: arrival.length - own_len };
        let length = arrival.length + u32::try_from(tag_len).unwrap_or(0);
        let mut raw = claims_in(&arrival.header);
        if tag_len > 0 {
            raw.csum_start = raw.csum_start.saturating_add(4);
        }
        let claims = raw.check(length)?;
        if let Some(gso) = claims.gso.filter(|gso| gso.kind == GsoKind::Udp) {
            self.datagrams += length.div_ceil(u32::from(gso.size).max(1));
        }
        frame.meta = Metadata::new(port, length, claims);
        frame.payload = Span::default();
        if rest.len > 0 {
            self.segments.push(rest).map_err(|_| DropReason::TooLong)?;
            frame.payload = span(first, 1);
        }
        self.vouched |= u64::from(arrival.header[0] & FLAG_DATA_VALID != 0) << (self.filled % BURST_FRAMES);
        self.filled += 1;
        self.bytes += u64::from(length);
        Ok(())
    }
}

fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
