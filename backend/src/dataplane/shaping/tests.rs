//! Trees without a worker: the time is what a test says, and what leaves is written down by made-up devices.

mod cutting;
mod scale;
mod visits;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use viaduct_switch::offload::Capabilities;
use viaduct_switch::qos::{
    BitRate, Burst as Bytes, FifoPlan, QueuePlan, RootPlan, TbfPlan, TreeLimits, TreePlan,
};
use viaduct_switch::{
    Claims, DropReason, Gso, GsoKind, Limits, Nanos, NetworkIndex, NetworkSettings, PartialChecksum, Policy,
    PortIndex, PortPolicy, Switch, TakenTag,
};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::dataplane::build::build_device;
use crate::dataplane::delivery::{Delivered, Outbox, Workshop};
use crate::dataplane::message::Message;
use crate::dataplane::offers::Offers;
use crate::dataplane::outlet::Outlet;
use crate::dataplane::punts::punts;
use crate::dataplane::shared::{Reporter, WorkerShared};
use crate::dataplane::sync::mailbox::{Mailbox, Postbox, mailbox};
use crate::dataplane::sync::primitives::Bell;
use crate::dataplane::tests::eventfd;
use crate::dataplane::visits::{ADDRESSEES, Delivery, visitor};
use crate::device::{
    BondLinks, Device, DeviceFault, DeviceKind, DeviceQueue, Exit, Intake, Outgoing, OutgoingFrame, Sent,
};
use crate::ring::Burst;

/// A frame that left.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Got {
    at: Nanos,
    port: usize,
    queue: usize,
    header: [u8; 12],
    bytes: Vec<u8>,
}

/// What devices know of their world.
#[derive(Default)]
struct World {
    now: AtomicU64,
    got: Mutex<Vec<Got>>,
    /// No device has room.
    full: AtomicBool,
}

struct Silent;

impl Intake for Silent {
    fn read(&mut self, _: PortIndex, _: &mut Burst) -> Result<u16, DeviceFault> {
        Ok(0)
    }

    fn complete(&mut self) {}

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        Ok(false)
    }
}

/// The way out of a device's queue.
struct Noting {
    world: Arc<World>,
    port: usize,
    queue: usize,
}

impl Exit for Noting {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        if self.world.full.load(SeqCst) {
            return Ok(Sent::default());
        }
        let got = |frame: OutgoingFrame<'_>| {
            // SAFETY: the frame lies there until the call returns.
            let piece = |piece: &crate::memory::Segment| unsafe {
                std::slice::from_raw_parts(piece.host, piece.len as usize).to_vec()
            };
            Got {
                at: Nanos(self.world.now.load(SeqCst)),
                port: self.port,
                queue: self.queue,
                header: *frame.header,
                bytes: frame.pieces.iter().flat_map(piece).collect(),
            }
        };
        self.world.got.lock().unwrap().extend(frames.iter().map(got));
        Ok(Sent { done: frames.len(), refused: 0, lost: 0 })
    }
}

/// One worker's part of a data path with trees.
struct Lab {
    world: Arc<World>,
    switch: Switch,
    policy: Policy,
    outlets: Vec<Option<Arc<Outlet>>>,
    trees: Vec<(Arc<Shaper>, Vec<PortIndex>)>,
    memory: ShapingMemory,
    shaping: Shaping,
    postbox: Arc<Postbox<Message>>,
    mailbox: Mailbox<Message>,
    shared: WorkerShared,
    reporter: Reporter,
    waiting: Vec<(PortIndex, u16, Instant)>,
    workshop: Workshop,
    started: Instant,
    now: Nanos,
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

/// Ports of one network, without tags.
fn plain_policy(count: usize) -> Policy {
    let ports = (0..count).map(|index| (port(index), PortPolicy::new(network(0), 1500)));
    Policy::compile(ports, [(network(0), NetworkSettings::default())]).unwrap()
}

fn reporter() -> Reporter {
    let wake = Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap());
    Reporter {
        events: std::sync::mpsc::channel().0,
        wake,
        punts: punts().0,
        offers: Arc::<Offers>::default(),
    }
}

