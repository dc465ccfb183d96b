//! The driver's side of a virtqueue: a split one (virtio 1.2, 2.7), or a packed one, see [`super::packed`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::memory::Memory;
use super::packed::{EVENT_DISABLE, Laps};

/// Descriptor flag: the chain goes on at `next`.
pub const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
pub const WRITE: u16 = 2;
/// Descriptor flag: the buffer is a table of descriptors.
pub const INDIRECT: u16 = 4;
/// Available ring flag: the driver needs no call.
pub const NO_INTERRUPT: u16 = 1;
/// Used ring flag: the device needs no kick.
const NO_NOTIFY: u16 = 1;
/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u64 = 16;
/// How long used entries may lie in the ring before the call for them comes; only ever waited for in vain.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// One descriptor's worth of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

/// How a ring is to be driven.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Entries.
    pub size: u16,
    /// VIRTIO_F_EVENT_IDX was negotiated.
    pub event_index: bool,
    /// VIRTIO_F_IN_ORDER was negotiated: descriptors are used in the table's order.
    pub in_order: bool,
    /// VIRTIO_F_RING_PACKED was negotiated.
    pub packed: bool,
}

/// A chain that the device gave back.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// What the driver called the chain.
    pub token: u64,
    /// Bytes that the device says it wrote.
    pub length: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The first descriptor, or in a packed ring the buffer id.
    pub(super) head: u16,
    pub(super) descriptors: u16,
    pub(super) token: u64,
}

/// A virtqueue, seen from the driver. Chains must be used in the order in which they were made available:
/// Viaduct promises it, and a restarted switch relies on it.
#[derive(Debug)]
pub struct Ring {
    /// The memory that it lies in.
    pub memory: Arc<Memory>,
    /// How it is driven.
    pub options: RingOptions,
    /// Guest address of the descriptor table, or the descriptor ring.
    pub descriptor: u64,
    /// Guest address of the available ring, or the driver's event suppression.
    pub available: u64,
    /// Guest address of the used ring, or the device's event suppression.
    pub used: u64,
    /// Written by us when there are buffers.
    pub kick: EventFd,
    /// Written by the device when it used buffers.
    pub call: EventFd,
    /// Written by the device when the ring is broken.
    pub error: EventFd,
    /// Whether calls are waited for; otherwise the used ring is looked at alone.
    pub polled: bool,
    /// Whether the device is given no kick descriptor, and has to look at the ring by itself.
    pub kickless: bool,
    /// The available index to be published next.
    pub available_index: u16,
    published: u16,
    used_seen: u16,
    cursor: u16,
    pub(super) free: u16,
    order: Vec<u16>,
    pub(super) pending: VecDeque<Pending>,
    pub(super) laps: Laps,
}

impl Ring {
    /// Bytes of the descriptor table, the available and the used ring, with room between.
    #[must_use]
    pub fn bytes(size: u16) -> u64 {
        let size = u64::from(size);
        (DESCRIPTOR_BYTES * size)
            + (6 + 2 * size).next_multiple_of(64)
            + (6 + 8 * size).next_multiple_of(64)
            + 128
    }

    /// A ring whose parts begin at guest address `base` (see [`Ring::bytes`]), zeroed.
    #[must_use]
    pub fn new(memory: Arc<Memory>, base: u64, options: RingOptions) -> Self {
        let size = u64::from(options.size);
        let available = base + DESCRIPTOR_BYTES * size;
        let used = (available + 6 + 2 * size).next_multiple_of(64);
        memory.write(base, &vec![0; Self::bytes(options.size) as usize]);
        Self {
            memory,
            options,
            descriptor: base,
            available,
            used,
            kick: eventfd(),
            call: eventfd(),
            error: eventfd(),
            polled: false,
            kickless: false,
            available_index: 0,
            published: 0,
            used_seen: 0,
            cursor: 0,
            free: options.size,
            order: descriptor_order(options),
            pending: VecDeque::new(),
            laps: Laps::new(options.size),
        }
    }

