//! Neighbours in a filtered network: hundreds of connections between two of them that go on all the time, while something
//! happens to somebody else. Not one frame of theirs may be lost, doubled or dropped, and none of their connections end.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::header::NetHeader;
use crate::driver::nic::{Nic, NicOptions};
use crate::rounds::{Pace, Rounds};
use crate::stations::{Body, Family, Flags, frame};

/// The first port of the clients; the server has one.
const CLIENT_PORTS: u16 = 20_000;
/// The server's port.
pub const SERVER_PORT: u16 = 80;
/// Frames of one connection in one round, each way.
const DATA: &[u8] = b"what neighbours say to each other";
/// Frames under way at once: fewer than receive buffers.
const WINDOW: usize = 256;
/// Connections that are opened at once.
const OPENED_AT_ONCE: usize = 32;
/// Between two rounds: others share the processors.
const PAUSE: Duration = Duration::from_millis(1);
/// A frame is under way for less than this, whatever others do.
const LIMIT: Duration = Duration::from_secs(5);

/// Connections of TCP from station `numbers[0]` to station `numbers[1]`, half of them by IPv6, in a thread of their own.
pub struct Talks(Rounds);

/// Both ends of all connections.
struct Ends {
    cards: [Nic; 2],
    numbers: [u8; 2],
    connections: u16,
    /// How many bytes each side of each connection has sent.
    sent: u32,
}

impl Talks {
    /// Connects to the two stations' sockets, opens the connections and lets both sides of each speak, again and again.
    #[must_use]
    pub fn start(sockets: [PathBuf; 2], numbers: [u8; 2], connections: u16) -> Self {
        let options = NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() };
        let cards = sockets.map(|path| Nic::connect(&path, &options));
        let mut ends = Ends { cards, numbers, connections, sent: 0 };
        let pace = Pace { who: "neighbours", pause: PAUSE, patience: 4 * LIMIT };
        let talks = Self(Rounds::start(pace, move || {
            ends.open();
            move || ends.round()
        }));
        talks.wait_for_rounds(2);
        talks
    }

    /// Ends them; panics if a frame was lost, changed or out of order.
    pub fn finish(self) {
        self.0.finish();
    }
}

/// Rounds in each of which both sides of every connection said something that came.
impl Deref for Talks {
    type Target = Rounds;

    fn deref(&self) -> &Rounds {
        &self.0
    }
}

/// The first sequence number of a side of a connection.
#[must_use]
pub fn first_sequence(connection: u16, side: usize) -> u32 {
    0x1000_0000 * (u32::from(connection % 7) + 1) + u32::from(connection) * 1000 + 500 * side as u32
}

/// The client's port of a connection.
#[must_use]
pub fn client_port(connection: u16) -> u16 {
    CLIENT_PORTS + connection
}

/// The version of IP of a connection.
#[must_use]
pub fn family(connection: u16) -> Family {
    Family::BOTH[usize::from(connection % 2)]
}

impl Ends {
    /// A frame of side `from` of a connection.
    fn segment(&self, connection: u16, from: usize, body: impl Fn([u16; 2], u32, u32) -> Body) -> Vec<u8> {
        let mut ports = [client_port(connection), SERVER_PORT];
        let mut numbers = self.numbers;
        if from == 1 {
            ports.reverse();
            numbers.reverse();
        }
        let at = |side: usize| first_sequence(connection, side).wrapping_add(1 + self.sent);
        frame(family(connection), numbers[0], numbers[1], &body(ports, at(from), at(1 - from)))
    }

    fn open(&mut self) {
        let syn = |ports: [u16; 2], sequence: u32, _| Body::Start(ports, sequence.wrapping_sub(1));
        let answer = |ports, sequence: u32, acknowledged| {
            Body::Segment(ports, Flags::SynAck, sequence.wrapping_sub(1), acknowledged, Vec::new())
        };
        let last = |ports, sequence, acknowledged| {
            Body::Segment(ports, Flags::Ack, sequence, acknowledged, Vec::new())
        };
        // Fewer at once than a port may have opened without an answer in the smallest table.
        for first in (0..self.connections).step_by(OPENED_AT_ONCE) {
            let each = || first..self.connections.min(first + OPENED_AT_ONCE as u16);
            let frames: Vec<_> = each().map(|number| self.segment(number, 0, syn)).collect();
            let answers: Vec<_> = each().map(|number| self.segment(number, 1, answer)).collect();
            let lasts: Vec<_> = each().map(|number| self.segment(number, 0, last)).collect();
            self.carry(0, &frames);
            self.carry(1, &answers);
            self.carry(0, &lasts);
        }
    }

    /// Each side of each connection says something new, and acknowledges all before it.
    fn round(&mut self) {
        let length = DATA.len() as u32;
        let says = |ports, sequence, acknowledged| {
            Body::Segment(ports, Flags::Ack, sequence, acknowledged, DATA.to_vec())
        };
        let answers = |ports, sequence, acknowledged: u32| {
            Body::Segment(ports, Flags::Ack, sequence, acknowledged.wrapping_add(length), DATA.to_vec())
        };
        let questions: Vec<_> = (0..self.connections).map(|number| self.segment(number, 0, says)).collect();
        self.carry(0, &questions);
        let replies: Vec<_> = (0..self.connections).map(|number| self.segment(number, 1, answers)).collect();
        self.carry(1, &replies);
        self.sent = self.sent.wrapping_add(length);
    }

    /// Sends `frames` from one side; each must come to the other, once and in order.
    fn carry(&mut self, from: usize, frames: &[Vec<u8>]) {
        let [client, server] = &mut self.cards;
        let (sender, receiver) = if from == 0 { (client, server) } else { (server, client) };
        for part in frames.chunks(WINDOW) {
            for bytes in part {
                sender.transmit[0].put(NetHeader::default(), bytes);
            }
            sender.transmit[0].ring.publish();
            for (number, expected) in part.iter().enumerate() {
                let own = |bytes: &[u8]| bytes.starts_with(&expected[..12]);
                let next =
                    std::iter::from_fn(|| receiver.receive_within(LIMIT)).find(|next| own(&next.bytes));
                let Some(next) = next else {
                    panic!("frame {number} of {} of side {from} is lost", part.len())
                };
                assert!(next.bytes.starts_with(expected), "frame {number} of side {from} is another one");
            }
        }
    }
}
