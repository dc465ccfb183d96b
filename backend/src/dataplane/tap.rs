//! Taps: samples of what enters a worker with what became of it, for people who watch.
//!
//! Nobody watches: the worker tests that once a burst. Somebody does: each tap has a budget of bursts that are looked at and
//! of samples that are left in ten milliseconds, about a hundredth of a worker's time, whatever guests send and however slow the
//! reader is. Samples go through a queue of fixed size, filled without a lock or an allocation; what finds no room is
//! counted. Half of the budget is for ports that were not looked at yet within the ten milliseconds, so that one guest's flood
//! hides nobody else's frames. Who wants whole frames, and all of them, has a capture instead (`tap/capture.rs`).

mod capture;
mod counters;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use viaduct_switch::frame::HEAD_MAX;
use viaduct_switch::ids::PORTS_MAX;
use viaduct_switch::{Claims, DropReason, Frame, Metadata, Nanos, NetworkIndex, Policy, PortIndex, Priority};

pub(super) use self::capture::{Capture, captures};
pub use self::capture::{CaptureReader, CaptureShared, CaptureTally, CaptureWanted, Captured};
pub use self::counters::{TapCounters, TapTally};
use super::delivery::{INLINE_RECEIVERS, Outbox};
use crate::ring::{BURST_FRAMES, Segments, Span};
use crate::trace::Filter;

/// Samples of one worker that may wait for the reader.
const QUEUE: usize = 512;

/// How long a budget lasts, in nanoseconds.
const SLOT_NS: u64 = 10_000_000;

/// Bursts that are looked at in that time.
const BURSTS: u32 = 16;

/// Samples that are left in that time.
const SAMPLES: u32 = 32;

/// Taps of one worker at once.
const TAPS_MAX: usize = 8;

/// Which frames somebody wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Only frames that enter at this port, or leave by it.
    pub port: Option<PortIndex>,
    /// Not those that leave by it.
    pub entering: bool,
    /// Only frames that are dropped.
    pub drops: bool,
    /// Only packets that it means.
    pub filter: Filter,
}

/// A frame that entered, and what became of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its source port, length and claims, as it entered.
    pub meta: Metadata,
    /// The network to which it belongs, if that was told by tags.
    pub network: Option<NetworkIndex>,
    /// The priority that they said, or that the port chose; `None`: the port's own.
    pub priority: Option<Priority>,
    /// When.
    pub at: Nanos,
    /// What became of it.
    pub fate: SampleFate,
    /// The first receiver that lost it, and why: it had no room, or is broken. What waited for a receiver's room, or is refused
    /// by a device later, is counted alone.
    pub lost: Option<(PortIndex, DropReason)>,
    /// How many frames this stands for that were dropped before anything was read of them; 0: it is one that was read.
    pub unread: u64,
    head: [u8; HEAD_MAX],
    head_len: u8,
}

impl Sample {
    /// Its first bytes, tags included, as it entered.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.get(..self.head_len.into()).unwrap_or_default()
    }
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SampleFate {
    /// It left by these ports, as many as there are.
    Sent([Option<PortIndex>; INLINE_RECEIVERS]),
    /// It went to this many ports of its network.
    Flooded(NetworkIndex, u16),
    /// The control side got it.
    Punted,
    /// It was dropped.
    Dropped(DropReason),
    /// Nothing: it is kept until more is known.
    #[default]
    Kept,
}

/// The reader's end; dropping it takes the taps away.
#[derive(Debug)]
pub struct Watch {
    queues: Vec<Receiver<Sample>>,
    counters: Arc<TapCounters>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.counters.closed.store(true, Relaxed);
    }
}

impl Watch {
    /// At most `limit` samples that wait, of all workers in turn.
    pub fn take(&self, limit: usize) -> Vec<Sample> {
        let share = limit.div_ceil(self.queues.len().max(1));
        let mut samples: Vec<Sample> =
            self.queues.iter().flat_map(|queue| queue.try_iter().take(share)).collect();
        samples.sort_by_key(|sample| sample.at);
        samples
    }

    /// How much was seen so far.
    #[must_use]
    pub fn tally(&self) -> TapTally {
        self.counters.tally()
    }
}

