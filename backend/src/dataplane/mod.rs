//! The data path: workers that carry frames from ring to ring, and the control side's handle on them.
//!
//! The control thread hands a port's rings over with [`Dataplane::attach`] and takes them back with
//! [`Dataplane::detach`], which returns once every worker has let go of them at a burst boundary. Whatever
//! changes (an address, an eventfd, the memory map), the port is detached, changed and attached again.

mod assignment;
mod backlog;
mod buffers;
mod build;
mod deferral;
mod delivery;
mod device_queue;
mod handle;
mod held;
mod injector;
mod inlet;
mod kicks;
mod message;
mod offers;
mod orders;
mod outlet;
mod pace;
mod poller;
mod pressure;
mod pulse;
mod punts;
mod replicator;
mod shaping;
mod shared;
mod signal;
mod steering;
mod switching;
mod sync;
mod tap;
mod trains;
mod tunnels;
mod visits;
mod way;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use viaduct_switch::qos::PlanError;
use viaduct_switch::{Policy, PortIndex};

pub(crate) use self::handle::PAST;
pub use self::handle::{Dataplane, DataplaneError, ShapingReport, Stepped, TreeSetup};
pub use self::injector::Injector;
pub use self::offers::{OfferedFrame, Offers};
pub use self::pulse::Pulse;
pub use self::punts::ControlFrame;
pub use self::tap::{
    CaptureReader, CaptureShared, CaptureTally, CaptureWanted, Captured, Sample, SampleFate, TapCounters,
    TapTally, Wanted, Watch,
};
use crate::config::Polling;
use crate::device::{Device, DeviceFault, DeviceQueue};
use crate::memory::{DirtyLog, GuestMemory};
use crate::ring::{Ledger, RingError};

/// What the control side asks of the data path.
pub trait Datapath {
    /// Starts a port's rings. Gives the rings that could not start, with the reason; the others run.
    fn attach(&mut self, setup: PortSetup) -> Vec<(u16, RingError)>;

    /// Lets frames enter and leave by a device. What was attached to the port before is detached first.
    fn attach_device(&mut self, port: PortIndex, device: Device);

    /// Exchanges link `link` of the bond at `port` for another one. The bond's other links carry on meanwhile; what waited
    /// at the link that goes is lost and counted. What it goes by is closed once this returns.
    fn exchange_link(&mut self, port: PortIndex, link: u8, queue: DeviceQueue);

    /// Has all workers rest between two bursts until [`Datapath::work`]: rings and devices can come and go meanwhile without any frame that
    /// misses its receiver. What waits for receivers has a moment to get there.
    fn rest(&mut self) {}

    /// Has them go on.
    fn work(&mut self) {}

    /// Takes a port's rings back, once every worker has let go of them at a burst boundary; empty if the port
    /// was not attached. A device is closed.
    fn detach(&mut self, port: PortIndex) -> Vec<RingPosition>;

    /// Lets a frame without tags enter the switch at `port` as if its guest had sent it in each of the port's networks, with
    /// their tags. Announcements that come faster than workers should be kept busy with them are left out.
    fn announce(&mut self, port: PortIndex, frame: Vec<u8>);

    /// Lets a frame leave by link `link` (0 where a port has one) of `port`, whatever the switch thinks of it.
    fn emit(&mut self, port: PortIndex, link: u8, frame: Vec<u8>);

    /// Throws away what waits at link `link` of `port`, which carries no more: when it does again, all of that would be
    /// too late.
    fn purge(&mut self, port: PortIndex, link: u8);

    /// Throws away all that waits for `port`, which is detached and no more: its number may become another one's.
    fn forget(&mut self, port: PortIndex) {
        let _ = port;
    }

    /// Makes every worker use `policy`; returns once they do.
    fn set_policy(&mut self, policy: Arc<Policy>);

    /// Has these trees of queues, and no others, stand before ports' own; returns once every worker knows. A tree of a name that was
    /// there keeps what waits in it; one that is gone passes that on first, in its order. Gives the trees whose plans are no good,
    /// with the reason; where one of that name was, it goes on.
    fn set_shaping(&mut self, wanted: Vec<TreeSetup>) -> Vec<(Arc<str>, PlanError)> {
        let _ = wanted;
        Vec::new()
    }

