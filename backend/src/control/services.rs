//! What the services on gateways' addresses are told of a configuration.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use viaduct_switch::PortIndex;
use viaduct_switch::domain::DomainName;
use viaduct_switch::router::Routing;

use crate::config::compile::Numbered as _;
use crate::config::{self, AskedVia, Config, MetadataServer, Network};
use crate::control::registry::Numbers;
use crate::control::routing::{self, Named, Outside};
use crate::leasing::{NetworkPlan, Plan};
use crate::services::{Dns, Metadata, NetworkServices, Target, Uplink};

/// The port of name servers (RFC 1035, 4.2).
const DNS_PORT: u16 = 53;

/// The services of all networks.
pub(super) fn of(named: &Named<'_>, routing: &Routing) -> Vec<NetworkServices> {
    let Named { config, numbers, .. } = *named;
    let services = |(name, network): (&String, &Network)| {
        let index = *numbers.networks.get(name)?;
        let interface = routing.interface(index)?;
        Some(NetworkServices {
            network: index,
            addresses: interface.own_addresses().map(IpAddr::from).collect(),
            subnets: network.gateway.subnets.iter().map(|subnet| subnet.prefix).collect(),
            mtu: interface.mtu,
            dns: network.gateway.dns.as_ref().map(|dns| self::dns(named, name, dns)),
            metadata: network.gateway.metadata.as_ref().map(metadata),
            name: name.clone(),
            ports: ports(config, numbers),
        })
    };
    config.networks.iter().filter_map(services).collect()
}

fn dns(named: &Named<'_>, network: &str, dns: &config::Dns) -> Dns {
    let uplink = named.config.uplink_of(network).filter(|_| dns.via != Some(AskedVia::Host));
    let outside = uplink.and_then(|uplink| named.outsides.get(uplink));
    let leased = outside.into_iter().flat_map(|outside| &outside.name_servers);
    let upstream: Vec<SocketAddr> = match dns.upstream.as_slice() {
        [] => leased.map(|server| SocketAddr::new(*server, DNS_PORT)).collect(),
        written => written.to_vec(),
    };
    // This machine's own name servers may be such as it alone reaches.
    let uplink = uplink.filter(|_| !upstream.is_empty());
    Dns {
        domain: dns.domain.clone(),
        uplink: uplink.and_then(|uplink| socket_side(named, uplink, outside)),
        upstream,
        hosts: written(dns).chain(stations(named.config, network)).collect(),
    }
}

/// The switch's own side of an uplink, without an address while it has none there: then nobody is asked by another way.
fn socket_side(named: &Named<'_>, uplink: &str, outside: Option<&Outside>) -> Option<Uplink> {
    Some(Uplink {
        network: named.network(routing::network_at(named.config, uplink))?,
        addresses: outside
            .iter()
            .flat_map(|outside| &outside.addresses)
            .map(|(address, _)| *address)
            .collect(),
        mtu: outside.map_or(routing::MTU, |outside| outside.mtu),
    })
}

fn metadata(written: &config::Metadata) -> Metadata {
    let target = match &written.server {
        MetadataServer::Unix(path) => Target::Unix(path.clone()),
        MetadataServer::Tcp(address) => Target::Address(*address),
    };
    Metadata { target, announces_port: written.proxy_protocol }
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

#[cfg(test)]
mod tests {
    use viaduct_switch::MacAddress;

    use super::*;
    use crate::config::{ThisHost, parse};
    use crate::control::routing::Outsides;

    const LEASED: [u8; 4] = [192, 0, 2, 53];

    /// Which servers are asked, and whether that is done by the uplink, in a network with these settings for names.
    fn asked(settings: &str, addresses: &[[u8; 4]]) -> (Vec<String>, bool) {
        let text = format!(
            "[uplink.isp]\ninterface = 'eth3'\naddress = 'dhcp'\n[network.home]\nmode = 'nat'\nuplink = 'isp'\n\
             subnets = ['10.0.0.0/24']\n[network.lab]\nsubnets = ['10.0.9.0/24']\ndns = {settings}\n\
             [router.r]\nnetworks = ['home', 'lab']\n"
        );
        let config = parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config;
        let numbers = Numbers::default().for_config(&config).unwrap();
        let outside = Outside {
            mac: MacAddress([2, 0, 0, 0, 0, 9]),
            mtu: 1400,
            addresses: addresses.iter().map(|address| (IpAddr::from(*address), 24)).collect(),
            gateways: Vec::new(),
            routes: Vec::new(),
            name_servers: addresses.iter().map(|_| IpAddr::from(LEASED)).collect(),
        };
        let outsides: Outsides = [("isp".to_owned(), outside)].into();
        let named = Named { config: &config, numbers: &numbers, outsides: &outsides };
        let written = config.networks["lab"].gateway.dns.as_ref().unwrap();
        let dns = dns(&named, "lab", written);
        let own = dns.uplink.map(|uplink| {
            assert_eq!((uplink.network, uplink.mtu), (numbers.networks["isp"], 1400));
            uplink.addresses
        });
        let expected: Vec<IpAddr> = addresses.iter().map(|address| IpAddr::from(*address)).collect();
        assert!(own.as_ref().is_none_or(|own| *own == expected));
        (dns.upstream.iter().map(ToString::to_string).collect(), own.is_some())
    }

    #[test]
    fn name_servers_are_those_of_the_file_or_of_the_lease_and_are_asked_by_the_uplink() {
        let there = [[192, 0, 2, 50]];
        let servers = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let leased = servers(&["192.0.2.53:53"]);
        let written = servers(&["9.9.9.9:5353"]);
        assert_eq!(asked("{}", &there), (leased, true));
        assert_eq!(asked("{ upstream = ['9.9.9.9:5353'] }", &there), (written.clone(), true));
        assert_eq!(asked("{ upstream = ['9.9.9.9:5353'], via = 'host' }", &there), (written.clone(), false));
        // Without an address nobody is asked by another way; without any server the host's are asked by the host.
        assert_eq!(asked("{ upstream = ['9.9.9.9:5353'] }", &[]), (written, true));
        assert_eq!(asked("{}", &[]), (Vec::new(), false));
        assert_eq!(asked("{ via = 'host' }", &there), (Vec::new(), false));
    }
}
