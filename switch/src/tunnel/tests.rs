//! Switches with an underlay between them, and what comes by that which nobody should believe.

mod many;
mod outside;
mod stations;
mod trains;
mod vteps;

use std::net::IpAddr;
use std::sync::Arc;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::fdb::Limits;
use crate::frame::{Claims, Frame, Head, Metadata};
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::packet::Address;
use crate::policy::{Gateway, NetworkSettings, Policy, PortPolicy, Trunk, VtepMembership};
use crate::router::{InterfaceSettings, RouterIndex, Routing, Serves};
use crate::security::{AddressPair, PortSecurity, SourceGuard, Zone};
use crate::switch::{Egress, Switch, WorkerState};
use crate::time::Nanos;
use crate::{Membership, VlanId};

const UNDERLAY: usize = 0;
const TENANT: usize = 1;
/// The uplink, its gateway's port, and two guests of the tenant.
const UPLINK: usize = 0;
const GATEWAY: usize = 1;
const GUEST: usize = 2;
const OTHER: usize = 3;
const ID: u32 = 101;

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

/// Where frames went: the port, and what they are by then.
#[derive(Default)]
struct Sent(Vec<(PortIndex, Vec<u8>)>);

impl Egress<()> for Sent {
    fn send(&mut self, to: PortIndex, _: usize, frame: &Frame<()>) {
        self.0.push((to, frame.head.bytes().to_vec()));
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], _: usize, frame: &Frame<()>) {
        let others = receivers.iter().filter(|port| **port != frame.meta.source);
        self.0.extend(others.map(|to| (*to, frame.head.bytes().to_vec())));
    }
}

/// A host with a tenant's network and an uplink.
struct Host {
    switch: Switch,
    worker: WorkerState,
    local: Address,
    /// The ports that stand for its peers, and the first one of them.
    peers: Vec<PortIndex>,
    peer: PortIndex,
    now: Nanos,
}

#[derive(Clone, Copy)]
struct Kinds {
    kind: Kind,
    is_v6: bool,
    tag: Option<u16>,
    udp_checksum: bool,
    takes_unknown: bool,
}

const PLAIN: Kinds =
    Kinds { kind: Kind::Vxlan, is_v6: false, tag: None, udp_checksum: false, takes_unknown: true };

fn vtep_address(kinds: Kinds, number: u8) -> Address {
    address(&if kinds.is_v6 { format!("fd00::{number}") } else { format!("192.168.99.{number}") })
}

impl Host {
    /// Host `number`, whose only peer is host `peer`, with two guests, of whom the first is held to its addresses.
    fn new(kinds: Kinds, number: u8, peer: u8) -> Self {
        let guarded = PortPolicy { guard: Some(guard()), ..guest() };
        Self::among(kinds, number, &[peer], vec![guarded, guest()])
    }

    /// Host `number` with these guests, whose peers are these hosts.
    fn among(kinds: Kinds, number: u8, peers: &[u8], guests: Vec<PortPolicy>) -> Self {
        let switch = Switch::new(7, Limits::default());
        let local = vtep_address(kinds, number);
        let remotes: Vec<Address> = peers.iter().map(|peer| vtep_address(kinds, *peer)).collect();
        let ports = remotes.iter().map(|remote| switch.configure_vtep(EndpointIndex(0), *remote).unwrap());
        let ports: Vec<PortIndex> = ports.collect();
        for (peer, remote) in peers.iter().zip(&remotes) {
            assert!(switch.neighbours().set(network(UNDERLAY), *remote, mac(*peer), 0));
        }
        let policy = policy(kinds, number, (local, remotes), &ports, guests);
        switch.prepare(&policy);
        let (worker, peer) = (WorkerState::new(Arc::new(policy)), ports[0]);
        Self { switch, worker, local, peers: ports, peer, now: Nanos(0) }
    }

    /// What becomes of a frame that came in at a port.
    fn take(&mut self, from: usize, bytes: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
        let meta = Metadata::new(port(from), u32::try_from(bytes.len()).unwrap(), Claims::default());
        let mut frame = Frame { head: Head::from_bytes(bytes), meta, payload: () };
        let admission = self.switch.admit_tunnelled(&mut self.worker, self.now, &mut frame);
        let mut sent = Sent::default();
        if !matches!(admission, Admission::Refused(_)) {
            self.switch.process(&mut self.worker, self.now, &mut [frame], &mut sent);
        }
        sent.0
    }

