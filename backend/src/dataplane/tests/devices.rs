//! Devices that are made up, to see what a worker asks of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use viaduct_switch::offload::Capabilities;

use super::*;
use crate::device::{DeviceKind, DeviceQueue, Exit, Intake, Outgoing, Sent};
use crate::ring::Burst;

/// What a device was asked for.
#[derive(Default)]
struct Notes {
    calls: AtomicU64,
    full: AtomicBool,
    /// The last byte of each frame that was sent.
    sent: Mutex<Vec<u8>>,
}

struct Silent;

impl Intake for Silent {
    fn read(&mut self, _: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        burst.begin(false);
        Ok(0)
    }

    fn complete(&mut self) {}

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        Ok(false)
    }
}

struct Noting(Arc<Notes>);

impl Exit for Noting {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        self.0.calls.fetch_add(1, SeqCst);
        if self.0.full.load(SeqCst) {
            return Ok(Sent::default());
        }
        let last = |frame: crate::device::OutgoingFrame<'_>| {
            let piece = frame.pieces.last().unwrap();
            // SAFETY: the frame lies there until the call returns.
            unsafe { piece.host.add(piece.len as usize - 1).read() }
        };
        self.0.sent.lock().unwrap().extend(frames.iter().map(last));
        Ok(Sent { done: frames.len(), refused: 0, lost: 0 })
    }
}

fn write(signal: &Signal, value: u64) {
    // SAFETY: eight bytes of our own.
    unsafe { libc::write(signal.as_raw_fd(), (&raw const value).cast(), 8) };
}

