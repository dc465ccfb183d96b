//! What the control thread tells a worker.

use std::os::fd::RawFd;
use std::sync::Arc;

use viaduct_switch::{Nanos, NetworkIndex, Policy, PortIndex};

use super::injector::Ticket;
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::pulse::Beat;
use super::shaping::Table;
use super::sync::mailbox::Acknowledge;
use super::tap::{Capture, Tap};
use crate::config::Polling;

/// Told that a message was handled; what was asked for comes back with it.
pub(super) type Done = Acknowledge<Vec<Inlet>>;

/// What the control thread tells a worker; done between two bursts.
///
/// `Attach` and `Detach` are all there is to handing rings over. A ring is a value that moves with the message, so
/// that only one thread can have it; it goes from one worker to another by way of the control thread, which attaches
/// it to the new one after the old one acknowledged that it let go.
pub(super) enum Message {
    /// Serve these transmit rings, and know where the port's frames go.
    /// `watch`: it falls to this worker to look after the receive rings' kicks.
    Attach { outlet: Option<Arc<Outlet>>, watch: bool, inlets: Vec<Inlet>, acknowledge: Done },
    /// Let go of this.
    Detach { what: Belongings, acknowledge: Done },
    /// Go by this policy from now on.
    SetPolicy { policy: Arc<Policy>, acknowledge: Done },
    /// Wait for frames in this way from now on.
    SetPolling { polling: Polling, acknowledge: Done },
    /// Write no more to this eventfd of the port: it held up a worker.
    Mute { port: PortIndex, descriptor: RawFd },
    /// Let this frame without tags enter each network of the port.
    Announce { port: PortIndex, frame: Vec<u8> },
    /// Let this frame without tags enter one network of the port.
    Inject { port: PortIndex, network: NetworkIndex, frame: Vec<u8>, ticket: Ticket },
    /// Let this frame leave by a link of the port.
    Emit { port: PortIndex, link: u8, frame: Vec<u8> },
    /// Take samples.
    Tap(Tap),
    /// Capture frames.
    Capture(Box<Capture>),
    /// Give a sign of life.
    Pulse(Beat),
    /// Know these trees before ports' queues.
    SetTrees { table: Arc<Table>, acknowledge: Done },
    /// See to this tree, which the worker owns, at this time at the latest.
    Depart { tree: u32, at: Nanos },
    /// Read no ring and no device until there is work again.
    Rest { acknowledge: Done },
    /// Go on.
    Work,
    /// End.
    Stop,
}

/// What a worker lets go of.
pub(super) enum Belongings {
    /// All that belongs to a port.
    Port(PortIndex),
    /// One transmit ring: the port and the ring's number. Frames for the port still go where they went.
    Ring(PortIndex, u16),
}

impl Belongings {
    pub(super) fn include(&self, inlet: &Inlet) -> bool {
        match *self {
            Self::Port(port) => inlet.port == port,
            Self::Ring(port, index) => (inlet.port, inlet.index) == (port, index),
        }
    }
}
