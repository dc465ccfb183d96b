//! Frames collected for one system call.

use crate::memory::{Segment, copy_out};
use crate::ring::BURST_FRAMES;

/// Bytes of copied heads and of frames that are copied whole: a burst's, and one more frame.
const STORE_BYTES: usize = (128 << 10) + (66 << 10);

/// Pieces that all frames together may lie in.
const PIECES: usize = 1024;

/// Pieces beyond which a frame is copied into one, so that no sender's taste for small pieces makes a frame unsendable
/// (writev(2): at most 1024 for a frame).
const FRAME_PIECES: usize = 64;

/// Up to 64 frames on their way out. What follows a frame's head stays where it is, in the sender's memory.
pub struct Outgoing {
    frames: Vec<Entry>,
    pieces: Vec<Segment>,
    store: Box<[u8]>,
    stored: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    header: [u8; 12],
    first: usize,
    count: usize,
    length: u32,
}

/// One frame that goes out.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingFrame<'a> {
    /// The `virtio_net_hdr` that says what is left to be done.
    pub header: &'a [u8; 12],
    /// Where the frame lies, from its Ethernet header on; at most 65.
    pub pieces: &'a [Segment],
    /// The frame's length in bytes as its sender counts it.
    pub length: u32,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            frames: Vec::with_capacity(BURST_FRAMES),
            pieces: Vec::with_capacity(PIECES),
            store: vec![0; STORE_BYTES].into_boxed_slice(),
            stored: 0,
        }
    }
}

impl Outgoing {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames in their order.
    pub fn iter(&self) -> impl Iterator<Item = OutgoingFrame<'_>> {
        self.frames.iter().map(|entry| OutgoingFrame {
            header: &entry.header,
            pieces: self.pieces.get(entry.first..entry.first + entry.count).unwrap_or_default(),
            length: entry.length,
        })
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.pieces.clear();
        self.stored = 0;
    }

    /// Adds a frame: `head` is copied, `rest` must stay where it is until the frames are cleared. Says whether there was
    /// room; in an empty list there is for any frame.
    pub(crate) fn add(&mut self, header: &[u8; 12], head: &[u8], rest: &[Segment], length: u32) -> bool {
        if self.frames.len() >= BURST_FRAMES {
            return false;
        }
        let first = self.pieces.len();
        let added = match rest.len() {
            ..FRAME_PIECES => self.add_pieces(head, rest),
            _ => self.add_whole(head, rest),
        };
        if added {
            let count = self.pieces.len() - first;
            self.frames.push(Entry { header: *header, first, count, length });
        }
        added
    }

    /// Adds a frame that lies in one piece and stays there until the frames are cleared.
    pub(crate) fn add_by_place(&mut self, header: &[u8; 12], frame: Segment, length: u32) -> bool {
        self.add(header, &[], &[frame], length)
    }

    fn add_pieces(&mut self, head: &[u8], rest: &[Segment]) -> bool {
        if self.pieces.len() + rest.len() + 1 > PIECES || !self.store(head) {
            return false;
        }
        self.pieces.extend_from_slice(rest);
        true
    }

    /// Copies all of the frame.
    fn add_whole(&mut self, head: &[u8], rest: &[Segment]) -> bool {
        let length = head.len() + rest.iter().map(|piece| piece.len as usize).sum::<usize>();
        if self.pieces.len() == PIECES || self.stored + length > STORE_BYTES {
            return false;
        }
        let Some(place) = self.store.get_mut(self.stored..self.stored + length) else { return false };
        copy_out(head, rest, place);
        self.note_stored(length);
        true
    }

    /// Copies `bytes` as a piece of the next frame; none if they are none.
    fn store(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let Some(place) = self.store.get_mut(self.stored..self.stored + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.note_stored(bytes.len());
        true
    }

    fn note_stored(&mut self, length: usize) {
        let host = self.store.as_mut_ptr().wrapping_add(self.stored);
        self.stored += length;
        self.pieces.push(Segment { host, len: u32::try_from(length).unwrap_or(0) });
    }
}
