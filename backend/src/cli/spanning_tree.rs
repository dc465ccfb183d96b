//! `viaduct show stp`: spanning trees.

use super::table::{Align, Cell, Colour, Table};
use super::units;
use crate::model::{StpPortStatus, StpStatus};

/// Each tree: where its root is, and a line for each uplink.
pub(super) fn stp_text(trees: &[StpStatus], colour: bool) -> String {
    if trees.is_empty() {
        return "no network has a spanning tree; set stp = \"rstp\" in [network.NAME] (docs/bridged.md)\n"
            .to_owned();
    }
    let texts: Vec<String> = trees.iter().map(|tree| tree_text(tree, colour)).collect();
    texts.join("\n")
}

fn tree_text(tree: &StpStatus, colour: bool) -> String {
    let networks = tree.networks.join(", ");
    let (Some(bridge), Some(root)) = (&tree.bridge, &tree.root) else {
        return format!("{networks}: {}, no uplink has had a link yet\n", tree.protocol);
    };
    let way = match &tree.root_port {
        Some(port) => format!("root {root} by {port}, cost {}", tree.root_cost),
        None => "this bridge is the root".to_owned(),
    };
    let changes = match tree.since_change_s {
        Some(since) => {
            format!("topology changes {}, the last {} ago", tree.topology_changes, units::seconds(since))
        }
        None => "the topology has not changed".to_owned(),
    };
    let time = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time} s"));
    let (hello, age, delay) = (time(tree.hello_time_s), time(tree.max_age_s), time(tree.forward_delay_s));
    let head = format!(
        "{networks}: {}, bridge {bridge}\n{way}; {changes}\nhello {hello}, max age {age}, forward delay {delay}\n",
        tree.protocol
    );
    head + &port_table(&tree.ports).render(colour)
}

fn port_table(ports: &[StpPortStatus]) -> Table {
    let mut table = Table::new(&[
        ("UPLINK", Align::Left),
        ("ROLE", Align::Left),
        ("STATE", Align::Left),
        ("COST", Align::Right),
        ("PRIORITY", Align::Right),
        ("SPEAKS", Align::Left),
        ("LINK", Align::Left),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
    ]);
    for port in ports {
        table.row([
            port.uplink.as_str().into(),
            port.role.as_str().into(),
            state(port),
            port.cost.to_string().into(),
            port.priority.to_string().into(),
            port.protocol.as_str().into(),
            link(port).into(),
            units::count(port.rst_received + port.configuration_received + port.notification_received).into(),
            units::count(port.rst_sent + port.configuration_sent + port.notification_sent).into(),
        ]);
    }
    table
}

fn state(port: &StpPortStatus) -> Cell {
    let colour = match port.state.as_str() {
        "forwarding" => Colour::Green,
        _ => Colour::Yellow,
    };
    Cell::coloured(port.state.as_str(), colour)
}

fn link(port: &StpPortStatus) -> &'static str {
    match port {
        StpPortStatus { disputed: true, .. } => "disputed",
        StpPortStatus { edge: true, .. } => "edge",
        StpPortStatus { point_to_point: true, .. } => "point-to-point",
        _ => "shared",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_told_with_its_root_and_uplinks() {
        let port = StpPortStatus {
            uplink: "wan1".to_owned(),
            role: "root".to_owned(),
            state: "forwarding".to_owned(),
            cost: 2000,
            priority: 128,
            protocol: "rstp".to_owned(),
            point_to_point: true,
            rst_received: 3,
            rst_sent: 2,
            ..StpPortStatus::default()
        };
        let tree = StpStatus {
            networks: vec!["office".to_owned()],
            protocol: "rstp".to_owned(),
            bridge: Some("32768.02:00:00:00:00:01".to_owned()),
            root: Some("4096.02:00:00:00:00:02".to_owned()),
            root_cost: 2000,
            root_port: Some("wan1".to_owned()),
            hello_time_s: Some(2.0),
            ports: vec![port],
            ..StpStatus::default()
        };
        let text = stp_text(&[tree.clone(), StpStatus { bridge: None, ..tree }], false);
        for part in [
            "office: rstp, bridge 32768.02:00:00:00:00:01",
            "root 4096.02:00:00:00:00:02 by wan1, cost 2000; the topology has not changed",
            "hello 2 s, max age -",
            "wan1    root  forwarding  2000       128  rstp    point-to-point         3     2",
            "no uplink has had a link yet",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(stp_text(&[], false).contains("no network has a spanning tree"));
    }
}