    /// The frame with which an inner one leaves by a VTEP.
    fn wrap(&self, vtep: PortIndex, inner: &[u8]) -> Vec<u8> {
        let of = (vtep, network(TENANT));
        let (way, is_whole) = self.switch.encapsulation(self.worker.policy(), of, self.now).unwrap();
        assert!(is_whole);
        let mut whole = vec![0; way.len()];
        let length = u32::try_from(inner.len()).unwrap();
        let checksum = way.put(&Inside { length, flow: 0xffff_ffff, traffic_class: 0 }, &mut whole);
        whole.extend_from_slice(inner);
        if let Some(checksum) = checksum {
            let start = usize::from(checksum.start);
            let sum = !crate::offload::fold(crate::offload::sum(&whole[start..]));
            let at = start + usize::from(checksum.offset);
            whole[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        whole
    }

    fn drops(&self, at: usize, reason: DropReason) -> u64 {
        self.switch.counters().port(port(at)).snapshot().drops[reason as usize]
    }
}

/// The addresses with which the first guest may send.
fn guard() -> Arc<SourceGuard> {
    let security = PortSecurity {
        pairs: (0..0x80)
            .map(|last| AddressPair { prefix: "0.0.0.0/0".parse().unwrap(), mac: Some(mac(last)) })
            .collect(),
        ..PortSecurity::new(Zone(0), mac(0x22))
    };
    Arc::new(SourceGuard::new(&security))
}

/// A guest of the tenant.
fn guest() -> PortPolicy {
    PortPolicy::new(network(TENANT), 1500)
}

fn policy(
    kinds: Kinds,
    number: u8,
    (local, mut known): (Address, Vec<Address>),
    peers: &[PortIndex],
    guests: Vec<PortPolicy>,
) -> Policy {
    let gateway = Gateway { port: port(GATEWAY), mac: mac(number) };
    let vlan = kinds.tag.and_then(VlanId::new);
    let underlay = NetworkSettings { gateway: Some(gateway), vlan, ..NetworkSettings::default() };
    let tenant = NetworkSettings::default();
    let native = vlan.is_none().then_some(network(UNDERLAY));
    let networks = vlan.map(|_| network(UNDERLAY)).into_iter().collect();
    let uplink = PortPolicy::trunk(Trunk { native, networks, ..Trunk::default() }, 1500);
    let all = Arc::new([network(TENANT)].into_iter().collect());
    let floods = |at: PortIndex| if peers.contains(&at) { vec![network(TENANT)] } else { vec![] };
    let vtep = |at| {
        let vtep = VtepMembership { networks: Arc::clone(&all), floods: floods(at) };
        (at, PortPolicy::of(Membership::Vtep(vtep), u16::MAX))
    };
    let ports = [(port(UPLINK), uplink), (port(GATEWAY), PortPolicy::new(network(UNDERLAY), u16::MAX))];
    let guests = guests.into_iter().enumerate().map(|(place, guest)| (port(GUEST + place), guest));
    let vteps = (0..VTEPS_MAX).filter_map(vtep_port).map(vtep);
    let ports = ports.into_iter().chain(guests).chain(vteps);
    let policy = Policy::compile(ports, [(network(UNDERLAY), underlay), (network(TENANT), tenant)]).unwrap();
    let interface = InterfaceSettings {
        network: network(UNDERLAY),
        router: RouterIndex(0),
        mac: mac(number),
        mtu: 1500,
        addresses: vec![(local.into(), if kinds.is_v6 { 64 } else { 24 })],
        serves: Serves::default(),
        is_outside: true,
        groups: Vec::new(),
    };
    known.sort();
    let segment = SegmentSettings {
        id: ID,
        network: network(TENANT),
        group: None,
        ttl: 64,
        udp_checksum: kinds.udp_checksum,
        takes_unknown: kinds.takes_unknown,
        known: known.into(),
        learns: true,
        inner_tags: false,
    };
    let endpoint = EndpointSettings {
        index: EndpointIndex(0),
        kind: kinds.kind,
        udp_port: 4789,
        uplink: port(UPLINK),
        underlay: network(UNDERLAY),
        local,
        segments: vec![segment],
    };
    let routing = Routing::compile([interface], []).unwrap();
    policy.with_routing(Arc::new(routing)).with_tunnels(Arc::new(Tunnels::compile([endpoint]).unwrap()))
}

#[test]
fn ends_that_contradict_one_another_are_refused() {
    let segment = |id, of| SegmentSettings {
        id,
        network: network(of),
        group: None,
        ttl: 64,
        udp_checksum: false,
        takes_unknown: false,
        known: Arc::new([]),
        learns: true,
        inner_tags: false,
    };
    let end = |index, segments| EndpointSettings {
        index: EndpointIndex(index),
        kind: Kind::Vxlan,
        udp_port: 4789,
        uplink: port(UPLINK),
        underlay: network(UNDERLAY),
        local: address("192.0.2.1"),
        segments,
    };
    let said = |ends: Vec<EndpointSettings>| Tunnels::compile(ends).unwrap_err();
    let (first, second) = (network(1), network(2));
    let shared = TunnelError::SharedId { id: 7, first, second };
    assert_eq!(said(vec![end(0, vec![segment(7, 1), segment(7, 2)])]), shared);
    let twice = said(vec![end(0, vec![segment(7, 1)]), end(1, vec![segment(7, 1)])]);
    assert_eq!(twice, TunnelError::TwoUnderlays(first));
    let same = said(vec![end(3, vec![segment(7, 1)]), end(3, vec![segment(7, 2)])]);
    assert_eq!(same, TunnelError::DuplicateEndpoint(EndpointIndex(3)));
    assert!(Tunnels::compile([end(0, vec![segment(7, 1)]), end(1, vec![segment(7, 2)])]).is_ok());
}

/// A small packet between stations of the tenant.
fn inner(from: u8, to: MacAddress) -> Vec<u8> {
    let ip = PacketBuilder::ethernet2(mac(from).0, to.0).ipv4([10, 0, 0, from], [10, 0, 0, 99], 64);
    let mut frame = Vec::new();
    ip.udp(5, 6).write(&mut frame, b"inside").unwrap();
    frame
}

fn all_kinds() -> Vec<Kinds> {
    let mut all = Vec::new();
    for kind in [Kind::Vxlan, Kind::Geneve, Kind::Gre] {
        for (is_v6, tag) in [(false, None), (true, None), (false, Some(7)), (true, Some(7))] {
            for udp_checksum in [false, true] {
                all.push(Kinds { kind, is_v6, tag, udp_checksum, ..PLAIN });
            }
        }
    }
    all
}

#[test]
fn a_station_is_learned_behind_its_vtep_and_answered_by_that_alone() {
    for kinds in all_kinds() {
        let (mut one, mut other) = (Host::new(kinds, 1, 2), Host::new(kinds, 2, 1));
        let asks = inner(0x11, MacAddress::BROADCAST);
        let flooded = one.take(GUEST, &asks);
        assert_eq!(flooded.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [port(OTHER), one.peer]);
        let arrived = other.take(UPLINK, &one.wrap(one.peer, &asks));
        assert_eq!(arrived, [(port(GUEST), asks.clone()), (port(OTHER), asks)], "{:?}", kinds.kind);
        let answers = inner(0x22, mac(0x11));
        assert_eq!(other.take(GUEST, &answers), [(other.peer, answers.clone())]);
        assert_eq!(one.take(UPLINK, &other.wrap(other.peer, &answers)), [(port(GUEST), answers)]);
    }
}

#[test]
fn outer_headers_are_what_an_independent_reader_takes_them_for() {
    for kinds in all_kinds() {
        let host = Host::new(kinds, 1, 2);
        let inside = inner(0x11, mac(0x22));
        let whole = host.wrap(host.peer, &inside);
        let read = SlicedPacket::from_ethernet(&whole).unwrap();
        let (source, protocol) = match read.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.calc_header_checksum(), header.header_checksum);
                assert!(header.dont_fragment && header.time_to_live == 64);
                (IpAddr::from(header.source), header.protocol)
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                (IpAddr::from(header.source), header.next_header)
            }
            NetSlice::Arp(_) => unreachable!(),
        };
        assert_eq!(Address::from(source), host.local);
        assert_eq!(protocol.0, kinds.kind.protocol());
        let tags = if kinds.tag.is_some() { 4 } else { 0 };
        let overhead = usize::from(kinds.kind.overhead(kinds.is_v6));
        assert_eq!(whole.len(), inside.len() + overhead + tags);
        if kinds.kind.is_udp() {
            let Some(TransportSlice::Udp(udp)) = read.transport else { panic!("no UDP") };
            assert_eq!((udp.destination_port(), udp.source_port()), (4789, 0xffff));
            let header = udp.to_header();
            let payload = udp.payload();
            let expected = match read.net.as_ref().unwrap() {
                NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), payload),
                NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), payload),
                NetSlice::Arp(_) => unreachable!(),
            };
            let expected = if kinds.udp_checksum { expected.unwrap() } else { 0 };
            assert_eq!(udp.checksum(), expected);
        }
    }
}

