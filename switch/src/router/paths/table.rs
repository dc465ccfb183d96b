//! The tables of paths, one for each version of IP.
//!
//! Buckets of sixteen, each with a cache line that tells about its records: with fewer of them, some of as many flows as the table
//! has room for would find their bucket full and never get in.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::{Key, Path, PathKey, PathKeyV6};
use crate::tags::{SLOTS, Tags};

/// How many paths a worker has room for, of each version of IP that came. Each takes 132 bytes.
const PATHS: usize = 32_768;

const BUCKETS: usize = PATHS / SLOTS;

/// Of newcomers that find no room, only every so manieth takes some other one's.
const LET_IN: u32 = 16;

/// Where nothing stands.
const NOWHERE: u32 = u32::MAX;

/// What tells about a bucket's records: one cache line.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    tags: Tags,
    /// The lower bits of the second in which each record was found out.
    found_s: [u16; SLOTS],
    /// The policy's epoch, for all of them; 0: none was ever found out.
    epoch: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Record<K> {
    key: K,
    /// The second in which it was found out, and the policy's epoch; 0: never.
    at_s: u32,
    epoch: u32,
    path: Option<Path>,
}

const _: () = assert!(size_of::<Record<PathKey>>() == 128 && size_of::<Record<PathKeyV6>>() == 128);

/// A worker's paths.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) v4: Table<PathKey>,
    pub(crate) v6: Table<PathKeyV6>,
    /// What paths are hashed with; `None`: none are kept.
    seed: Option<u64>,
    /// Answers that were found to be wrong when they were verified.
    mismatched: u32,
}

/// Those of one version of IP.
#[derive(Debug)]
pub(crate) struct Table<K> {
    /// None until the first packet that may have a path.
    buckets: Box<[Bucket]>,
    records: Box<[Record<K>]>,
    hasher: FixedState,
    epoch: u32,
    refused: u32,
}

/// A path that is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sought<K> {
    pub(crate) key: K,
    hash: u64,
    /// Where it probably stands: whoever looks there sees whether it does.
    place: u32,
}

impl<K> Sought<K> {
    #[inline]
    fn bucket(&self) -> usize {
        // Masked to less than the number of buckets.
        usize::try_from(self.hash & (BUCKETS - 1) as u64).unwrap_or(0)
    }
}

impl Paths {
    /// No room for any.
    pub(crate) fn none() -> Self {
        Self { v4: Table::none(), v6: Table::none(), seed: None, mismatched: 0 }
    }

    /// Says that paths are kept. `seed` must be random and secret: guests choose addresses.
    #[inline]
    pub(crate) fn allow(&mut self, seed: u64) {
        self.seed = Some(seed);
        self.v4.make_room(seed);
    }

    /// Notes a path of IPv6, for whose first one memory is taken.
    pub(crate) fn keep_v6(&mut self, key: PathKeyV6, path: Path, now_s: u32) {
        if let Some(seed) = self.seed {
            self.v6.make_room(seed);
            self.v6.keep(key, path, now_s);
        }
    }

    /// Ends all paths.
    pub(crate) fn start_epoch(&mut self) {
        self.v4.start_epoch();
        self.v6.start_epoch();
    }

    /// Counts an answer that verification found to be wrong.
    #[cold]
    pub(crate) fn mismatch(&mut self) {
        self.mismatched += 1;
    }

    /// How many there were since the last call.
    pub(crate) fn take_mismatched(&mut self) -> u32 {
        std::mem::take(&mut self.mismatched)
    }
}

impl<K: Key> Table<K> {
    pub(super) fn none() -> Self {
        let hasher = FixedState::with_seed(0);
        Self { buckets: Box::default(), records: Box::default(), hasher, epoch: 1, refused: 0 }
    }

    /// Takes the memory for all that there may be, if it has none.
    #[inline]
    pub(super) fn make_room(&mut self, seed: u64) {
        if self.records.is_empty() {
            self.take_memory(seed);
        }
    }

    #[cold]
    fn take_memory(&mut self, seed: u64) {
        let record = Record { key: K::default(), at_s: 0, epoch: 0, path: None };
        self.records = vec![record; PATHS].into();
        self.buckets = vec![Bucket::default(); BUCKETS].into();
        self.hasher = FixedState::with_seed(seed);
    }

