//! Hierarchical token buckets: which class sends next.
//!
//! What Linux's `sch_htb` does (Martin Devera, "Hierarchical token bucket theory", 2002). A class may send by itself as long
//! as neither its `rate` nor its `ceil` is used up; with only `rate` used up it may borrow of the class above, if that
//! may send, or may borrow itself; with `ceil` used up it may not send. A frame is charged to `ceil` of its class and of all
//! above, and to `rate` from the class on that lent. Who may send goes first at the lowest level; there the lowest priority;
//! there in turns by `quantum`. Leaves are at level 0, the root at level 7, classes between one below the one above them.
//!
//! Four things are different. An inner class has its turns among its siblings by its own quantum, where Linux gives it as
//! many as it has classes below it: so what is lent goes in proportion to rates at every level. A quantum that is
//! left out is in proportion to the rate among siblings, whatever the rate. What a super-frame is longer than a quantum is paid
//! back in later turns. And a class's mode is looked at anew when something comes for it, so that events of idle
//! classes may be late.

mod class;
mod feeds;
mod quantum;
mod waiting;

use feeds::{BANDS, Feeds, Tokens as Turn};
use waiting::Waiting;

use super::plan::{ClassPlan, DEPTH_MAX, HtbPlan, PRIORITIES};
use super::rate::Tokens;
use super::steps;
use crate::time::Nanos;

/// Levels of classes.
const LEVELS: usize = DEPTH_MAX;

/// The root's level.
const ROOT_LEVEL: u8 = 31;

/// No class.
const NONE: u32 = u32::MAX;

/// How many events are looked at before somebody sends who may.
const EVENTS_MAX: usize = 64;

/// What a class may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    CanSend,
    /// Not by itself before this time.
    MayBorrow(Nanos),
    /// Not at all before this time.
    CannotSend(Nanos),
}

impl Mode {
    fn is_same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

#[derive(Debug)]
struct Class {
    parent: u32,
    /// Its first node; an inner class has one for each priority.
    nodes: u32,
    /// Its first feed; `NONE`: no class is below it.
    feeds: u32,
    level: u8,
    priority: u8,
    /// A bit for each priority for which it, or a class below, has something to send.
    active: u8,
    /// Whether its queue wants to be left alone for a while.
    is_parked: bool,
    mode: Mode,
    rate: Tokens,
    ceil: Tokens,
    lending: Lending,
}

/// What a class lent and borrowed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lending {
    pub(crate) borrowed_bytes: u64,
    pub(crate) lent_bytes: u64,
    /// How often its `ceil` was used up.
    pub(crate) overlimits: u64,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    /// The queue at this place, with tokens of the class at the other.
    Leaf { place: usize, lender: usize },
    /// Nobody before this time.
    At(Nanos),
    /// Nobody has anything to send.
    Nobody,
}

/// The hierarchy. Classes are those of the plan, in its order, and the root behind them.
#[derive(Debug)]
pub(crate) struct Htb {
    classes: Vec<Class>,
    feeds: Feeds,
    /// Classes until their mode changes; and, by numbers behind those of all classes, leaves that are parked.
    waiting: Waiting,
}

impl Htb {
    /// A hierarchy by a plan that was checked, with full buckets and nothing to send.
    pub(crate) fn new(plan: &HtbPlan, now: Nanos) -> Self {
        let count = plan.classes.len() + 1;
        let quanta = quantum::quanta(plan);
        let levels = levels(plan);
        let root = number(plan.classes.len());
        let parents =
            plan.classes.iter().map(|class| class.parent.map_or(root, |parent| number(parent.get())));
        let shares = plan.classes.iter().map(|class| (&class.shares, class.priority));
        let mut feeds = Feeds::new();
        let classes = shares.chain([(&plan.root, 0)]).zip(parents.chain([NONE])).enumerate();
        let classes = classes.map(|(place, ((shares, priority), parent))| {
            let is_inner = levels[place] > 0;
            let nodes = if is_inner { BANDS } else { 1 };
            let nodes = feeds.add_nodes(number(place), nodes, quanta[place]);
            let feeds = if is_inner { feeds.add_feeds() } else { NONE };
            Class::new(shares, now).at(parent, levels[place], priority).with(nodes, feeds)
        });
        let classes = classes.collect();
        Self { classes, feeds, waiting: Waiting::new(2 * count) }
    }

