//! The kernel's ring of received frames: TPACKET_V2 (packet(7), Documentation/networking/packet_mmap.rst).
//!
//! Version 2 and not 3, since version 3 shows frames a block at a time, at the latest when a timer of whole milliseconds
//! ends: a request and its answer would take that long each way. Its slots have one size, that of a frame of the
//! interface's MTU; what is longer (super-frames) is cut off in the ring and comes whole from the socket
//! (PACKET_COPY_THRESH), many with one system call.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::error::last_errno;

/// Bytes of the ring.
const RING_BYTES: usize = 8 << 20;

/// Bytes of a block, in which whole slots lie: the kernel gets each in one piece.
const BLOCK_BYTES: usize = 128 << 10;

/// Bytes before a frame in its slot: header, address, alignment, virtio-net header; and a tag's, which may stay in.
const SLOT_ROOM: usize = 128;

/// The smallest slot: no power of two, so that the beginnings of slots don't fall on the same lines of the cache.
const SLOT_MIN: usize = 2112;

/// The largest slot: for jumbo frames of 9000 bytes.
const SLOT_MAX: usize = 9280;

/// Where a slot's address of packet(7) begins, and the packet's kind in it.
const ADDRESS: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);

const _: () = assert!(size_of::<libc::tpacket2_hdr>() == 32 && ADDRESS == 32);

/// What a ring looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RingShape {
    slot_bytes: usize,
    block_bytes: usize,
    blocks: usize,
}

impl RingShape {
    /// That of a ring for frames of `mtu` bytes.
    pub(crate) fn of(mtu: u32) -> Self {
        let frame = usize::try_from(mtu).unwrap_or(0) + SLOT_ROOM;
        let slot_bytes = frame.next_multiple_of(64).clamp(SLOT_MIN, SLOT_MAX);
        Self { slot_bytes, block_bytes: BLOCK_BYTES, blocks: RING_BYTES / BLOCK_BYTES }
    }

    fn per_block(self) -> usize {
        BLOCK_BYTES / self.slot_bytes
    }
}

/// A ring, mapped.
pub(super) struct FrameRing {
    memory: *mut u8,
    length: usize,
    slot_bytes: usize,
    /// Slots in a block.
    per_block: usize,
    blocks: usize,
    /// The next slot to be looked at.
    next: Place,
    /// The first that was taken and not given back.
    held: Place,
}

/// A slot's place: its block, and its number in there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Place {
    block: usize,
    number: usize,
}

/// A frame in the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// `TP_STATUS_*`.
    pub(super) status: u32,
    /// The frame's length, and how much of it lies in the slot, in bytes.
    pub(super) length: u32,
    pub(super) held: u32,
    /// The frame; before it its virtio-net header of ten bytes.
    pub(super) bytes: *mut u8,
    /// The VLAN tag that the kernel took off.
    pub(super) tag: Option<[u8; 4]>,
}

// SAFETY: the mapping belongs to the ring alone, and any thread may use it.
unsafe impl Send for FrameRing {}

impl FrameRing {
    /// Gives `socket`, whose version is set and that is not bound yet, a ring for frames of `mtu` bytes.
    pub(super) fn new(socket: &OwnedFd, mtu: u32) -> Result<Self, i32> {
        let shape = RingShape::of(mtu);
        let RingShape { slot_bytes, blocks, .. } = shape;
        let per_block = shape.per_block();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let request = libc::tpacket_req {
            tp_block_size: number(BLOCK_BYTES),
            tp_block_nr: number(blocks),
            tp_frame_size: number(slot_bytes),
            tp_frame_nr: number(per_block * blocks),
        };
        super::af_packet::set_option(socket, libc::PACKET_RX_RING, &request)?;
        Self::map(socket, mtu, 0)
    }

    /// The ring for frames of `mtu` bytes that `socket` has, from slot `next` on.
    pub(super) fn map(socket: &OwnedFd, mtu: u32, next: u16) -> Result<Self, i32> {
        let shape = RingShape::of(mtu);
        let RingShape { slot_bytes, blocks, .. } = shape;
        let per_block = shape.per_block();
        let next = Place { block: usize::from(next) / per_block, number: usize::from(next) % per_block };
        if next.block >= blocks {
            return Err(libc::EINVAL);
        }
        let length = BLOCK_BYTES * blocks;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(last_errno());
        }
        Ok(Self { memory: memory.cast(), length, slot_bytes, per_block, blocks, next, held: next })
    }

    /// The number of the next slot.
    pub(super) fn position(&self) -> u16 {
        u16::try_from(self.next.block * self.per_block + self.next.number).unwrap_or(u16::MAX)
    }

    fn slot(&self, place: Place) -> *mut u8 {
        // SAFETY: a place is inside of the mapping.
        unsafe { self.memory.add(place.block * BLOCK_BYTES + place.number * self.slot_bytes) }
    }

    fn after(&self, place: Place) -> Place {
        let Place { block, number } = place;
        match () {
            () if number + 1 < self.per_block => Place { block, number: number + 1 },
            () if block + 1 < self.blocks => Place { block: block + 1, number: 0 },
            () => Place::default(),
        }
    }

    fn status(&self, place: Place) -> &AtomicU32 {
        // SAFETY: a slot begins with its status, aligned to 64 bytes, in memory that lives as long as the ring; the
        // kernel changes it as one word.
        unsafe { AtomicU32::from_ptr(self.slot(place).cast()) }
    }

    /// Whether there is a frame.
    pub(super) fn has_some(&self) -> bool {
        self.status(self.next).load(Ordering::Relaxed) & libc::TP_STATUS_USER != 0
    }

    /// The next frame, which stays the next one until it is taken.
    #[inline]
    pub(super) fn peek(&self) -> Option<Slot> {
        let status = self.status(self.next).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let slot = self.slot(self.next);
        // SAFETY: the slot is ours until we change its status, and begins with this header, aligned.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        let room = self.slot_bytes.saturating_sub(usize::from(header.tp_mac));
        let held = header.tp_snaplen.min(u32::try_from(room).unwrap_or(0));
        let tagged = status & libc::TP_STATUS_VLAN_VALID != 0;
        let tag = tagged.then(|| {
            let ([a, b], [c, d]) = (header.tp_vlan_tpid.to_be_bytes(), header.tp_vlan_tci.to_be_bytes());
            [a, b, c, d]
        });
        let bytes = slot.wrapping_add(usize::from(header.tp_mac));
        Some(Slot { status, length: header.tp_len, held, bytes, tag })
    }

    /// Takes the next frame; its slot stays ours until all are given back.
    #[inline]
    pub(super) fn take(&mut self) {
        self.next = self.after(self.next);
    }

    /// Gives back all that was taken.
    pub(super) fn give_back(&mut self) {
        while self.held != self.next {
            self.status(self.held).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.held = self.after(self.held);
        }
    }
}

impl Drop for FrameRing {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nothing of it is used any more.
        unsafe { libc::munmap(self.memory.cast(), self.length) };
    }
}
