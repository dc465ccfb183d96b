//! How many errors are sent: for each port, and of all together (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).

use super::{Charge, Limits};
use crate::ids::PortIndex;
use crate::storm::{Bucket, FrameRate};
use crate::time::Nanos;

#[derive(Debug)]
pub(super) struct Meters {
    ports: Vec<Bucket>,
    all: Bucket,
    rates: [FrameRate; 2],
}

impl Meters {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut ports = Vec::new();
        ports.resize_with(Charge::COUNT, Bucket::default);
        Self { ports, all: Bucket::default(), rates: [limits.errors_of_port, limits.errors] }
    }

    /// Whether one more error may be sent because of a packet of `port`; counts it if so.
    pub(super) fn admit(&self, port: PortIndex, now: Nanos) -> bool {
        let [of_port, of_all] = self.rates;
        // Who is over his own rate takes nothing of what is there for all.
        self.ports[port.get()].admits(of_port, now.0) && self.all.admits(of_all, now.0)
    }
}
