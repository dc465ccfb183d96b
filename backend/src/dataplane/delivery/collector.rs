//! The switch's decisions about a burst, as it takes them.

use std::sync::Arc;

use viaduct_switch::fragments::DatagramId;
use viaduct_switch::offload::Treatment;
use viaduct_switch::router::Why;
use viaduct_switch::tunnel::is_vtep_port;
use viaduct_switch::{Carried, Claims, DropReason, Egress, Frame, NetworkIndex, PortIndex};

use super::{INLINE_RECEIVERS, Outbox, Workshop};
use crate::dataplane::held::{Held, HeldFragments};
use crate::dataplane::offers::Place;
use crate::dataplane::outlet::Outlet;
use crate::dataplane::replicator::{Flood, Replicator};
use crate::dataplane::shared::Reporter;
use crate::dataplane::tap::{Notes, SampleFate};
use crate::memory::{copy_out, copy_some};
use crate::ring::{Segments, Span};

/// Takes the switch's decisions about a burst: short ways into the outbox, long floods to the replicator.
pub(in crate::dataplane) struct Collector<'a> {
    pub(in crate::dataplane) outbox: &'a mut Outbox,
    /// Where in the burst the frames begin that the switch is asked about.
    pub(in crate::dataplane) base: usize,
    pub(in crate::dataplane) replicator: &'a mut Replicator,
    pub(in crate::dataplane) outlets: &'a [Option<Arc<Outlet>>],
    pub(in crate::dataplane) segments: &'a Segments,
    /// Takes control frames.
    pub(in crate::dataplane) reporter: &'a Reporter,
    /// Room for super-frames of which a gateway gets the segments.
    pub(in crate::dataplane) workshop: &'a mut Workshop,
    /// The link by which the burst came in.
    pub(in crate::dataplane) link: u8,
    /// Floods for which there was no room.
    pub(in crate::dataplane) refused: u64,
    /// Where it is noted what becomes of the frames, while somebody watches.
    pub(in crate::dataplane) notes: Option<&'a mut Notes>,
    pub(in crate::dataplane) held: &'a HeldFragments,
    pub(in crate::dataplane) released: &'a mut Vec<Released>,
}

/// Fragments that wait no longer.
pub(in crate::dataplane) struct Released {
    pub(in crate::dataplane) frames: Vec<Held>,
    /// What was decided about their datagram; `None`: they are to be thrown away.
    pub(in crate::dataplane) decided: Option<Carried>,
}

impl Egress<Span> for Collector<'_> {
    #[inline]
    fn send(&mut self, to: PortIndex, slot: usize, _frame: &Frame<Span>) {
        self.outbox.push(to, self.base + slot, false);
    }

    fn flood(&mut self, network: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<Span>) {
        if self.is_short(receivers, frame) {
            let slot = self.base + slot;
            self.outbox.flooded |= 1 << (slot % 64);
            for &to in receivers.iter().filter(|&&port| port != frame.meta.source) {
                self.outbox.push(to, slot, true);
            }
            return;
        }
        let Span { first, count } = frame.payload;
        let flood = Flood {
            meta: &frame.meta,
            network,
            head: frame.head.bytes(),
            rest: self.segments.get(first as usize, count as usize),
            receivers,
        };
        let is_taken = self.replicator.take(&flood);
        self.refused += u64::from(!is_taken);
        let others = receivers.iter().filter(|port| **port != frame.meta.source).count();
        let others = u16::try_from(others).unwrap_or(u16::MAX);
        self.note(
            slot,
            match is_taken {
                true => SampleFate::Flooded(network, others),
                false => SampleFate::Dropped(DropReason::FloodQueueFull),
            },
        );
    }

    #[inline]
    fn dropped(&mut self, slot: usize, _frame: &Frame<Span>, reason: DropReason) {
        self.note(slot, SampleFate::Dropped(reason));
    }

    #[cold]
    fn punt(&mut self, slot: usize, frame: &Frame<Span>) -> bool {
        self.note(slot, SampleFate::Punted);
        let reporter = self.reporter;
        reporter.punt(frame.meta.source, self.link, |room| {
            let head = frame.head.bytes();
            let (start, rest) = room.split_at_mut(head.len());
            start.copy_from_slice(head);
            head.len() + self.read(frame, rest)
        })
    }

    #[cold]
    fn offer(&mut self, network: NetworkIndex, slot: usize, frame: &Frame<Span>, why: Option<Why>) -> bool {
        let place = Place { port: frame.meta.source, network, why };
        let rest = frame.payload.of(self.segments);
        let had_room = if frame.meta.claims == Claims::default() {
            let length = frame.head.bytes().len() + rest.iter().map(|part| part.len as usize).sum::<usize>();
            self.reporter.offers.offer(place, length, |to| copy_out(frame.head.bytes(), rest, to))
        } else {
            self.workshop.finish(frame.head.bytes(), rest, frame.meta.claims, |bytes| {
                self.reporter.offers.offer(place, bytes.len(), |to| to.copy_from_slice(bytes))
            })
        };
        if had_room {
            self.note(slot, SampleFate::Punted);
        }
        had_room
    }

    #[cold]
    fn hold(&mut self, datagram: DatagramId, _slot: usize, frame: &Frame<Span>) -> bool {
        let Span { first, count } = frame.payload;
        self.held.keep(datagram, frame, self.segments.get(first as usize, count as usize))
    }

    #[cold]
    fn release(&mut self, datagram: DatagramId, decided: Option<Carried>) {
        let frames = self.held.take(datagram);
        if !frames.is_empty() {
            self.released.push(Released { frames, decided });
        }
    }

    fn read(&mut self, frame: &Frame<Span>, to: &mut [u8]) -> usize {
        let segments = frame.payload.of(self.segments);
        copy_some(segments, to)
    }
}

