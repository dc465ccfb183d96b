//! From the switch's decisions to the receivers' rings: the copies are made here.

mod merging;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use viaduct_switch::offload::{Checksums, Segmenter, Treatment, finish_checksum};
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, NetworkIndex, Policy, PortIndex, RawClaims, Switch, TagStack, TagsOf,
};

use viaduct_switch::vlan::{TAG_LEN, TAGS_MAX};

use super::outlet::{Outcome, Outlet, ReceiveQueue};
use super::replicator::{Flood, Replicator};
use super::shared::Reporter;
use super::sync::primitives::MutexGuard;
use super::tap::{Notes, SampleFate};
use crate::memory::Segment;
use crate::ring::{BURST_FRAMES, Segments, Span, prefetch_ahead};

/// Bytes of the longest frame, with the tags that it may have.
pub(super) const FRAME_MAX: usize = 65_550 + TAGS_MAX * TAG_LEN;

/// One copy of a frame that leaves by one port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Send {
    pub(super) to: PortIndex,
    slot: u8,
    flooded: bool,
}

/// Receivers of a flood that get their copies within the burst; for more of them it waits its turn.
pub(super) const INLINE_RECEIVERS: usize = 8;

/// Collects where the frames of a burst go; reused from burst to burst, and never longer than a burst's frames
/// times [`INLINE_RECEIVERS`].
pub(super) struct Outbox {
    sends: Vec<Send>,
    /// They go to more than one port.
    mixed: bool,
    /// One bit for each frame of the burst that goes to all ports of its network.
    flooded: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        let sends = Vec::with_capacity(BURST_FRAMES * INLINE_RECEIVERS);
        Self { sends, mixed: false, flooded: 0 }
    }
}

/// Takes the switch's decisions about a burst: short ways into the outbox, long floods to the replicator.
pub(super) struct Collector<'a> {
    pub(super) outbox: &'a mut Outbox,
    pub(super) replicator: &'a mut Replicator,
    pub(super) outlets: &'a [Option<Arc<Outlet>>],
    pub(super) segments: &'a Segments,
    /// Takes control frames.
    pub(super) reporter: &'a Reporter,
    /// The link by which the burst came in.
    pub(super) link: u8,
    /// Floods for which there was no room.
    pub(super) refused: u64,
    /// Where it is noted what becomes of the frames, while somebody watches.
    pub(super) notes: Option<&'a mut Notes>,
}

impl Egress<Span> for Collector<'_> {
    #[inline]
    fn send(&mut self, to: PortIndex, slot: usize, _frame: &Frame<Span>) {
        self.outbox.push(to, slot, false);
    }

    fn flood(&mut self, network: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<Span>) {
        if self.is_short(receivers, frame) {
            self.outbox.flooded |= 1 << (slot % 64);
            for &to in receivers.iter().filter(|&&port| port != frame.meta.source) {
                self.outbox.push(to, slot, true);
            }
            return;
        }
        let Span { first, count } = frame.payload;
        let flood = Flood {
            meta: &frame.meta,
            network,
            head: frame.head.bytes(),
            rest: self.segments.get(first as usize, count as usize),
            receivers,
        };
        let is_taken = self.replicator.take(&flood);
        self.refused += u64::from(!is_taken);
        let others = receivers.iter().filter(|port| **port != frame.meta.source).count();
        let others = u16::try_from(others).unwrap_or(u16::MAX);
        self.note(
            slot,
            match is_taken {
                true => SampleFate::Flooded(network, others),
                false => SampleFate::Dropped(DropReason::FloodQueueFull),
            },
        );
    }

    #[inline]
    fn dropped(&mut self, slot: usize, _frame: &Frame<Span>, reason: DropReason) {
        self.note(slot, SampleFate::Dropped(reason));
    }

    #[cold]
    fn punt(&mut self, slot: usize, frame: &Frame<Span>) -> bool {
        self.note(slot, SampleFate::Punted);
        let reporter = self.reporter;
        reporter.punt(frame.meta.source, self.link, |room| {
            let head = frame.head.bytes();
            let (start, rest) = room.split_at_mut(head.len());
            start.copy_from_slice(head);
            head.len() + self.read(frame, rest)
        })
    }

    fn read(&mut self, frame: &Frame<Span>, to: &mut [u8]) -> usize {
        let segments = self.segments.get(frame.payload.first as usize, frame.payload.count as usize);
        let mut filled = 0;
        for segment in segments {
            let room = to.get_mut(filled..).unwrap_or_default();
            let len = room.len().min(segment.len as usize);
            // SAFETY: the segment is at least `len` bytes of mapped guest memory, and `room` is as long; the
            // two cannot overlap, since `room` is the worker's own.
            unsafe { room.as_mut_ptr().copy_from_nonoverlapping(segment.host, len) };
            filled += len;
        }
        filled
    }
}

