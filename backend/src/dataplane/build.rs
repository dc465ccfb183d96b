//! Builds a port's rings from what the frontend described.

use std::sync::Arc;
use std::time::Instant;

use viaduct_switch::PortIndex;
use viaduct_switch::offload::Capabilities;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net as net;

use super::backlog::Backlog;
use super::deferral::Deferral;
use super::inlet::Inlet;
use super::outlet::{Kick, Outlet, ReceiveQueue};
use super::pace::Pace;
use super::steering::Steering;
use super::sync::primitives::Mutex;
use super::way::{WayIn, WayOut};
use super::{PortSetup, RingSetup};
use crate::device::{Device, DeviceQueue};
use crate::ring::{Core, ReceiveRing, RingError, RingLog, TransmitRing};
use crate::vhost_user::features::LOG_ALL;

/// What came of a port's description.
pub(super) struct Built {
    pub(super) outlet: Option<Outlet>,
    pub(super) inlets: Vec<Inlet>,
    /// Frames that had waited and have no queue any more.
    pub(super) lost: u64,
    /// Rings that can't run, and why.
    pub(super) refused: Vec<(u16, RingError)>,
}

/// What is kept while a port is detached: the frames that wait for it, and the way of its flows.
pub(super) struct Parked {
    features: u64,
    queues: Vec<(u16, Backlog)>,
    steering: Option<Steering>,
    /// It was there when backlogs were last tidied up.
    pub(super) is_old: bool,
}

impl Parked {
    /// For a port with these features: frames are laid out for them.
    pub(super) fn new(features: u64, steering: Option<Steering>) -> Self {
        Self { features: features & !LOG_ALL, queues: Vec::new(), steering, is_old: false }
    }

    pub(super) fn add(&mut self, index: u16, backlog: Backlog) {
        if !backlog.is_empty() {
            self.queues.push((index, backlog));
        }
    }

    pub(super) fn frames(&self) -> u64 {
        self.queues.iter().map(|(_, backlog)| backlog.len() as u64).sum()
    }

    fn take(&mut self, index: u16, features: u64) -> Option<Backlog> {
        let place = self.queues.iter().position(|(queue, _)| *queue == index)?;
        (self.features == features & !LOG_ALL).then(|| self.queues.swap_remove(place).1)
    }
}

