//! Chains that were given back and that the driver does not see yet.

use crate::ring::CHAIN_MAX;

/// Entries for a ring: two frames in the most buffers.
const ENTRIES_MAX: usize = 2 * CHAIN_MAX;

/// One used descriptor to be written: its second word (length, buffer id, flags) and its slot.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) word: u64,
    pub(super) slot: u64,
}

/// The entries that wait.
pub(super) struct Shadow {
    entries: Vec<Entry>,
}

impl Shadow {
    /// Room for what a ring of `size` slots can have waiting.
    pub(super) fn new(size: u16) -> Self {
        Self { entries: Vec::with_capacity(usize::from(size).min(ENTRIES_MAX)) }
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() < self.entries.capacity() {
            self.entries.push(entry);
        }
    }

    /// Whether `count` more find room, or all that there can be.
    pub(super) fn has_room(&self, count: usize, size: u16) -> bool {
        self.entries.len() + count <= self.entries.capacity() || usize::from(size) <= self.entries.capacity()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
