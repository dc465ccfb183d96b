//! A switch with two networks of one router, as the gateway sees it: stations' frames in, what the gateway wants out.

mod advertisements;
mod cutting;
mod errors;
mod groups;
mod hostile;
mod neighbours;
mod outside;
mod silence;
mod stations;

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::*;
use crate::router::{InterfaceSettings, Route, RouterIndex, Serves};

const GATEWAY: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

/// The station with this number, at the port with this number.
fn mac(station: usize) -> MacAddress {
    MacAddress::from_u64(0x0210_0000_0000 | u64::try_from(station).unwrap())
}

fn settings(of: usize, mtu: u16, addresses: &[&str]) -> InterfaceSettings {
    let addresses = addresses.iter().map(|text| {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    });
    InterfaceSettings {
        network: network(of),
        router: RouterIndex(0),
        mac: GATEWAY,
        mtu,
        addresses: addresses.collect(),
        serves: Serves::default(),
        is_outside: false,
        groups: Vec::new(),
    }
}

/// Network 0 and, with a smaller MTU, network 1; behind 10.0.1.9 and fd00:1::9 there is another router.
fn routing() -> Routing {
    let interfaces = [
        settings(0, 1500, &["10.0.0.1/24", "fd00::1/64"]),
        settings(1, 1400, &["10.0.1.1/24", "fd00:1::1/64"]),
    ];
    let routes = [
        (RouterIndex(0), "10.9.0.0/16".parse().unwrap(), Route::Via(network(1), address("10.0.1.9"))),
        (RouterIndex(0), "2001:db8::/32".parse().unwrap(), Route::Via(network(1), address("fd00:1::9"))),
        (RouterIndex(0), "10.9.9.0/24".parse().unwrap(), Route::Unreachable),
    ];
    Routing::compile(interfaces, routes).unwrap()
}

struct Lab {
    gateway: Gateway,
    neighbours: Neighbours,
    now: Nanos,
}

impl Lab {
    fn new() -> Self {
        Self::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        let now = Nanos::from_seconds(1000);
        let mut lab = Self { gateway: Gateway::new(7, limits), neighbours: Neighbours::new(4096, 7), now };
        lab.set_routing(routing());
        lab.wait(10_000);
        lab
    }

    fn set_routing(&mut self, routing: Routing) {
        let moment = Moment { neighbours: &self.neighbours, now: self.now };
        self.gateway.set_routing(Arc::new(routing), moment);
    }

    /// What the gateway wants done because of a frame of the station with the port's number.
    fn receive(&mut self, from: usize, of: usize, frame: &[u8]) -> Vec<Output> {
        let offered = Offered { port: port(from), network: network(of), frame, why: None };
        let moment = Moment { neighbours: &self.neighbours, now: self.now };
        self.gateway.receive(&offered, moment);
        self.gateway.drain().collect()
    }

    /// What it does of itself meanwhile.
    fn wait(&mut self, milliseconds: u32) -> Vec<Output> {
        let end = self.now + Nanos::from_millis(milliseconds);
        while let Some(due) = self.gateway.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let moment = Moment { neighbours: &self.neighbours, now: self.now };
            self.gateway.advance(moment);
        }
        self.now = end;
        self.gateway.drain().collect()
    }

    fn state(&self, of: usize, text: &str) -> Option<NeighbourState> {
        let key = (network(of), address(text));
        self.gateway.neighbours().find(|entry| (entry.network, entry.address) == key).map(|entry| entry.state)
    }

    fn known(&self, of: usize, text: &str) -> Option<MacAddress> {
        self.neighbours.get(network(of), address(text))
    }

    /// Has a station become known by what it answers.
    fn introduce(&mut self, of: usize, station: usize, text: &str) {
        let from = if address(text).is_v4() { "10.0.0.77" } else { "fd00::77" };
        self.receive(77, 0, &udp(mac(77), from, text, 64, 4));
        self.receive(station, of, &answer(station, of, text));
        assert_eq!(self.state(of, text), Some(NeighbourState::Reachable), "{text}");
    }
}

