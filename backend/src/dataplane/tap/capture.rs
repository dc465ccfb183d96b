//! Captures: whole frames of some ports as they enter and as they leave, with what became of them, for people who look at each one.
//!
//! What a frame's fate was is noted as for samples. Then a capture looks at all frames of its ports, not at some: the filter runs here, so
//! that only what is wanted is copied, into two rings of fixed size (bytes, and what is known of them), without a lock or an allocation. What
//! finds no room is lost and counted, and so is what comes when the budget of ten milliseconds is used up, which all captures share: about a
//! fifth of a worker's time, whatever guests send and however slow the reader is. All that is looked at or copied is charged, whether the
//! filter wants it or not, and nothing is for which there is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use rtrb::{Consumer, Producer, RingBuffer};
use viaduct_switch::ids::PORTS_MAX;
use viaduct_switch::{Claims, DropReason, Frame, Nanos, PortIndex, TagStack};

use super::{Looked, SLOT_NS, SampleFate};
use crate::capture::{Packet, Program};
use crate::dataplane::delivery::FRAME_MAX;
use crate::memory::{Segment, copy_some};
use crate::ring::Span;

/// Bytes that may wait for the reader, of all workers together.
const BYTES: usize = 16 << 20;

/// The same of one worker, at least and at most.
const WORKER_BYTES: [usize; 2] = [1 << 20, 4 << 20];

/// Frames of one worker that may wait.
const RECORDS: usize = 8192;

/// What one worker captures in ten milliseconds: frames, bytes that are copied, and steps of filters.
const BUDGET: Budget = Budget { records: 2048, bytes: 4 << 20, steps: 1 << 19 };

/// What it takes to look at a frame, in steps of a filter.
const LOOK_STEPS: u32 = 32;

/// Bytes up to which a frame is copied for a filter that looks behind its head, before all of it is.
const GLANCE_BYTES: usize = 2048;

/// Captured ports up to which a flood that waits its turn is shown at each of them.
const FLOODED_PORTS: usize = 64;

/// Which frames are to be captured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureWanted {
    /// Those of these ports.
    pub ports: Vec<PortIndex>,
    /// As they enter there.
    pub entering: bool,
    /// As they leave there.
    pub leaving: bool,
    /// Bytes of each frame that are kept.
    pub snaplen: u32,
    /// Only those that it wants; `None`: all.
    pub program: Option<Program>,
}

/// A frame that was captured.
#[derive(Clone, Copy, Debug)]
pub struct Captured {
    /// The port where it was seen.
    pub port: PortIndex,
    /// It left there; else it entered.
    pub left: bool,
    /// Where it entered.
    pub source: PortIndex,
    /// When.
    pub at: Nanos,
    /// Its length with its tags: of a super-frame, of the whole.
    pub length: u32,
    /// What is left to do for its checksum, and to cut.
    pub claims: Claims,
    /// What became of it.
    pub fate: SampleFate,
    /// The first receiver that lost it, and why.
    pub lost: Option<(PortIndex, DropReason)>,
    /// How many of its bytes are kept.
    pub kept: usize,
}

impl Captured {
    /// One that entered at a port, of which nothing more is known.
    #[cfg(test)]
    pub(crate) fn at(port: PortIndex, at: Nanos) -> Self {
        let (claims, fate) = (Claims::default(), SampleFate::Kept);
        Self { port, left: false, source: port, at, length: 0, claims, fate, lost: None, kept: 0 }
    }
}

/// How much was seen at a port so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CaptureTally {
    /// Frames that entered or left there, as was asked for.
    pub seen: u64,
    /// Those that were captured.
    pub captured: u64,
    /// Those that found no room, whether the filter would have wanted them or not.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct PortCounters {
    seen: AtomicU64,
    captured: AtomicU64,
    lost: AtomicU64,
}

/// What both ends know.
#[derive(Debug)]
pub struct CaptureShared {
    wanted: CaptureWanted,
    /// For each port its place among those that are wanted, from 1; 0: it is not.
    places: Box<[u16]>,
    counters: Box<[PortCounters]>,
    closed: AtomicBool,
}

impl CaptureShared {
    fn new(wanted: CaptureWanted) -> Self {
        let mut places = vec![0; PORTS_MAX];
        for (place, port) in (1..).zip(&wanted.ports) {
            if let Some(at) = places.get_mut(port.get()) {
                *at = place;
            }
        }
        let counters = wanted.ports.iter().map(|_| PortCounters::default()).collect();
        Self { wanted, places: places.into(), counters, closed: AtomicBool::new(false) }
    }

    /// Whether the reader is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    #[inline]
    fn counters(&self, port: PortIndex) -> Option<&PortCounters> {
        let place = usize::from(*self.places.get(port.get())?).checked_sub(1)?;
        self.counters.get(place)
    }

    #[inline]
    fn has(&self, port: PortIndex) -> bool {
        self.places.get(port.get()).is_some_and(|place| *place != 0)
    }
}

/// The reader's end; dropping it ends the capture.
#[derive(Debug)]
pub struct CaptureReader {
    ends: Vec<(Consumer<Captured>, Consumer<u8>)>,
    shared: Arc<CaptureShared>,
    /// When the switch's time began.
    started: Instant,
}

