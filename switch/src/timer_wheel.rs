//! A timer wheel: things of a table of fixed size, each of which is due at some tick.
//!
//! Three levels of 64 slots (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987, scheme 7). Putting in and
//! taking out cost a few steps whatever is in it, and [`TimerWheel::advance`] does no more at once than it is told, and
//! goes on there the next time. What is due further ahead than the wheel reaches comes up when it ends, and is put in
//! again. All memory is taken when the wheel is made, or made to hold more: eight bytes for each thing.

use std::ops::ControlFlow;

/// Slots of a level.
const SLOTS: u64 = 64;

/// The same, as a length.
const LEVEL_SLOTS: usize = 64;

/// Bits of a tick that choose a slot.
const SLOT_BITS: u32 = 6;

/// Levels: each one's slots are 64 times as wide as those of the level below.
const LEVELS: usize = 3;

/// No thing.
const NONE: u32 = u32::MAX;

/// Set where a link leads to a slot and not to a thing.
const SLOT: u32 = 1 << 31;

/// How many ticks ahead something may be due; later ones count as this.
pub const HORIZON: u64 = SLOTS.pow(3) - SLOTS.pow(2);

/// The place of a thing in its slot's list. One that is in none has `previous == NONE`.
#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    previous: u32,
}

/// The wheel. Things are numbers below its capacity.
#[derive(Debug)]
pub struct TimerWheel {
    links: Box<[Link]>,
    /// The first thing of each slot, level by level.
    heads: [[u32; LEVEL_SLOTS]; LEVELS],
    /// A bit for each slot that holds something.
    taken: [u64; LEVELS],
    /// The tick that is being worked off: all before are done.
    tick: u64,
}

impl TimerWheel {
    /// An empty wheel for the numbers below `capacity`, at most 2^31, that starts at `tick`.
    #[must_use]
    pub fn new(capacity: usize, tick: u64) -> Self {
        let links = vec![Link { next: NONE, previous: NONE }; capacity.min(SLOT as usize)].into();
        Self { links, heads: [[NONE; LEVEL_SLOTS]; LEVELS], taken: [0; LEVELS], tick }
    }

