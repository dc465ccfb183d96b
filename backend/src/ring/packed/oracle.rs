//! The packed engine against a plain model of a driver, written from the standard alone (virtio 1.2, 2.8): slot by
//! slot, with wrap counters that are toggled where the text says so, and lists instead of arithmetic.

mod cases;
mod killed;

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use proptest::prelude::*;
use viaduct_switch::{DropReason, PortIndex};

use crate::dataplane::RingSetup;
use crate::memory::{DirtyLog, GuestMemory, Region, RegionSpec};
use crate::ring::{Burst, Core, ReceiveRing, Refused, RingError, RingLog, TransmitRing};

/// The guest's memory: two regions that touch each other in guest-physical space, and lie apart in ours.
const REGION: u64 = 0x40_0000;
/// Buffers lie around the border between the regions, so that some cross it.
const BUFFERS: u64 = REGION - 0x10_0000;
const RING: u64 = 0x10_000;
const DRIVER: u64 = 0x2000;
const DEVICE: u64 = 0x3000;
const TABLES: u64 = 0x20_0000;
const USER: u64 = 0x7f00_0000_0000;
const PACKED: u64 = 1 << 34;
const IN_ORDER: u64 = 1 << 35;
const EVENT_IDX: u64 = 1 << 29;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

fn memfd(size: u64) -> File {
    // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"packed".as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(size).unwrap();
    file
}

/// What the driver asks to be told of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Ask {
    All,
    Nothing,
    /// Of the slot so many places after the next one to be used.
    Slot(u16),
}

/// A chain that the device has: its id, its slots, and what lies in or may go into its buffers.
struct Offered {
    id: u16,
    slots: u16,
    bytes: Vec<u8>,
    buffers: Vec<(u64, u32)>,
}

/// The driver, as simple as the standard's example.
struct Driver {
    file: File,
    size: u16,
    features: u64,
    start: u16,
    next: u16,
    wrap: bool,
    used_next: u16,
    used_wrap: bool,
    free: u16,
    ids: VecDeque<u16>,
    offered: VecDeque<Offered>,
    buffer: u64,
    table: u64,
}

impl Driver {
    fn new(size: u16, start: u16, wrap: bool, features: u64) -> Self {
        let file = memfd(2 * REGION);
        // As a lap ago left it: every slot used. In the first lap of all that is zero.
        let flags = if wrap { 0 } else { AVAIL | USED };
        for slot in 0..size {
            let flags = if slot < start { flags ^ (AVAIL | USED) } else { flags };
            file.write_all_at(&flags.to_le_bytes(), RING + u64::from(slot) * 16 + 14).unwrap();
        }
        Self {
            file,
            size,
            features: features | PACKED,
            start: start | if wrap { 1 << 15 } else { 0 },
            next: start,
            wrap,
            used_next: start,
            used_wrap: wrap,
            free: size,
            // Any ids will do, as long as no two chains under way have the same.
            ids: (0..size).rev().collect(),
            offered: VecDeque::new(),
            buffer: BUFFERS,
            table: TABLES,
        }
    }

    fn memory(&self) -> GuestMemory {
        let region = |address| {
            let spec = RegionSpec {
                guest_address: address,
                size: REGION,
                user_address: USER + 4 * address,
                file_offset: address,
            };
            Region::map(&self.file, spec).unwrap()
        };
        GuestMemory::default().with(region(0)).unwrap().with(region(REGION)).unwrap()
    }

    fn setup(&self) -> RingSetup {
        RingSetup {
            index: 0,
            size: self.size,
            base: self.start,
            descriptor: USER + RING,
            available: USER + DRIVER,
            used: USER + DEVICE,
            used_log: Some(DEVICE),
            kick: None,
            call: None,
            error: None,
        }
    }

    fn core(&self) -> Core {
        Core::new(&self.setup(), &self.memory(), self.features).unwrap()
    }

