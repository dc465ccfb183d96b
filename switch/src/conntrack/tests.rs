//! The table as its callers see it. Packets are made as the parser makes them.

mod ahead;
mod bounds;
mod hostile;
mod interleavings;
mod judged;
mod kinds;
mod model;
mod opening;
mod places;
mod records;
mod shares;
mod tcp;
mod threads;

use std::net::IpAddr;

use super::*;
use crate::packet::{Address, Icmp, IcmpMessage, Plain, Ports, SynOptions, TcpFlags, number};

pub(super) const SYN: u8 = TcpFlags::SYN;
pub(super) const ACK: u8 = TcpFlags::ACK;
pub(super) const FIN: u8 = TcpFlags::FIN;
pub(super) const RST: u8 = TcpFlags::RST;

pub(super) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

pub(super) fn zone(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

pub(super) fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

pub(super) fn at(seconds: u32) -> Nanos {
    Nanos::from_seconds(seconds)
}

pub(super) fn small() -> Limits {
    Limits { connections: 1024, per_port: 512, embryonic_per_port: 256, may_take_up: false }
}

pub(super) fn table() -> Conntrack {
    Conntrack::new(small(), 42)
}

/// A packet between two stations.
pub(super) fn between(source: Address, destination: Address, protocol: u8, transport: Transport) -> Packet {
    Packet {
        source,
        destination,
        protocol,
        hop_limit: 64,
        traffic_class: 0,
        network_at: 14,
        transport_at: 34,
        end_at: 60,
        fragment: None,
        transport,
    }
}

/// A UDP packet of a flow's number, there or back.
pub(super) fn udp(flow: u32, is_back: bool) -> Packet {
    let ends = [Address::from_bits(0xffff_0a00_0000 | u128::from(flow >> 16)), address("10.99.0.1")];
    let ports = [u16::try_from(flow & 0xffff).unwrap(), 53];
    let (from, to) = if is_back { (1, 0) } else { (0, 1) };
    let transport = Transport::Ports(Ports { source: ports[from], destination: ports[to] });
    between(ends[from], ends[to], number::UDP, transport)
}

/// A TCP segment of a flow's number from the side that opens it, or from the other.
pub(super) fn tcp(flow: u32, is_back: bool, flags: u8, numbers: (u32, u32), payload: u16) -> Packet {
    let mut packet = udp(flow, is_back);
    packet.protocol = number::TCP;
    let Transport::Ports(ports) = packet.transport else { unreachable!() };
    packet.transport = Transport::Tcp(Tcp {
        ports,
        sequence: numbers.0,
        acknowledgement: numbers.1,
        flags: TcpFlags(flags),
        window: 1000,
        payload,
        syn: SynOptions::default(),
    });
    packet
}

pub(super) fn icmp(is_back: bool, kind: u8, message: IcmpMessage) -> Packet {
    let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
    let transport = Transport::Icmp(Icmp { kind, code: 0, message });
    let (from, to) = if is_back { (b, a) } else { (a, b) };
    between(from, to, number::ICMP, transport)
}

impl Conntrack {
    /// What happens to a packet that rules allow: it opens a connection or is noted; gives the verdict before.
    pub(super) fn pass(&self, packet: &Packet, seconds: u32) -> Verdict {
        let verdict = self.look_up(zone(1), packet, at(seconds));
        match verdict {
            Verdict::New => {
                self.open(zone(1), packet, port(7), 1, at(seconds)).unwrap();
            }
            Verdict::Established(found) => {
                // What was looked up holds, since nobody else is there.
                assert_eq!(self.track(found, packet, at(seconds)), Ok(()));
            }
            _ => {}
        }
        verdict
    }

    /// Works off all that is due.
    pub(super) fn run_to(&self, seconds: u32) {
        for _ in 0..3 {
            self.advance(at(seconds), usize::MAX);
        }
    }

    /// The states of all connections, in the table's order.
    pub(super) fn states(&self, seconds: u32) -> Vec<State> {
        let all = self.list(&Filter::default(), 0, usize::MAX, at(seconds)).connections;
        all.iter().map(|connection| connection.state).collect()
    }
}

pub(super) fn is_established(verdict: Verdict, direction: Direction) -> bool {
    matches!(verdict, Verdict::Established(found) if found.direction == direction)
}
