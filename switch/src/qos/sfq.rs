//! Stochastic fair queueing (McKenney, "Stochastic Fairness Queueing", 1990), as Linux's `sch_sfq` does it.
//!
//! Flows are spread over buckets, which take turns by bytes. When there is no room, the bucket with most frames loses its
//! oldest. Every now and then the hash changes, so that flows that share a bucket do so only for a while; what waits is
//! spread anew then, each flow in its order.

use std::collections::VecDeque;

use super::discipline::{Backlog, Discipline, Next, Work};
use super::item::{Chain, Item, Items};
use super::plan::SfqPlan;
use super::{bucket_of, steps};
use crate::drops::DropReason;
use crate::random::Random;
use crate::time::Nanos;

/// No bucket.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    chain: Chain,
    frames: u32,
    /// Bytes that it may still send in this turn; what it sent too much, if negative.
    allotment: i64,
    /// Whether it takes turns.
    is_listed: bool,
    /// Its neighbours among those with as many frames.
    next: u32,
    previous: u32,
}

const EMPTY: Bucket =
    Bucket { chain: Chain::EMPTY, frames: 0, allotment: 0, is_listed: false, next: NONE, previous: NONE };

/// All buckets.
#[derive(Debug)]
pub(crate) struct Sfq {
    plan: SfqPlan,
    buckets: Box<[Bucket]>,
    turns: VecDeque<u32>,
    /// The first bucket of each number of frames, from 0 on.
    by_frames: Box<[u32]>,
    /// The greatest number of frames that a bucket has.
    most: u32,
    random: Random,
    /// What the hash goes by now, and until when.
    perturbation: u64,
    perturb_at: Option<Nanos>,
    backlog: Backlog,
}

impl Sfq {
    pub(crate) fn new(plan: &SfqPlan, seed: u64, now: Nanos) -> Self {
        let mut random = Random::new(seed);
        Self {
            plan: *plan,
            buckets: vec![EMPTY; plan.divisor.max(1) as usize].into(),
            turns: VecDeque::with_capacity(plan.divisor.max(1) as usize),
            by_frames: vec![NONE; plan.frames as usize + 2].into(),
            most: 0,
            perturbation: random.next_u32().into(),
            random,
            perturb_at: plan.perturb.map(|time| now + time),
            backlog: Backlog::default(),
        }
    }

    pub(crate) fn plan(&self) -> &SfqPlan {
        &self.plan
    }

    /// Changes the hash when it is time, and spreads what waits anew. That takes as many steps as frames wait, at most
    /// [`SfqPlan::FRAMES_MAX`], and seldom.
    fn perturb(&mut self, work: &mut Work<'_>) {
        let (Some(at), Some(time)) = (self.perturb_at, self.plan.perturb) else { return };
        if work.now < at {
            return;
        }
        self.perturb_at = Some(work.now + time);
        let mut all = Chain::default();
        while let Some(item) = self.drain(work.items) {
            // The place that it had is free.
            if let Err(item) = all.push(work.items, item) {
                work.drop(item, DropReason::QueueMemory);
            }
        }
        self.perturbation = self.random.next_u32().into();
        while let Some(item) = all.pop(work.items) {
            self.insert(bucket_of(&item, self.perturbation, self.buckets.len()), item, work);
        }
    }

    fn insert(&mut self, place: usize, item: Item, work: &mut Work<'_>) {
        if let Err(item) = self.buckets[place].chain.push(work.items, item) {
            return work.drop(item, DropReason::QueueMemory);
        }
        self.backlog.count(&item);
        self.count_frames(place, 1);
        let bucket = &mut self.buckets[place];
        if !bucket.is_listed {
            bucket.is_listed = true;
            bucket.allotment = self.plan.quantum.into();
            self.turns.push_back(u32::try_from(place).unwrap_or(NONE));
        }
    }

    fn take(&mut self, place: usize, items: &mut Items) -> Option<Item> {
        let item = self.buckets[place].chain.pop(items)?;
        self.backlog.remove(&item);
        self.count_frames(place, -1);
        Some(item)
    }

