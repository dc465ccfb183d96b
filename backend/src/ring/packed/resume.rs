//! How a packed ring goes on after the process that served it was killed.

use std::sync::atomic::Ordering;

use super::cursor::Cursor;
use super::{AVAIL, Packed, USED};
use crate::ring::layout::Common;
use crate::ring::ledger::{Identity, Note, Page};

impl Packed {
    /// Keeps notes in `page` from now on. If they tell of this ring, and the ring agrees, it goes on where they say
    /// instead of where the frontend believes.
    pub(in crate::ring) fn keep_notes(&mut self, common: &Common, page: Page, identity: &Identity) {
        let place = page.read(identity).and_then(|(note, entries)| {
            if note.count > 0 && entries.iter().all(|entry| entry.slot < u64::from(self.size)) {
                self.show_again(common, Cursor::from_bits(note.start), &entries);
            }
            self.agrees(note).then_some(note)
        });
        let start = self.used.bits();
        let note = place.unwrap_or(Note { start, count: 0, end: start, last: start });
        (self.used, self.taken) = (Cursor::from_bits(note.end), Cursor::from_bits(note.end));
        self.last = note.last;
        page.begin(identity, Note { start: note.end, count: 0, ..note });
        self.page = Some(page);
    }

    /// Writes used descriptors that were about to be written, unless the driver has seen them: then the first one, which
    /// is written last, is no longer available.
    fn show_again(&mut self, common: &Common, start: Cursor, entries: &[super::Entry]) {
        if start.index >= self.size || self.available(start).is_none() {
            return;
        }
        entries.iter().for_each(|entry| self.shadow.push(*entry));
        self.write_all();
        if common.log.is_some() {
            self.log_slots(common);
        }
        self.shadow.clear();
        // The driver may sleep: it is owed a notification, which comes with the first frames.
        self.owed = true;
    }

    /// Whether the ring can have come as far as `note` says, and was not begun anew since, all zero.
    ///
    /// The last used descriptor is in its lap, or was offered for the next one: both have the same USED. The next slot
    /// is not used in its own lap. If it has the flags that it was offered with a lap ago, it was skipped then, as a later
    /// one of a chain, and nothing was offered since, so that the last used descriptor still stands where it was
    /// written; in a new ring the slot was offered for the first time, and those before it too.
    fn agrees(&self, note: Note) -> bool {
        let (end, last) = (Cursor::from_bits(note.end), Cursor::from_bits(note.last));
        if end.index >= self.size || last.index >= self.size {
            return false;
        }
        let (available, used) = self.flags(end.index);
        let (last_available, last_used) = self.flags(last.index);
        let as_far = last_used == last.wrap
            && match (available == end.wrap, used == end.wrap) {
                (true, true) => false,
                (false, true) => last_available == last.wrap,
                (_, false) => true,
            };
        as_far || end == self.used
    }

    /// AVAIL and USED of a slot.
    fn flags(&self, index: u16) -> (bool, bool) {
        let word = self.word(index).load(Ordering::Acquire);
        (word & AVAIL != 0, word & USED != 0)
    }
}
