//! Two inside networks, an outside one, and stations that speak with scripted packets.

use std::net::Ipv4Addr;
use std::sync::Arc;

pub(crate) use crate::packets::*;
use viaduct_switch::fragments::DatagramId;
use viaduct_switch::gateway::{self, Moment, Offered, Output};
use viaduct_switch::nat::{Nat, NatSettings, SourceNat};
use viaduct_switch::packet::Address;
use viaduct_switch::router::{InterfaceSettings, Route, RouterIndex, Routing, Serves, Why};
use viaduct_switch::security::{
    Direction, Family, Group, GroupIndex, PortSecurity, Protocol, Rule, RuleSpec, SecurityControl, Zone,
};
use viaduct_switch::{
    Carried, Claims, DropReason, Egress, Frame, Gateway, Head, Limits, MacAddress, Metadata, Nanos,
    NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch, WorkerState, conntrack,
};

/// Guests 0 and 1 are in network 0, guest 2 in network 1: both inside. Peers 3 and 4 are outside, in network 2, and so is
/// router 5, behind which is all else.
pub(crate) const NETWORK_OF: [usize; 6] = [0, 0, 1, 2, 2, 2];
pub(crate) const ROUTER: usize = 5;

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const C: usize = 2;
pub(crate) const PEER: usize = 3;
pub(crate) const OTHER: usize = 4;

/// A router on the way of what goes outside.
pub(crate) const FAR_ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// Types and codes of all errors that may be told of what a station sent: unreachable, time exceeded, a wrong header.
pub(crate) fn errors() -> impl Iterator<Item = (u8, u8)> {
    (0..=13).map(|code| (3, code)).chain([(11, 0), (11, 1), (12, 0), (12, 1), (12, 2)])
}

/// The gateways' own addresses of IPv6.
const V6: [&str; 3] = ["fd00:0:0:1::1", "fd00:0:0:2::1", "2001:db8:99::1"];

/// The gateway's own address outside.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub(crate) fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

pub(crate) fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

pub(crate) fn mac(station: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, station as u8 + 1])
}

pub(crate) fn gateway(of: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, of as u8])
}

pub(crate) fn v4(station: usize) -> Ipv4Addr {
    match NETWORK_OF[station] {
        2 => Ipv4Addr::new(192, 0, 2, station as u8 + 10),
        of => Ipv4Addr::new(10, 0, of as u8, station as u8 + 10),
    }
}

/// What becomes of a frame.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) sent: Vec<(usize, Vec<u8>)>,
    pub(crate) offered: Vec<(usize, Vec<u8>)>,
    /// What was found out of each frame that was offered.
    pub(crate) why: Vec<Option<Why>>,
    pub(crate) dropped: Vec<DropReason>,
    held: Vec<(DatagramId, Frame<()>)>,
    pub(crate) released: Vec<(Frame<()>, Carried)>,
}

impl Egress<()> for Outside {
    fn send(&mut self, to: PortIndex, _: usize, frame: &Frame<()>) {
        self.sent.push((to.get(), frame.head.bytes().to_vec()));
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        for &to in receivers.iter().filter(|to| **to != frame.meta.source) {
            self.send(to, slot, frame);
        }
    }

    fn offer(&mut self, network: NetworkIndex, _: usize, frame: &Frame<()>, why: Option<Why>) -> bool {
        self.offered.push((network.get(), frame.head.bytes().to_vec()));
        self.why.push(why);
        true
    }

    fn dropped(&mut self, _: usize, _: &Frame<()>, reason: DropReason) {
        self.dropped.push(reason);
    }

    fn hold(&mut self, datagram: DatagramId, _: usize, frame: &Frame<()>) -> bool {
        self.held.push((datagram, frame.clone()));
        true
    }

    fn release(&mut self, datagram: DatagramId, decided: Option<Carried>) {
        let (meant, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|(of, _)| *of == datagram);
        self.held = others;
        self.released.extend(meant.into_iter().filter_map(|(_, frame)| Some((frame, decided?))));
    }
}

