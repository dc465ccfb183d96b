//! Several devices as one: the links of a bond. Each link is a queue of the bond's, of the link's number.
//!
//! The data path asks for each frame that goes out by which link (`switch/bond/steering.rs`), and each link's queue has
//! its own backlog, as a guest's queues have. What comes in by a link that takes no frames now is dropped, control frames
//! excepted, and of those each link may send its share alone: who is behind one link keeps no other from agreeing. A
//! link whose interface is not there has its place, and carries nothing until another one is put there ([`link_queue`]).

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use viaduct_switch::bond::{HashPolicy, LinkSet, Steering};
use viaduct_switch::control::CONTROL_FRAMES_PER_SECOND;
use viaduct_switch::lacp::LINKS_MAX;
use viaduct_switch::offload::Capabilities;
use viaduct_switch::{DropReason, MacAddress, Nanos, PortIndex};

use super::probe_answers::ProbeAnswers;
use super::{Device, DeviceFault, DeviceQueue, Exit, Intake, Outgoing, Sent};
use crate::dataplane::Signal;
use crate::ring::{Burst, Judgement};

/// The control side's hold on a bond, and the data path's.
#[derive(Clone)]
pub struct BondLinks {
    shared: Arc<Shared>,
}

/// What all queues of a bond have in common.
struct Shared {
    takers: AtomicU16,
    spread: Mutex<Spread>,
    answers: ProbeAnswers,
    started: Instant,
}

/// Who goes by which link.
pub(crate) struct Spread {
    steering: Steering,
    policy: HashPolicy,
    seed: u64,
    now: Nanos,
}

impl BondLinks {
    /// A bond none of whose links sends or takes frames yet. `seed` must be unknown to the guests.
    #[must_use]
    pub fn new(policy: HashPolicy, seed: u64) -> Self {
        let spread = Mutex::new(Spread { steering: Steering::default(), policy, seed, now: Nanos(0) });
        let (takers, answers) = (AtomicU16::new(0), ProbeAnswers::new());
        Self { shared: Arc::new(Shared { takers, spread, answers, started: Instant::now() }) }
    }

    /// Frames leave by `senders` and are taken from `takers` from now on.
    pub fn set(&self, senders: LinkSet, takers: LinkSet) {
        self.shared.takers.store(takers.0, Ordering::Relaxed);
        self.shared.spread.lock().steering.set_usable(senders);
    }

    /// Flows are told apart by this from now on.
    pub fn set_policy(&self, policy: HashPolicy) {
        self.shared.spread.lock().policy = policy;
    }

    /// Answers of these to the probes of the bond's links are taken from now on.
    pub fn set_probe_targets(&self, targets: &[Ipv4Addr]) {
        self.shared.answers.set_targets(targets);
    }

    /// A link's probes come from this address from now on; `None`: it sends none.
    pub fn set_probe_address(&self, link: usize, address: Option<MacAddress>) {
        self.shared.answers.set_address(link, address);
    }

    /// The links by which an answer to a probe came since this was asked last.
    #[must_use]
    pub fn take_answers(&self) -> LinkSet {
        self.shared.answers.take_heard()
    }

    /// How many of the 256 shares of all flows leave by each link.
    #[must_use]
    pub fn shares(&self) -> Vec<u16> {
        self.shared.spread.lock().steering.shares().to_vec()
    }

    /// Whether frames that come in by the link are taken.
    fn takes(&self, link: usize) -> bool {
        LinkSet(self.shared.takers.load(Ordering::Relaxed)).has(link)
    }

    /// The choice for the frames of one burst.
    pub(crate) fn spread(&self) -> MutexGuard<'_, Spread> {
        let elapsed = self.shared.started.elapsed();
        let mut spread = self.shared.spread.lock();
        spread.now = Nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        spread
    }
}

impl Spread {
    /// The link by which a frame that begins with `head` leaves; `None`: none sends. `is_drained` says whether nothing
    /// waits any more at a link.
    pub(crate) fn choose(&mut self, head: &[u8], is_drained: impl FnOnce(usize) -> bool) -> Option<u16> {
        let hash = self.policy.hash(head, self.seed);
        let link = self.steering.choose(hash, self.now, is_drained)?;
        u16::try_from(link).ok()
    }
}

