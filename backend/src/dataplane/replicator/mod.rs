//! Floods to many receivers, spread over time: one copy of our own, from which each receiver gets its own.
//!
//! A flood to a thousand ports within its burst would hold up everybody else's frames. So it is copied once
//! ([`Replicator::take`]) and the receivers get their copies in small portions, one [`Replicator::serve`] each
//! round of the worker. Sources take turns by bytes, whatever they have waiting. Floods of one source stay in
//! order, and [`Replicator::serve_first`] keeps a station's frames in order when its port becomes known while
//! earlier ones, flooded for want of it, still wait: as far as a burst's budget goes.

mod batch;
mod form;
mod pool;
mod rounds;
mod tagged;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use viaduct_switch::{DropReason, Metadata, Nanos, NetworkIndex, Policy, PortIndex, Switch};

use self::batch::{Batch, Copied, Means};
pub(super) use self::pool::FloodMemory;
use self::pool::Pool;
use super::buffers::length_for;
use super::delivery::{Workshop, uplink_of};
use super::outlet::{Outcome, Outlet};
use super::shaping::Shaping;
use crate::memory::{Segment, copy_out};

/// What one round may cost, in bytes written; the last visit may go beyond by what it writes, which the next rounds
/// save.
const ROUND_BUDGET: i64 = 64 << 10;

/// What a source may cost before it is another one's turn.
const QUANTUM: i64 = 4 << 10;

/// What passing the turn on, or passing by a receiver that needs no copy, costs.
const STEP_COST: i64 = 16;

/// What one burst's receivers may cost that have earlier frames of its source first.
const FIRST_BUDGET: i64 = 64 << 10;

/// The least room that a frame is reckoned with, so that nobody has thousands of small ones waiting.
const ROOM_MIN: usize = 2048;

/// What looking for a receiver in a batch costs.
const LOOKUP_COST: i64 = 128;

/// A frame for many receivers.
pub(super) struct Flood<'a> {
    pub(super) meta: &'a Metadata,
    pub(super) network: NetworkIndex,
    pub(super) head: &'a [u8],
    /// What follows the head, in the sender's memory.
    pub(super) rest: &'a [Segment],
    /// In ascending order; may contain the source.
    pub(super) receivers: &'a [PortIndex],
}

/// One port's floods that wait.
#[derive(Default)]
struct Source {
    /// Oldest first.
    batches: VecDeque<Batch>,
    /// What it may still cost in this turn.
    credit: i64,
    /// Bytes of memory that its batches hold.
    held: usize,
    /// How many of its batches have frames for one station.
    unicast: usize,
}

/// Where copies go, and what delivering them needs.
pub(super) struct Receivers<'a> {
    pub(super) switch: &'a Switch,
    pub(super) policy: &'a Policy,
    pub(super) outlets: &'a [Option<Arc<Outlet>>],
    pub(super) workshop: &'a mut Workshop,
    pub(super) shaping: &'a mut Shaping,
    pub(super) now: Nanos,
    /// The time in seconds, for the choice of a receiver's queue.
    pub(super) now_s: u16,
}

/// One worker's floods that wait.
pub(super) struct Replicator {
    pool: Pool,
    /// By port; as long as the highest that ever flooded.
    sources: Vec<Source>,
    /// Ports that have something waiting, the next one first.
    turns: VecDeque<PortIndex>,
    /// What earlier rounds spent too much.
    debt: i64,
    /// What it cost visits to move on frames that had waited already: no business of the source's.
    moved: i64,
    /// Forms that were made.
    forms_made: u64,
}

