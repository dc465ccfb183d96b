//! Where connections are found by their tuples: buckets of one cache line, two for each tuple.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::Direction;

/// Slots of a bucket: a cache line.
const BUCKET_SLOTS: usize = 16;

/// Of sixteen slots twelve are in use when the table is full: with two buckets to choose from, hardly any is ever full.
const BUCKET_LOAD: usize = 12;

/// The most entries that a slot can name.
pub(super) const ENTRIES_MAX: usize = 1 << 22;

/// As long as so many slots of a tuple's first bucket are free it stands there, so that most look-ups end with one line; behind that,
/// where there are more of them.
const FIRST_SLOTS_FREE: usize = 5;

/// The buckets of a place, in the order in which they are looked through.
pub(super) const BUCKETS: [usize; 2] = [0, 1];

const OCCUPIED: NonZeroU32 = NonZeroU32::MIN.saturating_add((1 << 31) - 1);
const TAG_SHIFT: u32 = 23;
const DIRECTION: u32 = 1 << 22;

/// By what a look-up tells slots apart.
const TAGGED: u32 = OCCUPIED.get() | 0xff << TAG_SHIFT;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU32; BUCKET_SLOTS]);

/// The buckets. A slot holds the number of an entry in bits 0 to 21, the direction of its tuple in bit 22, eight bits of
/// the tuple's hash above; 0 is an empty one. Whoever reads it looks into the entry to be sure.
#[derive(Debug)]
pub(super) struct Index(Box<[Bucket]>);

/// Where a tuple may stand: short, since one is noted for each packet of a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    buckets: [u32; 2],
    tag: NonZeroU32,
}

/// Slots of a bucket, a bit for each; gives their numbers.
#[derive(Clone, Copy)]
struct Slots(u32);

impl Slots {
    fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (slot < BUCKET_SLOTS).then_some(slot)
    }
}

impl Bucket {
    /// A bit for each slot whose number is of this kind. All are looked at, without a branch: that takes less time than to stop early.
    #[inline]
    fn mask(&self, is: impl Fn(u32) -> bool) -> u32 {
        self.0.iter().enumerate().fold(0, |mask, (at, slot)| mask | u32::from(is(slot.load(Acquire))) << at)
    }

    #[inline]
    fn free(&self) -> Slots {
        Slots(self.mask(|slot| slot == 0))
    }

    /// Puts a number into one of these slots that is still free; says whether one was.
    #[inline]
    fn put(&self, mut free: Slots, number: u32) -> bool {
        free.any(|slot| self.0[slot].compare_exchange(0, number, AcqRel, Relaxed).is_ok())
    }

    /// Takes a number out; says whether it was there.
    #[inline]
    fn take(&self, number: u32) -> bool {
        let mut slots = Slots(self.mask(|slot| slot == number));
        slots.any(|slot| self.0[slot].compare_exchange(number, 0, AcqRel, Relaxed).is_ok())
    }
}

impl Place {
    /// What stands in a slot of the place for this direction of an entry's connection.
    #[inline]
    fn number(self, entry: u32, direction: Direction) -> u32 {
        self.tag.get() | entry | if direction == Direction::Reply { DIRECTION } else { 0 }
    }
}

impl Index {
    pub(super) fn new(entries: usize) -> Self {
        let buckets = (2 * entries).div_ceil(BUCKET_LOAD).max(2);
        Self(std::iter::repeat_with(Bucket::default).take(buckets).collect())
    }

    /// Both buckets and the tag come from different bits of the hash.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> Place {
        let scale =
            |part: u64| u32::try_from(((part & 0xffff_ffff) * self.0.len() as u64) >> 32).unwrap_or(0);
        let tag = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let tag = OCCUPIED | u32::try_from(tag).unwrap_or(0) << TAG_SHIFT;
        Place { buckets: [scale(hash), scale(hash >> 32)], tag }
    }

    #[inline]
    fn bucket(&self, number: u32) -> &Bucket {
        &self.0[number as usize]
    }

    /// The entries that may be the place's tuple's, with its direction.
    #[inline]
    pub(super) fn candidates(&self, place: Place) -> impl Iterator<Item = (u32, Direction)> {
        BUCKETS.into_iter().flat_map(move |bucket| self.in_bucket(place, bucket))
    }

    /// The first of them that stands in this one of [`BUCKETS`].
    #[inline]
    pub(super) fn candidate(&self, place: Place, bucket: usize) -> Option<(u32, Direction)> {
        // Few slots are taken of most buckets, the first ones first: here it pays to stop early.
        let slots = self.bucket(place.buckets[bucket]).0.iter().map(|slot| slot.load(Acquire));
        slots.into_iter().find(|slot| slot & TAGGED == place.tag.get()).map(parts)
    }

    /// All of them that stand there.
    #[inline]
    fn in_bucket(&self, place: Place, bucket: usize) -> impl Iterator<Item = (u32, Direction)> {
        let bucket = self.bucket(place.buckets[bucket]);
        let slots = Slots(bucket.mask(|slot| slot & TAGGED == place.tag.get()));
        // A slot that was changed meanwhile names another entry, which whoever asks sees there.
        slots.map(|slot| parts(bucket.0[slot].load(Acquire)))
    }

    /// Loads this one of the place's [`BUCKETS`].
    #[inline]
    pub(super) fn touch(&self, place: Place, bucket: usize) -> u32 {
        self.bucket(place.buckets[bucket]).0[0].load(Relaxed)
    }

    /// All entries in the place's buckets.
    pub(super) fn neighbours(&self, place: Place) -> impl Iterator<Item = u32> {
        let slots = place.buckets.into_iter().flat_map(|bucket| &self.bucket(bucket).0);
        slots
            .map(|slot| slot.load(Acquire))
            .filter(|slot| slot & OCCUPIED.get() != 0)
            .map(|slot| parts(slot).0)
    }

    /// Puts an entry in; says whether there was room.
    pub(super) fn insert(&self, place: Place, entry: u32, direction: Direction) -> bool {
        let number = place.number(entry, direction);
        let [first, second] = place.buckets.map(|bucket| self.bucket(bucket));
        let free = first.free();
        if free.len() >= FIRST_SLOTS_FREE && first.put(free, number) {
            return true;
        }
        let others = second.free();
        let [one, other] = [(first, free), (second, others)];
        let order = if free.len() >= others.len() { [one, other] } else { [other, one] };
        order.into_iter().any(|(bucket, free)| bucket.put(free, number))
    }

    /// Takes an entry out.
    pub(super) fn remove(&self, place: Place, entry: u32, direction: Direction) {
        let number = place.number(entry, direction);
        let _ = place.buckets.into_iter().any(|bucket| self.bucket(bucket).take(number));
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[inline]
fn parts(slot: u32) -> (u32, Direction) {
    let direction = if slot & DIRECTION == 0 { Direction::Original } else { Direction::Reply };
    (slot & (DIRECTION - 1), direction)
}
