//! Several devices as one: the links of a bond. Each link is a queue of the bond's, of the link's number.
//!
//! What comes in by a link that takes no frames now is dropped, control frames excepted. What goes out, goes by the first
//! queue, which spreads it over the links that send now, flow by flow (`switch/bond/steering.rs`): one call for each link
//! and visit. Control frames that leave by a queue leave by its own link. A link whose interface is gone is left out
//! until the bond is opened anew; the others carry on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use viaduct_switch::bond::{HashPolicy, LinkSet, Steering};
use viaduct_switch::offload::Capabilities;
use viaduct_switch::{DropReason, MacAddress, Nanos, PortIndex, frame::HEAD_MAX};

use super::{Device, DeviceFault, DeviceQueue, Exit, Intake, Outgoing, OutgoingFrame, Sent};
use crate::memory::{Segment, copy_out};
use crate::ring::{BURST_FRAMES, Burst};

/// The control side's hold on a bond that is open.
#[derive(Clone)]
pub struct BondLinks {
    shared: Arc<Shared>,
}

impl BondLinks {
    /// Frames leave by `senders` and are taken from `takers` from now on.
    pub fn set(&self, senders: LinkSet, takers: LinkSet) {
        self.shared.takers.store(takers.0, Ordering::Relaxed);
        self.shared.exits.lock().steering.set_usable(senders);
    }

    /// The links whose interfaces are gone.
    #[must_use]
    pub fn failed(&self) -> LinkSet {
        LinkSet(self.shared.failed.load(Ordering::Relaxed))
    }

    /// How many of the 256 shares of all flows leave by each link.
    #[must_use]
    pub fn shares(&self) -> Vec<u16> {
        self.shared.exits.lock().steering.shares().to_vec()
    }
}

/// What all queues of a bond have in common.
struct Shared {
    takers: AtomicU16,
    failed: AtomicU16,
    exits: Mutex<Exits>,
}

/// The ways out of all links, and who goes by which.
struct Exits {
    links: Vec<Link>,
    steering: Steering,
    policy: HashPolicy,
    seed: u64,
    started: Instant,
}

/// The way out of one link, and the frames of the visit that is under way.
struct Link {
    exit: Box<dyn Exit>,
    outgoing: Outgoing,
    /// Where each of them stands among all frames of the visit.
    places: Vec<usize>,
}

/// Makes one device of the first queue of each of these: as many links, 16 at most, none of which sends or takes frames
/// yet. `seed` must be unknown to the guests. `None` without any device.
#[must_use]
pub fn join(devices: Vec<Device>, policy: HashPolicy, seed: u64) -> Option<(Device, BondLinks)> {
    let first = devices.first()?;
    let (kind, index, address) = (first.kind, first.index, first.address);
    let mtu = devices.iter().map(|device| device.mtu).min()?;
    let reason = format!("{} links; {}", devices.len(), first.reason);
    let capabilities = devices.iter().map(|device| device.capabilities).reduce(common)?;
    let mut ways = Vec::new();
    let mut links = Vec::new();
    for device in devices.into_iter().take(viaduct_switch::lacp::LINKS_MAX) {
        let Some(queue) = device.queues.into_iter().next() else { continue };
        let DeviceQueue { intake, readable, exit, writable } = queue;
        ways.push((intake, readable, writable));
        links.push(Link { exit, outgoing: Outgoing::default(), places: Vec::with_capacity(BURST_FRAMES) });
    }
    let steering = Steering::default();
    let exits = Mutex::new(Exits { links, steering, policy, seed, started: Instant::now() });
    let shared = Arc::new(Shared { takers: AtomicU16::new(0), failed: AtomicU16::new(0), exits });
    let queue = |(link, (intake, readable, writable))| DeviceQueue {
        intake: Box::new(BondIntake { inner: intake, link, shared: Arc::clone(&shared) }),
        readable,
        exit: Box::new(BondExit { link, shared: Arc::clone(&shared) }),
        writable,
    };
    let queues = ways.into_iter().enumerate().map(queue).collect();
    let device = Device { kind, reason, index, mtu, address, capabilities, queues, is_bond: true };
    Some((device, BondLinks { shared }))
}

