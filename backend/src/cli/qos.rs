//! `viaduct show qos`: what is let through, and what is not.

use super::shaping::shaping_text;
use super::show::paused;
use super::table::{Align, Cell, Colour, Table};
use super::units;
use crate::model::{CountedStatus, MeterStatus, QosStatus};

/// The meters, a line each.
pub(super) fn qos_text(qos: &QosStatus, colour: bool) -> String {
    if qos.meters.is_empty() && qos.trees.is_empty() {
        return "no port has a QoS; set qos = \"NAME\" in [port.NAME], and declare [qos.NAME] (docs/configuration.md)\n"
            .to_owned();
    }
    let meters =
        (!qos.meters.is_empty()).then(|| meter_table(&qos.meters).render(colour) + &pauses(&qos.meters));
    let trees = (!qos.trees.is_empty()).then(|| shaping_text(&qos.trees, colour));
    let parts: Vec<String> = meters.into_iter().chain(trees).collect();
    parts.join("\n")
}

fn meter_table(meters: &[MeterStatus]) -> Table {
    let mut table = Table::new(&[
        ("METER", Align::Left),
        ("PORTS", Align::Left),
        ("LIMITS", Align::Left),
        ("CONFORMING", Align::Right),
        ("EXCEEDING", Align::Right),
        ("DROPPED", Align::Right),
    ]);
    for meter in meters {
        let dropped = counted(&meter.dropped);
        let is_dropping = meter.dropped.packets > 0;
        table.row([
            meter.qos.as_str().into(),
            meter.ports.join(", ").into(),
            meter.limits.as_str().into(),
            counted(&meter.conforming).into(),
            counted(&meter.exceeding).into(),
            if is_dropping { Cell::coloured(dropped, Colour::Yellow) } else { dropped.into() },
        ]);
    }
    table
}

/// What guests waited for, a line for each meter that lets them.
fn pauses(meters: &[MeterStatus]) -> String {
    let waiting = meters.iter().filter(|meter| meter.pauses > 0);
    let line = |meter: &MeterStatus| {
        format!("{}: {}: {}\n", meter.qos, meter.ports.join(", "), paused(meter.pauses, meter.paused_ms))
    };
    waiting.map(line).collect()
}

/// Packets and bytes.
fn counted(counted: &CountedStatus) -> String {
    format!("{} / {}", units::count(counted.packets), units::bytes(counted.bytes))
}
