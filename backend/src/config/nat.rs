//! `nat` and `snat` of a network: how its stations' addresses are translated.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use toml::de::DeValue;
use viaduct_switch::nat::PORTS_DEFAULT;
use viaduct_switch::security::{Family, Prefix};

use super::addresses::{self, Subnet};
use super::dhcp::{prefix_v4, required, required_prefix};
use super::reader::TableReader;
use super::{NetworkMode, name_of, schema, values};

/// The most addresses in a pool, and the most rules.
const POOL_MAX: u32 = 256;
const RULES_MAX: usize = 256;

/// Ports that are given out unless said. The last 512 are never: they are left to the gateway's own sockets.
const PORTS: (u16, u16) = (*PORTS_DEFAULT.start(), *PORTS_DEFAULT.end());

const TO: &str = "an IPv4 address, a range like \"192.168.99.110-192.168.99.113\", a list of these, at most 256 addresses in all, \"masquerade\" or \"keep\"";
const TO_ITEM: &str =
    "an IPv4 address or a range like \"192.168.99.110-192.168.99.113\", at most 256 addresses in all";
const PORT_RANGE: &str =
    "a range of ports from 1 to 65023 in quotes, like \"1024-65023\": the last 512 are the gateway's own";
const NPTV6: &str = "a list of tables, like [{ inside = \"fd00:2::/64\", outside = \"2001:db8:2::/64\" }]";

/// Where a station's outside port comes from (RFC 4787, 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mapping {
    /// One for each of the station's own ports, whomever it talks to.
    #[default]
    EndpointIndependent,
    /// One for each connection.
    AddressAndPortDependent,
}

impl Mapping {
    /// Both, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("endpoint-independent", Self::EndpointIndependent),
        ("address-and-port-dependent", Self::AddressAndPortDependent),
    ];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// Who out there may send to a station's outside port (RFC 4787, 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Whose address the station has sent to.
    #[default]
    AddressDependent,
    /// Whose address and port the station has sent to.
    AddressAndPortDependent,
}

impl Filtering {
    /// All, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("endpoint-independent", Self::EndpointIndependent),
        ("address-dependent", Self::AddressDependent),
        ("address-and-port-dependent", Self::AddressAndPortDependent),
    ];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// `[network.NAME.nat]`: how the network's addresses are translated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatOptions {
    /// Where outside ports come from.
    pub mapping: Mapping,
    /// Who may send to them.
    pub filtering: Filtering,
    /// The first and the last outside port.
    pub ports: (u16, u16),
    /// Outside ports that one station has at most; `None`: no limit of its own.
    pub port_limit: Option<u16>,
    /// Prefixes of IPv6 that are translated one to one (RFC 6296).
    pub prefixes: Vec<PrefixPair>,
}

impl Default for NatOptions {
    fn default() -> Self {
        Self {
            mapping: Mapping::default(),
            filtering: Filtering::default(),
            ports: PORTS,
            port_limit: None,
            prefixes: Vec::new(),
        }
    }
}

/// A prefix inside, and the one that it becomes outside; of one length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixPair {
    /// Inside.
    pub inside: Prefix,
    /// Outside.
    pub outside: Prefix,
}

/// An item of `[[network.NAME.snat]]`: what becomes of packets from these addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRule {
    /// The addresses inside.
    pub source: Prefix,
    /// Those that they become.
    pub to: SourceTarget,
}

/// What a source address becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceTarget {
    /// The uplink's own address, whatever it is now.
    Masquerade,
    /// Their own: they are known out there.
    Keep,
    /// One of these ranges, first to last, which have none in common; a station keeps the one that it got (RFC 6888, REQ-2).
    Pool(Vec<(Ipv4Addr, Ipv4Addr)>),
}