impl Drop for CaptureReader {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
    }
}

impl CaptureReader {
    /// Frames that wait, of all workers in turn, until about `limit` bytes are taken.
    pub fn take(&mut self, limit: usize) -> Vec<(Captured, Vec<u8>)> {
        let share = limit.div_ceil(self.ends.len().max(1));
        let mut taken = Vec::new();
        for (records, bytes) in &mut self.ends {
            let mut size = 0;
            while size < share
                && let Ok(record) = records.pop()
            {
                // They are there before what is known of them is.
                let mut kept = vec![0; record.kept];
                if bytes.pop_entire_slice(&mut kept).is_ok() {
                    size += record.kept + size_of::<Captured>();
                    taken.push((record, kept));
                }
            }
        }
        taken.sort_by_key(|(record, _)| record.at);
        taken
    }

    /// How much was seen so far, for each port in the order in which they were asked for.
    pub fn tallies(&self) -> impl Iterator<Item = CaptureTally> {
        self.shared.counters.iter().map(|counters| {
            let [seen, captured, lost] =
                [&counters.seen, &counters.captured, &counters.lost].map(|counter| counter.load(Relaxed));
            CaptureTally { seen, captured, lost }
        })
    }

    /// The switch's time.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time since 1970 at which the switch's began, by today's clock.
    #[must_use]
    pub fn epoch(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(self.started.elapsed())
    }
}

/// A reader's end and one for each of `workers` workers.
pub(in crate::dataplane) fn captures(
    workers: usize,
    wanted: CaptureWanted,
    started: Instant,
) -> (CaptureReader, Arc<CaptureShared>, Vec<Capture>) {
    let shared = Arc::new(CaptureShared::new(wanted));
    let room = (BYTES / workers.max(1)).clamp(WORKER_BYTES[0], WORKER_BYTES[1]);
    let (captures, ends) = (0..workers).map(|_| Capture::new(&shared, room)).unzip();
    (CaptureReader { ends, shared: Arc::clone(&shared), started }, shared, captures)
}

/// What may still be done in these ten milliseconds.
#[derive(Clone, Copy, Debug)]
struct Budget {
    records: u32,
    bytes: usize,
    steps: u32,
}

impl Budget {
    /// The part of one of so many that share it.
    fn shared_by(self, count: usize) -> Self {
        let count = count.max(1);
        let share = u32::try_from(count).unwrap_or(u32::MAX);
        Self { records: self.records / share, bytes: self.bytes / count, steps: self.steps / share }
    }
}

/// A worker's end.
#[derive(Debug)]
pub(in crate::dataplane) struct Capture {
    shared: Arc<CaptureShared>,
    ring: Ring,
}

/// Where frames are put.
#[derive(Debug)]
struct Ring {
    records: Producer<Captured>,
    bytes: Producer<u8>,
    /// The ten milliseconds for which the budget is, and what is left of it.
    slot: u64,
    left: Budget,
    /// Room for one frame.
    whole: Box<[u8]>,
}

impl Capture {
    fn new(shared: &Arc<CaptureShared>, room: usize) -> (Self, (Consumer<Captured>, Consumer<u8>)) {
        let (mut producer, mut bytes) = RingBuffer::new(room);
        // Has the memory there before a worker needs it.
        if let Ok(chunk) = producer.write_chunk(room) {
            chunk.commit_all();
        }
        if let Ok(chunk) = bytes.read_chunk(room) {
            chunk.commit_all();
        }
        let (to_records, records) = RingBuffer::new(RECORDS);
        let whole = vec![0; FRAME_MAX].into();
        let ring = Ring { records: to_records, bytes: producer, slot: 0, left: BUDGET, whole };
        (Self { shared: Arc::clone(shared), ring }, (records, bytes))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Whether some of these frames are captured as they enter.
    pub(super) fn sees_enter(&self, frames: &[Frame<Span>]) -> bool {
        self.shared.wanted.entering && frames.iter().any(|frame| self.shared.has(frame.meta.source))
    }

    /// Whether frames are captured as they leave.
    pub(super) fn sees_leave(&self) -> bool {
        self.shared.wanted.leaving
    }

    /// Captures what is wanted of a burst, with its share of the budget of `captures` captures.
    pub(super) fn end(&mut self, burst: &Looked<'_>, captures: usize) {
        let Self { shared, ring } = self;
        ring.renew(burst.now, captures);
        for (frame, noted) in burst.frames.iter().zip(burst.noted) {
            let source = frame.meta.source;
            let rest = frame.payload.of(burst.segments);
            let mut record = Captured {
                port: source,
                left: false,
                source,
                at: burst.now,
                length: noted.length,
                claims: noted.claims,
                fate: noted.fate,
                lost: noted.lost,
                kept: 0,
            };
            if burst.is_new && shared.wanted.entering && shared.has(source) {
                ring.take(shared, record, (noted.head.bytes(), &TagStack::default(), rest));
            }
            if !shared.wanted.leaving {
                continue;
            }
            (record.left, record.claims) = (true, frame.meta.claims);
            each_receiver(shared, noted.fate, burst, source, |port| {
                let tags = burst.policy.tags_of(port).and_then(|tags| tags.of(&frame.meta));
                let tags = tags.unwrap_or_default();
                let tags_len = u32::try_from(tags.bytes().len()).unwrap_or(0);
                let record = Captured { port, length: frame.meta.length + tags_len, ..record };
                ring.take(shared, record, (frame.head.bytes(), &tags, rest));
            });
        }
    }
}

/// The captured ports by which a frame left.
fn each_receiver(
    shared: &CaptureShared,
    fate: SampleFate,
    burst: &Looked<'_>,
    source: PortIndex,
    mut each: impl FnMut(PortIndex),
) {
    match fate {
        SampleFate::Sent(ports) => {
            ports.into_iter().flatten().filter(|port| shared.has(*port)).for_each(each);
        }
        SampleFate::Flooded(network, _) if shared.wanted.ports.len() <= FLOODED_PORTS => {
            for &port in &shared.wanted.ports {
                if port != source && burst.policy.is_member(port, network) {
                    each(port);
                }
            }
        }
        _ => {}
    }
}

impl Ring {
    /// Has its share of what may be done in ten milliseconds again, if they are over.
    fn renew(&mut self, now: Nanos, captures: usize) {
        let slot = now.0 / SLOT_NS;
        if slot != self.slot {
            (self.slot, self.left) = (slot, BUDGET.shared_by(captures));
        }
    }

