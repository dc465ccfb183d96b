//! One tree with the frames that wait in it, which all workers share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use viaduct_switch::qos::{Change, Item, PlanError, Report, Sink, Tree, TreePlan};
use viaduct_switch::{DropReason, Nanos, NetworkIndex, PortIndex, Switch};

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

/// A number for a plan, from 1.
fn next_generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
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
    /// The number of its plan, which no other plan of any tree has.
    pub(super) generation: u64,
    pub(super) store: Store,
    /// The ports before whose queues it stands.
    pub(super) ports: Vec<PortIndex>,
    /// Those before whose queues it stood, and whose frames it may still have.
    pub(super) former: Vec<PortIndex>,
    /// Tickets of frames that were due while their port's driver did not run and another's did, oldest first; and, until these have left,
    /// of those that are due after them.
    pub(super) aside: HashMap<PortIndex, VecDeque<u32>>,
    /// Ports that run again, and of which frames are set aside.
    pub(super) returned: Vec<PortIndex>,
    /// The place among `ports` of one whose driver ran when that was last looked for.
    pub(super) running: usize,
    /// Spreads flows, as nobody outside can foresee.
    pub(super) seed: u64,
    /// When the owner sees to it, as far as he was told.
    pub(super) scheduled: Nanos,
    /// When frames departed last.
    pub(super) departed: Nanos,
    /// The latest time that it was told: workers' rounds begin at different times.
    pub(super) now: Nanos,
    /// How late departures may be.
    slack: Nanos,
    pub(super) ending: Ending,
    /// A receiver that had no room for what departed last.
    pub(super) congested: Option<PortIndex>,
}

