//! Who has which address: a table of fixed size, read without a lock for each question and written under one when something
//! changes.
//!
//! An address may stand in one of two buckets that a seeded hash names. What was set is never displaced by what is learned. A newcomer
//! takes the place of what is too old, else of an address of the port that holds most among its candidates, and never of a port that
//! holds fewer than its own: so a tunnel that teaches without end displaces its own.

use std::hash::BuildHasher;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Known, Told};
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::mac::MacAddress;
use crate::packet::Address;

/// How many entries a bucket has.
const SLOTS: usize = 4;

/// For how many seconds what was learned is believed: as long as addresses stay learned by default (IEEE 802.1Q-2018, table 8-6).
pub(super) const AGE_MAX_S: u32 = 300;

/// How many addresses one port may teach.
pub(super) const PORT_MAX: u32 = 8192;

/// Bits of an entry's holder: the port, or that it was set; and that the station is a router.
const PORT: u32 = 0xffff;
const FIXED: u32 = 1 << 16;
const ROUTER: u32 = 1 << 17;

/// The Ethernet address in a slot's word.
const MAC_BITS: u64 = (1 << 48) - 1;

type Key = (NetworkIndex, Address);

/// What became of what was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Noted {
    /// It is known.
    Yes,
    /// It contradicts what was set, or does not override what is known.
    Unbelieved,
    /// There is no place for it.
    NoRoom,
}

/// An entry. Its sequence is odd while it is written, and it counts as unknown then.
#[derive(Debug, Default)]
struct Slot {
    sequence: AtomicU32,
    /// The second in which it was told last.
    told_s: AtomicU32,
    /// Both halves of the IP address.
    address: [AtomicU64; 2],
    /// The network in the upper 16 bits, the Ethernet address in the lower 48; 0: the slot is free.
    station: AtomicU64,
    holder: AtomicU32,
}

/// What a slot held when it was looked at.
#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    mac: MacAddress,
    holder: u32,
    told_s: u32,
}

#[derive(Debug, Default)]
struct Bucket([Slot; SLOTS]);

/// How many entries ports hold, for who writes.
#[derive(Debug)]
struct Writer {
    held: Box<[u32]>,
    learned: usize,
    fixed: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    buckets: Box<[Bucket]>,
    hasher: foldhash::quality::FixedState,
    writer: Mutex<Writer>,
}