pub(crate) struct Lab {
    pub(crate) switch: Switch,
    pub(crate) worker: WorkerState,
    pub(crate) policy: Policy,
    pub(crate) settings: NatSettings,
    pub(crate) now: Nanos,
    outside: Outside,
    /// Addresses that stand for stations.
    extra: Vec<Ipv4Addr>,
}

impl Lab {
    /// Both inside networks are masqueraded.
    pub(crate) fn new() -> Self {
        let sources = [0, 1].map(|of| SourceNat::masquerade(network(of), network(2)));
        Self::with(NatSettings { sources: sources.into(), ..NatSettings::default() })
    }

    pub(crate) fn with(settings: NatSettings) -> Self {
        Self::sized(settings, 4096)
    }

    /// With room for so many connections.
    pub(crate) fn sized(settings: NatSettings, connections: usize) -> Self {
        let ports =
            (0..6).map(|station| (port(station), PortPolicy::new(network(NETWORK_OF[station]), 9000)));
        let gateways = (0..3).map(|of| (port(10 + of), PortPolicy::new(network(of), 1500)));
        let networks = [0, 1, 2].map(|of| {
            let gateway = Some(Gateway { port: port(10 + of), mac: gateway(of) });
            (network(of), NetworkSettings { gateway, ..NetworkSettings::default() })
        });
        let policy = Policy::compile(ports.chain(gateways), networks).unwrap();
        let connections = conntrack::Limits {
            per_port: connections,
            embryonic_per_port: connections,
            ..conntrack::Limits::of(connections)
        };
        let switch = Switch::new(7, Limits { connections, ..Limits::default() });
        switch.set_verification(true);
        let worker = WorkerState::new(Arc::new(policy.clone()));
        let now = Nanos::from_seconds(1000);
        let outside = Outside::default();
        let mut lab = Self { switch, worker, policy, settings, now, outside, extra: Vec::new() };
        lab.apply(OUTSIDE);
        for station in 0..6 {
            lab.introduce(station);
        }
        lab
    }

    /// Whose worker remembers nothing of earlier packets, and otherwise the same.
    pub(crate) fn without_memory(mut self) -> Self {
        self.worker = WorkerState::with_flow_entries(Arc::new(self.policy.clone()), 0);
        self
    }

    /// Whose worker relies on what it remembers.
    pub(crate) fn relying(self) -> Self {
        self.switch.set_verification(false);
        self
    }

    /// Goes by the settings as they are now, with this address of the gateway outside.
    pub(crate) fn apply(&mut self, own: Ipv4Addr) -> usize {
        let of = |index: usize, addresses: Vec<(Ipv4Addr, u8)>| InterfaceSettings {
            network: network(index),
            router: RouterIndex(index as u16),
            mac: gateway(index),
            mtu: [9000, 1500, 1500][index],
            serves: Serves::default(),
            is_outside: false,
            groups: Vec::new(),
            addresses: addresses
                .into_iter()
                .map(|(address, length)| (address.into(), length))
                .chain([(V6[index].parse().unwrap(), 64)])
                .collect(),
        };
        let own = std::iter::once((own, 24)).chain(self.extra.iter().map(|extra| (*extra, 32))).collect();
        let interfaces = [
            of(0, vec![(Ipv4Addr::new(10, 0, 0, 1), 24)]),
            of(1, vec![(Ipv4Addr::new(10, 0, 1, 1), 24)]),
            of(2, own),
        ];
        let default = Route::Via(network(2), v4(ROUTER).into());
        let link = Route::Link(network(2));
        let routes = [0, 1].into_iter().flat_map(|router| {
            let all = (RouterIndex(router), "0.0.0.0/0".parse().unwrap(), default);
            let near = (RouterIndex(router), "192.0.2.0/24".parse().unwrap(), link);
            let near_v6 = (RouterIndex(router), "2001:db8:99::/64".parse().unwrap(), link);
            [all, near, near_v6]
        });
        // Stations without number, for whom A's network has room.
        let guests = (RouterIndex(0), "10.1.0.0/16".parse().unwrap(), Route::Link(network(0)));
        let routes = routes.chain([guests]);
        let routing = Routing::compile(interfaces, routes).unwrap();
        let nat = Nat::compile(&self.settings, &routing).unwrap();
        self.policy = self.policy.with_routing(Arc::new(routing)).with_nat(Arc::new(nat));
        self.switch.prepare(&self.policy);
        self.worker.set_policy(Arc::new(self.policy.clone()));
        self.switch.end_translations(&self.policy, self.now)
    }

