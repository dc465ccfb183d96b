//! Frames that are reckoned with together. What one frame takes of the tokens on its way makes a difference to the next one only if
//! somebody runs out of them, or the turn goes to another class. As long as that cannot be, it is put together and taken at once.

use super::{Queue, Tree};
use crate::counters::Volume;
use crate::qos::plan::ClassIndex;
use crate::time::Nanos;

/// Bytes for which tokens are looked for on the way of frames that pass: the first that are there.
const GRANTS: [u32; 3] = [128 << 10, 16 << 10, 2 << 10];

/// The most bytes of one class that depart together.
const RUN_MAX: u32 = 4096;

/// Classes of which frames pass together.
const CLASSES: usize = 8;

/// Frames that passed now and were not reckoned with yet.
#[derive(Debug, Default)]
pub(super) struct Credit {
    now: Nanos,
    /// Bytes that may still pass before anybody could run out of tokens, whichever of these classes they are of.
    left: u32,
    /// Bytes that passed.
    passed: u32,
    /// The places of their classes, and what passed of each.
    classes: [(usize, Volume); CLASSES],
    count: usize,
    /// Something began to wait now: who still passes is asked each time.
    is_off: bool,
}

impl Credit {
    #[inline]
    fn take(&mut self, now: Nanos, place: usize, length: u32) -> bool {
        if now != self.now || length > self.left {
            return false;
        }
        let known = self.classes.iter_mut().take(self.count).find(|(known, _)| *known == place);
        let Some((_, volume)) = known else { return false };
        volume.add(length);
        self.left -= length;
        self.passed += length;
        true
    }

    fn add(&mut self, place: usize) -> bool {
        let Some(free) = self.classes.get_mut(self.count) else { return false };
        *free = (place, Volume::default());
        self.count += 1;
        true
    }
}

/// Frames of one class that depart now, one after the other.
#[derive(Debug, Default)]
pub(super) struct Run {
    now: Nanos,
    place: usize,
    lender: usize,
    /// Bytes that may still depart before the turn is another one's, or somebody could run out of tokens; none: there is no run.
    left: i64,
    departed: Volume,
    marked: u64,
    /// There were too few tokens for a run now.
    is_off: bool,
}

impl Run {
    /// The class of the run, and who lends to it.
    #[inline]
    pub(super) fn leaf(&self, now: Nanos) -> Option<(usize, usize)> {
        (self.left > 0 && now == self.now).then_some((self.place, self.lender))
    }
}

impl Tree {
    /// As [`Tree::admit`], for one of several frames that come now: what it takes of the tokens may be taken later, by
    /// [`Tree::settle`].
    #[inline]
    pub fn admit_of_many(&mut self, now: Nanos, class: ClassIndex, length: u32) -> bool {
        let place = self.place_of(class);
        self.credit.take(now, place, length) || self.admit_anew(now, class, length)
    }

    fn admit_anew(&mut self, now: Nanos, class: ClassIndex, length: u32) -> bool {
        self.end_run();
        if now != self.credit.now {
            self.settle();
            (self.credit.now, self.credit.is_off) = (now, false);
        } else if length > self.credit.left {
            self.settle();
        }
        let is_admitted = self.admit(now, class, length);
        if is_admitted && !self.credit.is_off {
            self.grant(self.place_of(class), length);
        }
        is_admitted
    }

    /// Notes that frames of a class may pass, if there are tokens for some more on all of its way; `length` bytes were just taken.
    fn grant(&mut self, place: usize, length: u32) {
        let Self { htb: Some(htb), classes, credit, .. } = self else { return };
        let queue = classes.get(place).and_then(|class| class.queue.as_ref());
        // Others have tokens of their own.
        if !matches!(queue, Some(Queue::Fifo(_) | Queue::Sfq(_) | Queue::FqCodel(_))) {
            return;
        }
        if credit.count == 0 {
            let granted = GRANTS.into_iter().find(|bytes| htb.covers(place, *bytes));
            (credit.left, credit.passed) = (granted.unwrap_or(0), 0);
            if granted.is_none() || !credit.add(place) {
                credit.is_off = true;
            }
            return;
        }
        // What this frame took may have been others', who have some in common with it.
        credit.left = credit.left.saturating_sub(length);
        if htb.covers(place, credit.passed + credit.left) {
            credit.add(place);
        }
    }

    /// Takes the tokens for all that passed or departed since the last time. To be called at the end of a visit, so that what is told
    /// of the tree is true.
    #[inline]
    pub fn settle(&mut self) {
        self.end_run();
        if self.credit.count > 0 {
            self.settle_credit();
        }
    }

    fn settle_credit(&mut self) {
        let count = std::mem::take(&mut self.credit.count);
        (self.credit.left, self.credit.passed) = (0, 0);
        let now = self.credit.now;
        for at in 0..count.min(CLASSES) {
            let (place, volume) = self.credit.classes[at];
            if volume.frames > 0 {
                if let Some(htb) = &mut self.htb {
                    htb.charge(now, (place, place), total(volume), false);
                }
                self.count_sent(now, place, volume, 0);
            }
        }
    }

    /// What is enqueued now may have turns of its own, or be in the way of what comes after it.
    #[inline]
    pub(super) fn settle_before_waiting(&mut self, now: Nanos) {
        self.settle();
        (self.credit.now, self.credit.is_off) = (now, true);
    }

    /// Begins a run of the class that sends next, if more than one frame of it waits and there are tokens for its turn.
    #[inline]
    pub(super) fn begin_run(&mut self, now: Nanos, (place, lender): (usize, usize)) {
        if self.run.is_off && self.run.now == now {
            return;
        }
        (self.run.now, self.run.is_off) = (now, false);
        let Some(htb) = &mut self.htb else { return };
        let backlog = self.classes[place].backlog();
        let of_turn = u32::try_from(htb.deficit(place, lender).min(i64::from(RUN_MAX))).unwrap_or(0);
        // With but one frame for the turn it would not be worth it.
        if backlog.frames < 2 || backlog.bytes * 2 > u64::from(of_turn) * u64::from(backlog.frames) {
            return;
        }
        if htb.covers_run(now, (place, lender), of_turn) {
            let (left, departed) = (i64::from(of_turn), Volume::default());
            self.run = Run { now, place, lender, left, departed, marked: 0, is_off: false };
        } else {
            self.run.is_off = true;
        }
    }

    /// Notes a departure of the run; says whether there is one.
    #[inline]
    pub(super) fn note_in_run(&mut self, length: u32, is_marked: bool) -> bool {
        if self.run.left <= 0 {
            return false;
        }
        self.run.left -= i64::from(length);
        self.run.departed.add(length);
        self.run.marked += u64::from(is_marked);
        let is_empty = self.classes[self.run.place].backlog().frames == 0;
        if is_empty && let Some(htb) = &mut self.htb {
            htb.deactivate(self.run.place);
        }
        if is_empty || self.run.left <= 0 {
            self.run.left = 0;
            self.end_run();
        }
        true
    }

    #[inline]
    pub(super) fn end_run(&mut self) {
        self.run.left = 0;
        if self.run.departed.frames > 0 {
            let (now, place, lender) = (self.run.now, self.run.place, self.run.lender);
            let departed = std::mem::take(&mut self.run.departed);
            let marked = std::mem::take(&mut self.run.marked);
            if let Some(htb) = &mut self.htb {
                htb.charge(now, (place, lender), total(departed), true);
            }
            self.count_sent(now, place, departed, marked);
        }
    }
}

fn total(volume: Volume) -> u32 {
    u32::try_from(volume.bytes).unwrap_or(u32::MAX)
}
