//! When a worker has to see to which of its trees; or of anything else that has a number.

use std::collections::VecDeque;

use viaduct_switch::Nanos;
use viaduct_switch::timer_wheel::{HORIZON, TimerWheel};

/// A tick of the wheel is 2^10 ns: a microsecond, far less than what a round of a worker takes.
const TICK_BITS: u32 = 10;

/// What one call may do of the wheel's work, in things and slots.
const BUDGET: usize = 256;

/// Things that are looked at for the time of the first one.
const LOOK: usize = 16;

/// Times by trees, the first one first, each up to a microsecond late; what was said of a tree before is out of date. Nothing is
/// kept for each time that is said: what there is grows with the trees, and that only when a higher number than before comes in.
#[derive(Default)]
pub(in crate::dataplane) struct Agenda {
    wheel: TimerWheel,
    entries: Vec<Entry>,
    /// Trees whose time has come, those that were due first in front. Who got another time since then is passed over.
    due: VecDeque<u32>,
    /// Until when the wheel was asked to turn.
    now: Nanos,
    /// Counts the times that were said.
    said: u64,
    /// When the first one comes up; earlier after a call that did not get done.
    first: Option<Nanos>,
}

/// One tree.
#[derive(Clone, Copy)]
struct Entry {
    /// Its time, or [`NEVER`].
    at: Nanos,
    /// How many times had been said before it.
    said: u64,
    /// It stands in the list of those that are due.
    is_listed: bool,
}

/// No time.
pub(in crate::dataplane) const NEVER: Nanos = Nanos(u64::MAX);

/// The tick at which what is due at `at` comes up: never before its time.
fn tick_of(at: Nanos) -> u64 {
    at.0.div_ceil(1 << TICK_BITS)
}

impl Agenda {
    /// The first time, if there is one.
    #[inline]
    pub(in crate::dataplane) fn first(&self) -> Option<Nanos> {
        self.first
    }

    /// Has tree `id` looked at at `at`, whatever was said before.
    pub(in crate::dataplane) fn put(&mut self, id: u32, at: Nanos) {
        self.make_room(id);
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let before = std::mem::replace(&mut entry.at, at);
        self.said += 1;
        entry.said = self.said;
        self.wheel.remove(id);
        if at <= self.now {
            if !std::mem::replace(&mut entry.is_listed, true) {
                self.due.push_back(id);
            }
        } else if at != NEVER {
            self.wheel.insert(id, tick_of(at));
        }
        let comes_up = if at <= self.now { at } else { Nanos(tick_of(at).saturating_mul(1 << TICK_BITS)) };
        if at != NEVER && self.first.is_none_or(|first| comes_up < first) {
            self.first = Some(comes_up);
        } else if before < at && self.due.is_empty() {
            self.find_first();
        }
    }

    fn make_room(&mut self, id: u32) {
        let needed = id as usize + 1;
        if self.entries.len() < needed {
            self.entries.resize(needed, Entry { at: NEVER, said: 0, is_listed: false });
            self.wheel.grow(needed);
            self.due.reserve(needed - self.due.len());
        }
    }

    /// Has tree `id` looked at at `at` at the latest.
    pub(in crate::dataplane) fn bring(&mut self, id: u32, at: Nanos) {
        if self.entries.get(id as usize).is_none_or(|entry| at < entry.at) {
            self.put(id, at);
        }
    }

    /// Takes a tree whose time has come.
    pub(in crate::dataplane) fn take(&mut self, now: Nanos) -> Option<u32> {
        self.take_listed(now).or_else(|| {
            let is_done = self.turn(now);
            let taken = self.take_listed(now);
            match (taken, is_done) {
                (Some(_), _) => {}
                (None, true) => self.find_first(),
                (None, false) => self.first = Some(now),
            }
            taken
        })
    }

    /// One of those that are known to be due.
    fn take_listed(&mut self, now: Nanos) -> Option<u32> {
        let now = now.max(self.now);
        while let Some(id) = self.due.pop_front() {
            let Some(entry) = self.entries.get_mut(id as usize) else { continue };
            entry.is_listed = false;
            if entry.at <= now {
                entry.at = NEVER;
                // It was put off after it had been listed, if it stands there.
                self.wheel.remove(id);
                return Some(id);
            }
        }
        None
    }

