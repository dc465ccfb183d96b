//! The split layout: where its three parts lie, how far both sides have come, and who wants to be told.

use std::sync::atomic::{AtomicU16, Ordering, fence};

use virtio_bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY,
};

use super::RingError;
use super::chain::{Descriptor, Direction};
use super::copy::write_if_different;
use super::layout::{Common, Ready, RingLog, find_part};
use crate::dataplane::RingSetup;
use crate::memory::Segment;

/// Bytes of one descriptor (virtio 1.2, 2.7.5).
const DESCRIPTOR_LEN: u64 = 16;

/// Used entries of eight bytes that share a cache line.
const ENTRIES_OF_A_LINE: usize = 8;

/// A split ring: three areas in guest memory and our own view of both indices.
///
/// Entries are completed in the order in which they were made available, so one number counts both what was
/// taken and what will be given back.
pub(super) struct Split {
    descriptors: *const u64,
    available: *const u16,
    used: *mut u16,
    mask: u16,
    event_index: bool,
    /// Entries taken from the available ring.
    pub(super) taken: u16,
    /// The driver's available index as it was last read.
    seen: u16,
    /// Entries put into the used ring and published.
    published: u16,
    /// The published index at the last notification; `None` before the first one.
    notified: Option<u16>,
}

// SAFETY: the pointers lead into mappings that the `Common` beside it keeps alive; one thread at a time uses a ring.
unsafe impl Send for Split {}

impl Split {
    /// A ring that goes on where `setup` says.
    pub(super) fn new(setup: &RingSetup, common: &Common, features: u64) -> Result<Self, RingError> {
        let size = setup.size;
        if !size.is_power_of_two() || size > 32_768 {
            return Err(RingError::BadSize(size));
        }
        let entries = u64::from(size);
        let part = |part, address, len, align| find_part(&common.memory, part, address, len, align);
        // The rings have one more word, for the event index (virtio 1.2, 2.7.6 and 2.7.8).
        let descriptors = part("descriptor table", setup.descriptor, DESCRIPTOR_LEN * entries, 16)?;
        let available = part("available ring", setup.available, 6 + 2 * entries, 2)?;
        let used = part("used ring", setup.used, 6 + 8 * entries, 4)?;
        let mut ring = Self {
            descriptors: descriptors.cast(),
            available: available.cast(),
            used: used.cast(),
            mask: size - 1,
            event_index: features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0,
            taken: setup.base,
            seen: setup.base,
            published: setup.base,
            notified: None,
        };
        if setup.base == 0 {
            ring.begin_at_used_index();
        }
        Ok(ring)
    }

    /// DPDK's driver says 0 when it goes on with rings whose switch was killed. A driver's new ring is zero
    /// (virtio 1.2, 4.1.5.1.3), so that its used index tells the same; and in one that is not new, the truth.
    fn begin_at_used_index(&mut self) {
        let place = self.used_index().load(Ordering::Acquire);
        (self.taken, self.seen, self.published) = (place, place, place);
    }

    /// Notes that the used ring was written to: all of it, since it has few pages.
    fn log_used(&self, common: &Common) {
        let Some(RingLog { log, used: Some(address) }) = &common.log else { return };
        log.mark(*address, 6 + 8 * u64::from(self.size()));
    }

    pub(super) fn size(&self) -> u16 {
        self.mask.wrapping_add(1)
    }

    /// Entries consumed and completed so far: where the ring may be started again.
    pub(super) fn position(&self) -> u16 {
        self.published
    }

    /// Looks at the next chains, as many as `ready` holds, and has what they name fetched meanwhile; gives how many
    /// there are.
    #[inline]
    pub(super) fn look_ahead(
        &mut self,
        common: &mut Common,
        direction: Direction,
        header_len: usize,
        ready: &mut [Ready],
    ) -> Result<usize, RingError> {
        let most = u16::try_from(ready.len()).unwrap_or(u16::MAX);
        // A receiver is told how many frames come; a sender's index is read again when all known ones are done.
        let wanted = if direction == Direction::Write { most } else { 1 };
        let count = self.available(wanted)?.min(most);
        for (ahead, ready) in (0..count).zip(&mut *ready) {
            ready.head = self.head(ahead)?;
            self.prefetch(ready.head);
        }
        for ready in ready.iter_mut().take(usize::from(count)) {
            ready.look(common, Descriptor::new(self.descriptor(ready.head)), direction, header_len);
        }
        if direction == Direction::Write {
            self.prefetch_used(count);
        }
        Ok(usize::from(count))
    }

