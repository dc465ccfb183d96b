//! The switch as a pure library: bytes and time come in as arguments, decisions go out.
//!
//! No `unsafe`, no I/O, no clock, no threads. A burst of [`Frame`]s from one source port enters
//! [`Switch::process`]; for each frame an ordered list of stages decides and records a decision, and the
//! caller's [`Egress`] is told where copies of the frame go.
#![forbid(unsafe_code)]

pub mod drops;
pub mod frame;
pub mod ids;
pub mod mac;
pub mod switch;

pub use drops::DropReason;
pub use frame::{Claims, Frame, Gso, GsoKind, Head, Metadata, PartialChecksum};
pub use ids::{NetworkIndex, PortIndex};
pub use mac::MacAddress;

