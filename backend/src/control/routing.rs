//! Routers of a configuration as tables of the data path: interfaces, routes, and the gateways' own ports and addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_switch::dhcp::client::Lease;
use viaduct_switch::router::{InterfaceSettings, Route, RouterIndex, Routing, RoutingError, Serves};
use viaduct_switch::security::{Family, Prefix};
use viaduct_switch::{MacAddress, NetworkIndex, PortIndex};

use crate::config::compile::Numbered;
use crate::config::{Config, Network, NetworkMode, Subnet};
use crate::control::registry::Numbers;
use crate::control::{leased, tunnels};

/// Where guests ask for what they have to know about themselves, as clouds have it.
const METADATA: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 128),
];

/// The MTU of an uplink that nobody knows.
pub(super) const MTU: u16 = 1500;

/// What is known of an uplink at which the switch has addresses, while its interface is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outside {
    /// The interface's Ethernet address, which is the switch's own there.
    pub(super) mac: MacAddress,
    /// Its MTU in bytes.
    pub(super) mtu: u16,
    /// The switch's addresses, each with the length of its subnet's prefix.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// The next routers.
    pub(super) gateways: Vec<IpAddr>,
    /// Further routes: by a router, or to stations that are there themselves.
    pub(super) routes: Vec<(Prefix, Option<IpAddr>)>,
    /// Name servers that came with an address.
    pub(super) name_servers: Vec<IpAddr>,
}

/// By uplink.
pub(super) type Outsides = BTreeMap<String, Outside>;

/// Uplinks at which the switch has addresses.
pub(super) fn addressed(config: &Config) -> impl Iterator<Item = &String> {
    config.uplinks.iter().filter(|(_, uplink)| uplink.addressing.is_some()).map(|(name, _)| name)
}

/// The network where an uplink's own addresses are: the one that is bridged to it without a tag, or one of its own, which has the
/// uplink's name; no other network may be called so.
pub(super) fn network_at<'a>(config: &'a Config, uplink: &'a str) -> &'a str {
    let is_it = |network: &Network| {
        let is_bridged = network.mode == NetworkMode::Bridged && network.vlan.is_none();
        is_bridged && network.uplinks().any(|name| name == uplink)
    };
    config.networks.iter().find(|(_, network)| is_it(network)).map_or(uplink, |(name, _)| name.as_str())
}

/// The uplink whose own addresses are in a network.
pub(super) fn uplink_at<'a>(config: &'a Config, network: &str) -> Option<&'a String> {
    addressed(config).find(|uplink| network_at(config, uplink) == network)
}

/// Networks that the file does not name: those of uplinks at which the switch has addresses.
pub(super) fn own_networks(config: &Config) -> impl Iterator<Item = &String> {
    addressed(config).filter(|uplink| network_at(config, uplink) == uplink.as_str())
}

/// The networks in which the switch is a router's interface: those with a gateway, and those where uplinks' addresses are.
fn interfaces(config: &Config) -> impl Iterator<Item = &str> {
    let inside = config.networks.keys().map(String::as_str);
    let inside = inside.filter(|name| config.has_gateway(name) && uplink_at(config, name).is_none());
    inside.chain(addressed(config).map(|uplink| network_at(config, uplink)))
}

/// The name of the port where a gateway's own frames enter; nobody can write it into a file.
pub(super) fn gateway_port(network: &str) -> String {
    format!("gateway of {network}")
}

/// The names of all gateways' ports.
pub(super) fn gateway_ports(config: &Config) -> impl Iterator<Item = String> {
    interfaces(config).map(gateway_port)
}

/// A gateway's Ethernet address in a network that is no uplink's: always the same one for a name, so that stations need not ask
/// anew after a restart; locally administered.
fn mac_of(network: &str) -> MacAddress {
    // FNV-1a: no secret, just spread.
    let hash = network.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    MacAddress([0x02, a, b, c, d, e])
}

/// A gateway as the policy of its network has it.
pub(super) fn gateway(
    config: &Config,
    numbers: &Numbers,
    outsides: &Outsides,
    network: &str,
) -> Option<viaduct_switch::Gateway> {
    interfaces(config).find(|name| *name == network)?;
    let mac = match uplink_at(config, network) {
        Some(uplink) => outsides.get(uplink)?.mac,
        None => mac_of(network),
    };
    Some(viaduct_switch::Gateway { port: *numbers.ports.get(&gateway_port(network))?, mac })
}

/// The gateways' ports, by network.
pub(super) fn ports(config: &Config, numbers: &Numbers) -> BTreeMap<NetworkIndex, PortIndex> {
    let port =
        |network: &str| Some((*numbers.networks.get(network)?, *numbers.ports.get(&gateway_port(network))?));
    interfaces(config).filter_map(port).collect()
}

/// Interfaces and routes as the data path has them.
pub(super) fn compile(
    config: &Config,
    numbers: &Numbers,
    outsides: &Outsides,
) -> Result<Routing, RoutingError> {
    let plan = Plan { config, numbers, outsides, routers: routers(config, numbers) };
    let mut routes = BTreeMap::new();
    for (name, network) in &config.networks {
        plan.ways_out(name, network, &mut routes);
    }
    plan.defaults(&mut routes);
    plan.written(&mut routes);
    let routes = routes.into_iter().map(|((router, to), route)| (router, to, route));
    Routing::compile(plan.interfaces(), routes)
}