    /// Whether something may be done still, and a frame of which so many bytes are kept would find room.
    fn has_room(&self, kept: usize) -> bool {
        let Budget { records, bytes, steps } = self.left;
        let may_look = records > 0 && bytes > 0 && steps > 0;
        may_look && !self.records.is_full() && self.bytes.slots() >= kept
    }

    /// Takes a frame, if it is wanted and there is room.
    fn take(
        &mut self,
        shared: &CaptureShared,
        record: Captured,
        (head, tags, rest): (&[u8], &TagStack, &[Segment]),
    ) {
        let Some(counters) = shared.counters(record.port) else { return };
        counters.seen.fetch_add(1, Relaxed);
        let wanted = &shared.wanted;
        let most = wanted.snaplen.min(record.length) as usize;
        if !self.has_room(most.min(FRAME_MAX)) {
            counters.lost.fetch_add(1, Relaxed);
            return;
        }
        self.left.steps = self.left.steps.saturating_sub(LOOK_STEPS);
        let front = put_together(head, tags.bytes(), &mut self.whole);
        let (filled, copied, length) = (front, front, record.length);
        let mut view = View { bytes: &mut self.whole, front, filled, copied, rest, length };
        let is_wanted =
            wanted.program.as_ref().is_none_or(|program| program.wants(&mut view, &mut self.left.steps));
        let kept = if is_wanted { view.fill(most) } else { 0 };
        self.left.bytes = self.left.bytes.saturating_sub(view.copied);
        if !is_wanted {
            return;
        }
        let is_taken = self.bytes.push_entire_slice(self.whole.get(..kept).unwrap_or_default()).is_ok();
        if !is_taken || self.records.push(Captured { kept, ..record }).is_err() {
            counters.lost.fetch_add(1, Relaxed);
            return;
        }
        counters.captured.fetch_add(1, Relaxed);
        self.left.records -= 1;
    }
}

/// Writes a frame's first bytes with tags behind its addresses; gives how many these are.
fn put_together(head: &[u8], tags: &[u8], to: &mut [u8]) -> usize {
    let (addresses, behind) = head.split_at_checked(12).unwrap_or((head, &[]));
    let mut at = 0;
    for part in [addresses, tags, behind] {
        if let Some(room) = to.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
            at += part.len();
        }
    }
    at
}

/// A frame of which as much is copied as somebody asks for.
struct View<'a> {
    bytes: &'a mut [u8],
    /// Bytes before the payload, and all that are there.
    front: usize,
    filled: usize,
    /// Bytes that were copied for it so far.
    copied: usize,
    rest: &'a [Segment],
    length: u32,
}

impl View<'_> {
    /// Has the first `end` bytes there; gives how many of them there are.
    fn fill(&mut self, end: usize) -> usize {
        if end > self.filled {
            let end = end.min(self.bytes.len());
            let room = self.bytes.get_mut(self.front..end).unwrap_or_default();
            let copied = copy_some(self.rest, room);
            self.filled = self.front + copied;
            self.copied += copied;
        }
        end.min(self.filled)
    }
}

impl Packet for View<'_> {
    fn length(&self) -> u32 {
        self.length
    }

    fn bytes(&mut self, at: u64, count: usize) -> Option<&[u8]> {
        let from = usize::try_from(at).ok()?;
        let end = from.checked_add(count).filter(|end| *end <= self.length as usize)?;
        if end > self.filled {
            let all = self.length as usize;
            self.fill(if end <= GLANCE_BYTES { all.min(GLANCE_BYTES) } else { all });
        }
        self.bytes.get(..self.filled)?.get(from..end)
    }
}

#[cfg(test)]
mod tests;
