//! The watch over a worker's writes to the eventfds of peers: which one is under way, told to another thread.

use super::primitives::{AtomicI32, AtomicU16, AtomicU64, Ordering, fence};

/// Says which eventfd of which port a worker is writing to just now.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct WriteWatch {
    /// Odd while a write is under way.
    sequence: AtomicU64,
    descriptor: AtomicI32,
    port: AtomicU16,
}

impl WriteWatch {
    /// Notes that the worker, who alone may call this, begins to write.
    #[inline]
    pub(in crate::dataplane) fn begin(&self, port: u16, descriptor: i32) {
        // Whoever reads one of the two must see the end of the write before, too.
        fence(Ordering::Release);
        self.descriptor.store(descriptor, Ordering::Relaxed);
        self.port.store(port, Ordering::Relaxed);
        self.step();
    }

    /// Notes that the write returned.
    #[inline]
    pub(in crate::dataplane) fn end(&self) {
        self.step();
    }

    #[inline]
    fn step(&self) {
        let next = self.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.sequence.store(next, Ordering::Release);
    }

    /// The sequence now, and what is being written to if that is so since it was `before`.
    pub(in crate::dataplane) fn stuck_since(&self, before: u64) -> (u64, Option<(u16, i32)>) {
        let now = self.sequence.load(Ordering::Acquire);
        if now.is_multiple_of(2) || now != before {
            return (now, None);
        }
        let place = (self.port.load(Ordering::Relaxed), self.descriptor.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = self.sequence.load(Ordering::Relaxed) == now;
        (now, same.then_some(place))
    }
}
