//! Policing: how much a port may send, whatever it sends.
//!
//! A [`Meter`] is asked once a burst for all of it; only a burst that does not keep within the rates as a whole is gone through
//! frame by frame. That gives the same answers: no time passes within a burst, so that all of its frames conform if their sum does.
//! All of its state is a word for each rate, so that any number of workers share one without a lock, and a meter that several ports
//! share is nothing else.

mod atomic {
    //! The types that a bucket is made of; its model in the tests has others under the same names.
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
pub(crate) mod bucket;
mod counters;
pub mod dscp;
mod gauge;
mod plan;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;

use self::gauge::{Pair, ticks};
use counters::MeterTally;
pub use counters::{MeterCounters, MeterSnapshot};
pub use dscp::Dscp;
pub use plan::{Allowance, Colour, Exceeding, Limits, MeterPlan};
pub use turns::{Cost, Turn};

use crate::counters::Volume;
use crate::decision::address_at;
use crate::frame::{Frame, Marks};
use crate::time::Nanos;

/// A meter with what was taken of its rates: one of a port, or shared by several.
#[derive(Debug)]
#[repr(align(64))]
pub struct Meter {
    plan: MeterPlan,
    committed: Pair,
    peak: Option<Pair>,
    counters: Arc<MeterCounters>,
}

// Two meters are the same if they are one: what they hold changes all the time.
impl PartialEq for Meter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Meter {}

impl Meter {
    /// One with full buckets.
    #[must_use]
    pub fn new(plan: MeterPlan, now: Nanos) -> Self {
        Self::made(plan, None, now)
    }

    /// One by another plan that takes this one's place: it goes on counting, and what was taken stays taken.
    #[must_use]
    pub fn succeeded_by(&self, plan: MeterPlan, now: Nanos) -> Self {
        Self::made(plan, Some(self), now)
    }

    fn made(plan: MeterPlan, earlier: Option<&Self>, now: Nanos) -> Self {
        let now = ticks(now);
        let waits = plan.exceeding == Exceeding::Waits;
        let committed = Pair::new(&plan.committed, earlier.map(|earlier| &earlier.committed), waits, now);
        let of_peak = earlier.and_then(|earlier| earlier.peak.as_ref());
        let peak = plan.peak.map(|peak| Pair::new(&peak, of_peak, false, now));
        let counters = earlier.map_or_else(Arc::default, |earlier| Arc::clone(&earlier.counters));
        Self { plan, committed, peak, counters }
    }

