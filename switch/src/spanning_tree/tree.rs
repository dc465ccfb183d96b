//! A bridge's part in one tree: its ports, and the machines that work on them, one after the other until none has
//! anything left to do.

use super::port::{InfoIs, Information, Message, Port};
use super::settings::{PortSettings, SettingsError, TreeSettings, Version};
use super::vector::{BridgeId, PortId, Times, Vector};
use super::{Bpdu, Configuration, Effects, MIGRATE_TIME_MS, PortRole, PortState, PortStatus, TreeStatus};
use crate::mac::MacAddress;
use crate::time::Nanos;

/// A transition of a machine for the port at a place; says whether it made one.
type Machine = fn(&mut SpanningTree, usize) -> bool;

/// The machines, in the order in which they are asked.
const MACHINES: [Machine; 8] = [
    SpanningTree::receive_message,
    SpanningTree::migrate,
    SpanningTree::detect_bridge,
    SpanningTree::keep_information,
    SpanningTree::change_role,
    SpanningTree::change_state,
    SpanningTree::follow_topology,
    SpanningTree::transmit,
];

/// Rounds of all machines after one event at most. A round lets information cross the bridge once, and there are few
/// things that one event sets off; whatever is left is done with the next event.
const ROUNDS_MAX: usize = 1000;

/// A bridge's part in one tree.
#[derive(Clone, Debug)]
pub struct SpanningTree {
    pub(super) settings: TreeSettings,
    pub(super) id: BridgeId,
    /// In ascending order of their numbers.
    pub(super) ports: Vec<Port>,
    pub(super) root_priority: Vector,
    pub(super) root_times: Times,
    pub(super) root_port: Option<u16>,
    /// The time to which the timers have been counted down, in milliseconds.
    now_ms: u64,
    pub(super) effects: Effects,
    pub(super) topology_changes: u64,
    pub(super) changed_ms: Option<u64>,
}

