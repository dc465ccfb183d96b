//! Sessions driven message by message over a socket pair, with a data path that only takes notes.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::FrontendReq::{self, *};
use viaduct_switch::{Nanos, Policy, PortIndex};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::config::Polling;
use crate::dataplane::{Datapath, DataplaneEvent, PortSetup, RingPosition};
use crate::device::{Device, DeviceQueue};
use crate::model::WorkerStatus;
use crate::ring::RingError;
use crate::vhost_user::disposal::tests::{block_closer, block_reaper, settle};
use crate::vhost_user::features::{LOG_ALL, OFFERED_MASK, PROTOCOL_FEATURES, PROTOCOL_OFFERED};
use crate::vhost_user::message::{FLAG_NEED_REPLY, HEADER_SIZE, Header};
use crate::vhost_user::session::{Refused, Session, SessionEnd};
use crate::vhost_user::{Allowance, Disposal, Engine, Limits, PatchBay};

mod bounds;
mod lives;
mod refusals;

const REGION_SIZE: u64 = 0x10_0000;
const NEED_REPLY: u32 = 1 | FLAG_NEED_REPLY;

/// What the data path was told.
#[derive(Default)]
struct Notes {
    attached: HashMap<PortIndex, PortSetup>,
    attaches: usize,
    announced: Vec<Vec<u8>>,
    events: Vec<DataplaneEvent>,
}

#[derive(Clone, Default)]
struct Mock(Arc<Mutex<Notes>>);

impl Datapath for Mock {
    fn attach_device(&mut self, _port: PortIndex, _device: Device) {}

    fn exchange_link(&mut self, _port: PortIndex, _link: u8, _queue: DeviceQueue) {}

    fn attach(&mut self, setup: PortSetup) -> Vec<(u16, RingError)> {
        let mut notes = self.0.lock().unwrap();
        notes.attaches += 1;
        let unmapped = |address| RingError::Unmapped { part: "descriptor table", address };
        let failed = match setup.memory.regions() {
            0 => setup.rings.iter().map(|ring| (ring.index, unmapped(ring.descriptor))).collect(),
            _ => Vec::new(),
        };
        let other = notes.attached.insert(setup.port, setup);
        assert!(other.is_none(), "attached twice");
        failed
    }

    /// Every ring consumed ten buffers meanwhile.
    fn detach(&mut self, port: PortIndex) -> Vec<RingPosition> {
        let setup = self.0.lock().unwrap().attached.remove(&port).expect("detached without being attached");
        let position =
            |ring: &crate::dataplane::RingSetup| RingPosition { index: ring.index, base: ring.base + 10 };
        setup.rings.iter().map(position).collect()
    }

    fn announce(&mut self, _port: PortIndex, frame: Vec<u8>) {
        self.0.lock().unwrap().announced.push(frame);
    }

    fn emit(&mut self, _port: PortIndex, _link: u8, _frame: Vec<u8>) {}

    fn purge(&mut self, _port: PortIndex, _link: u8) {}

    fn set_policy(&mut self, _policy: Arc<Policy>) {}

    fn set_polling(&mut self, _polling: Polling) {}
}

impl Engine for Mock {
    fn events(&self) -> RawFd {
        -1
    }

    fn take_events(&mut self) -> Vec<DataplaneEvent> {
        std::mem::take(&mut self.0.lock().unwrap().events)
    }

    fn tick(&mut self) {}

    fn workers(&self) -> Vec<WorkerStatus> {
        Vec::new()
    }

    fn now(&self) -> Nanos {
        Nanos(0)
    }
}

/// A session with a frontend that is the test itself.
struct Rig {
    peer: UnixStream,
    session: Session,
    allowance: Allowance,
    disposal: Disposal,
    bay: PatchBay,
    mock: Mock,
    memory: OwnedFd,
}

impl Rig {
    fn new() -> Self {
        let (peer, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        let limits = Limits { port: PortIndex::new(7).unwrap(), queues: 2, mtu: 1500 };
        let mock = Mock::default();
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 8 * REGION_SIZE).unwrap();
        let disposal = Disposal::default();
        Self {
            peer,
            session: Session::new(socket, limits, disposal.clone()).unwrap(),
            allowance: Allowance::of_messages(Instant::now()),
            disposal,
            bay: PatchBay::new(Box::new(mock.clone())),
            mock,
            memory,
        }
    }

