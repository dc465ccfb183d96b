//! What taps count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What a tap counts, and whether anybody still reads.
#[derive(Debug, Default)]
pub struct TapCounters {
    pub(super) frames: AtomicU64,
    pub(super) looked_at: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) closed: AtomicBool,
}

/// How much a tap saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TapTally {
    /// Frames that entered while it was there.
    pub frames: u64,
    /// Those of them that were looked at.
    pub looked_at: u64,
    /// Samples for which there was no room.
    pub lost: u64,
}

impl TapCounters {
    /// Whether the reader is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(super) fn tally(&self) -> TapTally {
        let [frames, looked_at, lost] =
            [&self.frames, &self.looked_at, &self.lost].map(|counter| counter.load(Relaxed));
        TapTally { frames, looked_at, lost }
    }
}
