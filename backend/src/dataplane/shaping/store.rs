//! The frames that wait in a tree: owned copies, each in the form that its receiver takes.

use std::sync::Arc;

use viaduct_switch::offload::Capabilities;
use viaduct_switch::{NetworkIndex, PortIndex};

use crate::dataplane::buffers::{LENGTHS, SharedMemory, Spares, buffer, length_for};
use crate::memory::{Segment, copy_out};

/// The most buffers of a length that a tree keeps for the next frames; they count as held.
const KEPT: usize = 4096;

/// One frame that waits.
pub(super) struct Stored {
    /// Where it goes.
    pub(super) port: PortIndex,
    pub(super) header: [u8; 12],
    /// The sender's view of its length, for the counters.
    pub(super) length: u32,
    /// The network in which it leaves, if it belongs to one.
    pub(super) network: Option<NetworkIndex>,
    /// What its receiver took unfinished when it was laid out.
    made_for: Capabilities,
    buffer: Box<[u8]>,
    len: usize,
}

impl Stored {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }

    /// What moving it costs, in bytes.
    pub(super) fn cost(&self) -> i64 {
        i64::try_from(self.len).unwrap_or(i64::MAX)
    }

    /// Whether a receiver of these capabilities can take it.
    pub(super) fn suits(&self, receiver: Capabilities) -> bool {
        self.made_for == receiver || self.header == [0; 12]
    }
}

/// Who gets a frame.
#[derive(Clone, Copy)]
pub(super) struct Addressee {
    pub(super) port: PortIndex,
    /// What its driver takes unfinished.
    pub(super) made_for: Capabilities,
    /// The network in which it gets the frame.
    pub(super) network: Option<NetworkIndex>,
}

/// What is to be kept of a frame.
pub(super) struct Form<'a> {
    pub(super) header: &'a [u8; 12],
    pub(super) head: &'a [u8],
    pub(super) rest: &'a [Segment],
    pub(super) length: u32,
}

/// One tree's frames, by their tickets.
pub(super) struct Store {
    slots: Vec<Option<Stored>>,
    free: Vec<u32>,
    spares: Spares,
    memory: Arc<SharedMemory>,
    /// Bytes of all buffers, those that are kept for later among them.
    held: usize,
    /// Nothing waited when it was last tidied.
    idle: bool,
}

impl Store {
    pub(super) fn new(memory: Arc<SharedMemory>) -> Self {
        let (slots, free, spares) = (Vec::new(), Vec::new(), Spares::new([KEPT; LENGTHS.len()]));
        Self { slots, free, spares, memory, held: 0, idle: false }
    }

    /// Copies a frame; gives its ticket if there was room.
    pub(super) fn keep(&mut self, to: &Addressee, form: &Form<'_>) -> Option<u32> {
        let (Form { header, head, rest, length }, Addressee { port, made_for, network }) = (form, *to);
        let len = head.len() + rest.iter().map(|part| part.len as usize).sum::<usize>();
        let mut buffer = self.buffer(length_for(len)?)?;
        copy_out(head, rest, buffer.get_mut(..len)?);
        self.idle = false;
        let stored = Stored { port, header: **header, length: *length, network, made_for, buffer, len };
        let Some(ticket) = self.free.pop() else {
            self.slots.push(Some(stored));
            return u32::try_from(self.slots.len() - 1).ok();
        };
        *self.slots.get_mut(ticket as usize)? = Some(stored);
        Some(ticket)
    }

