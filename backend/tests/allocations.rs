//! Nothing is allocated for a frame: not where its flow is known, nor where it is new, flooded or dropped.
//!
//! Workers run as in the daemon, on rings in plain shared memory; an allocator counts what they ask for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use viaduct::config::Polling;
use viaduct::dataplane::{Datapath, Dataplane, PortSetup, RingSetup};
use viaduct::device::{DeviceKind, DeviceRequest, open};
use viaduct::memory::{GuestMemory, Region, RegionSpec};
use viaduct_switch::{
    Limits, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, StormLimits, Switch,
};

/// Counts what workers allocate, and lets everybody have it.
struct Counting;

/// Allocations of threads whose name begins with [`WORKER`].
static BY_WORKERS: AtomicU64 = AtomicU64::new(0);
const WORKER: &[u8] = b"worker-";

/// Whether this thread is a worker; asked of the kernel each time, so that nothing is kept for a thread.
fn is_worker() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, with their terminator, to the given place.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(WORKER)
}

fn note() {
    if is_worker() {
        BY_WORKERS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is done by the system's allocator, to which the caller's promises are handed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PORTS: usize = 8;
const SIZE: u16 = 256;
const BURST: u16 = 64;
const MEMORY: u64 = 4 << 20;
const USER: u64 = 0x7000_0000;
/// Each ring has a page for each of its parts.
const RING: u64 = 0x4000;
const BUFFERS: u64 = 0x10_0000;
const BUFFER_LEN: u64 = 2048;
/// Virtio-net header and the shortest frame.
const SENT: u64 = 12 + 60;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Writes addresses and type field of frame number so-and-so.
type Head = fn(u16, &mut [u8; 14]);

/// A guest with one queue pair that polls; every descriptor has a buffer of its own for good.
struct Guest {
    file: File,
    number: u8,
    offered: [u16; 2],
    /// Frames sent, modulo 65536.
    sent: u16,
}

impl Guest {
    fn new(number: u8) -> Self {
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(MEMORY).unwrap();
        let guest = Self { file, number, offered: [0; 2], sent: 0 };
        for ring in [RECEIVE, TRANSMIT] {
            let (len, flags) = if ring == RECEIVE { (BUFFER_LEN, 2_u64) } else { (SENT, 0) };
            for slot in 0..SIZE {
                let words = [Self::buffer(ring, slot), len | flags << 32].map(u64::to_le_bytes).concat();
                let base = u64::from(ring) * RING;
                guest.file.write_all_at(&words, base + u64::from(slot) * 16).unwrap();
                guest.file.write_all_at(&slot.to_le_bytes(), base + 0x1004 + u64::from(slot) * 2).unwrap();
            }
        }
        guest
    }

    fn buffer(ring: u16, slot: u16) -> u64 {
        BUFFERS + u64::from(ring * SIZE + slot) * BUFFER_LEN
    }

    fn setup(&self) -> PortSetup {
        let spec = RegionSpec { guest_address: 0, size: MEMORY, user_address: USER, file_offset: 0 };
        let memory = GuestMemory::default().with(Region::map(&self.file, spec).unwrap()).unwrap();
        let ring = |index: u16| {
            let at = USER + u64::from(index) * RING;
            // SAFETY: the new descriptor belongs to the `OwnedFd` alone.
            let kick =
                unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) };
            RingSetup {
                index,
                size: SIZE,
                base: 0,
                descriptor: at,
                available: at + 0x1000,
                used: at + 0x2000,
                used_log: None,
                kick: Some(Arc::new(kick)),
                call: None,
                error: None,
            }
        };
        let features = 1 << virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
        let rings = vec![ring(RECEIVE), ring(TRANSMIT)];
        PortSetup { port: port(self.number.into()), features, memory, log: None, ledger: None, rings }
    }

    fn offer(&mut self, ring: u16, count: u16) {
        let offered = &mut self.offered[usize::from(ring)];
        *offered = offered.wrapping_add(count);
        self.file.write_all_at(&offered.to_le_bytes(), u64::from(ring) * RING + 0x1002).unwrap();
    }

    fn used(&self, ring: u16) -> u16 {
        let mut bytes = [0; 2];
        self.file.read_exact_at(&mut bytes, u64::from(ring) * RING + 0x2002).unwrap();
        u16::from_le_bytes(bytes)
    }

    /// Offers one burst of frames, with what `head` writes to the first 14 bytes of each.
    fn send(&mut self, head: Head) {
        for slot in 0..BURST {
            let slot = self.offered[usize::from(TRANSMIT)].wrapping_add(slot) % SIZE;
            let mut bytes = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, self.number, 8, 0];
            self.sent = self.sent.wrapping_add(1);
            head(self.sent, &mut bytes);
            self.file.write_all_at(&bytes, Self::buffer(TRANSMIT, slot) + 12).unwrap();
        }
        self.offer(TRANSMIT, BURST);
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// Eight guests on one network, and one worker that never sleeps.
struct Lab {
    dataplane: Dataplane,
    guests: Vec<Guest>,
}

impl Lab {
    fn start() -> Self {
        let mut dataplane = start_dataplane();
        let mut guests: Vec<Guest> = (0..8).map(Guest::new).collect();
        for guest in &mut guests {
            guest.offer(RECEIVE, SIZE);
            assert!(dataplane.attach(guest.setup()).is_empty());
        }
        // Guest 1 says where it is.
        guests[1].send(|_, head| head[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]));
        let mut lab = Self { dataplane, guests };
        lab.wait(1);
        lab
    }

    /// Waits until the burst of `sender` is done with, and gives everybody new buffers.
    fn wait(&mut self, sender: usize) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.guests[sender].used(TRANSMIT) != self.guests[sender].offered[usize::from(TRANSMIT)] {
            assert!(Instant::now() < end, "a burst is not used up");
            std::thread::yield_now();
        }
        for guest in &mut self.guests {
            let free = SIZE - guest.offered[usize::from(RECEIVE)].wrapping_sub(guest.used(RECEIVE));
            guest.offer(RECEIVE, free);
        }
    }

    fn received(&self, index: usize) -> u64 {
        self.dataplane.switch().counters().port(port(index)).snapshot().sent.frames
    }

    /// Guest 0 sends `bursts` bursts; says what the worker allocated and freed, and what `receiver` got.
    fn carry(&mut self, bursts: u32, receiver: usize, head: Head) -> (u64, u64) {
        let (allocated, received) = (BY_WORKERS.load(Ordering::Relaxed), self.received(receiver));
        for _ in 0..bursts {
            self.guests[0].send(head);
            self.wait(0);
        }
        (BY_WORKERS.load(Ordering::Relaxed) - allocated, self.received(receiver) - received)
    }
}

