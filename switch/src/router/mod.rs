//! Routing: what becomes of packets that stations send to their network's gateway.
//!
//! ```text
//! frame to the gateway's MAC address ─ Routing::way ─ Way::To(Hop)       rewritten, leaves in the next hop's network
//!                                                   ├ Way::Gateway(why)  a copy goes to the gateway, beside the data path
//!                                                   └ Way::Drop(reason)
//! ```
//!
//! The switch has one [`Interface`] in each network with a gateway. What needs no more than tables is done where the frame is
//! decided about: the route by the longest prefix (`routes`), the next hop's Ethernet address (`neighbours`), hop limit and
//! addresses in the private head (`rewrite`). A super-frame crosses whole. All else (ARP, neighbour discovery, what is for the
//! gateway itself, what has to be answered by an ICMP error, next hops that are unknown) is the gateway's (`gateway`), which
//! asks the same function what is to be done, so that both always agree. How much of one port it gets to see is metered.
//! What was found out about a packet serves for those of its flow that follow in the same second (`paths`).
//!
//! [`Routing`] is what the control side wants, immutable, part of the compiled policy; [`Neighbours`] is what the gateway
//! learned, shared.

mod concern;
mod forward;
mod neighbours;
mod paths;
pub(crate) mod rewrite;
mod routes;

use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

pub(crate) use concern::{Concern, DHCP_V4, DHCP_V6, is_for_dhcp_client};
pub use forward::Why;
pub(crate) use forward::{Arrival, Hop, Way, is_nobodys};
pub use neighbours::Neighbours;
pub(crate) use paths::{Leaving, Origin, Path, PathKey, PathKeyV6, Paths, Sought, Table, Translation};
pub use routes::Route;

use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::multicast::is_snooped;
use crate::packet::Address;
use crate::security::{Family, Prefix};
use routes::Routes;

/// Names a set of networks among which packets are routed: `0..NETWORKS_MAX`. Networks of different routers never reach one
/// another, and may have the same addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouterIndex(pub u16);

/// What the control side says about a router's interface in a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSettings {
    /// The network.
    pub network: NetworkIndex,
    /// The router to which the interface belongs.
    pub router: RouterIndex,
    /// The gateway's Ethernet address.
    pub mac: MacAddress,
    /// The longest packet in bytes that the network's stations take.
    pub mtu: u16,
    /// The gateway's own addresses, each with the length of its subnet's prefix. Its link-local address of IPv6 follows from
    /// the Ethernet address and is not among them.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What stations ask all of the network for and get from the gateway.
    pub serves: Serves,
    /// Whether the network is an uplink's: the gateway is a station there like others. It asks whether anybody else has its
    /// addresses, and hears what DHCP servers say to their clients.
    pub is_outside: bool,
    /// Groups beyond the link of which the gateway is a member there, from all sources: it tells routers and switches so (RFC 9776;
    /// RFC 9777), and is sent their packets. At most [`GROUPS_MAX`].
    pub groups: Vec<IpAddr>,
}

/// The most groups of one interface.
pub const GROUPS_MAX: usize = 1024;

/// Which questions that stations ask all of a network are for the gateway, and reach nobody else then. Others are none of its
/// business.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Serves {
    /// Requests for leases of IPv4 (RFC 2131).
    pub dhcp_v4: bool,
    /// Requests of DHCP for IPv6 (RFC 8415).
    pub dhcp_v6: bool,
    /// Router solicitations (RFC 4861, 4.1).
    pub router_advertisements: bool,
}