    /// Takes over what the buckets of another hierarchy hold, and its counters: `places` tells where each of its classes is
    /// in this one.
    pub(crate) fn inherit(&mut self, before: &Self, places: &[Option<usize>], now: Nanos) {
        for (old, place) in before.classes.iter().zip(places) {
            let Some(class) = place.and_then(|place| self.classes.get_mut(place)) else { continue };
            class.rate = class.rate.succeeding(old.rate, now);
            class.ceil = class.ceil.succeeding(old.ceil, now);
            class.lending = old.lending;
        }
        (0..self.classes.len()).for_each(|place| self.refresh(now, number(place)));
    }

    /// What a class lent and borrowed.
    pub(crate) fn lending(&self, place: usize) -> Lending {
        self.classes.get(place).map_or_else(Lending::default, |class| class.lending)
    }

    /// Who lends to the leaf at `place`, so that what comes for it now may leave at once: it has to be the only one that may
    /// send.
    pub(crate) fn lender_of(&mut self, now: Nanos, place: usize) -> Option<usize> {
        self.do_events(now);
        if self.feeds.first_row().is_some() {
            return None;
        }
        let mut at = number(place);
        loop {
            // Those above matter only to who borrows; they are looked at when they are charged.
            self.classes.get(at as usize)?;
            self.refresh(now, at);
            let class = self.classes.get(at as usize)?;
            match class.mode {
                Mode::CanSend if !class.is_parked => return Some(at as usize),
                Mode::MayBorrow(_) => at = class.parent,
                _ => return None,
            }
        }
    }

    /// The leaf at `place` has something to send: with `at_once` even if it was not to be asked before some time.
    pub(crate) fn activate(&mut self, now: Nanos, place: usize, at_once: bool) {
        let leaf = number(place);
        let Some(class) = self.classes.get(place) else { return };
        if class.active != 0 || class.is_parked && !at_once {
            return;
        }
        if class.is_parked {
            self.waiting.remove(number(self.classes.len() + place));
            self.classes[place].is_parked = false;
        }
        self.refresh_path(now, leaf);
        let class = &mut self.classes[place];
        class.active = 1 << class.priority;
        self.link(leaf);
    }

    /// The leaf at `place` has nothing to send.
    pub(crate) fn deactivate(&mut self, place: usize) {
        let Some(class) = self.classes.get(place) else { return };
        if class.active == 0 {
            return;
        }
        self.unlink(number(place));
        self.classes[place].active = 0;
    }

    /// The leaf at `place` has something to send, but not before `until`.
    pub(crate) fn park(&mut self, place: usize, until: Nanos) {
        self.deactivate(place);
        let waiter = number(self.classes.len() + place);
        if let Some(class) = self.classes.get_mut(place) {
            class.is_parked = true;
            self.waiting.set(waiter, until);
        }
    }

    /// Who sends next.
    pub(crate) fn pick(&mut self, now: Nanos) -> Pick {
        self.do_events(now);
        let Some((level, priority)) = self.feeds.first_row() else {
            return self.waiting.first().map_or(Pick::Nobody, |(at, _)| Pick::At(at));
        };
        let Some(lender) = self.feeds.turn(Feeds::row(level, priority), Turn::Own) else {
            return Pick::Nobody;
        };
        let mut at = lender;
        // As deep as the tree.
        while let Some(class) = self.classes.get(at as usize).filter(|class| class.feeds != NONE) {
            let Some(next) = self.feeds.turn(Feeds::feed(class.feeds, priority), Turn::Borrowed) else {
                return Pick::Nobody;
            };
            at = next;
        }
        Pick::Leaf { place: at as usize, lender: lender as usize }
    }

    /// How many bytes the leaf at `place` may send before the turn is another one's, with tokens of `lender`: none if it has none left.
    pub(crate) fn deficit(&self, place: usize, lender: usize) -> i64 {
        let priority = self.classes.get(place).map_or(0, |class| class.priority);
        let mut least = i64::MAX;
        for (at, class) in self.way(place) {
            let tokens = if at == lender { Turn::Own } else { Turn::Borrowed };
            least = least.min(self.feeds.deficit(class.node(priority), tokens));
            if at == lender {
                break;
            }
        }
        least
    }

