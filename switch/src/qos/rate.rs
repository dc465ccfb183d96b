//! Rates, bursts, and the token bucket that both make.
//!
//! Tokens are time, as in Linux's `sch_htb` and `sch_tbf`: what a frame costs is how long it takes at the rate. They are
//! counted in 65,536ths of a nanosecond, since 64 bytes take but 12.8 ns at 40 gbit. What a frame costs is rounded up
//! to the next such unit and the time that passes is not rounded at all, so that no rate drifts: the error of a
//! frame is below 2^-16 ns, a hundred-thousandth at 400 gbit.

use crate::time::Nanos;

/// A number of bits a second, from 1 kbit to 400 gbit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BitRate(u64);

impl BitRate {
    /// The lowest rate in bits a second.
    pub const MIN: Self = Self(1_000);

    /// The highest rate in bits a second.
    pub const MAX: Self = Self(400_000_000_000);

    /// `bits` a second, if that lies between [`BitRate::MIN`] and [`BitRate::MAX`].
    #[must_use]
    pub const fn new(bits: u64) -> Option<Self> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 { Some(Self(bits)) } else { None }
    }

    /// Bits a second.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// A number of bytes that may leave at once, from 1 byte to 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Burst(u32);

impl Burst {
    /// The greatest burst in bytes.
    pub const MAX: Self = Self(1 << 30);

    /// The longest burst that is given to a rate by itself.
    const DEFAULT_MAX: u64 = 4 << 20;

    /// One frame of the usual MTU, and some more.
    const FRAME: u64 = 1600;

    /// Sixteen milliseconds of 10 Mbit/s, in bytes.
    const SLOW: u64 = 20_000;

    /// `bytes` at once, if that is neither 0 nor more than [`Burst::MAX`].
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes > 0 && bytes <= Self::MAX.0 { Some(Self(bytes)) } else { None }
    }

    /// What suits a rate where nothing is said: five milliseconds of it, so that a departure that comes late costs
    /// nothing, but sixteen up to 10 Mbit/s and 20,000 bytes up to 32 Mbit/s, so that several frames may leave together although they
    /// are far apart; at most 4 MiB, and 1600 bytes.
    #[must_use]
    pub fn suiting(rate: BitRate) -> Self {
        let five_ms = rate.0 / (8 * 200);
        let bytes = five_ms.max(Self::SLOW.min(five_ms * 16 / 5)).min(Self::DEFAULT_MAX) + Self::FRAME;
        Self(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

/// Bits of a unit's fraction of a nanosecond.
const UNIT_BITS: u32 = 16;

/// Bits of the fraction of [`Pace::units_per_byte`].
const SCALE_BITS: u32 = 32;

/// The longest time that a bucket reckons with, in nanoseconds: 9.7 hours. Two of it make no number of units overflow.
const TIME_MAX_NS: u64 = 1 << 45;

/// How deep in debt a bucket gets, in units: a minute, as in `sch_htb`. Only who lends what it has not (because more
/// is guaranteed below it than it has) comes there, and it must not pay for that for hours.
const DEBT_MAX: i64 = 60_000_000_000 << UNIT_BITS;

/// How long bytes take at a rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pace {
    /// Units a byte takes, times 2^32.
    units_per_byte: u128,
}

impl Pace {
    fn new(rate: BitRate) -> Self {
        let nanoseconds_per_byte_and_rate = 8_000_000_000_u128;
        let scaled = nanoseconds_per_byte_and_rate << (UNIT_BITS + SCALE_BITS);
        Self { units_per_byte: scaled / u128::from(rate.0) }
    }

    /// The units that `bytes` take, rounded up.
    #[inline]
    fn units(self, bytes: u32) -> i64 {
        let scaled = self.units_per_byte * u128::from(bytes) + ((1 << SCALE_BITS) - 1);
        let longest = i64::try_from(TIME_MAX_NS << UNIT_BITS).unwrap_or(i64::MAX);
        i64::try_from(scaled >> SCALE_BITS).map_or(longest, |units| units.min(longest))
    }
}

/// A token bucket: so much a second, and so much at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tokens {
    pace: Pace,
    /// The most that it holds, in units.
    depth: i64,
    /// What it held at `at`, in units; in debt, if negative.
    held: i64,
    at: Nanos,
    /// The last length that was charged, and what it cost: frames of one length often follow one another.
    last: (u32, i64),
}

