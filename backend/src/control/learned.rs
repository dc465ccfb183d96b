//! Learned addresses and multicast groups, read beside the control thread.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use viaduct_switch::{FdbEntry, NetworkIndex, PortIndex, VlanId};

use crate::control::Tables;
use crate::control::snapshot::vtep_name;
use crate::control::tables::{Selection, SelectionError};
use crate::model::{FdbPage, FdbStatus, MemberStatus, MulticastGroupStatus, NetworkStatus};

/// Learned addresses in one answer at most: some 1.5 MiB.
pub const ADDRESSES_MAX: usize = 10_000;

impl Tables {
    /// At most `limit` learned addresses of the selection's network and port, from where an earlier page ended, or from 0.
    ///
    /// # Errors
    /// The selection names what there is not.
    pub fn learned(&self, selection: &Selection, from: u32, limit: usize) -> Result<FdbPage, SelectionError> {
        let filter = self.filter(selection)?;
        let wanted = |entry: &FdbEntry| {
            filter.zone.is_none_or(|network| network == entry.network)
                && filter.port.is_none_or(|port| port == entry.port)
        };
        let limit = limit.min(ADDRESSES_MAX);
        let (entries, next) = self.switch.fdb_page((from, limit), self.now, &self.policy, wanted);
        let (networks, ports) = (by_number(&self.networks), by_number(&self.ports));
        let named = |entry: FdbEntry| {
            let port = match ports.get(&entry.port) {
                Some(name) => (*name).clone(),
                None => vtep_name(&self.switch, entry.port)?,
            };
            Some(FdbStatus {
                network: (*networks.get(&entry.network)?).clone(),
                vlan: self.policy.network(entry.network)?.vlan().map(VlanId::get),
                mac: entry.mac.to_string(),
                port,
                age_s: entry.age_s,
            })
        };
        Ok(FdbPage { addresses: entries.into_iter().filter_map(named).collect(), next })
    }

    /// Notes how many addresses are learned in each network.
    pub(super) fn count_learned(&self, networks: &mut [NetworkStatus]) {
        let mut counted: HashMap<NetworkIndex, u64> = HashMap::new();
        for entry in self.switch.fdb_iter(self.now, &self.policy) {
            *counted.entry(entry.network).or_default() += 1;
        }
        for status in networks {
            let count = self.networks.get(&status.name).and_then(|index| counted.get(index));
            status.addresses = count.copied().unwrap_or(0);
        }
    }

    /// Multicast groups with members, and multicast routers, by network and group.
    #[must_use]
    pub fn multicast_groups(&self) -> Vec<MulticastGroupStatus> {
        let (networks, ports) = (by_number(&self.networks), by_number(&self.ports));
        let mut entries = self.switch.groups(self.now);
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
}

fn by_number<I: Copy + Eq + Hash>(names: &BTreeMap<String, I>) -> HashMap<I, &String> {
    names.iter().map(|(name, index)| (*index, name)).collect()
}
