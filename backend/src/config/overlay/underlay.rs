//! What must be right between overlays and the rest: the uplinks over which they go, and stations that are here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use viaduct_switch::MacAddress;
use viaduct_switch::security::Family;

use super::super::cross::Placed;
use super::super::reader::TableReader;
use super::super::{Addressing, Network, Port, PortProtocol, Uplink};
use super::{Overlay, stations};

/// The most VTEPs of an uplink that may be written.
pub const VTEPS_MAX: usize = 1024;

/// An overlay, the network's table, and the overlay's own.
struct PlacedOverlay<'f, 'a> {
    name: &'f str,
    network: &'a TableReader<'f>,
    table: TableReader<'f>,
    mtu: Option<u16>,
    overlay: &'a Overlay,
}

/// What overlays of one uplink have together.
#[derive(Default)]
struct Underlay<'a> {
    /// Who has a number, by kind and UDP port.
    ids: HashMap<(&'static str, u16, u32), &'a str>,
    /// Who has a UDP port, with its kind.
    ports: BTreeMap<u16, (&'static str, &'a str)>,
    vteps: BTreeSet<IpAddr>,
}

/// Notes every contradiction.
pub(in super::super) fn check(
    ports: &[Placed<'_, Port>],
    networks: &[Placed<'_, Network>],
    uplinks: &[Placed<'_, Uplink>],
) {
    let uplinks: BTreeMap<&str, &Placed<'_, Uplink>> =
        uplinks.iter().map(|placed| (placed.name, placed)).collect();
    let mut overlays: Vec<PlacedOverlay<'_, '_>> = networks.iter().filter_map(placed).collect();
    overlays.sort_by_key(|placed| placed.network.at);
    let mut underlays: BTreeMap<&str, Underlay<'_>> = BTreeMap::new();
    for placed in &overlays {
        check_local(placed, ports);
        let Some(uplink) = uplinks.get(placed.overlay.uplink.as_str()) else { continue };
        check_uplink(placed, uplink);
        let underlay = underlays.entry(uplink.name).or_default();
        underlay.check_number(placed);
        underlay.check_size(placed);
    }
    check_published(ports, networks, &overlays);
}

fn placed<'f, 'a>(placed: &'a Placed<'f, Network>) -> Option<PlacedOverlay<'f, 'a>> {
    let overlay = placed.value.overlay.as_ref()?;
    let table = placed.table.table("overlay")?;
    let mtu = placed.value.gateway.mtu;
    Some(PlacedOverlay { name: placed.name, network: &placed.table, table, mtu, overlay })
}

/// The uplink has an address of the VTEPs' version, and it is none of theirs.
fn check_uplink(placed: &PlacedOverlay<'_, '_>, uplink: &Placed<'_, Uplink>) {
    let addressing = uplink.value.addressing.as_ref();
    if addressing.is_some_and(Addressing::is_empty) {
        // Its address is wrong, which was told.
        return;
    }
    let family = placed.overlay.family();
    let has = |family| addressing.is_some_and(|addressing| addressing.has(family));
    if !family.map_or_else(|| Family::ALL.into_iter().any(has), has) {
        let of = family.map_or(String::new(), |family| format!(" of {family}"));
        let (name, line) = (uplink.name, uplink.table.line("address"));
        let expected = format!(
            "an uplink with an `address`{of} of its own, where tunnels end: give uplink.{name} (line {line}) one"
        );
        placed.table.note("uplink", format!("\"{name}\""), expected);
        return;
    }
    check_mtu(placed, uplink);
    let own = |address: &IpAddr| {
        addressing.iter().any(|addressing| addressing.addresses.iter().any(|own| own.address == *address))
    };
    let expected = || format!("another machine's address: this one is uplink.{}'s own", uplink.name);
    for peer in placed.overlay.peers.iter().filter(|peer| own(peer)) {
        placed.table.note("peers", format!("\"{peer}\""), expected());
    }
    for (station, vtep) in stations::vteps(placed.network).filter(|(_, vtep)| own(vtep)) {
        station.note("vtep", format!("\"{vtep}\""), expected());
    }
}

/// A packet of the network fits into one of the underlay.
fn check_mtu(placed: &PlacedOverlay<'_, '_>, uplink: &Placed<'_, Uplink>) {
    let family = placed.overlay.family_over(uplink.value.addressing.as_ref());
    let (Some(mtu), Some(outer)) = (placed.mtu, uplink.value.mtu) else { return };
    let most = placed.overlay.inner_mtu(outer, family);
    if mtu > most {
        let (name, line) = (uplink.name, uplink.table.line("mtu"));
        let (kind, overhead) = (placed.overlay.kind.name(), placed.overlay.kind.overhead(family));
        let expected = format!(
            "{most} at most: uplink.{name} (line {line}) has {outer}, of which {kind} takes {overhead}"
        );
        placed.network.note("mtu", mtu.to_string(), expected);
    }
}

/// A station that is here is nowhere else.
fn check_local(placed: &PlacedOverlay<'_, '_>, ports: &[Placed<'_, Port>]) {
    let here = ports.iter().filter(|port| port.value.membership.has(placed.name));
    let here: HashMap<MacAddress, &Placed<'_, Port>> =
        here.filter_map(|port| Some((port.value.vhost_user()?.mac, port))).collect();
    for (station, mac) in stations::macs(placed.network) {
        if let Some(port) = here.get(&mac) {
            let (name, line) = (port.name, port.table.line("mac"));
            let expected =
                format!("the address of a station on another machine: port.{name} (line {line}) has it here");
            station.note("mac", format!("\"{mac}\""), expected);
        }
    }
}

/// What comes to an overlay's UDP port is the overlay's.
fn check_published(
    ports: &[Placed<'_, Port>],
    networks: &[Placed<'_, Network>],
    overlays: &[PlacedOverlay<'_, '_>],
) {
    let ways: HashMap<&str, &str> =
        networks.iter().filter_map(|placed| Some((placed.name, placed.value.way_out()?))).collect();
    for port in ports {
        let uplinks: Vec<&str> =
            port.value.membership.networks().filter_map(|name| ways.get(name).copied()).collect();
        for publication in port.value.publish.iter().filter(|item| item.protocol == PortProtocol::Udp) {
            let (first, last) = publication.outside;
            let taken = overlays.iter().find(|placed| {
                let is_port = (first..=last).contains(&placed.overlay.port);
                is_port && uplinks.contains(&placed.overlay.uplink.as_str())
            });
            if let Some(taken) = taken.filter(|_| publication.address.is_none()) {
                let (name, line) = (taken.name, taken.network.line("overlay"));
                let expected = format!(
                    "other ports: network.{name}'s tunnels (line {line}) end at {}",
                    taken.overlay.port
                );
                port.table.note("publish", format!("\"{publication}\""), expected);
            }
        }
    }
}

impl<'a> Underlay<'a> {
    /// A packet says by its port and number to which network it belongs.
    fn check_number(&mut self, placed: &PlacedOverlay<'a, '_>) {
        let Overlay { kind, id, port, .. } = *placed.overlay;
        let (name, field) = (placed.name, kind.id_field());
        if let Some(other) = self.ids.insert((kind.name(), port, id), name) {
            let expected = format!(
                "a number of its own on uplink.{}: network.{other} has it there",
                placed.overlay.uplink
            );
            placed.table.note(field, id.to_string(), expected);
        }
        let (other_kind, other) = *self.ports.entry(port).or_insert((kind.name(), name));
        if other_kind != kind.name() {
            let expected =
                format!("another port than network.{other} has, whose tunnels are of kind \"{other_kind}\"");
            placed.table.note("port", port.to_string(), expected);
        }
    }

    fn check_size(&mut self, placed: &PlacedOverlay<'_, '_>) {
        let before = self.vteps.len();
        self.vteps.extend(placed.overlay.vteps());
        if before <= VTEPS_MAX && self.vteps.len() > VTEPS_MAX {
            let found = format!("{} other machines", self.vteps.len());
            let expected =
                format!("at most {VTEPS_MAX} for all overlays of uplink.{}", placed.overlay.uplink);
            placed.network.note("overlay", found, expected);
        }
    }
}

/// Warns of overlays that know nobody.
pub(in super::super) fn warnings(networks: &[Placed<'_, Network>]) -> Vec<String> {
    let knows_nobody = |overlay: &Overlay| overlay.group.is_none() && overlay.vteps().next().is_none();
    let lonely = networks.iter().filter(|placed| placed.value.overlay.as_ref().is_some_and(knows_nobody));
    let warning = |placed: &Placed<'_, Network>| {
        format!(
            "network.{}: its overlay has no `group`, no `peers` and no `static` stations, so that it reaches nobody until \
             stations are fed by the API",
            placed.name
        )
    };
    lonely.map(warning).collect()
}
