//! A token bucket in one word, which all workers share without a lock.
//!
//! The word is the moment at which the bucket is full again if nothing more comes: the virtual scheduling form of the generic
//! cell rate algorithm (ITU-T I.371, annex A). What lies ahead of now is what was taken and has not come back yet, in time.
//! Moments are counted in whatever unit the caller likes, and wrap: only their differences mean anything. So one that lies half
//! of all that can be counted ahead cannot be told from one as long ago; whoever counts so finely that this comes about within a
//! process's life calls [`Bucket::settle`] more often than that.

use super::atomic::{AtomicU64, Ordering::Relaxed};

/// How much a bucket holds, in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    /// In what time an empty bucket fills: at most [`Terms::DEPTH_MAX`].
    pub(crate) depth: u64,
    /// How much further ahead than that a moment may lie because workers read the clock apart from each other. One that lies
    /// further was left by a slower rate.
    pub(crate) slack: u64,
}

impl Terms {
    /// The longest time in which a bucket may fill: a quarter of all that can be counted.
    pub(crate) const DEPTH_MAX: u64 = u64::MAX / 4;
}

/// What a bucket was before something was taken, and after.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    before: u64,
    after: u64,
}

/// When it is full again.
#[derive(Debug, Default)]
pub(crate) struct Bucket(AtomicU64);

impl Bucket {
    /// One that lacks as much as comes in this time.
    pub(crate) fn lacking(debt: u64, now: u64) -> Self {
        Self(AtomicU64::new(now.wrapping_add(debt)))
    }

    /// Takes what comes in the time `cost`, if there is as much; gives what a change of mind needs.
    #[inline]
    pub(crate) fn take(&self, cost: u64, terms: Terms, now: u64) -> Option<Taken> {
        let mut after = 0;
        let next = |full_at| {
            after = charged::<64>(full_at, now, cost, terms)?;
            Some(after)
        };
        let before = self.0.fetch_update(Relaxed, Relaxed, next).ok()?;
        Some(Taken { before, after })
    }

    /// Takes what comes in the time `cost`, whether there is as much or not: what there is not is owed. At most as much is owed as
    /// a bucket may hold, [`Terms::DEPTH_MAX`].
    #[inline]
    pub(crate) fn charge(&self, cost: u64, now: u64) {
        let next = |full_at| Some(owing::<64>(full_at, now, cost));
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }

    /// In what time the bucket is full again: in more than it takes to fill an empty one if something is owed.
    #[inline]
    pub(crate) fn full_in(&self, now: u64) -> u64 {
        lacking::<64>(self.0.load(Relaxed), now)
    }

    /// Whether there is as much; takes nothing.
    #[inline]
    pub(crate) fn has(&self, cost: u64, terms: Terms, now: u64) -> bool {
        charged::<64>(self.0.load(Relaxed), now, cost, terms).is_some()
    }

    /// Gives back what was taken last. What others took something after stays taken: the time until then may have filled
    /// the bucket, and to give back beyond that would let more pass than came.
    #[inline]
    pub(crate) fn give_back(&self, taken: Taken) {
        let _ = self.0.compare_exchange(taken.after, taken.before, Relaxed, Relaxed);
    }

    /// What the bucket lacks, in time.
    pub(crate) fn debt(&self, terms: Terms, now: u64) -> u64 {
        lacking::<64>(self.0.load(Relaxed), now).min(terms.depth)
    }

    /// Keeps the moment of a bucket that has been full for a while from falling so far behind that it seems to lie ahead.
    pub(crate) fn settle(&self, now: u64) {
        let full_at = self.0.load(Relaxed);
        if full_at != now && lacking::<64>(full_at, now) == 0 {
            // Whoever takes something meanwhile settles it, too.
            let _ = self.0.compare_exchange(full_at, now, Relaxed, Relaxed);
        }
    }
}

/// All that can be counted in this many bits.
const fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// What a bucket lacks that is full at `full_at`, in time; nothing if that is past. Moments have `BITS` bits: 64, but where the
/// tests go through all that there are.
#[inline(always)]
pub(super) fn lacking<const BITS: u32>(full_at: u64, now: u64) -> u64 {
    let ahead = full_at.wrapping_sub(now) & mask(BITS);
    if ahead > mask(BITS) / 2 { 0 } else { ahead }
}

/// When the bucket is full again after `cost` was taken now, if it held as much or not.
#[inline(always)]
pub(super) fn owing<const BITS: u32>(full_at: u64, now: u64, cost: u64) -> u64 {
    let owed = lacking::<BITS>(full_at, now).saturating_add(cost).min(mask(BITS) / 4);
    now.wrapping_add(owed) & mask(BITS)
}

/// When the bucket is full again after `cost` was taken now; `None` if it does not hold as much.
#[inline(always)]
pub(super) fn charged<const BITS: u32>(full_at: u64, now: u64, cost: u64, terms: Terms) -> Option<u64> {
    let Terms { depth, slack } = terms;
    let most = depth.checked_sub(cost)?;
    let lacking = lacking::<BITS>(full_at, now);
    let is_stale = lacking > depth + slack;
    let lacking = if is_stale { most } else { lacking };
    (lacking <= most).then(|| now.wrapping_add(lacking + cost) & mask(BITS))
}