impl Lab {
    /// Ports 0 to `count` of one network, of which those from 1 on are devices with one queue.
    fn new(count: usize) -> Self {
        let (postbox, mailbox) = mailbox(Bell::new().unwrap());
        let mut lab = Self {
            world: Arc::default(),
            switch: Switch::new(1, Limits::default()),
            policy: plain_policy(count),
            outlets: (0..count).map(|_| None).collect(),
            trees: Vec::new(),
            memory: ShapingMemory::default(),
            shaping: Shaping::new(0),
            postbox: Arc::new(postbox),
            mailbox,
            shared: WorkerShared::default(),
            reporter: reporter(),
            waiting: Vec::new(),
            workshop: Workshop::new(),
            started: Instant::now(),
            now: Nanos(0),
        };
        (1..count).for_each(|index| lab.plug(index, 1, None));
        lab
    }

    /// Puts a device with so many queues, or links of a bond, behind a port; it takes super-frames.
    fn plug(&mut self, index: usize, queues: usize, bond: Option<BondLinks>) {
        let queue = |queue| DeviceQueue {
            intake: Box::new(Silent),
            readable: eventfd(),
            exit: Box::new(Noting { world: Arc::clone(&self.world), port: index, queue }),
            writable: eventfd(),
        };
        let device = Device {
            kind: DeviceKind::AfPacket,
            reason: String::new(),
            index: 1,
            mtu: 1500,
            address: [2; 6],
            capabilities: Capabilities { checksum: true, tso4: true, tso6: true, ..Capabilities::default() },
            bond,
            queues: (0..queues).map(queue).collect(),
        };
        self.outlets[index] = build_device(port(index), device).outlet.map(Arc::new);
        self.trees.iter().for_each(|(tree, _)| tree.note_return(port(index)));
        self.read_messages();
    }

    /// Puts a tree before these ports' queues.
    fn shape(&mut self, plan: &TreePlan, ports: &[usize]) -> Arc<Shaper> {
        self.shape_all(&[(plan.clone(), ports.to_vec())]);
        Arc::clone(&self.trees.last().unwrap().0)
    }

    fn shape_all(&mut self, trees: &[(TreePlan, Vec<usize>)]) {
        trees.iter().for_each(|(plan, ports)| self.add(plan, ports));
        self.shaping.set_table(Arc::new(Table::new(self.trees.iter().cloned())));
    }

    fn add(&mut self, plan: &TreePlan, ports: &[usize]) {
        let id = u32::try_from(self.trees.len()).unwrap();
        let owner = (0, Arc::clone(&self.postbox));
        let tree = Arc::new(Shaper::new(id, plan, owner, &self.memory, self.now).unwrap());
        let ports: Vec<_> = ports.iter().map(|index| port(*index)).collect();
        tree.set_ports(&ports);
        self.trees.push((tree, ports));
    }

    fn instant(&self) -> Instant {
        self.started + Duration::from_nanos(self.now.0)
    }

    /// A worker of port 0 brings a frame to a port.
    fn send(&mut self, to: usize, bytes: &[u8], claims: Claims) {
        self.send_as(to, bytes, claims, None);
    }

    /// The same frame several times, in one visit.
    fn send_copies(&mut self, to: usize, bytes: &[u8], claims: Claims, copies: usize) {
        self.bring(to, bytes, (claims, None), copies);
    }

    /// The same, of a frame whose tags said this.
    fn send_as(&mut self, to: usize, bytes: &[u8], claims: Claims, tag: Option<TakenTag>) {
        self.bring(to, bytes, (claims, tag), 1);
    }

