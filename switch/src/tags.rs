//! What tells about a bucket's records without looking at them.
//!
//! A table whose buckets have sixteen records finds the one that is meant by eight bits of each one's hash, so that a miss costs
//! one cache line and a hit the record's own besides.

/// How many records share a bucket.
pub(crate) const SLOTS: usize = 16;

/// A byte with a value in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The tags of a bucket's records: eight bits of each one's hash, never 0; 0 where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tags([u64; SLOTS / 8]);

impl Tags {
    /// What `choose` makes of the first slot of a record that may have this hash and that it does not refuse.
    #[inline(always)]
    pub(crate) fn find<T>(&self, hash: u64, mut choose: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let pattern = tag_of(hash) * EACH;
        for (half, tags) in self.0.iter().enumerate() {
            let mut matching = zero_bytes(tags ^ pattern);
            while matching != 0 {
                let slot = half * 8 + lowest_byte(matching);
                if let Some(found) = choose(slot) {
                    return Some(found);
                }
                matching &= matching - 1;
            }
        }
        None
    }

    /// The first slot without a record.
    #[inline]
    pub(crate) fn free(&self) -> Option<usize> {
        match self.0.map(zero_bytes) {
            [0, 0] => None,
            [0, second] => Some(8 + lowest_byte(second)),
            [first, _] => Some(lowest_byte(first)),
        }
    }

    /// Notes that a record with this hash stands in `slot`.
    #[inline]
    pub(crate) fn set(&mut self, slot: usize, hash: u64) {
        let (tags, shift) = (&mut self.0[slot / 8], slot % 8 * 8);
        *tags = *tags & !(0xff << shift) | tag_of(hash) << shift;
    }

    /// Notes that no record stands in `slot`.
    pub(crate) fn clear(&mut self, slot: usize) {
        self.0[slot / 8] &= !(0xff << (slot % 8 * 8));
    }

    /// Loads them.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        self.0[0]
    }
}

/// The tag of a record with this hash: its upper bits, of which the bucket's number has none. It differs from that of an
/// empty place, 0, in more than the lowest bit: [`zero_bytes`] may mark what differs in that alone, and what stands in an
/// empty place is a record of an earlier epoch.
#[inline]
fn tag_of(hash: u64) -> u64 {
    (hash >> 56).max(2)
}

/// Bit 7 of each byte of `word` that is zero. A 1 above a zero byte may be marked too: whoever asks looks at the record
/// itself, or at the lowest mark only.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(EACH) & !word & (EACH << 7)
}

/// The number of the lowest byte that is marked.
#[inline]
fn lowest_byte(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_is_found_by_its_hash_and_the_first_free_one_is_given() {
        let mut tags = Tags::default();
        assert_eq!((tags.free(), tags.find(0, Some)), (Some(0), None));
        for slot in 0..SLOTS {
            assert_eq!(tags.free(), Some(slot));
            tags.set(slot, (slot as u64 / 2) << 56);
        }
        assert_eq!(tags.free(), None);
        assert_eq!(tags.find(7 << 56, Some), Some(14));
        assert_eq!(tags.find(7 << 56, |slot| (slot != 14).then_some(slot)), Some(15));
        assert_eq!(tags.find(9 << 56, Some), None);
        tags.clear(14);
        assert_eq!((tags.free(), tags.find(7 << 56, Some)), (Some(14), Some(15)));
    }

    proptest! {
        /// A mark stands at every zero byte, and the lowest mark stands at one.
        #[test]
        fn zero_bytes_are_marked(bytes: [u8; 8], zeros: u8) {
            let bytes: [u8; 8] = std::array::from_fn(|at| if zeros >> at & 1 == 1 { 0 } else { bytes[at] });
            let marks = zero_bytes(u64::from_le_bytes(bytes));
            for (at, &byte) in bytes.iter().enumerate() {
                prop_assert!(byte != 0 || marks >> (8 * at + 7) & 1 == 1);
            }
            if marks != 0 {
                prop_assert_eq!(bytes[lowest_byte(marks)], 0);
            }
        }
    }
}
