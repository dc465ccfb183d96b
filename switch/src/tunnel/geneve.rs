//! Geneve's header (RFC 8926, 3.4).

use super::{ETHERNET_FOLLOWS, Format, Found};
use crate::drops::DropReason;

/// A control packet, which no tenant gets; and options that must be understood, of which we know none.
const CONTROL_OR_CRITICAL: u8 = 0xc0;

pub(super) struct Geneve;

impl Format for Geneve {
    const LEN: usize = 8;

    fn write(id: u32, room: &mut [u8]) {
        if let Some(room) = room.first_chunk_mut::<8>() {
            let [_, high, middle, low] = id.to_be_bytes();
            let [kind, of_kind] = ETHERNET_FOLLOWS;
            *room = [0, 0, kind, of_kind, high, middle, low, 0];
        }
    }

    /// Options are passed over, unless one is critical (RFC 8926, 3.5: "the packet MUST be dropped" by who does not understand
    /// it). What is reserved is ignored, as the standard says.
    #[inline]
    fn read(bytes: &[u8]) -> Result<Found, DropReason> {
        let &[first, flags, kind, of_kind, high, middle, low, _] =
            bytes.first_chunk().ok_or(DropReason::TunnelTruncated)?;
        // Two bits of version, then the options' length in words.
        if first >> 6 != 0 || flags & CONTROL_OR_CRITICAL != 0 || [kind, of_kind] != ETHERNET_FOLLOWS {
            return Err(DropReason::TunnelReserved);
        }
        let len = Self::LEN + usize::from(first & 0x3f) * 4;
        Ok(Found { id: u32::from_be_bytes([0, high, middle, low]), len })
    }
}
