//! A vhost-user frontend and a virtio-net driver for split and packed rings, independent of the switch's own code.
//!
//! [`nic::Nic`] behaves well; [`message`] and [`ring`] are open enough for a test that does not want to.

pub mod features;
pub mod header;
pub mod memory;
pub mod message;
pub mod nic;
pub mod packed;
pub mod queue;
pub mod ring;
pub mod session;
pub mod watchdog;
