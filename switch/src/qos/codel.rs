//! Controlled delay: when to drop (RFC 8289).
//!
//! A queue is too long when no frame got through it within the target for a whole interval. Then one is dropped, and the
//! next ones at times that come closer together with the square root of their number, until one gets through in time.

use super::item::Item;
use crate::time::Nanos;

/// What the law goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) target: Nanos,
    pub(crate) interval: Nanos,
    /// So many bytes may always wait (RFC 8289, 5.3: `maxpacket`).
    pub(crate) least_bytes: u64,
}

/// A queue as the law sees it.
pub(crate) trait Source {
    /// Takes the next item out, and tells how many bytes are left behind it.
    fn pop(&mut self) -> Option<(Item, u64)>;

    /// Gets rid of `item`: marks it, if it may be, and gives it back to be sent; else drops it.
    fn signal(&mut self, item: Item) -> Option<Item>;
}

/// The state of a queue (RFC 8289, 5.5).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Codel {
    /// When the queue will have been too long for an interval; `None`: it is short enough.
    first_above: Option<Nanos>,
    drop_next: Nanos,
    count: u32,
    last_count: u32,
    is_dropping: bool,
}

impl Codel {
    /// The next item that departs (RFC 8289, 5.5 and 5.6: `dequeue`).
    pub(crate) fn dequeue(&mut self, now: Nanos, limits: &Limits, source: &mut impl Source) -> Option<Item> {
        let (item, is_too_long) = self.next(now, limits, source)?;
        if self.is_dropping {
            if !is_too_long {
                self.is_dropping = false;
                return Some(item);
            }
            return self.go_on(now, limits, source, item);
        }
        if !is_too_long {
            return Some(item);
        }
        let kept = source.signal(item);
        self.begin(now, limits.interval);
        if kept.is_some() {
            return kept;
        }
        self.next(now, limits, source).map(|(item, _)| item)
    }

    /// While it drops: whatever is due.
    fn go_on(
        &mut self,
        now: Nanos,
        limits: &Limits,
        source: &mut impl Source,
        mut item: Item,
    ) -> Option<Item> {
        while self.is_dropping && now >= self.drop_next {
            self.count = self.count.saturating_add(1);
            let kept = source.signal(item);
            if kept.is_some() {
                self.drop_next = control_law(self.drop_next, limits.interval, self.count);
                return kept;
            }
            let (next, is_too_long) = self.next(now, limits, source)?;
            item = next;
            if is_too_long {
                self.drop_next = control_law(self.drop_next, limits.interval, self.count);
            } else {
                self.is_dropping = false;
            }
        }
        Some(item)
    }

    /// Begins to drop. If it did so a short while ago, the rate of then is a good beginning.
    fn begin(&mut self, now: Nanos, interval: Nanos) {
        self.is_dropping = true;
        let dropped = self.count.saturating_sub(self.last_count);
        let is_soon = now - self.drop_next < Nanos(interval.0.saturating_mul(16));
        self.count = if dropped > 1 && is_soon { dropped } else { 1 };
        self.drop_next = control_law(now, interval, self.count);
        self.last_count = self.count;
    }

    /// The next item, and whether the queue has been too long for an interval (RFC 8289, 5.6: `dodequeue`).
    fn next(&mut self, now: Nanos, limits: &Limits, source: &mut impl Source) -> Option<(Item, bool)> {
        let Some((item, left_bytes)) = source.pop() else {
            self.first_above = None;
            self.is_dropping = false;
            return None;
        };
        if now - item.arrived < limits.target || left_bytes <= limits.least_bytes {
            self.first_above = None;
            return Some((item, false));
        }
        let first_above = *self.first_above.get_or_insert(now + limits.interval);
        Some((item, now >= first_above))
    }

    /// Frames were dropped by somebody else, since there was no room: that tells the sender as much.
    pub(crate) fn note_dropped(&mut self, frames: u32) {
        self.count = self.count.saturating_add(frames);
    }
}

/// When to drop the next time (RFC 8289, 5.4): `interval / sqrt(count)` later.
fn control_law(at: Nanos, interval: Nanos, count: u32) -> Nanos {
    let squared = u128::from(interval.0) * u128::from(interval.0) / u128::from(count.max(1));
    at + Nanos(u64::try_from(squared.isqrt()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "tests/codel.rs"]
mod tests;