impl Collector<'_> {
    /// Notes what became of a frame, if somebody watches.
    #[inline]
    fn note(&mut self, slot: usize, fate: SampleFate) {
        if let Some(notes) = &mut self.notes {
            notes.note(slot, fate);
        }
    }

    /// Whether a flood is carried out within the burst: it has few receivers, which take it as it is, and none
    /// of the same source waits that it would overtake.
    fn is_short(&self, receivers: &[PortIndex], frame: &Frame<Span>) -> bool {
        let source = frame.meta.source;
        if receivers.len() > INLINE_RECEIVERS + 1 || self.replicator.holds(source) {
            return false;
        }
        let others = || receivers.iter().filter(|&&port| port != source);
        let (claims, head) = (frame.meta.claims, frame.head.bytes());
        let takes_it = |port: &PortIndex| match self.outlets.get(port.get()) {
            Some(Some(outlet)) => outlet.capabilities.treatment(&claims, head) == Treatment::AsIs,
            _ => true,
        };
        let plain = claims == Claims::default() || others().count() == 1 || others().all(takes_it);
        plain && others().count() <= INLINE_RECEIVERS
    }
}

impl Outbox {
    #[inline]
    pub(super) fn push(&mut self, to: PortIndex, slot: usize, flooded: bool) {
        self.mixed |= self.sends.last().is_some_and(|last| last.to != to);
        let slot = u8::try_from(slot).unwrap_or(u8::MAX);
        self.sends.push(Send { to, slot, flooded });
    }

    pub(super) fn clear(&mut self) {
        self.sends.clear();
        self.mixed = false;
        self.flooded = 0;
    }

    /// The ports to which frames go, with the frames' positions.
    pub(super) fn sends(&self) -> impl Iterator<Item = (PortIndex, usize)> {
        self.sends.iter().map(|send| (send.to, usize::from(send.slot)))
    }

    /// The frames that go to all ports of their network, a bit each.
    pub(super) fn flooded(&self) -> u64 {
        self.flooded
    }

    /// The ports to which something goes, in ascending order.
    pub(super) fn receivers(&mut self) -> impl Iterator<Item = PortIndex> {
        self.groups().filter_map(|group| group.first().map(|first| first.to))
    }

    /// The sends of each port in turn, in the order in which the frames came.
    pub(super) fn groups(&mut self) -> impl Iterator<Item = &[Send]> {
        if self.mixed {
            self.sends.sort_unstable();
        }
        self.sends.chunk_by(|a, b| a.to == b.to)
    }
}

/// Room for a frame that has to be changed before it can be delivered.
pub(super) struct Workshop {
    whole: Vec<u8>,
    segment: Vec<u8>,
    /// The identification of the next datagram that has to be fragmented.
    fragment_id: u32,
    /// What becomes of frames that may be merged.
    plan: merging::Plan,
}

impl Workshop {
    #[expect(clippy::cast_possible_truncation, reason = "any 32 random bits will do")]
    pub(super) fn new() -> Self {
        let fragment_id = RandomState::new().hash_one(0) as u32;
        let (whole, segment) = (Vec::with_capacity(FRAME_MAX), vec![0; FRAME_MAX]);
        Self { whole, segment, fragment_id, plan: merging::Plan::new() }
    }

