//! The worker's side: its trees are seen to once a round, as far as their times have come.

use std::time::Instant;

use super::Leaving;
use crate::dataplane::shared::elapsed;
use crate::dataplane::steering::seconds;
use crate::dataplane::visits::visitor;
use crate::dataplane::worker::Worker;

impl Worker {
    /// Lets frames depart that are due.
    #[inline]
    pub(in crate::dataplane) fn see_to_trees(&mut self, now: Instant) {
        if self.shaping.next().is_some_and(|next| next <= elapsed(self.started, now)) {
            self.depart(now);
        }
    }

    fn depart(&mut self, now: Instant) {
        let leaving = Leaving {
            switch: &self.switch,
            outlets: &self.outlets,
            now: elapsed(self.started, now),
            now_s: seconds(now - self.started),
        };
        let mut visited = visitor(&self.shared, &self.reporter, &mut self.waiting, now);
        self.shaping.see_to_trees(&leaving, &mut visited);
    }
}
