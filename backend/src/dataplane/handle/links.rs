//! Single rings and links that change hands while all others carry on.

use viaduct_switch::{DropReason, PortIndex};

use super::Dataplane;
use crate::dataplane::assignment::Move;
use crate::dataplane::build::build_link;
use crate::dataplane::message::{Belongings, Message};
use crate::device::DeviceQueue;

impl Dataplane {
    /// Takes a ring from one worker and gives it to another.
    pub(in crate::dataplane) fn hand_over(&mut self, made: Move) {
        let Move { port, ring, from, to } = made;
        let what = || Belongings::Ring(port, ring);
        let mut inlets = self.ask(|worker, acknowledge| {
            (worker == from).then(|| Message::Detach { what: what(), acknowledge })
        });
        self.ask(|worker, acknowledge| {
            let attach = |inlets| Message::Attach { outlet: None, watch: false, inlets, acknowledge };
            (worker == to).then(|| attach(std::mem::take(&mut inlets)))
        });
        self.assignment.moved(made);
    }

    /// Puts another queue into the place of a link of the bond at `port`.
    ///
    /// Workers learn of it one after the other, and until the last one has, some put frames into the one that goes: its backlog
    /// is looked at then. All other queues are in both outlets, so that nothing is lost whoever has which.
    pub(super) fn exchange(&mut self, port: PortIndex, link: u8, queue: DeviceQueue) {
        let Some(before) = self.attached.get(&port).and_then(|attached| attached.outlet.clone()) else {
            return;
        };
        let ring = 2 * u16::from(link) + 1;
        let what = || Belongings::Ring(port, ring);
        drop(self.ask(|_, acknowledge| Some(Message::Detach { what: what(), acknowledge })));
        self.assignment.remove_ring(port, ring);
        self.run(port, build_link(&before, link, queue), None);
        let waited = before.queue(link.into()).map_or(0, |queue| queue.lock().backlog.clear());
        self.switch.counters().port(port).add_drops(DropReason::ReceiverDown, waited);
    }
}
