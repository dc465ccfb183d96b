//! A rate with its bucket: bytes or packets, in ticks of time.

use super::bucket::{Bucket, Taken, Terms};
use super::plan::{Allowance, Limits};
use crate::counters::Volume;
use crate::time::Nanos;

/// Ticks a nanosecond has: 64 bytes at 400 Gbit/s last 1.28 ns, and are counted to a thousandth.
const TICK_BITS: u32 = 10;

/// Bits behind the point of [`Pace`].
const FRACTION_BITS: u32 = 24;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Workers read the clock apart from each other by far less than a second.
const SLACK: u64 = SECOND_NS << TICK_BITS;

/// What a turn is where senders wait for theirs: long enough that a worker is woken a thousand times a second at most for each of
/// them, and short beside what guests wait for.
const TURN: u64 = 1_000_000 << TICK_BITS;

/// The least that a turn is: a frame of common length.
const PIECE: Volume = Volume { frames: 1, bytes: 1518 };

/// The moment in ticks, which wrap every 208 days; [`Bucket::settle`] is called far more often.
#[inline]
pub(super) fn ticks(now: Nanos) -> u64 {
    now.0 << TICK_BITS
}

/// As much time in nanoseconds, rounded up.
pub(super) fn nanoseconds(ticks: u64) -> Nanos {
    Nanos(ticks.div_ceil(1 << TICK_BITS))
}

/// How long a unit lasts: ticks, with [`FRACTION_BITS`] bits behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pace(u64);

impl Pace {
    /// So that `per_second` of `parts` make a unit. It is rounded up, so that never more than the rate passes: by three parts in a
    /// thousand million at most.
    fn new(per_second: u64, parts: u64) -> Self {
        let second = u128::from(SECOND_NS) << (TICK_BITS + FRACTION_BITS);
        let unit = (second * u128::from(parts)).div_ceil(u128::from(per_second.max(1)));
        Self(u64::try_from(unit).unwrap_or(u64::MAX))
    }

