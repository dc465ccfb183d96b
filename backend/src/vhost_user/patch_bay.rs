//! The control side's access to the data path, which never mixes a ring's past with its present.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use viaduct_switch::qos::PlanError;
use viaduct_switch::{Nanos, Policy, PortIndex};

use crate::config::Polling;
use crate::dataplane::{
    CaptureReader, CaptureShared, CaptureWanted, ControlFrame, Datapath, Dataplane, DataplaneEvent,
    PortSetup, Pulse, RingPosition, ShapingReport, TapCounters, TreeSetup, Wanted, Watch,
};
use crate::device::{Device, DeviceFault, DeviceKind, DeviceQueue, LentDevice, RingShape};
use crate::model::{NumaStatus, WorkerStatus};
use crate::ring::RingError;

/// The data path as the control thread runs it.
pub trait Engine: Datapath {
    /// Readable when [`Engine::take_events`] has something.
    fn events(&self) -> RawFd;

    /// What happened since the last call.
    fn take_events(&mut self) -> Vec<DataplaneEvent>;

    /// To be called every 100 ms while a port is attached, and as long as it has leftovers.
    fn tick(&mut self);

    /// Whether there is something left to do of ports that are not attached any more.
    fn has_leftovers(&self) -> bool {
        false
    }

    /// The workers' counters.
    fn workers(&self) -> Vec<WorkerStatus>;

    /// Where a port's guest has its memory; `None`: nobody tells.
    fn numa(&self, _port: PortIndex) -> Option<NumaStatus> {
        None
    }

    /// The switch's time.
    fn now(&self) -> Nanos;
}

impl Engine for Dataplane {
    fn events(&self) -> RawFd {
        Self::events(self).as_raw_fd()
    }

    fn take_events(&mut self) -> Vec<DataplaneEvent> {
        Self::take_events(self)
    }

    fn tick(&mut self) {
        Self::tick(self);
    }

    fn has_leftovers(&self) -> bool {
        Self::has_leftovers(self)
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        Self::workers(self)
    }

    fn numa(&self, port: PortIndex) -> Option<NumaStatus> {
        Self::numa(self, port)
    }

    fn now(&self) -> Nanos {
        Self::now(self)
    }
}

/// Control frames that are kept until they are asked for.
const CONTROL_FRAMES: usize = 1024;

/// A ring that its guest broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenRing {
    /// The port.
    pub port: PortIndex,
    /// The ring's number.
    pub ring: u16,
    /// How.
    pub error: RingError,
}

/// A device that carries no more frames, or one link of a bond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailedDevice {
    /// The port.
    pub port: PortIndex,
    /// The link that failed, where the port is a bond; else all of it did.
    pub link: Option<u8>,
    /// What was wrong.
    pub error: DeviceFault,
}

/// What is known of a device.
#[derive(Clone, Debug)]
struct DeviceNote {
    is_bond: bool,
    /// It as another process could go on with it, if one could.
    lent: Option<LentDevice>,
    /// The links whose failure was told, a bit each.
    told: u64,
}

impl DeviceNote {
    /// What to tell of a failure, which is told once.
    fn tell(&mut self, port: PortIndex, link: u8, error: DeviceFault) -> Option<FailedDevice> {
        let link = self.is_bond.then_some(link);
        let bit = 1 << (link.unwrap_or(0) % 64);
        let is_news = self.told & bit == 0;
        self.told |= bit;
        is_news.then_some(FailedDevice { port, link, error })
    }
}

/// What detaching a port gives back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Detached {
    /// Where its rings stopped.
    pub positions: Vec<RingPosition>,
    /// Rings that broke before.
    pub broken: Vec<BrokenRing>,
}

/// Hands ports to the engine and takes them back.
///
/// A ring's breaking is told by an event that may still wait when the port is detached. It is delivered with
/// the detached port, so that nobody later takes it for the breaking of the ring's next life.
pub struct PatchBay {
    engine: Box<dyn Engine>,
    broken: Vec<BrokenRing>,
    control: Vec<ControlFrame>,
    /// Ports that are devices.
    devices: HashMap<PortIndex, DeviceNote>,
    failed: Vec<FailedDevice>,
    attached: usize,
}

