//! Back-pressure: what a guest sends above its rate stays in its ring, where its QoS wants that, so that its own queue builds and
//! nothing is copied or lost.
//!
//! A burst cannot be put back into a ring. So a ring is read in bursts about as large as what its port's meter holds
//! ([`Meter::room`]), and is left alone afterwards until what the meter owes is paid ([`Turn`]): it is not polled, its guest is not
//! asked to kick, and the worker's sleep ends when its time has come. Only its own worker knows that it pauses; a ring that
//! moves takes its pause along, and one that comes anew begins with one where its port owes, so that stopping and starting it gains
//! nothing of the rate; what its last visit took too much of others' turns is forgotten. Another rate is heeded at once.

use std::sync::Arc;
use std::time::Instant;

use viaduct_switch::meter::{Cost, Meter, Turn};
use viaduct_switch::{Nanos, Volume};

use super::inlet::Inlet;
use super::kicks::poll_again;
use super::message::Belongings;
use super::shaping::NEVER;
use super::shared::elapsed;
use super::worker::Worker;
use crate::ring::Burst;

/// What a ring keeps to whose port lets frames wait.
pub(super) struct Pressure {
    meter: Arc<Meter>,
    turn: Turn,
    pause: Option<Pause>,
}

/// A ring is left alone.
#[derive(Clone, Copy)]
struct Pause {
    since: Nanos,
    until: Nanos,
}

impl Pressure {
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// What a visit had better keep to.
    pub(super) fn room(&self, now: Nanos) -> Volume {
        self.meter.room(now)
    }

    /// How long the frames of a burst last that was read and not yet delivered.
    pub(super) fn cost(&self, burst: &Burst) -> Cost {
        self.meter.cost(burst.frames().0)
    }
}

impl Worker {
    /// After a burst of a ring that waits: says whether it may be read on. Else it pauses.
    #[inline(never)]
    pub(super) fn keep_turn(&mut self, place: u32, cost: Cost, now: Instant) -> bool {
        let now = elapsed(self.started, now);
        let Some(inlet) = inlet(&mut self.inlets, place) else { return true };
        let Some(pressure) = inlet.pressure.as_deref_mut() else { return true };
        let until = pressure.turn.took(&pressure.meter, cost, now);
        pressure.pause = until.map(|until| Pause { since: now, until });
        let Some(until) = until else { return true };
        inlet.polled = false;
        // It may be long until its guest would be told otherwise.
        inlet.notify(&self.shared);
        self.switch.counters().port(inlet.port).add_pause();
        self.pauses.put(place, until);
        false
    }

    /// Lets rings be read again whose time has come.
    #[inline]
    pub(super) fn end_pauses(&mut self, now: Instant) {
        if self.pauses.first().is_some_and(|first| first <= elapsed(self.started, now)) {
            self.end_those_due(elapsed(self.started, now));
        }
    }

    #[inline(never)]
    fn end_those_due(&mut self, now: Nanos) {
        while let Some(place) = self.pauses.take(now) {
            let pressure = inlet(&mut self.inlets, place).and_then(|inlet| inlet.pressure.as_deref_mut());
            let Some(pressure) = pressure else { continue };
            match pressure.turn.resume(&pressure.meter, now) {
                Some(later) => self.put_off(place, later),
                None => self.end_pause(place, now),
            }
        }
    }

    fn put_off(&mut self, place: u32, until: Nanos) {
        let pressure = inlet(&mut self.inlets, place).and_then(|inlet| inlet.pressure.as_deref_mut());
        if let Some(pause) = pressure.and_then(|pressure| pressure.pause.as_mut()) {
            pause.until = until;
            self.pauses.put(place, until);
        }
    }

    /// Lets a ring be read again, if it pauses.
    fn end_pause(&mut self, place: u32, now: Nanos) {
        let Some(inlet) = inlet(&mut self.inlets, place) else { return };
        let Some(pressure) = inlet.pressure.as_deref_mut() else { return };
        let Some(pause) = pressure.pause.take() else { return };
        self.switch.counters().port(inlet.port).add_paused(now - pause.since);
        self.pauses.put(place, NEVER);
        let woken = poll_again(&mut self.inlets, &mut self.polled, place);
        woken.into_iter().for_each(|inlet| inlet.pace.kicked(Instant::now()));
    }

    /// Has all rings keep to what the policy says of their ports from now on.
    pub(super) fn fit_pressures(&mut self) {
        let now = elapsed(self.started, Instant::now());
        for place in 0..u32::try_from(self.inlets.len()).unwrap_or(0) {
            self.fit_pressure(place, now, false);
        }
    }

    /// Has a ring that comes keep to it, and pause where its port owes; else it is polled.
    pub(super) fn fit_newcomer(&mut self, place: u32) {
        self.fit_pressure(place, elapsed(self.started, Instant::now()), true);
        poll_again(&mut self.inlets, &mut self.polled, place);
    }

    fn fit_pressure(&mut self, place: u32, now: Nanos, comes: bool) {
        let Some(inlet) = inlet(&mut self.inlets, place) else { return };
        let police = self.state.policy().port(inlet.port).and_then(|port| port.police.as_ref());
        match (&inlet.pressure, police.filter(|meter| meter.waits() && inlet.way.is_ring()).cloned()) {
            (None, None) => {}
            (Some(before), Some(meter)) if Arc::ptr_eq(&before.meter, &meter) => {
                if let (Some(pause), true) = (before.pause, comes) {
                    self.pauses.put(place, pause.until);
                }
            }
            (before, Some(meter)) => {
                let since = before.as_ref().and_then(|before| before.pause).map(|pause| pause.since);
                let pause = since.or(comes.then_some(now)).map(|since| Pause { since, until: now });
                let owes_until = meter.level_at(now);
                inlet.pressure = Some(Box::new(Pressure { meter, turn: Turn::default(), pause }));
                if owes_until > now { self.put_off(place, owes_until) } else { self.end_pause(place, now) }
            }
            (Some(_), None) => self.let_go(place, now),
        }
    }

    /// A ring's port lets nothing wait any more.
    fn let_go(&mut self, place: u32, now: Nanos) {
        self.end_pause(place, now);
        if let Some(inlet) = inlet(&mut self.inlets, place) {
            inlet.pressure = None;
            inlet.way.keep_to_bursts();
        }
    }

    /// Rings go, and their pauses with them: what these lasted so far is counted here.
    pub(super) fn part_with_pauses(&mut self, what: &Belongings) {
        let now = elapsed(self.started, Instant::now());
        for (place, inlet) in (0..).zip(&mut self.inlets) {
            let Some(inlet) = inlet.as_mut().filter(|inlet| what.include(inlet)) else { continue };
            let Some(pressure) = inlet.pressure.as_deref_mut() else { continue };
            self.pauses.put(place, NEVER);
            if let Some(pause) = &mut pressure.pause {
                self.switch.counters().port(inlet.port).add_paused(now - pause.since);
                pause.since = now;
            }
        }
    }
}

fn inlet(inlets: &mut [Option<Inlet>], place: u32) -> Option<&mut Inlet> {
    inlets.get_mut(place as usize)?.as_mut()
}
