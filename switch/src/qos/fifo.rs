//! First in, first out.

use super::discipline::{Backlog, Discipline, Next, Work};
use super::item::{Chain, Item, Items};
use super::plan::FifoPlan;
use crate::drops::DropReason;
use crate::time::Nanos;

/// A queue that drops the last one when it is full.
#[derive(Debug)]
pub(crate) struct Fifo {
    chain: Chain,
    backlog: Backlog,
    plan: FifoPlan,
}

impl Fifo {
    pub(crate) fn new(plan: &FifoPlan) -> Self {
        Self { chain: Chain::default(), backlog: Backlog::default(), plan: *plan }
    }

    pub(crate) fn plan(&self) -> &FifoPlan {
        &self.plan
    }

    /// An empty queue takes one frame, however long.
    fn has_room(&self, item: &Item) -> bool {
        let bytes = self.backlog.bytes + u64::from(item.length);
        self.backlog.frames < self.plan.frames && (bytes <= self.plan.bytes || self.backlog.frames == 0)
    }
}

impl Discipline for Fifo {
    fn enqueue(&mut self, item: Item, work: &mut Work<'_>) {
        if !self.has_room(&item) {
            return work.drop(item, DropReason::QueueFull);
        }
        match self.chain.push(work.items, item) {
            Ok(()) => self.backlog.count(&item),
            Err(item) => work.drop(item, DropReason::QueueMemory),
        }
    }

    fn dequeue(&mut self, work: &mut Work<'_>) -> Next {
        self.drain(work.items).map_or(Next::Empty, Next::Item)
    }

    fn admit(&mut self, _now: Nanos, _length: u32) -> bool {
        self.chain.is_empty()
    }

    fn refuses(&self, _now: Nanos, item: &Item) -> Option<DropReason> {
        (!self.has_room(item)).then_some(DropReason::QueueFull)
    }

    fn yields(&self) -> bool {
        false
    }

    fn shed(&mut self, _work: &mut Work<'_>) -> bool {
        false
    }

    fn remove(&mut self, items: &mut Items, wanted: &mut dyn FnMut(&Item) -> bool) {
        let Self { chain, backlog, .. } = self;
        chain.remove(items, |item| wanted(item) && backlog.forget(item));
    }

    fn drain(&mut self, items: &mut Items) -> Option<Item> {
        let item = self.chain.pop(items)?;
        self.backlog.remove(&item);
        Some(item)
    }

    fn backlog(&self) -> Backlog {
        self.backlog
    }
}
