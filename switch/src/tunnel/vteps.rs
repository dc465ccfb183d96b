//! Remote ends of tunnels: which port of the switch stands for which address.
//!
//! A table of fixed size, shared by all workers. Whoever sends to a VTEP reads its place without a lock; whoever hears one has it
//! in a small table of his own ([`RecentVteps`]), and takes the lock for one that is not there. Configured VTEPs stay; those that were
//! heard of give their place back when they were silent for long.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::EndpointIndex;
use crate::drops::DropReason;
use crate::ids::{PORTS_MAX, PortIndex};
use crate::packet::Address;

/// The most VTEPs that one switch can have, of all ends together: the highest ports are theirs.
pub const VTEPS_MAX: usize = 1024;

/// After how many seconds of silence a VTEP that is not configured is forgotten.
const SILENCE_MAX_S: u32 = 600;

/// For how many seconds a place that was given back is nobody's: frames that were under way to who had it must not go to who has it next.
const REST_S: u32 = 10;

/// How many VTEPs are forgotten in one call of [`Vteps::expire`].
const EXPIRED_MAX: usize = 16;

/// How many VTEPs a worker has at hand.
const RECENT: usize = 1024;

/// Whether this port can be a VTEP's and nothing else, where there are tunnels.
#[must_use]
#[inline]
pub fn is_vtep_port(port: PortIndex) -> bool {
    port.get() >= PORTS_MAX - VTEPS_MAX
}

/// The port that the VTEP at this place of the table is.
#[must_use]
pub fn vtep_port(place: usize) -> Option<PortIndex> {
    (place < VTEPS_MAX).then(|| PortIndex::new(PORTS_MAX - VTEPS_MAX + place)).flatten()
}

fn place_of(port: PortIndex) -> Option<usize> {
    port.get().checked_sub(PORTS_MAX - VTEPS_MAX)
}

/// A VTEP, as [`Vteps::entries`] tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VtepEntry {
    /// The port that stands for it.
    pub port: PortIndex,
    /// The end of ours with which it speaks.
    pub endpoint: EndpointIndex,
    /// Its address.
    pub address: Address,
    /// Whether it is configured; else it was heard of.
    pub is_configured: bool,
    /// The second in which it was heard last; `None`: never.
    pub heard_s: Option<u32>,
}

/// A place. Its sequence is odd while it is written, and it counts as free then.
#[derive(Debug, Default)]
struct Slot {
    sequence: AtomicU32,
    /// The end of ours and one; 0: the place is free.
    endpoint: AtomicU32,
    address: [AtomicU64; 2],
    /// The second in which it was heard last and one; 0: never.
    heard_s: AtomicU32,
}

impl Slot {
    #[inline]
    fn read(&self) -> Option<(EndpointIndex, Address)> {
        let before = self.sequence.load(Acquire);
        let endpoint = self.endpoint.load(Relaxed).checked_sub(1)?;
        let [high, low] = [0, 1].map(|half: usize| u128::from(self.address[half].load(Relaxed)));
        fence(Acquire);
        let is_whole = before & 1 == 0 && self.sequence.load(Relaxed) == before;
        let endpoint = EndpointIndex(u16::try_from(endpoint).ok()?);
        is_whole.then_some((endpoint, Address::from_bits(high << 64 | low)))
    }

    fn write(&self, holder: Option<(EndpointIndex, Address)>, heard: u32) {
        let before = self.sequence.load(Relaxed);
        self.sequence.store(before.wrapping_add(1), Relaxed);
        fence(Release);
        self.endpoint.store(holder.map_or(0, |(endpoint, _)| u32::from(endpoint.0) + 1), Relaxed);
        let bits = holder.map_or(0, |(_, address)| address.to_bits());
        for (half, shift) in self.address.iter().zip([64, 0]) {
            half.store(u64::try_from(bits >> shift & u128::from(u64::MAX)).unwrap_or(0), Relaxed);
        }
        self.heard_s.store(heard, Relaxed);
        self.sequence.store(before.wrapping_add(2), Release);
    }
}

/// What only the holder of the lock may know.
#[derive(Debug)]
struct Writer {
    places: HashMap<(EndpointIndex, Address), Holder>,
    /// Places that nobody has, the one that is free for longest first, each with the second since when; `None`: nobody had it yet.
    free: VecDeque<(usize, Option<u32>)>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    place: usize,
    is_configured: bool,
}

