//! Queues at the way out of a port: who may send how much, and who goes first.
//!
//! ```text
//!   frame ─ filters ─ class ─ admit: nothing in its way, tokens there ──────────────────────── departs at once
//!                         └── enqueue: class's queue ─ dequeue, when due: the class whose turn it is ─ departs
//! ```
//!
//! A [`Tree`] is made of a [`TreePlan`]: one queue, or classes that share a rate (`htb`), each with a queue of its own. What
//! waits is an [`Item`], the handle of a frame whose bytes the caller keeps; every item that was put in comes out exactly
//! once, departed or dropped ([`Sink`]). A queue is one of several disciplines behind one trait (`discipline`), one file
//! each; those with a queue inside (token bucket, bands) take any other.
//!
//! Nothing here has a clock: the time is an argument, and [`Next::At`] says when to ask again. What a frame costs does
//! not depend on how many classes there are, or how much waits in them.

mod discipline;
mod fifo;
pub mod filter;
mod htb;
pub mod item;
pub mod plan;
pub mod priomap;
pub mod rate;
mod steps;
mod tbf;
mod tree;

pub use discipline::{Backlog, Next, Sink};
pub use filter::{FilterPlan, Match, Subject};
pub use item::{Ecn, Item};
pub use plan::{
    ClassIndex, ClassPlan, FifoPlan, FqCodelPlan, HtbPlan, PlanError, PrioPlan, QueuePlan, RootPlan, SfqPlan,
    Shares, TbfPlan, TreeLimits, TreePlan,
};
pub use priomap::BandOfDscp;
pub use rate::{BitRate, Burst, Tokens};
pub use tree::{ClassReport, Report, Tree};

use fifo::Fifo;
use tbf::Tbf;

#[cfg(test)]
mod tests;
