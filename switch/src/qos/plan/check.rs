//! Whether a plan can be carried out.

use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;

use super::{
    BANDS_MAX, CLASSES_MAX, ClassIndex, ClassPlan, DEPTH_MAX, FILTERS_MAX, FLOWS_MAX, HtbPlan, PRIORITIES,
    QueuePlan, RootPlan, SfqPlan, TreePlan,
};

/// Why a plan cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// Too many classes, or none.
    #[error("the tree has {0} classes: it needs 1 to {CLASSES_MAX}")]
    Classes(usize),
    /// Too many filters.
    #[error("the tree has {0} filters: at most {FILTERS_MAX} can be told apart")]
    Filters(usize),
    /// Two classes of one name.
    #[error("there are two classes {0}: each needs a name of its own")]
    SameName(Arc<str>),
    /// A class with the root's name.
    #[error("there is a class {ROOT}, which is the name of the tree itself: give it another one")]
    RootName,
    /// A parent that does not exist, or is the class itself or below it.
    #[error("class {0} is below itself, or below a class that does not exist: correct its parent")]
    Parent(Arc<str>),
    /// Too deep.
    #[error("class {0} has more than {max} classes above it, with the root: make the tree flatter", max = DEPTH_MAX - 1)]
    Depth(Arc<str>),
    /// A ceil below the rate.
    #[error("class {0} has a ceil below its rate: raise the ceil, or leave it out")]
    Ceil(Arc<str>),
    /// No such priority.
    #[error("class {0} has priority {1}: it may be 0 to {max}", max = PRIORITIES - 1)]
    Priority(Arc<str>, u8),
    /// More guaranteed than there is.
    #[error(
        "the classes below {parent} are guaranteed {children} bits a second, but {parent} may have {ceil} at most: lower their rates"
    )]
    Overcommitted {
        /// The class above; `root` for the root.
        parent: Arc<str>,
        /// What those below it are guaranteed, in bits a second.
        children: u64,
        /// What it may have, in bits a second.
        ceil: u64,
    },
    /// The default class or a filter's leads to no class, or to one with classes below it.
    #[error("{0} leads to a class that does not exist or has classes below it: name one without")]
    NoLeaf(String),
    /// A parameter of a queue that is out of bounds.
    #[error("class {class}: {field} is {value}: it may be {least} to {most}")]
    Parameter {
        /// The class; `root` for a tree that is one queue.
        class: Arc<str>,
        /// The parameter.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The least that it may be.
        least: u64,
        /// The most that it may be.
        most: u64,
    },
    /// A queue in a queue in a queue…
    #[error(
        "class {0} has queues nested more than three deep, as in bands of token buckets of a queue: leave one level out"
    )]
    Nested(Arc<str>),
    /// More buckets of flows than memory is set aside for.
    #[error("the queues of the tree have {0} buckets of flows in all: at most {most} can be had; lower `flows` or `divisor`", most = FLOWS_IN_ALL_MAX)]
    Flows(u64),
}

/// The most buckets of flows of a tree: 64 bytes each.
const FLOWS_IN_ALL_MAX: u64 = 4 << 20;

/// How deep queues may stand in one another: bands of token buckets of queues.
const NESTING_MAX: usize = 3;

/// The root's name where it has to be told.
pub const ROOT: &str = "root";

impl TreePlan {
    /// Whether this can be carried out: all that [`Tree::new`](crate::qos::Tree::new) relies on.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        let limits = &self.limits;
        bounded(ROOT, "limits.frames", limits.frames.into(), 1, 1 << 24)?;
        bounded(ROOT, "limits.bytes", limits.bytes, 1 << 16, 1 << 40)?;
        if self.filters.len() > FILTERS_MAX {
            return Err(PlanError::Filters(self.filters.len()));
        }
        let flows = match &self.root {
            RootPlan::Queue(queue) => queue.check(ROOT, NESTING_MAX)?,
            RootPlan::Htb(htb) => htb.check()?,
        };
        if flows > FLOWS_IN_ALL_MAX {
            return Err(PlanError::Flows(flows));
        }
        let leaves = match &self.root {
            RootPlan::Queue(_) => vec![true],
            RootPlan::Htb(htb) => htb.leaves(),
        };
        let is_leaf = |class: ClassIndex| leaves.get(class.get()).is_some_and(|is_leaf| *is_leaf);
        match self.filters.iter().position(|filter| !is_leaf(filter.class)) {
            Some(place) => Err(PlanError::NoLeaf(format!("filter {}", place + 1))),
            None => Ok(()),
        }
    }
}

impl HtbPlan {
    /// Of each class, whether no class is below it.
    pub(in crate::qos) fn leaves(&self) -> Vec<bool> {
        let mut is_leaf = vec![true; self.classes.len()];
        for parent in self.classes.iter().filter_map(|class| class.parent) {
            if let Some(is_leaf) = is_leaf.get_mut(parent.get()) {
                *is_leaf = false;
            }
        }
        is_leaf
    }

