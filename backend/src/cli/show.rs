//! `viaduct show`: what the running daemon does.

mod learned;
mod tables;

use clap::ValueEnum;
use serde::Serialize;

use super::bonds::bond_text;
use super::check::counted;
use super::failure::Failure;
use super::groups::show_groups;
use super::port::one_port;
use super::qos::qos_text;
use super::spanning_tree::stp_text;
use super::uplinks::{outside_text, uplink_text};
use super::{Style, gateways, json, save, stations, units, vteps};
use crate::api::Client;
use crate::model::{DropStatus, QosStatus, Snapshot};
use tables::{drop_text, multicast_text, network_table, port_table, worker_table};
pub(super) use tables::{dropped, memory, paused, state, state_name};

/// What can be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum What {
    /// Ports and their traffic
    Ports,
    /// Uplinks: their interfaces, drivers and rates
    Uplinks,
    /// Bonds: their links, and what LACP says of both ends
    Bonds,
    /// Stations that gateways send to, and neighbours on uplinks that tell of themselves by LLDP
    Neighbours,
    /// Ways that routed packets go
    Routes,
    /// The other ends of tunnels, and the stations behind them
    Vteps,
    /// Stations of an overlay network on other machines, as they are written or fed
    Stations,
    /// Addresses that are lent by DHCP
    Leases,
    /// What happened at DHCP, DHCPv6, name and metadata servers
    Services,
    /// Outside ports that stand for stations', by pages
    Nat,
    /// Networks and their ports
    Networks,
    /// Learned addresses
    Fdb,
    /// Tracked connections, by pages
    Connections,
    /// Security groups, their rules and their ports
    Groups,
    /// Multicast groups and their members
    Multicast,
    /// Spanning trees: roles, states and the root
    Stp,
    /// What QoS lets through: policed ports, and trees of queues before ports
    Qos,
    /// The data path's workers
    Workers,
    /// Frames that were not delivered, and why
    Drops,
}

/// Asks the daemon and tells what was wanted.
pub(super) fn show(
    client: &Client,
    what: Option<What>,
    name: Option<&str>,
    style: Style,
) -> Result<String, Failure> {
    if what == Some(What::Groups) {
        return show_groups(client, name, style);
    }
    if let Some(what @ (What::Routes | What::Leases | What::Services | What::Neighbours)) = what {
        return gateways::show(client, what, name, style);
    }
    if what == Some(What::Vteps) {
        return vteps::show(client, name, style);
    }
    if what == Some(What::Stations) {
        return stations::show(client, name, style);
    }
    if what == Some(What::Fdb) {
        return learned::show(client, name, style);
    }
    let snapshot: Snapshot = client.get("/v1/status")?;
    let snapshot = match (what, name) {
        (_, None) => snapshot,
        (Some(What::Connections), _) => {
            return Err(Failure::new("connections have no names; say --network NAME or --port NAME"));
        }
        (Some(What::Nat), _) => {
            return Err(Failure::new("mappings have no names; leave the name out"));
        }
        (Some(What::Qos), Some(name)) => only_qos(snapshot, name)?,
        (Some(What::Workers), Some(_)) => {
            return Err(Failure::new("workers have no names; leave the name out"));
        }
        (Some(What::Networks | What::Multicast | What::Stp), Some(name)) => only_network(snapshot, name)?,
        (Some(What::Uplinks | What::Bonds), Some(name)) => only_uplink(snapshot, name)?,
        (_, Some(name)) => only_port(snapshot, name)?,
    };
    if style.json { programs(&snapshot, what) } else { Ok(people(&snapshot, what, name, style.colour)) }
}

fn only_port(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    snapshot.ports.retain(|port| port.name == name);
    snapshot.outsides.retain(|outside| outside.uplink == name);
    let missing = || Failure::new(format!("there is no port {name}; `viaduct show ports` lists all"));
    (!snapshot.ports.is_empty()).then_some(snapshot).ok_or_else(missing)
}

fn only_uplink(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    snapshot.ports.retain(|port| port.name == name && port.is_uplink());
    snapshot.bonds.retain(|bond| bond.uplink == name);
    snapshot.outsides.retain(|outside| outside.uplink == name);
    let missing = || Failure::new(format!("there is no uplink {name}; `viaduct show uplinks` lists all"));
    (!snapshot.ports.is_empty()).then_some(snapshot).ok_or_else(missing)
}

fn only_qos(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    let QosStatus { meters, trees, declared } = &mut snapshot.qos;
    meters.retain(|meter| meter.qos == name || meter.ports.iter().any(|port| port == name));
    trees.retain(|tree| tree.qos == name || tree.ports.iter().any(|port| port == name));
    declared.retain(|it| it.qos == name || it.ports.iter().any(|port| port == name));
    if meters.is_empty() && trees.is_empty() {
        return Err(Failure::new(format!(
            "no QoS {name} is used, and no port {name} has one; `viaduct show qos` lists all"
        )));
    }
    Ok(snapshot)
}

