//! What the file says about an overlay network that stations which are fed must not contradict.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use viaduct_switch::MacAddress;
use viaduct_switch::security::Family;

use super::StationError;
use crate::config::{
    Config, Network, Overlay, Port, StaticStation, Subnet, fits_subnets, is_station_address,
};

/// The addresses that a station may have, at most: one of each scope and a few more.
const ADDRESSES_MAX: usize = 16;

/// Of one network.
#[derive(Debug)]
pub(super) struct Rules {
    family: Family,
    /// The addresses of this machine's end.
    own: Vec<IpAddr>,
    subnets: Vec<Subnet>,
    /// Stations that are written down, and where they stand in the file's list.
    pub(super) written: BTreeMap<MacAddress, usize>,
    addresses: HashSet<IpAddr>,
    /// Stations that are here, and at which port.
    local: HashMap<MacAddress, String>,
}

impl Rules {
    /// Those of all overlay networks that are wanted, by name.
    pub(super) fn all(config: &Config, is_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Self> {
        let of_network = |(name, network): (&String, &Network)| {
            let overlay = network.overlay.as_ref().filter(|_| is_wanted(name))?;
            Some((name.clone(), Self::of(config, network, overlay)))
        };
        let mut all: BTreeMap<String, Self> = config.networks.iter().filter_map(of_network).collect();
        if all.is_empty() {
            return all;
        }
        for (name, port) in &config.ports {
            for network in port.membership.networks() {
                if let Some(rules) = all.get_mut(network) {
                    rules.local.extend(macs(port).map(|mac| (mac, name.clone())));
                }
            }
        }
        all
    }

    fn of(config: &Config, network: &Network, overlay: &Overlay) -> Self {
        let uplink = config.uplinks.get(&overlay.uplink).and_then(|uplink| uplink.addressing.as_ref());
        let own = uplink.iter().flat_map(|uplink| uplink.addresses.iter().map(|subnet| subnet.address));
        let stations = overlay.stations.iter();
        Self {
            family: config.underlay_family(overlay),
            own: own.collect(),
            subnets: network.gateway.subnets.clone(),
            written: stations.clone().enumerate().map(|(at, station)| (station.mac, at)).collect(),
            addresses: stations.flat_map(|station| station.addresses.iter().copied()).collect(),
            local: HashMap::new(),
        }
    }

    /// Whether nothing that is written contradicts a station.
    pub(super) fn check(&self, station: &StaticStation) -> Result<(), StationError> {
        let mac = station.mac;
        if self.written.contains_key(&mac) {
            return Err(StationError::Written(mac));
        }
        if let Some(port) = self.local.get(&mac) {
            return Err(StationError::Local { mac, port: port.clone() });
        }
        self.check_vtep(mac, station.vtep)?;
        if station.addresses.len() > ADDRESSES_MAX {
            let (what, count) = ("addresses of one station", station.addresses.len());
            return Err(StationError::TooMany { what, count, max: ADDRESSES_MAX });
        }
        station.addresses.iter().try_for_each(|address| self.check_address(mac, *address))
    }

    fn check_vtep(&self, mac: MacAddress, vtep: IpAddr) -> Result<(), StationError> {
        let refused = |expected: String| Err(StationError::Vtep { mac, vtep, expected });
        if Family::of(vtep) != self.family {
            return refused(format!(
                "an address of {}, as all ends of the network's tunnels have",
                self.family
            ));
        }
        if self.own.contains(&vtep) {
            return refused("another machine's address: this one is the uplink's own".to_owned());
        }
        if is_station_address(vtep) { Ok(()) } else { refused("the address of one machine".to_owned()) }
    }

    fn check_address(&self, mac: MacAddress, address: IpAddr) -> Result<(), StationError> {
        if self.addresses.contains(&address) {
            return Err(StationError::WrittenAddress { mac, address });
        }
        let refused = |expected| StationError::Address { mac, address, expected };
        if !is_station_address(address) {
            return Err(refused("the address of one station".to_owned()));
        }
        fits_subnets(address, &self.subnets).map_err(refused)
    }
}

/// The Ethernet addresses that are written down as a port's own.
fn macs(port: &Port) -> impl Iterator<Item = MacAddress> {
    let guest = port.vhost_user().map(|end| end.mac);
    guest.into_iter().chain(port.security.as_ref().map(|security| security.mac))
}
