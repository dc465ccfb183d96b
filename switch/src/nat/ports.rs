//! Which ports of an outside address are taken: a bit each, and which words of these have none left, so that a free one is found
//! in a bounded number of steps however few there are.

/// Bits of a word.
const BITS: u16 = 64;

/// Words of 65,536 bits.
const WORDS: usize = 1024;

/// Words of a summary.
const GROUPS: usize = WORDS / 64;

/// The bits of even ports, and of odd ones.
const PARITY: [u64; 2] = [0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa];

/// The ports of one protocol of an address: 8,448 bytes.
#[derive(Clone, Debug)]
pub(super) struct PortSet {
    taken: Box<[u64]>,
    /// For each parity, a bit for each word that has no free port of it.
    full: [[u64; GROUPS]; 2],
}

impl Default for PortSet {
    fn default() -> Self {
        Self { taken: vec![0; WORDS].into(), full: [[0; GROUPS]; 2] }
    }
}

impl PortSet {
    pub(super) const BYTES: usize = WORDS * 8 + size_of::<Self>();

    /// Takes a port; says whether it was free.
    pub(super) fn take(&mut self, port: u16) -> bool {
        let word = usize::from(port / BITS);
        let bit = 1 << (port % BITS);
        let is_free = self.taken[word] & bit == 0;
        self.taken[word] |= bit;
        self.summarize(word);
        is_free
    }

    /// Gives a port back.
    pub(super) fn give(&mut self, port: u16) {
        let word = usize::from(port / BITS);
        self.taken[word] &= !(1 << (port % BITS));
        self.summarize(word);
    }

    fn summarize(&mut self, word: usize) {
        for (parity, full) in PARITY.iter().zip(&mut self.full) {
            let bit = 1 << (word % 64);
            let group = &mut full[word / 64];
            *group = if !self.taken[word] & parity == 0 { *group | bit } else { *group & !bit };
        }
    }

    /// The first free port of a parity, 0 or 1, from `from` to `to`. Looks at 18 words at most.
    pub(super) fn free(&self, from: u16, to: u16, parity: usize) -> Option<u16> {
        self.search(from, to, parity, &mut || {})
    }

    /// The same; `looks` is called for each word that is looked at.
    fn search(&self, from: u16, to: u16, parity: usize, looks: &mut impl FnMut()) -> Option<u16> {
        let word = usize::from(from / BITS);
        looks();
        let own = !self.taken[word] & PARITY[parity] & u64::MAX << (from % BITS);
        let found = if own == 0 { self.search_behind(word + 1, parity, looks) } else { at(word, own) };
        found.filter(|port| *port <= to)
    }

    /// The first free port of the words from `word` on.
    fn search_behind(&self, word: usize, parity: usize, looks: &mut impl FnMut()) -> Option<u16> {
        let (group, bit) = (word / 64, word % 64);
        let shifts = std::iter::once(bit).chain(std::iter::repeat(0));
        let mut groups = self.full[parity].iter().enumerate().skip(group).zip(shifts);
        let (number, open) = groups.find_map(|((number, full), bit)| {
            looks();
            let open = !full & u64::MAX << bit;
            (open != 0).then_some((number, open))
        })?;
        let word = number * 64 + open.trailing_zeros() as usize;
        looks();
        at(word, !self.taken[word] & PARITY[parity])
    }
}

/// The port of a word's lowest bit.
fn at(word: usize, bits: u64) -> Option<u16> {
    u16::try_from(word * 64 + bits.trailing_zeros() as usize).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_free_port_is_found() {
        let mut ports = PortSet::default();
        for port in 0..=u16::MAX {
            assert!(ports.take(port));
        }
        assert_eq!(ports.free(0, u16::MAX, 0), None);
        for port in [65_535, 1024, 63, 64] {
            ports.give(port);
            assert_eq!(ports.free(0, u16::MAX, usize::from(port % 2)), Some(port));
            assert_eq!(ports.free(0, u16::MAX, usize::from(port % 2 == 0)), None);
            assert!(ports.take(port) && !ports.take(port));
        }
    }

    /// The port that is found, and how many words were looked at.
    fn searched(ports: &PortSet, (from, to): (u16, u16), parity: usize) -> (Option<u16>, usize) {
        let mut words = 0;
        let found = ports.search(from, to, parity, &mut || words += 1);
        (found, words)
    }

    #[test]
    fn a_port_search_never_loops_long() {
        const WORDS_MAX: usize = 18;
        let starts = || (0..=u16::MAX).step_by(63).chain([1024, 65_023, u16::MAX]);
        let mut ports = PortSet::default();
        for from in starts() {
            assert_eq!(searched(&ports, (from, u16::MAX), usize::from(from % 2)), (Some(from), 1));
        }
        (0..=u16::MAX).for_each(|port| assert!(ports.take(port)));
        for (from, parity) in starts().flat_map(|from| [(from, 0), (from, 1)]) {
            let (found, words) = searched(&ports, (from, u16::MAX), parity);
            assert!(found.is_none() && words <= WORDS_MAX, "{words} words from {from} on a full set");
        }
        // One alone is free, and is found from wherever the search begins.
        let mut most = 0;
        for free in [1024, 4095, 4096, 32_767, 65_022, 65_534, u16::MAX] {
            ports.give(free);
            for (from, parity) in starts().flat_map(|from| [(from, 0), (from, 1)]) {
                let (found, words) = searched(&ports, (from, u16::MAX), parity);
                let is_there = from <= free && parity == usize::from(free % 2);
                assert_eq!(found, is_there.then_some(free));
                assert!(words <= WORDS_MAX, "{words} words from {from} to find {free}");
                most = most.max(words);
            }
            assert!(ports.take(free));
        }
        assert_eq!(most, WORDS_MAX, "the bound is one that is reached");
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_set_does(
            steps in prop::collection::vec((any::<bool>(), 0..400_u16, 0..400_u16, 0..2_usize), 1..300),
            base in 0..65_000_u16,
        ) {
            let (mut ports, mut taken) = (PortSet::default(), BTreeSet::new());
            for (takes, port, width, parity) in steps {
                let port = base + port;
                if takes {
                    prop_assert_eq!(ports.take(port), taken.insert(port));
                } else {
                    ports.give(port);
                    taken.remove(&port);
                }
                let to = port.saturating_add(width);
                let expected = (port..=to).find(|port| usize::from(port % 2) == parity && !taken.contains(port));
                prop_assert_eq!(ports.free(port, to, parity), expected);
            }
        }
    }
}
