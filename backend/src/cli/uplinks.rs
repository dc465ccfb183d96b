//! `viaduct show uplinks`: ways to the outside.

use super::show::{dropped, state};
use super::table::{Align, Table};
use super::units;
use crate::model::{InterfaceStatus, PortStatus, Snapshot, Traffic};

/// A line for each uplink, and below a line for each that has something to say.
pub(super) fn uplink_text(snapshot: &Snapshot, colour: bool) -> String {
    let mut table = Table::new(&[
        ("UPLINK", Align::Left),
        ("INTERFACE", Align::Left),
        ("STATE", Align::Left),
        ("DRIVER", Align::Left),
        ("LINK", Align::Left),
        ("SPEED", Align::Right),
        ("MTU", Align::Right),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
        ("DROPS", Align::Right),
    ]);
    let mut notes = String::new();
    for port in snapshot.uplinks() {
        let Some(interface) = &port.interface else { continue };
        row(&mut table, port, interface);
        if let Some(detail) = &port.detail {
            notes.push_str(&format!("{}: {detail}\n", port.name));
        }
    }
    if snapshot.uplinks().next().is_none() {
        return "there is no uplink; declare one as [uplink.NAME] (docs/bridged.md)\n".to_owned();
    }
    table.render(colour) + &notes
}

fn row(table: &mut Table, port: &PortStatus, interface: &InterfaceStatus) {
    let speed = interface.speed_mbps.map(|mbps| units::bit_rate(u64::from(mbps) * 1_000_000));
    let rate = |rate: Traffic| units::bit_rate(rate.bytes.saturating_mul(8));
    let or_nothing = |text: Option<String>| text.unwrap_or("-".to_owned());
    table.row([
        port.name.as_str().into(),
        interface.name.as_str().into(),
        state(port),
        or_nothing(interface.driver.clone()).into(),
        interface.link.name().into(),
        or_nothing(speed).into(),
        or_nothing(interface.mtu.map(|mtu| mtu.to_string())).into(),
        rate(interface.received_rate).into(),
        rate(interface.sent_rate).into(),
        units::count(dropped(port)).into(),
    ]);
}
