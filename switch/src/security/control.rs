//! The control side of the tables: changes, each at the cost of what changes.
//!
//! Connections that were allowed are judged again, each at its next packet, when something was taken away on which
//! that may have depended: the ports concerned get a new generation. Which ones is found by two indices: the ports of
//! a group, and the groups whose rules name a set. What is added gives no port a new generation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::policy::SecurityPolicy;
use super::port::{PortSecurity, PortTables};
use super::prefix::{Family, Lengths, Prefix};
use super::rule::{AddressGroupIndex, Direction, GroupIndex, Remote, Rule};
use super::service::ServiceSet;
use super::tables::{Entry, GroupTables, MemberKey, RemoteKey, RuleKey, SetId, Zone};
use crate::ids::PortIndex;

/// What the control side says about a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Whether replies to what it allows, and ICMP errors about it, pass without a rule.
    pub stateful: bool,
    /// What it allows; each rule counts once.
    pub rules: Vec<Rule>,
}

impl Group {
    /// A new group: it lets its members send everything, and nothing reach them.
    #[must_use]
    pub fn new() -> Self {
        Self { stateful: true, rules: vec![Rule::everything(Direction::Egress, Remote::Any)] }
    }

    /// The group of ports that say nothing about groups: like a new one, but its members reach one another.
    #[must_use]
    pub fn default_group(itself: GroupIndex) -> Self {
        let mut group = Self::new();
        group.rules.push(Rule::everything(Direction::Ingress, Remote::Group(itself)));
        group
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

/// How many things there are of each length.
#[derive(Debug)]
pub(super) struct Counts<K>(pub(super) BTreeMap<(K, u8), u32>);

impl<K: Ord> Counts<K> {
    /// One more; whether it is the first.
    fn add(&mut self, key: K, length: u8) -> bool {
        let count = self.0.entry((key, length)).or_default();
        *count += 1;
        *count == 1
    }

    /// One less; whether it was the last.
    fn remove(&mut self, key: K, length: u8) -> bool {
        let key = (key, length);
        match self.0.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => return self.0.remove(&key).is_some(),
        }
        false
    }
}

/// The tables, and what is needed to change them. Owned by the control thread; workers get copies of
/// [`SecurityControl::policy`].
#[derive(Debug)]
pub struct SecurityControl {
    pub(super) policy: SecurityPolicy,
    groups: BTreeMap<GroupIndex, BTreeSet<Rule>>,
    address_groups: BTreeMap<AddressGroupIndex, BTreeSet<Prefix>>,
    pub(super) ports: BTreeMap<PortIndex, PortSecurity>,
    /// The ports of each group.
    pub(super) ports_of: BTreeSet<(GroupIndex, PortIndex)>,
    /// The groups whose rules name a set, and by how many kinds of rules.
    pub(super) named_by: BTreeMap<(SetId, GroupIndex), u32>,
    pub(super) rule_lengths: Counts<(GroupIndex, Direction, Family)>,
    pub(super) member_lengths: Counts<(Option<Zone>, Family)>,
}

impl SecurityControl {
    /// Without groups, and without ports that have any. `seed` must be random and secret.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            policy: SecurityPolicy::new(seed),
            groups: BTreeMap::new(),
            address_groups: BTreeMap::new(),
            ports: BTreeMap::new(),
            ports_of: BTreeSet::new(),
            named_by: BTreeMap::new(),
            rule_lengths: Counts(BTreeMap::new()),
            member_lengths: Counts(BTreeMap::new()),
        }
    }

    /// The tables as they are now; a copy of them does not change any more.
    #[must_use]
    pub fn policy(&self) -> &SecurityPolicy {
        &self.policy
    }

    /// Makes the group what it is to be; `None`: there is none. Costs what differs from before, beside comparing.
    /// Ports may name a group that is not there: it allows nothing.
    pub fn set_group(&mut self, group: GroupIndex, wanted: Option<&Group>) {
        let rules: BTreeSet<Rule> =
            wanted.map(|group| group.rules.iter().copied().collect()).unwrap_or_default();
        if let Some(wanted) = wanted {
            self.set_stateful(group, wanted.stateful);
        }
        let old = self.groups.get(&group).cloned().unwrap_or_default();
        rules.difference(&old).for_each(|rule| self.add_rule(group, *rule));
        old.difference(&rules).for_each(|rule| self.remove_rule(group, rule));
        if wanted.is_none() {
            self.groups.remove(&group);
            self.policy.groups.set(group, None);
        }
    }

    fn set_stateful(&mut self, group: GroupIndex, stateful: bool) {
        self.groups.entry(group).or_default();
        match self.policy.groups.get(&group) {
            Some(tables) if tables.stateful == stateful => return,
            // Connections of before were judged by what holds no longer.
            Some(_) => self.outdate_members(&[group]),
            None => {}
        }
        self.change_group(group, |tables| tables.stateful = stateful);
    }

    /// Adds a rule to a group, if it does not have it; without a group of this index there will be one.
    pub fn add_rule(&mut self, group: GroupIndex, rule: Rule) {
        if !self.groups.entry(group).or_default().insert(rule) {
            return;
        }
        for family in rule.families() {
            let key = key_of(group, &rule, family);
            let mut rules = self.policy.rules.get(&key).map(|entry| entry.rules.clone()).unwrap_or_default();
            let is_first = rules.is_empty();
            let at = rules.partition_point(|other| *other <= rule.services());
            rules.insert(at, rule.services());
            let union = ServiceSet::union(&rules);
            self.policy.rules.set(key, Some(Arc::new(Entry { rules, union })));
            if is_first {
                self.note_remote(key, family, true);
            }
        }
    }

    /// Takes a rule from a group, if it has it. What only this rule allowed is judged again.
    pub fn remove_rule(&mut self, group: GroupIndex, rule: &Rule) {
        if !self.groups.get_mut(&group).is_some_and(|rules| rules.remove(rule)) {
            return;
        }
        let shrunk = rule.families().map(|family| {
            let key = key_of(group, rule, family);
            self.shrink(key, family, rule)
        });
        // All families, not the first that shrank.
        if shrunk.fold(false, |any, shrank| any | shrank) {
            self.outdate_members(&[group]);
        }
    }

    /// Takes the rule from where it stands; whether the rules that stay there allow less.
    fn shrink(&mut self, key: RuleKey, family: Family, rule: &Rule) -> bool {
        let Some(old) = self.policy.rules.get(&key).cloned() else { return false };
        let mut rules = old.rules.clone();
        if let Ok(at) = rules.binary_search(&rule.services()) {
            rules.remove(at);
        }
        if rules.is_empty() {
            self.policy.rules.set(key, None);
            self.note_remote(key, family, false);
            return true;
        }
        let union = ServiceSet::union(&rules);
        let shrank = !union.covers(&old.union);
        self.policy.rules.set(key, Some(Arc::new(Entry { rules, union })));
        shrank
    }

    /// Notes that a group has rules of this remote, or has none any more.
    fn note_remote(&mut self, key: RuleKey, family: Family, is_there: bool) {
        let RuleKey { group, direction, remote } = key;
        match remote {
            RemoteKey::Any(_) => self.change_group(group, |_| ()),
            RemoteKey::Prefix(prefix) => {
                let (of, length) = ((group, direction, family), prefix.length());
                let counts = &mut self.rule_lengths;
                if if is_there { counts.add(of, length) } else { counts.remove(of, length) } {
                    self.change_group(group, |tables| {
                        tables.remotes_mut(direction, family).lengths.set(length, is_there);
                    });
                }
            }
            RemoteKey::Set(_, set) => {
                self.note_named(set, group, is_there);
                self.change_group(group, |tables| {
                    let sets = &mut tables.remotes_mut(direction, family).sets;
                    match (sets.binary_search(&set), is_there) {
                        (Err(at), true) => sets.insert(at, set),
                        (Ok(at), false) => drop(sets.remove(at)),
                        _ => {}
                    }
                });
            }
        }
    }

    fn note_named(&mut self, set: SetId, group: GroupIndex, is_named: bool) {
        let count = self.named_by.entry((set, group)).or_default();
        *count = if is_named { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.named_by.remove(&(set, group));
        }
    }

    fn change_group(&mut self, group: GroupIndex, change: impl FnOnce(&mut GroupTables)) {
        let mut tables =
            self.policy.groups.get(&group).map_or_else(|| GroupTables::new(true), |old| (**old).clone());
        change(&mut tables);
        self.policy.groups.set(group, Some(Arc::new(tables)));
    }

    /// Makes the address group what it is to be. Costs what differs from before, beside comparing.
    pub fn set_address_group(&mut self, group: AddressGroupIndex, wanted: &[Prefix]) {
        let wanted: BTreeSet<Prefix> = wanted.iter().copied().collect();
        let old = self.address_groups.get(&group).cloned().unwrap_or_default();
        wanted.difference(&old).for_each(|prefix| self.add_address(group, *prefix));
        old.difference(&wanted).for_each(|prefix| self.remove_address(group, *prefix));
    }

    /// Adds a prefix to an address group, if it does not have it.
    pub fn add_address(&mut self, group: AddressGroupIndex, prefix: Prefix) {
        if self.address_groups.entry(group).or_default().insert(prefix) {
            self.join(SetId::AddressGroup(group), MemberKey { zone: None, prefix });
        }
    }

    /// Takes a prefix from an address group, if it has it. What only this prefix allowed is judged again.
    pub fn remove_address(&mut self, group: AddressGroupIndex, prefix: Prefix) {
        if self.address_groups.get_mut(&group).is_some_and(|prefixes| prefixes.remove(&prefix)) {
            let set = SetId::AddressGroup(group);
            if self.leave(set, MemberKey { zone: None, prefix }) {
                self.outdate_users(&BTreeSet::from([set]));
            }
        }
    }

    /// Makes the port what it is to be; `None`: it is neither filtered nor a member of anything.
    pub fn set_port(&mut self, port: PortIndex, wanted: Option<PortSecurity>) {
        let old = match &wanted {
            Some(wanted) => self.ports.insert(port, wanted.clone()),
            None => self.ports.remove(&port),
        };
        if old == wanted {
            return;
        }
        self.change_groups(port, old.as_ref(), wanted.as_ref());
        self.change_memberships(old.as_ref(), wanted.as_ref());
        let tables = wanted.as_ref().map(|wanted| Arc::new(PortTables::new(wanted)));
        let ports = &mut self.policy.ports;
        if ports.len() <= port.get() {
            ports.resize(port.get() + 1, None);
        }
        ports[port.get()] = tables;
        if has_less(old.as_ref(), wanted.as_ref()) {
            self.outdate(&BTreeSet::from([port]));
        }
    }

    fn change_groups(&mut self, port: PortIndex, old: Option<&PortSecurity>, new: Option<&PortSecurity>) {
        for group in groups_of(old) {
            self.ports_of.remove(&(group, port));
        }
        self.ports_of.extend(groups_of(new).map(|group| (group, port)));
    }

    /// Joins what is new first, so that what an address has by two reasons it never lacks.
    fn change_memberships(&mut self, old: Option<&PortSecurity>, new: Option<&PortSecurity>) {
        let (old, new) = (memberships(old), memberships(new));
        new.difference(&old).for_each(|&(set, zone, prefix)| self.join(set, MemberKey { zone, prefix }));
        let mut left = BTreeSet::new();
        for &(set, zone, prefix) in old.difference(&new) {
            if self.leave(set, MemberKey { zone, prefix }) {
                left.insert(set);
            }
        }
        self.outdate_users(&left);
    }

    /// One more reason for which a prefix is in a set.
    fn join(&mut self, set: SetId, key: MemberKey) {
        let mut sets = self.policy.members.get(&key).map(|sets| sets.to_vec()).unwrap_or_default();
        let is_first = sets.is_empty();
        match sets.binary_search_by_key(&set, |(known, _)| *known) {
            Ok(at) => sets[at].1 += 1,
            Err(at) => sets.insert(at, (set, 1)),
        }
        self.policy.members.set(key, Some(sets.into()));
        if is_first {
            self.note_member(key, true);
        }
    }

    /// One reason less; whether it was the last.
    fn leave(&mut self, set: SetId, key: MemberKey) -> bool {
        let mut sets = self.policy.members.get(&key).map(|sets| sets.to_vec()).unwrap_or_default();
        let Ok(at) = sets.binary_search_by_key(&set, |(known, _)| *known) else { return false };
        sets[at].1 -= 1;
        let was_last = sets[at].1 == 0;
        if was_last {
            sets.remove(at);
        }
        let is_empty = sets.is_empty();
        self.policy.members.set(key, (!is_empty).then(|| sets.into()));
        if is_empty {
            self.note_member(key, false);
        }
        was_last
    }

    fn note_member(&mut self, key: MemberKey, is_there: bool) {
        let (of, length) = ((key.zone, key.prefix.family()), key.prefix.length());
        let counts = &mut self.member_lengths;
        if if is_there { counts.add(of, length) } else { counts.remove(of, length) } {
            let mut lengths: Lengths = self.policy.member_lengths.get(&of).copied().unwrap_or_default();
            lengths.set(length, is_there);
            self.policy.member_lengths.set(of, (lengths != Lengths::default()).then_some(lengths));
        }
    }

    /// What rules that name these sets allowed is judged again.
    fn outdate_users(&mut self, sets: &BTreeSet<SetId>) {
        let [least, most] = [0, super::rule::GROUPS_MAX - 1].map(GroupIndex::new);
        let (Some(least), Some(most)) = (least, most) else { return };
        let users = sets.iter().flat_map(|set| self.named_by.range((*set, least)..=(*set, most)));
        let users: Vec<GroupIndex> = users.map(|((_, group), _)| *group).collect();
        self.outdate_members(&users);
    }

    /// What rules of these groups allowed is judged again.
    fn outdate_members(&mut self, groups: &[GroupIndex]) {
        let [least, most] = [0, crate::ids::PORTS_MAX - 1].map(PortIndex::new);
        let (Some(least), Some(most)) = (least, most) else { return };
        let members = groups.iter().flat_map(|group| self.ports_of.range((*group, least)..=(*group, most)));
        let ports = members.map(|(_, port)| *port).collect();
        self.outdate(&ports);
    }

    /// Gives these ports a new generation.
    fn outdate(&mut self, ports: &BTreeSet<PortIndex>) {
        let Some(last) = ports.last() else { return };
        self.policy.generation = self.policy.generation.wrapping_add(1);
        let generations = &mut self.policy.generations;
        if generations.len() <= last.get() {
            generations.resize(last.get() + 1, 0);
        }
        ports.iter().for_each(|port| generations[port.get()] = self.policy.generation);
    }
}

fn key_of(group: GroupIndex, rule: &Rule, family: Family) -> RuleKey {
    RuleKey { group, direction: rule.direction(), remote: RemoteKey::new(rule.remote(), family) }
}

fn groups_of(port: Option<&PortSecurity>) -> impl Iterator<Item = GroupIndex> + '_ {
    port.and_then(|port| port.groups.as_ref()).into_iter().flatten().copied()
}

/// By which prefixes the port is a member of what.
fn memberships(port: Option<&PortSecurity>) -> BTreeSet<(SetId, Option<Zone>, Prefix)> {
    let Some(port) = port else { return BTreeSet::new() };
    let prefixes = port.prefixes();
    let groups = groups_of(Some(port)).map(SetId::Group);
    groups.flat_map(|set| prefixes.iter().map(move |prefix| (set, Some(port.zone), *prefix))).collect()
}

/// Whether what `old` allowed may be more than what `new` does, by the port's own groups. What comes new to an index was
/// another port's.
fn has_less(old: Option<&PortSecurity>, new: Option<&PortSecurity>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    let Some(groups) = &new.groups else { return false };
    let stays = |group: GroupIndex| groups.contains(&group);
    old.groups.is_none() || old.zone != new.zone || !groups_of(Some(old)).all(stays)
}
