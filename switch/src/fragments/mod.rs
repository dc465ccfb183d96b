//! Fragments: the verdict about the first one, which alone shows ports, holds for all of its datagram.
//!
//! The store knows which parts of which datagrams were seen, and what was decided; it holds no bytes. A later fragment
//! that comes before the first is answered with [`Answer::Hold`]: whoever calls keeps a copy of its own under the datagram's
//! name, until [`Fragments::decide`] or one of the endings releases them all. A fragment that overlaps an
//! earlier one is refused, and all of its datagram with it (RFC 5722, 3; RFC 8200, 4.5), so that no receiver can put
//! together what was not judged.
//!
//! All is bounded: datagrams in number, for each port and in all, what waits in bytes for each port, and everything in
//! time. A datagram that was seen as a whole is forgotten at once. A full store makes room at the expense of ports that
//! have more in it than the one that asks. One lock guards it, held for some hundred nanoseconds: fragments are rare, and
//! whoever floods the switch with them is bounded by his port's rate of frames that are decided about one by one.

mod datagram;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::packet::{Address, Fragment, Packet};
use crate::time::Nanos;
use crate::timer_wheel::TimerWheel;
use datagram::{Datagram, Part};

/// Datagrams that are looked at for one that has to give way.
const EVICTION_PROBES: usize = 16;

/// How large the store may grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Datagrams of which not all fragments were seen; 1000 is what Open vSwitch has.
    pub datagrams: usize,
    /// The same for one port.
    pub datagrams_per_port: usize,
    /// Fragments of one datagram that may wait for the first one.
    pub held_per_datagram: usize,
    /// Bytes of frames of one port that may wait.
    pub held_bytes_per_port: usize,
    /// For how many seconds a datagram is waited for: 15, as in Open vSwitch; hosts wait for up to 60 (RFC 8200, 4.5),
    /// but what takes so long in a data centre will not come.
    pub lifetime_s: u32,
}

