//! Two threads and the real ring engine: a driver and a device that go to sleep and wake one another as fast as they
//! can. A wake-up that is lost leaves both asleep.
//!
//! With `VIADUCT_WAKEUPS=50000000` in the environment, so many sleeps are counted in each of the two ways (event
//! index and flags) of each layout, which takes about a minute on two free processors; without it each way takes some
//! seconds.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use virtio_bindings::virtio_config::{VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use super::*;
use crate::ring::{Burst, Core, TransmitRing};

/// How long both sides may be asleep until a wake-up counts as lost: others may have the processors.
const LOST: Duration = Duration::from_secs(60);

/// How long each way is tried if nothing else is asked for.
const TIME: Duration = Duration::from_secs(5);

/// An eventfd: how often it was written to. It costs less than a real one, so that more is tried.
#[derive(Default)]
struct Event(AtomicU64);

impl Event {
    fn write(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Sleeps until it was written to since `seen`, or until `stop`.
    fn wait(&self, seen: &mut u64, stop: &AtomicBool, who: &str) {
        let (mut spins, start) = (0u32, Instant::now());
        while self.0.load(Ordering::Acquire) == *seen && !stop.load(Ordering::Relaxed) {
            spin_loop();
            spins += 1;
            if spins.is_multiple_of(2000) {
                thread::yield_now();
                assert!(start.elapsed() < LOST, "nobody woke the {who}");
            }
        }
        *seen = self.0.load(Ordering::Acquire);
    }
}

/// What both threads share beside the ring.
#[derive(Default)]
struct Line {
    kick: Event,
    call: Event,
    stop: AtomicBool,
    /// Times that the device went to sleep.
    device_sleeps: AtomicU64,
}

/// The device: a worker with one ring.
fn device(mut ring: TransmitRing, line: &Line) {
    let (mut burst, mut seen) = (Burst::new(port(0)), 0);
    ring.core().disarm();
    while !line.stop.load(Ordering::Relaxed) {
        if ring.read(&mut burst).unwrap() > 0 {
            if ring.complete(&burst) {
                line.call.write();
            }
        } else if !ring.core().arm().unwrap() {
            line.device_sleeps.fetch_add(1, Ordering::Relaxed);
            line.kick.wait(&mut seen, &line.stop, "device");
            ring.core().disarm();
        } else {
            ring.core().disarm();
        }
    }
}

/// The driver's side of a ring, in the same process.
trait Side {
    /// Makes so many entries available; says whether the device asks for a kick.
    fn offer(&mut self, count: u16) -> bool;

    /// Whether all is used.
    fn is_done(&self) -> bool;

    /// Asks to be called when all is used, or not to be called.
    fn ask(&self, asleep: bool);
}

/// Tells of words in the guest's memory.
#[derive(Clone, Copy)]
struct Area(*mut u8);

impl Area {
    fn of(guest: &Guest, part: u64) -> Self {
        Self(guest.memory.translate_user(USER + RING + part, 0x1000).unwrap())
    }

    fn word(&self, number: usize) -> &AtomicU16 {
        // SAFETY: a word of a page that is mapped and aligned, used atomically by this side.
        unsafe { AtomicU16::from_ptr(self.0.cast::<u16>().add(number)) }
    }

    /// Both words of an event suppression structure at once.
    fn event(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.0.cast()) }
    }

    /// Length, id and flags of a packed descriptor.
    fn descriptor(&self, slot: u16) -> &AtomicU64 {
        // SAFETY: as above; the ring has `SIZE` descriptors of two words each.
        unsafe { AtomicU64::from_ptr(self.0.cast::<u64>().add(2 * usize::from(slot) + 1)) }
    }
}

/// A split ring (virtio 1.2, 2.7).
struct Split {
    available: Area,
    used: Area,
    by_event: bool,
    offered: u16,
}

