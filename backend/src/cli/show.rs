//! `viaduct show`: what the running daemon does.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

use super::bonds::bond_text;
use super::check::counted;
use super::failure::Failure;
use super::groups::show_groups;
use super::port::one_port;
use super::spanning_tree::stp_text;
use super::table::{Align, Cell, Colour, Table};
use super::uplinks::uplink_text;
use super::{Style, gateways, json, units};
use crate::api::Client;
use crate::model::{
    DropStatus, FdbStatus, FlowCacheStatus, MulticastStatus, NetworkStatus, PortState, PortStatus, Snapshot,
    WorkerStatus,
};

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
    /// Addresses that are lent by DHCP
    Leases,
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
    if let Some(what @ (What::Routes | What::Leases | What::Neighbours)) = what {
        return gateways::show(client, what, name, style);
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
        (Some(What::Workers), Some(_)) => {
            return Err(Failure::new("workers have no names; leave the name out"));
        }
        (Some(What::Networks | What::Fdb | What::Multicast | What::Stp), Some(name)) => {
            only_network(snapshot, name)?
        }
        (Some(What::Uplinks | What::Bonds), Some(name)) => only_uplink(snapshot, name)?,
        (_, Some(name)) => only_port(snapshot, name)?,
    };
    if style.json { programs(&snapshot, what) } else { Ok(people(&snapshot, what, name, style.colour)) }
}

fn only_port(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    snapshot.ports.retain(|port| port.name == name);
    let missing = || Failure::new(format!("there is no port {name}; `viaduct show ports` lists all"));
    (!snapshot.ports.is_empty()).then_some(snapshot).ok_or_else(missing)
}

fn only_uplink(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    snapshot.ports.retain(|port| port.name == name && port.is_uplink());
    snapshot.bonds.retain(|bond| bond.uplink == name);
    let missing = || Failure::new(format!("there is no uplink {name}; `viaduct show uplinks` lists all"));
    (!snapshot.ports.is_empty()).then_some(snapshot).ok_or_else(missing)
}

fn only_network(mut snapshot: Snapshot, name: &str) -> Result<Snapshot, Failure> {
    snapshot.networks.retain(|network| network.name == name);
    snapshot.fdb.retain(|entry| entry.network == name);
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
        Some(What::Fdb) => json(&snapshot.fdb),
        Some(What::Multicast) => json(&snapshot.multicast_groups),
        Some(What::Stp) => json(&snapshot.stp),
        // Asked for elsewhere: see `connections` and `gateways`.
        Some(What::Connections | What::Neighbours | What::Routes | What::Leases | What::Nat) => {
            Ok(String::new())
        }
        Some(What::Workers) => json(&snapshot.workers),
        Some(What::Drops) => json(&all_drops(snapshot).collect::<Vec<_>>()),
    }
}

fn people(snapshot: &Snapshot, what: Option<What>, name: Option<&str>, colour: bool) -> String {
    match (what, snapshot.ports.as_slice()) {
        (None | Some(What::Groups), _) => overview(snapshot, colour),
        (Some(What::Ports | What::Uplinks), [port]) if name.is_some() => one_port(port),
        (Some(What::Uplinks), _) => uplink_text(snapshot, colour),
        (Some(What::Bonds), _) => bond_text(&snapshot.bonds, colour),
        (Some(What::Ports), ports) => port_table(ports, colour),
        (Some(What::Networks), _) => network_table(&snapshot.networks).render(colour),
        (Some(What::Fdb), _) => fdb_table(&snapshot.fdb).render(colour),
        (Some(What::Multicast), _) => multicast_text(snapshot, colour),
        (Some(What::Stp), _) => stp_text(&snapshot.stp, colour),
        (Some(What::Connections | What::Neighbours | What::Routes | What::Leases | What::Nat), _) => {
            String::new()
        }
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
        counted(snapshot.fdb.len() as u64, "learned MAC"),
        counted(snapshot.workers.len() as u64, "worker"),
    );
    let networks = network_table(&snapshot.networks).render(colour);
    let ports = port_table(&snapshot.ports, colour);
    let workers = worker_table(&snapshot.workers).render(colour);
    format!("{head}\n{networks}\n{ports}\n{workers}")
}

pub(super) fn state(port: &PortStatus) -> Cell {
    let colour = match port.state {
        PortState::Listening | PortState::Connecting | PortState::Connected | PortState::Waiting => {
            Colour::Yellow
        }
        PortState::Running | PortState::Attached => Colour::Green,
        PortState::Broken => Colour::Red,
    };
    Cell::coloured(state_name(port.state), colour)
}

