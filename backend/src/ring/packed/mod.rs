//! The packed layout: one ring of descriptors that both sides write (virtio 1.2, 2.8).
//!
//! ```text
//!   slots    | used | used | taken | taken | available | available | used a lap ago |
//!                          ^ used          ^ taken                 ^ the driver's next
//! ```
//!
//! Whose a slot is, its two flags say, which both sides flip from lap to lap. A chain takes as many slots as it has
//! descriptors and is given back by one used descriptor in its first slot; the others are skipped. Used descriptors
//! wait in a shadow until all effects of a burst are done; then the first of them is written last, so that the driver,
//! which goes through them in order, sees all at once.

mod cursor;
mod event;
mod resume;
mod shadow;
mod walk;

#[cfg(test)]
mod oracle;

use std::sync::atomic::{AtomicU64, Ordering, fence};

use virtio_bindings::virtio_config::VIRTIO_F_IN_ORDER;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use self::cursor::Cursor;
use self::event::{EVENT_LEN, Event, Wish};
use self::shadow::Shadow;
pub(super) use self::shadow::{ENTRIES_MAX as SHADOW_ENTRIES, Entry};
use self::walk::id_of;
use super::RingError;
use super::chain::{Descriptor, Direction};
use super::layout::{Common, Ready, RingLog, find_part};
use super::ledger::{Note, Page};
use crate::dataplane::RingSetup;

/// Bytes of one descriptor (virtio 1.2, 2.8.13).
const DESCRIPTOR_LEN: u64 = 16;
/// Most descriptors of a ring (virtio 1.2, 2.8.10.1).
const SIZE_MAX: u16 = 32_768;
/// VIRTQ_DESC_F_AVAIL, in the word of length, buffer id and flags.
const AVAIL: u64 = 1 << (48 + 7);
/// VIRTQ_DESC_F_USED.
const USED: u64 = 1 << (48 + 15);
/// VIRTQ_DESC_F_WRITE: in a used descriptor it says that the device wrote, and that the length counts.
const WRITTEN: u64 = (VRING_DESC_F_WRITE as u64) << 48;

/// A packed ring in guest memory and our own view of it.
pub(super) struct Packed {
    descriptors: *mut u64,
    driver: Event,
    device: Event,
    size: u16,
    event_index: bool,
    in_order: bool,
    /// Where the next chain is taken from.
    taken: Cursor,
    /// Where the next chain is given back.
    used: Cursor,
    /// Slots from `used` to `taken`.
    outstanding: u16,
    /// Slots after `taken` that were seen to be available.
    known: u16,
    /// What is given back and not published.
    shadow: Shadow,
    /// Slots from `used` to the end of what is in the shadow.
    waiting: u16,
    /// The driver is owed a notification: for what had to be published early, or for what was published by a process
    /// that was killed before it could tell.
    owed: bool,
    /// Where the last used descriptor stands.
    last: u16,
    /// Where is noted how far the ring has come.
    page: Option<Page>,
}

// SAFETY: the pointers lead into mappings that the `Common` beside it keeps alive; one thread at a time uses a ring.
unsafe impl Send for Packed {}

impl Packed {
    /// A ring that goes on where `setup` says.
    pub(super) fn new(setup: &RingSetup, common: &Common, features: u64) -> Result<Self, RingError> {
        let size = setup.size;
        if size == 0 || size > SIZE_MAX {
            return Err(RingError::BadSize(size));
        }
        let part = |part, address, len, align| find_part(&common.memory, part, address, len, align);
        let ring = part("descriptor ring", setup.descriptor, DESCRIPTOR_LEN * u64::from(size), 16)?;
        let driver = part("driver area", setup.available, EVENT_LEN, 4)?;
        let device = part("device area", setup.used, EVENT_LEN, 4)?;
        let start = Cursor::from_bits(setup.base);
        if start.index >= size {
            return Err(RingError::BadPosition { index: start.index, size });
        }
        Ok(Self {
            descriptors: ring.cast(),
            // SAFETY: mapped as long as `common`, aligned, and used through `Event` alone.
            driver: unsafe { Event::at(driver) },
            // SAFETY: as above.
            device: unsafe { Event::at(device) },
            size,
            event_index: features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0,
            in_order: features & (1 << VIRTIO_F_IN_ORDER) != 0,
            taken: start,
            used: start,
            outstanding: 0,
            known: 0,
            shadow: Shadow::new(size),
            waiting: 0,
            owed: true,
            last: setup.base,
            page: None,
        })
    }

