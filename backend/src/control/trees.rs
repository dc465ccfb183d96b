//! Spanning trees of the running configuration: their ports are uplinks, their messages control frames.
//!
//! A tree is made when the first of its uplinks has a link, for its bridge takes the least address of theirs. Until
//! the tree says otherwise, an uplink of it is closed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use viaduct_switch::lacp::pdu::SLOW_PROTOCOLS_TYPE;
use viaduct_switch::lldp::LLDP_TYPE;
use viaduct_switch::spanning_tree::{BRIDGE_GROUP, Effects, PortState, SpanningTree};
use viaduct_switch::{MacAddress, Nanos, NetworkIndex, PortIndex};

use crate::config::Config;
use crate::config::spanning_tree::{UplinkStp, WantedTree, kind_name};
use crate::control::controller::Controller;
use crate::control::registry::Numbers;
use crate::control::timer::Deadline;
use crate::dataplane::ControlFrame;
use crate::model::{EventKind, StpPortStatus, StpStatus};

/// States of uplinks that take part in a tree.
pub(super) type States = BTreeMap<PortIndex, PortState>;

/// What is known of the link behind an uplink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LinkSeen {
    /// Frames pass.
    pub(super) is_up: bool,
    pub(super) mac: MacAddress,
    pub(super) speed_mbit: Option<u32>,
}

/// An uplink as a tree's port.
#[derive(Debug)]
struct TreePort {
    index: PortIndex,
    /// Its number in the tree.
    number: u16,
    wanted: UplinkStp,
    /// What the tree was told of its link.
    seen: Option<LinkSeen>,
}

/// One tree.
#[derive(Debug)]
struct Tree {
    wanted: WantedTree,
    ports: BTreeMap<String, TreePort>,
    /// Once an uplink has had a link.
    tree: Option<SpanningTree>,
}

/// What trees want done, in order; ports are the data path's.
#[derive(Debug, Default)]
struct Todo {
    has_new_states: bool,
    /// Uplinks that are in another state, with its name.
    told: Vec<(String, &'static str)>,
    flushes: Vec<PortIndex>,
    frames: Vec<(PortIndex, Vec<u8>)>,
}

/// All trees.
#[derive(Debug, Default)]
pub(super) struct Trees {
    trees: Vec<Tree>,
    todo: Todo,
}

impl Tree {
    fn new(wanted: &WantedTree) -> Self {
        let wanted = WantedTree { uplinks: BTreeMap::new(), ..wanted.clone() };
        Self { wanted, ports: BTreeMap::new(), tree: None }
    }

    /// The lowest number that no port has.
    fn free_number(&self) -> u16 {
        let is_free = |number: &u16| self.ports.values().all(|port| port.number != *number);
        (1..=4095).find(is_free).unwrap_or(4095)
    }

    fn state(&self, port: &TreePort) -> PortState {
        match (&self.tree, port.seen) {
            (Some(tree), Some(_)) => tree.state(port.number),
            _ => PortState::Discarding,
        }
    }

    /// Makes it what is wanted; uplinks that stay keep their place.
    fn become_wanted(&mut self, wanted: &WantedTree, numbers: &Numbers, now: Nanos) -> Vec<Effects> {
        let mut effects = Vec::new();
        let leaving: Vec<String> =
            self.ports.keys().filter(|name| !wanted.uplinks.contains_key(*name)).cloned().collect();
        for port in leaving.iter().filter_map(|name| self.ports.remove(name)) {
            effects.extend(self.tree.as_mut().map(|tree| tree.remove_port(port.number, now)));
        }
        for (name, &settings) in &wanted.uplinks {
            let Some(&index) = numbers.ports.get(name) else { continue };
            let number = self.free_number();
            let port = self.ports.entry(name.clone()).or_insert(TreePort {
                index,
                number,
                wanted: settings,
                seen: None,
            });
            if port.wanted != settings {
                port.wanted = settings;
                let speed = port.seen.and_then(|seen| seen.speed_mbit);
                let changed = self
                    .tree
                    .as_mut()
                    .map(|tree| tree.configure_port(settings.settings(port.number, speed), now));
                effects.extend(changed.and_then(Result::ok));
            }
        }
        if self.wanted.settings != wanted.settings
            && let Some(changed) = self.tree.as_mut().map(|tree| tree.configure(wanted.settings, now))
        {
            effects.extend(changed.ok());
        }
        self.wanted = wanted.clone();
        effects
    }

    /// Takes note of the link behind an uplink.
    fn see(&mut self, name: &str, seen: LinkSeen, bridge: MacAddress, now: Nanos) -> Vec<Effects> {
        let settings = self.wanted.settings;
        let Some(port) = self.ports.get_mut(name).filter(|port| port.seen != Some(seen)) else {
            return Vec::new();
        };
        let tree = match &mut self.tree {
            Some(tree) => tree,
            none => match SpanningTree::new(settings, bridge, now) {
                Ok(tree) => none.insert(tree),
                Err(error) => {
                    warn!("no spanning tree for {}: {error}", self.wanted.networks.join(", "));
                    return Vec::new();
                }
            },
        };
        let wanted = port.wanted.settings(port.number, seen.speed_mbit);
        let before = port.seen.replace(seen);
        let mut effects = Vec::new();
        if before.is_none_or(|before| before.mac != seen.mac) {
            effects.extend(tree.add_port(wanted, seen.mac, now).ok());
        } else if before.is_some_and(|before| before.speed_mbit != seen.speed_mbit) {
            effects.extend(tree.configure_port(wanted, now).ok());
        }
        effects.push(tree.set_link(port.number, seen.is_up, now));
        effects
    }

