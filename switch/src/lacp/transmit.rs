//! The Transmit machine: sends what has to be told, at most three LACPDUs a second (IEEE 802.1AX-2020, 6.4.12), and
//! answers markers (6.5.4.2).

use super::link::Link;
use super::pdu::{Lacpdu, Marker, SlowFrame};
use super::periodic::Period;
use crate::time::Nanos;

/// `Fast_Periodic_Time`, in which no more than [`SENT_MAX`] LACPDUs go out.
const WINDOW_NS: u64 = 1_000_000_000;
const SENT_MAX: usize = 3;

/// Markers that are answered in a second. The slow protocols together send no more than ten frames a second
/// (IEEE 802.3-2018, 57A.3).
const MARKERS_MAX: usize = 5;

/// When the last `N` frames were sent.
#[derive(Clone, Copy, Debug)]
struct Recent<const N: usize>([Option<Nanos>; N]);

impl<const N: usize> Recent<N> {
    /// When the next one may be sent: a second after the last but `N - 1`. `None`: at any time.
    fn allowed_at(&self) -> Option<Nanos> {
        self.0.first().copied().flatten().map(|oldest| Nanos(oldest.0.saturating_add(WINDOW_NS)))
    }

    /// Notes one, if it may be sent now.
    fn admit(&mut self, now: Nanos) -> bool {
        let may = self.allowed_at().is_none_or(|allowed| now >= allowed);
        if may {
            self.0.rotate_left(1);
            self.0.last_mut().into_iter().for_each(|last| *last = Some(now));
        }
        may
    }
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Transmit {
    /// `NTT`: there is something to tell.
    pub(super) needed: bool,
    sent: Recent<SENT_MAX>,
    answered: Recent<MARKERS_MAX>,
    marker: Option<Marker>,
}

impl Default for Transmit {
    fn default() -> Self {
        Self {
            needed: false,
            sent: Recent([None; SENT_MAX]),
            answered: Recent([None; MARKERS_MAX]),
            marker: None,
        }
    }
}

impl Link {
    /// A marker came. One that nobody has fetched the answer of yet is replaced: who asks again wants to know later.
    pub(super) fn note_marker(&mut self, marker: Marker, now: Nanos) {
        if self.enabled && self.transmit.answered.admit(now) {
            self.counters.markers_answered += 1;
            self.transmit.marker = Some(marker);
        } else {
            self.counters.markers_ignored += 1;
        }
    }

    /// When an LACPDU that has to wait may go out.
    pub(super) fn transmit_due(&self) -> Option<Nanos> {
        self.transmit.needed.then(|| self.transmit.sent.allowed_at()).flatten()
    }

    /// The next frame that goes out by this link.
    pub(super) fn next_frame(&mut self, now: Nanos) -> Option<SlowFrame> {
        if !self.enabled {
            self.transmit.marker = None;
        }
        if let Some(marker) = self.transmit.marker.take() {
            return Some(marker.response(self.address));
        }
        // A link on which nothing is to be told periodically tells nothing at all.
        if self.periodic == Period::Never {
            self.transmit.needed = false;
        }
        if !self.transmit.needed || !self.transmit.sent.admit(now) {
            return None;
        }
        self.transmit.needed = false;
        self.counters.sent += 1;
        Some(Lacpdu::new(self.actor, self.partner).encode(self.address))
    }
}
