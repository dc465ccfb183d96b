//! The memory of flooded frames that wait for their turn: bounded for the process, fair to every port.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::batch::Batch;

/// Bytes that the waiting frames of all workers may hold together, each port's minimum aside.
const TOTAL_BYTES: usize = 64 << 20;

/// Bytes that the waiting frames of one port may hold in one worker.
const PORT_BYTES: usize = 1 << 20;

/// Bytes that a port may always hold, whatever the others do: a frame or two and the list of its receivers. With 4096
/// ports that is 48 MiB more.
const PORT_MINIMUM: usize = 12 << 10;

/// A port takes at most this part of what is free, so that there is always room for one that has little: a dynamic
/// threshold (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
const SHARE: usize = 4;

/// Lengths of buffers: a frame of an Ethernet's MTU, a jumbo frame, a super-frame.
const LENGTHS: [usize; 3] = [2048, 16 << 10, 66_048];

/// Buffers of each length that a worker keeps for the next flood: at most 776 KiB.
const KEPT: [usize; 3] = [128, 16, 4];

/// Empty batches that a worker keeps.
const KEPT_BATCHES: usize = 32;

/// What the waiting frames of all workers hold.
#[derive(Debug)]
pub(in crate::dataplane) struct FloodMemory {
    taken: AtomicUsize,
    total: usize,
}

impl Default for FloodMemory {
    fn default() -> Self {
        Self { taken: AtomicUsize::new(0), total: TOTAL_BYTES }
    }
}

impl FloodMemory {
    /// With another bound than the process's.
    #[cfg(test)]
    pub(super) fn of(total: usize) -> Self {
        Self { taken: AtomicUsize::new(0), total }
    }

    /// What is held now, in bytes.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `bytes` for a port that holds `held` already; says whether it may.
    fn take(&self, bytes: usize, held: usize) -> bool {
        let free = self.total.saturating_sub(self.taken.fetch_add(bytes, Ordering::Relaxed));
        let fits = held + bytes <= PORT_BYTES.min(free / SHARE).max(PORT_MINIMUM);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One worker's buffers: those of waiting frames are counted, and a few are kept for the next ones.
pub(super) struct Pool {
    memory: Arc<FloodMemory>,
    kept: [Vec<Box<[u8]>>; LENGTHS.len()],
    batches: Vec<Batch>,
}

impl Pool {
    pub(super) fn new(memory: Arc<FloodMemory>) -> Self {
        Self { memory, kept: KEPT.map(Vec::with_capacity), batches: Vec::with_capacity(KEPT_BATCHES) }
    }

    /// Takes `bytes` for a port that holds `held` already; says whether it may.
    pub(super) fn take(&self, bytes: usize, held: usize) -> bool {
        self.memory.take(bytes, held)
    }

    /// The length of the shortest buffer for `len` bytes; `None`: there is none so long.
    pub(super) fn length_for(len: usize) -> Option<usize> {
        LENGTHS.into_iter().find(|length| *length >= len)
    }

    /// A buffer of one of the pool's lengths, already taken.
    pub(super) fn buffer(&mut self, length: usize) -> Box<[u8]> {
        let place = LENGTHS.iter().position(|known| *known == length);
        let kept = place.and_then(|place| self.kept.get_mut(place)).and_then(Vec::pop);
        kept.unwrap_or_else(|| vec![0; length].into())
    }

    /// An empty batch.
    pub(super) fn batch(&mut self) -> Batch {
        self.batches.pop().unwrap_or_default()
    }

    /// Takes a batch apart: what it held may be taken again.
    pub(super) fn recycle(&mut self, mut batch: Batch) {
        self.memory.give_back(batch.taken);
        for buffer in batch.clear() {
            let place = LENGTHS.iter().position(|known| *known == buffer.len());
            let Some(kept) = place.and_then(|place| self.kept.get_mut(place)) else { continue };
            if kept.len() < kept.capacity() {
                kept.push(buffer);
            }
        }
        if self.batches.len() < KEPT_BATCHES {
            self.batches.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_its_bound_and_a_newcomer_always_finds_room() {
        let memory = FloodMemory::of(8 << 20);
        let mut held = [0; 200];
        for held in &mut held {
            while memory.take(2048, *held) {
                *held += 2048;
            }
            assert!(*held >= 2048, "no room for a newcomer");
            assert!(*held <= PORT_BYTES);
        }
        assert_eq!(held[0], PORT_BYTES);
        assert_eq!(memory.taken(), held.iter().sum::<usize>());
        assert!(memory.taken() <= (8 << 20) + 200 * PORT_MINIMUM);
    }
}