    fn port_of(&self, index: PortIndex) -> Option<&TreePort> {
        self.ports.values().find(|port| port.index == index)
    }

    fn index_of(&self, number: u16) -> Option<PortIndex> {
        self.ports.values().find(|port| port.number == number).map(|port| port.index)
    }

    fn name_of(&self, number: u16) -> Option<&String> {
        self.ports.iter().find(|(_, port)| port.number == number).map(|(name, _)| name)
    }

    /// Adds to what is to be done.
    fn note(&self, effects: Effects, todo: &mut Todo) {
        let to_port = |number: &u16| self.index_of(*number);
        for (number, state) in &effects.states {
            if let Some(name) = self.name_of(*number) {
                info!("uplink {name} is {} in the spanning tree", state.name());
                todo.told.push((name.clone(), state.name()));
            }
        }
        todo.has_new_states |= !effects.states.is_empty();
        todo.flushes.extend(effects.flushes.iter().filter_map(to_port));
        let frames = effects.frames.into_iter();
        todo.frames.extend(frames.filter_map(|(number, frame)| Some((self.index_of(number)?, frame))));
    }

    fn status(&self) -> StpStatus {
        let tree = self.tree.as_ref().map(|tree| tree.status());
        let seconds = |time: u16| f64::from(time) / 256.0;
        StpStatus {
            networks: self.wanted.networks.clone(),
            protocol: kind_name(Some(&self.wanted.settings)).to_owned(),
            bridge: tree.map(|tree| tree.bridge.to_string()),
            root: tree.map(|tree| tree.root.to_string()),
            root_cost: tree.map_or(0, |tree| tree.root_cost),
            root_port: tree.and_then(|tree| self.name_of(tree.root_port?).cloned()),
            message_age_s: tree.map(|tree| seconds(tree.times.message_age)),
            max_age_s: tree.map(|tree| seconds(tree.times.max_age)),
            hello_time_s: tree.map(|tree| seconds(tree.times.hello_time)),
            forward_delay_s: tree.map(|tree| seconds(tree.times.forward_delay)),
            topology_changes: tree.map_or(0, |tree| tree.topology_changes),
            since_change_s: tree.and_then(|tree| tree.since_change_ms).map(|ms| ms / 1000),
            ports: self.ports.iter().map(|(name, port)| self.port_status(name, port)).collect(),
        }
    }

    fn port_status(&self, name: &str, port: &TreePort) -> StpPortStatus {
        let known =
            self.tree.as_ref().and_then(|tree| tree.ports().find(|known| known.number == port.number));
        let Some(known) = known else {
            let state = PortState::Discarding.name().to_owned();
            return StpPortStatus {
                uplink: name.to_owned(),
                role: "disabled".to_owned(),
                state,
                ..Default::default()
            };
        };
        let counters = known.counters;
        StpPortStatus {
            uplink: name.to_owned(),
            role: known.role.name().to_owned(),
            state: known.state.name().to_owned(),
            cost: known.cost,
            priority: known.id.priority(),
            number: known.number,
            edge: known.is_edge,
            point_to_point: known.point_to_point,
            protocol: if known.speaks_rstp { "rstp" } else { "stp" }.to_owned(),
            disputed: known.is_disputed,
            designated_bridge: known.designated.bridge.to_string(),
            designated_cost: known.designated.cost,
            rst_received: counters.rst_received,
            configuration_received: counters.configuration_received,
            notification_received: counters.notification_received,
            invalid_received: counters.invalid_received,
            own_received: counters.own_received,
            rst_sent: counters.rst_sent,
            configuration_sent: counters.configuration_sent,
            notification_sent: counters.notification_sent,
            forward_transitions: counters.forward_transitions,
        }
    }
}

impl Trees {
    pub(super) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The states of the uplinks that take part in a tree under `config`: as they are, and newcomers closed.
    pub(super) fn states(&self, config: &Config, numbers: &Numbers) -> States {
        let trees = config.trees();
        let names = trees.iter().flat_map(|tree| tree.uplinks.keys());
        let state = |index| {
            let known = self.trees.iter().find_map(|tree| Some((tree, tree.port_of(index)?)));
            known.map_or(PortState::Discarding, |(tree, port)| tree.state(port))
        };
        names.filter_map(|name| numbers.ports.get(name)).map(|&index| (index, state(index))).collect()
    }