impl PatchBay {
    /// Access to `engine`.
    #[must_use]
    pub fn new(engine: Box<dyn Engine>) -> Self {
        let (broken, control, failed, devices) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        Self { engine, broken, control, devices, failed, attached: 0 }
    }

    /// Starts a port's rings; gives those that could not start. [`PatchBay::detach`] must follow one day.
    pub fn attach(&mut self, setup: PortSetup) -> Vec<(u16, RingError)> {
        self.attached += 1;
        self.engine.attach(setup)
    }

    /// Takes the rings of an attached port back.
    pub fn detach(&mut self, port: PortIndex) -> Detached {
        self.attached = self.attached.saturating_sub(1);
        let positions = self.engine.detach(port);
        self.collect();
        let (broken, others) =
            std::mem::take(&mut self.broken).into_iter().partition(|ring| ring.port == port);
        self.broken = others;
        Detached { positions, broken }
    }

    /// Has no frame go anywhere until [`PatchBay::work`]: what is attached and detached meanwhile changes places all at once.
    pub fn rest(&mut self) {
        self.engine.rest();
    }

    /// Has frames go on.
    pub fn work(&mut self) {
        self.engine.work();
    }

    /// Lets frames enter and leave by a device at a port that has nothing attached. [`PatchBay::detach_device`] must
    /// follow one day, also when the device fails.
    pub fn attach_device(&mut self, port: PortIndex, device: Device) {
        self.attached += 1;
        let note = DeviceNote { is_bond: device.bond.is_some(), lent: lent(&device), told: 0 };
        self.devices.insert(port, note);
        self.engine.attach_device(port, device);
    }

    /// Exchanges a link of the bond at a port; what the one that goes still has to say is forgotten.
    pub fn exchange_link(&mut self, port: PortIndex, link: u8, queue: DeviceQueue) {
        self.engine.exchange_link(port, link, queue);
        self.collect();
        if let Some(note) = self.devices.get_mut(&port) {
            note.told &= !(1 << (link % 64));
        }
        self.failed.retain(|failed| (failed.port, failed.link) != (port, Some(link)));
    }

    /// Closes the device of a port; what it still has to say is forgotten.
    pub fn detach_device(&mut self, port: PortIndex) {
        if self.devices.contains_key(&port) {
            self.attached = self.attached.saturating_sub(1);
            self.engine.detach(port);
            self.collect();
            self.devices.remove(&port);
            self.failed.retain(|failed| failed.port != port);
        }
    }

    /// As [`PatchBay::detach_device`], but it stays open as long as what is given back is there; `None` if it cannot.
    pub fn suspend_device(&mut self, port: PortIndex) -> Option<LentDevice> {
        let mut lent = self.devices.get_mut(&port)?.lent.take()?;
        self.attached = self.attached.saturating_sub(1);
        let stopped = self.engine.detach(port);
        self.collect();
        self.devices.remove(&port);
        self.failed.retain(|failed| failed.port != port);
        if let Some((_, next)) = &mut lent.ring {
            *next = stopped.iter().map(|position| position.base).collect();
        }
        Some(lent)
    }

    /// Devices and links that carry no more frames, each told once: they are to be detached.
    pub fn take_failed(&mut self) -> Vec<FailedDevice> {
        self.collect();
        std::mem::take(&mut self.failed)
    }