/// Why routes were not compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RoutingError {
    /// A network has two interfaces.
    #[error("network {0} has two interfaces of routers; give it one")]
    DuplicateInterface(NetworkIndex),
    /// An address has fewer bits than its prefix is said to have.
    #[error(
        "{address} of network {network} has a prefix of {length} bits; use at most 32 for IPv4 and 128 for IPv6"
    )]
    BadLength {
        /// The network.
        network: NetworkIndex,
        /// The address.
        address: IpAddr,
        /// The length that was given.
        length: u8,
    },
    /// Two networks of one router have one subnet.
    #[error("{prefix} is a subnet of network {network} and of another one of its router; change one")]
    SharedPrefix {
        /// The subnet.
        prefix: Prefix,
        /// The network that was given later.
        network: NetworkIndex,
    },
    /// An address is no group that can be joined.
    #[error(
        "network {network} cannot join {group}; use a group beyond the link: 224.0.1.0 to 239.255.255.255, or ff03:: to ff0f:: of IPv6"
    )]
    BadGroup {
        /// The network.
        network: NetworkIndex,
        /// The address.
        group: IpAddr,
    },
    /// A network has too many groups.
    #[error("network {network} has {groups} groups to join; {GROUPS_MAX} are possible")]
    TooManyGroups {
        /// The network.
        network: NetworkIndex,
        /// How many.
        groups: usize,
    },
    /// A router has two routes for one prefix.
    #[error("there are two routes to {0}; leave one out")]
    DuplicateRoute(Prefix),
}

/// A router's interface in a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The router.
    pub router: RouterIndex,
    /// The gateway's Ethernet address.
    pub mac: MacAddress,
    /// The longest packet in bytes that the network's stations take.
    pub mtu: u16,
    /// The gateway's own addresses with their subnets; the link-local one of IPv6 is not among them.
    pub addresses: Box<[(Address, Prefix)]>,
    /// The gateway's link-local address of IPv6.
    pub link_local: Address,
    /// What stations ask all of the network for and get from the gateway.
    pub serves: Serves,
    /// Whether the network is an uplink's.
    pub is_outside: bool,
    /// Groups beyond the link of which the gateway is a member, in ascending order.
    pub groups: Box<[Address]>,
}

impl Interface {
    /// Whether the gateway has this address in this network.
    #[must_use]
    #[inline]
    pub fn has(&self, address: Address) -> bool {
        address == self.link_local || self.addresses.iter().any(|(own, _)| *own == address)
    }

    /// All addresses of the gateway's in this network.
    pub fn own_addresses(&self) -> impl Iterator<Item = Address> {
        self.addresses.iter().map(|(own, _)| *own).chain([self.link_local])
    }

    /// The address with which the gateway speaks to stations whose address is `to`: that of the subnet to which it belongs,
    /// else the first one of its version (RFC 6724, 5, as far as it matters here).
    #[must_use]
    pub fn source_for(&self, to: Address) -> Option<Address> {
        if is_link_local(to) && !to.is_v4() {
            return Some(self.link_local);
        }
        let same = || self.addresses.iter().filter(|(own, _)| own.is_v4() == to.is_v4());
        let near = same().find(|(_, subnet)| subnet.contains(to.into()));
        near.or_else(|| same().next()).map(|(own, _)| *own)
    }
}

/// All interfaces and routes, as the data path sees them.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// By network.
    interfaces: Vec<Option<Interface>>,
    /// By router.
    routes: Vec<Routes>,
}

impl Routing {
    /// Compiles interfaces and routes. Each subnet is reached by the network that has it; of the routes that are given, those
    /// count whose prefixes are none of these.
    ///
    /// # Errors
    /// The first contradiction found; see [`RoutingError`].
    pub fn compile(
        interfaces: impl IntoIterator<Item = InterfaceSettings>,
        routes: impl IntoIterator<Item = (RouterIndex, Prefix, Route)>,
    ) -> Result<Self, RoutingError> {
        let mut routing = Self::default();
        for settings in interfaces {
            routing.add_interface(settings)?;
        }
        for (router, to, route) in routes {
            if !routing.routes_of(router).add(to, route) {
                return Err(RoutingError::DuplicateRoute(to));
            }
        }
        Ok(routing)
    }

    fn add_interface(&mut self, settings: InterfaceSettings) -> Result<(), RoutingError> {
        let InterfaceSettings { network, router, mac, mtu, addresses, serves, is_outside, groups } = settings;
        let groups = checked_groups(network, groups)?;
        let mut own = Vec::with_capacity(addresses.len());
        for (address, length) in addresses {
            let prefix = Prefix::covering(address, length);
            let prefix = prefix.ok_or(RoutingError::BadLength { network, address, length })?;
            self.add_subnet(network, router, address, prefix)?;
            own.push((Address::from(address), prefix));
        }
        let link_local = link_local_of(mac);
        let addresses = own.into();
        let interface = Interface { router, mac, mtu, addresses, link_local, serves, is_outside, groups };
        if self.interfaces.len() <= network.get() {
            self.interfaces.resize(network.get() + 1, None);
        }
        match self.interfaces[network.get()].replace(interface) {
            Some(_) => Err(RoutingError::DuplicateInterface(network)),
            None => Ok(()),
        }
    }