    /// Whether the leaf at `place` and all above it may send by themselves, and still may once so many bytes are gone.
    pub(crate) fn covers(&self, place: usize, bytes: u32) -> bool {
        let may_send = |class: &Class| class.mode == Mode::CanSend && !class.is_parked;
        self.way(place)
            .all(|(_, class)| may_send(class) && class.rate.covers(bytes) && class.ceil.covers(bytes))
    }

    /// Whether so many bytes of the leaf at `place`, with tokens of `lender`, leave the modes of all on the way as they are.
    pub(crate) fn covers_run(&mut self, now: Nanos, (place, lender): (usize, usize), bytes: u32) -> bool {
        let mut at = number(place);
        let mut is_below = true;
        while let Some(class) = self.classes.get_mut(at as usize) {
            class.refill(now);
            is_below &= at as usize != lender;
            let (rate, ceil) = match class.mode {
                // What it lends is its own.
                Mode::CanSend => (!is_below, true),
                Mode::MayBorrow(_) => (false, true),
                Mode::CannotSend(_) => (false, false),
            };
            if (rate && !class.rate.covers(bytes)) || (ceil && !class.ceil.covers(bytes)) {
                return false;
            }
            at = class.parent;
        }
        true
    }

    /// The class at `place` and all above it, with their places.
    fn way(&self, place: usize) -> impl Iterator<Item = (usize, &Class)> {
        let class = |at: usize| Some((at, self.classes.get(at)?));
        std::iter::successors(class(place), move |(_, below)| class(below.parent as usize))
    }

    /// Charges `bytes` that the leaf at `place` sent with tokens of `lender`. `in_turn` says whether it was picked: what passes
    /// finds nobody waiting, and takes no turn from anybody.
    pub(crate) fn charge(&mut self, now: Nanos, (place, lender): (usize, usize), bytes: u32, in_turn: bool) {
        let priority = self.classes.get(place).map_or(0, |class| class.priority);
        let (mut at, mut is_borrowed) = (number(place), true);
        while let Some(class) = self.classes.get_mut(at as usize) {
            steps::count();
            class.refill(now);
            if at as usize == lender {
                is_borrowed = false;
                if in_turn {
                    self.feeds.charge(class.node(priority), Turn::Own, bytes);
                }
                class.lending.lent_bytes += if at as usize == place { 0 } else { u64::from(bytes) };
            }
            if is_borrowed {
                if in_turn {
                    self.feeds.charge(class.node(priority), Turn::Borrowed, bytes);
                }
                class.lending.borrowed_bytes += u64::from(bytes);
            } else {
                class.rate.charge(bytes);
            }
            class.ceil.charge(bytes);
            let parent = class.parent;
            self.change_mode(at);
            at = parent;
        }
    }

    /// Has classes whose time has come change their modes.
    fn do_events(&mut self, now: Nanos) {
        for done in 0.. {
            let Some((_, waiter)) = self.waiting.first().filter(|(at, _)| *at <= now) else { return };
            if done >= EVENTS_MAX && self.feeds.first_row().is_some() {
                return;
            }
            match usize::try_from(waiter).ok().and_then(|waiter| waiter.checked_sub(self.classes.len())) {
                Some(leaf) => self.activate(now, leaf, true),
                None => self.refresh_event(now, waiter),
            }
        }
    }

    /// A class waited for its mode to change; it may have to wait again, if it was charged since.
    fn refresh_event(&mut self, now: Nanos, at: u32) {
        self.waiting.remove(at);
        self.refresh(now, at);
        if let Mode::MayBorrow(until) | Mode::CannotSend(until) = self.classes[at as usize].mode {
            self.waiting.set(at, until);
        }
    }

    /// Looks at the modes of a class and of all above it anew.
    fn refresh_path(&mut self, now: Nanos, mut at: u32) {
        while let Some(class) = self.classes.get(at as usize) {
            let parent = class.parent;
            self.refresh(now, at);
            at = parent;
        }
    }

    fn refresh(&mut self, now: Nanos, at: u32) {
        steps::count();
        self.classes[at as usize].refill(now);
        self.change_mode(at);
    }

