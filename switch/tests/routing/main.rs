//! Packets between networks: rewritten once, judged by the rules of both sides, the gateway told what it has to see.
#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test may stop at its own mistakes, and chooses its own numbers"
)]

mod bursts;
#[path = "../support/fragment.rs"]
mod fragment;
mod gateway;
#[path = "../support/happenings.rs"]
mod happenings;
mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use etherparse::PacketBuilder;
use viaduct_switch::explain::Fate;
use viaduct_switch::fragments::DatagramId;
use viaduct_switch::packet::Address;
use viaduct_switch::router::{InterfaceSettings, RouterIndex, Routing, Serves, Why};
use viaduct_switch::security::{
    Direction, Group, GroupIndex, PortSecurity, Protocol, Rule, RuleSpec, SecurityControl, Zone,
};
use viaduct_switch::{
    Carried, Claims, DropReason, Egress, Frame, Gateway, Gso, GsoKind, Head, Limits, MacAddress, Metadata,
    Nanos, NetworkIndex, NetworkSettings, PartialChecksum, Policy, PortIndex, PortPolicy, Priority, Switch,
    TakenTag, Trunk, VlanId, WorkerState,
};

/// Stations 0 and 1 are in networks 0 and 1, alone at ports 0 and 1; station 2 in network 1 too, at port 2. Port 3 is a trunk
/// of both, with station 3 in network 0 and station 4 in network 1. The gateways' frames enter at ports 10 and 11, as if they were
/// stations 5 and 6.
const NETWORK_OF: [usize; 7] = [0, 1, 1, 0, 1, 0, 1];
const PORT_OF: [usize; 7] = [0, 1, 2, 3, 3, 10, 11];
/// The gateway of network 1.
const GATEWAY: usize = 6;
const TRUNK: usize = 3;

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn mac(station: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, station as u8 + 1])
}

fn gateway(of: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, of as u8])
}

/// The address of a station of its network, or of a gateway if `host` is 1.
fn v4(of: usize, host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, of as u8, host as u8)
}

fn v6(of: usize, host: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, of as u16, 0, 0, 0, 0, 0, host as u16)
}

fn station_v4(station: usize) -> Ipv4Addr {
    v4(NETWORK_OF[station], station + 10)
}

fn station_v6(station: usize) -> Ipv6Addr {
    v6(NETWORK_OF[station], station + 10)
}

/// What left, and what the gateways got.
#[derive(Default)]
struct Outside {
    sent: Vec<(usize, Vec<u8>, Option<TakenTag>)>,
    offered: Vec<(usize, Vec<u8>)>,
    is_full: bool,
    payload: Vec<u8>,
    /// Whether fragments are kept, those that are, and those that go on.
    holds: bool,
    held: Vec<(DatagramId, Frame<()>)>,
    released: Vec<(Frame<()>, Carried)>,
}

impl Egress<()> for Outside {
    fn send(&mut self, to: PortIndex, _: usize, frame: &Frame<()>) {
        self.sent.push((to.get(), frame.head.bytes().to_vec(), frame.meta.tag));
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        for &to in receivers.iter().filter(|to| **to != frame.meta.source) {
            self.send(to, slot, frame);
        }
    }

    fn offer(&mut self, network: NetworkIndex, _: usize, frame: &Frame<()>, _: Option<Why>) -> bool {
        if !self.is_full {
            self.offered.push((network.get(), frame.head.bytes().to_vec()));
        }
        !self.is_full
    }

    fn read(&mut self, _: &Frame<()>, to: &mut [u8]) -> usize {
        let len = to.len().min(self.payload.len());
        to[..len].copy_from_slice(&self.payload[..len]);
        len
    }

    fn hold(&mut self, datagram: DatagramId, _: usize, frame: &Frame<()>) -> bool {
        if self.holds {
            self.held.push((datagram, frame.clone()));
        }
        self.holds
    }

