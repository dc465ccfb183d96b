//! The Mux machine: takes a link into service and out of it, one step after the other (IEEE 802.1AX-2020, 6.4.11;
//! figure 6-22 of 802.1AX-2014, independent control).

use super::Timer;
use super::link::Link;
use super::pdu::Flag;
use crate::time::Nanos;

/// Seconds for which a link waits for others that might come into the group, so that the partner sees them together
/// (IEEE 802.1AX-2020, 6.4.4: `Aggregate_Wait_Time`).
const AGGREGATE_WAIT_S: u64 = 2;

/// How far a link is in service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MuxState {
    /// In no group.
    Detached,
    /// Waits for others that might join with it.
    Waiting,
    /// In the group: in sync.
    Attached,
    /// Takes frames.
    Collecting,
    /// Takes and sends frames.
    Distributing,
}

impl MuxState {
    /// The state's name for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Waiting => "waiting",
            Self::Attached => "attached",
            Self::Collecting => "collecting",
            Self::Distributing => "distributing",
        }
    }
}

impl Link {
    /// `Ready_N`: it does not wait, or has waited long enough.
    pub(super) fn is_ready(&mut self, now: Nanos) -> bool {
        if self.wait_while.has_expired(now) {
            self.wait_while = Timer::default();
        }
        self.wait_while == Timer::default()
    }

    /// One step up or down; `ready`: no link of the group waits any more. Says whether anything changed.
    pub(super) fn step_mux(&mut self, ready: bool, now: Nanos) -> bool {
        let next = self.next_mux(ready);
        let changed = next != self.mux;
        if changed {
            self.enter(next, now);
        }
        changed
    }

    fn next_mux(&self, ready: bool) -> MuxState {
        let in_sync = self.selected && self.partner.state.has(Flag::Synchronization);
        let collects = in_sync && self.partner.state.has(Flag::Collecting);
        match self.mux {
            MuxState::Detached if self.selected => MuxState::Waiting,
            MuxState::Waiting | MuxState::Attached if !self.selected => MuxState::Detached,
            MuxState::Waiting if ready => MuxState::Attached,
            MuxState::Attached if in_sync => MuxState::Collecting,
            MuxState::Collecting if !in_sync => MuxState::Attached,
            MuxState::Collecting if collects => MuxState::Distributing,
            MuxState::Distributing if !collects => MuxState::Collecting,
            same => same,
        }
    }

    /// What a state does when it is entered; the flags say which state it is, so the partner is told of most.
    fn enter(&mut self, next: MuxState, now: Nanos) {
        self.counters.withdrawals += u64::from(self.mux == MuxState::Distributing);
        self.mux = next;
        self.wait_while = match next {
            MuxState::Waiting => Timer::start(now, AGGREGATE_WAIT_S),
            _ => Timer::default(),
        };
        let state = &mut self.actor.state;
        state.set(Flag::Synchronization, next >= MuxState::Attached);
        state.set(Flag::Collecting, next >= MuxState::Collecting);
        state.set(Flag::Distributing, next == MuxState::Distributing);
        let is_told = !matches!(next, MuxState::Waiting | MuxState::Distributing);
        self.transmit.needed |= is_told;
    }
}
