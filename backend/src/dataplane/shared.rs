//! What a worker and the control thread both see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use viaduct_switch::{Nanos, PortIndex};
use vmm_sys_util::eventfd::EventFd;

use super::DataplaneEvent;
use super::offers::Offers;
use super::punts::PuntSender;
use super::signal::SignalWatch;
use crate::model::ROUND_TIMES;

/// A worker's counters, and the watch over its writes to eventfds.
#[derive(Debug, Default)]
pub(super) struct WorkerShared {
    pub(super) watch: SignalWatch,
    pub(super) rings: AtomicU64,
    pub(super) bursts: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) sleeps: AtomicU64,
    pub(super) wakes: AtomicU64,
    pub(super) spins: AtomicU64,
    pub(super) contended: AtomicU64,
    pub(super) rounds: RoundTimes,
}

/// How long rounds took in which frames were carried; one thread alone writes it.
#[derive(Debug, Default)]
pub(super) struct RoundTimes {
    /// By powers of two: at most 1 us, 2 us, 4 us, ..., and all that took longer.
    counts: [AtomicU64; ROUND_TIMES],
    sum_ns: AtomicU64,
}

impl RoundTimes {
    #[inline]
    pub(super) fn add(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let begun_us = took_ns.saturating_sub(1) / 1000;
        let class = (u64::BITS - begun_us.leading_zeros()) as usize;
        if let Some(count) = self.counts.get(class).or(self.counts.last()) {
            add(count, 1);
        }
        add(&self.sum_ns, took_ns);
    }

    /// The counts, and the sum in nanoseconds.
    pub(super) fn read(&self) -> ([u64; ROUND_TIMES], u64) {
        let counts = std::array::from_fn(|class| {
            self.counts.get(class).map_or(0, |count| count.load(Ordering::Relaxed))
        });
        (counts, self.sum_ns.load(Ordering::Relaxed))
    }
}

/// Adds to a counter that one thread alone writes.
#[inline]
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// The switch's time at `now`, which began at `started`.
#[inline]
pub(super) fn elapsed(started: Instant, now: Instant) -> Nanos {
    Nanos(u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX))
}

/// How a worker tells the control thread that something happened.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) events: Sender<DataplaneEvent>,
    pub(super) wake: Arc<EventFd>,
    pub(super) punts: PuntSender,
    pub(super) offers: Arc<Offers>,
}

impl Reporter {
    /// Leaves an event; it happens at most once for each start of a ring.
    pub(super) fn report(&self, event: DataplaneEvent) {
        let _ = self.events.send(event);
        let _ = self.wake.write(1);
    }

    /// Leaves a control frame, whose bytes `fill` writes and counts; says whether there was room.
    pub(super) fn punt(&self, port: PortIndex, link: u8, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let had_room = self.punts.push(port, link, fill);
        let _ = self.wake.write(1);
        had_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_counted_where_it_took_no_longer() {
        let times = RoundTimes::default();
        for (took_ns, class) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (2_000, 1),
            (2_001, 2),
            (4_000, 2),
            (32_768_000, 15),
            (32_768_001, 16),
        ] {
            let before = times.read().0[class];
            times.add(Duration::from_nanos(took_ns));
            assert_eq!(times.read().0[class], before + 1, "{took_ns} ns");
        }
        times.add(Duration::MAX);
        let (counts, _) = times.read();
        assert_eq!((counts.iter().sum::<u64>(), counts[ROUND_TIMES - 1]), (9, 2));
    }
}
