//! Brings a burst to its receivers: one visit to each receive queue for which it has frames.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use viaduct_switch::PortIndex;

use super::delivery::{Delivered, Passing, Send};
use super::outlet::{Outcome, Outlet};
use super::shaping::{Leaving, Shaper, Shaping, Untold};
use super::shared::{Reporter, WorkerShared, add, elapsed};
use super::sync::turn;
use crate::ring::BURST_FRAMES;

/// Receivers of one burst whose answers are waited for.
pub(super) const ADDRESSEES: usize = 4;

/// Receivers of one burst that are left for later because another worker has their turn.
const LATER: usize = 16;

/// What it takes to bring a burst to its receivers.
pub(super) struct Delivery<'a> {
    pub(super) to: Delivered<'a>,
    pub(super) outlets: &'a [Option<Arc<Outlet>>],
    /// The queue by which all frames leave, if that was said.
    pub(super) link: Option<u16>,
    /// The trees before ports' queues.
    pub(super) shaping: &'a mut Shaping,
    pub(super) shared: &'a WorkerShared,
    pub(super) reporter: &'a Reporter,
    pub(super) waiting: &'a mut Vec<(PortIndex, u16, Instant)>,
    pub(super) now: Instant,
    /// When the switch's time began.
    pub(super) started: Instant,
    pub(super) now_s: u16,
    /// The frames that go to all ports of their network, a bit each, and those of them that met a receiver.
    pub(super) flooded: u64,
    pub(super) reached: u64,
    /// Some of those who alone got a frame, and may answer: the port, and the queue that it went to.
    pub(super) addressees: [Option<(PortIndex, u16)>; ADDRESSEES],
    /// While a tree is locked: visits whose guests have to be told, which a peer may make slow.
    pub(super) untold: Option<Untold>,
}