/// The port's network; of several the one without a tag, and how many have theirs.
fn membership(port: &PortStatus) -> String {
    let tagged =
        port.network.split(',').filter(|name| !name.is_empty() && Some(*name) != port.native.as_deref());
    match (tagged.count() as u64, &port.native) {
        (0, _) => port.network.clone(),
        (1, None) => format!("{} tagged", port.network),
        (count, None) => counted(count, "tagged network"),
        (count, Some(native)) => format!("{native} and {}", counted(count, "tagged network")),
    }
}

/// The state in a word.
pub(super) fn state_name(state: PortState) -> &'static str {
    match state {
        PortState::Listening => "listening",
        PortState::Connecting => "connecting",
        PortState::Connected => "connected",
        PortState::Running => "running",
        PortState::Broken => "broken",
        PortState::Waiting => "waiting",
        PortState::Attached => "attached",
    }
}

/// Frames dropped for whatever reason.
pub(super) fn dropped(port: &PortStatus) -> u64 {
    port.drops.iter().map(|drops| drops.frames).fold(0, u64::saturating_add)
}

/// A line for each port, and below a line for each that has something to say.
fn port_table(ports: &[PortStatus], colour: bool) -> String {
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("NETWORK", Align::Left),
        ("STATE", Align::Left),
        ("MAC", Align::Left),
        ("RECEIVED", Align::Right),
        ("", Align::Right),
        ("SENT", Align::Right),
        ("", Align::Right),
        ("DROPS", Align::Right),
    ]);
    for port in ports {
        let traffic = [port.received, port.sent].map(|traffic| {
            [Cell::from(units::count(traffic.frames)), Cell::from(units::bytes(traffic.bytes))]
        });
        let names =
            [port.name.as_str().into(), membership(port).into(), state(port), port.mac.as_str().into()];
        let drops = Cell::from(units::count(dropped(port)));
        table.row(names.into_iter().chain(traffic.into_iter().flatten()).chain([drops]));
    }
    let mut text = table.render(colour);
    for port in ports.iter().filter(|port| [PortState::Broken, PortState::Waiting].contains(&port.state)) {
        let detail = port.detail.as_deref().unwrap_or("a ring was stopped");
        text.push_str(&format!("{}: {detail}\n", port.name));
    }
    text
}

/// A VLAN id, or that there is none.
fn vlan(id: Option<u16>) -> Cell {
    id.map_or("-".into(), |id| id.to_string().into())
}

fn network_table(networks: &[NetworkStatus]) -> Table {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("MODE", Align::Left),
        ("VLAN", Align::Right),
        ("AGEING", Align::Right),
        ("ADDRESSES", Align::Right),
        ("PORTS", Align::Left),
    ]);
    for network in networks {
        table.row([
            network.name.as_str().into(),
            network.mode.as_str().into(),
            vlan(network.vlan),
            units::seconds(u64::from(network.ageing_s)).into(),
            units::count(network.addresses).into(),
            network.ports.join(" ").into(),
        ]);
    }
    table
}

/// A line for each member of each group, and the counters that are not 0.
fn multicast_text(snapshot: &Snapshot, colour: bool) -> String {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("GROUP", Align::Left),
        ("PORT", Align::Left),
        ("EXPIRES", Align::Right),
    ]);
    for status in &snapshot.multicast_groups {
        let name = match (status.routers, status.group.contains(':')) {
            (false, _) => status.group.as_str(),
            (true, false) => "routers, IPv4",
            (true, true) => "routers, IPv6",
        };
        for member in &status.members {
            let expires = units::seconds(u64::from(member.expires_s));
            table.row([
                status.network.as_str().into(),
                name.into(),
                member.port.as_str().into(),
                expires.into(),
            ]);
        }
    }
    let MulticastStatus { queries, joined, left, expired, .. } = snapshot.multicast;
    let MulticastStatus { evicted, refused, contended, malformed, unread, .. } = snapshot.multicast;
    let trouble = evicted + refused + contended + malformed + unread;
    let [queries, joined, left, expired, trouble] =
        [queries, joined, left, expired, trouble].map(units::count);
    let sums = format!(
        "so far {queries} queries, {joined} joined, {left} left, {expired} expired, {trouble} in trouble\n"
    );
    table.render(colour) + "\n" + &sums
}

fn fdb_table(entries: &[FdbStatus]) -> Table {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("VLAN", Align::Right),
        ("MAC", Align::Left),
        ("PORT", Align::Left),
        ("LAST SEEN", Align::Right),
    ]);
    for entry in entries {
        table.row([
            entry.network.as_str().into(),
            vlan(entry.vlan),
            entry.mac.as_str().into(),
            entry.port.as_str().into(),
            units::seconds(u64::from(entry.age_s)).into(),
        ]);
    }
    table
}

