//! GRE's header with a key (RFC 2784, 2; RFC 2890, 2).

use super::{ETHERNET_FOLLOWS, Format, Found};
use crate::drops::DropReason;

const HAS_KEY: u8 = 0x20;
const HAS_SEQUENCE: u8 = 0x10;

pub(super) struct Gre;

impl Format for Gre {
    const LEN: usize = 8;

    fn write(id: u32, room: &mut [u8]) {
        if let Some(room) = room.first_chunk_mut::<8>() {
            let [kind, of_kind] = ETHERNET_FOLLOWS;
            let [a, b, c, d] = id.to_be_bytes();
            *room = [HAS_KEY, 0, kind, of_kind, a, b, c, d];
        }
    }

    /// A sequence number is passed over. A checksum is not: it covers what is not looked at here. RFC 2784, 2.2: who does not
    /// know the other bits of the first word discards the packet.
    #[inline]
    fn read(bytes: &[u8]) -> Result<Found, DropReason> {
        let &[flags, version, kind, of_kind] = bytes.first_chunk().ok_or(DropReason::TunnelTruncated)?;
        if flags & !(HAS_KEY | HAS_SEQUENCE) != 0 || version != 0 || [kind, of_kind] != ETHERNET_FOLLOWS {
            return Err(DropReason::TunnelReserved);
        }
        if flags & HAS_KEY == 0 {
            return Err(DropReason::TunnelNoId);
        }
        let key = bytes.get(4..).and_then(<[u8]>::first_chunk).ok_or(DropReason::TunnelTruncated)?;
        let sequence = if flags & HAS_SEQUENCE == 0 { 0 } else { 4 };
        Ok(Found { id: u32::from_be_bytes(*key), len: Self::LEN + sequence })
    }
}
