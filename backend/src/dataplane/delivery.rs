//! From the switch's decisions to the receivers' rings: the copies are made here.

mod collector;
mod coupling;
mod merging;
mod shaped;
mod tunnelled;

#[cfg(test)]
mod tests;

pub(super) use collector::{Collector, Released};
pub(super) use shaped::Passing;
pub(super) use tunnelled::{
    Before, Encapsulating, Reply, TunnelWork, count_sent, tunnel_capabilities, uplink_of,
};

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use viaduct_switch::offload::{Capabilities, Checksums, Segmenter, Treatment, finish_checksum};
use viaduct_switch::{Claims, DropReason, Frame, Nanos, Policy, PortIndex, RawClaims, Switch, TagStack};

use viaduct_switch::tunnel::is_vtep_port;
use viaduct_switch::vlan::{TAG_LEN, TAGS_MAX};

use super::offers::Offers;
use super::outlet::{Outcome, Outlet, ReceiveQueue};
use super::sync::primitives::MutexGuard;
use super::tap::Notes;
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
        self.sort();
        self.sends.chunk_by(|a, b| a.to == b.to)
    }

    /// The same, but those to VTEPs that `share` an uplink together, so that they leave in one go: as many as a burst has frames, which is
    /// what there is room for behind this.
    pub(super) fn visits(
        &mut self,
        share: impl Fn(PortIndex, PortIndex) -> bool,
    ) -> impl Iterator<Item = &[Send]> {
        self.sort();
        let mut rest = &self.sends[..];
        std::iter::from_fn(move || {
            let mut len = first_group(rest);
            while let Some((last, next)) = len.checked_sub(1).and_then(|at| rest.get(at)).zip(rest.get(len)) {
                let are_vteps = is_vtep_port(last.to) && is_vtep_port(next.to);
                let longer = len + if are_vteps { first_group(rest.get(len..)?) } else { BURST_FRAMES };
                if longer > BURST_FRAMES || !share(last.to, next.to) {
                    break;
                }
                len = longer;
            }
            let (visit, others) = rest.split_at_checked(len)?;
            rest = others;
            (!visit.is_empty()).then_some(visit)
        })
    }

    fn sort(&mut self) {
        if self.mixed {
            self.sends.sort_unstable();
        }
    }
}

/// How many sends at the beginning are to one port.
#[inline]
fn first_group(sends: &[Send]) -> usize {
    sends.chunk_by(|a, b| a.to == b.to).next().map_or(0, <[Send]>::len)
}

/// Room for a frame that has to be changed before it can be delivered.
pub(super) struct Workshop {
    whole: Vec<u8>,
    segment: Vec<u8>,
    /// The identification of the next datagram that has to be fragmented.
    fragment_id: u32,
    /// What becomes of frames that may be merged.
    plan: merging::Plan,
    /// What putting frames into tunnels needs.
    pub(super) tunnels: TunnelWork,
}

impl Workshop {
    #[expect(clippy::cast_possible_truncation, reason = "any 32 random bits will do")]
    pub(super) fn new() -> Self {
        let fragment_id = RandomState::new().hash_one(0) as u32;
        let (whole, segment) = (Vec::with_capacity(FRAME_MAX), vec![0; FRAME_MAX]);
        Self { whole, segment, fragment_id, plan: merging::Plan::new(), tunnels: TunnelWork::default() }
    }

