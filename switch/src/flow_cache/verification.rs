//! Verification: every hit is decided by the stages too, and both are compared.

use std::fmt;

use super::FlowKey;
use crate::decision::{Decision, Lengths};

/// A record that was not what the stages decided: a mistake of the switch's own. The stages were obeyed.
#[derive(Clone, Debug)]
pub struct FlowMismatch(Box<Case>);

#[derive(Clone, Debug)]
struct Case {
    key: FlowKey,
    lengths: Lengths,
    recorded: Decision,
    decided: Decision,
}

impl FlowMismatch {
    pub(crate) fn new(key: FlowKey, lengths: Lengths, recorded: &Decision, decided: &Decision) -> Self {
        let (recorded, decided) = (recorded.clone(), decided.clone());
        Self(Box::new(Case { key, lengths, recorded, decided }))
    }
}

impl fmt::Display for FlowMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { key, lengths, recorded, decided } = &*self.0;
        write!(f, "frame {key:x?} of {lengths:?}: the record says {recorded:?}, the stages say {decided:?}")
    }
}

/// Whether hits are verified, and the first one that failed.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    pub(crate) is_on: bool,
    /// Kept until it is taken; later ones are only counted.
    pub(crate) first: Option<FlowMismatch>,
    /// One was kept already.
    pub(crate) was_kept: bool,
}

impl Verification {
    /// Keeps the first mismatch.
    pub(crate) fn keep(&mut self, mismatch: impl FnOnce() -> FlowMismatch) {
        if !self.was_kept {
            self.was_kept = true;
            self.first = Some(mismatch());
        }
    }
}
