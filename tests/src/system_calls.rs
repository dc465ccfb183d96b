//! What a daemon asks of the kernel, counted by strace.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::Daemon;
use crate::deadline::wait_until;

/// Runs `work` while strace counts the daemon's system calls; returns how many there were of each.
///
/// # Panics
/// If strace is missing, or counts nothing.
pub fn system_calls_during(daemon: &Daemon, work: impl FnOnce()) -> BTreeMap<String, u64> {
    let file = daemon.directory().join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-o", file.to_str().unwrap(), "-p", &daemon.pid().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is missing: scripts/setup installs it");
    wait_until("strace to have all threads", Duration::from_secs(10), || is_traced(daemon));
    // What the daemon still has to say of what was before is said.
    std::thread::sleep(Duration::from_millis(500));
    work();
    // SAFETY: kill has no memory effects here; the pid is our own unreaped child's.
    unsafe { libc::kill(libc::pid_t::try_from(strace.id()).unwrap(), libc::SIGINT) };
    strace.wait().unwrap();
    let table = std::fs::read_to_string(&file).unwrap();
    println!("{table}");
    assert!(table.contains("total"), "strace counted nothing");
    table.lines().filter_map(row).filter(|(name, _)| name != "total").collect()
}

/// Whether every thread of the daemon has a tracer (proc(5)).
fn is_traced(daemon: &Daemon) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut statuses =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    statuses.all(|status| !status.contains("TracerPid:\t0\n"))
}

/// A line of strace's table, as "97.10 0.003412 3 1042 2 read": its last and its fourth column.
fn row(line: &str) -> Option<(String, u64)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    columns.first()?.parse::<f64>().ok()?;
    Some(((*columns.last()?).to_owned(), columns.get(3)?.parse().ok()?))
}