impl Tokens {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: BitRate, burst: Burst, now: Nanos) -> Self {
        let pace = Pace::new(rate);
        let depth = pace.units(burst.0);
        Self { pace, depth, held: depth, at: now, last: (0, 0) }
    }

    /// In the place of another bucket: what that one holds stays, as time, up to the depth. So does what is owed, unless the same bytes
    /// take less time at the rate of this one.
    #[must_use]
    pub fn succeeding(self, mut before: Self, now: Nanos) -> Self {
        before.refill(now);
        let debt = u128::from(before.held.min(0).unsigned_abs());
        // With eight bits less of what a byte takes, this is below 2^63 by 2^63: it does not overflow.
        let [pace, pace_before] = [self.pace, before.pace].map(|pace| pace.units_per_byte >> 8);
        let of_bytes = (debt * pace).div_ceil(pace_before.max(1));
        let debt = i64::try_from(of_bytes.min(debt)).unwrap_or(DEBT_MAX);
        let held = if debt > 0 { -debt } else { before.held.min(self.depth) };
        Self { held, at: before.at, ..self }
    }

    /// Puts in what came since the last time.
    #[inline]
    pub fn refill(&mut self, now: Nanos) {
        if now <= self.at {
            return;
        }
        let passed = (now - self.at).0.min(TIME_MAX_NS) << UNIT_BITS;
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        self.held = self.held.saturating_add(passed).min(self.depth);
        self.at = now;
    }

    /// Whether it is not in debt, as of the last [`Tokens::refill`].
    #[inline]
    #[must_use]
    pub fn is_solvent(&self) -> bool {
        self.held >= 0
    }

    /// Whether it will not be in debt once `bytes` are charged, as of the last [`Tokens::refill`].
    #[inline]
    #[must_use]
    pub fn covers(&self, bytes: u32) -> bool {
        self.held >= self.pace.units(bytes)
    }

    /// Takes out what `bytes` cost; what is missing is owed.
    #[inline]
    pub fn charge(&mut self, bytes: u32) {
        if bytes != self.last.0 {
            self.last = (bytes, self.pace.units(bytes));
        }
        let cost = self.last.1;
        self.held = (self.held - cost).max(-DEBT_MAX.max(cost));
    }

    /// When it will not be in debt any more; in the past if it is not.
    #[inline]
    #[must_use]
    pub fn solvent_at(&self) -> Nanos {
        self.at + nanoseconds(-self.held)
    }

    /// When it holds what `bytes` cost, or is full if they cost more than it ever holds: not after the last
    /// [`Tokens::refill`] if that is so already.
    #[inline]
    #[must_use]
    pub fn covers_at(&self, bytes: u32) -> Nanos {
        self.at + nanoseconds(self.pace.units(bytes).min(self.depth) - self.held)
    }
}

/// Units as nanoseconds, rounded up; none if there are none.
#[inline]
fn nanoseconds(units: i64) -> Nanos {
    let units = u64::try_from(units).unwrap_or(0);
    Nanos(units.div_ceil(1 << UNIT_BITS))
}

/// What went through lately: a rate as people want to see it, not what shaping goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RateMeter {
    since: Nanos,
    bytes: u64,
    /// Of the last whole window.
    bits_per_second: u64,
}

impl RateMeter {
    /// The shortest time over which a rate is taken.
    const WINDOW: Nanos = Nanos::from_millis(500);

    /// Counts `bytes` that go through now.
    #[inline]
    pub(crate) fn add(&mut self, now: Nanos, bytes: u64) {
        if now - self.since >= Self::WINDOW {
            self.bits_per_second = self.at(now);
            self.since = now;
            self.bytes = 0;
        }
        self.bytes += bytes;
    }

    /// Bits a second, of the last half second or more.
    pub(crate) fn at(&self, now: Nanos) -> u64 {
        let passed = now - self.since;
        if passed < Self::WINDOW {
            return self.bits_per_second;
        }
        let bits = u128::from(self.bytes) * 8_000_000_000 / u128::from(passed.0);
        u64::try_from(bits).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[path = "tests/rate.rs"]
mod tests;