    /// What the trees did so far.
    fn shaping(&self) -> Vec<ShapingReport> {
        Vec::new()
    }

    /// Makes every worker wait for frames in this way; returns once they do.
    fn set_polling(&mut self, polling: Polling);

    /// Has samples taken of what enters, until the watch is dropped.
    fn watch(&mut self, wanted: Wanted) -> (Watch, Arc<TapCounters>) {
        let (watch, counters, _) = tap::taps(0, wanted);
        (watch, counters)
    }

    /// Has whole frames of some ports captured, until the reader is dropped.
    fn capture(&mut self, wanted: CaptureWanted) -> (CaptureReader, Arc<CaptureShared>) {
        let (reader, shared, _) = tap::captures(0, wanted, std::time::Instant::now());
        (reader, shared)
    }

    /// Asks every worker for a sign of life; whoever gets the pulse waits for them.
    fn pulse(&mut self) -> Pulse {
        Pulse::of(Vec::new()).0
    }
}

/// What the data path tells the control side.
#[derive(Debug)]
pub enum DataplaneEvent {
    /// The guest broke a ring: it is stopped, and the others of the port run on.
    RingBroken {
        /// The port.
        port: PortIndex,
        /// The ring's number.
        ring: u16,
        /// What was wrong.
        error: RingError,
    },
    /// A frame came in for a protocol that the control side speaks on the port.
    Control(ControlFrame),
    /// A device carries no more frames: it is left alone until it is detached and attached anew. Told once.
    DeviceFailed {
        /// The port.
        port: PortIndex,
        /// The queue, which is the link of a bond.
        link: u8,
        /// What was wrong.
        error: DeviceFault,
    },
}

/// An eventfd shared by the session and the data path; checked to be an eventfd when it came in.
pub type Signal = Arc<OwnedFd>;

/// All that the data path needs to run one port's rings.
#[derive(Clone, Debug)]
pub struct PortSetup {
    /// The port.
    pub port: PortIndex,
    /// Virtio features in force (those that the driver accepted).
    pub features: u64,
    /// The guest's memory as it is mapped now.
    pub memory: GuestMemory,
    /// Where writes to the guest's memory are noted while it is being migrated.
    pub log: Option<Arc<DirtyLog>>,
    /// Where packed rings note how far they have come.
    pub ledger: Option<Ledger>,
    /// The rings to run: started and enabled ones only.
    pub rings: Vec<RingSetup>,
}

/// One ring, as the frontend described it; a packed one if VIRTIO_F_RING_PACKED is in force.
#[derive(Clone, Debug)]
pub struct RingSetup {
    /// Its number: even ones receive for the guest, odd ones transmit (virtio 1.2, 5.1.2).
    pub index: u16,
    /// Entries, 1 to 32768: a power of two in a split ring.
    pub size: u16,
    /// Available entries consumed so far, modulo 65536; in a packed ring the next slot, with the wrap counter in bit 15.
    pub base: u16,
    /// Address of the descriptor table or ring, in the frontend's address space.
    pub descriptor: u64,
    /// Address of the available ring or driver area, in the frontend's address space.
    pub available: u64,
    /// Address of the used ring or device area, in the frontend's address space.
    pub used: u64,
    /// The used ring's or device area's guest-physical address, if its writes are to be noted in the dirty log.
    pub used_log: Option<u64>,
    /// Written by the guest when it made buffers available; `None`: the ring has to be polled.
    pub kick: Option<Signal>,
    /// Written by us when we used buffers; `None`: the guest polls.
    pub call: Option<Signal>,
    /// Written by us when the ring is broken.
    pub error: Option<Signal>,
}

/// Where a ring stopped: what SET_VRING_BASE takes to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingPosition {
    /// The ring's number.
    pub index: u16,
    /// As in [`RingSetup`]; all that was taken is completed.
    pub base: u16,
}

#[cfg(test)]
mod tests;
