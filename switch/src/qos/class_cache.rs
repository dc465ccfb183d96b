//! Classes of flows that were found before, so that the next frame of a flow asks no filter.
//!
//! A class is found again by all that filters look at, compared word for word, for one plan of one tree and as long as nobody says
//! that what ports are has changed. The table has a fixed size; a guest that makes a new flow of each frame pays with its own frames'
//! filters, and takes the place of a known one at every eighth only.

use super::filter::Subject;
use super::plan::ClassIndex;
use super::tree::Tree;
use crate::packet::Transport;

/// Flows that are known: 288 KiB.
const ENTRIES: usize = 4096;

/// Entries among which a flow's may stand.
const WAYS: usize = 2;

/// Newcomers of which one gets the place of a flow that is known.
const ADMITTED: u32 = 8;

/// Below so many filters asking costs no more than looking here, about 200 instructions.
const FILTERS_MIN: usize = 2;

/// All that filters look at, in words.
type Words = [u64; 6];

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    words: Words,
    /// Of the tree's plan; 0 is none's.
    generation: u64,
    epoch: u32,
    class: ClassIndex,
}

/// Classes of flows; each worker has its own.
#[derive(Debug)]
pub struct ClassCache {
    /// Taken when the first class is kept.
    entries: Box<[[Entry; WAYS]]>,
    /// Entries of earlier ones count no longer.
    epoch: u32,
    newcomers: u32,
    seed: u64,
}

impl ClassCache {
    /// An empty one. `seed` must be random and unknown to guests, who choose their addresses.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { entries: Box::default(), epoch: 0, newcomers: 0, seed }
    }

    /// Forgets all, since ports' groups may be others.
    pub fn clear(&mut self) {
        if let Some(epoch) = self.epoch.checked_add(1) {
            self.epoch = epoch;
        } else {
            *self = Self::new(self.seed);
        }
    }

    /// The class of `subject` in `tree`, whose plan has the number `generation`: never 0, and another one for each plan and tree. With
    /// `verify` the filters are asked in any case, and it hears of a class that they would not give; then theirs counts.
    pub fn class_of(
        &mut self,
        tree: &Tree,
        generation: u64,
        subject: &Subject<'_>,
        verify: Option<impl FnOnce(ClassIndex, ClassIndex)>,
    ) -> ClassIndex {
        if tree.filters() < FILTERS_MIN {
            return tree.class_of(subject);
        }
        let words = words(subject);
        let place = self.place(&words, generation);
        let Some(kept) = self.find(place, &words, generation) else {
            let class = tree.class_of(subject);
            self.keep(place, Entry { words, generation, epoch: self.epoch, class });
            return class;
        };
        let Some(differs) = verify else { return kept };
        let found = tree.class_of(subject);
        if found != kept {
            differs(kept, found);
        }
        found
    }

    fn is_valid(&self, entry: &Entry) -> bool {
        entry.generation != 0 && entry.epoch == self.epoch
    }

    #[inline]
    fn find(&self, place: usize, words: &Words, generation: u64) -> Option<ClassIndex> {
        let mut ways = self.entries.get(place)?.iter();
        let is_it = |entry: &&Entry| {
            entry.generation == generation && entry.epoch == self.epoch && entry.words == *words
        };
        ways.find(is_it).map(|entry| entry.class)
    }

    #[inline(never)]
    fn keep(&mut self, place: usize, entry: Entry) {
        if self.entries.is_empty() {
            self.entries = vec![[Entry::default(); WAYS]; ENTRIES / WAYS].into();
        }
        let Some(ways) = self.entries.get(place) else { return };
        let free = ways.iter().position(|entry| !self.is_valid(entry));
        if free.is_none() {
            self.newcomers = self.newcomers.wrapping_add(1);
            if !self.newcomers.is_multiple_of(ADMITTED) {
                return;
            }
        }
        let turn = (self.newcomers / ADMITTED) as usize % WAYS;
        if let Some(place) = self.entries.get_mut(place).and_then(|ways| ways.get_mut(free.unwrap_or(turn))) {
            *place = entry;
        }
    }

    /// Where a flow's entries stand.
    #[inline]
    fn place(&self, words: &Words, generation: u64) -> usize {
        let mixed = words.iter().fold(self.seed ^ generation, |hash, word| {
            let product = u128::from(hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let [high, low] = halves(product);
            high ^ low
        });
        usize::try_from((u128::from(mixed) * (ENTRIES / WAYS) as u128) >> 64).unwrap_or(0)
    }
}

#[inline]
fn halves(bits: u128) -> [u64; 2] {
    [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0))
}

/// All that [`Match::matches`](super::Match::matches) looks at, but for the groups of the port, which are the same as long as
/// [`ClassCache::clear`] is not called.
#[inline]
fn words(subject: &Subject<'_>) -> Words {
    let Subject { packet, network, port, groups: _, mark } = *subject;
    let number = |index: Option<usize>| index.map_or(0, |index| index as u64 + 1);
    let of_frame = number(port.map(|port| port.get())) << 32
        | number(network.map(|network| network.get())) << 16
        | u64::from(mark);
    let Some(packet) = packet else { return [0, 0, 0, 0, of_frame, 0] };
    let [source, destination] = [packet.source, packet.destination].map(|address| halves(address.to_bits()));
    let ports = match packet.transport {
        Transport::Tcp(tcp) => Some(tcp.ports),
        Transport::Ports(ports) => Some(ports),
        _ => None,
    };
    let of_ports =
        ports.map_or(0, |ports| 1 << 32 | u64::from(ports.source) << 16 | u64::from(ports.destination));
    let of_packet = 1 << 63 | u64::from(packet.protocol) << 48 | u64::from(packet.traffic_class >> 2) << 40;
    [source[0], source[1], destination[0], destination[1], of_frame, of_packet | of_ports]
}

#[cfg(test)]
#[path = "tests/class_cache.rs"]
mod tests;
