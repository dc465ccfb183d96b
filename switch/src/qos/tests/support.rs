//! A tree, and who sends through it in simulated time.

use std::collections::{HashSet, VecDeque};

use crate::drops::DropReason;
use crate::qos::*;
use crate::time::Nanos;

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn rate(bits: u64) -> BitRate {
    BitRate::new(bits).unwrap()
}

pub(super) fn burst(bytes: u32) -> Burst {
    Burst::new(bytes).unwrap()
}

pub(super) fn class(place: usize) -> ClassIndex {
    ClassIndex::new(place).unwrap()
}

pub(super) fn of_queue(queue: QueuePlan) -> TreePlan {
    TreePlan {
        root: RootPlan::Queue(queue),
        filters: Vec::new(),
        overhead_bytes: 0,
        limits: TreeLimits { frames: 1 << 16, bytes: 1 << 32 },
    }
}

pub(super) fn fifo(frames: u32) -> QueuePlan {
    QueuePlan::Fifo(FifoPlan { frames, bytes: u64::MAX })
}

pub(super) fn item(ticket: u32, length: u32) -> Item {
    Item { ticket, length, flow: 0, dscp: 0, ecn: Ecn::NotCapable, arrived: Nanos(0), marked: false }
}

/// What a station has sent, and got.
#[derive(Clone, Debug)]
pub(super) struct Departure {
    pub(super) at: Nanos,
    pub(super) class: usize,
    pub(super) item: Item,
}

/// A tree beside which it is written down what is in it.
pub(super) struct Lab {
    pub(super) tree: Tree,
    pub(super) now: Nanos,
    next_ticket: u32,
    inside: HashSet<u32>,
    class_of: Vec<usize>,
    pub(super) departed: Vec<Departure>,
    pub(super) dropped: Dropped,
    /// Of these, how many the tree refused beforehand.
    pub(super) refused: usize,
    /// How many of `dropped` are not in `inside` any more.
    accounted: usize,
    /// Each frame is reckoned with by itself, which must make no difference.
    pub(super) is_alone: bool,
}

#[derive(Default)]
pub(super) struct Dropped(pub(super) Vec<(Item, DropReason)>);

impl Sink for Dropped {
    fn dropped(&mut self, item: Item, reason: DropReason) {
        self.0.push((item, reason));
    }
}

impl Lab {
    pub(super) fn new(plan: &TreePlan) -> Self {
        Self {
            tree: Tree::new(plan, 7, Nanos(0)).unwrap(),
            now: Nanos(0),
            next_ticket: 0,
            inside: HashSet::new(),
            class_of: Vec::new(),
            departed: Vec::new(),
            dropped: Dropped::default(),
            refused: 0,
            accounted: 0,
            is_alone: false,
        }
    }

    /// Sends a frame as the data path does: at once if it may, else by the queue. Gives its ticket.
    pub(super) fn send(&mut self, place: usize, like: Item) -> u32 {
        let item = Item { ticket: self.next_ticket, arrived: self.now, ..like };
        self.next_ticket += 1;
        self.class_of.push(place);
        let is_admitted = match self.is_alone {
            true => self.tree.admit(self.now, class(place), item.length),
            false => self.tree.admit_of_many(self.now, class(place), item.length),
        };
        if is_admitted {
            self.departed.push(Departure { at: self.now, class: place, item });
        } else {
            assert!(self.inside.insert(item.ticket));
            let refusal = self.tree.refusal(self.now, class(place), &item);
            let before = self.dropped.0.len();
            self.tree.enqueue(self.now, class(place), item, &mut self.dropped);
            if let Some(reason) = refusal {
                assert_eq!(self.dropped.0[before..], [(item, reason)], "what was said beforehand");
                self.refused += 1;
            }
            self.account();
        }
        item.ticket
    }

    /// What was dropped is not inside any more; nothing is dropped that was not inside.
    fn account(&mut self) {
        for (item, _) in &self.dropped.0[self.accounted..] {
            assert!(self.inside.remove(&item.ticket), "{item:?} was dropped twice or never put in");
        }
        self.accounted = self.dropped.0.len();
        assert_eq!(self.tree.backlog().frames as usize, self.inside.len());
    }

    /// Takes frames out; gives how many.
    pub(super) fn remove(&mut self, wanted: impl Fn(&Item) -> bool) -> u32 {
        let Self { tree, inside, .. } = self;
        let mut removed = 0;
        tree.remove(|item| {
            let goes = wanted(item);
            if goes {
                assert!(inside.remove(&item.ticket), "{item:?} was taken out twice or never put in");
                removed += 1;
            }
            goes
        });
        assert_eq!(self.tree.backlog().frames as usize, self.inside.len());
        removed
    }

