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

mod class_cache;
mod codel;
mod discipline;
mod fifo;
pub mod filter;
mod fq_codel;
mod htb;
pub mod item;
pub mod plan;
mod prio;
pub mod priomap;
pub mod rate;
mod sfq;
mod steps;
mod tbf;
mod tree;

pub use class_cache::ClassCache;
pub use discipline::{Backlog, Next, Sink};
pub use filter::{FilterPlan, Match, Subject};
pub use item::{Ecn, Item};
pub use plan::{
    ClassIndex, ClassPlan, FifoPlan, FqCodelPlan, HtbPlan, PlanError, PrioPlan, QueuePlan, RootPlan, SfqPlan,
    Shares, TbfPlan, TreeLimits, TreePlan,
};
pub use priomap::BandOfDscp;
pub use rate::{BitRate, Burst, Tokens};
pub use tree::{Change, ClassReport, Remains, Report, Tree};

use fifo::Fifo;
use fq_codel::FqCodel;
use prio::Prio;
use sfq::Sfq;
use tbf::Tbf;

/// The bucket among `count` of an item's flow; another one with another `seed`.
#[inline]
fn bucket_of(item: &Item, seed: u64, count: usize) -> usize {
    let mixed = (u64::from(item.flow) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = u128::from(mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) & u128::from(u64::MAX);
    usize::try_from((mixed * count as u128) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
