//! What all queueing disciplines have in common.

use std::ops::Add;

use super::item::{Item, Items};
use super::plan::QueuePlan;
use super::{Fifo, FqCodel, Prio, Sfq, Tbf};
use crate::drops::DropReason;
use crate::time::Nanos;

/// Who is told of items that will not depart: frees what they stand for, and counts.
pub trait Sink {
    /// `item` is dropped.
    fn dropped(&mut self, item: Item, reason: DropReason);
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// This one departs now. If it is `marked`, its bytes have to be, too.
    Item(Item),
    /// Nothing before this time.
    At(Nanos),
    /// Nothing, since nothing waits.
    Empty,
}

/// How much waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Frames; a super-frame is one.
    pub frames: u32,
    /// Bytes on the wire.
    pub bytes: u64,
}

impl Backlog {
    #[inline]
    pub(crate) fn count(&mut self, item: &Item) {
        self.frames += 1;
        self.bytes += u64::from(item.length);
    }

    #[inline]
    pub(crate) fn remove(&mut self, item: &Item) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(item.length));
    }
}

impl Add for Backlog {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { frames: self.frames + other.frames, bytes: self.bytes + other.bytes }
    }
}

/// What a discipline works with: the time, the tree's table of items, who is told of drops.
pub(crate) struct Work<'a> {
    pub(crate) now: Nanos,
    pub(crate) items: &'a mut Items,
    pub(crate) sink: &'a mut dyn Sink,
}

impl Work<'_> {
    #[inline]
    pub(crate) fn drop(&mut self, item: Item, reason: DropReason) {
        self.sink.dropped(item, reason);
    }
}

/// A queueing discipline: the queue of a class, or of a whole tree.
pub(crate) trait Discipline {
    /// Takes `item`, or drops it or others in its favour.
    fn enqueue(&mut self, item: Item, work: &mut Work<'_>);

    /// Gives what departs now.
    fn dequeue(&mut self, work: &mut Work<'_>) -> Next;

    /// Whether a frame of `length` bytes that comes now would depart now; if so, it is reckoned as departed.
    fn admit(&mut self, now: Nanos, length: u32) -> bool;

    /// Drops something of what most waits for; `false`: it would rather lose the newcomer.
    fn shed(&mut self, work: &mut Work<'_>) -> bool;

    /// Takes something out whether or not it is due, each flow in its order.
    fn drain(&mut self, items: &mut Items) -> Option<Item>;

    /// How much waits.
    fn backlog(&self) -> Backlog;
}

/// A discipline of any kind.
#[derive(Debug)]
pub(crate) enum Queue {
    Fifo(Fifo),
    Sfq(Box<Sfq>),
    FqCodel(Box<FqCodel>),
    Tbf(Box<Tbf>),
    Prio(Box<Prio>),
}

impl Queue {
    /// An empty queue. `seed` spreads flows.
    pub(crate) fn new(plan: &QueuePlan, seed: u64, now: Nanos) -> Self {
        match plan {
            QueuePlan::Fifo(plan) => Self::Fifo(Fifo::new(plan)),
            QueuePlan::Tbf(plan) => Self::Tbf(Box::new(Tbf::new(plan, seed, now))),
            QueuePlan::Prio(plan) => Self::Prio(Box::new(Prio::new(plan, seed, now))),
            QueuePlan::Sfq(plan) => Self::Sfq(Box::new(Sfq::new(plan, seed, now))),
            QueuePlan::FqCodel(plan) => Self::FqCodel(Box::new(FqCodel::new(plan, seed))),
        }
    }

    /// The queue by another plan, with what waits in it.
    pub(crate) fn changed(self, plan: &QueuePlan, seed: u64, work: &mut Work<'_>) -> Self {
        let before = match (self, plan) {
            (Self::Fifo(queue), QueuePlan::Fifo(plan)) if queue.plan() == plan => return Self::Fifo(queue),
            (Self::Sfq(queue), QueuePlan::Sfq(plan)) if queue.plan() == plan => return Self::Sfq(queue),
            (Self::FqCodel(queue), QueuePlan::FqCodel(plan)) if queue.plan() == plan => {
                return Self::FqCodel(queue);
            }
            (Self::Tbf(queue), QueuePlan::Tbf(plan)) => {
                return Self::Tbf(Box::new(queue.changed(plan, seed, work)));
            }
            (Self::Prio(queue), QueuePlan::Prio(plan)) => match queue.changed(plan, seed, work) {
                Ok(queue) => return Self::Prio(Box::new(queue)),
                Err(queue) => Self::Prio(Box::new(queue)),
            },
            (before, _) => before,
        };
        let mut queue = Self::new(plan, seed, work.now);
        queue.take_all(before, work);
        queue
    }

    /// Puts in all that waits in another one.
    pub(crate) fn take_all(&mut self, mut from: Self, work: &mut Work<'_>) {
        while let Some(item) = from.as_discipline_mut().drain(work.items) {
            self.as_discipline_mut().enqueue(item, work);
        }
    }

    #[inline]
    pub(crate) fn as_discipline(&self) -> &dyn Discipline {
        match self {
            Self::Fifo(queue) => queue,
            Self::Sfq(queue) => &**queue,
            Self::FqCodel(queue) => &**queue,
            Self::Tbf(queue) => &**queue,
            Self::Prio(queue) => &**queue,
        }
    }

    #[inline]
    pub(crate) fn as_discipline_mut(&mut self) -> &mut dyn Discipline {
        match self {
            Self::Fifo(queue) => queue,
            Self::Sfq(queue) => &mut **queue,
            Self::FqCodel(queue) => &mut **queue,
            Self::Tbf(queue) => &mut **queue,
            Self::Prio(queue) => &mut **queue,
        }
    }
}
