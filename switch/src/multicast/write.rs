//! Joining, leaving, asking and forgetting: everything under the table's lock.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{MutexGuard, PoisonError, TryLockError};

use super::members::{At, Limits, Member, Members};
use super::slot::{GroupKey, NOT_ANSWERED};
use super::{Family, GroupEntry, Groups};
use crate::counters::count;
use crate::ids::{NetworkIndex, PortIndex};
use crate::policy::{MulticastSettings, Policy};

/// For how many seconds after a leave another host may say that it is still there: the last member query
/// time of RFC 9776, 8.8, which is 2 s, and one for the resolution of time.
const LAST_MEMBER_S: u32 = 3;

/// By how many seconds a router is forgotten before what hosts answered to its last query (RFC 9776, 8.4 and
/// 8.5: 260 s and 255 s).
const ROUTER_MARGIN_S: u32 = 5;

/// How often a worker tries for the lock before it goes on without. Who holds it does so for microseconds.
const LOCK_TRIES: usize = 200;

/// Memberships visited before a sweep lets others have the lock.
const SWEEP_MEMBERS: usize = 256;

/// What only the holder of the lock may know.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) members: Members,
    /// How many members each slot's group has.
    sizes: Box<[u16]>,
    /// The membership with which the sweep goes on.
    cursor: usize,
}

impl Writer {
    pub(super) fn new(slots: usize, memberships: usize) -> Self {
        Self { members: Members::new(memberships), sizes: vec![0; slots].into(), cursor: 0 }
    }
}

/// Where and when a message was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) network: NetworkIndex,
    pub(super) port: PortIndex,
    pub(super) now_s: u32,
    pub(super) settings: MulticastSettings,
}

