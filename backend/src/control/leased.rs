//! What an uplink was lent by DHCP, as far as it can be used beside what the file says.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::dhcp::Route;
use viaduct_switch::dhcp::client::Lease;
use viaduct_switch::security::{Family, Prefix};

use crate::config::{Config, Subnet};
use crate::control::routing::Outside;

/// The most routes that a server may add.
const ROUTES_MAX: usize = 64;

/// The most name servers of a lease that are asked, as of a file (resolv.conf(5), MAXNS).
const NAME_SERVERS_MAX: usize = 3;

/// The longest prefix of a network that has stations beside us.
const PREFIX_MAX: u8 = 30;

/// Adds what was lent: the address, the next router, other routes and name servers. An MTU can only be less than the interface's.
pub(super) fn add(config: &Config, uplink: &str, lease: &Lease, outside: &mut Outside) {
    outside.addresses.insert(0, (lease.address.into(), lease.prefix));
    outside.mtu = lease.mtu.map_or(outside.mtu, |mtu| mtu.min(outside.mtu));
    let inside: Vec<&Subnet> = subnets(config, uplink).collect();
    for &Route { destination, prefix, router } in lease.routes.iter().take(ROUTES_MAX) {
        let Some(to) = Prefix::covering(destination.into(), prefix) else { continue };
        // Nobody out there says where stations are in here; and no route leads to this switch itself.
        let is_inside = inside.iter().any(|subnet| covers(subnet.prefix, to));
        if is_inside || router == lease.address || !is_ordinary(to) {
            continue;
        }
        let via = Some(IpAddr::from(router)).filter(|_| !router.is_unspecified());
        match via {
            Some(router) if prefix == 0 => outside.gateways.push(router),
            _ => outside.routes.push((to, via)),
        }
    }
    let servers = lease.dns_servers.iter().filter(|server| is_station(**server)).take(NAME_SERVERS_MAX);
    outside.name_servers = servers.map(|server| IpAddr::from(*server)).collect();
}

/// Why a lease cannot be used beside what the file says.
pub(super) fn problem(config: &Config, uplink: &str, lease: &Lease) -> Option<String> {
    let Lease { address, prefix, server, .. } = lease;
    if *prefix > PREFIX_MAX {
        return Some(format!(
            "{server} lends {address}/{prefix}, and a subnet of {PREFIX_MAX} bits or less is needed; write an address"
        ));
    }
    let theirs = Prefix::covering((*address).into(), *prefix)?;
    let mut inside = subnets(config, uplink);
    if let Some(own) = inside.find(|own| covers(own.prefix, theirs) || covers(theirs, own.prefix)) {
        return Some(format!(
            "{server} lends {address}/{prefix}, which has addresses in common with the subnet {} in here: give that network another \
             one",
            own.prefix
        ));
    }
    let floats = config.ports.iter().find(|(_, port)| port.floating.contains(address));
    floats.map(|(port, _)| {
        format!("{server} lends {address}, which is port {port}'s floating address; give it another one")
    })
}

/// The subnets of IPv4 of the networks whose packets leave by an uplink.
fn subnets<'a>(config: &'a Config, uplink: &'a str) -> impl Iterator<Item = &'a Subnet> {
    let networks = config.networks.iter().filter(move |(name, _)| config.uplink_of(name) == Some(uplink));
    networks.flat_map(|(_, network)| network.gateway.of(Family::Ipv4))
}

/// Whether all addresses of one prefix are of another.
fn covers(wide: Prefix, narrow: Prefix) -> bool {
    wide.length() <= narrow.length() && wide.contains(narrow.address())
}

/// Whether packets to addresses with this prefix may go anywhere: not loopback, groups, or what is reserved.
fn is_ordinary(to: Prefix) -> bool {
    match to.address() {
        IpAddr::V4(address) => to.length() == 0 || is_station(address),
        IpAddr::V6(_) => false,
    }
}

