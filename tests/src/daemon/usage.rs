//! What a process has in use, by proc(5).

use std::fs;
use std::time::Duration;

/// What a process has in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Shared memory mappings: those of guests. (Private ones come and go with allocator and threads.)
    pub mappings: usize,
    /// Resident private memory in KiB.
    pub anonymous_kib: u64,
    /// Resident shared memory (that of the guests) in KiB.
    pub shared_kib: u64,
    /// Processor time used so far, in user and kernel mode.
    pub cpu: Duration,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads /proc of the process `pid`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let status = read("status");
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            mappings: read("maps").lines().filter(|line| is_shared(line)).count(),
            anonymous_kib: field("RssAnon:"),
            shared_kib: field("RssShmem:"),
            cpu: cpu_time(pid),
            threads: field("Threads:"),
        }
    }
}

/// The second field of a line of /proc/PID/maps is like `rw-s` (proc(5)).
fn is_shared(line: &str) -> bool {
    line.split_whitespace().nth(1).is_some_and(|permissions| permissions.ends_with('s'))
}

/// What all threads of a process have had of processors, those that ended too, to the nanosecond (clock_getcpuclockid(3)).
fn cpu_time(pid: u32) -> Duration {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both calls write what is lent to them and nothing else.
    let result = unsafe {
        match libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) {
            0 => libc::clock_gettime(clock, &raw mut time),
            error => error,
        }
    };
    assert_eq!(result, 0, "the processor time of process {pid}");
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}
