//! The two clocks: the switch's own, and the wall's, which means the same to the next process.

use viaduct_switch::Nanos;

const SECOND_NS: u64 = 1_000_000_000;

/// What the wall clock says at which moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    /// Its time at [`Nanos`] 0, in seconds since 1970.
    zero_s: u64,
}

impl WallClock {
    /// One that says `unix_s` at `now`.
    pub(crate) fn new(now: Nanos, unix_s: u64) -> Self {
        Self { zero_s: unix_s.saturating_sub(now.0 / SECOND_NS) }
    }

    /// The wall clock's time, in seconds since 1970; of a part of a second, its end.
    pub(crate) fn unix_s(self, moment: Nanos) -> u64 {
        self.zero_s.saturating_add(moment.0.div_ceil(SECOND_NS))
    }

    /// The moment of a time of the wall clock; `None` if it is too far away, or before the beginning.
    pub(crate) fn moment(self, unix_s: u64) -> Option<Nanos> {
        unix_s.checked_sub(self.zero_s)?.checked_mul(SECOND_NS).map(Nanos)
    }
}