pub(super) fn build(setup: &PortSetup, parked: Option<Parked>) -> Built {
    let mut parked = parked.unwrap_or_else(|| Parked::new(setup.features, None));
    let share = Arc::default();
    let (mut inlets, mut refused) = (Vec::new(), Vec::new());
    let (mut queues, mut kicks, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    for ring in &setup.rings {
        let log = setup.log.clone().map(|log| RingLog { log, used: ring.used_log });
        let core = Core::new(ring, &setup.memory, setup.features)
            .map(|core| core.logged(log).kept(setup.ledger.as_ref(), ring, setup.features));
        match core {
            Err(error) => refused.push((ring.index, error)),
            Ok(core) if ring.index % 2 == 1 => inlets.push(inlet(setup, ring, core)),
            Ok(core) => {
                let waiting = parked.take(ring.index, setup.features);
                let backlog = waiting.unwrap_or_else(|| Backlog::new(&share));
                queues.push(Arc::new(Mutex::new(queue(setup, ring, core, backlog))));
                kicks.push(ring.kick.clone().map_or(Kick::Never, Kick::Written));
                pairs.push(ring.index / 2);
            }
        }
    }
    let capabilities = capabilities(setup.features);
    let steering = Steering::new(pairs, parked.steering.take());
    let outlet = (!queues.is_empty()).then(|| Outlet {
        port: setup.port,
        capabilities,
        queues,
        steering,
        kicks,
        bond: None,
    });
    Built { outlet, inlets, lost: parked.frames(), refused }
}

/// The ways of a device. Its queues have the numbers of a guest's rings: queue 0 sends by number 0 and reads as number 1.
pub(super) fn build_device(port: PortIndex, device: Device) -> Built {
    let share = Arc::default();
    let (mut inlets, mut queues, mut kicks, mut pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (pair, queue) in (0..).zip(device.queues) {
        let link = if device.bond.is_some() { u8::try_from(pair).unwrap_or(u8::MAX) } else { 0 };
        let (inlet, queue, kick) = device_ways(port, (pair, link), queue, Backlog::new(&share));
        inlets.push(inlet);
        queues.push(Arc::new(Mutex::new(queue)));
        kicks.push(kick);
        pairs.push(pair);
    }
    // A bond spreads flows by itself.
    let steering = if device.bond.is_some() { None } else { Steering::new(pairs, None) };
    let capabilities = device.capabilities;
    let outlet = (!queues.is_empty()).then(|| Outlet {
        port,
        capabilities,
        queues,
        steering,
        kicks,
        bond: device.bond,
    });
    Built { outlet, inlets, lost: 0, refused: Vec::new() }
}

/// The ways of another device in the place of a bond's link: those in, and an outlet that shares all other links' queues.
pub(super) fn build_link(before: &Outlet, link: u8, queue: DeviceQueue) -> Built {
    let number = u16::from(link);
    let backlog = before.queue(number).map_or_else(Backlog::default, |queue| queue.lock().backlog.beside());
    let (inlet, queue, kick) = device_ways(before.port, (number, link), queue, backlog);
    let outlet = Some(before.with_queue(number, queue, kick));
    Built { outlet, inlets: vec![inlet], lost: 0, refused: Vec::new() }
}

/// The ways of one queue of a device, which has a number and, in a bond, a link's.
fn device_ways(
    port: PortIndex,
    (pair, link): (u16, u8),
    queue: DeviceQueue,
    backlog: Backlog,
) -> (Inlet, ReceiveQueue, Kick) {
    let DeviceQueue { intake, readable, exit, writable } = queue;
    let inlet = Inlet {
        port,
        index: 2 * pair + 1,
        link,
        way: WayIn::Device(intake),
        kick: Some(readable),
        call: None,
        error: None,
        polled: true,
        broken: false,
        pace: Pace::new(Instant::now()),
        deferral: Deferral::default(),
        meter: Arc::default(),
        pressure: None,
    };
    let queue = ReceiveQueue {
        index: 2 * pair,
        way: WayOut::device(exit),
        call: None,
        error: None,
        backlog,
        armed: false,
        listed: false,
        broken: None,
    };
    (inlet, queue, Kick::Writable(writable))
}

fn has(features: u64, bit: u32) -> bool {
    features & (1 << bit) != 0
}

/// The header has 12 bytes with merged buffers or a modern driver, else 10 (virtio 1.2, 5.1.6.1).
fn header_len(features: u64) -> usize {
    let long = has(features, net::VIRTIO_NET_F_MRG_RXBUF) || has(features, VIRTIO_F_VERSION_1);
    if long { 12 } else { 10 }
}

fn capabilities(features: u64) -> Capabilities {
    Capabilities {
        checksum: has(features, net::VIRTIO_NET_F_GUEST_CSUM),
        tso4: has(features, net::VIRTIO_NET_F_GUEST_TSO4),
        tso6: has(features, net::VIRTIO_NET_F_GUEST_TSO6),
        ecn: has(features, net::VIRTIO_NET_F_GUEST_ECN),
        ufo: has(features, net::VIRTIO_NET_F_GUEST_UFO),
        uso4: has(features, net::VIRTIO_NET_F_GUEST_USO4),
        uso6: has(features, net::VIRTIO_NET_F_GUEST_USO6),
    }
}

fn inlet(setup: &PortSetup, ring: &RingSetup, core: Core) -> Inlet {
    Inlet {
        port: setup.port,
        index: ring.index,
        link: 0,
        way: WayIn::Ring(TransmitRing::new(core, header_len(setup.features), setup.port)),
        kick: ring.kick.clone(),
        call: ring.call.clone(),
        error: ring.error.clone(),
        polled: true,
        broken: false,
        pace: Pace::new(Instant::now()),
        deferral: Deferral::default(),
        meter: Arc::default(),
        pressure: None,
    }
}

fn queue(setup: &PortSetup, ring: &RingSetup, mut core: Core, backlog: Backlog) -> ReceiveQueue {
    // We look for buffers when a frame comes; kicks help only while frames wait, and are armed then.
    core.disarm();
    let mergeable = has(setup.features, net::VIRTIO_NET_F_MRG_RXBUF);
    ReceiveQueue {
        index: ring.index,
        way: WayOut::Ring(ReceiveRing::new(core, header_len(setup.features), mergeable)),
        call: ring.call.clone(),
        error: ring.error.clone(),
        backlog,
        armed: false,
        listed: false,
        broken: None,
    }
}