/// Which router each network belongs to, by name: those that a `[router]` joins, and those of mode `routed` with their uplink's, have
/// one; every other network has one of its own, named by its number.
fn routers(config: &Config, numbers: &Numbers) -> BTreeMap<String, RouterIndex> {
    let own = |name: &str| Some((name.to_owned(), RouterIndex(numbers.networks.get(name)?.raw())));
    let mut routers: BTreeMap<String, RouterIndex> = interfaces(config).filter_map(own).collect();
    let mut join = |one: &str, other: &str| {
        if let (Some(&kept), Some(&gone)) = (routers.get(one), routers.get(other)) {
            routers.values_mut().filter(|router| **router == gone).for_each(|router| *router = kept);
        }
    };
    for router in config.routers.values() {
        if let Some((first, others)) = router.networks.split_first() {
            others.iter().for_each(|other| join(first, other));
        }
    }
    for (name, network) in &config.networks {
        if let (NetworkMode::Routed, Some(uplink)) = (network.mode, network.way_out()) {
            join(network_at(config, uplink), name);
        }
    }
    routers
}

/// What routers are called: as the file does, or by their first network.
pub(super) fn names(config: &Config, numbers: &Numbers) -> BTreeMap<RouterIndex, String> {
    let routers = routers(config, numbers);
    let mut names: BTreeMap<RouterIndex, String> = BTreeMap::new();
    for (network, router) in &routers {
        names.entry(*router).or_insert_with(|| network.clone());
    }
    for (name, router) in &config.routers {
        if let Some(index) = router.networks.first().and_then(|network| routers.get(network)) {
            names.insert(*index, name.clone());
        }
    }
    names
}

/// Routes by router and destination; the first one that is found for both counts.
type Found = BTreeMap<(RouterIndex, Prefix), Route>;

struct Plan<'a> {
    config: &'a Config,
    numbers: &'a Numbers,
    outsides: &'a Outsides,
    routers: BTreeMap<String, RouterIndex>,
}

impl Plan<'_> {
    fn interfaces(&self) -> Vec<InterfaceSettings> {
        interfaces(self.config).filter_map(|name| self.interface(name)).collect()
    }

    fn interface(&self, name: &str) -> Option<InterfaceSettings> {
        let (mtu, addresses) = match uplink_at(self.config, name) {
            Some(uplink) => {
                let outside = self.outsides.get(uplink)?;
                // Whoever asks for these out there is answered; they are no subnets of ours.
                let translated = self.config.translated_at(uplink).into_iter().map(|one| (one.into(), 32));
                (outside.mtu, outside.addresses.iter().copied().chain(translated).collect())
            }
            None => {
                let gateway = &self.config.networks.get(name)?.gateway;
                let served = if gateway.metadata.is_some() { &METADATA[..] } else { &[] };
                let subnets = gateway.subnets.iter().map(address_of);
                let found = |uplink: &str| Some(self.outsides.get(uplink)?.mtu);
                (self.config.mtu_over(name, found), subnets.chain(served.iter().copied()).collect())
            }
        };
        Some(InterfaceSettings {
            network: *self.numbers.networks.get(name)?,
            router: *self.routers.get(name)?,
            mac: gateway(self.config, self.numbers, self.outsides, name)?.mac,
            mtu,
            addresses,
            serves: self.serves(name),
            is_outside: uplink_at(self.config, name).is_some(),
            groups: uplink_at(self.config, name)
                .map(|uplink| tunnels::groups(self.config, uplink))
                .unwrap_or_default(),
        })
    }

    /// What a network's stations get from its gateway.
    fn serves(&self, name: &str) -> Serves {
        let Some(network) = self.config.networks.get(name) else { return Serves::default() };
        let gateway = &network.gateway;
        Serves {
            dhcp_v4: gateway.dhcp.is_some(),
            dhcp_v6: gateway.dhcp6.is_some(),
            router_advertisements: gateway.advertising.is_some(),
        }
    }

    /// What an uplink's network is to others: its number, and what is known of it.
    fn outside(&self, uplink: &str) -> Option<(NetworkIndex, RouterIndex, &Outside)> {
        let outside = self.outsides.get(uplink)?;
        let name = network_at(self.config, uplink);
        Some((*self.numbers.networks.get(name)?, *self.routers.get(name)?, outside))
    }

    /// The routes by which packets of a network leave it by its uplink, and those by which they come back.
    fn ways_out(&self, name: &str, network: &Network, routes: &mut Found) {
        let uplink = network.way_out().and_then(|uplink| self.outside(uplink));
        let (Some((there, outer, outside)), Some(&router)) = (uplink, self.routers.get(name)) else { return };
        add_ways(router, there, outside, routes);
        if router == outer {
            return;
        }
        for &(address, length) in &outside.addresses {
            add(routes, router, Prefix::host(address), Route::Local);
            if let Some(subnet) = Prefix::covering(address, length) {
                add(routes, router, subnet, Route::Link(there));
            }
        }
        // Addresses of IPv6 are not translated: packets to them come back by themselves, to all networks that leave so.
        let together =
            self.config.networks.iter().filter(|(name, _)| self.routers.get(*name) == Some(&router));
        for (name, network) in together {
            if let Some(&here) = self.numbers.networks.get(name) {
                for subnet in network.gateway.of(Family::Ipv6) {
                    add(routes, outer, subnet.prefix, Route::Link(here));
                }
            }
        }
    }

    /// What the switch itself sends by an uplink goes by the next router there.
    fn defaults(&self, routes: &mut Found) {
        for uplink in self.outsides.keys() {
            if let Some((there, router, outside)) = self.outside(uplink) {
                add_ways(router, there, outside, routes);
            }
        }
    }

    /// Routes that the file names.
    fn written(&self, routes: &mut Found) {
        for router in self.config.routers.values() {
            let Some(index) = router.networks.first().and_then(|name| self.routers.get(name)) else {
                continue;
            };
            for route in &router.routes {
                if let Some(network) = self.network_with(&router.networks, route.via) {
                    // What is written counts before what follows from uplinks.
                    routes.insert((*index, route.to), Route::Via(network, route.via.into()));
                }
            }
        }
    }

    /// Which of these networks, or of those behind their uplinks, has the subnet of an address.
    fn network_with(&self, names: &[String], address: IpAddr) -> Option<NetworkIndex> {
        let has = |subnets: &[Subnet]| subnets.iter().any(|subnet| subnet.prefix.contains(address));
        let networks = || names.iter().filter_map(|name| Some((name, self.config.networks.get(name)?)));
        let inside = networks().find(|(_, network)| has(&network.gateway.subnets));
        if let Some((name, _)) = inside {
            return self.numbers.networks.get(name).copied();
        }
        let uplinks = networks().filter_map(|(_, network)| self.outside(network.way_out()?));
        let covers = |&(own, length): &(IpAddr, u8)| {
            Prefix::covering(own, length).is_some_and(|subnet| subnet.contains(address))
        };
        uplinks
            .into_iter()
            .find(|(_, _, outside)| outside.addresses.iter().any(covers))
            .map(|(there, ..)| there)
    }
}

