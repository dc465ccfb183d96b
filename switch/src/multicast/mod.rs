//! Multicast snooping: which ports want which group's frames (RFC 4541).
//!
//! In a network with a port behind which a multicast router is allowed, the switch reads the IGMP and MLD
//! messages of hosts and routers. Once a router has asked all hosts for their groups and they had time to
//! answer, a group's frames go to its members and the routers only. Whatever is not known for sure goes to
//! all ports, as without snooping: groups that nobody joined, groups with a member that could not be noted,
//! everything while no router asks. So the worst that a guest can do here is to have more flooded.
//!
//! One table for all networks and all workers, of fixed size: groups in two-choice buckets, found through a
//! seeded hash, each with a set of its ports. Workers read it without a lock for each frame to a group, which
//! is why a cached decision needs nothing of it. Joining, leaving and ageing take the lock ([`mod@write`]).

mod classify;
mod counters;
mod members;
mod message;
mod query;
#[cfg(test)]
pub(crate) mod samples;
mod slot;
mod snoop;
#[cfg(test)]
mod tests;
mod write;

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Mutex;

pub(crate) use classify::{Class, Family, IGMP, classify, is_ip_multicast, is_snooped};
pub use counters::GroupSnapshot;
pub(crate) use query::{Query, ROUTER_ALERT_V4, Version, query_in};
pub(crate) use snoop::{Scratch, Snooping, Verdict};

use crate::ids::{NetworkIndex, PortIndex};
use counters::GroupCounters;
use slot::{Found, GroupKey, PortSet, Slot};
use write::Writer;

/// How many groups share a bucket.
const BUCKET_SLOTS: usize = 4;

/// How large the table of groups may grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupLimits {
    /// Groups of all networks; rounded up to a power of two, from 8 to 32,768. Each takes 640 bytes.
    pub groups: usize,
    /// Memberships, one for each port in each group; rounded up to a power of two, at least 16. Each takes
    /// 8 bytes.
    pub memberships: usize,
    /// Memberships of one port.
    pub memberships_per_port_max: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self { groups: 1024, memberships: 16_384, memberships_per_port_max: 512 }
    }
}

/// A group that somebody has joined, or the routers of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupEntry {
    /// The network.
    pub network: NetworkIndex,
    /// The group; for routers the unspecified address of their version of IP.
    pub group: IpAddr,
    /// The ports, in ascending order, each with the seconds until it is forgotten unless it is heard again.
    pub ports: Vec<(PortIndex, u32)>,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Groups {
    slots: Box<[Slot]>,
    hasher: foldhash::quality::FixedState,
    memberships_per_port_max: usize,
    writer: Mutex<Writer>,
    counters: GroupCounters,
}

impl Groups {
    /// An empty table. `seed` must be random and secret.
    pub(crate) fn new(seed: u64, limits: GroupLimits) -> Self {
        let slots = limits.groups.clamp(2 * BUCKET_SLOTS, 32_768).next_power_of_two();
        Self {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            memberships_per_port_max: limits.memberships_per_port_max,
            writer: Mutex::new(Writer::new(slots, limits.memberships)),
            counters: GroupCounters::default(),
        }
    }

    /// The numbers of the slots where `key` may stand.
    fn places(&self, key: GroupKey) -> impl Iterator<Item = usize> + Clone + use<> {
        let mut hasher = self.hasher.build_hasher();
        key.words().into_iter().for_each(|word| hasher.write_u64(word));
        let (hash, buckets) = (hasher.finish(), self.slots.len() / BUCKET_SLOTS);
        let bucket = |hash: u64| usize::try_from(hash & (buckets as u64 - 1)).unwrap_or(0);
        let [first, second] = [bucket(hash), bucket(hash.rotate_right(32))];
        [first, second].into_iter().flat_map(|bucket| bucket * BUCKET_SLOTS..(bucket + 1) * BUCKET_SLOTS)
    }

    /// The number of the slot that holds `key`.
    fn find(&self, key: GroupKey) -> Option<usize> {
        self.places(key).find(|&place| self.slots[place].holds(key))
    }

    fn read(&self, key: GroupKey, into: &mut PortSet) -> Option<Found> {
        self.slots[self.find(key)?].read(key, into)
    }

    /// Puts into `ports` who gets frames to `group`: its members and the routers; or the routers alone, if
    /// `group` is their address. `false` if that is not known for sure, and all ports get them.
    fn receivers(&self, network: NetworkIndex, group: IpAddr, now_s: u32, ports: &mut PortSet) -> bool {
        ports.clear();
        let routers = Family::of(group).routers();
        let Some(asked) = self.read(GroupKey::new(network, routers), ports) else { return false };
        if group == routers {
            return true;
        }
        let mut members = || self.read(GroupKey::new(network, group), ports);
        now_s >= asked.answered_s && members().is_some_and(|found| now_s >= found.flooded_until_s)
    }

    /// What the table did so far.
    pub(crate) fn counters(&self) -> GroupSnapshot {
        self.counters.snapshot()
    }
}
