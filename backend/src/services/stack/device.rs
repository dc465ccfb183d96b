//! What smoltcp takes for its network card: two queues of packets.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Packets that one poll may make; more wait for the next.
const SENT_MAX: usize = 128;

/// Packets that came and are not looked at yet, and packets that are made and not sent yet.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) arrived: VecDeque<Vec<u8>>,
    pub(super) made: Vec<Vec<u8>>,
    pub(super) mtu: usize,
}

/// A packet that came.
pub(super) struct Arrived(Vec<u8>);

/// Room for a packet.
pub(super) struct Room<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Room<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), Room(&mut self.made)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (self.made.len() < SENT_MAX).then_some(Room(&mut self.made))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}