fn worker_table(workers: &[WorkerStatus]) -> Table {
    let mut table = Table::new(&[
        ("CPU", Align::Right),
        ("RINGS", Align::Right),
        ("FRAMES", Align::Right),
        ("BURSTS", Align::Right),
        ("FRAMES/BURST", Align::Right),
        ("CACHED", Align::Right),
        ("SLEEPS", Align::Right),
        ("WAKES", Align::Right),
        ("SPINS", Align::Right),
        ("CONTENDED", Align::Right),
    ]);
    for worker in workers {
        let tenths = worker.frames.saturating_mul(10).checked_div(worker.bursts).unwrap_or(0);
        table.row([
            worker.cpu.to_string().into(),
            worker.rings.to_string().into(),
            units::count(worker.frames).into(),
            units::count(worker.bursts).into(),
            format!("{}.{}", tenths / 10, tenths % 10).into(),
            cached_part(&worker.flow_cache).into(),
            units::count(worker.sleeps).into(),
            units::count(worker.wakes).into(),
            units::count(worker.spins).into(),
            units::count(worker.contended).into(),
        ]);
    }
    table
}

/// Of how many frames in a hundred the decision was replayed.
fn cached_part(flows: &FlowCacheStatus) -> String {
    let frames = flows.hits.saturating_add(flows.misses);
    let hundredths = u128::from(flows.hits) * 100;
    hundredths.checked_div(frames.into()).map_or("-".to_owned(), |percent| format!("{percent} %"))
}

