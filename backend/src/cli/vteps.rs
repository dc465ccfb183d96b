//! `viaduct show vteps`: the other ends of tunnels.

use super::failure::Failure;
use super::table::{Align, Table};
use super::{Style, json, units};
use crate::api::Client;
use crate::model::{DuplicateStatus, SuppressionStatus, VtepStatus, VtepTables};

/// Asks the daemon for VTEPs; with a name, for those of that uplink.
pub(super) fn show(client: &Client, uplink: Option<&str>, style: Style) -> Result<String, Failure> {
    let mut tables: VtepTables = client.get("/v1/vteps")?;
    tables.vteps.retain(|vtep| uplink.is_none_or(|uplink| uplink == vtep.uplink));
    if style.json { json(&tables) } else { Ok(text(&tables, style.colour)) }
}

fn text(tables: &VtepTables, colour: bool) -> String {
    if tables.vteps.is_empty() {
        return "there are no tunnels: no network has an `overlay`, or its uplink has no interface or address yet (`viaduct show uplinks`)\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        ("UPLINK", Align::Left),
        ("KIND", Align::Left),
        ("ADDRESS", Align::Left),
        ("NETWORKS", Align::Left),
        ("KNOWN", Align::Left),
        ("STATE", Align::Left),
        ("HEARD", Align::Right),
        ("STATIONS", Align::Right),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
    ]);
    for vtep in &tables.vteps {
        table.row([
            vtep.uplink.as_str().into(),
            vtep.kind.as_str().into(),
            vtep.address.to_string().into(),
            networks(vtep).into(),
            if vtep.is_configured { "written" } else { "heard" }.into(),
            vtep.state.as_str().into(),
            vtep.heard_s.map_or("never".to_owned(), |heard_s| units::seconds(heard_s.into())).into(),
            units::count(vtep.stations).into(),
            units::bytes(vtep.received_bytes).into(),
            units::bytes(vtep.sent_bytes).into(),
        ]);
    }
    let SuppressionStatus { answered, passed, refused, learned, fixed } = tables.suppression;
    let suppression = format!(
        "ARP suppression: {answered} answered, {passed} passed on; {fixed} addresses written, {learned} learned, {refused} \
         without room\n"
    );
    let drops: String = tables.vteps.iter().filter(|vtep| !vtep.drops.is_empty()).map(drops).collect();
    let duplicates = duplicate_lines(&tables.duplicates);
    format!("{}\n{drops}{duplicates}{suppression}", table.render(colour))
}

/// A line for each address that moves again and again.
pub(super) fn duplicate_lines(duplicates: &[DuplicateStatus]) -> String {
    let line = |duplicate: &DuplicateStatus| {
        let DuplicateStatus { network, mac, port, other_port, moves, age_s } = duplicate;
        let age = units::seconds(u64::from(*age_s));
        format!(
            "{mac} in {network} moved {moves} times between {port} and {other_port}, {age} ago: who has it?\n"
        )
    };
    duplicates.iter().map(line).collect()
}

/// The first few networks, with their numbers.
fn networks(vtep: &VtepStatus) -> String {
    let shown = vtep.networks.iter().take(2).map(|network| format!("{} {}", network.network, network.id));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match vtep.networks.len().saturating_sub(2) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What came from there and was not delivered.
fn drops(vtep: &VtepStatus) -> String {
    let drops: Vec<String> =
        vtep.drops.iter().map(|drop| format!("{} {}", units::count(drop.frames), drop.reason)).collect();
    format!("dropped from {}: {}\n", vtep.address, drops.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DropStatus, TunnelledNetwork};

    #[test]
    fn a_vtep_is_told_in_a_line() {
        let network = |id| TunnelledNetwork { network: format!("t{id}"), id };
        let vtep = VtepStatus {
            uplink: "isp".to_owned(),
            kind: "vxlan".to_owned(),
            address: "192.0.2.2".parse().unwrap(),
            local: "192.0.2.1".parse().unwrap(),
            networks: (1..6).map(network).collect(),
            is_configured: true,
            state: "resolved".to_owned(),
            heard_s: Some(3),
            stations: 7,
            received_frames: 5,
            received_bytes: 500,
            sent_frames: 0,
            sent_bytes: 0,
            drops: vec![DropStatus {
                reason: "vlan-inner-tag".to_owned(),
                meaning: String::new(),
                frames: 3,
            }],
        };
        let suppression = SuppressionStatus { answered: 4, passed: 2, ..SuppressionStatus::default() };
        let told = text(&VtepTables { vteps: vec![vtep], suppression, duplicates: Vec::new() }, false);
        for part in [
            "192.0.2.2",
            "t1 1, t2 2 and 3 more",
            "dropped from 192.0.2.2: 3 vlan-inner-tag",
            "written",
            "resolved",
            "3 s",
            "4 answered, 2 passed on",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        assert!(text(&VtepTables::default(), false).contains("no tunnels"));
    }
}
