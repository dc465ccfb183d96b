//! What the API itself did, counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::metrics::ApiFigures;

/// Where a client came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Door {
    /// The Unix socket, whose permissions are the authorisation.
    Unix,
    /// TCP, which has none.
    Tcp,
}

impl Door {
    const ALL: [Self; 2] = [Self::Unix, Self::Tcp];

    fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        }
    }
}

/// Counters of answers and connections.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Few statuses are ever sent, so that this stays small.
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    connections: [AtomicU64; 2],
}

impl Tally {
    /// An answer was made.
    pub(super) fn answered(&self, door: Door, status: u16) {
        *self.answers.lock().entry((door.name(), status)).or_default() += 1;
    }

    /// A connection was opened; it counts until what is given is dropped.
    pub(super) fn opened(self: &Arc<Self>, door: Door) -> Opened {
        self.connections[door as usize].fetch_add(1, Relaxed);
        Opened(Arc::clone(self), door)
    }

    /// All counters.
    pub(super) fn figures(&self) -> ApiFigures {
        let open = |door: Door| (door.name(), self.connections[door as usize].load(Relaxed));
        ApiFigures { answers: self.answers.lock().clone(), connections: Door::ALL.map(open).into() }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Opened(Arc<Tally>, Door);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.connections[self.1 as usize].fetch_sub(1, Relaxed);
    }
}
