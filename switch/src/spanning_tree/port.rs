//! What a tree keeps of one port: the standard's variables under its names (IEEE 802.1D-2004, 17.18 and 17.19).

use super::bpdu::Configuration;
use super::settings::{EdgePort, PortSettings};
use super::vector::{PortId, Times, Vector, milliseconds};
use super::{MIGRATE_TIME_MS, PortCounters, PortRole, PortState};
use crate::mac::MacAddress;

/// Where a port's information comes from (IEEE 802.1D-2004, 17.19.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InfoIs {
    /// Another bridge said so.
    Received,
    /// The port says so itself.
    Mine,
    /// What was said is too old.
    Aged,
    /// The port has no link.
    Disabled,
}

/// States of the port information machine that last (17.27).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Information {
    Disabled,
    Aged,
    Current,
}

/// States of the protocol migration machine (17.24).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Migration {
    CheckingRapid,
    SelectingOld,
    Sensing,
}

/// States of the topology change machine that last (17.31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Inactive,
    Learning,
    Active,
}

/// A port's timers in milliseconds; 0: expired (17.17).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Timers {
    /// Until somebody who says nothing is taken for an end station.
    pub(super) edge_delay_while: u32,
    /// Until the port's state changes without an agreement.
    pub(super) fd_while: u32,
    /// Until the next hello.
    pub(super) hello_when: u32,
    /// Until another version may be chosen.
    pub(super) mdelay_while: u32,
    /// The port was a backup not long ago.
    pub(super) rb_while: u32,
    /// Until received information is too old.
    pub(super) rcvd_info_while: u32,
    /// The port was a root port not long ago.
    pub(super) rr_while: u32,
    /// As long as messages say that the topology changed.
    pub(super) tc_while: u32,
}

impl Timers {
    pub(super) fn each_mut(&mut self) -> [&mut u32; 8] {
        [
            &mut self.edge_delay_while,
            &mut self.fd_while,
            &mut self.hello_when,
            &mut self.mdelay_while,
            &mut self.rb_while,
            &mut self.rcvd_info_while,
            &mut self.rr_while,
            &mut self.tc_while,
        ]
    }
}

/// What is noted of the message being dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message {
    Configuration(Configuration),
    Notification,
}

/// One port.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are the standard's variables")]
pub(super) struct Port {
    pub(super) settings: PortSettings,
    pub(super) address: MacAddress,
    pub(super) id: PortId,
    /// portEnabled: the link is there.
    pub(super) is_enabled: bool,
    pub(super) cost: u32,
    pub(super) point_to_point: bool,

    pub(super) agree: bool,
    pub(super) agreed: bool,
    pub(super) disputed: bool,
    pub(super) forward: bool,
    /// It takes over from a port that forwarded on the same link.
    pub(super) inherits: bool,
    pub(super) forwarding: bool,
    pub(super) learn: bool,
    pub(super) learning: bool,
    pub(super) mcheck: bool,
    pub(super) new_info: bool,
    pub(super) oper_edge: bool,
    pub(super) proposed: bool,
    pub(super) proposing: bool,
    pub(super) rcvd_bpdu: bool,
    /// rcvdMsg, with the message.
    pub(super) rcvd_msg: Option<Message>,
    pub(super) rcvd_rstp: bool,
    pub(super) rcvd_stp: bool,
    pub(super) rcvd_tc: bool,
    pub(super) rcvd_tc_ack: bool,
    pub(super) rcvd_tcn: bool,
    pub(super) re_root: bool,
    pub(super) reselect: bool,
    pub(super) selected: bool,
    pub(super) send_rstp: bool,
    pub(super) sync: bool,
    pub(super) synced: bool,
    pub(super) tc_ack: bool,
    pub(super) tc_prop: bool,
    pub(super) tx_count: u8,
    /// Milliseconds until `tx_count` goes down by one.
    pub(super) hold_ms: u32,
    pub(super) updt_info: bool,

