//! One datagram: which of its parts were seen.

use arrayvec::ArrayVec;

use super::Refused;
use crate::packet::Fragment;

/// Runs of bytes with gaps between them that are followed: fragments that come in order make one.
const RUNS_MAX: usize = 16;

/// What is known of a datagram.
#[derive(Clone, Debug)]
pub(super) struct Datagram<V> {
    /// What was decided about its first fragment.
    pub(super) verdict: Option<V>,
    pub(super) parts: Parts,
    /// Fragments that wait, and their frames' bytes.
    pub(super) held: usize,
    pub(super) held_bytes: usize,
    /// The second in which it is given up.
    pub(super) due_s: u32,
    /// One of its fragments contradicted another: none passes any more.
    pub(super) is_broken: bool,
}

impl<V> Datagram<V> {
    pub(super) fn new(due_s: u32) -> Self {
        Self { verdict: None, parts: Parts::default(), held: 0, held_bytes: 0, due_s, is_broken: false }
    }
}

/// The bytes of a fragment: from the first to before the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    start: u16,
    end: u16,
    is_last: bool,
}

impl Part {
    pub(super) fn of(fragment: Fragment) -> Self {
        // The parser lets none through that ends beyond 65,535.
        let end = fragment.offset.saturating_add(fragment.length);
        Self { start: fragment.offset, end, is_last: !fragment.more }
    }
}

/// The bytes that were seen: runs in ascending order, none of which touches another, and where the datagram ends, if known.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    runs: ArrayVec<(u16, u16), RUNS_MAX>,
    end: Option<u16>,
}

impl Parts {
    /// Adds a part, unless it contradicts what was seen.
    pub(super) fn add(&mut self, part: Part) -> Result<(), Refused> {
        let seen_end = self.runs.last().map_or(0, |run| run.1);
        let is_beyond = match self.end {
            Some(end) => part.end > end || (part.is_last && part.end != end),
            None => part.is_last && part.end < seen_end,
        };
        if is_beyond {
            return Err(Refused::BeyondEnd);
        }
        // The first run that does not end before the part begins.
        let at = self.runs.partition_point(|run| run.1 < part.start);
        if let Some(run) = self.runs.iter().find(|run| run.0 < part.end && part.start < run.1) {
            let is_within = run.0 <= part.start && part.end <= run.1;
            return Err(if is_within { Refused::Duplicate } else { Refused::Overlap });
        }
        let touches_left = self.runs.get(at).is_some_and(|run| run.1 == part.start);
        let right = if touches_left { at + 1 } else { at };
        let touches_right = self.runs.get(right).is_some_and(|run| run.0 == part.end);
        match (touches_left, touches_right) {
            (true, true) => {
                self.runs[at].1 = self.runs[right].1;
                self.runs.remove(right);
            }
            (true, false) => self.runs[at].1 = part.end,
            (false, true) => self.runs[at].0 = part.start,
            (false, false) => {
                self.runs.try_insert(at, (part.start, part.end)).map_err(|_| Refused::Scattered)?;
            }
        }
        if part.is_last {
            self.end = Some(part.end);
        }
        Ok(())
    }

    /// Takes a part out again that was added.
    pub(super) fn take_back(&mut self, part: Part) {
        let within = |run: &(u16, u16)| run.0 <= part.start && part.end <= run.1;
        let Some(at) = self.runs.iter().position(within) else { return };
        let (start, end) = self.runs.remove(at);
        for run in [(part.end, end), (start, part.start)] {
            // Of a list that is full only one part comes back.
            if run.0 < run.1 && self.runs.try_insert(at, run).is_err() {
                return;
            }
        }
        if part.is_last {
            self.end = None;
        }
    }

    /// Whether all was seen.
    pub(super) fn is_complete(&self) -> bool {
        matches!((self.runs.as_slice(), self.end), ([(0, seen)], Some(end)) if *seen == end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The same as a map of bytes, one by one.
        #[test]
        fn parts_are_what_a_map_of_bytes_is(
            parts in proptest::collection::vec((0..40u16, 1..6u16, any::<bool>()), 1..30),
        ) {
            let (mut own, mut map, mut end) = (Parts::default(), [false; 400], None);
            for (start, length, is_last) in parts {
                let part = Part { start: start * 8, end: (start + length) * 8, is_last };
                let range = usize::from(part.start)..usize::from(part.end);
                let seen = map[range.clone()].iter().filter(|byte| **byte).count();
                let seen_end = map.iter().rposition(|byte| *byte).map_or(0, |at| at + 1);
                let is_beyond = match end {
                    Some(end) => range.end > end || (is_last && range.end != end),
                    None => is_last && range.end < seen_end,
                };
                let expected = match seen {
                    _ if is_beyond => Err(Refused::BeyondEnd),
                    0 => Ok(()),
                    seen if seen == range.len() => Err(Refused::Duplicate),
                    _ => Err(Refused::Overlap),
                };
                prop_assert_eq!(own.add(part), expected);
                if expected.is_ok() {
                    map[range.clone()].fill(true);
                    end = end.or(is_last.then_some(range.end));
                }
                let is_whole = end.is_some_and(|end| map[..end].iter().all(|byte| *byte));
                prop_assert_eq!(own.is_complete(), is_whole);
            }
        }
    }

    #[test]
    fn too_many_gaps_are_not_followed() {
        let mut parts = Parts::default();
        for part in 0..16 {
            assert_eq!(parts.add(Part { start: part * 16, end: part * 16 + 8, is_last: false }), Ok(()));
        }
        assert_eq!(parts.add(Part { start: 256, end: 264, is_last: false }), Err(Refused::Scattered));
        assert_eq!(parts.add(Part { start: 8, end: 16, is_last: false }), Ok(()), "a gap that closes");
    }
}
