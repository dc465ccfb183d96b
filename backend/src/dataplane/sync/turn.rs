//! Turns at a receive queue into which several workers write.

use super::primitives::{Mutex, MutexGuard, TRIES, lock, spin_loop, try_lock};

/// The lock if it is free at once: a worker that finds it taken serves its other receivers first.
#[inline]
pub(in crate::dataplane) fn at_once<T>(queue: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    try_lock(queue)
}

/// The lock, however long it takes. The other worker holds it for one burst, so it is mostly free after a few
/// tries; only one that lost its processor meanwhile is waited for asleep.
pub(in crate::dataplane) fn patiently<T>(queue: &Mutex<T>) -> MutexGuard<'_, T> {
    for _ in 0..TRIES {
        if let Some(guard) = try_lock(queue) {
            return guard;
        }
        spin_loop();
    }
    lock(queue)
}
