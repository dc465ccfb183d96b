//! The machine that is measured, and the state that it is in.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::error::BenchError;
use super::interrupt;
use crate::config::{Host, ThisHost};

/// What has to be the same for two figures to mean the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Its processor's model.
    pub(super) processor: String,
    /// Processors that this process may use.
    pub(super) processors: usize,
    /// Bytes of memory.
    pub(super) memory_bytes: u64,
    /// The kernel's release.
    pub(super) kernel: String,
    /// Whether guests run on the processor itself (`KVM`) or are emulated (`TCG`); empty if no guest was started.
    pub(super) guests: String,
    /// QEMU's version; empty if no guest was started.
    pub(super) qemu: String,
    /// Viaduct's version, and the state of the checkout that the program lies in, if it does.
    pub(super) viaduct: String,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        Self {
            processor: after_colon("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: processors().len(),
            memory_bytes: memory_bytes().unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease"),
            guests: String::new(),
            qemu: String::new(),
            viaduct: version(),
        }
    }

    /// All of it in a line.
    pub(super) fn line(&self) -> String {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let mut line = format!(
            "{}, {} processors, {gib:.0} GiB, Linux {}; viaduct {}",
            self.processor, self.processors, self.kernel, self.viaduct
        );
        for more in [&self.qemu, &self.guests] {
            if !more.is_empty() {
                line.push_str(&format!("; {more}"));
            }
        }
        line
    }
}

/// The processors that this process may use, ascending.
pub(super) fn processors() -> Vec<usize> {
    ThisHost.cpus()
}

/// One processor for the switch and one for the generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Places {
    /// The switch's.
    pub(super) switch: usize,
    /// The generator's.
    pub(super) generator: usize,
}

impl Places {
    /// The first two that this process may use.
    pub(super) fn choose() -> Result<Self, BenchError> {
        match processors()[..] {
            [switch, generator, ..] => Ok(Self { switch, generator }),
            ref fewer => Err(BenchError::Processors { found: fewer.len() }),
        }
    }
}

/// Keeps this thread on processor `cpu`.
pub(super) fn pin(cpu: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(BenchError::system(format!("keep a thread on processor {cpu}")))
}

/// Tasks that want a processor, averaged over a minute.
pub(super) fn load() -> f64 {
    read("/proc/loadavg").split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// The share of all processors' time, in percent, that something takes in the half second from now.
pub(super) fn busy() -> Result<f64, BenchError> {
    let (busy, all) = ticks();
    interrupt::sleep(Duration::from_millis(500))?;
    let (busy, all) = (ticks().0.saturating_sub(busy), ticks().1.saturating_sub(all));
    Ok(100.0 * busy as f64 / all.max(1) as f64)
}

/// Time that was worked, and all time: the first line of /proc/stat, in which the fourth and fifth number are time
/// without work (proc_stat(5)).
fn ticks() -> (u64, u64) {
    let text = read("/proc/stat");
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).take(8).collect();
    let (all, idle): (u64, u64) = (fields.iter().sum(), fields.iter().skip(3).take(2).sum());
    (all - idle, all)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn after_colon(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let kib: u64 = after_colon("/proc/meminfo", "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some(kib * 1024)
}

fn version() -> String {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    match std::env::current_exe().ok().and_then(|program| checkout(program.parent()?)) {
        Some(checkout) => format!("{version} (checkout {checkout})"),
        None => version,
    }
}

/// The commit of the checkout around `folder`, with `-dirty` if files were changed.
fn checkout(folder: &Path) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["describe", "--always", "--dirty", "--match", "v*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
