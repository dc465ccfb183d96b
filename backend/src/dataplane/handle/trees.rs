//! Trees of queues: they come, change and go while frames wait in them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use viaduct_switch::qos::{FifoPlan, PlanError, QueuePlan, Report, RootPlan, TreePlan};
use viaduct_switch::{DropReason, NetworkIndex, PortIndex};

use super::Dataplane;
use crate::dataplane::message::Message;
use crate::dataplane::outlet::Outlet;
use crate::dataplane::shaping::{Ending, Shaper, ShapingMemory, Table};

/// A tree of queues that stands before ports' own.
#[derive(Clone, Debug)]
pub struct TreeSetup {
    /// Its name, unique: what waits in it stays where the next setup has a tree of this name.
    pub name: Arc<str>,
    /// What it is made of.
    pub plan: Arc<TreePlan>,
    /// The ports whose frames pass it; none is another tree's, too.
    pub ports: Vec<PortIndex>,
}

/// What a tree of queues did so far.
#[derive(Clone, Debug)]
pub struct ShapingReport {
    /// Its name.
    pub name: Arc<str>,
    /// The ports before whose queues it stands.
    pub ports: Vec<PortIndex>,
    /// Rates, counters and what waits.
    pub report: Report,
}

/// The trees that there are.
#[derive(Default)]
pub(super) struct Trees {
    memory: ShapingMemory,
    /// By their numbers.
    known: Vec<Known>,
    /// The ports of each tree that is wanted.
    wanted: HashMap<Arc<str>, Vec<PortIndex>>,
    /// Ports of trees that were not attached when this was last looked at, and whether what waited for them was given up since.
    away: HashMap<PortIndex, bool>,
}

struct Known {
    name: Arc<str>,
    id: u32,
    plan: Arc<TreePlan>,
    shaper: Arc<Shaper>,
    /// Not wanted any more: the ticks since then.
    ends: Option<u32>,
}

/// Ticks for which a tree that ends waits for receivers that have no room; what is left then may be lost there.
const END_TICKS: u32 = 10;

impl Trees {
    /// A number that no tree has.
    fn free_id(&self) -> u32 {
        let is_own = |place: usize| self.known.get(place).is_some_and(|known| known.id as usize == place);
        // Numbers ascend: up to the first gap each is its tree's place.
        let (mut low, mut high) = (0, self.known.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_own(middle) { low = middle + 1 } else { high = middle }
        }
        u32::try_from(low).unwrap_or(u32::MAX)
    }
}

impl Dataplane {
    /// Has these trees stand before these ports' queues from now on; gives those whose plan is no good, with the reason.
    pub(super) fn change_trees(&mut self, wanted: Vec<TreeSetup>) -> Vec<(Arc<str>, PlanError)> {
        let mut refused = Vec::new();
        if wanted.is_empty() && self.trees.known.is_empty() {
            return refused;
        }
        self.trees.wanted.clear();
        let names = self.trees.known.iter().map(|known| (Arc::clone(&known.name), known.id));
        let ids: HashMap<Arc<str>, u32> = names.collect();
        for setup in wanted {
            let put = match ids.get(&setup.name) {
                Some(id) => self.change_tree(*id, &setup),
                None => self.add_tree(&setup),
            };
            if let Err(error) = put {
                refused.push((Arc::clone(&setup.name), error));
            }
            self.trees.wanted.insert(setup.name, setup.ports);
        }
        self.end_unwanted();
        self.show_trees();
        refused
    }

    /// Has a tree go by another plan.
    fn change_tree(&mut self, id: u32, setup: &TreeSetup) -> Result<(), PlanError> {
        let (now, plan, known) = (self.now(), Arc::clone(&setup.plan), &mut self.trees.known);
        let place = known.binary_search_by_key(&id, |known| known.id);
        let Some(known) = place.ok().and_then(|place| known.get_mut(place)) else { return Ok(()) };
        if known.plan != plan || known.ends.is_some() {
            known.shaper.reconfigure(&plan, now, &self.switch)?;
            known.shaper.set_ending(Ending::No, None);
        }
        (known.plan, known.ends) = (plan, None);
        Ok(())
    }

    fn add_tree(&mut self, setup: &TreeSetup) -> Result<(), PlanError> {
        let (now, plan, id) = (self.now(), Arc::clone(&setup.plan), self.trees.free_id());
        let owner = setup.ports.first().map_or(0, |port| self.worker_of(*port));
        let Some(worker) = self.workers.get(owner) else { return Ok(()) };
        let owner = (owner, Arc::clone(&worker.postbox));
        let shaper = Arc::new(Shaper::new(id, &plan, owner, &self.trees.memory, now)?);
        let known = Known { name: Arc::clone(&setup.name), id, plan, shaper, ends: None };
        self.trees.known.insert((id as usize).min(self.trees.known.len()), known);
        Ok(())
    }

    /// Has trees that are not wanted any more pass on what waits in them, in its order.
    fn end_unwanted(&mut self) {
        let now = self.now();
        let Trees { known, wanted, .. } = &mut self.trees;
        let attached = &self.attached;
        let is_behind = |port: &PortIndex| {
            let outlet = attached.get(port).and_then(|attached| attached.outlet.as_deref());
            outlet.is_some_and(Outlet::is_behind)
        };
        for known in known.iter_mut().filter(|known| known.ends.is_none()) {
            if wanted.contains_key(&known.name) {
                continue;
            }
            known.ends = Some(0);
            let behind = known.shaper.ports().into_iter().find(is_behind);
            known.shaper.set_ending(Ending::Gently, behind);
            // A queue without bounds suits any tree; were it refused, the tree would go on as it is until it is empty.
            let _ = known.shaper.reconfigure(&passing(&known.plan), now, &self.switch);
        }
    }

