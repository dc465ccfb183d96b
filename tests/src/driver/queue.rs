//! The two queues of a pair: frames on one side, descriptor chains on the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::header::NetHeader;
use super::memory::Memory;
use super::ring::{Piece, Ring};

/// How long the switch may take to give back a sent frame's buffer.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// How a frame lies in memory: the lengths of all pieces but the last, which takes the rest.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Lengths of the first pieces in bytes, from the net header's first byte on.
    pub cuts: Vec<u32>,
    /// The chain lies in an indirect table.
    pub indirect: bool,
}

impl Layout {
    /// The most descriptors that a chain takes, whether in the ring or in a table.
    #[must_use]
    pub fn pieces_max(&self) -> u64 {
        self.cuts.len() as u64 + 1
    }

    /// `length` bytes at `address`, cut.
    #[must_use]
    pub fn cut(&self, address: u64, length: u32, writable: bool) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.cuts.len() + 1);
        let mut done = 0;
        for cut in &self.cuts {
            if done + cut >= length {
                break;
            }
            pieces.push(Piece { address: address + u64::from(done), length: *cut, writable });
            done += cut;
        }
        pieces.push(Piece { address: address + u64::from(done), length: length - done, writable });
        pieces
    }
}

/// Buffers of one queue, each with room for an indirect table.
#[derive(Clone, Debug)]
pub struct Buffers {
    /// Guest address of the first one.
    pub first: u64,
    /// Guest address of the first indirect table.
    pub tables: u64,
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub bytes: u64,
    /// How chains are made of them.
    pub layout: Layout,
}

impl Buffers {
    /// Guest address of buffer `index`.
    #[must_use]
    pub fn address(&self, index: u64) -> u64 {
        self.first + index * self.bytes
    }

    /// Guest address of the indirect table of buffer `index`, where chains are indirect.
    #[must_use]
    pub fn table(&self, index: u64) -> Option<u64> {
        self.layout.indirect.then(|| self.tables + index * self.layout.pieces_max() * 16)
    }
}

/// The guest's transmit queue.
pub struct TransmitQueue {
    /// Its ring.
    pub ring: Ring,
    /// Where frames are put.
    pub buffers: Buffers,
    /// 10 or 12.
    pub header_bytes: usize,
    free: Vec<u64>,
}

impl TransmitQueue {
    /// A queue with nothing in it.
    #[must_use]
    pub fn new(ring: Ring, buffers: Buffers, header_bytes: usize) -> Self {
        let free = (0..buffers.count).rev().collect();
        Self { ring, buffers, header_bytes, free }
    }

    /// Takes back what the switch is done with.
    pub fn reclaim(&mut self) -> usize {
        let mut count = 0;
        while let Some(used) = self.ring.take_used() {
            assert_eq!(used.length, 0, "nothing is written to a transmit buffer (virtio 1.2, 2.7.8.2)");
            self.free.push(used.token);
            count += 1;
        }
        count
    }

    /// Puts one frame into the ring, unpublished; waits while there is no room for it.
    pub fn put(&mut self, header: NetHeader, frame: &[u8]) {
        let deadline = Instant::now() + SEND_LIMIT;
        while !self.try_put(header, frame) {
            self.ring.publish();
            let room = self.ring.wait_used(SEND_LIMIT) && Instant::now() < deadline;
            assert!(room, "no sent buffer came back within {SEND_LIMIT:?} ({} pending)", self.ring.pending());
        }
    }

    /// Puts one frame into the ring, unpublished; false when there is no room.
    #[must_use]
    pub fn try_put(&mut self, header: NetHeader, frame: &[u8]) -> bool {
        self.reclaim();
        let Some(&index) = self.free.last() else { return false };
        let address = self.buffers.address(index);
        let length = self.header_bytes + frame.len();
        assert!(length as u64 <= self.buffers.bytes, "a frame of {} bytes fits no buffer", frame.len());
        let pieces = self.buffers.layout.cut(address, length as u32, false);
        self.ring.memory.write(address, &header.bytes()[..self.header_bytes]);
        self.ring.memory.write(address + self.header_bytes as u64, frame);
        let added = self.ring.add(&pieces, self.buffers.table(index), index);
        if added {
            self.free.pop();
        }
        added
    }

