//! The ring engine against `virtio-queue`: the same rings, driven through both, must give the same bytes and
//! the same used ring. Each side has a memory of its own with the same contents.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use viaduct_switch::PortIndex;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

use super::transmit::BURST_FRAMES;
use super::*;
use crate::dataplane::RingSetup;
use crate::memory::{GuestMemory, Region, RegionSpec};

/// The guest's memory: two regions that touch each other in guest-physical space, and lie apart in ours.
const REGION: u64 = 0x40_0000;
/// Buffers lie around the border between the regions, so that some cross it.
const BUFFERS: u64 = REGION - 0x10_0000;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x9000;
const USED: u64 = 0xb000;
const TABLES: u64 = 0x10_000;
const USER: u64 = 0x7f00_0000_0000;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// What a driver offers: chains of buffer lengths, some through an indirect table.
#[derive(Clone, Debug)]
struct Offer {
    size: u16,
    base: u16,
    chains: Vec<(Vec<u32>, bool)>,
}

fn memfd() -> File {
    // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"oracle".as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(2 * REGION).unwrap();
    file
}

fn ours(file: &File) -> GuestMemory {
    let region = |address| {
        let spec = RegionSpec {
            guest_address: address,
            size: REGION,
            user_address: USER + address,
            file_offset: address,
        };
        Region::map(file, spec).unwrap()
    };
    GuestMemory::default().with(region(0)).unwrap().with(region(REGION)).unwrap()
}

fn theirs(file: &File) -> GuestMemoryMmap {
    let ranges = [0, REGION].map(|address| {
        let part = FileOffset::new(file.try_clone().unwrap(), address);
        (GuestAddress(address), usize::try_from(REGION).unwrap(), Some(part))
    });
    GuestMemoryMmap::from_ranges_with_files(ranges).unwrap()
}

fn put_descriptor(file: &File, table: u64, index: u16, parts: (u64, u32, u16, u16)) {
    let (address, len, flags, next) = parts;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    file.write_all_at(&bytes, table + u64::from(index) * 16).unwrap();
}

/// Writes descriptors, tables and the available ring; fills all buffers with a pattern.
fn lay_out(file: &File, offer: &Offer, write: bool) {
    let pattern: Vec<u8> =
        (0..2 * (REGION - BUFFERS)).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
    file.write_all_at(&pattern, BUFFERS).unwrap();
    let direction = if write { WRITE } else { 0 };
    let (mut free, mut buffer, mut table) = (0u16, BUFFERS, TABLES);
    for (number, (lens, indirect)) in offer.chains.iter().enumerate() {
        let head = free;
        let last = lens.len() - 1;
        for (at, &len) in lens.iter().enumerate() {
            // The transmit side gets plain zeroes for a header that claims nothing.
            if !write {
                file.write_all_at(&vec![0; 12.min(usize::try_from(len).unwrap())], buffer).unwrap();
            }
            let more = if at < last { NEXT } else { 0 };
            let index = u16::try_from(at).unwrap();
            let parts = |next| (buffer, len, direction | more, if at < last { next } else { 0 });
            if *indirect {
                put_descriptor(file, table, index, parts(index + 1));
            } else {
                put_descriptor(file, DESCRIPTORS, free, parts(free + 1));
                free += 1;
            }
            buffer += u64::from(len) + 7;
        }
        if *indirect {
            let len = u32::try_from(lens.len() * 16).unwrap();
            put_descriptor(file, DESCRIPTORS, free, (table, len, INDIRECT, 0));
            table += u64::from(len);
            free += 1;
        }
        let slot = offer.base.wrapping_add(u16::try_from(number).unwrap()) % offer.size;
        file.write_all_at(&head.to_le_bytes(), AVAILABLE + 4 + 2 * u64::from(slot)).unwrap();
    }
    let index = offer.base.wrapping_add(u16::try_from(offer.chains.len()).unwrap());
    file.write_all_at(&index.to_le_bytes(), AVAILABLE + 2).unwrap();
    file.write_all_at(&offer.base.to_le_bytes(), USED + 2).unwrap();
}

fn core(file: &File, offer: &Offer) -> Core {
    let setup = RingSetup {
        index: 0,
        size: offer.size,
        base: offer.base,
        descriptor: USER + DESCRIPTORS,
        available: USER + AVAILABLE,
        used: USER + USED,
        used_log: None,
        kick: None,
        call: None,
        error: None,
    };
    Core::new(&setup, &ours(file), 0).unwrap()
}

fn queue(offer: &Offer) -> Queue {
    let mut queue = Queue::new(1024).unwrap();
    queue.set_size(offer.size);
    queue.try_set_desc_table_address(GuestAddress(DESCRIPTORS)).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(AVAILABLE)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(USED)).unwrap();
    queue.set_next_avail(offer.base);
    queue.set_next_used(offer.base);
    queue.set_ready(true);
    queue
}