/// A line for each reason at each port, and the reasons' sentences once.
fn drop_text(snapshot: &Snapshot, colour: bool) -> String {
    let mut table = Table::new(&[("PORT", Align::Left), ("FRAMES", Align::Right), ("REASON", Align::Left)]);
    let mut sentences = BTreeMap::new();
    for PortDrops { port, drops } in all_drops(snapshot) {
        table.row([port.into(), units::count(drops.frames).into(), drops.reason.as_str().into()]);
        sentences.insert(&drops.reason, &drops.meaning);
    }
    if sentences.is_empty() {
        return "no frame was dropped\n".to_owned();
    }
    let mut text = table.render(colour) + "\n";
    for (reason, sentence) in sentences {
        text.push_str(&format!("{reason}: {sentence}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::{InterfaceStatus, LinkState, MemberStatus, MulticastGroupStatus, Traffic};

    fn port(name: &str, state: PortState) -> PortStatus {
        PortStatus {
            groups: None,
            name: name.to_owned(),
            network: "lab".to_owned(),
            native: Some("lab".to_owned()),
            kind: "vhost-user".to_owned(),
            interface: None,
            socket: PathBuf::from(format!("/run/viaduct/{name}.sock")),
            role: "server".to_owned(),
            mac: "52:54:00:00:00:01".to_owned(),
            mtu: 1500,
            queues: 2,
            state,
            detail: (state == PortState::Broken).then(|| "ring 1: the available index jumped".to_owned()),
            peer_pid: Some(4711),
            rings_running: 4,
            features: vec!["VERSION_1".to_owned(); 12],
            received: Traffic { frames: 1_234_567, bytes: 1_900_000_000 },
            sent: Traffic { frames: 12, bytes: 840 },
            drops: vec![DropStatus {
                reason: "runt".to_owned(),
                meaning: "Too short.".to_owned(),
                frames: 7,
            }],
            connections: 1,
        }
    }

    fn uplink(name: &str, state: PortState) -> PortStatus {
        let interface = InterfaceStatus {
            name: "ens1f0np0".to_owned(),
            netns: None,
            renamed: None,
            index: Some(3),
            driver: Some("af-packet".to_owned()),
            reason: Some("it has no XDP driver".to_owned()),
            link: LinkState::NoCarrier,
            mtu: Some(1500),
            speed_mbps: Some(25_000),
            offloads: vec!["csum".to_owned(), "tso4".to_owned()],
            received_rate: Traffic { frames: 812_345, bytes: 987_654_321 },
            sent_rate: Traffic { frames: 1, bytes: 60 },
        };
        let kind = "uplink".to_owned();
        PortStatus { kind, interface: Some(interface), rings_running: 0, ..port(name, state) }
    }

    fn snapshot() -> Snapshot {
        let long = "a-port-whose-name-is-as-long-as-a-name-can-be-in-this-program-1";
        Snapshot {
            generation: 3,
            uptime_s: 65,
            ports: vec![
                port("vm1", PortState::Running),
                port(long, PortState::Broken),
                uplink("wan", PortState::Attached),
                uplink("metro", PortState::Waiting),
            ],
            networks: vec![NetworkStatus {
                name: "lab".to_owned(),
                mode: "isolated".to_owned(),
                uplink: None,
                vlan: Some(4094),
                ports: vec!["vm1".to_owned(), long.to_owned()],
                addresses: 2,
                ageing_s: 300,
            }],
            fdb: vec![FdbStatus {
                network: "lab".to_owned(),
                vlan: Some(4094),
                mac: "52:54:00:00:00:01".to_owned(),
                port: long.to_owned(),
                age_s: 3,
            }],
            multicast_groups: vec![MulticastGroupStatus {
                network: "lab".to_owned(),
                group: "ff05::1:3".to_owned(),
                routers: false,
                members: vec![MemberStatus { port: "vm1".to_owned(), expires_s: 259 }],
            }],
            multicast: MulticastStatus::default(),
            stp: Vec::new(),
            bonds: Vec::new(),
            neighbours: Vec::new(),
            workers: vec![WorkerStatus {
                cpu: 0,
                rings: 4,
                bursts: 8,
                frames: 20,
                sleeps: 1,
                flow_cache: FlowCacheStatus { hits: 19, misses: 1, ..FlowCacheStatus::default() },
                ..Default::default()
            }],
        }
    }

    const ALL: [Option<What>; 8] = [
        None,
        Some(What::Ports),
        Some(What::Uplinks),
        Some(What::Networks),
        Some(What::Fdb),
        Some(What::Multicast),
        Some(What::Workers),
        Some(What::Drops),
    ];

    #[test]
    fn everything_fits_a_hundred_columns() {
        for what in ALL {
            let text = people(&snapshot(), what, None, false);
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{what:?}: {line}");
            }
        }
    }

    #[test]
    fn a_port_is_one_line_and_a_broken_one_says_why() {
        let text = people(&snapshot(), Some(What::Ports), None, false);
        let lines: Vec<&str> = text.lines().collect();
        let row = lines.iter().find(|line| line.starts_with("vm1 ")).unwrap();
        for part in ["lab", "running", "52:54:00:00:00:01", "1.23M", "1.90 GB", "12", "840 B", "7"] {
            assert!(row.contains(part), "{part} in {row}");
        }
        assert!(lines.iter().any(|line| line.ends_with(": ring 1: the available index jumped")), "{text}");
    }

    #[test]
    fn an_uplink_is_told_with_its_interface_driver_and_rates() {
        let text = people(&snapshot(), Some(What::Uplinks), None, false);
        let row = text.lines().find(|line| line.starts_with("wan ")).unwrap();
        for part in
            ["ens1f0np0", "af-packet", "no-carrier", "25.0 Gbit/s", "1500", "7.90 Gbit/s", "480 bit/s"]
        {
            assert!(row.contains(part), "{part} in {row}");
        }
        assert!(!text.contains("vm1"), "{text}");
        let one = only_uplink(snapshot(), "wan").unwrap();
        let text = people(&one, Some(What::Uplinks), Some("wan"), false);
        for part in ["wan to network lab: attached", "af-packet: it has no XDP driver", "csum tso4"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(only_uplink(snapshot(), "vm1").is_err());
    }

    #[test]
    fn one_port_is_told_in_full() {
        let snapshot = only_port(snapshot(), "vm1").unwrap();
        let text = people(&snapshot, Some(What::Ports), Some("vm1"), false);
        for part in ["process 4711", "4 of 4 rings run", "7 runt: Too short.", "VERSION_1"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn an_unknown_port_or_network_is_an_error() {
        assert!(only_port(snapshot(), "vm9").is_err());
        assert!(only_network(snapshot(), "wan").is_err());
    }

    #[test]
    fn programs_get_the_same_names_as_the_api() {
        for what in ALL {
            let value: serde_json::Value =
                serde_json::from_str(&programs(&snapshot(), what).unwrap()).unwrap();
            assert!(if what.is_none() { value.is_object() } else { value.is_array() }, "{what:?}");
        }
        let drops: serde_json::Value =
            serde_json::from_str(&programs(&snapshot(), Some(What::Drops)).unwrap()).unwrap();
        assert_eq!(
            drops[0],
            serde_json::json!({"port": "vm1", "reason": "runt", "meaning": "Too short.", "frames": 7})
        );
    }
}
