//! The machine's clock since it started, and which start that was.

use std::fs;
use std::io;

/// The machine's start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BootClock {
    /// The kernel's name for it.
    pub(super) boot: String,
}

impl BootClock {
    /// That of this machine.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn this() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { boot: boot.trim().to_owned() })
    }

    /// Seconds since the machine started, those included in which it slept.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn now_s(&self) -> io::Result<u64> {
        let text = fs::read_to_string("/proc/uptime")?;
        let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok());
        seconds.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/uptime says {text}")))
    }
}
