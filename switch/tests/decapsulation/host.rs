//! A host with ends of all kinds of tunnels, over both versions of IP, on an uplink with a native underlay and a tagged one.

use std::net::IpAddr;
use std::sync::Arc;

use viaduct_switch::packet::Address;
use viaduct_switch::router::{InterfaceSettings, RouterIndex, Routing, Serves};
use viaduct_switch::tunnel::{
    Admission, EndpointIndex, EndpointSettings, Inside, Kind, SegmentSettings, Tunnels, VTEPS_MAX, vtep_port,
};
use viaduct_switch::{
    Claims, DropReason, Frame, Gateway, Head, Limits, MacAddress, Membership, Metadata, Nanos, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, Switch, Trunk, VlanId, VtepMembership, WorkerState,
};

/// The uplink; the gateways of its networks have the ports behind it.
const UPLINK: usize = 0;

/// The networks of the uplink: untagged frames, and those with the tag [`TAG`].
const UNDERLAYS: usize = 2;

/// The id of the VLAN of the second underlay.
pub(crate) const TAG: u16 = 7;

pub(crate) const KINDS: [Kind; 3] = [Kind::Vxlan, Kind::Geneve, Kind::Gre];

/// One end of tunnels of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) kind: Kind,
    pub(crate) is_v6: bool,
    pub(crate) underlay: usize,
}

/// All of them, in the order of their indices.
pub(crate) fn ends() -> impl Iterator<Item = End> {
    let over = |underlay| [false, true].into_iter().map(move |is_v6| (underlay, is_v6));
    let of = |(underlay, is_v6)| KINDS.into_iter().map(move |kind| End { kind, is_v6, underlay });
    (0..UNDERLAYS).flat_map(over).flat_map(of)
}

/// The networks of each end: one whose frames are taken of all VTEPs, one that takes them of the known one alone, and one whose
/// stations may have tags.
pub(crate) const SEGMENTS: u32 = 3;
pub(crate) const ONLY_KNOWN: u32 = 1;
pub(crate) const WITH_TAGS: u32 = 2;

/// The number of an end's first network on the wire.
pub(crate) const FIRST_ID: u32 = 101;

pub(crate) fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

/// The network of this segment of this end.
pub(crate) fn tenant(end: usize, segment: u32) -> NetworkIndex {
    network(UNDERLAYS + end * SEGMENTS as usize + segment as usize)
}

pub(crate) fn mac(host: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, host])
}

impl End {
    /// The UDP port; of no meaning for GRE.
    pub(crate) fn udp_port(self) -> u16 {
        if self.kind == Kind::Vxlan { 4789 } else { 6081 }
    }

    /// The address of a host there.
    pub(crate) fn address(self, host: u8) -> IpAddr {
        let subnet = [99, 97][self.underlay];
        let text =
            if self.is_v6 { format!("fd{subnet}::{host}") } else { format!("192.168.{subnet}.{host}") };
        text.parse().unwrap()
    }

    /// The group to which what is for all VTEPs of a segment goes.
    pub(crate) fn group(self, segment: u32) -> IpAddr {
        let id = FIRST_ID + segment;
        let text = if self.is_v6 { format!("ff0e::1:{id}") } else { format!("239.1.1.{id}") };
        text.parse().unwrap()
    }

    fn segment(self, index: usize, segment: u32, peer: u8) -> SegmentSettings {
        SegmentSettings {
            id: FIRST_ID + segment,
            network: tenant(index, segment),
            group: Some(self.group(segment).into()),
            ttl: 64,
            udp_checksum: self.is_v6,
            takes_unknown: segment != ONLY_KNOWN,
            known: Arc::new([self.address(peer).into()]),
            learns: true,
            inner_tags: segment == WITH_TAGS,
        }
    }

