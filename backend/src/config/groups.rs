//! `[group.NAME]` and `[address_group.NAME]`: who may reach a guest, and whom a guest may reach.

use std::collections::BTreeSet;
use std::fmt;

use toml::de::DeValue;
use viaduct_switch::security::{
    AddressGroupIndex, Direction, Family, GroupIndex, InvalidPrefix, Prefix, Protocol, Rule, RuleError,
    RuleSpec,
};

use super::names::{choice, listed, nearest, reference};
use super::reader::TableReader;
use super::{schema, values};

/// The group of ports that name none.
pub const DEFAULT_GROUP: &str = "default";

const SWITCH: &str = "true or false, without quotes";
const RULES: &str = "a list of tables, like [{ direction = \"ingress\", protocol = \"tcp\", ports = 80 }]";
pub(super) const PORTS: &str = "a port from 1 to 65535, or a range in quotes, like 80 or \"8000-8080\"";
pub(super) const PREFIX: &str = "a prefix or an IP address in quotes, like \"10.0.0.0/8\" or \"fd00::1\"";
const REMOTES: [&str; 3] = ["remote", "remote_group", "remote_address_group"];

/// `[group.NAME]`: what ports in it allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Whether replies to what it allows pass without a rule.
    pub stateful: bool,
    /// What guests may send.
    pub egress: Egress,
    /// What it allows beside that.
    pub rules: Vec<GroupRule>,
}

/// What the members of a group may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Egress {
    /// Everything.
    #[default]
    All,
    /// What rules allow.
    Rules,
}

impl Egress {
    /// Both, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[("all", Self::All), ("rules", Self::Rules)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Rules => "rules",
        }
    }
}

/// A rule, which is known to make sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRule {
    /// What was written, but for groups.
    spec: RuleSpec,
    /// The group that is the remote, by name.
    pub remote_group: Option<String>,
    /// The address group that is the remote, by name.
    pub remote_address_group: Option<String>,
}

impl GroupRule {
    /// What was written, but for groups.
    #[must_use]
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// The rule with the groups' numbers; `None` if one has no number.
    #[must_use]
    pub fn resolve(
        &self,
        group: impl Fn(&str) -> Option<GroupIndex>,
        address_group: impl Fn(&str) -> Option<AddressGroupIndex>,
    ) -> Option<Rule> {
        let mut spec = self.spec;
        if let Some(name) = &self.remote_group {
            spec.group = Some(group(name)?);
        }
        if let Some(name) = &self.remote_address_group {
            spec.address_group = Some(address_group(name)?);
        }
        Rule::try_from(spec).ok()
    }
}

impl fmt::Display for GroupRule {
    /// For people: `ingress tcp 3306 from group web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleSpec { direction, ethertype, protocol, ports, icmp_type, icmp_code, prefix, .. } = self.spec;
        write!(f, "{direction}")?;
        ethertype.map_or(Ok(()), |family| write!(f, " {family}"))?;
        protocol.map_or(Ok(()), |protocol| write!(f, " {protocol}"))?;
        match ports {
            Some((first, last)) if first == last => write!(f, " {first}")?,
            Some((first, last)) => write!(f, " {first}-{last}")?,
            None => {}
        }
        icmp_type.map_or(Ok(()), |kind| write!(f, " type {kind}"))?;
        icmp_code.map_or(Ok(()), |code| write!(f, " code {code}"))?;
        let way = if direction == Direction::Ingress { "from" } else { "to" };
        prefix.map_or(Ok(()), |prefix| write!(f, " {way} {prefix}"))?;
        self.remote_group.as_ref().map_or(Ok(()), |name| write!(f, " {way} group {name}"))?;
        self.remote_address_group.as_ref().map_or(Ok(()), |name| write!(f, " {way} address group {name}"))
    }
}

/// The names that rules may use.
pub(super) struct Known<'a> {
    pub(super) groups: &'a BTreeSet<&'a str>,
    pub(super) address_groups: &'a BTreeSet<&'a str>,
}

