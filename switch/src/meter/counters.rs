//! What a meter did: written relaxed, once a burst, read at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::counters::Volume;

/// The counters of a meter, in what frames are on a wire.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct MeterCounters {
    conforming: Counted,
    exceeding: Counted,
    dropped: Counted,
}

#[derive(Debug, Default)]
struct Counted {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    /// Adds, without touching the cache line for nothing.
    #[inline]
    fn add(&self, volume: Volume) {
        if volume.frames != 0 {
            self.packets.fetch_add(volume.frames, Relaxed);
            self.bytes.fetch_add(volume.bytes, Relaxed);
        }
    }

    fn get(&self) -> Volume {
        Volume { frames: self.packets.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// What a burst adds to them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MeterTally {
    pub(super) conforming: Volume,
    pub(super) exceeding: Volume,
    pub(super) dropped: Volume,
}

/// The values of a meter's counters at one moment, in what frames are on a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MeterSnapshot {
    /// What kept within the committed rate.
    pub conforming: Volume,
    /// What exceeded it and passed, with a mark or without.
    pub exceeding: Volume,
    /// What was dropped.
    pub dropped: Volume,
}

impl MeterCounters {
    #[inline]
    pub(super) fn add(&self, tally: &MeterTally) {
        self.conforming.add(tally.conforming);
        self.exceeding.add(tally.exceeding);
        self.dropped.add(tally.dropped);
    }

    /// All values as they stand.
    #[must_use]
    pub fn snapshot(&self) -> MeterSnapshot {
        MeterSnapshot {
            conforming: self.conforming.get(),
            exceeding: self.exceeding.get(),
            dropped: self.dropped.get(),
        }
    }
}