    /// Lists what is due by now; says whether that is all.
    fn turn(&mut self, now: Nanos) -> bool {
        self.now = self.now.max(now);
        let (tick, listed) = (self.now.0 >> TICK_BITS, self.due.len());
        if !self.wheel.is_empty() && tick.saturating_sub(self.wheel.tick()) > HORIZON {
            self.catch_up(tick);
        }
        let Self { wheel, entries, due, now, .. } = self;
        let left = wheel.advance(tick, BUDGET, |id| {
            let entry = entries.get_mut(id as usize)?;
            if entry.at > *now {
                return (entry.at != NEVER).then(|| tick_of(entry.at));
            }
            entry.is_listed = true;
            due.push_back(id);
            None
        });
        // A slot knows no order, and rounds that end early rely on it.
        if let Some(new) = due.make_contiguous().get_mut(listed..) {
            new.sort_unstable_by_key(|id| entries.get(*id as usize).map(|entry| (entry.at, entry.said)));
        }
        left > 0
    }

    /// Has a wheel that stood for longer than it reaches begin anew at `tick`, with what stands in it, instead of turning through all the
    /// time since then: a worker's first time is that of an old machine.
    fn catch_up(&mut self, tick: u64) {
        let Self { wheel, entries, due, now, .. } = self;
        wheel.restart(tick);
        for (id, entry) in (0..).zip(entries).filter(|(_, entry)| entry.at != NEVER) {
            if entry.at > *now {
                wheel.insert(id, tick_of(entry.at));
            } else if !std::mem::replace(&mut entry.is_listed, true) {
                due.push_back(id);
            }
        }
    }

    /// Looks for the first time in the wheel.
    fn find_first(&mut self) {
        let due = |id| self.entries.get(id as usize).map_or(0, |entry: &Entry| tick_of(entry.at));
        self.first = self.wheel.earliest(LOOK, due).map(|tick| Nanos(tick << TICK_BITS));
    }

    /// Forgets everything.
    pub(in crate::dataplane) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many microseconds of the wheel.
    fn ticks(count: u64) -> Nanos {
        Nanos(count << TICK_BITS)
    }

    fn all_due(agenda: &mut Agenda, now: Nanos) -> Vec<u32> {
        std::iter::from_fn(|| agenda.take(now)).collect()
    }

    #[test]
    fn trees_come_by_their_times_and_only_by_the_last_one_that_was_said() {
        let mut agenda = Agenda::default();
        for (id, at) in [(3, 30), (1, 10), (2, 20), (1, 25), (4, 5)] {
            agenda.put(id, ticks(at));
        }
        assert_eq!(agenda.first(), Some(ticks(5)));
        assert!(all_due(&mut agenda, ticks(4)).is_empty());
        assert_eq!(all_due(&mut agenda, ticks(20)), [4, 2], "tree 1 was put off");
        assert_eq!(agenda.first(), Some(ticks(25)));
        assert_eq!(all_due(&mut agenda, ticks(100)), [1, 3]);
        assert_eq!(agenda.first(), None);
    }

    #[test]
    fn who_is_put_off_again_and_again_comes_after_those_that_were_due_before() {
        let mut agenda = Agenda::default();
        (0..4).for_each(|id| agenda.put(id, ticks(1)));
        // One is served in each round, and is due again at once.
        let served: Vec<u32> = (0..8)
            .map(|round| {
                let now = ticks(10 + round);
                let id = agenda.take(now).unwrap();
                agenda.put(id, now);
                id
            })
            .collect();
        assert_eq!(served, [0, 1, 2, 3, 0, 1, 2, 3], "each has its turn before any has two");
    }

