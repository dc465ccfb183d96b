//! The frames of the generator: IPv4 and UDP to the eye of any switch, with a number each.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::error::BenchError;

/// Ethernet, IPv4 and UDP (RFC 894, 791, 768) without options.
const HEADERS: usize = 14 + 20 + 8;
/// Where its UDP ports are.
pub(super) const UDP_PORTS_AT: usize = 34;
/// Where a frame's number is: behind the headers, and at a multiple of 8 in a buffer with a virtio header of 12 bytes.
pub(super) const NUMBER_AT: usize = 44;
/// Where the number of its flow is, of a frame that belongs to one of many.
pub(super) const FLOW_AT: usize = NUMBER_AT + 8;
/// Where IPv4 has its header's checksum, and both addresses behind it (RFC 791, 3.1).
pub(super) const CHECKSUM_AT: usize = 14 + 10;
/// The bytes of the number.
const NUMBER: Range<usize> = NUMBER_AT..NUMBER_AT + 8;
/// The shortest frame that has room for all that.
pub(crate) const BYTES_MIN: usize = 60;
/// The longest frame: with a virtio header it fits a buffer.
pub(crate) const BYTES_MAX: usize = 2048;

/// The Ethernet address of end `index`: locally administered.
pub(super) fn address(index: usize) -> [u8; 6] {
    [0x02, 0x76, 0x64, 0, 0, u8::try_from(index).unwrap_or(u8::MAX)]
}

/// An end of a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Station {
    /// Its Ethernet address.
    pub(super) mac: [u8; 6],
    /// Its address.
    pub(super) ip: Ipv4Addr,
}

impl Station {
    /// End `index`, if nobody says otherwise.
    pub(super) fn end(index: usize) -> Self {
        let mac = address(index);
        Self { mac, ip: Ipv4Addr::new(192, 0, 2, mac[5].wrapping_add(1)) }
    }
}

/// The frame of `bytes` bytes (without FCS) from end `from` to end `to`, with the number 0.
pub(super) fn template(bytes: usize, from: usize, to: usize) -> Vec<u8> {
    between(bytes, Station::end(from), Station::end(to))
}

/// The same between any two stations.
pub(super) fn between(bytes: usize, from: Station, to: Station) -> Vec<u8> {
    let mut frame = Vec::with_capacity(bytes);
    frame.extend(to.mac);
    frame.extend(from.mac);
    frame.extend([0x08, 0x00]);
    frame.extend(ipv4_header(bytes - 14, from.ip, to.ip));
    frame.extend([0x13, 0x88, 0x13, 0x89]);
    frame.extend(be16(bytes - 34));
    frame.extend([0, 0]);
    debug_assert_eq!(frame.len(), HEADERS);
    frame.extend((HEADERS..bytes).map(|at| u8::try_from(at * 31 % 251).unwrap_or(0)));
    frame[NUMBER].fill(0);
    frame
}

fn ipv4_header(bytes: usize, from: Ipv4Addr, to: Ipv4Addr) -> [u8; 20] {
    let mut header = [0; 20];
    header[..10].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    header[2..4].copy_from_slice(&be16(bytes));
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    let checksum = !header_sum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// The sum of an IPv4 header's words (RFC 1071).
fn header_sum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let [.., high, low] = ((sum & 0xffff) + (sum >> 16)).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// What stands from [`CHECKSUM_AT`] on in the frame `template` if another station sends it: its header's checksum and its address.
pub(super) fn source_fields(template: &[u8], source: Ipv4Addr) -> [u8; 6] {
    let mut header = [0; 20];
    header.copy_from_slice(&template[14..34]);
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&source.octets());
    let [a, b, c, d] = source.octets();
    let [high, low] = (!header_sum(&header)).to_be_bytes();
    [high, low, a, b, c, d]
}

fn be16(value: usize) -> [u8; 2] {
    let [.., high, low] = value.to_be_bytes();
    [high, low]
}

/// The number of a frame, if it is one of ours to end `to`: kernels have things of their own to say on a new wire.
#[inline]
pub(super) fn number(frame: &[u8], to: usize) -> Option<u64> {
    let number = frame.get(NUMBER)?.try_into().ok()?;
    (frame[..6] == address(to) && frame[12..14] == [0x08, 0x00]).then(|| u64::from_le_bytes(number))
}

/// Gives a frame its number.
#[inline]
pub(super) fn set_number(frame: &mut [u8], number: u64) {
    if let Some(place) = frame.get_mut(NUMBER) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// Compares a frame that arrived with its template, the number aside.
pub(super) fn compare(frame: &[u8], template: &[u8], path: &str) -> Result<(), BenchError> {
    let differs = |at: &usize| !NUMBER.contains(at) && frame.get(*at) != template.get(*at);
    match (0..frame.len().max(template.len())).find(differs) {
        None => Ok(()),
        Some(at) => Err(BenchError::Changed { bytes: frame.len(), at, path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_right_udp_datagram() {
        let frame = template(60, 0, 1);
        assert_eq!(frame.len(), 60);
        let words = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        assert_eq!(
            (sum & 0xffff) + (sum >> 16),
            0xffff,
            "RFC 791: the header's sum with its checksum is all ones"
        );
        assert_eq!((&frame[16..18], &frame[38..40]), (&[0, 46][..], &[0, 26][..]));
    }

    #[test]
    fn another_source_has_another_checksum() {
        let (from, to) = (Station::end(0), Station::end(1));
        let other = Station { ip: Ipv4Addr::new(10, 200, 255, 254), ..from };
        let mut frame = between(60, from, to);
        let fields = source_fields(&frame, other.ip);
        frame[CHECKSUM_AT..CHECKSUM_AT + 6].copy_from_slice(&fields);
        assert_eq!(frame, between(60, other, to));
    }

    #[test]
    fn numbers_are_read_from_our_own_frames_only() {
        let mut frame = template(60, 0, 1);
        set_number(&mut frame, 77);
        assert_eq!(number(&frame, 1), Some(77));
        assert_eq!((number(&frame, 0), number(&frame[..40], 1)), (None, None));
    }

    #[test]
    fn a_changed_byte_and_a_lost_one_are_found_and_the_number_may_differ() {
        let (whole, mut frame) = (template(64, 0, 1), template(64, 0, 1));
        frame[NUMBER_AT] = 9;
        assert!(compare(&frame, &whole, "x").is_ok());
        assert!(compare(&frame[..63], &whole, "x").unwrap_err().to_string().contains("at byte 63"));
        frame[63] ^= 1;
        assert!(compare(&frame, &whole, "x").unwrap_err().to_string().contains("at byte 63"));
    }
}
