//! The Churn Detection machines: notice an end that does not get into sync (IEEE 802.1AX-2020, 6.4.13; figures 6-24 and
//! 6-25 of 802.1AX-2014).

use super::Timer;
use super::link::Link;
use super::pdu::Flag;
use crate::time::Nanos;

/// Seconds within which an end gets into sync (IEEE 802.1AX-2020, 6.4.4: `Churn_Detection_Time`).
const CHURN_S: u64 = 60;

/// Whether an end gets into sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChurnState {
    /// It is given time.
    #[default]
    Monitor,
    /// It is in sync.
    NoChurn,
    /// It had its time.
    Churn,
}

impl ChurnState {
    /// The state's name for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::NoChurn => "no-churn",
            Self::Churn => "churn",
        }
    }
}

/// The watch over one end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Churn {
    state: ChurnState,
    timer: Timer,
}

impl Churn {
    pub(super) fn state(&self) -> ChurnState {
        self.state
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        self.timer.0
    }

    /// Follows one end; says whether anything changed. A link without carrier is not watched.
    fn step(&mut self, enabled: bool, in_sync: bool, now: Nanos) -> bool {
        let next = match self.state {
            _ if !enabled => ChurnState::Monitor,
            _ if in_sync => ChurnState::NoChurn,
            ChurnState::NoChurn => ChurnState::Monitor,
            ChurnState::Monitor if self.timer.has_expired(now) => ChurnState::Churn,
            same => same,
        };
        let before = (self.state, self.timer);
        self.timer = match (next, self.state) {
            (ChurnState::Monitor, _) if !enabled => Timer::default(),
            (ChurnState::Monitor, ChurnState::Monitor) if self.timer.0.is_some() => self.timer,
            (ChurnState::Monitor, _) => Timer::start(now, CHURN_S),
            _ => Timer::default(),
        };
        self.state = next;
        before != (self.state, self.timer)
    }
}

impl Link {
    /// Watches both ends; says whether anything changed.
    pub(super) fn step_churn(&mut self, now: Nanos) -> bool {
        let (enabled, before) = (self.enabled, self.churns());
        let ours = self.actor_churn.step(enabled, self.actor.state.has(Flag::Synchronization), now);
        let theirs = self.partner_churn.step(enabled, self.partner.state.has(Flag::Synchronization), now);
        let [actor, partner] = self.churns();
        self.counters.actor_churns += u64::from(actor && !before[0]);
        self.counters.partner_churns += u64::from(partner && !before[1]);
        ours || theirs
    }

    fn churns(&self) -> [bool; 2] {
        [self.actor_churn, self.partner_churn].map(|churn| churn.state == ChurnState::Churn)
    }
}