/// The group as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, known: &Known<'_>) -> Group {
    table.check_fields(&schema::GROUP);
    let tables = table.read_tables("rules", RULES);
    let mut rules: Vec<GroupRule> = Vec::new();
    for table in &tables {
        let Some(rule) = rule(table, known) else { continue };
        if let Some(first) = rules.iter().position(|other| *other == rule) {
            let expected = format!("each rule once: rule {first} is the same, counted from 0");
            table.note_self(rule.to_string(), expected);
        }
        rules.push(rule);
    }
    Group {
        stateful: table.read("stateful", SWITCH, values::boolean).unwrap_or(true),
        egress: table.read_word("egress", Egress::ALL, &[]).unwrap_or_default(),
        rules,
    }
}

/// `[address_group.NAME]`: its prefixes as far as they are right.
pub(super) fn read_addresses(table: &TableReader<'_>) -> Vec<Prefix> {
    table.check_fields(&schema::ADDRESS_GROUP);
    if !table.has("addresses") {
        table.note("addresses", "nothing".to_owned(), format!("a list, each item {PREFIX}"));
    }
    let read = table.read_list("addresses", &format!("a list, each item {PREFIX}"), |value| {
        values::text(value).map_or(Err(PREFIX.to_owned()), |text| text.parse().map_err(of_prefix))
    });
    read.unwrap_or_default()
}

pub(super) fn of_prefix(error: InvalidPrefix) -> String {
    match error {
        InvalidPrefix::Malformed => PREFIX.to_owned(),
        _ => error.to_string(),
    }
}

fn rule(table: &TableReader<'_>, known: &Known<'_>) -> Option<GroupRule> {
    table.check_fields(&schema::RULE);
    let direction = table.read_word("direction", Direction::ALL, &[]);
    if !table.has("direction") {
        table.note("direction", "nothing".to_owned(), "\"ingress\", to the guest, or \"egress\"".to_owned());
    }
    let families = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];
    let byte =
        |field: &str| table.read(field, "a number from 0 to 255", |value| values::number(value, 0..=u8::MAX));
    let remote_group = reference(table, "remote_group", "group", known.groups);
    let remote_address_group =
        reference(table, "remote_address_group", "address_group", known.address_groups);
    let spec = RuleSpec {
        ethertype: table.read_word("ethertype", &families, &[]),
        protocol: protocol(table),
        ports: ports(table),
        icmp_type: byte("type"),
        icmp_code: byte("code"),
        prefix: prefix(table),
        // Any will do: which they are is known later.
        group: GroupIndex::new(0).filter(|_| remote_group.is_some()),
        address_group: AddressGroupIndex::new(0).filter(|_| remote_address_group.is_some()),
        ..RuleSpec::new(direction?)
    };
    // What is wrong by itself has been noted, and makes no sense together with the rest, either.
    let fields = ["ethertype", "protocol", "ports", "type", "code", "remote"];
    let read = [
        spec.ethertype.is_some(),
        spec.protocol.is_some(),
        spec.ports.is_some(),
        spec.icmp_type.is_some(),
        spec.icmp_code.is_some(),
        spec.prefix.is_some(),
    ];
    if fields.into_iter().zip(read).any(|(field, is_read)| table.has(field) != is_read) {
        return None;
    }
    match Rule::try_from(spec) {
        Ok(_) => Some(GroupRule {
            spec: RuleSpec { group: None, address_group: None, ..spec },
            remote_group,
            remote_address_group,
        }),
        Err(error) => {
            note(table, error);
            None
        }
    }
}