    /// Whether there is room for any.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        !self.records.is_empty()
    }

    pub(super) fn start_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        if self.epoch == 1 {
            self.records.iter_mut().for_each(|record| record.epoch = 0);
            self.buckets.iter_mut().for_each(|bucket| bucket.epoch = 0);
        }
    }

    /// Begins to look for the path of a key. Reads none of the table's memory.
    #[inline(always)]
    pub(crate) fn seek(&self, key: K) -> Sought<K> {
        let mut hasher = self.hasher.build_hasher();
        key.hash_into(&mut hasher);
        Sought { key, hash: hasher.finish(), place: NOWHERE }
    }

    /// Loads what tells where it stands.
    #[inline]
    pub(crate) fn touch_bucket(&self, sought: &Sought<K>) -> u64 {
        self.buckets.get(sought.bucket()).map_or(0, |bucket| bucket.tags.touch())
    }

    /// Notes where it probably stands, and loads that.
    #[inline]
    pub(crate) fn locate(&self, sought: &mut Sought<K>) -> u32 {
        let number = sought.bucket();
        let Some(bucket) = self.buckets.get(number) else { return 0 };
        let Some(slot) = bucket.tags.find(sought.hash, Some) else { return 0 };
        let place = number * SLOTS + slot;
        sought.place = u32::try_from(place).unwrap_or(NOWHERE);
        let Some(record) = self.records.get(place) else { return 0 };
        record.at_s ^ record.path.as_ref().map_or(0, |path| u32::from(path.hop.mtu ^ path.to.raw()))
    }

    /// The path that is looked for, if it was found out in this second.
    #[inline]
    pub(crate) fn find(&self, sought: &Sought<K>, now_s: u32) -> Option<&Path> {
        let key = &sought.key;
        let is_current = |record: &Record<K>| record.at_s == now_s && record.epoch == self.epoch;
        match self.records.get(sought.place as usize) {
            Some(record) if record.key == *key => record.path.as_ref().filter(|_| is_current(record)),
            _ => self.search(sought).filter(|record| is_current(record))?.path.as_ref(),
        }
    }

    /// The record of this key, current or not.
    #[inline(never)]
    fn search(&self, sought: &Sought<K>) -> Option<&Record<K>> {
        let (number, key) = (sought.bucket(), &sought.key);
        self.buckets.get(number)?.tags.find(sought.hash, |slot| {
            self.records.get(number * SLOTS + slot).filter(|record| record.key == *key)
        })
    }

    /// Notes a path. One of an earlier second gives way to it, and every so often one of this second: so flows that come often get
    /// in soon, and a guest that makes a new flow of each packet displaces few that others follow.
    pub(crate) fn keep(&mut self, key: K, path: Path, now_s: u32) {
        let sought = self.seek(key);
        let number = sought.bucket();
        let Some(slot) = self.slot_for(&sought, now_s) else { return };
        let epoch = self.epoch;
        if let Some(bucket) = self.buckets.get_mut(number)
            && let Some(found_s) = bucket.found_s.get_mut(slot)
            && let Some(record) = self.records.get_mut(number * SLOTS + slot)
        {
            *found_s = low_bits(now_s);
            bucket.tags.set(slot, sought.hash);
            *record = Record { key, at_s: now_s, epoch, path: Some(path) };
        }
    }

    /// Where a path may be noted: its own place, a free one, one of another second, or by chance some other one's.
    fn slot_for(&mut self, sought: &Sought<K>, now_s: u32) -> Option<usize> {
        let number = sought.bucket();
        let bucket = self.buckets.get_mut(number)?;
        if bucket.epoch != self.epoch {
            *bucket = Bucket { epoch: self.epoch, ..Bucket::default() };
        }
        let records = &self.records;
        let is_own = |slot: usize| {
            let record = records.get(number * SLOTS + slot);
            record.filter(|record| record.key == sought.key).map(|_| slot)
        };
        let is_old = |found_s: &u16| *found_s != low_bits(now_s);
        let own = bucket.tags.find(sought.hash, is_own).or_else(|| bucket.tags.free());
        own.or_else(|| bucket.found_s.iter().position(is_old)).or_else(|| {
            self.refused = self.refused.wrapping_add(1);
            self.refused.is_multiple_of(LET_IN).then_some((self.refused / LET_IN) as usize % SLOTS)
        })
    }
}

/// Enough of a second to tell it from those before.
#[expect(clippy::cast_possible_truncation, reason = "that is what is wanted")]
fn low_bits(second: u32) -> u16 {
    second as u16
}
