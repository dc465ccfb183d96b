//! The control thread: it owns sockets, sessions, timers and the configuration, and shares nothing.

mod error;
mod handle;

pub use error::{ApplyError, RunError};
pub use handle::{Change, ChangeKind, Changes, ControlGone, Handle};
#[cfg(test)]
pub(crate) use handle::{Command, channel};
