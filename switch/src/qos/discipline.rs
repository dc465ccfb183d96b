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

    /// As [`Backlog::remove`], at the end of a condition.
    pub(crate) fn forget(&mut self, item: &Item) -> bool {
        self.remove(item);
        true
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

    /// Why `item`, if it came now, would be dropped itself whatever else waits, as far as that can be told beforehand.
    fn refuses(&self, _now: Nanos, _item: &Item) -> Option<DropReason> {
        None
    }

    /// Whether an item that comes later may depart before one that waits for a bucket in the queue.
    fn may_overtake(&self) -> bool {
        false
    }

    /// Whether [`Discipline::shed`] would find something.
    fn yields(&self) -> bool {
        self.backlog().frames > 0
    }

    /// Drops something of what most waits for; `false`: it would rather lose the newcomer.
    fn shed(&mut self, work: &mut Work<'_>) -> bool;

    /// Takes out all that `wanted` says; what stays keeps its order.
    fn remove(&mut self, items: &mut Items, wanted: &mut dyn FnMut(&Item) -> bool);

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

    /// Takes the place of `before`, with what waits there; one whose parameters are the same goes on itself. What is not needed any
    /// more is put into `spent`.
    pub(crate) fn succeeding(self, before: Self, work: &mut Work<'_>, spent: &mut Vec<Self>) -> Self {
        match (self, before) {
            (Self::Fifo(queue), Self::Fifo(before)) if queue.plan() == before.plan() => Self::Fifo(before),
            (Self::Sfq(queue), Self::Sfq(before)) if queue.plan() == before.plan() => {
                spent.push(Self::Sfq(queue));
                Self::Sfq(before)
            }
            (Self::FqCodel(queue), Self::FqCodel(before)) if queue.plan() == before.plan() => {
                spent.push(Self::FqCodel(queue));
                Self::FqCodel(before)
            }
            (Self::Tbf(queue), Self::Tbf(before)) => {
                Self::Tbf(Box::new(queue.succeeding(*before, work, spent)))
            }
            (Self::Prio(queue), Self::Prio(before)) if queue.has_bands_of(&before) => {
                Self::Prio(Box::new(queue.succeeding(*before, work, spent)))
            }
            (mut queue, mut before) => {
                queue.take_all(&mut before, work);
                spent.push(before);
                queue
            }
        }
    }

    /// Puts in all that waits in another one.
    pub(crate) fn take_all(&mut self, from: &mut Self, work: &mut Work<'_>) {
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
