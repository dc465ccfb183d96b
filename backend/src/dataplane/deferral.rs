//! Putting off the word to a guest that its frames were sent.
//!
//! Nobody waits for a used buffer of a transmit ring but a guest that runs out of them, yet Linux asks to be told of each
//! few; every such interrupt takes the guest's processor from what it wants to send. As network cards do
//! (virtio 1.2, 5.1.6.5.8 lets a guest ask its card for just this), a notification is put off a little while, for what
//! follows to be told with it: only while the ring is polled, so that nothing has to wake anybody for it.

use std::time::{Duration, Instant};

/// The longest that a notification is put off. Congestion control works with round trips, and even within one host they
/// take about as long.
const PUT_OFF: Duration = Duration::from_micros(100);

/// Frames after which the guest is told at once: a small part of its ring, and a third of those that fit into the buffer
/// of a Linux socket.
const FRAMES_MAX: usize = 32;

/// Bytes after which it is: two super-frames, which is what Linux lets one TCP connection have in a card at least.
const BYTES_MAX: u64 = 128 << 10;

/// What a guest is to be told of, but was not yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deferral {
    /// When it has to be told at the latest; `None`: there is nothing that it waits for.
    until: Option<Instant>,
    frames: usize,
    bytes: u64,
}

impl Deferral {
    /// Notes that a burst was given back, after which the guest wants to be notified or not; says whether to do so now.
    #[inline]
    pub(super) fn completed(&mut self, wanted: bool, frames: usize, bytes: u64, now: Instant) -> bool {
        if self.until.is_none() {
            if !wanted {
                return false;
            }
            *self = Self { until: Some(now + PUT_OFF), frames: 0, bytes: 0 };
        }
        self.frames += frames;
        self.bytes += bytes;
        self.frames >= FRAMES_MAX || self.bytes >= BYTES_MAX || self.is_due(now)
    }

    /// Whether the guest has waited for long enough.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether there was something to be told; now it is.
    pub(super) fn settle(&mut self) -> bool {
        std::mem::take(self).until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_nothing_is_told_nothing() {
        let (mut deferral, now) = (Deferral::default(), Instant::now());
        assert!(!deferral.completed(false, 1000, 1 << 30, now));
        assert!(!deferral.is_due(now + PUT_OFF * 2));
        assert!(!deferral.settle());
    }

    #[test]
    fn one_that_waits_is_told_after_the_time_and_not_before() {
        let (mut deferral, now) = (Deferral::default(), Instant::now());
        assert!(!deferral.completed(true, 1, 60, now));
        let later = now + PUT_OFF / 2;
        assert!(!deferral.completed(true, 1, 60, later), "a second wish puts nothing off any further");
        assert!(!deferral.is_due(later));
        assert!(deferral.is_due(now + PUT_OFF));
        assert!(deferral.completed(false, 1, 60, now + PUT_OFF), "nor does a burst without one");
        assert!(deferral.settle());
        assert!(!deferral.settle(), "once");
    }

    #[test]
    fn many_frames_or_bytes_are_told_at_once() {
        let now = Instant::now();
        for (frames, bytes) in [(FRAMES_MAX, 60), (1, BYTES_MAX)] {
            assert!(
                Deferral::default().completed(true, frames, bytes, now),
                "{frames} frames of {bytes} bytes"
            );
        }
        let mut deferral = Deferral::default();
        let told = (0..FRAMES_MAX).position(|_| deferral.completed(true, 1, 60, now));
        assert_eq!(told, Some(FRAMES_MAX - 1));
        assert!(deferral.settle());
        assert!(!deferral.completed(true, 1, 60, now), "the next ones are counted anew");
    }
}
