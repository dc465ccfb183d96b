//! The port role selection machine (IEEE 802.1D-2004, 17.28): which port has which role?

use super::PortRole;
use super::port::{InfoIs, Port};
use super::tree::SpanningTree;
use super::vector::{PortId, Vector};

impl SpanningTree {
    /// ROLE_SELECTION, if any port asks for it.
    pub(super) fn select_roles(&mut self) -> bool {
        if !self.ports.iter().any(|port| port.reselect) {
            return false;
        }
        for port in &mut self.ports {
            port.reselect = false;
        }
        self.update_roles();
        for port in &mut self.ports {
            port.selected = true;
        }
        true
    }

    /// updtRolesTree() (17.21.25).
    fn update_roles(&mut self) {
        let own = Vector { root: self.id, cost: 0, bridge: self.id, port: PortId(0) };
        let address = self.id.address();
        let from_others =
            |port: &&Port| port.info_is == InfoIs::Received && port.port_priority.bridge.address() != address;
        // Where two ports were told the same, the better port of this bridge counts.
        let ways = self.ports.iter().filter(from_others).map(|port| {
            let cost = port.port_priority.cost.saturating_add(port.cost);
            (Vector { cost, ..port.port_priority }, port.id)
        });
        let best = ways.min().filter(|(vector, _)| *vector < own);
        let root = best.and_then(|(_, id)| self.ports.iter().find(|port| port.id == id));
        self.root_port = root.map(|port| port.settings.number);
        self.root_times = root.map_or_else(|| self.settings.times(), |port| port.port_times.one_hop_on());
        self.root_priority = best.map_or(own, |(vector, _)| vector);
        let designated = Vector { bridge: self.id, ..self.root_priority };
        for port in &mut self.ports {
            port.designated_priority = Vector { port: port.id, ..designated };
            port.designated_times = self.root_times;
            port.designated_times.hello_time = self.settings.times().hello_time;
            let is_root = self.root_port == Some(port.settings.number);
            port.choose_role(is_root, address);
        }
    }
}

impl Port {
    fn choose_role(&mut self, is_root: bool, own_address: crate::MacAddress) {
        let differs =
            self.port_priority != self.designated_priority || self.port_times != self.designated_times;
        let (role, updates) = match self.info_is {
            InfoIs::Disabled => (PortRole::Disabled, false),
            InfoIs::Aged => (PortRole::Designated, true),
            InfoIs::Mine => (PortRole::Designated, self.updt_info || differs),
            InfoIs::Received if is_root => (PortRole::Root, false),
            InfoIs::Received if self.designated_priority < self.port_priority => (PortRole::Designated, true),
            InfoIs::Received if self.port_priority.bridge.address() == own_address => {
                (PortRole::Backup, false)
            }
            InfoIs::Received => (PortRole::Alternate, false),
        };
        (self.selected_role, self.updt_info) = (role, updates);
    }
}
