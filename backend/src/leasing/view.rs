//! Leases as they are shown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use viaduct_switch::dhcp::lending::{Address, Entry, State};
use viaduct_switch::domain::DomainName;
use viaduct_switch::{MacAddress, Nanos, PortIndex};

use super::journal::Journal;
use super::network::Network;

/// An address of a network's range, or of a port, of which something is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseView {
    /// The network's name.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// What it is to its client.
    pub state: LeaseState,
    /// The client's port, by name; none if it was put aside without anybody's doing.
    pub port: Option<String>,
    /// The client's station.
    pub mac: Option<MacAddress>,
    /// What the client is known by, as bytes in hexadecimal digits with colons between.
    pub client: Option<String>,
    /// How it calls itself. Nobody vouches for it.
    pub host_name: Option<DomainName>,
    /// When the state ends; of an idle address, when it became so.
    pub until: Nanos,
    /// The same by the wall clock, in seconds since 1970.
    pub until_s: u64,
}

/// What an address is to its client.
pub type LeaseState = State;

pub(super) fn of_network(
    network: &Network,
    ports: &BTreeMap<PortIndex, String>,
    journal: &Journal,
) -> Vec<LeaseView> {
    let v4 = network.v4().into_iter().flat_map(|server| server.lender().entries());
    let v6 = network.v6().into_iter().flat_map(|server| server.lender().entries());
    v4.map(|entry| of_entry(&network.name, entry, ports, journal))
        .chain(v6.map(|entry| of_entry(&network.name, entry, ports, journal)))
        .collect()
}

fn of_entry<A: Address>(
    network: &str,
    entry: Entry<A>,
    ports: &BTreeMap<PortIndex, String>,
    journal: &Journal,
) -> LeaseView {
    let client = entry.client.as_ref();
    LeaseView {
        network: network.to_owned(),
        address: entry.address.into(),
        state: entry.state,
        port: client.and_then(|client| ports.get(&client.port).cloned()),
        mac: client.map(|client| client.mac),
        client: client.map(|client| client.id.to_string()),
        host_name: client.and_then(|client| client.host_name.clone()),
        until: entry.until,
        until_s: journal.unix_s(entry.until),
    }
}
