//! When a worker has to see to which of its trees; or of anything else that has a number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use viaduct_switch::Nanos;

/// Entries that are out of date, beside one for each tree, before they are cleared away.
const SLACK: usize = 64;

/// Times by trees, the first one first, and of the same ones that which was said first. What a tree had before is out of date, and is passed over when its time comes.
#[derive(Default)]
pub(in crate::dataplane) struct Agenda {
    times: BinaryHeap<Reverse<(Nanos, u64, u32)>>,
    /// Counts what was said.
    said: u64,
    /// The time of each tree; [`NEVER`] of those that have none.
    current: Vec<Nanos>,
}

/// No time.
pub(in crate::dataplane) const NEVER: Nanos = Nanos(u64::MAX);

impl Agenda {
    /// The first time, if there is one.
    #[inline]
    pub(in crate::dataplane) fn first(&self) -> Option<Nanos> {
        self.times.peek().map(|Reverse((at, ..))| *at)
    }

    /// Has tree `id` looked at at `at`, whatever was said before.
    pub(in crate::dataplane) fn put(&mut self, id: u32, at: Nanos) {
        let place = id as usize;
        if self.current.len() <= place {
            self.current.resize(place + 1, NEVER);
        }
        if let Some(current) = self.current.get_mut(place) {
            *current = at;
        }
        if at != NEVER {
            self.said += 1;
            self.times.push(Reverse((at, self.said, id)));
        }
        if self.times.len() > SLACK + 2 * self.current.len() {
            let current = &self.current;
            self.times.retain(|Reverse((at, _, id))| current.get(*id as usize) == Some(at));
        }
    }

    /// Has tree `id` looked at at `at` at the latest.
    pub(in crate::dataplane) fn bring(&mut self, id: u32, at: Nanos) {
        if self.current.get(id as usize).is_none_or(|current| at < *current) {
            self.put(id, at);
        }
    }

    /// Takes a tree whose time has come.
    pub(in crate::dataplane) fn take(&mut self, now: Nanos) -> Option<u32> {
        while let Some(&Reverse((at, _, id))) = self.times.peek()
            && at <= now
        {
            self.times.pop();
            if let Some(current) = self.current.get_mut(id as usize).filter(|current| **current == at) {
                *current = NEVER;
                return Some(id);
            }
        }
        None
    }

    /// Forgets everything.
    pub(in crate::dataplane) fn clear(&mut self) {
        self.times.clear();
        self.current.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_come_by_their_times_and_only_by_the_last_one_that_was_said() {
        let mut agenda = Agenda::default();
        for (id, at) in [(3, 30), (1, 10), (2, 20), (1, 25), (4, 5)] {
            agenda.put(id, Nanos(at));
        }
        assert_eq!(agenda.first(), Some(Nanos(5)));
        let due =
            |agenda: &mut Agenda, now| std::iter::from_fn(|| agenda.take(Nanos(now))).collect::<Vec<_>>();
        assert!(due(&mut agenda, 4).is_empty());
        assert_eq!(due(&mut agenda, 20), [4, 2], "tree 1 was put off");
        assert_eq!(due(&mut agenda, 100), [1, 3]);
        assert_eq!(agenda.first(), None);
        [7, 2, 5].into_iter().for_each(|id| agenda.put(id, Nanos(200)));
        assert_eq!(due(&mut agenda, 200), [7, 2, 5], "who was put first is first");
    }

    #[test]
    fn what_is_out_of_date_does_not_pile_up() {
        let mut agenda = Agenda::default();
        for round in 0..10_000u64 {
            agenda.put(0, Nanos(1_000_000 - round));
        }
        assert!(agenda.times.len() <= SLACK + 2, "{}", agenda.times.len());
        assert_eq!(agenda.take(NEVER), Some(0));
        assert_eq!(agenda.take(NEVER), None);
    }
}
