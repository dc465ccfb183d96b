//! How many errors are sent: for each port, and of all together (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).

use super::{Charge, Limits};
use crate::ids::PortIndex;
use crate::storm::{Bucket, FrameRate};
use crate::time::Nanos;

#[derive(Debug)]
pub(super) struct Meters {
    /// By port, and for all: errors about lengths, and others.
    ports: Vec<[Bucket; 2]>,
    all: [Bucket; 2],
    rates: [FrameRate; 2],
}

impl Meters {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut ports = Vec::new();
        ports.resize_with(Charge::COUNT, Default::default);
        Self { ports, all: Default::default(), rates: [limits.errors_of_port, limits.errors] }
    }

    /// Whether one more error may be sent because of a packet of `port`; counts it if so. Errors about lengths have a rate of
    /// their own: a scan from outside must not keep senders from learning the path's MTU.
    pub(super) fn admit(&self, port: PortIndex, is_about_length: bool, now: Nanos) -> bool {
        let [of_port, of_all] = self.rates;
        let kind = usize::from(is_about_length);
        // Who is over his own rate takes nothing of what is there for all.
        self.ports[port.get()][kind].admits(of_port, now.0) && self.all[kind].admits(of_all, now.0)
    }
}
