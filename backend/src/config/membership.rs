//! To which networks a port belongs: `network` of an access port, `native` and `trunk` of a trunk.

use std::collections::BTreeSet;
use std::fmt;

use viaduct_switch::{Priority, TagTypes, VlanId};

use super::names::{choice, nearest, reference};
use super::reader::TableReader;
use super::values;

pub(super) const PRIORITY: &str = "a priority code point from 0 to 7";
const TAG_TYPES: &[(&str, TagTypes)] = &[
    ("0x88a8", TagTypes { service: true, legacy: false }),
    ("0x9100", TagTypes { service: false, legacy: true }),
];

/// How many names of a trunk's networks a sentence has.
const SHOWN_MAX: usize = 8;

/// The networks of a port, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// One, whose frames have no tag here.
    Access(String),
    /// Several, told apart by tags.
    Trunk(Trunk),
}

/// The networks of a trunk, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trunk {
    /// The one whose frames have no tag here.
    pub native: Option<String>,
    /// Those whose frames have their tag, sorted; the native one is not among them.
    pub networks: Vec<String>,
    /// The service provider's tag before all frames.
    pub service_vlan: Option<VlanId>,
    /// Types of tags that are taken beside the standard's.
    pub tag_types: TagTypes,
}

impl Membership {
    /// The network whose frames have no tag here.
    #[must_use]
    pub fn native(&self) -> Option<&str> {
        match self {
            Self::Access(network) => Some(network),
            Self::Trunk(trunk) => trunk.native.as_deref(),
        }
    }

    /// All networks, the one without a tag first.
    pub fn networks(&self) -> impl Iterator<Item = &str> {
        let tagged = match self {
            Self::Access(_) => &[][..],
            Self::Trunk(trunk) => &trunk.networks,
        };
        self.native().into_iter().chain(tagged.iter().map(String::as_str))
    }

    /// Whether `network` is one of them.
    #[must_use]
    pub fn has(&self, network: &str) -> bool {
        self.networks().any(|name| name == network)
    }
}

impl fmt::Display for Membership {
    /// For people: `lab`, or `trunk of tenant10 (native) tenant20`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trunk = match self {
            Self::Access(network) => return f.write_str(network),
            Self::Trunk(trunk) => trunk,
        };
        let native = trunk.native.iter().map(|name| format!("{name} (native)"));
        let names: Vec<String> = native.chain(trunk.networks.iter().cloned()).collect();
        write!(f, "trunk of {}", names[..names.len().min(SHOWN_MAX)].join(" "))?;
        if names.len() > SHOWN_MAX {
            write!(f, " and {} more", names.len() - SHOWN_MAX)?;
        }
        if let Some(vlan) = trunk.service_vlan {
            write!(f, " behind {vlan}")?;
        }
        if trunk.tag_types == TagTypes::default() {
            return Ok(());
        }
        write!(f, " with {}", written(trunk.tag_types))
    }
}

/// The port's networks as far as they are right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, known: &BTreeSet<&str>) -> Membership {
    let is_trunk = table.has("native") || table.has("trunk");
    if table.has("network") {
        if is_trunk {
            let expected =
                "either `network`, or `native` and `trunk`: the networks of a port that carries several";
            table.note("network", "the field `network`".to_owned(), expected.to_owned());
        }
        check_access(table, is_trunk);
        return Membership::Access(reference(table, "network", "network", known).unwrap_or_default());
    }
    if !is_trunk {
        check_access(table, false);
        let names = choice("network", known);
        table.note("network", "nothing".to_owned(), format!("a network's name: {names}"));
        return Membership::Access(String::new());
    }
    let native = reference(table, "native", "network", known);
    let mut networks = patterns(table, known);
    if let Some(native) = &native {
        networks.remove(native.as_str());
    }
    let networks = networks.into_iter().map(str::to_owned).collect();
    let service_vlan = vlan(table, "service_vlan");
    Membership::Trunk(Trunk { native, networks, service_vlan, tag_types: tag_types(table) })
}

/// Notes what says nothing about an access port.
fn check_access(table: &TableReader<'_>, is_trunk: bool) {
    for field in ["tag_types", "service_vlan"].into_iter().filter(|field| table.has(field) && !is_trunk) {
        let expected =
            "`trunk` or `native` instead of `network`: an access port takes no tags but priority tags";
        table.note(field, format!("the field `{field}`"), expected.to_owned());
    }
}

