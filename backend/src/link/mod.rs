//! The kernel's interfaces: what they are now, and when that changes.
//!
//! A [`LinkWatcher`] listens to one network namespace by rtnetlink(7) and knows the interfaces that it was asked
//! about, and nothing of all others: however many come and go, what it keeps is bounded by what it was asked.

mod message;
mod namespace;
mod watcher;

use viaduct_switch::MacAddress;

pub use namespace::{NamespaceId, within};
pub use watcher::LinkWatcher;

/// An interface as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Its number in its namespace, from 1; one that comes back has another.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// Whether the administrator has it up (IFF_UP).
    pub up: bool,
    /// Whether it reaches something: a cable, the other end (IFF_LOWER_UP).
    pub carrier: bool,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Its own address; `None` if it is not Ethernet.
    pub mac: Option<MacAddress>,
    /// What made it: `veth`, `tun`, `bridge`; `None` for hardware.
    pub kind: Option<String>,
}
