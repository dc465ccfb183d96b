//! The whole state for people and programs.

use viaduct_switch::{PortIndex, Switch, VlanId};

use crate::control::controller::Controller;
use crate::control::qos::declared;
use crate::model::{MeterStatus, MulticastStatus, NetworkStatus, PortStatus, QosStatus, Snapshot};

impl Controller {
    /// The state at this moment, but what is counted and listed beside the control thread ([`Figures::whole`]).
    ///
    /// [`Figures::whole`]: crate::control::Figures::whole
    pub(super) fn snapshot(&self) -> Snapshot {
        let guests = self
            .ports
            .iter()
            .map(|port| PortStatus { numa: self.bay.numa(port.index), ..port.status(&self.switch) });
        let interfaces = self.interfaces.values().map(|port| {
            let missing = self.links.missing(&port.wanted.interface).map(str::to_owned);
            let groups = self.config.ports.get(&port.name).and_then(|port| port.groups.clone());
            PortStatus { groups, ..port.status(&self.switch, missing) }
        });
        let mut ports: Vec<_> = guests.chain(interfaces).collect();
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        let meters = with_pauses(self.meters.statuses(&self.config), &ports);
        Snapshot {
            generation: self.generation,
            configuration: self.keeping.status(),
            restored: self.restoring.status(),
            uptime_s: self.started.elapsed().as_secs(),
            ports,
            networks: self.network_statuses(),
            duplicates: self.duplicates(&self.switch.duplicates(self.bay.now())),
            multicast_groups: Vec::new(),
            multicast: self.multicast_status(),
            stp: self.trees.statuses(),
            outsides: self.outside_statuses(),
            neighbours: self.neighbour_statuses(),
            bonds: self.bonds.statuses(|port| Some(&self.interfaces.get(&port)?.name)),
            qos: QosStatus { meters, trees: self.shaping_statuses(), declared: declared(&self.config) },
            workers: self.bay.workers(),
        }
    }

    fn network_statuses(&self) -> Vec<NetworkStatus> {
        let members = |name: &String| {
            let ports = self.config.ports.iter().filter(|(_, port)| port.membership.has(name));
            let uplinks = self.config.networks.get(name).into_iter().flat_map(|network| network.uplinks());
            ports.map(|(port, _)| port.clone()).chain(uplinks.cloned()).collect()
        };
        let networks = self.config.networks.iter().map(|(name, network)| NetworkStatus {
            name: name.clone(),
            mode: network.mode.name().to_owned(),
            uplink: network.uplink.clone(),
            vlan: network.vlan.map(VlanId::get),
            ports: members(name),
            addresses: 0,
            ageing_s: u32::try_from(network.ageing.as_secs()).unwrap_or(u32::MAX),
        });
        networks.collect()
    }

    fn multicast_status(&self) -> MulticastStatus {
        let counted = self.switch.group_counters();
        MulticastStatus {
            queries: counted.queries,
            joined: counted.joined,
            left: counted.left,
            expired: counted.expired,
            evicted: counted.evicted,
            refused: counted.refused,
            forgotten: counted.forgotten,
            contended: counted.contended,
            malformed: counted.malformed,
            unread: counted.unread,
        }
    }
}

/// What a VTEP is called where ports are: nobody can write it into a file.
pub(super) fn vtep_name(switch: &Switch, port: PortIndex) -> Option<String> {
    let (_, address) = switch.has_vteps().then(|| switch.vteps().get(port)).flatten()?;
    Some(format!("vtep {}", std::net::IpAddr::from(address)))
}

/// Meters with what their ports waited.
fn with_pauses(mut meters: Vec<MeterStatus>, ports: &[PortStatus]) -> Vec<MeterStatus> {
    for meter in meters.iter_mut().filter(|meter| meter.waits) {
        for port in ports.iter().filter(|port| meter.ports.contains(&port.name)) {
            meter.pauses += port.pauses;
            meter.paused_ms += port.paused_ms;
        }
    }
    meters
}