    /// What it was told.
    #[must_use]
    pub fn plan(&self) -> &MeterPlan {
        &self.plan
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> MeterSnapshot {
        self.counters.snapshot()
    }

    /// To be called once a month or more often, so that a bucket that nobody asks for that long stays full.
    pub fn settle(&self, now: Nanos) {
        self.committed.settle(ticks(now));
        if let Some(peak) = &self.peak {
            peak.settle(ticks(now));
        }
    }

    /// Meters what came by a port in one moment, and writes marks. Frames whose places are true in `refused` then are dropped; it
    /// is left empty if there are none.
    pub(crate) fn police<P>(&self, burst: &mut [Frame<P>], now: Nanos, refused: &mut Vec<bool>) {
        refused.clear();
        let now = ticks(now);
        let mut whole = Volume::default();
        for frame in &*burst {
            whole += volume(frame);
        }
        let mut tally = MeterTally::default();
        if self.waits() {
            self.charge(burst, whole, now, refused, &mut tally);
        } else if !self.plan.colour_aware && self.conforms(whole, now) {
            tally.conforming = whole;
        } else {
            self.police_each(burst, now, refused, &mut tally);
        }
        self.counters.add(&tally);
    }

    /// Whether a burst keeps within all rates; takes it from all or none.
    #[inline]
    fn conforms(&self, volume: Volume, now: u64) -> bool {
        let Some(peak) = &self.peak else { return self.committed.take(volume, now).is_some() };
        if !self.committed.has(volume, now) {
            return false;
        }
        let Some(taken) = peak.take(volume, now) else { return false };
        let takes = self.committed.take(volume, now).is_some();
        if !takes {
            peak.give_back(taken);
        }
        takes
    }

    #[inline(never)]
    fn police_each<P>(
        &self,
        burst: &mut [Frame<P>],
        now: u64,
        refused: &mut Vec<bool>,
        tally: &mut MeterTally,
    ) {
        let frames = burst.len();
        for (slot, frame) in burst.iter_mut().enumerate() {
            let volume = volume(frame);
            let colour = self.colour(volume, self.comes_with(frame.head.bytes()), now);
            match self.fate(colour) {
                Fate::Conforms => tally.conforming += volume,
                // Not for a burst: where frames wait, what was read is charged.
                Fate::Waits => tally.exceeding += volume,
                Fate::Exceeds(mark) => {
                    mark.map(|mark| mark.write(frame.head.bytes_mut()));
                    self.mark_exceeding(&mut frame.meta.marks);
                    tally.exceeding += volume;
                }
                Fate::Refused => {
                    refused.resize(frames, false);
                    refused[slot] = true;
                    tally.dropped += volume;
                }
            }
        }
    }

    /// Has filters know a frame by exceeding the rate.
    pub(crate) fn mark_exceeding(&self, marks: &mut Marks) {
        if self.plan.exceeding_mark != 0 {
            marks.mark = self.plan.exceeding_mark;
        }
    }

    /// What becomes of a frame that would come now; takes nothing.
    #[must_use]
    pub(crate) fn assess<P>(&self, frame: &Frame<P>, now: Nanos) -> (Colour, Fate) {
        if self.waits() {
            return self.assess_wait(volume(frame), now);
        }
        let (volume, now) = (volume(frame), ticks(now));
        let comes_with = self.comes_with(frame.head.bytes());
        let within = |pair: Option<&Pair>| pair.is_none_or(|pair| pair.has(volume, now));
        let colour = if comes_with == Colour::Red || !within(self.peak.as_ref()) {
            Colour::Red
        } else if comes_with == Colour::Yellow || !within(Some(&self.committed)) {
            Colour::Yellow
        } else {
            Colour::Green
        };
        (colour, self.fate(colour))
    }

    /// The colour that a frame has before it is metered.
    fn comes_with(&self, head: &[u8]) -> Colour {
        let dscp = if self.plan.colour_aware { Dscp::of(head) } else { None };
        dscp.map_or(Colour::Green, Dscp::colour)
    }

    /// Meters one frame (RFC 2698, 3). A frame that is not green takes nothing of the committed rate, and a red one nothing at all.
    fn colour(&self, volume: Volume, comes_with: Colour, now: u64) -> Colour {
        if comes_with == Colour::Red
            || self.peak.as_ref().is_some_and(|peak| peak.take(volume, now).is_none())
        {
            Colour::Red
        } else if comes_with == Colour::Yellow || self.committed.take(volume, now).is_none() {
            Colour::Yellow
        } else {
            Colour::Green
        }
    }

    fn fate(&self, colour: Colour) -> Fate {
        match (colour, self.plan.exceeding) {
            (Colour::Green, _) => Fate::Conforms,
            (Colour::Yellow, Exceeding::Marked(dscp)) => Fate::Exceeds(Some(dscp)),
            (Colour::Yellow, Exceeding::Passed) => Fate::Exceeds(None),
            (Colour::Yellow, Exceeding::Waits) => Fate::Waits,
            (Colour::Yellow, Exceeding::Dropped) | (Colour::Red, _) => Fate::Refused,
        }
    }
}

/// What a frame counts: nothing if it is for the bridge itself, which takes few of them (IEEE 802.1Q-2018, 8.6.3). A link's own
/// protocols must not fail because of what others send by it.
#[inline]
fn volume<P>(frame: &Frame<P>) -> Volume {
    let is_for_bridge = address_at::<0>(frame.head.bytes()).is_link_local();
    if is_for_bridge { Volume::default() } else { frame.wire_volume() }
}

/// What becomes of a metered frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It passes.
    Conforms,
    /// It passes, with this mark if there is one.
    Exceeds(Option<Dscp>),
    /// It stays where it is until the rate has room for it, and passes then.
    Waits,
    /// It is dropped.
    Refused,
}
