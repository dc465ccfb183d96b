//! A configuration as the servers' plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use viaduct_switch::dhcp6::server::{Parameters, Settings};
use viaduct_switch::ra::{Advertisement, INTERVAL_MAX_S, Prefix};
use viaduct_switch::router::link_local_of;
use viaduct_switch::security::Family;
use viaduct_switch::{MacAddress, PortIndex};

use super::plan::NetworkPlan;
use crate::config::compile::Numbered;
use crate::config::{AdvertisingMode, Config, Dhcp6, Network};

/// For how long a router is a default one: three of the longest intervals (RFC 4861, 6.2.1: AdvDefaultLifetime).
const LIFETIME_S: u16 = 3 * INTERVAL_MAX_S;

/// For how long addresses that hosts make are valid and preferred (RFC 4861, 6.2.1: 30 days and 7 days).
const VALID_S: u32 = 30 * 86_400;
const PREFERRED_S: u32 = 7 * 86_400;

/// The hop limit that hosts are to use (IANA, "IP Option Numbers": the recommended default).
const HOP_LIMIT: u8 = 64;

impl NetworkPlan {
    /// What the servers of a network are told; `None`: it has none.
    #[must_use]
    pub fn of(config: &Config, name: &str, numbers: &impl Numbered) -> Option<Self> {
        let network = config.networks.get(name)?;
        let station = numbers.gateway(name);
        let v4 = config.dhcp_settings(name, numbers);
        let dhcp6 = network.gateway.dhcp6.as_ref().zip(station);
        let v6 = dhcp6.map(|dhcp6| settings(config, (name, network), dhcp6, numbers));
        let advertisement = network.gateway.advertising.zip(station);
        let advertisement =
            advertisement.map(|(mode, mac)| advertisement_of(config, (name, network), (mode, mac), numbers));
        let index = numbers.network(name)?;
        let has_any = v4.is_some() || v6.is_some() || advertisement.is_some();
        has_any.then(|| Self { name: name.to_owned(), index, v4, v6, advertisement })
    }
}

fn settings(
    config: &Config,
    (name, network): (&str, &Network),
    (dhcp6, mac): (&Dhcp6, MacAddress),
    numbers: &impl Numbered,
) -> Settings {
    let wide_ports = config.wide_ports(name, numbers);
    let ports = config.ports.iter().filter(|(_, port)| port.membership.has(name));
    let indices: BTreeSet<PortIndex> = ports.filter_map(|(port, _)| numbers.port(port)).collect();
    let held_ports = config.held_ports(name, dhcp6.range, numbers);
    let is_stateful = network.gateway.advertising == Some(AdvertisingMode::Stateful);
    let fixed = if is_stateful { config.fixed(name, &dhcp6.subnet, numbers) } else { BTreeMap::new() };
    Settings {
        address: link_local(mac),
        mac,
        prefixes: prefixes(network).collect(),
        range: dhcp6.range,
        lease_s: dhcp6.lease_s,
        ports: indices.iter().filter(|port| !wide_ports.contains(port) && !held_ports.contains(port)).count(),
        wide_ports,
        held_ports,
        fixed,
        parameters: Parameters {
            dns_servers: dns_servers(network),
            domain: network.gateway.dns.as_ref().and_then(|dns| dns.domain.clone()),
            search: dhcp6.search.clone().unwrap_or_else(|| network.search()),
            ntp_servers: dhcp6.ntp_servers.clone(),
            boot_url: dhcp6.boot_url.clone(),
        },
    }
}

/// The network's subnets of IPv6.
fn prefixes(network: &Network) -> impl Iterator<Item = (Ipv6Addr, u8)> {
    network.gateway.of(Family::Ipv6).filter_map(|subnet| match subnet.address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let length = subnet.prefix.length();
            let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            Some((Ipv6Addr::from_bits(address.to_bits() & !host), length))
        }
    })
}

/// Name servers of IPv6: as they are written, else the gateway if it is one.
fn dns_servers(network: &Network) -> Vec<Ipv6Addr> {
    let written = network.gateway.dhcp6.as_ref().and_then(|dhcp6| dhcp6.dns_servers.clone());
    let own = network.gateway.of(Family::Ipv6).filter_map(|subnet| match subnet.address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    });
    let is_served = network.gateway.dns.is_some();
    written.unwrap_or_else(|| if is_served { own.take(1).collect() } else { Vec::new() })
}

fn link_local(mac: MacAddress) -> Ipv6Addr {
    match IpAddr::from(link_local_of(mac)) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
    }
}

