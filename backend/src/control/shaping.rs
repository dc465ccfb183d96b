//! Trees of queues before ports: which there are, and what they do, for people and programs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracing::warn;
use viaduct_switch::PortIndex;
use viaduct_switch::qos::{ClassReport, Report, RootPlan};

use crate::config::{Config, Tree};
use crate::control::controller::Controller;
use crate::control::qos::assigned;
use crate::control::registry::Numbers;
use crate::control::routing::Named;
use crate::dataplane::{ShapingReport, TreeSetup};
use crate::model::{ShapingClassStatus, ShapingStatus};

/// What the names of trees begin with that are one port's own; no QoS has a space in its name.
const OF_PORT: &str = "port ";

/// The name of the tree before a port: a tree of classes is shared by all ports with its QoS. One queue is each port's own, and stays
/// that port's when it gets another QoS.
fn tree_name(qos: &str, tree: &Tree, port: &str) -> String {
    match tree.plan().root {
        RootPlan::Htb(_) => qos.to_owned(),
        RootPlan::Queue(_) => format!("{OF_PORT}{port}"),
    }
}

impl Controller {
    /// Has the trees stand before ports that `config` says, which has these numbers.
    pub(super) fn shape(&mut self, config: &Config, numbers: &Numbers) {
        let mut ports: BTreeMap<String, (&Tree, Vec<PortIndex>)> = BTreeMap::new();
        for (port, qos) in assigned(config) {
            let Some(tree) = config.qos.get(qos).and_then(|qos| qos.tree.as_ref()) else { continue };
            let Some(index) = numbers.ports.get(port) else { continue };
            ports.entry(tree_name(qos, tree, port)).or_insert((tree, Vec::new())).1.push(*index);
        }
        let outsides = self.outsides_of(config, numbers);
        let named = Named { config, numbers, outsides: &outsides };
        let setup = |(name, (tree, ports)): (String, (&Tree, Vec<PortIndex>))| {
            let plan = Arc::new(tree.resolve(&named, |group| self.security.group_index(group)));
            TreeSetup { name: name.into(), plan, ports }
        };
        let setups = ports.into_iter().map(setup).collect();
        for (name, error) in self.bay.set_shaping(setups) {
            // The file was checked by the same rules.
            warn!("the queues of `qos` {name} cannot be made: {error}; the ports are as they were");
        }
    }

    /// The trees, by QoS and port.
    pub(super) fn shaping_statuses(&self) -> Vec<ShapingStatus> {
        let reports = self.bay.shaping();
        if reports.is_empty() {
            return Vec::new();
        }
        let names: HashMap<PortIndex, &String> =
            self.numbers.ports.iter().map(|(name, index)| (*index, name)).collect();
        let assigned: HashMap<&String, &String> = assigned(&self.config).collect();
        let status = |ShapingReport { name, ports, report }: ShapingReport| {
            let owner = name.strip_prefix(OF_PORT);
            let qos = owner.map_or(Some(&*name), |port| Some(assigned.get(&port.to_owned())?.as_str()));
            ShapingStatus {
                qos: qos.unwrap_or_default().to_owned(),
                shared: owner.is_none(),
                ports: ports.iter().filter_map(|port| Some((*names.get(port)?).clone())).collect(),
                classes: classes(&report),
            }
        };
        let mut statuses: Vec<_> = reports.into_iter().map(status).collect();
        statuses.sort_by(|a, b| (&a.qos, &a.ports).cmp(&(&b.qos, &b.ports)));
        statuses
    }
}

/// All classes of a tree, the root first.
fn classes(report: &Report) -> Vec<ShapingClassStatus> {
    let class = |class: &ClassReport| {
        let parent = class.parent.and_then(|parent| report.classes.get(parent.get()));
        ShapingClassStatus {
            name: class.name.to_string(),
            parent: parent.map(|parent: &ClassReport| Arc::clone(&parent.name).to_string()),
            rate_bits: class.shares.map(|shares| shares.rate.bits()),
            ceil_bits: class.shares.map(|shares| shares.ceil.bits()),
            bits_per_second: class.bits_per_second,
            sent_frames: class.sent.frames,
            sent_bytes: class.sent.bytes,
            backlog_frames: class.backlog.frames.into(),
            backlog_bytes: class.backlog.bytes,
            dropped: class.dropped,
            overlimits: class.overlimits,
            marked: class.marked,
            borrowed_bytes: class.borrowed_bytes,
            lent_bytes: class.lent_bytes,
        }
    };
    std::iter::once(&report.root).chain(&report.classes).map(class).collect()
}