#[test]
fn what_is_wrong_with_a_tunnels_frame_is_counted_by_name() {
    let change = |at: usize, byte: u8| move |frame: &mut Vec<u8>| frame[at] = byte;
    // Behind Ethernet, IPv4 and UDP.
    let header = 14 + 20 + 8;
    let cut = |len: usize| {
        move |frame: &mut Vec<u8>| {
            frame.truncate(len);
            let (ip, udp) = (u16::try_from(len - 14).unwrap(), u16::try_from(len - 34).unwrap());
            frame[16..18].copy_from_slice(&ip.to_be_bytes());
            frame[38..40].copy_from_slice(&udp.to_be_bytes());
            frame[24..26].fill(0);
            let sum = !crate::offload::fold(crate::offload::sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    };
    type Change = Box<dyn Fn(&mut Vec<u8>)>;
    let cases: Vec<(Change, DropReason)> = vec![
        (Box::new(change(header, 0)), DropReason::TunnelNoId),
        (Box::new(change(header, 0x0c)), DropReason::TunnelReserved),
        (Box::new(change(header + 1, 1)), DropReason::TunnelReserved),
        (Box::new(change(header + 7, 1)), DropReason::TunnelReserved),
        (Box::new(change(header + 6, 9)), DropReason::TunnelUnknownId),
        (Box::new(cut(header + 4)), DropReason::TunnelTruncated),
        (Box::new(cut(header + 8 + 13)), DropReason::TunnelTruncated),
        (Box::new(|frame: &mut Vec<u8>| frame.truncate(frame.len() - 1)), DropReason::TunnelTruncated),
    ];
    for (change, reason) in cases {
        let (one, mut other) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 2, 1));
        let mut whole = one.wrap(one.peer, &inner(0x11, MacAddress::BROADCAST));
        change(&mut whole);
        assert_eq!(other.take(UPLINK, &whole), [], "{reason:?}");
        assert_eq!(other.drops(UPLINK, reason), 1, "{reason:?}");
    }
}

