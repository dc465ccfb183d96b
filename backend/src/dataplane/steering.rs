//! Which queue pair of a guest a frame goes to: the one on which the guest sends the flow's other direction.
//!
//! Automatic receive steering (virtio 1.2, 5.1.6.5.6): a flow's packets belong on the receive queue that goes with
//! the transmit queue which the driver last used for it, since there its program runs. What the guest sends is noted
//! in a small table of its port. A flow that the guest never sent goes by its hash to one of the pairs that run.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use viaduct_switch::flow_hash::flow_hash;

/// Flows that are remembered for one port: 16 KiB.
const SLOTS: usize = 2048;

/// Seconds of silence after which a flow's pair is forgotten.
const EXPIRY_S: u16 = 300;

/// Seconds for which a flow keeps its place from another one that falls on it, so that neither changes its queue with
/// every frame.
const KEEP_S: u16 = 2;

/// Time as the tables keep it.
pub(super) fn seconds(elapsed: Duration) -> u16 {
    u16::try_from(elapsed.as_secs() & 0xffff).unwrap_or(0)
}

/// Where the flows of one port go; shared by all workers.
pub(super) struct Steering {
    seed: u64,
    /// The pairs that run, one for each of the port's receive queues.
    pairs: Vec<u16>,
    slots: Box<[AtomicU64]>,
}

/// What a slot says: all ones in an empty one, whose pair never runs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Noted {
    hash: u32,
    pair: u16,
    seen_s: u16,
}

impl Noted {
    fn unpack(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        Self {
            hash: u32::from_le_bytes([a, b, c, d]),
            pair: u16::from_le_bytes([e, f]),
            seen_s: u16::from_le_bytes([g, h]),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.hash) | u64::from(self.pair) << 32 | u64::from(self.seen_s) << 48
    }

    fn age_s(self, now_s: u16) -> u16 {
        now_s.wrapping_sub(self.seen_s)
    }
}

fn empty_slots() -> Box<[AtomicU64]> {
    (0..SLOTS).map(|_| AtomicU64::new(u64::MAX)).collect()
}

impl Steering {
    /// For the receive queues of `pairs`, in this order; `None` where there is nothing to choose. What was known
    /// `before` the port changed stays known, so that flows keep their queues.
    pub(super) fn new(pairs: Vec<u16>, before: Option<Self>) -> Option<Self> {
        if pairs.len() < 2 {
            return None;
        }
        Some(match before {
            Some(before) => Self { pairs, ..before },
            None => Self { seed: RandomState::new().hash_one(0), pairs, slots: empty_slots() },
        })
    }

    fn slot(&self, hash: u32) -> Option<&AtomicU64> {
        self.slots.get(hash as usize % SLOTS)
    }

    /// Takes note that the guest sent a frame on `pair`.
    pub(super) fn note(&self, head: &[u8], pair: u16, now_s: u16) {
        let hash = flow_hash(head, self.seed);
        let Some(slot) = self.slot(hash) else { return };
        let known = Noted::unpack(slot.load(Ordering::Relaxed));
        let new = Noted { hash, pair, seen_s: now_s };
        // Most frames say nothing new: the line stays shared.
        if known == new || known.hash != hash && known.pair != u16::MAX && known.age_s(now_s) < KEEP_S {
            return;
        }
        slot.store(new.pack(), Ordering::Relaxed);
    }

    /// The number of the receive queue for a frame.
    pub(super) fn queue(&self, head: &[u8], now_s: u16) -> usize {
        let hash = flow_hash(head, self.seed);
        let noted = self.slot(hash).map(|slot| Noted::unpack(slot.load(Ordering::Relaxed)));
        let noted = noted.filter(|noted| noted.hash == hash && noted.age_s(now_s) < EXPIRY_S);
        let by_hash = || usize::try_from((u64::from(hash) * self.pairs.len() as u64) >> 32).unwrap_or(0);
        noted.and_then(|noted| self.number(noted.pair)).unwrap_or_else(by_hash)
    }

