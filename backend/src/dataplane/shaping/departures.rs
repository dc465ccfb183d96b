//! Frames that waited leave: what is due goes into its receivers' queues, as any frame does.

use std::sync::Arc;

use viaduct_switch::meter::dscp;
use viaduct_switch::qos::Next;
use viaduct_switch::{DropReason, Nanos, PortIndex, Switch};

use super::agenda::NEVER;
use super::shaper::{Ending, Losses, Waiting};
use super::untold::Untold;
use crate::dataplane::delivery::{count, length_of};
use crate::dataplane::outlet::{Outcome, Outlet};
use crate::dataplane::sync::turn;
use crate::memory::Segment;
use crate::ring::BURST_FRAMES;

/// What one visit to a tree may cost, in bytes, so that others have their turns soon.
const VISIT_BUDGET: i64 = 64 << 10;

/// What leaves with each visit to a tree that should be gone: twice as much as a burst brings.
const LAST_BUDGET: i64 = 256 << 10;

/// What a frame costs beside its bytes.
const FRAME_COST: i64 = 64;

/// Bytes of a frame that are handed over as its head: a device copies them, and takes the others from where they lie.
const HEAD: usize = 128;

/// What it takes for frames to leave.
pub(in crate::dataplane) struct Leaving<'a> {
    pub(in crate::dataplane) switch: &'a Switch,
    pub(in crate::dataplane) outlets: &'a [Option<Arc<Outlet>>],
    pub(in crate::dataplane) now: Nanos,
    /// The same in seconds, for the choice of a receiver's queue.
    pub(in crate::dataplane) now_s: u16,
}

impl Leaving<'_> {
    fn outlet(&self, port: PortIndex) -> Option<&Outlet> {
        self.outlets.get(port.get())?.as_deref()
    }
}

/// How long a tree that ends lets receivers be that have no room.
const CONGESTED: Nanos = Nanos(200_000);

/// Frames that leave together.
struct Batch {
    tickets: [u32; BURST_FRAMES],
    count: usize,
}

impl Waiting {
    /// Lets depart what is due, as far as one visit goes, and `allowance` has bytes left. Gives when there is more, and whether that is
    /// pressing: it is due.
    pub(super) fn depart(
        &mut self,
        leaving: &Leaving<'_>,
        untold: &mut Untold,
        allowance: &mut i64,
    ) -> (Nanos, bool) {
        let now = self.at(leaving.now);
        if !self.is_running(leaving) {
            // No driver runs: all waits for one. Who attaches it sees to the tree.
            return (NEVER, false);
        }
        let is_behind = |port: &PortIndex| leaving.outlet(*port).is_some_and(Outlet::is_behind);
        if self.ending == Ending::Gently && self.congested.as_ref().is_some_and(is_behind) {
            return (now + CONGESTED, true);
        }
        self.congested = None;
        let most = match self.ending {
            Ending::AtOnce => LAST_BUDGET,
            _ => VISIT_BUDGET.min(*allowance),
        };
        let mut budget = most;
        let next = self.depart_some(leaving, untold, &mut budget);
        *allowance -= most - budget;
        // If there is more, in the next round, so that others come first.
        next.unwrap_or((now + Nanos(1), true))
    }

    /// See [`Waiting::depart`]; `None`: the budget is used up.
    fn depart_some(
        &mut self,
        leaving: &Leaving<'_>,
        untold: &mut Untold,
        budget: &mut i64,
    ) -> Option<(Nanos, bool)> {
        let now = self.now;
        self.resume_returned(leaving, untold, budget);
        while *budget > 0 {
            let (batch, next) = self.due(now, budget, leaving.switch);
            self.leave(batch.tickets.get(..batch.count).unwrap_or_default(), leaving, untold);
            if batch.count > 0 {
                self.departed = now;
            }
            if self.ending == Ending::Gently && self.congested.is_some() {
                return Some((now + CONGESTED, true));
            }
            if let Some(next) = next {
                return Some((next, false));
            }
        }
        None
    }

    /// Whether any driver runs for whose port it may have frames. Mostly that is the one that ran when this was last asked.
    fn is_running(&mut self, leaving: &Leaving<'_>) -> bool {
        let runs = |port: &PortIndex| leaving.outlet(*port).is_some();
        if self.ports.get(self.running).is_some_and(runs) {
            return true;
        }
        let found = self.ports.iter().position(runs);
        self.running = found.unwrap_or(0);
        found.is_some() || self.former.iter().any(runs)
    }

    /// Takes what is due out of the tree; gives the time of the next departure if that was all.
    fn due(&mut self, now: Nanos, budget: &mut i64, switch: &Switch) -> (Batch, Option<Nanos>) {
        let mut batch = Batch { tickets: [0; BURST_FRAMES], count: 0 };
        let Self { tree, store, .. } = self;
        while *budget > 0
            && let Some(place) = batch.tickets.get_mut(batch.count)
        {
            let item = match tree.dequeue(now, &mut Losses::new(store, switch)) {
                Next::Item(item) => item,
                Next::At(next) => return (batch, Some(next)),
                Next::Empty => return (batch, Some(NEVER)),
            };
            *budget -= FRAME_COST;
            let Some(stored) = store.get_mut(item.ticket) else { continue };
            // What moving it costs, which may be much less than what it is on the wire.
            *budget -= stored.cost();
            if item.marked {
                // CE is both of the lower bits (RFC 3168, 5).
                dscp::rewrite(stored.bytes_mut(), |class| class | 3);
            }
            *place = item.ticket;
            batch.count += 1;
        }
        (batch, None)
    }