impl Side for Split {
    /// As virtio 1.2, 2.7.13.4.
    fn offer(&mut self, count: u16) -> bool {
        let before = self.offered;
        self.offered = before.wrapping_add(count);
        self.available.word(1).store(self.offered, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.by_event {
            let event = self.used.word(2 + 4 * usize::from(SIZE)).load(Ordering::Relaxed);
            self.offered.wrapping_sub(event).wrapping_sub(1) < self.offered.wrapping_sub(before)
        } else {
            self.used.word(0).load(Ordering::Relaxed) == 0
        }
    }

    fn is_done(&self) -> bool {
        self.used.word(1).load(Ordering::Acquire) == self.offered
    }

    /// As virtio 1.2, 2.7.7.1. With an event index there is nothing to take back.
    fn ask(&self, asleep: bool) {
        if !self.by_event {
            self.available.word(0).store(u16::from(!asleep), Ordering::Relaxed);
        } else if asleep {
            let last = self.offered.wrapping_sub(1);
            self.available.word(2 + usize::from(SIZE)).store(last, Ordering::Relaxed);
        }
    }
}

const AVAIL: u64 = 1 << 7;
const BOTH: u64 = 1 << 7 | 1 << 15;

/// A packed ring (virtio 1.2, 2.8).
struct Packed {
    ring: Area,
    driver: Area,
    device: Area,
    by_event: bool,
    /// Slots offered so far, modulo two laps.
    offered: u16,
}

impl Packed {
    /// A place `number` slots after the beginning: its slot, and whether that is in the first lap.
    fn place(number: u16) -> (u16, bool) {
        (number % SIZE, (number / SIZE).is_multiple_of(2))
    }

    /// The slot that was offered last.
    fn last(&self) -> (u16, bool) {
        Self::place((self.offered + 2 * SIZE - 1) % (2 * SIZE))
    }

    fn bits((slot, first_lap): (u16, bool)) -> u16 {
        slot | u16::from(first_lap) << 15
    }
}

impl Side for Packed {
    /// As virtio 1.2, 2.8.21.3.
    fn offer(&mut self, count: u16) -> bool {
        let offered = self.offered..self.offered + count;
        for (slot, first_lap) in offered.clone().map(Self::place) {
            let flags = if first_lap { AVAIL } else { BOTH ^ AVAIL };
            self.ring.descriptor(slot).store(72 | u64::from(slot) << 32 | flags << 48, Ordering::Release);
        }
        self.offered = offered.end % (2 * SIZE);
        fence(Ordering::SeqCst);
        match self.device.event().load(Ordering::Relaxed).to_le_bytes() {
            [low, high, 2, _] => {
                let wanted = u16::from_le_bytes([low, high]);
                offered.map(Self::place).any(|place| Self::bits(place) == wanted)
            }
            [_, _, flags, _] => flags == 0,
        }
    }

    fn is_done(&self) -> bool {
        let (slot, first_lap) = self.last();
        let flags = self.ring.descriptor(slot).load(Ordering::Acquire) >> 48;
        flags & BOTH == if first_lap { BOTH } else { 0 }
    }

    /// As virtio 1.2, 2.8.22.
    fn ask(&self, asleep: bool) {
        let place = u32::from(Self::bits(self.last()));
        let word = match (asleep, self.by_event) {
            (true, true) => 2 << 16 | place,
            (true, false) => 0,
            (false, _) => 1 << 16,
        };
        self.driver.event().store(word, Ordering::Relaxed);
    }
}

/// The driver: offers and waits.
struct Driver<'a, S> {
    side: S,
    line: &'a Line,
    seen: u64,
    sleeps: u64,
    random: u64,
}

