//! What a file says of QoS that is right, and yet does nothing.

use std::collections::BTreeSet;

use viaduct_switch::qos::{ClassIndex, HtbPlan, RootPlan};

use super::Tree;
use super::units::written_rate;
use crate::config::Config;

/// An Ethernet header and a VLAN tag: what a frame has beside what counts for the MTU.
const HEADERS: u32 = 18;

/// What whoever wrote the file may not have meant, in sentences.
pub(crate) fn advice(config: &Config) -> Vec<String> {
    let mut told = Vec::new();
    for (name, qos) in &config.qos {
        if users(config, name).is_empty() {
            told.push(format!("qos.{name}: no port or uplink has it, so nothing is held to it"));
        }
        let Some(tree) = &qos.tree else { continue };
        told.extend(filters(name, tree, &marks(config)));
        if let RootPlan::Htb(htb) = &tree.plan().root {
            told.extend(classes(name, tree, htb));
            told.extend(bursts(name, htb, longest(config, name)));
        }
    }
    told
}

/// The ports and uplinks that have this QoS.
pub(crate) fn users<'a>(config: &'a Config, qos: &str) -> Vec<&'a str> {
    let ports = config.ports.iter().map(|(name, port)| (name, &port.qos));
    let uplinks = config.uplinks.iter().map(|(name, uplink)| (name, &uplink.qos));
    let has =
        |(name, of): (&'a String, &Option<String>)| (of.as_deref() == Some(qos)).then_some(name.as_str());
    ports.chain(uplinks).filter_map(has).collect()
}

/// The marks that anything sets.
fn marks(config: &Config) -> BTreeSet<u16> {
    let of_ports = config.qos.values().filter_map(|qos| Some(qos.marking.as_ref()?.mark));
    let of_meters = config.qos.values().filter_map(|qos| Some(qos.ingress?.plan.exceeding_mark));
    of_ports.chain(of_meters).collect()
}

fn filters(name: &str, tree: &Tree, marks: &BTreeSet<u16>) -> Vec<String> {
    let mut told = Vec::new();
    for (place, filter) in tree.filters().iter().enumerate() {
        if let Some(mark) = filter.mark().filter(|mark| !marks.contains(mark)) {
            told.push(format!(
                "qos.{name}.filter[{place}]: nothing sets mark {mark}, so it matches nothing; a QoS has `mark`, and its ingress \
                 `exceed_mark`"
            ));
        }
        if filter.matches_all() && place + 1 < tree.filters().len() {
            told.push(format!(
                "qos.{name}.filter[{place}] matches everything: those behind it are never asked"
            ));
        }
    }
    told
}

/// Classes to which nothing leads, and rates that no class above lets them have.
fn classes(name: &str, tree: &Tree, htb: &HtbPlan) -> Vec<String> {
    let led_to: BTreeSet<ClassIndex> =
        tree.filters().iter().map(|filter| filter.class()).chain([htb.default]).collect();
    let parents: BTreeSet<ClassIndex> = htb.classes.iter().filter_map(|class| class.parent).collect();
    let mut told = Vec::new();
    for (place, class) in htb.classes.iter().enumerate() {
        let index = ClassIndex::new(place).unwrap_or_default();
        let path = format!("qos.{name}.class.{}", class.name);
        if !parents.contains(&index) && !led_to.contains(&index) {
            told.push(format!("{path}: no filter leads there, and it is not the default class"));
        }
        let above = class.parent.and_then(|parent| htb.classes.get(parent.get()));
        let most = above.map_or(htb.root.ceil, |above| above.shares.ceil);
        if class.shares.ceil > most {
            told.push(format!(
                "{path}: its ceil of {} is more than the {} of what stands above it, and never reached",
                written_rate(class.shares.ceil.bits(), "bit"),
                written_rate(most.bits(), "bit")
            ));
        }
    }
    told
}

/// The longest frame, in bytes, that goes to a port or an uplink with this QoS as far as the file says.
fn longest(config: &Config, qos: &str) -> u32 {
    let ports = config.ports.values().filter(|port| port.qos.as_deref() == Some(qos)).map(|port| port.mtu);
    let uplinks = config.uplinks.values().filter(|uplink| uplink.qos.as_deref() == Some(qos));
    let mtu = ports.chain(uplinks.filter_map(|uplink| uplink.mtu)).max();
    mtu.map_or(0, |mtu| u32::from(mtu) + HEADERS)
}

/// A frame that is longer than the burst waits for a full bucket, and owes the rest.
fn bursts(name: &str, htb: &HtbPlan, longest: u32) -> Vec<String> {
    let short = htb.classes.iter().filter_map(|class| {
        let burst = class.shares.burst.min(class.shares.cburst).bytes();
        (burst < longest).then(|| {
            format!(
                "qos.{name}.class.{}: a burst of {burst} bytes is less than one frame of {longest}, which its ports take: such \
                 frames leave one by one, each after a full bucket",
                class.name
            )
        })
    });
    short.collect()
}
