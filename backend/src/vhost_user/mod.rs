//! vhost-user, the backend's side: sockets, whole messages, sessions and the state of a device.
//!
//! A session reads whole messages without ever blocking ([`framer`]), checks each against the protocol's
//! table ([`message`]) before anything acts on it, answers itself what the `vhost` crate does not dispatch,
//! and hands the rest to that crate's handler through a private socket pair. What the messages change is
//! plain data ([`device`]) from which the data path's setup is derived.

pub mod allowance;
pub mod device;
pub mod disposal;
pub mod features;
pub mod framer;
mod handler;
pub mod heritage;
pub mod message;
pub mod outbox;
pub mod patch_bay;
pub mod peer_file;
mod rarp;
mod refusal;
pub mod relay;
pub mod ring;
pub mod session;
pub mod socket;

#[cfg(test)]
mod tests;

pub use allowance::Allowance;
pub use device::Limits;
pub use disposal::Disposal;
pub use heritage::{Heritage, LentFile, Request, Told};
pub use patch_bay::{BrokenRing, Engine, FailedDevice, PatchBay};
pub use session::{Session, SessionEnd};
pub use socket::{Access, Listener, SocketError, nobody_listens_at};
