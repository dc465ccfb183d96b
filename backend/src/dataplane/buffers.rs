//! Memory for frames that wait in copies of our own: bounded for the process, fair to everybody who has some waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How much may be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes that all may hold together, each one's minimum aside.
    pub(super) total: usize,
    /// Bytes that one may hold.
    pub(super) each: usize,
    /// Bytes that one may always hold, whatever the others do.
    pub(super) minimum: usize,
}

impl Bounds {
    /// Bytes that one may hold when all together hold `taken`.
    fn most_beside(&self, taken: usize) -> usize {
        self.each.min(self.total.saturating_sub(taken) / SHARE).max(self.minimum)
    }
}

/// One takes at most this part of what is free, so that there is always room for one that has little: a dynamic
/// threshold (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
const SHARE: usize = 4;

/// Lengths of buffers: a small packet, a frame of an Ethernet's MTU, a jumbo frame, a super-frame.
pub(super) const LENGTHS: [usize; 4] = [256, 2048, 16 << 10, 66_048];

/// What the waiting frames of the whole process hold.
#[derive(Debug)]
pub(super) struct SharedMemory {
    taken: AtomicUsize,
    bounds: Bounds,
}

impl SharedMemory {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { taken: AtomicUsize::new(0), bounds }
    }

    /// What is held now, in bytes.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `bytes` for one who holds `held` already; says whether he may.
    pub(super) fn take(&self, bytes: usize, held: usize) -> bool {
        let fits = held + bytes <= self.bounds.most_beside(self.taken.fetch_add(bytes, Ordering::Relaxed));
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// Whether one who holds `held` might take `bytes` now, once he gave back what he keeps, which is `kept`.
    pub(super) fn has_room(&self, bytes: usize, held: usize, kept: usize) -> bool {
        let taken = self.taken.load(Ordering::Relaxed).saturating_sub(kept);
        held + bytes <= self.bounds.most_beside(taken)
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The length of the shortest buffer for `len` bytes; `None`: there is none so long.
pub(super) fn length_for(len: usize) -> Option<usize> {
    LENGTHS.into_iter().find(|length| *length >= len)
}

/// Buffers that are kept for the next frames, of each length at most as many as was said.
pub(super) struct Spares {
    kept: [Vec<Box<[u8]>>; LENGTHS.len()],
    most: [usize; LENGTHS.len()],
    /// How few there were of each length since they were last trimmed.
    fewest: [usize; LENGTHS.len()],
}

impl Spares {
    pub(super) fn new(most: [usize; LENGTHS.len()]) -> Self {
        Self { kept: Default::default(), most, fewest: [0; LENGTHS.len()] }
    }

    /// A buffer of one of the [`LENGTHS`] that was kept.
    pub(super) fn take(&mut self, length: usize) -> Option<Box<[u8]>> {
        let place = LENGTHS.iter().position(|known| *known == length)?;
        let (kept, fewest) = (self.kept.get_mut(place)?, self.fewest.get_mut(place)?);
        let buffer = kept.pop();
        *fewest = kept.len().min(*fewest);
        buffer
    }

    /// Keeps a buffer, if there are not too many; says whether it did.
    pub(super) fn keep(&mut self, buffer: Box<[u8]>) -> bool {
        let Some(place) = LENGTHS.iter().position(|known| *known == buffer.len()) else { return false };
        match (self.kept.get_mut(place), self.most.get(place)) {
            (Some(kept), Some(most)) if kept.len() < *most => {
                kept.push(buffer);
                true
            }
            _ => false,
        }
    }

    /// Whether there is a buffer of one of the [`LENGTHS`].
    pub(super) fn has(&self, length: usize) -> bool {
        let place = LENGTHS.iter().position(|known| *known == length);
        place.and_then(|place| self.kept.get(place)).is_some_and(|kept| !kept.is_empty())
    }

    /// Bytes of all that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.kept.iter().zip(LENGTHS).map(|(kept, length)| kept.len() * length).sum()
    }

    /// Frees those that nobody needed since the last call, since there were never fewer; gives how many bytes that were.
    pub(super) fn trim(&mut self) -> usize {
        let mut bytes = 0;
        for ((kept, fewest), length) in self.kept.iter_mut().zip(&mut self.fewest).zip(LENGTHS) {
            let stay = kept.len().saturating_sub(*fewest);
            bytes += (kept.len() - stay) * length;
            kept.truncate(stay);
            *fewest = stay;
        }
        bytes
    }

    /// Frees all; gives how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        let bytes =
            |kept: &mut Vec<Box<[u8]>>| std::mem::take(kept).iter().map(|kept| kept.len()).sum::<usize>();
        self.fewest = [0; LENGTHS.len()];
        self.kept.iter_mut().map(bytes).sum()
    }
}

/// A new buffer of one of the [`LENGTHS`].
pub(super) fn buffer(length: usize) -> Box<[u8]> {
    vec![0; length].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bound_and_a_newcomer_always_finds_room() {
        let bounds = Bounds { total: 8 << 20, each: 1 << 20, minimum: 12 << 10 };
        let memory = SharedMemory::new(bounds);
        let mut held = [0; 200];
        for held in &mut held {
            while memory.take(2048, *held) {
                *held += 2048;
            }
            assert!(*held >= 2048, "no room for a newcomer");
            assert!(*held <= bounds.each);
        }
        assert_eq!(held[0], bounds.each);
        assert_eq!(memory.taken(), held.iter().sum::<usize>());
        assert!(memory.taken() <= bounds.total + 200 * bounds.minimum);
    }

    #[test]
    fn buffers_are_kept_by_their_length_and_no_more_than_was_said() {
        let mut spares = Spares::new([1, 2, 0, 0]);
        for length in [256, 256, 2048, 2048, 2048, 16 << 10] {
            spares.keep(buffer(length));
        }
        assert_eq!(spares.take(2048).map(|kept| kept.len()), Some(2048));
        assert!(spares.take(16 << 10).is_none());
        assert_eq!(spares.clear(), 256 + 2048);
        assert!(spares.take(256).is_none());
        assert_eq!((length_for(0), length_for(257), length_for(70_000)), (Some(256), Some(2048), None));
    }
}
