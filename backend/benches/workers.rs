//! What workers cost when they wait, how soon they answer, and what a second one brings.
//!
//! `cargo bench -p viaduct --bench workers` prints three tables: the cost of each state of a ring, round trips
//! through one worker at low load, and frames a second of two pairs of guests with one worker and with two. The
//! guests are rings in plain memory. It takes processors 0 and 1 and about twenty seconds.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends where it fails")]

use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use viaduct::config::Polling;
use viaduct::dataplane::{Datapath, Dataplane, PortSetup, RingSetup, Signal};
use viaduct::memory::{GuestMemory, Region, RegionSpec};
use viaduct::ring::{Burst, Core, TransmitRing};
use viaduct_switch::{Limits, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch};
use vmm_sys_util::eventfd::EventFd;

const USER: u64 = 0x7000_0000_0000;
const RING: usize = 0x10_0000;
const AVAILABLE: usize = 0x8_0000;
const USED: usize = 0xa_0000;
const BUFFERS: usize = 2 * RING;
const BUFFER: usize = 256;
/// VIRTIO_F_VERSION_1 and VIRTIO_RING_F_EVENT_IDX.
const FEATURES: u64 = 1 << 32 | 1 << 29;

/// A guest with one queue pair, all of whose transmit buffers hold the same frame.
struct Guest {
    map: NonNull<u8>,
    memory: GuestMemory,
    port: usize,
    size: u16,
    kicks: [Signal; 2],
    offered: [u16; 2],
}

fn eventfd() -> Signal {
    // SAFETY: the new descriptor belongs to the `OwnedFd` alone.
    Arc::new(unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) })
}

fn map(file: &File, len: usize) -> NonNull<u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which stays until the program ends.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(map, libc::MAP_FAILED);
    NonNull::new(map.cast()).unwrap()
}

impl Guest {
    fn new(port: usize, peer: usize, size: u16) -> Self {
        let len = BUFFERS + 2 * usize::from(size) * BUFFER;
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(len as u64).unwrap();
        let spec = RegionSpec { guest_address: 0, size: len as u64, user_address: USER, file_offset: 0 };
        let memory = GuestMemory::default().with(Region::map(&file, spec).unwrap()).unwrap();
        let (kicks, offered) = ([eventfd(), eventfd()], [0; 2]);
        let guest = Self { map: map(&file, len), memory, port, size, kicks, offered };
        for (ring, slot) in [0, 1].into_iter().flat_map(|ring| (0..size).map(move |slot| (ring, slot))) {
            guest.fill(ring, slot, peer);
        }
        guest
    }