    /// A session whose protocol features are negotiated.
    fn negotiated() -> Self {
        let mut rig = Self::new();
        rig.ask(GET_FEATURES, &[]);
        rig.ask(GET_PROTOCOL_FEATURES, &[]);
        rig.tell(SET_PROTOCOL_FEATURES, &[PROTOCOL_OFFERED.bits()]);
        rig
    }

    /// A session as it is once a driver runs on the first pair.
    fn running() -> Self {
        let mut rig = Self::negotiated();
        rig.tell(SET_FEATURES, &[PROTOCOL_FEATURES | 1 << 32]);
        rig.add_region(0).unwrap();
        for ring in [0, 1] {
            rig.start_ring(ring);
            rig.tell(SET_VRING_ENABLE, &[state(ring, 1)]);
        }
        assert_eq!(rig.attached(), [0, 1]);
        rig
    }

    fn start_ring(&mut self, ring: u32) {
        self.tell(SET_VRING_NUM, &[state(ring, 256)]);
        self.tell(SET_VRING_BASE, &[state(ring, 0)]);
        self.tell(SET_VRING_ADDR, &addresses(ring));
        self.signal(SET_VRING_KICK, ring).unwrap();
        self.signal(SET_VRING_CALL, ring).unwrap();
    }

    fn send(&self, request: FrontendReq, flags: u32, body: &[u64], files: &[RawFd]) {
        self.send_raw(request.into(), flags, body, files);
    }

    fn send_raw(&self, code: u32, flags: u32, body: &[u64], files: &[RawFd]) {
        let body: Vec<u8> = body.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let header = Header { code, flags, size: u32::try_from(body.len()).unwrap() };
        let bytes = [header.to_bytes().as_slice(), &body].concat();
        assert_eq!(self.peer.send_with_fds(&[bytes.as_slice()], files).unwrap(), bytes.len());
    }

    /// Serves what was sent.
    fn pump(&mut self) -> Result<Vec<Refused>, SessionEnd> {
        self.session.readable(&mut self.bay, &mut self.allowance)
    }

    /// The next reply's header and first word.
    fn reply(&mut self) -> Option<(Header, u64)> {
        let mut bytes = [0; HEADER_SIZE];
        match self.peer.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            other => other.unwrap(),
        }
        let header = Header::from_bytes(&bytes);
        let mut body = vec![0; usize::try_from(header.size).unwrap()];
        self.peer.read_exact(&mut body).unwrap();
        Some((header, u64::from_ne_bytes(*body.first_chunk().unwrap())))
    }

    /// A request with a reply of its own.
    fn ask(&mut self, request: FrontendReq, body: &[u64]) -> u64 {
        self.send(request, 1, body, &[]);
        assert!(self.pump().unwrap().is_empty());
        let (header, value) = self.reply().unwrap();
        assert_eq!((header.code, header.flags), (request.into(), 5));
        value
    }

    /// A request that is to succeed in silence.
    fn tell(&mut self, request: FrontendReq, body: &[u64]) {
        self.send(request, 1, body, &[]);
        let refused = self.pump().unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        assert!(self.reply().is_none());
    }

    /// A request with "need reply": zero or one comes back, and the reason.
    fn try_files(&mut self, request: FrontendReq, body: &[u64], files: &[RawFd]) -> Result<(), String> {
        self.send(request, NEED_REPLY, body, files);
        let refused = self.pump().unwrap();
        let (header, value) = self.reply().expect("an acknowledgement");
        assert_eq!((header.code, header.flags, header.size), (request.into(), 5, 8));
        match refused.first() {
            None => assert_eq!(value, 0),
            Some(_) => assert_eq!(value, 1),
        }
        refused.into_iter().next().map_or(Ok(()), |refused| Err(refused.refusal.to_string()))
    }

    fn attempt(&mut self, request: FrontendReq, body: &[u64]) -> Result<(), String> {
        self.try_files(request, body, &[])
    }

    fn signal(&mut self, request: FrontendReq, ring: u32) -> Result<(), String> {
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        self.try_files(request, &[u64::from(ring)], &[event.as_raw_fd()])
    }

    fn add_region(&mut self, number: u64) -> Result<(), String> {
        let memory = self.memory.as_raw_fd();
        self.try_files(ADD_MEM_REG, &region(number), &[memory])
    }

    /// The rings on the data path now.
    fn attached(&self) -> Vec<u16> {
        let notes = self.mock.0.lock().unwrap();
        let rings = notes.attached.values().flat_map(|setup| setup.rings.iter().map(|ring| ring.index));
        rings.collect()
    }

    fn base(&mut self, ring: u32) -> u64 {
        self.ask(GET_VRING_BASE, &[state(ring, 0)]) >> 32
    }
}

