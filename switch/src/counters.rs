//! Counters of each port and of the address table: written relaxed, read at any time.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::drops::{DROP_REASONS, DropReason};
use crate::ids::{PORTS_MAX, PortIndex};
use crate::time::Nanos;

/// The counters of a whole switch.
#[derive(Debug)]
pub struct Counters {
    ports: Box<[PortCounters]>,
    /// What the address table did.
    pub fdb: FdbCounters,
}

impl Default for Counters {
    fn default() -> Self {
        let ports = std::iter::repeat_with(PortCounters::default).take(PORTS_MAX).collect();
        Self { ports, fdb: FdbCounters::default() }
    }
}

impl Counters {
    /// The counters of `port`, whether it is in use or not.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortIndex) -> &PortCounters {
        &self.ports[port.get()]
    }
}

/// Frames and their bytes, Ethernet header included, FCS not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    /// How many frames.
    pub frames: u64,
    /// Their lengths' sum in bytes.
    pub bytes: u64,
}

impl Volume {
    /// Adds one frame of `length` bytes.
    #[inline]
    pub fn add(&mut self, length: u32) {
        self.frames += 1;
        self.bytes += u64::from(length);
    }
}

impl AddAssign for Volume {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

/// The counters of one port. What is written for the sender stands on other cache lines than what is
/// written for the receiver, since different workers write them.
#[derive(Debug, Default)]
pub struct PortCounters {
    entered: Entered,
    left: Left,
}

#[derive(Debug)]
#[repr(align(64))]
struct Entered {
    frames: AtomicU64,
    bytes: AtomicU64,
    drops: [AtomicU64; DROP_REASONS],
    pauses: AtomicU64,
    paused_ns: AtomicU64,
}

// Arrays have a default up to a length of 32 only, and there are more reasons.
impl Default for Entered {
    fn default() -> Self {
        let drops = std::array::from_fn(|_| AtomicU64::default());
        let [frames, bytes, pauses, paused_ns] = Default::default();
        Self { frames, bytes, drops, pauses, paused_ns }
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Left {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl PortCounters {
    /// Adds what a burst did: frames that entered here, and how many of them were dropped for which reason.
    pub fn add_entered(&self, tally: &Tally) {
        self.entered.frames.fetch_add(tally.received.frames, Relaxed);
        self.entered.bytes.fetch_add(tally.received.bytes, Relaxed);
        if tally.any_drop {
            for (counter, frames) in self.entered.drops.iter().zip(tally.drops) {
                add_some(counter, u64::from(frames));
            }
        }
    }

    /// Adds frames that left by this port; the owner of the egress calls it after delivery.
    pub fn add_sent(&self, sent: Volume) {
        self.left.frames.fetch_add(sent.frames, Relaxed);
        self.left.bytes.fetch_add(sent.bytes, Relaxed);
    }

    /// Adds `frames` that were dropped for `reason`.
    pub fn add_drops(&self, reason: DropReason, frames: u64) {
        add_some(&self.entered.drops[reason as usize], frames);
    }

    /// Counts that one of its senders was told to wait.
    pub fn add_pause(&self) {
        self.entered.pauses.fetch_add(1, Relaxed);
    }

    /// Adds the time for which one of its senders waited.
    pub fn add_paused(&self, time: Nanos) {
        self.entered.paused_ns.fetch_add(time.0, Relaxed);
    }

    /// How many frames were dropped for `reason`.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.entered.drops[reason as usize].load(Relaxed)
    }

    /// All values as they stand; counters that change meanwhile may be from slightly different moments.
    #[must_use]
    pub fn snapshot(&self) -> PortSnapshot {
        PortSnapshot {
            received: Volume {
                frames: self.entered.frames.load(Relaxed),
                bytes: self.entered.bytes.load(Relaxed),
            },
            sent: Volume { frames: self.left.frames.load(Relaxed), bytes: self.left.bytes.load(Relaxed) },
            drops: std::array::from_fn(|reason| self.entered.drops[reason].load(Relaxed)),
            pauses: self.entered.pauses.load(Relaxed),
            paused: Nanos(self.entered.paused_ns.load(Relaxed)),
        }
    }

    /// Sets all to 0: for an index that is given to another port.
    pub fn reset(&self) {
        let Self { entered, left } = self;
        let pauses = [&entered.pauses, &entered.paused_ns];
        let counters = [&entered.frames, &entered.bytes, &left.frames, &left.bytes].into_iter().chain(pauses);
        for counter in counters.chain(&entered.drops) {
            counter.store(0, Relaxed);
        }
    }
}

/// Adds to a counter, without touching its cache line for nothing.
fn add_some(counter: &AtomicU64, frames: u64) {
    if frames != 0 {
        counter.fetch_add(frames, Relaxed);
    }
}

/// The values of a port's counters at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSnapshot {
    /// Frames that entered the switch at this port; those that were malformed before the switch saw them
    /// are counted as drops only.
    pub received: Volume,
    /// Frames that left the switch by this port.
    pub sent: Volume,
    /// Frames dropped, in the order of [`DropReason::ALL`].
    pub drops: [u64; DROP_REASONS],
    /// How often one of its senders had to wait, its frames being left where they were.
    pub pauses: u64,
    /// For how long, all of its senders together.
    pub paused: Nanos,
}

impl Default for PortSnapshot {
    fn default() -> Self {
        let (received, sent, pauses, paused) = Default::default();
        Self { received, sent, drops: [0; DROP_REASONS], pauses, paused }
    }
}

impl PortSnapshot {
    /// Each reason for which frames were dropped, with how many.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.drops).filter(|&(_, frames)| frames != 0)
    }
}

/// What one burst adds to its source port's counters.
#[derive(Clone, Debug)]
pub struct Tally {
    received: Volume,
    any_drop: bool,
    drops: [u32; DROP_REASONS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { received: Volume::default(), any_drop: false, drops: [0; DROP_REASONS] }
    }
}

impl Tally {
    /// Begins another burst.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.received = Volume::default();
        if self.any_drop {
            *self = Self::default();
        }
    }