    /// How many descriptors are free.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.free
    }

    /// How many chains the device has.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Writes descriptor `index` of the table at `table`.
    pub fn write_descriptor(&self, table: u64, index: u16, piece: Piece, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&piece.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&piece.length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.memory.write(table + DESCRIPTOR_BYTES * u64::from(index), &bytes);
    }

    /// Puts `head` into the available ring's next slot; nothing is published.
    pub fn put_available(&mut self, head: u16) {
        let slot = u64::from(self.available_index % self.options.size);
        self.memory.store_u16(self.available + 4 + 2 * slot, head);
        self.available_index = self.available_index.wrapping_add(1);
    }

    /// Writes the available index, whatever it be, and kicks without looking whether a kick is wanted.
    pub fn set_available_index(&self, index: u16) {
        self.memory.store_u16(self.available + 2, index);
        self.kick.write(1).unwrap();
    }

    /// Makes a chain available (not yet published); its descriptors lie in the table at `indirect` where one is
    /// given. False when there is no room.
    pub fn add(&mut self, pieces: &[Piece], indirect: Option<u64>, token: u64) -> bool {
        let wanted = if indirect.is_some() { 1 } else { pieces.len() as u16 };
        if wanted > self.free {
            return false;
        }
        if self.options.packed {
            self.add_packed(pieces, indirect, token);
            self.free -= wanted;
            return true;
        }
        let head = self.order[usize::from(self.cursor)];
        match indirect {
            Some(table) => self.write_indirect(head, table, pieces),
            None => self.write_chain(pieces),
        }
        self.cursor = self.advanced(wanted);
        self.free -= wanted;
        self.pending.push_back(Pending { head, descriptors: wanted, token });
        self.put_available(head);
        true
    }

    fn advanced(&self, by: u16) -> u16 {
        ((u32::from(self.cursor) + u32::from(by)) % u32::from(self.options.size)) as u16
    }

    fn write_chain(&self, pieces: &[Piece]) {
        for (at, piece) in (0u16..).zip(pieces) {
            let this = self.order[usize::from(self.advanced(at))];
            let (flags, next) = if usize::from(at) + 1 < pieces.len() {
                (NEXT, self.order[usize::from(self.advanced(at + 1))])
            } else {
                (0, 0)
            };
            self.write_descriptor(self.descriptor, this, *piece, flags | direction(*piece), next);
        }
    }

    fn write_indirect(&self, head: u16, table: u64, pieces: &[Piece]) {
        for (at, piece) in (0u16..).zip(pieces) {
            let flags = if usize::from(at) + 1 < pieces.len() { NEXT } else { 0 };
            self.write_descriptor(table, at, *piece, flags | direction(*piece), at + 1);
        }
        let whole = Piece { address: table, length: pieces.len() as u32 * 16, writable: false };
        self.write_descriptor(self.descriptor, head, whole, INDIRECT, 0);
    }

    /// Publishes what was added, and kicks if the device wants it.
    pub fn publish(&mut self) {
        if self.options.packed {
            return self.publish_packed();
        }
        if self.published == self.available_index {
            return;
        }
        self.memory.store_u16(self.available + 2, self.available_index);
        fence(Ordering::SeqCst);
        if self.wants_kick() {
            self.kick.write(1).unwrap();
        }
        self.published = self.available_index;
    }

    fn wants_kick(&self) -> bool {
        if self.options.event_index {
            let event = self.memory.load_u16(self.used + 4 + 8 * u64::from(self.options.size));
            let since = self.available_index.wrapping_sub(event).wrapping_sub(1);
            since < self.available_index.wrapping_sub(self.published)
        } else {
            self.memory.load_u16(self.used) & NO_NOTIFY == 0
        }
    }

    /// The used index that the device published; of a packed ring the place that it has come to, as SET_VRING_BASE has
    /// it.
    #[must_use]
    pub fn used_index(&self) -> u16 {
        if self.options.packed {
            return self.used_place().bits();
        }
        self.memory.load_u16(self.used + 2)
    }

    /// Whether a chain came back that was not taken yet.
    fn has_used(&self) -> bool {
        if self.options.packed { self.has_used_packed() } else { self.used_index() != self.used_seen }
    }

    /// Takes the next chain that the device gave back.
    pub fn take_used(&mut self) -> Option<Used> {
        if self.options.packed {
            return self.take_used_packed();
        }
        if !self.has_used() {
            return None;
        }
        let slot = u64::from(self.used_seen % self.options.size);
        let id = self.memory.read_u32(self.used + 4 + 8 * slot);
        let length = self.memory.read_u32(self.used + 8 + 8 * slot);
        let pending = self.pending.pop_front().expect("a used entry, though the device had no chain");
        assert_eq!(id, u32::from(pending.head), "chains are used in order (entry {})", self.used_seen);
        self.used_seen = self.used_seen.wrapping_add(1);
        self.free += pending.descriptors;
        Some(Used { token: pending.token, length })
    }

    /// Waits until the device has used a chain, by its call unless the ring is polled; false when `limit` has passed.
    ///
    /// A used entry for which no call comes is a lost notification: it panics.
    pub fn wait_used(&mut self, limit: Duration) -> bool {
        if self.polled {
            return self.poll_used(limit);
        }
        self.arm();
        let deadline = Instant::now() + limit;
        while !self.has_used() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if !readable(&self.call, left.min(CALL_LIMIT)) {
                // Who has used entries just now may be about to call for them.
                let is_lost = left >= CALL_LIMIT && self.has_used() && !readable(&self.call, CALL_LIMIT / 4);
                assert!(!is_lost, "used entries, and no call for them within {CALL_LIMIT:?}");
                continue;
            }
            let _ = self.call.read();
        }
        true
    }

    fn poll_used(&self, limit: Duration) -> bool {
        let start = Instant::now();
        while !self.has_used() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }

    /// Asks for a call at the next used entry.
    fn arm(&self) {
        if self.options.packed {
            self.arm_packed();
        } else if self.options.event_index {
            self.memory.store_u16(self.available + 4 + 2 * u64::from(self.options.size), self.used_seen);
        }
        fence(Ordering::SeqCst);
    }

    /// Tells the device that no calls are wanted at all (in a split ring without EVENT_IDX).
    pub fn refuse_calls(&self) {
        if self.options.packed {
            return self.memory.store_u16(self.available + 2, EVENT_DISABLE);
        }
        self.memory.store_u16(self.available, NO_INTERRUPT);
    }

    /// Starts over as after a reset of the queue: indices at zero, nothing pending. What was pending is forgotten.
    pub fn reset(&mut self) {
        let base = self.descriptor;
        self.memory.write(base, &vec![0; Self::bytes(self.options.size) as usize]);
        (self.available_index, self.published, self.used_seen, self.cursor) = (0, 0, 0, 0);
        self.free = self.options.size;
        self.pending.clear();
        self.laps = Laps::new(self.options.size);
    }
}

