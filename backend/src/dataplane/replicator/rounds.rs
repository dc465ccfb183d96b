//! The worker's side: floods that wait are served once a round.

use std::time::Instant;

use viaduct_switch::{DropReason, PortIndex};

use super::Receivers;
use crate::dataplane::shared::elapsed;
use crate::dataplane::steering::seconds;
use crate::dataplane::visits::visitor;
use crate::dataplane::worker::Worker;

impl Worker {
    /// Delivers one round's worth of copies of floods.
    #[inline]
    pub(in crate::dataplane) fn replicate(&mut self, now: Instant) {
        if !self.replicator.is_empty() {
            self.replicate_to(None, now);
        }
    }

    /// Before a burst is delivered: counts its floods for which there was no room, and lets receivers have earlier
    /// frames of the same station first, which were flooded when its port was unknown.
    #[inline]
    pub(in crate::dataplane) fn catch_up(&mut self, refused: u64, now: Instant) {
        if refused == 0 && self.replicator.is_empty() {
            return;
        }
        let Some(source) = self.burst.frames().0.first().map(|frame| frame.meta.source) else { return };
        self.switch.counters().port(source).add_drops(DropReason::FloodQueueFull, refused);
        if self.replicator.holds_unicast(source) {
            self.replicate_to(Some(source), now);
        }
    }

    fn replicate_to(&mut self, source: Option<PortIndex>, now: Instant) {
        let mut visited = visitor(&self.shared, &self.reporter, &mut self.waiting, now);
        let (switch, outlets, workshop) = (&self.switch, &self.outlets, &mut self.workshop);
        let policy = self.state.policy();
        let (now, now_s) = (elapsed(self.started, now), seconds(now - self.started));
        let shaping = &mut self.shaping;
        let mut receivers = Receivers { switch, policy, outlets, workshop, shaping, now, now_s };
        let Some(source) = source else { return self.replicator.serve(&mut receivers, &mut visited) };
        self.replicator.serve_first(source, self.outbox.receivers(), &mut receivers, &mut visited);
    }
}
