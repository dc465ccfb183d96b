//! Large tables, read and cleared beside the control thread: it only gives names and the time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use viaduct_switch::conntrack::{Connection, Filter, State};
use viaduct_switch::router::RouterIndex;
use viaduct_switch::{Nanos, NetworkIndex, Policy, PortIndex, Switch};

use crate::control::controller::Controller;
use crate::control::routing;
use crate::gateway;
use crate::model::{Cleared, ConnectionPage, ConnectionStatus, LeaseStatus};

/// Connections in one answer at most.
pub const PAGE_MAX: usize = 1000;

/// Protocols by their names.
const PROTOCOLS: [(&str, u8); 7] =
    [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmp6", 58), ("sctp", 132), ("dccp", 33), ("udp-lite", 136)];

/// States by their names.
const STATES: [State; 9] = [
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait,
    State::LastAck,
    State::TimeWait,
    State::Reset,
    State::Unreplied,
    State::Replied,
];

/// Which connections are meant, in words: those for which all holds that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Of this network.
    pub network: Option<String>,
    /// Opened at this port.
    pub port: Option<String>,
    /// To or from this address.
    pub address: Option<String>,
    /// Of this protocol.
    pub protocol: Option<String>,
    /// To or from this transport port.
    pub transport_port: Option<String>,
    /// In this state.
    pub state: Option<String>,
}

/// What is wrong with a selection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no {what} {found}; {remedy}")]
pub struct SelectionError {
    what: &'static str,
    found: String,
    remedy: String,
}

/// The switch's tables with the names that are in force.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(super) switch: Arc<Switch>,
    pub(super) now: Nanos,
    pub(super) networks: BTreeMap<String, NetworkIndex>,
    pub(super) ports: BTreeMap<String, PortIndex>,
    pub(super) policy: Arc<Policy>,
    pub(super) gateways: gateway::Handle,
    pub(super) routers: BTreeMap<RouterIndex, String>,
    /// What was lent to uplinks.
    pub(super) own_leases: Vec<LeaseStatus>,
}

impl Controller {
    /// The tables at this moment.
    pub(super) fn tables(&self) -> Tables {
        let (networks, ports) = (self.numbers.networks.clone(), self.numbers.ports.clone());
        let policy = Arc::clone(&self.policy);
        let (gateways, routers) = (self.gateways.clone(), routing::names(&self.config, &self.numbers));
        let (switch, now) = (Arc::clone(&self.switch), self.bay.now());
        let own_leases = self.own_leases();
        Tables { switch, now, networks, ports, policy, gateways, routers, own_leases }
    }
}

impl Tables {
    /// At most `limit` connections that are meant, from where an earlier page ended, or from 0.
    ///
    /// # Errors
    /// The selection names what there is not.
    pub fn connections(
        &self,
        selection: &Selection,
        from: u32,
        limit: usize,
    ) -> Result<ConnectionPage, SelectionError> {
        let filter = self.filter(selection)?;
        let Some(table) = self.switch.conntrack() else { return Ok(ConnectionPage::default()) };
        let page = table.list(&filter, from, limit.min(PAGE_MAX), self.now);
        let connections = page.connections.iter().map(|connection| self.status(connection)).collect();
        Ok(ConnectionPage { connections, next: page.next })
    }

    /// Ends the connections that are meant.
    ///
    /// # Errors
    /// The selection names what there is not; then none is ended.
    pub fn clear(&self, selection: &Selection) -> Result<Cleared, SelectionError> {
        let filter = self.filter(selection)?;
        let connections = self.switch.conntrack().map_or(0, |table| table.clear(&filter, self.now));
        Ok(Cleared { connections })
    }

    pub(super) fn filter(&self, selection: &Selection) -> Result<Filter, SelectionError> {
        let Selection { network, port, address, protocol, transport_port, state } = selection;
        let known = |remedy: &str| remedy.to_owned();
        let address = find(
            "address",
            address.as_ref(),
            |text| text.parse::<IpAddr>().ok(),
            || known("write one like 10.0.0.9 or fd00::9"),
        )?;
        Ok(Filter {
            zone: find(
                "network",
                network.as_ref(),
                |name| self.networks.get(name).copied(),
                || known("`viaduct show networks` lists all"),
            )?,
            port: find(
                "port",
                port.as_ref(),
                |name| self.ports.get(name).copied(),
                || known("`viaduct show ports` lists all"),
            )?,
            address: address.map(Into::into),
            protocol: find("protocol", protocol.as_ref(), number_of, || {
                format!("there are {}, and numbers up to 255", PROTOCOLS.map(|(name, _)| name).join(", "))
            })?,
            transport_port: find(
                "transport port",
                transport_port.as_ref(),
                |text| text.parse().ok(),
                || known("write a number from 0 to 65535"),
            )?,
            state: find("state", state.as_ref(), state_of, || {
                format!("there are {}", STATES.map(State::name).join(", "))
            })?,
        })
    }