/// A reader's end and a tap for each of `workers` workers.
pub(super) fn taps(workers: usize, wanted: Wanted) -> (Watch, Arc<TapCounters>, Vec<Tap>) {
    let counters = Arc::new(TapCounters::default());
    let (taps, queues) = (0..workers).map(|_| Tap::new(wanted, &counters)).unzip();
    (Watch { queues, counters: Arc::clone(&counters) }, counters, taps)
}

/// A worker's end.
#[derive(Debug)]
pub(super) struct Tap {
    wanted: Wanted,
    samples: SyncSender<Sample>,
    counters: Arc<TapCounters>,
    /// The ten milliseconds for which the budget is, and what is left of it.
    slot: u64,
    bursts: u32,
    room: u32,
    /// For each port the ten milliseconds in which it was looked at last.
    looked: Box<[u64]>,
}

impl Tap {
    fn new(wanted: Wanted, counters: &Arc<TapCounters>) -> (Self, Receiver<Sample>) {
        let (samples, queue) = sync_channel(QUEUE);
        let looked = vec![u64::MAX; PORTS_MAX].into();
        let counters = Arc::clone(counters);
        (Self { wanted, samples, counters, slot: 0, bursts: BURSTS, room: SAMPLES, looked }, queue)
    }

    /// Has what it may do in ten milliseconds again, if they are over; gives which ones these are.
    fn renew(&mut self, now: Nanos) -> u64 {
        let slot = now.0 / SLOT_NS;
        if slot != self.slot {
            (self.slot, self.bursts, self.room) = (slot, BURSTS, SAMPLES);
        }
        slot
    }

    /// Leaves a sample of frames that were dropped before anything was read of them; a filter for packets means none.
    fn leave_unread(&mut self, source: PortIndex, reason: DropReason, frames: u64, now: Nanos) {
        self.counters.frames.fetch_add(frames, Relaxed);
        let is_strange = self.wanted.port.is_some_and(|port| port != source);
        self.renew(now);
        if is_strange || self.wanted.filter != Filter::default() || self.room == 0 {
            return;
        }
        self.room -= 1;
        self.counters.looked_at.fetch_add(frames, Relaxed);
        self.pass_on(Sample {
            meta: Metadata::new(source, 0, Claims::default()),
            network: None,
            priority: None,
            at: now,
            fate: SampleFate::Dropped(reason),
            lost: None,
            unread: frames,
            head: [0; HEAD_MAX],
            head_len: 0,
        });
    }

    /// Whether a burst of `frames` frames that came from `source` is looked at.
    fn begin(&mut self, source: PortIndex, frames: u64, now: Nanos) -> bool {
        self.counters.frames.fetch_add(frames, Relaxed);
        let is_strange = self.wanted.port.is_some_and(|port| port != source);
        if is_strange && self.wanted.entering {
            return false;
        }
        let slot = self.renew(now);
        let Some(last) = self.looked.get_mut(source.get()) else { return false };
        let is_new = std::mem::replace(last, slot) != slot;
        let is_favoured = if self.wanted.port.is_some() { !is_strange } else { is_new };
        let kept = if is_favoured { 0 } else { BURSTS / 2 };
        let looks = self.bursts > kept && self.room > 0;
        self.bursts -= u32::from(looks);
        looks
    }

    /// Leaves samples of what is wanted of a burst.
    fn end(&mut self, burst: &Looked<'_>) {
        self.counters.looked_at.fetch_add(burst.frames.len() as u64, Relaxed);
        for (at, (frame, noted)) in burst.frames.iter().zip(burst.noted).enumerate() {
            if self.room == 0 {
                // The rest counts as not looked at.
                self.counters.looked_at.fetch_sub((burst.frames.len() - at) as u64, Relaxed);
                return;
            }
            if self.wants(frame, noted, burst.policy) {
                self.room -= 1;
                self.leave(frame, noted, burst.now);
            }
        }
    }

