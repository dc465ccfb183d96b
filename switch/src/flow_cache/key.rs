//! What a frame must have in common with an earlier one to be treated alike.
//!
//! The stages look at layer 2 only, and so does the key: both addresses, the type field, and the port and the
//! network where the frame entered. Tags that told the network are off by now; of one that stands there still the key
//! covers that it does and the type field behind it, but not what it says, which no stage asks. What stands behind the
//! last of these is masked, so that all packets between two stations share one record.
//!
//! A stage that looks further needs a deeper key, or its decisions would be replayed for frames which it never
//! saw: another word, filled for the ports whose policy has such a stage at work and zero for all others, or,
//! for a question with few answers, the bits of the third word that are free.

use std::hash::{BuildHasher, Hasher};

use crate::ids::{NetworkIndex, PortIndex};

/// Hashes keys; seeded.
pub(crate) type FlowHasher = foldhash::quality::FixedState;

/// Bytes of a head that has a key: an Ethernet header with two VLAN tags.
const COVERED: usize = 22;

/// What a record is found by.
///
/// * word 0: the destination address and the source address's first two bytes,
/// * word 1: the source address's last four bytes and the type field; bits 48 to 63 are free,
/// * word 2: the source port in bits 0 to 11; bits 12 to 15 are free; the type field behind a tag in bits 16 to 31;
///   where a tag told the network, it in bits 32 to 43, and bit 44. Bits 45 to 63 are free.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub(crate) struct FlowKey([u64; 3]);

impl FlowKey {
    /// The key of a frame that entered at `source` and has no tag, if that is so: see [`FlowKey::is_tagged`]. A frame
    /// whose head is shorter than what a key may cover has none: it is decided about each time.
    #[inline]
    pub(crate) fn untagged(source: PortIndex, head: &[u8]) -> Option<Self> {
        let bytes = head.first_chunk::<COVERED>()?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Some(Self([word(0), word(8) & 0xffff_ffff_ffff, u64::from(source.raw())]))
    }

    /// The key of a frame without the tags that told that it belongs to `network`.
    #[inline]
    pub(crate) fn classified(source: PortIndex, network: NetworkIndex, head: &[u8]) -> Option<Self> {
        let Self([first, second, port]) = Self::untagged(source, head)?;
        let behind = if announces_tag(second >> 32) { head.get(16..)?.first_chunk() } else { None };
        let behind = u64::from(behind.map_or(0, |kind| u16::from_le_bytes(*kind)));
        Some(Self([first, second, port | behind << 16 | u64::from(network.raw()) << 32 | 1 << 44]))
    }

    /// Whether a tag's type stands in the type field.
    #[inline]
    pub(crate) fn is_tagged(self) -> bool {
        announces_tag(self.0[1] >> 32)
    }

    /// Whether both are the same. Word by word in registers: what the compiler makes of comparing arrays waits
    /// for words that were just stored.
    #[inline]
    pub(crate) fn is(self, other: Self) -> bool {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        (a ^ d) | (b ^ e) | (c ^ f) == 0
    }

    /// The address of its sender, its first byte in the lowest eight bits.
    #[inline(always)]
    pub(crate) fn sender(self) -> u64 {
        let [first, second, _] = self.0;
        first >> 48 | (second & 0xffff_ffff) << 16
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

/// Whether the low 16 bits are a type field that announces a VLAN tag, read in little-endian order: 0x8100, 0x9100,
/// which differs from it in one bit, and 0x88a8.
#[inline]
fn announces_tag(word: u64) -> bool {
    word & 0xffef == 0x0081 || word & 0xffff == 0xa888
}