    /// The gateway has these addresses, too.
    pub(crate) fn add_addresses(&mut self, extra: &[Ipv4Addr]) {
        self.extra.extend(extra);
        self.apply(OUTSIDE);
    }

    /// Has rules judge the inside stations: these ranges of services alone, and ICMP.
    pub(crate) fn filter(&mut self, services: &[(u16, u16)]) {
        let both = [Direction::Ingress, Direction::Egress];
        let rules = both.into_iter().flat_map(|direction| {
            let of = move |protocol, ports| {
                let (protocol, ethertype) = (Some(protocol), Some(Family::Ipv4));
                RuleSpec { protocol, ports, ethertype, ..RuleSpec::new(direction) }
            };
            let pairs = services.iter().flat_map(move |ports| {
                [Protocol::TCP, Protocol::UDP].map(|protocol| of(protocol, Some(*ports)))
            });
            pairs.chain([of(Protocol::ICMP, None)])
        });
        let rules = rules.map(|rule| Rule::try_from(rule).unwrap()).collect();
        let (mut security, group) = (SecurityControl::new(3), GroupIndex::new(0).unwrap());
        security.set_group(group, Some(&Group { stateful: true, rules }));
        for station in [A, B, C] {
            let own = PortSecurity::new(Zone(NETWORK_OF[station] as u16), mac(station));
            let addresses = vec![v4(station).into()];
            let groups = Some(vec![group]);
            security.set_port(port(station), Some(PortSecurity { groups, addresses, ..own }));
        }
        self.policy = self.policy.with_security(Arc::new(security.policy().clone()));
        self.apply(OUTSIDE);
    }

