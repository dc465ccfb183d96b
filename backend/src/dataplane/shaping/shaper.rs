//! One tree with the frames that wait in it, which all workers share.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use viaduct_switch::qos::{Item, PlanError, Report, Sink, Tree, TreePlan};
use viaduct_switch::{DropReason, Nanos, PortIndex, Switch};

use super::agenda::NEVER;
use super::slack::slack;
use super::store::Store;
use crate::dataplane::buffers::{Bounds, SharedMemory};
use crate::dataplane::message::Message;
use crate::dataplane::sync::mailbox::Postbox;
use crate::dataplane::sync::primitives::{Mutex, MutexGuard};
use crate::dataplane::sync::turn;

/// Bytes that the frames of all trees may hold together and those of one, and what one may always hold: a super-frame and some
/// small ones.
const BOUNDS: Bounds = Bounds { total: 256 << 20, each: 32 << 20, minimum: 72 << 10 };

/// The memory of frames that wait in trees.
pub(in crate::dataplane) struct ShapingMemory(pub(super) Arc<SharedMemory>);

impl Default for ShapingMemory {
    fn default() -> Self {
        Self(Arc::new(SharedMemory::new(BOUNDS)))
    }
}

#[cfg(test)]
impl ShapingMemory {
    /// What is held now, in bytes.
    pub(in crate::dataplane) fn taken(&self) -> usize {
        self.0.taken()
    }
}

/// A tree, and who sees to its departures.
pub(in crate::dataplane) struct Shaper {
    pub(super) id: u32,
    /// The number of the worker that owns it, and what is told to it.
    pub(super) owner: usize,
    pub(super) postbox: Arc<Postbox<Message>>,
    waiting: Mutex<Waiting>,
}

/// What waits, behind the tree's lock.
pub(super) struct Waiting {
    pub(super) tree: Tree,
    pub(super) store: Store,
    /// The ports before whose queues it stands.
    pub(super) ports: Vec<PortIndex>,
    /// Those before whose queues it stood, and whose frames it may still have.
    pub(super) former: Vec<PortIndex>,
    /// Tickets of frames that were due while their port's driver did not run and another's did, oldest first.
    pub(super) aside: Vec<(PortIndex, Vec<u32>)>,
    /// Spreads flows, as nobody outside can foresee.
    pub(super) seed: u64,
    /// When the owner sees to it, as far as he was told.
    pub(super) scheduled: Nanos,
    /// When frames departed last.
    pub(super) departed: Nanos,
    /// The latest time that it was told: workers' rounds begin at different times.
    now: Nanos,
    /// How late departures may be.
    slack: Nanos,
    /// What waits goes on as soon as its receivers have room, and no sooner: the tree is not wanted any more.
    pub(super) ends: bool,
    /// A receiver had no room for what departed last.
    pub(super) congested: bool,
}

impl Shaper {
    /// An empty tree with this number, seen to by worker `owner`.
    ///
    /// # Errors
    /// What [`Tree::new`] says.
    pub(in crate::dataplane) fn new(
        id: u32,
        plan: &TreePlan,
        (owner, postbox): (usize, Arc<Postbox<Message>>),
        memory: &ShapingMemory,
        now: Nanos,
    ) -> Result<Self, PlanError> {
        let seed = RandomState::new().hash_one(id);
        let tree = Tree::new(plan, seed, now)?;
        let waiting = Waiting {
            slack: slack(plan),
            tree,
            store: Store::new(Arc::clone(&memory.0)),
            ports: Vec::new(),
            former: Vec::new(),
            aside: Vec::new(),
            seed,
            scheduled: NEVER,
            departed: Nanos::default(),
            now,
            ends: false,
            congested: false,
        };
        Ok(Self { id, owner, postbox, waiting: Mutex::new(waiting) })
    }

