//! Ctrl-C and SIGTERM in commands that last: noted, and looked at wherever something takes long, so that everything is cleaned up on the
//! ordinary way out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// What the next such signal does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Second {
    /// It is noted, too, and no system call hears of it.
    Noted,
    /// It ends the process, in case that the first one is not looked at; system calls that wait are interrupted by both.
    Ends,
}

/// Lets signals that end a process be noted from now on. Children are not concerned: handlers do not outlive exec.
pub(crate) fn install(second: Second) -> io::Result<()> {
    install_for(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP], second)
}

/// The same for a program that has the whole terminal: when that is gone (SIGHUP) there is nothing to clean up.
pub(crate) fn install_in_terminal() -> io::Result<()> {
    install_for(&[Signal::SIGINT, Signal::SIGTERM], Second::Ends)
}

fn install_for(signals: &[Signal], second: Second) -> io::Result<()> {
    let flags = match second {
        Second::Noted => SaFlags::SA_RESTART,
        Second::Ends => SaFlags::SA_RESETHAND,
    };
    let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
    for signal in signals {
        // SAFETY: the handler stores to an atomic and does nothing else, which is allowed at any moment.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

/// Whether somebody wants this to end.
#[inline]
pub(crate) fn is_noted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
