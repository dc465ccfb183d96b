//! What a frame must have in common with an earlier one to be treated alike.
//!
//! The stages look at layer 2 only, and so does the key: both addresses, the type field, up to two VLAN tags
//! with the type field behind them, and the port where the frame entered. What stands behind the last type
//! field is masked, so that all packets between two stations share one record.
//!
//! A stage that looks further needs a deeper key, or its decisions would be replayed for frames which it never
//! saw: another word, filled for the ports whose policy has such a stage at work and zero for all others, or,
//! for a question with few answers, the bits of the third word that are free.

use std::hash::{BuildHasher, Hasher};

use crate::ids::PortIndex;

/// Hashes keys; seeded.
pub(crate) type FlowHasher = foldhash::quality::FixedState;

/// Bytes of a head that a key may cover: an Ethernet header with two VLAN tags.
const COVERED: usize = 22;

/// The type fields that announce a VLAN tag (IEEE 802.1Q-2018, 9.5: 0x8100 and 0x88a8), as they stand in a
/// word that was read in little-endian order.
const TAGS: [u64; 2] = [0x0081, 0xa888];

/// What a record is found by.
///
/// * word 0: the destination address and the source address's first two bytes,
/// * word 1: the source address's last four bytes, the type field, and the VLAN tag if the type announces one,
/// * word 2: the source port in bits 0 to 11; bits 12 to 15 are free; in tagged frames, the type field behind
///   the tag in bits 16 to 31, and if that announces another tag, it and its type field in bits 32 to 63.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub(crate) struct FlowKey([u64; 3]);

impl FlowKey {
    /// The key of a frame that entered at `source`. A frame whose head is shorter than what a key may cover
    /// has none: it is decided about each time.
    #[inline]
    pub(crate) fn of(source: PortIndex, head: &[u8]) -> Option<Self> {
        let bytes = head.first_chunk::<COVERED>()?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let (first, second, port) = (word(0), word(8), u64::from(source.raw()));
        if !announces_tag(second >> 32) {
            return Some(Self([first, second & 0xffff_ffff_ffff, port]));
        }
        let behind = word(14);
        let mask = if announces_tag(behind >> 16) { !0xffff } else { 0xffff_0000 };
        Some(Self([first, second, (behind & mask) | port]))
    }

    /// Whether both are the same. Word by word in registers: what the compiler makes of comparing arrays waits
    /// for words that were just stored.
    #[inline]
    pub(crate) fn is(self, other: Self) -> bool {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        (a ^ d) | (b ^ e) | (c ^ f) == 0
    }

    /// Names the bucket, and tells records in it apart.
    #[inline]
    pub(crate) fn hash(self, hasher: &FlowHasher) -> u64 {
        let mut hasher = hasher.build_hasher();
        for word in self.0 {
            hasher.write_u64(word);
        }
        hasher.finish()
    }
}

#[inline]
fn announces_tag(word: u64) -> bool {
    TAGS.contains(&(word & 0xffff))
}