    /// The chain that comes `ahead` entries after the next one, if the driver has made it available.
    pub(super) fn peek(&mut self, ahead: u16) -> Result<Option<Ready>, RingError> {
        if self.available(ahead.saturating_add(1))? <= ahead {
            return Ok(None);
        }
        let head = self.head(ahead)?;
        Ok(Some(Ready { head, descriptor: Descriptor::new(self.descriptor(head)), ..Ready::default() }))
    }

    /// How many entries can be taken. The index is only read again when fewer than `wanted` are known.
    #[inline]
    fn available(&mut self, wanted: u16) -> Result<u16, RingError> {
        let known = self.seen.wrapping_sub(self.taken);
        if known >= wanted {
            return Ok(known);
        }
        // SAFETY: word 1 of the available ring, which is mapped and aligned; the driver writes it atomically.
        let index = unsafe { AtomicU16::from_ptr(self.available.add(1).cast_mut()) };
        let found = index.load(Ordering::Acquire);
        let ahead = found.wrapping_sub(self.taken);
        if ahead > self.size() || ahead < known {
            return Err(RingError::IndexJump { found, consumed: self.taken, size: self.size() });
        }
        self.seen = found;
        Ok(ahead)
    }

    /// The head of the entry `ahead` places after the next one to be taken.
    #[inline]
    fn head(&self, ahead: u16) -> Result<u16, RingError> {
        let slot = usize::from(self.taken.wrapping_add(ahead) & self.mask);
        // SAFETY: slot < size, and the available ring has `size` words after its two first ones.
        let found = unsafe { self.available.add(2 + slot).read_volatile() };
        if found > self.mask {
            return Err(RingError::BadHead { found, size: self.size() });
        }
        Ok(found)
    }

    /// The descriptor `index`, read once: address, then length, flags and next in one word.
    #[inline]
    pub(super) fn descriptor(&self, index: u16) -> [u64; 2] {
        let at = usize::from(index & self.mask) * 2;
        // SAFETY: the table has `size` descriptors of two words, and `index` is masked to be one of them.
        unsafe { [self.descriptors.add(at).read_volatile(), self.descriptors.add(at + 1).read_volatile()] }
    }

    /// Asks the processor to fetch the descriptor `head`.
    #[inline]
    fn prefetch(&self, head: u16) {
        prefetch(self.descriptors.wrapping_add(usize::from(head & self.mask) * 2).cast());
    }

    /// Asks the processor to fetch the next `count` used entries.
    #[inline]
    fn prefetch_used(&self, count: u16) {
        for ahead in (0..count).step_by(ENTRIES_OF_A_LINE) {
            let slot = usize::from(self.published.wrapping_add(ahead) & self.mask);
            prefetch(self.used.wrapping_add(2 + 4 * slot).cast_const().cast());
        }
    }

    /// Writes the used entry that comes `ahead` places after the published ones.
    #[inline]
    pub(super) fn put_used(&mut self, ahead: usize, head: u16, written: u32) {
        let slot = usize::from(self.published).wrapping_add(ahead) & usize::from(self.mask);
        // SAFETY: slot < size; entries of four words begin after the two first words. The ring is aligned to
        // four bytes only, hence the unaligned write; nobody reads the entry before the index is published.
        unsafe {
            let entry = self.used.add(2 + 4 * slot).cast::<u64>();
            write_if_different(entry, u64::from(head) | u64::from(written) << 32);
        }
    }

    /// Gives back chains that were only read, in order; says whether the driver wants to be notified.
    pub(super) fn complete(&mut self, common: &Common, chains: &[Ready]) -> bool {
        for (ahead, chain) in chains.iter().enumerate() {
            // A device writes nothing into buffers that it only reads (virtio 1.2, 2.7.8.2).
            self.put_used(ahead, chain.head, 0);
        }
        self.publish(common, u16::try_from(chains.len()).unwrap_or(0))
    }

