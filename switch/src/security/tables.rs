//! What the tables are made of: keys, and what stands behind them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::prefix::{Family, Lengths, Prefix};
use super::rule::{AddressGroupIndex, Direction, GroupIndex, Remote};
use super::service::{ServiceSet, Services};

/// The addresses among which no two stations have the same one: a tenant's. A remote group means those of its members that
/// are in the zone of the port whose rule it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Zone(pub u16);

/// A set of addresses that rules can name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum SetId {
    Group(GroupIndex),
    AddressGroup(AddressGroupIndex),
}

/// The remote of a rule, for one version of IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RemoteKey {
    Any(Family),
    Prefix(Prefix),
    Set(Family, SetId),
}

impl RemoteKey {
    pub(crate) fn new(remote: Remote, family: Family) -> Self {
        match remote {
            Remote::Any => Self::Any(family),
            Remote::Prefix(prefix) => Self::Prefix(prefix),
            Remote::Group(group) => Self::Set(family, SetId::Group(group)),
            Remote::AddressGroup(group) => Self::Set(family, SetId::AddressGroup(group)),
        }
    }

    /// The rule's remote as it was written.
    pub(crate) fn remote(self) -> Remote {
        match self {
            Self::Any(_) => Remote::Any,
            Self::Prefix(prefix) => Remote::Prefix(prefix),
            Self::Set(_, SetId::Group(group)) => Remote::Group(group),
            Self::Set(_, SetId::AddressGroup(group)) => Remote::AddressGroup(group),
        }
    }

    #[inline]
    fn words(self) -> [u64; 3] {
        let of_set =
            |family: Family, raw: u16, kind: u64| [kind, u64::from(family == Family::Ipv6), raw.into()];
        match self {
            // Prefixes have up to 257 in the first word; these stay above.
            Self::Prefix(prefix) => prefix.words(),
            Self::Any(family) => of_set(family, 0, 1 << 32),
            Self::Set(family, SetId::Group(group)) => of_set(family, group.raw(), 2 << 32),
            Self::Set(family, SetId::AddressGroup(group)) => of_set(family, group.raw(), 3 << 32),
        }
    }
}

/// Where the rules of one group, direction and remote stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RuleKey {
    pub(crate) group: GroupIndex,
    pub(crate) direction: Direction,
    pub(crate) remote: RemoteKey,
}

impl Hash for RuleKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ingress = u64::from(self.direction == Direction::Ingress);
        let [kind, high, low] = self.remote.words();
        state.write_u64(kind << 17 | u64::from(self.group.raw()) << 1 | ingress);
        state.write_u64(high);
        state.write_u64(low);
    }
}

/// Where it stands whose an address is. Addresses of address groups belong to no zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemberKey {
    pub(crate) zone: Option<Zone>,
    pub(crate) prefix: Prefix,
}

impl Hash for MemberKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [kind, high, low] = self.prefix.words();
        state.write_u64(kind << 17 | self.zone.map_or(0, |zone| u64::from(zone.0) << 1 | 1));
        state.write_u64(high);
        state.write_u64(low);
    }
}

/// The rules of one group, direction and remote.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// One for each rule, in ascending order.
    pub(crate) rules: Vec<Services>,
    pub(crate) union: ServiceSet,
}

/// The sets in which an address is, in ascending order, and for how many reasons: ports, prefixes that were given twice.
pub(crate) type Members = Arc<[(SetId, u32)]>;

/// What kinds of remotes a group's rules of one direction and version have.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Remotes {
    pub(crate) lengths: Lengths,
    /// In ascending order.
    pub(crate) sets: Vec<SetId>,
}

/// What is known of a group beside its rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupTables {
    /// Whether replies to what it allows pass without a rule.
    pub(crate) stateful: bool,
    remotes: [Remotes; 4],
}

impl GroupTables {
    pub(crate) fn new(stateful: bool) -> Self {
        Self { stateful, remotes: Default::default() }
    }

    #[inline]
    pub(crate) fn remotes(&self, direction: Direction, family: Family) -> &Remotes {
        &self.remotes[Self::place(direction, family)]
    }

    pub(crate) fn remotes_mut(&mut self, direction: Direction, family: Family) -> &mut Remotes {
        &mut self.remotes[Self::place(direction, family)]
    }

    #[inline]
    fn place(direction: Direction, family: Family) -> usize {
        usize::from(direction == Direction::Egress) << 1 | usize::from(family == Family::Ipv6)
    }
}
