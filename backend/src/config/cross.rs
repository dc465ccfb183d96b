//! What must be right between tables: nothing that has to be unique is there twice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::port::default_mac;
use super::reader::TableReader;
use super::{
    Interface, Network, Port, Router, SwitchSettings, Uplink, VhostUser, outside, overlay, port_security,
    routing, values, vlans,
};

/// A table's value together with where it stands in the file.
pub(super) struct Placed<'f, T> {
    pub(super) name: &'f str,
    pub(super) table: TableReader<'f>,
    pub(super) value: T,
}

type Guest<'a> = (&'a Placed<'a, Port>, &'a VhostUser);

/// Notes everything that cannot be together.
pub(super) fn check(
    ports: &[Placed<'_, Port>],
    networks: &[Placed<'_, Network>],
    uplinks: &[Placed<'_, Uplink>],
    routers: &[Placed<'_, Router>],
    settings: &SwitchSettings,
) {
    let guests: Vec<Guest<'_>> =
        ports.iter().filter_map(|placed| Some((placed, placed.value.vhost_user()?))).collect();
    check_sockets(&guests, [&settings.api_socket(), &settings.takeover_socket()]);
    check_addresses(&guests);
    port_security::check(ports);
    check_names(ports, uplinks);
    check_interfaces(ports, uplinks);
    vlans::check(ports, networks, uplinks);
    routing::check(ports, networks, uplinks, routers);
    outside::check(ports, networks, uplinks);
    overlay::check(ports, networks, uplinks);
}

/// In tables of addresses and drops, ports and uplinks stand side by side.
fn check_names(ports: &[Placed<'_, Port>], uplinks: &[Placed<'_, Uplink>]) {
    let taken: HashMap<&str, &Placed<'_, Port>> = ports.iter().map(|placed| (placed.name, placed)).collect();
    for placed in uplinks {
        if let Some(port) = taken.get(placed.name) {
            let expected = format!("another name than port.{} (line {}) has", port.name, port.table.line(""));
            placed.table.note_self(format!("the name \"{}\"", placed.name), expected);
        }
    }
}

/// An interface has one place.
fn check_interfaces(ports: &[Placed<'_, Port>], uplinks: &[Placed<'_, Uplink>]) {
    let uplinks = uplinks
        .iter()
        .flat_map(|placed| placed.value.interfaces().map(move |interface| (&placed.table, interface)));
    let ports = ports.iter().filter_map(|placed| Some((&placed.table, placed.value.interface()?.clone())));
    let mut all: Vec<_> = uplinks.chain(ports).filter(|(_, interface)| !interface.name.is_empty()).collect();
    all.sort_by_key(|(table, _)| table.at);
    let field = |table: &TableReader<'_>| if table.has("interfaces") { "interfaces" } else { "interface" };
    let mut first: HashMap<(String, Option<PathBuf>), &TableReader<'_>> = HashMap::new();
    for (table, Interface { name, netns, .. }) in all {
        let key = (name.clone(), netns);
        let Some(other) = first.get(&key) else {
            first.insert(key, table);
            continue;
        };
        let expected = format!(
            "an interface of its own: {} (line {}) has the same",
            other.path,
            other.line(field(other))
        );
        table.note(field(table), format!("\"{name}\""), expected);
    }
}

fn check_sockets(guests: &[Guest<'_>], [api_socket, takeover_socket]: [&Path; 2]) {
    let mut first: HashMap<&Path, &Placed<'_, Port>> = HashMap::new();
    for (placed, guest) in guests {
        let socket = guest.socket.as_path();
        if let Some(other) = first.get(socket) {
            let expected = format!(
                "a path of its own: port.{} (line {}) has the same",
                other.name,
                other.table.line("socket")
            );
            placed.table.note("socket", socket.display().to_string(), expected);
        } else if socket == api_socket {
            let expected = "another path: there the API listens; give the port another name or a `socket`";
            placed.table.note("socket", socket.display().to_string(), expected.to_owned());
        } else if socket == takeover_socket {
            let expected = "another path: there a process that takes over knocks; give the port another name or a `socket`";
            placed.table.note("socket", socket.display().to_string(), expected.to_owned());
        } else if !values::fits_socket(socket) {
            let expected = "at most 106 bytes; write a shorter `socket` or runtime_dir";
            placed.table.note("socket", format!("{} bytes", socket.as_os_str().len()), expected.to_owned());
        } else {
            first.insert(socket, placed);
        }
    }
}

/// Two guests of one network must not have one address; in different networks they never meet.
fn check_addresses(guests: &[Guest<'_>]) {
    let mut first: HashMap<_, &Placed<'_, Port>> = HashMap::new();
    // Written addresses first: the port whose address was made from its name is the one to change.
    let written = guests.iter().filter(|(placed, _)| placed.table.has("mac"));
    let made = guests.iter().filter(|(placed, _)| !placed.table.has("mac"));
    for (placed, guest) in written.chain(made) {
        let networks: Vec<&str> = placed.value.membership.networks().collect();
        let taken = networks.iter().find_map(|network| Some((*network, *first.get(&(*network, guest.mac))?)));
        let Some((network, other)) = taken else {
            first.extend(networks.into_iter().map(|network| ((network, guest.mac), *placed)));
            continue;
        };
        let free = default_mac(&format!("{network}/{}", placed.name));
        let expected = format!(
            "another address than port.{} (line {}) has in the same network, for example mac = \"{free}\"",
            other.name,
            other.table.line("mac")
        );
        placed.table.note("mac", guest.mac.to_string(), expected);
    }
}
