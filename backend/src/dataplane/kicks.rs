//! How a worker finds out that a ring has work again: kicks, or now and then a look at rings that have none.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::outlet::Outlet;
use super::poller::Wake;
use super::worker::{Inlet, Worker};
use crate::config::Polling;

/// How often a worker that polls some rings looks for kicks of the others.
const LOOK_INTERVAL: Duration = Duration::from_micros(30);

/// How often rings whose frontend gave no kick are looked at.
const KICKLESS_INTERVAL: Duration = Duration::from_millis(1);

impl Worker {
    /// Listens for the kicks of a port's receive rings, which matter only while frames wait for one; tries again
    /// at once with frames that waited when the port was detached.
    pub(super) fn watch_outlet(&mut self, outlet: &Outlet) {
        let now = Instant::now();
        for (number, (kick, queue)) in (0..).zip(outlet.kicks.iter().zip(&outlet.queues)) {
            if let Some(kick) = kick {
                let wake = Wake::Outlet { port: outlet.port.raw(), queue: number };
                // A failure only means that waiting frames leave with the next one instead.
                let _ = self.poller.add(kick.as_raw_fd(), wake);
            }
            if queue.lock().list() {
                self.waiting.push((outlet.port, number, now));
            }
        }
    }

    /// Sleeps if no ring is polled; else looks for kicks now and then.
    pub(super) fn look_for_kicks(&mut self, now: Instant) {
        let done = self.waiting.is_empty() && self.replicator.is_empty();
        let idle = done && self.polled.is_empty() && self.polling != Polling::Busy;
        if !idle && now.saturating_duration_since(self.looked) < LOOK_INTERVAL {
            return;
        }
        let all_polled = self.polled.len() == self.ring_count;
        if idle || !all_polled || !self.waiting.is_empty() {
            self.wait_for_kicks(idle);
        }
        self.looked = Instant::now();
        if self.kickless
            && self.looked.saturating_duration_since(self.looked_at_kickless) >= KICKLESS_INTERVAL
        {
            self.looked_at_kickless = self.looked;
            self.wake_kickless(self.looked);
        }
    }

    fn wait_for_kicks(&mut self, idle: bool) {
        let timeout_ms = match (idle, self.kickless) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => -1,
        };
        self.shared.sleeps.fetch_add(u64::from(idle), Ordering::Relaxed);
        for wake in self.poller.wait(timeout_ms) {
            let now = Instant::now();
            match wake {
                Wake::Mailbox => {}
                Wake::Inlet(place) => wake_inlet(&mut self.inlets, &mut self.polled, place, now),
                Wake::Outlet { port, queue } => {
                    let outlet = self.outlets.get(usize::from(port)).and_then(Option::as_ref);
                    let kicked = outlet.and_then(|outlet| outlet.queue(usize::from(queue)));
                    if let (Some(outlet), true) = (outlet, kicked.is_some_and(|queue| queue.lock().list())) {
                        self.waiting.push((outlet.port, queue, now));
                    }
                }
            }
        }
    }

    /// Whether there are rings that nobody kicks for.
    pub(super) fn has_kickless(&self) -> bool {
        let outlets = || self.outlets.iter().flatten();
        self.inlets.iter().flatten().any(is_kickless)
            || outlets().any(|o| o.kicks.iter().any(Option::is_none))
    }

    fn wake_kickless(&mut self, now: Instant) {
        for place in 0..u32::try_from(self.inlets.len()).unwrap_or(0) {
            if self.inlets.get(place as usize).and_then(Option::as_ref).is_some_and(is_kickless) {
                wake_inlet(&mut self.inlets, &mut self.polled, place, now);
            }
        }
        let queues = self.outlets.iter().flatten().flat_map(|outlet| {
            let kickless =
                (0..).zip(outlet.kicks.iter().zip(&outlet.queues)).filter(|(_, (kick, _))| kick.is_none());
            kickless.map(move |(number, (_, queue))| (outlet.port, number, queue))
        });
        for (port, number, queue) in queues {
            if queue.lock().list() {
                self.waiting.push((port, number, now));
            }
        }
    }
}

fn is_kickless(inlet: &Inlet) -> bool {
    inlet.kick.is_none() && !inlet.broken
}

/// Polls a ring again after a kick.
fn wake_inlet(inlets: &mut [Option<Inlet>], polled: &mut Vec<u32>, place: u32, now: Instant) {
    let Some(inlet) = inlets.get_mut(place as usize).and_then(Option::as_mut) else { return };
    if inlet.polled || inlet.broken {
        return;
    }
    inlet.polled = true;
    inlet.last_frame = now;
    inlet.ring.core().disarm();
    polled.push(place);
}
