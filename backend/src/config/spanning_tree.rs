//! `stp` and what goes with it: of networks, and of their uplinks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

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

/// Fields of a network that mean nothing without a spanning tree.
const OF_TREES: [&str; 4] = ["stp_priority", HELLO_TIME, MAX_AGE, FORWARD_DELAY];
const HELLO_TIME: &str = "stp_hello_time";
const MAX_AGE: &str = "stp_max_age";
const FORWARD_DELAY: &str = "stp_forward_delay";

/// A network's `stp` as far as it is right.
pub(super) fn of_network(table: &TableReader<'_>) -> Option<TreeSettings> {
    const PRIORITY: &str =
        "a multiple of 4096 from 0 to 61440, without quotes; the least of all bridges is the root";
    let in_steps =
        |value: &_| values::number(value, 0..=61_440).filter(|priority: &u16| priority.is_multiple_of(4096));
    let priority = table.read("stp_priority", PRIORITY, in_steps);
    let version = table.read_word("stp", KINDS, &["mstp"]).flatten();
    if version.is_none() && !table.has("stp") {
        for field in OF_TREES.into_iter().filter(|field| table.has(field)) {
            let expected = "stp = \"rstp\" beside it: without a spanning tree it means nothing";
            table.note(field, format!("the field `{field}`"), expected.to_owned());
        }
    }
    let standard = TreeSettings::default();
    let settings = TreeSettings {
        version: version.unwrap_or(standard.version),
        priority: priority.unwrap_or(standard.priority),
        hello_time_s: seconds(table, HELLO_TIME, TreeSettings::HELLO_TIME_S, standard.hello_time_s),
        max_age_s: seconds(table, MAX_AGE, TreeSettings::MAX_AGE_S, standard.max_age_s),
        forward_delay_s: seconds(
            table,
            FORWARD_DELAY,
            TreeSettings::FORWARD_DELAY_S,
            standard.forward_delay_s,
        ),
        ..standard
    };
    check_times(table, &settings);
    version.map(|_| settings)
}

/// A time in whole seconds within its bounds, or what the standard recommends.
fn seconds(table: &TableReader<'_>, field: &str, bounds: RangeInclusive<u8>, standard: u8) -> u8 {
    let expected = format!(
        "a duration of whole seconds from \"{}s\" to \"{}s\" (IEEE 802.1D-2004, table 17-1)",
        bounds.start(),
        bounds.end()
    );
    let whole =
        |time: Duration| (time.subsec_nanos() == 0).then(|| u8::try_from(time.as_secs()).ok()).flatten();
    let parse = |value: &_| values::duration(value).and_then(whole).filter(|time| bounds.contains(time));
    table.read(field, &expected, parse).unwrap_or(standard)
}

/// Notes times that do not go together. The other half of the standard's relation, max age >= 2 x (hello time + 1 s),
/// holds for all times within their bounds.
fn check_times(table: &TableReader<'_>, settings: &TreeSettings) {
    let (age, delay) = (settings.max_age_s, settings.forward_delay_s);
    let age_max = 2 * (delay - 1);
    if age > age_max {
        let field = if table.has(FORWARD_DELAY) { FORWARD_DELAY } else { MAX_AGE };
        let found = format!("a forward delay of {delay} s with a max age of {age} s");
        let expected = format!(
            "2 x (forward delay - 1 s) >= max age (IEEE 802.1D-2004, 17.14): {FORWARD_DELAY} = \"{}s\" at least, or \
             {MAX_AGE} = \"{age_max}s\" at most",
            age.div_ceil(2) + 1,
        );
        table.note(field, found, expected);
    }
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
    /// that share an uplink are in one tree. The least priority of theirs counts, STP where one asks for it, the
    /// shortest hello time and the longest of the other times, which go together if those of each network do.
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
        let (mine, other) = (&mut self.settings, other.settings);
        mine.priority = mine.priority.min(other.priority);
        mine.hello_time_s = mine.hello_time_s.min(other.hello_time_s);
        mine.max_age_s = mine.max_age_s.max(other.max_age_s);
        mine.forward_delay_s = mine.forward_delay_s.max(other.forward_delay_s);
        if other.version == Version::Stp {
            mine.version = Version::Stp;
        }
    }
}