/// "Vring state description": index, then number.
fn state(ring: u32, number: u32) -> u64 {
    u64::from(ring) | u64::from(number) << 32
}

/// Descriptor, used, available and log, as SET_VRING_ADDR orders them.
fn addresses(ring: u32) -> [u64; 5] {
    let start = 0x7000_0000 + u64::from(ring) * 0x1_0000;
    [u64::from(ring), start, start + 0x8000, start + 0x4000, 0]
}

/// Padding, guest address, size, user address, offset.
fn region(number: u64) -> [u64; 5] {
    let start = number * REGION_SIZE;
    [0, start, REGION_SIZE, 0x7000_0000 + start, start]
}

/// How many mappings of the memfd this process has.
fn mappings(memory: &OwnedFd) -> usize {
    let inode = rustix::fs::fstat(memory).unwrap().st_ino.to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(inode.as_str())).count()
}

#[test]
fn the_order_in_which_qemu_starts_a_guest() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(GET_FEATURES, &[]), OFFERED_MASK);
    assert_eq!(rig.ask(GET_PROTOCOL_FEATURES, &[]), PROTOCOL_OFFERED.bits());
    rig.tell(SET_PROTOCOL_FEATURES, &[PROTOCOL_OFFERED.bits()]);
    assert_eq!(rig.ask(GET_QUEUE_NUM, &[]), 2);
    assert_eq!(rig.ask(GET_MAX_MEM_SLOTS, &[]), 509);
    rig.tell(SET_OWNER, &[]);
    for ring in 0..2 {
        rig.signal(SET_VRING_CALL, ring).unwrap();
        rig.signal(SET_VRING_ERR, ring).unwrap();
    }
    rig.tell(RESET_DEVICE, &[]);
    for ring in 0..2 {
        rig.attempt(SET_VRING_ENABLE, &[state(ring, 1)]).unwrap();
    }
    assert_eq!(rig.mock.0.lock().unwrap().attaches, 0, "enabled long before there are addresses");
    rig.tell(SET_FEATURES, &[PROTOCOL_FEATURES | 1 << 32 | 1 << 15]);
    assert_eq!(rig.ask(GET_STATUS, &[]), 0);
    rig.tell(SET_STATUS, &[8]);
    rig.add_region(0).unwrap();
    rig.start_ring(0);
    assert_eq!(rig.attached(), [0]);
    rig.start_ring(1);
    assert_eq!(rig.attached(), [0, 1]);
    rig.tell(SET_STATUS, &[15]);
    assert_eq!(rig.ask(GET_STATUS, &[]), 15);
    let notes = rig.mock.0.lock().unwrap();
    let setup = &notes.attached[&PortIndex::new(7).unwrap()];
    assert_eq!(setup.features, 1 << 32 | 1 << 15, "without what only frontend and backend know");
    assert_eq!(setup.memory.regions(), 1);
    let ring = &setup.rings[1];
    assert_eq!(
        (ring.size, ring.descriptor, ring.available, ring.used),
        (256, 0x7001_0000, 0x7001_4000, 0x7001_8000)
    );
    assert!(ring.kick.is_some() && ring.call.is_some() && ring.error.is_some());
}

