//! `stp` and what goes with it: of networks, and of their uplinks.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_switch::spanning_tree::{EdgePort, PortSettings, TreeSettings, Version};

use super::cross::Placed;
use super::names::choice;
use super::reader::TableReader;
use super::{Config, Network, values};

/// What `stp` may say.
const KINDS: &[(&str, Option<Version>)] =
    &[("off", None), ("stp", Some(Version::Stp)), ("rstp", Some(Version::Rstp))];

/// What `stp_edge` may say.
const EDGES: &[(&str, EdgePort)] = &[("auto", EdgePort::Auto), ("yes", EdgePort::Yes), ("no", EdgePort::No)];

/// What an uplink is in its networks' spanning tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UplinkStp {
    /// What the way by it costs; `None`: by its speed.
    pub cost: Option<u32>,
    /// Its priority, 0 to 240 in steps of 16.
    pub priority: u8,
    /// Whether end stations alone are behind it.
    pub edge: EdgePort,
}

impl Default for UplinkStp {
    fn default() -> Self {
        Self { cost: None, priority: 128, edge: EdgePort::Auto }
    }
}

impl UplinkStp {
    /// As the tree takes it: the port of this number, behind which is a link of this speed.
    #[must_use]
    pub fn settings(&self, number: u16, speed_mbit: Option<u32>) -> PortSettings {
        let Self { cost, priority, edge } = *self;
        PortSettings { priority, path_cost: cost, speed_mbit, edge, ..PortSettings::new(number) }
    }

    /// `stp_edge` as it is written.
    #[must_use]
    pub fn edge_name(&self) -> &'static str {
        EDGES.iter().find(|(_, edge)| *edge == self.edge).map_or("", |(name, _)| name)
    }
}

/// `stp` as it is written.
#[must_use]
pub(crate) fn kind_name(settings: Option<&TreeSettings>) -> &'static str {
    let version = settings.map(|settings| settings.version);
    KINDS.iter().find(|(_, kind)| *kind == version).map_or("", |(name, _)| name)
}

/// A network's `stp` as far as it is right.
pub(super) fn of_network(table: &TableReader<'_>) -> Option<TreeSettings> {
    const PRIORITY: &str =
        "a multiple of 4096 from 0 to 61440, without quotes; the least of all bridges is the root";
    let in_steps =
        |value: &_| values::number(value, 0..=61_440).filter(|priority: &u16| priority.is_multiple_of(4096));
    let priority = table.read("stp_priority", PRIORITY, in_steps);
    let version = table.read_word("stp", KINDS, &["mstp"]).flatten();
    if table.has("stp_priority") && version.is_none() && !table.has("stp") {
        let expected = "stp = \"rstp\" beside it: without a spanning tree there is no priority";
        table.note("stp_priority", "the field `stp_priority`".to_owned(), expected.to_owned());
    }
    let standard = TreeSettings::default();
    let priority = priority.unwrap_or(standard.priority);
    version.map(|version| TreeSettings { version, priority, ..standard })
}

/// An uplink's part in spanning trees as far as it is right.
pub(super) fn of_uplink(table: &TableReader<'_>) -> UplinkStp {
    const COST: &str = "a number from 1 to 200000000, without quotes (IEEE 802.1D-2004, table 17-3)";
    const PRIORITY: &str = "a multiple of 16 from 0 to 240, without quotes; the least is preferred";
    let in_steps =
        |value: &_| values::number(value, 0..=240).filter(|priority: &u8| priority.is_multiple_of(16));
    let standard = UplinkStp::default();
    UplinkStp {
        cost: table.read("stp_cost", COST, |value| values::number(value, 1..=200_000_000)),
        priority: table.read("stp_priority", PRIORITY, in_steps).unwrap_or(standard.priority),
        edge: table.read_word("stp_edge", EDGES, &[]).unwrap_or(standard.edge),
    }
}

/// A network's further uplinks, each once and none that is not declared.
pub(super) fn parallel_uplinks(table: &TableReader<'_>, uplinks: &BTreeSet<&str>) -> Vec<String> {
    let expected = "a list of uplinks' names in quotes, like [\"wan2\"]";
    let name = |value: &_| {
        values::text(value).map(str::to_owned).ok_or_else(|| "an uplink's name in quotes".to_owned())
    };
    let names = table.read_list("parallel_uplinks", expected, name).unwrap_or_default();
    let first = table.text("uplink");
    if !names.is_empty() && first.is_none() {
        let expected = "the first of them as `uplink`, and the others here";
        table.note("parallel_uplinks", "further uplinks without a first one".to_owned(), expected.to_owned());
    }
    let mut seen: BTreeSet<String> = first.into_iter().map(str::to_owned).collect();
    for name in &names {
        let found = || format!("\"{}\"", values::shortened(name));
        if !uplinks.contains(name.as_str()) {
            table.note("parallel_uplinks", found(), choice("uplink", uplinks));
        } else if !seen.insert(name.clone()) {
            table.note("parallel_uplinks", found(), "each uplink once".to_owned());
        }
    }
    names
}

/// Warns of networks whose uplinks may close a circle.
pub(super) fn warnings(networks: &[Placed<'_, Network>]) -> Vec<String> {
    let open =
        networks.iter().filter(|placed| placed.value.uplinks().count() > 1 && placed.value.stp.is_none());
    let warning = |placed: &Placed<'_, Network>| {
        format!(
            "network.{}: it has several uplinks and no spanning tree; if they lead into one segment, frames go round in a \
             circle: set stp = \"rstp\"",
            placed.name
        )
    };
    open.map(warning).collect()
}

/// One spanning tree: networks whose uplinks are joined, and these uplinks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WantedTree {
    pub(crate) networks: Vec<String>,
    pub(crate) settings: TreeSettings,
    pub(crate) uplinks: BTreeMap<String, UplinkStp>,
}

impl Config {
    /// The spanning trees. An uplink speaks for all of its networks at once, for its messages have no tag; so networks
    /// that share an uplink are in one tree. The least priority of theirs counts, and STP where one asks for it.
    pub(crate) fn trees(&self) -> Vec<WantedTree> {
        let mut trees: Vec<WantedTree> = Vec::new();
        for (name, network) in &self.networks {
            let Some(settings) = network.stp else { continue };
            let uplinks =
                network.uplinks().filter_map(|name| Some((name.clone(), self.uplinks.get(name)?.stp)));
            let mut tree = WantedTree { networks: vec![name.clone()], settings, uplinks: uplinks.collect() };
            if tree.uplinks.is_empty() {
                continue;
            }
            let is_joined =
                |other: &WantedTree| other.uplinks.keys().any(|name| tree.uplinks.contains_key(name));
            let (joined, apart) = trees.into_iter().partition::<Vec<_>, _>(is_joined);
            for other in joined {
                tree.join(other);
            }
            trees = apart;
            trees.push(tree);
        }
        trees
    }
}

impl WantedTree {
    fn join(&mut self, other: Self) {
        self.networks.extend(other.networks);
        self.networks.sort();
        self.uplinks.extend(other.uplinks);
        self.settings.priority = self.settings.priority.min(other.settings.priority);
        if other.settings.version == Version::Stp {
            self.settings.version = Version::Stp;
        }
    }
}
