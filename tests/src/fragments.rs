//! Datagrams in fragments, of both versions of IP (RFC 791, 3.1; RFC 8200, 4.5), in any order and of any shape.

use crate::stations::{Body, Family, frame};

/// A part of a datagram: its offset and length in bytes, and whether more follow.
pub type Part = (usize, usize, bool);

/// A datagram of UDP from a port to a port, header included.
#[must_use]
pub fn datagram(source: u16, destination: u16, length: u16) -> Vec<u8> {
    let mut bytes = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    bytes.extend((bytes.len()..usize::from(length)).map(|at| (at % 251) as u8));
    bytes
}

/// The frame with one part of `datagram`, from station `from` to station `to`. What lies beyond the datagram's end is zero.
///
/// # Panics
/// If the offset is no multiple of eight.
#[must_use]
pub fn fragment(
    family: Family,
    (from, to): (u8, u8),
    id: u16,
    datagram: &[u8],
    (offset, length, more): Part,
) -> Vec<u8> {
    assert!(offset.is_multiple_of(8), "an offset is written in units of eight bytes");
    let place = u16::try_from(offset / 8).unwrap();
    let whole = frame(family, from, to, &Body::Other(17));
    let mut bytes = whole[..if family == Family::V4 { 34 } else { 54 }].to_vec();
    match family {
        Family::V4 => {
            bytes[16..18].copy_from_slice(&(20 + length as u16).to_be_bytes());
            bytes[18..20].copy_from_slice(&id.to_be_bytes());
            bytes[20..22].copy_from_slice(&(place | if more { 0x2000 } else { 0 }).to_be_bytes());
        }
        Family::V6 => {
            bytes[18..20].copy_from_slice(&(8 + length as u16).to_be_bytes());
            bytes[20] = 44;
            bytes.extend([17, 0]);
            bytes.extend((place << 3 | u16::from(more)).to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(id.to_be_bytes());
        }
    }
    let data = datagram.get(offset..).unwrap_or_default();
    bytes.extend(data.iter().copied().chain(std::iter::repeat(0)).take(length));
    bytes
}

/// All parts of `datagram`, each of at most `size` bytes.
#[must_use]
pub fn cut(family: Family, ends: (u8, u8), id: u16, datagram: &[u8], size: usize) -> Vec<Vec<u8>> {
    let part = |offset: usize| {
        let length = size.min(datagram.len() - offset);
        fragment(family, ends, id, datagram, (offset, length, offset + length < datagram.len()))
    };
    (0..datagram.len()).step_by(size).map(part).collect()
}

/// `frame` with these words as tags behind its addresses.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|word| word.to_be_bytes()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}
