//! A tree: classes, their queues, and what they may send.

use std::sync::Arc;

use super::discipline::{Backlog, Discipline, Next, Queue, Sink, Work};
use super::filter::{Subject, class_of};
use super::htb::{Htb, Pick};
use super::item::{Item, Items};
use super::plan::{ClassIndex, ClassPlan, PlanError, RootPlan, TreePlan};
use super::rate::RateMeter;
use crate::counters::Volume;
use crate::drops::DropReason;
use crate::time::Nanos;
use together::{Credit, Run};

mod change;
mod report;
mod together;

pub use change::{Change, Remains};
pub use report::{ClassReport, Report};

/// How often a queue is asked to let something go in favour of one newcomer.
const SHEDDING_MAX: usize = 8;

/// A tree of classes, or one queue. See [`TreePlan`].
#[derive(Debug)]
pub struct Tree {
    plan: Arc<TreePlan>,
    seed: u64,
    items: Items,
    /// Those of the plan, in its order, and the root behind them.
    classes: Vec<Class>,
    /// Who of them sends next; `None`: there is but one.
    htb: Option<Htb>,
    /// What waits in all classes.
    backlog: Backlog,
    /// Frames that passed and departed, and are not reckoned with yet.
    credit: Credit,
    run: Run,
}

/// A class, or the root.
#[derive(Debug)]
struct Class {
    /// `None`: it has classes below it.
    queue: Option<Queue>,
    /// The place of the class above it.
    parent: Option<usize>,
    /// Bytes on the wire that may leave at once.
    longest: u32,
    counters: ClassCounters,
    meter: RateMeter,
}

/// What happened in a class.
#[derive(Clone, Copy, Debug, Default)]
struct ClassCounters {
    sent: Volume,
    dropped: u64,
    marked: u64,
    overlimits: u64,
}

/// Who counts what a class drops.
struct Counted<'a> {
    sink: &'a mut dyn Sink,
    dropped: &'a mut u64,
}

impl Sink for Counted<'_> {
    fn dropped(&mut self, item: Item, reason: DropReason) {
        *self.dropped += 1;
        self.sink.dropped(item, reason);
    }
}