impl SpanningTree {
    /// A bridge with this address and no ports.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: TreeSettings, address: MacAddress, now: Nanos) -> Result<Self, SettingsError> {
        settings.check()?;
        let id = BridgeId::new(settings.priority, address);
        let root_priority = Vector { root: id, cost: 0, bridge: id, port: PortId(0) };
        Ok(Self {
            settings,
            id,
            ports: Vec::new(),
            root_priority,
            root_times: settings.times(),
            root_port: None,
            now_ms: now.0 / 1_000_000,
            effects: Effects::default(),
            topology_changes: 0,
            changed_ms: None,
        })
    }

    /// Goes by other settings from now on. If its priority or version is another, ports towards bridges are closed until
    /// the neighbours agree: what they agreed to was said by a bridge that is another one now.
    ///
    /// # Errors
    /// What is wrong with them; then nothing changes.
    pub fn configure(&mut self, settings: TreeSettings, now: Nanos) -> Result<Effects, SettingsError> {
        settings.check()?;
        self.count_down(now);
        let is_other_version = settings.version != self.settings.version;
        let is_other_bridge = is_other_version || settings.priority != self.settings.priority;
        self.settings = settings;
        self.id = BridgeId::new(settings.priority, self.id.address());
        for port in &mut self.ports {
            port.mcheck |= is_other_version;
            if is_other_bridge {
                port.close_to_ask();
            }
            (port.reselect, port.selected) = (true, false);
        }
        Ok(self.settle())
    }

    /// Changes the port of this number, if there is one, without a loss of its link.
    ///
    /// # Errors
    /// What is wrong with the settings; then nothing changes.
    pub fn configure_port(&mut self, settings: PortSettings, now: Nanos) -> Result<Effects, SettingsError> {
        settings.check()?;
        self.count_down(now);
        if let Some(at) = self.place_of(settings.number) {
            let port = &mut self.ports[at];
            port.settings = settings;
            port.id = settings.id();
            (port.cost, port.point_to_point) = (settings.cost(), settings.point_to_point);
            (port.reselect, port.selected) = (true, false);
        }
        Ok(self.settle())
    }

    /// Adds a port, without a link and discarding, or replaces the one of its number. Its messages come from `address`.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn add_port(
        &mut self,
        settings: PortSettings,
        address: MacAddress,
        now: Nanos,
    ) -> Result<Effects, SettingsError> {
        settings.check()?;
        let mut effects = self.remove_port(settings.number, now);
        let own = Vector { root: self.id, cost: 0, bridge: self.id, port: PortId(0) };
        let port = Port::new(settings, address, own, self.settings.times());
        let place = self.ports.partition_point(|port| port.settings.number < settings.number);
        self.ports.insert(place, port);
        effects.append(self.settle());
        Ok(effects)
    }

    /// Takes a port away, if there is one.
    pub fn remove_port(&mut self, number: u16, now: Nanos) -> Effects {
        let mut effects = self.set_link(number, false, now);
        self.ports.retain(|port| port.settings.number != number);
        for port in &mut self.ports {
            port.reselect = true;
            port.selected = false;
        }
        effects.append(self.settle());
        effects
    }

    /// Says whether the port has a link.
    pub fn set_link(&mut self, number: u16, is_up: bool, now: Nanos) -> Effects {
        self.count_down(now);
        if let Some(at) = self.place_of(number) {
            self.ports[at].is_enabled = is_up;
        }
        self.settle()
    }

    /// Takes a frame that came in by the port.
    pub fn receive(&mut self, number: u16, frame: &[u8], now: Nanos) -> Effects {
        self.count_down(now);
        if let Some(at) = self.place_of(number).filter(|&at| self.ports[at].is_enabled) {
            self.take_frame(at, frame);
        }
        self.settle()
    }

    /// Has the port try again whether its neighbour speaks RSTP (mcheck; IEEE 802.1D-2004, 17.19.13).
    pub fn check_version(&mut self, number: u16, now: Nanos) -> Effects {
        self.count_down(now);
        if let Some(at) = self.place_of(number) {
            self.ports[at].mcheck = self.is_rapid();
        }
        self.settle()
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: Nanos) -> Effects {
        self.count_down(now);
        self.settle()
    }

    /// How many milliseconds after the last call [`SpanningTree::advance`] is due; `None`: nothing will happen by
    /// itself.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u32> {
        let due = |port: &Port| {
            let mut timers = port.timers;
            let running = timers.each_mut().into_iter().map(|timer| *timer).filter(|&timer| timer > 0).min();
            let held = (port.tx_count > 0).then_some(port.hold_ms);
            running.into_iter().chain(held).min()
        };
        self.ports.iter().filter_map(due).min()
    }

    /// The tree as it stands.
    #[must_use]
    pub fn status(&self) -> TreeStatus {
        TreeStatus {
            bridge: self.id,
            root: self.root_priority.root,
            root_cost: self.root_priority.cost,
            root_port: self.root_port,
            times: self.root_times,
            topology_changes: self.topology_changes,
            since_change_ms: self.changed_ms.map(|changed| self.now_ms.saturating_sub(changed)),
        }
    }

    /// Its ports as they stand, in ascending order of their numbers.
    pub fn ports(&self) -> impl Iterator<Item = PortStatus> {
        self.ports.iter().map(Port::status)
    }

    /// What the port does with frames; one that is not in the tree is none of its business.
    #[must_use]
    pub fn state(&self, number: u16) -> PortState {
        self.place_of(number).map_or(PortState::Forwarding, |at| self.ports[at].state())
    }

    /// Whether the bridge speaks RSTP at all (rstpVersion; IEEE 802.1D-2004, 17.20.11).
    pub(super) fn is_rapid(&self) -> bool {
        self.settings.version == Version::Rstp
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn place_of(&self, number: u16) -> Option<usize> {
        self.ports.binary_search_by_key(&number, |port| port.settings.number).ok()
    }

    /// Reads a frame and leaves it for the machines, unless it does not count.
    fn take_frame(&mut self, at: usize, frame: &[u8]) {
        let port = &mut self.ports[at];
        let message = match Bpdu::parse(frame) {
            Ok(Bpdu::Configuration(message)) => Message::Configuration(message),
            Ok(Bpdu::Notification) => Message::Notification,
            Err(_) => return port.counters.invalid_received += 1,
        };
        match message {
            Message::Configuration(Configuration { rapid: Some(_), .. }) => port.counters.rst_received += 1,
            Message::Configuration(_) => port.counters.configuration_received += 1,
            Message::Notification => port.counters.notification_received += 1,
        }
        if let Message::Configuration(message) = message
            && message.vector.has_same_sender(&Vector { bridge: self.id, port: port.id, ..message.vector })
        {
            // What left by this port comes back by it: the link is a loop, which must not carry anything
            // (802.1D-2004, 9.3.4 a) ignores such messages; here they also close the port, as a dispute does).
            port.came_back();
            return;
        }
        port.rcvd_bpdu = true;
        port.arrived = Some(message);
    }

    /// Lets the time go on (the port timers machine; 17.22).
    fn count_down(&mut self, now: Nanos) {
        let now_ms = now.0 / 1_000_000;
        let elapsed = u32::try_from(now_ms.saturating_sub(self.now_ms)).unwrap_or(u32::MAX);
        self.now_ms = self.now_ms.max(now_ms);
        for port in &mut self.ports {
            for timer in port.timers.each_mut() {
                *timer = timer.saturating_sub(elapsed);
            }
            port.release(elapsed);
        }
    }

    /// Runs the machines until none has a transition to make; gives what is to be done.
    fn settle(&mut self) -> Effects {
        let before: Vec<PortState> = self.ports.iter().map(Port::state).collect();
        for _ in 0..ROUNDS_MAX {
            if !self.round() {
                break;
            }
        }
        let mut effects = std::mem::take(&mut self.effects);
        let states = self.ports.iter().map(|port| (port.settings.number, port.state()));
        let changed = states.zip(before).filter(|((_, now), before)| now != before);
        effects.states = changed.map(|(now, _)| now).collect();
        effects.flushes.sort_unstable();
        effects.flushes.dedup();
        effects
    }

    fn round(&mut self) -> bool {
        let mut moved = self.select_roles();
        for machine in MACHINES {
            for at in 0..self.ports.len() {
                moved |= machine(self, at);
            }
        }
        moved
    }

    /// The port state transition machine (17.30).
    pub(super) fn change_state(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        match (port.state(), port.learn, port.forward) {
            (PortState::Discarding, true, _) => port.learning = true,
            (PortState::Learning, false, _) => port.learning = false,
            (PortState::Learning, true, true) => {
                port.forwarding = true;
                port.counters.forward_transitions += 1;
            }
            (PortState::Forwarding, _, false) => (port.learning, port.forwarding) = (false, false),
            _ => return false,
        }
        true
    }

    /// allSynced (17.20.3): every port but the root port has done what a change of the root asks for.
    pub(super) fn all_synced(&self) -> bool {
        self.ports.iter().all(|port| {
            let is_done = port.synced || port.role == PortRole::Root;
            port.selected && port.role == port.selected_role && !port.updt_info && is_done
        })
    }

    /// Forgets what was heard behind a port that has no link any more, and begins anew (17.27: DISABLED).
    pub(super) fn disable_information(&mut self, at: usize) {
        let port = &mut self.ports[at];
        port.rcvd_msg = None;
        (port.proposing, port.proposed, port.agree, port.agreed) = (false, false, false, false);
        port.timers.rcvd_info_while = 0;
        port.info_is = InfoIs::Disabled;
        port.information = Information::Disabled;
        port.reselect = true;
        port.selected = false;
    }
}

