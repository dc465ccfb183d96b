//! The frames that wait in a tree: owned copies, each in the form that its receiver takes.

use std::sync::Arc;

use viaduct_switch::PortIndex;
use viaduct_switch::offload::Capabilities;

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
    /// What its receiver took unfinished when it was laid out.
    made_for: Capabilities,
    /// Empty: it was thrown away, and only its ticket is still out.
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

    /// Whether a receiver of these capabilities can take it.
    pub(super) fn suits(&self, receiver: Capabilities) -> bool {
        self.made_for == receiver || self.header == [0; 12]
    }
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

    /// Copies a frame for `port`, whose driver takes this unfinished; gives its ticket if there was room.
    pub(super) fn keep(&mut self, port: PortIndex, made_for: Capabilities, form: &Form<'_>) -> Option<u32> {
        let Form { header, head, rest, length } = form;
        let len = head.len() + rest.iter().map(|part| part.len as usize).sum::<usize>();
        let mut buffer = self.buffer(length_for(len)?)?;
        copy_out(head, rest, buffer.get_mut(..len)?);
        self.idle = false;
        let stored = Stored { port, header: **header, length: *length, made_for, buffer, len };
        let Some(ticket) = self.free.pop() else {
            self.slots.push(Some(stored));
            return u32::try_from(self.slots.len() - 1).ok();
        };
        *self.slots.get_mut(ticket as usize)? = Some(stored);
        Some(ticket)
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

    /// The frame of this ticket; `None`: it was thrown away.
    pub(super) fn get(&self, ticket: u32) -> Option<&Stored> {
        self.slots.get(ticket as usize)?.as_ref().filter(|stored| !stored.buffer.is_empty())
    }

    /// As [`Store::get`], to change its bytes.
    pub(super) fn get_mut(&mut self, ticket: u32) -> Option<&mut Stored> {
        self.slots.get_mut(ticket as usize)?.as_mut().filter(|stored| !stored.buffer.is_empty())
    }

    /// Takes a ticket back, with its frame. Gives the port that the frame was for, if it was still there.
    pub(super) fn free(&mut self, ticket: u32) -> Option<PortIndex> {
        let stored = self.slots.get_mut(ticket as usize)?.take()?;
        self.free.push(ticket);
        let was_there = !stored.buffer.is_empty();
        self.spare(stored.buffer);
        was_there.then_some(stored.port)
    }

    fn spare(&mut self, buffer: Box<[u8]>) {
        let length = buffer.len();
        if length > 0 && !self.spares.keep(buffer) {
            self.held -= length;
            self.memory.give_back(length);
        }
    }

    /// Throws away the frames for `port`; gives how many there were. Their tickets stay out until they come back.
    pub(super) fn forget(&mut self, port: PortIndex) -> u64 {
        let mut frames = 0;
        for place in 0..self.slots.len() {
            let slot = self.slots.get_mut(place).and_then(Option::as_mut);
            let Some(stored) = slot.filter(|stored| stored.port == port && !stored.buffer.is_empty()) else {
                continue;
            };
            let buffer = std::mem::take(&mut stored.buffer);
            self.spare(buffer);
            frames += 1;
        }
        frames
    }

    /// Frames that wait, and those thrown away whose tickets are still out.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Gives the memory back if nothing waited since the last call.
    pub(super) fn tidy(&mut self) {
        if self.len() == 0 && std::mem::replace(&mut self.idle, true) {
            self.give_back_spares();
            (self.slots, self.free) = (Vec::new(), Vec::new());
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
        store.keep(port(to), Capabilities::default(), &form)
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
    fn a_port_that_goes_frees_its_frames_though_their_tickets_are_out() {
        let memory = Arc::new(SharedMemory::new(BOUNDS));
        let mut store = Store::new(Arc::clone(&memory));
        let gone: Vec<u32> = (0..10).filter_map(|_| keep(&mut store, 1, &[1; 60])).collect();
        let stays = keep(&mut store, 2, &[2; 60]).unwrap();
        assert_eq!((store.forget(port(1)), store.forget(port(1))), (10, 0));
        assert!(gone.iter().all(|ticket| store.get(*ticket).is_none()));
        let after = keep(&mut store, 2, &[3; 60]).unwrap();
        assert!(!gone.contains(&after), "a ticket that is out is nobody else's");
        assert!(gone.iter().all(|ticket| store.free(*ticket).is_none()));
        assert_eq!(store.get(stays).map(|stored| stored.bytes()[0]), Some(2));
        assert_eq!(store.len(), 2);
    }
}
