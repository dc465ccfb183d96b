//! The whole state for people and programs.

use std::collections::HashMap;

use viaduct_switch::{FdbEntry, NetworkIndex, PortIndex, Switch, VlanId};

use crate::control::controller::Controller;
use crate::model::{
    FdbStatus, MemberStatus, MeterStatus, MulticastGroupStatus, MulticastStatus, NetworkStatus, PortStatus,
    QosStatus, Snapshot,
};

impl Controller {
    /// The state at this moment.
    pub(super) fn snapshot(&self) -> Snapshot {
        let entries = self.switch.fdb(self.bay.now(), &self.policy);
        let brief = self.snapshot_with(&entries);
        Snapshot {
            fdb: self.fdb_statuses(entries),
            multicast_groups: self.multicast_groups(),
            neighbours: self.neighbour_statuses(),
            ..brief
        }
    }

    /// The same without the lists that others make long: learned addresses, multicast groups and neighbours.
    pub(super) fn brief(&self) -> Snapshot {
        self.snapshot_with(&self.switch.fdb(self.bay.now(), &self.policy))
    }

    fn snapshot_with(&self, entries: &[FdbEntry]) -> Snapshot {
        let guests = self.ports.iter().map(|port| port.status(&self.switch));
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
            uptime_s: self.started.elapsed().as_secs(),
            ports,
            networks: self.network_statuses(entries),
            fdb: Vec::new(),
            duplicates: self.duplicates(&self.switch.duplicates(self.bay.now())),
            multicast_groups: Vec::new(),
            multicast: self.multicast_status(),
            stp: self.trees.statuses(),
            outsides: self.outside_statuses(),
            neighbours: Vec::new(),
            bonds: self.bonds.statuses(|port| Some(&self.interfaces.get(&port)?.name)),
            qos: QosStatus { meters, trees: self.shaping_statuses() },
            workers: self.bay.workers(),
        }
    }

    fn network_statuses(&self, entries: &[FdbEntry]) -> Vec<NetworkStatus> {
        let mut addresses: HashMap<NetworkIndex, u64> = HashMap::new();
        for entry in entries {
            *addresses.entry(entry.network).or_default() += 1;
        }
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
            addresses: self
                .numbers
                .networks
                .get(name)
                .and_then(|index| addresses.get(index))
                .copied()
                .unwrap_or(0),
            ageing_s: u32::try_from(network.ageing.as_secs()).unwrap_or(u32::MAX),
        });
        networks.collect()
    }

    fn multicast_groups(&self) -> Vec<MulticastGroupStatus> {
        let networks: HashMap<NetworkIndex, &String> =
            self.numbers.networks.iter().map(|(name, index)| (*index, name)).collect();
        let ports: HashMap<PortIndex, &String> =
            self.numbers.ports.iter().map(|(name, index)| (*index, name)).collect();
        let mut entries = self.switch.groups(self.bay.now());
        entries.sort_by_key(|entry| (networks.get(&entry.network).copied(), entry.group));
        let member = |(port, expires_s): (PortIndex, u32)| {
            Some(MemberStatus { port: (*ports.get(&port)?).clone(), expires_s })
        };
        let statuses = entries.into_iter().filter_map(|entry| {
            Some(MulticastGroupStatus {
                network: (*networks.get(&entry.network)?).clone(),
                group: entry.group.to_string(),
                routers: entry.group.is_unspecified(),
                members: entry.ports.into_iter().filter_map(member).collect(),
            })
        });
        statuses.collect()
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

    fn fdb_statuses(&self, entries: Vec<FdbEntry>) -> Vec<FdbStatus> {
        let networks: HashMap<NetworkIndex, &String> =
            self.numbers.networks.iter().map(|(name, index)| (*index, name)).collect();
        let ports: HashMap<PortIndex, &String> =
            self.numbers.ports.iter().map(|(name, index)| (*index, name)).collect();
        let mut statuses: Vec<FdbStatus> = entries
            .into_iter()
            .filter_map(|entry| {
                Some(FdbStatus {
                    network: (*networks.get(&entry.network)?).clone(),
                    vlan: self.policy.network(entry.network)?.vlan().map(VlanId::get),
                    mac: entry.mac.to_string(),
                    port: match ports.get(&entry.port) {
                        Some(name) => (*name).clone(),
                        None => vtep_name(&self.switch, entry.port)?,
                    },
                    age_s: entry.age_s,
                })
            })
            .collect();
        statuses.sort_by(|a, b| (&a.network, &a.mac).cmp(&(&b.network, &b.mac)));
        statuses
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