/// Whether a tree is wanted any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::dataplane) enum Ending {
    /// It is.
    #[default]
    No,
    /// It is not: what waits goes on as soon as its receivers have room, and no sooner.
    Gently,
    /// It should be gone: more leaves with each burst than comes, whatever receivers have room for.
    AtOnce,
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
            generation: next_generation(),
            store: Store::new(Arc::clone(&memory.0)),
            ports: Vec::new(),
            former: Vec::new(),
            aside: HashMap::new(),
            returned: Vec::new(),
            running: 0,
            seed,
            scheduled: NEVER,
            departed: Nanos::default(),
            now,
            ending: Ending::No,
            congested: None,
        };
        Ok(Self { id, owner, postbox, waiting: Mutex::new(waiting) })
    }

    /// What waits, if nobody else is at it, or with `wait` in any case.
    pub(super) fn turn(&self, wait: bool) -> Option<MutexGuard<'_, Waiting>> {
        turn::at_once(&self.waiting).or_else(|| wait.then(|| turn::patiently(&self.waiting)))
    }

    /// Goes by another plan from now on; what waits keeps waiting, as [`Tree::change`] says. Queues are made before workers have to
    /// wait for it, and given back afterwards.
    ///
    /// # Errors
    /// What [`Change::new`] says; then nothing is changed.
    pub(in crate::dataplane) fn reconfigure(
        &self,
        plan: &TreePlan,
        now: Nanos,
        switch: &Switch,
    ) -> Result<(), PlanError> {
        let (before, seed) = {
            let waiting = turn::patiently(&self.waiting);
            (Arc::clone(waiting.tree.plan()), waiting.seed)
        };
        if *before == *plan {
            return Ok(());
        }
        let (change, slack) = (Change::new(before, plan, seed, now)?, slack(plan));
        let mut waiting = turn::patiently(&self.waiting);
        let now = waiting.at(now);
        let Waiting { tree, store, .. } = &mut *waiting;
        let remains = tree.change(change, now, &mut Losses::new(store, switch));
        waiting.slack = slack;
        waiting.generation = next_generation();
        self.hurry(&mut waiting);
        drop(waiting);
        drop(remains);
        Ok(())
    }

    /// Has the owner see to the tree at once if anything waits: it may be due now, or have somewhere to go.
    fn hurry(&self, waiting: &mut Waiting) {
        let at = Nanos::default();
        if waiting.store.len() > 0 && waiting.schedule(at, true).is_some() {
            self.postbox.post(Message::Depart { tree: self.id, at });
        }
    }

    /// Whether the tree is to go. `behind`: a receiver that has no room now.
    pub(in crate::dataplane) fn set_ending(&self, ending: Ending, behind: Option<PortIndex>) {
        let mut waiting = turn::patiently(&self.waiting);
        (waiting.ending, waiting.congested) = (ending, behind);
        self.hurry(&mut waiting);
    }

    /// To be called when a port's driver runs again, as all workers know: what was due meanwhile goes then.
    pub(in crate::dataplane) fn note_return(&self, port: PortIndex) {
        let mut waiting = turn::patiently(&self.waiting);
        if !waiting.ports.iter().chain(&waiting.former).any(|of| *of == port) {
            return;
        }
        if waiting.aside.contains_key(&port) && !waiting.returned.contains(&port) {
            waiting.returned.push(port);
        }
        self.hurry(&mut waiting);
    }

    /// Stands before the queues of these ports from now on.
    pub(in crate::dataplane) fn set_ports(&self, ports: &[PortIndex]) {
        let mut waiting = turn::patiently(&self.waiting);
        let before = std::mem::replace(&mut waiting.ports, ports.to_vec());
        let Waiting { ports, former, store, .. } = &mut *waiting;
        if store.len() == 0 {
            former.clear();
        }
        // Who leaves now may get more in it until all workers know.
        former.extend(before);
        let stay: HashSet<PortIndex> = ports.iter().copied().collect();
        former.retain(|port| !stay.contains(port));
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

    /// Throws away all frames for a port that `goes` says by port and network; `lost` is told the port of each.
    pub(in crate::dataplane) fn purge(
        &self,
        goes: impl Fn(PortIndex, Option<NetworkIndex>) -> bool,
        lost: impl FnMut(PortIndex),
    ) {
        let mut waiting = turn::patiently(&self.waiting);
        if waiting.store.len() > 0 {
            waiting.purge(goes, lost);
            self.hurry(&mut waiting);
        }
    }

    /// Gives memory back that has not been needed for a while.
    pub(in crate::dataplane) fn tidy(&self) {
        if let Some(mut waiting) = turn::at_once(&self.waiting) {
            waiting.store.tidy();
        }
    }

    /// Whether it holds memory of frames.
    pub(in crate::dataplane) fn holds_memory(&self) -> bool {
        turn::patiently(&self.waiting).store.held() > 0
    }

    /// Whether nothing waits.
    pub(in crate::dataplane) fn is_empty(&self) -> bool {
        turn::patiently(&self.waiting).store.len() == 0
    }

    /// What the tree did so far.
    pub(in crate::dataplane) fn report(&self, now: Nanos) -> Report {
        let mut waiting = turn::patiently(&self.waiting);
        let now = waiting.at(now);
        waiting.tree.settle();
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

    /// See [`Shaper::purge`]. Neither tokens nor room are lost to those that stay.
    fn purge(
        &mut self,
        goes: impl Fn(PortIndex, Option<NetworkIndex>) -> bool,
        mut lost: impl FnMut(PortIndex),
    ) {
        let Self { aside, returned, store, tree, .. } = self;
        let mut take = |ticket| {
            let goes = store.get(ticket).is_some_and(|stored| goes(stored.port, stored.network));
            if goes {
                store.free(ticket).into_iter().for_each(&mut lost);
            }
            goes
        };
        tree.remove(|item| take(item.ticket));
        aside.values_mut().for_each(|tickets| tickets.retain(|ticket| !take(*ticket)));
        aside.retain(|_, tickets| !tickets.is_empty());
        returned.retain(|port| aside.contains_key(port));
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
