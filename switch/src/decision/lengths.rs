//! Lengths of frames, as far as a decision asked about them.

use crate::frame::Metadata;

/// The lengths in bytes for which a decision holds, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    min: u32,
    max: u32,
}

impl Range {
    const ALL: Self = Self { min: 0, max: u32::MAX };

    /// Whether `value`, which lies within, exceeds `limit`; keeps the part for which the answer is the same.
    #[inline]
    pub(super) fn narrow(&mut self, value: u32, limit: u32) -> bool {
        let exceeds = value > limit;
        if exceeds {
            self.min = self.min.max(limit + 1);
        } else {
            self.max = self.max.min(limit);
        }
        exceeds
    }

    #[inline]
    fn contains(self, value: u32) -> bool {
        value.wrapping_sub(self.min) <= self.max - self.min
    }
}

/// How long a frame is, in bytes from its Ethernet header on, without FCS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lengths {
    /// The whole frame.
    pub(crate) whole: u32,
    /// The longest frame that it becomes on a wire: a super-frame's first segment, else the frame itself.
    pub(crate) wire: u32,
}

impl Lengths {
    /// The lengths of the frame that begins with `head`.
    #[inline]
    pub(crate) fn of(head: &[u8], meta: &Metadata) -> Self {
        Self { whole: meta.length, wire: meta.claims.wire_length(head, meta.length) }
    }
}

/// The lengths of frames for which a decision holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Covered {
    pub(super) whole: Range,
    pub(super) wire: Range,
}

impl Covered {
    /// Frames of any length.
    pub(super) const ALL: Self = Self { whole: Range::ALL, wire: Range::ALL };

    /// Whether frames of these lengths are among them.
    #[inline]
    pub(crate) fn contains(self, lengths: Lengths) -> bool {
        self.whole.contains(lengths.whole) && self.wire.contains(lengths.wire)
    }
}
