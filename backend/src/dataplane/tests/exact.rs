//! How exact rates are where time is what the test says: small frames, full ones and super-frames, at rates that differ by a thousand.

use viaduct_switch::qos::{
    BitRate, Burst, ClassIndex, ClassPlan, FifoPlan, HtbPlan, QueuePlan, RootPlan, Shares,
};
use viaduct_switch::qos::{TbfPlan, TreeLimits, TreePlan};
use viaduct_switch::{Nanos, WorkerState};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net as net;

use super::*;

/// Both sides leave checksums and segments to others.
const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << net::VIRTIO_NET_F_CSUM
    | 1 << net::VIRTIO_NET_F_HOST_TSO4
    | 1 << net::VIRTIO_NET_F_GUEST_CSUM
    | 1 << net::VIRTIO_NET_F_GUEST_TSO4;

/// Where the parts of a ring with 4096 entries are, and its buffers.
const AVAILABLE: u64 = 0x1_0000;
const DEVICE: u64 = 0x1_4000;
const AT: u64 = 0x2_0000;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// The headers of a frame of TCP, and the data of a segment.
const HEADERS: u64 = 54;
const SEGMENT: u64 = 1448;
const SEGMENTS: u64 = 45;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Frames of 60 bytes, 64 with their FCS.
    Small,
    /// Frames of 1514 bytes.
    Full,
    /// Super-frames of 45 segments.
    Super,
}

impl Kind {
    /// Bytes in the ring.
    fn length(self) -> u64 {
        match self {
            Self::Small => 60,
            Self::Full => 1514,
            Self::Super => HEADERS + SEGMENTS * SEGMENT,
        }
    }

    /// Bytes on the wire.
    fn wire(self) -> u64 {
        if self == Self::Super { SEGMENTS * (HEADERS + SEGMENT) } else { self.length() }
    }

    /// As it stands in a buffer.
    fn bytes(self) -> Vec<u8> {
        let header = match self {
            // A checksum to finish, segments of TCP, a hint, their size, where the checksum is (virtio 1.2, 5.1.6).
            Self::Super => [&[1, 1, 54, 0][..], &1448u16.to_le_bytes(), &[34, 0, 16, 0, 0, 0]].concat(),
            _ => vec![0; 12],
        };
        let [high, low] = u16::try_from(self.length() - 14).unwrap().to_be_bytes();
        let mut bytes = [&header[..], &MACS[1], &MACS[0], &[8, 0]].concat();
        bytes.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0x13, 0x88, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        let sum: u32 = bytes[26..46].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        bytes[36..38].copy_from_slice(&(!folded).to_be_bytes()[2..]);
        bytes.resize(usize::try_from(12 + self.length()).unwrap(), 0);
        bytes
    }
}

/// One end: a ring whose buffers are filled, and its driver's side.
struct End {
    file: File,
    memory: GuestMemory,
    at: usize,
    size: u16,
    offered: u16,
    seen: u16,
    /// Buffers that the device gave back.
    used: u64,
}

impl End {
    /// One that sends `frame`, or receives if that is empty, at port `at`.
    fn new(at: usize, size: u16, frame: &[u8]) -> Self {
        let room = if frame.is_empty() { 66_000 } else { frame.len() as u64 };
        let bytes = AT + u64::from(size) * room.next_multiple_of(4096);
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"end".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(bytes).unwrap();
        let flags = if frame.is_empty() { 2u64 } else { 0 };
        for slot in 0..size {
            let buffer = AT + u64::from(slot) * room.next_multiple_of(4096);
            let words = [buffer, room | flags << 32].map(u64::to_le_bytes).concat();
            file.write_all_at(&words, u64::from(slot) * 16).unwrap();
            file.write_all_at(&slot.to_le_bytes(), AVAILABLE + 4 + u64::from(slot) * 2).unwrap();
            file.write_all_at(frame, buffer).unwrap();
        }
        let spec = RegionSpec { guest_address: 0, size: bytes, user_address: USER, file_offset: 0 };
        let memory = GuestMemory::default().with(Region::map(&file, spec).unwrap()).unwrap();
        Self { file, memory, at, size, offered: 0, seen: 0, used: 0 }
    }