fn only_network(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    snapshot.networks.retain(|network| network.name == name);
    snapshot.duplicates.retain(|entry| entry.network == name);
    snapshot.multicast_groups.retain(|group| group.network == name);
    snapshot.stp.retain(|tree| tree.networks.iter().any(|network| network == name));
    let missing = || Failure::new(format!("there is no network {name}; `viaduct show networks` lists all"));
    (!snapshot.networks.is_empty()).then_some(snapshot).ok_or_else(missing)
}

/// One reason's count at one port.
#[derive(Serialize)]
struct PortDrops<'a> {
    port: &'a str,
    #[serde(flatten)]
    drops: &'a DropStatus,
}

fn all_drops(snapshot: &Snapshot) -> impl Iterator<Item = PortDrops<'_>> {
    snapshot
        .ports
        .iter()
        .flat_map(|port| port.drops.iter().map(|drops| PortDrops { port: &port.name, drops }))
}

fn programs(snapshot: &Snapshot, what: Option<What>) -> Result<String, Failure> {
    match what {
        None | Some(What::Groups) => json(snapshot),
        Some(What::Ports) => json(&snapshot.ports),
        Some(What::Uplinks) => json(&snapshot.uplinks().collect::<Vec<_>>()),
        Some(What::Bonds) => json(&snapshot.bonds),
        Some(What::Networks) => json(&snapshot.networks),
        Some(What::Multicast) => json(&snapshot.multicast_groups),
        Some(What::Stp) => json(&snapshot.stp),
        // Asked for elsewhere: see `connections`, `learned` and `gateways`.
        Some(
            What::Connections
            | What::Fdb
            | What::Neighbours
            | What::Routes
            | What::Vteps
            | What::Stations
            | What::Leases
            | What::Services
            | What::Nat,
        ) => Ok(String::new()),
        Some(What::Qos) => json(&snapshot.qos),
        Some(What::Workers) => json(&snapshot.workers),
        Some(What::Drops) => json(&all_drops(snapshot).collect::<Vec<_>>()),
    }
}

fn people(snapshot: &Snapshot, what: Option<What>, name: Option<&str>, colour: bool) -> String {
    match (what, snapshot.ports.as_slice()) {
        (None | Some(What::Groups), _) => overview(snapshot, colour),
        (Some(What::Ports | What::Uplinks), [port]) if name.is_some() => {
            one_port(port) + &outside_text(&snapshot.outsides)
        }
        (Some(What::Uplinks), _) => uplink_text(snapshot, colour),
        (Some(What::Bonds), _) => bond_text(&snapshot.bonds, colour),
        (Some(What::Ports), ports) => port_table(ports, colour),
        (Some(What::Networks), _) => network_table(&snapshot.networks).render(colour),
        (Some(What::Multicast), _) => multicast_text(snapshot, colour),
        (Some(What::Stp), _) => stp_text(&snapshot.stp, colour),
        (
            Some(
                What::Connections
                | What::Fdb
                | What::Neighbours
                | What::Routes
                | What::Vteps
                | What::Stations
                | What::Leases
                | What::Services
                | What::Nat,
            ),
            _,
        ) => String::new(),
        (Some(What::Qos), _) => qos_text(&snapshot.qos, colour),
        (Some(What::Workers), _) => worker_table(&snapshot.workers).render(colour),
        (Some(What::Drops), _) => drop_text(snapshot, colour),
    }
}

fn overview(snapshot: &Snapshot, colour: bool) -> String {
    let head = format!(
        "up {}, generation {}: {}, {}, {}, {}\n",
        units::seconds(snapshot.uptime_s),
        snapshot.generation,
        counted(snapshot.networks.len() as u64, "network"),
        counted(snapshot.ports.len() as u64, "port"),
        counted(snapshot.networks.iter().map(|network| network.addresses).sum(), "learned MAC"),
        counted(snapshot.workers.len() as u64, "worker"),
    );
    let networks = network_table(&snapshot.networks).render(colour);
    let ports = port_table(&snapshot.ports, colour);
    let workers = worker_table(&snapshot.workers).render(colour);
    let not_kept = snapshot.restored.not_kept.as_ref();
    let not_kept = not_kept.map_or(String::new(), |problem| format!("connections are not kept: {problem}\n"));
    let head = head + &save::status_lines(&snapshot.configuration) + &not_kept;
    format!("{head}\n{networks}\n{ports}\n{workers}")
}

#[cfg(test)]
mod tests;