    /// Room for one segment, and the identification for the next frame that is cut.
    pub(super) fn for_cutting(&mut self) -> (&mut [u8], u32) {
        self.fragment_id = self.fragment_id.wrapping_add(1);
        (&mut self.segment, self.fragment_id)
    }

    /// Room with a copy of `frame` behind tags, if there are some; [`Workshop::give_back`] takes it.
    pub(super) fn take_whole(&mut self, frame: &[u8], tags: &TagStack) -> Vec<u8> {
        let mut whole = std::mem::take(&mut self.whole);
        whole.clear();
        if let Some((addresses, behind)) = frame.split_at_checked(12).filter(|_| !tags.is_empty()) {
            for part in [addresses, tags.bytes(), behind] {
                whole.extend_from_slice(part);
            }
        }
        whole
    }

    /// Takes back the room that [`Workshop::take_whole`] gave.
    pub(super) fn give_back(&mut self, whole: Vec<u8>) {
        self.whole = whole;
    }

    /// The whole frame as an owned copy.
    fn collect(&mut self, head: &[u8], rest: &[Segment]) {
        self.whole.clear();
        self.whole.extend_from_slice(head);
        for segment in rest {
            let (at, len) = (self.whole.len(), segment.len as usize);
            if at + len > FRAME_MAX {
                return;
            }
            self.whole.resize(at + len, 0);
            // SAFETY: the segment is `len` bytes of mapped guest memory; `whole` was just made as much longer.
            unsafe { self.whole.as_mut_ptr().add(at).copy_from_nonoverlapping(segment.host, len) };
        }
    }
}

/// What delivering a burst needs.
pub(super) struct Delivered<'a> {
    pub(super) switch: &'a Switch,
    /// What tells the tags that receivers want; `None` for control frames, which have none.
    pub(super) policy: Option<&'a Policy>,
    /// While a frame is delivered to a receiver that wants tags, they stand in its head's room.
    pub(super) frames: &'a mut [Frame<Span>],
    pub(super) segments: &'a Segments,
    pub(super) workshop: &'a mut Workshop,
    /// If frames may be merged: those whose checksums were found to be right, a bit each.
    pub(super) mergeable: Option<u64>,
}

