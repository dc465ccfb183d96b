//! What goes wrong with an interface: when it is opened, and later.

use std::io;
use std::path::PathBuf;

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The namespace cannot be entered.
    #[error(
        "cannot enter the network namespace {}: {error}; {}",
        path.display(), crate::sandbox::no_namespaces().unwrap_or("see ip netns list")
    )]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The name cannot be an interface's.
    #[error("interface name `{name}` is empty or longer than 15 bytes")]
    BadName {
        /// The name.
        name: String,
    },
    /// No such interface.
    #[error("there is no interface {name}: see ip link")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Not an Ethernet interface.
    #[error("interface {name} is not Ethernet (hardware type {hardware}), which ports have to be")]
    NotEthernet {
        /// Its name.
        name: String,
        /// `ARPHRD_*`.
        hardware: u16,
    },
    /// The interface is down.
    #[error("interface {name} is down: ip link set {name} up")]
    Down {
        /// Its name.
        name: String,
    },
    /// The number of queues makes no sense.
    #[error("{queues} queues: give 1 to 16")]
    BadQueues {
        /// How many were asked for.
        queues: u16,
    },
    /// AF_XDP takes each receive queue of an interface, and that has more or fewer.
    #[error(
        "interface {name} has {count} receive queues and AF_XDP takes each of them, but queues = {wanted}: ethtool -L \
         {name} combined {wanted}, or queues = {count}, or no queues at all"
    )]
    OtherQueues {
        /// The interface's name.
        name: String,
        /// How many were asked for.
        wanted: u16,
        /// How many there are.
        count: u32,
    },
    /// The interface's frames are too long for AF_XDP.
    #[error(
        "interface {name} has an MTU of {mtu}, and AF_XDP carries at most {most}: ip link set {name} mtu {most}, or \
         driver = \"af-packet\""
    )]
    LongFrames {
        /// The interface's name.
        name: String,
        /// Its MTU in bytes.
        mtu: u32,
        /// The largest that would do.
        most: u32,
    },
    /// Another program has the interface's frames.
    #[error(
        "another XDP program is on interface {name}: ip link set {name} xdp off, or driver = \"af-packet\""
    )]
    Taken {
        /// The interface's name.
        name: String,
    },
    /// The kernel refused something.
    #[error("cannot {what} for interface {name}: {error}; {remedy}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The interface's name.
        name: String,
        /// What the kernel said.
        error: io::Error,
        /// What helps, as a rule.
        remedy: &'static str,
    },
}

/// Why a device that ran does so no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceFault {
    /// It was set down, or was removed.
    #[error("the interface went down")]
    Down,
    /// It was removed.
    #[error("the interface is gone")]
    Gone,
    /// The kernel refused something that it should not.
    #[error("the kernel refused to {what}: {}", io::Error::from_raw_os_error(*errno))]
    System {
        /// What was tried.
        what: &'static str,
        /// The error's number.
        errno: i32,
    },
}

impl DeviceFault {
    /// From the error of an attempt to `what`.
    pub(super) fn new(what: &'static str, errno: i32) -> Self {
        match errno {
            libc::ENETDOWN => Self::Down,
            libc::ENXIO | libc::ENODEV | libc::EBADFD => Self::Gone,
            _ => Self::System { what, errno },
        }
    }
}

/// The calling thread's last error number.
pub(super) fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
