//! How a worker finds out that a ring has work again: kicks, or now and then a look at rings that have none.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use viaduct_switch::PortIndex;

use super::inlet::Inlet;
use super::outlet::{Kick, Outlet};
use super::poller::Wake;
use super::shared::add;
use super::worker::Worker;
use crate::config::Polling;

/// How often a worker that polls some rings looks for kicks of the others.
const LOOK_INTERVAL: Duration = Duration::from_micros(30);

/// How often rings whose frontend gave no kick are looked at.
const KICKLESS_INTERVAL: Duration = Duration::from_millis(1);

/// A round that takes longer than this was interrupted: others had the processor.
const ABSENCE: Duration = Duration::from_micros(500);

/// How long the processor then counts as crowded.
const CROWDED: Duration = Duration::from_millis(50);

impl Worker {
    /// Listens for the kicks of a port's receive rings, which matter only while frames wait for one; tries again
    /// at once with frames that waited when the port was detached.
    pub(super) fn watch_outlet(&mut self, outlet: &Outlet) {
        let now = Instant::now();
        for (number, (kick, queue)) in (0..).zip(outlet.kicks.iter().zip(&outlet.queues)) {
            if let Kick::Written(kick) = kick {
                let wake = Wake::Outlet { port: outlet.port.raw(), queue: number };
                // A failure only means that waiting frames leave with the next one instead.
                let _ = self.poller.add(kick.as_raw_fd(), wake);
            }
            if queue.lock().list() {
                self.waiting.push((outlet.port, number, now));
            }
        }
    }

    /// Brings frames there from now on, instead of to an outlet of the same port in which another link of a bond stands.
    pub(super) fn put_outlet(&mut self, outlet: Arc<Outlet>) {
        let Some(place) = self.outlets.get_mut(outlet.port.get()) else { return };
        let before = place.replace(Arc::clone(&outlet));
        let kicks = |outlet: &Outlet| outlet.kicks.iter().filter_map(Kick::descriptor).collect::<Vec<_>>();
        let stay = kicks(&outlet);
        for gone in before.iter().flat_map(|before| kicks(before)).filter(|kick| !stay.contains(kick)) {
            self.poller.remove(gone);
        }
    }

    /// Sleeps if no ring is polled; else looks for kicks now and then. Gives the time afterwards, at which the next round begins.
    pub(super) fn look_for_kicks(&mut self, now: Instant) -> Instant {
        let done = self.waiting.is_empty() && self.replicator.is_empty();
        let idle = done && self.polled.is_empty() && self.polling != Polling::Busy;
        if !idle && now.saturating_duration_since(self.looked) < LOOK_INTERVAL {
            return Instant::now();
        }
        let all_polled = self.polled.len() == self.ring_count;
        if idle {
            // The time to come is no part of a round.
            let done = Instant::now();
            self.note_round(done);
            self.wait_for_kicks(self.may_sleep_for(done));
        } else if !all_polled || !self.waiting.is_empty() {
            self.wait_for_kicks(Some(Duration::ZERO));
        }
        self.looked = Instant::now();
        self.note_round(self.looked);
        self.round = self.looked;
        self.look_ahead(self.looked);
        if self.kickless
            && self.looked.saturating_duration_since(self.looked_at_kickless) >= KICKLESS_INTERVAL
        {
            self.looked_at_kickless = self.looked;
            self.wake_kickless(self.looked);
            return Instant::now();
        }
        self.looked
    }

    /// Waits for so long at most; `None`: until something happens.
    fn wait_for_kicks(&mut self, timeout: Option<Duration>) {
        let sleeps = timeout.is_none_or(|timeout| !timeout.is_zero());
        add(&self.shared.sleeps, u64::from(sleeps));
        for wake in self.poller.wait(timeout) {
            let now = Instant::now();
            match wake {
                Wake::Mailbox => {}
                Wake::Inlet(place) => {
                    let woken = poll_again(&mut self.inlets, &mut self.polled, place);
                    woken.into_iter().for_each(|inlet| inlet.pace.kicked(now));
                    add(&self.shared.wakes, 1);
                }
                Wake::Outlet { port, queue } => {
                    let outlet = self.outlets.get(usize::from(port)).and_then(Option::as_ref);
                    let kicked = outlet.and_then(|outlet| outlet.queue(queue));
                    if let (Some(outlet), true) = (outlet, kicked.is_some_and(|queue| queue.lock().list())) {
                        self.waiting.push((outlet.port, queue, now));
                    }
                }
            }
        }
    }

