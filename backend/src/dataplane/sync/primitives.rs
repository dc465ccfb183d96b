//! The types that the protocols are made of; `models.rs` has loom's in their place.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use vmm_sys_util::eventfd::EventFd;

pub(in crate::dataplane) use std::hint::spin_loop;
pub(in crate::dataplane) use std::sync::Arc;
pub(in crate::dataplane) use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU16, AtomicU64, Ordering, fence,
};
pub(in crate::dataplane) use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

pub(in crate::dataplane) use parking_lot::{Mutex, MutexGuard};

/// Times that a worker looks whether a lock is free before it sleeps: some microseconds, which is as long as the
/// other worker's burst takes.
pub(in crate::dataplane) const TRIES: u32 = 400;

/// Wakes a worker that sleeps in epoll: an eventfd, whose every write is an event of its own.
#[derive(Clone)]
pub(in crate::dataplane) struct Bell(Arc<EventFd>);

impl Bell {
    pub(in crate::dataplane) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?)))
    }

    pub(in crate::dataplane) fn ring(&self) {
        // A full counter wakes as well.
        let _ = self.0.write(1);
    }

    /// For the worker's epoll instance.
    pub(in crate::dataplane) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits for what is sent, for at most `patience`.
pub(in crate::dataplane) fn receive<T>(
    receiver: &Receiver<T>,
    patience: Duration,
) -> Result<T, RecvTimeoutError> {
    receiver.recv_timeout(patience)
}

/// The value, if nobody else holds it any more.
pub(in crate::dataplane) fn into_inner<T>(shared: Arc<T>) -> Option<T> {
    Arc::into_inner(shared)
}

/// Takes the lock if it is free.
pub(in crate::dataplane) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    mutex.try_lock()
}

/// Takes the lock, sleeping until it is free.
pub(in crate::dataplane) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
