//! Frames that wait for a receiver which had no free buffer: a bounded queue of owned copies.
//!
//! It does what the transmit queue of a TAP device does: a burst of super-frames that a guest's ring of 256
//! buffers can't take at once is not lost. A receiver that never refills its ring fills only its own queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::{Segment, copy_out};

/// Bytes that one queue may hold.
pub(super) const BACKLOG_BYTES: usize = 1 << 20;

/// Frames that one queue may hold, as in a TAP device (`txqueuelen` 1000).
const BACKLOG_FRAMES: usize = 1000;

/// Bytes that all queues of one port may hold together.
const BACKLOG_PORT_BYTES: usize = 8 << 20;

/// Bytes that all queues of the process may hold together.
const BACKLOG_TOTAL_BYTES: usize = 128 << 20;

/// What all queues of the process have taken together.
static RESERVED: AtomicUsize = AtomicUsize::new(0);

/// Where that is counted.
struct Total(&'static AtomicUsize);

impl Default for Total {
    fn default() -> Self {
        Self(&RESERVED)
    }
}

/// Owned frames, oldest first. The memory is taken at the first congestion and kept until the ring goes.
#[derive(Default)]
pub(super) struct Backlog {
    /// What the port's queues have taken together.
    share: Arc<AtomicUsize>,
    total: Total,
    /// Was empty when it was last tidied.
    idle: bool,
    frames: VecDeque<Waiting>,
    bytes: Vec<u8>,
    /// Where the next frame is written; the oldest one begins at its `start`.
    end: usize,
}

/// One frame that waits.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) header: [u8; 12],
    start: usize,
    len: usize,
    /// The sender's view of the length, for the counters.
    pub(super) length: u32,
}

impl Backlog {
    /// An empty one, which shares the port's bound with the others that have the same `share`.
    pub(super) fn new(share: &Arc<AtomicUsize>) -> Self {
        let mut backlog = Self::default();
        backlog.share = Arc::clone(share);
        backlog
    }

    /// An empty one, which shares the port's bound with this one.
    pub(super) fn beside(&self) -> Self {
        Self::new(&self.share)
    }

    /// Gives the memory back if nothing waited since the last call.
    pub(super) fn tidy(&mut self) {
        if self.is_empty() && std::mem::replace(&mut self.idle, true) {
            self.give_back();
            self.bytes = Vec::new();
        }
    }

