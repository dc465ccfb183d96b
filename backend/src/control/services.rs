//! What the services on gateways' addresses are told of a configuration.

use std::net::IpAddr;
use std::str::FromStr;

use viaduct_switch::PortIndex;
use viaduct_switch::domain::DomainName;
use viaduct_switch::router::Routing;

use crate::config::{self, Config, Network};
use crate::control::registry::Numbers;
use crate::control::routing::Named;
use crate::leasing::{NetworkPlan, Plan};
use crate::services::{Dns, Metadata, NetworkServices, Target};

/// The services of all networks.
pub(super) fn of(config: &Config, numbers: &Numbers, routing: &Routing) -> Vec<NetworkServices> {
    let services = |(name, network): (&String, &Network)| {
        let index = *numbers.networks.get(name)?;
        let interface = routing.interface(index)?;
        Some(NetworkServices {
            network: index,
            addresses: interface.own_addresses().map(IpAddr::from).collect(),
            subnets: network.gateway.subnets.iter().map(|subnet| subnet.prefix).collect(),
            mtu: interface.mtu,
            dns: network.gateway.dns.as_ref().map(|dns| Dns {
                domain: dns.domain.clone(),
                upstream: dns.upstream.clone(),
                // By the host's own sockets.
                uplink: None,
                hosts: written(dns).chain(stations(config, name)).collect(),
            }),
            metadata: network.gateway.metadata.as_ref().map(metadata),
            name: name.clone(),
            ports: ports(config, numbers),
        })
    };
    config.networks.iter().filter_map(services).collect()
}

fn metadata(written: &config::Metadata) -> Metadata {
    let target = match written {
        config::Metadata::Unix(path) => Target::Unix(path.clone()),
        config::Metadata::Tcp(address) => Target::Address(*address),
    };
    Metadata { target, announces_port: true }
}

/// The names of all ports and uplinks.
fn ports<C: FromIterator<(PortIndex, String)>>(config: &Config, numbers: &Numbers) -> C {
    let names = config.ports.keys().chain(config.uplinks.keys());
    names.filter_map(|name| Some((*numbers.ports.get(name)?, name.clone()))).collect()
}

/// The names that are written.
fn written(dns: &crate::config::Dns) -> impl Iterator<Item = (DomainName, IpAddr)> {
    let of = |(name, addresses): (&DomainName, &Vec<IpAddr>)| {
        addresses.iter().map(|address| (name.clone(), *address)).collect::<Vec<_>>()
    };
    dns.hosts.iter().flat_map(of)
}

/// The names of a network's ports that have addresses of their own, as far as they can be names of hosts.
fn stations(config: &Config, network: &str) -> impl Iterator<Item = (DomainName, IpAddr)> {
    let subnets = config.networks.get(network).map(|network| &network.gateway);
    let here = config.ports.iter().filter(move |(_, port)| port.membership.has(network));
    here.flat_map(move |(name, port)| {
        let name = DomainName::from_str(name).ok();
        let in_it =
            move |address: &&IpAddr| subnets.is_some_and(|gateway| gateway.subnet_of(**address).is_some());
        let addresses = port.addresses.iter().filter(in_it);
        addresses.filter_map(|address| Some((name.clone()?, *address))).collect::<Vec<_>>()
    })
}

/// What is lent in networks.
pub(super) fn lending(named: &Named<'_>) -> Plan {
    let Named { config, numbers, .. } = *named;
    let networks = config.networks.keys().filter_map(|name| NetworkPlan::of(config, name, named));
    Plan { networks: networks.collect(), ports: ports(config, numbers) }
}
