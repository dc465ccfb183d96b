//! Time as the caller gives it: the switch has no clock.

/// A moment in nanoseconds since a start that the caller chose; it never runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The moment `seconds` after the start.
    #[must_use]
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds as u64 * 1_000_000_000)
    }

    /// Whole seconds since the start: the resolution in which addresses age.
    #[must_use]
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000_000_000).unwrap_or(u32::MAX)
    }
}
