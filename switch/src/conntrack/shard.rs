//! A part of the table, under a lock of its own: which entries are free, which live, and when they are due.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::live::Live;
use crate::ids::PortIndex;
use crate::timer_wheel::TimerWheel;

/// How many parts of the table have a lock of their own.
const SHARDS: usize = 16;

/// The fewest entries of a part.
const SHARD_ENTRIES_MIN: usize = 64;

/// Entries that will be next to give way whose places in the index are fetched at once.
pub(super) const EVICTIONS_AHEAD: usize = 8;

/// A part of the table: what only the holder of its lock may know.
#[derive(Debug)]
pub(super) struct Shard {
    /// Which one of the table's it is.
    pub(super) number: usize,
    /// The first of its entries.
    pub(super) first: u32,
    pub(super) entries: u32,
    /// Entries that no connection has; the one that was freed last is taken last, so that nobody still looks at it.
    pub(super) free: Free,
    pub(super) wheel: TimerWheel,
    /// The others, counted from the first.
    pub(super) live: Live,
    /// Where the search for one that gives way goes on.
    pub(super) cursor: u32,
    /// How many entries from there on were fetched already.
    pub(super) fetched: u32,
    /// What was found out about these, and about others before.
    pub(super) ahead: [Ahead; EVICTIONS_AHEAD],
    /// Of those that were found to hold connections that may give way, the port with most.
    pub(super) richest: Option<PortIndex>,
}

/// What was found out about a connection that may be asked to give way soon.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// Its entry, and its life there.
    pub(super) number: u32,
    pub(super) life: u32,
    /// What the tuples of both directions hash to.
    pub(super) hashes: [u64; 2],
}

/// A ring of free entries.
#[derive(Debug)]
pub(super) struct Free {
    ring: Box<[u32]>,
    next: usize,
    pub(super) count: usize,
}

impl Free {
    pub(super) fn take(&mut self) -> Option<u32> {
        let entry = self.ring.get(self.next).copied().filter(|_| self.count > 0)?;
        self.next = if self.next + 1 == self.ring.len() { 0 } else { self.next + 1 };
        self.count -= 1;
        Some(entry)
    }

    pub(super) fn give(&mut self, entry: u32) {
        let at = (self.next + self.count) % self.ring.len();
        self.ring[at] = entry;
        self.count += 1;
    }
}

impl Shard {
    /// The shards of a table of `entries` entries.
    pub(super) fn split(entries: usize) -> Vec<Self> {
        let shards = (entries / SHARD_ENTRIES_MIN).clamp(1, SHARDS);
        let bounds = |shard: usize| u32::try_from(entries * shard / shards).unwrap_or(0);
        (0..shards).map(|shard| Self::new(shard, bounds(shard), bounds(shard + 1))).collect()
    }

    fn new(number: usize, first: u32, end: u32) -> Self {
        let ring: Box<[u32]> = (first..end).collect();
        let count = ring.len();
        let free = Free { ring, next: 0, count };
        let wheel = TimerWheel::new(count, 0);
        let live = Live::new(end - first);
        let ahead = [Ahead::default(); EVICTIONS_AHEAD];
        let entries = end - first;
        Self { number, first, entries, free, wheel, live, cursor: 0, fetched: 0, ahead, richest: None }
    }

    /// Takes an entry back whose connection has ended, or was never seen.
    pub(super) fn give(&mut self, number: u32) {
        self.wheel.remove(number - self.first);
        self.live.remove(number - self.first);
        self.free.give(number);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Mutex<Self>>() + size_of_val(&*self.free.ring) + self.wheel.bytes() + self.live.bytes()
    }
}

/// Waits for the lock. Its holders do some hundred nanoseconds of work and never wait for anything themselves.
pub(super) fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
