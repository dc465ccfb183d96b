//! What is noted of a network's leases: the file, and the names.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_switch::dhcp::lending::{Address, ClientId, Lease, Lender, State};
use viaduct_switch::domain::DomainName;
use viaduct_switch::{Nanos, PortIndex};

use super::happenings::{Happenings, LeaseChange, LeaseEvent};
use super::journal::Journal;
use super::names::{Named, Names};
use crate::leases::Record;

/// Where leases are noted.
pub(super) struct Books<'a> {
    now: Nanos,
    journal: &'a mut Journal,
    ports: &'a BTreeMap<PortIndex, String>,
    names: &'a mut Names,
    happenings: &'a mut Happenings,
}

/// Whose leases they are.
pub(super) struct Network<'a> {
    pub(super) name: &'a str,
    /// Ports with strangers behind them, whom the port's name is not.
    pub(super) wide_ports: &'a BTreeSet<PortIndex>,
}

impl<'a> Books<'a> {
    pub(super) fn of(
        now: Nanos,
        journal: &'a mut Journal,
        ports: &'a BTreeMap<PortIndex, String>,
        names: &'a mut Names,
        happenings: &'a mut Happenings,
    ) -> Self {
        Self { now, journal, ports, names, happenings }
    }

    /// Notes what changed: first what is lent, so that a client whose address changed has one noted at any moment. What
    /// cannot be noted is taken back. Says whether everything that is lent was noted.
    pub(super) fn note<A: Address>(&mut self, network: &Network, lender: &mut Lender<A>) -> bool {
        let (lent, ended): (Vec<A>, Vec<A>) =
            lender.take_changed().into_iter().partition(|address| lender.lease(*address).is_some());
        let mut is_noted = true;
        for address in lent {
            let Some(lease) = lender.lease(address) else { continue };
            let before = self.journal.record(network.name, address.into()).cloned();
            if self.put(network, &lease) {
                self.tell_granted(network, &lease, before.as_ref());
                self.name(network, &lease);
            } else {
                is_noted = false;
                self.revert(network, lender, lease.address);
            }
        }
        for address in ended {
            self.tell_ended(network, lender, address);
            self.journal.remove(self.now, network.name, address.into());
            self.names.remove(network.name, address.into());
        }
        is_noted
    }

    fn tell_granted<A: Address>(&mut self, network: &Network, lease: &Lease<A>, before: Option<&Record>) {
        let Some(port) = self.ports.get(&lease.port) else { return };
        let client = digits(lease.client.bytes());
        if before.is_some_and(|before| before.port == *port && before.client == client) {
            return;
        }
        let name = lease.host_name.as_ref().map(ToString::to_string);
        let client = words(&lease.mac.to_string(), name.as_deref());
        let (port, address) = (port.clone(), lease.address.into());
        let event = LeaseEvent {
            change: LeaseChange::Granted,
            network: network.name.to_owned(),
            address,
            port,
            client,
        };
        self.happenings.tell(self.now, event);
    }

    /// Tells why an address is not lent any more, or that it is put aside.
    fn tell_ended<A: Address>(&mut self, network: &Network, lender: &Lender<A>, address: A) {
        let noted = self.journal.record(network.name, address.into());
        let is_over = |noted: &Record| noted.until_s <= self.journal.unix_s(self.now);
        let change = match (lender.state(address), noted) {
            (Some(State::Aside), _) => LeaseChange::Conflict,
            (_, Some(noted)) if is_over(noted) => LeaseChange::Expired,
            (_, Some(_)) => LeaseChange::Released,
            (_, None) => return,
        };
        let client = noted.map_or_else(String::new, |noted| words(&noted.mac, noted.host_name.as_deref()));
        let port = noted.map_or_else(String::new, |noted| noted.port.clone());
        let event =
            LeaseEvent { change, network: network.name.to_owned(), address: address.into(), port, client };
        self.happenings.tell(self.now, event);
    }

    /// Puts back what is noted and fits; strikes out what is not so any more; and names everybody anew.
    pub(super) fn settle<A: Address>(&mut self, network: &Network, lender: &mut Lender<A>) {
        for record in self.journal.records(network.name) {
            let Some(address) = A::of(record.address) else { continue };
            if lender.lease(address).is_none() && !self.restore(lender, &record) {
                self.journal.remove(self.now, network.name, record.address);
                self.names.remove(network.name, record.address);
            }
        }
        for lease in lender.leases().collect::<Vec<_>>() {
            self.name(network, &lease);
        }
    }

    fn put<A: Address>(&mut self, network: &Network, lease: &Lease<A>) -> bool {
        let Some(port) = self.ports.get(&lease.port) else { return false };
        let record = Record {
            network: network.name.to_owned(),
            address: lease.address.into(),
            port: port.clone(),
            client: digits(lease.client.bytes()),
            mac: lease.mac.to_string(),
            host_name: lease.host_name.as_ref().map(ToString::to_string),
            until_s: self.journal.unix_s(lease.until),
            noted_s: self.journal.unix_s(self.now),
        };
        self.journal.put(self.now, record)
    }

    fn revert<A: Address>(&mut self, network: &Network, lender: &mut Lender<A>, address: A) {
        let noted = self.journal.record(network.name, address.into()).cloned();
        lender.revert(self.now, address, noted.and_then(|record| self.lease(&record)));
    }

    fn restore<A: Address>(&self, lender: &mut Lender<A>, record: &Record) -> bool {
        self.lease(record).is_some_and(|lease| lender.restore(self.now, lease))
    }

    /// The lease that a record tells of, if its port is still there.
    fn lease<A: Address>(&self, record: &Record) -> Option<Lease<A>> {
        let (port, _) = self.ports.iter().find(|(_, name)| **name == record.port)?;
        Some(Lease {
            address: A::of(record.address)?,
            port: *port,
            client: ClientId::new(&bytes(&record.client)?)?,
            mac: record.mac.parse().ok()?,
            host_name: record.host_name.as_ref().and_then(|name| name.parse().ok()),
            until: self.journal.moment(record.until_s)?,
        })
    }

    fn name<A: Address>(&mut self, network: &Network, lease: &Lease<A>) {
        let Some(port) = self.ports.get(&lease.port) else { return };
        let is_narrow = !network.wide_ports.contains(&lease.port);
        let named = Named {
            network: network.name,
            address: lease.address.into(),
            port,
            port_name: if is_narrow { label(port) } else { None },
            host_name: lease.host_name.clone(),
        };
        let is_reserved =
            |name: &DomainName| self.ports.values().any(|port| port.eq_ignore_ascii_case(name.as_str()));
        self.names.put(&named, is_reserved);
    }
}

/// A station, and how it calls itself.
fn words(mac: &str, host_name: Option<&str>) -> String {
    host_name.map_or_else(|| mac.to_owned(), |name| format!("{mac} ({name})"))
}

/// A port's name as a host's, if it can be one.
fn label(port: &str) -> Option<DomainName> {
    let is_one = !port.contains('.');
    if is_one { port.parse().ok() } else { None }
}

/// Two hexadecimal digits for each byte.
fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
