//! Another plan for a tree in which something waits.

use std::collections::HashMap;
use std::ops::Add;
use std::sync::Arc;

use super::{Class, Counted, Tree};
use crate::qos::discipline::{Backlog, Queue, Sink, Work};
use crate::qos::plan::{PlanError, RootPlan, TreePlan};
use crate::time::Nanos;

/// Another plan for a tree, with all queues that it wants: made beforehand, since that takes long where there are many.
#[derive(Debug)]
pub struct Change {
    /// What the tree went by when this was made.
    before: Arc<TreePlan>,
    next: Tree,
    /// Where each of its classes is then.
    places: Vec<Option<usize>>,
    /// Room for queues that are not needed any more.
    spent: Vec<Queue>,
}

/// What is left of a tree that goes by another plan. To be dropped where nobody waits, since that takes long, too.
#[derive(Debug)]
pub struct Remains {
    _tree: Tree,
    _spent: Vec<Queue>,
}

impl Change {
    /// The change of a tree that goes by `before` to `plan`.
    ///
    /// # Errors
    /// What [`TreePlan::check`] says.
    pub fn new(before: Arc<TreePlan>, plan: &TreePlan, seed: u64, now: Nanos) -> Result<Self, PlanError> {
        let next = Tree::new(plan, seed, now)?;
        let places = places_in(&before, plan);
        let spent = Vec::with_capacity(places.len());
        Ok(Self { before, next, places, spent })
    }
}

impl Tree {
    /// Goes on by another plan, as [`Tree::change`] says.
    ///
    /// # Errors
    /// What [`TreePlan::check`] says; then nothing changed.
    pub fn reconfigure(&mut self, plan: &TreePlan, now: Nanos, sink: &mut dyn Sink) -> Result<(), PlanError> {
        if *plan != *self.plan {
            let change = Change::new(Arc::clone(&self.plan), plan, self.seed, now)?;
            drop(self.change(change, now, sink));
        }
        Ok(())
    }

    /// Goes on by another plan. What waits in a class goes on waiting in the class of the same name, in its order and
    /// without a loss unless that has less room; what was in others goes to the default class. Queues whose parameters
    /// are the same stay as they are, token buckets keep what they hold. No queue is made or given back meanwhile.
    ///
    /// Classes may have other numbers from now on: what was kept of [`Tree::class_of`] is void.
    pub fn change(&mut self, change: Change, now: Nanos, sink: &mut dyn Sink) -> Remains {
        let Change { before, mut next, mut places, mut spent } = change;
        self.settle();
        if !Arc::ptr_eq(&before, &self.plan) {
            places = places_in(&self.plan, &next.plan);
        }
        self.items.set_limit(next.plan.limits.frames);
        std::mem::swap(&mut self.plan, &mut next.plan);
        std::mem::swap(&mut self.classes, &mut next.classes);
        std::mem::swap(&mut self.htb, &mut next.htb);
        self.move_queues(&mut next.classes, &places, (now, sink), &mut spent);
        self.backlog = self.classes.iter().map(Class::backlog).fold(Backlog::default(), Backlog::add);
        self.succeed_htb(&next, &places, now);
        Remains { _tree: next, _spent: spent }
    }

    /// Moves what waits to the places where its classes are now.
    fn move_queues(
        &mut self,
        before: &mut [Class],
        places: &[Option<usize>],
        (now, sink): (Nanos, &mut dyn Sink),
        spent: &mut Vec<Queue>,
    ) {
        let (mut homeless, mut dropped) = (Vec::new(), 0);
        for (class, place) in before.iter_mut().zip(places) {
            match place {
                Some(place) => homeless.extend(self.move_class(class, *place, (now, &mut *sink), spent)),
                None => {
                    dropped += class.counters.dropped;
                    homeless.extend(class.queue.take());
                }
            }
        }
        // What ended classes dropped is the root's from now on.
        if let Some(root) = self.classes.last_mut() {
            root.counters.dropped += dropped;
        }
        let default = self.default_class().get();
        for mut queue in homeless {
            self.pour(&mut queue, default, now, sink);
            spent.push(queue);
        }
    }

    /// Makes the hierarchy, which is new, go on where the one of `before` was.
    fn succeed_htb(&mut self, before: &Self, places: &[Option<usize>], now: Nanos) {
        let Some(htb) = &mut self.htb else { return };
        if let Some(before) = &before.htb {
            htb.inherit(before, places, now);
        }
        for (place, class) in self.classes.iter().enumerate() {
            if class.backlog().frames > 0 {
                htb.activate(now, place, false);
            }
        }
    }

    /// Makes `before` the class at `place`. Gives its queue back if that has none, since others are below it now.
    fn move_class(
        &mut self,
        before: &mut Class,
        place: usize,
        (now, sink): (Nanos, &mut dyn Sink),
        spent: &mut Vec<Queue>,
    ) -> Option<Queue> {
        let class = self.classes.get_mut(place)?;
        (class.counters, class.meter) = (before.counters, before.meter);
        let before = before.queue.take()?;
        let Some(queue) = class.queue.take() else { return Some(before) };
        let mut counted = Counted { sink, dropped: &mut class.counters.dropped };
        let mut work = Work { now, items: &mut self.items, sink: &mut counted };
        class.queue = Some(queue.succeeding(before, &mut work, spent));
        None
    }

    /// Puts all that waits in `from` into the queue of the class at `place`.
    fn pour(&mut self, from: &mut Queue, place: usize, now: Nanos, sink: &mut dyn Sink) {
        let Some(Class { queue: Some(queue), counters, .. }) = self.classes.get_mut(place) else { return };
        let mut counted = Counted { sink, dropped: &mut counters.dropped };
        queue.take_all(from, &mut Work { now, items: &mut self.items, sink: &mut counted });
    }
}

/// Where each class of the plan before is in the next one.
fn places_in(before: &TreePlan, next: &TreePlan) -> Vec<Option<usize>> {
    let count = |plan: &TreePlan| match &plan.root {
        RootPlan::Queue(_) => 1,
        RootPlan::Htb(htb) => htb.classes.len() + 1,
    };
    let places: HashMap<Arc<str>, usize> = (0..count(next)).map(|place| (next.name(place), place)).collect();
    (0..count(before)).map(|place| places.get(&before.name(place)).copied()).collect()
}