    fn settings(self, index: usize, local: u8, peer: u8) -> EndpointSettings {
        EndpointSettings {
            index: EndpointIndex(u16::try_from(index).unwrap()),
            kind: self.kind,
            udp_port: self.udp_port(),
            uplink: port(UPLINK),
            underlay: network(self.underlay),
            local: self.address(local).into(),
            segments: (0..SEGMENTS).map(|segment| self.segment(index, segment, peer)).collect(),
        }
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// Host `local`, whose known peer is host `peer`.
pub(crate) struct Host {
    switch: Switch,
    worker: WorkerState,
    /// The ports that stand for the peer, one for each end.
    pub(crate) peers: Vec<PortIndex>,
}

impl Host {
    pub(crate) fn new(local: u8, peer: u8) -> Self {
        let limits = Limits { fdb_entries: 64, ..Limits::default() };
        let switch = Switch::new(7, limits);
        let configure = |(index, end): (usize, End)| {
            let address = end.address(peer).into();
            assert!(switch.neighbours().set(network(end.underlay), address, mac(peer), 0));
            switch.configure_vtep(EndpointIndex(u16::try_from(index).unwrap()), address).unwrap()
        };
        let peers = ends().enumerate().map(configure).collect();
        let policy = policy(local, peer);
        switch.prepare(&policy);
        Self { switch, worker: WorkerState::new(Arc::new(policy)), peers }
    }

    /// What the switch makes of a frame that came in by the uplink.
    pub(crate) fn admit(&mut self, bytes: &[u8]) -> (Admission, Frame<()>) {
        loop {
            let meta = Metadata::new(port(UPLINK), u32::try_from(bytes.len()).unwrap(), Claims::default());
            let mut frame = Frame { head: Head::from_bytes(bytes), meta, payload: () };
            let admission = self.switch.admit_tunnelled(&mut self.worker, Nanos(0), &mut frame);
            if admission != Admission::Refused(DropReason::TunnelTableFull) {
                return (admission, frame);
            }
            // All that were heard have been silent for long by then.
            self.switch.expire_vteps(Nanos(3_600_000_000_000));
        }
    }

    /// The end for which a port stands, and the address.
    pub(crate) fn vtep(&self, port: PortIndex) -> Option<(usize, IpAddr)> {
        let (end, address) = self.switch.vteps().get(port)?;
        Some((end.0.into(), address.into()))
    }

    /// The frame with which an inner one leaves for the peer.
    pub(crate) fn wrap(&self, end: usize, segment: u32, inner: &[u8], traffic_class: u8) -> Vec<u8> {
        let of = (self.peers[end], tenant(end, segment));
        let (way, is_whole) = self.switch.encapsulation(self.worker.policy(), of, Nanos(0)).unwrap();
        assert!(is_whole);
        let mut whole = vec![0; way.len()];
        let inside = Inside { length: u32::try_from(inner.len()).unwrap(), flow: 0x1234_5678, traffic_class };
        // Nobody looks at the checksum of UDP there.
        way.put(&inside, &mut whole);
        whole.extend_from_slice(inner);
        whole
    }
}

fn policy(local: u8, peer: u8) -> Policy {
    let underlay = |index: usize| {
        let gateway = Some(Gateway { port: port(UPLINK + 1 + index), mac: mac(local) });
        let vlan = (index == 1).then(|| VlanId::new(TAG).unwrap());
        (network(index), NetworkSettings { gateway, vlan, ..NetworkSettings::default() })
    };
    let of_tenant =
        |segment: u32| NetworkSettings { inner_tags: segment == WITH_TAGS, ..NetworkSettings::default() };
    let tenants = (0..ends().count())
        .flat_map(|end| (0..SEGMENTS).map(move |segment| (tenant(end, segment), of_tenant(segment))));
    let networks: Vec<_> = (0..UNDERLAYS).map(underlay).chain(tenants).collect();
    let trunk = Trunk { native: Some(network(0)), networks: vec![network(1)], ..Trunk::default() };
    let gateways =
        (0..UNDERLAYS).map(|index| (port(UPLINK + 1 + index), PortPolicy::new(network(index), u16::MAX)));
    let all = Arc::new(networks[UNDERLAYS..].iter().map(|(network, _)| *network).collect());
    let vtep = |port| {
        let vtep = VtepMembership { networks: Arc::clone(&all), floods: vec![] };
        (port, PortPolicy::of(Membership::Vtep(vtep), u16::MAX))
    };
    let ports = [(port(UPLINK), PortPolicy::trunk(trunk, 1500))].into_iter().chain(gateways);
    let ports = ports.chain((0..VTEPS_MAX).filter_map(vtep_port).map(vtep));
    let policy = Policy::compile(ports, networks).unwrap();
    let tunnels = ends().enumerate().map(|(index, end)| end.settings(index, local, peer));
    let tunnels = Tunnels::compile(tunnels).unwrap();
    policy.with_routing(Arc::new(routing(local))).with_tunnels(Arc::new(tunnels))
}

fn routing(local: u8) -> Routing {
    let interface = |underlay: usize| {
        let of = |is_v6| End { kind: Kind::Gre, is_v6, underlay }.address(local);
        InterfaceSettings {
            network: network(underlay),
            router: RouterIndex(u16::try_from(underlay).unwrap()),
            mac: mac(local),
            mtu: 1500,
            addresses: vec![(of(false), 24), (of(true), 64)],
            serves: Serves::default(),
            is_outside: true,
            groups: Vec::new(),
        }
    };
    Routing::compile((0..UNDERLAYS).map(interface), []).unwrap()
}

/// An address as the switch has it.
pub(crate) fn is_same(one: IpAddr, other: IpAddr) -> bool {
    Address::from(one) == Address::from(other)
}