    /// Whether [`PatchBay::tick`] has something to do.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        self.attached > 0 || self.engine.has_leftovers()
    }

    /// The switch's time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.engine.now()
    }

    /// Rings that broke, of all ports.
    pub fn take_broken(&mut self) -> Vec<BrokenRing> {
        self.collect();
        std::mem::take(&mut self.broken)
    }

    /// Lets a frame enter each network of `port`.
    pub fn announce(&mut self, port: PortIndex, frame: Vec<u8>) {
        self.engine.announce(port, frame);
    }

    /// Lets a frame leave by a link of `port`.
    pub fn emit(&mut self, port: PortIndex, link: u8, frame: Vec<u8>) {
        self.engine.emit(port, link, frame);
    }

    /// Throws away what waits at a link of `port`.
    pub fn purge(&mut self, port: PortIndex, link: u8) {
        self.engine.purge(port, link);
    }

    /// Control frames that came in, of all ports, in order.
    pub fn take_control(&mut self) -> Vec<ControlFrame> {
        self.collect();
        std::mem::take(&mut self.control)
    }

    /// Makes every worker use `policy`.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.engine.set_policy(policy);
    }

    /// Throws away all that waits for `port`, which is detached and no more.
    pub fn forget(&mut self, port: PortIndex) {
        self.engine.forget(port);
    }

    /// Has these trees of queues, and no others, stand before ports' own; gives those whose plans are no good.
    pub fn set_shaping(&mut self, wanted: Vec<TreeSetup>) -> Vec<(Arc<str>, PlanError)> {
        self.engine.set_shaping(wanted)
    }

    /// What the trees did so far.
    #[must_use]
    pub fn shaping(&self) -> Vec<ShapingReport> {
        self.engine.shaping()
    }

    /// Makes every worker wait for frames in this way.
    pub fn set_polling(&mut self, polling: Polling) {
        self.engine.set_polling(polling);
    }

    /// Has whole frames of some ports captured, until the reader is dropped.
    pub fn capture(&mut self, wanted: CaptureWanted) -> (CaptureReader, Arc<CaptureShared>) {
        self.engine.capture(wanted)
    }

    /// Has samples taken of what enters, until the watch is dropped.
    pub fn watch(&mut self, wanted: Wanted) -> (Watch, Arc<TapCounters>) {
        self.engine.watch(wanted)
    }

    /// Asks every worker for a sign of life.
    pub fn pulse(&mut self) -> Pulse {
        self.engine.pulse()
    }

    /// Readable when [`PatchBay::take_broken`] has something.
    #[must_use]
    pub fn events(&self) -> RawFd {
        self.engine.events()
    }

    /// See [`Engine::tick`].
    pub fn tick(&mut self) {
        self.engine.tick();
    }

    /// The workers' counters.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.engine.workers()
    }

    /// Where a port's guest has its memory; `None`: no guest runs there, or nobody tells.
    #[must_use]
    pub fn numa(&self, port: PortIndex) -> Option<NumaStatus> {
        self.engine.numa(port)
    }

    fn collect(&mut self) {
        for event in self.engine.take_events() {
            match event {
                DataplaneEvent::RingBroken { port, ring, error } => {
                    self.broken.push(BrokenRing { port, ring, error });
                }
                DataplaneEvent::Control(frame) if self.control.len() < CONTROL_FRAMES => {
                    self.control.push(frame);
                }
                // Whoever sent it will say it again.
                DataplaneEvent::Control(_) => {}
                // Each of its queues may say so.
                DataplaneEvent::DeviceFailed { port, link, error } => {
                    let note = self.devices.get_mut(&port);
                    self.failed.extend(note.and_then(|note| note.tell(port, link, error)));
                }
            }
        }
    }
}

/// What another process needs to go on with a device. Sockets of AF_XDP share memory with this one, and a bond has more to it.
fn lent(device: &Device) -> Option<LentDevice> {
    let ring = match device.kind {
        DeviceKind::Tap => None,
        DeviceKind::AfPacket => Some((RingShape::of(device.mtu), Vec::new())),
        DeviceKind::Auto | DeviceKind::AfXdp => return None,
    };
    let files = device.queues.iter().map(|queue| Arc::clone(&queue.readable)).collect();
    device.bond.is_none().then_some(LentDevice { kind: device.kind, files, ring })
}
