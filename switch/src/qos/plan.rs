//! What a configuration compiles to: one tree, with names as numbers and everything that was left out filled in.

use std::sync::Arc;

use super::filter::FilterPlan;
use super::priomap::BandOfDscp;
use super::rate::{BitRate, Burst};
use crate::time::Nanos;

mod check;

pub use check::{PlanError, ROOT};

/// The most classes of a tree, without its root.
pub const CLASSES_MAX: usize = 16_384;

/// The most classes on the way from the root to a leaf, both included: four times as many as in Linux (`TC_HTB_MAXDEPTH`). What leaves is counted
/// in each of them.
pub const DEPTH_MAX: usize = 32;

/// How many priorities classes may have, 0 being the first to be served (`TC_HTB_NUMPRIO`).
pub const PRIORITIES: u8 = 8;

/// The most filters of a tree.
pub const FILTERS_MAX: usize = 1024;

/// The most bands of a queue with bands (`TCQ_PRIO_BANDS`).
pub const BANDS_MAX: usize = 16;

/// The most buckets of flows of a queue, and of all queues of a tree for each of its classes on average.
pub const FLOWS_MAX: u32 = 65_536;

/// Names a class of a tree: its place in [`HtbPlan::classes`]; 0 in a tree that is one queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ClassIndex(u16);

impl ClassIndex {
    /// The class at this place, below [`CLASSES_MAX`].
    #[must_use]
    pub fn new(place: usize) -> Option<Self> {
        u16::try_from(place).ok().filter(|_| place < CLASSES_MAX).map(Self)
    }

    /// Its place.
    #[must_use]
    #[inline]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// A whole tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreePlan {
    /// What stands at its root.
    pub root: RootPlan,
    /// Which class a frame belongs to: the first that matches counts; what none matches goes to the default class.
    pub filters: Vec<FilterPlan>,
    /// Bytes that each frame takes on the wire beside its own, or fewer: 24 for Ethernet's preamble, checksum and gap.
    pub overhead_bytes: i16,
    /// How much may wait in all of it.
    pub limits: TreeLimits,
}

/// How much may wait in a tree. A class may have as much as is still free, so that none takes all of it from the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeLimits {
    /// Frames; a super-frame is one. 56 bytes each are set aside.
    pub frames: u32,
    /// Bytes on the wire.
    pub bytes: u64,
}

impl Default for TreeLimits {
    /// 16,384 frames, 16 MiB.
    fn default() -> Self {
        Self { frames: 16_384, bytes: 16 << 20 }
    }
}

/// What stands at the root of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootPlan {
    /// One queue, which is the only class.
    Queue(QueuePlan),
    /// Classes that share a rate.
    Htb(HtbPlan),
}

/// A hierarchy of token buckets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HtbPlan {
    /// What all classes share.
    pub root: Shares,
    /// The classes below the root, in any order.
    pub classes: Vec<ClassPlan>,
    /// Where frames go that no filter matches: a class without classes below it.
    pub default: ClassIndex,
}

/// What a class of a hierarchy may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shares {
    /// What it is guaranteed.
    pub rate: BitRate,
    /// What it may have with what others leave; not below `rate`.
    pub ceil: BitRate,
    /// What it may send at once at its rate.
    pub burst: Burst,
    /// What it may send at once in all.
    pub cburst: Burst,
}

impl Shares {
    /// `rate` and `ceil`, with the bursts that suit them.
    #[must_use]
    pub fn new(rate: BitRate, ceil: BitRate) -> Self {
        Self { rate, ceil, burst: Burst::suiting(rate), cburst: Burst::suiting(ceil) }
    }
}

/// A class of a hierarchy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassPlan {
    /// Its name, unique in the tree; what waits in it stays in the class of this name.
    pub name: Arc<str>,
    /// The class whose rate it shares; `None`: the root.
    pub parent: Option<ClassIndex>,
    /// What it may send.
    pub shares: Shares,
    /// What it borrows in a turn, in bytes; `None`: in proportion to its rate.
    pub quantum: Option<u32>,
    /// From 0 to 7: what is left goes to the lowest number first.
    pub priority: u8,
    /// How frames wait in it; of no meaning if it has classes below it.
    pub queue: QueuePlan,
}

/// A queue, with its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueuePlan {
    /// First in, first out.
    Fifo(FifoPlan),
    /// Stochastic fair queueing.
    Sfq(SfqPlan),
    /// Flow queues with controlled delay (RFC 8290).
    FqCodel(FqCodelPlan),
    /// No more than a rate.
    Tbf(Box<TbfPlan>),
    /// Bands of which the first goes first.
    Prio(Box<PrioPlan>),
}

impl Default for QueuePlan {
    fn default() -> Self {
        Self::FqCodel(FqCodelPlan::default())
    }
}

/// First in, first out: the last one is dropped when it is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FifoPlan {
    /// The most frames.
    pub frames: u32,
    /// The most bytes on the wire.
    pub bytes: u64,
}

impl Default for FifoPlan {
    /// 1000 frames of any length, as at an interface of Linux.
    fn default() -> Self {
        Self { frames: 1000, bytes: u64::MAX }
    }
}

/// Stochastic fair queueing (McKenney, 1990): flows are spread over buckets by a hash, which take turns by bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SfqPlan {
    /// The most frames in all; of the longest queue the oldest is dropped.
    pub frames: u32,
    /// The most frames of a bucket.
    pub depth: u32,
    /// Buckets.
    pub divisor: u32,
    /// Bytes of a turn.
    pub quantum: u32,
    /// How often the hash changes, so that flows that share a bucket do so for a while only; `None`: never.
    pub perturb: Option<Nanos>,
}

