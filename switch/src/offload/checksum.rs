//! The Internet checksum (RFC 1071), and finishing the one that a sender left partial.

use super::layout::{Layout, get_u16, protocol, put_u16, type_field, version};
use crate::drops::DropReason;
use crate::frame::PartialChecksum;

/// Where TCP keeps its checksum in its header (RFC 9293, 3.1).
pub(super) const TCP_CHECKSUM: u16 = 16;

/// Where UDP keeps its checksum in its header (RFC 768).
pub(crate) const UDP_CHECKSUM: u16 = 6;

/// The sum of all 16-bit words; an odd last byte is the upper half of a word. Sums of parts may be added
/// if all parts but the last have even lengths.
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    // A 32-bit word is its upper 16-bit word times 65,536, which is 1 in one's complement.
    let total: u64 = words.iter().map(|&word| u64::from(u32::from_be_bytes(word))).sum();
    total + u64::from(u32::from_be_bytes(last))
}

/// Folds the carries in: the one's complement sum of RFC 1071, not complemented.
#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    // Below 2^33, 2^18, 2^16 + 4 and 2^16: without a branch that depends on data.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from(sum).unwrap_or(0)
}

/// The checksum to be stored for `sum`. RFC 768: UDP stores 0xffff instead of 0, which would mean that
/// there is none.
pub(super) fn finished(sum: u64, offset: u16) -> u16 {
    let checksum = !fold(sum);
    if checksum == 0 && offset == UDP_CHECKSUM { 0xffff } else { checksum }
}

/// Finishes the checksum of a whole frame, whose field holds the pseudo-header's sum.
///
/// # Errors
/// [`DropReason::BadOffload`] if the frame is too short, or if the claim would change something else than
/// a checksum: a header before the transport header, or an address, port or flag that policy has judged.
pub fn finish_checksum(frame: &mut [u8], checksum: PartialChecksum) -> Result<(), DropReason> {
    let (start, field) =
        (usize::from(checksum.start), usize::from(checksum.start) + usize::from(checksum.offset));
    if field + 2 > frame.len() || !is_beyond_headers(frame, checksum) {
        return Err(DropReason::BadOffload);
    }
    let total = sum(&frame[start..]);
    put_u16(frame, field, finished(total, checksum.offset));
    Ok(())
}

/// Whether the claim is about the transport header's own checksum, or about something that the transport
/// header carries, such as the packet in a guest's own tunnel.
fn is_beyond_headers(frame: &[u8], checksum: PartialChecksum) -> bool {
    let start = usize::from(checksum.start);
    if version(frame).is_none() {
        return start >= type_field(frame) + 2;
    }
    let Some(layout) = Layout::parse(frame) else { return false };
    let own = start == layout.transport;
    match layout.protocol {
        protocol::TCP if own => checksum.offset == TCP_CHECKSUM,
        protocol::TCP => tcp_end(frame, layout.transport).is_some_and(|end| start >= end),
        protocol::UDP if own => checksum.offset == UDP_CHECKSUM,
        protocol::UDP => start >= layout.transport + 8,
        _ => start >= layout.transport,
    }
}

/// Where the TCP header at `transport` ends; `None` if that is not inside of the frame.
pub(super) fn tcp_end(frame: &[u8], transport: usize) -> Option<usize> {
    let length = usize::from(frame.get(transport + 12)? >> 4) * 4;
    let end = transport + length;
    (length >= 20 && end <= frame.len()).then_some(end)
}

/// The pseudo-header's sum that stands in `frame` at `field` for a transport packet of `old` bytes, made
/// to fit one of `new` bytes.
pub(super) fn pseudo_sum(frame: &[u8], field: usize, old: u16, new: u16) -> u16 {
    fold(u64::from(get_u16(frame, field)) + u64::from(!old) + u64::from(new))
}
