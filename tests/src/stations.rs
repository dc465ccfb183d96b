//! Stations with addresses of both versions of IP, one on each port: what one sends, does another get it?
//!
//! Nothing is waited for to find out that a frame does not come: an ARP request is sent behind it, which passes whatever rules
//! say, and frames stay in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use etherparse::{IpNumber, PacketBuilder};

use crate::daemon::Daemon;
use crate::driver::nic::{Nic, NicOptions};
use crate::stream::{mac, mac_text};

/// How long a frame that must come may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Local sequence numbers begin here.
const FIRST_SEQUENCE: u32 = 1000;

/// A version of IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The address of station `number`: 10.0.0.NUMBER or fd00::NUMBER.
    #[must_use]
    pub fn address(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 0, 0, number).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// As rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// What a packet is, behind its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A SYN from this port to that one.
    Syn(u16, u16),
    /// A SYN with its ports and sequence number.
    Start([u16; 2], u32),
    /// A segment of TCP: ports, flags, sequence number, acknowledged number, data.
    Segment([u16; 2], Flags, u32, u32, Vec<u8>),
    /// A datagram from this port to that one.
    Udp(u16, u16),
    /// An ICMP message: type, code, the four bytes behind the checksum, the rest. The types are those of the version of IP.
    Icmp(u8, u8, [u8; 4], Vec<u8>),
    /// The first packet of an association of SCTP, from this port to that one.
    Sctp(u16, u16),
    /// Another protocol.
    Other(u8),
}

/// Flags of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flags {
    /// SYN and ACK.
    SynAck,
    /// ACK alone.
    Ack,
    /// RST alone.
    Rst,
    /// FIN and ACK.
    FinAck,
}

impl Body {
    /// An echo request with this identifier.
    #[must_use]
    pub fn ping(family: Family, identifier: u16) -> Self {
        let [high, low] = identifier.to_be_bytes();
        Self::Icmp(if family == Family::V4 { 8 } else { 128 }, 0, [high, low, 0, 1], vec![7; 16])
    }

    /// The reply to [`Body::ping`].
    #[must_use]
    pub fn pong(family: Family, identifier: u16) -> Self {
        let [high, low] = identifier.to_be_bytes();
        Self::Icmp(if family == Family::V4 { 0 } else { 129 }, 0, [high, low, 0, 1], vec![7; 16])
    }

    /// "Port unreachable" about this frame, whose network header stands at byte 14.
    #[must_use]
    pub fn unreachable(family: Family, about: &[u8]) -> Self {
        let quoted = about[14..].to_vec();
        let (kind, code) = if family == Family::V4 { (3, 3) } else { (1, 4) };
        Self::Icmp(kind, code, [0; 4], quoted)
    }
}

/// A frame from station `from` to station `to`.
#[must_use]
pub fn frame(family: Family, from: u8, to: u8, body: &Body) -> Vec<u8> {
    frame_between((mac(from.into()), family.address(from)), (mac(to.into()), family.address(to)), body)
}

/// A frame between these addresses.
///
/// # Panics
/// If they are of different versions of IP.
#[must_use]
pub fn frame_between(from: ([u8; 6], IpAddr), to: ([u8; 6], IpAddr), body: &Body) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.0, to.0);
    let packet = match (from.1, to.1) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        other => panic!("addresses of one version of IP: {other:?}"),
    };
    let is_v4 = from.1.is_ipv4();
    let mut bytes = Vec::new();
    let written = match body {
        Body::Syn(source, destination) => {
            packet.tcp(*source, *destination, FIRST_SEQUENCE, 65_535).syn().write(&mut bytes, &[])
        }
        Body::Start([source, destination], sequence) => {
            packet.tcp(*source, *destination, *sequence, 65_535).syn().write(&mut bytes, &[])
        }
        Body::Segment([source, destination], flags, sequence, acknowledged, data) => {
            let segment = packet.tcp(*source, *destination, *sequence, 65_535);
            let segment = match flags {
                Flags::SynAck => segment.syn().ack(*acknowledged),
                Flags::Ack => segment.ack(*acknowledged),
                Flags::Rst => segment.rst(),
                Flags::FinAck => segment.fin().ack(*acknowledged),
            };
            segment.write(&mut bytes, data)
        }
        Body::Udp(source, destination) => packet.udp(*source, *destination).write(&mut bytes, b"a datagram"),
        Body::Icmp(kind, code, rest, data) if is_v4 => {
            packet.icmpv4_raw(*kind, *code, *rest).write(&mut bytes, data)
        }
        Body::Icmp(kind, code, rest, data) => packet.icmpv6_raw(*kind, *code, *rest).write(&mut bytes, data),
        Body::Sctp(source, destination) => {
            packet.write(&mut bytes, IpNumber(132), &sctp_init(*source, *destination))
        }
        Body::Other(protocol) => packet.write(&mut bytes, IpNumber(*protocol), &[0; 32]),
    };
    written.expect("a frame in memory");
    bytes
}

/// An INIT chunk (RFC 9260, 3.3.2), without checksum.
fn sctp_init(source: u16, destination: u16) -> Vec<u8> {
    let ports = [source, destination].map(u16::to_be_bytes).concat();
    let chunk = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    [&ports[..], &[0; 8], &chunk].concat()
}

/// Stations on the ports of a daemon, by the ports' names.
pub struct Stations {
    /// The daemon.
    pub daemon: Daemon,
    cards: BTreeMap<&'static str, (Nic, u8)>,
    fences: u16,
}