    fn wants(&self, frame: &Frame<Span>, noted: &Noted, policy: &Policy) -> bool {
        let is_drop = matches!(noted.fate, SampleFate::Dropped(_)) || noted.lost.is_some();
        let is_at = |port: PortIndex| {
            frame.meta.source == port
                || match noted.fate {
                    SampleFate::Sent(to) => to.contains(&Some(port)),
                    SampleFate::Flooded(network, _) => policy.is_member(port, network),
                    _ => false,
                }
        };
        (is_drop || !self.wanted.drops)
            && self.wanted.port.is_none_or(is_at)
            && self.wanted.filter.matches(noted.head.bytes(), noted.length)
    }

    fn leave(&self, frame: &Frame<Span>, noted: &Noted, at: Nanos) {
        let meta = Metadata::new(frame.meta.source, noted.length, noted.claims);
        let network = frame.meta.tag.map(|tag| tag.network);
        let priority = frame.meta.priority();
        let NotedHead { head, head_len } = noted.head;
        let Noted { fate, lost, .. } = *noted;
        self.pass_on(Sample { meta, network, priority, at, fate, lost, unread: 0, head, head_len });
    }

    fn pass_on(&self, sample: Sample) {
        match self.samples.try_send(sample) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.counters.lost.fetch_add(1, Relaxed);
            }
            Err(TrySendError::Disconnected(_)) => self.counters.closed.store(true, Relaxed),
        }
    }
}

/// A burst that was looked at.
struct Looked<'a> {
    frames: &'a [Frame<Span>],
    segments: &'a Segments,
    noted: &'a [Noted],
    policy: &'a Policy,
    now: Nanos,
    is_new: bool,
}

/// A frame's first bytes before tags were taken off.
#[derive(Clone, Copy, Debug)]
struct NotedHead {
    head: [u8; HEAD_MAX],
    head_len: u8,
}

impl NotedHead {
    fn bytes(&self) -> &[u8] {
        self.head.get(..self.head_len.into()).unwrap_or_default()
    }
}

/// What is noted of one frame of a burst.
#[derive(Clone, Copy, Debug)]
struct Noted {
    head: NotedHead,
    length: u32,
    claims: Claims,
    fate: SampleFate,
    lost: Option<(PortIndex, DropReason)>,
}

impl Noted {
    const NONE: Self = Self {
        head: NotedHead { head: [0; HEAD_MAX], head_len: 0 },
        length: 0,
        claims: Claims { checksum: None, gso: None },
        fate: SampleFate::Kept,
        lost: None,
    };
}

/// What became of the frames of a burst, while it is carried.
#[derive(Debug)]
pub(super) struct Notes(Box<[Noted; BURST_FRAMES]>);

impl Notes {
    /// Notes what became of the frame at `slot`.
    pub(super) fn note(&mut self, slot: usize, fate: SampleFate) {
        if let Some(noted) = self.0.get_mut(slot) {
            noted.fate = fate;
        }
    }

    /// Notes that a receiver lost the frame at `slot`.
    #[cold]
    pub(super) fn note_lost(&mut self, slot: usize, receiver: PortIndex, reason: DropReason) {
        if let Some(noted) = self.0.get_mut(slot) {
            noted.lost.get_or_insert((receiver, reason));
        }
    }

    /// Notes the frames as they enter; their heads only if somebody wants to see them so.
    fn begin(&mut self, frames: &[Frame<Span>], has_heads: bool) {
        for (noted, frame) in self.0.iter_mut().zip(frames) {
            let bytes = if has_heads { frame.head.bytes() } else { &[] };
            if let Some(room) = noted.head.head.get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
            }
            noted.head.head_len = u8::try_from(bytes.len()).unwrap_or(0);
            (noted.length, noted.claims) = (frame.meta.length, frame.meta.claims);
            (noted.fate, noted.lost) = (SampleFate::Kept, None);
        }
    }

    /// Adds what goes to few ports.
    fn add_sends(&mut self, outbox: &Outbox) {
        for (to, slot) in outbox.sends() {
            let Some(noted) = self.0.get_mut(slot) else { continue };
            let mut ports = match noted.fate {
                SampleFate::Sent(ports) => ports,
                _ => [None; INLINE_RECEIVERS],
            };
            if let Some(free) = ports.iter_mut().find(|port| port.is_none()) {
                *free = Some(to);
            }
            noted.fate = SampleFate::Sent(ports);
        }
    }
}

