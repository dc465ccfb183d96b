//! The stations of one network that are fed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use viaduct_switch::tunnel::EndpointIndex;
use viaduct_switch::{MacAddress, NetworkIndex};

use super::{StationChange, StationError};
use crate::config::StaticStation;

/// Where a network's stations stand in the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) network: NetworkIndex,
    pub(super) endpoint: EndpointIndex,
    /// Whether it is answered for their addresses.
    pub(super) suppresses: bool,
}

/// What becomes of one station.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) mac: MacAddress,
    pub(super) before: Option<Arc<StaticStation>>,
    pub(super) after: Option<Arc<StaticStation>>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) generation: u64,
    /// Where its stations are known; `None`: nowhere yet.
    pub(super) place: Option<Place>,
    stations: BTreeMap<MacAddress, Arc<StaticStation>>,
    /// Whose addresses are whose.
    owners: HashMap<IpAddr, MacAddress>,
    /// How many stations are behind each VTEP.
    vteps: BTreeMap<IpAddr, usize>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.stations.len()
    }

    /// How many addresses its stations have together.
    pub(super) fn addresses(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn stations(&self) -> impl Iterator<Item = &Arc<StaticStation>> {
        self.stations.values()
    }

    /// Stations from `mac` on, in ascending order.
    pub(super) fn from(&self, mac: MacAddress) -> impl Iterator<Item = &Arc<StaticStation>> {
        self.stations.range(mac..).map(|(_, station)| station)
    }

    pub(super) fn get(&self, mac: MacAddress) -> Option<&Arc<StaticStation>> {
        self.stations.get(&mac)
    }

    /// The station that has an address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<MacAddress> {
        self.owners.get(&address).copied()
    }

    /// The VTEPs behind which its stations are, without those of `leaving` ones, which are some of them.
    pub(super) fn vteps_without(&self, leaving: &BTreeSet<MacAddress>) -> BTreeSet<IpAddr> {
        let mut fewer: HashMap<IpAddr, usize> = HashMap::new();
        for station in leaving.iter().filter_map(|mac| self.stations.get(mac)) {
            *fewer.entry(station.vtep).or_default() += 1;
        }
        let stays = |(vtep, count): &(&IpAddr, &usize)| fewer.get(*vtep) != Some(*count);
        self.vteps.iter().filter(stays).map(|(vtep, _)| *vtep).collect()
    }

    /// What a change comes to, each station once; what it would leave as it is, is left out.
    ///
    /// # Errors
    /// The change names something twice, or a station that is not there, or gives an address away that another station keeps.
    pub(super) fn steps(&self, change: StationChange) -> Result<Vec<Step>, StationError> {
        let (wanted, others_go) = match change {
            StationChange::Remove(macs) => return self.removals(macs),
            StationChange::Replace(stations) => (stations, true),
            StationChange::Set(stations) => (stations, false),
        };
        let named = distinct(&wanted)?;
        let gone = self.stations.values().filter(|station| others_go && !named.contains(&station.mac));
        let gone: Vec<Step> = gone
            .map(|station| Step { mac: station.mac, before: Some(Arc::clone(station)), after: None })
            .collect();
        let step = |station: StaticStation| {
            let (mac, before) = (station.mac, self.stations.get(&station.mac).cloned());
            let is_same = before.as_deref() == Some(&station);
            (!is_same).then(|| Step { mac, before, after: Some(Arc::new(station)) })
        };
        let steps: Vec<Step> = gone.into_iter().chain(wanted.into_iter().filter_map(step)).collect();
        self.check_owners(&steps)?;
        Ok(steps)
    }

    fn removals(&self, macs: Vec<MacAddress>) -> Result<Vec<Step>, StationError> {
        let step = |mac: MacAddress| {
            let before = self.stations.get(&mac).ok_or(StationError::NoStation(mac))?;
            Ok(Step { mac, before: Some(Arc::clone(before)), after: None })
        };
        macs.into_iter().collect::<BTreeSet<_>>().into_iter().map(step).collect()
    }

    /// Each address is one station's afterwards.
    fn check_owners(&self, steps: &[Step]) -> Result<(), StationError> {
        let changing: HashSet<MacAddress> = steps.iter().map(|step| step.mac).collect();
        for station in steps.iter().filter_map(|step| step.after.as_ref()) {
            for address in &station.addresses {
                if let Some(owner) = self.owner(*address).filter(|owner| !changing.contains(owner)) {
                    return Err(StationError::AddressTaken { mac: station.mac, address: *address, owner });
                }
            }
        }
        Ok(())
    }

    /// Does the steps, which are of this table as it is; says whether another VTEP has stations now, or one has none any more.
    pub(super) fn commit(&mut self, steps: &[Step]) -> bool {
        let before = self.vteps.len();
        let mut is_new = false;
        for station in steps.iter().filter_map(|step| step.before.as_ref()) {
            station.addresses.iter().for_each(|address| _ = self.owners.remove(address));
        }
        for Step { mac, before, after } in steps {
            if let Some(station) = after {
                self.owners.extend(station.addresses.iter().map(|address| (*address, *mac)));
                let count = self.vteps.entry(station.vtep).or_default();
                is_new |= *count == 0;
                *count += 1;
                self.stations.insert(*mac, Arc::clone(station));
            } else {
                self.stations.remove(mac);
            }
            if let Some(count) = before.as_ref().and_then(|station| self.vteps.get_mut(&station.vtep)) {
                *count -= 1;
            }
        }
        self.vteps.retain(|_, count| *count > 0);
        is_new || self.vteps.len() != before
    }
}

/// The stations' addresses, if none stands there twice.
fn distinct(stations: &[StaticStation]) -> Result<HashSet<MacAddress>, StationError> {
    let mut macs = HashSet::with_capacity(stations.len());
    let mut addresses = HashSet::new();
    for station in stations {
        if !macs.insert(station.mac) {
            return Err(StationError::Repeated(format!("station {}", station.mac)));
        }
        if let Some(address) = station.addresses.iter().find(|address| !addresses.insert(**address)) {
            return Err(StationError::Repeated(format!("address {address}")));
        }
    }
    Ok(macs)
}
