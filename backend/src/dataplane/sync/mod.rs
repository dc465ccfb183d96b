//! What threads of the data path do to one another, and nothing else: messages and their acknowledgement, sleeping
//! and waking, turns at a shared receive queue, the watch over writes that a peer may block.
//!
//! The files here use the types of [`primitives`] alone. The tests compile the very same files a second time over
//! loom's types and go through every order in which their steps may happen (`models.rs`).

pub(super) mod mailbox;
pub(super) mod primitives;
pub(super) mod turn;
pub(super) mod watch;

#[cfg(test)]
mod models;
