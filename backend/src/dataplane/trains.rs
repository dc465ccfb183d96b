//! Trains of a tunnel's datagrams that came in as one frame: they are taken apart before anything else looks at them, so that each is
//! judged as if it had come by itself. What belongs together of it goes on together (`delivery/merging.rs`).

use std::mem;
use std::ops::Range;
use std::time::Instant;

use viaduct_switch::frame::HEAD_MAX;
use viaduct_switch::tunnel::Train;
use viaduct_switch::{GsoKind, Switch};

use super::switching::Entry;
use super::worker::Worker;

impl Worker {
    /// Lets the switch decide about the burst that was just read, and delivers it.
    #[inline]
    pub(super) fn switch_arrivals(&mut self, link: u8, now: Instant) {
        if self.may_have_trains() {
            self.switch_trains(link, now);
        } else {
            self.switch_burst(link, now, Entry::Anew);
        }
    }

    /// Whether the burst came by a tunnel's uplink, and frames in it are to be cut into datagrams.
    #[inline]
    fn may_have_trains(&self) -> bool {
        let frames = self.burst.frames().0;
        let Some(first) = frames.first() else { return false };
        Switch::has_tunnels_at(self.state.policy(), first.meta.source)
            && frames.iter().any(|frame| frame.meta.claims.gso.is_some_and(|gso| gso.kind == GsoKind::Udp))
    }

    /// The same for a burst with trains: what stands between them, and each of them, is a burst by itself.
    #[cold]
    fn switch_trains(&mut self, link: u8, now: Instant) {
        let count = self.burst.frames().0.len();
        let mut from = 0;
        for at in 0..count {
            self.burst.show(at..at + 1);
            let train = self.burst.frames().0.first().and_then(|frame| self.switch.train(&self.state, frame));
            let Some(train) = train else { continue };
            self.switch_between(from..at, link, now);
            from = at + 1;
            if let Ok(train) = train {
                self.burst.show(at..at + 1);
                self.switch_train(&train, link, now);
            }
        }
        self.switch_between(from..count, link, now);
        self.burst.show(0..count);
    }

    fn switch_between(&mut self, frames: Range<usize>, link: u8, now: Instant) {
        if !frames.is_empty() {
            self.burst.show(frames);
            self.switch_burst(link, now, Entry::Anew);
        }
    }

    /// Takes the one frame apart that the burst shows, as many datagrams at a time as a burst holds.
    fn switch_train(&mut self, train: &Train, link: u8, now: Instant) {
        let mut next = 0;
        while next < train.datagrams() {
            self.apart.begin_apart(&self.burst);
            let mut headers = [0; HEAD_MAX];
            let begin = next;
            while next < train.datagrams() {
                let place = train.place(next);
                let len = train.put_headers(place.len(), &mut headers);
                if !self.apart.add_part(&self.burst, headers.get(..len).unwrap_or_default(), place) {
                    break;
                }
                next += 1;
            }
            if next == begin {
                return;
            }
            mem::swap(&mut self.burst, &mut self.apart);
            self.switch_burst(link, now, Entry::Anew);
            mem::swap(&mut self.burst, &mut self.apart);
        }
    }
}
