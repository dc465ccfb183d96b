//! The flow cache: what was decided about a frame is replayed for the next ones of its kind.
//!
//! Each worker has one, of fixed size. A record is found by its key through a seeded hash, for guests choose
//! their addresses: the hash names a bucket of sixteen records, whose tags, eight bits of each record's hash,
//! stand in one cache line, so that a miss costs that line and a hit the record's two besides. Nothing is ever
//! cleared: a record counts only while its key, its lengths, its epoch and all on which it depends agree.
//!
//! It is bounded and fair. In a full bucket a newcomer takes the place of a record of the port that has most
//! among its candidates, and never of a port that has fewer than its own: who makes a new flow of each frame
//! displaces his own. Only every sixteenth newcomer displaces anything. One whose frames come often gets in all
//! the same, and for one whose frames never come again it would be work for nothing.

mod entry;
mod key;
mod verification;

pub(crate) use entry::Entry;
pub(crate) use key::{FlowHasher, FlowKey};
pub use verification::FlowMismatch;
pub(crate) use verification::Verification;

use crate::decision::Lengths;
use crate::fdb::Fdb;
use crate::ids::{PORTS_MAX, PortIndex};
use crate::tags::{SLOTS, Tags};

/// Of how many newcomers to a full bucket one displaces a record.
const DISPLACE_EVERY: u32 = 16;

/// What tells about a bucket's records without looking at them: one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket {
    tags: Tags,
    /// The port whose frames each record is about.
    ports: [u16; SLOTS],
    /// The epoch of all of them; none counts in any other.
    epoch: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// How many records a port has, if the epoch is the current one; else it has none.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    epoch: u32,
    records: u32,
}

/// How a new record found its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// It was free.
    Inserted,
    /// It was another record's.
    Displaced,
}

/// The place of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(usize);

/// The table.
#[derive(Debug)]
pub(crate) struct FlowCache {
    buckets: Box<[Bucket]>,
    entries: Box<[Entry]>,
    held: Box<[Held]>,
    /// The current epoch; never 0.
    epoch: u32,
    /// Newcomers that found their bucket full.
    crowded: u32,
}

impl FlowCache {
    /// An empty cache with room for `entries` records, rounded up to a power of two, at least 16; with 0 it
    /// has room for none.
    pub(crate) fn new(entries: usize) -> Self {
        let buckets = if entries == 0 { 0 } else { entries.max(SLOTS).next_power_of_two() / SLOTS };
        let bucket = Bucket { tags: Tags::default(), ports: [0; SLOTS], epoch: 0 };
        Self {
            buckets: vec![bucket; buckets].into(),
            entries: vec![Entry::default(); buckets * SLOTS].into(),
            held: vec![Held::default(); PORTS_MAX].into(),
            epoch: 1,
            crowded: 0,
        }
    }

    /// Ends all records at once.
    pub(crate) fn start_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // After four thousand million policies, old epochs would come again.
            *self = Self::new(self.entries.len());
        }
    }

    /// The record of frames with this key and these lengths, whether it is current or not. `hash` is the key's.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, key: FlowKey, lengths: Lengths) -> Option<Place> {
        let number = self.bucket_of(hash)?;
        let bucket = &self.buckets[number];
        if bucket.epoch != self.epoch {
            return None;
        }
        bucket.tags.find(hash, |slot| {
            let place = number * SLOTS + slot;
            self.entries[place].is_about(key, lengths).then_some(Place(place))
        })
    }

    /// The record in `place`, if it is still about such frames: what [`FlowCache::find`] found may have been
    /// displaced since.
    #[inline]
    pub(crate) fn at(&mut self, place: Place) -> &mut Entry {
        &mut self.entries[place.0]
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, place: Place) {
        let (number, slot) = (place.0 / SLOTS, place.0 % SLOTS);
        let bucket = &mut self.buckets[number];
        bucket.tags.clear(slot);
        let port = bucket.ports[slot];
        self.take_from(port);
    }

    /// A place for a new record of frames that entered at `port`, if there is one; the caller writes it.
    #[inline]
    pub(crate) fn place_for(
        &mut self,
        hash: u64,
        port: PortIndex,
        fdb: &Fdb,
        now_s: u32,
    ) -> Option<(Place, Kept)> {
        let number = self.bucket_of(hash)?;
        let bucket = &mut self.buckets[number];
        if bucket.epoch != self.epoch {
            (bucket.epoch, bucket.tags) = (self.epoch, Tags::default());
        }
        let (slot, kept) = match bucket.tags.free() {
            Some(free) => (free, Kept::Inserted),
            None => (self.victim(number, port, fdb, now_s)?, Kept::Displaced),
        };
        if kept == Kept::Displaced {
            self.take_from(self.buckets[number].ports[slot]);
        }
        self.give_to(port.raw());
        let bucket = &mut self.buckets[number];
        bucket.tags.set(slot, hash);
        bucket.ports[slot] = port.raw();
        Some((Place(number * SLOTS + slot), kept))
    }

    /// The slot of a full bucket where a new record of `port` may stand; most newcomers get none.
    #[inline]
    fn victim(&mut self, number: usize, port: PortIndex, fdb: &Fdb, now_s: u32) -> Option<usize> {
        self.crowded = self.crowded.wrapping_add(1);
        if !self.crowded.is_multiple_of(DISPLACE_EVERY) {
            return None;
        }
        let first = (self.crowded / DISPLACE_EVERY) as usize % SLOTS;
        // A record that no longer holds protects nobody's place.
        if !self.entries[number * SLOTS + first].decision.is_current(fdb, now_s) {
            return Some(first);
        }
        self.richest(number, port, first)
    }

    /// The slot whose port has most records, from `first` on; none if it has fewer than `port`.
    fn richest(&self, number: usize, port: PortIndex, first: usize) -> Option<usize> {
        let own = self.held_by(port.raw());
        let slots = (0..SLOTS).map(|offset| (first + offset) % SLOTS);
        let ports = slots.map(|slot| (slot, self.buckets[number].ports[slot]));
        let held = ports.map(|(slot, owner)| (slot, owner, self.held_by(owner)));
        let may_go = held.filter(|&(_, owner, held)| held > own || owner == port.raw());
        may_go.reduce(|best, next| if next.2 > best.2 { next } else { best }).map(|(slot, ..)| slot)
    }

    /// How many records `port` has.
    fn held_by(&self, port: u16) -> u32 {
        let held = self.held[usize::from(port)];
        if held.epoch == self.epoch { held.records } else { 0 }
    }

    fn give_to(&mut self, port: u16) {
        let records = self.held_by(port) + 1;
        self.held[usize::from(port)] = Held { epoch: self.epoch, records };
    }

    fn take_from(&mut self, port: u16) {
        let records = self.held_by(port).saturating_sub(1);
        self.held[usize::from(port)] = Held { epoch: self.epoch, records };
    }

    /// The number of the bucket that `hash` names.
    #[inline]
    fn bucket_of(&self, hash: u64) -> Option<usize> {
        let mask = self.buckets.len().checked_sub(1)?;
        usize::try_from(hash & mask as u64).ok()
    }
}

#[cfg(test)]
mod tests;
