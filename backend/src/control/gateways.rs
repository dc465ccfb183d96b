//! What gateways know, with names: read beside the control thread.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use viaduct_switch::conntrack::Conntrack;
use viaduct_switch::gateway::{Neighbour, NeighbourState};
use viaduct_switch::nat::{AddressUse, Endpoint, Mapping, NatCounters};
use viaduct_switch::router::{Route, RouterIndex};
use viaduct_switch::{Nanos, NetworkIndex};

use crate::control::tables::protocol_name;
use crate::control::{ControlGone, PAGE_MAX, Tables};
use crate::leasing::{LeaseState, LeaseView};
use crate::model::{
    LeaseStatus, MappingStatus, NatAddressStatus, NatStatus, RouteStatus, ServiceEventStatus, StationStatus,
};

/// How long an answer of the gateways' threads is waited for, which take microseconds, or what a disk takes.
const ANSWER_MAX: Duration = Duration::from_secs(10);

impl Tables {
    /// All routes, by router and destination.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteStatus> {
        let Some(routing) = self.policy.routing() else { return Vec::new() };
        let mut routes: Vec<_> = routing.routes().collect();
        routes.sort_by_key(|(router, to, _)| (self.router_name(*router), *to));
        routes.into_iter().map(|(router, to, route)| self.route(router, to.to_string(), route)).collect()
    }

    fn route(&self, router: RouterIndex, to: String, route: Route) -> RouteStatus {
        let (kind, network, via) = match route {
            Route::Local => ("local", None, None),
            Route::Link(network) => ("link", Some(network), None),
            Route::Via(network, next) => ("via", Some(network), Some(IpAddr::from(next))),
            Route::Broadcast => ("broadcast", None, None),
            Route::Unreachable => ("unreachable", None, None),
        };
        RouteStatus {
            router: self.router_name(router),
            to,
            kind: kind.to_owned(),
            network: network.map(|network| self.network_name(network)),
            via,
        }
    }

    fn router_name(&self, router: RouterIndex) -> String {
        self.routers.get(&router).cloned().unwrap_or_else(|| format!("router number {}", router.0))
    }

    /// The stations that gateways send to, by network and address.
    ///
    /// # Errors
    /// The gateways' thread does not answer.
    pub fn stations(&self) -> Result<Vec<StationStatus>, ControlGone> {
        let (answer, told) = sync_channel(1);
        self.gateways.neighbours(answer);
        let (now, neighbours): (Nanos, Vec<Neighbour>) = wait(&told)?;
        let mut stations: Vec<StationStatus> =
            neighbours.iter().map(|neighbour| self.station(neighbour, now)).collect();
        stations.sort_by(|one, other| (&one.network, one.address).cmp(&(&other.network, other.address)));
        Ok(stations)
    }

    fn station(&self, neighbour: &Neighbour, now: Nanos) -> StationStatus {
        StationStatus {
            network: self.network_name(neighbour.network),
            address: neighbour.address.into(),
            mac: neighbour.mac.map(|mac| mac.to_string()),
            state: state_name(neighbour.state).to_owned(),
            port: neighbour.port.map(|port| name_of(&self.ports, port, "port")),
            age_s: now.seconds().saturating_sub(neighbour.since.seconds()),
        }
    }

    /// What is lent, by network and address, and what was lent to uplinks.
    ///
    /// # Errors
    /// The thread that lends does not answer.
    pub fn leases(&self) -> Result<Vec<LeaseStatus>, ControlGone> {
        let (answer, told) = sync_channel(1);
        self.gateways.leases(answer);
        let (now, leases): (Nanos, Vec<LeaseView>) = wait(&told)?;
        let lent = leases.into_iter().map(|lease| lease_status(lease, now));
        Ok(lent.chain(self.own_leases.iter().cloned()).collect())
    }

    /// What happened at the services of gateways: of DHCP and DHCPv6 by network, of all others together.
    ///
    /// # Errors
    /// The thread that lends does not answer.
    pub fn service_events(&self) -> Result<Vec<ServiceEventStatus>, ControlGone> {
        let (answer, told) = sync_channel(1);
        self.gateways.events(answer);
        wait(&told)
    }

    /// What translates addresses, with at most `limit` mappings from where an earlier page ended, or from 0.
    #[must_use]
    pub fn nat(&self, from: u32, limit: usize) -> NatStatus {
        let Some(mappings) = self.switch.conntrack().and_then(Conntrack::mappings) else {
            return NatStatus::default();
        };
        let (snapshot, (page, next)) =
            (mappings.snapshot(), mappings.list(from, limit.min(PAGE_MAX), self.now));
        let mut addresses: Vec<_> = snapshot.addresses.iter().map(|used| self.address_use(used)).collect();
        addresses.sort_by(|one, other| (&one.network, one.address).cmp(&(&other.network, other.address)));
        let NatCounters { made, restored, renewed, ended, exhausted, filtered } = snapshot.counters;
        NatStatus {
            mappings: snapshot.mappings,
            room: snapshot.room,
            guests: snapshot.guests,
            bytes: snapshot.bytes,
            made,
            restored,
            renewed,
            ended,
            exhausted,
            filtered,
            addresses,
            page: page.iter().map(|mapping| self.mapping(mapping)).collect(),
            next,
        }
    }

    fn address_use(&self, used: &AddressUse) -> NatAddressStatus {
        let [tcp, udp, icmp] = used.used;
        NatAddressStatus { network: self.network_name(used.network), address: used.address, tcp, udp, icmp }
    }

    fn mapping(&self, mapping: &Mapping) -> MappingStatus {
        let socket = |end: &Endpoint| SocketAddrV4::new(end.address, end.port);
        MappingStatus {
            network: self.network_name(mapping.inside.network),
            port: name_of(&self.ports, mapping.port, "port"),
            protocol: protocol_name(mapping.protocol),
            inside: socket(&mapping.inside),
            outside_network: self.network_name(mapping.outside.network),
            outside: socket(&mapping.outside),
            peer: mapping.peer.map(|(address, port)| SocketAddrV4::new(address, port)),
            connections: mapping.connections,
            age_s: mapping.age_s,
        }
    }

    pub(super) fn network_name(&self, network: NetworkIndex) -> String {
        name_of(&self.networks, network, "network")
    }
}

fn wait<T>(told: &Receiver<T>) -> Result<T, ControlGone> {
    told.recv_timeout(ANSWER_MAX).map_err(|_| ControlGone)
}

/// What has the number, or the number if nothing has it any more.
pub(super) fn name_of<I: PartialEq + std::fmt::Display>(
    names: &BTreeMap<String, I>,
    index: I,
    what: &str,
) -> String {
    let found = names.iter().find(|(_, other)| **other == index);
    found.map_or_else(|| format!("{what} number {index}"), |(name, _)| name.clone())
}

fn state_name(state: NeighbourState) -> &'static str {
    match state {
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale => "stale",
        NeighbourState::Delay => "delay",
        NeighbourState::Probe => "probe",
        NeighbourState::Failed => "failed",
    }
}

fn lease_status(lease: LeaseView, now: Nanos) -> LeaseStatus {
    let left_s = u64::from(lease.until.seconds().saturating_sub(now.seconds()));
    let ends = lease.state != LeaseState::Idle;
    LeaseStatus {
        network: lease.network,
        address: lease.address,
        state: lease.state.name().to_owned(),
        port: lease.port,
        mac: lease.mac.map(|mac| mac.to_string()),
        client: lease.client,
        host_name: lease.host_name.map(|name| name.to_string()),
        expires_s: ends.then_some(left_s),
        until_s: lease.until_s,
    }
}
