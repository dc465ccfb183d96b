//! Queues that only shaped traffic enters: a tree of `viaduct_switch::qos` before a port's receive queues.
//!
//! Which port has a tree is one table that all workers have ([`Table`]): a group of frames for a port without one costs that
//! look and nothing else. For the others ([`admission`]) the tree is locked once a group. A frame that finds nothing in its way and
//! tokens enough goes on as if there were no tree, without a copy; any other is copied in the form that its receiver takes into
//! the tree's own store ([`store`]), whose memory is bounded for the tree and for the process, and waits.
//!
//! What is due departs ([`departures`]) in visits that are bounded: with the next group that somebody brings, and at the latest in
//! a round of the one worker that owns the tree, which has the trees' times in its agenda ([`agenda`]) and ends its sleep by them.
//! Whoever brings a departure nearer tells the owner. All of it happens under the tree's lock, which is held until the frames
//! are in the receiver's queue, so that a flow stays in order whichever worker moves it, and whether it waits or passes.
//!
//! A tree stays while a port's driver stops and starts: what is due meanwhile is set aside in order, and goes first afterwards. A
//! tree that is taken away passes on what waits before it goes.

mod admission;
mod agenda;
mod departures;
mod rounds;
mod shaper;
mod slack;
mod store;
mod table;
mod untold;

pub(super) use self::admission::{Newcomer, Verdict, Visit};
pub(super) use self::agenda::{Agenda, NEVER};
pub(super) use self::departures::Leaving;
pub(super) use self::shaper::{Ending, Shaper, ShapingMemory};
pub(super) use self::table::{Shaping, Table};
pub(super) use self::untold::Untold;

#[cfg(test)]
mod tests;
