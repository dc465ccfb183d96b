//! The receiving side of a port: where workers put frames for its guest.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use viaduct_switch::offload::Capabilities;
use viaduct_switch::{DropReason, PortIndex, Volume};

use super::backlog::Backlog;
use super::steering::Steering;
use super::sync::primitives::{Arc, Mutex, into_inner, try_lock};
use super::way::{Fault, WayOut};
use super::{RingPosition, Signal};
use crate::device::BondLinks;
use crate::memory::Segment;
use crate::ring::{BURST_FRAMES, Refused};

/// The number of no queue.
pub(super) const NO_QUEUE: u16 = u16::MAX;

/// A port's receive rings, or the ways out of a device, shared by all workers.
pub(super) struct Outlet {
    pub(super) port: PortIndex,
    /// What the driver agreed to take unfinished.
    pub(super) capabilities: Capabilities,
    /// One each queue pair that runs; never empty. The outlet that follows when one link of a bond was exchanged has the
    /// others of its predecessor.
    pub(super) queues: Vec<Arc<Mutex<ReceiveQueue>>>,
    /// Chooses among them, if there are several.
    pub(super) steering: Option<Steering>,
    /// How each queue says that there is room again.
    pub(super) kicks: Vec<Kick>,
    /// Chooses among them where they are the links of a bond.
    pub(super) bond: Option<BondLinks>,
}

/// How a queue says that there is room again, when frames wait for it.
#[derive(Clone)]
pub(super) enum Kick {
    /// Not at all: it has to be looked at.
    Never,
    /// The guest writes to this eventfd when it refilled the ring.
    Written(Signal),
    /// This descriptor of a device becomes writable.
    Writable(Signal),
}

impl Kick {
    pub(super) fn is_never(&self) -> bool {
        matches!(self, Self::Never)
    }

    /// The descriptor to be watched, if there is one.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Never => None,
            Self::Written(signal) | Self::Writable(signal) => Some(signal.as_raw_fd()),
        }
    }
}

impl Outlet {
    /// Whether there is something to choose.
    #[inline]
    pub(super) fn is_steered(&self) -> bool {
        self.steering.is_some() || self.bond.is_some()
    }

    /// The numbers of the queues for frames that begin with `heads`; [`NO_QUEUE`] for those of a bond none of whose links
    /// sends.
    pub(super) fn choose<'h>(
        &self,
        heads: impl Iterator<Item = &'h [u8]>,
        now_s: u16,
        numbers: &mut [u16; BURST_FRAMES],
    ) {
        let places = numbers.iter_mut().zip(heads);
        if let Some(bond) = &self.bond {
            let mut spread = bond.spread();
            for (number, head) in places {
                *number = spread.choose(head, |link| self.is_drained(link)).unwrap_or(NO_QUEUE);
            }
        } else if let Some(steering) = &self.steering {
            for (number, head) in places {
                *number = u16::try_from(steering.queue(head, now_s)).unwrap_or(0);
            }
        }
    }

    /// Whether nothing waits at the queue; one that another worker has just now counts as if something did.
    fn is_drained(&self, number: usize) -> bool {
        let queue = self.queues.get(number).and_then(|queue| try_lock(queue));
        queue.is_some_and(|queue| queue.backlog.is_empty())
    }

    /// Whether something waits at any of its queues.
    pub(super) fn is_behind(&self) -> bool {
        (0..self.queues.len()).any(|number| !self.is_drained(number))
    }

    /// How many queues it has.
    pub(super) fn queue_count(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    /// The queue of this number.
    #[inline]
    pub(super) fn queue(&self, number: u16) -> Option<&Mutex<ReceiveQueue>> {
        self.queues.get(usize::from(number)).map(|queue| &**queue)
    }

    /// The outlet with another queue in the place of queue `number`.
    pub(super) fn with_queue(&self, number: u16, queue: ReceiveQueue, kick: Kick) -> Self {
        let (mut queues, mut kicks) = (self.queues.clone(), self.kicks.clone());
        let place = queues.get_mut(usize::from(number)).zip(kicks.get_mut(usize::from(number)));
        if let Some((queue_before, kick_before)) = place {
            (*queue_before, *kick_before) = (Arc::new(Mutex::new(queue)), kick);
        }
        let Self { port, capabilities, .. } = *self;
        Self { port, capabilities, queues, steering: None, kicks, bond: self.bond.clone() }
    }

    /// Where the rings stopped, and the frames that still wait; for the control side, when no worker uses them any
    /// more.
    pub(super) fn take_apart(self) -> impl Iterator<Item = (Option<RingPosition>, u16, Backlog)> {
        self.queues.into_iter().filter_map(into_inner).map(|queue| {
            let mut queue = queue.into_inner();
            let index = queue.index;
            let position = queue.way.position().map(|base| RingPosition { index, base });
            (position, index, queue.backlog)
        })
    }
}

/// What moving frames that waited may cost one visit, in bytes: as much as a burst has.
const DRAIN_COST: u64 = 128 << 10;

/// What moving a frame costs beside its bytes.
const FRAME_COST: u64 = 64;

/// One receive ring, or way out of a device, and the frames that wait for it.
pub(super) struct ReceiveQueue {
    pub(super) index: u16,
    pub(super) way: WayOut,
    pub(super) call: Option<Signal>,
    pub(super) error: Option<Signal>,
    pub(super) backlog: Backlog,
    /// The guest was asked to kick when it offers buffers.
    pub(super) armed: bool,
    /// A worker has it among those whose frames wait.
    pub(super) listed: bool,
    /// The ring is broken: nothing is put into it any more.
    pub(super) broken: Option<Fault>,
}

