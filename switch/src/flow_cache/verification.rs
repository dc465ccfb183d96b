//! Verification: every hit is decided by the stages too, and both are compared.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::FlowKey;
use crate::decision::{Decision, Lengths};

/// A record that was not what the stages decided: a mistake of the switch's own. The stages were obeyed.
#[derive(Clone, Debug)]
pub struct FlowMismatch {
    key: FlowKey,
    lengths: Lengths,
    recorded: Decision,
    decided: Decision,
}

impl FlowMismatch {
    pub(super) fn new(key: FlowKey, lengths: Lengths, recorded: Decision, decided: Decision) -> Self {
        Self { key, lengths, recorded, decided }
    }
}

impl fmt::Display for FlowMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, lengths, recorded, decided } = self;
        write!(f, "frames {key:x?} of {lengths:?}: the record says {recorded:?}, the stages say {decided:?}")
    }
}

/// Whether hits are verified, and the first one that failed; shared by the workers.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    is_on: AtomicBool,
    first: OnceLock<FlowMismatch>,
}

impl Verification {
    pub(crate) fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Keeps a mismatch, if it is the first; all are counted.
    pub(crate) fn keep(&self, mismatch: FlowMismatch) {
        let _ = self.first.set(mismatch);
    }

    pub(crate) fn first(&self) -> Option<&FlowMismatch> {
        self.first.get()
    }
}