fn image(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(2 * REGION).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Chains whose descriptors fit into the ring. `first` bounds the first buffer's length.
fn offers(first: std::ops::Range<u32>) -> impl Strategy<Value = Offer> {
    let chain = (first, prop::collection::vec(0u32..3000, 0..6), any::<bool>());
    let chains = prop::collection::vec(chain, 1..100);
    (prop::sample::select(vec![8u16, 16, 64, 256]), any::<u16>(), chains).prop_map(|(size, base, chains)| {
        let mut room = usize::from(size);
        let mut chosen = Vec::new();
        for (first, rest, indirect) in chains {
            let lens: Vec<u32> = std::iter::once(first).chain(rest).collect();
            let needed = if indirect { 1 } else { lens.len() };
            if needed <= room {
                room -= needed;
                chosen.push((lens, indirect));
            }
        }
        Offer { size, base, chains: chosen }
    })
}

/// Reads all frames through our engine: header and frame together, as one would see them in the buffers.
fn read_ours(file: &File, offer: &Offer) -> Vec<Vec<u8>> {
    let port = PortIndex::new(3).unwrap();
    let mut ring = TransmitRing::new(core(file, offer), 12, port);
    let mut burst = Burst::new(port);
    let mut frames = Vec::new();
    while ring.read(&mut burst).unwrap() > 0 {
        let (read, segments) = burst.frames();
        assert!(read.len() <= BURST_FRAMES);
        for frame in read {
            let mut bytes = vec![0; 12];
            bytes.extend_from_slice(frame.head.bytes());
            for segment in segments.get(frame.payload.first as usize, frame.payload.count as usize) {
                // SAFETY: mapped guest memory that nothing writes during the test.
                bytes.extend_from_slice(unsafe {
                    std::slice::from_raw_parts(segment.host, segment.len as usize)
                });
            }
            assert_eq!(frame.meta.length as usize + 12, bytes.len());
            frames.push(bytes);
        }
        ring.complete(&burst);
    }
    frames
}

fn read_theirs(file: &File, offer: &Offer) -> Vec<Vec<u8>> {
    let memory = theirs(file);
    let mut queue = queue(offer);
    let mut frames = Vec::new();
    while let Some(chain) = queue.pop_descriptor_chain(&memory) {
        let head = chain.head_index();
        let mut bytes = Vec::new();
        for descriptor in chain.readable() {
            let mut part = vec![0; usize::try_from(descriptor.len()).unwrap()];
            memory.read_slice(&mut part, descriptor.addr()).unwrap();
            bytes.extend(part);
        }
        queue.add_used(&memory, head, 0).unwrap();
        frames.push(bytes);
    }
    frames
}

/// Puts frames with merged buffers through `virtio-queue`; gives how many found room.
fn put_theirs(file: &File, offer: &Offer, frames: &[Vec<u8>]) -> usize {
    let memory = theirs(file);
    let mut queue = queue(offer);
    for (done, frame) in frames.iter().enumerate() {
        let mut chains = Vec::new();
        let mut room = 0;
        while room < frame.len() {
            let Some(chain) = queue.pop_descriptor_chain(&memory) else { return done };
            let parts: Vec<_> = chain.clone().writable().map(|d| (d.addr(), d.len() as usize)).collect();
            room += parts.iter().map(|(_, len)| len).sum::<usize>();
            chains.push((chain.head_index(), parts));
        }
        let mut bytes = frame.clone();
        bytes[10..12].copy_from_slice(&u16::try_from(chains.len()).unwrap().to_le_bytes());
        let mut left = &bytes[..];
        for (head, parts) in chains {
            let before = left.len();
            for (address, len) in parts {
                let (now, later) = left.split_at(len.min(left.len()));
                memory.write_slice(now, address).unwrap();
                left = later;
            }
            queue.add_used(&memory, head, u32::try_from(before - left.len()).unwrap()).unwrap();
        }
    }
    frames.len()
}

fn put_ours(file: &File, offer: &Offer, frames: &[Vec<u8>]) -> usize {
    let mut ring = ReceiveRing::new(core(file, offer), 12, true);
    for (done, frame) in frames.iter().enumerate() {
        let header = frame[..12].try_into().unwrap();
        let length = u32::try_from(frame.len() - 12).unwrap();
        if done % 3 == 0 {
            ring.prepare(done % 5).unwrap();
        }
        if ring.put(header, &frame[12..], &[], length).is_err() {
            ring.publish();
            return done;
        }
        ring.publish();
    }
    frames.len()
}

/// One indirect table for all entries of a ring: 1023 descriptors without bytes and a last one of `len`.
fn lay_out_wasteful(file: &File, size: u16, len: u32, flags: u16) {
    for index in 0..1023 {
        put_descriptor(file, TABLES, index, (0, 0, NEXT | flags, index + 1));
    }
    put_descriptor(file, TABLES, 1023, (BUFFERS, len, flags, 0));
    for slot in 0..size {
        put_descriptor(file, DESCRIPTORS, slot, (TABLES, 1024 * 16, INDIRECT, 0));
        file.write_all_at(&slot.to_le_bytes(), AVAILABLE + 4 + 2 * u64::from(slot)).unwrap();
    }
    file.write_all_at(&size.to_le_bytes(), AVAILABLE + 2).unwrap();
}

#[test]
fn descriptors_without_bytes_buy_no_work() {
    let file = memfd();
    let offer = Offer { size: 256, base: 0, chains: Vec::new() };
    lay_out_wasteful(&file, 256, 1, WRITE);
    let mut ring = ReceiveRing::new(core(&file, &offer), 12, true);
    let mut taken = 0;
    while ring.put(&[0; 12], &[7; 100], &[], 100)
        == Err(Refused::Frame(viaduct_switch::DropReason::BadBuffer))
    {
        taken += 1;
        assert!(taken <= 256, "each look at the ring uses some of it up");
    }
    assert!(taken >= 64, "a frame's budget covers a few such chains, not the ring: {taken}");

    let file = memfd();
    lay_out_wasteful(&file, 256, 100, 0);
    let port = PortIndex::new(3).unwrap();
    let mut ring = TransmitRing::new(core(&file, &offer), 12, port);
    let mut burst = Burst::new(port);
    assert_eq!(ring.read(&mut burst).unwrap(), 1, "one such chain is a whole burst's work");
}

#[test]
fn a_head_that_no_descriptor_has_stops_the_ring() {
    let file = memfd();
    let offer = Offer { size: 256, base: 0, chains: Vec::new() };
    file.write_all_at(&256_u16.to_le_bytes(), AVAILABLE + 4).unwrap();
    file.write_all_at(&1_u16.to_le_bytes(), AVAILABLE + 2).unwrap();
    let port = PortIndex::new(3).unwrap();
    let mut ring = TransmitRing::new(core(&file, &offer), 12, port);
    let error = ring.read(&mut Burst::new(port)).unwrap_err();
    assert_eq!(error, crate::ring::RingError::BadHead { found: 256, size: 256 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn transmit_gives_the_same_frames_and_the_same_used_ring(offer in offers(26..3000)) {
        let (a, b) = (memfd(), memfd());
        lay_out(&a, &offer, false);
        lay_out(&b, &offer, false);
        prop_assert_eq!(read_ours(&a, &offer), read_theirs(&b, &offer));
        prop_assert!(image(&a) == image(&b), "the memories differ");
    }

    #[test]
    fn receive_leaves_the_same_buffers_and_the_same_used_ring(
        offer in offers(1..3000),
        lens in prop::collection::vec(14usize..20_000, 1..40),
    ) {
        let frames: Vec<Vec<u8>> = lens.iter().enumerate()
            .map(|(number, len)| [vec![0; 12], vec![u8::try_from(number % 256).unwrap(); *len]].concat())
            .collect();
        let (a, b) = (memfd(), memfd());
        lay_out(&a, &offer, true);
        lay_out(&b, &offer, true);
        prop_assert_eq!(put_ours(&a, &offer, &frames), put_theirs(&b, &offer, &frames));
        prop_assert!(image(&a) == image(&b), "the memories differ");
    }

    #[test]
    fn rings_full_of_garbage_end_in_frames_drops_or_an_error(
        garbage in prop::collection::vec(any::<[u8; 16]>(), 64),
        heads in prop::collection::vec(0u16..80, 16),
        write in any::<bool>(),
    ) {
        let file = memfd();
        for (index, mut bytes) in (0u64..).zip(garbage) {
            // Addresses and flags from a small range, so that some of the chains are nearly right.
            bytes[3..8].fill(0);
            bytes[10..12].fill(0);
            bytes[12] &= 7;
            bytes[13] = 0;
            bytes[14] %= 68;
            bytes[15] = 0;
            file.write_all_at(&bytes, DESCRIPTORS + index * 16).unwrap();
        }
        for (slot, head) in (0u64..).zip(&heads) {
            file.write_all_at(&head.to_le_bytes(), AVAILABLE + 4 + 2 * slot).unwrap();
        }
        file.write_all_at(&16u16.to_le_bytes(), AVAILABLE + 2).unwrap();
        let offer = Offer { size: 64, base: 0, chains: Vec::new() };
        if write {
            let mut ring = ReceiveRing::new(core(&file, &offer), 12, true);
            for _ in 0..40 {
                let _ = ring.put(&[0; 12], &[7; 100], &[], 100);
            }
            ring.publish();
            prop_assert!(ring.core().position() <= 16);
        } else {
            let port = PortIndex::new(3).unwrap();
            let mut ring = TransmitRing::new(core(&file, &offer), 12, port);
            let mut burst = Burst::new(port);
            let mut taken = 0;
            while let Ok(count @ 1..) = ring.read(&mut burst) {
                taken += count;
                ring.complete(&burst);
            }
            prop_assert_eq!(ring.core().position(), taken);
        }
    }
}