    /// Waits in another way from now on. All rings are looked at once, since a worker that is to be busy heeds no
    /// kick of those that it armed.
    pub(super) fn set_polling(&mut self, polling: Polling) {
        let now = Instant::now();
        self.polling = polling;
        self.foreseen = None;
        for place in 0..u32::try_from(self.inlets.len()).unwrap_or(0) {
            poll_again(&mut self.inlets, &mut self.polled, place);
        }
        for outlet in self.outlets.iter().flatten() {
            let waiting = (0..).zip(&outlet.queues).filter(|(_, queue)| queue.lock().list());
            self.waiting.extend(waiting.map(|(number, _)| (outlet.port, number, now)));
        }
    }

    /// How long from `now` on there is nothing to do; `None`: until something happens.
    fn may_sleep_for(&self, now: Instant) -> Option<Duration> {
        let foreseen = self.foreseen.map(|(next, _)| next);
        let departure = self.shaping.next().map(|next| self.started + Duration::from_nanos(next.0));
        let resumption = self.pauses.first().map(|next| self.started + Duration::from_nanos(next.0));
        let next = foreseen.into_iter().chain(departure).chain(resumption).min();
        let next = next.map(|next| next.saturating_duration_since(now));
        match self.kickless {
            true => Some(next.map_or(KICKLESS_INTERVAL, |next| next.min(KICKLESS_INTERVAL))),
            false => next,
        }
    }

    /// Notes when an armed ring is worth a look even without a kick. One ring at a time: the one whose time comes
    /// first.
    pub(super) fn foresee(&mut self, place: u32, next: Option<Instant>, now: Instant) {
        // What was foreseen of the same ring before is out of date.
        self.foreseen.take_if(|(_, other)| *other == place);
        let Some(next) = next.filter(|_| now >= self.crowded) else { return };
        if self.foreseen.is_none_or(|(other, _)| next < other) {
            self.foreseen = Some((next, place));
        }
    }

    /// Polls the ring whose frame was foreseen for now.
    fn look_ahead(&mut self, now: Instant) {
        let Some((_, place)) = self.foreseen.take_if(|(next, _)| *next <= now) else { return };
        let polled = poll_again(&mut self.inlets, &mut self.polled, place);
        polled.into_iter().for_each(|inlet| inlet.pace.foresee());
    }

    /// Polls the rings on which a guest may answer to what it just got.
    pub(super) fn await_answer(&mut self, port: PortIndex, pair: usize, now: Instant) {
        for &place in self.places.get(port.get()).into_iter().flatten() {
            let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { continue };
            if usize::from(inlet.index / 2) == pair && inlet.pace.await_answer(now) {
                poll_again(&mut self.inlets, &mut self.polled, place);
            }
        }
    }

    /// Sees by the clock that others had the processor: then a worker that polls for nothing takes it from them,
    /// and they from it.
    #[inline]
    pub(super) fn notice_absence(&mut self, now: Instant) {
        if now.saturating_duration_since(self.round) > ABSENCE {
            self.crowded = now + CROWDED;
        }
        self.note_round(now);
        self.round = now;
    }

    /// Takes note of how long the round took that ends now, if it carried frames.
    fn note_round(&mut self, now: Instant) {
        let bursts = self.shared.bursts.load(Ordering::Relaxed);
        if bursts != self.noted_bursts {
            self.noted_bursts = bursts;
            self.shared.rounds.add(now.saturating_duration_since(self.round));
        }
    }

    /// Whether there are rings that nobody kicks for.
    pub(super) fn has_kickless(&self) -> bool {
        let outlets = || self.outlets.iter().flatten();
        self.inlets.iter().flatten().any(is_kickless) || outlets().any(|o| o.kicks.iter().any(Kick::is_never))
    }

    fn wake_kickless(&mut self, now: Instant) {
        for place in 0..u32::try_from(self.inlets.len()).unwrap_or(0) {
            if self.inlets.get(place as usize).and_then(Option::as_ref).is_some_and(is_kickless) {
                let woken = poll_again(&mut self.inlets, &mut self.polled, place);
                woken.into_iter().for_each(|inlet| inlet.pace.kicked(now));
            }
        }
        let queues = self.outlets.iter().flatten().flat_map(|outlet| {
            let kickless =
                (0..).zip(outlet.kicks.iter().zip(&outlet.queues)).filter(|(_, (kick, _))| kick.is_never());
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

/// Polls an armed ring again; gives it if it was armed. One that pauses is left alone.
pub(super) fn poll_again<'a>(
    inlets: &'a mut [Option<Inlet>],
    polled: &mut Vec<u32>,
    place: u32,
) -> Option<&'a mut Inlet> {
    let may_be = |inlet: &&mut Inlet| !inlet.polled && !inlet.broken && !inlet.is_paused();
    let inlet = inlets.get_mut(place as usize)?.as_mut().filter(may_be)?;
    inlet.polled = true;
    inlet.way.disarm();
    polled.push(place);
    Some(inlet)
}
