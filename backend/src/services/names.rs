//! Names that guests got with their leases.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;
use viaduct_switch::domain::DomainName;
use viaduct_switch::ids::{NetworkIndex, PortIndex};

/// The most addresses with names that one port may have in a network.
const PORT_MAX: usize = 1024;

/// Names that no guest may take: the gateway's own, the loopback's (RFC 6761, 6.3), and those by which hosts look for
/// proxies and tunnels by themselves (CERT/CC VU#598349).
const RESERVED: [&str; 4] = ["gateway", "localhost", "wpad", "isatap"];

/// The names of all networks. A name belongs to the port that had it first, until its last address ends.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<NetworkIndex, Table>>);

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<String, Entry>,
    by_address: HashMap<IpAddr, String>,
    by_port: HashMap<PortIndex, usize>,
}

#[derive(Debug)]
struct Entry {
    port: PortIndex,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// An address got a name, of which the first label counts. `false`: the name is another port's, or nobody's to take.
    pub(super) fn give(
        &self,
        network: NetworkIndex,
        port: PortIndex,
        name: &DomainName,
        address: IpAddr,
    ) -> bool {
        self.0.lock().entry(network).or_default().give(port, name.first_label(), address)
    }

    /// An address has no name any more.
    pub(super) fn end(&self, network: NetworkIndex, address: IpAddr) {
        if let Some(table) = self.0.lock().get_mut(&network) {
            table.end(address);
        }
    }

    /// Networks that are no more take their names along.
    pub(super) fn retain(&self, is_there: impl Fn(NetworkIndex) -> bool) {
        self.0.lock().retain(|network, _| is_there(*network));
    }

    /// The addresses of a name, which is in small letters.
    pub(super) fn addresses(&self, network: NetworkIndex, label: &str) -> Option<Vec<IpAddr>> {
        Some(self.0.lock().get(&network)?.by_name.get(label)?.addresses.clone())
    }

    /// The name of an address.
    pub(super) fn name(&self, network: NetworkIndex, address: IpAddr) -> Option<String> {
        self.0.lock().get(&network)?.by_address.get(&address).cloned()
    }
}

impl Table {
    fn give(&mut self, port: PortIndex, label: &str, address: IpAddr) -> bool {
        if self.by_address.get(&address).is_some_and(|name| name == label)
            && self.by_name.get(label).is_some_and(|entry| entry.port == port)
        {
            return true;
        }
        self.end(address);
        let is_free = self.by_name.get(label).is_none_or(|entry| entry.port == port);
        let count = self.by_port.get(&port).copied().unwrap_or(0);
        if !is_free || RESERVED.contains(&label) || count >= PORT_MAX {
            return false;
        }
        let new = || Entry { port, addresses: Vec::new() };
        self.by_name.entry(label.to_owned()).or_insert_with(new).addresses.push(address);
        self.by_address.insert(address, label.to_owned());
        self.by_port.insert(port, count + 1);
        true
    }

    fn end(&mut self, address: IpAddr) {
        let Some(label) = self.by_address.remove(&address) else { return };
        let Some(entry) = self.by_name.get_mut(&label) else { return };
        entry.addresses.retain(|other| *other != address);
        if let Some(count) = self.by_port.get_mut(&entry.port) {
            *count -= 1;
            if *count == 0 {
                self.by_port.remove(&entry.port);
            }
        }
        if entry.addresses.is_empty() {
            self.by_name.remove(&label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (NetworkIndex, PortIndex, PortIndex) {
        (NetworkIndex::new(1).unwrap(), PortIndex::new(1).unwrap(), PortIndex::new(2).unwrap())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_its_first_ports_until_its_last_address_ends() {
        let ((network, mine, other), names) = (ids(), Names::default());
        let give = |port, name: &str, text| names.give(network, port, &name.parse().unwrap(), address(text));
        assert!(give(mine, "web1.home.lan", "10.0.0.9") && give(mine, "web1", "fd00::9"));
        assert!(!give(other, "web1", "10.0.0.10"), "a guest does not get another's name");
        assert_eq!(names.addresses(network, "web1").unwrap().len(), 2);
        assert_eq!(names.name(network, address("fd00::9")).unwrap(), "web1");
        names.end(network, address("10.0.0.9"));
        assert!(!give(other, "web1", "10.0.0.10"));
        names.end(network, address("fd00::9"));
        assert!(give(other, "web1", "10.0.0.10"));
        assert!(give(other, "web2", "10.0.0.10"), "the guest renamed itself");
        assert_eq!(names.addresses(network, "web1"), None);
    }

    #[test]
    fn reserved_names_are_nobodys_and_a_ports_names_are_bounded() {
        let ((network, port, _), names) = (ids(), Names::default());
        for name in RESERVED {
            assert!(!names.give(network, port, &name.parse().unwrap(), address("10.0.0.9")), "{name}");
        }
        let give = |index: usize| {
            let bits = 0x0a00_0000 + u32::try_from(index).unwrap();
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(bits));
            names.give(network, port, &format!("n{index}").parse().unwrap(), address)
        };
        assert!((0..PORT_MAX).all(give) && !give(PORT_MAX));
        names.retain(|_| false);
        assert!(names.0.lock().is_empty());
    }
}