/// A device, and the eventfd that says by being writable that it has room.
fn device(notes: &Arc<Notes>) -> (Device, Signal) {
    let writable = eventfd();
    let queue = DeviceQueue {
        intake: Box::new(Silent),
        readable: eventfd(),
        exit: Box::new(Noting(Arc::clone(notes))),
        writable: Arc::clone(&writable),
    };
    let device = Device {
        kind: DeviceKind::AfPacket,
        reason: String::new(),
        index: 1,
        mtu: 1500,
        address: [2; 6],
        capabilities: Capabilities::default(),
        bond: None,
        queues: vec![queue],
    };
    (device, writable)
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_visit_to_a_device_is_one_call_however_many_frames() {
    let (mut dataplane, notes) = (dataplane(&[0]), Arc::new(Notes::default()));
    dataplane.attach_device(port(1), device(&notes).0);
    let mut guest = Guest::new(0);
    for number in 0..40 {
        // Offered before the worker looks: one burst.
        let mut bytes = vec![0; 12];
        bytes.extend([0xff; 6].iter().chain(&[2, 0, 0, 0, 0, 0, 8, 0]));
        bytes.resize(12 + 200, number);
        guest.offer(1, &bytes);
    }
    dataplane.attach(guest.setup([0, 0]));
    guest.wait_used(1, 40);
    wait_for("all are sent", || notes.sent.lock().unwrap().len() == 40);
    assert_eq!(notes.calls.load(SeqCst), 1);
    assert_eq!(*notes.sent.lock().unwrap(), (0..40).collect::<Vec<_>>());
}

#[test]
fn frames_wait_in_order_for_a_device_that_is_full_and_the_worker_sleeps_meanwhile() {
    let (mut dataplane, notes) = (dataplane(&[0]), Arc::new(Notes::default()));
    let (device, writable) = device(&notes);
    dataplane.attach_device(port(1), device);
    let mut guest = Guest::new(0);
    dataplane.attach(guest.setup([0, 0]));
    write(&writable, u64::MAX - 1);
    notes.full.store(true, SeqCst);
    for number in 0..60 {
        guest.send(0xff, number);
    }
    guest.wait_used(1, 60);
    thread::sleep(Duration::from_millis(20));
    let calls = notes.calls.load(SeqCst);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(notes.calls.load(SeqCst), calls, "a device that is full is asked again and again");
    assert!(notes.sent.lock().unwrap().is_empty());
    notes.full.store(false, SeqCst);
    // Its being read makes the eventfd writable.
    // SAFETY: eight bytes of our own.
    unsafe { libc::read(writable.as_raw_fd(), [0_u8; 8].as_mut_ptr().cast(), 8) };
    wait_for("all are sent", || notes.sent.lock().unwrap().len() == 60);
    assert_eq!(*notes.sent.lock().unwrap(), (0..60).collect::<Vec<_>>());
    guest.send(0xff, 60);
    wait_for("the next one, too", || notes.sent.lock().unwrap().last() == Some(&60));
    assert_eq!(drops(&dataplane, 1, DropReason::NoBuffer), 0);
    dataplane.detach(port(1));
    drop(dataplane);
}

#[test]
fn a_device_that_stays_full_loses_what_is_beyond_the_bound_and_nobody_else_anything() {
    const ROUNDS: u8 = 30;
    let (mut dataplane, notes) = (dataplane(&[0]), Arc::new(Notes::default()));
    let (device, writable) = device(&notes);
    write(&writable, u64::MAX - 1);
    notes.full.store(true, SeqCst);
    dataplane.attach_device(port(2), device);
    let [mut a, mut b] = [Guest::new(0), Guest::new(1)];
    dataplane.attach(a.setup([0, 0]));
    dataplane.attach(b.setup([0, 0]));
    for round in 0..ROUNDS {
        for number in 0..u8::try_from(SIZE).unwrap() {
            b.offer(0, &[]);
            a.send(0xff, number);
        }
        let count = (u16::from(round) + 1) * SIZE;
        a.wait_used(1, count);
        b.wait_used(0, count);
    }
    let frames = u64::from(ROUNDS) * u64::from(SIZE);
    wait_for("the rest is lost", || drops(&dataplane, 2, DropReason::NoBuffer) == frames - 1000);
    dataplane.detach(port(2));
}

#[test]
fn what_waits_at_a_port_that_the_spanning_tree_closes_never_leaves_by_it() {
    let (mut dataplane, notes) = (dataplane(&[0]), [1, 2].map(|_| Arc::new(Notes::default())));
    let devices = [1, 2].map(|index| {
        let (device, writable) = device(&notes[index - 1]);
        notes[index - 1].full.store(true, SeqCst);
        write(&writable, u64::MAX - 1);
        dataplane.attach_device(port(index), device);
        writable
    });
    let mut guest = Guest::new(0);
    dataplane.attach(guest.setup([0, 0]));
    (0..20).for_each(|number| guest.send(0xff, number));
    guest.wait_used(1, 20);

    // One of the two is closed, the other one forwards on.
    let states = [(1, PortState::Discarding), (2, PortState::Forwarding)];
    dataplane.set_policy(Arc::new(policy_of(6, &states)));
    assert_eq!([1, 2].map(|index| drops(&dataplane, index, DropReason::StpBlocked)), [20, 0]);
    for (notes, writable) in notes.iter().zip(&devices) {
        notes.full.store(false, SeqCst);
        // SAFETY: eight bytes of our own.
        unsafe { libc::read(writable.as_raw_fd(), [0_u8; 8].as_mut_ptr().cast(), 8) };
    }
    wait_for("the other port's are sent", || notes[1].sent.lock().unwrap().len() == 20);

    // What the tree itself says still leaves by a closed port, and nothing that waited before it.
    dataplane.emit(port(1), 0, vec![42; 60]);
    wait_for("a message of the tree", || !notes[0].sent.lock().unwrap().is_empty());
    assert_eq!(*notes[0].sent.lock().unwrap(), [42]);
    dataplane.set_policy(Arc::new(policy_of(6, &[])));
    guest.send(0xff, 20);
    wait_for("the next frame after it opened", || notes[0].sent.lock().unwrap().last() == Some(&20));
    assert_eq!(notes[0].sent.lock().unwrap().len(), 2);
}
