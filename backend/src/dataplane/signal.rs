//! Writing to the eventfds of a peer, which may try to make the write block.
//!
//! An eventfd whose counter is full blocks its writer. We set O_NONBLOCK when it comes in, but the flag belongs
//! to the open file, which the peer shares and can clear. So each worker says when it is inside of a write, and
//! the control thread, which finds it there at two ticks in a row, reads the eventfd: that empties the counter
//! and lets the write go on. Such an eventfd is not written to again.

use std::os::fd::RawFd;

use viaduct_switch::PortIndex;

use super::sync::watch::WriteWatch;

/// Says which eventfd a worker is writing to just now.
#[derive(Debug, Default)]
pub(super) struct SignalWatch(WriteWatch);

impl SignalWatch {
    /// Adds 1 to the eventfd of a ring of `port`, which must stay open during the call. What goes wrong is the
    /// peer's own loss: a full counter means that it has a notification waiting.
    #[inline]
    pub(super) fn notify(&self, port: PortIndex, descriptor: RawFd) {
        self.0.begin(port.raw(), descriptor);
        let one = 1u64;
        // SAFETY: writes the eight bytes of `one`; a bad descriptor only makes the call fail.
        let _ = unsafe { libc::write(descriptor, (&raw const one).cast(), 8) };
        self.0.end();
    }

    /// Frees the worker if it is inside of the same write as at the last tick, whose sequence is `before`;
    /// gives the sequence for the next tick, and where the worker was stuck.
    pub(super) fn unblock(&self, before: u64) -> (u64, Option<(PortIndex, RawFd)>) {
        let (now, stuck) = self.0.stuck_since(before);
        // A worker that merely lost its processor inside of the write is not its peer's doing.
        let stuck = stuck.filter(|(_, descriptor)| is_full(*descriptor)).and_then(|(port, descriptor)| {
            empty(descriptor);
            Some((PortIndex::new(usize::from(port))?, descriptor))
        });
        (now, stuck)
    }
}

/// Whether a write to the eventfd would block.
fn is_full(descriptor: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one `pollfd` of our own, and no waiting.
    let found = unsafe { libc::poll(&raw mut poll, 1, 0) };
    found == 0
}

/// Empties an eventfd's counter without ever waiting, whatever its peer does to it meanwhile.
fn empty(descriptor: RawFd) {
    let mut counter = 0u64;
    let place = libc::iovec { iov_base: (&raw mut counter).cast(), iov_len: 8 };
    // SAFETY: reads into the eight bytes of `counter`, once, at the current position (-1). The ring that names the
    // descriptor is attached, so it is open: only this thread could detach it. RWF_NOWAIT makes an empty
    // counter fail with EAGAIN even if O_NONBLOCK was taken away.
    let _ = unsafe { libc::preadv2(descriptor, &raw const place, 1, -1, libc::RWF_NOWAIT) };
}
