//! Overlay networks of a configuration as tables of the data path: ends of tunnels, VTEPs, and the stations behind them that are
//! written down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tracing::warn;
use viaduct_switch::packet::Address;
use viaduct_switch::security::Family;
use viaduct_switch::tunnel::{
    EndpointIndex, EndpointSettings, Kind, SegmentSettings, TunnelError, Tunnels, VTEPS_MAX, vtep_port,
};
use viaduct_switch::{MacAddress, Membership, NetworkIndex, PortIndex, PortPolicy, Switch, VtepMembership};

use crate::config::{self, Config, Network, Overlay, OverlayKind};
use crate::control::controller::Controller;
use crate::control::registry::Numbers;
use crate::control::routing::{self, Outsides};
use crate::control::stations::FedVteps;

/// The ports of configured VTEPs, by the end of ours with which they speak and their address.
pub(super) type Vteps = BTreeMap<(EndpointIndex, Address), PortIndex>;

/// Stations that are written down, and the VTEPs behind which they are.
pub(super) type Stations = BTreeMap<(NetworkIndex, MacAddress), PortIndex>;

/// What tells ends of ours apart, as text that no file can have.
fn endpoint_name(config: &Config, overlay: &Overlay) -> String {
    let version = if config.underlay_family(overlay) == Family::Ipv4 { 4 } else { 6 };
    format!("{} {} {} {version}", overlay.kind.name(), overlay.port, overlay.uplink)
}

/// The end of ours by which a network's frames come and go.
pub(super) fn endpoint(config: &Config, numbers: &Numbers, overlay: &Overlay) -> Option<EndpointIndex> {
    numbers.endpoints.get(&endpoint_name(config, overlay)).copied()
}

fn overlays(config: &Config) -> impl Iterator<Item = (&String, &Network, &Overlay)> {
    config.networks.iter().filter_map(|(name, network)| Some((name, network, network.overlay.as_ref()?)))
}

/// The names of all ends of ours.
pub(super) fn endpoint_names(config: &Config) -> BTreeSet<String> {
    overlays(config).map(|(_, _, overlay)| endpoint_name(config, overlay)).collect()
}

/// The addresses of VTEPs that a network names: those that get what is for all of its stations, and those of stations.
fn remotes(overlay: &Overlay) -> impl Iterator<Item = IpAddr> {
    let stations = overlay.stations.iter().map(|station| station.vtep);
    flooded(overlay).chain(stations)
}

/// The VTEPs of a network's stations that are fed.
fn fed_of<'a>(fed: &'a FedVteps, network: &str) -> impl Iterator<Item = IpAddr> + 'a {
    fed.get(network).into_iter().flatten().copied()
}

fn flooded(overlay: &Overlay) -> impl Iterator<Item = IpAddr> {
    overlay.group.into_iter().chain(overlay.peers.iter().copied())
}

/// The VTEPs that a configuration names, and those of stations that are fed.
fn configured(config: &Config, numbers: &Numbers, fed: &FedVteps) -> BTreeSet<(EndpointIndex, Address)> {
    let of_network = |(name, _, overlay): (&String, &Network, &Overlay)| {
        let endpoint = endpoint(config, numbers, overlay);
        let remotes: Vec<_> = remotes(overlay).chain(fed_of(fed, name)).collect();
        endpoint.into_iter().flat_map(move |endpoint| {
            remotes.clone().into_iter().map(move |remote| (endpoint, Address::from(remote)))
        })
    };
    overlays(config).flat_map(of_network).collect()
}

/// Gives the VTEPs that a configuration names, and those of stations that are fed, their ports, which they keep as long as they are named.
pub(super) fn bind(switch: &Switch, config: &Config, numbers: &Numbers, fed: &FedVteps) -> Vteps {
    if numbers.endpoints.is_empty() {
        return Vteps::new();
    }
    let port = |key: (EndpointIndex, Address)| {
        let port = switch.configure_vtep(key.0, key.1);
        if port.is_none() {
            warn!(
                "there are {VTEPS_MAX} VTEPs that are written down already: nothing is sent to {:?}",
                key.1
            );
        }
        Some((key, port?))
    };
    configured(config, numbers, fed).into_iter().filter_map(port).collect()
}

