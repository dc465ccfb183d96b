//! A place in a packed ring: a slot, and in which of two alternating laps it is meant.

use super::{AVAIL, USED};

/// The bit of a position in which the wrap counter stands (vhost-user, "Vring descriptor indices for packed
/// virtqueues"; virtio 1.2, 2.8.14).
const WRAP: u16 = 1 << 15;

/// A slot and a wrap counter (virtio 1.2, 2.8.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    /// The slot, below the ring's size.
    pub(super) index: u16,
    /// The wrap counter as a descriptor has it that was used in this lap: both flags in the first lap, none in the other.
    pub(super) lap: u64,
}

impl Cursor {
    /// From its 16 bits, as SET_VRING_BASE and the event suppression structures have them.
    pub(super) fn from_bits(bits: u16) -> Self {
        Self { index: bits & !WRAP, lap: if bits & WRAP != 0 { AVAIL | USED } else { 0 } }
    }

    /// Its 16 bits.
    pub(super) fn bits(self) -> u16 {
        self.index | if self.lap == 0 { 0 } else { WRAP }
    }

    /// Goes on by so many slots in a ring of `size`; `by` is no more than that.
    #[inline]
    pub(super) fn step(&mut self, by: u16, size: u16) {
        // Both are 32768 at most, and one of them is less.
        self.index = self.index.wrapping_add(by);
        if self.index >= size {
            self.index = self.index.wrapping_sub(size);
            self.lap ^= AVAIL | USED;
        }
    }

    /// The place `by` slots further on, as [`Cursor::step`] goes.
    #[inline]
    pub(super) fn advanced(mut self, by: u16, size: u16) -> Self {
        self.step(by, size);
        self
    }

    /// How many slots lie between this place and `other`, counted forwards over two laps.
    pub(super) fn distance_to(self, other: Self, size: u16) -> u32 {
        let size = u32::from(size);
        let line = |place: Self| u32::from(place.index) + if place.lap == 0 { size } else { 0 };
        // The index of an event is the driver's to choose, and may be beyond the ring.
        (line(other) + 2 * size - line(self)) % (2 * size)
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn places_go_around_and_change_their_lap() {
        for size in [1, 3, 64, 32_768] {
            let start = Cursor::from_bits(0x8000);
            let mut place = start;
            for step in 0..2 * u32::from(size) {
                assert_eq!(start.distance_to(place, size), step);
                assert_eq!(Cursor::from_bits(place.bits()), place);
                place = place.advanced(1, size);
            }
            assert_eq!(place, start);
            assert_eq!(place.advanced(size, size).bits(), 0);
        }
    }
}