/// Makes one device of the first queue of each of these, at most 16: those that are there, each at the place that is its
/// link's number. `None` without any device.
#[must_use]
pub fn join(devices: Vec<Option<Device>>, links: &BondLinks) -> Option<Device> {
    let count = devices.iter().take(LINKS_MAX).flatten().count();
    let first = devices.iter().flatten().next()?;
    let (kind, index, address) = (first.kind, first.index, first.address);
    let mtu = devices.iter().flatten().map(|device| device.mtu).min()?;
    let reason = reason(count, devices.len(), &first.reason);
    let capabilities = devices.iter().flatten().map(|device| device.capabilities).reduce(common)?;
    let of = devices.len();
    let queue = |(link, device): (usize, Option<Device>)| link_queue(device, (link, of), links);
    let queues: Option<Vec<_>> = devices.into_iter().take(LINKS_MAX).enumerate().map(queue).collect();
    let bond = Some(links.clone());
    Some(Device { kind, reason, index, mtu, address, capabilities, queues: queues?, bond })
}

/// The queue of link number `link` of `of`: the first one of its device, or one that stands for a link that is not there.
/// `None` if there are no descriptors left for that.
#[must_use]
pub fn link_queue(
    device: Option<Device>,
    (link, of): (usize, usize),
    links: &BondLinks,
) -> Option<DeviceQueue> {
    let queue = device.and_then(|device| device.queues.into_iter().next()).map_or_else(no_queue, Some)?;
    let DeviceQueue { intake, readable, exit, writable } = queue;
    let share = CONTROL_FRAMES_PER_SECOND / u32::try_from(of.clamp(1, LINKS_MAX)).unwrap_or(1);
    let intake = BondIntake { inner: intake, link, links: links.clone(), control: Allowance::of(share) };
    Some(DeviceQueue { intake: Box::new(intake), readable, exit, writable })
}

/// Why a bond is served as it is: `how` is why its first link is.
#[must_use]
pub fn reason(open: usize, of: usize, how: &str) -> String {
    format!("{open} of {of} links; {how}")
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

/// Stands for a link that is not there; `None` if there are no descriptors left.
fn no_queue() -> Option<DeviceQueue> {
    // A socket to which nobody can send: never readable.
    let signal = || -> Option<Signal> { Some(Arc::new(OwnedFd::from(UnixDatagram::unbound().ok()?))) };
    let (readable, writable) = (signal()?, signal()?);
    Some(DeviceQueue { intake: Box::new(NoLink), readable, exit: Box::new(NoLink), writable })
}

/// A link that is not there.
struct NoLink;

impl Intake for NoLink {
    fn read(&mut self, _port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        burst.begin(false);
        Ok(0)
    }

    fn complete(&mut self) {}

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        Ok(false)
    }
}

impl Exit for NoLink {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        Ok(Sent { done: frames.len(), lost: u64::MAX, refused: 0 })
    }
}

/// How many control frames a link may still send in this second.
struct Allowance {
    each_second: u32,
    left: u32,
    renewed: Option<Instant>,
}

impl Allowance {
    fn of(each_second: u32) -> Self {
        let each_second = each_second.max(1);
        Self { each_second, left: each_second, renewed: None }
    }

    /// Whether one more may pass.
    fn admits(&mut self) -> bool {
        let now = Instant::now();
        if self.renewed.is_none_or(|renewed| now.duration_since(renewed) >= Duration::from_secs(1)) {
            self.renewed = Some(now);
            self.left = self.each_second;
        }
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admitted
    }
}

/// The way in of one link.
struct BondIntake {
    inner: Box<dyn Intake>,
    link: usize,
    links: BondLinks,
    control: Allowance,
}

impl Intake for BondIntake {
    fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        let taken = self.inner.read(port, burst)?;
        if taken > 0 {
            let (takes, control) = (self.links.takes(self.link), &mut self.control);
            let answers = &self.links.shared.answers;
            burst.keep(|head| {
                let is_answer = answers.is_for_link(self.link, head);
                match is_answer || is_control(head) {
                    true if !control.admits() => Judgement::Drop(DropReason::StormControl),
                    true if is_answer => {
                        answers.take(self.link, head);
                        Judgement::Taken
                    }
                    false if !takes => Judgement::Drop(DropReason::InactiveLink),
                    _ => Judgement::Keep,
                }
            });
        }
        Ok(taken)
    }

    fn complete(&mut self) {
        self.inner.complete();
    }

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        self.inner.arm()
    }
}

/// Whether a frame is between neighbours, and so of one link.
#[inline]
fn is_control(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|address| MacAddress(*address).is_link_local())
}
