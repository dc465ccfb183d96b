//! `interfaces` and `bond` of an uplink: several interfaces of the kernel as one.

use std::time::Duration;

use viaduct_switch::bond::{HashPolicy, Preference};
use viaduct_switch::lacp::{LINKS_MAX, Rate};

use super::reader::TableReader;
use super::{Driver, Interface, interface, schema, values};

/// The links of an uplink that has several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bond {
    /// The names of its interfaces: link 0, link 1 and so on. All are in one network namespace, that of
    /// [`Uplink::interface`](super::Uplink::interface), which is the first of them.
    pub interfaces: Vec<String>,
    /// How they are used together.
    pub mode: BondMode,
    /// By what flows are told apart that go different ways.
    pub hash: HashPolicy,
    /// How often the other end is to send LACPDUs.
    pub rate: Rate,
    /// Whether one link carries all while the other end says nothing of LACP.
    pub fallback: bool,
    /// The interface that an active-backup bond rather uses than others.
    pub primary: Option<String>,
    /// When an active-backup bond goes back to it.
    pub primary_reselect: Preference,
    /// For how long a link has carrier before it is used.
    pub up_delay: Duration,
    /// For how long a link has none before it is given up.
    pub down_delay: Duration,
}

/// How the links of a bond are used together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BondMode {
    /// One at a time.
    #[default]
    ActiveBackup,
    /// All that are up, flow by flow; the other end has to be told by hand.
    Balance,
    /// All that both ends agree about (IEEE 802.1AX, 802.3ad).
    Lacp,
}

impl BondMode {
    /// All modes, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("active-backup", Self::ActiveBackup), ("balance", Self::Balance), ("lacp", Self::Lacp)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        super::name_of(Self::ALL, self)
    }
}

const HASHES: &[(&str, HashPolicy)] = &[
    ("layer2", HashPolicy::Layer2),
    ("layer2+3", HashPolicy::Layer2And3),
    ("layer3+4", HashPolicy::Layer3And4),
];
const RATES: &[(&str, Rate)] = &[("slow", Rate::Slow), ("fast", Rate::Fast)];
const RESELECTIONS: &[(&str, Preference)] =
    &[("failure", Preference::Failure), ("better", Preference::Better), ("always", Preference::Always)];

impl Bond {
    /// `hash` as it is written.
    #[must_use]
    pub fn hash_name(&self) -> &'static str {
        super::name_of(HASHES, self.hash)
    }

    /// `rate` as it is written.
    #[must_use]
    pub fn rate_name(&self) -> &'static str {
        super::name_of(RATES, self.rate)
    }

    /// `primary_reselect` as it is written.
    #[must_use]
    pub fn reselect_name(&self) -> &'static str {
        super::name_of(RESELECTIONS, self.primary_reselect)
    }
}

/// Delays beyond this are a mistake.
const DELAY_MAX: Duration = Duration::from_secs(3600);

/// An uplink's first interface, and its bond if it has several; as far as they are right, what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, driver: Driver) -> (Interface, Option<Bond>) {
    if !table.has("interfaces") {
        if table.has("bond") {
            let expected = "`interfaces`, a list of the bond's interfaces, in the place of `interface`";
            table.note("bond", "a bond of one interface".to_owned(), expected.to_owned());
        }
        return (interface::read(table, driver), None);
    }
    if table.has("interface") {
        let expected = "either `interface`, or `interfaces` and `bond`";
        table.note("interface", "the field `interface`".to_owned(), expected.to_owned());
    }
    if driver == Driver::Tap {
        let expected = "one of \"auto\", \"af-packet\", \"af-xdp\": TAP devices are no links of a bond";
        table.note("driver", "\"tap\"".to_owned(), expected.to_owned());
    }
    let names = names(table);
    let first = Interface {
        name: names.first().cloned().unwrap_or_default(),
        driver,
        netns: interface::namespace(table),
        queues: None,
        gro: interface::gro(table),
    };
    if table.has("queues") {
        let expected = "none: each link of a bond has one queue; leave it out";
        table.note("queues", "the field `queues`".to_owned(), expected.to_owned());
    }
    if !table.has("bond") {
        let expected = "a table such as bond = { mode = \"active-backup\" }, which says how they are used";
        table.note("bond", "nothing".to_owned(), expected.to_owned());
    }
    let bond = table.table("bond").map(|table| settings(&table, names));
    (first, bond)
}

/// `interfaces`: each name once.
fn names(table: &TableReader<'_>) -> Vec<String> {
    const LIST: &str = "a list of 1 to 16 interfaces' names, like [\"eth4\", \"eth5\"]";
    let mut seen: Vec<String> = Vec::new();
    let names = table.read_list("interfaces", LIST, |value| {
        let name = interface::name(value).ok_or_else(|| interface::NAME.to_owned())?;
        if seen.contains(&name) {
            return Err(format!("each interface once: {name} stands before already"));
        }
        seen.push(name.clone());
        Ok(name)
    });
    let Some(names) = names else { return Vec::new() };
    if names.is_empty() || names.len() > LINKS_MAX {
        table.note("interfaces", format!("{} names", names.len()), LIST.to_owned());
    }
    names
}

/// `bond`.
fn settings(table: &TableReader<'_>, interfaces: Vec<String>) -> Bond {
    table.check_fields(&schema::BOND);
    let mode = table.read_word("mode", BondMode::ALL, &[]).unwrap_or_default();
    let of_mode = |field: &str, wanted: BondMode| {
        if table.has(field) && table.has("mode") && mode != wanted {
            let expected = format!("nothing: it is for mode = \"{}\" alone", wanted.name());
            table.note(field, format!("`{field}` beside mode = \"{}\"", mode.name()), expected);
        }
    };
    for field in ["rate", "fallback"] {
        of_mode(field, BondMode::Lacp);
    }
    for field in ["primary", "primary_reselect"] {
        of_mode(field, BondMode::ActiveBackup);
    }
    let one_of = format!("one of `interfaces`: {}", interfaces.join(", "));
    let primary = table.read("primary", &one_of, |value| {
        values::text(value).filter(|name| interfaces.iter().any(|known| known == name)).map(str::to_owned)
    });
    Bond {
        mode,
        hash: table.read_word("hash", HASHES, &[]).unwrap_or_default(),
        rate: table.read_word("rate", RATES, &[]).unwrap_or_default(),
        fallback: table
            .read("fallback", "true or false, without quotes", values::boolean)
            .unwrap_or_default(),
        primary,
        primary_reselect: table.read_word("primary_reselect", RESELECTIONS, &[]).unwrap_or_default(),
        up_delay: delay(table, "up_delay"),
        down_delay: delay(table, "down_delay"),
        interfaces,
    }
}

fn delay(table: &TableReader<'_>, field: &str) -> Duration {
    const DELAY: &str = "a duration in quotes from \"0ms\" to \"1h\", like \"200ms\"";
    let in_range = |value: &_| values::duration(value).filter(|delay| *delay <= DELAY_MAX);
    table.read(field, DELAY, in_range).unwrap_or_default()
}
