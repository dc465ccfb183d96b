//! What is done again and again while ports are attached: ageing, evening out, looking after workers and guests.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use viaduct_switch::{DropReason, PortIndex};

use super::Dataplane;
use crate::dataplane::DataplaneEvent;
use crate::dataplane::message::Message;
use crate::ring::RingError;

/// Entries of the fdb that one tick looks at for ageing.
const EXPIRE_BUDGET: usize = 1024;

/// How often is looked at what the rings carry.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// Rings that one tick moves at most for those that came or went.
const MOVES: usize = 64;

/// Ticks after which backlogs are tidied up.
const BACKLOG_TICKS: u64 = 10;

/// Connections that one tick looks at: ten times as many a second as come up for it where a million are open.
const EXPIRE_CONNECTIONS_BUDGET: usize = 65_536;

impl Dataplane {
    /// Whether [`Dataplane::tick`] has something to do though no port is attached: frames wait for ports that may come back, or memory is
    /// still held for such.
    #[must_use]
    pub fn has_leftovers(&self) -> bool {
        !self.parked.is_empty() || self.has_trees_to_tidy()
    }

    /// To be called about every 100 ms while ports are attached, and as long as something is left of them: frees workers that a peer blocked, lets
    /// addresses age, and reports guests whose memory file shrank.
    pub fn tick(&mut self) {
        self.ticks += 1;
        self.unblock_workers();
        self.switch.expire(self.now(), &self.policy, EXPIRE_BUDGET);
        self.switch.expire_vteps(self.now());
        self.expire_connections();
        self.examine_next_memory();
        self.rebalance();
        self.sweep_trees();
        if self.ticks.is_multiple_of(BACKLOG_TICKS) {
            self.tidy_backlogs();
            self.tidy_trees();
        }
        let guests =
            self.attached.iter_mut().filter_map(|(port, attached)| Some((*port, attached.guest.as_mut()?)));
        for (port, guest) in guests {
            if !guest.poisoned && guest.is_poisoned() {
                guest.poisoned = true;
                let error = RingError::MemoryGone;
                self.reporter.report(DataplaneEvent::RingBroken { port, ring: 0, error });
            }
        }
    }

    pub(super) fn unblock_workers(&mut self) {
        let stuck: Vec<_> = self
            .workers
            .iter_mut()
            .filter_map(|worker| {
                let (sequence, freed) = worker.shared.watch.unblock(worker.watched);
                worker.watched = sequence;
                freed
            })
            .collect();
        for (port, descriptor) in stuck {
            self.mute(port, descriptor);
        }
    }

    /// Has no worker write any more to an eventfd that held one up, and reports the rings that it belongs to.
    fn mute(&self, port: PortIndex, descriptor: RawFd) {
        for worker in &self.workers {
            worker.postbox.post(Message::Mute { port, descriptor });
        }
        let guest = self.attached.get(&port).and_then(|attached| attached.guest.as_ref());
        let calls = guest.map_or(&[][..], |guest| &guest.calls);
        for &(ring, _) in calls.iter().filter(|(_, call)| call.as_raw_fd() == descriptor) {
            let error = RingError::CallBlocked;
            self.reporter.report(DataplaneEvent::RingBroken { port, ring, error });
        }
    }

    /// Gives back the memory of backlogs that were empty for a while, and gives up frames that waited at the last call already for
    /// a port which did not come back.
    fn tidy_backlogs(&mut self) {
        for attached in self.attached.values() {
            for queue in attached.outlet.iter().flat_map(|outlet| &outlet.queues) {
                if let Some(mut queue) = queue.try_lock() {
                    queue.backlog.tidy();
                }
            }
        }
        let counters = self.switch.counters();
        self.parked.retain(|port, parked| {
            let is_old = std::mem::replace(&mut parked.is_old, true);
            let lost = if is_old { parked.frames() } else { 0 };
            counters.port(*port).add_drops(DropReason::ReceiverDown, lost);
            !is_old
        });
    }

    /// Evens out what the workers have to do.
    fn rebalance(&mut self) {
        for _ in 0..MOVES {
            let Some(found) = self.assignment.after_change() else { break };
            self.hand_over(found);
        }
        let elapsed = self.measured.elapsed();
        if elapsed >= MEASURE_INTERVAL {
            self.measured += elapsed;
            let found = self.assignment.measure(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            found.into_iter().for_each(|found| self.hand_over(found));
        }
    }

    /// Ends connections, and datagrams in fragments, of which nothing was heard for too long.
    fn expire_connections(&self) {
        let (now, switch) = (self.now(), &self.switch);
        switch.expire_connections(now, EXPIRE_CONNECTIONS_BUDGET, |datagram| {
            self.held.give_up(datagram, switch)
        });
        self.held.tick(u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX), switch);
    }
}
