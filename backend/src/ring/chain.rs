//! Follows a descriptor chain and gives the checked segments of memory that it names.

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use super::CHAIN_MAX;
use super::core::Split;
use super::layout::Common;
use crate::memory::{GuestMemory, Segment};

/// What is wrong with a chain. The frame is lost, and the ring goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainError {
    /// `next` names a descriptor that does not exist.
    BadNext,
    /// More than [`CHAIN_MAX`] descriptors, or a loop.
    TooLong,
    /// A buffer to be read where one to be written is due, or the other way round.
    WrongDirection,
    /// An indirect table inside of another one, with NEXT, or of a length that is no multiple of 16
    /// (virtio 1.2, 2.7.5.3.1).
    BadIndirect,
    /// A buffer, or the indirect table, lies outside of the guest's memory.
    Unmapped,
}

/// The segments of the frames of one burst, one after the other; never grows beyond its first allocation.
pub struct Segments {
    list: Vec<Segment>,
    /// Descriptors that were looked at since the list was cleared, those without bytes and those of malformed
    /// chains included: what bounds our work.
    descriptors: usize,
}

impl Segments {
    /// Room for `capacity` segments.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), descriptors: 0 }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.list.clear();
        self.descriptors = 0;
    }

    /// Descriptors that were looked at since the list was cleared.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Takes note of one more descriptor; refused when there were more than the list has room for.
    #[inline]
    pub(super) fn count_descriptor(&mut self) -> Result<(), ChainError> {
        self.descriptors += 1;
        if self.descriptors > self.list.capacity() { Err(ChainError::TooLong) } else { Ok(()) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }

    /// The `count` segments from place `from` on; none if there are not as many.
    #[must_use]
    pub fn get(&self, from: usize, count: usize) -> &[Segment] {
        self.list.get(from..from + count).unwrap_or_default()
    }

    /// The segments from place `from` on.
    pub fn from(&mut self, from: usize) -> &mut [Segment] {
        self.list.get_mut(from..).unwrap_or_default()
    }

    /// Just these.
    #[cfg(test)]
    pub(crate) fn of(list: &[Segment]) -> Self {
        Self { list: list.to_vec(), descriptors: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, segment: Segment) -> Result<(), ChainError> {
        if self.list.len() == self.list.capacity() {
            return Err(ChainError::TooLong);
        }
        self.list.push(segment);
        Ok(())
    }
}

/// Which way the bytes of a chain go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// The device reads: a guest transmits.
    Read,
    /// The device writes: a guest receives.
    Write,
}

/// One descriptor, taken apart (virtio 1.2, 2.7.5 and 2.8.13).
#[derive(Clone, Copy, Default)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the word")]
    pub(super) fn new([address, rest]: [u64; 2]) -> Self {
        Self { address, len: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
    }

    /// From the words of a packed ring: address, then length, buffer id and flags (virtio 1.2, 2.8.13). There is no
    /// next one to be named: a chain's descriptors stand side by side.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the word")]
    pub(super) fn packed([address, rest]: [u64; 2]) -> Self {
        Self { address, len: rest as u32, flags: (rest >> 48) as u16, next: 0 }
    }

    /// The same bytes, to be read by the device whatever the flags say.
    pub(super) fn to_be_read(self) -> Self {
        Self { flags: 0, ..self }
    }

    #[inline]
    pub(super) fn has(self, flag: u32) -> bool {
        u32::from(self.flags) & flag != 0
    }

    /// Whether this is a buffer of its own, without a table or a next one, in the right direction.
    #[inline]
    pub(super) fn is_single(self, direction: Direction) -> bool {
        let write = if direction == Direction::Write { VRING_DESC_F_WRITE } else { 0 };
        u32::from(self.flags) & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE) == write
    }
}

