//! `viaduct show bonds`: the links of uplinks that have several, and what LACP says of both ends.

use super::table::{Align, Cell, Colour, Table};
use super::units;
use crate::model::{BondLinkStatus, BondStatus, LacpLinkStatus, LinkState};

/// Each bond with a line for each link; with LACP a second table of both ends.
pub(super) fn bond_text(bonds: &[BondStatus], colour: bool) -> String {
    if bonds.is_empty() {
        return "no uplink is a bond; give one `interfaces` and `bond` (docs/bonds.md)\n".to_owned();
    }
    let texts: Vec<String> = bonds.iter().map(|bond| one_bond(bond, colour)).collect();
    texts.join("\n")
}

fn one_bond(bond: &BondStatus, colour: bool) -> String {
    let mut text = format!("{}: {}, hash {}", bond.uplink, bond.mode, bond.hash);
    if let Some(rate) = &bond.rate {
        text.push_str(&format!(
            ", rate {rate}, system {}",
            bond.system.as_deref().unwrap_or("not known yet")
        ));
    }
    if bond.failovers > 0 {
        text.push_str(&format!(", {} failovers", bond.failovers));
    }
    text.push('\n');
    text.push_str(&link_table(&bond.links).render(colour));
    if bond.links.iter().any(|link| link.lacp.is_some()) {
        text.push_str(&lacp_table(&bond.links).render(colour));
    }
    for link in &bond.links {
        if let Some(detail) = &link.detail {
            text.push_str(&format!("{}: {detail}\n", link.interface));
        }
        if link.answered == Some(false) && link.link == LinkState::Up {
            text.push_str(&format!("{}: none of `arp_targets` answers by it\n", link.interface));
        }
        if link.lacp.as_ref().is_some_and(|lacp| lacp.looped) {
            text.push_str(&format!("{}: its other end is this switch itself\n", link.interface));
        }
    }
    text
}

fn link_table(links: &[BondLinkStatus]) -> Table {
    let mut table = Table::new(&[
        ("INTERFACE", Align::Left),
        ("LINK", Align::Left),
        ("SPEED", Align::Right),
        ("SENDS", Align::Left),
        ("TAKES", Align::Left),
        ("SHARE", Align::Right),
    ]);
    for link in links {
        let speed = link.speed_mbps.map(|mbps| units::bit_rate(u64::from(mbps) * 1_000_000));
        table.row([
            link.interface.as_str().into(),
            link.link.name().into(),
            speed.unwrap_or("-".to_owned()).into(),
            yes(link.sends),
            yes(link.takes),
            format!("{}/256", link.share).into(),
        ]);
    }
    table
}

fn lacp_table(links: &[BondLinkStatus]) -> Table {
    let mut table = Table::new(&[
        ("INTERFACE", Align::Left),
        ("MUX", Align::Left),
        ("PARTNER", Align::Left),
        ("SYSTEM", Align::Left),
        ("KEY", Align::Right),
        ("PORT", Align::Right),
        ("OURS", Align::Left),
        ("THEIRS", Align::Left),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
    ]);
    for (link, lacp) in links.iter().filter_map(|link| Some((link, link.lacp.as_ref()?))) {
        table.row([
            link.interface.as_str().into(),
            mux(lacp),
            lacp.receive.as_str().into(),
            lacp.partner.system.as_str().into(),
            lacp.partner.key.to_string().into(),
            lacp.partner.port.to_string().into(),
            letters(&lacp.actor.state).into(),
            letters(&lacp.partner.state).into(),
            units::count(lacp.received).into(),
            units::count(lacp.sent).into(),
        ]);
    }
    table
}

/// The flags of a state as letters, as most switches write them: ATGSCDFE.
fn letters(state: &[String]) -> String {
    let letter = |flag: &String| match flag.as_str() {
        "activity" => 'A',
        "short-timeout" => 'T',
        "aggregation" => 'G',
        "synchronization" => 'S',
        "collecting" => 'C',
        "distributing" => 'D',
        "defaulted" => 'F',
        _ => 'E',
    };
    state.iter().map(letter).collect()
}

fn mux(lacp: &LacpLinkStatus) -> Cell {
    let colour = if lacp.mux == "distributing" { Colour::Green } else { Colour::Yellow };
    Cell::coloured(lacp.mux.as_str(), colour)
}

fn yes(is_so: bool) -> Cell {
    if is_so { Cell::coloured("yes", Colour::Green) } else { Cell::coloured("no", Colour::Yellow) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LacpEnd;

    #[test]
    fn a_bond_is_told_with_its_links_and_both_ends() {
        let end = |system: &str, state: &[&str]| LacpEnd {
            system: system.to_owned(),
            key: 9,
            port: 3,
            state: state.iter().map(|flag| (*flag).to_owned()).collect(),
            ..LacpEnd::default()
        };
        let lacp = LacpLinkStatus {
            actor: end("02:00:00:00:00:01", &["activity", "distributing"]),
            partner: end("02:00:00:00:00:02", &["activity"]),
            receive: "current".to_owned(),
            mux: "distributing".to_owned(),
            received: 12,
            ..LacpLinkStatus::default()
        };
        let link = BondLinkStatus {
            interface: "eth4".to_owned(),
            link: LinkState::Up,
            attached: true,
            speed_mbps: Some(10_000),
            sends: true,
            share: 128,
            lacp: Some(lacp),
            ..BondLinkStatus::default()
        };
        let bond = BondStatus {
            uplink: "bond0".to_owned(),
            mode: "lacp".to_owned(),
            hash: "layer3+4".to_owned(),
            rate: Some("fast".to_owned()),
            system: Some("02:00:00:00:00:01".to_owned()),
            links: vec![link],
            ..BondStatus::default()
        };
        let text = bond_text(&[bond], false);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "bond0: lacp, hash layer3+4, rate fast, system 02:00:00:00:00:01 INTERFACE",
            " yes no 128/256 ",
            "distributing current 02:00:00:00:00:02 9 3 AD A 12 0",
        ] {
            assert!(words.contains(part), "{part} is missing in\n{text}");
        }
        let silent = |answered| {
            let link = BondLinkStatus {
                interface: "eth5".to_owned(),
                link: LinkState::Up,
                answered,
                ..BondLinkStatus::default()
            };
            bond_text(&[BondStatus { links: vec![link], ..BondStatus::default() }], false)
        };
        assert!(silent(Some(false)).contains("eth5: none of `arp_targets` answers by it"));
        assert!([None, Some(true)].iter().all(|answered| !silent(*answered).contains("arp_targets")));
        assert!(bond_text(&[], false).contains("no uplink is a bond"));
    }
}