    #[test]
    fn a_time_that_is_past_comes_at_once_and_one_that_is_taken_back_never() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.take(ticks(50)), None);
        agenda.put(1, Nanos::default());
        agenda.put(2, ticks(50));
        agenda.put(3, ticks(50));
        agenda.put(3, NEVER);
        assert!(agenda.first().is_some_and(|first| first <= ticks(50)));
        assert_eq!(all_due(&mut agenda, ticks(50)), [1, 2]);
        agenda.put(1, ticks(60));
        agenda.put(1, NEVER);
        assert_eq!(agenda.first(), None);
        assert!(all_due(&mut agenda, NEVER).is_empty());
    }

    #[test]
    fn one_tree_wakes_nobody_before_its_time_however_far_off_that_is() {
        for ahead in [1, 70, 5000, 100_000, 258_000] {
            let mut agenda = Agenda::default();
            assert_eq!(agenda.take(ticks(1_000_003)), None);
            agenda.put(0, ticks(1_000_003 + ahead));
            assert_eq!(agenda.first(), Some(ticks(1_000_003 + ahead)));
            assert_eq!(agenda.take(ticks(1_000_002 + ahead)), None);
            assert_eq!(agenda.first(), Some(ticks(1_000_003 + ahead)));
            assert_eq!(agenda.take(ticks(1_000_003 + ahead)), Some(0));
        }
    }

    #[test]
    fn a_wheel_that_stood_for_days_is_not_turned_through_them() {
        let days = 2 * 86_400 * 1_000_000_000_u64;
        let mut agenda = Agenda::default();
        for start in [days, 15 * days] {
            agenda.clear();
            let due: Vec<_> = (0..50_u32).map(|id| start + 5_000_000 + u64::from(id) * 100_000).collect();
            (0..50).for_each(|id| agenda.put(id, Nanos::default()));
            assert_eq!(all_due(&mut agenda, Nanos(start)).len(), 50, "each is looked at once");
            (0..).zip(&due).for_each(|(id, at)| agenda.put(id, Nanos(*at)));
            let mut now = Nanos(start + 1);
            // Fifty share a slot: the worker may wake for that and for its parts, and no more.
            for _ in 0..3 {
                assert_eq!(agenda.take(now), None);
                let first = agenda.first().unwrap();
                assert!(first > now && first <= ticks(tick_of(Nanos(due[0]))), "{first:?} at {now:?}");
                now = first;
                if now >= Nanos(due[0]) {
                    break;
                }
            }
            assert_eq!(agenda.take(now), Some(0));
        }
    }

    #[test]
    fn who_was_put_off_while_it_was_due_leaves_nothing_behind() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.take(ticks(10)), None);
        agenda.put(0, ticks(5));
        agenda.put(0, ticks(20));
        assert_eq!(agenda.take(ticks(30)), Some(0));
        assert_eq!((agenda.take(ticks(30)), agenda.first()), (None, None));
    }

    proptest! {
        #[test]
        fn everything_comes_up_within_a_tick_of_its_time(
            steps in proptest::collection::vec((0..3u8, 0..16u32, 0..600_000_000u64), 1..200),
        ) {
            let (mut agenda, mut now) = (Agenda::default(), 0);
            let mut times = [u64::MAX; 16];
            for (what, id, time) in steps {
                match what {
                    0 => {
                        times[id as usize] = now + time % 10_000_000;
                        agenda.put(id, Nanos(times[id as usize]));
                    }
                    1 if now + time < times[id as usize] => {
                        times[id as usize] = now + time;
                        agenda.bring(id, Nanos(now + time));
                    }
                    1 => agenda.bring(id, Nanos(now + time)),
                    _ => {
                        now += time / 20;
                        for id in all_due(&mut agenda, Nanos(now)) {
                            prop_assert!(times[id as usize] <= now);
                            times[id as usize] = u64::MAX;
                        }
                    }
                }
                let earliest = *times.iter().min().unwrap();
                let first = agenda.first().map_or(u64::MAX, |first| first.0);
                prop_assert!(first <= earliest.saturating_add(1023), "{first} after {earliest}");
                if what == 2 {
                    prop_assert!(earliest > now - now % 1024, "{earliest} is over at {now}");
                }
            }
        }
    }
}