    /// Makes the trees those of `config`. One that has a network in common with a wanted one becomes that.
    pub(super) fn become_wanted(&mut self, config: &Config, numbers: &Numbers, now: Nanos) {
        let mut before = std::mem::take(&mut self.trees);
        for wanted in config.trees() {
            let is_it = |tree: &Tree| tree.wanted.networks.iter().any(|name| wanted.networks.contains(name));
            let place = before.iter().position(is_it);
            let mut tree = place.map_or_else(|| Tree::new(&wanted), |place| before.swap_remove(place));
            for effects in tree.become_wanted(&wanted, numbers, now) {
                tree.note(effects, &mut self.todo);
            }
            self.trees.push(tree);
        }
    }

    /// Takes a frame that came in by `port`.
    fn receive(&mut self, frame: &ControlFrame, now: Nanos) {
        for tree in &mut self.trees {
            let Some(number) = tree.port_of(frame.port).map(|port| port.number) else { continue };
            let effects = tree.tree.as_mut().map(|tree| tree.receive(number, &frame.bytes, now));
            effects.into_iter().for_each(|effects| tree.note(effects, &mut self.todo));
        }
    }

    /// Takes note of all links, of which `link` knows by the uplink's number.
    fn follow(&mut self, link: impl Fn(PortIndex) -> Option<LinkSeen>, now: Nanos) {
        for tree in &mut self.trees {
            let links = tree.ports.iter().filter_map(|(name, port)| {
                // An interface that is away has no address any more, and its port no link.
                let gone = port.seen.map(|seen| LinkSeen { is_up: false, ..seen });
                Some((name.clone(), link(port.index).or(gone)?))
            });
            let links: Vec<(String, LinkSeen)> = links.collect();
            let Some(bridge) = links.iter().map(|(_, link)| link.mac).min() else { continue };
            for (name, seen) in links {
                for effects in tree.see(&name, seen, bridge, now) {
                    tree.note(effects, &mut self.todo);
                }
            }
        }
    }

    /// Does what is due; gives the time until something is again.
    fn advance(&mut self, now: Nanos) -> Option<Duration> {
        for tree in &mut self.trees {
            let effects = tree.tree.as_mut().map(|tree| tree.advance(now));
            effects.into_iter().for_each(|effects| tree.note(effects, &mut self.todo));
        }
        let due = self.trees.iter().filter_map(|tree| tree.tree.as_ref()?.next_due_ms()).min();
        due.map(|ms| Duration::from_millis(ms.into()))
    }

    pub(super) fn statuses(&self) -> Vec<StpStatus> {
        self.trees.iter().map(Tree::status).collect()
    }
}

impl Controller {
    /// Hands control frames to the protocols that they are of.
    pub(super) fn serve_control_frames(&mut self) {
        let now = self.bay.now();
        for frame in self.bay.take_control() {
            match frame.bytes.get(12..14) {
                Some(kind) if kind == SLOW_PROTOCOLS_TYPE.to_be_bytes() => {
                    self.bonds.receive(frame.port, frame.link, &frame.bytes, now);
                }
                Some(kind) if kind == LLDP_TYPE.to_be_bytes() => {
                    self.neighbours.receive(frame.port, frame.link, &frame.bytes, now);
                }
                Some(_) if frame.bytes.starts_with(&BRIDGE_GROUP.0) => self.trees.receive(&frame, now),
                _ => {}
            }
        }
    }

    /// Has all that talks to neighbours by single links follow them and the time; to be called after each event.
    pub(super) fn serve_neighbours(&mut self) {
        let now = self.bay.now();
        match self.serve_bonds(now).into_iter().chain(self.serve_lldp(now)).min() {
            Some(due) => self.timer.set(Deadline::Neighbours, Instant::now() + due),
            None => self.timer.clear(Deadline::Neighbours),
        }
    }

    /// Has the trees follow their links and the time, and does what they want; to be called after each event.
    pub(super) fn serve_trees(&mut self) {
        if self.trees.is_empty() && !self.trees.todo.has_new_states {
            return self.timer.clear(Deadline::Trees);
        }
        let now = self.bay.now();
        let interfaces = &self.interfaces;
        self.trees.follow(|index| interfaces.get(&index)?.seen(), now);
        let due = self.trees.advance(now);
        self.carry_out();
        match due {
            Some(due) => self.timer.set(Deadline::Trees, Instant::now() + due),
            None => self.timer.clear(Deadline::Trees),
        }
    }

    /// States first: what is said to a neighbour may promise that a port is closed.
    fn carry_out(&mut self) {
        let Todo { has_new_states, told, flushes, frames } = std::mem::take(&mut self.trees.todo);
        for (name, state) in told {
            self.journal().tell(EventKind::TreeState, format!("port {name}"), state.to_owned());
        }
        if has_new_states {
            self.renew_policy("the states of the spanning tree");
        }
        for port in flushes {
            for network in self.networks_over(port) {
                self.switch.flush(network, port, self.bay.now(), &self.policy);
            }
        }
        for (port, frame) in frames {
            self.bay.emit(port, 0, frame);
        }
    }

    fn networks_over(&self, port: PortIndex) -> Vec<NetworkIndex> {
        let networks = self.numbers.networks.values().copied();
        networks.filter(|network| self.policy.state(port, *network).is_some()).collect()
    }
}