#[test]
fn what_came_by_a_tunnel_leaves_by_none_and_claims_nobody_who_is_here() {
    let mut host = Host::new(PLAIN, 2, 1);
    let (peer, stranger) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 3, 2));
    // Stations are known here, behind the peer, and behind the stranger.
    host.take(GUEST, &inner(0x22, MacAddress::BROADCAST));
    host.take(UPLINK, &peer.wrap(peer.peer, &inner(0x11, MacAddress::BROADCAST)));
    let flooded = host.take(UPLINK, &stranger.wrap(stranger.peer, &inner(0x33, MacAddress::BROADCAST)));
    assert_eq!(flooded.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [port(GUEST), port(OTHER)]);
    let across = stranger.wrap(stranger.peer, &inner(0x33, mac(0x11)));
    assert_eq!(host.take(UPLINK, &across), []);
    let vteps = host.switch.vteps().entries();
    let at = vteps.iter().find(|entry| entry.address == stranger.local).unwrap().port.get();
    assert_eq!(host.drops(at, DropReason::TunnelSplitHorizon), 1);
    let spoofed = stranger.wrap(stranger.peer, &inner(0x22, MacAddress::BROADCAST));
    assert_eq!(host.take(UPLINK, &spoofed), []);
    assert_eq!(host.drops(at, DropReason::TunnelLocalSource), 1);
    assert_eq!(host.take(OTHER, &inner(0x44, mac(0x22)))[0].0, port(GUEST));
    // Of one that nobody has written down either may be the right one: it is heard, and stays where it is known.
    let doubtful = stranger.wrap(stranger.peer, &inner(0x44, MacAddress::BROADCAST));
    assert_eq!(host.take(UPLINK, &doubtful).len(), 2);
    assert_eq!(host.take(GUEST, &inner(0x22, mac(0x44)))[0].0, port(OTHER));
}