impl Delivered<'_> {
    /// The judged head of a frame.
    pub(super) fn head(&self, send: Send) -> &[u8] {
        self.frames.get(usize::from(send.slot)).map_or(&[], |frame| frame.head.bytes())
    }

    /// Puts the frames of one group into a receiver's queue, and gives up the turn at it.
    pub(super) fn deliver(
        &mut self,
        outlet: &Outlet,
        mut queue: MutexGuard<'_, ReceiveQueue>,
        group: &[Send],
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let tags = self.policy.and_then(|policy| policy.tags_of(outlet.port));
        queue.prepare(group.len(), &mut outcome);
        if self.may_merge(outlet.capabilities, group) {
            self.merged(outlet, &mut queue, group, &mut outcome, tags.as_ref());
        } else {
            self.each(outlet, &mut queue, group, &mut outcome, tags.as_ref());
        }
        queue.finish(&mut outcome);
        drop(queue);
        count(self.switch, outlet.port, &outcome);
        outcome
    }

    /// Puts the frames of one group into a receiver's queue as they came.
    #[inline]
    fn each(
        &mut self,
        outlet: &Outlet,
        queue: &mut ReceiveQueue,
        group: &[Send],
        outcome: &mut Outcome,
        tags: Option<&TagsOf<'_>>,
    ) {
        for (at, send) in group.iter().enumerate() {
            if let Some(next) = group.get(at + 1) {
                self.fetch(next);
            }
            if let Err(reason) = self.one(outlet, queue, send, outcome, tags) {
                self.switch.counters().port(outlet.port).add_drops(reason, 1);
            }
        }
    }

    #[inline]
    fn one(
        &mut self,
        outlet: &Outlet,
        queue: &mut ReceiveQueue,
        send: &Send,
        outcome: &mut Outcome,
        tags: Option<&TagsOf<'_>>,
    ) -> Result<(), DropReason> {
        match tags {
            None => self.frame(outlet, queue, send, outcome),
            Some(tags) => self.tagged(outlet, queue, send, outcome, tags),
        }
    }

    /// Has the payload of the frame that comes next fetched while this one is copied.
    #[inline]
    fn fetch(&self, send: &Send) {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return };
        for segment in self.segments.get(frame.payload.first as usize, frame.payload.count as usize) {
            prefetch_ahead(segment);
        }
    }

    #[inline]
    fn frame(
        &mut self,
        outlet: &Outlet,
        queue: &mut ReceiveQueue,
        send: &Send,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return Ok(()) };
        let (claims, head) = (frame.meta.claims, frame.head.bytes());
        let rest = self.segments.get(frame.payload.first as usize, frame.payload.count as usize);
        if claims == Claims::default() {
            return queue.send(&[0; 12], head, rest, frame.meta.length, outcome);
        }
        match outlet.capabilities.treatment(&claims, head) {
            Treatment::AsIs => {
                queue.send(&header_of(claims.to_raw(head)), head, rest, frame.meta.length, outcome)
            }
            Treatment::FinishChecksum => {
                self.workshop.collect(head, rest);
                self.finished(queue, claims, outcome)
            }
            Treatment::Segment(checksums) => {
                self.workshop.collect(head, rest);
                self.cut(queue, claims, checksums, outcome)
            }
        }
    }

    /// Delivers a frame to a receiver that wants tags before it: they are put into the room before its head, where the
    /// addresses make way for them, and taken off again.
    fn tagged(
        &mut self,
        outlet: &Outlet,
        queue: &mut ReceiveQueue,
        send: &Send,
        outcome: &mut Outcome,
        tags: &TagsOf<'_>,
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get_mut(usize::from(send.slot)) else { return Ok(()) };
        let tags = tags.of(&frame.meta).ok_or(DropReason::NoNetwork)?;
        frame.put_tags(&tags)?;
        let delivered = self.frame(outlet, queue, send, outcome);
        if let Some(frame) = self.frames.get_mut(usize::from(send.slot)) {
            frame.take_back(&tags);
        }
        delivered
    }

    /// Delivers the frame in the workshop to a receiver that wants its checksum finished.
    fn finished(
        &mut self,
        queue: &mut ReceiveQueue,
        claims: Claims,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let whole = &mut self.workshop.whole;
        if let Some(checksum) = claims.checksum {
            finish_checksum(whole, checksum)?;
        }
        queue.send(&[0; 12], whole, &[], length_of(whole), outcome)
    }

    /// Delivers the frame in the workshop to a receiver that can't take super-frames of its kind.
    fn cut(
        &mut self,
        queue: &mut ReceiveQueue,
        claims: Claims,
        checksums: Checksums,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let Workshop { whole, segment, fragment_id, .. } = &mut *self.workshop;
        *fragment_id = fragment_id.wrapping_add(1);
        let mut segmenter = Segmenter::new(whole, &claims, checksums, *fragment_id)?;
        while let Some(next) = segmenter.next_into(segment)? {
            let bytes = segment.get(..next.length).unwrap_or_default();
            queue.send(&header_of(next.claims.to_raw(bytes)), bytes, &[], length_of(bytes), outcome)?;
        }
        Ok(())
    }
}

/// Adds what became of frames for `port` to its counters.
pub(super) fn count(switch: &Switch, port: PortIndex, outcome: &Outcome) {
    let counters = switch.counters().port(port);
    counters.add_sent(outcome.sent);
    counters.add_drops(DropReason::SmallBuffer, outcome.lost);
    counters.add_drops(DropReason::ReceiverDown, outcome.abandoned);
    counters.add_drops(DropReason::DeviceRefused, outcome.refused);
    counters.add_drops(DropReason::NoBuffer, outcome.unsent);
}