impl Collector<'_> {
    /// Notes what became of a frame, if somebody watches.
    #[inline]
    fn note(&mut self, slot: usize, fate: SampleFate) {
        if let Some(notes) = &mut self.notes {
            notes.note(self.base + slot, fate);
        }
    }

    /// Whether a flood is carried out within the burst: it has few receivers, which take it as it is, and none
    /// of the same source waits that it would overtake.
    fn is_short(&self, receivers: &[PortIndex], frame: &Frame<Span>) -> bool {
        let source = frame.meta.source;
        if receivers.len() > INLINE_RECEIVERS + 1 || self.replicator.holds(source) {
            return false;
        }
        let others = || receivers.iter().filter(|&&port| port != source);
        let (claims, head) = (frame.meta.claims, frame.head.bytes());
        let takes_it = |port: &PortIndex| match self.outlets.get(port.get()) {
            Some(Some(outlet)) => outlet.capabilities.treatment(&claims, head) == Treatment::AsIs,
            // For a VTEP it is cut, or finished: once for all of them.
            _ => !is_vtep_port(*port),
        };
        let plain = claims == Claims::default() || others().count() == 1 || others().all(takes_it);
        plain && others().count() <= INLINE_RECEIVERS
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use viaduct_switch::Metadata;
    use viaduct_switch::frame::Head;
    use vmm_sys_util::eventfd::EventFd;

    use super::*;
    use crate::dataplane::punts::punts;
    use crate::dataplane::replicator::FloodMemory;
    use crate::memory::Segment;

    /// What a frame whose rest lies in segments of these lengths gives to a reader with `room` bytes; `span` says
    /// which of the segments are the frame's.
    fn read(lens: &[usize], span: Span, room: usize) -> Vec<u8> {
        let mut memory: Vec<Vec<u8>> = Vec::new();
        for len in lens {
            let start = memory.iter().map(Vec::len).sum::<usize>();
            // Exactly as long as the segment, so that one byte too many would be noticed by a checker of memory.
            memory.push((start..start + len).map(|byte| u8::try_from(byte % 251).unwrap()).collect());
        }
        let segments: Vec<Segment> = memory
            .iter_mut()
            .map(|part| Segment { host: part.as_mut_ptr(), len: u32::try_from(part.len()).unwrap() })
            .collect();
        let (mut outbox, mut replicator) =
            (Outbox::default(), Replicator::new(Arc::<FloodMemory>::default()));
        let (events, _) = channel();
        let wake = Arc::new(EventFd::new(0).unwrap());
        let reporter = Reporter { events, wake, punts: punts().0, offers: Arc::default() };
        let mut collector = Collector {
            outbox: &mut outbox,
            base: 0,
            replicator: &mut replicator,
            outlets: &[],
            segments: &Segments::of(&segments),
            reporter: &reporter,
            workshop: &mut Workshop::new(),
            link: 0,
            refused: 0,
            held: &HeldFragments::default(),
            released: &mut Vec::new(),
            notes: None,
        };
        let meta = Metadata::new(PortIndex::new(0).unwrap(), 0, Claims::default());
        let frame = Frame { head: Head::default(), meta, payload: span };
        // More than the reader asks for, to see that nothing is written behind it.
        let mut buffer = vec![0xee; room + 64];
        let filled = collector.read(&frame, &mut buffer[..room]);
        assert!(buffer[filled..].iter().all(|byte| *byte == 0xee), "bytes behind what was read");
        buffer.truncate(filled);
        buffer
    }

    #[test]
    fn what_follows_a_head_is_read_from_all_of_its_segments_as_far_as_there_is_room() {
        let all: Vec<u8> = (0..3000).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        for lens in [&[][..], &[0], &[1], &[1500], &[0, 7, 0, 1, 992], &[1000, 1000, 1000]] {
            let whole: usize = lens.iter().sum();
            let span = Span { first: 0, count: u32::try_from(lens.len()).unwrap() };
            for room in [0, 1, 2, 7, 8, 999, 1000, 1001, 1500, 2999, 3000, 3001] {
                assert_eq!(read(lens, span, room), all[..whole.min(room)], "{lens:?} into {room}");
            }
        }
    }

    #[test]
    fn only_a_frames_own_segments_are_read() {
        let byte = |at: usize| u8::try_from(at % 251).unwrap();
        let own = read(&[10, 20, 30, 40], Span { first: 1, count: 2 }, 1000);
        assert_eq!(own, (10..60).map(byte).collect::<Vec<_>>());
        // A span that is no part of the list.
        assert!(read(&[10, 20], Span { first: 1, count: 2 }, 1000).is_empty());
        assert!(read(&[], Span { first: u32::MAX, count: 1 }, 1000).is_empty());
    }
}