/// A worker's taps.
#[derive(Debug)]
pub(super) struct Taps {
    taps: Vec<Tap>,
    captures: Vec<Capture>,
    /// Taps that look at the burst which is carried now, a bit each, and whether captures do.
    looking: u8,
    is_capturing: bool,
    /// It enters for the first time.
    is_new: bool,
    notes: Notes,
}

impl Default for Taps {
    fn default() -> Self {
        let notes = Notes(Box::new([Noted::NONE; BURST_FRAMES]));
        Self { taps: Vec::new(), captures: Vec::new(), looking: 0, is_capturing: false, is_new: true, notes }
    }
}

impl Taps {
    /// Whether nobody watches.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.taps.is_empty() && self.captures.is_empty()
    }

    /// One more tap.
    pub(super) fn add(&mut self, tap: Tap) {
        self.taps.retain(|tap| !tap.counters.is_closed());
        if self.taps.len() < TAPS_MAX {
            self.taps.push(tap);
        }
    }

    /// One more capture.
    pub(super) fn add_capture(&mut self, capture: Capture) {
        self.captures.retain(|capture| !capture.is_closed());
        if self.captures.len() < TAPS_MAX {
            self.captures.push(capture);
        }
    }

    /// Begins a burst, which may enter once more; what becomes of its frames is to be noted if anybody looks at it.
    #[cold]
    pub(super) fn begin(&mut self, frames: &[Frame<Span>], is_new: bool, now: Nanos) -> Option<&mut Notes> {
        (self.looking, self.is_capturing, self.is_new) = (0, false, is_new);
        self.taps.retain(|tap| !tap.counters.is_closed());
        let source = frames.first()?.meta.source;
        for (number, tap) in self.taps.iter_mut().enumerate() {
            let looks = tap.begin(source, frames.len() as u64, now);
            self.looking |= u8::from(looks) << number;
        }
        self.captures.retain(|capture| !capture.is_closed());
        let has_heads = is_new && self.captures.iter().any(|capture| capture.sees_enter(frames));
        self.is_capturing = has_heads || self.captures.iter().any(Capture::sees_leave);
        let has_heads = has_heads || self.looking != 0;
        if self.is_idle() {
            return None;
        }
        self.notes.begin(frames, has_heads);
        Some(&mut self.notes)
    }

    /// What is noted of the burst that is carried now, if anybody looks at it.
    #[inline]
    pub(super) fn notes(&mut self) -> Option<&mut Notes> {
        if self.is_idle() { None } else { Some(&mut self.notes) }
    }

    /// Whether nobody looks at the burst that is carried now.
    #[inline]
    fn is_idle(&self) -> bool {
        self.looking == 0 && !self.is_capturing
    }

    /// Notes what was decided to go to few ports, before it is brought there.
    #[cold]
    pub(super) fn note_sends(&mut self, outbox: &Outbox) {
        if !self.is_idle() {
            self.notes.add_sends(outbox);
        }
    }

    /// Leaves samples of frames that were dropped before anything was read of them.
    #[cold]
    pub(super) fn leave_unread(&mut self, source: PortIndex, dropped: &[(DropReason, u64)], now: Nanos) {
        self.taps.retain(|tap| !tap.counters.is_closed());
        for tap in &mut self.taps {
            for (reason, frames) in dropped.iter().filter(|(_, frames)| *frames > 0) {
                tap.leave_unread(source, *reason, *frames, now);
            }
        }
    }

    /// Ends it: leaves samples.
    #[cold]
    pub(super) fn end(
        &mut self,
        (frames, segments): (&[Frame<Span>], &Segments),
        policy: &Policy,
        now: Nanos,
    ) {
        if self.is_idle() {
            return;
        }
        let noted = self.notes.0.get(..frames.len()).unwrap_or_default();
        let burst = Looked { frames, segments, noted, policy, now, is_new: self.is_new };
        for (number, tap) in self.taps.iter_mut().enumerate() {
            if self.looking >> number & 1 != 0 {
                tap.end(&burst);
            }
        }
        let captures = self.captures.len();
        for capture in self.captures.iter_mut().filter(|_| self.is_capturing) {
            capture.end(&burst, captures);
        }
        (self.looking, self.is_capturing) = (0, false);
    }
}

#[cfg(test)]
mod tests;