impl Groups {
    /// Waits for the lock: for the control side and sweeps, never for a frame.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless somebody else keeps it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Writer>> {
        for _ in 0..LOCK_TRIES {
            match self.writer.try_lock() {
                Ok(writer) => return Some(writer),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        None
    }

    fn hash(&self, member: Member) -> u64 {
        let port = member.port().map_or(0, PortIndex::raw);
        self.hasher.hash_one(u32::from(member.slot) << 16 | u32::from(port))
    }

    /// Notes that a host behind the port wants the group's frames.
    pub(super) fn join(&self, writer: &mut Writer, heard: &Heard, group: IpAddr) {
        self.enter(writer, heard, group, heard.now_s.saturating_add(heard.settings.membership_s));
    }

    /// Makes the port a member until `expires_s`. Whom there is no room for must not go without: a group
    /// that has no slot is nobody's and goes to all, one that has a slot does so for a while.
    fn enter(&self, writer: &mut Writer, heard: &Heard, group: IpAddr, expires_s: u32) {
        let key = GroupKey::new(heard.network, group);
        let known = self.find(key);
        let Some(slot) = known.or_else(|| self.free_slot(writer, heard, key)) else {
            return count(&self.counters.refused);
        };
        let member = Member::new(slot, heard.port, expires_s);
        let hash = self.hash(member);
        if let Some(at) = writer.members.find(hash, member) {
            *writer.members.expires_s(at) = expires_s;
            return;
        }
        let per_port_max = u32::try_from(self.memberships_per_port_max).unwrap_or(u32::MAX);
        let limits = Limits { per_port_max, now_s: heard.now_s };
        let Some((at, leaver)) = writer.members.room(hash, member, &limits, |other| self.is_router(other))
        else {
            count(&self.counters.refused);
            // Who has too many groups of its own must not have all others' flooded.
            if writer.members.held(heard.port) < per_port_max {
                self.slots[slot].flooded_until_s.fetch_max(expires_s, AcqRel);
            }
            return;
        };
        if let Some(leaver) = leaver {
            let is_over = leaver.expires_s <= heard.now_s;
            count(if is_over { &self.counters.expired } else { &self.counters.evicted });
            self.remove(writer, at, leaver);
        }
        if !self.slots[slot].holds(key) {
            self.slots[slot].give(Some(key));
        }
        writer.members.put(at, member);
        writer.sizes[slot] += 1;
        self.slots[slot].add(heard.port);
        count(&self.counters.joined);
    }

    fn is_router(&self, member: Member) -> bool {
        self.slots[usize::from(member.slot)].key().is_some_and(|key| key.group().is_unspecified())
    }

    /// A slot for a new group: an empty one, else that of the group whose members all hold more than the
    /// asking port, or are the asking port; of these, the one whose poorest member holds most.
    fn free_slot(&self, writer: &mut Writer, heard: &Heard, key: GroupKey) -> Option<usize> {
        let places = self.places(key);
        if let Some(empty) = places.clone().find(|&place| self.slots[place].key().is_none()) {
            return Some(empty);
        }
        let own = writer.members.held(heard.port);
        let poorest = |place: usize| -> Option<u32> {
            let slot = &self.slots[place];
            let is_group = slot.key().is_some_and(|key| !key.group().is_unspecified());
            let held = |port| if port == heard.port { u32::MAX } else { writer.members.held(port) };
            slot.ports().map(held).min().filter(|&held| is_group && held > own)
        };
        let (_, victim) = places.filter_map(|place| Some((poorest(place)?, place))).max()?;
        let leavers: arrayvec::ArrayVec<PortIndex, 64> = self.slots[victim].ports().take(64).collect();
        for port in leavers {
            let member = Member::new(victim, port, 0);
            if let Some(at) = writer.members.find(self.hash(member), member) {
                count(&self.counters.evicted);
                self.remove(writer, at, member);
            }
        }
        self.slots[victim].key().is_none().then_some(victim)
    }

    /// Takes a membership out, and with the last one the group.
    fn remove(&self, writer: &mut Writer, at: At, member: Member) {
        writer.members.take(at);
        let slot = usize::from(member.slot);
        if let Some(port) = member.port() {
            self.slots[slot].remove(port);
        }
        writer.sizes[slot] = writer.sizes[slot].saturating_sub(1);
        if writer.sizes[slot] == 0 {
            self.slots[slot].give(None);
        }
    }

    /// Notes that a host behind the port wants the group's frames no more.
    pub(super) fn leave(&self, writer: &mut Writer, heard: &Heard, group: IpAddr) {
        let Some(slot) = self.find(GroupKey::new(heard.network, group)) else { return };
        let member = Member::new(slot, heard.port, 0);
        let Some(at) = writer.members.find(self.hash(member), member) else { return };
        count(&self.counters.left);
        if heard.settings.fast_leave {
            return self.remove(writer, at, member);
        }
        let expires_s = writer.members.expires_s(at);
        *expires_s = (*expires_s).min(heard.now_s.saturating_add(LAST_MEMBER_S));
    }

    /// Notes that a router asked all hosts, who answer within `response_s`.
    ///
    /// Until they have, groups go to all. The same holds after a query that came, with the time for its
    /// answers, later than what hosts said to the last one is kept.
    pub(super) fn ask(&self, writer: &mut Writer, heard: &Heard, family: Family, response_s: u32) {
        let Heard { now_s, settings: MulticastSettings { membership_s, .. }, .. } = *heard;
        let routers = family.routers();
        let lasts_s = membership_s.saturating_sub(ROUTER_MARGIN_S);
        self.enter(writer, heard, routers, now_s.saturating_add(lasts_s));
        let Some(slot) = self.find(GroupKey::new(heard.network, routers)) else { return };
        let slot = &self.slots[slot];
        let (queried_s, answered_s) = (slot.queried_s.load(Acquire), slot.answered_s.load(Acquire));
        // Seconds are cut off: an answer may come one later.
        let next_s = now_s.saturating_add(response_s).saturating_add(1).min(NOT_ANSWERED - 1);
        if answered_s == NOT_ANSWERED {
            slot.answered_s.store(next_s, Release);
        } else if next_s > queried_s.saturating_add(membership_s) {
            slot.answered_s.store(answered_s.max(next_s), Release);
        }
        slot.queried_s.store(now_s, Release);
        count(&self.counters.queries);
    }

    /// Has all groups of this family go to all ports until `until_s`, because somebody's word was missed.
    pub(super) fn distrust(&self, network: NetworkIndex, family: Family, until_s: u32) {
        if let Some(slot) = self.find(GroupKey::new(network, family.routers())) {
            self.slots[slot].answered_s.fetch_max(until_s, AcqRel);
        }
    }

    /// Has all of a network's groups go to all ports until `until_s`.
    pub(crate) fn distrust_all(&self, network: NetworkIndex, until_s: u32) {
        for family in [Family::V4, Family::V6] {
            self.distrust(network, family, until_s);
        }
    }

    /// Removes memberships that are over, going on where the last call ended, and looks at no more than
    /// about `budget`.
    pub(crate) fn expire(&self, now_s: u32, policy: &Policy, budget: usize) {
        let is_over = |member: Member| {
            let network = self.slots[usize::from(member.slot)].key().and_then(GroupKey::network);
            let lives = network.zip(member.port()).is_some_and(|(network, port)| {
                let snoops = policy.network(network).is_some_and(|network| network.multicast().is_some());
                snoops && policy.is_member(port, network)
            });
            !lives || member.expires_s <= now_s
        };
        let mut left = budget;
        while left > 0 {
            let mut writer = self.lock();
            let (start, all) = (writer.cursor, writer.members.len());
            left = left.min(all);
            let end = (start + left.min(SWEEP_MEMBERS)).min(all);
            self.sweep(&mut writer, start..end, is_over, || count(&self.counters.expired));
            writer.cursor = end % all;
            left -= end - start;
        }
    }

    /// Removes all memberships of `port`.
    pub(crate) fn forget_port(&self, port: PortIndex) {
        let mut writer = self.lock();
        let all = writer.members.len();
        if writer.members.held(port) > 0 {
            let is_its = |member: Member| member.port() == Some(port);
            self.sweep(&mut writer, 0..all, is_its, || count(&self.counters.forgotten));
        }
    }

    fn sweep(
        &self,
        writer: &mut Writer,
        range: std::ops::Range<usize>,
        goes: impl Fn(Member) -> bool,
        counted: impl Fn(),
    ) {
        for number in range {
            if let Some((at, member)) = writer.members.at(number)
                && goes(member)
            {
                self.remove(writer, at, member);
                counted();
            }
        }
    }

    /// All groups, in no particular order, and what lists their routers.
    pub(crate) fn entries(&self, now_s: u32) -> Vec<GroupEntry> {
        let writer = self.lock();
        let entry = |slot: usize| {
            let key = self.slots[slot].key()?;
            let left_s = |port| {
                let member = Member::new(slot, port, 0);
                let at = writer.members.find(self.hash(member), member)?;
                Some((port, writer.members.get(at).expires_s.saturating_sub(now_s)))
            };
            let ports = self.slots[slot].ports().filter_map(left_s).collect();
            Some(GroupEntry { network: key.network()?, group: key.group(), ports })
        };
        (0..self.slots.len()).filter_map(entry).collect()
    }
}
