//! Names of those who were lent something: their port's, and what they call themselves unless that is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use viaduct_switch::domain::DomainName;

/// Whose name an address has; the port's counts more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NameKind {
    /// Its port's.
    Port,
    /// What the host calls itself.
    Host,
}

/// A name that came or went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameChange {
    /// The network's name.
    pub network: String,
    /// The host's name, one label.
    pub name: DomainName,
    /// Its address.
    pub address: IpAddr,
    /// The name of the port where it is; empty if the name is gone.
    pub port: String,
    /// Whose name it is.
    pub kind: NameKind,
    /// Whether the address has the name from now on, or has it no more.
    pub is_added: bool,
}

/// Who is to be named.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub(super) network: &'a str,
    pub(super) address: IpAddr,
    /// The port's name.
    pub(super) port: &'a str,
    /// The same as a host's, if there are no strangers behind it.
    pub(super) port_name: Option<DomainName>,
    /// What the station calls itself.
    pub(super) host_name: Option<DomainName>,
}

/// An address in a network, by name.
type Place = (String, IpAddr);

#[derive(Debug, Default)]
pub(super) struct Names {
    by_address: BTreeMap<Place, BTreeSet<(NameKind, DomainName)>>,
    /// At which port a network's name is, and for how many addresses.
    owners: BTreeMap<(String, DomainName), (String, usize)>,
    changes: Vec<NameChange>,
}

impl Names {
    /// Names an address. A name that a port has in the network is its own: what another station calls itself is passed over.
    pub(super) fn put(&mut self, named: &Named, is_reserved: impl Fn(&DomainName) -> bool) {
        let place = (named.network.to_owned(), named.address);
        let claimed = named.host_name.clone().filter(|name| {
            let owner = self.owners.get(&(place.0.clone(), name.clone()));
            let is_anothers = owner.is_some_and(|(port, _)| port != named.port);
            Some(name) != named.port_name.as_ref() && !is_reserved(name) && !is_anothers
        });
        let port_name = named.port_name.clone().map(|name| (NameKind::Port, name));
        let wanted: BTreeSet<_> =
            port_name.into_iter().chain(claimed.map(|name| (NameKind::Host, name))).collect();
        let before = self.by_address.get(&place).cloned().unwrap_or_default();
        for name in before.difference(&wanted) {
            self.drop_one(&place, name);
        }
        for name in wanted.difference(&before) {
            let owner = (place.0.clone(), name.1.clone());
            self.owners.entry(owner).or_insert((named.port.to_owned(), 0)).1 += 1;
            self.tell(&place, name, true);
        }
        if wanted.is_empty() {
            self.by_address.remove(&place);
        } else {
            self.by_address.insert(place, wanted);
        }
    }

    /// An address has no names any more.
    pub(super) fn remove(&mut self, network: &str, address: IpAddr) {
        let place = (network.to_owned(), address);
        for name in self.by_address.remove(&place).unwrap_or_default() {
            self.drop_one(&place, &name);
        }
    }

    pub(super) fn forget_network(&mut self, network: &str) {
        let addresses: Vec<IpAddr> = self
            .by_address
            .keys()
            .filter(|(found, _)| found == network)
            .map(|(_, address)| *address)
            .collect();
        for address in addresses {
            self.remove(network, address);
        }
    }

    pub(super) fn take_changes(&mut self) -> Vec<NameChange> {
        std::mem::take(&mut self.changes)
    }

    fn drop_one(&mut self, place: &Place, name: &(NameKind, DomainName)) {
        let key = (place.0.clone(), name.1.clone());
        if let Some((_, addresses)) = self.owners.get_mut(&key) {
            *addresses -= 1;
            if *addresses == 0 {
                self.owners.remove(&key);
            }
        }
        self.tell(place, name, false);
    }

    fn tell(&mut self, (network, address): &Place, (kind, name): &(NameKind, DomainName), is_added: bool) {
        let (address, kind) = (*address, *kind);
        let key = (network.clone(), name.clone());
        let port =
            self.owners.get(&key).filter(|_| is_added).map_or_else(String::new, |owner| owner.0.clone());
        let (network, name) = key;
        self.changes.push(NameChange { network, name, address, port, kind, is_added });
    }
}
