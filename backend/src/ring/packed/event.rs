//! The event suppression structures: who wants to be told of what (virtio 1.2, 2.8.14).

use std::sync::atomic::{AtomicU32, Ordering};

use super::cursor::Cursor;

/// Bytes of the structure.
pub(super) const EVENT_LEN: u64 = 4;

/// RING_EVENT_FLAGS_ENABLE.
const ENABLE: u32 = 0;
/// RING_EVENT_FLAGS_DISABLE.
const DISABLE: u32 = 1;
/// RING_EVENT_FLAGS_DESC.
const DESC: u32 = 2;
/// The bits of the flags; the others are reserved.
const FLAGS: u32 = 3;

/// Of what one side wants to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// Of everything.
    All,
    /// Of nothing.
    Nothing,
    /// Of what happens to one slot.
    Slot(Cursor),
}

/// One event suppression structure in the guest's memory.
pub(super) struct Event {
    place: *mut u32,
}

impl Event {
    /// # Safety
    /// `place` must be aligned to four bytes, mapped for as long as this lives, and only used atomically.
    pub(super) unsafe fn at(place: *mut u8) -> Self {
        Self { place: place.cast() }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: as the caller of `at` promised.
        unsafe { AtomicU32::from_ptr(self.place) }
    }

    /// What the other side asks for; both fields are read at once. A slot is only named where EVENT_IDX was
    /// negotiated; reserved flags count as a wish for everything.
    #[expect(clippy::cast_possible_truncation, reason = "the field is cut out of the word")]
    pub(super) fn read(&self, event_index: bool) -> Wish {
        let word = u32::from_le(self.word().load(Ordering::Relaxed));
        match (word >> 16) & FLAGS {
            DISABLE => Wish::Nothing,
            DESC if event_index => Wish::Slot(Cursor::from_bits(word as u16)),
            _ => Wish::All,
        }
    }

    /// Whether we have written anything since the driver made the ring: memory of zeros.
    pub(super) fn is_in_use(&self) -> bool {
        self.word().load(Ordering::Relaxed) != 0
    }

    /// Says what we ask for; both fields are written at once.
    pub(super) fn write(&self, wish: Wish) {
        let word = match wish {
            // The place does not count; it is there so that the word is never zero.
            Wish::All => ENABLE << 16 | u32::from(u16::MAX),
            Wish::Nothing => DISABLE << 16,
            Wish::Slot(place) => DESC << 16 | u32::from(place.bits()),
        };
        self.word().store(word.to_le(), Ordering::Relaxed);
    }
}