    /// How long as many units last.
    #[inline]
    fn ticks(self, units: u64) -> u64 {
        let ticks = (u128::from(units) * u128::from(self.0) + ((1 << FRACTION_BITS) - 1)) >> FRACTION_BITS;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// How many units come in this time.
    fn units(self, ticks: u64) -> u64 {
        let units = (u128::from(ticks) << FRACTION_BITS) / u128::from(self.0.max(1));
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

/// One rate and what was taken of it.
#[derive(Debug)]
struct Gauge {
    pace: Pace,
    terms: Terms,
    bucket: Bucket,
}

impl Gauge {
    /// `parts` of what the rate counts are one unit of what is taken. It is full, or holds what an earlier one did, and owes what
    /// that one did if it `may_owe`.
    fn new(allowance: Allowance, parts: u64, earlier: Option<&Self>, may_owe: bool, now: u64) -> Self {
        let pace = Pace::new(allowance.per_second, parts);
        let terms = Terms { depth: pace.ticks(allowance.burst).min(Terms::DEPTH_MAX), slack: SLACK };
        let held = earlier.map_or(terms.depth, |earlier| pace.ticks(earlier.held(now)).min(terms.depth));
        let owed = earlier.filter(|_| may_owe).map_or(0, |earlier| pace.ticks(earlier.owed(now)));
        let lacking = (terms.depth - held).saturating_add(owed).min(Terms::DEPTH_MAX);
        Self { pace, terms, bucket: Bucket::lacking(lacking, now) }
    }

    /// The units that it holds.
    fn held(&self, now: u64) -> u64 {
        self.pace.units(self.terms.depth - self.bucket.debt(self.terms, now))
    }

    /// The units that it owes.
    fn owed(&self, now: u64) -> u64 {
        self.pace.units(self.level_in(now))
    }

    /// In what time nothing is owed any more.
    #[inline]
    fn level_in(&self, now: u64) -> u64 {
        self.bucket.full_in(now).saturating_sub(self.terms.depth)
    }

    /// In what time it holds what comes in the time `held`.
    fn holds_in(&self, held: u64, now: u64) -> u64 {
        self.bucket.full_in(now).saturating_sub(self.terms.depth.saturating_sub(held))
    }

    /// What one turn is, in time: a millisecond, but at least one `piece` and at most half of what it holds when it is full.
    fn turn(&self, piece: u64) -> u64 {
        self.pace.ticks(piece).max(TURN).min(self.terms.depth / 2).max(1)
    }

    #[inline]
    fn take(&self, units: u64, now: u64) -> Option<Taken> {
        self.bucket.take(self.pace.ticks(units), self.terms, now)
    }

    #[inline]
    fn has(&self, units: u64, now: u64) -> bool {
        self.bucket.has(self.pace.ticks(units), self.terms, now)
    }
}

/// What was taken of both rates, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PairTaken {
    bytes: Taken,
    packets: Taken,
}

/// A rate in bits, one in packets, or both: who passes keeps within both.
#[derive(Debug)]
pub(super) struct Pair {
    bytes: Option<Gauge>,
    packets: Option<Gauge>,
}

impl Pair {
    /// Full ones, but for what earlier ones lacked, and owed if they `may_owe`.
    pub(super) fn new(limits: &Limits, earlier: Option<&Self>, may_owe: bool, now: u64) -> Self {
        let gauge = |allowance: Option<Allowance>, parts, earlier| {
            allowance.map(|allowance| Gauge::new(allowance, parts, earlier, may_owe, now))
        };
        let (bytes, packets) =
            earlier.map_or((None, None), |pair| (pair.bytes.as_ref(), pair.packets.as_ref()));
        Self { bytes: gauge(limits.bits, 8, bytes), packets: gauge(limits.packets, 1, packets) }
    }

    /// Takes this volume of both or of none; `None` if there is not as much. Two workers that ask in the same moment may both be
    /// refused what one of them could have had, where there are two rates: never more than there was is given.
    #[inline]
    pub(super) fn take(&self, volume: Volume, now: u64) -> Option<PairTaken> {
        let mut taken = PairTaken::default();
        match (&self.bytes, &self.packets) {
            (Some(bytes), None) => taken.bytes = bytes.take(volume.bytes, now)?,
            (None, Some(packets)) => taken.packets = packets.take(volume.frames, now)?,
            (None, None) => {}
            (Some(bytes), Some(packets)) => {
                if !packets.has(volume.frames, now) {
                    return None;
                }
                taken.bytes = bytes.take(volume.bytes, now)?;
                let Some(packets) = packets.take(volume.frames, now) else {
                    bytes.bucket.give_back(taken.bytes);
                    return None;
                };
                taken.packets = packets;
            }
        }
        Some(taken)
    }

    /// Whether there is as much; takes nothing.
    #[inline]
    pub(super) fn has(&self, volume: Volume, now: u64) -> bool {
        self.bytes.as_ref().is_none_or(|bytes| bytes.has(volume.bytes, now))
            && self.packets.as_ref().is_none_or(|packets| packets.has(volume.frames, now))
    }

    /// Gives back what was taken last; see [`Bucket::give_back`].
    pub(super) fn give_back(&self, taken: PairTaken) {
        if let Some(bytes) = &self.bytes {
            bytes.bucket.give_back(taken.bytes);
        }
        if let Some(packets) = &self.packets {
            packets.bucket.give_back(taken.packets);
        }
    }

    /// Takes this volume of both, whether they hold as much or not.
    pub(super) fn charge(&self, volume: Volume, now: u64) {
        for (gauge, units) in self.gauges(volume) {
            gauge.bucket.charge(gauge.pace.ticks(units), now);
        }
    }

    /// Whether full ones hold this volume so many times.
    pub(super) fn fits(&self, volume: Volume, times: u64) -> bool {
        self.gauges(volume)
            .all(|(gauge, units)| gauge.pace.ticks(units) <= gauge.terms.depth.saturating_mul(times))
    }

    /// How long this volume lasts, by the rate that gives less.
    pub(super) fn cost(&self, volume: Volume) -> u64 {
        self.gauges(volume).map(|(gauge, units)| gauge.pace.ticks(units)).max().unwrap_or(0)
    }

    /// In what time both hold what comes in the time `held`: with 0, in what time none of them owes anything.
    pub(super) fn holds_in(&self, held: u64, now: u64) -> u64 {
        self.gauges(Volume::default()).map(|(gauge, _)| gauge.holds_in(held, now)).max().unwrap_or(0)
    }

    /// What one turn is, in time.
    pub(super) fn turn(&self) -> u64 {
        self.gauges(PIECE).map(|(gauge, piece)| gauge.turn(piece)).min().unwrap_or(TURN)
    }

    /// What both hold, and a turn beside; `u64::MAX` where there is no rate.
    pub(super) fn room(&self, now: u64) -> Volume {
        let turn = self.turn();
        let units = |gauge: &Option<Gauge>| {
            gauge.as_ref().map_or(u64::MAX, |gauge| gauge.held(now).saturating_add(gauge.pace.units(turn)))
        };
        Volume { frames: units(&self.packets), bytes: units(&self.bytes) }
    }

    /// Both, as far as they are there, with what they have of `volume`.
    fn gauges(&self, volume: Volume) -> impl Iterator<Item = (&Gauge, u64)> {
        let bytes = self.bytes.iter().map(move |gauge| (gauge, volume.bytes));
        bytes.chain(self.packets.iter().map(move |gauge| (gauge, volume.frames)))
    }

    /// See [`Bucket::settle`].
    pub(super) fn settle(&self, now: u64) {
        for gauge in self.bytes.iter().chain(&self.packets) {
            gauge.bucket.settle(now);
        }
    }
}
