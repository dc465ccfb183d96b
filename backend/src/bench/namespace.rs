//! A network namespace without a name: nothing in it is the machine's own, and it is gone with the last thread in it.

use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::error::BenchError;
use super::process::{find, run};

/// The bridge.
const BRIDGE: &str = "bench0";

/// Whether this process may make one.
pub(super) fn is_allowed() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Works in a thread of its own in a new network namespace; children that it starts are in there too.
pub(super) fn within<T: Send>(work: impl FnOnce() -> Result<T, BenchError> + Send) -> Result<T, BenchError> {
    let refused = |error: nix::Error| BenchError::Refused {
        what: "make a network namespace for TAP devices".to_owned(),
        error: error.to_string(),
        remedy: "run it as root".to_owned(),
    };
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(refused)?;
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A Linux bridge in this thread's namespace.
#[derive(Debug)]
pub(super) struct Bridge {
    ip: PathBuf,
}

impl Bridge {
    /// A new one, up.
    pub(super) fn new() -> Result<Self, BenchError> {
        // A new wire is no reason for the kernel to speak IPv6; where it has none, there is nothing to turn off.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let bridge = Self { ip: find("ip", "iproute2")? };
        bridge.ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        bridge.ip(&["link", "set", BRIDGE, "up"])?;
        Ok(bridge)
    }

    /// Makes the TAP device `name` on it, for a program to open.
    pub(super) fn add_tap(&self, name: &str) -> Result<(), BenchError> {
        self.ip(&["tuntap", "add", "dev", name, "mode", "tap"])?;
        self.connect(name)
    }

    /// Connects the TAP device `name`, up.
    pub(super) fn connect(&self, name: &str) -> Result<(), BenchError> {
        self.ip(&["link", "set", name, "master", BRIDGE, "up"])
    }

    /// Runs ip(8).
    pub(super) fn ip(&self, arguments: &[&str]) -> Result<(), BenchError> {
        run((&self.ip, "iproute2"), arguments).map(drop)
    }
}