    fn add_subnet(
        &mut self,
        network: NetworkIndex,
        router: RouterIndex,
        address: IpAddr,
        prefix: Prefix,
    ) -> Result<(), RoutingError> {
        let routes = self.routes_of(router);
        let shared = RoutingError::SharedPrefix { prefix, network };
        let is_new = routes.add(Prefix::host(address), Route::Local);
        // A prefix of one address is that address, which is the gateway's; he may have it in many networks.
        let is_alone = prefix == Prefix::host(address);
        let is_free = is_alone || (is_new && routes.add(prefix, Route::Link(network)));
        if !is_free {
            return Err(shared);
        }
        // RFC 3021, 2.2: of two addresses none is left to be a broadcast address.
        if prefix.family() == Family::Ipv4 && prefix.length() <= 30 {
            for end in [prefix.address(), last_of(prefix)] {
                routes.add(Prefix::host(end), Route::Broadcast);
            }
        }
        Ok(())
    }

    fn routes_of(&mut self, router: RouterIndex) -> &mut Routes {
        let index = usize::from(router.0);
        if self.routes.len() <= index {
            self.routes.resize_with(index + 1, Routes::default);
        }
        &mut self.routes[index]
    }

    /// The interface in `network`, if it has a gateway.
    #[must_use]
    #[inline]
    pub fn interface(&self, network: NetworkIndex) -> Option<&Interface> {
        self.interfaces.get(network.get())?.as_ref()
    }

    /// All interfaces, in ascending order of their networks.
    pub fn interfaces(&self) -> impl Iterator<Item = (NetworkIndex, &Interface)> {
        let numbered = self.interfaces.iter().enumerate();
        numbered.filter_map(|(index, interface)| Some((NetworkIndex::new(index)?, interface.as_ref()?)))
    }

    /// All routers to which routes lead, each with the network where it is; some come several times.
    pub fn next_hops(&self) -> impl Iterator<Item = (NetworkIndex, Address)> {
        self.routes.iter().flat_map(Routes::next_hops)
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = (RouterIndex, Prefix, Route)> {
        let numbered = (0..).map(RouterIndex).zip(&self.routes);
        numbered.flat_map(|(router, routes)| routes.iter().map(move |(to, route)| (router, to, route)))
    }

    /// The route of `router` for packets to `address`; `None`: there is none.
    #[must_use]
    #[inline]
    pub fn route(&self, router: RouterIndex, address: Address) -> Option<Route> {
        self.routes.get(usize::from(router.0))?.look_up(address)
    }
}

/// Groups of an interface in order, none twice.
fn checked_groups(network: NetworkIndex, mut groups: Vec<IpAddr>) -> Result<Box<[Address]>, RoutingError> {
    if let Some(&group) = groups.iter().find(|group| !is_snooped(**group)) {
        return Err(RoutingError::BadGroup { network, group });
    }
    groups.sort_unstable();
    groups.dedup();
    match groups.len() {
        ..=GROUPS_MAX => Ok(groups.into_iter().map(Address::from).collect()),
        groups => Err(RoutingError::TooManyGroups { network, groups }),
    }
}

/// The highest address of a prefix of IPv4.
fn last_of(prefix: Prefix) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(address) => {
            let host_bits = u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(address.to_bits() | host_bits).into()
        }
        IpAddr::V6(address) => address.into(),
    }
}

/// Whether packets to or from this address stay on their link (RFC 3927, 7; RFC 4291, 2.5.6).
#[inline]
pub(crate) fn is_link_local(address: Address) -> bool {
    let bits = address.to_bits();
    if address.is_v4() { bits >> 16 & 0xffff == 0xa9fe } else { bits >> 118 == 0x3fa }
}

/// The link-local address of the station with this Ethernet address (RFC 4291, appendix A; RFC 2464, 5).
#[must_use]
pub fn link_local_of(mac: MacAddress) -> Address {
    let [a, b, c, d, e, f] = mac.0;
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(interface)).into()
}

#[cfg(test)]
mod tests;