impl Effects {
    /// Adds what is to be done after this.
    pub(super) fn append(&mut self, later: Self) {
        for (port, state) in later.states {
            self.states.retain(|(known, _)| *known != port);
            self.states.push((port, state));
        }
        self.flushes.extend(later.flushes);
        self.flushes.sort_unstable();
        self.flushes.dedup();
        self.frames.extend(later.frames);
    }
}

impl Port {
    /// Lets another message leave for each second that passed (txCount; 17.19.44).
    fn release(&mut self, elapsed_ms: u32) {
        let mut left = elapsed_ms;
        while self.tx_count > 0 && left >= self.hold_ms {
            left -= self.hold_ms;
            self.tx_count -= 1;
            self.hold_ms = 1000;
        }
        self.hold_ms = if self.tx_count > 0 { self.hold_ms - left } else { 1000 };
    }

    /// Keeps the port closed for the time being: its own message came back.
    fn came_back(&mut self) {
        self.counters.own_received += 1;
        (self.disputed, self.agreed, self.oper_edge) = (true, false, false);
        self.timers.edge_delay_while = MIGRATE_TIME_MS;
        self.timers.fd_while = self.forward_delay();
    }

    /// Closes the port until its neighbour agrees again, unless nobody but end stations is there.
    fn close_to_ask(&mut self) {
        if !self.oper_edge {
            (self.learn, self.forward) = (false, false);
            (self.agree, self.agreed, self.synced, self.proposing) = (false, false, false, false);
            self.timers.fd_while = self.fwd_delay();
        }
    }

    fn status(&self) -> PortStatus {
        PortStatus {
            number: self.settings.number,
            id: self.id,
            role: self.role,
            state: self.state(),
            cost: self.cost,
            is_edge: self.oper_edge,
            point_to_point: self.point_to_point,
            speaks_rstp: self.send_rstp,
            is_disputed: self.disputed,
            designated: self.port_priority,
            counters: self.counters,
        }
    }
}
