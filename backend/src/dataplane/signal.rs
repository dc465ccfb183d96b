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

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// An eventfd whose writers and readers wait, as a peer can make it at any time.
    fn blocking(counter: u64) -> OwnedFd {
        // SAFETY: the new descriptor belongs to the `OwnedFd` alone.
        let descriptor = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
        if counter > 0 {
            // SAFETY: eight bytes of our own.
            let written = unsafe { libc::write(descriptor.as_raw_fd(), (&raw const counter).cast(), 8) };
            assert_eq!(written, 8);
        }
        descriptor
    }

    const FULL: u64 = u64::MAX - 1;

    #[test]
    fn a_write_that_blocks_is_freed_at_the_second_tick_that_meets_it() {
        let (watch, full) = (Arc::new(SignalWatch::default()), blocking(FULL));
        let descriptor = full.as_raw_fd();
        let port = PortIndex::new(3).unwrap();
        let worker = {
            let watch = Arc::clone(&watch);
            thread::spawn(move || watch.notify(port, descriptor))
        };
        let end = Instant::now() + Duration::from_secs(10);
        let (mut sequence, mut freed) = watch.unblock(0);
        while freed.is_none() {
            assert!(Instant::now() < end, "a worker that is stuck is never found");
            thread::sleep(Duration::from_millis(5));
            (sequence, freed) = watch.unblock(sequence);
        }
        assert_eq!(freed, Some((port, descriptor)));
        worker.join().unwrap();
        // It came out of the write: nothing is stuck any more.
        let (after, freed) = watch.unblock(sequence);
        assert_eq!((freed, watch.unblock(after).1), (None, None));
    }

    #[test]
    fn a_write_that_is_under_way_and_could_go_on_is_left_alone() {
        let (watch, room) = (SignalWatch::default(), blocking(0));
        watch.0.begin(3, room.as_raw_fd());
        let (sequence, _) = watch.unblock(0);
        assert_eq!(watch.unblock(sequence), (sequence, None), "the worker only lost its processor");
    }

    #[test]
    fn emptying_a_counter_that_its_peer_emptied_first_waits_for_nothing() {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let empty_already = blocking(0);
            empty(empty_already.as_raw_fd());
            sender.send(()).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(10)).expect("it waits, for want of RWF_NOWAIT");
    }
}