    /// The queue of a pair, if it runs.
    fn number(&self, pair: u16) -> Option<usize> {
        let usual = usize::from(pair);
        let is_usual = self.pairs.get(usual) == Some(&pair);
        if is_usual { Some(usual) } else { self.pairs.iter().position(|running| *running == pair) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A UDP frame; `back` swaps the ends.
    fn frame(flow: u16, back: bool) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        let (mut ends, mut ports) = ([[10, 0, 0, 1], [10, 0, 0, 2]], [flow, 53]);
        if back {
            ends.reverse();
            ports.reverse();
        }
        frame[26..34].copy_from_slice(&ends.concat());
        frame[34..38].copy_from_slice(&ports.map(u16::to_be_bytes).concat());
        frame
    }

    #[test]
    fn replies_go_to_the_pair_that_sent_also_after_it_changed() {
        let steering = Steering::new(vec![0, 1, 2, 3], None).unwrap();
        let slot = |flow| flow_hash(&frame(flow, false), steering.seed) as usize % SLOTS;
        for flow in 0..100 {
            steering.note(&frame(flow, false), flow % 4, 1);
        }
        // Of those that fall on one place the first keeps it. How many do is a matter of the seed.
        let mut taken = HashSet::new();
        let keep_theirs: Vec<u16> = (0..100).filter(|flow| taken.insert(slot(*flow))).collect();
        assert!(keep_theirs.len() > 70, "places are spread: {}", keep_theirs.len());
        for flow in keep_theirs {
            assert_eq!(steering.queue(&frame(flow, true), 2), usize::from(flow % 4), "flow {flow}");
        }
        steering.note(&frame(7, false), 0, 3);
        steering.note(&frame(7, false), 2, 5);
        assert_eq!(steering.queue(&frame(7, true), 5), 2);
    }

    #[test]
    fn an_unknown_or_forgotten_flow_goes_by_its_hash_to_a_pair_that_runs() {
        let steering = Steering::new(vec![0, 2], None).unwrap();
        let chosen: Vec<_> = (0..100).map(|flow| steering.queue(&frame(flow, true), 0)).collect();
        assert!(chosen.contains(&0) && chosen.iter().all(|queue| *queue < 2));
        assert!(chosen.contains(&1));
        for pair in [0, 2] {
            steering.note(&frame(1, false), pair, 10);
            assert_eq!(steering.queue(&frame(1, true), 10), usize::from(pair / 2));
        }
        // Pair 1 does not run.
        steering.note(&frame(1, false), 1, 10);
        assert_eq!(steering.queue(&frame(1, true), 10), chosen[1]);
        let other = 1 - chosen[1];
        steering.note(&frame(1, false), u16::try_from(2 * other).unwrap(), 10);
        assert_eq!(steering.queue(&frame(1, true), 10 + EXPIRY_S - 1), other);
        assert_eq!(steering.queue(&frame(1, true), 10 + EXPIRY_S), chosen[1]);
    }

    #[test]
    fn a_flow_that_is_used_keeps_its_place_from_one_that_falls_on_it() {
        let steering = Steering::new(vec![0, 1], None).unwrap();
        let slot = |flow| flow_hash(&frame(flow, false), steering.seed) as usize % SLOTS;
        let (one, other) = (0..=u16::MAX)
            .find_map(|flow| {
                (1..3000).find(|with| flow != *with && slot(flow) == slot(*with)).map(|with| (flow, with))
            })
            .unwrap();
        steering.note(&frame(one, false), 1, 10);
        steering.note(&frame(other, false), 0, 11);
        assert_eq!(steering.queue(&frame(one, true), 11), 1);
        steering.note(&frame(other, false), 1, 12);
        assert_eq!(steering.queue(&frame(other, true), 12), 1);
    }

    #[test]
    fn flows_keep_their_queues_when_their_port_changes() {
        let few = Steering::new(vec![0, 1], None).unwrap();
        few.note(&frame(1, false), 1, 10);
        let by_hash: Vec<_> = (2..100).map(|flow| few.queue(&frame(flow, true), 10)).collect();
        let same = Steering::new(vec![0, 1], Some(few)).unwrap();
        assert_eq!(same.queue(&frame(1, true), 11), 1);
        assert!((2..100).map(|flow| same.queue(&frame(flow, true), 11)).eq(by_hash.iter().copied()));
        // With more pairs a flow goes the same way or further on.
        let more = Steering::new(vec![0, 1, 2, 3], Some(same)).unwrap();
        assert_eq!(more.queue(&frame(1, true), 12), 1);
        let later =
            (2..100).zip(by_hash).filter(|(flow, before)| more.queue(&frame(*flow, true), 12) < *before);
        assert_eq!(later.count(), 0);
    }

    #[test]
    fn one_pair_needs_no_table() {
        assert!(Steering::new(vec![0], None).is_none());
    }
}
