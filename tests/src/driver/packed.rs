//! The driver's side of a packed virtqueue (virtio 1.2, 2.8): what a [`Ring`] does otherwise there.
//!
//! Slot by slot, as the standard's example has it. The parts of a [`Ring`] lie where those of a split one would: the
//! descriptor ring at `descriptor`, the driver's event suppression at `available`, the device's at `used`.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use super::ring::{DESCRIPTOR_BYTES, INDIRECT, NEXT, Pending, Piece, Ring, Used, WRITE};

/// Descriptor flag: available, where it is the driver's wrap counter and USED is not.
pub const AVAIL: u16 = 1 << 7;
/// Descriptor flag: used, where both it and AVAIL are the driver's wrap counter.
pub const USED: u16 = 1 << 15;
/// RING_EVENT_FLAGS_DISABLE.
pub const EVENT_DISABLE: u16 = 1;
/// RING_EVENT_FLAGS_DESC.
pub const EVENT_DESC: u16 = 2;

/// A slot, and in which lap it is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The slot.
    pub slot: u16,
    /// The wrap counter.
    pub wrap: bool,
}

impl Place {
    /// Where both sides begin.
    pub const START: Self = Self { slot: 0, wrap: true };

    /// The place after this one in a ring of `size`.
    #[must_use]
    pub fn next(self, size: u16) -> Self {
        if self.slot + 1 == size {
            Self { slot: 0, wrap: !self.wrap }
        } else {
            Self { slot: self.slot + 1, ..self }
        }
    }

    /// The place `by` slots further on.
    #[must_use]
    pub fn advanced(self, by: u16, size: u16) -> Self {
        (0..by).fold(self, |place, _| place.next(size))
    }

    /// As SET_VRING_BASE and the event suppression structures have it.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.slot | u16::from(self.wrap) << 15
    }

    /// The two flags that make a descriptor in this place available.
    #[must_use]
    pub fn available(self) -> u16 {
        if self.wrap { AVAIL } else { USED }
    }
}

/// How far both sides are.
#[derive(Debug)]
pub(super) struct Laps {
    /// Where the next descriptor goes.
    next: Place,
    /// Up to where descriptors were published.
    published: Place,
    /// Where the next used descriptor is expected.
    used: Place,
    /// The flags of the first descriptor that is not published yet, and where they belong.
    held: Option<(u64, u16)>,
    /// Buffer ids that are free.
    ids: VecDeque<u16>,
    /// Chains that the last used descriptor spoke for, and that were not taken yet (virtio 1.2, 2.8.8).
    spoken_for: usize,
}

impl Laps {
    /// An empty ring of `size`; ids in any order, so that none is its slot by chance.
    pub(super) fn new(size: u16) -> Self {
        let (next, published, used) = (Place::START, Place::START, Place::START);
        Self { next, published, used, held: None, ids: (0..size).rev().collect(), spoken_for: 0 }
    }
}

impl Ring {
    fn slot(&self, slot: u16) -> u64 {
        self.descriptor + DESCRIPTOR_BYTES * u64::from(slot)
    }

    /// Where a packed ring's next descriptor goes.
    #[must_use]
    pub fn next_place(&self) -> Place {
        self.laps.next
    }

    /// Writes a descriptor of a packed ring but for its flags; gives their address.
    fn write_slot(&self, at: u64, piece: Piece, id: u16) -> u64 {
        self.memory.write(at, &piece.address.to_le_bytes());
        self.memory.write(at + 8, &piece.length.to_le_bytes());
        self.memory.write(at + 12, &id.to_le_bytes());
        at + 14
    }

    /// Puts a descriptor into the next slot behind the driver's back, visible at once; `flags` are turned over against
    /// those that make it available.
    pub fn put_raw(&mut self, piece: Piece, id: u16, flags: u16) {
        let place = self.laps.next;
        let at = self.write_slot(self.slot(place.slot), piece, id);
        self.memory.store_u16(at, flags ^ place.available());
        self.laps.next = place.next(self.options.size);
    }

    /// Whether the device has used the descriptor in `place`.
    #[must_use]
    pub fn is_used(&self, place: Place) -> bool {
        let flags = self.memory.load_u16(self.slot(place.slot) + 14);
        (flags & USED != 0) == place.wrap && (flags & AVAIL != 0) == place.wrap
    }

    /// Id and length of the used descriptor in `place`.
    #[must_use]
    pub fn used_in(&self, place: Place) -> (u16, u32) {
        let at = self.slot(place.slot);
        let written = self.memory.load_u16(at + 14) & WRITE != 0;
        (self.memory.load_u16(at + 12), if written { self.memory.read_u32(at + 8) } else { 0 })
    }

