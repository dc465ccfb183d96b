//! The tables as the data path reads them: does a rule of this port's groups match?

use std::net::IpAddr;
use std::sync::Arc;

use super::port::PortTables;
use super::prefix::{Family, Lengths, Prefix};
use super::rule::{Direction, GroupIndex, Remote};
use super::service::Service;
use super::tables::{Entry, GroupTables, MemberKey, Members, RemoteKey, RuleKey, SetId, Zone};
use super::trie::Trie;
use crate::ids::PortIndex;

/// Security groups and their members, as of one moment; a copy shares all that did not change.
#[derive(Clone, Debug)]
pub struct SecurityPolicy {
    pub(super) rules: Trie<RuleKey, Arc<Entry>>,
    pub(super) groups: Trie<GroupIndex, Arc<GroupTables>>,
    pub(super) members: Trie<MemberKey, Members>,
    pub(super) member_lengths: Trie<(Option<Zone>, Family), Lengths>,
    pub(super) ports: Vec<Option<Arc<PortTables>>>,
    /// For each port the change since which connections have to be judged again.
    pub(super) generations: Vec<u32>,
    pub(super) generation: u32,
}

/// Which groups are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tracking {
    /// Those whose connections are tracked: asked once a connection, about its first packet.
    Stateful,
    /// Those whose rules hold for each packet by itself.
    Stateless,
}

/// The rule's place that allowed something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    /// The group.
    pub group: GroupIndex,
    /// The rule's remote.
    pub remote: Remote,
}

/// What groups say about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No group is asked: the port is not filtered.
    Unfiltered,
    /// A rule allows it.
    Allowed(Match),
    /// No rule allows it.
    Denied,
}

/// Whether what was judged at `generation` holds still where something was taken away at `changed`.
#[inline]
pub(crate) fn holds_since(changed: u32, generation: u32) -> bool {
    generation.wrapping_sub(changed) <= u32::MAX / 2
}

impl SecurityPolicy {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rules: Trie::new(seed),
            groups: Trie::new(seed),
            members: Trie::new(seed),
            member_lengths: Trie::new(seed),
            ports: Vec::new(),
            generations: Vec::new(),
            generation: 0,
        }
    }

    /// What is known of the port; `None`: it is neither filtered nor guarded, and nothing here has to be asked.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortIndex) -> Option<&PortTables> {
        self.ports.get(port.get())?.as_deref()
    }

    /// Whether one of the port's groups is of this kind. Without stateless ones a packet has to be asked about once.
    #[must_use]
    pub fn has(&self, port: PortIndex, tracking: Tracking) -> bool {
        let groups = self.port(port).and_then(PortTables::groups).unwrap_or_default();
        groups.iter().any(|group| self.group(*group, tracking).is_some())
    }

    /// Whether a rule of the port's groups allows what `remote` asks of the guest (ingress), or the guest of it (egress).
    /// Groups of the other kind are not asked; a port has both, or one of them, or `Verdict::Unfiltered`.
    #[must_use]
    pub fn judge(
        &self,
        port: PortIndex,
        direction: Direction,
        remote: IpAddr,
        service: Service,
        tracking: Tracking,
    ) -> Verdict {
        let Some(tables) = self.port(port) else { return Verdict::Unfiltered };
        let Some(groups) = tables.groups() else { return Verdict::Unfiltered };
        let question = Question { policy: self, zone: tables.zone(), direction, remote, service };
        let found = groups.iter().find_map(|&group| {
            let tables = self.group(group, tracking)?;
            let remote = question.ask(group, tables)?;
            Some(Match { group, remote: remote.remote() })
        });
        found.map_or(Verdict::Denied, Verdict::Allowed)
    }

    #[inline]
    fn group(&self, group: GroupIndex, tracking: Tracking) -> Option<&GroupTables> {
        let tables = self.groups.get(&group)?;
        (tables.stateful == (tracking == Tracking::Stateful)).then_some(tables)
    }

    /// The moment that these tables show: noted where a connection was judged by them.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether what was judged at `generation` holds still for this port: nothing was taken away since on which the judgement
    /// may have depended. It must be asked for both ports of a connection. Generations may wrap; 2^31 may lie between.
    #[must_use]
    #[inline]
    pub fn is_current(&self, port: PortIndex, generation: u32) -> bool {
        holds_since(self.changed(port), generation)
    }

    /// The generation since which what was judged about this port holds still.
    #[inline]
    pub(crate) fn changed(&self, port: PortIndex) -> u32 {
        self.generations.get(port.get()).copied().unwrap_or(0)
    }

    /// How many prefixes, groups and others the rules have as remotes, for each group, direction and version.
    #[must_use]
    pub fn remotes(&self) -> usize {
        self.rules.len()
    }

    /// How many prefixes are members of something.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.members.len()
    }

    /// The sets that the prefixes of `zone` around `address` are in.
    #[inline]
    fn sets_of(&self, zone: Option<Zone>, address: IpAddr) -> impl Iterator<Item = &Members> {
        let host = Prefix::host(address);
        let lengths = self.member_lengths.get(&(zone, host.family())).copied().unwrap_or_default();
        lengths.iter().filter_map(move |length| {
            let prefix = host.shortened(length);
            self.members.get(&MemberKey { zone, prefix })
        })
    }
}

/// Does a rule match? One question for all groups of a port.
struct Question<'a> {
    policy: &'a SecurityPolicy,
    zone: Zone,
    direction: Direction,
    remote: IpAddr,
    service: Service,
}

impl Question<'_> {
    /// The remote of a rule of this group that matches.
    #[inline]
    fn ask(&self, group: GroupIndex, tables: &GroupTables) -> Option<RemoteKey> {
        let host = Prefix::host(self.remote);
        let remotes = tables.remotes(self.direction, host.family());
        let any = RemoteKey::Any(host.family());
        if self.allows(group, any) {
            return Some(any);
        }
        let prefixes = remotes.lengths.iter().map(|length| RemoteKey::Prefix(host.shortened(length)));
        let mut prefixes = prefixes.filter(|remote| self.allows(group, *remote));
        prefixes.next().or_else(|| self.ask_sets(group, &remotes.sets))
    }

    /// The same for rules whose remote is one of `named`, the groups that this group's rules name.
    fn ask_sets(&self, group: GroupIndex, named: &[SetId]) -> Option<RemoteKey> {
        if named.is_empty() {
            return None;
        }
        let family = Family::of(self.remote);
        let allows = |set: SetId| {
            let remote = RemoteKey::Set(family, set);
            self.allows(group, remote).then_some(remote)
        };
        let zones = [Some(self.zone), None].into_iter();
        zones.flat_map(|zone| self.policy.sets_of(zone, self.remote)).find_map(|sets| {
            // By the shorter list: neither many rules nor an address that is in many groups makes it long.
            if named.len() < sets.len() {
                let mut found = named.iter().filter(|set| has(sets, **set));
                found.find_map(|set| allows(*set))
            } else {
                let mut found = sets.iter().filter(|(set, _)| named.binary_search(set).is_ok());
                found.find_map(|(set, _)| allows(*set))
            }
        })
    }

    #[inline]
    fn allows(&self, group: GroupIndex, remote: RemoteKey) -> bool {
        let key = RuleKey { group, direction: self.direction, remote };
        self.policy.rules.get(&key).is_some_and(|entry| entry.union.contains(self.service))
    }
}

fn has(sets: &Members, set: SetId) -> bool {
    sets.binary_search_by_key(&set, |(known, _)| *known).is_ok()
}
