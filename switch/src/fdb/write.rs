//! Learning, moving and forgetting addresses: everything under the table's lock.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, TryLockError};

use super::moves::{Duplicate, Moves};
use super::{BUCKET_SLOTS, Fdb, Key, Place, Sighting, Slot, Value, is_stale};
use crate::counters::{FdbCounters, count};
use crate::ids::{NetworkIndex, PortIndex};
use crate::policy::Policy;
use crate::tunnel::is_vtep_port;

/// How often an address may move within a second. Two ports that fight for one address, or a loop behind
/// two ports, then cost no more than a lookup per frame.
const MOVES_PER_SECOND_MAX: u64 = 8;

/// Buckets visited before a sweep lets others have the lock.
const SWEEP_BUCKETS: usize = 64;

/// What only the holder of the lock may know.
#[derive(Debug)]
pub(super) struct Writer {
    /// How many addresses each port holds.
    held: Box<[usize]>,
    /// The bucket with which the sweep goes on.
    cursor: usize,
    /// Addresses that moved to or from VTEPs lately.
    moves: Moves,
}

impl Writer {
    pub(super) fn new(ports: usize) -> Self {
        Self { held: vec![0; ports].into(), cursor: 0, moves: Moves::default() }
    }

    fn held_by(&self, value: Value) -> usize {
        value.port().map_or(0, |port| self.held[port.get()])
    }

    fn take_from(&mut self, value: Value) {
        if let Some(port) = value.port() {
            self.held[port.get()] = self.held[port.get()].saturating_sub(1);
        }
    }

    fn give_to(&mut self, port: PortIndex) {
        self.held[port.get()] += 1;
    }
}