    /// As [`Ring::add`], once there is room.
    pub(super) fn add_packed(&mut self, pieces: &[Piece], indirect: Option<u64>, token: u64) {
        let (size, first) = (self.options.size, self.laps.next);
        let id = if self.options.in_order { Some(first.slot) } else { self.laps.ids.pop_front() }
            .expect("a free id");
        let whole = indirect.map(|table| {
            for (at, piece) in (0..).zip(pieces) {
                let flags = self.write_slot(table + DESCRIPTOR_BYTES * at, *piece, 0xdead);
                self.memory.store_u16(flags, direction(*piece));
            }
            Piece { address: table, length: pieces.len() as u32 * 16, writable: false }
        });
        let chain = whole.as_ref().map_or(pieces, std::slice::from_ref);
        let mut flags = Vec::new();
        for (number, piece) in chain.iter().enumerate() {
            let place = self.laps.next;
            let last = number + 1 == chain.len();
            // Only the last descriptor's id counts (virtio 1.2, 2.8.6).
            let at = self.write_slot(self.slot(place.slot), *piece, if last { id } else { 0xbeef });
            let kind = if whole.is_some() { INDIRECT } else { direction(*piece) };
            flags.push((at, kind | if last { 0 } else { NEXT } | place.available()));
            self.laps.next = place.next(size);
        }
        // The first one last, so that the chain is there as a whole; the first of all when it is published.
        for (at, flags) in flags.drain(1..).rev() {
            self.memory.store_u16(at, flags);
        }
        match self.laps.held {
            Some(_) => self.memory.store_u16(flags[0].0, flags[0].1),
            None => self.laps.held = Some(flags[0]),
        }
        self.pending.push_back(Pending { head: id, descriptors: chain.len() as u16, token });
    }

    /// As [`Ring::publish`].
    pub(super) fn publish_packed(&mut self) {
        let Some((at, flags)) = self.laps.held.take() else { return };
        self.memory.store_u16(at, flags);
        fence(Ordering::SeqCst);
        if self.device_wants_kick() {
            self.kick.write(1).unwrap();
        }
        self.laps.published = self.laps.next;
    }

    /// Whether the device asked for a kick for something from the last place that was published to the next one.
    fn device_wants_kick(&self) -> bool {
        match self.memory.load_u16(self.used + 2) & 3 {
            EVENT_DISABLE => false,
            EVENT_DESC => {
                let event = self.memory.load_u16(self.used);
                let mut place = self.laps.published;
                while place != self.laps.next {
                    if place.bits() == event {
                        return true;
                    }
                    place = place.next(self.options.size);
                }
                false
            }
            _ => true,
        }
    }

    /// Where the device stands, by what it has shown as used.
    pub(super) fn used_place(&self) -> Place {
        let (mut place, mut at) = (self.laps.used, 0);
        let mut spoken_for = self.laps.spoken_for;
        while at < self.pending.len() {
            if spoken_for == 0 {
                if !self.is_used(place) {
                    break;
                }
                let id = self.used_in(place).0;
                let found = self.pending.iter().skip(at).position(|pending| pending.head == id);
                spoken_for = found.expect("a used descriptor has the id of a chain") + 1;
            }
            place = place.advanced(self.pending[at].descriptors, self.options.size);
            (at, spoken_for) = (at + 1, spoken_for - 1);
        }
        place
    }

    /// Whether there is something for [`Ring::take_used`].
    pub(super) fn has_used_packed(&self) -> bool {
        self.laps.spoken_for > 0 || !self.pending.is_empty() && self.is_used(self.laps.used)
    }

    /// As [`Ring::take_used`].
    pub(super) fn take_used_packed(&mut self) -> Option<Used> {
        if !self.has_used_packed() {
            return None;
        }
        let mut length = 0;
        if self.laps.spoken_for == 0 {
            let id;
            (id, length) = self.used_in(self.laps.used);
            let found = self.pending.iter().position(|pending| pending.head == id);
            let ahead = found.unwrap_or_else(|| panic!("a used descriptor with id {id}, which no chain has"));
            assert!(ahead == 0 || self.options.in_order, "chains are used in order: {ahead} were left out");
            assert!(ahead == 0 || length == 0, "what was written to chains is told for each of them");
            self.laps.spoken_for = ahead + 1;
        }
        let pending = self.pending.pop_front()?;
        self.laps.spoken_for -= 1;
        self.laps.used = self.laps.used.advanced(pending.descriptors, self.options.size);
        self.laps.ids.push_back(pending.head);
        self.free += pending.descriptors;
        Some(Used { token: pending.token, length })
    }

    /// Asks for a call at the next used descriptor.
    pub(super) fn arm_packed(&self) {
        if self.options.event_index {
            self.memory.store_u16(self.available, self.laps.used.bits());
            self.memory.store_u16(self.available + 2, EVENT_DESC);
        }
    }
}

fn direction(piece: Piece) -> u16 {
    if piece.writable { WRITE } else { 0 }
}
