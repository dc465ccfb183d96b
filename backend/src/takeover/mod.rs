//! A new process takes the switch over from the one that runs, and guests notice nothing but a pause of some milliseconds.
//!
//! The process that runs (the *incumbent*) listens at `takeover.sock` in its `runtime_dir`, for its own user alone. `viaduct run --takeover`
//! (the *successor*) knocks there. What is said, in this order (`record.rs` is all that travels):
//!
//! ```text
//! successor                                   incumbent
//!   Hello ─────────────────────────────────▶   same user? same form of records?
//!                                              no change of the configuration from now on, the API's clients wait
//!   ◀──────── Manager, Lock, Listener*, Offered
//!   reads the file and run-time changes, starts workers, tables, gateways
//!   Describe ──────────────────────────────▶   writes all connections to the file
//!   ◀──────────── Session*, Learned*, Described
//!   makes the sessions anew, maps memory, restores connections and stations
//!   Prepared ──────────────────────────────▶   takes all rings and devices off its workers: the pause begins;
//!                                              writes the connections that have come since
//!   ◀── Session* (what changed), Rings*, Device*, Stopped
//!   Ready ─────────────────────────────────▶   within a second of the pause's beginning, or the incumbent goes on
//!   ◀────────────────────────────────────── Go the one word after which the incumbent does nothing more
//!   lets the rings run: the pause ends         ends, with status 0
//! ```
//!
//! Until `Go` all that the successor has is borrowed, and its end, whatever the reason, leaves everything to the incumbent, which never waits for
//! longer than a second while rings stand still. Only the incumbent says whether it goes: so there is no moment in which both or nobody run.

mod door;
mod error;
mod line;
mod record;
mod successor;

pub use door::{Door, Estate};
pub use error::TakeoverError;
pub(crate) use line::{Line, Parcel};
pub(crate) use record::{DeviceRecord, LearnedRecord, Record, SessionRecord};
pub use successor::Successor;
pub(crate) use successor::{Inheritance, SessionHeritage};

/// The form of what travels. Fields may be added to it by later versions, since unknown ones are passed over; whatever else changes
/// gets another number, and is refused.
pub(crate) const FORM: u32 = 2;

/// The socket's name in `runtime_dir`.
pub const SOCKET: &str = "takeover.sock";
