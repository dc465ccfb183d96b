//! The Receive machine: what is known of the partner (IEEE 802.1AX-2020, 6.4.8; figure 6-18 of 802.1AX-2014).

use super::link::Link;
use super::pdu::{Flag, Lacpdu};
use super::{Rate, Timer};
use crate::time::Nanos;

/// Seconds after which a partner that was asked to send every second, or every 30, counts as gone
/// (IEEE 802.1AX-2020, 6.4.4: `Short_Timeout_Time`, `Long_Timeout_Time`).
const SHORT_TIMEOUT_S: u64 = 3;
const LONG_TIMEOUT_S: u64 = 90;

/// What is known of the partner. The standard's INITIALIZE is gone through within one step, and its LACP_DISABLED is a
/// bond of another mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiveState {
    /// The link has no carrier.
    PortDisabled,
    /// Nothing came in time; the partner is asked to be quick.
    Expired,
    /// Nothing came then either: defaults stand for the partner.
    Defaulted,
    /// The partner has said what counts.
    Current,
}

impl ReceiveState {
    /// The state's name for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PortDisabled => "port-disabled",
            Self::Expired => "expired",
            Self::Defaulted => "defaulted",
            Self::Current => "current",
        }
    }
}

impl Link {
    /// Follows carrier and time; says whether anything changed.
    pub(super) fn step_receive(&mut self, now: Nanos) -> bool {
        match self.receive {
            ReceiveState::PortDisabled if self.moved => {
                self.initialize();
                true
            }
            ReceiveState::PortDisabled if self.enabled => self.expire(now),
            ReceiveState::PortDisabled => false,
            _ if !self.enabled => self.disable(),
            ReceiveState::Expired if self.current_while.has_expired(now) => self.default_partner(),
            ReceiveState::Current if self.current_while.has_expired(now) => self.expire(now),
            _ => false,
        }
    }

    /// INITIALIZE: what was known is forgotten.
    fn initialize(&mut self) {
        self.selected = false;
        self.record_default();
        self.actor.state.set(Flag::Expired, false);
        self.partner.state.set(Flag::Synchronization, false);
        self.moved = false;
    }

    fn disable(&mut self) -> bool {
        self.receive = ReceiveState::PortDisabled;
        self.current_while = Timer::default();
        self.partner.state.set(Flag::Synchronization, false);
        true
    }

    fn expire(&mut self, now: Nanos) -> bool {
        self.receive = ReceiveState::Expired;
        self.partner.state.set(Flag::Synchronization, false);
        self.partner.state.set(Flag::ShortTimeout, true);
        self.current_while = Timer::start(now, SHORT_TIMEOUT_S);
        self.actor.state.set(Flag::Expired, true);
        true
    }

    fn default_partner(&mut self) -> bool {
        self.receive = ReceiveState::Defaulted;
        self.current_while = Timer::default();
        if !self.partner.is_same_port(&self.partner_default) {
            self.selected = false;
        }
        self.record_default();
        self.actor.state.set(Flag::Expired, false);
        true
    }

    /// `recordDefault`.
    fn record_default(&mut self) {
        self.partner = self.partner_default;
        self.actor.state.set(Flag::Defaulted, true);
    }

    /// CURRENT: an LACPDU came. One on a link without carrier is as good as none.
    pub(super) fn take(&mut self, pdu: &Lacpdu, now: Nanos) {
        if !self.enabled || self.receive == ReceiveState::PortDisabled {
            return;
        }
        self.receive = ReceiveState::Current;
        // update_Selected
        if !pdu.actor.is_same_port(&self.partner) {
            self.selected = false;
        }
        self.update_ntt(pdu);
        self.record(pdu);
        self.actor.state.set(Flag::Expired, false);
        self.current_while = Timer::start(now, self.timeout_s());
    }

    fn timeout_s(&self) -> u64 {
        match self.rate() {
            Rate::Fast => SHORT_TIMEOUT_S,
            Rate::Slow => LONG_TIMEOUT_S,
        }
    }

    fn rate(&self) -> Rate {
        if self.actor.state.has(Flag::ShortTimeout) { Rate::Fast } else { Rate::Slow }
    }

    /// `update_NTT`: a partner that has us wrong is to hear from us.
    fn update_ntt(&mut self, pdu: &Lacpdu) {
        const COMPARED: [Flag; 3] = [Flag::Activity, Flag::ShortTimeout, Flag::Synchronization];
        let knows_us = self.actor.is_same_port(&pdu.partner);
        if !knows_us || !self.actor.state.agrees(pdu.partner.state, &COMPARED) {
            self.transmit.needed = true;
        }
    }

    /// `recordPDU`: the partner is in sync if it says so, means this link of ours (or is alone), and will go on telling.
    fn record(&mut self, pdu: &Lacpdu) {
        let alone = !pdu.actor.state.has(Flag::Aggregation);
        let means_us = self.actor.is_same_port(&pdu.partner) || alone;
        let goes_on = pdu.actor.state.has(Flag::Activity)
            || (self.actor.state.has(Flag::Activity) && pdu.partner.state.has(Flag::Activity));
        let in_sync = pdu.actor.state.has(Flag::Synchronization) && means_us && goes_on;
        self.partner = pdu.actor;
        self.partner.state.set(Flag::Synchronization, in_sync);
        self.actor.state.set(Flag::Defaulted, false);
    }

    /// Another link heard this from its partner: if that is the port which this link remembers and has lost, it is to be
    /// forgotten here.
    pub(super) fn note_moved(&mut self, pdu: &Lacpdu) {
        let same = (pdu.actor.system, pdu.actor.port) == (self.partner.system, self.partner.port);
        if self.receive == ReceiveState::PortDisabled && self.has_partner() && same {
            self.moved = true;
        }
    }
}