/// What it takes to compile tunnels.
pub(super) struct Plan<'a> {
    pub(super) config: &'a Config,
    pub(super) numbers: &'a Numbers,
    pub(super) outsides: &'a Outsides,
    pub(super) vteps: &'a Vteps,
    pub(super) fed: &'a FedVteps,
}

impl Plan<'_> {
    /// The ports that stand for VTEPs, all of them as soon as there is one network with tunnels: who is heard of later needs no other
    /// policy.
    pub(super) fn ports(&self) -> Vec<(PortIndex, PortPolicy)> {
        let networks: Vec<NetworkIndex> =
            overlays(self.config).filter_map(|(name, ..)| self.numbers.networks.get(name).copied()).collect();
        if networks.is_empty() {
            return Vec::new();
        }
        let all = Arc::new(networks.into_iter().collect());
        let mut floods = self.floods();
        let uplink = overlays(self.config).find_map(|(.., overlay)| self.config.uplinks.get(&overlay.uplink));
        let policy = |port: PortIndex| {
            let floods = floods.remove(&port).unwrap_or_default();
            let membership = Membership::Vtep(VtepMembership { networks: Arc::clone(&all), floods });
            let policy = PortPolicy::of(membership, u16::MAX);
            match uplink {
                Some(uplink) => {
                    let config::Uplink { storm, judging, priority, .. } = *uplink;
                    (port, PortPolicy { storm, judging, priority, ..policy })
                }
                None => (port, policy),
            }
        };
        (0..VTEPS_MAX).filter_map(vtep_port).map(policy).collect()
    }

    /// The networks of which each VTEP gets what is for all stations.
    fn floods(&self) -> BTreeMap<PortIndex, Vec<NetworkIndex>> {
        let mut floods: BTreeMap<PortIndex, Vec<NetworkIndex>> = BTreeMap::new();
        for (name, _, overlay) in overlays(self.config) {
            let Some(&network) = self.numbers.networks.get(name) else { continue };
            let Some(endpoint) = endpoint(self.config, self.numbers, overlay) else { continue };
            for remote in flooded(overlay) {
                if let Some(port) = self.vteps.get(&(endpoint, Address::from(remote))) {
                    floods.entry(*port).or_default().push(network);
                }
            }
        }
        floods
    }

    /// The ends of ours whose uplinks have addresses now.
    pub(super) fn compile(&self) -> Result<Tunnels, TunnelError> {
        let mut endpoints: BTreeMap<EndpointIndex, EndpointSettings> = BTreeMap::new();
        for (name, network, overlay) in overlays(self.config) {
            let Some(endpoint) = self.endpoint(overlay) else { continue };
            let Some(&number) = self.numbers.networks.get(name) else { continue };
            let segment = SegmentSettings {
                id: overlay.id,
                network: number,
                group: overlay.group.map(Address::from),
                ttl: overlay.ttl,
                udp_checksum: overlay.has_udp_checksum(self.config.underlay_family(overlay)),
                known: known(overlay, fed_of(self.fed, name)),
                takes_unknown: !overlay.known_vteps_only,
                learns: overlay.learning,
                inner_tags: network.inner_tags,
            };
            endpoints.entry(endpoint.index).or_insert(endpoint).segments.push(segment);
        }
        Tunnels::compile(endpoints.into_values())
    }

    fn endpoint(&self, overlay: &Overlay) -> Option<EndpointSettings> {
        let outside = self.outsides.get(&overlay.uplink)?;
        let is_v4 = self.config.underlay_family(overlay) == Family::Ipv4;
        let local =
            outside.addresses.iter().map(|(address, _)| *address).find(|one| one.is_ipv4() == is_v4)?;
        let underlay = routing::network_at(self.config, &overlay.uplink);
        Some(EndpointSettings {
            index: endpoint(self.config, self.numbers, overlay)?,
            kind: kind(overlay.kind),
            udp_port: overlay.port,
            uplink: *self.numbers.ports.get(&overlay.uplink)?,
            underlay: *self.numbers.networks.get(underlay)?,
            local: Address::from(local),
            segments: Vec::new(),
        })
    }

    /// Stations that are written down, and the VTEPs behind which they are.
    pub(super) fn stations(&self) -> Stations {
        let of_network = |(name, _, overlay): (&String, &Network, &Overlay)| {
            let place = self.numbers.networks.get(name).zip(endpoint(self.config, self.numbers, overlay));
            let stations = overlay.stations.iter().map(|station| (station.mac, Address::from(station.vtep)));
            let stations: Vec<_> = stations.collect();
            place.into_iter().flat_map(move |(network, endpoint)| {
                let known = |(mac, vtep): &(MacAddress, Address)| {
                    Some(((*network, *mac), *self.vteps.get(&(endpoint, *vtep))?))
                };
                stations.iter().filter_map(known).collect::<Vec<_>>()
            })
        };
        overlays(self.config).flat_map(of_network).collect()
    }
}

