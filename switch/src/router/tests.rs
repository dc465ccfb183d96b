//! Interfaces and routes as they are compiled, and the ways of packets.

use etherparse::PacketBuilder;

use super::*;
use crate::drops::DropReason;
use crate::packet::{Contents, Packet, parse};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const STATION: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn interface(of: usize, router: u16, addresses: &[&str]) -> InterfaceSettings {
    let own = addresses.iter().map(|text| {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    });
    InterfaceSettings {
        network: network(of),
        router: RouterIndex(router),
        mac: MAC,
        mtu: 1500,
        addresses: own.collect(),
        serves: Serves::default(),
        is_outside: false,
        groups: Vec::new(),
    }
}

/// Networks 0 and 1 of router 0, network 2 alone with the same addresses as network 0, and a router behind 10.0.1.9.
fn routing() -> Routing {
    let interfaces = [
        interface(0, 0, &["10.0.0.1/24", "fd00::1/64"]),
        interface(1, 0, &["10.0.1.1/24", "fd00:1::1/64"]),
        interface(2, 1, &["10.0.0.1/24"]),
    ];
    let via =
        |to: &str, via: &str| (RouterIndex(0), to.parse().unwrap(), Route::Via(network(1), address(via)));
    let nowhere = (RouterIndex(0), "10.9.9.0/24".parse().unwrap(), Route::Unreachable);
    Routing::compile(interfaces, [via("10.9.0.0/16", "10.0.1.9"), via("::/0", "fd00:1::9"), nowhere]).unwrap()
}

fn neighbours() -> Neighbours {
    let neighbours = Neighbours::new(64, 1);
    for (of, station) in [(1, "10.0.1.5"), (1, "10.0.1.9"), (1, "fd00:1::9"), (0, "10.0.0.5")] {
        assert!(neighbours.set(network(of), address(station), STATION, 0));
    }
    neighbours
}

fn udp(from: &str, to: &str, hops: u8, payload: usize) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 7], MAC.0);
    let ip = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), hops),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), hops),
        _ => panic!("one version"),
    };
    let mut frame = Vec::new();
    ip.udp(1000, 2000).write(&mut frame, &vec![0; payload]).unwrap();
    frame
}