/// The networks that the items of `trunk` name; each item must name one.
fn patterns<'n>(table: &TableReader<'_>, known: &BTreeSet<&'n str>) -> BTreeSet<&'n str> {
    let mut named = BTreeSet::new();
    let expected = "a list of networks' names or patterns in quotes, like [\"tenant20\", \"tenant3*\"]";
    table.read_list("trunk", expected, |value| {
        let pattern = values::text(value).ok_or_else(|| expected.to_owned())?;
        let before = named.len();
        let found: Vec<&str> = known.iter().copied().filter(|name| matches(pattern, name)).collect();
        named.extend(found.iter().copied());
        if found.is_empty() && named.len() == before { Err(unmatched(pattern, known)) } else { Ok(()) }
    });
    named
}

/// What to write instead of a pattern that no network has.
fn unmatched(pattern: &str, known: &BTreeSet<&str>) -> String {
    match nearest(pattern, known.iter().copied()) {
        Some(near) => format!("\"{near}\", the nearest known network"),
        None => format!(
            "a pattern that a network has, where * stands for any characters: {}",
            choice("network", known)
        ),
    }
}

/// Whether `name` is what `pattern` says, in which `*` stands for any characters, none included.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

/// Types of tags that are taken beside the standard's.
pub(super) fn tag_types(table: &TableReader<'_>) -> TagTypes {
    let expected = "\"0x88a8\" or \"0x9100\": 0x8100, and 0x88a8 behind a service_vlan, need not be written";
    let types = table.read_list("tag_types", expected, |value| {
        let found = values::text(value);
        let types = TAG_TYPES.iter().find(|(name, _)| Some(*name) == found).map(|(_, types)| *types);
        types.ok_or_else(|| expected.to_owned())
    });
    types.unwrap_or_default().into_iter().fold(TagTypes::default(), |all, types| TagTypes {
        service: all.service || types.service,
        legacy: all.legacy || types.legacy,
    })
}

/// The types as they are written in the file, or `none`.
pub(crate) fn written(tag_types: TagTypes) -> String {
    let names: Vec<&str> =
        TAG_TYPES.iter().filter(|(_, types)| includes(tag_types, *types)).map(|(name, _)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// Whether `all` has the one type of `one`.
fn includes(all: TagTypes, one: TagTypes) -> bool {
    all.service && one.service || all.legacy && one.legacy
}

/// The priority of frames that come without one.
pub(super) fn priority(table: &TableReader<'_>) -> Priority {
    code_point(table, "priority").unwrap_or_default()
}

/// A priority code point in `field`.
pub(super) fn code_point(table: &TableReader<'_>, field: &str) -> Option<Priority> {
    table.read(field, PRIORITY, |value| {
        values::number(value, 0..=Priority::CODE_POINT_MAX).and_then(Priority::new)
    })
}

/// A VLAN id in `field`.
pub(super) fn vlan(table: &TableReader<'_>, field: &str) -> Option<VlanId> {
    table.read(field, "a VLAN id from 1 to 4094", |value| {
        values::number(value, 1..=VlanId::MAX).and_then(VlanId::new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, good, bad) in [
            ("tenant20", &["tenant20"][..], &["tenant2", "tenant200", ""][..]),
            ("tenant3*", &["tenant3", "tenant30", "tenant3.x"], &["tenant2", "atenant3"]),
            ("*", &["", "a"], &[]),
            ("*-web", &["-web", "a-web", "a-web-web"], &["web", "a-webs"]),
            ("a*b*c", &["abc", "axbxc", "abbcc", "abcbc"], &["ab", "acb", "abcd", "xabc"]),
            ("a**a", &["aa", "axa"], &["a"]),
        ] {
            for name in good {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in bad {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_membership_is_told_in_a_few_words() {
        assert_eq!(Membership::Access("lab".into()).to_string(), "lab");
        let tag_types = TagTypes { service: true, legacy: true };
        let service_vlan = VlanId::new(300);
        let trunk = Trunk { native: Some("a".into()), networks: vec!["b".into()], service_vlan, tag_types };
        assert_eq!(
            Membership::Trunk(trunk).to_string(),
            "trunk of a (native) b behind 300 with 0x88a8 0x9100"
        );
        let networks = (10..30).map(|number| format!("n{number}")).collect();
        let many = Membership::Trunk(Trunk { networks, ..Trunk::default() });
        assert_eq!(many.to_string(), "trunk of n10 n11 n12 n13 n14 n15 n16 n17 and 12 more");
        assert!(many.has("n29") && !many.has("n30") && many.native().is_none());
    }
}
