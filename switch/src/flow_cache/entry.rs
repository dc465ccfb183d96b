//! A record in the cache.

use crate::decision::{Decision, Learned, Lengths};

use super::{FlowKey, FlowMismatch};

/// A decision, and the frames for which it was made. Two cache lines that the processor fetches as one pair.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
pub(crate) struct Entry {
    pub(super) key: FlowKey,
    /// What was decided.
    pub(crate) decision: Decision,
    /// When the source address was last seen to be known.
    pub(crate) learned: Learned,
}

const _: () = assert!(size_of::<Entry>() == 128);

impl Entry {
    /// The record of what was decided about a frame with this key.
    #[inline]
    pub(crate) fn new(key: FlowKey, decision: Decision, learned: Learned) -> Self {
        Self { key, decision, learned }
    }

    /// Whether the record is about such frames.
    #[inline]
    pub(crate) fn is_about(&self, key: FlowKey, lengths: Lengths) -> bool {
        self.key.is(key) && self.decision.covered().contains(lengths)
    }

    /// Makes the record anew.
    pub(crate) fn renew(&mut self, decision: Decision, learned: Learned) {
        (self.decision, self.learned) = (decision, learned);
    }

    /// What is to be told if `decided` is not what was recorded.
    pub(crate) fn mismatch(&self, lengths: Lengths, decided: &Decision) -> FlowMismatch {
        FlowMismatch::new(self.key, lengths, self.decision.clone(), decided.clone())
    }
}
