//! Senders whose frames wait where they are instead of being dropped ([`Exceeding::Waits`]): when each may go on.
//!
//! Who reads frames cannot put them back. So a visit takes what it takes, and what the bucket did not hold is owed; the sender is then
//! left alone until what was owed after its own visit is paid. Those who share a bucket so come one after the other, each behind
//! what was taken before its own, without a lock and without a list: nobody can put off another one's moment once that is known, and
//! somebody is due whenever nothing is owed, so that the rate is reached exactly.
//!
//! Visits differ in size, since a super-frame goes as a whole. Turns make up for that (deficit round robin, Shreedhar and Varghese
//! 1995): who took more than a turn lets others go first for as many turns, unless nobody else takes what comes.

use super::gauge::{nanoseconds, ticks};
use super::{Exceeding, Fate, Meter, MeterTally, volume};
use crate::counters::Volume;
use crate::frame::Frame;
use crate::meter::Colour;
use crate::time::Nanos;

/// How many full buckets one visit may take of one that owes. Visits are bounded by [`Meter::room`], which counts bytes of frames:
/// more becomes of them on a wire only where segments are smaller than hosts agree on.
const VISIT_MAX: u64 = 4;

/// No moment.
const NEVER: Nanos = Nanos(u64::MAX);

/// How long frames last by the rates of a meter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost(u64);

/// Where one sender stands among those who share a meter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// What it may take before others have their turn, in ticks; below zero: what it took too much.
    credit: i64,
    /// When what was owed after its last visit is paid.
    paid_at: Nanos,
}

impl Turn {
    /// Notes that frames were taken that cost so much, and says until when the sender has to be left alone, if it has to.
    pub fn took(&mut self, meter: &Meter, cost: Cost, now: Nanos) -> Option<Nanos> {
        if now >= self.paid_at {
            self.credit = signed(meter.committed.turn());
        }
        self.credit = self.credit.saturating_sub(signed(cost.0));
        self.paid_at = meter.level_at(now);
        (self.paid_at > now && self.credit <= 0).then_some(self.paid_at)
    }

    /// Asks whether it may go on; if not, when to ask again.
    pub fn resume(&mut self, meter: &Meter, now: Nanos) -> Option<Nanos> {
        let turn = meter.committed.turn();
        let unclaimed_at = now + nanoseconds(meter.committed.holds_in(turn, ticks(now)));
        self.credit = self.credit.saturating_add(signed(turn)).min(signed(turn));
        if unclaimed_at <= now {
            self.credit = signed(turn);
        }
        // What it may take is settled here, whenever it comes.
        self.paid_at = NEVER;
        (self.credit <= 0).then_some(unclaimed_at)
    }
}

fn signed(ticks: u64) -> i64 {
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

impl Meter {
    /// Whether frames that exceed its rates have to be left where they are.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.plan.exceeding == Exceeding::Waits
    }

    /// How long these frames last.
    #[must_use]
    pub fn cost<P>(&self, burst: &[Frame<P>]) -> Cost {
        let mut whole = Volume::default();
        burst.iter().for_each(|frame| whole += volume(frame));
        Cost(self.committed.cost(whole))
    }

    /// When nothing is owed any more; `now` if nothing is.
    #[must_use]
    pub fn level_at(&self, now: Nanos) -> Nanos {
        now + nanoseconds(self.committed.holds_in(0, ticks(now)))
    }

    /// What one visit to a sender had better keep to, in packets and in their bytes: what the buckets hold, and a turn beside.
    #[must_use]
    pub fn room(&self, now: Nanos) -> Volume {
        self.committed.room(ticks(now))
    }

    /// Takes all of a burst, but for frames that would never keep within the rates, and those of a visit that took far too much.
    pub(super) fn charge<P>(
        &self,
        burst: &[Frame<P>],
        whole: Volume,
        now: u64,
        refused: &mut Vec<bool>,
        tally: &mut MeterTally,
    ) {
        tally.conforming = whole;
        if !self.committed.fits(whole, 1) {
            tally.conforming = Volume::default();
            for (slot, volume) in burst.iter().map(volume).enumerate() {
                let mut with_it = tally.conforming;
                with_it += volume;
                if self.committed.fits(volume, 1) && self.committed.fits(with_it, VISIT_MAX) {
                    tally.conforming = with_it;
                } else {
                    refused.resize(burst.len(), false);
                    refused[slot] = true;
                    tally.dropped += volume;
                }
            }
        }
        self.committed.charge(tally.conforming, now);
    }

    /// What becomes of a frame that would come now.
    pub(super) fn assess_wait(&self, volume: Volume, now: Nanos) -> (Colour, Fate) {
        if !self.committed.fits(volume, 1) {
            return (Colour::Red, Fate::Refused);
        }
        if self.level_at(now) > now { (Colour::Yellow, Fate::Waits) } else { (Colour::Green, Fate::Conforms) }
    }
}