    fn put(&self, at: u64, buffer: (u64, u32), id: u16, flags: u16) {
        let mut bytes = buffer.0.to_le_bytes().to_vec();
        bytes.extend(buffer.1.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        self.file.write_all_at(&bytes, at).unwrap();
    }

    fn slot(&self, slot: u16) -> (u32, u16, u16) {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, RING + u64::from(slot) * 16 + 8).unwrap();
        let [a, b, c, d, e, f, g, h] = bytes;
        (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]))
    }

    /// Writes one descriptor into the next slot, with `flags` besides AVAIL and USED; gives what to do last.
    fn place(&mut self, buffer: (u64, u32), id: u16, flags: u16) -> (u64, u16) {
        let mine = if self.wrap { AVAIL } else { USED };
        let at = RING + u64::from(self.next) * 16;
        self.put(at, buffer, id, 0);
        self.next += 1;
        if self.next == self.size {
            self.next = 0;
            self.wrap = !self.wrap;
        }
        self.free -= 1;
        (at + 14, flags | mine)
    }

    /// Offers buffers of these lengths, in the ring or in a table of their own; false when there is no room.
    fn offer(&mut self, lens: &[u32], indirect: bool, write: bool, fill: u8) -> bool {
        let needed = if indirect { 1 } else { u16::try_from(lens.len()).unwrap() };
        let bytes: u32 = lens.iter().sum::<u32>() + 7 * u32::try_from(lens.len()).unwrap();
        if needed > self.free || self.buffer + u64::from(bytes) > 2 * REGION {
            return false;
        }
        let mut buffers = Vec::new();
        for len in lens {
            buffers.push((self.buffer, *len));
            self.buffer += u64::from(*len) + 7;
        }
        let mut bytes = Vec::new();
        if !write {
            bytes = vec![0; 12];
            let total: u32 = lens.iter().sum();
            bytes.extend((12..total).map(|at| u8::try_from(at % 251).unwrap() ^ fill));
            let mut left = &bytes[..];
            for (address, len) in &buffers {
                let (now, later) = left.split_at(usize::try_from(*len).unwrap());
                self.file.write_all_at(now, *address).unwrap();
                left = later;
            }
        }
        let direction = if write { WRITE } else { 0 };
        let id = if self.features & IN_ORDER != 0 { self.next } else { self.ids.pop_front().unwrap() };
        let mut last = Vec::new();
        if indirect {
            let table = (self.table, u32::try_from(16 * lens.len()).unwrap());
            for buffer in &buffers {
                self.put(self.table, *buffer, 0xdead, direction);
                self.table += 16;
            }
            last.push(self.place(table, id, INDIRECT));
        } else {
            for (number, buffer) in buffers.iter().enumerate() {
                let more = if number + 1 < buffers.len() { NEXT } else { 0 };
                // Only the last descriptor's id counts.
                let id = if more == 0 { id } else { 0xbeef };
                last.push(self.place(*buffer, id, direction | more));
            }
        }
        for (at, flags) in last.into_iter().rev() {
            self.file.write_all_at(&flags.to_le_bytes(), at).unwrap();
        }
        self.offered.push_back(Offered { id, slots: needed, bytes, buffers });
        true
    }

    /// Goes past one slot of the used side; gives it.
    fn step_used(&mut self) -> (u16, bool) {
        let here = (self.used_next, self.used_wrap);
        self.used_next += 1;
        if self.used_next == self.size {
            self.used_next = 0;
            self.used_wrap = !self.used_wrap;
        }
        here
    }

    /// Takes one used descriptor; gives the chains that it speaks for, its length, and the slots that were passed.
    fn reclaim(&mut self) -> Option<Taken> {
        let (len, id, flags) = self.slot(self.used_next);
        let used = (flags & USED != 0) == self.used_wrap && (flags & AVAIL != 0) == self.used_wrap;
        if !used {
            return None;
        }
        let mut chains = Vec::new();
        let mut passed = Vec::new();
        loop {
            let chain = self.offered.pop_front().expect("a used descriptor, though the device had no chain");
            let is_it = chain.id == id;
            assert!(is_it || self.features & IN_ORDER != 0, "chains come back in order: {id}");
            (0..chain.slots).for_each(|_| passed.push(self.step_used()));
            self.free += chain.slots;
            self.ids.push_back(chain.id);
            chains.push(chain);
            if is_it {
                return Some((chains, if flags & WRITE != 0 { len } else { 0 }, passed));
            }
        }
    }

    /// Says of what it wants to be told; gives the slot, if it is one.
    fn ask(&mut self, ask: Ask) -> Option<(u16, bool)> {
        let (mut index, mut wrap) = (self.used_next, self.used_wrap);
        let flags: u16 = match ask {
            Ask::All => 0,
            Ask::Nothing => 1,
            Ask::Slot(ahead) => {
                for _ in 0..ahead {
                    index += 1;
                    if index == self.size {
                        (index, wrap) = (0, !wrap);
                    }
                }
                2
            }
        };
        let off = index | if wrap { 1 << 15 } else { 0 };
        self.file.write_all_at(&[off.to_le_bytes(), flags.to_le_bytes()].concat(), DRIVER).unwrap();
        (flags == 2).then_some((index, wrap))
    }

    /// What the device asks for: flags and slot.
    fn asked(&self) -> (u16, u16) {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, DEVICE).unwrap();
        (u16::from_le_bytes([bytes[2], bytes[3]]), u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn read(&self, buffers: &[(u64, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (address, len) in buffers {
            let mut part = vec![0; usize::try_from(*len).unwrap()];
            self.file.read_exact_at(&mut part, *address).unwrap();
            bytes.extend(part);
        }
        bytes
    }
}

fn port() -> PortIndex {
    PortIndex::new(3).unwrap()
}

fn frames_of(burst: &mut Burst) -> Vec<Vec<u8>> {
    let (frames, segments) = burst.frames();
    let whole = |frame: &viaduct_switch::Frame<crate::ring::Span>| {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(frame.head.bytes());
        for segment in segments.get(frame.payload.first as usize, frame.payload.count as usize) {
            // SAFETY: mapped guest memory that nothing writes during the test.
            bytes
                .extend_from_slice(unsafe { std::slice::from_raw_parts(segment.host, segment.len as usize) });
        }
        assert_eq!(frame.meta.length as usize + 12, bytes.len());
        bytes
    };
    frames.iter().map(whole).collect()
}

/// Chains of buffer lengths, some through a table, and what the driver asks for after them.
type Round = (Vec<(Vec<u32>, bool)>, Ask);

/// A used descriptor: the chains that it speaks for, its length, and the slots that were passed.
type Taken = (Vec<Offered>, u32, Vec<(u16, bool)>);

/// A ring, its features, and rounds of chains with what the driver asks for in each.
#[derive(Clone, Debug)]
struct Plan {
    size: u16,
    start: u16,
    wrap: bool,
    features: u64,
    rounds: Vec<Round>,
}

impl Plan {
    fn driver(&self) -> Driver {
        Driver::new(self.size, self.start % self.size, self.wrap, self.features)
    }
}

fn plans(first: std::ops::Range<u32>) -> impl Strategy<Value = Plan> {
    let chain = (first, prop::collection::vec(0u32..2000, 0..5), any::<bool>())
        .prop_map(|(first, rest, indirect)| (std::iter::once(first).chain(rest).collect(), indirect));
    let ask = prop_oneof![Just(Ask::All), Just(Ask::Nothing), (0u16..40).prop_map(Ask::Slot)];
    let rounds = prop::collection::vec((prop::collection::vec(chain, 0..40), ask), 1..12);
    let sizes = prop_oneof![1u16..9, Just(64), Just(100), Just(256)];
    let features = prop::sample::select(vec![0, IN_ORDER, EVENT_IDX, IN_ORDER | EVENT_IDX]);
    (sizes, any::<u16>(), any::<bool>(), features, rounds)
        .prop_map(|(size, start, wrap, features, rounds)| Plan { size, start, wrap, features, rounds })
}

/// Whether a driver that asked so wants to be told after these slots were used.
fn is_told(ask: Ask, slot: Option<(u16, bool)>, features: u64, passed: &[(u16, bool)]) -> bool {
    match ask {
        _ if passed.is_empty() => false,
        Ask::Nothing => false,
        Ask::Slot(_) if features & EVENT_IDX != 0 => passed.contains(&slot.unwrap()),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn transmit_gives_the_frames_that_were_offered_and_gives_back_their_chains(plan in plans(26..2000)) {
        let mut driver = plan.driver();
        let mut ring = TransmitRing::new(driver.core(), 12, port());
        let mut burst = Burst::new(port());
        let (mut number, mut owed) = (0u8, true);
        for (chains, ask) in &plan.rounds {
            for (lens, indirect) in chains {
                number = number.wrapping_add(1);
                driver.offer(lens, *indirect, false, number);
            }
            let slot = driver.ask(*ask);
            let before = driver.offered.len();
            let mut expected: VecDeque<Vec<u8>> =
                driver.offered.iter().map(|chain| chain.bytes.clone()).collect();
            let (mut told, mut done) = (false, 0);
            while let count @ 1.. = ring.read(&mut burst).unwrap() {
                for frame in frames_of(&mut burst) {
                    prop_assert_eq!(Some(frame), expected.pop_front());
                }
                done += usize::from(count);
                told |= ring.complete(&burst);
            }
            prop_assert_eq!(done, before);
            prop_assert!(expected.is_empty());
            let mut passed = Vec::new();
            while let Some((_, len, slots)) = driver.reclaim() {
                prop_assert_eq!(len, 0);
                passed.extend(slots);
            }
            prop_assert!(driver.offered.is_empty(), "all chains came back");
            // The first time it is told in any case: nobody knows what a predecessor left untold.
            let expected = is_told(*ask, slot, plan.features, &passed) || owed && !passed.is_empty();
            owed &= passed.is_empty();
            prop_assert_eq!(told, expected);
            let place = driver.used_next | if driver.used_wrap { 1 << 15 } else { 0 };
            prop_assert_eq!(ring.core().position(), place);
            driver.buffer = BUFFERS;
        }
    }

    #[test]
    fn receive_fills_the_buffers_that_were_offered_and_says_how_many(
        plan in plans(1..2000),
        lens in prop::collection::vec(14usize..9000, 1..20),
        mergeable in any::<bool>(),
    ) {
        let mut driver = plan.driver();
        let mut ring = ReceiveRing::new(driver.core(), 12, mergeable);
        let (mut lens, mut owed) = (lens.iter().cycle(), true);
        for (chains, ask) in &plan.rounds {
            for (buffers, indirect) in chains {
                driver.offer(buffers, *indirect, true, 0);
            }
            let slot = driver.ask(*ask);
            // What the ring holds, and what therefore becomes of each frame.
            let mut rooms: VecDeque<u64> = driver.offered.iter()
                .map(|chain| chain.buffers.iter().map(|(_, len)| u64::from(*len)).sum()).collect();
            let mut put = Vec::new();
            for number in 0..12usize {
                let len = *lens.next().unwrap();
                let bytes = vec![u8::try_from(number + 1).unwrap(); len];
                if number % 3 == 0 {
                    ring.prepare(number).unwrap();
                }
                let result = ring.put(&[0; 12], &bytes, &[], u32::try_from(len).unwrap());
                let total = len as u64 + 12;
                let (mut count, mut room) = (0, 0);
                while room < total && count < rooms.len() && (mergeable || count == 0) {
                    room += rooms[count];
                    count += 1;
                }
                if room >= total {
                    prop_assert_eq!(result, Ok(()));
                    put.push((bytes, count));
                    rooms.drain(..count);
                } else {
                    let short = count > 0 && !mergeable;
                    let reason = if short { DropReason::SmallBuffer } else { DropReason::NoBuffer };
                    prop_assert_eq!(result, Err(Refused::Frame(reason)));
                }
            }
            prop_assert!(driver.reclaim().is_none() , "nothing shows before it is published");
            let told = ring.publish();
            let mut passed = Vec::new();
            for (bytes, count) in put {
                let mut frame = Vec::new();
                for _ in 0..count {
                    let (chain, len, slots) = driver.reclaim().expect("the frame's next buffer");
                    passed.extend(slots);
                    prop_assert_eq!(chain.len(), 1, "each receive buffer has a used descriptor of its own");
                    let mut part = driver.read(&chain[0].buffers);
                    part.truncate(usize::try_from(len).unwrap());
                    frame.extend(part);
                }
                prop_assert_eq!(usize::from(u16::from_le_bytes([frame[10], frame[11]])), count);
                prop_assert!(frame[12..] == bytes, "the frame's bytes");
            }
            prop_assert!(driver.reclaim().is_none());
            let expected = is_told(*ask, slot, plan.features, &passed) || owed && !passed.is_empty();
            owed &= passed.is_empty();
            prop_assert_eq!(told, expected);
            driver.buffer = driver.offered.back()
                .map_or(BUFFERS, |chain| chain.buffers.last().map_or(BUFFERS, |(at, len)| at + u64::from(*len)));
        }
    }

    #[test]
    fn rings_full_of_garbage_end_in_frames_drops_or_an_error(
        garbage in prop::collection::vec(any::<[u8; 16]>(), 64),
        size in 1u16..64,
        write in any::<bool>(),
        features in prop::sample::select(vec![0, IN_ORDER]),
    ) {
        let driver = Driver::new(size, 0, true, features);
        for (index, mut bytes) in (0u64..).zip(garbage) {
            // Addresses and flags from a small range, so that some of the chains are nearly right.
            bytes[3..8].fill(0);
            bytes[10..12].fill(0);
            bytes[14] = (bytes[14] & 7) | if bytes[14] & 8 == 0 { 0x80 } else { bytes[14] & 0x80 };
            bytes[15] &= if bytes[15] & 1 == 0 { 0 } else { 0x80 };
            driver.file.write_all_at(&bytes, RING + index * 16).unwrap();
        }
        if write {
            let mut ring = ReceiveRing::new(driver.core(), 12, true);
            for _ in 0..80 {
                let _ = ring.put(&[0; 12], &[7; 100], &[], 100);
            }
            ring.publish();
        } else {
            let mut ring = TransmitRing::new(driver.core(), 12, port());
            let mut burst = Burst::new(port());
            for _ in 0..200 {
                if matches!(ring.read(&mut burst), Ok(0) | Err(_)) {
                    break;
                }
                ring.complete(&burst);
            }
        }
        let mut past = [0; 16];
        driver.file.read_exact_at(&mut past, RING - 16).unwrap();
        prop_assert_eq!(past, [0; 16], "nothing is written before the ring");
    }
}
