//! System calls that the filter refused: counted, and told in the log.
//!
//! The kernel raises SIGSYS in the thread that called; the handler notes the call, lets it fail with EPERM and wakes the control
//! thread. So a call that was forgotten costs what it was for, and not the guests' network; and nobody's attempt is silent.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use tracing::error;
use vmm_sys_util::eventfd::EventFd;

/// Refusals that wait to be told.
const PLACES: usize = 16;
/// Refusals that are told one by one; then only when their number has doubled.
const TOLD_MAX: u64 = 16;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Their number when the log told of one last.
static TOLD: AtomicU64 = AtomicU64::new(0);
/// Thread and system call, each in 32 bits; 0 is free.
static NOTED: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// The descriptor in `WAKE`, which a handler may read; -1 before there is one.
static WAKE_DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
static WAKE: OnceLock<EventFd> = OnceLock::new();

/// How many system calls were refused.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Becomes readable when there is something to tell; `None` without a filter.
pub(crate) fn descriptor() -> Option<RawFd> {
    WAKE.get().map(AsRawFd::as_raw_fd)
}

/// Tells in the log what was refused since the last time.
pub(crate) fn tell() {
    let Some(wake) = WAKE.get() else { return };
    // It does not block; nothing to read means that somebody told it already.
    let _ = wake.read();
    let count = count();
    for place in &NOTED {
        let noted = place.swap(0, Ordering::AcqRel);
        let is_news = count <= TOLD_MAX || count >= 2 * TOLD.load(Ordering::Relaxed);
        if noted != 0 && is_news {
            TOLD.store(count, Ordering::Relaxed);
            let (thread, call) = (noted >> 32, noted & u64::from(u32::MAX));
            let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
            error!(
                "system call {call} of thread {} was refused ({count} so far): a mistake of this program, or somebody has broken \
                 into it; please report it. switch.sandbox = \"off\" would let it pass",
                name.trim_end()
            );
        }
    }
}

/// Has refused calls noted from now on.
pub(super) fn install() -> io::Result<()> {
    let wake = match WAKE.get() {
        Some(wake) => wake,
        None => {
            let made = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
            WAKE.get_or_init(|| made)
        }
    };
    WAKE_DESCRIPTOR.store(wake.as_raw_fd(), Ordering::Release);
    // SAFETY: all-zero is a valid `sigaction`: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigsys as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: `action` is complete, and `on_sigsys` does only what is async-signal-safe.
    match unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `si_code` of a signal that a filter sent (siginfo.h); of a signal that a process sent, another one.
const SYS_SECCOMP: i32 = 1;

extern "C" fn on_sigsys(_signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes what it knows of the signal.
    if unsafe { (*info).si_code } != SYS_SECCOMP {
        // No call is to be refused: who was interrupted goes on with its own registers.
        return;
    }
    // SAFETY: with SA_SIGINFO the kernel passes the interrupted thread's own context, which is written back on return.
    let call = unsafe { refuse(&mut *context.cast::<libc::ucontext_t>()) };
    // SAFETY: gettid has no effect on memory.
    let thread = u64::from(unsafe { libc::gettid() }.unsigned_abs());
    note(thread << 32 | call & u64::from(u32::MAX));
    let one = 1u64;
    // SAFETY: writes the eight bytes of `one`; the eventfd does not block, and is never closed.
    unsafe { libc::write(WAKE_DESCRIPTOR.load(Ordering::Acquire), (&raw const one).cast(), 8) };
}

/// Lets the call return EPERM; gives its number. The kernel left it where the result belongs.
#[cfg(target_arch = "x86_64")]
fn refuse(context: &mut libc::ucontext_t) -> u64 {
    let result = &mut context.uc_mcontext.gregs[libc::REG_RAX.unsigned_abs() as usize];
    std::mem::replace(result, i64::from(-libc::EPERM)).cast_unsigned()
}

/// As above; the number is in a register of its own.
#[cfg(target_arch = "aarch64")]
fn refuse(context: &mut libc::ucontext_t) -> u64 {
    context.uc_mcontext.regs[0] = i64::from(-libc::EPERM).cast_unsigned();
    context.uc_mcontext.regs[8]
}

/// Takes a free place; without one the count alone tells of it.
fn note(refusal: u64) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let free =
        |place: &&AtomicU64| place.compare_exchange(0, refusal, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let _ = NOTED.iter().find(free);
}
