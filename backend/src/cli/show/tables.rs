//! What people are shown: tables of ports, networks, addresses, groups, workers and drops.

use std::collections::BTreeMap;

use super::{PortDrops, all_drops};
use crate::cli::check::counted;
use crate::cli::table::{Align, Cell, Colour, Table};
use crate::cli::units;
use crate::model::{
    FdbStatus, FlowCacheStatus, MulticastStatus, NetworkStatus, NumaStatus, PortState, PortStatus, Snapshot,
    WorkerStatus, p99_us,
};

pub(in crate::cli) fn state(port: &PortStatus) -> Cell {
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
pub(in crate::cli) fn state_name(state: PortState) -> &'static str {
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
pub(in crate::cli) fn dropped(port: &PortStatus) -> u64 {
    port.drops.iter().map(|drops| drops.frames).fold(0, u64::saturating_add)
}

/// A line for each port, and below a line for each that has something to say.
pub(super) fn port_table(ports: &[PortStatus], colour: bool) -> String {
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
    for port in ports.iter().filter(|port| port.pauses > 0) {
        text.push_str(&format!(
            "{}: sends more than its QoS lets it: {}\n",
            port.name,
            paused(port.pauses, port.paused_ms)
        ));
    }
    let far = |port: &PortStatus| {
        let numa = port.numa.as_ref().filter(|numa| !numa.is_local)?;
        Some(format!("{}: its memory is {}\n", port.name, memory(numa)))
    };
    text.extend(ports.iter().filter_map(far));
    text
}

/// Where a guest's memory is, and whether those who read it are there, too.
pub(in crate::cli) fn memory(numa: &NumaStatus) -> String {
    let NumaStatus { memory_node, cpus, is_local } = numa;
    let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let cpus = cpus.join(" ");
    match (cpus.as_str(), is_local) {
        ("", _) => format!("on node {memory_node}"),
        (cpus, true) => format!("on node {memory_node}; its workers are near (processors {cpus})"),
        (cpus, false) => {
            format!("on node {memory_node}; not all of its workers are near (processors {cpus})")
        }
    }
}

/// What a guest waited, for people.
pub(in crate::cli) fn paused(pauses: u64, paused_ms: u64) -> String {
    let (seconds, tenths) = (paused_ms / 1000, paused_ms % 1000 / 100);
    format!("left in its ring {} for {seconds}.{tenths} s in all", counted(pauses, "time"))
}

/// A VLAN id, or that there is none.
fn vlan(id: Option<u16>) -> Cell {
    id.map_or("-".into(), |id| id.to_string().into())
}

pub(super) fn network_table(networks: &[NetworkStatus]) -> Table {
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
pub(super) fn multicast_text(snapshot: &Snapshot, colour: bool) -> String {
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

pub(super) fn fdb_table(entries: &[FdbStatus]) -> Table {
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

pub(super) fn worker_table(workers: &[WorkerStatus]) -> Table {
    let mut table = Table::new(&[
        ("CPU", Align::Right),
        ("NODE", Align::Right),
        ("RINGS", Align::Right),
        ("FRAMES", Align::Right),
        ("BURSTS", Align::Right),
        ("FRAMES/BURST", Align::Right),
        ("CACHED", Align::Right),
        ("SLEEPS", Align::Right),
        ("WAKES", Align::Right),
        ("SPINS", Align::Right),
        ("CONTENDED", Align::Right),
        ("P99", Align::Right),
    ]);
    for worker in workers {
        let tenths = worker.frames.saturating_mul(10).checked_div(worker.bursts).unwrap_or(0);
        table.row([
            worker.cpu.to_string().into(),
            worker.node.map_or("-".to_owned(), |node| node.to_string()).into(),
            worker.rings.to_string().into(),
            units::count(worker.frames).into(),
            units::count(worker.bursts).into(),
            format!("{}.{}", tenths / 10, tenths % 10).into(),
            cached_part(&worker.flow_cache).into(),
            units::count(worker.sleeps).into(),
            units::count(worker.wakes).into(),
            units::count(worker.spins).into(),
            units::count(worker.contended).into(),
            units::at_most(p99_us(&worker.round_times)).into(),
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
pub(super) fn drop_text(snapshot: &Snapshot, colour: bool) -> String {
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