fn advertisement_of(
    config: &Config,
    (name, network): (&str, &Network),
    (mode, mac): (AdvertisingMode, MacAddress),
    numbers: &impl Numbered,
) -> Advertisement {
    let is_managed = mode == AdvertisingMode::Stateful;
    let prefix = |(address, length)| Prefix {
        address,
        length,
        // Hosts make addresses of prefixes of 64 bits alone (RFC 4291, 2.5.1).
        is_autonomous: !is_managed && length == 64,
        valid_s: VALID_S,
        preferred_s: PREFERRED_S,
    };
    let search = network.gateway.dhcp6.as_ref().and_then(|dhcp6| dhcp6.search.clone());
    Advertisement {
        mac,
        address: link_local(mac),
        hop_limit: HOP_LIMIT,
        is_managed,
        has_other: mode != AdvertisingMode::Slaac,
        // A gateway that forwards nothing is nobody's default router.
        lifetime_s: if config.is_routed(name) { LIFETIME_S } else { 0 },
        prefixes: prefixes(network).map(prefix).collect(),
        mtu: Some(u32::from(config.mtu_over(name, |uplink| numbers.mtu(uplink))).max(1280)),
        dns_servers: dns_servers(network),
        search: within_limits(search.unwrap_or_else(|| network.search())),
        dns_lifetime_s: u32::from(LIFETIME_S),
    }
}

/// As many domains as an advertisement has room for.
fn within_limits(
    mut search: Vec<viaduct_switch::domain::DomainName>,
) -> Vec<viaduct_switch::domain::DomainName> {
    use viaduct_switch::ra::{LIST_MAX, SEARCH_MAX};
    search.truncate(LIST_MAX);
    while viaduct_switch::domain::encode(&search).len() > SEARCH_MAX {
        search.pop();
    }
    search
}

#[cfg(test)]
mod tests {
    use viaduct_switch::NetworkIndex;

    use super::*;
    use crate::config::{ThisHost, parse};

    struct Numbers;

    impl Numbered for Numbers {
        fn network(&self, _: &str) -> Option<NetworkIndex> {
            NetworkIndex::new(1)
        }

        fn outside(&self, _: &str) -> Option<NetworkIndex> {
            None
        }

        fn port(&self, name: &str) -> Option<PortIndex> {
            PortIndex::new(name.strip_prefix("vm")?.parse().ok()?)
        }

        fn gateway(&self, _: &str) -> Option<MacAddress> {
            Some(MacAddress([2, 0, 0, 0, 0, 1]))
        }
    }

    fn plan(fields: &str) -> Option<NetworkPlan> {
        let text = format!(
            "[network.home]\nmode = 'isolated'\nsubnets = ['10.0.0.0/24', 'fd00:2::/64']\n{fields}\n\
             [port.vm1]\nnetwork = 'home'\naddresses = ['fd00:2::10']\n[port.vm2]\nnetwork = 'home'\n"
        );
        NetworkPlan::of(&parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config, "home", &Numbers)
    }

    #[test]
    fn what_a_network_serves_becomes_settings() {
        assert_eq!(plan(""), None);
        let slaac = plan("ra = 'slaac'").unwrap();
        let said = slaac.advertisement.as_ref().unwrap();
        assert!(slaac.v4.is_none() && slaac.v6.is_none());
        assert_eq!((said.is_managed, said.has_other, said.lifetime_s), (false, false, 0));
        assert_eq!(said.address.to_string(), "fe80::ff:fe00:1");
        let prefix = said.prefixes[0];
        assert_eq!(
            (prefix.address.to_string(), prefix.length, prefix.is_autonomous),
            ("fd00:2::".into(), 64, true)
        );
        let stateful = plan("ra = 'stateful'\ndhcp6 = {}\ndhcp = {}\ndns = { domain = 'home.lan' }").unwrap();
        let said = stateful.advertisement.as_ref().unwrap();
        assert!(said.is_managed && said.has_other && !said.prefixes[0].is_autonomous);
        assert_eq!((said.dns_servers.len(), said.search.len()), (1, 1));
        let v6 = stateful.v6.as_ref().unwrap();
        assert_eq!((v6.ports, v6.fixed.len(), v6.range.is_some()), (1, 1, true));
        assert!(stateful.v4.is_some());
        let stateless = plan(
            "ra = 'stateless'\ndhcp6 = { ntp_servers = ['fd00:2::3'], boot_url = 'http://[fd00:2::2]/b' }",
        )
        .unwrap();
        let v6 = stateless.v6.as_ref().unwrap();
        let told = &v6.parameters;
        assert_eq!((told.ntp_servers.len(), told.boot_url.as_deref()), (1, Some("http://[fd00:2::2]/b")));
        assert!(!v6.lends() && stateless.advertisement.unwrap().has_other);
        for plan in [slaac.clone(), stateful] {
            super::super::Plan { networks: vec![plan], ports: BTreeMap::new() }.check().unwrap();
        }
    }
}
