//! Capturing: which ports are meant, and what their numbers are called.

use std::collections::BTreeMap;
use std::sync::Arc;

use viaduct_switch::{NetworkIndex, PortIndex};

use crate::capture::Program;
use crate::control::TraceError;
use crate::control::controller::Controller;
use crate::dataplane::{CaptureReader, CaptureShared, CaptureWanted};

/// How many may capture at once: each has rings of up to 16 MiB, or 1 MiB a worker.
const CAPTURES_MAX: usize = 4;

/// What somebody wants to capture.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureQuestion {
    /// At these ports.
    pub ports: Vec<String>,
    /// At all that are in the file now.
    pub all: bool,
    /// Frames that enter there.
    pub entering: bool,
    /// Frames that leave there.
    pub leaving: bool,
    /// Bytes of each frame that are kept.
    pub snaplen: u32,
    /// Only frames that it wants.
    pub program: Option<Program>,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    /// Where its frames are.
    pub reader: CaptureReader,
    /// Its ports' names, in the order of the reader's tallies.
    pub ports: Vec<String>,
    /// What is called how.
    pub names: Names,
}

/// What ports and networks are called in one generation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The generation.
    pub generation: u64,
    /// Ports' names.
    pub ports: BTreeMap<PortIndex, String>,
    /// Networks' names.
    pub networks: BTreeMap<NetworkIndex, String>,
}

/// Those who capture.
#[derive(Debug, Default)]
pub(super) struct Captures(Vec<Arc<CaptureShared>>);

impl Controller {
    /// Begins to capture.
    pub(super) fn capture(&mut self, question: CaptureQuestion) -> Result<Capture, TraceError> {
        let CaptureQuestion { mut ports, all, entering, leaving, snaplen, program } = question;
        if all {
            ports = self.config.ports.keys().chain(self.config.uplinks.keys()).cloned().collect();
        }
        ports.sort_unstable();
        ports.dedup();
        let number = |name: &String| {
            let index = self.numbers.ports.get(name).copied();
            index.ok_or_else(|| TraceError::NoPort(name.clone()))
        };
        let numbers = ports.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        self.captures.0.retain(|capture| !capture.is_closed());
        if self.captures.0.len() >= CAPTURES_MAX {
            return Err(TraceError::TooManyCapture(CAPTURES_MAX));
        }
        let wanted = CaptureWanted { ports: numbers, entering, leaving, snaplen, program };
        let (reader, shared) = self.bay.capture(wanted);
        self.captures.0.push(shared);
        Ok(Capture { reader, ports, names: self.names() })
    }

    /// What is called how now; `None`: as in the generation that is known.
    pub(super) fn newer_names(&self, known: u64) -> Option<Names> {
        (self.generation != known).then(|| self.names())
    }

    fn names(&self) -> Names {
        Names {
            generation: self.generation,
            ports: self.numbers.ports.iter().map(|(name, index)| (*index, name.clone())).collect(),
            networks: self.numbers.networks.iter().map(|(name, index)| (*index, name.clone())).collect(),
        }
    }
}