    /// A place in the guest's memory.
    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: all callers stay inside of the mapping.
        unsafe { self.map.as_ptr().add(offset) }
    }

    fn fill(&self, ring: u16, slot: u16, peer: usize) {
        let slot_number = usize::from(slot);
        let buffer = BUFFERS + (usize::from(ring) * usize::from(self.size) + slot_number) * BUFFER;
        let (len, flags) = if ring == 0 { (BUFFER as u64, 2) } else { (12 + 60, 0) };
        let base = usize::from(ring) * RING;
        let mut frame = [0; 12 + 60];
        frame[12..26].copy_from_slice(&[2, 0, 0, 0, 0, byte(peer), 2, 0, 0, 0, 0, byte(self.port), 8, 0]);
        // SAFETY: inside of the mapping; no ring is attached yet.
        unsafe {
            self.at(base + slot_number * 16).cast::<[u64; 2]>().write([buffer as u64, len | flags << 32]);
            self.at(base + AVAILABLE + 4 + slot_number * 2).cast::<u16>().write(slot);
            self.at(buffer).cast::<[u8; 72]>().write(frame);
        }
    }

    fn word(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: inside of the mapping, aligned, and only used atomically while rings are attached.
        unsafe { AtomicU16::from_ptr(self.at(offset).cast()) }
    }

    /// Offers `count` more entries, and kicks if the device asks for it.
    fn offer(&mut self, ring: usize, count: u16) {
        let before = self.offered[ring];
        let now = before.wrapping_add(count);
        self.offered[ring] = now;
        self.word(ring * RING + AVAILABLE + 2).store(now, Ordering::Release);
        fence(Ordering::SeqCst);
        let event = self.word(ring * RING + USED + 4 + 8 * usize::from(self.size)).load(Ordering::Relaxed);
        if now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before) {
            kick(&self.kicks[ring]);
        }
    }

    fn used(&self, ring: usize) -> u16 {
        self.word(ring * RING + USED + 2).load(Ordering::Acquire)
    }

    fn wait_used(&self, ring: usize, index: u16) {
        let start = Instant::now();
        while self.used(ring) != index {
            spin_loop();
            assert!(start.elapsed() < Duration::from_secs(10), "ring {ring} stayed at {}", self.used(ring));
        }
    }

    fn ring(&self, index: u16) -> RingSetup {
        let at = USER + u64::from(index) * RING as u64;
        RingSetup {
            index,
            size: self.size,
            base: 0,
            descriptor: at,
            available: at + AVAILABLE as u64,
            used: at + USED as u64,
            used_log: None,
            kick: Some(Arc::clone(&self.kicks[usize::from(index)])),
            call: None,
            error: None,
        }
    }

    fn setup(&self) -> PortSetup {
        let (port, memory) = (port(self.port), self.memory.clone());
        PortSetup {
            port,
            features: FEATURES,
            memory,
            log: None,
            ledger: None,
            rings: vec![self.ring(0), self.ring(1)],
        }
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn kick(signal: &Signal) {
    // SAFETY: eight bytes of our own.
    unsafe { libc::write(signal.as_raw_fd(), 1u64.to_le_bytes().as_ptr().cast(), 8) };
}

fn pin_to(cpu: usize) {
    // SAFETY: an empty set, a number that CPU_SET checks, and the set's own size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

fn start(cpus: &[usize], polling: Polling) -> Dataplane {
    let network = NetworkIndex::new(0).unwrap();
    let ports = (0..4).map(|index| (port(index), PortPolicy::new(network, 1500)));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    Dataplane::start(Arc::new(Switch::new(1, Limits::default())), Arc::new(policy), cpus, polling).unwrap()
}

/// Mean nanoseconds of one call.
fn nanoseconds(count: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..count).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

fn microseconds(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort_unstable();
    [50, 90, 99].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6)
}

fn costs_of_states() {
    println!("What each state of a ring costs");
    let guest = Guest::new(0, 1, 256);
    let mut ring =
        TransmitRing::new(Core::new(&guest.ring(1), &guest.memory, FEATURES).unwrap(), 12, port(0));
    let mut burst = Burst::new(port(0));
    let poll = nanoseconds(2_000_000, || {
        black_box(ring.read(&mut burst).unwrap());
    });
    let arm = nanoseconds(2_000_000, || {
        black_box(ring.core().arm().unwrap());
    });
    let signal = eventfd();
    let write = nanoseconds(500_000, || kick(&signal));
    println!("  polled: a look at an empty ring            {poll:8.1} ns");
    println!("  armed: asking for a kick, looking again     {arm:8.1} ns");
    println!("  a kick that wakes nobody (eventfd write)    {write:8.1} ns");
    for idle_us in [20, 200, 2000] {
        let (written, woken) = wakes(Duration::from_micros(idle_us));
        let [write, ..] = microseconds(written);
        let [wake, nine, _] = microseconds(woken);
        println!(
            "  asleep for {idle_us:4} us: the kick itself {write:6.1} us, until epoll returned {wake:6.1} us (p90 {nine:.1})"
        );
    }
}

/// How long a kick takes that wakes a worker, and how long until it is awake.
fn wakes(idle: Duration) -> (Vec<Duration>, Vec<Duration>) {
    const ROUNDS: usize = 300;
    let event = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let epoll = epoll::create(true).unwrap();
    let events = epoll::Events::EPOLLIN | epoll::Events::EPOLLET;
    epoll::ctl(epoll, epoll::ControlOptions::EPOLL_CTL_ADD, event.as_raw_fd(), epoll::Event::new(events, 0))
        .unwrap();
    let start = Instant::now();
    let (stamp, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sleeper = {
        let (stamp, stop) = (Arc::clone(&stamp), Arc::clone(&stop));
        thread::spawn(move || {
            pin_to(0);
            let mut events = [epoll::Event::new(epoll::Events::empty(), 0); 4];
            while !stop.load(Ordering::Relaxed) {
                let _ = epoll::wait(epoll, -1, &mut events);
                stamp.store(u64::try_from(start.elapsed().as_nanos()).unwrap(), Ordering::Release);
            }
        })
    };
    let (mut written, mut woken) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let pause = Instant::now();
        while pause.elapsed() < idle {
            spin_loop();
        }
        stamp.store(0, Ordering::Release);
        let before = start.elapsed();
        event.write(1).unwrap();
        written.push(start.elapsed() - before);
        while stamp.load(Ordering::Acquire) == 0 {
            spin_loop();
        }
        woken.push(Duration::from_nanos(stamp.load(Ordering::Acquire)).saturating_sub(before));
    }
    stop.store(true, Ordering::Relaxed);
    event.write(1).unwrap();
    sleeper.join().unwrap();
    (written, woken)
}

/// Processor time of all threads but this one.
fn other_threads_time() -> Duration {
    let time = |clock| {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: one `timespec` of our own.
        unsafe { libc::clock_gettime(clock, &raw mut now) };
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
    };
    time(libc::CLOCK_PROCESS_CPUTIME_ID).saturating_sub(time(libc::CLOCK_THREAD_CPUTIME_ID))
}

fn round_trips() {
    println!("\nRound trips through one worker, one at a time (us), and the worker's processor");
    println!("  every        mode           p50     p90     p99   processor");
    for (interval_us, rounds) in [(100, 4000), (300, 2000), (1000, 1000), (5000, 200)] {
        for polling in [Polling::Busy, Polling::Adaptive, Polling::Interrupt] {
            let (times, share) = trips(polling, Duration::from_micros(interval_us), rounds);
            let [half, nine, most] = microseconds(times);
            let name = polling.name();
            println!(
                "  {interval_us:5} us     {name:9}  {half:8.1}{nine:8.1}{most:8.1}    {:6.1} %",
                share * 100.0
            );
        }
    }
}

fn trips(polling: Polling, interval: Duration, rounds: u32) -> (Vec<Duration>, f64) {
    let mut dataplane = start(&[0], polling);
    let [mut a, mut b] = [Guest::new(0, 1, 256), Guest::new(1, 0, 256)];
    [&a, &b].iter().for_each(|guest| assert!(dataplane.attach(guest.setup()).is_empty()));
    a.offer(0, 200);
    b.offer(0, 200);
    let mut times = Vec::new();
    let (begin, before) = (Instant::now(), other_threads_time());
    for round in 0..rounds {
        let round = u16::try_from(round % 65_536).unwrap().wrapping_add(1);
        let due = interval * u32::from(round);
        while begin.elapsed() < due {
            spin_loop();
        }
        let sent = Instant::now();
        a.offer(1, 1);
        b.wait_used(0, round);
        b.offer(1, 1);
        a.wait_used(0, round);
        times.push(sent.elapsed());
        a.offer(0, 1);
        b.offer(0, 1);
    }
    let share = (other_threads_time() - before).as_secs_f64() / begin.elapsed().as_secs_f64();
    // The first ones teach the switch and the worker.
    times.drain(..20);
    (times, share)
}

fn scaling() {
    println!("\nTwo pairs of guests, each sending in one direction, 60 B, Mpps (best of 3)");
    let one = (0..3).map(|_| rate(&[0])).fold(0.0, f64::max);
    let two = (0..3).map(|_| rate(&[0, 1])).fold(0.0, f64::max);
    println!("  one worker {:.2}, two workers {:.2}, ratio {:.2}", one / 1e6, two / 1e6, two / one);
}

/// Frames a second of two pairs. A whole ring is offered at once, so that guests take no part in what is timed.
fn rate(cpus: &[usize]) -> f64 {
    const SIZE: u16 = 32_768;
    const ROUNDS: u16 = 60;
    let mut dataplane = start(cpus, Polling::Adaptive);
    // The receivers come last, so that the senders are given to different workers.
    let mut senders = [(0, 2), (1, 3)].map(|(from, to)| Guest::new(from, to, SIZE));
    let mut receivers = [(2, 0), (3, 1)].map(|(from, to)| Guest::new(from, to, SIZE));
    senders.iter().chain(&receivers).for_each(|guest| assert!(dataplane.attach(guest.setup()).is_empty()));
    for (receiver, sender) in receivers.iter_mut().zip(&mut senders) {
        receiver.offer(1, 1);
        receiver.wait_used(1, 1);
        sender.offer(0, SIZE - 1);
    }
    let mut busy = Duration::ZERO;
    for round in 1..=ROUNDS {
        let index = round.wrapping_mul(SIZE);
        receivers.iter_mut().for_each(|receiver| receiver.offer(0, SIZE));
        let begin = Instant::now();
        senders.iter_mut().for_each(|sender| sender.offer(1, SIZE));
        while senders.iter().any(|sender| sender.used(1) != index) {
            thread::sleep(Duration::from_micros(50));
        }
        busy += begin.elapsed();
        receivers.iter().for_each(|receiver| receiver.wait_used(0, index));
    }
    f64::from(ROUNDS) * 2.0 * f64::from(SIZE) / busy.as_secs_f64()
}

fn main() {
    pin_to(1);
    costs_of_states();
    round_trips();
    // SAFETY: an all-one set of the set's own size: any processor again.
    unsafe {
        let set: [u8; size_of::<libc::cpu_set_t>()] = [0xff; _];
        libc::sched_setaffinity(0, set.len(), set.as_ptr().cast());
    }
    scaling();
}