    /// The same, for who gives packets to gateways, by these.
    pub(super) fn of(offers: &Arc<Offers>) -> Self {
        let mut workshop = Self::new();
        workshop.tunnels.offers = Arc::clone(offers);
        workshop
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

    /// Gives `take` the frame as plain ones without claims: cut if it is a super-frame, its checksum finished. Says whether it
    /// took the first one; what has wrong claims is nothing, which was taken.
    #[cold]
    fn finish(
        &mut self,
        head: &[u8],
        rest: &[Segment],
        claims: Claims,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        self.collect(head, rest);
        if claims.gso.is_none() {
            let finished = claims.checksum.map_or(Ok(()), |sum| finish_checksum(&mut self.whole, sum));
            return finished.is_err() || take(&self.whole);
        }
        let Self { whole, segment, fragment_id, .. } = self;
        *fragment_id = fragment_id.wrapping_add(1);
        let Ok(mut segmenter) = Segmenter::new(whole, &claims, Checksums::Finished, *fragment_id) else {
            return true;
        };
        let mut had_room = None;
        while let Ok(Some(next)) = segmenter.next_into(segment) {
            let taken = take(segment.get(..next.length).unwrap_or_default());
            if !*had_room.get_or_insert(taken) || !taken {
                break;
            }
        }
        had_room.unwrap_or(true)
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

/// What takes frames in the form of their receiver: its queue, or what stands before that.
pub(super) trait Taker {
    /// Takes one frame. `rest` must stay where it is until the visit ends.
    fn take(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason>;

    /// Whether a tunnel's datagrams may come as trains: not to what counts and cuts them one by one.
    fn takes_trains(&self) -> bool {
        false
    }

    /// What is to be done with a frame before it is taken, for a receiver of these capabilities.
    #[inline]
    fn treatment(&self, receiver: Capabilities, claims: &Claims, head: &[u8]) -> Treatment {
        receiver.treatment(claims, head)
    }
}

impl Taker for ReceiveQueue {
    #[inline]
    fn take(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        self.send(header, head, rest, length, outcome)
    }

    fn takes_trains(&self) -> bool {
        true
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
    /// The time.
    pub(super) now: Nanos,
    /// Where it is noted which frames receivers lose, while somebody watches.
    pub(super) notes: Option<&'a mut Notes>,
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
        let before = Before::of(self.policy, outlet, group);
        queue.prepare(group.len(), &mut outcome);
        if self.may_merge(outlet.capabilities, group) && !before.is_tunnel() {
            self.merged(outlet, &mut queue, group, &mut outcome, &before);
        } else {
            self.each(outlet, &mut queue, group, &mut outcome, &before);
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
        before: &Before<'_>,
    ) {
        for (at, send) in group.iter().enumerate() {
            if let Some(next) = group.get(at + 1) {
                self.fetch(next);
            }
            if let Err(reason) = self.one(outlet, queue, send, outcome, before) {
                self.lose(outlet.port, &[send.slot], reason);
            }
        }
    }

    /// Counts frames that a receiver loses.
    #[cold]
    pub(super) fn lose(&mut self, receiver: PortIndex, slots: &[u8], reason: DropReason) {
        self.switch.counters().port(receiver).add_drops(reason, slots.len() as u64);
        if let Some(notes) = &mut self.notes {
            slots.iter().for_each(|slot| notes.note_lost(usize::from(*slot), receiver, reason));
        }
    }

    /// The way out of the uplink by which frames to a VTEP leave.
    #[cold]
    pub(super) fn uplink_of<'o>(
        &self,
        outlets: &'o [Option<Arc<Outlet>>],
        vtep: PortIndex,
    ) -> Option<&'o Arc<Outlet>> {
        tunnelled::uplink_of(self.switch, self.policy?, outlets, vtep)
    }

    /// Frames for a port whose driver does not run, or none of whose links sends: a flood passes it by, the rest is counted
    /// there.
    pub(super) fn pass_by(&mut self, group: &[Send]) {
        for send in group.iter().filter(|send| !send.is_flooded()) {
            self.lose(send.to, &[send.slot], DropReason::ReceiverDown);
        }
    }

    #[inline(always)]
    fn one(
        &mut self,
        outlet: &Outlet,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
        before: &Before<'_>,
    ) -> Result<(), DropReason> {
        match before {
            Before::Nothing => self.frame(&outlet.capabilities, taker, send, outcome),
            Before::Tags(tags) => self.tagged(outlet, taker, send, outcome, tags),
            Before::Tunnel => self.tunnelled(outlet, taker, send, outcome),
        }
    }

    /// Has the payload of the frame that comes next fetched while this one is copied.
    #[inline]
    fn fetch(&self, send: &Send) {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return };
        frame.payload.of(self.segments).iter().for_each(prefetch_ahead);
    }

    #[inline]
    fn frame(
        &mut self,
        receiver: &Capabilities,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return Ok(()) };
        if frame.meta.claims != Claims::default() {
            return self.claiming(receiver, taker, send, outcome);
        }
        taker.take(&[0; 12], frame.head.bytes(), frame.payload.of(self.segments), frame.meta.length, outcome)
    }

    /// Delivers a frame that claims something, as the receiver takes it.
    #[inline(never)]
    fn claiming(
        &mut self,
        receiver: &Capabilities,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return Ok(()) };
        let (claims, head, rest) = (frame.meta.claims, frame.head.bytes(), frame.payload.of(self.segments));
        match taker.treatment(*receiver, &claims, head) {
            Treatment::AsIs => {
                taker.take(&header_of(claims.to_raw(head)), head, rest, frame.meta.length, outcome)
            }
            Treatment::FinishChecksum => {
                self.workshop.collect(head, rest);
                self.finished(taker, claims, outcome)
            }
            Treatment::Segment(checksums) => {
                self.workshop.collect(head, rest);
                self.cut(taker, claims, checksums, outcome)
            }
        }
    }

    /// Delivers a frame to a receiver that wants tags before it: they are put into the room before its head, where the
    /// addresses make way for them, and taken off again.
    fn tagged(
        &mut self,
        outlet: &Outlet,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
        tags: &viaduct_switch::TagsOf<'_>,
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get_mut(usize::from(send.slot)) else { return Ok(()) };
        let tags = tags.of(&frame.meta).ok_or(DropReason::NoNetwork)?;
        frame.put_tags(&tags)?;
        let delivered = self.frame(&outlet.capabilities, taker, send, outcome);
        if let Some(frame) = self.frames.get_mut(usize::from(send.slot)) {
            frame.take_back(&tags);
        }
        delivered
    }

    /// Delivers the frame in the workshop to a receiver that wants its checksum finished.
    fn finished(
        &mut self,
        taker: &mut impl Taker,
        claims: Claims,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let whole = &mut self.workshop.whole;
        if let Some(checksum) = claims.checksum {
            finish_checksum(whole, checksum)?;
        }
        taker.take(&[0; 12], whole, &[], length_of(whole), outcome)
    }

    /// Delivers the frame in the workshop to a receiver that can't take super-frames of its kind.
    fn cut(
        &mut self,
        taker: &mut impl Taker,
        claims: Claims,
        checksums: Checksums,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let Workshop { whole, segment, fragment_id, .. } = &mut *self.workshop;
        *fragment_id = fragment_id.wrapping_add(1);
        let mut segmenter = Segmenter::new(whole, &claims, checksums, *fragment_id)?;
        while let Some(next) = segmenter.next_into(segment)? {
            let bytes = segment.get(..next.length).unwrap_or_default();
            taker.take(&header_of(next.claims.to_raw(bytes)), bytes, &[], length_of(bytes), outcome)?;
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