/// A datagram to the gateway's Ethernet address.
fn udp(from: MacAddress, source: &str, destination: &str, hops: u8, payload: usize) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.0, GATEWAY.0);
    let ip = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), hops),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), hops),
        _ => panic!("one version"),
    };
    let mut frame = Vec::new();
    ip.udp(1000, 2000).write(&mut frame, &vec![7; payload]).unwrap();
    frame
}

fn arp(operation: u16, to: MacAddress, sender: (MacAddress, &str), target: (MacAddress, &str)) -> Vec<u8> {
    let mut frame = [&to.0[..], &sender.0.0, &[8, 6, 0, 1, 8, 0, 6, 4]].concat();
    frame.extend(operation.to_be_bytes());
    for (mac, text) in [sender, target] {
        frame.extend(mac.0);
        compose::put_address(&mut frame, address(text));
    }
    frame
}

/// A message of neighbour discovery, with the first byte of its flags and one option.
fn nd(
    kind: u8,
    flags: u8,
    (from, to): (MacAddress, MacAddress),
    (source, destination): (&str, &str),
    (target, option): (&str, Option<(u8, MacAddress)>),
) -> Vec<u8> {
    let mut body = Vec::new();
    compose::put_address(&mut body, address(target));
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.0);
    }
    let ends = (address(source), address(destination));
    let message = compose::icmp(ends, [kind, 0], [flags, 0, 0, 0], &body);
    let header = compose::Header {
        source: ends.0,
        destination: ends.1,
        protocol: number::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        id: None,
    };
    compose::frame(from, to, &compose::packet(&header, &message))
}

/// What the station that has this address says when it is asked for it.
fn answer(station: usize, of: usize, text: &str) -> Vec<u8> {
    if address(text).is_v4() {
        let own = if of == 0 { "10.0.0.1" } else { "10.0.1.1" };
        return arp(2, GATEWAY, (mac(station), text), (GATEWAY, own));
    }
    let own = crate::router::link_local_of(GATEWAY).to_string();
    nd(136, 0x60, (mac(station), GATEWAY), (text, &own), (text, Some((2, mac(station)))))
}

fn sent(outputs: &[Output]) -> Vec<(usize, Vec<u8>)> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send { network, frame } => Some((network.get(), frame.clone())),
        _ => None,
    });
    frames.collect()
}

fn again(outputs: &[Output]) -> Vec<(usize, usize, Vec<u8>)> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Again { port, network, frame } => Some((port.get(), network.get(), frame.clone())),
        _ => None,
    });
    frames.collect()
}

fn dropped(outputs: &[Output]) -> Vec<(usize, DropReason)> {
    let reasons = outputs.iter().filter_map(|output| match output {
        Output::Dropped { port, reason, .. } => Some((port.get(), *reason)),
        _ => None,
    });
    reasons.collect()
}

fn read(frame: &[u8]) -> Contents {
    parse(frame, u32::try_from(frame.len()).unwrap()).unwrap()
}

/// Whom a frame of the gateway's asks for: the station's Ethernet address if it asks one.
fn asked(frame: &[u8]) -> Option<(Address, Option<MacAddress>)> {
    let to = Some(discovery::mac_at(frame, 0)).filter(|mac| !mac.is_group());
    match read(frame) {
        Contents::Arp(arp) if arp.operation == 1 => Some((arp.target, to)),
        Contents::Ip(Packet {
            transport: Transport::Icmp(Icmp { kind: 135, message: IcmpMessage::Neighbour(neighbour), .. }),
            ..
        }) => Some((neighbour.target?, to)),
        _ => None,
    }
}

/// All questions among what the gateway sends.
fn questions(outputs: &[Output]) -> Vec<(usize, String, Option<MacAddress>)> {
    let sent = sent(outputs).into_iter();
    sent.filter_map(|(of, frame)| asked(&frame).map(|(target, to)| (of, target.to_string(), to))).collect()
}
