//! The fdb (forwarding database): which address was seen at which port.
//!
//! One table for all networks and all workers, of fixed size. An address may stand in one of two buckets
//! that a seeded hash names, for guests choose their addresses and must not choose where they collide. A
//! bucket is one cache line. Reading takes no lock; learning, moving and forgetting do, and a worker that
//! finds the lock taken goes on without: the address is learned from one of its next frames.

mod entry;
mod moves;
mod write;

use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use entry::{Key, Value};
pub use moves::Duplicate;

use crate::conntrack;
use crate::counters::FdbCounters;
use crate::fragments;
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::mac::MacAddress;
use crate::multicast::GroupLimits;
use crate::policy::Policy;
use crate::spanning_tree::PortState;
use entry::Slot;
use write::Writer;

/// How many addresses may share a bucket: four fill a cache line.
const BUCKET_SLOTS: usize = 4;

/// How many generations the buckets share. A decision that is invalidated because an unrelated address
/// moved costs time only.
const GENERATIONS: usize = 4096;

/// How large tables may grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Addresses that the fdb has room for; rounded up to a power of two, at least 8. Each takes 16 bytes.
    pub fdb_entries: usize,
    /// Addresses that may be learned at one port.
    pub fdb_entries_per_port_max: usize,
    /// Multicast groups and their members.
    pub groups: GroupLimits,
    /// Connections. The table takes its memory when the first port is filtered.
    pub connections: conntrack::Limits,
    /// Datagrams that come in fragments.
    pub fragments: fragments::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fdb_entries: 262_144,
            fdb_entries_per_port_max: 65_536,
            groups: GroupLimits::default(),
            connections: conntrack::Limits::default(),
            fragments: fragments::Limits::default(),
        }
    }
}

/// An address that the switch knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdbEntry {
    /// The network in which the address was seen.
    pub network: NetworkIndex,
    /// The address.
    pub mac: MacAddress,
    /// The port where it was last seen.
    pub port: PortIndex,
    /// How many seconds ago it was last seen.
    pub age_s: u32,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([Slot; BUCKET_SLOTS]);

/// Where an address may stand, and which generation tells that its entry changed.
#[derive(Clone, Copy, Debug)]
struct Place {
    buckets: [usize; 2],
    generation: usize,
}

/// A generation as it was when a decision looked at an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    index: u16,
    generation: u32,
}

impl Seen {
    /// Is never current.
    pub(crate) const NEVER: Self = Self { index: u16::MAX, generation: 0 };
}

/// The table.
#[derive(Debug)]
pub(crate) struct Fdb {
    buckets: Box<[Bucket]>,
    generations: Box<[AtomicU32; GENERATIONS]>,
    hasher: foldhash::quality::FixedState,
    entries_per_port_max: usize,
    writer: Mutex<Writer>,
}

impl Fdb {
    /// An empty table. `seed` must be random and secret.
    pub(crate) fn new(seed: u64, limits: Limits) -> Self {
        let buckets = limits.fdb_entries.max(2 * BUCKET_SLOTS).next_power_of_two() / BUCKET_SLOTS;
        Self {
            buckets: std::iter::repeat_with(Bucket::default).take(buckets).collect(),
            generations: Box::new([const { AtomicU32::new(0) }; GENERATIONS]),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            entries_per_port_max: limits.fdb_entries_per_port_max,
            writer: Mutex::new(Writer::new(PORTS_MAX)),
        }
    }

    /// Where `key` may stand: both buckets and the generation come from different bits of one hash.
    #[inline(always)]
    fn place(&self, key: Key) -> Place {
        let hash = self.hasher.hash_one(key.raw());
        let mask = self.buckets.len() - 1;
        let buckets = [low_bits(hash, mask), low_bits(hash.rotate_right(32), mask)];
        Place { buckets, generation: low_bits(hash.rotate_right(20), GENERATIONS - 1) }
    }

    /// The slot that holds `key`, with its value.
    #[inline]
    fn find(&self, place: Place, key: Key) -> Option<(&Slot, Value)> {
        let slots = place.buckets.iter().flat_map(|&bucket| &self.buckets[bucket].0);
        slots.into_iter().find_map(|slot| Some((slot, slot.read(key)?)))
    }

