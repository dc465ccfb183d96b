//! How many steps were made, for tests that want to know what something costs.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One more step: a place in a list, a heap or a table that was looked at.
#[inline]
pub(crate) fn count() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

/// The steps of this thread so far.
#[cfg(test)]
pub(crate) fn so_far() -> u64 {
    STEPS.get()
}