    /// Notes that a bucket has one frame more or less: moves it to those with as many.
    fn count_frames(&mut self, place: usize, difference: i32) {
        steps::count();
        let Bucket { frames, next, previous, .. } = self.buckets[place];
        if frames > 0 {
            match self.buckets.get_mut(previous as usize) {
                Some(previous) => previous.next = next,
                None => self.by_frames[frames as usize] = next,
            }
            if let Some(next) = self.buckets.get_mut(next as usize) {
                next.previous = previous;
            }
        }
        let frames = frames.saturating_add_signed(difference);
        let own = u32::try_from(place).unwrap_or(NONE);
        let mut next = NONE;
        if frames > 0 {
            next = std::mem::replace(&mut self.by_frames[frames as usize], own);
            if let Some(next) = self.buckets.get_mut(next as usize) {
                next.previous = own;
            }
        }
        let bucket = &mut self.buckets[place];
        (bucket.frames, bucket.next, bucket.previous) = (frames, next, NONE);
        self.most = self.most.max(frames);
        // One frame changes the greatest number by one.
        if self.most > 0 && self.by_frames[self.most as usize] == NONE {
            self.most -= 1;
        }
    }

    /// Drops the oldest of the bucket that has most frames.
    fn drop_of_longest(&mut self, reason: DropReason, work: &mut Work<'_>) -> bool {
        let longest = self.by_frames.get(self.most as usize).map_or(NONE, |place| *place);
        if self.most == 0 || longest == NONE {
            return false;
        }
        match self.take(longest as usize, work.items) {
            Some(item) => work.drop(item, reason),
            None => return false,
        }
        true
    }
}

impl Discipline for Sfq {
    fn enqueue(&mut self, item: Item, work: &mut Work<'_>) {
        self.perturb(work);
        let place = bucket_of(&item, self.perturbation, self.buckets.len());
        if self.buckets[place].frames >= self.plan.depth {
            return work.drop(item, DropReason::QueueFull);
        }
        self.insert(place, item, work);
        if self.backlog.frames > self.plan.frames {
            self.drop_of_longest(DropReason::QueueFull, work);
        }
    }

    fn dequeue(&mut self, work: &mut Work<'_>) -> Next {
        self.perturb(work);
        while let Some(place) = self.turns.front().map(|place| *place as usize) {
            steps::count();
            let bucket = &mut self.buckets[place];
            if bucket.frames == 0 {
                bucket.is_listed = false;
                self.turns.pop_front();
                continue;
            }
            if bucket.allotment <= 0 {
                bucket.allotment += i64::from(self.plan.quantum);
                self.turns.rotate_left(1);
                continue;
            }
            let Some(item) = self.take(place, work.items) else { continue };
            self.buckets[place].allotment -= i64::from(item.length);
            return Next::Item(item);
        }
        Next::Empty
    }

    fn admit(&mut self, _now: Nanos, _length: u32) -> bool {
        self.backlog.frames == 0
    }

    fn refuses(&self, now: Nanos, item: &Item) -> Option<DropReason> {
        // What waits is about to be spread anew.
        let is_void = self.perturb_at.is_some_and(|at| at <= now);
        let place = bucket_of(item, self.perturbation, self.buckets.len());
        let is_full = self.buckets.get(place)?.frames >= self.plan.depth;
        (is_full && !is_void).then_some(DropReason::QueueFull)
    }

    fn shed(&mut self, work: &mut Work<'_>) -> bool {
        self.drop_of_longest(DropReason::QueueMemory, work)
    }

    fn remove(&mut self, items: &mut Items, wanted: &mut dyn FnMut(&Item) -> bool) {
        for turn in 0..self.turns.len() {
            let place = self.turns[turn] as usize;
            let Self { buckets, backlog, .. } = self;
            let mut gone = 0;
            buckets[place].chain.remove(items, |item| {
                let goes = wanted(item) && backlog.forget(item);
                gone += u32::from(goes);
                goes
            });
            (0..gone).for_each(|_| self.count_frames(place, -1));
        }
    }

    fn drain(&mut self, items: &mut Items) -> Option<Item> {
        while let Some(place) = self.turns.front().map(|place| *place as usize) {
            if let Some(item) = self.take(place, items) {
                return Some(item);
            }
            self.buckets[place].is_listed = false;
            self.turns.pop_front();
        }
        None
    }

    fn backlog(&self) -> Backlog {
        self.backlog
    }
}
