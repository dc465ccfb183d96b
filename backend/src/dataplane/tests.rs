//! Workers driven through rings in plain shared memory: no session, no guest.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use std::thread;
use std::time::{Duration, Instant};

use viaduct_switch::spanning_tree::PortState;
use viaduct_switch::{DropReason, Limits, NetworkIndex, NetworkSettings, PortPolicy, Switch};

use super::*;
use crate::memory::{Region, RegionSpec};

mod control;
mod devices;
mod exact;
mod floods;
mod fragments;
mod gateway;
mod nodes;
mod pressure;
mod shaping;
mod sharing;
mod waiting;
mod wakeups;

const MEMORY: u64 = 4 << 20;
const SIZE: u16 = 64;
const USER: u64 = 0x7000_0000;
/// Each ring has a page for each of its parts.
const RING: u64 = 0x4000;
const BUFFERS: u64 = 0x10_0000;
const BUFFER_LEN: u64 = 2048;

/// A guest with one queue pair, one buffer a descriptor.
struct Guest {
    file: File,
    memory: GuestMemory,
    port: PortIndex,
    kicks: [Signal; 2],
    offered: [u16; 2],
}

pub(super) fn eventfd() -> Signal {
    // SAFETY: the new descriptor belongs to the `OwnedFd` alone.
    Arc::new(unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) })
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

impl Guest {
    fn new(index: usize) -> Self {
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(MEMORY).unwrap();
        let spec = RegionSpec { guest_address: 0, size: MEMORY, user_address: USER, file_offset: 0 };
        let memory = GuestMemory::default().with(Region::map(&file, spec).unwrap()).unwrap();
        Self { file, memory, port: port(index), kicks: [eventfd(), eventfd()], offered: [0; 2] }
    }

    fn setup(&self, bases: [u16; 2]) -> PortSetup {
        let ring = |index: u16| {
            let at = USER + u64::from(index) * RING;
            RingSetup {
                index,
                size: SIZE,
                base: bases[usize::from(index)],
                descriptor: at,
                available: at + 0x1000,
                used: at + 0x2000,
                used_log: None,
                kick: Some(Arc::clone(&self.kicks[usize::from(index)])),
                call: None,
                error: None,
            }
        };
        let features = 1 << virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
        PortSetup {
            port: self.port,
            features,
            memory: self.memory.clone(),
            log: None,
            ledger: None,
            rings: vec![ring(0), ring(1)],
        }
    }

    /// Offers one buffer on `ring` (0 to receive into, 1 to transmit `bytes`).
    fn offer(&mut self, ring: u16, bytes: &[u8]) {
        let (base, slot) = (u64::from(ring) * RING, u64::from(self.offered[usize::from(ring)] % SIZE));
        let buffer = BUFFERS + (u64::from(ring) * u64::from(SIZE) + slot) * BUFFER_LEN;
        let (len, flags) = if ring == 0 { (BUFFER_LEN, 2u64) } else { (bytes.len() as u64, 0) };
        self.file.write_all_at(bytes, buffer).unwrap();
        let words = [buffer, len | flags << 32].map(u64::to_le_bytes).concat();
        self.file.write_all_at(&words, base + slot * 16).unwrap();
        let head = u16::try_from(slot).unwrap();
        self.file.write_all_at(&head.to_le_bytes(), base + 0x1004 + slot * 2).unwrap();
        self.offered[usize::from(ring)] += 1;
        self.file.write_all_at(&self.offered[usize::from(ring)].to_le_bytes(), base + 0x1002).unwrap();
    }

    fn send(&mut self, to: u8, number: u8) {
        let mut bytes = vec![0; 12];
        let from = u8::try_from(self.port.get()).unwrap();
        bytes.extend([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0]);
        bytes.resize(12 + 200, number);
        self.offer(1, &bytes);
        self.kick(1);
    }

    fn kick(&self, ring: usize) {
        // SAFETY: eight bytes of our own.
        unsafe { libc::write(self.kicks[ring].as_raw_fd(), 1u64.to_le_bytes().as_ptr().cast(), 8) };
    }

    fn used(&self, ring: u16) -> u16 {
        let mut bytes = [0; 2];
        self.file.read_exact_at(&mut bytes, u64::from(ring) * RING + 0x2002).unwrap();
        u16::from_le_bytes(bytes)
    }

    /// The last byte of the frame in the receive buffer `slot`.
    fn received(&self, slot: u16) -> u8 {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, BUFFERS + u64::from(slot) * BUFFER_LEN + 211).unwrap();
        byte[0]
    }

    fn wait_used(&self, ring: u16, index: u16) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.used(ring) != index {
            assert!(
                Instant::now() < deadline,
                "ring {ring} stayed at {} instead of {index}",
                self.used(ring)
            );
            thread::sleep(Duration::from_micros(200));
        }
    }
}