fn is_station(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use viaduct_switch::{MacAddress, Nanos};

    use super::*;
    use crate::config::{ThisHost, parse};

    const NAT: &str = "[uplink.isp]\ninterface = 'eth3'\naddress = 'dhcp'\n[network.home]\nmode = 'nat'\nuplink = 'isp'\n\
                       subnets = ['10.0.0.0/24']\n[network.lab]\nmode = 'isolated'\nsubnets = ['10.0.9.0/24']\n\
                       [router.r]\nnetworks = ['home', 'lab']\n[port.a]\nnetwork = 'home'\naddresses = ['10.0.0.10']\n\
                       floating = '192.0.2.77'\n";

    fn config() -> Config {
        parse(NAT.as_bytes(), "x.toml", &ThisHost).unwrap().config
    }

    fn lease(address: [u8; 4], prefix: u8, routes: &[([u8; 4], u8, [u8; 4])]) -> Lease {
        let route = |&(to, prefix, router): &([u8; 4], u8, [u8; 4])| Route {
            destination: to.into(),
            prefix,
            router: router.into(),
        };
        Lease {
            address: address.into(),
            prefix,
            server: [192, 0, 2, 1].into(),
            routes: routes.iter().map(route).collect(),
            dns_servers: [[127, 0, 0, 1], [192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3], [192, 0, 2, 4]]
                .map(Ipv4Addr::from)
                .to_vec(),
            domain: None,
            search: Vec::new(),
            ntp_servers: Vec::new(),
            mtu: Some(1400),
            renew_at: Nanos(0),
            rebind_at: Nanos(0),
            until: Nanos(0),
        }
    }

    #[test]
    fn what_was_lent_is_added_as_far_as_it_is_the_servers_to_say() {
        let mut outside = Outside {
            mac: MacAddress([2, 0, 0, 0, 0, 9]),
            mtu: 1500,
            addresses: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
            name_servers: Vec::new(),
        };
        let router = [192, 0, 2, 1];
        let routes = [
            ([0; 4], 0, router),
            ([203, 0, 113, 0], 24, [192, 0, 2, 9]),
            ([198, 51, 100, 0], 24, [0; 4]),
            // Stations in here, loopback, groups, and ourselves.
            ([10, 0, 9, 0], 25, router),
            ([127, 0, 0, 0], 8, router),
            ([224, 0, 0, 0], 4, router),
            ([203, 0, 112, 0], 24, [192, 0, 2, 50]),
        ];
        add(&config(), "isp", &lease([192, 0, 2, 50], 24, &routes), &mut outside);
        let text = |routes: &[(Prefix, Option<IpAddr>)]| {
            routes.iter().map(|(to, via)| format!("{to} {via:?}")).collect::<Vec<_>>()
        };
        assert_eq!(outside.addresses, [([192, 0, 2, 50].into(), 24)]);
        assert_eq!((outside.mtu, outside.gateways), (1400, vec![IpAddr::from(router)]));
        assert_eq!(text(&outside.routes), ["203.0.113.0/24 Some(192.0.2.9)", "198.51.100.0/24 None"]);
        assert_eq!(outside.name_servers, [[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]].map(IpAddr::from));
    }

    #[test]
    fn what_contradicts_the_file_is_not_used() {
        let problem = |address, prefix| problem(&config(), "isp", &lease(address, prefix, &[]));
        assert_eq!(problem([192, 0, 2, 50], 24), None);
        for (address, prefix, told) in [
            ([192, 0, 2, 50], 32, "a subnet of 30 bits or less is needed"),
            ([10, 0, 0, 50], 24, "the subnet 10.0.0.0/24 in here"),
            ([10, 0, 9, 50], 25, "the subnet 10.0.9.0/24 in here"),
            ([10, 1, 2, 3], 8, "the subnet 10.0."),
            ([192, 0, 2, 77], 24, "port a's floating address"),
        ] {
            let text = problem(address, prefix).unwrap();
            assert!(text.contains(told), "{text}");
        }
    }
}
