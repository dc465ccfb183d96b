//! A switch with two networks and a gateway in each: a station inside at port 0, one outside at port 1.

use std::net::Ipv4Addr;
use std::sync::Arc;

use viaduct::ring::Burst;
use viaduct_switch::nat::{Nat, NatSettings, SourceNat};
use viaduct_switch::router::{InterfaceSettings, Route, RouterIndex, Routing, Serves};
use viaduct_switch::{
    Gateway, Limits, MacAddress, Nanos, NetworkIndex, NetworkSettings, Policy, PortPolicy, Switch,
    WorkerState,
};

use super::support::{Count, port};

/// How packets get out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Routed,
    Masqueraded,
}

const STATIONS: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2])];
const GATEWAYS: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 1, 1]), MacAddress([2, 0, 0, 0, 1, 2])];
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(192, 0, 2, 10)];
const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1)];

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

/// The head of a datagram of 64 bytes from the station inside to the one outside, of flow number `flow`.
pub(super) fn datagram(flow: u8) -> [u8; 64] {
    let mut frame = [0x5a; 64];
    frame[..6].copy_from_slice(&GATEWAYS[0].0);
    frame[6..12].copy_from_slice(&STATIONS[0].0);
    frame[12..26].copy_from_slice(&[8, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame[26..30].copy_from_slice(&ADDRESSES[0].octets());
    frame[30..34].copy_from_slice(&ADDRESSES[1].octets());
    frame[34..42].copy_from_slice(&[0x13, flow, 0, 53, 0, 30, 0x12, 0x34]);
    let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!folded).to_be_bytes()[2..]);
    frame
}

/// A switch that knows both stations.
pub(super) fn switch(way: Way) -> (Switch, WorkerState) {
    let ports = [0, 1].map(|at| (port(at), PortPolicy::new(network(at), 1500)));
    let gateways = [0, 1].map(|at| (port(2 + at), PortPolicy::new(network(at), 1500)));
    let networks = [0, 1].map(|at| {
        let gateway = Some(Gateway { port: port(2 + at), mac: GATEWAYS[at] });
        (network(at), NetworkSettings { gateway, ..NetworkSettings::default() })
    });
    let interfaces = [0, 1].map(|at| InterfaceSettings {
        network: network(at),
        router: RouterIndex(if way == Way::Routed { 0 } else { u16::try_from(at).unwrap() }),
        mac: GATEWAYS[at],
        mtu: 1500,
        addresses: vec![(OWN[at].into(), 24)],
        serves: Serves::default(),
        is_outside: false,
        groups: Vec::new(),
    });
    let out = (RouterIndex(0), "192.0.2.0/24".parse().unwrap(), Route::Link(network(1)));
    // Networks of one router reach one another without.
    let routes = (way == Way::Masqueraded).then_some(out);
    let routing = Routing::compile(interfaces, routes).unwrap();
    let policy = Policy::compile(ports.into_iter().chain(gateways), networks).unwrap();
    let policy = if way == Way::Masqueraded {
        let sources = vec![SourceNat::masquerade(network(0), network(1))];
        let nat = Nat::compile(&NatSettings { sources, ..NatSettings::default() }, &routing).unwrap();
        policy.with_routing(Arc::new(routing)).with_nat(Arc::new(nat))
    } else {
        policy.with_routing(Arc::new(routing))
    };
    let switch = Switch::new(7, Limits::default());
    switch.prepare(&policy);
    let mut state = WorkerState::new(Arc::new(policy));
    for at in [0, 1] {
        switch.neighbours().set(network(at), ADDRESSES[at].into(), STATIONS[at], 0);
        let mut hello = [0xff; 64];
        hello[6..12].copy_from_slice(&STATIONS[at].0);
        let mut burst = Burst::new(port(at));
        burst.load(port(at), &mut hello);
        switch.process(&mut state, Nanos(0), burst.parts().0, &mut Count(0));
    }
    (switch, state)
}
