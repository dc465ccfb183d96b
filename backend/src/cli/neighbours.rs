//! `viaduct show neighbours`: who is at the other end of uplinks, as they say by LLDP.

use super::table::{Align, Table};
use super::units;
use crate::model::NeighbourStatus;

/// A line for each neighbour.
pub(super) fn neighbour_text(neighbours: &[NeighbourStatus], colour: bool) -> String {
    if neighbours.is_empty() {
        return "no neighbour was heard; set lldp = true in [uplink.NAME], and wait for half a minute\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        ("UPLINK", Align::Left),
        ("INTERFACE", Align::Left),
        ("SYSTEM", Align::Left),
        ("PORT", Align::Left),
        ("CHASSIS", Align::Left),
        ("DOES", Align::Left),
        ("MANAGED AT", Align::Left),
        ("EXPIRES", Align::Right),
    ]);
    for neighbour in neighbours {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
        table.row([
            neighbour.uplink.as_str().into(),
            neighbour.interface.as_str().into(),
            or_nothing(&neighbour.system_name).into(),
            neighbour.port.as_str().into(),
            neighbour.chassis.as_str().into(),
            if neighbour.enabled.is_empty() { "-".into() } else { neighbour.enabled.join(",").into() },
            or_nothing(&neighbour.management).into(),
            units::seconds(neighbour.expires_s).into(),
        ]);
    }
    table.render(colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_told_in_a_line() {
        let neighbour = NeighbourStatus {
            uplink: "wan".to_owned(),
            interface: "eth1".to_owned(),
            system_name: Some("tor1".to_owned()),
            port: "swp7".to_owned(),
            chassis: "02:00:00:00:00:01".to_owned(),
            enabled: vec!["bridge".to_owned(), "router".to_owned()],
            expires_s: 61,
            ..NeighbourStatus::default()
        };
        let text = neighbour_text(&[neighbour], false);
        let line = "wan     eth1       tor1    swp7  02:00:00:00:00:01  bridge,router  -";
        assert!(text.contains(line), "{text}");
        assert!(neighbour_text(&[], false).contains("lldp = true"));
    }
}