    /// Gives the number of buckets of flows.
    fn check(&self) -> Result<u64, PlanError> {
        if !(1..=CLASSES_MAX).contains(&self.classes.len()) {
            return Err(PlanError::Classes(self.classes.len()));
        }
        let mut names = HashSet::new();
        let mut flows = 0;
        if self.root.ceil < self.root.rate {
            return Err(PlanError::Ceil(ROOT.into()));
        }
        for class in &self.classes {
            if *class.name == *ROOT {
                return Err(PlanError::RootName);
            }
            if !names.insert(&class.name) {
                return Err(PlanError::SameName(class.name.clone()));
            }
            class.check()?;
            self.check_depth(class)?;
            flows += class.queue.check(&class.name, NESTING_MAX)?;
        }
        self.check_guarantees()?;
        let is_leaf = self.leaves().get(self.default.get()).is_some_and(|is_leaf| *is_leaf);
        if is_leaf { Ok(flows) } else { Err(PlanError::NoLeaf("default".into())) }
    }

    /// That going up from `class` ends at the root, soon enough.
    fn check_depth(&self, class: &ClassPlan) -> Result<(), PlanError> {
        let mut above = class.parent;
        // The class and the root are two of them.
        for _ in 1..DEPTH_MAX {
            let Some(index) = above else { return Ok(()) };
            let Some(parent) = self.classes.get(index.get()) else {
                return Err(PlanError::Parent(class.name.clone()));
            };
            if parent.name == class.name {
                return Err(PlanError::Parent(class.name.clone()));
            }
            above = parent.parent;
        }
        Err(PlanError::Depth(class.name.clone()))
    }

    /// That nobody's ceil is less than what is guaranteed below: such guarantees would be kept, and the ceil not.
    fn check_guarantees(&self) -> Result<(), PlanError> {
        let mut guaranteed = vec![0; self.classes.len() + 1];
        for class in &self.classes {
            let parent = class.parent.map_or(self.classes.len(), ClassIndex::get);
            guaranteed[parent] += class.shares.rate.bits();
        }
        let root = (ROOT.into(), self.root.ceil.bits());
        let ceils = self.classes.iter().map(|class| (class.name.clone(), class.shares.ceil.bits()));
        for ((parent, ceil), children) in ceils.chain([root]).zip(guaranteed) {
            if children > ceil {
                return Err(PlanError::Overcommitted { parent, children, ceil });
            }
        }
        Ok(())
    }
}

impl ClassPlan {
    fn check(&self) -> Result<(), PlanError> {
        if self.shares.ceil < self.shares.rate {
            return Err(PlanError::Ceil(self.name.clone()));
        }
        if self.priority >= PRIORITIES {
            return Err(PlanError::Priority(self.name.clone(), self.priority));
        }
        match self.quantum {
            Some(quantum) => bounded(&self.name, "quantum", quantum.into(), 256, 1 << 30),
            None => Ok(()),
        }
    }
}

impl QueuePlan {
    /// Gives the number of buckets of flows.
    fn check(&self, class: &str, nesting: usize) -> Result<u64, PlanError> {
        let Some(nesting) = nesting.checked_sub(1) else { return Err(PlanError::Nested(class.into())) };
        match self {
            Self::Fifo(plan) => {
                bounded(class, "packets", plan.frames.into(), 1, 1 << 24)?;
                bounded(class, "bytes", plan.bytes, 1, u64::MAX)?;
                Ok(0)
            }
            Self::Sfq(plan) => {
                bounded(class, "packets", plan.frames.into(), 1, SfqPlan::FRAMES_MAX.into())?;
                bounded(class, "depth", plan.depth.into(), 1, SfqPlan::FRAMES_MAX.into())?;
                bounded(class, "divisor", plan.divisor.into(), 1, FLOWS_MAX.into())?;
                bounded(class, "quantum", plan.quantum.into(), 256, 1 << 20)?;
                bounded(class, "perturb", plan.perturb.map_or(u64::MAX, |time| time.0), 1_000_000, u64::MAX)?;
                Ok(plan.divisor.into())
            }
            Self::FqCodel(plan) => {
                bounded(class, "packets", plan.frames.into(), 1, 1 << 24)?;
                bounded(class, "flows", plan.flows.into(), 1, FLOWS_MAX.into())?;
                bounded(class, "quantum", plan.quantum.into(), 256, 1 << 20)?;
                bounded(class, "target", plan.target.0, 1, 60_000_000_000)?;
                bounded(class, "interval", plan.interval.0, 1_000, 60_000_000_000)?;
                bounded(class, "memory", plan.bytes, 1, u64::MAX)?;
                Ok(plan.flows.into())
            }
            Self::Tbf(plan) => plan.queue.check(class, nesting),
            Self::Prio(plan) => {
                bounded(class, "bands", plan.bands.len() as u64, 1, BANDS_MAX as u64)?;
                plan.bands.iter().map(|band| band.check(class, nesting)).sum()
            }
        }
    }
}

/// That `value` lies within its bounds.
fn bounded(class: &str, field: &'static str, value: u64, least: u64, most: u64) -> Result<(), PlanError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(PlanError::Parameter { class: class.into(), field, value, least, most })
}
