//! VXLAN's header (RFC 7348, 5).

use super::{Format, Found};
use crate::drops::DropReason;

/// "The I flag MUST be set to 1 for a valid VXLAN Network ID."
const HAS_ID: u8 = 0x08;

pub(super) struct Vxlan;

impl Format for Vxlan {
    const LEN: usize = 8;

    fn write(id: u32, room: &mut [u8]) {
        if let Some(room) = room.first_chunk_mut::<8>() {
            let [_, high, middle, low] = id.to_be_bytes();
            *room = [HAS_ID, 0, 0, 0, high, middle, low, 0];
        }
    }

    /// What is reserved must be zero: it may mean something to others (group policy, generic protocol extension) that would
    /// change what the rest says. Linux and Open vSwitch refuse it as well.
    #[inline]
    fn read(bytes: &[u8]) -> Result<Found, DropReason> {
        let &[flags, a, b, c, high, middle, low, d] =
            bytes.first_chunk().ok_or(DropReason::TunnelTruncated)?;
        if flags & HAS_ID == 0 {
            return Err(DropReason::TunnelNoId);
        }
        if flags != HAS_ID || [a, b, c, d] != [0; 4] {
            return Err(DropReason::TunnelReserved);
        }
        Ok(Found { id: u32::from_be_bytes([0, high, middle, low]), len: Self::LEN })
    }
}