    /// Whether a frame of `len` bytes finds room, if nobody else takes it first.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let kept = self.spares.bytes();
        length_for(len).is_some_and(|length| {
            self.spares.has(length) || self.memory.has_room(length, self.held - kept, kept)
        })
    }

    /// A buffer of one of the lengths that there are, if there may be one more.
    fn buffer(&mut self, length: usize) -> Option<Box<[u8]>> {
        if let Some(spare) = self.spares.take(length) {
            return Some(spare);
        }
        if !self.memory.take(length, self.held) {
            // What is kept for frames of other lengths may be all that is in the way.
            self.give_back_spares();
            if !self.memory.take(length, self.held) {
                return None;
            }
        }
        self.held += length;
        Some(buffer(length))
    }

    fn give_back_spares(&mut self) {
        let bytes = self.spares.clear();
        self.held -= bytes;
        self.memory.give_back(bytes);
    }

    /// The frame of this ticket.
    pub(super) fn get(&self, ticket: u32) -> Option<&Stored> {
        self.slots.get(ticket as usize)?.as_ref()
    }

    /// As [`Store::get`], to change its bytes.
    pub(super) fn get_mut(&mut self, ticket: u32) -> Option<&mut Stored> {
        self.slots.get_mut(ticket as usize)?.as_mut()
    }

    /// Takes a ticket back, with its frame. Gives the port that the frame was for.
    pub(super) fn free(&mut self, ticket: u32) -> Option<PortIndex> {
        let stored = self.slots.get_mut(ticket as usize)?.take()?;
        self.free.push(ticket);
        self.spare(stored.buffer);
        Some(stored.port)
    }

    fn spare(&mut self, buffer: Box<[u8]>) {
        let length = buffer.len();
        if !self.spares.keep(buffer) {
            self.held -= length;
            self.memory.give_back(length);
        }
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Gives back the buffers that nobody needed since the last call; all memory, if nothing waited since then.
    pub(super) fn tidy(&mut self) {
        if self.len() == 0 && std::mem::replace(&mut self.idle, true) {
            self.give_back_spares();
            (self.slots, self.free) = (Vec::new(), Vec::new());
        } else {
            let bytes = self.spares.trim();
            self.held -= bytes;
            self.memory.give_back(bytes);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.memory.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::buffers::Bounds;

    const BOUNDS: Bounds = Bounds { total: 1 << 20, each: 64 << 10, minimum: 4 << 10 };

    fn port(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    fn keep(store: &mut Store, to: usize, bytes: &[u8]) -> Option<u32> {
        let form = Form { header: &[0; 12], head: bytes, rest: &[], length: 7 };
        let addressee = Addressee { port: port(to), made_for: Capabilities::default(), network: None };
        store.keep(&addressee, &form)
    }

    #[test]
    fn frames_are_found_by_their_tickets_until_these_come_back() {
        let memory = Arc::new(SharedMemory::new(BOUNDS));
        let mut store = Store::new(Arc::clone(&memory));
        let tickets = [60usize, 255, 256, 257, 1514, 9000].map(|len| {
            let bytes = vec![u8::try_from(len % 251).unwrap(); len];
            (keep(&mut store, 1, &bytes).unwrap(), bytes)
        });
        for (ticket, bytes) in &tickets {
            assert_eq!(store.get(*ticket).map(Stored::bytes), Some(&bytes[..]));
        }
        assert_eq!(store.len(), 6);
        for (ticket, _) in &tickets {
            assert_eq!(store.free(*ticket), Some(port(1)));
            assert!(store.get(*ticket).is_none());
            assert_eq!(store.free(*ticket), None, "once");
        }
        assert_eq!(store.len(), 0);
        assert!(memory.taken() > 0, "kept for the next ones");
        store.tidy();
        store.tidy();
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn memory_is_bounded_and_spares_of_one_length_are_no_loss_to_the_others() {
        let memory = Arc::new(SharedMemory::new(BOUNDS));
        let mut store = Store::new(Arc::clone(&memory));
        let mut small = Vec::new();
        while let Some(ticket) = keep(&mut store, 1, &[1; 60]) {
            small.push(ticket);
        }
        assert_eq!(small.len(), BOUNDS.each / 256);
        assert!(keep(&mut store, 1, &[2; 9000]).is_none());
        for ticket in small {
            store.free(ticket);
        }
        assert!(keep(&mut store, 1, &[2; 9000]).is_some());
        assert_eq!(memory.taken(), 16 << 10);
        drop(store);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn buffers_that_nobody_needs_any_more_are_given_back_though_something_always_waits() {
        let memory = Arc::new(SharedMemory::new(BOUNDS));
        let mut store = Store::new(Arc::clone(&memory));
        let peak: Vec<u32> = (0..100).filter_map(|_| keep(&mut store, 1, &[1; 60])).collect();
        assert_eq!(peak.len(), 100);
        let (stays, others) = peak.split_at(1);
        assert!(others.iter().all(|ticket| store.free(*ticket).is_some()));
        store.tidy();
        for _ in 0..20 {
            let few: Vec<u32> = (0..10).filter_map(|_| keep(&mut store, 1, &[1; 60])).collect();
            assert!(few.iter().all(|ticket| store.free(*ticket).is_some()));
        }
        store.tidy();
        assert_eq!(memory.taken(), 11 * 256, "what waits, and what was needed lately");
        assert!(store.get(stays[0]).is_some());
    }
}
