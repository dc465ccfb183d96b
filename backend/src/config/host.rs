//! What the configuration has to know about the machine.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Group, Pid};

/// Facts about the machine that a file is checked against; tests make their own.
pub trait Host {
    /// Processors that this process may run on, ascending.
    fn cpus(&self) -> Vec<usize>;
    /// Whether a group of this name exists.
    fn has_group(&self, name: &str) -> bool;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

impl Host for ThisHost {
    /// The process' main thread is asked, because workers pin themselves to one processor each.
    fn cpus(&self) -> Vec<usize> {
        let Ok(allowed) = sched_getaffinity(Pid::this()) else { return vec![0] };
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect()
    }

    fn has_group(&self, name: &str) -> bool {
        matches!(Group::from_name(name), Ok(Some(_)))
    }
}
