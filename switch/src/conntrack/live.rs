//! Which entries of a part of the table have connections: a bit each, and one for each 64 of these, so that the next one is
//! found in a few steps however few there are.

const BITS: u32 = u64::BITS;

/// Numbers below a bound.
#[derive(Debug)]
pub(super) struct Live {
    words: Box<[u64]>,
    /// A bit for each word that is not 0.
    groups: Box<[u64]>,
}

impl Live {
    /// None of the numbers below `bound`.
    pub(super) fn new(bound: u32) -> Self {
        let words = bound.div_ceil(BITS);
        let zeroes = |count: u32| vec![0; count as usize].into();
        Self { words: zeroes(words), groups: zeroes(words.div_ceil(BITS)) }
    }

    /// The memory that it takes beside its own size, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.words) + size_of_val(&*self.groups)
    }

    pub(super) fn insert(&mut self, number: u32) {
        let word = number / BITS;
        self.words[word as usize] |= 1 << (number % BITS);
        self.groups[(word / BITS) as usize] |= 1 << (word % BITS);
    }

    pub(super) fn remove(&mut self, number: u32) {
        let word = number / BITS;
        let bits = &mut self.words[word as usize];
        *bits &= !(1 << (number % BITS));
        if *bits == 0 {
            self.groups[(word / BITS) as usize] &= !(1 << (word % BITS));
        }
    }

    /// The first number from `from` on; behind the last one comes the first.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        self.at_or_after(from).or_else(|| self.at_or_after(0))
    }

    fn at_or_after(&self, from: u32) -> Option<u32> {
        let word = from / BITS;
        if let Some(bit) = first_from(*self.words.get(word as usize)?, from % BITS) {
            return Some(word * BITS + bit);
        }
        let (group, bit) = ((word + 1) / BITS, (word + 1) % BITS);
        let rest = self.groups.iter().enumerate().skip(group as usize);
        let word =
            rest.zip([bit].into_iter().chain(std::iter::repeat(0))).find_map(|((group, words), bit)| {
                first_from(*words, bit).map(|word| group * BITS as usize + word as usize)
            })?;
        let bits = self.words.get(word)?;
        Some(u32::try_from(word).ok()? * BITS + bits.trailing_zeros())
    }
}

/// The first bit from `bit` on.
fn first_from(bits: u64, bit: u32) -> Option<u32> {
    let rest = bits & u64::MAX << bit;
    (rest != 0).then(|| rest.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_one_is_found_across_words_and_groups_and_the_end() {
        let mut live = Live::new(20_000);
        assert_eq!(live.next(0), None);
        for number in [5, 4095, 4096, 19_999] {
            live.insert(number);
        }
        let found = [0, 5, 6, 4095, 4096, 4097, 19_999, 20_000].map(|from| live.next(from).unwrap());
        assert_eq!(found, [5, 5, 4095, 4095, 4096, 19_999, 19_999, 5]);
        live.remove(4096);
        assert_eq!(live.next(4096), Some(19_999));
        assert_eq!(live.next(u32::MAX), Some(5));
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_set_does(
            bound in 1..9000u32,
            steps in proptest::collection::vec((any::<bool>(), any::<u32>()), 1..300),
        ) {
            let (mut live, mut set) = (Live::new(bound), BTreeSet::new());
            for (puts_in, number) in steps {
                let number = number % bound;
                if puts_in {
                    live.insert(number);
                    set.insert(number);
                } else {
                    live.remove(number);
                    set.remove(&number);
                }
                let from = number.wrapping_mul(7) % (bound + 1);
                let expected = set.range(from..).next().or(set.first());
                prop_assert_eq!(live.next(from), expected.copied());
            }
        }
    }
}
