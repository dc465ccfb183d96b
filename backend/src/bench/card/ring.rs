//! The driver's side of a split virtqueue (virtio 1.2, 2.7), as plain as a polling driver can be: every chain is one
//! descriptor with a buffer of its own for ever, no interrupt is wanted, no event index is used.

use std::sync::atomic::{Ordering, fence};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::shared::Shared;
use crate::bench::error::BenchError;

/// Bytes of a descriptor (2.7.5).
const DESCRIPTOR_BYTES: usize = 16;
/// The device writes to the buffer (2.7.5: VIRTQ_DESC_F_WRITE).
const WRITE: u64 = 2;
/// In the available ring's flags: the driver looks by itself (2.7.6: VIRTQ_AVAIL_F_NO_INTERRUPT).
const NO_INTERRUPT: u16 = 1;
/// In the used ring's flags: the device looks by itself (2.7.8: VIRTQ_USED_F_NO_NOTIFY).
const NO_NOTIFY: u16 = 1;
/// The parts are kept apart, so that what the two sides write never shares a cache line.
const PART_ALIGNMENT: usize = 256;

/// A buffer that the device gave back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Used {
    /// Its descriptor.
    pub(super) id: u16,
    /// Bytes that the device says it wrote.
    pub(super) len: u32,
}

/// A ring; its memory is passed in, because two rings share it.
#[derive(Debug)]
pub(super) struct Ring {
    size: u16,
    descriptors: usize,
    available: usize,
    used: usize,
    next: u16,
    published: u16,
    seen: u16,
    /// Written by us when there are buffers and the device wants to be told.
    pub(super) kick: EventFd,
    /// For the device to write; nobody reads it.
    pub(super) call: EventFd,
}

impl Ring {
    /// Bytes of the parts of a ring with `size` entries.
    pub(super) fn bytes(size: u16) -> usize {
        let size = usize::from(size);
        let part = |bytes: usize| bytes.next_multiple_of(PART_ALIGNMENT);
        part(DESCRIPTOR_BYTES * size) + part(6 + 2 * size) + part(6 + 8 * size)
    }

    /// A ring of `size` entries (a power of two) whose parts begin at offset `base`, a multiple of 256.
    pub(super) fn new(memory: &Shared, base: usize, size: u16) -> Result<Self, BenchError> {
        let eventfd = || EventFd::new(EFD_NONBLOCK).map_err(BenchError::system("make an eventfd"));
        let available = base + (DESCRIPTOR_BYTES * usize::from(size)).next_multiple_of(PART_ALIGNMENT);
        let used = available + (6 + 2 * usize::from(size)).next_multiple_of(PART_ALIGNMENT);
        memory.store_u16(available, NO_INTERRUPT);
        let (kick, call) = (eventfd()?, eventfd()?);
        Ok(Self { size, descriptors: base, available, used, next: 0, published: 0, seen: 0, kick, call })
    }

    /// Its number of entries.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// Offsets of the descriptor table, the available and the used ring.
    pub(super) fn parts(&self) -> [usize; 3] {
        [self.descriptors, self.available, self.used]
    }

    /// Says for ever where the buffer of descriptor `id` is.
    pub(super) fn describe(&self, memory: &Shared, id: u16, address: u64, len: u32, writable: bool) {
        let at = self.descriptors + DESCRIPTOR_BYTES * usize::from(id);
        let flags = if writable { WRITE } else { 0 };
        memory.write_u64(at, address);
        memory.write_u64(at + 8, u64::from(len) | flags << 32);
    }

    /// Puts the buffer of descriptor `id` into the available ring; the device sees it after [`Ring::publish`].
    #[inline]
    pub(super) fn offer(&mut self, memory: &Shared, id: u16) {
        let slot = usize::from(self.next & (self.size - 1));
        memory.store_u16(self.available + 4 + 2 * slot, id);
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the device what was offered, and kicks it if it wants that.
    #[inline]
    pub(super) fn publish(&mut self, memory: &Shared) -> Result<(), BenchError> {
        if self.published == self.next {
            return Ok(());
        }
        memory.store_u16(self.available + 2, self.next);
        self.published = self.next;
        // The index before the look at the flag, or both sides may wait for each other (2.7.13.4.1).
        fence(Ordering::SeqCst);
        if memory.load_u16(self.used) & NO_NOTIFY == 0 {
            self.kick.write(1).map_err(BenchError::system("kick the switch"))?;
        }
        Ok(())
    }

    /// The next buffer that the device gave back.
    #[inline]
    pub(super) fn take(&mut self, memory: &Shared) -> Result<Option<Used>, BenchError> {
        if memory.load_u16(self.used + 2) == self.seen {
            return Ok(None);
        }
        let slot = usize::from(self.seen & (self.size - 1));
        let entry = memory.read_u64(self.used + 4 + 8 * slot);
        let (id, len) = (entry & 0xffff_ffff, entry >> 32);
        self.seen = self.seen.wrapping_add(1);
        match (u16::try_from(id), u32::try_from(len)) {
            (Ok(id), Ok(len)) if id < self.size => Ok(Some(Used { id, len })),
            _ => Err(BenchError::WrongUsed { id, size: self.size }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_sees_what_is_offered_once_it_is_published_and_is_kicked() {
        let memory = Shared::new(65536).unwrap();
        let mut ring = Ring::new(&memory, 0, 8).unwrap();
        ring.describe(&memory, 5, 0x1234_5678_9abc, 60, true);
        let [descriptors, available, used] = ring.parts();
        assert_eq!(memory.read_u64(descriptors + 80), 0x1234_5678_9abc);
        assert_eq!(memory.read_u64(descriptors + 88), 60 | 2 << 32);
        ring.offer(&memory, 5);
        assert_eq!(memory.load_u16(available + 2), 0);
        ring.publish(&memory).unwrap();
        assert_eq!((memory.load_u16(available + 2), memory.load_u16(available + 4)), (1, 5));
        assert_eq!(ring.kick.read().unwrap(), 1);
        memory.store_u16(used, NO_NOTIFY);
        ring.offer(&memory, 6);
        ring.publish(&memory).unwrap();
        assert!(ring.kick.read().is_err(), "the device did not want a kick");
    }

    #[test]
    fn used_buffers_are_taken_once_and_a_wrong_one_is_named() {
        let memory = Shared::new(65536).unwrap();
        let mut ring = Ring::new(&memory, 0, 8).unwrap();
        let [_, _, used] = ring.parts();
        assert_eq!(ring.take(&memory).unwrap(), None);
        memory.write(used + 4, &[3, 0, 0, 0, 72, 0, 0, 0, 8, 0, 0, 0]);
        memory.store_u16(used + 2, 2);
        assert_eq!(ring.take(&memory).unwrap(), Some(Used { id: 3, len: 72 }));
        assert!(ring.take(&memory).unwrap_err().to_string().contains('8'));
        assert_eq!(ring.take(&memory).unwrap(), None);
    }
}
