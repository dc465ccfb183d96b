//! Follows the chains of a packed ring (virtio 1.2, 2.8.6 to 2.8.8).

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT};

use super::Packed;
use crate::ring::chain::{ChainError, Descriptor, Direction, Segments, read_words};
use crate::ring::layout::{Common, Ready};
use crate::ring::{CHAIN_MAX, RingError};

impl Packed {
    /// Appends the segments of `chain`, which begins `ahead` slots after the next one; gives their total length in
    /// bytes, and notes in `chain` its buffer id and how many slots it takes.
    ///
    /// The next chain begins where this one ends: so a malformed one is followed to its end as well. One that goes on
    /// over the whole ring, or in a slot that is not available, has none and breaks the ring.
    pub(in crate::ring) fn walk(
        &self,
        common: &mut Common,
        chain: &mut Ready,
        ahead: u16,
        direction: Direction,
        segments: &mut Segments,
    ) -> Result<Result<u64, ChainError>, RingError> {
        let room = self.room().saturating_sub(ahead);
        let (mut descriptor, mut slots) = (chain.descriptor, 1);
        let mut total = if descriptor.has(VRING_DESC_F_INDIRECT) {
            add_table(common, descriptor, direction, segments)
        } else {
            add(common, descriptor, direction, segments, 0)
        };
        while descriptor.has(VRING_DESC_F_NEXT) {
            let next = (slots < room).then(|| self.available(self.place(ahead + slots))).flatten();
            let Some(words) = next else {
                let head = self.place(ahead).index;
                return Err(RingError::EndlessChain { head, size: self.size });
            };
            descriptor = Descriptor::packed(words);
            chain.head = id_of(words);
            slots += 1;
            if usize::from(slots) > CHAIN_MAX {
                total = Err(ChainError::TooLong);
            }
            match total {
                Ok(so_far) => total = add(common, descriptor, direction, segments, so_far),
                // Work all the same.
                Err(_) => _ = segments.count_descriptor(),
            }
        }
        chain.slots = slots;
        Ok(total)
    }
}

/// The buffer id, which stands in a chain's last descriptor (virtio 1.2, 2.8.6).
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the field is cut out of the word")]
pub(super) fn id_of([_, rest]: [u64; 2]) -> u16 {
    (rest >> 32) as u16
}

/// Appends the buffer that one descriptor names; gives the bytes so far.
#[inline]
fn add(
    common: &mut Common,
    descriptor: Descriptor,
    direction: Direction,
    segments: &mut Segments,
    so_far: u64,
) -> Result<u64, ChainError> {
    segments.count_descriptor()?;
    // A list is either a chain or a table (virtio 1.2, 2.8.5).
    if descriptor.has(VRING_DESC_F_INDIRECT) {
        return Err(ChainError::BadIndirect);
    }
    Ok(so_far + common.add_buffer(descriptor, direction, segments)?)
}

/// Appends the buffers of an indirect table. Its descriptors follow one another up to its end, and of their flags only
/// the direction counts (virtio 1.2, 2.8.7); the table's own must not have NEXT (2.8.19).
///
/// For a table that is only read the direction does not count either: DPDK's driver (up to 26.07 at least) marks the
/// header before a frame to be written. A device may read a buffer that it could write (virtio 1.2, 2.8.15 says only
/// "SHOULD NOT"), and what it finds there is the guest's own.
fn add_table(
    common: &mut Common,
    table: Descriptor,
    direction: Direction,
    segments: &mut Segments,
) -> Result<u64, ChainError> {
    segments.count_descriptor()?;
    if table.has(VRING_DESC_F_NEXT) || table.len == 0 || !table.len.is_multiple_of(16) {
        return Err(ChainError::BadIndirect);
    }
    let entries = u64::from(table.len / 16);
    if entries > CHAIN_MAX as u64 {
        return Err(ChainError::TooLong);
    }
    let mut total = 0;
    for index in 0..entries {
        let address = table.address.checked_add(index * 16).ok_or(ChainError::Unmapped)?;
        let words = read_words(&common.memory, &mut common.hint, address).ok_or(ChainError::Unmapped)?;
        segments.count_descriptor()?;
        let entry = Descriptor::packed(words);
        let entry = if direction == Direction::Read { entry.to_be_read() } else { entry };
        total += common.add_buffer(entry, direction, segments)?;
    }
    Ok(total)
}
