//! Another plan for a tree in which something waits.

use std::collections::HashMap;
use std::ops::Add;
use std::sync::Arc;

use super::{Class, Counted, Tree, classes_of, htb_of};
use crate::qos::discipline::{Backlog, Queue, Sink, Work};
use crate::qos::plan::{PlanError, QueuePlan, RootPlan, TreePlan};
use crate::time::Nanos;

impl Tree {
    /// Goes on by another plan. What waits in a class goes on waiting in the class of the same name, in its order and
    /// without a loss unless that has less room; what was in others goes to the default class. Queues whose parameters
    /// are the same stay as they are, token buckets keep what they hold.
    ///
    /// Classes may have other numbers from now on: what was kept of [`Tree::class_of`] is void.
    ///
    /// # Errors
    /// What [`TreePlan::check`] says; then nothing changed.
    pub fn reconfigure(&mut self, plan: &TreePlan, now: Nanos, sink: &mut dyn Sink) -> Result<(), PlanError> {
        plan.check()?;
        if *plan == self.plan {
            return Ok(());
        }
        let classes = classes_of(plan, self.seed, now);
        let before = std::mem::replace(&mut self.classes, classes);
        let places = self.places_in(plan);
        self.items.set_limit(plan.limits.frames);
        self.plan = plan.clone();
        self.move_queues(before, &places, now, sink);
        self.backlog = self.classes.iter().map(Class::backlog).fold(Backlog::default(), Backlog::add);
        self.renew_htb(&places, now);
        Ok(())
    }

    /// Moves what waits to the places where its classes are now.
    fn move_queues(&mut self, before: Vec<Class>, places: &[Option<usize>], now: Nanos, sink: &mut dyn Sink) {
        let (mut homeless, mut dropped) = (Vec::new(), 0);
        for (class, place) in before.into_iter().zip(places) {
            match place {
                Some(place) => homeless.extend(self.move_class(class, *place, now, sink)),
                None => {
                    dropped += class.counters.dropped;
                    homeless.extend(class.queue);
                }
            }
        }
        // What ended classes dropped is the root's from now on.
        if let Some(root) = self.classes.last_mut() {
            root.counters.dropped += dropped;
        }
        let default = self.default_class().get();
        for queue in homeless {
            self.pour(queue, default, now, sink);
        }
    }

    /// Makes the hierarchy of the new plan, whose buckets hold what those of the same names held.
    fn renew_htb(&mut self, places: &[Option<usize>], now: Nanos) {
        let before = std::mem::replace(&mut self.htb, htb_of(&self.plan, now));
        let (Some(htb), RootPlan::Htb(plan)) = (&mut self.htb, &self.plan.root) else { return };
        if let Some(before) = before {
            htb.inherit(&before, plan, places, now);
        }
        for (place, class) in self.classes.iter().enumerate() {
            if class.backlog().frames > 0 {
                htb.activate(now, place);
            }
        }
    }

    /// Where each class of the plan before is in the next one.
    fn places_in(&self, next: &TreePlan) -> Vec<Option<usize>> {
        let places: HashMap<Arc<str>, usize> =
            (0..self.classes.len()).map(|place| (next.name(place), place)).collect();
        let count = match &self.plan.root {
            RootPlan::Queue(_) => 1,
            RootPlan::Htb(htb) => htb.classes.len() + 1,
        };
        (0..count).map(|place| places.get(&self.plan.name(place)).copied()).collect()
    }

    /// Makes `before` the class at `place`, as the plan now wants it. Gives its queue back if that has none, since others are
    /// below it now.
    fn move_class(&mut self, before: Class, place: usize, now: Nanos, sink: &mut dyn Sink) -> Option<Queue> {
        let seed = self.seed;
        let class = self.classes.get_mut(place)?;
        class.counters = before.counters;
        class.meter = before.meter;
        let queue = before.queue?;
        let Some(plan) = self.plan.queue(place).filter(|_| class.queue.is_some()) else { return Some(queue) };
        let mut counted = Counted { sink, dropped: &mut class.counters.dropped };
        let mut work = Work { now, items: &mut self.items, sink: &mut counted };
        class.queue = Some(queue.changed(plan, seed, &mut work));
        None
    }

    /// Puts all that waits in `from` into the queue of the class at `place`.
    fn pour(&mut self, from: Queue, place: usize, now: Nanos, sink: &mut dyn Sink) {
        let Some(Class { queue: Some(queue), counters, .. }) = self.classes.get_mut(place) else { return };
        let mut counted = Counted { sink, dropped: &mut counters.dropped };
        queue.take_all(from, &mut Work { now, items: &mut self.items, sink: &mut counted });
    }
}

impl TreePlan {
    /// The queue of the class at this place.
    fn queue(&self, place: usize) -> Option<&QueuePlan> {
        match &self.root {
            RootPlan::Queue(queue) => Some(queue),
            RootPlan::Htb(htb) => htb.classes.get(place).map(|class| &class.queue),
        }
    }
}