    /// Publishes `count` used entries; says whether the driver wants to be notified.
    #[inline]
    pub(super) fn publish(&mut self, common: &Common, count: u16) -> bool {
        if count == 0 {
            return false;
        }
        self.published = self.published.wrapping_add(count);
        self.used_index().store(self.published, Ordering::Release);
        self.log_used(common);
        // The index must be visible before we look whether the driver sleeps (virtio 1.2, 2.7.7.2).
        fence(Ordering::SeqCst);
        self.wants_notification()
    }

    fn used_index(&self) -> &AtomicU16 {
        // SAFETY: word 1 of the used ring: mapped for as long as `self`, aligned, and only used atomically.
        unsafe { AtomicU16::from_ptr(self.used.add(1)) }
    }

    #[inline]
    fn wants_notification(&mut self) -> bool {
        if !self.event_index {
            // SAFETY: word 0 of the available ring.
            let flags = unsafe { self.available.read_volatile() };
            return u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0;
        }
        // SAFETY: the word after the available ring's entries, included when the area was checked.
        let event = unsafe { self.available.add(2 + usize::from(self.size())).read_volatile() };
        let before = self.notified.replace(self.published);
        // virtio 1.2, 2.7.7.2: notify when the index has passed the event.
        before.is_none_or(|before| passed(self.published, event, before))
    }

    /// Asks the driver for kicks; says whether entries came in meanwhile, so that nobody would kick for them.
    pub(super) fn arm(&mut self, common: &Common) -> Result<bool, RingError> {
        if self.event_index {
            // SAFETY: the word after the used ring's entries (four words each), included in the checked area.
            let event = unsafe { self.used.add(2 + 4 * usize::from(self.size())) };
            // SAFETY: as above; aligned to two bytes.
            unsafe { AtomicU16::from_ptr(event) }.store(self.seen, Ordering::Relaxed);
            self.log_used(common);
        } else {
            self.set_used_flags(common, 0);
        }
        // Our wish must be visible before we look once more (virtio 1.2, 2.7.10.1).
        fence(Ordering::SeqCst);
        let known = self.seen.wrapping_sub(self.taken);
        Ok(self.available(known.saturating_add(1))? > known)
    }

    /// Asks the driver not to kick. With an event index there is nothing to do: it lies behind already.
    pub(super) fn disarm(&mut self, common: &Common) {
        if !self.event_index {
            self.set_used_flags(common, u16::try_from(VRING_USED_F_NO_NOTIFY).unwrap_or(1));
        }
    }

    fn set_used_flags(&self, common: &Common, flags: u16) {
        // SAFETY: word 0 of the used ring, mapped, aligned.
        unsafe { AtomicU16::from_ptr(self.used) }.store(flags, Ordering::Relaxed);
        self.log_used(common);
    }
}

/// Asks the processor to fetch the cache line of `address`, which need not be mapped.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch has no effect that a program can see, whatever the address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

/// Bytes of a segment that are fetched ahead of its copy at most: what a frame of the usual MTU has.
const AHEAD_MAX: usize = 1536;

/// Asks the processor to fetch the first bytes of a segment.
#[inline]
pub(crate) fn prefetch_ahead(segment: &Segment) {
    for at in (0..(segment.len as usize).min(AHEAD_MAX)).step_by(64) {
        prefetch(segment.host.wrapping_add(at));
    }
}

/// Asks the processor to fetch the cache line of `address`, which need not be mapped, for writing: a line that
/// the guest's processor holds is taken from it at once, and not when the write is already waiting for it.
#[inline]
pub(super) fn prefetch_to_write(address: *mut u8) {
    // PREFETCHW by hand: `_mm_prefetch` makes it only where the whole program may rely on it. A processor that
    // does not know it does nothing.
    // SAFETY: a prefetch has no effect that a program can see, whatever the address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
}

/// Whether the index passed `event` on its way from `before` to `now` (virtio 1.2, 2.7.7.2).
#[inline]
fn passed(now: u16, event: u16, before: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn a_notification_is_due_when_the_event_was_passed_also_across_the_wrap() {
        assert!(passed(5, 4, 4));
        assert!(!passed(5, 5, 4));
        assert!(!passed(5, 3, 4));
        assert!(passed(2, 0xffff, 0xfffe));
        assert!(!passed(2, 2, 0xfffe));
    }
}
