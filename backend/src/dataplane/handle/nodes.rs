//! What is kept of guests whose rings run, and on which node (NUMA) their memory lies.

use std::sync::Arc;

use viaduct_switch::PortIndex;

use super::Dataplane;
use crate::dataplane::{PortSetup, RingSetup, Signal};
use crate::memory::{DirtyLog, GuestMemory};
use crate::model::NumaStatus;
use crate::numa::node_of_pages;
#[cfg(test)]
use crate::{dataplane::assignment::Assignment, numa::Topology};

/// Pages of a guest's memory that are looked at, beside those of its rings: some microseconds for all of them.
const PAGES: usize = 64;

/// What the control thread keeps of a guest whose rings run.
pub(super) struct AttachedGuest {
    pub(super) features: u64,
    pub(super) memory: GuestMemory,
    pub(super) log: Option<Arc<DirtyLog>>,
    /// The rings with the eventfds that workers write to.
    pub(super) calls: Vec<(u16, Signal)>,
    /// Where the parts of its rings are, in the frontend's address space: memory that is in use for certain.
    parts: Vec<u64>,
    /// On which node most of its memory lies, once that is known.
    pub(super) node: Option<u32>,
    pub(super) poisoned: bool,
}

impl AttachedGuest {
    /// One whose rings are made.
    pub(super) fn new(setup: PortSetup) -> Self {
        let signals = |ring: &RingSetup| {
            let index = ring.index;
            [ring.call.clone(), ring.error.clone()].into_iter().flatten().map(move |signal| (index, signal))
        };
        let parts = setup.rings.iter().flat_map(|ring| [ring.descriptor, ring.available, ring.used]);
        let mut guest = Self {
            features: setup.features,
            calls: setup.rings.iter().flat_map(signals).collect(),
            parts: parts.collect(),
            memory: setup.memory,
            log: setup.log,
            node: None,
            poisoned: false,
        };
        guest.node = guest.find_node();
        guest
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.memory.is_poisoned() || self.log.as_ref().is_some_and(|log| log.is_poisoned())
    }

    /// On which node its memory lies by now. Of what this process has not touched yet the kernel does not tell it.
    fn find_node(&self) -> Option<u32> {
        let rings = self.parts.iter().filter_map(|part| self.memory.translate_user(*part, 1));
        node_of_pages(&rings.chain(self.memory.spread(PAGES)).collect::<Vec<_>>())
    }
}

impl Dataplane {
    /// Looks after one guest's memory, and the next one's the next time: it gets used, and the kernel may move it. Where it can move nowhere,
    /// what is known is not looked at again.
    pub(super) fn examine_next_memory(&mut self) {
        let may_move = self.topology.has_several();
        let is_open = |guest: &AttachedGuest| may_move || guest.node.is_none();
        let guests =
            self.attached.iter().filter(|(_, attached)| attached.guest.as_ref().is_some_and(is_open));
        let ports = || guests.clone().map(|(port, _)| *port);
        let next = ports().filter(|port| Some(*port) > self.examined).min().or_else(|| ports().min());
        self.examined = next;
        let attached = next.and_then(|port| self.attached.get_mut(&port));
        let Some((port, guest)) = next.zip(attached.and_then(|attached| attached.guest.as_mut())) else {
            return;
        };
        let found = guest.find_node();
        if found.is_some() && found != guest.node {
            guest.node = found;
            self.assignment.settle(port, found);
        }
    }

    /// Where a guest's memory lies, and whose workers read its rings; `None`: no guest runs there, or nobody tells.
    #[must_use]
    pub fn numa(&self, port: PortIndex) -> Option<NumaStatus> {
        let memory_node = self.attached.get(&port)?.guest.as_ref()?.node?;
        let cpu_of = |worker: usize| self.workers.get(worker).map(|worker| worker.cpu);
        let mut cpus: Vec<usize> = self.assignment.workers_of(port).filter_map(cpu_of).collect();
        cpus.sort_unstable();
        cpus.dedup();
        // A processor of which nobody knows where it is, is neither near nor far.
        let nodes: Option<Vec<u32>> = cpus.iter().map(|cpu| self.topology.node_of(*cpu)).collect();
        let is_local = nodes?.iter().all(|node| *node == memory_node);
        Some(NumaStatus { memory_node, cpus, is_local })
    }
}

#[cfg(test)]
impl Dataplane {
    /// Has the machine's processors on these nodes, before there is any port.
    pub(in crate::dataplane) fn set_topology(&mut self, topology: Topology) {
        let nodes = self.workers.iter().map(|worker| topology.node_of(worker.cpu));
        self.assignment = Assignment::new(nodes.collect());
        self.topology = topology;
    }
}