impl Replicator {
    pub(super) fn new(memory: Arc<FloodMemory>) -> Self {
        let (sources, turns) = (Vec::new(), VecDeque::new());
        Self { pool: Pool::new(memory), sources, turns, debt: 0, moved: 0, forms_made: 0 }
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whether floods of `source` wait.
    #[inline]
    pub(super) fn holds(&self, source: PortIndex) -> bool {
        !self.is_empty() && self.sources.get(source.get()).is_some_and(|source| !source.batches.is_empty())
    }

    /// Whether frames of `source` for one station wait, whose port was unknown.
    #[inline]
    pub(super) fn holds_unicast(&self, source: PortIndex) -> bool {
        !self.is_empty() && self.sources.get(source.get()).is_some_and(|source| source.unicast > 0)
    }

    /// Copies a frame, for its receivers to have it when it is its turn; says whether there was room.
    pub(super) fn take(&mut self, flood: &Flood<'_>) -> bool {
        let Metadata { source: port, claims, marks, .. } = *flood.meta;
        let length = flood.head.len() + flood.rest.iter().map(|part| part.len as usize).sum::<usize>();
        let Some(room) = length_for(length.max(ROOM_MIN)) else { return false };
        if self.sources.len() <= port.get() {
            self.sources.resize_with(port.get() + 1, Source::default);
        }
        let Some(source) = self.sources.get_mut(port.get()) else { return false };
        let last = source.batches.back_mut();
        let joined = last.filter(|batch| batch.may_join(flood.network, flood.receivers, length));
        let list = if joined.is_some() { 0 } else { Batch::list_bytes(flood.receivers) };
        if !self.pool.take(room + list, source.held) {
            return false;
        }
        source.held += room + list;
        let mut buffer = self.pool.buffer(room);
        copy_out(flood.head, flood.rest, &mut buffer);
        let priority = flood.meta.priority();
        let copied = Copied { buffer, length, claims, priority, mark: marks.mark, forms: Vec::new() };
        if let Some(batch) = joined {
            let was_unicast = batch.unicast;
            batch.taken += room + list;
            batch.push(copied);
            source.unicast += usize::from(batch.unicast && !was_unicast);
            return true;
        }
        let mut batch = self.pool.batch();
        batch.receivers.extend_from_slice(flood.receivers);
        batch.network = Some(flood.network);
        batch.taken = room + list;
        batch.push(copied);
        source.unicast += usize::from(batch.unicast);
        if source.batches.is_empty() {
            source.credit = 0;
            self.turns.push_back(port);
        }
        source.batches.push_back(batch);
        true
    }

    /// Delivers one round's worth of copies. `visited` is told of each receiver: its outlet, the queue, and what
    /// became of the copies.
    pub(super) fn serve(
        &mut self,
        receivers: &mut Receivers<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        let mut budget = ROUND_BUDGET - self.debt;
        while budget > 0
            && let Some(&port) = self.turns.front()
        {
            let Some(source) = self.sources.get_mut(port.get()) else { break };
            if source.credit <= 0 {
                source.credit += QUANTUM;
                self.turns.rotate_left(1);
                budget -= STEP_COST;
                continue;
            }
            let cost = self.step(port, receivers, visited);
            budget -= cost + std::mem::take(&mut self.moved);
            let Some(source) = self.sources.get_mut(port.get()) else { break };
            source.credit -= cost;
            if source.batches.is_empty() {
                self.turns.pop_front();
            }
        }
        self.debt = if self.is_empty() { 0 } else { (-budget).max(0) };
    }

    /// Takes the port's next batch one receiver further. Gives what that cost.
    fn step(
        &mut self,
        port: PortIndex,
        receivers: &mut Receivers<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) -> i64 {
        let Some(source) = self.sources.get_mut(port.get()) else { return STEP_COST };
        let Some(batch) = source.batches.front_mut() else { return STEP_COST };
        let Some(&to) = batch.receivers.get(batch.next) else {
            self.finish_first(port, receivers.switch);
            return STEP_COST;
        };
        let is_served = batch.is_served(batch.next);
        batch.next += 1;
        if to == port || is_served {
            return STEP_COST;
        }
        self.visit(port, 0, to, receivers, visited)
    }

    /// Lets `to` have the frames of the port's batch `number`. Gives what that cost.
    fn visit(
        &mut self,
        port: PortIndex,
        number: usize,
        to: PortIndex,
        receivers: &mut Receivers<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) -> i64 {
        // A port whose driver does not run is passed by.
        let outlet = receivers.outlets.get(to.get()).and_then(Option::as_ref);
        let uplink = || uplink_of(receivers.switch, receivers.policy, receivers.outlets, to);
        let Some(outlet) = outlet.or_else(uplink) else { return STEP_COST };
        let Some(source) = self.sources.get_mut(port.get()) else { return STEP_COST };
        let Some(batch) = source.batches.get_mut(number) else { return STEP_COST };
        let mut means = Means {
            switch: receivers.switch,
            policy: receivers.policy,
            source: port,
            to,
            outlets: receivers.outlets,
            workshop: receivers.workshop,
            shaping: receivers.shaping,
            pool: &self.pool,
            now: receivers.now,
            now_s: receivers.now_s,
            held: source.held,
            cost: 0,
            moved: 0,
            forms_made: &mut self.forms_made,
        };
        batch.deliver(outlet, &mut means, visited);
        let cost = means.cost;
        self.moved += i64::try_from(means.moved).unwrap_or(i64::MAX);
        batch.taken += means.held - source.held;
        source.held = means.held;
        i64::try_from(cost).unwrap_or(i64::MAX)
    }

    /// Ends the port's oldest batch.
    fn finish_first(&mut self, port: PortIndex, switch: &Switch) {
        let Some(source) = self.sources.get_mut(port.get()) else { return };
        let Some(batch) = source.batches.pop_front() else { return };
        source.held -= batch.taken;
        source.unicast -= usize::from(batch.unicast);
        if !batch.reached {
            switch.counters().port(port).add_drops(DropReason::NoReceiver, batch.frames());
        }
        self.pool.recycle(batch);
    }

    /// Lets `first` have what waits for them from `port`, before frames of the same flows overtake it. It is paid for
    /// by the turns of `port` to come, and ends when it cost [`FIRST_BUDGET`]: whoever floods so much overtakes
    /// himself, and holds up nobody else. Gives what it cost.
    pub(super) fn serve_first(
        &mut self,
        port: PortIndex,
        first: impl Iterator<Item = PortIndex>,
        receivers: &mut Receivers<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) -> i64 {
        let mut spent = 0;
        for to in first {
            let count = self.sources.get(port.get()).map_or(0, |source| source.batches.len());
            for number in 0..count {
                if spent >= FIRST_BUDGET {
                    return spent;
                }
                let cost = LOOKUP_COST + self.serve_batch_first(port, number, to, receivers, visited);
                spent += cost + std::mem::take(&mut self.moved);
                if let Some(source) = self.sources.get_mut(port.get()) {
                    source.credit -= cost;
                }
            }
        }
        spent
    }

    /// Lets `to` have the frames of the port's batch `number`, if they wait for it. Gives what that cost.
    fn serve_batch_first(
        &mut self,
        port: PortIndex,
        number: usize,
        to: PortIndex,
        receivers: &mut Receivers<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) -> i64 {
        let source = self.sources.get_mut(port.get());
        let Some(batch) = source.and_then(|source| source.batches.get_mut(number)) else { return 0 };
        let Some(place) = batch.place_of(to).filter(|_| to != port) else { return 0 };
        batch.set_served(place);
        self.visit(port, number, to, receivers, visited)
    }

    /// After a change of policy: nobody gets a frame of a network that it left, and a port that left a network reaches
    /// nobody there any more.
    pub(super) fn keep_to(&mut self, after: &Policy) {
        for turn in 0..self.turns.len() {
            let Some(&port) = self.turns.get(turn) else { return };
            let Some(source) = self.sources.get_mut(port.get()) else { return };
            for batch in &mut source.batches {
                batch.keep_to(after, port);
            }
        }
    }
}
