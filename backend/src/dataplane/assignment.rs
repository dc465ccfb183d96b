//! Which worker reads which transmit ring, and when a ring had better move.
//!
//! A ring weighs what it carried in the last second, and a little for being there. A ring that comes goes to the
//! worker with the least weight. When rings came or went, rings move at once while that makes the heaviest worker
//! lighter; while they stay, one ring moves if it takes a fifth off the heaviest worker's weight, and would have
//! in each of the last seconds. A move can therefore not be undone by the next one: the weights themselves would
//! have to change by as much first.
//!
//! Where the machine has several nodes (NUMA), a ring had better be with a worker of the node on which its guest's memory is: of workers with as
//! little to do one of these is taken, and a ring moves there if that makes nobody's weight greater than the greater one of both was. Evenness
//! comes first, since a worker that has too much loses frames, and a far one is only slower. No row of such moves goes round: none makes the
//! weights less even, and each that leaves them as they are brings a ring home.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use viaduct_switch::PortIndex;

/// What a ring weighs for being there: so much work a second that evenness in numbers no longer counts beside it.
const IDLE_WEIGHT: u64 = 10_000;

/// Seconds in a row for which a move must be worth it.
const SECONDS: u32 = 3;

/// Bytes that cost as much as a frame.
const BYTES_OF_A_FRAME: u64 = 1024;

/// What a ring carried, told by the worker that has it. On a line of its own, since nobody else writes to it.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Meter(AtomicU64);

impl Meter {
    /// Counts a burst; for the ring's one worker.
    #[inline]
    pub(super) fn add(&self, frames: u64, bytes: u64) {
        let carried = self.0.load(Ordering::Relaxed);
        self.0.store(carried.wrapping_add(frames + bytes / BYTES_OF_A_FRAME), Ordering::Relaxed);
    }
}

/// A ring that moves from one worker to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Move {
    pub(super) port: PortIndex,
    pub(super) ring: u16,
    pub(super) from: usize,
    pub(super) to: usize,
}

struct Assigned {
    port: PortIndex,
    ring: u16,
    worker: usize,
    /// The node of its guest's memory.
    node: Option<u32>,
    meter: Arc<Meter>,
    /// The meter at the last look.
    seen: u64,
    /// Work a second at the last look.
    rate: u64,
}

impl Assigned {
    fn weight(&self) -> u64 {
        self.rate + IDLE_WEIGHT
    }
}

/// Who has what.
pub(super) struct Assignment {
    /// The node of each worker's processor.
    workers: Vec<Option<u32>>,
    rings: Vec<Assigned>,
    /// Rings came or went since the last look.
    changed: bool,
    /// Seconds in a row for which a move was worth it.
    uneven: u32,
}

impl Assignment {
    /// One for workers on these nodes.
    pub(super) fn new(workers: Vec<Option<u32>>) -> Self {
        Self { workers, rings: Vec::new(), changed: false, uneven: 0 }
    }

    /// Gives a ring to the worker with the least to do, of several to one on the `node` of its guest's memory; says which.
    pub(super) fn place(
        &mut self,
        port: PortIndex,
        ring: u16,
        meter: Arc<Meter>,
        node: Option<u32>,
    ) -> usize {
        let worker = self.lightest(&self.weights(), node).map_or(0, |(worker, _)| worker);
        let seen = meter.0.load(Ordering::Relaxed);
        self.rings.push(Assigned { port, ring, worker, node, meter, seen, rate: 0 });
        self.changed = true;
        worker
    }

    /// Notes on which node a port's guest has its memory.
    pub(super) fn settle(&mut self, port: PortIndex, node: Option<u32>) {
        for ring in self.rings.iter_mut().filter(|ring| ring.port == port) {
            self.changed |= ring.node != node;
            ring.node = node;
        }
    }

    /// The workers that have a port's rings.
    pub(super) fn workers_of(&self, port: PortIndex) -> impl Iterator<Item = usize> {
        self.rings.iter().filter(move |ring| ring.port == port).map(|ring| ring.worker)
    }

    /// Forgets a port's rings.
    pub(super) fn remove(&mut self, port: PortIndex) {
        self.rings.retain(|ring| ring.port != port);
        self.changed = true;
    }

    /// Forgets one ring of a port.
    pub(super) fn remove_ring(&mut self, port: PortIndex, ring: u16) {
        self.rings.retain(|known| (known.port, known.ring) != (port, ring));
        self.changed = true;
    }