fn direction(piece: Piece) -> u16 {
    if piece.writable { WRITE } else { 0 }
}

/// In the table's order where IN_ORDER demands it; else scattered, so that nothing relies on neighbours.
fn descriptor_order(options: RingOptions) -> Vec<u16> {
    let size = u32::from(options.size);
    if options.in_order {
        return (0..options.size).collect();
    }
    // An odd factor is a permutation modulo a power of two.
    (0..size).map(|index| (index.wrapping_mul(2_654_435_769 | 1) % size) as u16).collect()
}

fn eventfd() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

/// Whether `event` becomes readable within `limit`.
#[must_use]
pub fn readable(event: &EventFd, limit: Duration) -> bool {
    use std::os::fd::AsRawFd;
    let mut poll = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit_ms = i32::try_from(limit.as_millis().max(1)).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, alive during the call.
    unsafe { libc::poll(&raw mut poll, 1, limit_ms) == 1 }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Layout;
    use super::*;

    /// The plainest device: takes every available chain and gives it back with `written`.
    struct Device {
        seen: u16,
    }

    impl Device {
        fn serve(&mut self, ring: &Ring, written: u32) -> Vec<Vec<u8>> {
            let size = u64::from(ring.options.size);
            let mut chains = Vec::new();
            while self.seen != ring.memory.load_u16(ring.available + 2) {
                let slot = u64::from(self.seen) % size;
                let head = ring.memory.load_u16(ring.available + 4 + 2 * slot);
                chains.push(Self::walk(ring, ring.descriptor, head));
                let entry = ring.used + 4 + 8 * slot;
                ring.memory.write(entry, &u32::from(head).to_le_bytes());
                ring.memory.write(entry + 4, &written.to_le_bytes());
                self.seen = self.seen.wrapping_add(1);
                ring.memory.store_u16(ring.used + 2, self.seen);
            }
            ring.call.write(1).unwrap();
            chains
        }

        fn walk(ring: &Ring, table: u64, head: u16) -> Vec<u8> {
            let (mut bytes, mut index) = (Vec::new(), head);
            loop {
                let mut raw = [0; 16];
                ring.memory.read(table + 16 * u64::from(index), &mut raw);
                let address = u64::from_le_bytes(raw[..8].try_into().unwrap());
                let length = u32::from_le_bytes(raw[8..12].try_into().unwrap());
                let flags = u16::from_le_bytes([raw[12], raw[13]]);
                if flags & INDIRECT != 0 {
                    return Self::walk(ring, address, 0);
                }
                let from = bytes.len();
                bytes.resize(from + length as usize, 0);
                ring.memory.read(address, &mut bytes[from..]);
                if flags & NEXT == 0 {
                    return bytes;
                }
                index = u16::from_le_bytes([raw[14], raw[15]]);
            }
        }
    }

    fn ring_over(sizes: &[u64], options: RingOptions) -> (Ring, u64) {
        let mut memory = Memory::contiguous(sizes);
        let base = memory.allocate_within_region(Ring::bytes(options.size), 4096);
        let rest = memory.next_page();
        (Ring::new(Arc::new(memory), base, options), rest)
    }

    #[test]
    fn a_plain_device_reads_what_the_driver_made_available_whatever_the_layout() {
        for (event_index, in_order, indirect) in
            [(false, false, false), (true, true, false), (true, false, true)]
        {
            let options = RingOptions { size: 16, event_index, in_order, packed: false };
            let (mut ring, at) = ring_over(&[8192, 4096, 4096], options);
            let layout = Layout { cuts: vec![4, 8, 1, 100], indirect };
            let mut device = Device { seen: 0 };
            for round in 0..70_000_u32 {
                let text: Vec<u8> = (0..900_u32).map(|byte| (byte ^ round) as u8).collect();
                ring.memory.write(at + 3700, &text);
                let table = indirect.then_some(at + 1024);
                assert!(ring.add(&layout.cut(at + 3700, 900, false), table, u64::from(round)));
                ring.publish();
                assert_eq!(device.serve(&ring, 7), [text]);
                assert!(ring.wait_used(Duration::from_secs(1)));
                let used = ring.take_used().unwrap();
                assert_eq!((used.token, used.length), (u64::from(round), 7));
            }
            assert_eq!((ring.free(), ring.pending()), (16, 0));
        }
    }

    #[test]
    #[should_panic(expected = "no call for them")]
    fn a_device_that_forgets_to_call_is_found_out() {
        let options = RingOptions { size: 4, event_index: true, in_order: false, packed: false };
        let (mut ring, at) = ring_over(&[8192], options);
        assert!(ring.add(&[Piece { address: at, length: 14, writable: false }], None, 0));
        ring.publish();
        let waiter = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                let memory = Arc::clone(&ring.memory);
                let used = ring.used;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(100));
                    memory.store_u16(used + 2, 1);
                });
                ring.wait_used(Duration::from_secs(10))
            })
        });
        std::panic::resume_unwind(waiter.join().unwrap_err());
    }
}