#[test]
fn what_runs_after_each_message() {
    type Step = (FrontendReq, Vec<u64>, &'static [u16]);
    let kick = |ring: u64| vec![ring | 0x100];
    let steps: Vec<Step> = vec![
        (SET_VRING_ENABLE, vec![state(1, 0)], &[0]),
        (SET_VRING_ENABLE, vec![state(1, 1)], &[0, 1]),
        // A queue reset of one ring (virtio 1.2, 2.6.1): the other goes on.
        (GET_VRING_BASE, vec![state(0, 0)], &[1]),
        (GET_VRING_BASE, vec![state(0, 0)], &[1]),
        (SET_VRING_NUM, vec![state(0, 64)], &[1]),
        (SET_VRING_BASE, vec![state(0, 0)], &[1]),
        (SET_VRING_ADDR, addresses(0).to_vec(), &[1]),
        (SET_VRING_KICK, kick(0), &[0, 1]),
        (SET_VRING_KICK, kick(0), &[0, 1]),
        (SET_VRING_CALL, kick(1), &[0, 1]),
        // Dirty logging is turned on like this, while rings run.
        (SET_VRING_ADDR, addresses(0).to_vec(), &[0, 1]),
        (SET_FEATURES, vec![PROTOCOL_FEATURES], &[0, 1]),
        // Without protocol features, what is started is enabled.
        (SET_VRING_ENABLE, vec![state(0, 0)], &[1]),
        (SET_FEATURES, vec![1 << 32], &[0, 1]),
        (SET_FEATURES, vec![PROTOCOL_FEATURES], &[1]),
        (SET_VRING_ENABLE, vec![state(0, 1)], &[0, 1]),
        // A reset by the driver stops; the frontend's enabling stays.
        (SET_STATUS, vec![0], &[]),
        (SET_FEATURES, vec![PROTOCOL_FEATURES], &[]),
        (SET_VRING_KICK, kick(0), &[0]),
        (SET_VRING_KICK, kick(1), &[0, 1]),
        (RESET_OWNER, vec![], &[]),
        (SET_VRING_KICK, kick(0), &[]),
        (SET_VRING_ENABLE, vec![state(0, 1)], &[0]),
        (RESET_DEVICE, vec![], &[]),
        (SET_FEATURES, vec![PROTOCOL_FEATURES], &[]),
        (SET_VRING_ENABLE, vec![state(0, 1)], &[]),
        (SET_VRING_KICK, kick(0), &[]),
        (SET_VRING_ADDR, addresses(0).to_vec(), &[]),
        (GET_VRING_BASE, vec![state(0, 0)], &[]),
        (SET_VRING_NUM, vec![state(0, 64)], &[]),
        (SET_VRING_KICK, kick(0), &[0]),
    ];
    let mut rig = Rig::running();
    for (number, (request, body, expected)) in steps.into_iter().enumerate() {
        if request == GET_VRING_BASE {
            rig.ask(request, &body);
        } else {
            rig.tell(request, &body);
        }
        assert_eq!(rig.attached(), expected, "step {number}: {request:?} {body:x?}");
    }
}

#[test]
fn a_ring_goes_on_where_the_data_path_left_it() {
    let mut rig = Rig::running();
    // Each message that touches rings lets the notes' data path consume ten buffers of each ring.
    rig.tell(SET_VRING_ENABLE, &[state(1, 1)]);
    let stopped = rig.base(0);
    assert!(stopped >= 20 && stopped.is_multiple_of(10), "{stopped}");
    assert_eq!(rig.base(0), stopped, "asked twice");
    rig.tell(SET_VRING_BASE, &[state(0, 5)]);
    rig.tell(SET_VRING_KICK, &[0x100]);
    let notes = rig.mock.0.lock().unwrap();
    assert_eq!(notes.attached[&PortIndex::new(7).unwrap()].rings[0].base, 5);
}

#[test]
fn memory_goes_and_comes_while_rings_run() {
    let mut rig = Rig::running();
    let memory = rig.memory.as_raw_fd();
    rig.attempt(REM_MEM_REG, &region(0)).unwrap();
    assert_eq!(rig.session.device().rings_running(), 0);
    assert!(rig.session.device().paused().is_some());
    rig.add_region(0).unwrap();
    assert_eq!(rig.session.device().rings_running(), 2);
    assert!(rig.session.device().paused().is_none());
    for number in 1..5 {
        rig.add_region(number).unwrap();
    }
    // "The back-end MAY accept messages with one file descriptor."
    rig.try_files(REM_MEM_REG, &region(3), &[memory]).unwrap();
    assert!(rig.attempt(REM_MEM_REG, &region(3)).unwrap_err().contains("no memory region"));
    assert!(rig.add_region(1).unwrap_err().contains("overlaps"));
    let table =
        [&[2, 0, REGION_SIZE, 0x7000_0000, 0][..], &[2 * REGION_SIZE, REGION_SIZE, 0x9000_0000, 0]].concat();
    rig.try_files(SET_MEM_TABLE, &table, &[memory, memory]).unwrap();
    assert_eq!(rig.session.device().setup().unwrap().memory.regions(), 2);
    let wraps = [1, 0, REGION_SIZE, u64::MAX - 5, 0];
    rig.send(SET_MEM_TABLE, NEED_REPLY, &wraps, &[memory]);
    assert!(matches!(rig.pump(), Err(SessionEnd::Malformed { .. })));
}

#[test]
fn five_hundred_and_nine_regions_are_legal_and_one_more_is_not() {
    let mut rig = Rig::running();
    ftruncate(&rig.memory, 600 * REGION_SIZE).unwrap();
    for number in 1..509 {
        rig.add_region(number).unwrap();
    }
    assert!(rig.add_region(509).unwrap_err().contains("509 memory regions, the most that are supported"));
    assert_eq!(rig.session.device().setup().unwrap().memory.regions(), 509);
}

#[test]
fn a_dirty_log_reaches_the_data_path_while_log_all_is_set() {
    let mut rig = Rig::running();
    let log_of = |rig: &Rig| {
        let notes = rig.mock.0.lock().unwrap();
        let setup = &notes.attached[&PortIndex::new(7).unwrap()];
        (setup.log.is_some(), setup.rings.iter().map(|ring| ring.used_log).collect::<Vec<_>>())
    };
    let file = rig.memory.as_raw_fd();
    rig.send(SET_LOG_BASE, 1, &[1 << 10, 4096], &[file]);
    rig.pump().unwrap();
    let (header, size) = rig.reply().unwrap();
    assert_eq!((header.code, header.size, size), (SET_LOG_BASE.into(), 16, 1 << 10));
    assert_eq!(log_of(&rig), (false, vec![None, None]), "a log alone is not used");
    let logged = |ring: u32| {
        let mut body = addresses(ring);
        body[0] |= 1 << 32;
        body[4] = 0x4000 + u64::from(ring);
        body
    };
    rig.tell(SET_VRING_ADDR, &logged(0));
    rig.tell(SET_VRING_ADDR, &logged(1));
    rig.tell(SET_FEATURES, &[PROTOCOL_FEATURES | LOG_ALL]);
    assert_eq!(log_of(&rig), (true, vec![Some(0x4000), Some(0x4001)]));
    rig.tell(SET_FEATURES, &[PROTOCOL_FEATURES]);
    assert!(!log_of(&rig).0);
    let size = 8 * REGION_SIZE;
    for (size, offset) in [(0, 0), (size, 1), (u64::MAX, 1), (1, u64::MAX), (size + 1, 0)] {
        let mut rig = Rig::running();
        let file = rig.memory.as_raw_fd();
        rig.send(SET_LOG_BASE, 1, &[size, offset], &[file]);
        let end = rig.pump().unwrap_err();
        let why = end.to_string();
        assert!(why.contains("memory") || why.contains("malformed"), "{size:#x} at {offset:#x}: {why}");
    }
}

#[test]
fn a_rarp_enters_the_switch_at_the_port() {
    let mut rig = Rig::running();
    let mac = u64::from_ne_bytes([0x52, 0x54, 0, 0, 0, 9, 0, 0]);
    rig.tell(SEND_RARP, &[mac]);
    let notes = rig.mock.0.lock().unwrap();
    assert_eq!(notes.announced.len(), 1);
    assert_eq!(notes.announced[0][6..12], [0x52, 0x54, 0, 0, 0, 9]);
}

#[test]
fn an_mtu_within_the_ports_is_taken() {
    let mut rig = Rig::negotiated();
    rig.attempt(NET_SET_MTU, &[1500]).unwrap();
    assert_eq!(rig.session.device().mtu(), Some(1500));
    rig.session.device().set_configured_mtu(9000);
    rig.attempt(NET_SET_MTU, &[9000]).unwrap();
}
