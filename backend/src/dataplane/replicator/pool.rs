//! The memory of flooded frames that wait for their turn: bounded for the process, fair to every port.

use std::sync::Arc;

use super::batch::Batch;
use crate::dataplane::buffers::{Bounds, LENGTHS, SharedMemory, Spares, buffer};

/// What the waiting frames of all workers hold together; one port's bound holds in each worker. What a port may always hold is a
/// frame or two and the list of its receivers: with 4096 ports that is 48 MiB more.
const BOUNDS: Bounds = Bounds { total: 64 << 20, each: 1 << 20, minimum: 12 << 10 };

/// Buffers of each length that a worker keeps for the next flood: at most 776 KiB.
const KEPT: [usize; LENGTHS.len()] = [0, 128, 16, 4];

/// Empty batches that a worker keeps.
const KEPT_BATCHES: usize = 32;

/// What the waiting frames of all workers hold.
#[derive(Debug)]
pub(in crate::dataplane) struct FloodMemory(SharedMemory);

impl Default for FloodMemory {
    fn default() -> Self {
        Self(SharedMemory::new(BOUNDS))
    }
}

#[cfg(test)]
impl FloodMemory {
    /// With another bound than the process's.
    pub(super) fn of(total: usize) -> Self {
        Self(SharedMemory::new(Bounds { total, ..BOUNDS }))
    }

    /// What is held now, in bytes.
    pub(super) fn taken(&self) -> usize {
        self.0.taken()
    }
}

/// One worker's buffers: those of waiting frames are counted, and a few are kept for the next ones.
pub(super) struct Pool {
    memory: Arc<FloodMemory>,
    spares: Spares,
    batches: Vec<Batch>,
}

impl Pool {
    pub(super) fn new(memory: Arc<FloodMemory>) -> Self {
        Self { memory, spares: Spares::new(KEPT), batches: Vec::with_capacity(KEPT_BATCHES) }
    }

    /// Takes `bytes` for a port that holds `held` already; says whether it may.
    pub(super) fn take(&self, bytes: usize, held: usize) -> bool {
        self.memory.0.take(bytes, held)
    }

    /// A buffer of one of the pool's lengths, already taken.
    pub(super) fn buffer(&mut self, length: usize) -> Box<[u8]> {
        self.spares.take(length).unwrap_or_else(|| buffer(length))
    }

    /// An empty batch.
    pub(super) fn batch(&mut self) -> Batch {
        self.batches.pop().unwrap_or_default()
    }

    /// Takes a batch apart: what it held may be taken again.
    pub(super) fn recycle(&mut self, mut batch: Batch) {
        self.memory.0.give_back(batch.taken);
        for buffer in batch.clear() {
            self.spares.keep(buffer);
        }
        if self.batches.len() < KEPT_BATCHES {
            self.batches.push(batch);
        }
    }
}
