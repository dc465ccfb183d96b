//! Trees of queues: they come, change and go while frames wait in them.

use std::sync::Arc;

use viaduct_switch::qos::{FifoPlan, PlanError, QueuePlan, Report, RootPlan, TreePlan};
use viaduct_switch::{DropReason, PortIndex};

use super::Dataplane;
use crate::dataplane::message::Message;
use crate::dataplane::shaping::{Shaper, ShapingMemory, Table};

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
    wanted: Vec<(Arc<str>, Vec<PortIndex>)>,
}

struct Known {
    name: Arc<str>,
    id: u32,
    plan: Arc<TreePlan>,
    shaper: Arc<Shaper>,
    /// Not wanted any more: the ticks since then.
    ends: Option<u32>,
}

/// Ticks for which a tree that ends waits for receivers that have no room; what is left then is lost there.
const END_TICKS: u32 = 10;

impl Dataplane {
    /// Has these trees stand before these ports' queues from now on; gives those whose plan is no good, with the reason.
    pub(super) fn change_trees(&mut self, wanted: Vec<TreeSetup>) -> Vec<(Arc<str>, PlanError)> {
        let mut refused = Vec::new();
        if wanted.is_empty() && self.trees.known.is_empty() {
            return refused;
        }
        self.trees.wanted.clear();
        for setup in wanted {
            if let Err(error) = self.put_tree(&setup) {
                refused.push((Arc::clone(&setup.name), error));
            }
            self.trees.wanted.push((setup.name, setup.ports));
        }
        self.end_unwanted();
        self.show_trees();
        refused
    }

    /// Makes a tree, or has the one of that name go by another plan.
    fn put_tree(&mut self, setup: &TreeSetup) -> Result<(), PlanError> {
        let (now, plan) = (self.now(), Arc::clone(&setup.plan));
        if let Some(known) = self.trees.known.iter_mut().find(|known| known.name == setup.name) {
            if known.plan != plan || known.ends.is_some() {
                known.shaper.reconfigure(&plan, now, &self.switch)?;
                known.shaper.set_ending(false);
            }
            (known.plan, known.ends) = (plan, None);
            return Ok(());
        }
        let place = (0..).zip(&self.trees.known).find(|(id, known)| known.id != *id).map(|(id, _)| id);
        let id = place.unwrap_or(u32::try_from(self.trees.known.len()).unwrap_or(u32::MAX));
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
        for known in known.iter_mut().filter(|known| known.ends.is_none()) {
            if wanted.iter().any(|(name, _)| *name == known.name) {
                continue;
            }
            known.ends = Some(0);
            known.shaper.set_ending(true);
            // A queue without bounds suits any tree; were it refused, the tree would go on as it is until it is empty.
            let _ = known.shaper.reconfigure(&passing(&known.plan), now, &self.switch);
        }
    }

    /// Lets all workers know which trees stand before which ports. A port of a tree that ends keeps that until it is empty, so that
    /// nothing overtakes what waits there.
    fn show_trees(&mut self) {
        let Trees { known, wanted, .. } = &mut self.trees;
        let mut ending: Vec<PortIndex> = Vec::new();
        for known in known.iter().filter(|known| known.ends.is_some()) {
            ending.extend(known.shaper.ports());
        }
        let ports_of = |known: &Known| match known.ends {
            Some(_) => known.shaper.ports(),
            None => {
                let ports = wanted.iter().find(|(name, _)| *name == known.name).map(|(_, ports)| &ports[..]);
                ports.unwrap_or_default().iter().filter(|port| !ending.contains(port)).copied().collect()
            }
        };
        let trees: Vec<_> = known.iter().map(|known| (Arc::clone(&known.shaper), ports_of(known))).collect();
        for (shaper, ports) in &trees {
            shaper.set_ports(ports);
        }
        let table = Arc::new(Table::new(trees.into_iter()));
        self.ask(|_, acknowledge| Some(Message::SetTrees { table: Arc::clone(&table), acknowledge }));
    }

    /// Lets go of trees that ended and are empty.
    pub(super) fn sweep_trees(&mut self) {
        for known in &mut self.trees.known {
            let Some(ticks) = &mut known.ends else { continue };
            *ticks += 1;
            if *ticks >= END_TICKS {
                known.shaper.set_ending(false);
            }
        }
        let before = self.trees.known.len();
        self.trees.known.retain(|known| known.ends.is_none() || !known.shaper.is_empty());
        if self.trees.known.len() != before {
            self.show_trees();
        }
    }

    /// Gives back memory that trees have not needed for a while, and gives up what waits for ports that did not come back.
    pub(super) fn tidy_trees(&self) {
        for known in &self.trees.known {
            for port in known.shaper.all_ports().into_iter().filter(|port| !self.attached.contains_key(port))
            {
                self.purge_tree_of(port, &known.shaper, DropReason::ReceiverDown);
            }
            known.shaper.tidy();
        }
    }

    /// Throws away what waits for `port` in the tree before its queues, and in any that it has left.
    pub(super) fn purge_tree(&self, port: PortIndex, reason: DropReason) {
        for known in &self.trees.known {
            self.purge_tree_of(port, &known.shaper, reason);
        }
    }

    fn purge_tree_of(&self, port: PortIndex, shaper: &Shaper, reason: DropReason) {
        self.switch.counters().port(port).add_drops(reason, shaper.forget(port));
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