/// The table.
#[derive(Debug)]
pub struct Vteps {
    slots: Box<[Slot]>,
    /// Changes when a place is given back: then nobody may go by what it was.
    generation: AtomicU64,
    /// The latest second that anybody spoke of.
    now_s: AtomicU32,
    writer: Mutex<Writer>,
}

impl Default for Vteps {
    fn default() -> Self {
        let slots = std::iter::repeat_with(Slot::default).take(VTEPS_MAX).collect();
        let writer = Writer {
            places: HashMap::with_capacity(VTEPS_MAX * 2),
            free: (0..VTEPS_MAX).map(|place| (place, None)).collect(),
        };
        Self { slots, generation: AtomicU64::new(0), now_s: AtomicU32::new(0), writer: Mutex::new(writer) }
    }
}

impl Vteps {
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of ours and the address for which `port` stands; `None`: it is no VTEP's now.
    #[inline]
    pub fn get(&self, port: PortIndex) -> Option<(EndpointIndex, Address)> {
        self.slots.get(place_of(port)?)?.read()
    }

    /// Gives a configured VTEP its port, which it keeps; `None`: the table is full of others like it. One that was only heard of gives
    /// way to it if need be, and `gone` hears of that one's port, behind which nobody is then.
    pub fn configure(
        &self,
        endpoint: EndpointIndex,
        address: Address,
        gone: impl FnMut(PortIndex),
    ) -> Option<PortIndex> {
        let mut writer = self.lock();
        let key = (endpoint, address);
        if writer.free.is_empty() && !writer.places.contains_key(&key) {
            let heard =
                writer.places.iter().find(|(_, holder)| !holder.is_configured).map(|(key, _)| *key)?;
            let holder = writer.places.remove(&heard)?;
            self.release(&mut writer.free, holder);
            vtep_port(holder.place).into_iter().for_each(gone);
        }
        // What is written down waits for no place.
        let port = self.bind(&mut writer, key, 0, true)?;
        if let Some(holder) = writer.places.get_mut(&key) {
            holder.is_configured = true;
        }
        Some(port)
    }

    /// Nobody has this place any more.
    fn release(&self, free: &mut VecDeque<(usize, Option<u32>)>, holder: Holder) {
        if let Some(slot) = self.slots.get(holder.place) {
            slot.write(None, 0);
        }
        self.generation.fetch_add(1, Release);
        free.push_back((holder.place, Some(self.now_s.load(Relaxed))));
    }

    /// The place of a VTEP, which it gets if it has none; `heard`: as a place notes it. `at_once`: even one that was somebody's just now.
    fn bind(
        &self,
        writer: &mut Writer,
        key: (EndpointIndex, Address),
        heard: u32,
        at_once: bool,
    ) -> Option<PortIndex> {
        if let Some(holder) = writer.places.get(&key) {
            return vtep_port(holder.place);
        }
        let (place, since_s) = *writer.free.front()?;
        let rests = since_s.is_some_and(|since_s| self.now_s.load(Relaxed) < since_s.saturating_add(REST_S));
        if rests && !at_once {
            return None;
        }
        writer.free.pop_front();
        writer.places.insert(key, Holder { place, is_configured: false });
        self.slots.get(place)?.write(Some(key), heard);
        vtep_port(place)
    }

    /// The port of a VTEP of which a frame came, known or not.
    ///
    /// # Errors
    /// [`DropReason::TunnelTableFull`]: it is not known, and there is no place for it, or somebody else writes to the table now.
    pub(super) fn hear(
        &self,
        recent: &mut RecentVteps,
        key: (EndpointIndex, Address),
        now_s: u32,
    ) -> Result<PortIndex, DropReason> {
        let generation = self.generation.load(Acquire);
        let place = match recent.find(generation, key) {
            Some(place) => place,
            None => {
                let place = self.hear_slowly(key, now_s).ok_or(DropReason::TunnelTableFull)?;
                recent.keep(key, place);
                place
            }
        };
        if let Some(slot) = self.slots.get(place)
            && slot.heard_s.load(Relaxed) != now_s + 1
        {
            slot.heard_s.store(now_s + 1, Relaxed);
        }
        vtep_port(place).ok_or(DropReason::TunnelTableFull)
    }

