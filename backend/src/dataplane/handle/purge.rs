//! Throwing away what waits at a way out that nothing may leave by any more.

use std::collections::HashSet;
use std::sync::Arc;

use viaduct_switch::{DropReason, NetworkIndex, Policy, PortIndex, PortPolicy, Priority, TagStack};

use super::Dataplane;

impl Dataplane {
    /// Ends the connections whose addresses are translated no longer as they were under the policy `before`.
    pub(super) fn end_translations(&self, before: &Policy) {
        let is_same = match (before.nat(), self.policy.nat()) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        if !is_same {
            self.switch.end_translations(&self.policy, self.now());
        }
    }

    /// Throws away what waits at one queue of `port`.
    pub(super) fn purge_queue(&self, port: PortIndex, queue: u16, reason: DropReason) {
        let outlet = self.attached.get(&port).and_then(|attached| attached.outlet.as_ref());
        let Some(queue) = outlet.and_then(|outlet| outlet.queue(queue)) else { return };
        let frames = queue.lock().backlog.clear();
        self.switch.counters().port(port).add_drops(reason, frames);
    }

    /// Throws away what waits at one link of `port`, and before it unless others carry on.
    pub(super) fn purge_link(&self, port: PortIndex, link: u8, reason: DropReason) {
        self.purge_queue(port, u16::from(link), reason);
        let outlet = self.attached.get(&port).and_then(|attached| attached.outlet.as_ref());
        // What waits before a bond goes by its other links.
        if outlet.is_some_and(|outlet| outlet.bond.is_none()) {
            self.purge_tree(port, reason);
        }
    }

    /// Throws away all that waits for a port that is detached and does not come back.
    pub(super) fn abandon(&mut self, port: PortIndex) {
        let frames = self.parked.remove(&port).map_or(0, |parked| parked.frames());
        self.switch.counters().port(port).add_drops(DropReason::ReceiverDown, frames);
        self.purge_tree(port, DropReason::ReceiverDown);
    }

    /// Throws away all that waits at ports that forwarded under `before` and do not now: neighbours are told next that they
    /// are closed, and who is told opens another way at once, by which late frames would come back (IEEE 802.1Q-2018,
    /// 8.6.7). To be called when all workers use the new policy, so that nothing is put there any more.
    pub(super) fn purge_closed(&self, before: &Policy) {
        let mut closed = HashSet::new();
        for (&port, attached) in &self.attached {
            if forwards(before, port) && !forwards(&self.policy, port) {
                let queues = attached.outlet.as_ref().map_or(0, |outlet| outlet.queue_count());
                (0..queues).for_each(|queue| self.purge_queue(port, queue, DropReason::StpBlocked));
                closed.insert(port);
            }
        }
        // Of a bond as a whole, too.
        self.purge_trees(|port, _| closed.contains(&port), !closed.is_empty(), DropReason::StpBlocked);
    }

    /// Throws away what waits in trees for ports that left its network since `before`, or that get the network's frames with other tags:
    /// what is laid out already would be another network's where it goes. To be called when all workers use the new policy.
    pub(super) fn purge_moved(&self, before: &Policy) {
        let mut moved = HashSet::new();
        for port in self.shaped_ports() {
            let networks = before.port(port).map(PortPolicy::networks).unwrap_or_default();
            let is_same = |network| {
                !before.is_member(port, network)
                    || self.policy.is_member(port, network)
                        && tags(before, port, network) == tags(&self.policy, port, network)
            };
            let gone = networks.into_iter().filter(|network| !is_same(*network));
            moved.extend(gone.map(|network| (port, network)));
        }
        let goes = |port, network: Option<NetworkIndex>| {
            network.is_some_and(|network| moved.contains(&(port, network)))
        };
        self.purge_trees(goes, !moved.is_empty(), DropReason::NoNetwork);
    }
}

/// The tags with which frames of a network leave by a port, their priority aside.
fn tags(policy: &Policy, port: PortIndex, network: NetworkIndex) -> TagStack {
    let tags = policy.tags_of(port).map(|tags| tags.frame(network, Priority::default()));
    tags.unwrap_or_default()
}

/// Whether frames of any network leave by `port`.
fn forwards(policy: &Policy, port: PortIndex) -> bool {
    let networks = policy.port(port).into_iter().flat_map(viaduct_switch::PortPolicy::networks);
    networks.into_iter().any(|network| policy.is_member(port, network))
}