    /// Counts a frame of `length` bytes that entered.
    #[inline]
    pub fn received(&mut self, length: u32) {
        self.received.add(length);
    }

    /// Counts a frame that was dropped.
    #[inline]
    pub fn dropped(&mut self, reason: DropReason) {
        self.any_drop = true;
        self.drops[reason as usize] += 1;
    }
}

/// What the address table did since it was made.
#[derive(Debug, Default)]
pub struct FdbCounters {
    pub(crate) learned: AtomicU64,
    pub(crate) moved: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) forgotten: AtomicU64,
    pub(crate) contended: AtomicU64,
    pub(crate) duplicates: AtomicU64,
}

/// The values of the address table's counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FdbSnapshot {
    /// Addresses learned anew.
    pub learned: u64,
    /// Addresses that moved to another port.
    pub moved: u64,
    /// Moves not followed, because the address had moved too often within the second.
    pub held: u64,
    /// Addresses that gave way to another one's.
    pub evicted: u64,
    /// Addresses not learned, because every place was taken by ports with fewer addresses.
    pub refused: u64,
    /// Addresses removed after their ageing time, or because their port left the network.
    pub expired: u64,
    /// Addresses removed with their port.
    pub forgotten: u64,
    /// Addresses not learned this time, because another worker was writing.
    pub contended: u64,
    /// How often an address was found to move again and again to or from VTEPs.
    pub duplicates: u64,
}

impl FdbCounters {
    /// All values as they stand.
    #[must_use]
    pub fn snapshot(&self) -> FdbSnapshot {
        FdbSnapshot {
            learned: self.learned.load(Relaxed),
            moved: self.moved.load(Relaxed),
            held: self.held.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            expired: self.expired.load(Relaxed),
            forgotten: self.forgotten.load(Relaxed),
            contended: self.contended.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
        }
    }
}

/// What one burst adds to its worker's flow cache counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowTally {
    pub(crate) misses: u32,
    pub(crate) inserted: u32,
    pub(crate) evicted: u32,
    pub(crate) refused: u32,
    pub(crate) invalidated: u32,
    pub(crate) mismatched: u32,
}

/// What one worker's flow cache did since it was made.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct FlowCacheCounters {
    hits: AtomicU64,
    misses: AtomicU64,
    inserted: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    invalidated: AtomicU64,
    mismatched: AtomicU64,
}

/// The values of a flow cache's counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowCacheSnapshot {
    /// Frames for which a record was replayed.
    pub hits: u64,
    /// Frames about which the stages decided.
    pub misses: u64,
    /// Records made and kept.
    pub inserted: u64,
    /// Records that gave way to another one.
    pub evicted: u64,
    /// Records not kept, because every place was taken.
    pub refused: u64,
    /// Records found out of date: something changed on which they depended.
    pub invalidated: u64,
    /// Hits for which verification found that the stages decide otherwise: mistakes of the switch.
    pub mismatched: u64,
}

impl FlowCacheCounters {
    /// Adds what a burst of `frames` frames did. Only the cache's own worker does.
    #[inline]
    pub(crate) fn add(&self, frames: usize, burst: &FlowTally) {
        add_own(&self.hits, u32::try_from(frames).unwrap_or(u32::MAX) - burst.misses);
        if burst.misses != 0 {
            add_own(&self.misses, burst.misses);
            add_own(&self.inserted, burst.inserted);
            add_own(&self.evicted, burst.evicted);
            add_own(&self.refused, burst.refused);
            add_own(&self.invalidated, burst.invalidated);
        }
        if burst.mismatched != 0 {
            add_own(&self.mismatched, burst.mismatched);
        }
    }

    /// All values as they stand.
    #[must_use]
    pub fn snapshot(&self) -> FlowCacheSnapshot {
        FlowCacheSnapshot {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            inserted: self.inserted.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            invalidated: self.invalidated.load(Relaxed),
            mismatched: self.mismatched.load(Relaxed),
        }
    }
}

/// Adds to a counter that one thread alone writes.
#[inline]
fn add_own(counter: &AtomicU64, frames: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(u64::from(frames)), Relaxed);
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