fn dataplane(cpus: &[usize]) -> Dataplane {
    dataplane_of(cpus, 6)
}

/// The policy of one network of `count` ports, of which these are in a spanning tree.
fn policy_of(count: usize, states: &[(usize, PortState)]) -> Policy {
    let network = NetworkIndex::new(0).unwrap();
    let ports = (0..count).map(|index| {
        let mut policy = PortPolicy::new(network, 1500);
        let state = states.iter().find(|(of, _)| *of == index);
        state.into_iter().for_each(|(_, state)| policy.take_state(*state));
        (port(index), policy)
    });
    Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap()
}

/// A network of `count` ports.
fn dataplane_of(cpus: &[usize], count: usize) -> Dataplane {
    let policy = policy_of(count, &[]);
    let switch = Arc::new(Switch::new(1, Limits::default()));
    Dataplane::start(switch, Arc::new(policy), cpus, Polling::Adaptive).unwrap()
}

fn drops(dataplane: &Dataplane, index: usize, reason: DropReason) -> u64 {
    dataplane.switch().counters().port(port(index)).drops(reason)
}

#[test]
fn frames_go_from_ring_to_ring_and_wake_sleeping_workers() {
    for cpus in [&[0][..], &[0, 1]] {
        let mut dataplane = dataplane(cpus);
        let (mut a, mut b) = (Guest::new(0), Guest::new(1));
        (0..SIZE).for_each(|_| b.offer(0, &[]));
        assert!(dataplane.attach(a.setup([0, 0])).is_empty());
        assert!(dataplane.attach(b.setup([0, 0])).is_empty());
        for number in 0..20u8 {
            a.send(1, number);
            a.wait_used(1, u16::from(number) + 1);
            b.wait_used(0, u16::from(number) + 1);
            assert_eq!(b.received(u16::from(number)), number);
            thread::sleep(Duration::from_millis(if number % 5 == 0 { 5 } else { 0 }));
        }
        assert!(dataplane.workers().iter().map(|worker| worker.sleeps).sum::<u64>() > 0);
        let positions = dataplane.detach(port(0));
        assert_eq!(positions, [RingPosition { index: 0, base: 0 }, RingPosition { index: 1, base: 20 }]);
        assert_eq!(dataplane.detach(port(1))[0], RingPosition { index: 0, base: 20 });
        assert!(dataplane.detach(port(1)).is_empty());
    }
}

#[test]
fn a_port_goes_on_where_it_was_detached() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, mut b) = (Guest::new(0), Guest::new(1));
    (0..SIZE).for_each(|_| b.offer(0, &[]));
    dataplane.attach(b.setup([0, 0]));
    let mut base = 0;
    for number in 0..30u8 {
        dataplane.attach(a.setup([0, base]));
        a.send(1, number);
        a.wait_used(1, base + 1);
        base = dataplane.detach(port(0))[1].base;
        assert_eq!(base, u16::from(number) + 1);
    }
    b.wait_used(0, 30);
    assert!((0..30u8).all(|number| b.received(u16::from(number)) == number));
}

#[test]
fn frames_wait_for_a_receiver_that_is_slow_to_offer_buffers() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, mut b) = (Guest::new(0), Guest::new(1));
    dataplane.attach(a.setup([0, 0]));
    dataplane.attach(b.setup([0, 0]));
    (0..10u8).for_each(|number| a.send(1, number));
    a.wait_used(1, 10);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(b.used(0), 0);
    (0..10).for_each(|_| b.offer(0, &[]));
    b.kick(0);
    b.wait_used(0, 10);
    assert!((0..10u8).all(|number| b.received(u16::from(number)) == number));
    assert_eq!(drops(&dataplane, 1, DropReason::NoBuffer), 0);
}

#[test]
fn a_receiver_that_never_offers_buffers_costs_others_nothing() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, b, mut c) = (Guest::new(0), Guest::new(1), Guest::new(2));
    for guest in [&a, &b, &c] {
        dataplane.attach(guest.setup([0, 0]));
    }
    // Teach the switch where b is, then fill its backlog.
    let mut b = b;
    (0..8).for_each(|_| a.offer(0, &[]));
    (0..8).for_each(|_| c.offer(0, &[]));
    b.send(0, 1);
    b.wait_used(1, 1);
    for round in 0..1200u16 {
        a.send(1, 7);
        a.wait_used(1, round + 1);
    }
    assert!(drops(&dataplane, 1, DropReason::NoBuffer) >= 200);
    let before = c.used(0);
    a.send(2, 9);
    c.wait_used(0, before + 1);
    assert_eq!(c.received(before), 9);
}

