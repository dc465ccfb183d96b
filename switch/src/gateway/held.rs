//! Packets that wait until their next station's Ethernet address is known: how many, and of whom.

use super::Charge;
use crate::ids::{NetworkIndex, PortIndex};

/// The most packets that wait for one neighbour (RFC 4861, 7.2.2: when the queue overflows, the oldest one goes): as many as a super-frame
/// of UDP is cut into, since what is cut comes at once. Their bytes have bounds of their own ([`Room`]).
pub(super) const PER_NEIGHBOUR: usize = 64;

/// What each port may always let wait, in bytes.
const ALWAYS: usize = 4096;

/// A packet that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) origin: Origin,
    /// A whole frame.
    pub(super) frame: Vec<u8>,
}

/// Who sent a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A station of this network, at this port.
    Station(PortIndex, NetworkIndex),
    /// The gateway, because of a frame that came by this port, or of itself. The frame lacks only its destination.
    Gateway(Charge),
}

impl Origin {
    pub(super) fn charge(self) -> Charge {
        match self {
            Self::Station(port, _) => Charge::port(port),
            Self::Gateway(charge) => charge,
        }
    }
}

/// The memory that waiting packets take. Each port may have a quarter of what is still free, so that many that want all of it
/// leave room for the next one.
#[derive(Debug)]
pub(super) struct Room {
    of: Vec<usize>,
    total: usize,
    most: usize,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self { of: vec![0; Charge::COUNT], total: 0, most }
    }

    /// Whether a packet of `bytes` may wait; counts it if so.
    pub(super) fn take(&mut self, charge: Charge, bytes: usize) -> bool {
        let of = &mut self.of[charge.get()];
        let share = (self.most.saturating_sub(self.total) / 4).max(ALWAYS);
        let fits = *of + bytes <= share;
        if fits {
            *of += bytes;
            self.total += bytes;
        }
        fits
    }

    /// The packet waits no longer.
    pub(super) fn give_back(&mut self, held: &Held) {
        let of = &mut self.of[held.origin.charge().get()];
        *of = of.saturating_sub(held.frame.len());
        self.total = self.total.saturating_sub(held.frame.len());
    }

    /// All bytes that wait.
    #[cfg(test)]
    pub(super) fn total(&self) -> usize {
        self.total
    }
}