/// Two switches with a guest each, joined by a wire with a packet socket at either end.
struct Wired {
    dataplanes: [Dataplane; 2],
    guests: [Guest; 2],
    /// The namespace that the wire is in.
    _namespace: File,
}

impl Wired {
    fn start() -> Self {
        let namespace = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces take root");
            // Else the kernel says something of its own on the wire; where it has no IPv6, it says nothing.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            for words in
                ["link add name left type veth peer name right", "link set left up", "link set right up"]
            {
                let ip = std::process::Command::new("ip").args(words.split(' ')).status().unwrap();
                assert!(ip.success(), "ip {words}");
            }
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = namespace.join().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&namespace));
        let dataplanes = ["left", "right"].map(|interface| {
            let mut dataplane = start_dataplane();
            let request = DeviceRequest {
                kind: DeviceKind::AfPacket,
                interface: interface.to_owned(),
                namespace: Some(path.clone().into()),
                queues: None,
                gro: true,
                mtu: None,
            };
            dataplane.attach_device(port(2), open(&request).unwrap());
            dataplane
        });
        let mut wired = Self { dataplanes, guests: [Guest::new(0), Guest::new(1)], _namespace: namespace };
        for (guest, dataplane) in wired.guests.iter_mut().zip(&mut wired.dataplanes) {
            guest.offer(RECEIVE, SIZE);
            assert!(dataplane.attach(guest.setup()).is_empty());
        }
        wired
    }

    /// Guest 0 sends bursts to guest 1, each after the one before arrived; says what the workers allocated and freed.
    fn carry(&mut self, bursts: u32) -> u64 {
        let allocated = BY_WORKERS.load(Ordering::Relaxed);
        for _ in 0..bursts {
            let [sender, receiver] = &mut self.guests;
            let expected = receiver.used(RECEIVE).wrapping_add(BURST);
            sender.send(|_, _| ());
            let end = Instant::now() + Duration::from_secs(10);
            while receiver.used(RECEIVE) != expected {
                assert!(Instant::now() < end, "a burst does not arrive");
                std::thread::yield_now();
            }
            receiver.offer(RECEIVE, BURST);
        }
        BY_WORKERS.load(Ordering::Relaxed) - allocated
    }
}

/// A switch of eight ports on one network, with a worker that never sleeps.
fn start_dataplane() -> Dataplane {
    let network = NetworkIndex::new(0).unwrap();
    let policy = PortPolicy { storm: StormLimits::UNLIMITED, ..PortPolicy::new(network, 1500) };
    let ports = (0..PORTS).map(|index| (port(index), policy.clone()));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    let switch = Arc::new(Switch::new(1, Limits::default()));
    Dataplane::start(switch, Arc::new(policy), &[0], Polling::Busy).unwrap()
}

/// One test, for the count is of all workers in the process.
#[test]
fn a_worker_allocates_nothing_for_a_frame_whatever_becomes_of_it() {
    const BURSTS: u32 = 300;
    const FRAMES: u64 = BURSTS as u64 * BURST as u64;
    assert!(!is_worker());
    let mut lab = Lab::start();
    assert!(BY_WORKERS.load(Ordering::Relaxed) > 0, "what a worker allocates at its start is seen");
    let cases: [(&str, usize, u64, Head); 5] = [
        ("of a known flow", 1, FRAMES, |_, _| ()),
        ("of a new flow", 1, FRAMES, |number, head| {
            // Above 0x9100, which may be a tag.
            head[12..].copy_from_slice(&(0xa000 + number % 0x5000).to_be_bytes())
        }),
        ("from a new station", 1, FRAMES, |number, head| head[9..11].copy_from_slice(&number.to_be_bytes())),
        ("to everybody", 7, FRAMES, |_, head| head[..6].fill(0xff)),
        ("that is dropped", 1, 0, |_, head| head[6..12].fill(0xff)),
    ];
    for (what, receiver, expected, head) in cases {
        lab.carry(20, receiver, head);
        let (allocated, received) = lab.carry(BURSTS, receiver, head);
        assert_eq!(received, expected, "frames {what} arrive, or do not");
        assert_eq!(allocated, 0, "allocated for {FRAMES} frames {what}");
    }
    drop(lab);
    let mut wired = Wired::start();
    wired.carry(20);
    assert_eq!(wired.carry(BURSTS), 0, "allocated for {FRAMES} frames by packet sockets");
}
