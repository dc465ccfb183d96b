//! How a packed ring goes on after the process that served it was killed.

use std::sync::atomic::Ordering;

use super::cursor::Cursor;
use super::event::Wish;
use super::{AVAIL, Entry, Packed, USED};
use crate::ring::layout::Common;
use crate::ring::ledger::{Identity, Note, Page};

impl Packed {
    /// Keeps notes in `page` from now on. If they tell of this ring, and the ring agrees, it goes on where they say
    /// instead of where the frontend believes.
    ///
    /// A driver that begins anew, because the guest was reset, or DPDK's at each connection, zeroes all parts of the
    /// ring, the device area among them. We never leave that zero: so a ring of before is told from a new one.
    pub(in crate::ring) fn keep_notes(&mut self, common: &Common, page: Page, identity: &Identity) {
        let known = page.read(identity).filter(|_| self.device.is_in_use());
        let place = known.and_then(|(note, entries)| self.resumed(common, note, &entries));
        let (end, last) = place.unwrap_or((self.used, self.used));
        (self.used, self.taken, self.last) = (end, end, last.bits());
        page.begin(identity, Note { start: end.bits(), count: 0, end: end.bits(), last: self.last });
        if !self.device.is_in_use() {
            self.ask(common, Wish::All);
        }
        self.page = Some(page);
    }

    /// Where the ring goes on and where its last used descriptor stands, if it agrees with the note. What was announced
    /// and has not all been written is written then.
    fn resumed(&mut self, common: &Common, note: Note, entries: &[Entry]) -> Option<(Cursor, Cursor)> {
        let places = [note.start, note.end, note.last].map(Cursor::from_bits);
        let inside = places.iter().all(|place| place.index < self.size)
            && entries.iter().all(|entry| entry.slot < u64::from(self.size));
        let [start, end, before] = inside.then_some(places)?;
        let Some(newest) = entries.last() else {
            return self.agrees(end, before).then_some((end, before));
        };
        let last = newest.place();
        if self.available(start).is_none() {
            // The first one, which is written last, is there, and the driver may have gone on.
            return self.agrees(end, last).then_some((end, last));
        }
        let covered = entries.iter().any(|entry| entry.place().index == before.index);
        let place = (covered || self.agrees(start, before)).then_some((end, last));
        if place.is_some() {
            self.show_again(common, entries);
        }
        place
    }

    /// Writes used descriptors that were about to be written.
    fn show_again(&mut self, common: &Common, entries: &[Entry]) {
        entries.iter().for_each(|entry| self.shadow.push(*entry));
        self.write_all();
        if common.log.is_some() {
            self.log_slots(common);
        }
        self.shadow.clear();
        // The driver may sleep: it is owed a notification, which comes with the first frames.
        self.owed = true;
    }

    /// Whether the ring can have come as far as `end`, with its last used descriptor at `last`, and was not begun anew
    /// since.
    ///
    /// The last used descriptor is in its lap, or was offered for the next one: both have the same USED. The next slot
    /// is not used in its own lap. If it has the flags that it was offered with a lap ago, it was skipped then, as a later
    /// one of a chain, and nothing was offered since, so that the last used descriptor still stands where it was
    /// written; in a new ring the slot was offered for the first time, and those before it too.
    fn agrees(&self, end: Cursor, last: Cursor) -> bool {
        let [at_end, at_last] = [end, last].map(|place| self.flags(place));
        let as_far = at_last & USED == 0
            && match at_end {
                0 => false,
                AVAIL => at_last & AVAIL == 0,
                _ => true,
            };
        as_far || end == self.used
    }

    /// AVAIL and USED of a slot where they are not as in a descriptor that was used in this lap.
    fn flags(&self, place: Cursor) -> u64 {
        (self.word(place.index).load(Ordering::Acquire) ^ place.lap) & (AVAIL | USED)
    }
}
