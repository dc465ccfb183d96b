//! Flow queues with controlled delay (RFC 8290).
//!
//! Flows are spread over buckets, each of which is a queue that [`Codel`] keeps short. Buckets take turns by bytes; one
//! that had nothing waiting has its first turn before all others, so that who sends little hardly waits.

use std::collections::VecDeque;

use super::codel::{Codel, Limits, Source};
use super::discipline::{Backlog, Discipline, Next, Work};
use super::item::{Chain, Ecn, Item, Items};
use super::plan::FqCodelPlan;
use super::{bucket_of, steps};
use crate::drops::DropReason;
use crate::time::Nanos;

/// The most frames of the longest queue that are dropped at once when there is no room (RFC 8290, 4.1.3).
const BATCH: u32 = 64;

/// A bucket's queue.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    chain: Chain,
    /// Bytes that it may still send in this turn; what it sent too much, if negative.
    deficit: i64,
    codel: Codel,
    /// Whether it is in one of the lists.
    is_listed: bool,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct FqCodel {
    plan: FqCodelPlan,
    seed: u64,
    flows: Box<[Flow]>,
    /// Bytes that wait in each bucket, beside the buckets, since all are looked through for the longest one.
    bytes: Box<[u64]>,
    /// Those that have just come (RFC 8290, 4.2).
    new: VecDeque<u32>,
    old: VecDeque<u32>,
    backlog: Backlog,
}

/// One bucket, as its law sees it.
struct Bucket<'a, 'w> {
    chain: &'a mut Chain,
    bytes: &'a mut u64,
    backlog: &'a mut Backlog,
    marks: bool,
    work: &'a mut Work<'w>,
}

impl Source for Bucket<'_, '_> {
    fn pop(&mut self) -> Option<(Item, u64)> {
        steps::count();
        let item = self.chain.pop(self.work.items)?;
        *self.bytes = self.bytes.saturating_sub(u64::from(item.length));
        self.backlog.remove(&item);
        Some((item, *self.bytes))
    }

    fn signal(&mut self, item: Item) -> Option<Item> {
        if self.marks && item.ecn != Ecn::NotCapable {
            return Some(Item { marked: true, ..item });
        }
        self.work.drop(item, DropReason::QueueDelay);
        None
    }
}

impl FqCodel {
    pub(crate) fn new(plan: &FqCodelPlan, seed: u64) -> Self {
        let flows = plan.flows.max(1) as usize;
        Self {
            plan: *plan,
            seed,
            flows: vec![Flow::default(); flows].into(),
            bytes: vec![0; flows].into(),
            new: VecDeque::with_capacity(flows),
            old: VecDeque::with_capacity(flows),
            backlog: Backlog::default(),
        }
    }

    pub(crate) fn plan(&self) -> &FqCodelPlan {
        &self.plan
    }

    /// The bucket whose turn it is (RFC 8290, 4.2), and whether it is a new one.
    fn turn(&mut self) -> Option<(u32, bool)> {
        loop {
            steps::count();
            let is_new = !self.new.is_empty();
            let list = if is_new { &mut self.new } else { &mut self.old };
            let place = *list.front()?;
            let flow = &mut self.flows[place as usize];
            if flow.deficit > 0 {
                return Some((place, is_new));
            }
            flow.deficit += i64::from(self.plan.quantum);
            list.pop_front();
            self.old.push_back(place);
        }
    }

    /// The bucket whose turn it was has nothing more. A new one goes to the end of the old ones, so that nobody is new
    /// all the time (RFC 8290, 4.2).
    fn end_turn(&mut self, is_new: bool) {
        let list = if is_new { &mut self.new } else { &mut self.old };
        let Some(place) = list.pop_front() else { return };
        if is_new && !self.old.is_empty() {
            self.old.push_back(place);
        } else {
            self.flows[place as usize].is_listed = false;
        }
    }

    /// The bucket in which most bytes wait.
    fn longest(&self) -> Option<usize> {
        let longest = self.bytes.iter().enumerate().max_by_key(|(_, bytes)| **bytes);
        longest.filter(|(_, bytes)| **bytes > 0).map(|(place, _)| place)
    }

