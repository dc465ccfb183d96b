//! Cuts a UDP datagram into IP fragments (RFC 791, 3.2; RFC 8200, 4.5).

use super::checksum::{UDP_CHECKSUM, finished, sum};
use super::layout::{Layout, Version, protocol, put_u16};
use super::segment::Segment;
use crate::drops::DropReason;
use crate::frame::Claims;

/// The length of an IPv6 fragment header in bytes (RFC 8200, 4.5).
const FRAGMENT_HEADER: usize = 8;

/// IPv4: more fragments follow (RFC 791, 3.1).
const MORE_FRAGMENTS_V4: u16 = 0x2000;

/// The cutting of one datagram.
#[derive(Debug)]
pub(super) struct Fragments<'a> {
    frame: &'a [u8],
    layout: Layout,
    /// Bytes of the datagram in each fragment but the last; a multiple of 8.
    size: usize,
    /// The finished checksum of the whole datagram.
    checksum: u16,
    /// The identification of IPv6 fragments; IPv4's stands in the header.
    id: u32,
    /// Bytes of the datagram written so far.
    offset: usize,
}

impl<'a> Fragments<'a> {
    /// `None` if the fragments would not hold 8 bytes, or the first one not all headers (RFC 8200, 4.5:
    /// the first fragment includes the upper-layer header).
    pub(super) fn plan(frame: &'a [u8], layout: Layout, size: u16, id: u32) -> Option<Self> {
        let whole = frame.len() - layout.fragmentable;
        let size = if whole <= usize::from(size) { whole } else { usize::from(size) & !7 };
        let total = sum(&frame[layout.transport..]);
        let checksum = finished(total, UDP_CHECKSUM);
        let fits = size >= layout.transport - layout.fragmentable + 8 && whole <= usize::from(u16::MAX);
        fits.then_some(Self { frame, layout, size, checksum, id, offset: 0 })
    }

    pub(super) fn payload(&self) -> &'a [u8] {
        &self.frame[self.layout.fragmentable..]
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn length_max(&self) -> usize {
        self.headers() + self.size
    }

    /// Bytes before the datagram's part in each fragment.
    fn headers(&self) -> usize {
        let is_whole = self.size >= self.payload().len();
        let needs_header = self.layout.version == Version::V6 && !is_whole;
        self.layout.fragmentable + if needs_header { FRAGMENT_HEADER } else { 0 }
    }

    pub(super) fn next_into(&mut self, buffer: &mut [u8]) -> Result<Option<Segment>, DropReason> {
        let payload = self.payload();
        if self.offset >= payload.len() {
            return Ok(None);
        }
        let end = (self.offset + self.size).min(payload.len());
        let (headers, part) = (self.headers(), &payload[self.offset..end]);
        let length = headers + part.len();
        let fragment = buffer.get_mut(..length).ok_or(DropReason::SmallBuffer)?;
        fragment[..self.layout.fragmentable].copy_from_slice(&self.frame[..self.layout.fragmentable]);
        fragment[headers..].copy_from_slice(part);
        self.patch_checksum(&mut fragment[headers..]);
        if part.len() < payload.len() {
            self.mark(fragment, end < payload.len()).ok_or(DropReason::NotSegmentable)?;
        }
        self.layout.set_length(fragment).ok_or(DropReason::NotSegmentable)?;
        self.offset = end;
        Ok(Some(Segment { length, claims: Claims::default() }))
    }

    /// Stores the checksum if its field stands in this part. Parts begin at multiples of 8 and so does the
    /// UDP header, so the field is never cut in two.
    fn patch_checksum(&self, part: &mut [u8]) {
        let field = self.layout.transport - self.layout.fragmentable + usize::from(UDP_CHECKSUM);
        if let Some(at) = field.checked_sub(self.offset).filter(|&at| at + 2 <= part.len()) {
            put_u16(part, at, self.checksum);
        }
    }

    /// Writes offset and "more fragments". Fragmenting was asked for, so "don't fragment" no longer holds.
    fn mark(&self, fragment: &mut [u8], has_more: bool) -> Option<()> {
        let offset = u16::try_from(self.offset).ok()?;
        match self.layout.version {
            Version::V4 => {
                let more = if has_more { MORE_FRAGMENTS_V4 } else { 0 };
                put_u16(fragment, self.layout.network + 6, (offset / 8) | more);
            }
            Version::V6 => {
                let at = self.layout.fragmentable;
                fragment[at] = self.frame[self.layout.names_fragmentable];
                fragment[at + 1] = 0;
                put_u16(fragment, at + 2, offset | u16::from(has_more));
                fragment[at + 4..at + 8].copy_from_slice(&self.id.to_be_bytes());
                fragment[self.layout.names_fragmentable] = protocol::FRAGMENT;
            }
        }
        Some(())
    }
}