impl SfqPlan {
    /// The most frames that may wait, since all are spread anew when the hash changes.
    pub const FRAMES_MAX: u32 = 4096;
}

impl Default for SfqPlan {
    /// As in Linux: 127 frames in all and of a flow, 1024 buckets; the hash stays.
    fn default() -> Self {
        Self { frames: 127, depth: 127, divisor: 1024, quantum: 1514, perturb: None }
    }
}

/// Flow queues with controlled delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FqCodelPlan {
    /// How long frames may wait as a rule (RFC 8289, 4.3).
    pub target: Nanos,
    /// For how long they must have waited longer before anything is dropped (RFC 8289, 4.3).
    pub interval: Nanos,
    /// Bytes of a turn (RFC 8290, 5.2.4).
    pub quantum: u32,
    /// Buckets of flows (RFC 8290, 5.2.5).
    pub flows: u32,
    /// The most frames in all (RFC 8290, 5.2.3).
    pub frames: u32,
    /// The most bytes on the wire in all.
    pub bytes: u64,
    /// Whether frames are marked instead of dropped where they may be (RFC 8290, 5.2.7).
    pub ecn: bool,
    /// All that waited longer than this is marked if it may be (RFC 8290, 5.2.8).
    pub ce_threshold: Option<Nanos>,
}

impl Default for FqCodelPlan {
    /// RFC 8290, 5.2: 5 ms of 100 ms, 1024 buckets, 10,240 frames; 32 MiB, with ECN.
    fn default() -> Self {
        Self {
            target: Nanos::from_millis(5),
            interval: Nanos::from_millis(100),
            quantum: 1514,
            flows: 1024,
            frames: 10_240,
            bytes: 32 << 20,
            ecn: true,
            ce_threshold: None,
        }
    }
}

/// A token bucket before a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TbfPlan {
    /// What may leave.
    pub rate: BitRate,
    /// How much of it at once.
    pub burst: Burst,
    /// How fast a burst may leave, and how much at once even then; `None`: as fast as it can.
    pub peak: Option<(BitRate, Burst)>,
    /// What waits for it.
    pub queue: QueuePlan,
}

/// Bands: one is served only while nothing is in those before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrioPlan {
    /// Their queues, the first to be served first; 1 to [`BANDS_MAX`].
    pub bands: Vec<QueuePlan>,
    /// Which band a frame goes to.
    pub band_of: BandOfDscp,
}

impl Default for PrioPlan {
    /// Three bands as `pfifo_fast` has them.
    fn default() -> Self {
        Self { bands: vec![QueuePlan::Fifo(FifoPlan::default()); 3], band_of: BandOfDscp::default() }
    }
}

impl TreePlan {
    /// The name of the class at this place.
    pub(crate) fn name(&self, place: usize) -> Arc<str> {
        match &self.root {
            RootPlan::Htb(htb) => {
                htb.classes.get(place).map_or_else(|| check::ROOT.into(), |class| class.name.clone())
            }
            RootPlan::Queue(_) => check::ROOT.into(),
        }
    }

    /// The bytes that may leave at once from each class, and from the root.
    pub(crate) fn longest(&self) -> Vec<u32> {
        match &self.root {
            RootPlan::Queue(queue) => vec![queue.longest()],
            RootPlan::Htb(htb) => {
                let of_root = htb.root.burst.min(htb.root.cburst).bytes();
                let classes = htb.classes.iter().map(|class| htb.longest(class).min(of_root));
                classes.chain([of_root]).collect()
            }
        }
    }
}

impl HtbPlan {
    /// The bytes that may leave at once from a class, whatever the root says: its own bursts, and what those above it may send at
    /// their ceils. What they may at their rates does not count, since others may lend.
    fn longest(&self, class: &ClassPlan) -> u32 {
        let parent = |class: &&ClassPlan| self.classes.get(class.parent?.get());
        let above = std::iter::successors(parent(&class), parent).take(DEPTH_MAX);
        let own = class.shares.burst.min(class.shares.cburst);
        let burst = above.map(|class| class.shares.cburst).fold(own, Burst::min).bytes();
        burst.min(class.queue.longest()).min(class.queue.turn_at(class.shares.rate))
    }
}

/// The longest that a frame should keep others from leaving that are to be quicker, and which may be as long in any case.
const TURN: (Nanos, u32) = (Nanos::from_millis(1), 1600);

impl QueuePlan {
    /// The bytes that may leave at once.
    fn longest(&self) -> u32 {
        match self {
            Self::Fifo(_) | Self::Sfq(_) | Self::FqCodel(_) => u32::MAX,
            Self::Prio(plan) => plan.bands.iter().map(Self::longest).min().unwrap_or(u32::MAX),
            Self::Tbf(plan) => {
                let peak = plan.peak.map_or(u32::MAX, |(_, burst)| burst.bytes());
                plan.queue.longest().min(plan.burst.bytes()).min(peak).min(plan.queue.turn_at(plan.rate))
            }
        }
    }

    /// The bytes that should leave in one go at a rate. Where flows or bands take turns, a super-frame that takes long is
    /// what all others wait for, and so it is cut, as `sch_cake` does ("split-gso", tc-cake(8)).
    fn turn_at(&self, rate: BitRate) -> u32 {
        if let Self::Tbf(within) = self {
            return within.queue.turn_at(rate);
        }
        let takes_turns = matches!(self, Self::Sfq(_) | Self::FqCodel(_) | Self::Prio(_));
        let bytes =
            u32::try_from(u128::from(rate.bits()) * u128::from(TURN.0.0) / 8_000_000_000).unwrap_or(u32::MAX);
        if takes_turns { bytes.max(TURN.1) } else { u32::MAX }
    }
}