    /// Lets all workers know which trees stand before which ports. A port of a tree that ends keeps that until it is empty, so that
    /// nothing overtakes what waits there.
    fn show_trees(&mut self) {
        let Trees { known, wanted, .. } = &mut self.trees;
        let mut ending: HashSet<PortIndex> = HashSet::new();
        for known in known.iter().filter(|known| known.ends.is_some()) {
            ending.extend(known.shaper.ports());
        }
        let ports_of = |known: &Known| match known.ends {
            Some(_) => known.shaper.ports(),
            None => {
                let ports = wanted.get(&known.name).map(|ports| &ports[..]).unwrap_or_default();
                ports.iter().filter(|port| !ending.contains(port)).copied().collect()
            }
        };
        let trees: Vec<_> = known.iter().map(|known| (Arc::clone(&known.shaper), ports_of(known))).collect();
        for (shaper, ports) in &trees {
            shaper.set_ports(ports);
        }
        let table = Arc::new(Table::new(trees.into_iter()));
        self.ask(|_, acknowledge| Some(Message::SetTrees { table: Arc::clone(&table), acknowledge }));
    }

    /// Lets go of trees that ended and are empty. One that is not so after a while lets more go than comes, so that it is soon.
    pub(super) fn sweep_trees(&mut self) {
        for known in &mut self.trees.known {
            let Some(ticks) = &mut known.ends else { continue };
            *ticks += 1;
            if *ticks == END_TICKS {
                known.shaper.set_ending(Ending::AtOnce, None);
            }
        }
        let before = self.trees.known.len();
        self.trees.known.retain(|known| known.ends.is_none() || !known.shaper.is_empty());
        if self.trees.known.len() != before {
            self.show_trees();
        }
    }

    /// Gives back memory that trees have not needed for a while, and gives up what waits for ports that were away at the last call
    /// already, and have not been back since.
    pub(super) fn tidy_trees(&mut self) {
        let Trees { known, away, .. } = &mut self.trees;
        let (mut gone, mut still) = (HashSet::new(), HashMap::new());
        for port in known.iter().flat_map(|known| known.shaper.all_ports()) {
            // A guest may have rings of its own to send by alone.
            let runs = self.attached.get(&port).is_some_and(|attached| attached.outlet.is_some());
            if !runs {
                let was_away = away.get(&port).copied();
                if was_away == Some(false) {
                    gone.insert(port);
                }
                still.insert(port, was_away.is_some());
            }
        }
        *away = still;
        self.purge_trees(|port, _| gone.contains(&port), !gone.is_empty(), DropReason::ReceiverDown);
        self.trees.known.iter().for_each(|known| known.shaper.tidy());
    }

    /// To be called when a port runs again, as all workers know: its trees let go what waited for that.
    pub(super) fn resume_trees(&mut self, port: PortIndex) {
        self.trees.away.remove(&port);
        self.trees.known.iter().for_each(|known| known.shaper.note_return(port));
    }

    /// Ports for which trees may have frames.
    pub(super) fn shaped_ports(&self) -> Vec<PortIndex> {
        self.trees.known.iter().flat_map(|known| known.shaper.all_ports()).collect()
    }

    /// Whether anything of trees is left to be done without a port that is attached.
    pub(super) fn has_trees_to_tidy(&self) -> bool {
        self.trees.known.iter().any(|known| known.ends.is_some() || known.shaper.holds_memory())
    }

    /// Throws away what waits for `port` in the tree before its queues, and in any that it has left.
    pub(super) fn purge_tree(&self, port: PortIndex, reason: DropReason) {
        self.purge_trees(|of, _| of == port, true, reason);
    }

    /// Throws away what waits in trees for ports that `goes` says by port and network, if there `is_any`.
    pub(super) fn purge_trees(
        &self,
        goes: impl Fn(PortIndex, Option<NetworkIndex>) -> bool,
        is_any: bool,
        reason: DropReason,
    ) {
        let counters = self.switch.counters();
        for known in self.trees.known.iter().filter(|_| is_any) {
            known.shaper.purge(&goes, |port| counters.port(port).add_drops(reason, 1));
        }
    }

    /// Bytes of memory that frames in trees hold.
    #[cfg(test)]
    pub(in crate::dataplane) fn shaped_bytes(&self) -> usize {
        self.trees.memory.taken()
    }

    /// What the trees did so far.
    pub(super) fn report_trees(&self) -> Vec<ShapingReport> {
        let wanted = self.trees.known.iter().filter(|known| known.ends.is_none());
        let report = |known: &Known| ShapingReport {
            name: Arc::clone(&known.name),
            ports: known.shaper.ports(),
            report: known.shaper.report(self.now()),
        };
        wanted.map(report).collect()
    }
}

/// A tree in which nothing is held back, with room for what waits under `plan`.
fn passing(plan: &TreePlan) -> TreePlan {
    let queue = FifoPlan { frames: plan.limits.frames, bytes: u64::MAX };
    TreePlan {
        root: RootPlan::Queue(QueuePlan::Fifo(queue)),
        filters: Vec::new(),
        overhead_bytes: plan.overhead_bytes,
        limits: plan.limits,
    }
}
