//! Routes: which way packets to an address go, by the longest prefix that matches (RFC 1812, 5.2.4.3).
//!
//! One table for both versions of IP, since [`Address`] holds both. Prefixes are found by hash, one search for each length that
//! occurs, the longest first: what a search costs does not depend on the number of routes, and few lengths are in use. The
//! control side names the routes, so that nobody can make them collide.

use std::collections::HashMap;

use crate::ids::NetworkIndex;
use crate::packet::Address;
use crate::security::{Family, Prefix};

/// How many bits stand before an IPv4 address in an [`Address`].
const V4_BITS: u8 = 96;

/// Where packets go that match a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// To the router itself: the address is its own.
    Local,
    /// To the station of this network that has the address.
    Link(NetworkIndex),
    /// To the router of this network that has this address.
    Via(NetworkIndex, Address),
    /// Nowhere: the address is a subnet's broadcast address, or stands for the subnet itself, and routers forward neither
    /// (RFC 2644, 2).
    Broadcast,
    /// Nowhere, and the sender is told so.
    Unreachable,
}

type Hasher = foldhash::fast::FixedState;

/// All routes of a router.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// The lengths that occur, counted in the 128 bits of an [`Address`], the longest first.
    lengths: Vec<u8>,
    routes: HashMap<(u8, u128), Route, Hasher>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { lengths: Vec::new(), routes: HashMap::with_hasher(Hasher::default()) }
    }
}

impl Routes {
    /// Adds a route; of two for one prefix the first one counts. Says whether it was the first one.
    pub(crate) fn add(&mut self, to: Prefix, route: Route) -> bool {
        let length = to.length() + if to.family() == Family::Ipv4 { V4_BITS } else { 0 };
        let key = (length, Address::from(to.address()).to_bits());
        if self.routes.contains_key(&key) {
            return false;
        }
        self.routes.insert(key, route);
        if let Err(at) = self.lengths.binary_search_by(|other| length.cmp(other)) {
            self.lengths.insert(at, length);
        }
        true
    }

    /// The routers to which routes lead.
    pub(crate) fn next_hops(&self) -> impl Iterator<Item = (NetworkIndex, Address)> {
        self.routes.values().filter_map(|route| match route {
            Route::Via(network, next) => Some((*network, *next)),
            _ => None,
        })
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Prefix, Route)> {
        self.routes.iter().filter_map(|(&(length, bits), route)| {
            let first = Address::from_bits(bits);
            let length = if first.is_v4() { length.checked_sub(V4_BITS)? } else { length };
            Some((Prefix::covering(first.into(), length)?, *route))
        })
    }

    /// The route for packets to `address`, and how long its prefix is, counted in 128 bits; `None`: there is none.
    #[inline]
    pub(crate) fn look_up(&self, address: Address) -> Option<Route> {
        // An IPv4 address and the default route of IPv6, whose prefix is shorter than what tells the versions apart, never
        // meet.
        let least = if address.is_v4() { V4_BITS } else { 0 };
        let lengths = self.lengths.iter().take_while(|length| **length >= least);
        lengths
            .copied()
            .find_map(|length| self.routes.get(&(length, address.to_bits() & mask(length))).copied())
    }
}

#[inline]
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn network(index: usize) -> NetworkIndex {
        NetworkIndex::new(index).unwrap()
    }

    #[test]
    fn the_longest_prefix_counts() {
        let mut routes = Routes::default();
        for (number, prefix) in
            ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"].iter().enumerate()
        {
            assert!(routes.add(prefix.parse().unwrap(), Route::Link(network(number))));
        }
        for (to, number) in
            [("10.1.2.3", 4), ("10.1.2.4", 3), ("10.1.3.3", 2), ("10.2.0.0", 1), ("11.0.0.0", 0)]
        {
            assert_eq!(routes.look_up(address(to)), Some(Route::Link(network(number))), "{to}");
        }
        assert_eq!(routes.look_up(address("fd00::1")), None, "a default route is of one version");
    }

    #[test]
    fn versions_never_meet() {
        let mut routes = Routes::default();
        assert!(routes.add("::/0".parse().unwrap(), Route::Unreachable));
        assert_eq!(routes.look_up(address("10.0.0.1")), None);
        assert_eq!(routes.look_up(address("::1")), Some(Route::Unreachable));
        assert!(routes.add("::/90".parse().unwrap(), Route::Local));
        assert_eq!(routes.look_up(address("10.0.0.1")), None);
    }

    #[test]
    fn of_two_routes_for_one_prefix_the_first_counts() {
        let mut routes = Routes::default();
        assert!(routes.add("10.0.0.0/8".parse().unwrap(), Route::Local));
        assert!(!routes.add("10.0.0.0/8".parse().unwrap(), Route::Unreachable));
        assert_eq!(routes.look_up(address("10.0.0.1")), Some(Route::Local));
    }

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        let v4 = (0..16_u32, 0..=32_u8).prop_map(|(low, length)| {
            Prefix::covering(IpAddr::from((0x0a00_0000 | low << 12 | low).to_be_bytes()), length)
        });
        let v6 = (0..16_u128, 0..=128_u8).prop_map(|(low, length)| {
            Prefix::covering(IpAddr::from((0xfd << 120 | low << 60 | low).to_be_bytes()), length)
        });
        prop_oneof![v4, v6].prop_map(Option::unwrap)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_through_all_routes_finds(
            prefixes in prop::collection::vec(any_prefix(), 0..40),
            to in any_prefix(),
        ) {
            let mut routes = Routes::default();
            let mut kept: Vec<(Prefix, Route)> = Vec::new();
            for (number, prefix) in prefixes.into_iter().enumerate() {
                let route = Route::Link(network(number));
                let is_new = kept.iter().all(|(other, _)| *other != prefix);
                prop_assert_eq!(routes.add(prefix, route), is_new);
                if is_new {
                    kept.push((prefix, route));
                }
            }
            let to = to.address();
            let best = kept.iter().filter(|(prefix, _)| prefix.contains(to)).max_by_key(|(prefix, _)| prefix.length());
            prop_assert_eq!(routes.look_up(to.into()), best.map(|(_, route)| *route));
        }
    }
}