/// The groups of which the switch is a member where an uplink has its addresses.
pub(super) fn groups(config: &Config, uplink: &str) -> Vec<IpAddr> {
    let at = overlays(config).filter(|(_, _, overlay)| overlay.uplink == uplink);
    let groups: BTreeSet<IpAddr> = at.filter_map(|(_, _, overlay)| overlay.group).collect();
    groups.into_iter().collect()
}

/// The port by which each of the switch's ends of tunnels is reached.
pub(super) fn uplinks(config: &Config, numbers: &Numbers) -> BTreeMap<EndpointIndex, PortIndex> {
    let uplink = |(.., overlay): (&String, &Network, &Overlay)| {
        let endpoint = endpoint(config, numbers, overlay)?;
        Some((endpoint, *numbers.ports.get(&overlay.uplink)?))
    };
    overlays(config).filter_map(uplink).collect()
}

/// The VTEPs that a network names, and those of its stations that are fed, in ascending order.
fn known(overlay: &Overlay, fed: impl Iterator<Item = IpAddr>) -> Arc<[Address]> {
    let known: BTreeSet<Address> = overlay.vteps().chain(fed).map(Address::from).collect();
    known.into_iter().collect()
}

fn kind(kind: OverlayKind) -> Kind {
    match kind {
        OverlayKind::Vxlan => Kind::Vxlan,
        OverlayKind::Geneve => Kind::Geneve,
        OverlayKind::Gre => Kind::Gre,
    }
}

impl Controller {
    /// Makes stations known that are written down or fed and were not before, and forgets those that are not any more, and VTEPs that nothing
    /// names now; to be called when the workers have the policy.
    pub(super) fn follow_tunnels(&mut self) {
        let fed = self.feeds.vteps_now();
        let vteps = bind(&self.switch, &self.config, &self.numbers, &fed);
        let (config, numbers, outsides) = (&self.config, &self.numbers, &self.outsides);
        let wanted = Plan { config, numbers, outsides, vteps: &vteps, fed: &fed }.stations();
        let gone = self.stations.keys().filter(|station| !wanted.contains_key(station));
        for (network, mac) in gone {
            self.switch.forget_station(*network, *mac);
        }
        for (&(network, mac), &port) in
            wanted.iter().filter(|(key, port)| self.stations.get(key) != Some(port))
        {
            if !self.switch.set_station(network, mac, port) {
                tracing::warn!(
                    "network {network}: there is no room for the station {mac}, which is written down"
                );
            }
        }
        self.stations = wanted;
        self.vteps = vteps;
        self.follow_fed();
        self.release_vteps();
    }

    /// Takes the places of VTEPs back that nothing names any more.
    pub(super) fn release_vteps(&self) {
        let endpoints: BTreeSet<EndpointIndex> = self.numbers.endpoints.values().copied().collect();
        self.switch.retain_vteps(
            |endpoint, address| self.vteps.contains_key(&(endpoint, address)),
            |endpoint| endpoints.contains(&endpoint),
        );
    }
}
