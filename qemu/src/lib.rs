//! QEMU's and libvirt's end of a port: the command line and the domain XML that go with it.
//!
//! Pure functions from a [`GuestPort`] to text, and from a domain's XML to its ports; nothing is started and no file is read.

mod command_line;
mod domain;
mod libvirt;
mod quote;

pub use command_line::{Arg, guest_memory_args, qemu_args};
pub use domain::{DomainError, DomainPort, Field, NAMESPACE, domain_ports};
pub use libvirt::{DOMAIN_NEEDS, libvirt_interface};
pub use quote::shell_word;

/// What the other end of a port has to know about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestPort {
    /// The port's name: letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// Path of the socket.
    pub socket: String,
    /// Who listens on it.
    pub listener: Listener,
    /// The NIC's address, like `52:54:00:12:34:56`.
    pub mac: String,
    /// Queue pairs, from 1.
    pub queues: u16,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u16,
    /// Packed rings instead of split ones, if the guest's driver knows them.
    pub packed: bool,
}

/// Who listens on a port's socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// The switch; QEMU connects.
    Switch,
    /// QEMU; the switch connects.
    Qemu,
}

/// The MTU that a NIC has without being told.
const STANDARD_MTU: u16 = 1500;

/// Entries of each ring: the most that QEMU offers a vhost-user NIC, so that bursts fit.
const RING_SIZE: u16 = 1024;

#[cfg(test)]
mod sample {
    //! A port for tests.

    use super::{GuestPort, Listener};

    /// A port at whose socket the switch listens, with everything as it is without being told.
    pub(crate) fn port() -> GuestPort {
        GuestPort {
            name: "vm1".to_owned(),
            socket: "/run/viaduct/vm1.sock".to_owned(),
            listener: Listener::Switch,
            mac: "52:54:00:00:00:01".to_owned(),
            queues: 1,
            mtu: 1500,
            packed: false,
        }
    }
}
