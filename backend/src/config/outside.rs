//! What must be right between ports that the outside reaches: every address and port out there is one port's.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use super::cross::Placed;
use super::nat::range_text;
use super::{Addressing, Membership, Network, NetworkMode, Port, Publication, SourceTarget, Uplink};

/// The uplink by which a port is reached, and what is given away there.
struct Outside<'a> {
    uplink: &'a Placed<'a, Uplink>,
    floating: HashMap<Ipv4Addr, &'a Placed<'a, Port>>,
    published: Vec<(Publication, &'a Placed<'a, Port>)>,
}

/// Notes every contradiction.
pub(super) fn check(
    ports: &[Placed<'_, Port>],
    networks: &[Placed<'_, Network>],
    uplinks: &[Placed<'_, Uplink>],
) {
    let networks: BTreeMap<&str, &Placed<'_, Network>> =
        networks.iter().map(|placed| (placed.name, placed)).collect();
    let mut outsides: BTreeMap<&str, Outside<'_>> = uplinks
        .iter()
        .map(|uplink| (uplink.name, Outside { uplink, floating: HashMap::new(), published: Vec::new() }))
        .collect();
    let reached: Vec<&Placed<'_, Port>> = ports
        .iter()
        .filter(|placed| !placed.value.floating.is_empty() || !placed.value.publish.is_empty())
        .collect();
    // Floating addresses first: nothing of them can be published for another port.
    for placed in &reached {
        if let Some(outside) = outside_of(placed, &networks, &mut outsides) {
            check_floating(placed, outside);
        }
    }
    for placed in &reached {
        if let Some(outside) = quietly(placed, &networks, &mut outsides) {
            check_published(placed, outside);
        }
    }
    for network in networks.values() {
        check_pools(network, &outsides);
    }
}

/// The outside of a port that says that it is reached; notes it if there is none.
fn outside_of<'o, 'a>(
    placed: &Placed<'a, Port>,
    networks: &BTreeMap<&str, &Placed<'a, Network>>,
    outsides: &'o mut BTreeMap<&'a str, Outside<'a>>,
) -> Option<&'o mut Outside<'a>> {
    let field = if placed.value.floating.is_empty() { "publish" } else { "floating" };
    let found = || format!("the field `{field}`");
    let Membership::Access(name) = &placed.value.membership else {
        let expected = "a port of one `network`: the outside reaches no trunk";
        placed.table.note(field, found(), expected.to_owned());
        return None;
    };
    let network = networks.get(name.as_str())?;
    if network.value.mode != NetworkMode::Nat {
        let (line, mode) = (network.table.line("mode"), network.value.mode.name());
        let expected = format!(
            "a network of mode \"nat\" (network.{name}, line {line}, is {mode}): no address is translated otherwise"
        );
        placed.table.note(field, found(), expected);
        return None;
    }
    check_inside(placed, network);
    let stations = placed.value.addresses_in(&network.value).count();
    let needed = placed.value.floating.len().max(1);
    if stations < needed {
        let missing =
            if needed == 1 { "an IPv4 address".to_owned() } else { format!("{needed} IPv4 addresses") };
        let expected = format!("{missing} of network.{name} among the port's `addresses`, to which it leads");
        let found = format!("{stations} of them");
        placed.table.note(field, found, expected);
    }
    quietly(placed, networks, outsides)
}

/// What the outside reaches is no address of the network's own.
fn check_inside(placed: &Placed<'_, Port>, network: &Placed<'_, Network>) {
    let subnet = |address: Ipv4Addr| network.value.gateway.subnet_of(address.into());
    let (name, line) = (network.name, network.table.line("subnets"));
    let published = placed.value.publish.iter().filter_map(|publication| {
        let address = publication.address?;
        Some(("publish", address, publication.to_string()))
    });
    let floating = placed.value.floating.iter().map(|address| ("floating", *address, address.to_string()));
    for (field, address, shown) in floating.chain(published) {
        if let Some(subnet) = subnet(address) {
            let expected = format!(
                "an address by which the outside reaches it: those in {} are network.{name}'s own (line {line})",
                subnet.prefix
            );
            placed.table.note(field, format!("\"{shown}\""), expected);
        }
    }
}

/// The same, without a note.
fn quietly<'o, 'a>(
    placed: &Placed<'a, Port>,
    networks: &BTreeMap<&str, &Placed<'a, Network>>,
    outsides: &'o mut BTreeMap<&'a str, Outside<'a>>,
) -> Option<&'o mut Outside<'a>> {
    let Membership::Access(name) = &placed.value.membership else { return None };
    let network = networks.get(name.as_str()).filter(|network| network.value.mode == NetworkMode::Nat)?;
    outsides.get_mut(network.value.way_out()?)
}

fn check_floating<'a>(placed: &'a Placed<'a, Port>, outside: &mut Outside<'a>) {
    for address in &placed.value.floating {
        let note = |expected: String| placed.table.note("floating", format!("\"{address}\""), expected);
        if let Some(expected) = outside.refuse(*address) {
            note(expected);
        }
        if outside.own().any(|own| own == *address) {
            let uplink = outside.uplink;
            note(format!(
                "another address than uplink.{} (line {}) has itself; single ports of it can be published",
                uplink.name,
                uplink.table.line("address")
            ));
        }
        match outside.floating.get(address) {
            Some(other) if other.name != placed.name => {
                let line = other.table.line("floating");
                note(format!("an address of its own: port.{} (line {line}) has it", other.name));
            }
            Some(_) => {}
            None => drop(outside.floating.insert(*address, placed)),
        }
    }
}

fn check_published<'a>(placed: &'a Placed<'a, Port>, outside: &mut Outside<'a>) {
    let first = outside.own().next();
    for publication in &placed.value.publish {
        let note = |expected: String| placed.table.note("publish", format!("\"{publication}\""), expected);
        if let Some(expected) = publication.address.and_then(|address| outside.refuse(address)) {
            note(expected);
        }
        if let Some(other) = publication.address.and_then(|address| outside.floating.get(&address)) {
            let line = other.table.line("floating");
            note(format!(
                "another address: it is floating, and all of it is port.{}'s (line {line})",
                other.name
            ));
        }
        // Without an address the uplink's own one is meant.
        let meant = Publication { address: publication.address.or(first), ..*publication };
        if let Some((_, other)) = outside.published.iter().find(|(other, _)| other.clashes(&meant)) {
            let line = other.table.line("publish");
            note(format!(
                "ports outside that are published once: port.{} (line {line}) has them",
                other.name
            ));
        }
        outside.published.push((meant, placed));
    }
}

/// What is floating or somebody else's is no pool's.
fn check_pools(network: &Placed<'_, Network>, outsides: &BTreeMap<&str, Outside<'_>>) {
    let Some(outside) = network.value.way_out().and_then(|name| outsides.get(name)) else { return };
    for rule in &network.value.gateway.source_rules {
        let SourceTarget::Pool(ranges) = &rule.to else { continue };
        ranges.iter().for_each(|range| check_pool(network, outside, *range));
    }
}

fn check_pool(network: &Placed<'_, Network>, outside: &Outside<'_>, (first, last): (Ipv4Addr, Ipv4Addr)) {
    let found = format!("\"{}\"", range_text((first, last)));
    let note = |expected: String| network.table.note("snat", found.clone(), expected);
    for (address, port) in &outside.floating {
        if (first..=last).contains(address) {
            let line = port.table.line("floating");
            note(format!("addresses that are nobody's: port.{} (line {line}) has {address}", port.name));
        }
    }
    if let Some(expected) = [first, last].into_iter().find_map(|address| outside.refuse(address)) {
        note(expected);
    }
}

impl Outside<'_> {
    fn addressing(&self) -> Option<&Addressing> {
        self.uplink.value.addressing.as_ref()
    }

    /// The uplink's own IPv4 addresses that are written.
    fn own(&self) -> impl Iterator<Item = Ipv4Addr> {
        let subnets = self.addressing().map_or([].as_slice(), |addressing| &addressing.addresses);
        let addresses: Vec<Ipv4Addr> = subnets
            .iter()
            .filter_map(|subnet| match subnet.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect();
        addresses.into_iter()
    }

    /// Why the uplink cannot have the address; one outside of its subnets is routed to it.
    fn refuse(&self, address: Ipv4Addr) -> Option<String> {
        let addressing = self.addressing()?;
        let (name, address) = (self.uplink.name, IpAddr::from(address));
        if addressing.gateways.contains(&address) {
            let line = self.uplink.table.line("gateway");
            return Some(format!("another address than the gateway of uplink.{name} (line {line}) has"));
        }
        let subnet = addressing.addresses.iter().find(|subnet| subnet.prefix.contains(address))?;
        let (low, high) = subnet.stations();
        (!subnet.is_station(address)).then(|| format!("the address of a station, {low} to {high}"))
    }
}