impl Limits {
    /// What is said above.
    pub const DEFAULT: Self = Self {
        datagrams: 1000,
        datagrams_per_port: 250,
        held_per_datagram: 64,
        held_bytes_per_port: 256 * 1024,
        lifetime_s: 15,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Names a datagram for as long as the store knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DatagramId {
    slot: u32,
    life: u32,
}

/// What is to be done with a fragment. `V` is what the caller decides about a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<V> {
    /// It is the first one: decide about it as about a whole packet, and tell [`Fragments::decide`].
    First(DatagramId),
    /// This was decided about its datagram.
    Decided(V),
    /// The first one did not come yet: keep a copy under this name until its datagram is decided about or ends.
    Hold(DatagramId),
    /// Drop it.
    Drop(Refused),
    /// Drop it, and all that was kept under this name.
    DropAll(DatagramId, Refused),
}

macro_rules! refused {
    ($($variant:ident $name:literal $sentence:literal)*) => {
        /// Why a fragment is dropped.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        #[repr(u8)]
        pub enum Refused { $(#[doc = $sentence] #[error($sentence)] $variant),* }

        impl Refused {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reason's name in tables, JSON and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

refused! {
    NotAFragment "fragment-whole" "The packet is no fragment."
    Duplicate "fragment-duplicate" "All that the fragment holds was seen already."
    Overlap "fragment-overlap" "The fragment overlaps an earlier one of its datagram, or one of them did."
    BeyondEnd "fragment-beyond-end" "The fragment lies behind the end of its datagram, or gives it another end."
    Scattered "fragment-scattered" "The datagram's fragments came in too wild an order to be followed."
    HeldFull "fragment-held-full" "Too many fragments of the datagram or the port wait for a first one."
    PortFull "fragment-port-full" "The port has too many datagrams under way of which fragments are missing."
    StoreFull "fragment-store-full" "The store is full of datagrams of ports that have no more of them than this one."
}

/// How many reasons there are.
const REFUSED: usize = Refused::ALL.len();

/// What the store did since it was made, and holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Datagrams of which a fragment was seen.
    pub begun: u64,
    /// Datagrams that were seen as a whole.
    pub completed: u64,
    /// Datagrams of which fragments were missing when their time was over.
    pub expired: u64,
    /// Datagrams that gave way to others.
    pub evicted: u64,
    /// Fragments that were dropped, in the order of [`Refused::ALL`].
    pub refused: [u64; REFUSED],
    /// Datagrams in the store.
    pub datagrams: usize,
    /// Bytes of frames that wait.
    pub held_bytes: usize,
}

impl Snapshot {
    /// How many fragments were dropped for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refused) -> u64 {
        self.refused[reason as usize]
    }
}

/// What fragments of a datagram have in common (RFC 791, 3.2; RFC 8200, 4.5), and the port where they come in: nobody else
/// can add to them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    zone: NetworkIndex,
    port: PortIndex,
    source: Address,
    destination: Address,
    id: u32,
    /// Of IPv4; that of IPv6 does not count, and is named by the first fragment alone.
    protocol: u8,
}

impl Key {
    fn of(zone: NetworkIndex, port: PortIndex, packet: &Packet, id: u32) -> Self {
        let protocol = if packet.source.is_v4() { packet.protocol } else { 0 };
        Self { zone, port, source: packet.source, destination: packet.destination, id, protocol }
    }
}

/// What a port has in the store.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    datagrams: usize,
    bytes: usize,
}

/// The store; shared by all workers.
#[derive(Debug)]
pub struct Fragments<V>(Mutex<Store<V>>);

#[derive(Debug)]
struct Store<V> {
    limits: Limits,
    by_key: HashMap<Key, u32, foldhash::quality::FixedState>,
    slots: Box<[Slot<V>]>,
    free: Vec<u32>,
    wheel: TimerWheel,
    held: Box<[Held]>,
    cursor: usize,
    snapshot: Snapshot,
}

#[derive(Debug)]
struct Slot<V> {
    life: u32,
    datagram: Option<(Key, Datagram<V>)>,
}

impl<V: Copy> Fragments<V> {
    /// An empty store; takes all its memory. `seed` must be random and secret.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        let slots = u32::try_from(limits.datagrams.max(1)).unwrap_or(1 << 20).min(1 << 20);
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        let count = slots as usize;
        Self(Mutex::new(Store {
            limits,
            by_key: HashMap::with_capacity_and_hasher(count, hasher),
            slots: std::iter::repeat_with(|| Slot { life: 0, datagram: None }).take(count).collect(),
            free: (0..slots).rev().collect(),
            wheel: TimerWheel::new(count, 0),
            held: vec![Held::default(); PORTS_MAX].into(),
            cursor: 0,
            snapshot: Snapshot::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Store<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done with a fragment of network `zone` that came in at `port`, in a frame of `length` bytes.
    /// `ended` hears of each datagram that gave way: what was kept under its name can go.
    pub fn note(
        &self,
        zone: NetworkIndex,
        port: PortIndex,
        (packet, length): (&Packet, u32),
        now: Nanos,
        ended: impl FnMut(DatagramId),
    ) -> Answer<V> {
        let mut store = self.lock();
        let Some(fragment) = packet.fragment else { return store.refuse(Refused::NotAFragment) };
        let key = Key::of(zone, port, packet, fragment.id);
        match store.find_or_begin(key, now.seconds(), ended) {
            Ok(id) => store.add(id, fragment, length as usize),
            Err(reason) => store.refuse(reason),
        }
    }

    /// What was decided about the datagram of a fragment that came now; `None`: nothing yet. Changes nothing.
    #[must_use]
    pub fn decided(&self, zone: NetworkIndex, port: PortIndex, packet: &Packet, now: Nanos) -> Option<V> {
        let store = self.lock();
        let slot = *store.by_key.get(&Key::of(zone, port, packet, packet.fragment?.id))?;
        let (_, datagram) = store.slots.get(slot as usize)?.datagram.as_ref()?;
        datagram.verdict.filter(|_| datagram.due_s > now.seconds())
    }

    /// Takes back that a fragment came, of which nothing was decided or kept: it will come in once more.
    pub fn put_back(&self, zone: NetworkIndex, port: PortIndex, packet: &Packet) {
        let Some(fragment) = packet.fragment else { return };
        let mut store = self.lock();
        let slot = store.by_key.get(&Key::of(zone, port, packet, fragment.id)).copied();
        let Some(slot) = slot.and_then(|slot| store.slots.get_mut(slot as usize)) else { return };
        if let Some((_, datagram)) = slot.datagram.as_mut() {
            datagram.parts.take_back(Part::of(fragment));
        }
    }

    /// Says what holds for a datagram whose first fragment came, and gives how many fragments wait under its name: they are
    /// to be treated so now, and no longer count. `None`: the store knows it no more.
    pub fn decide(&self, id: DatagramId, verdict: V) -> Option<usize> {
        let mut store = self.lock();
        let (key, datagram) = store.datagram(id)?;
        datagram.verdict = Some(verdict);
        let (port, held, bytes) = (key.port, datagram.held, datagram.held_bytes);
        (datagram.held, datagram.held_bytes) = (0, 0);
        let is_complete = datagram.parts.is_complete();
        store.release(port, bytes);
        if is_complete {
            store.snapshot.completed += 1;
            store.end(id.slot);
        }
        Some(held)
    }

    /// Ends datagrams whose time is over, looking at no more than `budget`; `ended` hears of each.
    pub fn advance(&self, now: Nanos, budget: usize, mut ended: impl FnMut(DatagramId)) {
        let mut store = self.lock();
        let mut wheel = std::mem::take(&mut store.wheel);
        wheel.advance(now.seconds().into(), budget, |slot| {
            let life = store.slots[slot as usize].life;
            let due = store.datagram(DatagramId { slot, life })?.1.due_s;
            if due > now.seconds() {
                return Some(due.into());
            }
            ended(DatagramId { slot, life });
            store.snapshot.expired += 1;
            store.end(slot);
            None
        });
        store.wheel = wheel;
    }

    /// Ends all datagrams of a port that is no more; `ended` hears of each.
    pub fn forget(&self, port: PortIndex, mut ended: impl FnMut(DatagramId)) {
        let mut store = self.lock();
        for number in 0..store.slots.len() {
            let slot = &store.slots[number];
            if slot.datagram.as_ref().is_some_and(|(key, _)| key.port == port) {
                let slot = DatagramId { slot: u32::try_from(number).unwrap_or(0), life: slot.life };
                ended(slot);
                store.end(slot.slot);
            }
        }
    }

    /// What the store did and holds.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let store = self.lock();
        let held_bytes = store.held.iter().map(|held| held.bytes).sum();
        Snapshot { datagrams: store.by_key.len(), held_bytes, ..store.snapshot }
    }
}

impl<V: Copy> Store<V> {
    fn refuse(&mut self, reason: Refused) -> Answer<V> {
        self.snapshot.refused[reason as usize] += 1;
        Answer::Drop(reason)
    }

    fn datagram(&mut self, id: DatagramId) -> Option<(Key, &mut Datagram<V>)> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.life == id.life)?;
        slot.datagram.as_mut().map(|(key, datagram)| (*key, datagram))
    }

    /// The datagram of this key; one whose time is over counts no more.
    fn find_or_begin(
        &mut self,
        key: Key,
        now_s: u32,
        mut ended: impl FnMut(DatagramId),
    ) -> Result<DatagramId, Refused> {
        if let Some(&slot) = self.by_key.get(&key) {
            let id = DatagramId { slot, life: self.slots[slot as usize].life };
            if self.datagram(id).is_some_and(|(_, datagram)| datagram.due_s > now_s) {
                return Ok(id);
            }
            ended(id);
            self.snapshot.expired += 1;
            self.end(slot);
        }
        if self.held[key.port.get()].datagrams >= self.limits.datagrams_per_port {
            return Err(Refused::PortFull);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.evict(key.port, ended)?,
        };
        let due_s = now_s.saturating_add(self.limits.lifetime_s.max(1));
        let place = &mut self.slots[slot as usize];
        place.life = place.life.wrapping_add(1);
        place.datagram = Some((key, Datagram::new(due_s)));
        let id = DatagramId { slot, life: place.life };
        self.by_key.insert(key, slot);
        self.held[key.port.get()].datagrams += 1;
        self.wheel.insert(slot, due_s.into());
        self.snapshot.begun += 1;
        Ok(id)
    }

    /// Ends a datagram of a port that has more of them than `port`, that of the port with most among some; gives its slot.
    fn evict(&mut self, port: PortIndex, mut ended: impl FnMut(DatagramId)) -> Result<u32, Refused> {
        let own = self.held[port.get()].datagrams;
        let (count, start) = (self.slots.len(), self.cursor);
        self.cursor = (start + EVICTION_PROBES) % count;
        let probes = (0..EVICTION_PROBES).map(|probe| (start + probe) % count);
        let holder = |slot: usize| {
            let (key, _) = self.slots[slot].datagram.as_ref()?;
            let held = self.held[key.port.get()].datagrams;
            (held > own).then_some((held, slot))
        };
        let (_, victim) = probes.filter_map(holder).max().ok_or(Refused::StoreFull)?;
        let slot = u32::try_from(victim).unwrap_or(0);
        ended(DatagramId { slot, life: self.slots[victim].life });
        self.snapshot.evicted += 1;
        self.end(slot);
        self.free.pop().ok_or(Refused::StoreFull)
    }

    /// Adds a fragment to its datagram.
    fn add(&mut self, id: DatagramId, fragment: Fragment, length: usize) -> Answer<V> {
        let limits = self.limits;
        let Some((key, datagram)) = self.datagram(id) else { return self.refuse(Refused::StoreFull) };
        if datagram.is_broken {
            return self.refuse(Refused::Overlap);
        }
        let is_first = fragment.offset == 0;
        let waits = !is_first && datagram.verdict.is_none();
        let (held, verdict) = (datagram.held, datagram.verdict);
        let port = &self.held[key.port.get()];
        if waits && (held >= limits.held_per_datagram || port.bytes + length > limits.held_bytes_per_port) {
            return self.refuse(Refused::HeldFull);
        }
        let Some((key, datagram)) = self.datagram(id) else { return self.refuse(Refused::StoreFull) };
        match datagram.parts.add(Part::of(fragment)) {
            Err(Refused::Duplicate) => return self.refuse(Refused::Duplicate),
            Err(reason) => return self.break_up(id, reason),
            Ok(()) => {}
        }
        if waits {
            datagram.held += 1;
            datagram.held_bytes += length;
            self.held[key.port.get()].bytes += length;
            return Answer::Hold(id);
        }
        let is_complete = datagram.parts.is_complete();
        match verdict {
            Some(verdict) => {
                if is_complete {
                    self.snapshot.completed += 1;
                    self.end(id.slot);
                }
                Answer::Decided(verdict)
            }
            None => Answer::First(id),
        }
    }

    /// No fragment of the datagram passes any more; it stays known for its time, so that none begins it anew.
    fn break_up(&mut self, id: DatagramId, reason: Refused) -> Answer<V> {
        self.snapshot.refused[reason as usize] += 1;
        if let Some((key, datagram)) = self.datagram(id) {
            datagram.is_broken = true;
            let bytes = std::mem::take(&mut datagram.held_bytes);
            datagram.held = 0;
            self.release(key.port, bytes);
        }
        Answer::DropAll(id, reason)
    }

    fn release(&mut self, port: PortIndex, bytes: usize) {
        let held = &mut self.held[port.get()];
        held.bytes = held.bytes.saturating_sub(bytes);
    }

    /// Forgets the datagram in this slot.
    fn end(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.life = place.life.wrapping_add(1);
        if let Some((key, datagram)) = place.datagram.take() {
            self.by_key.remove(&key);
            self.release(key.port, datagram.held_bytes);
            let held = &mut self.held[key.port.get()];
            held.datagrams = held.datagrams.saturating_sub(1);
            self.wheel.remove(slot);
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