impl Tree {
    /// An empty tree. `seed` spreads flows over buckets, so that nobody outside can foresee which share one.
    ///
    /// # Errors
    /// What [`TreePlan::check`] says.
    pub fn new(plan: &TreePlan, seed: u64, now: Nanos) -> Result<Self, PlanError> {
        plan.check()?;
        Ok(Self {
            items: Items::new(plan.limits.frames),
            classes: classes_of(plan, seed, now),
            htb: htb_of(plan, now),
            plan: Arc::new(plan.clone()),
            seed,
            backlog: Backlog::default(),
            credit: Credit::default(),
            run: Run::default(),
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn plan(&self) -> &Arc<TreePlan> {
        &self.plan
    }

    /// The bytes that a frame takes on the wire: `bytes` in all, sent as `segments` frames, each of which has the plan's
    /// overhead.
    #[must_use]
    pub fn wire_length(&self, bytes: u32, segments: u32) -> u32 {
        let overhead = i64::from(self.plan.overhead_bytes) * i64::from(segments);
        u32::try_from((i64::from(bytes) + overhead).max(1)).unwrap_or(u32::MAX)
    }

    /// How many filters tell its classes.
    #[must_use]
    #[inline]
    pub fn filters(&self) -> usize {
        self.plan.filters.len()
    }

    /// The class of a frame. The same as long as the plan is the same, so that it may be kept with a decision.
    #[must_use]
    pub fn class_of(&self, subject: &Subject<'_>) -> ClassIndex {
        class_of(&self.plan.filters, subject).unwrap_or_else(|| self.default_class())
    }

    /// The bytes on the wire that a super-frame of this class should have at most, so that it is no more than may leave
    /// at once; longer ones should be cut.
    #[must_use]
    pub fn longest(&self, class: ClassIndex) -> u32 {
        self.classes.get(self.place_of(class)).map_or(u32::MAX, |class| class.longest)
    }

    /// Whether a frame of `length` bytes on the wire that comes now would depart now. If so it is reckoned as departed, and
    /// need not be put in.
    pub fn admit(&mut self, now: Nanos, class: ClassIndex, length: u32) -> bool {
        let place = self.place_of(class);
        let lender = match &mut self.htb {
            Some(htb) => htb.lender_of(now, place),
            None => Some(place),
        };
        let Some(queue) = self.classes.get_mut(place).and_then(|class| class.queue.as_mut()) else {
            return false;
        };
        let Some(lender) = lender.filter(|_| queue.as_discipline_mut().admit(now, length)) else {
            return false;
        };
        if let Some(htb) = &mut self.htb {
            htb.charge(now, (place, lender), length, false);
        }
        self.count_sent(now, place, Volume { frames: 1, bytes: u64::from(length) }, 0);
        true
    }

    /// Takes `item`, or drops it or others in its favour.
    pub fn enqueue(&mut self, now: Nanos, class: ClassIndex, item: Item, sink: &mut dyn Sink) {
        self.settle_before_waiting(now);
        let place = self.place_of(class);
        let before = self.classes.get(place).map_or_else(Backlog::default, Class::backlog);
        let room = self.room_beside(before);
        let Some(Class { queue: Some(queue), counters, .. }) = self.classes.get_mut(place) else {
            return sink.dropped(item, DropReason::QueueMemory);
        };
        let mut counted = Counted { sink, dropped: &mut counters.dropped };
        let mut work = Work { now, items: &mut self.items, sink: &mut counted };
        // Nothing goes in favour of one that is lost in any case.
        if let Some(reason) = queue.as_discipline().refuses(now, &item) {
            work.drop(item, reason);
        } else if make_room(queue.as_discipline_mut(), &item, room, &mut work) {
            queue.as_discipline_mut().enqueue(item, &mut work);
        } else {
            work.drop(item, DropReason::QueueMemory);
        }
        let (after, may_overtake) = (queue.as_discipline().backlog(), queue.as_discipline().may_overtake());
        self.note_backlog(before, after);
        if let Some(htb) = self.htb.as_mut().filter(|_| after.frames > 0) {
            htb.activate(now, place, may_overtake);
        }
    }

    /// Why an item that comes now would itself be dropped by [`Tree::enqueue`], as far as that can be told beforehand: then it need
    /// not be put in.
    #[must_use]
    pub fn refusal(&self, now: Nanos, class: ClassIndex, item: &Item) -> Option<DropReason> {
        let queue = self.classes.get(self.place_of(class))?.queue.as_ref()?.as_discipline();
        let backlog = queue.backlog();
        let room = self.room_beside(backlog);
        let has_room = || room.is_enough(backlog, item) || (room.may_fit(backlog, item) && queue.yields());
        queue.refuses(now, item).or_else(|| (!has_room()).then_some(DropReason::QueueMemory))
    }

    /// Counts frames of a class as dropped that were not put in for want of room.
    pub fn count_refused(&mut self, class: ClassIndex, frames: u64) {
        let place = self.place_of(class);
        if let Some(class) = self.classes.get_mut(place) {
            class.counters.dropped += frames;
        }
    }

    /// What the others leave to a class in which that much waits.
    fn room_beside(&self, own: Backlog) -> Room {
        let left_bytes = self.plan.limits.bytes.saturating_sub(self.backlog.bytes - own.bytes);
        Room { left_bytes, free_frames: self.items.free(), is_shared: self.htb.is_some() }
    }

    /// Gives what departs now, or says when to ask again.
    pub fn dequeue(&mut self, now: Nanos, sink: &mut dyn Sink) -> Next {
        if self.run.leaf(now).is_none() {
            self.settle();
        }
        // Each time round, a class has nothing more to send, or not for now.
        while self.backlog.frames > 0 {
            let pick = match (self.run.leaf(now), &mut self.htb) {
                (Some((place, lender)), _) => Pick::Leaf { place, lender },
                (None, Some(htb)) => htb.pick(now),
                (None, None) => Pick::Leaf { place: 0, lender: 0 },
            };
            let (place, lender) = match pick {
                Pick::Leaf { place, lender } => (place, lender),
                Pick::At(at) => return Next::At(at),
                Pick::Nobody => return Next::Empty,
            };
            if self.run.leaf(now).is_none() {
                self.begin_run(now, (place, lender));
            }
            match self.dequeue_class(now, place, sink) {
                Next::Item(item) => {
                    self.note_sent(now, place, lender, &item);
                    return Next::Item(item);
                }
                Next::At(at) => {
                    self.end_run();
                    match &mut self.htb {
                        Some(htb) => htb.park(place, at),
                        None => return Next::At(at),
                    }
                }
                Next::Empty => {
                    self.end_run();
                    if let Some(htb) = &mut self.htb {
                        htb.deactivate(place);
                    }
                }
            }
        }
        Next::Empty
    }

    /// Notes that a class's queue gave `item` with tokens of `lender`.
    fn note_sent(&mut self, now: Nanos, place: usize, lender: usize, item: &Item) {
        if self.note_in_run(item.length, item.marked) {
            return;
        }
        if let Some(htb) = &mut self.htb {
            if self.classes[place].backlog().frames == 0 {
                htb.deactivate(place);
            }
            htb.charge(now, (place, lender), item.length, true);
        }
        let volume = Volume { frames: 1, bytes: u64::from(item.length) };
        self.count_sent(now, place, volume, u64::from(item.marked));
    }

    fn dequeue_class(&mut self, now: Nanos, place: usize, sink: &mut dyn Sink) -> Next {
        let Some(Class { queue: Some(queue), counters, .. }) = self.classes.get_mut(place) else {
            return Next::Empty;
        };
        let before = queue.as_discipline().backlog();
        let mut counted = Counted { sink, dropped: &mut counters.dropped };
        let mut work = Work { now, items: &mut self.items, sink: &mut counted };
        let next = queue.as_discipline_mut().dequeue(&mut work);
        counters.overlimits += u64::from(matches!(next, Next::At(_)));
        let after = queue.as_discipline().backlog();
        self.note_backlog(before, after);
        next
    }

    /// Takes out something that waits whether or not it is due, each flow in its order: for a tree that ends.
    pub fn drain(&mut self) -> Option<Item> {
        self.settle();
        let Self { classes, items, backlog, .. } = self;
        let item =
            classes.iter_mut().find_map(|class| class.queue.as_mut()?.as_discipline_mut().drain(items))?;
        backlog.remove(&item);
        Some(item)
    }

    /// Takes out all that `wanted` says, as if it had never come: it takes no tokens and no room, and what stays goes on waiting in its
    /// order. It is the caller's to count. Takes as many steps as items wait.
    pub fn remove(&mut self, mut wanted: impl FnMut(&Item) -> bool) {
        self.settle();
        for place in 0..self.classes.len() {
            let Some(queue) = self.classes[place].queue.as_mut().map(Queue::as_discipline_mut) else {
                continue;
            };
            let before = queue.backlog();
            if before.frames == 0 {
                continue;
            }
            queue.remove(&mut self.items, &mut wanted);
            let after = queue.backlog();
            self.note_backlog(before, after);
            if let Some(htb) = self.htb.as_mut().filter(|_| after.frames == 0) {
                htb.deactivate(place);
            }
        }
    }

    /// What waits in all classes.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.backlog
    }

    fn default_class(&self) -> ClassIndex {
        match &self.plan.root {
            RootPlan::Queue(_) => ClassIndex::default(),
            RootPlan::Htb(htb) => htb.default,
        }
    }

    /// The place of `class`; of the default class, if that is none that has a queue.
    fn place_of(&self, class: ClassIndex) -> usize {
        let has_queue = self.classes.get(class.get()).is_some_and(|class| class.queue.is_some());
        if has_queue { class.get() } else { self.default_class().get() }
    }

    /// Notes that what waits in one class was `before` and is `after`.
    fn note_backlog(&mut self, before: Backlog, after: Backlog) {
        self.backlog.frames = self.backlog.frames + after.frames - before.frames;
        self.backlog.bytes = self.backlog.bytes + after.bytes - before.bytes;
    }

    /// Counts what departed for the class and all above it.
    fn count_sent(&mut self, now: Nanos, place: usize, volume: Volume, marked: u64) {
        let mut at = Some(place);
        while let Some(class) = at.and_then(|at| self.classes.get_mut(at)) {
            class.counters.sent += volume;
            class.counters.marked += marked;
            class.meter.add(now, volume.bytes);
            at = class.parent;
        }
    }
}

impl Class {
    fn new(queue: Option<Queue>, parent: Option<usize>) -> Self {
        let (counters, meter) = (ClassCounters::default(), RateMeter::default());
        Self { queue, parent, longest: u32::MAX, counters, meter }
    }

    fn backlog(&self) -> Backlog {
        self.queue.as_ref().map_or_else(Backlog::default, |queue| queue.as_discipline().backlog())
    }
}

/// What one class finds for its frames.
#[derive(Clone, Copy)]
struct Room {
    /// Bytes on the wire that other classes leave to it.
    left_bytes: u64,
    /// Frames that the whole tree has room for.
    free_frames: u32,
    /// Whether there are other classes.
    is_shared: bool,
}

impl Room {
    /// Whether a class in which `own` waits may have `item`, too. It may have half of what the others leave: a threshold that falls as
    /// memory gets scarce (Choudhury and Hahne, "Dynamic Queue Length Thresholds", 1998), so that a class that had nothing
    /// waiting finds room beside any others. Where there are none, it may have all.
    fn is_enough(self, own: Backlog, item: &Item) -> bool {
        let free_bytes = self.left_bytes.saturating_sub(own.bytes);
        let is_modest = !self.is_shared || (own.bytes <= free_bytes && own.frames <= self.free_frames);
        is_modest && u64::from(item.length) <= free_bytes && self.free_frames > 0
    }

    /// Whether there would be room for `item` if nothing of its class waited.
    fn may_fit(self, own: Backlog, item: &Item) -> bool {
        u64::from(item.length) <= self.left_bytes && (self.free_frames > 0 || own.frames > 0)
    }
}

/// Whether there is room for `item`, if need be after its queue let others go. None go in vain.
fn make_room(queue: &mut dyn Discipline, item: &Item, room: Room, work: &mut Work<'_>) -> bool {
    if !room.may_fit(queue.backlog(), item) {
        return false;
    }
    for _ in 0..SHEDDING_MAX {
        let room = Room { free_frames: work.items.free(), ..room };
        if room.is_enough(queue.backlog(), item) {
            return true;
        }
        if !queue.shed(work) {
            return false;
        }
    }
    false
}

/// The classes of a plan, and its root behind them.
fn classes_of(plan: &TreePlan, seed: u64, now: Nanos) -> Vec<Class> {
    let mut classes: Vec<Class> = match &plan.root {
        RootPlan::Queue(queue) => vec![Class::new(Some(Queue::new(queue, seed, now)), None)],
        RootPlan::Htb(htb) => {
            let root = htb.classes.len();
            let parent = |class: &ClassPlan| Some(class.parent.map_or(root, ClassIndex::get));
            let is_leaf = htb.leaves();
            let classes = htb.classes.iter().zip(is_leaf).map(|(class, is_leaf)| {
                Class::new(is_leaf.then(|| Queue::new(&class.queue, seed, now)), parent(class))
            });
            classes.chain([Class::new(None, None)]).collect()
        }
    };
    for (class, longest) in classes.iter_mut().zip(plan.longest()) {
        class.longest = longest;
    }
    classes
}

fn htb_of(plan: &TreePlan, now: Nanos) -> Option<Htb> {
    match &plan.root {
        RootPlan::Queue(_) => None,
        RootPlan::Htb(plan) => Some(Htb::new(plan, now)),
    }
}