    /// Changes a class's mode to what its buckets say. While it waits for an event that came nearer or moved away, it is left
    /// there: the event looks again.
    fn change_mode(&mut self, at: u32) {
        let class = &mut self.classes[at as usize];
        if class.mode == Mode::CanSend && class.rate.is_solvent() && class.ceil.is_solvent() {
            return;
        }
        let mode = class.mode_by_tokens();
        if mode.is_same_kind(class.mode) {
            class.mode = mode;
            return;
        }
        let is_active = class.active != 0;
        if is_active {
            self.unlink(at);
        }
        let class = &mut self.classes[at as usize];
        class.mode = mode;
        class.lending.overlimits += u64::from(matches!(mode, Mode::CannotSend(_)));
        match mode {
            Mode::CanSend => self.waiting.remove(at),
            Mode::MayBorrow(until) | Mode::CannotSend(until) => self.waiting.set(at, until),
        }
        if is_active {
            self.link(at);
        }
    }

    /// Puts a class with something to send where its mode says: into its row, or its parent's feed, which may make that one
    /// active, too.
    fn link(&mut self, mut at: u32) {
        let mut priorities = self.classes[at as usize].active;
        while let Some(class) = self.classes.get(at as usize) {
            match class.mode {
                Mode::CanSend => {
                    for priority in bits(priorities) {
                        self.feeds.insert(Feeds::row(class.level, priority), class.node(priority), Turn::Own);
                    }
                    return;
                }
                Mode::MayBorrow(_) if priorities != 0 && class.parent != NONE => {
                    let (child, parent) = (at, class.parent);
                    priorities = self.link_to(child, parent, priorities);
                    at = parent;
                }
                _ => return,
            }
        }
    }

    /// Puts `child` into its parent's feeds; gives the priorities that those had nobody of.
    fn link_to(&mut self, child: u32, parent: u32, priorities: u8) -> u8 {
        let mut new = 0;
        let feeds = self.classes[parent as usize].feeds;
        for priority in bits(priorities) {
            let feed = Feeds::feed(feeds, priority);
            new |= u8::from(self.feeds.is_empty(feed)) << priority;
            self.feeds.insert(feed, self.classes[child as usize].node(priority), Turn::Borrowed);
        }
        self.classes[parent as usize].active |= new;
        new
    }

    /// Undoes [`Htb::link`], with the mode as it was then.
    fn unlink(&mut self, mut at: u32) {
        let mut priorities = self.classes[at as usize].active;
        while let Some(class) = self.classes.get(at as usize) {
            match class.mode {
                Mode::CanSend => {
                    for priority in bits(priorities) {
                        self.feeds.remove(Feeds::row(class.level, priority), class.node(priority));
                    }
                    return;
                }
                Mode::MayBorrow(_) if priorities != 0 && class.parent != NONE => {
                    let (child, parent) = (at, class.parent);
                    priorities = self.unlink_from(child, parent, priorities);
                    at = parent;
                }
                _ => return,
            }
        }
    }

    /// Takes `child` out of its parent's feeds; gives the priorities that those have nobody of any more. The parent still
    /// counts as active for them until it is out of where it is: see [`Htb::unlink`].
    fn unlink_from(&mut self, child: u32, parent: u32, priorities: u8) -> u8 {
        let mut gone = 0;
        let feeds = self.classes[parent as usize].feeds;
        for priority in bits(priorities) {
            let feed = Feeds::feed(feeds, priority);
            self.feeds.remove(feed, self.classes[child as usize].node(priority));
            gone |= u8::from(self.feeds.is_empty(feed)) << priority;
        }
        self.classes[parent as usize].active &= !gone;
        gone
    }
}

/// The levels of the classes and the root: 0 for leaves, else one below the class above.
fn levels(plan: &HtbPlan) -> Vec<u8> {
    let depth = |class: &ClassPlan| {
        let above = |class: &&ClassPlan| class.parent.and_then(|parent| plan.classes.get(parent.get()));
        u8::try_from(std::iter::successors(Some(class), above).count()).unwrap_or(ROOT_LEVEL)
    };
    let levels = plan.classes.iter().zip(plan.leaves());
    let levels =
        levels.map(|(class, is_leaf)| if is_leaf { 0 } else { ROOT_LEVEL.saturating_sub(depth(class)) });
    levels.chain([ROOT_LEVEL]).collect()
}

/// The numbers of the bits that are set.
fn bits(mut set: u8) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let bit = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        u8::try_from(bit).ok().filter(|bit| *bit < PRIORITIES)
    })
}

/// A place as the number of a class.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}
