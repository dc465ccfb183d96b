//! A way by which frames come in, as its worker keeps it.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use viaduct_switch::{Nanos, PortIndex};

use super::Signal;
use super::assignment::Meter;
use super::deferral::Deferral;
use super::pace::Pace;
use super::pressure::Pressure;
use super::shared::WorkerShared;
use super::way::WayIn;

/// One transmit ring, or way in of a device, and what its worker keeps with it.
pub(super) struct Inlet {
    pub(super) port: PortIndex,
    /// A ring's number; a device's ways in have numbers as the rings of as many queue pairs would.
    pub(super) index: u16,
    /// The link of the port's, where it has several.
    pub(super) link: u8,
    pub(super) way: WayIn,
    pub(super) kick: Option<Signal>,
    pub(super) call: Option<Signal>,
    pub(super) error: Option<Signal>,
    pub(super) polled: bool,
    pub(super) broken: bool,
    /// When its frames come.
    pub(super) pace: Pace,
    /// What its guest is to be told of later.
    pub(super) deferral: Deferral,
    /// What it carried, for the assignment to workers.
    pub(super) meter: Arc<Meter>,
    /// What it keeps to, if its port lets what exceeds a rate wait.
    pub(super) pressure: Option<Box<Pressure>>,
}

impl Inlet {
    /// Has the next burst be no larger than what its meter has room for: others may have taken of that since the last one.
    #[inline(never)]
    pub(super) fn keep_to_room(&mut self, now: Nanos) {
        if let Some(pressure) = &self.pressure {
            self.way.keep_to(pressure.room(now));
        }
    }

    /// Whether it is left alone for now.
    pub(super) fn is_paused(&self) -> bool {
        self.pressure.as_ref().is_some_and(|pressure| pressure.is_paused())
    }

    /// Tells the guest that its buffers are used, if it waits for that.
    pub(super) fn notify(&mut self, shared: &WorkerShared) {
        if let (true, Some(call)) = (self.deferral.settle(), &self.call) {
            shared.watch.notify(self.port, call.as_raw_fd());
        }
    }
}