impl<S: Side> Driver<'_, S> {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    /// Makes some entries available and kicks if the device asks for it.
    fn offer(&mut self) {
        let count = 1 + u16::try_from(self.random(3)).unwrap();
        if self.side.offer(count) {
            self.line.kick.write();
        }
    }

    /// Waits until all is used: looks for a while, then asks to be called.
    fn finish(&mut self) {
        for _ in 0..self.random(30) {
            spin_loop();
        }
        while !self.side.is_done() {
            self.side.ask(true);
            fence(Ordering::SeqCst);
            if !self.side.is_done() {
                self.sleeps += 1;
                self.line.call.wait(&mut self.seen, &self.line.stop, "driver");
            }
            self.side.ask(false);
        }
    }
}

/// Fills a split ring's tables: every entry is a frame of its own.
fn split(guest: &Guest, by_event: bool) -> Split {
    for slot in 0..u64::from(SIZE) {
        let words = [BUFFERS + slot * BUFFER_LEN, 72].map(u64::to_le_bytes).concat();
        guest.file.write_all_at(&words, RING + slot * 16).unwrap();
        let head = u16::try_from(slot).unwrap().to_le_bytes();
        guest.file.write_all_at(&head, RING + 0x1004 + slot * 2).unwrap();
    }
    Split { available: Area::of(guest, 0x1000), used: Area::of(guest, 0x2000), by_event, offered: 0 }
}

/// Fills a packed ring with the addresses of frames.
fn packed(guest: &Guest, by_event: bool) -> Packed {
    for slot in 0..u64::from(SIZE) {
        let address = BUFFERS + slot * BUFFER_LEN;
        guest.file.write_all_at(&address.to_le_bytes(), RING + slot * 16).unwrap();
    }
    let [ring, driver, device] = [0, 0x1000, 0x2000].map(|part| Area::of(guest, part));
    Packed { ring, driver, device, by_event, offered: 0 }
}

/// Runs both sides of a ring that begins at `base`; gives how often they went to sleep, device first.
fn sleep_and_wake(guest: &Guest, base: u16, features: u64, side: impl Side) -> [u64; 2] {
    let wanted: Option<u64> = std::env::var("VIADUCT_WAKEUPS").ok().map(|number| number.parse().unwrap());
    let setup = &guest.setup([0, base]).rings[1];
    let core = Core::new(setup, &guest.memory, 1 << VIRTIO_F_VERSION_1 | features);
    let ring = TransmitRing::new(core.unwrap(), 12, port(0));
    let line = Line::default();
    thread::scope(|scope| {
        scope.spawn(|| device(ring, &line));
        let mut driver = Driver { side, line: &line, seen: 0, sleeps: 0, random: 1 };
        let start = Instant::now();
        let slept = |sleeps: u64| [line.device_sleeps.load(Ordering::Relaxed), sleeps];
        loop {
            (0..100).for_each(|_| {
                driver.offer();
                driver.finish();
            });
            let done = match wanted {
                Some(wanted) => slept(driver.sleeps).iter().sum::<u64>() >= wanted,
                None => start.elapsed() > TIME,
            };
            if done {
                break;
            }
        }
        line.stop.store(true, Ordering::Relaxed);
        println!("features {features:#x}: {:?} sleeps in {:?}", slept(driver.sleeps), start.elapsed());
        slept(driver.sleeps)
    })
}

#[test]
fn no_wake_up_is_lost_between_a_driver_and_the_ring_whatever_their_timing() {
    for by_event in [true, false] {
        let guest = Guest::new(0);
        let features = u64::from(by_event) << VIRTIO_RING_F_EVENT_IDX;
        let slept = sleep_and_wake(&guest, 0, features, split(&guest, by_event));
        assert!(slept.iter().all(|count| *count >= 100), "event index {by_event}: {slept:?}");
    }
}

#[test]
fn no_wake_up_is_lost_between_a_driver_and_a_packed_ring_whatever_their_timing() {
    for by_event in [true, false] {
        let guest = Guest::new(0);
        let features = u64::from(by_event) << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_F_RING_PACKED;
        let slept = sleep_and_wake(&guest, 1 << 15, features, packed(&guest, by_event));
        assert!(slept.iter().all(|count| *count >= 100), "event index {by_event}: {slept:?}");
    }
}