    /// The memory that it takes beside its own size, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.links)
    }

    /// Makes room for the numbers below `capacity`, at most 2^31. It never has less room than before.
    pub fn grow(&mut self, capacity: usize) {
        let capacity = capacity.min(SLOT as usize);
        if capacity > self.links.len() {
            let mut links = std::mem::take(&mut self.links).into_vec();
            links.resize(capacity, Link { next: NONE, previous: NONE });
            self.links = links.into();
        }
    }

    /// Puts `thing` in, due at `tick`, at the earliest at the next one; out first if it is in.
    pub fn insert(&mut self, thing: u32, tick: u64) {
        self.remove(thing);
        self.place(thing, tick.max(self.tick + 1));
    }

    /// Puts in what is in no slot.
    fn place(&mut self, thing: u32, tick: u64) {
        let ahead = tick.saturating_sub(self.tick).min(HORIZON);
        let tick = self.tick + ahead;
        let level = match ahead {
            0..SLOTS => 0,
            ahead if ahead < SLOTS * SLOTS => 1,
            _ => 2,
        };
        let slot = slot_of(tick, level);
        let Some(head) = self.heads.get_mut(level).and_then(|level| level.get_mut(slot)) else { return };
        let next = std::mem::replace(head, thing);
        self.taken[level] |= 1 << slot;
        if let Some(link) = self.link(next) {
            link.previous = thing;
        }
        let number = SLOT | u32::try_from(level * LEVEL_SLOTS + slot).unwrap_or(0);
        if let Some(link) = self.link(thing) {
            *link = Link { next, previous: number };
        }
    }

    /// Takes `thing` out, if it is in.
    pub fn remove(&mut self, thing: u32) {
        let Some(link) = self.link(thing) else { return };
        let Link { next, previous } = std::mem::replace(link, Link { next: NONE, previous: NONE });
        if previous == NONE {
            return;
        }
        if let Some(link) = self.link(next) {
            link.previous = previous;
        }
        if previous & SLOT == 0 {
            if let Some(link) = self.link(previous) {
                link.next = next;
            }
            return;
        }
        let number = (previous & !SLOT) as usize;
        let (level, slot) = (number / LEVEL_SLOTS, number % LEVEL_SLOTS);
        self.heads[level][slot] = next;
        if next == NONE {
            self.taken[level] &= !(1 << slot);
        }
    }

    fn link(&mut self, thing: u32) -> Option<&mut Link> {
        self.links.get_mut(thing as usize)
    }

    /// Works off all ticks up to `now`, or as much as `budget` allows, in things that it looks at and slots that it
    /// opens. `expire` gets each thing that is due, and says when it is due again; `None`: it stays out. Gives what is left of the budget.
    pub fn advance(&mut self, now: u64, budget: usize, mut expire: impl FnMut(u32) -> Option<u64>) -> usize {
        let mut left = budget;
        while self.work_off(&mut left, &mut expire).is_continue() && self.tick < now && left > 0 {
            left -= 1;
            self.tick = self.next_tick(now);
        }
        left
    }

    /// Moves and expires what the current tick's slots hold, from the widest to the narrowest.
    fn work_off(&mut self, left: &mut usize, expire: &mut impl FnMut(u32) -> Option<u64>) -> ControlFlow<()> {
        for level in (0..LEVELS).rev() {
            // A wider slot is opened when its first tick comes.
            let width = SLOT_BITS * u32::try_from(level).unwrap_or(0);
            if self.tick & ((1 << width) - 1) != 0 {
                continue;
            }
            let slot = slot_of(self.tick, level);
            loop {
                let thing = self.heads[level][slot];
                if thing == NONE {
                    break;
                }
                if *left == 0 {
                    return ControlFlow::Break(());
                }
                *left -= 1;
                self.remove(thing);
                // When exactly it is due only its owner knows: who is not due says so.
                if let Some(tick) = expire(thing) {
                    self.place(thing, tick.max(self.tick + 1));
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The next tick at which a slot has to be opened, at most `now`.
    fn next_tick(&self, now: u64) -> u64 {
        let slots = self.taken.iter().enumerate().filter_map(|(level, taken)| self.next_slot(level, *taken));
        slots.fold(now, u64::min)
    }

    /// The tick before which nothing comes up, if anything is in; `due` tells when a thing is. It is the tick at which the first
    /// thing is due, unless the slot where that stands holds more than `look` things or is the last one that the wheel
    /// reaches: then it may be earlier.
    #[must_use]
    pub fn earliest(&self, look: usize, due: impl Fn(u32) -> u64) -> Option<u64> {
        (0..LEVELS).filter_map(|level| self.earliest_of(level, look, &due)).min()
    }

    /// The same of one level.
    fn earliest_of(&self, level: usize, look: usize, due: impl Fn(u32) -> u64) -> Option<u64> {
        let begin = self.next_slot(level, *self.taken.get(level)?)?;
        let first = *self.heads.get(level)?.get(slot_of(begin, level))?;
        let end = begin + (1 << (SLOT_BITS * u32::try_from(level).unwrap_or(0))) - 1;
        let next = |thing: &u32| self.links.get(*thing as usize).map(|link| link.next);
        let mut things = std::iter::successors(Some(first), next).take_while(|thing| *thing != NONE);
        let earliest = things.by_ref().take(look).map(|thing| due(thing).clamp(begin, end)).min();
        if things.next().is_some() { Some(begin) } else { earliest }
    }

    /// The first tick of the next slot of a level that holds something.
    fn next_slot(&self, level: usize, taken: u64) -> Option<u64> {
        let width = SLOT_BITS * u32::try_from(level).unwrap_or(0);
        let position = self.tick >> width;
        // The first bit is the slot after the current one.
        let ahead = taken.rotate_right(u32::try_from((position + 1) % SLOTS).unwrap_or(0)).trailing_zeros();
        (taken != 0).then(|| (position + 1 + u64::from(ahead)) << width)
    }

    /// The tick up to which all is worked off.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// Takes everything out, and goes on at `tick`.
    pub fn restart(&mut self, tick: u64) {
        self.links.fill(Link { next: NONE, previous: NONE });
        (self.heads, self.taken, self.tick) = ([[NONE; LEVEL_SLOTS]; LEVELS], [0; LEVELS], tick);
    }

    /// Whether nothing is in the wheel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == [0; LEVELS]
    }
}

/// The slot of `tick` in a level.
fn slot_of(tick: u64, level: usize) -> usize {
    let width = SLOT_BITS * u32::try_from(level).unwrap_or(0);
    usize::try_from((tick >> width) % SLOTS).unwrap_or(0)
}

impl Default for TimerWheel {
    /// A wheel for nothing.
    fn default() -> Self {
        Self::new(0, 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs the wheel up to `now` and gives what came up, with things put in again that are not due.
    fn run(wheel: &mut TimerWheel, due: &[u64], now: u64, budget: usize) -> Vec<u32> {
        let mut expired = Vec::new();
        wheel.advance(now, budget, |thing| {
            let due = due[thing as usize];
            if due <= now {
                expired.push(thing);
                None
            } else {
                Some(due)
            }
        });
        expired
    }

    #[test]
    fn everything_comes_up_at_its_tick_and_no_sooner() {
        for start in [0, 1, 63, 4095, 1 << 40] {
            let due: Vec<u64> =
                [1, 2, 63, 64, 65, 127, 4095, 4096, 4097, 100_000, 300_000].map(|ahead| start + ahead).into();
            let mut wheel = TimerWheel::new(due.len(), start);
            for (thing, due) in due.iter().enumerate() {
                wheel.insert(u32::try_from(thing).unwrap(), *due);
            }
            for (thing, at) in due.iter().enumerate() {
                assert!(run(&mut wheel, &due, at - 1, usize::MAX).is_empty(), "{at} from {start}");
                assert_eq!(run(&mut wheel, &due, *at, usize::MAX), [u32::try_from(thing).unwrap()]);
            }
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn no_call_does_more_than_its_budget_and_nothing_is_lost() {
        let due = vec![5000; 1000];
        let mut wheel = TimerWheel::new(1000, 0);
        (0..1000).for_each(|thing| wheel.insert(thing, 5000));
        let mut expired = 0;
        for _ in 0..500 {
            let mut seen = 0;
            wheel.advance(6000, 10, |thing| {
                seen += 1;
                if due[thing as usize] > 6000 {
                    Some(due[thing as usize])
                } else {
                    expired += 1;
                    None
                }
            });
            assert!(seen <= 10);
        }
        assert_eq!(expired, 1000);
    }

    #[test]
    fn a_long_idle_time_costs_little() {
        let mut wheel = TimerWheel::new(1, 0);
        wheel.insert(0, 200_000);
        let left = wheel.advance(199_999, 100, |_| Some(200_000));
        assert!(left > 50, "{left}");
        assert!(wheel.advance(u64::MAX / 2, 100, |_| None) > 90);
    }

    #[test]
    fn the_first_one_is_told_exactly_where_few_are_in_a_slot() {
        for ahead in [1, 63, 64, 100, 4095, 4096, 5000, 100_000, 258_047] {
            let mut wheel = TimerWheel::new(2, 1000);
            assert_eq!(wheel.earliest(8, |_| 0), None);
            let due = [1000 + ahead, 1001 + ahead];
            wheel.insert(1, due[1]);
            wheel.insert(0, due[0]);
            assert_eq!(wheel.earliest(8, |thing| due[thing as usize]), Some(due[0]));
            assert!(wheel.earliest(1, |thing| due[thing as usize]).is_some_and(|tick| tick <= due[0]));
        }
        let mut wheel = TimerWheel::new(1, 0);
        wheel.insert(0, 1 << 40);
        assert!(wheel.earliest(8, |_| 1 << 40).is_some_and(|tick| tick <= HORIZON + SLOTS * SLOTS));
    }

    #[test]
    fn a_wheel_grows_with_what_is_in_it() {
        let mut wheel = TimerWheel::new(1, 0);
        wheel.insert(0, 10);
        wheel.grow(3);
        wheel.insert(2, 10);
        wheel.grow(0);
        let mut expired = run(&mut wheel, &[10; 3], 10, usize::MAX);
        expired.sort_unstable();
        assert_eq!(expired, [0, 2]);
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_list_does(
            steps in proptest::collection::vec((0..4u8, 0..32u32, 0..9000u64, 0..50usize), 1..200),
            start in 0..10_000u64,
        ) {
            let (mut wheel, mut now) = (TimerWheel::new(32, start), start);
            let mut due = [u64::MAX; 32];
            for (what, thing, ticks, budget) in steps {
                match what {
                    0 | 1 => {
                        due[thing as usize] = now + ticks + 1;
                        wheel.insert(thing, now + ticks + 1);
                    }
                    2 => {
                        due[thing as usize] = u64::MAX;
                        wheel.remove(thing);
                    }
                    _ => {
                        now += ticks / 10;
                        for round in 0..100_000 {
                            let budget = budget + 1;
                            let mut early = false;
                            let left = wheel.advance(now, budget, |thing| {
                                let at = std::mem::replace(&mut due[thing as usize], u64::MAX);
                                early |= at == u64::MAX;
                                (at > now).then(|| { due[thing as usize] = at; at })
                            });
                            prop_assert!(!early, "nothing comes up that is not in");
                            prop_assert!(round < 99_999);
                            if left > 0 {
                                break;
                            }
                        }
                        prop_assert!(due.iter().all(|due| *due > now), "{due:?} at {now}");
                        prop_assert_eq!(wheel.is_empty(), due.iter().all(|due| *due == u64::MAX));
                        let first = due.iter().copied().filter(|due| *due != u64::MAX).min();
                        prop_assert_eq!(wheel.earliest(32, |thing| due[thing as usize]), first);
                        let early = wheel.earliest(2, |thing| due[thing as usize]);
                        prop_assert!(early.zip(first).is_none_or(|(early, first)| now < early && early <= first));
                    }
                }
            }
        }
    }
}
