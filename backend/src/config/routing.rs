//! What must be right between networks, uplinks and routers: every address has one place, and every way leads somewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use viaduct_switch::security::{Family, Prefix};

use super::addresses::{self, Subnet};
use super::cross::Placed;
use super::{Addressing, AskedVia, Membership, Network, NetworkMode, Port, Router, Uplink};

type Networks<'a> = BTreeMap<&'a str, &'a Placed<'a, Network>>;
type Uplinks<'a> = BTreeMap<&'a str, &'a Placed<'a, Uplink>>;

/// Notes every contradiction.
pub(super) fn check(
    ports: &[Placed<'_, Port>],
    networks: &[Placed<'_, Network>],
    uplinks: &[Placed<'_, Uplink>],
    routers: &[Placed<'_, Router>],
) {
    let by_name: Networks<'_> = networks.iter().map(|placed| (placed.name, placed)).collect();
    let uplinks_by_name: Uplinks<'_> = uplinks.iter().map(|placed| (placed.name, placed)).collect();
    for placed in networks {
        check_way_out(placed, &uplinks_by_name);
        let is_joined =
            routers.iter().any(|router| router.value.networks.iter().any(|name| name == placed.name));
        check_layer_two(placed, is_joined, &uplinks_by_name);
        check_via(placed, is_joined);
    }
    for placed in ports {
        check_addresses(placed, &by_name);
    }
    let mut joined: BTreeMap<&str, &Placed<'_, Router>> = BTreeMap::new();
    for placed in routers {
        check_networks(placed, &by_name, &mut joined);
        check_routes(placed, &by_name, &uplinks_by_name);
    }
}

/// By which uplink packets leave a network of mode `nat` or `routed`: it needs an address of its own there.
fn check_way_out(placed: &Placed<'_, Network>, uplinks: &Uplinks<'_>) {
    let network = &placed.value;
    let uplink = network.way_out().and_then(|name| uplinks.get(name));
    let Some(uplink) = uplink else { return };
    let (name, line) = (uplink.name, uplink.table.line(""));
    let needed = if network.mode == NetworkMode::Nat { "an IPv4 `address`" } else { "an `address`" };
    let has = |family| uplink.value.addressing.as_ref().is_some_and(|addressing| addressing.has(family));
    let is_wrong = uplink.value.addressing.as_ref().is_some_and(Addressing::is_empty);
    if is_wrong {
        // Its address is, which was told.
        return;
    }
    if !has(Family::Ipv4) && (network.mode == NetworkMode::Nat || !has(Family::Ipv6)) {
        let expected = format!("an uplink with {needed} of its own: give uplink.{name} (line {line}) one");
        placed.table.note("uplink", format!("\"{name}\""), expected);
        return;
    }
    let outside = uplink.value.addressing.iter().flat_map(|addressing| &addressing.addresses);
    for (outside, inside) in pairs(outside, &network.gateway.subnets) {
        let expected = format!(
            "a subnet that has no address in common with {}, in which uplink.{name} (line {line}) is",
            outside.prefix
        );
        placed.table.note("subnets", format!("\"{}\"", inside.prefix), expected);
    }
}

/// The subnets of the one and the other that have addresses in common.
fn pairs<'a>(
    ones: impl Iterator<Item = &'a Subnet>,
    others: &'a [Subnet],
) -> impl Iterator<Item = (&'a Subnet, &'a Subnet)> {
    ones.flat_map(|one| others.iter().map(move |other| (one, other)))
        .filter(|(one, other)| addresses::overlap(one.prefix, other.prefix))
}

/// Name servers are asked by an uplink only where packets leave by one.
fn check_via(placed: &Placed<'_, Network>, is_joined: bool) {
    let via = placed.value.gateway.dns.as_ref().and_then(|dns| dns.via);
    if via == Some(AskedVia::Uplink) && placed.value.way_out().is_none() && !is_joined {
        let expected = "via = \"host\" there: packets of this network leave by no uplink";
        placed.table.note("dns", "via = \"uplink\"".to_owned(), expected.to_owned());
    }
}

/// Where an uplink with an address is bridged without a tag, the address is that network's gateway's.
fn check_layer_two(placed: &Placed<'_, Network>, is_joined: bool, uplinks: &Uplinks<'_>) {
    let network = &placed.value;
    let is_taken =
        |name: &&String| uplinks.get(name.as_str()).is_some_and(|uplink| uplink.value.addressing.is_some());
    let taken = network.uplinks().find(is_taken).filter(|_| network.vlan.is_none());
    if let Some(uplink) = uplinks.get(placed.name).filter(|uplink| uplink.value.addressing.is_some())
        && taken.is_none_or(|name| name != placed.name)
    {
        let line = uplink.table.line("");
        let expected = format!(
            "another name than uplink.{} (line {line}) has: so the network is called in which its address is",
            uplink.name
        );
        placed.table.note_self(format!("the name \"{}\"", placed.name), expected);
    }
    let Some(name) = taken else { return };
    if network.mode != NetworkMode::Bridged {
        if !placed.table.has("segment") {
            // The mode is wrong, or has no uplink, which was told.
            return;
        }
        let expected = format!(
            "a `vlan` beside it: what comes by uplink.{name} without a tag is for the uplink's own address"
        );
        placed.table.note("segment", format!("\"{name}\""), expected);
    } else if network.gateway.serves() || is_joined {
        let expected = format!(
            "no gateway of its own, or a `vlan`: in this network is the address of uplink.{name}, by which it is bridged"
        );
        placed.table.note_self("a gateway (DHCP, DNS or a router)".to_owned(), expected);
    }
}

/// A port's addresses belong to its networks, and are nobody else's.
fn check_addresses(placed: &Placed<'_, Port>, networks: &Networks<'_>) {
    let has_subnets =
        |name| networks.get(name).is_none_or(|network| !network.value.gateway.subnets.is_empty());
    if placed.table.is_false("port_security")
        && placed.table.has("addresses")
        && !placed.value.membership.networks().any(has_subnets)
    {
        let expected = "port_security = true beside it: without, and in a network without `subnets`, it says nothing; or leave \
                        it out";
        placed.table.note("addresses", "the field `addresses`".to_owned(), expected.to_owned());
    }
    for name in placed.value.membership.networks() {
        let Some(network) = networks.get(name) else { continue };
        check_mtu(placed, network);
        let is_access = matches!(placed.value.membership, Membership::Access(_));
        for address in &placed.value.addresses {
            check_address(placed, network, *address, is_access);
        }
    }
}

fn check_address(placed: &Placed<'_, Port>, network: &Placed<'_, Network>, address: IpAddr, is_access: bool) {
    let gateway = &network.value.gateway;
    let (name, line) = (network.name, network.table.line("subnets"));
    let found = format!("\"{address}\"");
    let mut same = gateway.of(Family::of(address)).peekable();
    match gateway.subnet_of(address) {
        Some(subnet) if subnet.address == address => {
            let expected = format!("an address that is not that of network.{name}'s gateway (line {line})");
            placed.table.note("addresses", found, expected);
        }
        Some(subnet) if !subnet.is_station(address) => {
            let (low, high) = subnet.stations();
            placed.table.note("addresses", found, format!("the address of a station, {low} to {high}"));
        }
        None if is_access && same.peek().is_some() && !addresses::is_link_local(address) => {
            let subnets: Vec<String> = same.map(|subnet| subnet.prefix.to_string()).collect();
            let expected =
                format!("an address in {}, network.{name}'s subnets (line {line})", subnets.join(" or "));
            placed.table.note("addresses", found, expected);
        }
        _ => {}
    }
}

/// What a gateway sends must fit the ports.
fn check_mtu(placed: &Placed<'_, Port>, network: &Placed<'_, Network>) {
    let (port, gateway) = (placed.value.mtu, &network.value.gateway);
    if let Some(mtu) = gateway.mtu.filter(|mtu| *mtu > port) {
        let expected = format!(
            "{mtu} at least, the `mtu` of network.{} (line {})",
            network.name,
            network.table.line("mtu")
        );
        placed.table.note("mtu", port.to_string(), expected);
    } else if port < 1280 && gateway.of(Family::Ipv6).next().is_some() {
        let expected = format!("1280 at least: network.{} has a subnet of IPv6 (RFC 8200, 5)", network.name);
        placed.table.note("mtu", port.to_string(), expected);
    }
}

/// A network has one router, and in a router every address one place.
fn check_networks<'a>(
    placed: &'a Placed<'a, Router>,
    networks: &Networks<'a>,
    joined: &mut BTreeMap<&'a str, &'a Placed<'a, Router>>,
) {
    let mut seen: Vec<&Placed<'_, Network>> = Vec::new();
    for name in &placed.value.networks {
        let Some(network) = networks.get(name.as_str()) else { continue };
        let note = |expected| placed.table.note("networks", format!("\"{name}\""), expected);
        if let Some(other) = joined.insert(name, placed) {
            let line = other.table.line("");
            note(format!("networks of no other router: router.{} (line {line}) has it", other.name));
        }
        let line = network.table.line("");
        if network.value.gateway.subnets.is_empty() {
            note(format!("networks with `subnets`: give network.{name} (line {line}) some"));
        }
        for other in &seen {
            check_pair(placed, other, network);
        }
        seen.push(network);
    }
}

fn check_pair(placed: &Placed<'_, Router>, one: &Placed<'_, Network>, other: &Placed<'_, Network>) {
    let note = |expected| placed.table.note("networks", format!("\"{}\"", other.name), expected);
    for (first, second) in pairs(one.value.gateway.subnets.iter(), &other.value.gateway.subnets) {
        note(format!(
            "networks whose subnets have no address in common: network.{} (line {}) has {}, and network.{} (line {}) {}",
            one.name,
            one.table.line("subnets"),
            first.prefix,
            other.name,
            other.table.line("subnets"),
            second.prefix
        ));
    }
    if let (Some(first), Some(second)) = (one.value.way_out(), other.value.way_out())
        && first != second
    {
        note(format!(
            "networks that leave by one uplink: network.{} does by {first}, and network.{} by {second}",
            one.name, other.name
        ));
    }
}

/// A route leads to a router that one of the networks has, or the uplink's segment.
fn check_routes(placed: &Placed<'_, Router>, networks: &Networks<'_>, uplinks: &Uplinks<'_>) {
    let own: Vec<Subnet> = placed
        .value
        .networks
        .iter()
        .filter_map(|name| networks.get(name.as_str()))
        .flat_map(|network| {
            let uplink = network.value.way_out().and_then(|name| uplinks.get(name));
            let outside = uplink.and_then(|uplink| uplink.value.addressing.as_ref());
            let outside = outside.into_iter().flat_map(|addressing| &addressing.addresses);
            network.value.gateway.subnets.iter().chain(outside).copied()
        })
        .collect();
    for route in &placed.value.routes {
        let note = |expected: String| placed.table.note("routes", route.to_string(), expected);
        if own.iter().any(|subnet| subnet.address == route.via) {
            note("another router's address: this one is a gateway of its own".to_owned());
        } else if !own.is_empty() && !own.iter().any(|subnet| subnet.is_station(route.via)) {
            note(format!("a next router that one of its networks has: in {}", listed(&own)));
        }
        if own.iter().any(|subnet| subnet.prefix == route.to || Prefix::host(subnet.address) == route.to) {
            note("a destination that is none of the networks' own subnets and gateways".to_owned());
        }
    }
}

/// The first few subnets, for people.
fn listed(subnets: &[Subnet]) -> String {
    let names: Vec<String> = subnets.iter().take(8).map(|subnet| subnet.prefix.to_string()).collect();
    names.join(", ")
}