    fn release(&mut self, datagram: DatagramId, decided: Option<Carried>) {
        let (meant, others) = std::mem::take(&mut self.held).into_iter().partition(|(of, _)| *of == datagram);
        self.held = others;
        let meant: Vec<_> = meant;
        self.released.extend(meant.into_iter().filter_map(|(_, frame)| Some((frame, decided?))));
    }
}

struct Lab {
    switch: Switch,
    worker: WorkerState,
    policy: Policy,
    security: SecurityControl,
    now: Nanos,
}

impl Lab {
    fn new() -> Self {
        let access = |of: usize| PortPolicy::new(network(of), 1500);
        let trunk = Trunk { networks: vec![network(0), network(1)], ..Trunk::default() };
        let ports = [(0, access(0)), (1, access(1)), (2, access(1)), (TRUNK, PortPolicy::trunk(trunk, 1500))];
        let gateways = [(10, access(0)), (11, access(1))];
        let networks = [0, 1].map(|of| {
            let gateway = Some(Gateway { port: port(10 + of), mac: gateway(of) });
            (
                network(of),
                NetworkSettings { vlan: VlanId::new(of as u16 + 5), gateway, ..NetworkSettings::default() },
            )
        });
        let ports = ports.into_iter().chain(gateways).map(|(index, policy)| (port(index), policy));
        let policy = Policy::compile(ports, networks).unwrap().with_routing(Arc::new(routing(true)));
        let switch = Switch::new(7, Limits::default());
        switch.prepare(&policy);
        switch.set_verification(true);
        let worker = WorkerState::new(Arc::new(policy.clone()));
        let security = SecurityControl::new(3);
        let mut lab = Self { switch, worker, policy, security, now: Nanos::from_seconds(1) };
        for station in 0..5 {
            lab.introduce(station);
        }
        lab
    }

    /// Lets the switch learn where a station is, and the gateway who it is.
    fn introduce(&mut self, station: usize) {
        let of = NETWORK_OF[station];
        for address in [Address::from(station_v4(station)), station_v6(station).into()] {
            assert!(self.switch.neighbours().set(network(of), address, mac(station), 1));
        }
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&[0xff; 6]);
        frame[6..12].copy_from_slice(&mac(station).0);
        self.send(station, &frame);
    }

    fn send(&mut self, station: usize, frame: &[u8]) -> Outside {
        self.send_as(station, frame, frame.len(), Claims::default())
    }

    /// A station sends a frame of `length` bytes that begins with these.
    fn send_as(&mut self, station: usize, frame: &[u8], length: usize, claims: Claims) -> Outside {
        let mut outside = Outside::default();
        self.enter(&mut outside, station, frame, length, claims);
        outside
    }

    fn enter(&mut self, outside: &mut Outside, station: usize, frame: &[u8], length: usize, claims: Claims) {
        let mut burst = [entering(station, frame, length, claims)];
        self.switch.process(&mut self.worker, self.now, &mut burst, outside);
        assert!(self.switch.flow_mismatch().is_none(), "{:?}", self.switch.flow_mismatch());
    }

    fn drops(&self, station: usize, reason: DropReason) -> u64 {
        self.switch
            .counters()
            .port(port(PORT_OF[station]))
            .snapshot()
            .dropped()
            .find(|(of, _)| *of == reason)
            .map_or(0, |(_, count)| count)
    }
}

/// A station's frame of `length` bytes that begins with these, about to enter at its port.
fn entering(station: usize, frame: &[u8], length: usize, mut claims: Claims) -> Frame<()> {
    let mut bytes = frame.to_vec();
    let mut length = length as u32;
    if PORT_OF[station] == TRUNK {
        bytes.splice(12..12, [0x81, 0, 0x60, NETWORK_OF[station] as u8 + 5]);
        length += 4;
        if let Some(checksum) = &mut claims.checksum {
            checksum.start += 4;
        }
    }
    let meta = Metadata::new(port(PORT_OF[station]), length, claims);
    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
}