/// Notes why a rule makes no sense, at the field that is to be changed.
fn note(table: &TableReader<'_>, error: RuleError) {
    let given: Vec<&str> = REMOTES.into_iter().filter(|field| table.has(field)).collect();
    let written = |fields: &[&'static str]| fields.iter().copied().find(|field| table.has(field));
    let field = match error {
        RuleError::ManyRemotes => given.last().copied(),
        RuleError::PortsWithoutProtocol
        | RuleError::PortsAndType
        | RuleError::PortsOfIcmp(_)
        | RuleError::NoPorts(_)
        | RuleError::PortZero
        | RuleError::PortsReversed(..) => Some("ports"),
        RuleError::TypeWithoutProtocol | RuleError::NoTypes(_) => written(&["type", "code"]),
        RuleError::CodeWithoutType => Some("code"),
        RuleError::Extension(_) | RuleError::ProtocolOfOtherVersion(..) => Some("protocol"),
        RuleError::PrefixOfOtherVersion(..) => Some("remote"),
    };
    let field = field.unwrap_or("direction");
    table.note(field, format!("`{field}` as it stands"), format!("something else: {error}"));
}

pub(super) fn protocol(table: &TableReader<'_>) -> Option<Protocol> {
    let names = || Protocol::NAMES.iter().map(|(name, _)| *name);
    let near = table.text("protocol").and_then(|text| nearest(text, names()));
    let expected = match near {
        Some(near) => format!("\"{near}\", the nearest known protocol, or a number from 0 to 255"),
        None => format!("a number from 0 to 255, or one of {}", listed(names())),
    };
    table.read("protocol", &expected, |value| {
        let number = || values::number(value, 0..=u8::MAX).map(Protocol);
        values::text(value).map_or_else(number, Protocol::named)
    })
}

fn ports(table: &TableReader<'_>) -> Option<(u16, u16)> {
    table.read("ports", PORTS, port_range)
}

/// A port, or a range of them.
pub(super) fn port_range(value: &DeValue<'_>) -> Option<(u16, u16)> {
    if let DeValue::String(text) = value {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        return Some((port(first)?, port(last)?));
    }
    values::number(value, 0..=u16::MAX).map(|port| (port, port))
}

fn port(text: &str) -> Option<u16> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn prefix(table: &TableReader<'_>) -> Option<Prefix> {
    let written = table.text("remote").map(str::parse::<Prefix>);
    let expected = written.as_ref().and_then(|read| read.err()).map_or(PREFIX.to_owned(), of_prefix);
    table.read("remote", &expected, |_| written.and_then(Result::ok))
}

/// The groups of a port, as far as they are right; `None`: it is not filtered. A port that names none is in the group
/// `default`, if the file declares it.
pub(super) fn of_port(table: &TableReader<'_>, known: &BTreeSet<&str>) -> Option<Vec<String>> {
    let expected = format!("a list of groups' names in quotes: {}", choice("group", known));
    let is_off = table.is_false("port_security");
    if !table.has("groups") {
        let has_default = known.contains(DEFAULT_GROUP) && table.has("network") && !is_off;
        return has_default.then(|| vec![DEFAULT_GROUP.to_owned()]);
    }
    if is_off {
        let expected =
            "no `port_security = false` beside it: rules go by addresses, which must not be made up";
        table.note("groups", "the field `groups`".to_owned(), expected.to_owned());
    }
    let mut is_empty = true;
    let read = table.read_list("groups", &expected, |value| {
        is_empty = false;
        let name = values::text(value).ok_or_else(|| expected.clone())?;
        match known.contains(name) {
            true => Ok(name.to_owned()),
            false => Err(nearest(name, known.iter().copied()).map_or_else(
                || choice("group", known),
                |near| format!("\"{near}\", the nearest known group"),
            )),
        }
    });
    if read.is_some() && is_empty {
        let expected = "the field left out, for a port that is not filtered, or a group; one without rules lets nothing in";
        table.note("groups", "no group".to_owned(), expected.to_owned());
    }
    if !table.has("network") {
        let expected = "a port of one `network`: groups are not for trunks";
        table.note("groups", "the field `groups`".to_owned(), expected.to_owned());
    }
    Some(read.unwrap_or_default())
}
