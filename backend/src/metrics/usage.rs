//! What the process takes of its machine, by the names that all clients of Prometheus have: `process_THING_UNIT`.

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo};

use super::book::Book;

/// What the kernel counts of this process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Usage {
    cpu_s: f64,
    started_s: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: u64,
    max_fds: u64,
    threads: u64,
}

impl Usage {
    /// Asks the kernel (proc(5)).
    ///
    /// # Errors
    /// /proc is not there, or may not be read.
    pub fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let limits = process.limits()?;
        #[expect(clippy::cast_precision_loss, reason = "ticks of a process, far below 2^52")]
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let booted_s = procfs::boot_time_secs()? as f64;
        Ok(Self {
            cpu_s: seconds(stat.utime + stat.stime),
            started_s: booted_s + seconds(stat.starttime),
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            open_fds: process.fd_count()? as u64,
            max_fds: match limits.max_open_files.soft_limit {
                LimitValue::Value(limit) => limit,
                LimitValue::Unlimited => u64::MAX,
            },
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
        })
    }
}

pub(super) fn write(book: &mut Book<'_>, usage: &Usage) -> fmt::Result {
    let Usage { cpu_s, started_s, resident_bytes, virtual_bytes, open_fds, max_fds, threads } = *usage;
    book.counter(("cpu_seconds", "Processor time in user and kernel mode, in seconds."), cpu_s)?;
    book.gauge(("start_time_seconds", "When the process started, in seconds since 1970."), started_s)?;
    book.gauge(
        ("resident_memory_bytes", "Memory in use, that of guests which it touched included."),
        resident_bytes,
    )?;
    book.gauge(
        ("virtual_memory_bytes", "Address space in use, all mapped memory of guests included."),
        virtual_bytes,
    )?;
    book.gauge(("open_fds", "Open file descriptors."), open_fds)?;
    book.gauge(("max_fds", "File descriptors that it may have."), max_fds)?;
    book.gauge(("threads", "Threads."), threads)
}