impl Delivery<'_> {
    /// Each group goes to one receive queue. Where another worker writes just now, the group waits until the others
    /// are served, by when the queue is mostly free.
    pub(super) fn all<'g>(&mut self, groups: impl Iterator<Item = &'g [Send]>) {
        let mut later: [&[Send]; LATER] = [&[]; LATER];
        let mut places = later.iter_mut();
        for group in groups {
            if !self.group(group, false) {
                match places.next() {
                    Some(place) => *place = group,
                    None => drop(self.group(group, true)),
                }
            }
        }
        for group in later.iter().take_while(|group| !group.is_empty()) {
            self.group(group, true);
        }
    }

    /// Delivers one group; says whether it did, which is certain with `wait`.
    fn group(&mut self, group: &[Send], wait: bool) -> bool {
        let Some(first) = group.first() else { return true };
        let outlets = self.outlets;
        let outlet = outlets.get(first.to.get()).and_then(Option::as_ref);
        let Some(outlet) = outlet.or_else(|| self.to.uplink_of(outlets, first.to)) else {
            self.to.pass_by(group);
            return true;
        };
        if let Some(link) = self.link {
            return self.visit(outlet, link, group, wait);
        }
        match self.shaping.of(outlet.port).cloned() {
            None => self.pass(outlet, group, wait),
            Some(tree) => self.shape(outlet, &tree, group, wait),
        }
    }

    /// Delivers one group of frames that nothing is in the way of; says whether it did.
    #[inline]
    fn pass(&mut self, outlet: &Outlet, group: &[Send], wait: bool) -> bool {
        if outlet.is_steered() {
            return self.steer(outlet, group, wait);
        }
        self.visit(outlet, 0, group, wait)
    }

    /// Brings one group to the tree before a port's queues, and what passes to these; says whether it did.
    #[inline(never)]
    fn shape(&mut self, outlet: &Outlet, tree: &Shaper, group: &[Send], wait: bool) -> bool {
        let now = elapsed(self.started, self.now);
        let (Some(&first), Some(mut visit)) = (group.first(), tree.visit(now, wait)) else {
            add(&self.shared.contended, 1);
            return false;
        };
        let leaving = Leaving { switch: self.to.switch, outlets: self.outlets, now, now_s: self.now_s };
        let mut untold = self.shaping.take_untold();
        visit.resume(outlet.port, self.shaping, &leaving, &mut untold);
        let mut passing = Passing::new(first);
        self.to.admit(outlet, (&mut visit, &mut self.shaping.classes), group, &mut passing);
        if self.flooded != 0 {
            self.reached |= group.iter().fold(0, |bits, send| bits | send.bit());
        }
        // The tree stays locked meanwhile: what departs must not overtake what passes.
        if !passing.sends().is_empty() {
            self.untold = Some(untold);
            self.pass(outlet, passing.sends(), true);
            untold = self.untold.take().unwrap_or_default();
        }
        visit.end(self.shaping, &leaving, &mut untold);
        let mut visited = visitor(self.shared, self.reporter, self.waiting, self.now);
        self.shaping.tell(untold, self.outlets, &mut visited);
        true
    }

    /// Delivers frames of one group to the queue `number`; says whether it did.
    #[inline]
    fn visit(&mut self, outlet: &Outlet, number: u16, group: &[Send], wait: bool) -> bool {
        let Some(queue) = outlet.queue(number) else {
            self.to.pass_by(group);
            return true;
        };
        let Some(queue) = turn::at_once(queue).or_else(|| wait.then(|| turn::patiently(queue))) else {
            add(&self.shared.contended, 1);
            return false;
        };
        if self.flooded != 0 {
            self.reached |= group.iter().fold(0, |bits, send| bits | send.bit());
        } else if let Some(place) = self.addressees.iter_mut().find(|place| place.is_none()) {
            *place = Some((outlet.port, number));
        }
        let outcome = self.to.deliver(outlet, queue, group);
        if let Some(untold) = &mut self.untold {
            untold.note(outlet, number, &outcome);
            return true;
        }
        after_visit(self.shared, self.reporter, outlet, number, &outcome);
        if outcome.waiting {
            self.waiting.push((outlet.port, number, self.now));
        }
        true
    }

    /// Delivers one group to a guest with several queues, or by the links of a bond, flow by flow.
    fn steer(&mut self, outlet: &Outlet, group: &[Send], wait: bool) -> bool {
        let mut numbers = [0; BURST_FRAMES];
        let heads = group.iter().map(|send| self.to.head(*send));
        outlet.choose(heads, self.now_s, &mut numbers);
        let (numbers, _) = numbers.split_at(group.len().min(BURST_FRAMES));
        let Some((&first, others)) = numbers.split_first() else { return true };
        if others.iter().all(|number| *number == first) {
            return self.visit(outlet, first, group, wait);
        }
        for (place, &number) in numbers.iter().enumerate() {
            if numbers.iter().position(|known| *known == number) == Some(place) {
                self.visit_some(outlet, number, group, numbers);
            }
        }
        true
    }

    /// Delivers those frames of a group to the queue `number` whose number that is.
    fn visit_some(&mut self, outlet: &Outlet, number: u16, group: &[Send], numbers: &[u16]) {
        let Some(&first) = group.first() else { return };
        let (mut part, mut count) = ([first; BURST_FRAMES], 0);
        let chosen = group.iter().zip(numbers).filter(|(_, chosen)| **chosen == number);
        for (place, (send, _)) in part.iter_mut().zip(chosen) {
            *place = *send;
            count += 1;
        }
        self.visit(outlet, number, part.get(..count).unwrap_or_default(), true);
    }
}

/// What follows each visit to a receiver of which a worker's own frames are not the cause.
pub(super) fn visitor(
    shared: &WorkerShared,
    reporter: &Reporter,
    waiting: &mut Vec<(PortIndex, u16, Instant)>,
    now: Instant,
) -> impl FnMut(&Outlet, u16, &Outcome) {
    move |outlet, queue, outcome| {
        after_visit(shared, reporter, outlet, queue, outcome);
        if outcome.waiting {
            waiting.push((outlet.port, queue, now));
        }
    }
}

/// Tells the guest, and the control side if the ring broke.
pub(super) fn after_visit(
    shared: &WorkerShared,
    reporter: &Reporter,
    outlet: &Outlet,
    queue: u16,
    outcome: &Outcome,
) {
    let port = outlet.port;
    if let Some(call) = outcome.notify {
        shared.watch.notify(port, call);
    }
    let Some(fault) = outcome.broke else { return };
    let Some((ring, signal)) = outlet.queue(queue).map(|queue| {
        let queue = queue.lock();
        (queue.index, queue.error.clone())
    }) else {
        return;
    };
    // Not under the lock: the write may be made to block.
    if let Some(signal) = signal {
        shared.watch.notify(port, signal.as_raw_fd());
    }
    reporter.report(fault.into_event(port, ring));
}
