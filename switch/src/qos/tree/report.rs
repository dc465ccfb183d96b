//! What a tree tells of itself.

use std::sync::Arc;

use super::{Class, Tree};
use crate::counters::Volume;
use crate::qos::discipline::Backlog;
use crate::qos::plan::{ClassIndex, QueuePlan, RootPlan, Shares};
use crate::time::Nanos;

/// What there is to say about a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The tree as a whole; if it is one queue, that one.
    pub root: ClassReport,
    /// The classes below, in the order of their numbers.
    pub classes: Vec<ClassReport>,
}

/// What there is to say about a class. What happened in classes below it counts for it, but for drops and backlog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassReport {
    /// Its name; `root` for the root.
    pub name: Arc<str>,
    /// The class above; `None`: the root, or this is the root.
    pub parent: Option<ClassIndex>,
    /// What it may send; of a tree that is one queue, what that bucket lets go, and `None` if it is no bucket.
    pub shares: Option<Shares>,
    /// What it sent lately, in bits a second: over the last half second or more.
    pub bits_per_second: u64,
    /// What departed, on the wire.
    pub sent: Volume,
    /// What waits.
    pub backlog: Backlog,
    /// Frames that were dropped.
    pub dropped: u64,
    /// Frames that were marked with CE.
    pub marked: u64,
    /// How often it had to wait for tokens.
    pub overlimits: u64,
    /// Bytes that it sent with tokens of classes above.
    pub borrowed_bytes: u64,
    /// Bytes that classes below sent with tokens of its own.
    pub lent_bytes: u64,
}

impl Tree {
    /// Counters, rates and what waits.
    #[must_use]
    pub fn report(&self, now: Nanos) -> Report {
        let count = self.classes.len().saturating_sub(1);
        let mut root = self.class_report(count, now);
        root.backlog = self.backlog;
        root.dropped = self.classes.iter().map(|class| class.counters.dropped).sum();
        Report { root, classes: (0..count).map(|place| self.class_report(place, now)).collect() }
    }

    fn class_report(&self, place: usize, now: Nanos) -> ClassReport {
        let (name, parent, shares) = match &self.plan.root {
            RootPlan::Queue(queue) => (self.plan.name(place), None, of_bucket(queue)),
            RootPlan::Htb(htb) => {
                let class = htb.classes.get(place);
                let shares = class.map_or(htb.root, |class| class.shares);
                (self.plan.name(place), class.and_then(|class| class.parent), Some(shares))
            }
        };
        let none = Class::new(None, None);
        let class = self.classes.get(place).unwrap_or(&none);
        let counters = &class.counters;
        let lending = self.htb.as_ref().map_or_else(Default::default, |htb| htb.lending(place));
        ClassReport {
            name,
            parent,
            shares,
            bits_per_second: class.meter.at(now),
            sent: counters.sent,
            backlog: class.backlog(),
            dropped: counters.dropped,
            marked: counters.marked,
            overlimits: counters.overlimits + lending.overlimits,
            borrowed_bytes: lending.borrowed_bytes,
            lent_bytes: lending.lent_bytes,
        }
    }
}

/// What a bucket lets go: its rate on and on, and its peak as long as it is not empty.
fn of_bucket(queue: &QueuePlan) -> Option<Shares> {
    let QueuePlan::Tbf(bucket) = queue else { return None };
    let (ceil, cburst) = bucket.peak.unwrap_or((bucket.rate, bucket.burst));
    Some(Shares { rate: bucket.rate, ceil, burst: bucket.burst, cburst })
}
