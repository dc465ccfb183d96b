//! Frames of a group for a port that has a tree before its queues.

use viaduct_switch::qos::ClassCache;
use viaduct_switch::{DropReason, PortIndex};

use super::{Before, Delivered, Outcome, Outlet, Send};
use crate::dataplane::shaping::{Newcomer, Verdict, Visit};
use crate::ring::BURST_FRAMES;

/// Frames of a group that pass a tree without waiting.
pub(in crate::dataplane) struct Passing {
    sends: [Send; BURST_FRAMES],
    count: usize,
}

impl Passing {
    /// None, with room for those of a group whose first one is `first`.
    pub(in crate::dataplane) fn new(first: Send) -> Self {
        Self { sends: [first; BURST_FRAMES], count: 0 }
    }

    fn push(&mut self, send: Send) {
        if let Some(place) = self.sends.get_mut(self.count) {
            *place = send;
            self.count += 1;
        }
    }

    pub(in crate::dataplane) fn sends(&self) -> &[Send] {
        self.sends.get(..self.count).unwrap_or_default()
    }
}

impl Delivered<'_> {
    /// Asks a tree about the frames of a group: those that wait are put there in the form that the receiver takes.
    pub(in crate::dataplane) fn admit(
        &mut self,
        outlet: &Outlet,
        (visit, classes): (&mut Visit<'_>, &mut ClassCache),
        group: &[Send],
        passing: &mut Passing,
    ) {
        let before = Before::of(self.policy, outlet, group);
        for send in group {
            match self.verdict(outlet, (visit, classes), *send, &before) {
                Some(Verdict::Passes) => passing.push(*send),
                Some(Verdict::Waits(place)) => {
                    let mut keeping = visit.keep(place, outlet, self.switch);
                    let mut outcome = Outcome::default();
                    let put = self.one(outlet, &mut keeping, send, &mut outcome, &before);
                    let lost = keeping.lost();
                    if let Some(reason) = lost {
                        self.note_lost(outlet.port, *send, reason);
                    }
                    if let Err(reason) = put {
                        self.lose(outlet.port, &[send.slot], reason);
                    }
                }
                Some(Verdict::Lost(reason, frames)) => {
                    self.switch.counters().port(outlet.port).add_drops(reason, frames);
                    self.note_lost(outlet.port, *send, reason);
                }
                None => {}
            }
        }
    }

    /// Lets those who watch know of a frame that was lost, and is counted.
    fn note_lost(&mut self, receiver: PortIndex, send: Send, reason: DropReason) {
        if let Some(notes) = &mut self.notes {
            notes.note_lost(usize::from(send.slot), receiver, reason);
        }
    }

    fn verdict(
        &self,
        outlet: &Outlet,
        (visit, classes): (&mut Visit<'_>, &mut ClassCache),
        send: Send,
        before: &Before<'_>,
    ) -> Option<Verdict> {
        let frame = self.frames.get(usize::from(send.slot))?;
        let meta = &frame.meta;
        let newcomer = Newcomer {
            head: frame.head.bytes(),
            length: meta.length,
            claims: meta.claims,
            source: meta.source,
            network: self.policy.and_then(|policy| policy.network_of(meta)),
            tags_len: before.len_for(meta),
            mark: meta.marks.mark,
            receiver: before.receiver(outlet.capabilities),
        };
        Some(visit.admit(&newcomer, self.policy, (classes, self.switch)))
    }
}