    fn bring(&mut self, to: usize, bytes: &[u8], (claims, tag): (Claims, Option<TakenTag>), copies: usize) {
        let mut bytes = bytes.to_vec();
        let (mut burst, mut outbox) = (Burst::new(port(0)), Outbox::default());
        burst.load(port(0), &mut bytes);
        (0..copies).for_each(|_| outbox.push(port(to), 0, false));
        let (now, started) = (self.instant(), self.started);
        let (frames, segments) = burst.parts();
        (frames[0].meta.claims, frames[0].meta.tag) = (claims, tag);
        let mut delivery = Delivery {
            to: Delivered {
                switch: &self.switch,
                policy: Some(&self.policy),
                frames,
                segments,
                workshop: &mut self.workshop,
                mergeable: None,
                now: self.now,
                notes: None,
            },
            outlets: &self.outlets,
            link: None,
            shaping: &mut self.shaping,
            shared: &self.shared,
            reporter: &self.reporter,
            waiting: &mut self.waiting,
            now,
            started,
            now_s: u16::try_from(self.now.0 / 1_000_000_000).unwrap(),
            flooded: 0,
            reached: 0,
            addressees: [None; ADDRESSEES],
            untold: None,
        };
        delivery.all(outbox.groups());
    }

    /// What was told to the worker.
    fn read_messages(&mut self) {
        while let Some(message) = self.mailbox.take() {
            let Message::Depart { tree, at } = message else { continue };
            self.shaping.bring(tree, at);
        }
    }

    /// One round of the worker, as far as its trees are concerned.
    fn round(&mut self) {
        let leaving = Leaving {
            switch: &self.switch,
            outlets: &self.outlets,
            now: self.now,
            now_s: u16::try_from(self.now.0 / 1_000_000_000).unwrap(),
        };
        let now = self.started + Duration::from_nanos(self.now.0);
        let mut visited = visitor(&self.shared, &self.reporter, &mut self.waiting, now);
        self.shaping.see_to_trees(&leaving, &mut visited);
    }

    /// Sees to trees as their times come.
    fn run(&mut self, until: Nanos) {
        while let Some(at) = self.shaping.next().filter(|at| *at <= until) {
            self.set_now(self.now.max(at));
            self.round();
        }
        self.set_now(until);
    }

    fn set_now(&mut self, now: Nanos) {
        self.now = now;
        self.world.now.store(now.0, SeqCst);
    }

    /// What left since the last call.
    fn take(&self) -> Vec<Got> {
        std::mem::take(&mut self.world.got.lock().unwrap())
    }

    fn drops(&self, index: usize, reason: DropReason) -> u64 {
        self.switch.counters().port(port(index)).drops(reason)
    }
}

fn bits(bits: u64) -> BitRate {
    BitRate::new(bits).unwrap()
}

fn bytes(bytes: u32) -> Bytes {
    Bytes::new(bytes).unwrap()
}

fn of_queue(queue: QueuePlan) -> TreePlan {
    let limits = TreeLimits::default();
    TreePlan { root: RootPlan::Queue(queue), filters: Vec::new(), overhead_bytes: 0, limits }
}

/// A token bucket before a queue of so many frames.
fn bucket(rate: u64, burst: u32, frames: u32) -> TreePlan {
    let queue = QueuePlan::Fifo(FifoPlan { frames, ..FifoPlan::default() });
    let plan = TbfPlan { rate: bits(rate), burst: bytes(burst), peak: None, queue };
    of_queue(QueuePlan::Tbf(Box::new(plan)))
}

/// A TCP packet over IPv4 of `payload` bytes, whose class of service and sequence number are these.
fn tcp(payload: usize, traffic_class: u8, number: u32) -> Vec<u8> {
    let mut bytes = vec![0x5a; 54 + payload];
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 8, 0]);
    let total = u16::try_from(40 + payload).unwrap().to_be_bytes();
    let header = [0x45, traffic_class, total[0], total[1], 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    bytes[14..34].copy_from_slice(&header);
    bytes[34..54].copy_from_slice(&[0, 80, 0, 90, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes[38..42].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// What a sender claims about a TCP super-frame whose segments have `size` bytes.
fn tso(size: u16) -> Claims {
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    Claims { checksum, gso: Some(Gso { kind: GsoKind::Tcp4, size, ecn: false }) }
}

/// The sequence number of a packet as [`tcp`] makes it.
fn number(got: &Got) -> u32 {
    u32::from_be_bytes(got.bytes[38..42].try_into().unwrap())
}
