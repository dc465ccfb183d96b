//! Time as the caller gives it: the switch has no clock.

use std::ops::{Add, Sub};

/// A moment in nanoseconds since a start that the caller chose; it never runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The moment `seconds` after the start.
    #[must_use]
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds as u64 * 1_000_000_000)
    }

    /// The moment `milliseconds` after the start.
    #[must_use]
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds as u64 * 1_000_000)
    }

    /// Whole seconds since the start: the resolution in which addresses age.
    #[must_use]
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

impl Add for Nanos {
    type Output = Self;

    /// The later moment; the last one there is if there is none as late.
    fn add(self, after: Self) -> Self {
        Self(self.0.saturating_add(after.0))
    }
}

impl Sub for Nanos {
    type Output = Self;

    /// The time from the earlier moment; none if that is not earlier.
    fn sub(self, before: Self) -> Self {
        Self(self.0.saturating_sub(before.0))
    }
}