    /// The move that evens out what came and went, if one is left to be made.
    pub(super) fn after_change(&mut self) -> Option<Move> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        // Less than a ring's weight is not worth it, and such moves come to an end.
        let found = self.best_move(|before, after| after + IDLE_WEIGHT <= before);
        let found = found.or_else(|| self.move_home());
        self.changed = found.is_some();
        found
    }

    /// Looks at what was carried since the last call, `elapsed_ms` ago; gives the move that evens it out, if that
    /// has been worth it for long enough.
    pub(super) fn measure(&mut self, elapsed_ms: u64) -> Option<Move> {
        for ring in &mut self.rings {
            let carried = ring.meter.0.load(Ordering::Relaxed);
            let since = carried.wrapping_sub(std::mem::replace(&mut ring.seen, carried));
            ring.rate = since.saturating_mul(1000) / elapsed_ms.max(1);
        }
        let found = self.best_move(|before, after| after <= before / 5 * 4);
        self.uneven = if found.is_some() { self.uneven + 1 } else { 0 };
        found.filter(|_| self.uneven >= SECONDS).inspect(|_| self.uneven = 0)
    }

    /// Notes that a ring moved.
    pub(super) fn moved(&mut self, made: Move) {
        let its = |ring: &&mut Assigned| (ring.port, ring.ring) == (made.port, made.ring);
        if let Some(ring) = self.rings.iter_mut().find(its) {
            ring.worker = made.to;
        }
    }

    fn weights(&self) -> Vec<u64> {
        let mut weights = vec![0; self.workers.len()];
        for ring in &self.rings {
            if let Some(weight) = weights.get_mut(ring.worker) {
                *weight += ring.weight();
            }
        }
        weights
    }

    /// The ring whose move from the heaviest worker to the lightest leaves the heavier of both lightest, if that
    /// is `worth` it, given the weight before and after.
    fn best_move(&self, worth: impl Fn(u64, u64) -> bool) -> Option<Move> {
        let weights = self.weights();
        let (from, before) = weights.iter().copied().enumerate().max_by_key(|(_, weight)| *weight)?;
        let (_, lightest) = self.lightest(&weights, None)?;
        let after = |ring: &Assigned| (before - ring.weight()).max(lightest + ring.weight());
        let best = self.rings.iter().filter(|ring| ring.worker == from).min_by_key(|ring| after(ring))?;
        let (to, _) = self.lightest(&weights, best.node)?;
        worth(before, after(best)).then_some(Move { port: best.port, ring: best.ring, from, to })
    }

    /// The worker with the least weight, and that; of several one on this node.
    fn lightest(&self, weights: &[u64], node: Option<u32>) -> Option<(usize, u64)> {
        let is_far = |worker: usize| node.is_some() && self.workers.get(worker).copied().flatten() != node;
        let workers = weights.iter().copied().enumerate();
        workers.min_by_key(|(worker, weight)| (*weight, is_far(*worker)))
    }

    /// A move to the node of a guest's memory after which nobody has more than the heavier one of both had.
    fn move_home(&self) -> Option<Move> {
        let weights = self.weights();
        let node_of = |worker: usize| self.workers.get(worker).copied().flatten();
        let of = |ring: &Assigned| {
            let from = weights.get(ring.worker).copied()?;
            let near =
                weights.iter().copied().enumerate().filter(|(worker, _)| node_of(*worker) == ring.node);
            let (to, weight) = near.min_by_key(|(_, weight)| *weight)?;
            let made = Move { port: ring.port, ring: ring.ring, from: ring.worker, to };
            (weight + ring.weight() <= from).then_some(made)
        };
        let far = self.rings.iter().filter(|ring| ring.node.is_some() && node_of(ring.worker) != ring.node);
        far.filter_map(of).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(workers: usize, ports: usize) -> (Assignment, Vec<Arc<Meter>>) {
        let mut assignment = Assignment::new(vec![None; workers]);
        let meters: Vec<Arc<Meter>> = (0..ports).map(|_| Arc::default()).collect();
        for (index, meter) in meters.iter().enumerate() {
            assignment.place(PortIndex::new(index).unwrap(), 1, Arc::clone(meter), None);
        }
        settle(&mut assignment);
        (assignment, meters)
    }

    fn settle(assignment: &mut Assignment) -> usize {
        let mut moves = 0;
        while let Some(found) = assignment.after_change() {
            assignment.moved(found);
            moves += 1;
            assert!(moves < 100, "moves never end");
        }
        moves
    }

    fn counts(assignment: &Assignment) -> Vec<usize> {
        let of = |worker| assignment.rings.iter().filter(|ring| ring.worker == worker).count();
        (0..assignment.workers.len()).map(of).collect()
    }

    /// A second in which the rings carried this.
    fn second(assignment: &mut Assignment, meters: &[Arc<Meter>], frames: &[u64]) -> Option<Move> {
        meters.iter().zip(frames).for_each(|(meter, frames)| meter.add(*frames, 0));
        let found = assignment.measure(1000);
        found.into_iter().for_each(|found| assignment.moved(found));
        found
    }

    #[test]
    fn rings_are_spread_evenly_as_they_come_and_stay_so_as_they_go() {
        let (mut assignment, _meters) = assignment(2, 10);
        assert_eq!(counts(&assignment), [5, 5]);
        for port in [0, 2, 4, 6] {
            assignment.remove(PortIndex::new(port).unwrap());
        }
        assert_eq!(counts(&assignment), [1, 5]);
        assert_eq!(settle(&mut assignment), 2);
        assert_eq!(counts(&assignment), [3, 3]);
        assert_eq!(settle(&mut assignment), 0);
    }

    #[test]
    fn one_worker_has_them_all_and_nothing_moves() {
        let (mut assignment, meters) = assignment(1, 3);
        assert_eq!(counts(&assignment), [3]);
        assert!((0..10).all(|_| second(&mut assignment, &meters, &[1_000_000, 0, 0]).is_none()));
    }

    #[test]
    fn two_busy_rings_of_one_worker_are_parted_after_three_seconds_and_stay_parted() {
        let (mut assignment, meters) = assignment(2, 4);
        let busy = [2_000_000, 0, 2_000_000, 0];
        assert_eq!(assignment.rings[0].worker, assignment.rings[2].worker);
        assert_eq!(second(&mut assignment, &meters, &busy), None);
        assert_eq!(second(&mut assignment, &meters, &busy), None);
        assert!(second(&mut assignment, &meters, &busy).is_some());
        assert_ne!(assignment.rings[0].worker, assignment.rings[2].worker);
        assert!((0..20).all(|_| second(&mut assignment, &meters, &busy).is_none()));
        assert_eq!(settle(&mut assignment), 0, "evenness in numbers does not undo it");
    }

    #[test]
    fn loads_that_change_by_the_second_move_nothing() {
        let (mut assignment, meters) = assignment(2, 4);
        for round in 0..30 {
            let at = |ring: u64| if (ring + round) % 4 < 2 { 900_000 } else { 100_000 };
            let frames: Vec<u64> = (0..4).map(at).collect();
            assert_eq!(second(&mut assignment, &meters, &frames), None);
        }
    }

    /// Where the rings of ports are, whose guests have their memory on these nodes.
    fn placed(workers: &[u32], nodes: &[Option<u32>]) -> (Assignment, Vec<usize>) {
        let mut assignment = Assignment::new(workers.iter().copied().map(Some).collect());
        for (port, node) in nodes.iter().enumerate() {
            assignment.place(PortIndex::new(port).unwrap(), 1, Arc::default(), *node);
        }
        settle(&mut assignment);
        let workers = assignment.rings.iter().map(|ring| ring.worker).collect();
        (assignment, workers)
    }

    #[test]
    fn of_workers_with_as_little_to_do_those_near_to_the_memory_are_taken() {
        assert_eq!(placed(&[0, 0, 1, 1], &[Some(1), Some(1), Some(0), Some(0)]).1, [2, 3, 0, 1]);
        assert_eq!(placed(&[0, 1], &[Some(1), Some(0), Some(1), Some(0)]).1, [1, 0, 1, 0]);
        assert_eq!(placed(&[0, 1], &[None, Some(0)]).1, [0, 1], "nobody makes room for it");
        assert_eq!(placed(&[0, 0], &[Some(7), Some(7)]).1, [0, 1], "there is no such worker");
        let (crowded, _) = placed(&[0, 1], &[Some(1); 10]);
        assert_eq!(counts(&crowded), [5, 5], "evenness comes first");
    }

    #[test]
    fn a_ring_moves_to_its_memory_once_that_is_known_and_all_moves_come_to_an_end() {
        let (mut assignment, workers) = placed(&[0, 0, 1], &[None]);
        assert_eq!(workers, [0]);
        let port = PortIndex::new(0).unwrap();
        assignment.settle(port, Some(1));
        assert_eq!(settle(&mut assignment), 1);
        assert_eq!(assignment.workers_of(port).collect::<Vec<_>>(), [2]);
        assignment.settle(port, Some(1));
        assert_eq!(settle(&mut assignment), 0, "nothing new");
        // Who is busy stays where the others are not.
        let (mut assignment, meters) = self::assignment(2, 4);
        assignment.workers = vec![Some(0), Some(1)];
        second(&mut assignment, &meters, &[2_000_000, 0, 0, 0]);
        let busy = assignment.rings[0].worker;
        for port in 0..4 {
            assignment.settle(PortIndex::new(port).unwrap(), Some(u32::try_from(busy).unwrap()));
        }
        settle(&mut assignment);
        assert_eq!(assignment.rings.iter().filter(|ring| ring.worker == busy).count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_moves_go_round(
            workers in proptest::collection::vec(0..3_u32, 1..6),
            nodes in proptest::collection::vec(proptest::option::of(0..3_u32), 0..20),
            rates in proptest::collection::vec(0..100_000_u64, 20),
        ) {
            let (mut assignment, _) = placed(&workers, &nodes);
            for (ring, rate) in assignment.rings.iter_mut().zip(rates) {
                ring.rate = rate;
            }
            assignment.changed = true;
            settle(&mut assignment);
        }
    }

    #[test]
    fn a_single_busy_ring_is_left_where_it_is() {
        let (mut assignment, meters) = assignment(2, 2);
        assert!((0..10).all(|_| second(&mut assignment, &meters, &[3_000_000, 0]).is_none()));
        assert_eq!(counts(&assignment), [1, 1]);
    }
}
