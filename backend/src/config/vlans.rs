//! What must be right between networks that share a trunk: it can tell their frames apart.

use std::collections::{BTreeMap, HashMap};

use viaduct_switch::VlanId;

use super::cross::Placed;
use super::reader::TableReader;
use super::{Membership, Network, Port, Uplink};

/// Networks and where they stand in the file, by name.
type Networks<'a> = BTreeMap<&'a str, &'a Placed<'a, Network>>;

/// Notes every network that a trunk or an uplink could not tell from another one.
pub(super) fn check(
    ports: &[Placed<'_, Port>],
    networks: &[Placed<'_, Network>],
    uplinks: &[Placed<'_, Uplink>],
) {
    let by_name: Networks<'_> = networks.iter().map(|placed| (placed.name, placed)).collect();
    for placed in ports {
        if let Membership::Trunk(trunk) = &placed.value.membership {
            check_trunk(&placed.table, trunk.native.as_deref(), &trunk.networks, &by_name);
        }
    }
    for placed in uplinks {
        check_uplink(placed.name, networks);
    }
}

/// A port says which networks it carries, so that is where a mistake is.
fn check_trunk(table: &TableReader<'_>, native: Option<&str>, tagged: &[String], networks: &Networks<'_>) {
    let mut taken: HashMap<VlanId, &str> = HashMap::new();
    let own = native.and_then(|name| networks.get(name));
    if let Some(own) = own {
        taken.extend(own.value.vlan.map(|vlan| (vlan, own.name)));
        if own.value.inner_tags && !tagged.is_empty() {
            let expected = "a network without `inner_tags`, or `trunk` instead: without a tag before them, its stations' \
                            own tags would be taken for those of the port's other networks";
            table.note("native", format!("\"{}\"", own.name), expected.to_owned());
        }
    }
    for network in tagged.iter().filter_map(|name| networks.get(name.as_str())) {
        let name = network.name;
        let Some(vlan) = network.value.vlan else {
            let expected = format!(
                "only networks that have a `vlan`: give network.{name} (line {}) one",
                network.table.line("")
            );
            table.note("trunk", format!("\"{name}\""), expected);
            continue;
        };
        if let Some(other) = taken.insert(vlan, name) {
            let expected = format!("networks with VLAN ids of their own: {other} has {vlan} as well");
            table.note("trunk", format!("\"{name}\""), expected);
        }
    }
}

/// A network says which uplink it has, so that is where a mistake is.
fn check_uplink(uplink: &str, networks: &[Placed<'_, Network>]) {
    let mut over: Vec<&Placed<'_, Network>> =
        networks.iter().filter(|placed| placed.value.uplinks().any(|name| name == uplink)).collect();
    over.sort_by_key(|placed| placed.table.at);
    let mut first: HashMap<Option<VlanId>, &Placed<'_, Network>> = HashMap::new();
    for placed in &over {
        let vlan = placed.value.vlan;
        let Some(other) = first.get(&vlan) else {
            first.insert(vlan, placed);
            continue;
        };
        let (name, line) = (other.name, other.table.line("vlan"));
        match vlan {
            Some(vlan) => {
                let expected =
                    format!("a VLAN id of its own on uplink.{uplink}: network.{name} (line {line}) has it");
                placed.table.note("vlan", vlan.to_string(), expected);
            }
            None => {
                let expected = format!(
                    "a `vlan` for one of them: network.{name} (line {line}) is on uplink.{uplink} without a tag as well"
                );
                placed.table.note("uplink", format!("\"{uplink}\""), expected);
            }
        }
    }
    let untagged = first.get(&None).filter(|placed| placed.value.inner_tags && over.len() > 1);
    if let Some(placed) = untagged {
        let expected = "a `vlan` beside it: without a tag before them, its stations' own tags would be taken for those of \
                        the uplink's other networks";
        placed.table.note("inner_tags", "true".to_owned(), expected.to_owned());
    }
}
