//! `interfaces` and `bond` of an uplink: several interfaces of the kernel as one.

use std::net::Ipv4Addr;
use std::time::Duration;

use toml::de::DeValue;
use viaduct_switch::bond::{HashPolicy, PROBE_TARGETS_MAX, Preference};
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
    /// Who is asked by each link whether it works, if anybody.
    pub probing: Option<Probing>,
}

/// Link monitoring by ARP: a link works while one of the targets answers by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probing {
    /// Who is asked.
    pub targets: Vec<Ipv4Addr>,
    /// Who asks; 0.0.0.0 is nobody in particular (RFC 5227, 1.1).
    pub source: Ipv4Addr,
    /// Time between questions.
    pub interval: Duration,
    /// Questions in a row that may remain without answer.
    pub missed: u32,
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

/// How often is asked unless told otherwise: with two answers missed, a link is given up after 0.6 s.
const INTERVAL: Duration = Duration::from_millis(200);
const MISSED: u32 = 2;

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
        probing: probing(table, mode),
        interfaces,
    }
}

/// `arp_targets` and what belongs to it.
fn probing(table: &TableReader<'_>, mode: BondMode) -> Option<Probing> {
    const INTERVAL_RANGE: &str = "a duration in quotes from \"50ms\" to \"1m\", like \"200ms\"";
    let interval = table.read("arp_interval", INTERVAL_RANGE, |value| {
        let is_sound = |interval: &Duration| (50..=60_000).contains(&interval.as_millis());
        values::duration(value).filter(is_sound)
    });
    let missed = table.read("arp_missed", "a number from 1 to 100", |value| values::number(value, 1..=100));
    let source = table.read("arp_source", "an IPv4 address, like \"10.0.0.9\"", ipv4);
    if !table.has("arp_targets") {
        for field in ["arp_interval", "arp_missed", "arp_source"].into_iter().filter(|field| table.has(field))
        {
            let expected = "`arp_targets` beside it: who is asked".to_owned();
            table.note(field, format!("`{field}` alone"), expected);
        }
        return None;
    }
    if mode == BondMode::Lacp {
        let expected = "nothing: with mode = \"lacp\" both ends hear each other by each link, or give it up";
        table.note("arp_targets", "`arp_targets` beside mode = \"lacp\"".to_owned(), expected.to_owned());
    }
    Some(Probing {
        targets: targets(table)?,
        source: source.unwrap_or(Ipv4Addr::UNSPECIFIED),
        interval: interval.unwrap_or(INTERVAL),
        missed: missed.unwrap_or(MISSED),
    })
}

/// `arp_targets`.
fn targets(table: &TableReader<'_>) -> Option<Vec<Ipv4Addr>> {
    const LIST: &str = "a list of 1 to 16 IPv4 addresses, like [\"10.0.0.1\", \"10.0.0.2\"]";
    let is_host =
        |address: &Ipv4Addr| !(address.is_unspecified() || address.is_broadcast() || address.is_multicast());
    let mut written = 0;
    let targets = table.read_list("arp_targets", LIST, |value| {
        written += 1;
        ipv4(value).filter(is_host).ok_or_else(|| "IPv4 addresses of hosts, like \"10.0.0.1\"".to_owned())
    })?;
    if !(1..=PROBE_TARGETS_MAX).contains(&written) {
        table.note("arp_targets", format!("{written} addresses"), LIST.to_owned());
    }
    Some(targets)
}

fn ipv4(value: &DeValue<'_>) -> Option<Ipv4Addr> {
    values::text(value)?.parse().ok()
}

fn delay(table: &TableReader<'_>, field: &str) -> Duration {
    const DELAY: &str = "a duration in quotes from \"0ms\" to \"1h\", like \"200ms\"";
    let in_range = |value: &_| values::duration(value).filter(|delay| *delay <= DELAY_MAX);
    table.read(field, DELAY, in_range).unwrap_or_default()
}