    fn give_back(&mut self) {
        if !self.bytes.is_empty() {
            self.total.0.fetch_sub(BACKLOG_BYTES, Ordering::Relaxed);
            self.share.fetch_sub(BACKLOG_BYTES, Ordering::Relaxed);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The oldest frame and its bytes.
    pub(super) fn first(&self) -> Option<(Waiting, &[u8])> {
        let first = *self.frames.front()?;
        Some((first, self.bytes.get(first.start..first.start + first.len)?))
    }

    /// The frames in their order, each with the place where it lies until it is popped.
    pub(super) fn iter(&mut self) -> impl Iterator<Item = (Waiting, Segment)> {
        let bytes = self.bytes.as_mut_ptr();
        self.frames.iter().map(move |frame| {
            let len = u32::try_from(frame.len).unwrap_or(0);
            (*frame, Segment { host: bytes.wrapping_add(frame.start), len })
        })
    }

    /// Throws all of them away; gives how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        self.end = 0;
        self.frames.drain(..).count() as u64
    }

    pub(super) fn pop(&mut self) {
        self.frames.pop_front();
        if self.frames.is_empty() {
            self.end = 0;
        }
    }

    /// Copies a frame in; says whether there was room.
    pub(super) fn push(&mut self, header: &[u8; 12], head: &[u8], rest: &[Segment], length: u32) -> bool {
        let len = head.len() + rest.iter().map(|segment| segment.len as usize).sum::<usize>();
        self.idle = false;
        let Some(start) = self.room(len) else { return false };
        let Some(place) = self.bytes.get_mut(start..start + len) else { return false };
        copy_out(head, rest, place);
        self.end = start + len;
        self.frames.push_back(Waiting { header: *header, start, len, length });
        true
    }

    /// Where `len` bytes in a row are free, if anywhere.
    fn room(&mut self, len: usize) -> Option<usize> {
        if self.frames.len() >= BACKLOG_FRAMES || !self.reserve() {
            return None;
        }
        let Some(oldest) = self.frames.front().map(|frame| frame.start) else {
            return (len <= BACKLOG_BYTES).then_some(0);
        };
        let wrapped = self.end <= oldest;
        match () {
            () if wrapped => (self.end + len <= oldest).then_some(self.end),
            () if self.end + len <= BACKLOG_BYTES => Some(self.end),
            () => (len <= oldest).then_some(0),
        }
    }

    /// Takes the memory, if the process may have more of it.
    fn reserve(&mut self) -> bool {
        if !self.bytes.is_empty() {
            return true;
        }
        if !take(&self.share, BACKLOG_PORT_BYTES) {
            return false;
        }
        if !take(self.total.0, BACKLOG_TOTAL_BYTES) {
            self.share.fetch_sub(BACKLOG_BYTES, Ordering::Relaxed);
            return false;
        }
        self.bytes = vec![0; BACKLOG_BYTES];
        self.frames.reserve(BACKLOG_FRAMES);
        true
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Takes one queue's bytes out of what is bounded by `most`.
fn take(taken: &AtomicUsize, most: usize) -> bool {
    let fits = taken.fetch_add(BACKLOG_BYTES, Ordering::Relaxed) + BACKLOG_BYTES <= most;
    if !fits {
        taken.fetch_sub(BACKLOG_BYTES, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(backlog: &mut Backlog, byte: u8, len: usize) -> bool {
        backlog.push(&[byte; 12], &vec![byte; len], &[], 0)
    }

    #[test]
    fn frames_come_out_in_order_with_their_bytes_also_around_the_end() {
        let mut backlog = Backlog::default();
        let mut next_in = 0u64;
        let mut next_out = 0u64;
        for round in 0..20_000u64 {
            let len = usize::try_from(round * 7919 % 65_551).unwrap();
            if round % 3 < 2 && push(&mut backlog, u8::try_from(next_in % 251).unwrap(), len) {
                next_in += 1;
            }
            if round % 3 == 2 {
                let Some((first, bytes)) = backlog.first() else { continue };
                let byte = u8::try_from(next_out % 251).unwrap();
                assert_eq!(first.header, [byte; 12]);
                assert!(bytes.iter().all(|b| *b == byte));
                backlog.pop();
                next_out += 1;
            }
        }
        assert!(next_out > 1000);
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_after_one_left() {
        let mut backlog = Backlog::default();
        let mut count = 0;
        while push(&mut backlog, 1, 65_550) {
            count += 1;
        }
        assert_eq!(count, BACKLOG_BYTES / 65_550);
        backlog.pop();
        assert!(push(&mut backlog, 2, 65_550));
        assert!(!push(&mut backlog, 2, 65_550));
    }

    #[test]
    fn a_port_has_a_share_of_its_own_and_gives_memory_back_when_it_rests() {
        let share = Arc::default();
        let mut queues: Vec<Backlog> = (0..10).map(|_| Backlog::new(&share)).collect();
        let taken = queues.iter_mut().filter_map(|queue| push(queue, 1, 60).then_some(())).count();
        assert_eq!(taken, BACKLOG_PORT_BYTES / BACKLOG_BYTES);
        queues[0].pop();
        queues[0].tidy();
        assert!(!push(&mut queues[9], 1, 60), "it may come back at once");
        queues[0].tidy();
        assert!(push(&mut queues[9], 1, 60));
        drop(queues);
        assert_eq!(share.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_process_has_a_bound_beyond_which_ports_that_have_nothing_get_nothing() {
        let total: &'static AtomicUsize = Box::leak(Box::default());
        let queue = || {
            let mut queue = Backlog::default();
            queue.total = Total(total);
            queue
        };
        let most = BACKLOG_TOTAL_BYTES / BACKLOG_BYTES;
        let mut queues: Vec<Backlog> = (0..most + 5).map(|_| queue()).collect();
        let taken: Vec<bool> = queues.iter_mut().map(|queue| push(queue, 1, 60)).collect();
        assert!(taken[..most].iter().all(|taken| *taken) && !taken[most..].contains(&true));
        assert_eq!(total.load(Ordering::Relaxed), BACKLOG_TOTAL_BYTES);
        let refused = queues.last().unwrap();
        assert_eq!(refused.share.load(Ordering::Relaxed), 0, "who is refused holds no share of his port");
        // What one gives back, another may have.
        drop(queues.swap_remove(0));
        assert!(push(&mut queues[most], 1, 60));
        drop(queues);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn small_frames_are_bounded_in_number() {
        let mut backlog = Backlog::default();
        assert_eq!((0..5000).filter(|_| push(&mut backlog, 1, 60)).count(), BACKLOG_FRAMES);
    }
}
