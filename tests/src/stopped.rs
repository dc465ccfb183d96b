//! One thread of a process held still, as if it were stuck.

use std::fs;
use std::time::Duration;

use crate::deadline::wait_until;

/// How long it may take until a thread stands still.
const LIMIT: Duration = Duration::from_secs(5);

/// A thread that is held (ptrace(2)) until this is dropped, in the thread that made it.
#[derive(Debug)]
pub struct Stopped(libc::pid_t);

impl Stopped {
    /// Holds the thread of `pid` that is called `name`.
    ///
    /// # Panics
    /// There is none, or it may not be traced.
    #[must_use]
    pub fn thread(pid: u32, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let is_meant = |path: &std::path::PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|found| found.trim() == name)
        };
        let task = tasks.map(|task| task.unwrap().path()).find(is_meant);
        let task = task.unwrap_or_else(|| panic!("process {pid} has no thread {name}"));
        Self::hold(pid, task.file_name().unwrap().to_str().unwrap().parse().unwrap())
    }

    /// Holds the thread with which `pid` began.
    ///
    /// # Panics
    /// It may not be traced.
    #[must_use]
    pub fn main_thread(pid: u32) -> Self {
        Self::hold(pid, libc::pid_t::try_from(pid).unwrap())
    }

    fn hold(pid: u32, thread: libc::pid_t) -> Self {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: neither request reads or writes memory of this process.
            let outcome = unsafe { libc::ptrace(request, thread, nothing, nothing) };
            assert_eq!(outcome, 0, "cannot trace thread {thread}: {}", std::io::Error::last_os_error());
        }
        wait_until("the thread to stand still", LIMIT, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap();
            // The state stands behind the name (proc(5)).
            stat.rsplit_once(')').unwrap().1.trim_start().starts_with('t')
        });
        Self(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: as above; a process that is gone is no longer held.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, nothing, nothing) };
    }
}