    /// Asks the tree once, and notes what departs.
    fn dequeue(&mut self) -> Next {
        let next = self.tree.dequeue(self.now, &mut self.dropped);
        if self.is_alone {
            self.tree.settle();
        }
        if let Next::Item(item) = next {
            assert!(self.inside.remove(&item.ticket), "{item:?} departed twice or was never put in");
            let class = self.class_of[item.ticket as usize];
            self.departed.push(Departure { at: self.now, class, item });
        }
        self.account();
        next
    }

    /// Takes out what departs up to `until`, each at its time.
    pub(super) fn run(&mut self, until: Nanos) {
        loop {
            match self.dequeue() {
                Next::Item(_) => {}
                Next::At(at) if at <= until => {
                    assert!(at > self.now, "{at:?} is not in the future of {:?}", self.now);
                    self.now = at;
                }
                Next::At(_) | Next::Empty => break,
            }
        }
        self.now = until;
        self.tree.settle();
    }

    /// Keeps each of `sources` (class, frame) with some frames waiting until `until`.
    pub(super) fn keep_busy(&mut self, sources: &[(usize, Item)], until: Nanos) {
        let mut waiting: Vec<VecDeque<u32>> = vec![VecDeque::new(); sources.len()];
        loop {
            for ((place, like), waiting) in sources.iter().zip(&mut waiting) {
                waiting.retain(|ticket| self.inside.contains(ticket));
                while waiting.len() < 4 {
                    let ticket = self.send(*place, *like);
                    if self.inside.contains(&ticket) {
                        waiting.push_back(ticket);
                    }
                }
            }
            match self.dequeue() {
                Next::Item(_) => {}
                Next::At(at) if at <= until => self.now = at,
                Next::At(_) | Next::Empty => break,
            }
        }
        self.now = until;
        self.tree.settle();
    }

    /// Bytes of `place` that departed in `from..until`.
    pub(super) fn bytes(&self, place: usize, from: Nanos, until: Nanos) -> u64 {
        let within = self.departed.iter().filter(|departure| departure.class == place);
        let within = within.filter(|departure| (from..until).contains(&departure.at));
        within.map(|departure| u64::from(departure.item.length)).sum()
    }
}

/// Classes with a parent, a rate and a ceil each below a root of `bits` a second. They wait in FIFOs of 1000 frames.
pub(super) fn htb(bits: u64, classes: &[(Option<usize>, u64, u64)]) -> TreePlan {
    let plan = |(place, (parent, bits, ceil)): (usize, &(Option<usize>, u64, u64))| ClassPlan {
        name: format!("class{place}").into(),
        parent: parent.map(class),
        shares: Shares::new(rate(*bits), rate(*ceil)),
        quantum: None,
        priority: 0,
        queue: fifo(1000),
    };
    let classes: Vec<ClassPlan> = classes.iter().enumerate().map(plan).collect();
    let default = class(classes.len().saturating_sub(1));
    let root = Shares::new(rate(bits), rate(bits));
    TreePlan { root: RootPlan::Htb(HtbPlan { root, classes, default }), ..of_queue(fifo(1)) }
}

/// A frame of `flow`.
pub(super) fn of_flow(flow: u32, length: u32) -> Item {
    // Spread as a hash is.
    Item { flow: flow.wrapping_mul(0x9e37_79b1), ..item(0, length) }
}

/// `queue` behind a token bucket.
pub(super) fn shaped(bits: u64, queue: QueuePlan) -> TreePlan {
    let plan = TbfPlan { rate: rate(bits), burst: burst(1600), peak: None, queue };
    of_queue(QueuePlan::Tbf(Box::new(plan)))
}

impl Lab {
    /// Of each frame of this flow that departed, how long it waited.
    pub(super) fn waits(&self, flow: u32) -> Vec<u64> {
        let flow = of_flow(flow, 0).flow;
        let departed = self.departed.iter().filter(|departure| departure.item.flow == flow);
        departed.map(|departure| departure.at.0 - departure.item.arrived.0).collect()
    }

    /// That the frames of each flow departed in the order in which they came.
    pub(super) fn assert_in_order(&self) {
        let mut last = std::collections::HashMap::new();
        for departure in &self.departed {
            let before = last.insert((departure.class, departure.item.flow), departure.item.ticket);
            assert!(
                before.is_none_or(|before| before < departure.item.ticket),
                "{departure:?} after {before:?}"
            );
        }
    }
}