    /// What is known of `key`, and by which generation one can tell later that it changed. The generation
    /// is read first: a change in between only invalidates what was current.
    #[inline(always)]
    pub(crate) fn look_up(&self, key: Key) -> (Seen, Option<Value>) {
        let place = self.place(key);
        let seen = self.seen(place);
        (seen, self.find(place, key).map(|(_, value)| value))
    }

    #[inline]
    fn seen(&self, place: Place) -> Seen {
        let generation = self.generations[place.generation].load(Ordering::Acquire);
        Seen { index: u16::try_from(place.generation).unwrap_or(0), generation }
    }

    /// Whether nothing moved or vanished since `seen`.
    #[inline]
    pub(crate) fn is_current(&self, seen: Seen) -> bool {
        let generation = self.generations.get(usize::from(seen.index));
        generation.is_some_and(|now| now.load(Ordering::Acquire) == seen.generation)
    }

    /// Notes that `key` was seen at `port`. The usual case, known and already seen in this second, only
    /// reads; then it gives the generation by which one can tell later that this changed.
    #[inline]
    pub(crate) fn learn(&self, sighting: &Sighting<'_>) -> Option<Seen> {
        let place = self.place(sighting.key);
        let seen = self.seen(place);
        if let Some((slot, value)) = self.find(place, sighting.key)
            && value.port() == Some(sighting.port)
        {
            if value.seen_s() < sighting.now_s {
                slot.refresh(value, Value::new(sighting.key, sighting.port, 0, sighting.now_s));
            }
            return Some(seen);
        }
        self.learn_slowly(place, sighting);
        None
    }

    /// All addresses that are not stale, in the table's order.
    #[cfg(test)]
    pub(crate) fn entries(&self, now_s: u32, policy: &Policy) -> Vec<FdbEntry> {
        self.iter(now_s, policy).collect()
    }

    /// The same without a list of them.
    pub(crate) fn iter(&self, now_s: u32, policy: &Policy) -> impl Iterator<Item = FdbEntry> {
        self.current(0, now_s, policy).map(|(_, entry)| entry)
    }

    /// At most `limit` of them that are `wanted`, from place `from` of the table on, and the place where the rest begins.
    pub(crate) fn page(
        &self,
        (from, limit): (u32, usize),
        (now_s, policy): (u32, &Policy),
        wanted: impl Fn(&FdbEntry) -> bool,
    ) -> (Vec<FdbEntry>, Option<u32>) {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let mut rest = self.current(from, now_s, policy).filter(|(_, entry)| wanted(entry));
        let page = rest.by_ref().take(limit).map(|(_, entry)| entry).collect();
        (page, rest.next().and_then(|(place, _)| u32::try_from(place).ok()))
    }

    /// Addresses that are not stale, with their places in the table, from place `from` on.
    fn current(&self, from: usize, now_s: u32, policy: &Policy) -> impl Iterator<Item = (usize, FdbEntry)> {
        let slots = self.buckets.iter().flat_map(|bucket| &bucket.0).enumerate().skip(from);
        slots.filter_map(move |(place, slot)| {
            let (key, value) = slot.content().filter(|&(key, value)| !is_stale(policy, key, value, now_s))?;
            let (network, port) = (key.network()?, value.port()?);
            Some((place, FdbEntry { network, mac: key.mac(), port, age_s: value.age_s(now_s) }))
        })
    }
}

/// An address that was seen as a frame's source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) key: Key,
    pub(crate) port: PortIndex,
    pub(crate) now_s: u32,
    pub(crate) policy: &'a Policy,
    pub(crate) counters: &'a FdbCounters,
}

/// Whether an entry no longer counts: too old, or its port is no longer in its network.
fn is_stale(policy: &Policy, key: Key, value: Value, now_s: u32) -> bool {
    let (Some(network), Some(port)) = (key.network(), value.port()) else { return true };
    let aged = policy.network(network).is_none_or(|settings| value.age_s(now_s) > settings.ageing_s());
    let learns = |state| state != PortState::Discarding;
    aged || !policy.state(port, network).is_some_and(learns)
}

/// The bits of `hash` that `mask` selects, as an index.
#[inline]
fn low_bits(hash: u64, mask: usize) -> usize {
    usize::try_from(hash & mask as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
