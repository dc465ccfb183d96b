//! Numbers that nobody outside can foretell.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use crate::time::Nanos;

/// A row of numbers that a secret seed determines.
#[derive(Debug)]
pub(super) struct Random {
    state: FixedState,
    drawn: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: FixedState::with_seed(seed), drawn: 0 }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.state.hash_one(self.drawn)
    }

    /// A time below `most`.
    pub(super) fn below(&mut self, most: Nanos) -> Nanos {
        Nanos(self.next() % most.0.max(1))
    }

    /// A time from half of `middle` to half as much again (RFC 4861, 10: `MIN_RANDOM_FACTOR` and `MAX_RANDOM_FACTOR`).
    pub(super) fn around(&mut self, middle: Nanos) -> Nanos {
        Nanos(middle.0 / 2) + self.below(middle)
    }

    /// By what the fragments of a packet are told from others (RFC 7739, 5).
    pub(super) fn id(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(0)
    }

    /// The same for IPv4, where there is room for half as many bits.
    pub(super) fn id_v4(&mut self) -> u16 {
        u16::try_from(self.next() >> 48).unwrap_or(0)
    }
}