    /// What waits, if nobody else is at it, or with `wait` in any case.
    pub(super) fn turn(&self, wait: bool) -> Option<MutexGuard<'_, Waiting>> {
        turn::at_once(&self.waiting).or_else(|| wait.then(|| turn::patiently(&self.waiting)))
    }

    /// Goes by another plan from now on; what waits keeps waiting, as [`Tree::reconfigure`] says.
    ///
    /// # Errors
    /// What [`Tree::reconfigure`] says; then nothing is changed.
    pub(in crate::dataplane) fn reconfigure(
        &self,
        plan: &TreePlan,
        now: Nanos,
        switch: &Switch,
    ) -> Result<(), PlanError> {
        let mut waiting = turn::patiently(&self.waiting);
        let now = waiting.at(now);
        let Waiting { tree, store, .. } = &mut *waiting;
        tree.reconfigure(plan, now, &mut Losses::new(store, switch))?;
        waiting.slack = slack(plan);
        // What was to come later may be due now.
        let at = if waiting.tree.backlog().frames > 0 { now } else { NEVER };
        if waiting.schedule(at, true).is_some() {
            self.postbox.post(Message::Depart { tree: self.id, at });
        }
        Ok(())
    }

    /// Lets what waits go on only as its receivers have room, or as it comes.
    pub(in crate::dataplane) fn set_ending(&self, ends: bool) {
        turn::patiently(&self.waiting).ends = ends;
    }

    /// Stands before the queues of these ports from now on.
    pub(in crate::dataplane) fn set_ports(&self, ports: &[PortIndex]) {
        let mut waiting = turn::patiently(&self.waiting);
        let before = std::mem::replace(&mut waiting.ports, ports.to_vec());
        waiting.former.extend(before);
        let Waiting { ports, former, store, .. } = &mut *waiting;
        former.retain(|port| store.len() > 0 && !ports.contains(port));
        former.sort_unstable();
        former.dedup();
    }

    /// The ports before whose queues it stands.
    pub(in crate::dataplane) fn ports(&self) -> Vec<PortIndex> {
        turn::patiently(&self.waiting).ports.clone()
    }

    /// The same, and those of which it may have frames from before.
    pub(in crate::dataplane) fn all_ports(&self) -> Vec<PortIndex> {
        let waiting = turn::patiently(&self.waiting);
        waiting.ports.iter().chain(&waiting.former).copied().collect()
    }

    /// Throws away what waits for `port`; gives how many frames that were.
    pub(in crate::dataplane) fn forget(&self, port: PortIndex) -> u64 {
        turn::patiently(&self.waiting).forget(port)
    }

    /// Gives memory back that has not been needed for a while.
    pub(in crate::dataplane) fn tidy(&self) {
        if let Some(mut waiting) = turn::at_once(&self.waiting) {
            waiting.store.tidy();
        }
    }

    /// Whether nothing waits.
    pub(in crate::dataplane) fn is_empty(&self) -> bool {
        turn::patiently(&self.waiting).store.len() == 0
    }

    /// What the tree did so far.
    pub(in crate::dataplane) fn report(&self, now: Nanos) -> Report {
        let mut waiting = turn::patiently(&self.waiting);
        let now = waiting.at(now);
        waiting.tree.report(now)
    }
}

impl Waiting {
    /// The time for the tree, which never runs backwards there.
    pub(super) fn at(&mut self, now: Nanos) -> Nanos {
        self.now = self.now.max(now);
        self.now
    }

    /// Notes that the next departure is at `next`; says when the owner has to see to it, if he was not told of so early a time.
    /// If it is not pressing, it is put off as long as no rate is lost by that.
    pub(super) fn schedule(&mut self, next: Nanos, is_pressing: bool) -> Option<Nanos> {
        let at = if is_pressing { next } else { next.max(self.departed + self.slack) };
        (at < self.scheduled).then(|| {
            self.scheduled = at;
            at
        })
    }

    fn forget(&mut self, port: PortIndex) -> u64 {
        let frames = self.store.forget(port);
        let Self { aside, store, tree, ports, former, .. } = self;
        for (_, tickets) in aside.extract_if(.., |(of, _)| *of == port) {
            for ticket in tickets {
                store.free(ticket);
            }
        }
        former.retain(|of| *of != port);
        if ports.as_slice() == [port] && former.is_empty() {
            // Nobody else's frames are in the tree, in which those that are gone would still take their time.
            while let Some(item) = tree.drain() {
                store.free(item.ticket);
            }
        }
        frames
    }
}

/// Counts what a tree drops at the receiver, and frees it.
pub(super) struct Losses<'a> {
    pub(super) store: &'a mut Store,
    switch: &'a Switch,
    /// The ticket of the frame that is put in just now, and why it was dropped.
    newcomer: Option<u32>,
    refused: Option<DropReason>,
}

impl<'a> Losses<'a> {
    pub(super) fn new(store: &'a mut Store, switch: &'a Switch) -> Self {
        Self { store, switch, newcomer: None, refused: None }
    }

    /// As the item of this ticket is put in, whose loss its bringer counts.
    pub(super) fn of_newcomer(store: &'a mut Store, switch: &'a Switch, ticket: u32) -> Self {
        Self { store, switch, newcomer: Some(ticket), refused: None }
    }

    /// Whether the newcomer was taken.
    pub(super) fn verdict(self) -> Result<(), DropReason> {
        self.refused.map_or(Ok(()), Err)
    }
}

impl Sink for Losses<'_> {
    fn dropped(&mut self, item: Item, reason: DropReason) {
        let Some(port) = self.store.free(item.ticket) else { return };
        if self.newcomer == Some(item.ticket) {
            self.refused = Some(reason);
        } else {
            self.switch.counters().port(port).add_drops(reason, 1);
        }
    }
}