fn address_of(subnet: &Subnet) -> (IpAddr, u8) {
    (subnet.address, subnet.prefix.length())
}

fn add(routes: &mut Found, router: RouterIndex, to: Prefix, route: Route) {
    routes.entry((router, to)).or_insert(route);
}

/// Where packets go by an uplink, and that all else goes to its next routers.
fn add_ways(router: RouterIndex, there: NetworkIndex, outside: &Outside, routes: &mut Found) {
    for &gateway in &outside.gateways {
        let all: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        if let Some(all) = Prefix::covering(all, 0) {
            add(routes, router, all, Route::Via(there, gateway.into()));
        }
    }
    for &(to, via) in &outside.routes {
        let route = via.map_or(Route::Link(there), |via| Route::Via(there, via.into()));
        add(routes, router, to, route);
    }
}

/// What is known of an uplink whose interface has this address and MTU, and which was lent this, if anything.
pub(super) fn outside(
    config: &Config,
    name: &str,
    (mac, mtu): (MacAddress, Option<u32>),
    lease: Option<&Lease>,
) -> Option<Outside> {
    let uplink = config.uplinks.get(name)?;
    let addressing = uplink.addressing.as_ref()?;
    let mtu = uplink.mtu.or_else(|| mtu.and_then(|mtu| u16::try_from(mtu).ok())).unwrap_or(MTU);
    let addresses = addressing.addresses.iter().map(address_of).collect();
    let (gateways, routes, name_servers) = (addressing.gateways.clone(), Vec::new(), Vec::new());
    let mut outside = Outside { mac, mtu, addresses, gateways, routes, name_servers };
    if let Some(lease) = lease {
        leased::add(config, name, lease, &mut outside);
    }
    Some(outside)
}

/// Numbers of what a configuration names, for those who compile parts of it.
pub(super) struct Named<'a> {
    pub(super) config: &'a Config,
    pub(super) numbers: &'a Numbers,
    pub(super) outsides: &'a Outsides,
}

impl Numbered for Named<'_> {
    fn network(&self, name: &str) -> Option<NetworkIndex> {
        self.numbers.networks.get(name).copied()
    }

    fn outside(&self, uplink: &str) -> Option<NetworkIndex> {
        self.outsides.get(uplink)?;
        self.network(network_at(self.config, uplink))
    }

    fn port(&self, name: &str) -> Option<PortIndex> {
        self.numbers.ports.get(name).copied()
    }

    fn mtu(&self, uplink: &str) -> Option<u16> {
        Some(self.outsides.get(uplink)?.mtu)
    }

    fn gateway(&self, network: &str) -> Option<MacAddress> {
        gateway(self.config, self.numbers, self.outsides, network).map(|gateway| gateway.mac)
    }
}
