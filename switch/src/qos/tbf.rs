//! A token bucket before a queue: no more than a rate, whatever waits.
//!
//! As Linux's `sch_tbf`, but for one thing: a frame that is longer than the burst waits until the bucket is full and is
//! owed for, where Linux drops it. So a small burst costs time, and no frame is refused for ever.

use super::discipline::{Backlog, Discipline, Next, Queue, Work};
use super::item::{Item, Items};
use super::plan::TbfPlan;
use super::rate::Tokens;
use crate::drops::DropReason;
use crate::time::Nanos;

/// The bucket, the one of its peak rate, and what waits for them.
#[derive(Debug)]
pub(crate) struct Tbf {
    tokens: Tokens,
    peak: Option<Tokens>,
    queue: Queue,
    /// Out of the queue, but not yet to depart: which one a queue gives may change by the time.
    held: Option<Item>,
}

impl Tbf {
    pub(crate) fn new(plan: &TbfPlan, seed: u64, now: Nanos) -> Self {
        Self {
            tokens: Tokens::new(plan.rate, plan.burst, now),
            peak: plan.peak.map(|(rate, burst)| Tokens::new(rate, burst, now)),
            queue: Queue::new(&plan.queue, seed, now),
            held: None,
        }
    }

    /// In the place of another one: what waits goes on waiting, and the buckets hold what they held.
    pub(crate) fn succeeding(self, before: Self, work: &mut Work<'_>, spent: &mut Vec<Queue>) -> Self {
        let now = work.now;
        let peak = self.peak.map(|peak| match before.peak {
            Some(before) => peak.succeeding(before, now),
            None => peak,
        });
        Self {
            tokens: self.tokens.succeeding(before.tokens, now),
            peak,
            queue: self.queue.succeeding(before.queue, work, spent),
            held: before.held,
        }
    }

    /// When the tokens for `length` bytes are there; in the past if they are.
    fn ready_at(&mut self, now: Nanos, length: u32) -> Nanos {
        self.tokens.refill(now);
        let ready = self.tokens.covers_at(length);
        let Some(peak) = &mut self.peak else { return ready };
        peak.refill(now);
        ready.max(peak.covers_at(length))
    }

    fn charge(&mut self, length: u32) {
        self.tokens.charge(length);
        if let Some(peak) = &mut self.peak {
            peak.charge(length);
        }
    }
}

impl Discipline for Tbf {
    fn enqueue(&mut self, item: Item, work: &mut Work<'_>) {
        self.queue.as_discipline_mut().enqueue(item, work);
    }

    fn dequeue(&mut self, work: &mut Work<'_>) -> Next {
        let item = match self.held.take() {
            Some(item) => item,
            None => match self.queue.as_discipline_mut().dequeue(work) {
                Next::Item(item) => item,
                other => return other,
            },
        };
        let ready = self.ready_at(work.now, item.length);
        if ready > work.now {
            self.held = Some(item);
            return Next::At(ready);
        }
        self.charge(item.length);
        Next::Item(item)
    }

    fn admit(&mut self, now: Nanos, length: u32) -> bool {
        let admitted = self.held.is_none()
            && self.ready_at(now, length) <= now
            && self.queue.as_discipline_mut().admit(now, length);
        if admitted {
            self.charge(length);
        }
        admitted
    }

    fn refuses(&self, now: Nanos, item: &Item) -> Option<DropReason> {
        self.queue.as_discipline().refuses(now, item)
    }

    fn yields(&self) -> bool {
        self.queue.as_discipline().yields()
    }

    fn shed(&mut self, work: &mut Work<'_>) -> bool {
        self.queue.as_discipline_mut().shed(work)
    }

    fn remove(&mut self, items: &mut Items, wanted: &mut dyn FnMut(&Item) -> bool) {
        self.held.take_if(|held| wanted(held));
        self.queue.as_discipline_mut().remove(items, wanted);
    }

    fn drain(&mut self, items: &mut Items) -> Option<Item> {
        self.held.take().or_else(|| self.queue.as_discipline_mut().drain(items))
    }

    fn backlog(&self) -> Backlog {
        let mut backlog = self.queue.as_discipline().backlog();
        if let Some(item) = &self.held {
            backlog.count(item);
        }
        backlog
    }
}
