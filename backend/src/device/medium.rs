//! How fast an interface is, and whether both ends may send at once, asked in its own network namespace.

use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::interface::{ETHTOOL, request_for, within};

/// `ETHTOOL_GSET` (linux/ethtool.h): what the kernel makes of what drivers say in the newer way, too.
const GET_SETTINGS: u32 = 1;

/// `DUPLEX_HALF`; 255 is unknown.
const HALF: u8 = 0;

/// `struct ethtool_cmd`, as far as it is of use here.
#[repr(C)]
#[derive(Default)]
struct Settings {
    command: u32,
    _modes: [u32; 2],
    speed_low: u16,
    duplex: u8,
    _port: [u8; 5],
    _limits: [u32; 2],
    speed_high: u16,
    _rest: [u16; 7],
}

const _: () = assert!(size_of::<Settings>() == 44);

/// What an interface says of the link behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Medium {
    /// Its speed in Mbit/s, where it says one.
    pub speed_mbit: Option<u32>,
    /// Both ends may send at once; so it is where nothing is said.
    pub full_duplex: bool,
}

impl Medium {
    /// Where nothing is said.
    pub const UNKNOWN: Self = Self { speed_mbit: None, full_duplex: true };

    /// Of the interface `name` in the network namespace that the file names, or in this process's own. Interfaces that
    /// cannot be asked have none to tell.
    #[must_use]
    pub fn of(namespace: Option<&Path>, name: &str) -> Self {
        within(namespace, || Ok(ask(name))).ok().flatten().unwrap_or(Self::UNKNOWN)
    }
}

fn ask(name: &str) -> Option<Medium> {
    let mut settings = Settings { command: GET_SETTINGS, duplex: u8::MAX, ..Settings::default() };
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    let mut request = request_for(name).ok()?;
    request.ifr_ifru.ifru_data = (&raw mut settings).cast();
    // SAFETY: the request leads to a structure as long as the kernel's, which lives during the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL, &raw mut request) } != 0 {
        return None;
    }
    let speed = u32::from(settings.speed_high) << 16 | u32::from(settings.speed_low);
    // SPEED_UNKNOWN is all ones; 16 bits of them come from old drivers.
    let is_known = ![0, u32::MAX, u32::from(u16::MAX)].contains(&speed);
    Some(Medium { speed_mbit: is_known.then_some(speed), full_duplex: settings.duplex != HALF })
}
