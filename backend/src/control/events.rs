//! What happened, kept for whoever wants to hear of it.
//!
//! One list of fixed length, in which each listener remembers its own place: who reads slowly loses events and is told how many, and
//! costs nobody anything. Peers can cause events at will; of each port there are as many as its log has lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::model::{Event, EventKind, EventPlace};

/// Events that are kept.
pub const EVENTS_MAX: usize = 1024;

/// The list; clones are the same one.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    run: u64,
    list: Mutex<List>,
}

/// Events up to the one before `next`.
#[derive(Debug)]
struct List {
    next: u64,
    events: VecDeque<Event>,
}

/// A part of the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// Events that were asked for and are no longer kept.
    pub lost: u64,
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Where the list goes on.
    pub next: u64,
}

impl Default for Journal {
    fn default() -> Self {
        let list = List { next: 1, events: VecDeque::with_capacity(EVENTS_MAX) };
        Self(Arc::new(Kept { run: unix_ms(), list: Mutex::new(list) }))
    }
}

impl Journal {
    /// Notes that something happened to an object, like `port vm1`.
    pub(super) fn tell(&self, kind: EventKind, object: String, detail: String) {
        let unix_ms = unix_ms();
        let mut list = self.0.list.lock();
        if list.events.len() >= EVENTS_MAX {
            list.events.pop_front();
        }
        let id = list.next;
        list.events.push_back(Event { id, unix_ms, kind, object, detail });
        list.next += 1;
    }

    /// At most `limit` events from the one called `from` on.
    #[must_use]
    pub fn read(&self, from: u64, limit: usize) -> Heard {
        let list = self.0.list.lock();
        let oldest = list.events.front().map_or(list.next, |event| event.id);
        let skipped = usize::try_from(from.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let events: Vec<Event> = list.events.iter().skip(skipped).take(limit).cloned().collect();
        let next = events.last().map_or_else(|| from.max(oldest), |event| event.id + 1);
        Heard { lost: oldest.saturating_sub(from), events, next }
    }

    /// Which process this is, and the event that comes next.
    #[must_use]
    pub fn place(&self) -> EventPlace {
        EventPlace { run: self.0.run, next: self.0.list.lock().next }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(journal: &Journal, count: usize) {
        for number in 0..count {
            journal.tell(EventKind::LinkUp, format!("port p{number}"), String::new());
        }
    }

    #[test]
    fn a_listener_hears_everything_once_from_its_place_on() {
        let journal = Journal::default();
        assert_eq!(journal.read(1, 10), Heard { next: 1, ..Heard::default() });
        tell(&journal, 5);
        let first = journal.read(1, 3);
        let ids = |heard: &Heard| heard.events.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!((ids(&first), first.next, first.lost), (vec![1, 2, 3], 4, 0));
        let rest = journal.read(first.next, 10);
        assert_eq!((ids(&rest), rest.next, rest.lost), (vec![4, 5], 6, 0));
        assert_eq!(journal.read(6, 10), Heard { next: 6, ..Heard::default() });
        assert_eq!(journal.place().next, 6);
    }

    #[test]
    fn who_is_slow_is_told_how_many_were_lost_and_the_list_never_grows() {
        let journal = Journal::default();
        tell(&journal, EVENTS_MAX + 7);
        let heard = journal.read(1, 2);
        assert_eq!((heard.lost, heard.events[0].id, heard.next), (7, 8, 10));
        assert_eq!(journal.read(8, usize::MAX).events.len(), EVENTS_MAX);
        // A place that is still to come, of another process perhaps.
        assert_eq!(journal.read(9999, 5).events, []);
    }
}
