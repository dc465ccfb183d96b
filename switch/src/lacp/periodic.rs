//! The Periodic machine: when to tell the partner again (IEEE 802.1AX-2020, 6.4.9; figure 6-19 of 802.1AX-2014).

use super::Timer;
use super::link::Link;
use super::pdu::Flag;
use crate::time::Nanos;

/// Seconds between LACPDUs for a partner that gives up after 3, and one that does after 90 (IEEE 802.1AX-2020, 6.4.4:
/// `Fast_Periodic_Time`, `Slow_Periodic_Time`).
const FAST_S: u64 = 1;
const SLOW_S: u64 = 30;

/// How often. The standard's PERIODIC_TX is gone through within one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Period {
    /// No carrier, or nobody wants any.
    Never,
    /// Every second.
    Fast,
    /// Every 30 seconds.
    Slow,
}

impl Link {
    /// Follows the partner's wish and time; says whether anything changed.
    pub(super) fn step_periodic(&mut self, now: Nanos) -> bool {
        let wanted = self.wanted_period();
        let before = self.periodic;
        if wanted == Period::Never {
            self.periodic = wanted;
            self.periodic_timer = Timer::default();
            return before != wanted;
        }
        let expired = self.periodic_timer.has_expired(now);
        // From slow to fast by PERIODIC_TX: who wants them fast, wants the next one now.
        let hastened = before == Period::Slow && wanted == Period::Fast;
        self.transmit.needed |= expired || hastened;
        if expired || before != wanted {
            self.periodic = wanted;
            let period_s = if wanted == Period::Fast { FAST_S } else { SLOW_S };
            self.periodic_timer = Timer::start(now, period_s);
            return true;
        }
        false
    }

    fn wanted_period(&self) -> Period {
        let both_passive = !self.actor.state.has(Flag::Activity) && !self.partner.state.has(Flag::Activity);
        match (self.enabled && !both_passive, self.partner.state.has(Flag::ShortTimeout)) {
            (false, _) => Period::Never,
            (true, true) => Period::Fast,
            (true, false) => Period::Slow,
        }
    }
}