    /// Waits for nobody: no frame does.
    #[cold]
    fn hear_slowly(&self, key: (EndpointIndex, Address), now_s: u32) -> Option<usize> {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.now_s.fetch_max(now_s, Relaxed);
        self.bind(&mut writer, key, now_s + 1, false)?;
        writer.places.get(&key).map(|holder| holder.place)
    }

    /// Takes the places of configured VTEPs back that are not `wanted` any more, and of all whose end is no more; `gone` hears of each
    /// port, behind which nobody is then.
    pub fn retain(
        &self,
        wanted: impl Fn(EndpointIndex, Address) -> bool,
        has_endpoint: impl Fn(EndpointIndex) -> bool,
        gone: impl FnMut(PortIndex),
    ) {
        let stays = |(endpoint, address): (EndpointIndex, Address), holder: &Holder| {
            has_endpoint(endpoint) && (!holder.is_configured || wanted(endpoint, address))
        };
        self.give_back(stays, gone);
    }

    /// Takes the places of those back that are not configured and were silent for long, a bounded number a call; `gone` hears
    /// of each.
    pub fn expire(&self, now_s: u32, gone: impl FnMut(PortIndex)) {
        self.now_s.fetch_max(now_s, Relaxed);
        let is_silent = |holder: &Holder| {
            let heard_s = self.slots.get(holder.place).map_or(0, |slot| slot.heard_s.load(Relaxed));
            now_s > heard_s.saturating_sub(1).saturating_add(SILENCE_MAX_S)
        };
        let mut left = EXPIRED_MAX;
        let stays = |_, holder: &Holder| {
            let stays = left == 0 || holder.is_configured || !is_silent(holder);
            left -= usize::from(!stays);
            stays
        };
        self.give_back(stays, gone);
    }

    /// `gone` is called when the table is free again, since looking for stations behind a port takes a while.
    fn give_back(
        &self,
        mut stays: impl FnMut((EndpointIndex, Address), &Holder) -> bool,
        gone: impl FnMut(PortIndex),
    ) {
        let mut left = Vec::new();
        let mut writer = self.lock();
        let Writer { places, free } = &mut *writer;
        places.retain(|key, holder| {
            let stays = stays(*key, holder);
            if !stays {
                self.release(free, *holder);
                left.extend(vtep_port(holder.place));
            }
            stays
        });
        drop(writer);
        left.into_iter().for_each(gone);
    }

    /// All VTEPs, in ascending order of their ports.
    #[must_use]
    pub fn entries(&self) -> Vec<VtepEntry> {
        let writer = self.lock();
        let entry = |(&(endpoint, address), holder): (&(EndpointIndex, Address), &Holder)| {
            let heard_s = self.slots.get(holder.place)?.heard_s.load(Relaxed).checked_sub(1);
            let port = vtep_port(holder.place)?;
            Some(VtepEntry { port, endpoint, address, is_configured: holder.is_configured, heard_s })
        };
        let mut entries: Vec<VtepEntry> = writer.places.iter().filter_map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.port);
        entries
    }
}

/// The VTEPs that one worker heard lately. Which place an address has anybody can tell who knows this code: those who make others
/// give way cost themselves and them a lock.
#[derive(Debug, Default)]
pub struct RecentVteps {
    generation: u64,
    /// Empty until the first VTEP is heard.
    places: Vec<Option<((EndpointIndex, Address), usize)>>,
}

impl RecentVteps {
    #[inline]
    fn place(&self, (endpoint, address): (EndpointIndex, Address)) -> usize {
        let bits = address.to_bits() ^ u128::from(endpoint.0) << 7;
        let folded = (bits ^ bits >> 64 ^ bits >> 32 ^ bits >> 10) & (RECENT as u128 - 1);
        usize::try_from(folded).unwrap_or(0)
    }

    #[inline]
    fn find(&mut self, generation: u64, key: (EndpointIndex, Address)) -> Option<usize> {
        if self.generation != generation {
            self.generation = generation;
            self.places.clear();
        }
        let (known, at) = (*self.places.get(self.place(key))?)?;
        (known == key).then_some(at)
    }

    #[cold]
    fn keep(&mut self, key: (EndpointIndex, Address), at: usize) {
        self.places.resize(RECENT, None);
        let place = self.place(key);
        if let Some(place) = self.places.get_mut(place) {
            *place = Some((key, at));
        }
    }
}
