//! One link of a bond: what its machines share, and what is shown of it.

use super::churn::{Churn, ChurnState};
use super::mux::MuxState;
use super::pdu::{Flag, Lacpdu, PortInfo, State, SystemId};
use super::periodic::Period;
use super::receive::ReceiveState;
use super::selection::GroupId;
use super::transmit::Transmit;
use super::{LinkSettings, Rate, Settings, Timer};
use crate::mac::MacAddress;
use crate::time::Nanos;

/// What a link's carrier is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Medium {
    /// In megabits a second; links of different speeds never are in one group. 0: unknown.
    pub speed_mbit: u32,
    /// Both ends may send at once, which the protocol needs (IEEE 802.1AX-2020, 6.1.3.1 i).
    pub full_duplex: bool,
}

impl Medium {
    /// Four bits that differ for speeds that may not be mixed.
    fn speed_code(self) -> u16 {
        const STEPS_MBIT: [u32; 14] = [
            1, 10, 100, 1_000, 2_500, 5_000, 10_000, 20_000, 25_000, 40_000, 50_000, 100_000, 200_000,
            400_000,
        ];
        // The first step that is not below.
        STEPS_MBIT.iter().fold(0, |code, step| code + u16::from(self.speed_mbit > *step))
            + u16::from(self.speed_mbit > 0)
    }
}

/// What happened at a link since the bond was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkCounters {
    /// LACPDUs that came.
    pub received: u64,
    /// LACPDUs that were sent.
    pub sent: u64,
    /// Slow protocol frames that were neither LACPDUs nor markers, or wrong.
    pub malformed: u64,
    /// Markers that were answered.
    pub markers_answered: u64,
    /// Markers that came too fast to be answered.
    pub markers_ignored: u64,
    /// Times at which our end did not get into sync within 60 seconds (IEEE 802.1AX-2020, 6.4.13).
    pub actor_churns: u64,
    /// Times at which the partner's end did not.
    pub partner_churns: u64,
    /// Times at which the link ceased to distribute.
    pub withdrawals: u64,
}

/// What is known about a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkStatus {
    /// Our end, as LACPDUs tell it.
    pub actor: PortInfo,
    /// The other end, as it tells itself.
    pub partner: PortInfo,
    /// The link has carrier.
    pub enabled: bool,
    /// It belongs to the group that carries traffic.
    pub selected: bool,
    /// Its other end is this same system.
    pub looped: bool,
    /// The state of the Receive machine.
    pub receive: ReceiveState,
    /// The state of the Mux machine.
    pub mux: MuxState,
    /// Whether our end gets into sync.
    pub actor_churn: ChurnState,
    /// Whether the other end does.
    pub partner_churn: ChurnState,
    /// What happened.
    pub counters: LinkCounters,
}

/// One link with all its machines (IEEE 802.1AX-2020, 6.4.6: the variables of a port).
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: MacAddress,
    pub(super) actor: PortInfo,
    pub(super) partner: PortInfo,
    /// What stands for a partner that says nothing.
    pub(super) partner_default: PortInfo,
    /// `port_enabled`: it has carrier.
    pub(super) enabled: bool,
    pub(super) moved: bool,
    pub(super) selected: bool,
    pub(super) receive: ReceiveState,
    pub(super) current_while: Timer,
    pub(super) periodic: Period,
    pub(super) periodic_timer: Timer,
    pub(super) mux: MuxState,
    pub(super) wait_while: Timer,
    pub(super) transmit: Transmit,
    pub(super) actor_churn: Churn,
    pub(super) partner_churn: Churn,
    pub(super) counters: LinkCounters,
}

impl Link {
    pub(super) fn new(settings: &Settings, port: u16, link: LinkSettings) -> Self {
        let mut state = State::of(&[Flag::Defaulted]);
        state.set(Flag::Activity, settings.active);
        state.set(Flag::ShortTimeout, settings.rate == Rate::Fast);
        let actor = PortInfo {
            system: settings.system,
            key: settings.key,
            port_priority: link.priority,
            port,
            state,
        };
        let mut default_state = if settings.fallback {
            State::of(&[Flag::Synchronization, Flag::Collecting, Flag::Distributing])
        } else {
            State::default()
        };
        // A partner that comes is to be found as fast as one that goes is to be missed.
        default_state.set(Flag::ShortTimeout, settings.rate == Rate::Fast);
        let partner_default = PortInfo::unknown(default_state);
        Self {
            address: link.address,
            actor,
            partner: PortInfo::unknown(State::default()),
            partner_default,
            enabled: false,
            moved: false,
            selected: false,
            receive: ReceiveState::PortDisabled,
            current_while: Timer::default(),
            periodic: Period::Never,
            periodic_timer: Timer::default(),
            mux: MuxState::Detached,
            wait_while: Timer::default(),
            transmit: Transmit::default(),
            actor_churn: Churn::default(),
            partner_churn: Churn::default(),
            counters: LinkCounters::default(),
        }
    }

    /// The carrier came, went, or changed. A link with another key or none that may be aggregated is not what it was:
    /// it leaves its group (IEEE 802.1AX-2020, 6.4.10.1).
    pub(super) fn set_medium(&mut self, settings: &Settings, medium: Option<Medium>) {
        self.enabled = medium.is_some();
        let Some(medium) = medium else { return };
        let key = settings.key & super::KEY_MAX | medium.speed_code() << 12;
        let before = self.actor;
        self.actor.key = key;
        self.actor.state.set(Flag::Aggregation, medium.full_duplex);
        if !self.actor.is_same_port(&before) {
            self.selected = false;
            self.transmit.needed = true;
        }
    }

    pub(super) fn count_malformed(&mut self) {
        self.counters.malformed += 1;
    }

    /// Whether the partner has said anything.
    pub(super) fn has_partner(&self) -> bool {
        !self.actor.state.has(Flag::Defaulted)
    }

    /// Whether the other end is `system`, our own.
    pub(super) fn is_looped(&self, system: SystemId) -> bool {
        self.has_partner() && self.partner.system == system
    }

    /// The group to which it may belong now.
    pub(super) fn group(&self, system: SystemId) -> Option<GroupId> {
        let knows = match self.receive {
            ReceiveState::Current | ReceiveState::Defaulted => true,
            // One that was current keeps its place until the partner counts as gone.
            ReceiveState::Expired => self.has_partner(),
            ReceiveState::PortDisabled => false,
        };
        let may = self.enabled && knows && !self.is_looped(system);
        may.then(|| GroupId::of(&self.actor, &self.partner))
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        let timers = [
            self.current_while.0,
            self.periodic_timer.0,
            self.wait_while.0,
            self.actor_churn.due(),
            self.partner_churn.due(),
            self.transmit_due(),
        ];
        timers.into_iter().flatten().min()
    }

    pub(super) fn receive(&mut self, pdu: &Lacpdu, now: Nanos) {
        self.counters.received += 1;
        self.take(pdu, now);
    }

    pub(super) fn status(&self, system: SystemId) -> LinkStatus {
        LinkStatus {
            actor: self.actor,
            partner: self.partner,
            enabled: self.enabled,
            selected: self.selected,
            looped: self.is_looped(system),
            receive: self.receive,
            mux: self.mux,
            actor_churn: self.actor_churn.state(),
            partner_churn: self.partner_churn.state(),
            counters: self.counters,
        }
    }
}
