//! How long the control thread takes for one thing, and for which part of it: what is slow is told in the log.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tracing::warn;

/// From here on it is slow: nobody else is served meanwhile.
pub(super) const SLOW: Duration = Duration::from_millis(250);
/// Parts that are told of one thing.
const PARTS_MAX: usize = 16;

/// Measures one thing after the other.
#[derive(Debug)]
pub(super) struct Stopwatch {
    started: Instant,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, last: now, parts: Vec::with_capacity(PARTS_MAX) }
    }

    /// Something begins.
    pub(super) fn start(&mut self, now: Instant) {
        (self.started, self.last) = (now, now);
        self.parts.clear();
    }

    /// A part of it is done, which began where the one before ended.
    pub(super) fn lap(&mut self, part: &'static str, now: Instant) {
        let took = now.saturating_duration_since(self.last);
        self.last = now;
        if self.parts.len() < PARTS_MAX {
            self.parts.push((part, took));
        }
    }

    /// All of it is done.
    pub(super) fn stop(&mut self, what: &'static str, now: Instant) {
        if let Some(told) = self.told(what, now) {
            warn!(operation = what, "{told}");
        }
        self.start(now);
    }

    /// What is to be said if it was slow.
    fn told(&self, what: &str, now: Instant) -> Option<String> {
        let whole = now.saturating_duration_since(self.started);
        if whole < SLOW {
            return None;
        }
        let mut told = format!("the control thread took {} ms for {what}", whole.as_millis());
        let rest = now.saturating_duration_since(self.last);
        let parts = self.parts.iter().copied().chain([("the rest", rest)]);
        let mut sign = ": ";
        for (part, took) in parts.filter(|(_, took)| took.as_millis() > 0 && !self.parts.is_empty()) {
            // Memory takes every text.
            let _ = write!(told, "{sign}{part} {} ms", took.as_millis());
            sign = ", ";
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_told_with_its_parts_and_nothing_else_is() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Stopwatch::new(start);
        watch.lap("the check", at(40));
        watch.lap("nothing", at(40));
        watch.lap("the policy", at(240));
        assert_eq!(watch.told("a configuration", at(249)), None);
        assert_eq!(
            watch.told("a configuration", at(300)).as_deref(),
            Some(
                "the control thread took 300 ms for a configuration: the check 40 ms, the policy 200 ms, the rest 60 ms"
            )
        );
        watch.stop("a configuration", at(300));
        assert_eq!(watch.told("a tick", at(400)), None, "the next thing begins where this ended");
        assert_eq!(
            watch.told("a tick", at(600)).as_deref(),
            Some("the control thread took 300 ms for a tick")
        );
    }

    #[test]
    fn parts_are_bounded() {
        let start = Instant::now();
        let mut watch = Stopwatch::new(start);
        (0..10_000).for_each(|_| watch.lap("a part", start));
        assert_eq!(watch.parts.len(), PARTS_MAX);
    }
}
