//! Segments of a flow that came by a device in one burst become super-frames for receivers that take them (GRO). It
//! happens here, where a burst's frames for one receiver are known and what it takes: for others nothing is merged, so
//! that nothing has to be cut again.
//!
//! TCP alone: a receiver's kernel cuts merged datagrams again for each socket that did not ask for them together
//! (udp(7): UDP_GRO), which few do, and counts more of a socket's memory for each.

use std::ptr;

use viaduct_switch::frame::Head;
use viaduct_switch::offload::{Behind, Capabilities, Member, SuperFrame, coalesce, sum};
use viaduct_switch::{DropReason, Frame, Metadata};

use super::{Before, Delivered, Outcome, Outlet, ReceiveQueue, Send, Span, header_of, length_of};
use crate::memory::Segment;
use crate::ring::BURST_FRAMES;

/// Room for what becomes of one receiver's frames of a burst.
#[derive(Default)]
pub(super) struct Plan {
    wholes: Vec<SuperFrame>,
    /// Where the bytes behind the head of one super-frame lie.
    pieces: Vec<Segment>,
}

impl Plan {
    pub(super) fn new() -> Self {
        // A device's frame has one piece behind its head, and a part of its head is payload.
        Self { wholes: Vec::with_capacity(BURST_FRAMES), pieces: Vec::with_capacity(2 * BURST_FRAMES) }
    }
}

impl Delivered<'_> {
    /// Whether frames of a group may become super-frames. A flood's do not, since they would be summed up for each
    /// receiver anew.
    #[inline]
    pub(super) fn may_merge(&self, capabilities: Capabilities, group: &[Send]) -> bool {
        let Capabilities { checksum, tso4, tso6, .. } = capabilities;
        self.mergeable.is_some()
            && group.len() > 1
            && checksum
            && (tso4 || tso6)
            && !group.iter().any(|send| send.is_flooded())
    }

    /// Delivers the frames of one group, merged as far as that is possible.
    pub(super) fn merged(
        &mut self,
        outlet: &Outlet,
        queue: &mut ReceiveQueue,
        group: &[Send],
        outcome: &mut Outcome,
        before: &Before<'_>,
    ) {
        let mut plan = std::mem::take(&mut self.workshop.plan);
        self.plan(outlet.capabilities, group, &mut plan.wholes);
        for whole in &plan.wholes {
            let delivered = match whole.members.as_slice() {
                [slot] => {
                    let send = Send { to: outlet.port, slot: *slot, flooded: false };
                    self.one(outlet, queue, &send, outcome, before)
                }
                _ => self.super_frame(queue, whole, &mut plan.pieces, outcome, before),
            };
            if let Err(reason) = delivered {
                self.lose(outlet.port, &whole.members, reason);
            }
        }
        self.workshop.plan = plan;
    }

    /// Finds out which frames of a group go together.
    fn plan(&self, capabilities: Capabilities, group: &[Send], wholes: &mut Vec<SuperFrame>) {
        let vouched = self.mergeable.unwrap_or(0);
        let capabilities = Capabilities { uso4: false, uso6: false, ..capabilities };
        let members = group.iter().filter_map(|send| {
            let frame = self.frames.get(usize::from(send.slot))?;
            Some(Member { place: send.slot, head: frame.head.bytes(), meta: &frame.meta })
        });
        let behind = |slot: u8| match vouched >> (slot % 64) & 1 {
            0 => Behind::Sum(self.frames.get(usize::from(slot)).map_or(0, |frame| self.sum_behind(frame))),
            _ => Behind::Vouched,
        };
        coalesce(members, capabilities, behind, wholes);
    }

    /// The sum of the bytes behind a frame's head.
    fn sum_behind(&self, frame: &Frame<Span>) -> u64 {
        // One piece at most, as devices have it.
        let sums = self.pieces_of(frame).iter().map(|piece| {
            // SAFETY: the burst came by a device (`Burst::mergeable`), whose frames lie in memory of ours or in memory
            // shared with the kernel, which writes nothing there before the burst is completed. The piece is that long.
            sum(unsafe { std::slice::from_raw_parts(piece.host, piece.len as usize) })
        });
        sums.sum()
    }

    fn pieces_of(&self, frame: &Frame<Span>) -> &[Segment] {
        frame.payload.of(self.segments)
    }

    /// Delivers one super-frame: a head of its own, and the payload of its frames where it lies.
    fn super_frame(
        &self,
        queue: &mut ReceiveQueue,
        whole: &SuperFrame,
        pieces: &mut Vec<Segment>,
        outcome: &mut Outcome,
        before: &Before<'_>,
    ) -> Result<(), DropReason> {
        let members = || whole.members.iter().filter_map(|slot| self.frames.get(usize::from(*slot)));
        let (Some(first), Some(last)) = (members().next(), members().next_back()) else { return Ok(()) };
        let length = u32::try_from(whole.length).map_err(|_| DropReason::TooLong)?;
        let meta = Metadata { length, claims: whole.claims, ..first.meta };
        let mut frame = Frame { head: Head::from_bytes(first.head.bytes()), meta, payload: Span::default() };
        whole.patch_headers(frame.head.bytes_mut(), last.head.bytes());
        pieces.clear();
        pieces.extend_from_slice(self.pieces_of(first));
        for member in members().skip(1) {
            let payload = member.head.bytes().get(whole.headers..).unwrap_or_default();
            if !payload.is_empty() {
                let host = ptr::from_ref(payload).cast::<u8>().cast_mut();
                pieces.push(Segment { host, len: length_of(payload) });
            }
            pieces.extend_from_slice(self.pieces_of(member));
        }
        if let Before::Tags(tags) = before {
            frame.put_tags(&tags.of(&frame.meta).ok_or(DropReason::NoNetwork)?)?;
        }
        let head = frame.head.bytes();
        queue.send(&header_of(frame.meta.claims.to_raw(head)), head, pieces, frame.meta.length, outcome)
    }
}