/// Two networks, each with a gateway, of one router or of one each.
fn routing(is_joined: bool) -> Routing {
    let interfaces = [0, 1].map(|of| InterfaceSettings {
        network: network(of),
        router: RouterIndex(if is_joined { 0 } else { of as u16 }),
        mac: gateway(of),
        mtu: [1500, 1400][of],
        addresses: vec![(v4(of, 1).into(), 24), (v6(of, 1).into(), 64)],
        serves: Serves { dhcp_v4: of == 0, dhcp_v6: of == 0, router_advertisements: true },
        is_outside: false,
        groups: Vec::new(),
    });
    Routing::compile(interfaces, []).unwrap()
}

/// A UDP packet from a station to an address, by its gateway.
fn udp(from: usize, to: impl Into<IpAddr>, hops: u8) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(mac(from).0, gateway(NETWORK_OF[from]).0);
    let ip = match to.into() {
        IpAddr::V4(to) => ethernet.ipv4(station_v4(from).octets(), to.octets(), hops),
        IpAddr::V6(to) => ethernet.ipv6(station_v6(from).octets(), to.octets(), hops),
    };
    let mut frame = Vec::new();
    ip.udp(1000, 53).write(&mut frame, &[7; 20]).unwrap();
    frame
}

fn arp(from: usize, operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac(from).0);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(mac(from).0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

#[test]
fn a_packet_reaches_a_station_of_another_network() {
    let mut lab = Lab::new();
    for to in [IpAddr::from(station_v4(1)), station_v6(1).into()] {
        // The second time the decision is replayed.
        for _ in 0..2 {
            let frame = udp(0, to, 9);
            let outside = lab.send(0, &frame);
            let [(to_port, bytes, _)] = &outside.sent[..] else { panic!("{:?}", outside.sent) };
            assert_eq!((*to_port, &bytes[..6], &bytes[6..12]), (1, &mac(1).0[..], &gateway(1).0[..]));
            let hops = if to.is_ipv4() { 22 } else { 21 };
            assert_eq!(bytes[hops], 8);
            assert_eq!(bytes[34..], frame[34..], "nothing behind the header is touched");
            assert!(outside.offered.is_empty());
        }
    }
}

#[test]
fn a_trunk_leads_to_both_networks_and_back() {
    let mut lab = Lab::new();
    // From one of its networks to the other, with the other's tag.
    let outside = lab.send(3, &udp(3, station_v4(4), 9));
    let [(to, bytes, tag)] = &outside.sent[..] else { panic!("{:?}", outside.sent) };
    assert_eq!((*to, &bytes[..6]), (TRUNK, &mac(4).0[..]));
    let tag = tag.unwrap();
    assert_eq!(tag.network, network(1));
    assert_eq!(tag.priority, Priority::new(3), "its priority goes along");
    let meta = Metadata { tag: Some(tag), ..Metadata::new(port(TRUNK), 0, Claims::default()) };
    let tags = lab.policy.tags_of(port(TRUNK)).unwrap().of(&meta).unwrap();
    assert_eq!(tags.bytes(), [0x81, 0, 0x60, 6]);
}

#[test]
fn a_super_frame_crosses_whole_and_one_whose_segments_are_too_long_does_not() {
    for (is_v4, is_tcp) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut lab = Lab::new();
        let frame = long(is_v4, is_tcp);
        let (start, hops) = if is_v4 { (34, 22) } else { (54, 21) };
        let (kind, offset, header) = match (is_v4, is_tcp) {
            (true, true) => (GsoKind::Tcp4, 16, 20),
            (false, true) => (GsoKind::Tcp6, 16, 20),
            (_, false) => (GsoKind::Udp, 6, 8),
        };
        let claims = |size| Claims {
            checksum: Some(PartialChecksum { start, offset }),
            gso: Some(Gso { kind, size, ecn: false }),
        };
        // As much as a segment has beside its headers where 1400 bytes pass.
        let size = 1400 - (start - 14) - header;
        // The second time the decision is replayed.
        for _ in 0..2 {
            let outside = lab.send_as(0, &frame, frame.len(), claims(size));
            let [(to, bytes, _)] = &outside.sent[..] else { panic!("{kind:?} {:?}", outside.sent) };
            assert_eq!((*to, &bytes[..6], &bytes[6..12]), (1, &mac(1).0[..], &gateway(1).0[..]), "{kind:?}");
            assert_eq!(bytes[hops], 8, "{kind:?}");
            let start = usize::from(start);
            assert_eq!(bytes[start..128], frame[start..128], "{kind:?}");
            assert!(outside.offered.is_empty(), "{kind:?}");
            let outside = lab.send_as(0, &frame, frame.len(), claims(size + 1));
            assert!(outside.sent.is_empty(), "{kind:?}");
            assert_eq!(outside.offered.len(), 1, "{kind:?}: the gateway tells the sender");
        }
    }
}