    /// Where the ring may be started again: the slot, and the wrap counter in bit 15.
    pub(super) fn position(&self) -> u16 {
        self.used.bits()
    }

    /// Where the next chain is taken from, in the same form.
    pub(super) fn taken(&self) -> u16 {
        self.taken.bits()
    }

    /// Slots that can be available at most: those that we have are not.
    fn room(&self) -> u16 {
        self.size - self.outstanding
    }

    /// The place `ahead` slots after the next one to be taken.
    #[inline]
    fn place(&self, ahead: u16) -> Cursor {
        self.taken.advanced(ahead, self.size)
    }

    /// Length, buffer id and flags of a slot: one word, read and written at once.
    #[inline]
    fn word(&self, index: u16) -> &AtomicU64 {
        // SAFETY: index < size, so that both words of the slot are inside of the area that was checked, which lives as
        // long as the ring and is aligned to eight bytes.
        unsafe { AtomicU64::from_ptr(self.descriptors.add(2 * usize::from(index) + 1)) }
    }

    /// The descriptor in a slot, if the driver has made it available (virtio 1.2, 2.8.1): read once, the flags first and
    /// the rest after them.
    #[inline]
    fn available(&self, place: Cursor) -> Option<[u64; 2]> {
        let word = self.word(place.index).load(Ordering::Acquire);
        // AVAIL is the place's wrap counter, and USED is not.
        if (word ^ place.lap) & (AVAIL | USED) != USED {
            return None;
        }
        // SAFETY: as in `word`; the first word of the same slot.
        let address = unsafe { self.descriptors.add(2 * usize::from(place.index)).read_volatile() };
        Some([address, word])
    }

    /// Looks at the next chains up to the first one of several descriptors, and has their memory fetched; gives how
    /// many there are.
    #[inline]
    pub(super) fn look_ahead(
        &mut self,
        common: &mut Common,
        direction: Direction,
        header_len: usize,
        ready: &mut [Ready],
    ) -> usize {
        let most = ready.len().min(usize::from(self.room()));
        let (mut at, mut count) = (self.taken, 0);
        for ready in ready.iter_mut().take(most) {
            let Some(words) = self.available(at) else { break };
            let descriptor = Descriptor::packed(words);
            ready.head = id_of(words);
            ready.slots = slots_of(descriptor);
            ready.look(common, descriptor, direction, header_len);
            at.step(1, self.size);
            count += 1;
            if ready.slots == 0 {
                break;
            }
        }
        self.known = self.known.max(count);
        usize::from(count)
    }

    /// The chain that begins `ahead` slots after the next one, if the driver has made it available.
    pub(super) fn peek(&mut self, ahead: u16) -> Option<Ready> {
        if ahead >= self.room() {
            return None;
        }
        let words = self.available(self.place(ahead))?;
        self.known = self.known.max(ahead + 1);
        Some(ready_at(words))
    }

    /// Takes the next `slots` slots.
    #[inline]
    pub(super) fn take(&mut self, slots: u16) {
        self.taken = self.place(slots);
        self.outstanding += slots;
        self.known = self.known.saturating_sub(slots);
    }

    /// Takes the next chain, of `slots` slots, and puts it among those to be given back: everything before it is there.
    #[inline]
    pub(super) fn use_next(&mut self, id: u16, slots: u16, written: u32) {
        self.put_used(self.taken, id, slots, written);
        self.take(slots);
    }

    /// Puts a chain of `slots` slots, the first of them in `place`, among those to be given back.
    #[inline]
    fn put_used(&mut self, place: Cursor, id: u16, slots: u16, written: u32) {
        self.shadow.push(used_entry(place, id, written));
        self.waiting += slots;
    }

    /// Makes sure that the shadow has room for `count` more, by publishing what is in it.
    pub(super) fn make_room(&mut self, common: &Common, count: usize) {
        if !self.shadow.has_room(count, self.size) {
            self.owed = self.publish(common);
        }
    }

    /// Gives back chains that were only read, in order; says whether the driver wants to be notified.
    ///
    /// Where buffers are used in order, one used descriptor speaks for all of them: it has the last one's id and stands
    /// where the first one's would (virtio 1.2, 2.8.8). Received frames need theirs each, for their lengths.
    pub(super) fn complete(&mut self, common: &Common, chains: &[Ready]) -> bool {
        let mut place = self.used;
        match chains.last() {
            Some(last) if self.in_order => {
                self.put_used(place, last.head, chains.iter().map(|chain| chain.slots).sum(), 0);
            }
            _ => {
                for (entry, chain) in self.shadow.take(chains.len()).iter_mut().zip(chains) {
                    *entry = used_entry(place, chain.head, 0);
                    place.step(chain.slots, self.size);
                    self.waiting += chain.slots;
                }
            }
        }
        self.publish(common)
    }