impl Split {
    /// Appends the segments of the chain that begins with `first`; gives their total length in bytes.
    /// After an error the caller truncates `segments` to what they were.
    pub(super) fn walk(
        &self,
        common: &mut Common,
        first: Descriptor,
        direction: Direction,
        segments: &mut Segments,
    ) -> Result<u64, ChainError> {
        let mut descriptor = first;
        let mut total = 0;
        for _ in 0..CHAIN_MAX {
            segments.count_descriptor()?;
            if descriptor.has(VRING_DESC_F_INDIRECT) {
                if descriptor.has(VRING_DESC_F_NEXT) {
                    return Err(ChainError::BadIndirect);
                }
                return Ok(total + common.walk_table(descriptor, direction, segments)?);
            }
            total += common.add_buffer(descriptor, direction, segments)?;
            if !descriptor.has(VRING_DESC_F_NEXT) {
                return Ok(total);
            }
            if descriptor.next >= self.size() {
                return Err(ChainError::BadNext);
            }
            descriptor = Descriptor::new(self.descriptor(descriptor.next));
        }
        Err(ChainError::TooLong)
    }
}

impl Common {
    fn walk_table(
        &mut self,
        table: Descriptor,
        direction: Direction,
        segments: &mut Segments,
    ) -> Result<u64, ChainError> {
        if table.len == 0 || !table.len.is_multiple_of(16) {
            return Err(ChainError::BadIndirect);
        }
        let entries = u64::from(table.len / 16);
        let (mut index, mut total) = (0, 0);
        for _ in 0..CHAIN_MAX {
            let address = table.address.checked_add(index * 16).ok_or(ChainError::Unmapped)?;
            let words = read_words(&self.memory, &mut self.hint, address).ok_or(ChainError::Unmapped)?;
            segments.count_descriptor()?;
            let descriptor = Descriptor::new(words);
            if descriptor.has(VRING_DESC_F_INDIRECT) {
                return Err(ChainError::BadIndirect);
            }
            total += self.add_buffer(descriptor, direction, segments)?;
            if !descriptor.has(VRING_DESC_F_NEXT) {
                return Ok(total);
            }
            index = u64::from(descriptor.next);
            if index >= entries {
                return Err(ChainError::BadNext);
            }
        }
        Err(ChainError::TooLong)
    }

    /// Appends one buffer: one segment, or several where it crosses regions that our address space holds apart.
    #[inline]
    pub(super) fn add_buffer(
        &mut self,
        descriptor: Descriptor,
        direction: Direction,
        segments: &mut Segments,
    ) -> Result<u64, ChainError> {
        if descriptor.has(VRING_DESC_F_WRITE) != (direction == Direction::Write) {
            return Err(ChainError::WrongDirection);
        }
        let (mut address, mut len) = (descriptor.address, descriptor.len);
        while len > 0 {
            let segment = self.memory.translate(&mut self.hint, address, len).ok_or(ChainError::Unmapped)?;
            segments.push(segment)?;
            len -= segment.len;
            address = address.checked_add(u64::from(segment.len)).ok_or(ChainError::Unmapped)?;
        }
        Ok(u64::from(descriptor.len))
    }
}

/// The 16 bytes at guest-physical `address`, read once; they may lie across two regions.
#[inline]
pub(super) fn read_words(memory: &GuestMemory, hint: &mut usize, address: u64) -> Option<[u64; 2]> {
    let first = memory.translate(hint, address, 16)?;
    let mut words = [0u64; 2];
    let to = words.as_mut_ptr().cast::<u8>();
    let first_len = usize::try_from(first.len).ok()?;
    // SAFETY: `first` is `first_len <= 16` bytes of mapped guest memory, and `words` holds 16.
    unsafe { to.copy_from_nonoverlapping(first.host, first_len) };
    if first_len < 16 {
        let rest = memory.translate(hint, address.checked_add(u64::from(first.len))?, 16 - first.len)?;
        if rest.len < 16 - first.len {
            return None;
        }
        // SAFETY: `rest` is at least the missing bytes, which fit behind the first ones.
        unsafe { to.add(first_len).copy_from_nonoverlapping(rest.host, 16 - first_len) };
    }
    Some(words)
}
