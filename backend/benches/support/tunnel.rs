//! A switch with an uplink, by which a tenant's stations on another host are reached through VXLAN.

use std::net::Ipv4Addr;
use std::sync::Arc;

use viaduct_switch::policy::VtepMembership;
use viaduct_switch::router::{InterfaceSettings, RouterIndex, Routing, Serves};
use viaduct_switch::tunnel::{
    EndpointIndex, EndpointSettings, Kind, SegmentSettings, Tunnels, VTEPS_MAX, vtep_port,
};
use viaduct_switch::{
    Gateway, MacAddress, Membership, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch,
};

use super::support::port;

/// Bytes of the outer headers.
pub(super) const OUTER: usize = 50;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 1, 1]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 1, 2]);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);
const ID: u32 = 101;

fn underlay() -> NetworkIndex {
    NetworkIndex::new(0).unwrap()
}

/// The tenant's network.
pub(super) fn tenant() -> NetworkIndex {
    NetworkIndex::new(1).unwrap()
}

/// The other host's place among the ports of `switch`.
pub(super) fn remote(switch: &Switch) -> PortIndex {
    switch.neighbours().set(underlay(), REMOTE.into(), PEER, 0);
    switch.configure_vtep(EndpointIndex(0), REMOTE.into()).unwrap()
}

/// Other hosts, and the stations behind all of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Crowd {
    hosts: u32,
    stations: u32,
    /// How far apart the stations are that get frames: as many as fit, each of a burst behind another host.
    spread: u32,
}

/// As many as a burst has frames.
pub(super) const FEW: Crowd = Crowd { hosts: 64, stations: 64, spread: 1 };

/// As many hosts as there may be, nearly, and a hundred thousand stations.
pub(super) const MANY: Crowd = Crowd { hosts: 1000, stations: 100_000, spread: 391 };

/// The station for which frame `number` is.
pub(super) fn station_of(crowd: Crowd, number: u32) -> MacAddress {
    station(number * crowd.spread % crowd.stations)
}

fn station(number: u32) -> MacAddress {
    let [.., a, b, c] = number.to_be_bytes();
    MacAddress([2, 0, 1, a, b, c])
}

/// Lets `switch` know them all.
pub(super) fn crowd(switch: &Switch, Crowd { hosts, stations, .. }: Crowd) {
    let hosts: Vec<_> = (0..hosts)
        .map(|number| {
            let [.., a, b] = number.to_be_bytes();
            let address = Ipv4Addr::new(192, 168, 104 + a, b);
            assert!(switch.neighbours().set(underlay(), address.into(), MacAddress([2, 0, 2, 0, a, b]), 0));
            switch.configure_vtep(EndpointIndex(0), address.into()).unwrap()
        })
        .collect();
    for number in 0..stations {
        let host = hosts[usize::try_from(number).unwrap() % hosts.len()];
        assert!(switch.set_station(tenant(), station(number), host));
    }
}

/// Port `uplink` of the first two leads to the underlay, and the other one to a guest of the tenant's.
pub(super) fn policy(uplink: usize) -> Policy {
    let gateway = Gateway { port: port(2), mac: OWN };
    let networks = [
        (underlay(), NetworkSettings { gateway: Some(gateway), ..NetworkSettings::default() }),
        (tenant(), NetworkSettings::default()),
    ];
    let all = Arc::new([tenant()].into_iter().collect());
    let vtep = |at| {
        let vtep = VtepMembership { networks: Arc::clone(&all), floods: Vec::new() };
        (at, PortPolicy::of(Membership::Vtep(vtep), u16::MAX))
    };
    let ports = [
        (port(uplink), PortPolicy::new(underlay(), 1600)),
        (port(1 - uplink), PortPolicy::new(tenant(), 1500)),
        (port(2), PortPolicy::new(underlay(), u16::MAX)),
    ];
    let ports = ports.into_iter().chain((0..VTEPS_MAX).filter_map(vtep_port).map(vtep));
    let policy = Policy::compile(ports, networks).unwrap();
    policy.with_routing(Arc::new(routing())).with_tunnels(Arc::new(tunnels(port(uplink))))
}

fn routing() -> Routing {
    let interface = InterfaceSettings {
        network: underlay(),
        router: RouterIndex(0),
        mac: OWN,
        mtu: 1600,
        addresses: vec![(LOCAL.into(), 16)],
        serves: Serves::default(),
        is_outside: true,
        groups: Vec::new(),
    };
    Routing::compile([interface], []).unwrap()
}

fn tunnels(uplink: PortIndex) -> Tunnels {
    let segment = SegmentSettings {
        id: ID,
        network: tenant(),
        group: None,
        ttl: 64,
        udp_checksum: false,
        takes_unknown: false,
        known: Arc::new([REMOTE.into()]),
        learns: true,
        inner_tags: false,
    };
    let endpoint = EndpointSettings {
        index: EndpointIndex(0),
        kind: Kind::Vxlan,
        udp_port: 4789,
        uplink,
        underlay: underlay(),
        local: LOCAL.into(),
        segments: vec![segment],
    };
    Tunnels::compile([endpoint]).unwrap()
}

/// A frame as it comes from the other host.
pub(super) fn outside(inner: &[u8]) -> Vec<u8> {
    let mut frame = [0; OUTER];
    frame[..6].copy_from_slice(&OWN.0);
    frame[6..12].copy_from_slice(&PEER.0);
    let behind_ip = u16::try_from(OUTER - 34 + inner.len()).unwrap();
    frame[12..26].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame[16..18].copy_from_slice(&(behind_ip + 20).to_be_bytes());
    frame[26..30].copy_from_slice(&REMOTE.octets());
    frame[30..34].copy_from_slice(&LOCAL.octets());
    let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!folded).to_be_bytes()[2..]);
    frame[34..42].copy_from_slice(&[0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0]);
    frame[38..40].copy_from_slice(&behind_ip.to_be_bytes());
    frame[42] = 8;
    frame[46..49].copy_from_slice(&ID.to_be_bytes()[1..]);
    [&frame[..], inner].concat()
}
