//! Verification: every hit is decided by the stages too, and both are compared.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::FlowKey;
use crate::decision::{Decision, Lengths};
use crate::ids::PortIndex;
use crate::qos::ClassIndex;

/// A record that was not what the stages decided, or a kept class that was not what filters found: a mistake of the switch's own. Stages
/// and filters were obeyed.
#[derive(Clone, Debug)]
pub struct FlowMismatch(Mismatch);

#[derive(Clone, Debug)]
enum Mismatch {
    Record { key: FlowKey, lengths: Lengths, recorded: Box<Decision>, decided: Box<Decision> },
    Class { source: PortIndex, kept: ClassIndex, found: ClassIndex },
}

impl FlowMismatch {
    pub(super) fn new(key: FlowKey, lengths: Lengths, recorded: Decision, decided: Decision) -> Self {
        let [recorded, decided] = [recorded, decided].map(Box::new);
        Self(Mismatch::Record { key, lengths, recorded, decided })
    }

    /// The class of a frame from `source` in a tree was kept, and is not the one that filters find.
    pub(crate) fn of_class(source: PortIndex, kept: ClassIndex, found: ClassIndex) -> Self {
        Self(Mismatch::Class { source, kept, found })
    }
}

impl fmt::Display for FlowMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Mismatch::Record { key, lengths, recorded, decided } => {
                write!(
                    f,
                    "frames {key:x?} of {lengths:?}: the record says {recorded:?}, the stages say {decided:?}"
                )
            }
            Mismatch::Class { source, kept, found } => {
                write!(f, "a frame from port {source}: {kept:?} was kept, the tree's filters say {found:?}")
            }
        }
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