    fn setup(&self, ring: u16) -> PortSetup {
        let ring = RingSetup {
            index: ring,
            size: self.size,
            base: 0,
            descriptor: USER,
            available: USER + AVAILABLE,
            used: USER + DEVICE,
            used_log: None,
            kick: None,
            call: None,
            error: None,
        };
        let (port, memory, rings) = (port(self.at), self.memory.clone(), vec![ring]);
        PortSetup { port, features: FEATURES, memory, log: None, ledger: None, rings }
    }

    /// Takes note of what was given back; gives how many buffers are free.
    fn look(&mut self) -> u16 {
        let mut bytes = [0; 2];
        self.file.read_exact_at(&mut bytes, DEVICE + 2).unwrap();
        let index = u16::from_le_bytes(bytes);
        self.used += u64::from(index.wrapping_sub(self.seen));
        self.seen = index;
        self.size - self.offered.wrapping_sub(index)
    }

    fn offer(&mut self, count: u16) {
        self.offered = self.offered.wrapping_add(count);
        self.file.write_all_at(&self.offered.to_le_bytes(), AVAILABLE + 2).unwrap();
    }
}

/// Two ends with a tree between them, before the second one. As many frames are under way as the window says.
struct Lane {
    stepped: Stepped,
    ends: [End; 2],
    sent: u64,
    window: u64,
    /// Bytes on the wire of what is taken out of a receive buffer, and how many of those make one frame that was sent.
    unit: (u64, u64),
}

impl Lane {
    fn new(kind: Kind, plan: TreePlan, is_cut: bool) -> Self {
        let policy = Arc::new(policy_of(2, &[]));
        let switch = Switch::new(1, Limits::default());
        introduce(&switch, &policy);
        let mut stepped = Stepped::new(Arc::new(switch), policy).unwrap();
        let (size, window) = if kind == Kind::Super { (64, 20) } else { (4096, 4000) };
        let ends = [End::new(0, size, &kind.bytes()), End::new(1, 4096, &[])];
        let setups = [ends[0].setup(1), ends[1].setup(0)];
        stepped.control(|dataplane| {
            setups.into_iter().for_each(|setup| assert!(dataplane.attach(setup).is_empty()));
            let tree = TreeSetup { name: "tree".into(), plan: Arc::new(plan), ports: vec![port(1)] };
            assert!(dataplane.set_shaping(vec![tree]).is_empty());
        });
        let pieces = if is_cut { SEGMENTS } else { 1 };
        Self { stepped, ends, sent: 0, window, unit: (kind.wire() / pieces, pieces) }
    }

    /// Does a round at `now`, with as much to send and to receive into as there is room for; gives when to do the next one.
    fn step(&mut self, now: Nanos) -> Nanos {
        let [sender, receiver] = &mut self.ends;
        let free = receiver.look();
        receiver.offer(free);
        let room = self.window.saturating_sub(self.sent - receiver.used / self.unit.1);
        let count = sender.look().min(u16::try_from(room).unwrap());
        sender.offer(count);
        self.sent += u64::from(count);
        // One for each burst that is there.
        (0..=count / 64).for_each(|_| self.stepped.round(now));
        self.ends[1].look();
        // What the sender has now the next round takes, in time for the departure after that.
        self.stepped.next().map_or(now + Nanos(100_000), |next| next.max(now + Nanos(1)))
    }

    /// Bytes on the wire that came.
    fn came(&self) -> u64 {
        self.ends[1].used * self.unit.0
    }
}