impl Stations {
    /// A daemon on `config`, and a station of this number on each port.
    #[must_use]
    pub fn new(config: &str, stations: &[(&'static str, u8)]) -> Self {
        Self::on(Daemon::start(config), stations)
    }

    /// Stations of these numbers on ports of a daemon; the switch has learned where they are.
    #[must_use]
    pub fn on(daemon: Daemon, stations: &[(&'static str, u8)]) -> Self {
        let card = |(port, number): &(&'static str, u8)| {
            (*port, (Nic::connect(&daemon.socket(port), &NicOptions::default()), *number))
        };
        let cards = stations.iter().map(card).collect();
        let mut stage = Self { daemon, cards, fences: 0 };
        for (card, number) in stage.cards.values_mut() {
            card.send(&arp(*number, [0xff; 6], 0));
        }
        crate::deadline::wait_until("all stations to be learned", LIMIT, || {
            let known = stage.daemon.fdb();
            let is_known = |number: u8| known.iter().any(|entry| entry.mac == mac_text(mac(number.into())));
            stage.cards.values().all(|(_, number)| is_known(*number))
        });
        stage
    }

    /// The number of the station on this port.
    #[must_use]
    pub fn number(&self, port: &str) -> u8 {
        self.cards[port].1
    }

    /// Whether a frame that one station sends comes to another one, both in one network.
    ///
    /// # Panics
    /// If not even ARP does.
    pub fn carries(&mut self, from: &'static str, to: &'static str, frame: &[u8]) -> bool {
        self.fences += 1;
        let fence = arp(self.number(from), mac(self.number(to).into()), self.fences);
        self.drain(to);
        let sender = self.card(from);
        sender.send(frame);
        sender.send(&fence);
        let (receiver, end) = (self.card(to), Instant::now() + LIMIT);
        let mut came = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Some(received) = receiver.receive_within(left) else {
                panic!("{from} to {to}: ARP got lost")
            };
            if received.bytes.starts_with(&fence) {
                break;
            }
            came |= received.bytes.starts_with(frame);
        }
        // What became of both is counted before their buffers are given back.
        self.card(from).transmit[0].drain();
        came
    }

    /// Whether a packet that one station sends to another one comes there.
    pub fn passes(&mut self, family: Family, from: &'static str, to: &'static str, body: &Body) -> bool {
        let bytes = frame(family, self.number(from), self.number(to), body);
        self.carries(from, to, &bytes)
    }

    /// Frames that come to this port until nothing has come for `quiet`.
    pub fn collect(&mut self, port: &'static str, quiet: Duration) -> Vec<Vec<u8>> {
        self.card(port).collect(quiet).into_iter().map(|received| received.bytes).collect()
    }

    /// Throws away what came.
    pub fn drain(&mut self, port: &'static str) {
        while self.card(port).take().is_some() {}
    }

    /// Sends a frame, whatever becomes of it.
    pub fn send(&mut self, from: &'static str, frame: &[u8]) {
        self.card(from).send(frame);
    }

    /// How many frames were dropped at a port for this reason.
    #[must_use]
    pub fn dropped(&self, port: &str, reason: &str) -> u64 {
        self.daemon.show().port(port).dropped(reason)
    }

    /// Puts a port into these groups, separated by commas, and out of all others, while all runs.
    ///
    /// # Panics
    /// If that is refused.
    pub fn set_groups(&self, port: &str, groups: &str) {
        let output = self.daemon.command(&["port", "set", port, "--groups", groups]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn card(&mut self, port: &str) -> &mut Nic {
        &mut self.cards.get_mut(port).expect("a station's port").0
    }
}

/// Who has 172.16.x.x? Asked by a station that says who it is itself (RFC 826).
fn arp(from: u8, to: [u8; 6], number: u16) -> Vec<u8> {
    let (mac, [high, low]) = (mac(from.into()), number.to_be_bytes());
    let mut bytes = [&to[..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &[10, 0, 0, from]].concat();
    bytes.extend([&[0; 6][..], &[172, 16, high, low], &[0; 18]].concat());
    bytes
}

/// A connection of TCP between two stations, as both see it.
pub struct Talk {
    family: Family,
    ports: [u16; 2],
    ends: [&'static str; 2],
    /// The next number of each side.
    next: [u32; 2],
}

impl Talk {
    /// Opens a connection from a port of one station to one of another; `None` if that is not let through.
    pub fn open(
        stage: &mut Stations,
        family: Family,
        client: (&'static str, u16),
        server: (&'static str, u16),
    ) -> Option<Self> {
        let (ends, ports) = ([client.0, server.0], [client.1, server.1]);
        let next = [FIRST_SEQUENCE + 1, FIRST_SEQUENCE * 2 + 1];
        let back = [ports[1], ports[0]];
        let answer = Body::Segment(back, Flags::SynAck, next[1] - 1, next[0], Vec::new());
        let last = Body::Segment(ports, Flags::Ack, next[0], next[1], Vec::new());
        let is_open = stage.passes(family, ends[0], ends[1], &Body::Syn(ports[0], ports[1]))
            && stage.passes(family, ends[1], ends[0], &answer)
            && stage.passes(family, ends[0], ends[1], &last);
        is_open.then_some(Self { family, ports, ends, next })
    }

    /// Whether data of both sides come through, the client's first.
    pub fn goes_on(&mut self, stage: &mut Stations) -> bool {
        self.says(stage, 0, b"question") && self.says(stage, 1, b"answer")
    }

    /// Whether data of the client (0) or the server (1) come through.
    pub fn says(&mut self, stage: &mut Stations, side: usize, data: &[u8]) -> bool {
        let ports = [self.ports[side], self.ports[1 - side]];
        let body = Body::Segment(ports, Flags::Ack, self.next[side], self.next[1 - side], data.to_vec());
        let passes = stage.passes(self.family, self.ends[side], self.ends[1 - side], &body);
        if passes {
            self.next[side] += u32::try_from(data.len()).unwrap_or(0);
        }
        passes
    }
}
