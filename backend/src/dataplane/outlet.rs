//! The receiving side of a port: where workers put frames for its guest.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use viaduct_switch::offload::Capabilities;
use viaduct_switch::{DropReason, PortIndex, Volume};

use super::backlog::Backlog;
use super::steering::Steering;
use super::sync::primitives::Mutex;
use super::{RingPosition, Signal};
use crate::memory::Segment;
use crate::ring::{ReceiveRing, Refused, RingError};

/// A port's receive rings, shared by all workers.
pub(super) struct Outlet {
    pub(super) port: PortIndex,
    /// What the driver agreed to take unfinished.
    pub(super) capabilities: Capabilities,
    /// One each queue pair that runs; never empty.
    pub(super) queues: Vec<Mutex<ReceiveQueue>>,
    /// Chooses among them, if there are several.
    pub(super) steering: Option<Steering>,
    /// The kick of each queue: rung by the guest when it refilled a ring that we waited for.
    pub(super) kicks: Vec<Option<Signal>>,
}

impl Outlet {
    /// The number of the queue for a frame.
    #[inline]
    pub(super) fn number_for(&self, head: &[u8], now_s: u16) -> u16 {
        let chosen = self.steering.as_ref().map_or(0, |steering| steering.queue(head, now_s));
        u16::try_from(chosen).unwrap_or(0)
    }

    /// The queue of this number.
    #[inline]
    pub(super) fn queue(&self, number: u16) -> Option<&Mutex<ReceiveQueue>> {
        self.queues.get(usize::from(number))
    }

    /// Where the rings stopped, and the frames that still wait; for the control side, when no worker uses them any
    /// more.
    pub(super) fn take_apart(self) -> impl Iterator<Item = (RingPosition, Backlog)> {
        self.queues.into_iter().map(|queue| {
            let mut queue = queue.into_inner();
            (RingPosition { index: queue.index, base: queue.ring.core().position() }, queue.backlog)
        })
    }
}

/// What moving frames that waited may cost one visit, in bytes: as much as a burst has.
const DRAIN_COST: u64 = 128 << 10;

/// What moving a frame costs beside its bytes.
const FRAME_COST: u64 = 64;

/// One receive ring and the frames that wait for it.
pub(super) struct ReceiveQueue {
    pub(super) index: u16,
    pub(super) ring: ReceiveRing,
    pub(super) call: Option<Signal>,
    pub(super) error: Option<Signal>,
    pub(super) backlog: Backlog,
    /// The guest was asked to kick when it offers buffers.
    pub(super) armed: bool,
    /// A worker has it among those whose frames wait.
    pub(super) listed: bool,
    /// The ring is broken: nothing is put into it any more.
    pub(super) broken: Option<RingError>,
}

/// What became of the frames of one visit to a queue.
#[derive(Default)]
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
    /// The ring broke during this visit.
    pub(super) broke: Option<RingError>,
}

impl Outcome {
    /// What it cost to move on frames that had waited, in bytes or what costs as much.
    pub(super) fn moving_cost(&self) -> u64 {
        self.moved.bytes + (self.moved.frames + self.lost) * FRAME_COST
    }
}

impl ReceiveQueue {
    /// Puts one frame into the ring, or behind those that wait.
    #[inline]
    pub(super) fn send(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        if !self.backlog.is_empty() {
            self.drain(outcome);
        }
        if self.broken.is_some() {
            return Err(DropReason::ReceiverDown);
        }
        if self.backlog.is_empty() {
            match self.ring.put(header, head, rest, length) {
                Ok(()) => {
                    outcome.sent.add(length);
                    return Ok(());
                }
                Err(Refused::Frame(DropReason::NoBuffer)) => {}
                Err(Refused::Frame(reason)) => return Err(reason),
                Err(Refused::Ring(error)) => return Err(self.fail(error, outcome)),
            }
        }
        if self.backlog.push(header, head, rest, length) { Ok(()) } else { Err(DropReason::NoBuffer) }
    }

    /// Says how many frames are about to come, so that their places can be fetched.
    #[inline]
    pub(super) fn prepare(&mut self, frames: usize) {
        if self.backlog.is_empty() && self.broken.is_none() {
            // What is wrong with the ring shows again when the first frame is put.
            let _ = self.ring.prepare(frames);
        }
    }

    /// Moves frames that wait into the ring, as far as it has buffers.
    pub(super) fn drain(&mut self, outcome: &mut Outcome) {
        while outcome.moving_cost() < DRAIN_COST {
            let Some((first, bytes)) = self.backlog.first() else { break };
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            match self.ring.put(&first.header, bytes, &[], length) {
                Ok(()) => {
                    outcome.sent.add(first.length);
                    outcome.moved.add(first.length);
                }
                Err(Refused::Frame(DropReason::NoBuffer)) => break,
                Err(Refused::Frame(_)) => outcome.lost += 1,
                Err(Refused::Ring(error)) => {
                    self.fail(error, outcome);
                    break;
                }
            }
            self.backlog.pop();
        }
    }

    /// Asks the guest to kick; says whether buffers came in meanwhile, for which nobody would.
    pub(super) fn arm(&mut self) -> bool {
        self.armed = true;
        self.ring.core().arm().unwrap_or(false)
    }

    /// Whether it falls to the caller to look after frames that wait: nobody does so far, and now the caller does.
    pub(super) fn list(&mut self) -> bool {
        !self.backlog.is_empty() && !std::mem::replace(&mut self.listed, true)
    }

    fn fail(&mut self, error: RingError, outcome: &mut Outcome) -> DropReason {
        self.broken = Some(error);
        outcome.abandoned += std::mem::take(&mut self.backlog).len() as u64;
        outcome.broke = Some(error);
        DropReason::ReceiverDown
    }

    /// Ends a visit: shows the guest what was put.
    #[inline]
    pub(super) fn finish(&mut self, outcome: &mut Outcome) {
        if self.ring.publish() {
            outcome.notify = self.call.as_ref().map(|call| call.as_fd().as_raw_fd());
        }
        outcome.waiting = self.list();
        if self.armed && self.backlog.is_empty() {
            self.armed = false;
            self.ring.core().disarm();
        }
    }
}
