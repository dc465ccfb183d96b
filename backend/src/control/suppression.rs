//! Addresses of stations on other hosts that are written down, for which the switch answers ARP and neighbour discovery.

use std::collections::BTreeMap;

use viaduct_switch::packet::Address;
use viaduct_switch::{MacAddress, NetworkIndex};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::registry::Numbers;

/// Whose addresses are whose, by network.
pub(super) type Addresses = BTreeMap<(NetworkIndex, Address), MacAddress>;

fn addresses(config: &Config, numbers: &Numbers) -> Addresses {
    let mut addresses = Addresses::new();
    for (name, network) in &config.networks {
        let overlay = network.overlay.as_ref().filter(|overlay| overlay.suppression);
        let (Some(overlay), Some(&number)) = (overlay, numbers.networks.get(name)) else { continue };
        for station in &overlay.stations {
            let of_station = station.addresses.iter().map(|address| (number, Address::from(*address)));
            addresses.extend(of_station.map(|key| (key, station.mac)));
        }
    }
    addresses
}

impl Controller {
    /// Makes addresses known that are written down and were not before, and forgets those that are not any more; to be called when
    /// the workers have the policy.
    pub(super) fn follow_addresses(&mut self) {
        let wanted = addresses(&self.config, &self.numbers);
        if wanted.is_empty() && self.addresses.is_empty() {
            return;
        }
        let suppression = self.switch.suppression();
        for (network, address) in self.addresses.keys().filter(|key| !wanted.contains_key(key)) {
            suppression.clear(*network, *address);
        }
        let changed = wanted.iter().filter(|(key, mac)| self.addresses.get(key) != Some(mac));
        for (&(network, address), &mac) in changed {
            if !suppression.set(network, address, mac) {
                tracing::warn!(
                    "network {network}: there is no room for the address {address} of station {mac}, which is written down"
                );
            }
        }
        self.addresses = wanted;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::{ThisHost, parse};

    #[test]
    fn addresses_of_networks_that_suppress_are_known_by_their_numbers() {
        let network = |name: &str, vni: u32, suppression: bool| {
            format!(
                "[network.{name}]\noverlay = {{ kind = 'vxlan', vni = {vni}, uplink = 'isp' }}\narp_suppression = \
                 {suppression}\n[[network.{name}.static]]\nmac = '52:54:00:00:00:02'\nvtep = '192.0.2.2'\naddress = \
                 ['10.1.0.2', 'fd00::2']\n"
            )
        };
        let uplink = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.0.2.1/24'\n";
        let text = [uplink, &network("a", 1, true), &network("b", 2, false)].concat();
        let config = parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config;
        let mut numbers = Numbers::default();
        let [a, b] = [4, 5].map(|index| NetworkIndex::new(index).unwrap());
        numbers.networks.extend([("a".to_owned(), a), ("b".to_owned(), b)]);
        let mac: MacAddress = "52:54:00:00:00:02".parse().unwrap();
        let expected = ["10.1.0.2", "fd00::2"].map(|text| {
            let address: IpAddr = text.parse().unwrap();
            ((a, Address::from(address)), mac)
        });
        assert_eq!(addresses(&config, &numbers), expected.into());
    }
}