pub(super) fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The `virtio_net_hdr` for a receiver, `num_buffers` left 0 (virtio 1.2, 5.1.6.1). Its first eight bytes are put
/// together in a register, since they are read in one piece soon after.
#[inline]
pub(super) fn header_of(raw: RawClaims) -> [u8; 12] {
    let words = [u16::from_le_bytes([raw.flags, raw.gso_type]), raw.hdr_len, raw.gso_size, raw.csum_start];
    let first = words.iter().rev().fold(0, |joined, word| joined << 16 | u64::from(*word));
    let mut header = [0; 12];
    header[..8].copy_from_slice(&first.to_le_bytes());
    header[8..].copy_from_slice(&u32::from(raw.csum_offset).to_le_bytes());
    header
}

impl Send {
    /// Whether the frame goes to all ports of its network.
    pub(super) fn is_flooded(self) -> bool {
        self.flooded
    }

    /// The frame's bit among those of its burst.
    pub(super) fn bit(self) -> u64 {
        1 << (self.slot % 64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use viaduct_switch::Metadata;
    use viaduct_switch::frame::Head;
    use vmm_sys_util::eventfd::EventFd;

    use super::*;
    use crate::dataplane::punts::punts;
    use crate::dataplane::replicator::FloodMemory;

    /// What a frame whose rest lies in segments of these lengths gives to a reader with `room` bytes; `span` says
    /// which of the segments are the frame's.
    fn read(lens: &[usize], span: Span, room: usize) -> Vec<u8> {
        let mut memory: Vec<Vec<u8>> = Vec::new();
        for len in lens {
            let start = memory.iter().map(Vec::len).sum::<usize>();
            // Exactly as long as the segment, so that one byte too many would be noticed by a checker of memory.
            memory.push((start..start + len).map(|byte| u8::try_from(byte % 251).unwrap()).collect());
        }
        let segments: Vec<Segment> = memory
            .iter_mut()
            .map(|part| Segment { host: part.as_mut_ptr(), len: u32::try_from(part.len()).unwrap() })
            .collect();
        let (mut outbox, mut replicator) =
            (Outbox::default(), Replicator::new(Arc::<FloodMemory>::default()));
        let (events, _) = channel();
        let wake = Arc::new(EventFd::new(0).unwrap());
        let reporter = Reporter { events, wake, punts: punts().0 };
        let mut collector = Collector {
            outbox: &mut outbox,
            replicator: &mut replicator,
            outlets: &[],
            segments: &Segments::of(&segments),
            reporter: &reporter,
            link: 0,
            refused: 0,
            notes: None,
        };
        let meta = Metadata::new(PortIndex::new(0).unwrap(), 0, Claims::default());
        let frame = Frame { head: Head::default(), meta, payload: span };
        // More than the reader asks for, to see that nothing is written behind it.
        let mut buffer = vec![0xee; room + 64];
        let filled = collector.read(&frame, &mut buffer[..room]);
        assert!(buffer[filled..].iter().all(|byte| *byte == 0xee), "bytes behind what was read");
        buffer.truncate(filled);
        buffer
    }

    #[test]
    fn what_follows_a_head_is_read_from_all_of_its_segments_as_far_as_there_is_room() {
        let all: Vec<u8> = (0..3000).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        for lens in [&[][..], &[0], &[1], &[1500], &[0, 7, 0, 1, 992], &[1000, 1000, 1000]] {
            let whole: usize = lens.iter().sum();
            let span = Span { first: 0, count: u32::try_from(lens.len()).unwrap() };
            for room in [0, 1, 2, 7, 8, 999, 1000, 1001, 1500, 2999, 3000, 3001] {
                assert_eq!(read(lens, span, room), all[..whole.min(room)], "{lens:?} into {room}");
            }
        }
    }

    #[test]
    fn only_a_frames_own_segments_are_read() {
        let byte = |at: usize| u8::try_from(at % 251).unwrap();
        let own = read(&[10, 20, 30, 40], Span { first: 1, count: 2 }, 1000);
        assert_eq!(own, (10..60).map(byte).collect::<Vec<_>>());
        // A span that is no part of the list.
        assert!(read(&[10, 20], Span { first: 1, count: 2 }, 1000).is_empty());
        assert!(read(&[], Span { first: u32::MAX, count: 1 }, 1000).is_empty());
    }
}
