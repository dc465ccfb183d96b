//! What the kernel knows of an interface, and the way into its namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::DeviceError;

/// Hardware type of Ethernet (RFC 826 by way of `ARPHRD_ETHER`).
const ETHERNET: u16 = 1;

/// An interface as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) mtu: u32,
    pub(super) address: [u8; 6],
    pub(super) is_up: bool,
}

/// Works in the namespace of `path`, in a thread of its own, since a namespace is a thread's.
pub(super) fn within<T: Send>(
    path: Option<&Path>,
    work: impl FnOnce() -> Result<T, DeviceError> + Send,
) -> Result<T, DeviceError> {
    let Some(path) = path else { return work() };
    let refused = |error| DeviceError::Namespace { path: path.to_owned(), error };
    let namespace = File::open(path).map_err(refused)?;
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|error| refused(io::Error::from(error)))?;
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A request for the interface `name`, all zero beside.
pub(super) fn request_for(name: &str) -> Result<libc::ifreq, DeviceError> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
        return Err(DeviceError::BadName { name: name.to_owned() });
    }
    // SAFETY: all-zero is a valid `ifreq`: integers and addresses of none.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

/// Looks at the interface `name` of this thread's namespace.
pub(super) fn look_up(name: &str) -> Result<Interface, DeviceError> {
    let refused = |error: io::Error| DeviceError::Refused {
        what: "ask the kernel",
        name: name.to_owned(),
        error,
        remedy: "see ip link",
    };
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| refused(error.into()))?;
    let ask = |what: libc::Ioctl| -> Result<libc::ifreq, DeviceError> {
        let mut request = request_for(name)?;
        // SAFETY: the SIOCGIF* requests read and write one `ifreq`, which lives during the call.
        match unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut request) } {
            0 => Ok(request),
            _ => Err(match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENODEV) => {
                    DeviceError::Missing { name: name.to_owned() }
                }
                error => refused(error),
            }),
        }
    };
    // SAFETY: each request leaves its answer in the field that is read here; all bit patterns are valid in them.
    let (index, mtu, flags, hardware) = unsafe {
        (
            ask(libc::SIOCGIFINDEX)?.ifr_ifru.ifru_ifindex,
            ask(libc::SIOCGIFMTU)?.ifr_ifru.ifru_mtu,
            ask(libc::SIOCGIFFLAGS)?.ifr_ifru.ifru_flags,
            ask(libc::SIOCGIFHWADDR)?.ifr_ifru.ifru_hwaddr,
        )
    };
    if hardware.sa_family != ETHERNET {
        return Err(DeviceError::NotEthernet { name: name.to_owned(), hardware: hardware.sa_family });
    }
    let [a, b, c, d, e, f, ..] = hardware.sa_data.map(|byte| byte.to_ne_bytes()[0]);
    let up = i16::try_from(libc::IFF_UP).unwrap_or(1);
    Ok(Interface {
        index: u32::try_from(index).unwrap_or(0),
        mtu: u32::try_from(mtu).unwrap_or(0),
        address: [a, b, c, d, e, f],
        is_up: flags & up != 0,
    })
}

/// As [`look_up`], and the interface has to be up.
pub(super) fn look_up_running(name: &str) -> Result<Interface, DeviceError> {
    let interface = look_up(name)?;
    if interface.is_up { Ok(interface) } else { Err(DeviceError::Down { name: name.to_owned() }) }
}

/// `SIOCETHTOOL` and its command `ETHTOOL_GDRVINFO` (linux/sockios.h, linux/ethtool.h).
pub(super) const ETHTOOL: libc::Ioctl = 0x8946;
const DRIVER_INFO: u32 = 3;

/// `struct ethtool_drvinfo` as far as it is of use here: the command, the driver's name, and the rest.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    _rest: [u32; 40],
}

/// Whether the interface `name` of this thread's namespace is one end of a veth pair.
pub(super) fn is_veth(name: &str) -> bool {
    let mut info = DriverInfo { command: DRIVER_INFO, driver: [0; 32], _rest: [0; 40] };
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let (Ok(socket), Ok(mut request)) = (socket, request_for(name)) else { return false };
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the request leads to a structure as long as the kernel's, which lives during the call.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL, &raw mut request) };
    asked == 0 && info.driver.starts_with(b"veth\0")
}