    /// Shows the driver all that was given back, at once; says whether it wants to be notified.
    #[inline]
    pub(super) fn publish(&mut self, common: &Common) -> bool {
        let entries = self.shadow.entries();
        let Some(last) = entries.last() else { return false };
        let before = self.used;
        self.used = before.advanced(self.waiting, self.size);
        if let Some(page) = &self.page {
            let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
            let note = Note { start: before.bits(), count, end: self.used.bits(), last: self.last };
            self.last = last.place().bits();
            page.announce(note, entries);
            self.write_all();
            page.done(note, self.last);
        } else {
            self.write_all();
        }
        if common.log.is_some() {
            self.log_slots(common);
        }
        self.outstanding -= self.waiting;
        let slots = std::mem::take(&mut self.waiting);
        self.shadow.clear();
        // The flags must be visible before we look whether the driver sleeps (virtio 1.2, 2.8.14 and 2.8.22).
        fence(Ordering::SeqCst);
        std::mem::take(&mut self.owed) | self.wants_notification(before, slots)
    }

    /// Writes all that is in the shadow, the first of it last.
    #[inline]
    fn write_all(&self) {
        let Some((first, others)) = self.shadow.entries().split_first() else { return };
        for entry in others {
            self.write(*entry, Ordering::Relaxed);
        }
        self.write(*first, Ordering::Release);
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a slot has 16 bits")]
    fn write(&self, entry: Entry, order: Ordering) {
        // A slot of ours, below the ring's size: nothing is cut off.
        self.word(entry.slot as u16).store(entry.word, order);
    }

    /// Whether the driver wants to know of the `slots` slots from `before` on.
    fn wants_notification(&self, before: Cursor, slots: u16) -> bool {
        match self.driver.read(self.event_index) {
            Wish::All => true,
            Wish::Nothing => false,
            Wish::Slot(place) => before.distance_to(place, self.size) < u32::from(slots),
        }
    }

    /// Notes the slots that were written to.
    fn log_slots(&self, common: &Common) {
        let Some(RingLog { log, used: Some(_) }) = &common.log else { return };
        let Some(ring) = common.memory.guest_address(self.descriptors.cast()) else { return };
        for entry in self.shadow.entries() {
            log.mark(ring + entry.slot * DESCRIPTOR_LEN, DESCRIPTOR_LEN);
        }
    }

    fn ask(&self, common: &Common, wish: Wish) {
        self.device.write(wish);
        if let Some(RingLog { log, used: Some(address) }) = &common.log {
            log.mark(*address, EVENT_LEN);
        }
    }

    /// Asks the driver for kicks; says whether chains came in meanwhile, so that nobody would kick for them.
    pub(super) fn arm(&mut self, common: &Common) -> bool {
        let next = self.place(self.known.min(self.room()));
        self.ask(common, if self.event_index { Wish::Slot(next) } else { Wish::All });
        // Our wish must be visible before we look once more (virtio 1.2, 2.8.21.3).
        fence(Ordering::SeqCst);
        self.peek(self.known).is_some()
    }

    /// Asks the driver not to kick. Needed with EVENT_IDX as well: a slot that was named comes around again, and some
    /// drivers take any named slot for a wish for everything.
    pub(super) fn disarm(&mut self, common: &Common) {
        self.ask(common, Wish::Nothing);
    }
}

/// The chain that begins with this descriptor; the slots of one with several are not counted yet.
#[inline]
fn ready_at(words: [u64; 2]) -> Ready {
    let descriptor = Descriptor::packed(words);
    Ready { head: id_of(words), slots: slots_of(descriptor), descriptor, whole: None }
}

/// The used descriptor for the chain in `place`: both flags are the wrap counter.
#[inline]
fn used_entry(place: Cursor, id: u16, written: u32) -> Entry {
    let flags = place.lap | if written > 0 { WRITTEN } else { 0 };
    Entry { word: u64::from(written) | u64::from(id) << 32 | flags, slot: u64::from(place.index) }
}

#[inline]
fn slots_of(first: Descriptor) -> u16 {
    if first.has(VRING_DESC_F_NEXT) { 0 } else { 1 }
}
