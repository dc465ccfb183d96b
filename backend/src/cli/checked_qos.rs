//! What QoS a file declares, for `viaduct check`.

use serde::Serialize;
use viaduct_switch::qos::{ClassPlan, HtbPlan, RootPlan};

use super::table::{Align, Table};
use crate::config::{Config, Tree, qos_users, queue_name, written_marking, written_rate};

/// A QoS, in words.
#[derive(Serialize)]
pub(super) struct DeclaredQos<'a> {
    name: &'a str,
    ports: Vec<&'a str>,
    ingress: Option<String>,
    marks: Option<String>,
    egress: Option<String>,
    classes: Vec<DeclaredClass>,
}

/// A class of a tree.
#[derive(Serialize)]
struct DeclaredClass {
    name: String,
    parent: Option<String>,
    rate: String,
    ceil: String,
    priority: u8,
    /// The kind of its queue; none: it has classes below it.
    queue: Option<&'static str>,
    /// How many filters lead there.
    filters: usize,
    default: bool,
}

pub(super) fn declared_qos(config: &Config) -> Vec<DeclaredQos<'_>> {
    config
        .qos
        .iter()
        .map(|(name, qos)| DeclaredQos {
            name,
            ports: qos_users(config, name),
            ingress: qos.ingress.map(|police| police.to_string()),
            marks: qos.marking.as_deref().map(written_marking),
            egress: qos.tree.as_ref().map(ToString::to_string),
            classes: qos.tree.as_ref().map(declared_classes).unwrap_or_default(),
        })
        .collect()
}

fn declared_classes(tree: &Tree) -> Vec<DeclaredClass> {
    let RootPlan::Htb(htb) = &tree.plan().root else { return Vec::new() };
    htb.classes.iter().enumerate().map(|(place, class)| declared_class(tree, htb, place, class)).collect()
}

fn declared_class(tree: &Tree, htb: &HtbPlan, place: usize, class: &ClassPlan) -> DeclaredClass {
    let parent = class.parent.and_then(|parent| htb.classes.get(parent.get()));
    let is_leaf = htb.classes.iter().all(|other| other.parent.is_none_or(|parent| parent.get() != place));
    DeclaredClass {
        name: class.name.to_string(),
        parent: parent.map(|parent| parent.name.to_string()),
        rate: written_rate(class.shares.rate.bits(), "bit"),
        ceil: written_rate(class.shares.ceil.bits(), "bit"),
        priority: class.priority,
        queue: is_leaf.then(|| queue_name(&class.queue)),
        filters: tree.filters().iter().filter(|filter| filter.class().get() == place).count(),
        default: htb.default.get() == place,
    }
}

/// Each QoS in a line or some, and the classes of trees as a table.
pub(super) fn qos_text(all: &[DeclaredQos<'_>], colour: bool) -> String {
    all.iter().map(|qos| one_qos(qos, colour)).collect()
}

fn one_qos(qos: &DeclaredQos<'_>, colour: bool) -> String {
    let ports = if qos.ports.is_empty() { "nobody".to_owned() } else { qos.ports.join(" ") };
    let mut text = format!("\nqos {} of {ports}\n", qos.name);
    for (what, words) in [("ingress", &qos.ingress), ("marks", &qos.marks), ("egress", &qos.egress)] {
        if let Some(words) = words {
            text.push_str(&format!("  {what:8} {words}\n"));
        }
    }
    if !qos.classes.is_empty() {
        text.push_str(&class_table(&qos.classes).render(colour));
    }
    text
}

fn class_table(classes: &[DeclaredClass]) -> Table {
    let mut table = Table::new(&[
        ("CLASS", Align::Left),
        ("IN", Align::Left),
        ("RATE", Align::Right),
        ("CEIL", Align::Right),
        ("PRIO", Align::Right),
        ("QUEUE", Align::Left),
        ("FILTERS", Align::Right),
    ]);
    for class in classes {
        let default = if class.default { " and default" } else { "" };
        table.row([
            class.name.as_str().into(),
            class.parent.as_deref().unwrap_or("-").into(),
            class.rate.as_str().into(),
            class.ceil.as_str().into(),
            class.priority.to_string().into(),
            class.queue.unwrap_or("-").into(),
            format!("{}{default}", class.filters).into(),
        ]);
    }
    table
}
