//! One ring as the frontend configured it: plain data.

use crate::dataplane::{RingSetup, Signal};
use crate::ring::RingError;

/// Where a ring's three parts lie, in the frontend's address space: those of a split ring, or in the same order a packed
/// ring's descriptor ring, driver area and device area (virtio 1.2, 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// Descriptor table.
    pub descriptor: u64,
    /// Available ring.
    pub available: u64,
    /// Used ring.
    pub used: u64,
    /// Its guest-physical address, if writes to it are to be noted in the dirty log.
    pub used_log: Option<u64>,
}

/// How a ring was started, if it was.
#[derive(Clone, Debug, Default)]
pub enum Kick {
    /// It was not, or was stopped by GET_VRING_BASE.
    #[default]
    Stopped,
    /// Started; the frontend gave no eventfd, so that the ring has to be polled.
    Polled,
    /// Started; the guest writes here.
    Signal(Signal),
}

/// What runs, or why nothing does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    /// It is not on the data path.
    #[default]
    Idle,
    /// It is.
    Running,
    /// It would be, but its addresses do not translate now; it is tried again at each change.
    Paused(RingError),
    /// The guest broke it; it waits for a reset.
    Broken(RingError),
}

/// One ring.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Entries; 0 until SET_VRING_NUM.
    pub size: u16,
    /// Where it starts or goes on: available entries consumed so far, modulo 65536; or a packed ring's slot, with the
    /// wrap counter in bit 15.
    pub base: u16,
    /// `None` until SET_VRING_ADDR.
    pub addresses: Option<Addresses>,
    /// How it was started.
    pub kick: Kick,
    /// Where we say that we used buffers.
    pub call: Option<Signal>,
    /// Where we say that the ring is broken.
    pub error: Option<Signal>,
    /// Set by SET_VRING_ENABLE; counts only where protocol features were negotiated.
    pub enabled: bool,
    /// What runs.
    pub condition: Condition,
}

impl Ring {
    /// Whether it was started and not stopped since ("Ring states").
    #[must_use]
    pub fn is_started(&self) -> bool {
        !matches!(self.kick, Kick::Stopped)
    }

    /// Whether its size and position must not change: it was started, and nothing keeps it from running. A ring that
    /// waits or is broken may be set up anew without being stopped first.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        let waits = matches!(self.condition, Condition::Paused(_) | Condition::Broken(_));
        self.is_started() && self.size != 0 && self.addresses.is_some() && !waits
    }

    /// Whether the guest broke it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self.condition, Condition::Broken(_))
    }

    /// Stops it; a broken one is whole again with its next start. Call and error eventfds stay: QEMU sends
    /// them once for many starts.
    pub fn stop(&mut self) {
        self.kick = Kick::Stopped;
        self.condition = Condition::Idle;
    }

    /// Puts it back to where it was before the driver came; the frontend's eventfds for us stay.
    pub fn reset(&mut self) {
        let (call, error) = (self.call.take(), self.error.take());
        *self = Self { call, error, ..Self::default() };
    }

    /// What the data path needs to run it, if it can run; `enabled` says whether it is, all things considered.
    ///
    /// A ring that is started but disabled is not run. The protocol would have us "process and discard any TX packets"
    /// of it ("Ring states"). Here they stay in the ring until it is enabled: what is disabled are the queue pairs that
    /// the driver said it does not use, so that nothing waits there, and what a driver puts there all the same is sent
    /// late instead of lost. Nobody but that driver waits for it.
    #[must_use]
    pub fn setup(&self, index: u16, enabled: bool) -> Option<RingSetup> {
        let kick = match &self.kick {
            Kick::Stopped => return None,
            Kick::Polled => None,
            Kick::Signal(signal) => Some(Signal::clone(signal)),
        };
        let Addresses { descriptor, available, used, used_log } = self.addresses?;
        if !enabled || self.size == 0 || self.is_broken() {
            return None;
        }
        let (call, error) = (self.call.clone(), self.error.clone());
        Some(RingSetup {
            index,
            size: self.size,
            base: self.base,
            descriptor,
            available,
            used,
            used_log,
            kick,
            call,
            error,
        })
    }
}
