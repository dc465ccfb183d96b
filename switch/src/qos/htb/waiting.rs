//! Who waits until when: a heap in which each waiter knows its place.
//!
//! Four children a node: with ten thousand waiters it is seven levels deep. It finds the very nanosecond of the next
//! event, for which its owner can sleep.

use super::steps;
use crate::time::Nanos;

/// Not in the heap.
const OUT: u32 = u32::MAX;

/// Children of a node.
const ARITY: usize = 4;

/// The heap. Waiters are numbers below its capacity.
#[derive(Debug)]
pub(super) struct Waiting {
    heap: Vec<(Nanos, u32)>,
    places: Box<[u32]>,
}

impl Waiting {
    pub(super) fn new(capacity: usize) -> Self {
        Self { heap: Vec::with_capacity(capacity), places: vec![OUT; capacity].into() }
    }

    /// Who waits for the shortest time, and until when.
    #[inline]
    pub(super) fn first(&self) -> Option<(Nanos, u32)> {
        self.heap.first().copied()
    }

    /// Has `waiter` wait until `at`, whatever it waited for before.
    pub(super) fn set(&mut self, waiter: u32, at: Nanos) {
        self.remove(waiter);
        self.heap.push((at, waiter));
        self.rise(self.heap.len() - 1);
    }

    /// Has `waiter` wait no more.
    pub(super) fn remove(&mut self, waiter: u32) {
        let Some(place) = self.places.get_mut(waiter as usize) else { return };
        let place = std::mem::replace(place, OUT) as usize;
        if place >= self.heap.len() {
            return;
        }
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    /// Moves what stands at `place` up to where it belongs; gives that place.
    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            steps::count();
            let above = (place - 1) / ARITY;
            if self.heap[above].0 <= self.heap[place].0 {
                break;
            }
            self.heap.swap(above, place);
            self.note(place);
            place = above;
        }
        self.note(place);
        place
    }

    /// Moves what stands at `place` down to where it belongs.
    fn sink(&mut self, mut place: usize) {
        loop {
            steps::count();
            let children = place * ARITY + 1..(place * ARITY + 1 + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child].0) else { break };
            if self.heap[place].0 <= self.heap[least].0 {
                break;
            }
            self.heap.swap(place, least);
            self.note(place);
            place = least;
        }
        self.note(place);
    }

    #[inline]
    fn note(&mut self, place: usize) {
        let waiter = self.heap[place].1 as usize;
        self.places[waiter] = u32::try_from(place).unwrap_or(OUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_does_what_a_sorted_list_does(steps in proptest::collection::vec((0..40_u32, 0..100_u64, 0..4_u8), 1..300)) {
            let mut waiting = Waiting::new(40);
            let mut sorted: Vec<Option<u64>> = vec![None; 40];
            for (waiter, at, what) in steps {
                match what {
                    0 | 1 => {
                        waiting.set(waiter, Nanos(at));
                        sorted[waiter as usize] = Some(at);
                    }
                    2 => {
                        waiting.remove(waiter);
                        sorted[waiter as usize] = None;
                    }
                    _ => if let Some((at, first)) = waiting.first() {
                        prop_assert_eq!(sorted[first as usize].take(), Some(at.0));
                        waiting.remove(first);
                    }
                }
                prop_assert_eq!(waiting.first().map(|(at, _)| at.0), sorted.iter().flatten().min().copied());
            }
        }
    }
}