/// What became of the frames of one visit to a queue.
#[derive(Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) sent: Volume,
    /// Those of them that had waited.
    pub(super) moved: Volume,
    /// The eventfd to write to, once the queue is unlocked.
    pub(super) notify: Option<RawFd>,
    /// Frames that had waited and did not fit after all.
    pub(super) lost: u64,
    /// Frames that had waited when the ring broke.
    pub(super) abandoned: u64,
    /// Frames wait in the backlog, and no worker looks after them yet.
    pub(super) waiting: bool,
    /// Frames that a device refused for good.
    pub(super) refused: u64,
    /// Frames for which neither a device nor the backlog had room.
    pub(super) unsent: u64,
    /// The ring or device broke during this visit.
    pub(super) broke: Option<Fault>,
}

impl Outcome {
    /// What it cost to move on frames that had waited, in bytes or what costs as much.
    pub(super) fn moving_cost(&self) -> u64 {
        self.moved.bytes + (self.moved.frames + self.lost) * FRAME_COST
    }
}

impl ReceiveQueue {
    /// Puts one frame into the ring, or behind those that wait. `rest` must stay where it is until the visit ends.
    #[inline]
    pub(super) fn send(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        if let WayOut::Ring(ring) = &mut self.way
            && self.backlog.is_empty()
            && self.broken.is_none()
            && ring.put_plain(header, head, rest, length)
        {
            outcome.sent.add(length);
            return Ok(());
        }
        self.send_otherwise(header, head, rest, length, outcome)
    }

    /// The same for what doesn't fit the next buffer as it is, or must not pass others.
    #[inline(never)]
    fn send_otherwise(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        if matches!(self.way, WayOut::Device(_)) {
            return self.collect(header, head, rest, length, outcome);
        }
        if !self.backlog.is_empty() {
            self.drain(outcome);
        }
        if self.broken.is_some() {
            return Err(DropReason::ReceiverDown);
        }
        if self.backlog.is_empty()
            && let WayOut::Ring(ring) = &mut self.way
        {
            match ring.put(header, head, rest, length) {
                Ok(()) => {
                    outcome.sent.add(length);
                    return Ok(());
                }
                Err(Refused::Frame(DropReason::NoBuffer)) => {}
                Err(Refused::Frame(reason)) => return Err(reason),
                Err(Refused::Ring(error)) => return Err(self.fail(Fault::Ring(error), outcome)),
            }
        }
        if self.backlog.push(header, head, rest, length) { Ok(()) } else { Err(DropReason::NoBuffer) }
    }

    /// Begins a visit: says how many frames are about to come, so that their places can be fetched. Frames that wait
    /// for a device go first, as far as it has room; it is tried once a visit.
    #[inline]
    pub(super) fn prepare(&mut self, frames: usize, outcome: &mut Outcome) {
        match &mut self.way {
            WayOut::Ring(ring) if self.backlog.is_empty() && self.broken.is_none() => {
                // What is wrong with the ring shows again when the first frame is put.
                let _ = ring.prepare(frames);
            }
            WayOut::Device(_) if !self.backlog.is_empty() => self.drain(outcome),
            _ => {}
        }
    }

    /// Moves frames that wait on, as far as there is room.
    pub(super) fn drain(&mut self, outcome: &mut Outcome) {
        let WayOut::Ring(ring) = &mut self.way else { return self.drain_device(DRAIN_COST, outcome) };
        while outcome.moving_cost() < DRAIN_COST {
            let Some((first, bytes)) = self.backlog.first() else { break };
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            match ring.put(&first.header, bytes, &[], length) {
                Ok(()) => {
                    outcome.sent.add(first.length);
                    outcome.moved.add(first.length);
                }
                Err(Refused::Frame(DropReason::NoBuffer)) => break,
                Err(Refused::Frame(_)) => outcome.lost += 1,
                Err(Refused::Ring(error)) => {
                    self.fail(Fault::Ring(error), outcome);
                    break;
                }
            }
            self.backlog.pop();
        }
    }

    /// Asks the guest to kick; says whether buffers came in meanwhile, for which nobody would.
    pub(super) fn arm(&mut self) -> bool {
        let WayOut::Ring(ring) = &mut self.way else { return false };
        self.armed = true;
        ring.core().arm().unwrap_or(false)
    }

    /// Whether it falls to the caller to look after frames that wait: nobody does so far, and now the caller does.
    pub(super) fn list(&mut self) -> bool {
        !self.backlog.is_empty() && !std::mem::replace(&mut self.listed, true)
    }

    pub(super) fn fail(&mut self, fault: Fault, outcome: &mut Outcome) -> DropReason {
        self.broken = Some(fault);
        outcome.abandoned += std::mem::take(&mut self.backlog).len() as u64;
        outcome.broke = Some(fault);
        DropReason::ReceiverDown
    }

    /// Ends a visit: shows the guest what was put, or sends what was collected for a device.
    #[inline]
    pub(super) fn finish(&mut self, outcome: &mut Outcome) {
        match &mut self.way {
            WayOut::Ring(ring) => {
                if ring.publish() {
                    outcome.notify = self.call.as_ref().map(|call| call.as_fd().as_raw_fd());
                }
            }
            WayOut::Device(_) => self.send_collected(outcome),
        }
        outcome.waiting = self.list();
        if self.armed && self.backlog.is_empty() {
            self.armed = false;
            self.way.disarm();
        }
    }
}
