//! Fragments that came before the first one of their datagram: copies, until it is known what holds for it.
//!
//! A datagram's fragments may come in by several rings and so by several workers; what they keep is shared. A worker comes here
//! for such fragments only, and for a first fragment while some are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use viaduct_switch::fragments::DatagramId;
use viaduct_switch::ids::PORTS_MAX;
use viaduct_switch::{Claims, DropReason, Frame, Metadata, PortIndex, Switch};

use crate::memory::{Segment, copy_out};
use crate::ring::Span;

/// Bytes that the fragments of all ports may take together, each port's minimum aside.
const TOTAL_BYTES: usize = 16 << 20;

/// Bytes that those of one port may take.
const PORT_BYTES: usize = 256 << 10;

/// Bytes that a port may always take, whatever the others do: two fragments of an Ethernet's MTU.
const PORT_MINIMUM: usize = 4 << 10;

/// A port takes at most this part of what is free (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
/// packet switches", 1998).
const SHARE: usize = 8;

/// The length of buffers that are kept for the next fragment, and how many of them are.
const BUFFER_BYTES: usize = 2048;
const BUFFERS_KEPT: usize = 256;

/// After how many seconds a fragment is given up: later than its datagram, which the switch says.
const PATIENCE_S: u32 = 30;

/// A fragment.
pub(super) struct Held {
    /// What was known of it; its tags are off.
    pub(super) meta: Metadata,
    /// All of it. The buffer may be longer than the frame was.
    pub(super) bytes: Vec<u8>,
}

impl Held {
    /// What it counts.
    fn cost(&self) -> usize {
        cost_of(self.bytes.len())
    }
}

fn cost_of(length: usize) -> usize {
    length.max(BUFFER_BYTES)
}

/// What is kept for one datagram, all of one port.
struct Waiting {
    frames: Vec<Held>,
    since_s: u32,
}

/// All that is kept.
pub(super) struct HeldFragments {
    store: Mutex<Store>,
    /// How many datagrams have fragments here.
    datagrams: AtomicUsize,
}

struct Store {
    waiting: HashMap<DatagramId, Waiting>,
    /// What each port takes, and all do.
    ports: Box<[usize]>,
    bytes: usize,
    buffers: Vec<Vec<u8>>,
    now_s: u32,
}

impl Default for HeldFragments {
    fn default() -> Self {
        let store = Store {
            waiting: HashMap::new(),
            ports: vec![0; PORTS_MAX].into(),
            bytes: 0,
            buffers: Vec::new(),
            now_s: 0,
        };
        Self { store: Mutex::new(store), datagrams: AtomicUsize::new(0) }
    }
}

impl HeldFragments {
    /// Waits for the lock. Its holders copy one fragment, or move lists.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.datagrams.load(Ordering::Acquire) == 0
    }

    /// Keeps a copy of a frame whose rest lies in `rest`; says whether there was room. One that claims something is none
    /// that a station has cut to fragments.
    pub(super) fn keep(&self, datagram: DatagramId, frame: &Frame<Span>, rest: &[Segment]) -> bool {
        let head = frame.head.bytes();
        let length = head.len() + rest.iter().map(|part| part.len as usize).sum::<usize>();
        if frame.meta.claims != Claims::default() {
            return false;
        }
        let mut store = self.lock();
        let Some(mut bytes) = store.take_room(frame.meta.source, length) else { return false };
        copy_out(head, rest, &mut bytes);
        let since_s = store.now_s;
        let waiting =
            store.waiting.entry(datagram).or_insert_with(|| Waiting { frames: Vec::new(), since_s });
        waiting.frames.push(Held { meta: frame.meta, bytes });
        self.datagrams.store(store.waiting.len(), Ordering::Release);
        true
    }

    /// What was kept for a datagram, in the order in which it came; no longer counted.
    pub(super) fn take(&self, datagram: DatagramId) -> Vec<Held> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut store = self.lock();
        let Some(waiting) = store.waiting.remove(&datagram) else { return Vec::new() };
        store.let_go(&waiting.frames);
        self.datagrams.store(store.waiting.len(), Ordering::Release);
        waiting.frames
    }

    /// Takes buffers back.
    pub(super) fn recycle(&self, frames: Vec<Held>) {
        let mut store = self.lock();
        for Held { mut bytes, .. } in frames {
            if bytes.capacity() == BUFFER_BYTES && store.buffers.len() < BUFFERS_KEPT {
                bytes.clear();
                store.buffers.push(bytes);
            }
        }
    }

    /// Throws away and counts what was kept for a datagram of which the first fragment did not come.
    pub(super) fn give_up(&self, datagram: DatagramId, switch: &Switch) {
        let frames = self.take(datagram);
        if !frames.is_empty() {
            count_lost(&frames, switch);
            self.recycle(frames);
        }
    }

    /// Throws away what is kept for a port that is detached.
    pub(super) fn forget(&self, port: PortIndex, switch: &Switch) {
        self.give_up_if(switch, |waiting, _| waiting.frames.iter().any(|held| held.meta.source == port));
    }

    /// Tells the time; throws away what nobody asked for: another worker decided about its datagram just before it was kept.
    pub(super) fn tick(&self, now_s: u32, switch: &Switch) {
        let is_new = std::mem::replace(&mut self.lock().now_s, now_s) != now_s;
        if is_new {
            self.give_up_if(switch, |waiting, now_s| now_s.saturating_sub(waiting.since_s) > PATIENCE_S);
        }
    }

    fn give_up_if(&self, switch: &Switch, is_meant: impl Fn(&Waiting, u32) -> bool) {
        if self.is_empty() {
            return;
        }
        let store = self.lock();
        let now_s = store.now_s;
        let meant = store.waiting.iter().filter(|(_, waiting)| is_meant(waiting, now_s));
        let meant: Vec<DatagramId> = meant.map(|(datagram, _)| *datagram).collect();
        drop(store);
        meant.into_iter().for_each(|datagram| self.give_up(datagram, switch));
    }
}

/// Counts fragments whose first one did not come.
pub(super) fn count_lost(frames: &[Held], switch: &Switch) {
    for held in frames {
        switch.counters().port(held.meta.source).add_drops(DropReason::FragmentNoFirst, 1);
    }
}

impl Store {
    /// A buffer of `length` bytes for a port, if it may have so much.
    fn take_room(&mut self, port: PortIndex, length: usize) -> Option<Vec<u8>> {
        let cost = cost_of(length);
        let held = self.ports.get_mut(port.get())?;
        let free = TOTAL_BYTES.saturating_sub(self.bytes);
        if *held + cost > PORT_BYTES.min(free / SHARE).max(PORT_MINIMUM) {
            return None;
        }
        *held += cost;
        self.bytes += cost;
        let kept = self.buffers.pop().filter(|_| length <= BUFFER_BYTES);
        let mut bytes = kept.unwrap_or_else(|| Vec::with_capacity(cost));
        bytes.resize(length, 0);
        Some(bytes)
    }

    fn let_go(&mut self, frames: &[Held]) {
        for held in frames {
            if let Some(taken) = self.ports.get_mut(held.meta.source.get()) {
                *taken = taken.saturating_sub(held.cost());
            }
            self.bytes = self.bytes.saturating_sub(held.cost());
        }
    }
}