/// How a place for a new address was found.
enum Room<'a> {
    /// The slot was empty.
    Empty(&'a Slot),
    /// The slot's entry no longer counted.
    Stale(&'a Slot, Key, Value),
    /// The slot's entry has to give way.
    Evict(&'a Slot, Key, Value),
}

impl Fdb {
    /// Waits for the lock: for the control side and sweeps, never for a frame.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns or moves an address, unless another worker is writing.
    #[cold]
    pub(super) fn learn_slowly(&self, place: Place, sighting: &Sighting<'_>) {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return count(&sighting.counters.contended),
        };
        match self.find(place, sighting.key) {
            Some((slot, value)) => self.follow_move(&mut writer, place, sighting, (slot, value)),
            None => self.insert(&mut writer, place, sighting),
        }
    }

    /// Gives a known address to the port where it was seen now.
    fn follow_move(&self, writer: &mut Writer, place: Place, seen: &Sighting<'_>, found: (&Slot, Value)) {
        let (slot, value) = found;
        if value.port() == Some(seen.port) {
            return; // Another worker was quicker.
        }
        if value.is_fixed() {
            return count(&seen.counters.held);
        }
        let moves = if value.seen_s() < seen.now_s { 0 } else { value.moves() };
        let is_full = writer.held[seen.port.get()] >= self.entries_per_port_max;
        if is_full || moves >= MOVES_PER_SECOND_MAX {
            return count(if is_full { &seen.counters.refused } else { &seen.counters.held });
        }
        writer.take_from(value);
        writer.give_to(seen.port);
        self.bump(place.generation);
        slot.store(seen.key, Value::new(seen.key, seen.port, moves + 1, seen.now_s));
        self.bump(place.generation);
        count(&seen.counters.moved);
        note_move(writer, place, seen, value);
    }

    /// Addresses that move again and again between VTEPs, or between a VTEP and a port.
    pub(crate) fn duplicates(&self, now_s: u32) -> Vec<Duplicate> {
        self.lock().moves.duplicates(now_s)
    }

    /// At most `limit` of them that were not given yet.
    pub(crate) fn take_new_duplicates(&self, now_s: u32, limit: usize) -> Vec<Duplicate> {
        self.lock().moves.take_news(now_s, limit)
    }

    /// Finds a place for an unknown address, or refuses it.
    fn insert(&self, writer: &mut Writer, place: Place, seen: &Sighting<'_>) {
        let slot = match self.room(writer, place, seen) {
            None => return count(&seen.counters.refused),
            Some(Room::Empty(slot)) => slot,
            Some(Room::Stale(slot, key, value)) => {
                self.remove(writer, slot, key, value);
                count(&seen.counters.expired);
                slot
            }
            Some(Room::Evict(slot, key, value)) => {
                self.remove(writer, slot, key, value);
                count(&seen.counters.evicted);
                slot
            }
        };
        slot.store(seen.key, Value::new(seen.key, seen.port, 0, seen.now_s));
        writer.give_to(seen.port);
        count(&seen.counters.learned);
    }

    /// The best slot for a new address of `seen.port`: an empty one in the emptier bucket, else a stale
    /// one, else that of the port which holds most, the oldest first. An entry of a port that holds no
    /// more than the asking one is never displaced, unless it is the asking one's own.
    fn room(&self, writer: &Writer, place: Place, seen: &Sighting<'_>) -> Option<Room<'_>> {
        let own = writer.held[seen.port.get()];
        let is_full = own >= self.entries_per_port_max;
        if !is_full && let Some(slot) = self.empty_slot(place) {
            return Some(Room::Empty(slot));
        }
        let taken = || self.taken(place);
        let is_own = |value: Value| value.port() == Some(seen.port);
        let stale = taken().find(|&(_, key, value)| {
            (!is_full || is_own(value)) && is_stale(seen.policy, key, value, seen.now_s)
        });
        if let Some((slot, key, value)) = stale {
            return Some(Room::Stale(slot, key, value));
        }
        let may_go =
            |value: Value| !value.is_fixed() && (is_own(value) || (!is_full && writer.held_by(value) > own));
        let victim = taken()
            .filter(|&(_, _, value)| may_go(value))
            .max_by_key(|&(_, _, value)| (writer.held_by(value), value.age_s(seen.now_s)));
        victim.map(|(slot, key, value)| Room::Evict(slot, key, value))
    }

    /// Notes that `key` is at `port` until it is told otherwise; says whether there was room. Room is made at the expense of who holds
    /// most.
    pub(crate) fn fix(&self, key: Key, port: PortIndex, counters: &FdbCounters) -> bool {
        let (mut writer, place) = (self.lock(), self.place(key));
        let value = Value::new(key, port, 0, Value::FIXED_S);
        let slot = match self.find(place, key) {
            Some((slot, known)) => Some((slot, Some((key, known)))),
            None => match self.empty_slot(place) {
                Some(slot) => Some((slot, None)),
                None => self
                    .taken(place)
                    .filter(|(_, _, value)| !value.is_fixed())
                    .max_by_key(|(_, _, value)| writer.held_by(*value))
                    .map(|(slot, key, value)| (slot, Some((key, value)))),
            },
        };
        let Some((slot, known)) = slot else { return false };
        if let Some((key, value)) = known {
            self.remove(&mut writer, slot, key, value);
        }
        self.bump(place.generation);
        slot.store(key, value);
        writer.give_to(port);
        self.bump(place.generation);
        count(&counters.learned);
        true
    }

    /// Forgets what is known of `key`.
    pub(crate) fn forget_one(&self, key: Key, counters: &FdbCounters) {
        let mut writer = self.lock();
        if let Some((slot, value)) = self.find(self.place(key), key) {
            self.remove(&mut writer, slot, key, value);
            count(&counters.forgotten);
        }
    }

    fn empty_slot(&self, place: Place) -> Option<&Slot> {
        let empty = |bucket: usize| self.buckets[bucket].0.iter().filter(|slot| slot.content().is_none());
        let [first, second] = place.buckets;
        let emptier = if empty(second).count() > empty(first).count() { second } else { first };
        empty(emptier).next()
    }

    fn taken(&self, place: Place) -> impl Iterator<Item = (&Slot, Key, Value)> {
        let slots = place.buckets.into_iter().flat_map(|bucket| &self.buckets[bucket].0);
        slots.filter_map(|slot| slot.content().map(|(key, value)| (slot, key, value)))
    }

    /// Empties a slot.
    fn remove(&self, writer: &mut Writer, slot: &Slot, key: Key, value: Value) {
        let generation = self.place(key).generation;
        self.bump(generation);
        slot.clear();
        writer.take_from(value);
        self.bump(generation);
    }

    /// Done after an entry changes, so that who still saw the old entry holds an old generation; and before
    /// it, so that who sees the change finds the generation changed.
    fn bump(&self, generation: usize) {
        self.generations[generation].fetch_add(1, Ordering::Release);
    }

    /// Removes stale entries, going on where the last call ended, and looks at no more than `budget`
    /// entries, rounded up to a bucket.
    pub(crate) fn expire(&self, now_s: u32, policy: &Policy, budget: usize, counters: &FdbCounters) {
        let mut left = budget.div_ceil(BUCKET_SLOTS).min(self.buckets.len());
        while left > 0 {
            let mut writer = self.lock();
            let start = writer.cursor;
            let end = (start + left.min(SWEEP_BUCKETS)).min(self.buckets.len());
            let is_stale = |key, value| is_stale(policy, key, value, now_s);
            self.sweep(&mut writer, start..end, is_stale, || count(&counters.expired));
            writer.cursor = end % self.buckets.len();
            left -= end - start;
        }
    }

    /// Removes all entries of `port`, or those of one network alone.
    pub(crate) fn forget(&self, network: Option<NetworkIndex>, port: PortIndex, counters: &FdbCounters) {
        for start in (0..self.buckets.len()).step_by(SWEEP_BUCKETS) {
            let mut writer = self.lock();
            if writer.held[port.get()] == 0 {
                return;
            }
            let end = (start + SWEEP_BUCKETS).min(self.buckets.len());
            let is_meant = |key: Key| network.is_none_or(|network| key.network() == Some(network));
            let is_own = |key, value: Value| value.port() == Some(port) && is_meant(key);
            self.sweep(&mut writer, start..end, is_own, || count(&counters.forgotten));
        }
    }

    fn sweep(
        &self,
        writer: &mut Writer,
        buckets: std::ops::Range<usize>,
        goes: impl Fn(Key, Value) -> bool,
        counted: impl Fn(),
    ) {
        for slot in self.buckets[buckets].iter().flat_map(|bucket| &bucket.0) {
            if let Some((key, value)) = slot.content()
                && goes(key, value)
            {
                self.remove(writer, slot, key, value);
                counted();
            }
        }
    }
}

/// A station that moves to another machine does so once; ports of one machine have storm control and port security.
fn note_move(writer: &mut Writer, place: Place, seen: &Sighting<'_>, before: Value) {
    let Some(before) = before.port().filter(|_| seen.policy.tunnels().is_some()) else { return };
    let ports = [seen.port, before];
    if ports.into_iter().any(is_vtep_port) && writer.moves.note(seen.key, place.generation, ports, seen.now_s)
    {
        count(&seen.counters.duplicates);
    }
}
