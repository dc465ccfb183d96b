//! Log lines and events about a port, no more of them than a person can read: peers can cause them at will.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::control::Journal;
use crate::model::EventKind;

/// Lines that a port may cause within [`WINDOW`].
const LINES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// A port's log.
#[derive(Debug)]
pub(super) struct PortLog {
    port: String,
    window: Option<Instant>,
    lines: u32,
    left_out: u64,
    journal: Option<Journal>,
}

impl PortLog {
    pub(super) fn new(port: &str) -> Self {
        Self { port: port.to_owned(), window: None, lines: 0, left_out: 0, journal: None }
    }

    /// Notes events there from now on.
    pub(super) fn keep_in(&mut self, journal: &Journal) {
        self.journal = Some(journal.clone());
    }

    /// An event of normal life.
    pub(super) fn event(&mut self, kind: EventKind, what: impl Display) {
        if self.may_write(Instant::now()) {
            info!(port = self.port, "{what}");
            self.note(kind, &what);
        }
    }

    /// An event that somebody should look at.
    pub(super) fn trouble(&mut self, kind: EventKind, what: impl Display) {
        if self.may_write(Instant::now()) {
            warn!(port = self.port, "{what}");
            self.note(kind, &what);
        }
    }

    fn note(&self, kind: EventKind, what: &impl Display) {
        if let Some(journal) = &self.journal {
            journal.tell(kind, format!("port {}", self.port), what.to_string());
        }
    }

    /// Something that somebody should look at.
    pub(super) fn warn(&mut self, what: impl Display) {
        if self.may_write(Instant::now()) {
            warn!(port = self.port, "{what}");
        }
    }

    fn may_write(&mut self, now: Instant) -> bool {
        if self.window.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            self.window = Some(now);
            self.lines = 0;
            let left_out = std::mem::take(&mut self.left_out);
            if left_out > 0 {
                warn!(port = self.port, "{left_out} more lines about this port were left out");
            }
        }
        self.lines = self.lines.saturating_add(1);
        let may = self.lines <= LINES_MAX;
        self.left_out += u64::from(!may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_written_and_the_others_counted() {
        let mut log = PortLog::new("vm1");
        let start = Instant::now();
        let written = (0..1000).filter(|_| log.may_write(start)).count();
        assert_eq!((written, log.left_out), (10, 990));
        assert!(log.may_write(start + WINDOW));
        assert_eq!(log.left_out, 0);
    }
}