    fn status(&self, connection: &Connection) -> ConnectionStatus {
        let original = connection.original;
        let network = self.networks.iter().find(|(_, index)| **index == original.zone);
        let port = self.ports.iter().find(|(_, index)| **index == connection.port);
        ConnectionStatus {
            network: network
                .map_or_else(|| format!("network number {}", original.zone), |(name, _)| name.clone()),
            port: port.map_or_else(|| format!("port number {}", connection.port), |(name, _)| name.clone()),
            protocol: protocol_name(original.protocol),
            source: IpAddr::from(original.source).to_string(),
            source_port: original.source_port,
            destination: IpAddr::from(original.destination).to_string(),
            destination_port: original.destination_port,
            state: connection.state.name().to_owned(),
            idle_s: connection.idle_s,
            expires_s: connection.expires_s,
        }
    }
}

/// What a word of a selection means, if it was given.
fn find<T>(
    what: &'static str,
    found: Option<&String>,
    meaning: impl FnOnce(&str) -> Option<T>,
    remedy: impl FnOnce() -> String,
) -> Result<Option<T>, SelectionError> {
    let Some(found) = found else { return Ok(None) };
    let wrong = || SelectionError { what, found: found.clone(), remedy: remedy() };
    meaning(found).map(Some).ok_or_else(wrong)
}

fn number_of(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| name.parse().ok())
}

/// A protocol's name, or its number.
pub(super) fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

fn state_of(name: &str) -> Option<State> {
    STATES.into_iter().find(|state| state.name() == name)
}

#[cfg(test)]
impl Tables {
    /// Those of a switch that knows nobody.
    pub(crate) fn empty() -> Self {
        Self {
            switch: Arc::new(Switch::new(1, viaduct_switch::Limits::default())),
            now: Nanos(0),
            networks: BTreeMap::new(),
            ports: BTreeMap::new(),
            policy: Arc::default(),
            gateways: gateway::Handle::unheard(),
            routers: BTreeMap::new(),
            own_leases: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::FdbPage;

    fn tables() -> Tables {
        let networks = [("lab".to_owned(), NetworkIndex::new(3).unwrap())].into();
        let ports = [("vm1".to_owned(), PortIndex::new(7).unwrap())].into();
        Tables { networks, ports, ..Tables::empty() }
    }

    #[test]
    fn words_select_what_they_name() {
        let some = |text: &str| Some(text.to_owned());
        let selection = Selection {
            network: some("lab"),
            port: some("vm1"),
            address: some("fd00::9"),
            protocol: some("udp"),
            transport_port: some("53"),
            state: some("replied"),
        };
        let address: IpAddr = "fd00::9".parse().unwrap();
        let expected = Filter {
            zone: NetworkIndex::new(3),
            port: PortIndex::new(7),
            address: Some(address.into()),
            protocol: Some(17),
            transport_port: Some(53),
            state: Some(State::Replied),
        };
        assert_eq!(tables().filter(&selection), Ok(expected));
        let numbered = Selection { protocol: some("47"), ..Selection::default() };
        assert_eq!(tables().filter(&numbered), Ok(Filter { protocol: Some(47), ..Filter::default() }));
        assert_eq!(tables().filter(&Selection::default()), Ok(Filter::default()));
    }

    #[test]
    fn what_there_is_not_is_told_with_what_there_is() {
        let wrong = |selection: &Selection| tables().clear(selection).unwrap_err().to_string();
        let some = |text: &str| Some(text.to_owned());
        for (selection, told) in [
            (
                Selection { network: some("lob"), ..Selection::default() },
                "there is no network lob; `viaduct show networks`",
            ),
            (
                Selection { port: some("vm9"), ..Selection::default() },
                "there is no port vm9; `viaduct show ports`",
            ),
            (
                Selection { address: some("10.0.0"), ..Selection::default() },
                "there is no address 10.0.0; write one like",
            ),
            (
                Selection { protocol: some("quic"), ..Selection::default() },
                "there is no protocol quic; there are tcp, udp",
            ),
            (
                Selection { transport_port: some("x"), ..Selection::default() },
                "there is no transport port x; write a number",
            ),
            (
                Selection { state: some("open"), ..Selection::default() },
                "there is no state open; there are syn-sent",
            ),
        ] {
            assert!(wrong(&selection).starts_with(told), "{}", wrong(&selection));
        }
    }

    #[test]
    fn every_state_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = STATES.into_iter().map(State::name).collect();
        assert_eq!(names.len(), STATES.len());
    }

    #[test]
    fn a_switch_that_tracks_nothing_has_no_connections() {
        assert_eq!(tables().connections(&Selection::default(), 0, 10), Ok(ConnectionPage::default()));
        assert_eq!(tables().clear(&Selection::default()), Ok(Cleared { connections: 0 }));
        assert_eq!(tables().learned(&Selection::default(), 0, 10), Ok(FdbPage::default()));
    }
}