    pub(super) role: PortRole,
    pub(super) selected_role: PortRole,
    pub(super) info_is: InfoIs,
    pub(super) port_priority: Vector,
    pub(super) port_times: Times,
    pub(super) designated_priority: Vector,
    pub(super) designated_times: Times,
    pub(super) timers: Timers,
    pub(super) information: Information,
    pub(super) migration: Migration,
    pub(super) change: Change,
    /// A message that the port has taken from the link and not dealt with yet.
    pub(super) arrived: Option<Message>,
    pub(super) counters: PortCounters,
}

impl Port {
    /// A port at the beginning of all machines (BEGIN), without a link.
    pub(super) fn new(settings: PortSettings, address: MacAddress, own: Vector, times: Times) -> Self {
        let id = settings.id();
        let vector = Vector { port: id, ..own };
        Self {
            settings,
            address,
            id,
            is_enabled: false,
            cost: settings.cost(),
            point_to_point: settings.point_to_point,
            agree: false,
            agreed: false,
            disputed: false,
            forward: false,
            inherits: false,
            forwarding: false,
            learn: false,
            learning: false,
            mcheck: false,
            new_info: true,
            oper_edge: settings.edge == EdgePort::Yes,
            proposed: false,
            proposing: false,
            rcvd_bpdu: false,
            rcvd_msg: None,
            rcvd_rstp: false,
            rcvd_stp: false,
            rcvd_tc: false,
            rcvd_tc_ack: false,
            rcvd_tcn: false,
            re_root: true,
            reselect: true,
            selected: false,
            send_rstp: true,
            sync: true,
            synced: false,
            tc_ack: false,
            tc_prop: false,
            tx_count: 0,
            hold_ms: 1000,
            updt_info: false,
            role: PortRole::Disabled,
            selected_role: PortRole::Disabled,
            info_is: InfoIs::Disabled,
            port_priority: vector,
            port_times: times,
            designated_priority: vector,
            designated_times: times,
            timers: Timers { edge_delay_while: MIGRATE_TIME_MS, ..Timers::default() },
            information: Information::Disabled,
            migration: Migration::CheckingRapid,
            change: Change::Inactive,
            arrived: None,
            counters: PortCounters::default(),
        }
    }

    /// HelloTime (17.20.8).
    pub(super) fn hello_time(&self) -> u32 {
        milliseconds(self.designated_times.hello_time)
    }

    /// MaxAge (17.20.9).
    pub(super) fn max_age(&self) -> u32 {
        milliseconds(self.designated_times.max_age)
    }

    /// FwdDelay (17.20.7).
    pub(super) fn fwd_delay(&self) -> u32 {
        milliseconds(self.designated_times.forward_delay)
    }

    /// forwardDelay (17.20.6): a neighbour that speaks RSTP is waited for as long as a hello takes.
    pub(super) fn forward_delay(&self) -> u32 {
        if self.send_rstp { self.hello_time() } else { self.fwd_delay() }
    }

    /// EdgeDelay (17.20.5).
    pub(super) fn edge_delay(&self) -> u32 {
        if self.point_to_point { MIGRATE_TIME_MS } else { self.max_age() }
    }

    /// Its role was chosen, and what it says is up to date: the condition of most transitions.
    pub(super) fn is_settled(&self) -> bool {
        self.selected && !self.updt_info
    }

    /// What the port does with frames.
    pub(super) fn state(&self) -> PortState {
        match (self.forwarding, self.learning) {
            (true, _) => PortState::Forwarding,
            (false, true) => PortState::Learning,
            (false, false) => PortState::Discarding,
        }
    }

    /// newTcWhile() (17.21.7).
    pub(super) fn new_tc_while(&mut self) {
        if self.timers.tc_while != 0 {
            return;
        }
        if self.send_rstp {
            self.timers.tc_while = self.hello_time() + 1000;
            self.new_info = true;
        } else {
            self.timers.tc_while = self.max_age() + self.fwd_delay();
        }
    }
}
