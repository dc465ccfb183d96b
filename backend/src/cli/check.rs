//! `viaduct check FILE`: is the file right, and what does it declare?

use std::path::Path;

use serde::Serialize;

use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::{Style, json, units};
use crate::config::{self, Config, Loaded, ThisHost};

/// What a file declares, every default filled in; names are those of the file.
#[derive(Serialize)]
struct Declared<'a> {
    file: String,
    networks: Vec<DeclaredNetwork<'a>>,
    ports: Vec<DeclaredPort<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct DeclaredNetwork<'a> {
    name: &'a str,
    mode: &'static str,
    ageing_s: u64,
}

#[derive(Serialize)]
struct DeclaredPort<'a> {
    name: &'a str,
    network: &'a str,
    socket: &'a Path,
    role: &'static str,
    mac: String,
    queues: u16,
    mtu: u16,
}

/// Reads the file and tells what it declares, or everything that is wrong in it.
pub(super) fn check(file: &Path, style: Style) -> Result<String, Failure> {
    let loaded = config::load(file, &ThisHost)?;
    let declared = declared(file, &loaded);
    if style.json {
        return json(&declared);
    }
    let (networks, ports) = (declared.networks.len() as u64, declared.ports.len() as u64);
    let mut text =
        format!("{} is right: {}, {}\n", declared.file, counted(networks, "network"), counted(ports, "port"));
    for warning in declared.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if networks > 0 {
        text.push_str(&format!("\n{}", network_table(&declared).render(style.colour)));
    }
    if ports > 0 {
        text.push_str(&format!("\n{}", port_table(&declared).render(style.colour)));
    }
    Ok(text)
}

/// `1 port`, `2 ports`.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn declared<'a>(file: &Path, loaded: &'a Loaded) -> Declared<'a> {
    let Config { networks, ports, .. } = &loaded.config;
    let network = |(name, network): (&'a String, &'a config::Network)| DeclaredNetwork {
        name,
        mode: network.mode.name(),
        ageing_s: network.ageing.as_secs(),
    };
    let port = |(name, port): (&'a String, &'a config::Port)| DeclaredPort {
        name,
        network: &port.network,
        socket: &port.socket,
        role: port.role.name(),
        mac: port.mac.to_string(),
        queues: port.queues,
        mtu: port.mtu,
    };
    Declared {
        file: file.display().to_string(),
        networks: networks.iter().map(network).collect(),
        ports: ports.iter().map(port).collect(),
        warnings: &loaded.warnings,
    }
}

fn network_table(declared: &Declared<'_>) -> Table {
    let mut table = Table::new(&[("NETWORK", Align::Left), ("MODE", Align::Left), ("AGEING", Align::Right)]);
    for network in &declared.networks {
        table.row([network.name.into(), network.mode.into(), units::seconds(network.ageing_s).into()]);
    }
    table
}

fn port_table(declared: &Declared<'_>) -> Table {
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("NETWORK", Align::Left),
        ("MAC", Align::Left),
        ("QUEUES", Align::Right),
        ("MTU", Align::Right),
        ("ROLE", Align::Left),
        ("SOCKET", Align::Left),
    ]);
    for port in &declared.ports {
        let numbers = [port.queues, port.mtu].map(|number| Cell::from(number.to_string()));
        let names = [port.name.into(), port.network.into(), Cell::from(port.mac.as_str())];
        let socket = [port.role.into(), Cell::from(port.socket.display().to_string())];
        table.row(names.into_iter().chain(numbers).chain(socket));
    }
    table
}
