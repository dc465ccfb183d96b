//! A benchmark that somebody wants to end.

use std::thread;
use std::time::{Duration, Instant};

use super::error::BenchError;
use crate::interrupt::{Second, is_noted};

/// How long a sleep goes on without a look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Lets signals that end a process be noted from now on.
pub(super) fn install() -> Result<(), BenchError> {
    crate::interrupt::install(Second::Noted).map_err(BenchError::system("note Ctrl-C"))
}

/// An error once somebody wants the benchmark to end.
#[inline]
pub(super) fn check() -> Result<(), BenchError> {
    if is_noted() { Err(BenchError::Interrupted) } else { Ok(()) }
}

/// Sleeps for `time`, or until it is interrupted.
pub(super) fn sleep(time: Duration) -> Result<(), BenchError> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
}
