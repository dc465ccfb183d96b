//! Throwing away what waits at a way out that nothing may leave by any more.

use std::sync::Arc;

use viaduct_switch::{DropReason, Policy, PortIndex};

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

    /// Throws away what waits at ports that forwarded under `before` and do not now: neighbours are told next that they
    /// are closed, and who is told opens another way at once, by which late frames would come back (IEEE 802.1Q-2018,
    /// 8.6.7). To be called when all workers use the new policy, so that nothing is put there any more.
    pub(super) fn purge_closed(&self, before: &Policy) {
        for (&port, attached) in &self.attached {
            if forwards(before, port) && !forwards(&self.policy, port) {
                let queues = attached.outlet.as_ref().map_or(0, |outlet| outlet.queue_count());
                (0..queues).for_each(|queue| self.purge_queue(port, queue, DropReason::StpBlocked));
                // Of a bond as a whole, too.
                self.purge_tree(port, DropReason::StpBlocked);
            }
        }
    }
}

/// Whether frames of any network leave by `port`.
fn forwards(policy: &Policy, port: PortIndex) -> bool {
    let networks = policy.port(port).into_iter().flat_map(viaduct_switch::PortPolicy::networks);
    networks.into_iter().any(|network| policy.is_member(port, network))
}