/// A packet of 40,000 bytes and its headers.
fn long(is_v4: bool, is_tcp: bool) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(mac(0).0, gateway(0).0);
    let ip = if is_v4 {
        ethernet.ipv4(station_v4(0).octets(), station_v4(1).octets(), 9)
    } else {
        ethernet.ipv6(station_v6(0).octets(), station_v6(1).octets(), 9)
    };
    let mut frame = Vec::new();
    if is_tcp {
        ip.tcp(1, 2, 3, 4).ack(5).write(&mut frame, &[7; 40_000]).unwrap();
    } else {
        ip.udp(1, 2).write(&mut frame, &[7; 40_000]).unwrap();
    }
    frame
}

#[test]
fn an_unknown_place_is_flooded_to_and_an_unknown_station_is_the_gateways_business() {
    let mut lab = Lab::new();
    let elsewhere = Address::from(v4(1, 77));
    assert!(lab.switch.neighbours().set(network(1), elsewhere, MacAddress([2, 0, 0, 0, 9, 9]), 1));
    let outside = lab.send(0, &udp(0, v4(1, 77), 9));
    let ports: Vec<usize> = outside.sent.iter().map(|(to, ..)| *to).collect();
    assert_eq!(ports, [1, 2, TRUNK], "all ports of the other network, but not its gateway's");
    let outside = lab.send(0, &udp(0, v4(1, 78), 9));
    assert!(outside.sent.is_empty());
    assert_eq!(outside.offered, [(0, udp(0, v4(1, 78), 9))], "as it came, for it will be sent again");
}

#[test]
fn what_is_no_ip_is_not_routed() {
    let mut lab = Lab::new();
    let mut frame = udp(0, station_v4(1), 9);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    lab.send(0, &frame);
    let mut frame = udp(0, station_v4(1), 9);
    frame[25] ^= 1;
    lab.send(0, &frame);
    assert_eq!(lab.drops(0, DropReason::NotRoutable), 2);
}

/// What an earlier packet's way was says nothing any more as soon as routes are others, whatever else stays as it is.
#[test]
fn another_table_of_routes_counts_from_the_next_packet_on() {
    for relies in [true, false] {
        for to in [IpAddr::from(station_v4(1)), station_v6(1).into()] {
            let mut lab = Lab::new();
            lab.switch.set_verification(!relies);
            for _ in 0..3 {
                assert_eq!(lab.send(0, &udp(0, to, 9)).sent.len(), 1);
            }
            lab.worker.set_policy(Arc::new(lab.policy.with_routing(Arc::new(routing(false)))));
            let outside = lab.send(0, &udp(0, to, 9));
            assert!(outside.sent.is_empty(), "{to} by a route that is no more");
            assert_eq!(outside.offered.len(), 1, "the gateway says that it is unreachable");
            assert_eq!(lab.worker.flow_counters().snapshot().mismatched, 0);
        }
    }
}