#[test]
fn a_ring_with_an_impossible_index_is_stopped_and_reported_alone() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, mut b) = (Guest::new(0), Guest::new(1));
    dataplane.attach(a.setup([0, 0]));
    dataplane.attach(b.setup([0, 0]));
    a.file.write_all_at(&(SIZE + 1).to_le_bytes(), RING + 0x1002).unwrap();
    a.kick(1);
    let deadline = Instant::now() + Duration::from_secs(5);
    let events = loop {
        let events = dataplane.take_events();
        if !events.is_empty() {
            break events;
        }
        assert!(Instant::now() < deadline, "no event came");
    };
    let DataplaneEvent::RingBroken { port: broken, ring, error } = events[0] else { panic!("{events:?}") };
    assert_eq!((broken, ring), (port(0), 1));
    assert!(matches!(error, RingError::IndexJump { found: 65, consumed: 0, size: 64 }));
    a.offer(0, &[]);
    b.send(0, 3);
    a.wait_used(0, 1);
}

#[test]
fn a_call_that_would_block_does_not_stop_a_worker() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, mut b) = (Guest::new(0), Guest::new(1));
    let full = eventfd();
    let mut setup = a.setup([0, 0]);
    setup.rings.iter_mut().for_each(|ring| ring.call = Some(Arc::clone(&full)));
    dataplane.attach(setup);
    dataplane.attach(b.setup([0, 0]));
    // Fill the counter and take the non-blocking flag away: what a hostile peer can do at any time.
    // SAFETY: eight bytes of our own, and a flag of our own descriptor.
    unsafe {
        libc::write(full.as_raw_fd(), (u64::MAX - 1).to_le_bytes().as_ptr().cast(), 8);
        libc::fcntl(full.as_raw_fd(), libc::F_SETFL, 0);
    }
    a.send(1, 1);
    let deadline = Instant::now() + Duration::from_secs(5);
    (0..4).for_each(|_| a.offer(0, &[]));
    b.send(0, 5);
    while b.used(1) != 1 {
        assert!(Instant::now() < deadline, "the worker stayed blocked");
        dataplane.tick();
        thread::sleep(Duration::from_millis(20));
    }
    let events = dataplane.take_events();
    let DataplaneEvent::RingBroken { port: stuck, error, .. } = events[0] else { panic!("{events:?}") };
    assert_eq!((stuck, error), (port(0), RingError::CallBlocked));
    // Filled again, the counter can block nobody any more.
    // SAFETY: eight bytes of our own.
    unsafe {
        libc::fcntl(full.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        libc::write(full.as_raw_fd(), (u64::MAX - 1).to_le_bytes().as_ptr().cast(), 8);
        libc::fcntl(full.as_raw_fd(), libc::F_SETFL, 0);
    }
    a.send(1, 2);
    a.wait_used(1, 2);
}

#[test]
fn frames_that_wait_survive_a_change_of_their_port() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, mut b) = (Guest::new(0), Guest::new(1));
    dataplane.attach(a.setup([0, 0]));
    dataplane.attach(b.setup([0, 0]));
    (0..5u8).for_each(|number| a.send(1, number));
    a.wait_used(1, 5);
    assert_eq!(dataplane.detach(port(1)).len(), 2);
    dataplane.attach(b.setup([0, 0]));
    (0..5).for_each(|_| b.offer(0, &[]));
    b.kick(0);
    b.wait_used(0, 5);
    assert!((0..5u8).all(|number| b.received(u16::from(number)) == number));
    // Without a ring to go to they are lost, and counted.
    a.send(1, 9);
    a.wait_used(1, 6);
    dataplane.detach(port(1));
    let mut setup = b.setup([5, 0]);
    setup.rings.remove(0);
    dataplane.attach(setup);
    assert_eq!(drops(&dataplane, 1, DropReason::ReceiverDown), 1);
}

#[test]
fn rings_without_a_kick_are_served_beside_a_busy_neighbour() {
    let mut dataplane = dataplane(&[0]);
    let (mut a, mut b, mut c) = (Guest::new(0), Guest::new(1), Guest::new(2));
    let mut setup = a.setup([0, 0]);
    setup.rings.iter_mut().for_each(|ring| ring.kick = None);
    dataplane.attach(setup);
    dataplane.attach(b.setup([0, 0]));
    dataplane.attach(c.setup([0, 0]));
    (0..SIZE).for_each(|_| b.offer(0, &[]));
    thread::sleep(Duration::from_millis(5));
    a.send(1, 1);
    for round in 0..200u16 {
        // Kept busy, the worker never sleeps.
        c.send(9, 1);
        c.wait_used(1, round + 1);
    }
    a.wait_used(1, 1);
    // Frames that wait for a ring without a kick leave when it has buffers.
    c.send(0, 7);
    c.wait_used(1, 201);
    thread::sleep(Duration::from_millis(5));
    a.offer(0, &[]);
    a.wait_used(0, 1);
}