/// What both can do.
fn common(one: Capabilities, other: Capabilities) -> Capabilities {
    Capabilities {
        checksum: one.checksum && other.checksum,
        tso4: one.tso4 && other.tso4,
        tso6: one.tso6 && other.tso6,
        ecn: one.ecn && other.ecn,
        ufo: one.ufo && other.ufo,
        uso4: one.uso4 && other.uso4,
        uso6: one.uso6 && other.uso6,
    }
}

impl Shared {
    fn fail(&self, link: usize) {
        let mut failed = LinkSet::default();
        failed.insert(link);
        self.failed.fetch_or(failed.0, Ordering::Relaxed);
    }
}

/// The way in of one link.
struct BondIntake {
    inner: Box<dyn Intake>,
    link: usize,
    shared: Arc<Shared>,
}

impl Intake for BondIntake {
    fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        let Ok(taken) = self.inner.read(port, burst) else {
            self.shared.fail(self.link);
            burst.begin();
            return Ok(0);
        };
        if taken > 0 && !LinkSet(self.shared.takers.load(Ordering::Relaxed)).has(self.link) {
            burst.keep(is_control, DropReason::InactiveLink);
        }
        Ok(taken)
    }

    fn complete(&mut self) {
        self.inner.complete();
    }

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        Ok(self.inner.arm().unwrap_or_else(|_| {
            self.shared.fail(self.link);
            false
        }))
    }
}

/// Whether a frame is between neighbours, and so of one link.
fn is_control(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|address| MacAddress(*address).is_link_local())
}

/// A way out of the bond.
struct BondExit {
    link: usize,
    shared: Arc<Shared>,
}

impl Exit for BondExit {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        let mut exits = self.shared.exits.lock();
        // What a link has no room for is lost: one that is slow must not hold up the others.
        let mut sent = Sent { done: frames.len(), ..Sent::default() };
        exits.spread(frames, self.link, &mut sent);
        for (number, link) in exits.links.iter_mut().enumerate() {
            if !link.send(&mut sent) {
                self.shared.fail(number);
            }
        }
        Ok(sent)
    }
}

impl Exits {
    /// Gives each link its frames; those for which there is none are lost.
    fn spread(&mut self, frames: &Outgoing, own: usize, sent: &mut Sent) {
        let now = Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        for (place, frame) in frames.iter().enumerate() {
            let mut room = [0; HEAD_MAX];
            let head = beginning(&frame, &mut room);
            let chosen = if is_control(head) {
                Some(own)
            } else {
                self.steering.choose(self.policy.hash(head, self.seed), now, |_| true)
            };
            let link = chosen.and_then(|link| self.links.get_mut(link));
            if !link.is_some_and(|link| link.add(&frame, place)) {
                sent.lost |= bit(place);
            }
        }
    }
}

/// The first bytes of a frame, as far as its first piece has them: a head, or all of it.
fn beginning<'a>(frame: &OutgoingFrame<'_>, room: &'a mut [u8; HEAD_MAX]) -> &'a [u8] {
    let Some(first) = frame.pieces.first() else { return &[] };
    let len = (first.len as usize).min(HEAD_MAX);
    let front = &mut room[..len];
    copy_out(&[], &[Segment { len: u32::try_from(len).unwrap_or(0), ..*first }], front);
    front
}

fn bit(place: usize) -> u64 {
    1 << (place % BURST_FRAMES)
}

impl Link {
    fn add(&mut self, frame: &OutgoingFrame<'_>, place: usize) -> bool {
        let added = self.outgoing.add(frame.header, &[], frame.pieces, frame.length);
        if added {
            self.places.push(place);
        }
        added
    }

    /// Sends what was added; says whether the link works.
    fn send(&mut self, all: &mut Sent) -> bool {
        if self.places.is_empty() {
            return true;
        }
        let sent = self.exit.send(&self.outgoing);
        let works = sent.is_ok();
        let sent = sent.unwrap_or_default();
        for (own, place) in self.places.iter().enumerate() {
            let is_lost = own >= sent.done || sent.lost & bit(own) != 0;
            all.lost |= if is_lost { bit(*place) } else { 0 };
            all.refused |= if sent.refused & bit(own) != 0 { bit(*place) } else { 0 };
        }
        self.outgoing.clear();
        self.places.clear();
        works
    }
}