    /// Waits until the switch has given everything back.
    pub fn drain(&mut self) {
        self.ring.publish();
        while self.ring.pending() > 0 {
            assert!(
                self.ring.wait_used(SEND_LIMIT),
                "{} sent buffers did not come back",
                self.ring.pending()
            );
            self.reclaim();
        }
    }

    /// As after a reset of the queue.
    pub fn reset(&mut self) {
        self.ring.reset();
        self.free = (0..self.buffers.count).rev().collect();
    }
}

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// What stands before it.
    pub header: NetHeader,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// The guest's receive queue.
pub struct ReceiveQueue {
    /// Its ring.
    pub ring: Ring,
    /// Where frames are put by the switch.
    pub buffers: Buffers,
    /// 10 or 12.
    pub header_bytes: usize,
    /// VIRTIO_NET_F_MRG_RXBUF was negotiated.
    pub mergeable: bool,
}

impl ReceiveQueue {
    /// A queue full of empty buffers, not yet published.
    #[must_use]
    pub fn new(ring: Ring, buffers: Buffers, header_bytes: usize, mergeable: bool) -> Self {
        let mut queue = Self { ring, buffers, header_bytes, mergeable };
        queue.fill();
        queue
    }

    fn fill(&mut self) {
        for index in 0..self.buffers.count {
            assert!(self.post(index), "the ring has room for all its buffers");
        }
    }

    fn post(&mut self, index: u64) -> bool {
        let pieces = self.buffers.layout.cut(self.buffers.address(index), self.buffers.bytes as u32, true);
        self.ring.add(&pieces, self.buffers.table(index), index)
    }

    /// Takes the next frame if one is there; its buffers go back at once.
    pub fn take(&mut self) -> Option<Received> {
        let first = self.ring.take_used()?;
        let mut bytes = vec![0; first.length as usize];
        assert!(
            first.length as usize >= self.header_bytes,
            "a frame without its header: {} bytes",
            first.length
        );
        self.ring.memory.read(self.buffers.address(first.token), &mut bytes);
        let header = NetHeader::parse(&bytes[..self.header_bytes]);
        bytes.drain(..self.header_bytes);
        assert!(self.post(first.token));
        for _ in 1..self.buffers_of(header) {
            // All buffers of a frame appear at once (virtio 1.2, 5.1.6.3.2 and 2.7.8: the index covers them).
            let more =
                self.ring.take_used().expect("the rest of a merged frame, published together with its first");
            let from = bytes.len();
            bytes.resize(from + more.length as usize, 0);
            self.ring.memory.read(self.buffers.address(more.token), &mut bytes[from..]);
            assert!(self.post(more.token));
        }
        self.ring.publish();
        Some(Received { header, bytes })
    }

    fn buffers_of(&self, header: NetHeader) -> u16 {
        if self.mergeable {
            assert_ne!(header.num_buffers, 0, "num_buffers counts the frame's buffers");
            header.num_buffers
        } else {
            if self.header_bytes == 12 {
                assert_eq!(
                    header.num_buffers, 1,
                    "num_buffers is 1 without MRG_RXBUF (virtio 1.2, 5.1.6.4.1)"
                );
            }
            1
        }
    }

    /// Buffers that a frame of `length` bytes takes.
    #[must_use]
    pub fn buffers_for(&self, length: usize) -> usize {
        (length + self.header_bytes).div_ceil(self.buffers.bytes as usize)
    }

    /// As after a reset of the queue: empty buffers again.
    pub fn reset(&mut self) {
        self.ring.reset();
        self.fill();
    }
}

/// Takes room for a queue's buffers and tables.
#[must_use]
pub fn take_buffers(memory: &mut Memory, count: u64, bytes: u64, layout: &Layout) -> Buffers {
    let tables = memory.allocate(count * layout.pieces_max() * 16, 16);
    let first = memory.allocate(count * bytes, 1);
    Buffers { first, tables, count, bytes, layout: layout.clone() }
}

/// Bytes of memory that [`take_buffers`] needs at most.
#[must_use]
pub fn buffers_bytes(count: u64, bytes: u64, layout: &Layout) -> u64 {
    count * (layout.pieces_max() * 16 + bytes) + 16
}

/// Makes `memory` shareable among rings once nothing is taken from it any more.
#[must_use]
pub fn share(memory: Memory) -> Arc<Memory> {
    Arc::new(memory)
}