    /// Lets frames go first that were due while their port's driver did not run, of ports where one does again.
    fn resume_returned(&mut self, leaving: &Leaving<'_>, untold: &mut Untold, budget: &mut i64) {
        while *budget > 0
            && let Some(port) = self.returned.pop()
        {
            // One that went again is told of anew when it comes back.
            if leaving.outlet(port).is_some() && !self.resume(port, leaving, untold, budget) {
                self.returned.push(port);
            }
        }
    }

    /// Lets frames of a port go that were set aside, as far as the budget allows; says whether none are left.
    pub(super) fn resume(
        &mut self,
        port: PortIndex,
        leaving: &Leaving<'_>,
        untold: &mut Untold,
        budget: &mut i64,
    ) -> bool {
        let Some(outlet) = leaving.outlet(port) else { return false };
        while *budget > 0 {
            let (mut group, mut count) = ([0; BURST_FRAMES], 0);
            let Some(tickets) = self.aside.get_mut(&port) else { return true };
            for (place, ticket) in group.iter_mut().zip(std::iter::from_fn(|| tickets.pop_front())) {
                *place = ticket;
                count += 1;
                *budget -= self.store.get(ticket).map_or(0, |stored| stored.cost()) + FRAME_COST;
                if *budget <= 0 {
                    break;
                }
            }
            if tickets.is_empty() {
                self.aside.remove(&port);
            }
            self.deliver(outlet, group.get(..count).unwrap_or_default(), leaving, untold);
        }
        !self.aside.contains_key(&port)
    }

    /// Puts frames into their receivers' queues; those for ports that do not run are set aside.
    fn leave(&mut self, tickets: &[u32], leaving: &Leaving<'_>, untold: &mut Untold) {
        let mut left = tickets;
        while let Some(port) = left.first().and_then(|ticket| Some(self.store.get(*ticket)?.port)) {
            let is_same = |ticket: &&u32| self.store.get(**ticket).is_some_and(|stored| stored.port == port);
            let (group, others) = left.split_at(left.iter().take_while(is_same).count());
            left = others;
            match leaving.outlet(port) {
                Some(outlet) if !self.aside.contains_key(&port) => {
                    self.deliver(outlet, group, leaving, untold)
                }
                _ => self.aside.entry(port).or_default().extend(group),
            }
        }
    }

    /// Puts frames for one port into its queues, each in the one that is its.
    fn deliver(&mut self, outlet: &Outlet, group: &[u32], leaving: &Leaving<'_>, untold: &mut Untold) {
        let mut numbers = [0; BURST_FRAMES];
        let heads =
            group.iter().map(|ticket| self.store.get(*ticket).map_or(&[][..], |stored| stored.bytes()));
        outlet.choose(heads, leaving.now_s, &mut numbers);
        let numbers = numbers.get(..group.len()).unwrap_or_default();
        for (place, &number) in numbers.iter().enumerate() {
            if numbers.iter().position(|known| *known == number) == Some(place) {
                let tickets = group.iter().zip(numbers).filter(|(_, chosen)| **chosen == number);
                let outcome = self.visit(outlet, number, tickets.map(|(ticket, _)| *ticket), leaving.switch);
                untold.note(outlet, number, &outcome);
            }
        }
        for ticket in group {
            self.store.free(*ticket);
        }
    }

    /// Puts frames into one queue.
    fn visit(
        &mut self,
        outlet: &Outlet,
        number: u16,
        tickets: impl Iterator<Item = u32> + Clone,
        switch: &Switch,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let counters = switch.counters().port(outlet.port);
        let frames = tickets.clone().count();
        let Some(queue) = outlet.queue(number) else {
            counters.add_drops(DropReason::ReceiverDown, frames as u64);
            return outcome;
        };
        let mut queue = turn::patiently(queue);
        queue.prepare(frames, &mut outcome);
        for ticket in tickets {
            let Some(stored) = self.store.get_mut(ticket) else { continue };
            if !stored.suits(outlet.capabilities) {
                // The driver that it was laid out for is gone.
                counters.add_drops(DropReason::ReceiverDown, 1);
                continue;
            }
            let (header, length) = (stored.header, stored.length);
            let bytes = stored.bytes_mut();
            let (head, rest) = bytes.split_at_mut(bytes.len().min(HEAD));
            let rest = [Segment { host: rest.as_mut_ptr(), len: length_of(rest) }];
            if let Err(reason) = queue.send(&header, head, &rest, length, &mut outcome) {
                counters.add_drops(reason, 1);
            }
        }
        queue.finish(&mut outcome);
        if !queue.backlog.is_empty() {
            self.congested = Some(outlet.port);
        }
        drop(queue);
        count(switch, outlet.port, &outcome);
        outcome
    }
}