impl Table {
    /// An empty table for about `entries` addresses; takes all its memory.
    pub(super) fn new(entries: usize, seed: u64) -> Self {
        // Half as many again: both buckets of an address are seldom full before the table is.
        let buckets = (entries.max(1) * 3 / 2).div_ceil(SLOTS).next_power_of_two();
        let writer = Writer { held: vec![0; PORTS_MAX].into(), learned: 0, fixed: 0 };
        Self {
            buckets: std::iter::repeat_with(Bucket::default).take(buckets).collect(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            writer: Mutex::new(writer),
        }
    }

    /// Who has the address, if that is not too old.
    #[inline]
    pub(super) fn get(&self, key: Key, now_s: u32) -> Option<Known> {
        let (_, entry) = self.find(key)?;
        entry.is_believed(now_s).then_some(Known { mac: entry.mac, is_router: entry.holder & ROUTER != 0 })
    }

    /// Takes note of what came by a tunnel.
    pub(super) fn learn(&self, key: Key, told: &Told, port: PortIndex, now_s: u32) -> Noted {
        if let Some((slot, entry)) = self.find(key)
            && entry.mac == told.mac
            && entry.is_same(told, port)
        {
            // What most messages say is known already.
            if entry.told_s != now_s {
                slot.told_s.store(now_s, Relaxed);
            }
            return Noted::Yes;
        }
        self.note(key, told, port, now_s)
    }

    #[cold]
    fn note(&self, key: Key, told: &Told, port: PortIndex, now_s: u32) -> Noted {
        let mut writer = self.lock();
        let router = |known: u32| match told.is_router {
            Some(is_router) => u32::from(is_router) * ROUTER,
            None => known & ROUTER,
        };
        let known = self.find(key);
        if let Some((slot, entry)) = known {
            let is_contradiction = entry.mac != told.mac;
            if is_contradiction && (entry.is_fixed() || (!told.overrides && entry.is_believed(now_s))) {
                return Noted::Unbelieved;
            }
            let kept = if entry.is_fixed() { FIXED } else { u32::from(port.raw()) };
            let holder = kept | if is_contradiction { router(0) } else { router(entry.holder) };
            writer.exchange(Some(entry.holder), Some(holder));
            slot.write(key, Some(told.mac), holder, now_s);
            return Noted::Yes;
        }
        let own = writer.held_by(port);
        let Some((slot, entry)) = self.room(&writer, key, (port, own), now_s) else { return Noted::NoRoom };
        let holder = u32::from(port.raw()) | router(0);
        writer.exchange(entry.map(|entry| entry.holder), Some(holder));
        slot.write(key, Some(told.mac), holder, now_s);
        Noted::Yes
    }

    /// A place for a newcomer of a port that holds `own`.
    fn room(
        &self,
        writer: &Writer,
        key: Key,
        (port, own): (PortIndex, u32),
        now_s: u32,
    ) -> Option<(&Slot, Option<Entry>)> {
        let is_full = own >= PORT_MAX;
        let candidates = || self.candidates(key).map(|slot| (slot, slot.read()));
        if let Some(free) = self.free(key).filter(|_| !is_full) {
            return Some((free, None));
        }
        let taken = || candidates().filter_map(|(slot, entry)| Some((slot, entry?)));
        let is_own = |entry: &Entry| entry.port() == Some(port);
        let old = taken().find(|(_, entry)| !entry.is_believed(now_s) && (!is_full || is_own(entry)));
        let may_go = |entry: &Entry| {
            let held = entry.port().map(|holder| writer.held_by(holder));
            is_own(entry) || (!is_full && held.is_some_and(|held| held > own))
        };
        let victim = || {
            taken().filter(|(_, entry)| may_go(entry)).max_by_key(|(_, entry)| {
                (entry.port().map(|port| writer.held_by(port)), now_s - entry.told_s.min(now_s))
            })
        };
        old.or_else(victim).map(|(slot, entry)| (slot, Some(entry)))
    }

    /// Has an address known until it is told otherwise.
    pub(super) fn set(&self, key: Key, mac: MacAddress) -> bool {
        let mut writer = self.lock();
        let known = self.find(key).map(|(slot, entry)| (slot, Some(entry)));
        let candidates = || self.candidates(key).map(|slot| (slot, slot.read()));
        let free = || self.free(key).map(|slot| (slot, None));
        let learned = || candidates().find(|(_, entry)| entry.is_some_and(|entry| !entry.is_fixed()));
        let Some((slot, entry)) = known.or_else(free).or_else(learned) else { return false };
        let is_same = entry.is_some_and(|entry| entry.key == key && entry.mac == mac);
        let router = entry.filter(|_| is_same).map_or(0, |entry| entry.holder & ROUTER);
        let holder = FIXED | router;
        writer.exchange(entry.map(|entry| entry.holder), Some(holder));
        slot.write(key, Some(mac), holder, 0);
        true
    }

    /// Forgets who has an address.
    pub(super) fn clear(&self, key: Key) {
        let mut writer = self.lock();
        if let Some((slot, entry)) = self.find(key) {
            slot.remove(&mut writer, &entry);
        }
    }

    /// A station of this host says that the address is its own.
    pub(super) fn contradict(&self, key: Key, mac: MacAddress) {
        let is_wrong = |entry: &Entry| entry.mac != mac && !entry.is_fixed();
        if self.find(key).is_some_and(|(_, entry)| is_wrong(&entry)) {
            let mut writer = self.lock();
            if let Some((slot, entry)) = self.find(key).filter(|(_, entry)| is_wrong(entry)) {
                slot.remove(&mut writer, &entry);
            }
        }
    }

    pub(super) fn forget_port(&self, port: PortIndex) {
        let mut writer = self.lock();
        if writer.held_by(port) > 0 {
            self.remove_if(&mut writer, |entry| entry.port() == Some(port));
        }
    }

    pub(super) fn forget_network(&self, network: NetworkIndex) {
        self.remove_if(&mut self.lock(), |entry| entry.key.0 == network);
    }

    /// How many addresses were learned, and set.
    pub(super) fn counts(&self) -> (usize, usize) {
        let writer = self.lock();
        (writer.learned, writer.fixed)
    }

    fn remove_if(&self, writer: &mut Writer, goes: impl Fn(&Entry) -> bool) {
        for slot in self.buckets.iter().flat_map(|bucket| &bucket.0) {
            if let Some(entry) = slot.read().filter(&goes) {
                slot.remove(writer, &entry);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn find(&self, key: Key) -> Option<(&Slot, Entry)> {
        let read = |slot| Some((slot, Slot::read(slot)?));
        self.candidates(key).filter_map(read).find(|(_, entry)| entry.key == key)
    }

    /// A free slot, of the emptier bucket.
    fn free(&self, key: Key) -> Option<&Slot> {
        let free = |bucket: &usize| self.buckets[*bucket].0.iter().filter(|slot| slot.is_free()).count();
        let bucket = self.places(key).into_iter().max_by_key(free)?;
        self.buckets[bucket].0.iter().find(|slot| slot.is_free())
    }

    #[inline]
    fn candidates(&self, key: Key) -> impl Iterator<Item = &Slot> {
        self.places(key).into_iter().flat_map(|bucket| &self.buckets[bucket].0)
    }

    #[inline]
    fn places(&self, (network, address): Key) -> [usize; 2] {
        let hash = self.hasher.hash_one((network.raw(), address.to_bits()));
        let mask = self.buckets.len() - 1;
        // Masked to less than the number of buckets.
        [hash, hash.rotate_right(32)].map(|bits| usize::try_from(bits & mask as u64).unwrap_or(0))
    }
}

impl Writer {
    fn held_by(&self, port: PortIndex) -> u32 {
        self.held.get(port.get()).copied().unwrap_or(0)
    }

    /// A slot has another holder than before.
    fn exchange(&mut self, before: Option<u32>, now: Option<u32>) {
        for (holder, is_gain) in [(before, false), (now, true)] {
            let Some(holder) = holder else { continue };
            let step = |count: usize| if is_gain { count + 1 } else { count.saturating_sub(1) };
            if holder & FIXED != 0 {
                self.fixed = step(self.fixed);
                continue;
            }
            self.learned = step(self.learned);
            if let Some(held) = self.held.get_mut((holder & PORT) as usize) {
                *held = if is_gain { *held + 1 } else { held.saturating_sub(1) };
            }
        }
    }
}

impl Entry {
    fn is_fixed(&self) -> bool {
        self.holder & FIXED != 0
    }

    fn port(&self) -> Option<PortIndex> {
        if self.is_fixed() { None } else { PortIndex::new((self.holder & PORT) as usize) }
    }

    fn is_believed(&self, now_s: u32) -> bool {
        self.is_fixed() || now_s.saturating_sub(self.told_s) <= AGE_MAX_S
    }

    /// Whether a message by `port` with the same Ethernet address says nothing new.
    fn is_same(&self, told: &Told, port: PortIndex) -> bool {
        let is_router = self.holder & ROUTER != 0;
        told.is_router.is_none_or(|told| told == is_router) && (self.is_fixed() || self.port() == Some(port))
    }
}

impl Slot {
    fn is_free(&self) -> bool {
        self.station.load(Relaxed) & MAC_BITS == 0
    }

    #[inline]
    fn read(&self) -> Option<Entry> {
        let sequence = self.sequence.load(Acquire);
        let station = self.station.load(Relaxed);
        let [high, low] = self.address.each_ref().map(|half| half.load(Relaxed));
        let (holder, told_s) = (self.holder.load(Relaxed), self.told_s.load(Relaxed));
        fence(Acquire);
        let is_whole = sequence & 1 == 0 && self.sequence.load(Relaxed) == sequence;
        if !is_whole || station & MAC_BITS == 0 {
            return None;
        }
        let network = NetworkIndex::new(usize::try_from(station >> 48).unwrap_or(usize::MAX))?;
        let address = Address::from_bits(u128::from(high) << 64 | u128::from(low));
        let mac = MacAddress::from_u64(station & MAC_BITS);
        Some(Entry { key: (network, address), mac, holder, told_s })
    }

    /// Under the table's lock.
    fn write(&self, (network, address): Key, mac: Option<MacAddress>, holder: u32, told_s: u32) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Relaxed);
        fence(Release);
        let bits = address.to_bits();
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        self.address[0].store(half(bits >> 64), Relaxed);
        self.address[1].store(half(bits), Relaxed);
        self.station.store(mac.map_or(0, |mac| u64::from(network.raw()) << 48 | mac.to_u64()), Relaxed);
        self.holder.store(holder, Relaxed);
        self.told_s.store(told_s, Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Release);
    }

    /// Under the table's lock.
    fn remove(&self, writer: &mut Writer, entry: &Entry) {
        writer.exchange(Some(entry.holder), None);
        self.write(entry.key, None, 0, 0);
    }
}