impl fmt::Display for SourceTarget {
    /// As in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masquerade => f.write_str("masquerade"),
            Self::Keep => f.write_str("keep"),
            Self::Pool(ranges) => {
                f.write_str(&ranges.iter().copied().map(range_text).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A range of a pool as in a file.
pub(super) fn range_text((first, last): (Ipv4Addr, Ipv4Addr)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl fmt::Display for SourceRule {
    /// For people: `172.16.99.0/24 to 192.168.99.109`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.source, self.to)
    }
}

/// `nat` as far as it is right; what is wrong is noted.
pub(super) fn options(network: &TableReader<'_>, mode: NetworkMode, subnets: &[Subnet]) -> NatOptions {
    let standard = NatOptions::default();
    let Some(table) = network.table("nat") else { return standard };
    check_mode(network, mode, "nat");
    table.check_fields(&schema::NAT);
    let limit = "a number from 1 to 65535: outside ports that one station may have";
    NatOptions {
        mapping: table.read_word("mapping", Mapping::ALL, &[]).unwrap_or_default(),
        filtering: table.read_word("filtering", Filtering::ALL, &[]).unwrap_or_default(),
        ports: table.read("ports", PORT_RANGE, port_range).unwrap_or(standard.ports),
        port_limit: table.read("port_limit", limit, |value| values::number(value, 1..=u16::MAX)),
        prefixes: prefixes(&table, subnets),
    }
}

/// What belongs to `mode = "nat"` alone.
fn check_mode(network: &TableReader<'_>, mode: NetworkMode, field: &str) {
    if mode != NetworkMode::Nat && network.has(field) {
        let expected = "mode = \"nat\" beside it: no addresses are translated otherwise";
        network.note(field, format!("the field `{field}`"), expected.to_owned());
    }
}

fn port_range(value: &DeValue<'_>) -> Option<(u16, u16)> {
    addresses::ports(values::text(value)?).filter(|(_, last)| *last <= PORTS.1)
}

/// `nptv6`.
fn prefixes(table: &TableReader<'_>, subnets: &[Subnet]) -> Vec<PrefixPair> {
    let mut pairs: Vec<PrefixPair> = Vec::new();
    for table in table.read_tables("nptv6", NPTV6) {
        table.check_fields(&schema::NPTV6);
        let (inside, outside) = (prefix_v6(&table, "inside"), prefix_v6(&table, "outside"));
        let (Some(inside), Some(outside)) = (inside, outside) else { continue };
        if inside.length() != outside.length() {
            let expected = format!("a prefix of {} bits, as `inside`", inside.length());
            table.note("outside", format!("\"{outside}\""), expected);
        }
        if !subnets.iter().any(|subnet| addresses::overlap(subnet.prefix, inside)) {
            let expected = "a prefix of the network's own `subnets`";
            table.note("inside", format!("\"{inside}\""), expected.to_owned());
        }
        let is_twice = |other: &&PrefixPair| {
            addresses::overlap(other.inside, inside) || addresses::overlap(other.outside, outside)
        };
        if let Some(other) = pairs.iter().find(is_twice) {
            let expected = format!(
                "prefixes that have no address in common with {} and {}",
                other.inside, other.outside
            );
            table.note_self(format!("{inside} and {outside}"), expected);
        }
        pairs.push(PrefixPair { inside, outside });
    }
    pairs
}

/// A prefix of IPv6 of at most 64 bits (RFC 6296, 3.4 and 3.5, treat longer ones differently).
fn prefix_v6(table: &TableReader<'_>, field: &str) -> Option<Prefix> {
    let expected = "a prefix of IPv6 of 16 to 64 bits in quotes, like \"fd00:2::/64\"";
    required_prefix(table, field, expected, |prefix| {
        prefix.family() == Family::Ipv6 && (16..=64).contains(&prefix.length())
    })
}

/// `snat` as far as it is right; what is wrong is noted.
pub(super) fn source_rules(network: &TableReader<'_>, mode: NetworkMode) -> Vec<SourceRule> {
    check_mode(network, mode, "snat");
    let expected = format!("tables, as under [[{}]]", network.field_path("snat"));
    let tables = network.read_tables("snat", &expected);
    if tables.len() > RULES_MAX {
        network.note("snat", format!("{} tables", tables.len()), format!("at most {RULES_MAX}"));
    }
    let mut rules: Vec<SourceRule> = Vec::new();
    for table in tables.iter().take(RULES_MAX) {
        let Some(rule) = source_rule(table) else { continue };
        if let Some(first) = rules.iter().position(|other| covers(other.source, rule.source)) {
            let expected = format!(
                "addresses for which rule {first} (counted from 0) does not count before: the first one that fits counts"
            );
            table.note("source", format!("\"{}\"", rule.source), expected);
        }
        rules.push(rule);
    }
    rules
}

/// Whether `one` has all addresses of `other`.
fn covers(one: Prefix, other: Prefix) -> bool {
    one.length() <= other.length() && one.contains(other.address())
}

fn source_rule(table: &TableReader<'_>) -> Option<SourceRule> {
    table.check_fields(&schema::SNAT);
    let source = prefix_v4(table, "source");
    let to = target(table);
    Some(SourceRule { source: source?, to: to? })
}

/// `to`, which must be written.
fn target(table: &TableReader<'_>) -> Option<SourceTarget> {
    match table.text("to") {
        None if !table.has("to") => return required(table, "to", TO, |_| None),
        Some("masquerade") => return Some(SourceTarget::Masquerade),
        Some("keep") => return Some(SourceTarget::Keep),
        _ => {}
    }
    let expected = if table.list_len("to").is_some() { TO_ITEM } else { TO };
    let ranges = table.read_items("to", TO, |value| range(value).ok_or(expected.to_owned()))?;
    let is_empty = table.list_len("to") == Some(0);
    let sizes = ranges.iter().map(|(first, last)| u64::from(last.to_bits() - first.to_bits()) + 1);
    let size: u64 = sizes.sum();
    if is_empty || size > u64::from(POOL_MAX) {
        let found = if is_empty { "an empty list".to_owned() } else { format!("{size} addresses") };
        table.note("to", found, TO.to_owned());
        return None;
    }
    for (index, one) in ranges.iter().enumerate() {
        if let Some(other) = ranges[..index].iter().find(|other| one.0 <= other.1 && other.0 <= one.1) {
            let expected = format!("addresses that {} beside it has not got", range_text(*other));
            table.note("to", format!("\"{}\"", range_text(*one)), expected);
        }
    }
    Some(SourceTarget::Pool(ranges))
}

/// A range of stations' addresses.
fn range(value: &DeValue<'_>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = addresses::range::<Ipv4Addr>(values::text(value)?)?;
    let is_right = [first, last].into_iter().all(|address| addresses::is_station(IpAddr::V4(address)));
    (is_right && last.to_bits() - first.to_bits() < POOL_MAX).then_some((first, last))
}
