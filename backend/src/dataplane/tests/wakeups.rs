//! Two threads and the real ring engine: a driver and a device that go to sleep and wake one another as fast as they
//! can. A wake-up that is lost leaves both asleep.
//!
//! With `VIADUCT_WAKEUPS=50000000` in the environment, so many sleeps are counted in each of the two ways (event
//! index and flags), which takes about a minute on two free processors; without it each way takes some seconds.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
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

/// The driver's side of the ring, in the same process.
struct Driver<'a> {
    available: *mut u16,
    used: *mut u16,
    by_event: bool,
    line: &'a Line,
    offered: u16,
    seen: u64,
    sleeps: u64,
    random: u64,
}

impl Driver<'_> {
    fn word(&self, area: *mut u16, word: usize) -> &AtomicU16 {
        // SAFETY: a word of a ring of `SIZE` entries, mapped and aligned, used atomically by this side.
        unsafe { AtomicU16::from_ptr(area.add(word)) }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    /// Makes some entries available and kicks if the device asks for it (virtio 1.2, 2.7.13.4).
    fn offer(&mut self) {
        let before = self.offered;
        self.offered = before.wrapping_add(1 + u16::try_from(self.random(3)).unwrap());
        self.word(self.available, 1).store(self.offered, Ordering::Release);
        fence(Ordering::SeqCst);
        let wanted = if self.by_event {
            let event = self.word(self.used, 2 + 4 * usize::from(SIZE)).load(Ordering::Relaxed);
            self.offered.wrapping_sub(event).wrapping_sub(1) < self.offered.wrapping_sub(before)
        } else {
            self.word(self.used, 0).load(Ordering::Relaxed) == 0
        };
        if wanted {
            self.line.kick.write();
        }
    }

    fn is_done(&self) -> bool {
        self.word(self.used, 1).load(Ordering::Acquire) == self.offered
    }

    /// Waits until all is used: looks for a while, then asks to be called (virtio 1.2, 2.7.7.1).
    fn finish(&mut self) {
        for _ in 0..self.random(30) {
            spin_loop();
        }
        while !self.is_done() {
            if self.by_event {
                let last = self.offered.wrapping_sub(1);
                self.word(self.available, 2 + usize::from(SIZE)).store(last, Ordering::Relaxed);
            } else {
                self.word(self.available, 0).store(0, Ordering::Relaxed);
            }
            fence(Ordering::SeqCst);
            if !self.is_done() {
                self.sleeps += 1;
                self.line.call.wait(&mut self.seen, &self.line.stop, "driver");
            }
            if !self.by_event {
                self.word(self.available, 0).store(1, Ordering::Relaxed);
            }
        }
    }
}

/// Fills the ring's tables: every entry is a frame of its own. Gives the host's view of both rings.
fn prepare(guest: &Guest) -> [*mut u16; 2] {
    for slot in 0..u64::from(SIZE) {
        let words = [BUFFERS + slot * BUFFER_LEN, 72].map(u64::to_le_bytes).concat();
        guest.file.write_all_at(&words, RING + slot * 16).unwrap();
        let head = u16::try_from(slot).unwrap().to_le_bytes();
        guest.file.write_all_at(&head, RING + 0x1004 + slot * 2).unwrap();
    }
    [0x1000, 0x2000].map(|part| guest.memory.translate_user(USER + RING + part, 0x1000).unwrap().cast())
}

/// Runs both sides; gives how often they went to sleep, device first.
fn sleep_and_wake(by_event: bool) -> [u64; 2] {
    let wanted: Option<u64> = std::env::var("VIADUCT_WAKEUPS").ok().map(|number| number.parse().unwrap());
    let guest = Guest::new(0);
    let [available, used] = prepare(&guest);
    let events = u64::from(by_event) << VIRTIO_RING_F_EVENT_IDX;
    let core = Core::new(&guest.setup([0, 0]).rings[1], &guest.memory, 1 << VIRTIO_F_VERSION_1 | events);
    let ring = TransmitRing::new(core.unwrap(), 12, port(0));
    let line = Line::default();
    thread::scope(|scope| {
        scope.spawn(|| device(ring, &line));
        let mut driver =
            Driver { available, used, by_event, line: &line, offered: 0, seen: 0, sleeps: 0, random: 1 };
        let start = Instant::now();
        let slept = |driver: &Driver| [line.device_sleeps.load(Ordering::Relaxed), driver.sleeps];
        loop {
            (0..100).for_each(|_| {
                driver.offer();
                driver.finish();
            });
            let done = match wanted {
                Some(wanted) => slept(&driver).iter().sum::<u64>() >= wanted,
                None => start.elapsed() > TIME,
            };
            if done {
                break;
            }
        }
        line.stop.store(true, Ordering::Relaxed);
        println!("event index {by_event}: {:?} sleeps in {:?}", slept(&driver), start.elapsed());
        slept(&driver)
    })
}

#[test]
fn no_wake_up_is_lost_between_a_driver_and_the_ring_whatever_their_timing() {
    for by_event in [true, false] {
        let slept = sleep_and_wake(by_event);
        assert!(slept.iter().all(|count| *count >= 100), "event index {by_event}: {slept:?}");
    }
}
