//! Which ports have trees, and one worker's part in them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use viaduct_switch::qos::ClassCache;
use viaduct_switch::{Nanos, PortIndex};

use super::agenda::{Agenda, NEVER};
use super::departures::Leaving;
use super::shaper::{Shaper, Waiting};
use super::untold::Untold;
use crate::dataplane::message::Message;
use crate::dataplane::outlet::{Outcome, Outlet};

/// The trees that there are, and the ports before whose queues they stand.
#[derive(Default)]
pub(in crate::dataplane) struct Table {
    /// By port; as long as the highest one needs.
    ports: Vec<Option<Arc<Shaper>>>,
    trees: Vec<Arc<Shaper>>,
}

impl Table {
    /// Trees, each with its ports.
    pub(in crate::dataplane) fn new(trees: impl Iterator<Item = (Arc<Shaper>, Vec<PortIndex>)>) -> Self {
        let mut table = Self::default();
        for (tree, ports) in trees {
            for port in ports {
                if table.ports.len() <= port.get() {
                    table.ports.resize(port.get() + 1, None);
                }
                if let Some(place) = table.ports.get_mut(port.get()) {
                    *place = Some(Arc::clone(&tree));
                }
            }
            table.trees.push(tree);
        }
        table
    }

    /// The tree before a port's queues.
    #[inline]
    pub(in crate::dataplane) fn of(&self, port: PortIndex) -> Option<&Arc<Shaper>> {
        self.ports.get(port.get())?.as_ref()
    }
}

/// Trees that one round sees to at most.
const ROUND_TREES: usize = 64;

/// Bytes that may depart in a round from trees to which frames are brought, and again from those whose time has come: whatever is left
/// is due in the next round.
const ROUND_BUDGET: i64 = 256 << 10;

/// What seeing to a tree costs beside what departs.
const VISIT_COST: i64 = 1024;

/// One worker's part in shaping.
pub(in crate::dataplane) struct Shaping {
    /// The worker's number.
    worker: usize,
    table: Arc<Table>,
    /// When to see to the trees that the worker owns.
    agenda: Agenda,
    /// Room for the next visit to a tree.
    untold: Untold,
    /// When the round began in which frames were last brought to a tree, and what may depart in it with them.
    brought: (Nanos, i64),
    /// What the last round left of [`ROUND_BUDGET`]: less than nothing if its last turn took more.
    budget: i64,
    /// Classes of flows that were found before.
    pub(in crate::dataplane) classes: ClassCache,
}

impl Shaping {
    pub(in crate::dataplane) fn new(worker: usize) -> Self {
        Self {
            worker,
            table: Arc::default(),
            agenda: Agenda::default(),
            untold: Untold::default(),
            classes: ClassCache::new(RandomState::new().hash_one(worker)),
            brought: (NEVER, 0),
            budget: 0,
        }
    }

    /// The tree before a port's queues.
    #[inline]
    pub(in crate::dataplane) fn of(&self, port: PortIndex) -> Option<&Arc<Shaper>> {
        self.table.of(port)
    }

    /// When the next of the worker's trees has to be seen to.
    #[inline]
    pub(in crate::dataplane) fn next(&self) -> Option<Nanos> {
        self.agenda.first()
    }

    /// Goes by another table from now on.
    pub(in crate::dataplane) fn set_table(&mut self, table: Arc<Table>) {
        self.table = table;
        self.agenda.clear();
        for tree in self.table.trees.iter().filter(|tree| tree.owner == self.worker) {
            self.agenda.put(tree.id, Nanos::default());
        }
    }

    /// Sees to tree `id` at `at` at the latest, if the worker knows it.
    pub(in crate::dataplane) fn bring(&mut self, id: u32, at: Nanos) {
        self.agenda.bring(id, at);
    }

    /// Has the owner of a tree see to it in time, whose lock the caller holds: its next departure is at `next`.
    pub(super) fn schedule(&mut self, tree: &Shaper, waiting: &mut Waiting, next: (Nanos, bool)) {
        let Some(at) = waiting.schedule(next.0, next.1) else { return };
        if tree.owner == self.worker {
            self.agenda.bring(tree.id, at);
        } else {
            tree.postbox.post(Message::Depart { tree: tree.id, at });
        }
    }

    /// Bytes that may still depart with what is brought in the round that began at `now`.
    pub(super) fn allowance(&mut self, now: Nanos) -> &mut i64 {
        if self.brought.0 != now {
            self.brought = (now, ROUND_BUDGET);
        }
        &mut self.brought.1
    }

    /// What visits are noted in while a tree is locked; [`Shaping::tell`] takes it back.
    pub(in crate::dataplane) fn take_untold(&mut self) -> Untold {
        std::mem::take(&mut self.untold)
    }

    /// Tells of visits, now that no tree is locked.
    pub(in crate::dataplane) fn tell(
        &mut self,
        mut untold: Untold,
        outlets: &[Option<Arc<Outlet>>],
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        untold.tell(outlets, visited);
        self.untold = untold;
    }

    /// Lets depart what is due of the worker's trees, as far as one round goes. The others' turn is in the next one, before those that
    /// had theirs now: who has been due for longest is first.
    pub(in crate::dataplane) fn see_to_trees(
        &mut self,
        leaving: &Leaving<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        self.budget = self.budget.min(0) + ROUND_BUDGET;
        for _ in 0..ROUND_TREES {
            if self.budget <= 0 {
                return;
            }
            self.budget -= VISIT_COST;
            let Some(id) = self.agenda.take(leaving.now) else { return };
            let Ok(place) = self.table.trees.binary_search_by_key(&id, |tree| tree.id) else { continue };
            let Some(tree) = self.table.trees.get(place).cloned() else { continue };
            let Some(mut waiting) = tree.turn(true) else { continue };
            waiting.scheduled = NEVER;
            let mut untold = self.take_untold();
            // Each has a whole turn, so that none comes off worse for being the last; the next round has less then.
            let mut turn = ROUND_BUDGET;
            let next = waiting.depart(leaving, &mut untold, &mut turn);
            self.budget -= ROUND_BUDGET - turn;
            self.schedule(&tree, &mut waiting, next);
            drop(waiting);
            self.tell(untold, leaving.outlets, visited);
        }
    }
}