/// Lets the switch learn where both stations are.
fn introduce(switch: &Switch, policy: &Arc<Policy>) {
    struct Nowhere;
    impl<P> viaduct_switch::Egress<P> for Nowhere {
        fn send(&mut self, _: PortIndex, _: usize, _: &viaduct_switch::Frame<P>) {}
        fn flood(&mut self, _: NetworkIndex, _: &[PortIndex], _: usize, _: &viaduct_switch::Frame<P>) {}
    }
    let mut state = WorkerState::new(Arc::clone(policy));
    for (at, mac) in MACS.iter().enumerate() {
        let mut hello = [0xff; 64];
        hello[6..12].copy_from_slice(mac);
        let mut burst = crate::ring::Burst::new(port(at));
        burst.load(port(at), &mut hello);
        switch.process(&mut state, Nanos(0), burst.parts().0, &mut Nowhere);
    }
}

fn fifo() -> QueuePlan {
    QueuePlan::Fifo(FifoPlan { frames: 6000, bytes: u64::MAX })
}

/// One queue with a rate.
fn queue_of(rate: BitRate) -> RootPlan {
    let tbf = TbfPlan { rate, burst: Burst::suiting(rate), peak: None, queue: fifo() };
    RootPlan::Queue(QueuePlan::Tbf(Box::new(tbf)))
}

/// Classes of three levels, whose root has the rate; the leaf borrows half of it.
fn classes_of(rate: BitRate) -> RootPlan {
    let half = BitRate::new(rate.bits() / 2).unwrap();
    let class = |name: &str, parent| ClassPlan {
        name: name.into(),
        parent,
        shares: Shares::new(half, rate),
        quantum: None,
        priority: 0,
        queue: fifo(),
    };
    RootPlan::Htb(HtbPlan {
        root: Shares::new(rate, rate),
        classes: vec![class("inner", None), class("leaf", ClassIndex::new(0))],
        default: ClassIndex::new(1).unwrap(),
    })
}

/// What came in a time of up to ten seconds, beside what was due; asserts that both are the same but for a frame at each end, and for
/// what leaves later for others to leave with it.
fn assert_exact(kind: Kind, megabits: u64, root: RootPlan) {
    let rate = BitRate::new(megabits * 1_000_000).unwrap();
    let plan = TreePlan { root, filters: Vec::new(), overhead_bytes: 0, limits: TreeLimits::default() };
    let is_cut = kind == Kind::Super && u64::from(Burst::suiting(rate).bytes()) < kind.wire();
    let mut lane = Lane::new(kind, plan, is_cut);
    let bytes_in = |time: Nanos| rate.bits() * time.0 / 8_000_000_000;
    // Ten seconds, or as long as it takes to tell.
    let time = Nanos((kind.wire() * 8_000_000_000 / rate.bits() * 20_000).clamp(100_000_000, 10_000_000_000));
    let (mut now, begins) = (Nanos(0), Nanos(200_000_000));
    let mut from = None;
    while now < begins + time {
        let next = lane.step(now);
        if now >= begins && from.is_none() {
            from = Some((now, lane.came()));
        }
        now = next;
    }
    lane.step(now);
    let (since, before) = from.unwrap();
    let (got, due) = (lane.came() - before, bytes_in(now - since));
    let edge = 2 * lane.unit.0 + bytes_in(Nanos(500_000));
    println!(
        "{kind:?} at {megabits} mbit: {got} bytes of {due}, {:+.4} %",
        (got as f64 / due as f64 - 1.0) * 100.0
    );
    assert!(got.abs_diff(due) <= edge, "{kind:?} at {megabits} mbit: {got} bytes instead of {due}");
    assert!(edge * 100 <= due, "{due} bytes are too few to tell");
}

#[test]
fn rates_are_exact_to_a_frame_whatever_is_sent() {
    for kind in [Kind::Small, Kind::Full, Kind::Super] {
        for megabits in [1, 10, 100, 1000] {
            let rate = BitRate::new(megabits * 1_000_000).unwrap();
            assert_exact(kind, megabits, queue_of(rate));
            assert_exact(kind, megabits, classes_of(rate));
        }
    }
}
