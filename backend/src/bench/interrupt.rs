//! Ctrl-C and SIGTERM: noted, and looked at wherever something takes long, so that everything is cleaned up on the
//! ordinary way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::error::BenchError;

/// How long a sleep goes on without a look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Lets signals that end a process be noted from now on. Children are not concerned: handlers do not outlive exec.
pub(super) fn install() -> Result<(), BenchError> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler stores to an atomic and does nothing else, which is allowed at any moment.
        unsafe { sigaction(signal, &action) }.map_err(BenchError::system("note Ctrl-C"))?;
    }
    Ok(())
}

/// An error once somebody wants the benchmark to end.
#[inline]
pub(super) fn check() -> Result<(), BenchError> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
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