fn packet_of(frame: &[u8]) -> Packet {
    match parse(&frame[..frame.len().min(128)], u32::try_from(frame.len()).unwrap()) {
        Ok(Contents::Ip(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

fn way_of(frame: &[u8], from: usize) -> Way {
    let packet = packet_of(frame);
    let wire_length = u32::try_from(frame.len()).unwrap();
    let head = &frame[..frame.len().min(128)];
    let arrival = Arrival { network: network(from), head, packet: &packet, wire_length };
    routing().way(&arrival, &neighbours(), 0)
}

fn way(from: &str, to: &str) -> Way {
    way_of(&udp(from, to, 64, 10), 0)
}

/// Where a packet is sent on to: the network, the gateway's address there, and the station's.
fn sent_on(way: Way) -> Option<(NetworkIndex, MacAddress, MacAddress)> {
    match way {
        Way::To(hop) => Some((hop.network, hop.source, hop.destination)),
        _ => None,
    }
}

fn to_network_1() -> Option<(NetworkIndex, MacAddress, MacAddress)> {
    Some((network(1), MAC, STATION))
}

#[test]
fn packets_go_to_stations_of_other_networks_and_to_routers() {
    for (from, to) in [("10.0.0.5", "10.0.1.5"), ("10.0.0.5", "10.9.1.1"), ("fd00::5", "2001:db8::1")] {
        assert_eq!(sent_on(way(from, to)), to_network_1(), "{to}");
    }
    // Back into the network where it came from.
    let back = Some((network(0), MAC, STATION));
    assert_eq!(sent_on(way("10.0.0.6", "10.0.0.5")), back);
}

#[test]
fn what_is_for_the_gateway_itself_goes_there() {
    for (from, to) in [("10.0.0.5", "10.0.0.1"), ("10.0.0.5", "10.0.1.1"), ("fd00::5", "fd00:1::1")] {
        assert_eq!(way(from, to), Way::Gateway(Why::Local), "{to}");
    }
    let own = link_local_of(MAC);
    assert_eq!(own, address("fe80::ff:fe00:1"));
    assert_eq!(way("fe80::5", &own.to_string()), Way::Gateway(Why::Local));
    // Its hop limit does not matter there.
    assert_eq!(way_of(&udp("10.0.0.5", "10.0.0.1", 1, 0), 0), Way::Gateway(Why::Local));
}

#[test]
fn the_gateway_tells_who_sent_what_cannot_go_on() {
    assert_eq!(way_of(&udp("10.0.0.5", "10.0.1.5", 1, 0), 0), Way::Gateway(Why::Expired));
    assert_eq!(way_of(&udp("fd00::5", "fd00:1::9", 1, 0), 0), Way::Gateway(Why::Expired));
    assert_eq!(way("10.0.0.5", "192.0.2.1"), Way::Gateway(Why::Unreachable));
    assert_eq!(way("10.0.0.5", "10.9.9.1"), Way::Gateway(Why::Unreachable), "a route says so");
    let next = address("10.0.1.77");
    let unresolved = Way::Gateway(Why::Unresolved { network: network(1), next });
    assert_eq!(way("10.0.0.5", "10.0.1.77"), unresolved);
}

#[test]
fn what_is_longer_than_the_next_networks_mtu_is_told_with_it() {
    // 14 bytes of Ethernet, 28 of IPv4 and UDP.
    assert_eq!(sent_on(way_of(&udp("10.0.0.5", "10.0.1.5", 64, 1472), 0)), to_network_1());
    let long = udp("10.0.0.5", "10.0.1.5", 64, 1473);
    let (network, next) = (network(1), address("10.0.1.5"));
    let too_big = |may_be_cut| Way::Gateway(Why::TooBig { mtu: 1500, may_be_cut, network, next });
    assert_eq!(way_of(&long, 0), too_big(false), "etherparse sets DF");
    let mut may_be_cut = long;
    may_be_cut[20] &= !0x40;
    let sum = rewrite::updated(u16::from_be_bytes([may_be_cut[24], may_be_cut[25]]), 0x4000, 0);
    may_be_cut[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(way_of(&may_be_cut, 0), too_big(true));
    let next = address("fd00:1::9");
    let long = udp("fd00::5", "fd00:1::9", 64, 1453);
    assert_eq!(way_of(&long, 0), Way::Gateway(Why::TooBig { mtu: 1500, may_be_cut: false, network, next }));
}

#[test]
fn what_no_router_forwards_is_dropped() {
    for (from, to) in [
        ("127.0.0.1", "10.0.1.5"),
        ("0.0.0.0", "10.0.1.5"),
        ("224.0.0.1", "10.0.1.5"),
        ("255.255.255.255", "10.0.1.5"),
        ("10.0.0.5", "127.0.0.1"),
        ("10.0.0.5", "224.0.0.5"),
        ("10.0.0.5", "255.255.255.255"),
        ("10.0.0.5", "0.0.0.0"),
        // The ends of subnets: broadcast addresses of today and of long ago.
        ("10.0.0.5", "10.0.1.255"),
        ("10.0.0.5", "10.0.1.0"),
        // What stays on its link.
        ("169.254.0.5", "10.0.1.5"),
        ("10.0.0.5", "169.254.0.5"),
        ("fe80::5", "fd00:1::9"),
        ("fd00::5", "fe80::9"),
        ("::", "fd00:1::9"),
        ("::1", "fd00:1::9"),
        ("ff02::1", "fd00:1::9"),
        ("fd00::5", "ff02::1"),
        ("fd00::5", "::1"),
    ] {
        assert_eq!(way(from, to), Way::Drop(DropReason::NotRoutable), "{from} to {to}");
    }
    assert_eq!(
        way_of(&udp("10.0.0.5", "10.0.1.5", 64, 0), 7),
        Way::Drop(DropReason::NotRoutable),
        "no gateway there"
    );
}

#[test]
fn a_damaged_header_goes_nowhere() {
    let mut frame = udp("10.0.0.5", "10.0.1.5", 64, 0);
    frame[24] ^= 1;
    assert_eq!(way_of(&frame, 0), Way::Drop(DropReason::NotRoutable));
}

#[test]
fn a_tag_of_the_stations_own_is_not_carried_to_another_network() {
    let mut frame = udp("10.0.0.5", "10.0.1.5", 64, 0);
    assert_eq!(sent_on(way_of(&frame, 0)), to_network_1());
    frame.splice(12..12, [0x81, 0, 0, 6]);
    assert_eq!(way_of(&frame, 0), Way::Drop(DropReason::NotRoutable));
}

#[test]
fn routers_do_not_know_of_each_other() {
    let frame = udp("10.0.0.5", "10.0.1.5", 64, 0);
    assert_eq!(way_of(&frame, 2), Way::Gateway(Why::Unreachable), "network 1 is another router's");
}

#[test]
fn the_gateway_speaks_from_the_subnet_of_whom_it_speaks_to() {
    let addresses = ["10.0.0.1/24", "192.168.0.1/16", "fd00::1/64"];
    let routing = Routing::compile([interface(0, 0, &addresses)], []).unwrap();
    let interface = routing.interface(network(0)).unwrap();
    for (to, from) in [
        ("10.0.0.9", "10.0.0.1"),
        ("192.168.7.7", "192.168.0.1"),
        ("8.8.8.8", "10.0.0.1"),
        ("fd00::9", "fd00::1"),
        ("2001:db8::1", "fd00::1"),
    ] {
        assert_eq!(interface.source_for(address(to)), Some(address(from)), "{to}");
    }
    assert_eq!(interface.source_for(address("fe80::9")), Some(link_local_of(MAC)));
}

#[test]
fn contradictions_are_named() {
    let compile =
        |interfaces: Vec<InterfaceSettings>| Routing::compile(interfaces, []).unwrap_err().to_string();
    let twice = compile(vec![interface(0, 0, &[]), interface(0, 0, &[])]);
    assert!(twice.contains("network 0 has two interfaces"), "{twice}");
    let long = compile(vec![interface(0, 0, &["10.0.0.1/33"])]);
    assert!(long.contains("10.0.0.1 of network 0 has a prefix of 33 bits"), "{long}");
    let shared = compile(vec![interface(0, 0, &["10.0.0.1/24"]), interface(1, 0, &["10.0.0.2/24"])]);
    assert!(shared.contains("10.0.0.0/24 is a subnet of network 1 and of another one"), "{shared}");
    let nowhere = (RouterIndex(0), "10.0.0.0/24".parse().unwrap(), Route::Unreachable);
    let error = Routing::compile([interface(0, 0, &["10.0.0.1/24"])], [nowhere]).unwrap_err();
    assert_eq!(error.to_string(), "there are two routes to 10.0.0.0/24; leave one out");
}

#[test]
fn a_subnet_of_two_addresses_has_no_broadcast_address() {
    let routing =
        Routing::compile([interface(0, 0, &["10.0.0.0/31"]), interface(1, 0, &["10.0.1.1/32"])], []).unwrap();
    assert_eq!(routing.route(RouterIndex(0), address("10.0.0.1")), Some(Route::Link(network(0))));
    assert_eq!(routing.route(RouterIndex(0), address("10.0.1.1")), Some(Route::Local));
    assert_eq!(routing.route(RouterIndex(0), address("10.0.1.2")), None);
    assert_eq!(routing.interfaces().count(), 2);
}

#[test]
fn at_an_uplink_the_gateway_hears_dhcp_servers_and_probes_and_so_do_others() {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 7], [0xff; 6]);
    packet.ipv4([192, 0, 2, 1], [255; 4], 64).udp(67, 68).write(&mut frame, &[0; 300]).unwrap();
    let probe = [
        &[0xff; 6][..],
        &[2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0],
        &[0; 6],
        &[192, 0, 2, 50],
    ]
    .concat();
    for (is_outside, expected) in [(true, Concern::All), (false, Concern::Nobody)] {
        let settings = InterfaceSettings { is_outside, ..interface(0, 0, &[]) };
        let routing = Routing::compile([settings], []).unwrap();
        for frame in [&frame, &probe] {
            let contents =
                parse(&frame[..frame.len().min(128)], u32::try_from(frame.len()).unwrap()).unwrap();
            assert_eq!(routing.concern(network(0), frame, &contents, &neighbours()), expected);
        }
    }
}

#[test]
fn queries_for_groups_concern_a_gateway_that_has_some_and_others_as_well() {
    use crate::multicast::samples::{igmp, igmp_2, igmp_query};
    let groups: Vec<IpAddr> = vec!["239.1.1.101".parse().unwrap()];
    let with = |groups: &[IpAddr]| {
        let settings = InterfaceSettings { groups: groups.to_vec(), ..interface(0, 0, &[]) };
        Routing::compile([settings], []).unwrap()
    };
    let concern = |routing: &Routing, frame: &[u8]| {
        let contents = parse(frame, u32::try_from(frame.len()).unwrap()).unwrap();
        routing.concern(network(0), frame, &contents, &neighbours())
    };
    let (some, none) = (with(&groups), with(&[]));
    let general = igmp_query([192, 0, 2, 9], 100, 3);
    let about = |last| igmp([192, 0, 2, 9], [239, 1, 1, last], &[0x11, 10, 0, 0, 239, 1, 1, last]);
    assert_eq!((concern(&some, &general), concern(&none, &general)), (Concern::All, Concern::Nobody));
    assert_eq!((concern(&some, &about(101)), concern(&none, &about(101))), (Concern::All, Concern::Nobody));
    assert_eq!(concern(&some, &about(102)), Concern::Nobody);
    assert_eq!(concern(&some, &igmp_2(0x16, [239, 1, 1, 101])), Concern::Nobody, "a host's report");
}

#[test]
fn groups_that_cannot_be_joined_are_refused() {
    let compile = |groups: Vec<IpAddr>| {
        let settings = InterfaceSettings { groups, ..interface(0, 0, &[]) };
        Routing::compile([settings], []).map(|routing| routing.interface(network(0)).unwrap().groups.len())
    };
    let parse = |text: &str| text.parse::<IpAddr>().unwrap();
    for group in
        ["224.0.0.1", "224.0.0.251", "192.0.2.1", "255.255.255.255", "ff02::1", "ff02::1:2", "fe80::1"]
    {
        let error = compile(vec![parse(group)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("network 0 cannot join {group}; use a group beyond")), "{error}");
    }
    assert_eq!(compile(vec![parse("239.1.1.1"), parse("ff0e::1"), parse("239.1.1.1")]), Ok(2));
    let many =
        (0..1025_u32).map(|number| std::net::Ipv4Addr::from_bits(0xef01_0000 + number).into()).collect();
    let error = compile(many).unwrap_err().to_string();
    assert_eq!(error, "network 0 has 1025 groups to join; 1024 are possible");
}