    fn is_over(&self) -> bool {
        self.backlog.frames > self.plan.frames || self.backlog.bytes > self.plan.bytes
    }

    /// Drops half of what waits longest, or as much as may be dropped at once.
    fn drop_of_longest(&mut self, reason: DropReason, work: &mut Work<'_>) -> bool {
        let Some(place) = self.longest() else { return false };
        let (flow, bytes) = (&mut self.flows[place], &mut self.bytes[place]);
        let wanted = *bytes / 2;
        let mut dropped = 0;
        while dropped < BATCH && (*bytes > wanted || dropped == 0) {
            let Some(item) = flow.chain.pop(work.items) else { break };
            *bytes = bytes.saturating_sub(u64::from(item.length));
            self.backlog.remove(&item);
            work.drop(item, reason);
            dropped += 1;
        }
        flow.codel.note_dropped(dropped);
        dropped > 0
    }
}

impl Discipline for FqCodel {
    fn enqueue(&mut self, item: Item, work: &mut Work<'_>) {
        let place = bucket_of(&item, self.seed, self.flows.len());
        let flow = &mut self.flows[place];
        if let Err(item) = flow.chain.push(work.items, item) {
            return work.drop(item, DropReason::QueueMemory);
        }
        self.bytes[place] += u64::from(item.length);
        self.backlog.count(&item);
        if !flow.is_listed {
            flow.is_listed = true;
            flow.deficit = i64::from(self.plan.quantum);
            self.new.push_back(u32::try_from(place).unwrap_or(0));
        }
        if self.is_over() {
            self.drop_of_longest(DropReason::QueueFull, work);
        }
    }

    fn dequeue(&mut self, work: &mut Work<'_>) -> Next {
        let FqCodelPlan { target, interval, quantum, .. } = self.plan;
        let limits = Limits { target, interval, least_bytes: quantum.into() };
        while let Some((place, is_new)) = self.turn() {
            let flow = &mut self.flows[place as usize];
            let mut bucket = Bucket {
                chain: &mut flow.chain,
                bytes: &mut self.bytes[place as usize],
                backlog: &mut self.backlog,
                marks: self.plan.ecn,
                work,
            };
            let Some(mut item) = flow.codel.dequeue(bucket.work.now, &limits, &mut bucket) else {
                self.end_turn(is_new);
                continue;
            };
            flow.deficit -= i64::from(item.length);
            let waited = work.now - item.arrived;
            item.marked |=
                item.ecn != Ecn::NotCapable && self.plan.ce_threshold.is_some_and(|most| waited > most);
            return Next::Item(item);
        }
        Next::Empty
    }

    fn admit(&mut self, _now: Nanos, _length: u32) -> bool {
        self.backlog.frames == 0
    }

    fn shed(&mut self, work: &mut Work<'_>) -> bool {
        self.drop_of_longest(DropReason::QueueMemory, work)
    }

    fn remove(&mut self, items: &mut Items, wanted: &mut dyn FnMut(&Item) -> bool) {
        let Self { flows, bytes, new, old, backlog, .. } = self;
        for place in new.iter().chain(old.iter()).map(|place| *place as usize) {
            let bytes = &mut bytes[place];
            flows[place].chain.remove(items, |item| {
                let goes = wanted(item) && backlog.forget(item);
                *bytes -= if goes { u64::from(item.length) } else { 0 };
                goes
            });
        }
    }

    fn drain(&mut self, items: &mut Items) -> Option<Item> {
        loop {
            let is_new = !self.new.is_empty();
            let place = *if is_new { self.new.front() } else { self.old.front() }? as usize;
            if let Some(item) = self.flows[place].chain.pop(items) {
                self.bytes[place] = self.bytes[place].saturating_sub(u64::from(item.length));
                self.backlog.remove(&item);
                return Some(item);
            }
            self.end_turn(is_new);
        }
    }

    fn backlog(&self) -> Backlog {
        self.backlog
    }
}
