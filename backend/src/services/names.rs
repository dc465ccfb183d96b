//! Names that guests got with their leases.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;
use viaduct_switch::domain::DomainName;
use viaduct_switch::ids::{NetworkIndex, PortIndex};

/// The most names of addresses that one port may have in a network.
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
    /// The first one is the address's name where only one counts.
    by_address: HashMap<IpAddr, Vec<String>>,
    /// How many names of addresses each port has.
    by_port: HashMap<PortIndex, usize>,
}

#[derive(Debug)]
struct Entry {
    port: PortIndex,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// An address got a name more, of which the first label counts, to be the first of its names or the last. `false`: the name
    /// is another port's, or nobody's to take.
    pub(super) fn give(
        &self,
        network: NetworkIndex,
        port: PortIndex,
        name: &DomainName,
        address: IpAddr,
        is_first: bool,
    ) -> bool {
        self.0.lock().entry(network).or_default().give(port, name.first_label(), address, is_first)
    }

    /// An address has a name no more.
    pub(super) fn end(&self, network: NetworkIndex, name: &DomainName, address: IpAddr) {
        if let Some(table) = self.0.lock().get_mut(&network) {
            table.end(name.first_label(), address);
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

    /// The first name of an address.
    pub(super) fn name(&self, network: NetworkIndex, address: IpAddr) -> Option<String> {
        self.0.lock().get(&network)?.by_address.get(&address)?.first().cloned()
    }
}

impl Table {
    fn give(&mut self, port: PortIndex, label: &str, address: IpAddr, is_first: bool) -> bool {
        let is_anothers = |entry: &Entry| entry.port != port;
        // The address is this port's now, whoever had it before.
        let labels = self.by_address.get(&address).into_iter().flatten();
        let strange = labels.filter(|label| self.by_name.get(*label).is_some_and(is_anothers));
        for label in strange.cloned().collect::<Vec<_>>() {
            self.end(&label, address);
        }
        if let Some(labels) = self.by_address.get_mut(&address)
            && let Some(at) = labels.iter().position(|own| own == label)
        {
            if is_first {
                labels[..=at].rotate_right(1);
            }
            return true;
        }
        let count = self.by_port.get(&port).copied().unwrap_or(0);
        if self.by_name.get(label).is_some_and(is_anothers) || RESERVED.contains(&label) || count >= PORT_MAX
        {
            return false;
        }
        let new = || Entry { port, addresses: Vec::new() };
        self.by_name.entry(label.to_owned()).or_insert_with(new).addresses.push(address);
        let labels = self.by_address.entry(address).or_default();
        labels.insert(if is_first { 0 } else { labels.len() }, label.to_owned());
        self.by_port.insert(port, count + 1);
        true
    }

    fn end(&mut self, label: &str, address: IpAddr) {
        let Some(labels) = self.by_address.get_mut(&address) else { return };
        let Some(at) = labels.iter().position(|own| own == label) else { return };
        labels.remove(at);
        if labels.is_empty() {
            self.by_address.remove(&address);
        }
        let Some(entry) = self.by_name.get_mut(label) else { return };
        entry.addresses.retain(|other| *other != address);
        if let Some(count) = self.by_port.get_mut(&entry.port) {
            *count -= 1;
            if *count == 0 {
                self.by_port.remove(&entry.port);
            }
        }
        if entry.addresses.is_empty() {
            self.by_name.remove(label);
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
        let give =
            |port, name: &str, text| names.give(network, port, &name.parse().unwrap(), address(text), false);
        let end = |name: &str, text| names.end(network, &name.parse().unwrap(), address(text));
        assert!(give(mine, "web1.home.lan", "10.0.0.9") && give(mine, "web1", "fd00::9"));
        assert!(!give(other, "web1", "10.0.0.10"), "a guest does not get another's name");
        assert_eq!(names.addresses(network, "web1").unwrap().len(), 2);
        assert_eq!(names.name(network, address("fd00::9")).unwrap(), "web1");
        end("web1", "10.0.0.9");
        assert!(!give(other, "web1", "10.0.0.10"));
        end("web1", "fd00::9");
        assert!(give(other, "web1", "10.0.0.10"));
        assert!(give(mine, "web2", "10.0.0.10"), "the address is another port's now");
        assert_eq!(names.addresses(network, "web1"), None);
        end("web2", "10.0.0.10");
        assert!(names.0.lock()[&network].by_port.is_empty(), "nothing is left");
    }

    #[test]
    fn an_address_has_several_names_of_which_each_ends_by_itself() {
        let ((network, port, _), names) = (ids(), Names::default());
        let its = address("10.0.0.9");
        let give = |name: &str, is_first| names.give(network, port, &name.parse().unwrap(), its, is_first);
        let end = |name: &str| names.end(network, &name.parse().unwrap(), its);
        let found = |label: &str| names.addresses(network, label);
        let first = || names.name(network, its);
        assert!(give("www", false) && give("vm1", true) && give("www", false) && give("vm1", true));
        assert_eq!((found("www"), found("vm1")), (Some(vec![its]), Some(vec![its])));
        assert_eq!(first().unwrap(), "vm1", "the port's name, though it came later");
        assert!(give("www", true), "it is the port's name now");
        assert_eq!(first().unwrap(), "www");
        end("www");
        assert_eq!((found("www"), first()), (None, Some("vm1".to_owned())));
        end("www");
        assert_eq!(found("vm1"), Some(vec![its]));
        end("vm1");
        assert_eq!((found("vm1"), first()), (None, None));
        assert!(names.0.lock()[&network].by_port.is_empty(), "nothing is left");
    }

    #[test]
    fn reserved_names_are_nobodys_and_a_ports_names_are_bounded() {
        let ((network, port, _), names) = (ids(), Names::default());
        for name in RESERVED {
            assert!(!names.give(network, port, &name.parse().unwrap(), address("10.0.0.9"), true), "{name}");
        }
        let give = |index: usize| {
            let bits = 0x0a00_0000 + u32::try_from(index).unwrap();
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(bits));
            names.give(network, port, &format!("n{index}").parse().unwrap(), address, false)
        };
        assert!((0..PORT_MAX).all(give) && !give(PORT_MAX));
        names.retain(|_| false);
        assert!(names.0.lock().is_empty());
    }
}
