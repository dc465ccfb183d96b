//! The outer headers of a frame that may have come by a tunnel.

use crate::offload::{fold, sum};
use crate::packet::Address;

/// What the outer IP header says of a whole packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outer {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: u8,
    /// Explicit congestion notification (RFC 3168, 5).
    pub(super) ecn: u8,
    /// Where the header behind it begins, from the frame's first byte.
    pub(super) transport_at: usize,
    /// Where the packet ends.
    pub(super) end_at: usize,
}

impl Outer {
    /// Reads the IP header at `at`, behind the type field; `None`: there is none, it is no whole packet, or it is wrong.
    #[inline]
    pub(super) fn read(head: &[u8], at: usize) -> Option<Self> {
        let kind = head.get(at.checked_sub(2)?..at)?;
        let packet = head.get(at..)?;
        match kind {
            [0x08, 0x00] => Self::v4(packet, at),
            [0x86, 0xdd] => Self::v6(packet, at),
            _ => None,
        }
    }

    fn v4(packet: &[u8], at: usize) -> Option<Self> {
        let header_len = usize::from(packet.first()? & 15) * 4;
        let header = packet.get(..header_len)?;
        let fixed = header.first_chunk::<20>()?;
        let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        // More fragments, or not the first one (RFC 791, 3.1).
        let is_part = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
        if fixed[0] >> 4 != 4 || is_part || total < header_len || fold(sum(header)) != 0xffff {
            return None;
        }
        let address = |at: usize| Address::from_v4([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        Some(Self {
            source: address(12),
            destination: address(16),
            protocol: fixed[9],
            ecn: fixed[1] & 3,
            transport_at: at + header_len,
            end_at: at + total,
        })
    }

    /// Extension headers mean that it is none of a tunnel's. Addresses that stand for ones of IPv4 belong on no wire (RFC 4291, 2.5.5.2), and
    /// would be taken for these.
    fn v6(packet: &[u8], at: usize) -> Option<Self> {
        let fixed = packet.first_chunk::<40>()?;
        let payload = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let address = |at: usize| {
            let bytes = fixed.get(at..).and_then(<[u8]>::first_chunk::<16>);
            bytes.map(|bytes| Address::from_bits(u128::from_be_bytes(*bytes)))
        };
        let (source, destination) = (address(8)?, address(24)?);
        (fixed[0] >> 4 == 6 && !source.is_v4() && !destination.is_v4()).then_some(())?;
        Some(Self {
            source,
            destination,
            protocol: fixed[6],
            ecn: fixed[1] >> 4 & 3,
            transport_at: at + 40,
            end_at: at + 40 + payload,
        })
    }
}
