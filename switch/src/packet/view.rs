//! Bytes of a head, read within the bounds that its packet states.

use super::PacketError;

/// The head of a frame, of which the packet ends at `end`: what stands behind that is padding (CVE-2020-35498), and what
/// lies before it but behind the head was not copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    head: &'a [u8],
    /// In bytes, from the Ethernet header's first.
    pub(super) end: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(head: &'a [u8], end: usize) -> Self {
        Self { head, end }
    }

    /// The same, but for a packet that ends at `end`.
    pub(super) fn up_to(self, end: usize) -> Self {
        Self { end, ..self }
    }

    /// The `N` bytes at `at`.
    ///
    /// # Errors
    /// `short` if the packet ends before, [`PacketError::BeyondHead`] if only the head does.
    #[inline]
    pub(super) fn chunk<const N: usize>(
        &self,
        at: usize,
        short: PacketError,
    ) -> Result<&'a [u8; N], PacketError> {
        if at + N > self.end {
            return Err(short);
        }
        self.head.get(at..).and_then(<[u8]>::first_chunk).ok_or(PacketError::BeyondHead)
    }

    /// The bytes from `at` to before `to`; errors as for [`View::chunk`].
    #[inline]
    pub(super) fn range(&self, at: usize, to: usize, short: PacketError) -> Result<&'a [u8], PacketError> {
        if to > self.end {
            return Err(short);
        }
        self.head.get(at..to).ok_or(PacketError::BeyondHead)
    }

    /// Bytes of the packet from `at` on, copied or not.
    pub(super) fn rest(&self, at: usize) -> usize {
        self.end.saturating_sub(at)
    }

    /// The bytes from `at` on that were copied, as far as the packet goes, and whether these are all of it.
    pub(super) fn copied(&self, at: usize) -> (&'a [u8], bool) {
        let to = self.end.min(self.head.len());
        (self.head.get(at..to).unwrap_or_default(), self.end <= self.head.len())
    }
}

/// The 16-bit number at `at` of bytes that are known to be there, in network order.
#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit number at `at` of bytes that are known to be there, in network order.
#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