    fn introduce(&mut self, station: usize) {
        let of = network(NETWORK_OF[station]);
        assert!(self.switch.neighbours().set(of, Address::from(v4(station)), mac(station), 1));
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&[0xff; 6]);
        frame[6..12].copy_from_slice(&mac(station).0);
        self.send(station, &frame);
    }

    pub(crate) fn send(&mut self, station: usize, frame: &[u8]) -> Outside {
        self.send_as(station, frame, Claims::default())
    }

    pub(crate) fn send_as(&mut self, station: usize, frame: &[u8], claims: Claims) -> Outside {
        self.send_long(station, frame, frame.len(), claims)
    }

    /// A station sends a frame of `length` bytes that begins with these.
    pub(crate) fn send_long(
        &mut self,
        station: usize,
        frame: &[u8],
        length: usize,
        claims: Claims,
    ) -> Outside {
        let meta = Metadata::new(port(station), length as u32, claims);
        let mut burst = [Frame { head: Head::from_bytes(frame), meta, payload: () }];
        let mut outside = std::mem::take(&mut self.outside);
        self.switch.process(&mut self.worker, self.now, &mut burst, &mut outside);
        assert!(self.switch.flow_mismatch().is_none(), "{:?}", self.switch.flow_mismatch());
        let mismatched = self.worker.flow_counters().snapshot().mismatched;
        assert_eq!(mismatched, 0, "an earlier packet's way was not this one's");
        self.outside.held = std::mem::take(&mut outside.held);
        // The rest of the frame, which the switch never sees.
        for (_, bytes) in &mut outside.sent {
            bytes.extend(frame.get(128..).unwrap_or_default());
        }
        outside
    }

    /// What a fragment that waited becomes.
    pub(crate) fn go_on(&mut self, (frame, decided): (Frame<()>, Carried)) -> Outside {
        let mut outside = Outside::default();
        self.switch.process_decided(&mut self.worker, self.now, &mut [frame], &mut outside, decided);
        outside
    }

    /// Sends a frame that leaves by one port, and gives that and what left.
    pub(crate) fn pass(&mut self, station: usize, frame: &[u8]) -> (usize, Vec<u8>) {
        let outside = self.send(station, frame);
        let [sent] = &outside.sent[..] else {
            panic!("{:?} {:?} {:?}", outside.sent, outside.offered, outside.dropped)
        };
        check(&sent.1);
        sent.clone()
    }

    /// Sends a frame that is dropped, and gives the reason.
    pub(crate) fn lose(&mut self, station: usize, frame: &[u8]) -> DropReason {
        let outside = self.send(station, frame);
        assert!(outside.sent.is_empty(), "{:?}", outside.sent);
        let [reason] = outside.dropped[..] else { panic!("{:?} {:?}", outside.dropped, outside.offered) };
        reason
    }

    /// Sends a frame that the gateway gets.
    pub(crate) fn offer(&mut self, station: usize, frame: &[u8]) -> (usize, Vec<u8>) {
        let outside = self.send(station, frame);
        assert!(outside.sent.is_empty() && outside.dropped.is_empty(), "{:?}", outside.dropped);
        outside.offered[0].clone()
    }

    /// What gateways do about a frame of a station's that does not leave; no service wants what is for them.
    pub(crate) fn answers(&mut self, station: usize, frame: &[u8]) -> Vec<Output> {
        let outside = self.send(station, frame);
        assert!(outside.sent.is_empty(), "{:?}", outside.sent);
        let mut gateway = gateway::Gateway::new(7, &gateway::Limits::default());
        let moment = Moment { neighbours: self.switch.neighbours(), now: self.now };
        gateway.set_routing(Arc::clone(self.policy.routing().unwrap()), moment);
        let of = network(NETWORK_OF[station]);
        let mut outputs = Vec::new();
        for ((network, head), why) in outside.offered.iter().zip(outside.why) {
            assert_eq!((*network, &head[..]), (of.get(), &frame[..frame.len().min(128)]), "as it came in");
            let offered = Offered { port: port(station), network: of, frame, why };
            gateway.receive(&offered, moment);
            outputs.extend(gateway.drain());
            if matches!(outputs.last(), Some(Output::Local { .. })) {
                gateway.refuse(&offered, moment);
                outputs.extend(gateway.drain());
            }
        }
        outputs
    }

    /// The one frame by which a gateway answers the station's.
    pub(crate) fn answer(&mut self, station: usize, frame: &[u8]) -> Vec<u8> {
        let answers = self.answers(station, frame);
        let sent = answers.iter().filter_map(|output| match output {
            Output::Send { network, frame } => Some((network.get(), frame)),
            _ => None,
        });
        let [(of, answer)] = sent.collect::<Vec<_>>()[..] else { panic!("{answers:?}") };
        assert_eq!((of, &answer[..6]), (NETWORK_OF[station], &mac(station).0[..]));
        check(answer);
        answer.clone()
    }

    /// Lets time pass, as the control side does.
    pub(crate) fn wait(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now = Nanos::from_seconds(self.now.seconds() + 1);
            self.switch.expire_connections(self.now, 1 << 20, |_| {});
        }
        // Who is silent is forgotten, but not here.
        for station in 0..6 {
            self.introduce(station);
        }
    }

    pub(crate) fn mappings(&self) -> usize {
        self.switch.conntrack().unwrap().mappings().unwrap().snapshot().mappings
    }

    pub(crate) fn connections(&self) -> usize {
        let table = self.switch.conntrack().unwrap();
        table.list(&conntrack::Filter::default(), 0, usize::MAX, self.now).connections.len()
    }
}
