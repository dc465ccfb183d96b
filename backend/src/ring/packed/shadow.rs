//! Chains that were given back and that the driver does not see yet.

use super::cursor::Cursor;
use super::{AVAIL, USED};
use crate::ring::CHAIN_MAX;

/// Entries for a ring: two frames in the most buffers.
pub(in crate::ring) const ENTRIES_MAX: usize = 2 * CHAIN_MAX;

/// One used descriptor to be written: its second word (length, buffer id, flags) and its slot.
#[derive(Clone, Copy, Default)]
pub(in crate::ring) struct Entry {
    pub(in crate::ring) word: u64,
    pub(in crate::ring) slot: u64,
}

impl Entry {
    /// Where it stands.
    pub(super) fn place(&self) -> Cursor {
        let lap = if self.word & USED != 0 { AVAIL | USED } else { 0 };
        Cursor { index: u16::try_from(self.slot).unwrap_or(0), lap }
    }
}

/// The entries that wait.
pub(super) struct Shadow {
    room: Box<[Entry]>,
    len: usize,
}

impl Shadow {
    /// Room for what a ring of `size` slots can have waiting.
    pub(super) fn new(size: u16) -> Self {
        Self { room: vec![Entry::default(); usize::from(size).min(ENTRIES_MAX)].into(), len: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if let Some(place) = self.room.get_mut(self.len) {
            *place = entry;
            self.len += 1;
        }
    }

    /// The places of the next `count` entries, or of as many as find room; they count as written.
    pub(super) fn take(&mut self, count: usize) -> &mut [Entry] {
        let from = self.len;
        self.len = self.room.len().min(from + count);
        self.room.get_mut(from..self.len).unwrap_or_default()
    }

    /// Whether `count` more find room, or all that there can be.
    pub(super) fn has_room(&self, count: usize, size: u16) -> bool {
        self.len + count <= self.room.len() || usize::from(size) <= self.room.len()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        self.room.get(..self.len).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}