#[test]
fn congestion_outside_is_told_inside() {
    for (ecn, survives) in [(0, false), (1, true), (2, true), (3, true)] {
        let (one, mut other) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 2, 1));
        let mut asks = inner(0x11, MacAddress::BROADCAST);
        crate::meter::dscp::rewrite(&mut asks, |_| ecn);
        let mut whole = one.wrap(one.peer, &asks);
        crate::meter::dscp::rewrite(&mut whole, |_| 3);
        let arrived = other.take(UPLINK, &whole);
        assert_eq!(!arrived.is_empty(), survives);
        for (_, frame) in arrived {
            assert_eq!(crate::meter::dscp::traffic_class(&frame), Some(3));
            assert_eq!(crate::offload::fold(crate::offload::sum(&frame[14..34])), 0xffff);
        }
    }
}

#[test]
fn segments_of_super_frames_are_cut_shorter_and_what_is_too_long_is_told_of() {
    use crate::frame::{Gso, GsoKind, PartialChecksum};
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    let mut head = vec![0; 128];
    head[46] = 0x50;
    let gso = |kind| Some(Gso { kind, size: 1460, ecn: false });
    let tcp = Claims { checksum, gso: gso(GsoKind::Tcp4) };
    assert_eq!(fit(&tcp, &head, 60_000, 1500), Some(tcp));
    assert_eq!(fit(&tcp, &head, 60_000, 1450).unwrap().gso.unwrap().size, 1410);
    assert_eq!(fit(&Claims { checksum, gso: gso(GsoKind::Udp) }, &head, 60_000, 1400), None);
    assert_eq!(fit(&Claims::default(), &head, 1464, 1450), Some(Claims::default()));
    assert_eq!(fit(&Claims::default(), &head, 1465, 1450), None);
    for is_v6 in [false, true] {
        let builder = PacketBuilder::ethernet2(mac(1).0, mac(2).0);
        let mut frame = Vec::new();
        match is_v6 {
            false => builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2).write(&mut frame, &[7; 1472]),
            true => builder.ipv6([1; 16], [2; 16], 64).udp(1, 2).write(&mut frame, &[7; 1452]),
        }
        .unwrap();
        let told = path_mtu::too_big(&frame[..128], 1514, 1430).unwrap();
        let read = SlicedPacket::from_ethernet(&told).unwrap();
        assert_eq!((&told[..6], &told[6..12]), (&mac(1).0[..], &mac(2).0[..]));
        let icmp_at = if is_v6 { 54 } else { 34 };
        assert_eq!(told[icmp_at], if is_v6 { 2 } else { 3 });
        assert_eq!(u32::from_be_bytes(told[icmp_at + 4..icmp_at + 8].try_into().unwrap()), 1430);
        assert!(read.transport.is_some());
        assert_eq!(told[icmp_at + 8..icmp_at + 28], frame[14..34]);
        // Nothing is said about what says it.
        assert_eq!(path_mtu::too_big(&told[..told.len().min(128)], 1514, 1430), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever comes: nothing panics, what is inside has a network of its own, and what is not for a tunnel stays as it is.
    #[test]
    fn any_change_of_a_tunnels_frame_is_survived(
        place in 0..24_usize,
        changes in prop::collection::vec((0..130_usize, any::<u8>()), 0..6),
        cut in 0..150_usize,
    ) {
        let kinds = all_kinds()[place];
        let (one, mut other) = (Host::new(kinds, 1, 2), Host::new(kinds, 2, 1));
        let mut whole = one.wrap(one.peer, &inner(0x11, MacAddress::BROADCAST));
        for (at, byte) in changes {
            if let Some(place) = whole.get_mut(at) {
                *place = byte;
            }
        }
        whole.truncate(whole.len().saturating_sub(cut.saturating_sub(100)));
        let meta = Metadata::new(port(UPLINK), u32::try_from(whole.len()).unwrap(), Claims::default());
        let mut frame = Frame { head: Head::from_bytes(&whole), meta, payload: () };
        let before = frame.head.bytes().to_vec();
        match other.switch.admit_tunnelled(&mut other.worker, Nanos(0), &mut frame) {
            Admission::Plain => {
                prop_assert_eq!(frame.head.bytes(), &before[..]);
                prop_assert_eq!(frame.meta, meta);
            }
            Admission::Inner(taken) => {
                prop_assert_eq!(frame.meta.tag.unwrap().network, network(TENANT));
                prop_assert!(frame.meta.length + u32::from(taken) <= meta.length);
                prop_assert!(frame.head.bytes().len() <= frame.meta.length as usize);
                prop_assert!(frame.head.bytes().len() >= 14);
            }
            Admission::Refused(_) => {}
        }
    }
}
