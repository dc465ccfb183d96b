//! What a worker and the control thread both see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use viaduct_switch::{Nanos, PortIndex};
use vmm_sys_util::eventfd::EventFd;

use super::DataplaneEvent;
use super::offers::Offers;
use super::punts::PuntSender;
use super::signal::SignalWatch;

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
