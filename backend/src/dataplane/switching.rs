//! What a worker asks the switch: what becomes of a burst, and of fragments that waited, once the first one of their datagram
//! was decided about.

use std::time::Instant;

use viaduct_switch::{Carried, DropReason, Frame, Nanos, NetworkIndex, Policy, PortIndex, Switch};

use super::delivery::{Collector, Released, Reply};
use super::held::{Held, count_lost};
use super::shared::elapsed;
use super::tunnels;
use super::worker::Worker;
use crate::config::Polling;
use crate::ring::Span;

/// How frames come in.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// By their port.
    Anew,
    /// Once more, after they waited in a gateway; or they are its own.
    Again,
    /// Once more, after they waited for the first fragment of their datagram, about which this was decided.
    Decided(Carried),
}

impl Worker {
    /// Lets the switch decide about the burst, and delivers it.
    pub(super) fn switch_burst(&mut self, link: u8, now: Instant, entry: Entry) {
        let elapsed = elapsed(self.started, now);
        self.outbox.clear();
        let refused = match entry {
            Entry::Anew => self.admit_tunnelled(elapsed),
            _ => None,
        };
        let (frames, segments) = self.burst.parts();
        let is_watched = !self.taps.is_empty();
        let is_new = matches!(entry, Entry::Anew);
        let notes = if is_watched { self.taps.begin(frames, is_new, elapsed) } else { None };
        let mut collector = Collector {
            notes,
            outbox: &mut self.outbox,
            base: 0,
            replicator: &mut self.replicator,
            outlets: &self.outlets,
            segments,
            reporter: &self.reporter,
            workshop: &mut self.workshop,
            link,
            refused: 0,
            held: &self.held,
            released: &mut self.released,
        };
        let state = &mut self.state;
        match entry {
            Entry::Anew => rows(frames, refused, |base, row| {
                collector.base = base;
                self.switch.process(state, elapsed, row, &mut collector);
            }),
            Entry::Again => self.switch.process_again(state, elapsed, frames, &mut collector),
            Entry::Decided(decided) => {
                self.switch.process_decided(state, elapsed, frames, &mut collector, decided);
            }
        }
        let unroomed = collector.refused;
        if is_watched {
            self.taps.note_sends(&self.outbox);
        }
        self.catch_up(unroomed, now);
        let addressees = self.deliver(now, None);
        if is_watched {
            self.taps.end(self.burst.frames(), self.state.policy(), elapsed);
        }
        if self.polling == Polling::Adaptive && now >= self.crowded {
            for (port, queue) in addressees.into_iter().flatten() {
                self.await_answer(port, usize::from(queue), now);
            }
        }
    }

    /// Takes outer headers off the frames of the burst that came by tunnels; gives those that are refused, a bit each. `None`: no tunnel
    /// comes in there, so that all of the burst is of one port.
    #[inline]
    fn admit_tunnelled(&mut self, now: Nanos) -> Option<u64> {
        let first = self.burst.frames().0.first()?;
        let has_tunnels = Switch::has_tunnels_at(self.state.policy(), first.meta.source);
        has_tunnels.then(|| tunnels::admit(&self.switch, &mut self.state, &mut self.burst, now))
    }

    /// Takes in once more what waits no longer. The burst before must be given back: its room is used.
    #[inline]
    pub(super) fn readmit(&mut self, now: Instant) {
        if !self.released.is_empty() {
            self.readmit_all(now);
        }
        if !self.workshop.tunnels.replies.is_empty() {
            self.reply_all();
        }
    }

    /// Tells senders of frames that were too long for a tunnel so.
    #[cold]
    fn reply_all(&mut self) {
        while let Some(Reply { vtep, network, frame }) = self.workshop.tunnels.replies.pop() {
            self.inject(vtep, network, &frame);
        }
    }

    #[cold]
    fn readmit_all(&mut self, now: Instant) {
        while let Some(Released { mut frames, decided }) = self.released.pop() {
            match decided {
                None => count_lost(&frames, &self.switch),
                Some(decided) => {
                    for held in &mut frames {
                        put_tags_back(held, self.state.policy());
                        self.burst.load(held.meta.source, &mut held.bytes);
                        self.burst.set_marks(held.meta.marks);
                        if let Some(tag) = held.meta.tag
                            && self.state.policy().is_vtep(held.meta.source)
                        {
                            self.burst.set_network(tag.network);
                        }
                        self.switch_burst(0, now, Entry::Decided(decided));
                    }
                }
            }
            self.held.recycle(frames);
        }
    }
}

impl Worker {
    /// Lets a frame without tags enter one network of `port` as if it had come in there; one that has left the network meanwhile
    /// loses it.
    pub(super) fn inject(&mut self, port: PortIndex, network: NetworkIndex, frame: &[u8]) {
        let policy = self.state.policy();
        let Some(priority) = policy.port(port).map(|port| port.priority) else { return };
        if !policy.is_member(port, network) {
            return self.switch.counters().port(port).add_drops(DropReason::NoNetwork, 1);
        }
        let tags = policy.tags_of(port).map(|tags| tags.frame(network, priority)).unwrap_or_default();
        let mut frame = tags.put_before(frame);
        let is_vtep = policy.is_vtep(port);
        self.burst.load(port, &mut frame);
        if is_vtep {
            self.burst.set_network(network);
        }
        self.switch_burst(0, Instant::now(), Entry::Again);
        self.readmit(Instant::now());
    }
}

/// Calls `take` with each row of frames of one port that are not refused, and where it begins; `None`: all are of one.
#[inline]
fn rows(frames: &mut [Frame<Span>], refused: Option<u64>, mut take: impl FnMut(usize, &mut [Frame<Span>])) {
    let Some(refused) = refused else { return take(0, frames) };
    let is_refused = |at: usize| refused >> (at % 64) & 1 == 1;
    let mut at = 0;
    while let Some(first) = frames.get(at) {
        let source = first.meta.source;
        let belongs = |(offset, frame): &(usize, &Frame<Span>)| {
            frame.meta.source == source && !is_refused(at + *offset)
        };
        let length = frames.get(at..).unwrap_or_default().iter().enumerate().take_while(belongs).count();
        if let Some(row) = frames.get_mut(at..at + length).filter(|row| !row.is_empty()) {
            take(at, row);
        }
        at += length.max(1);
    }
}

/// Gives a frame the tags with which it came: those with which frames of its network leave by its port.
fn put_tags_back(held: &mut Held, policy: &Policy) {
    let tags = policy.tags_of(held.meta.source).and_then(|tags| tags.of(&held.meta));
    if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
        held.bytes = tags.put_before(&held.bytes);
    }
}
