//! Groups that the gateway tells: MLD (RFC 9777), and IGMP (RFC 9776) where it is to be a member of some.

use super::*;
use crate::multicast::samples::{self, igmp_query};

/// A report as etherparse reads it: its type, and what stands behind the checksum.
fn report(frame: &[u8]) -> (u8, String, Vec<u8>) {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(etherparse::NetSlice::Ipv6(ip)), Some(etherparse::TransportSlice::Icmpv6(icmp))) =
        (sliced.net, sliced.transport)
    else {
        panic!("{frame:x?}")
    };
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
    assert_eq!((Address::from(from), ip.header().hop_limit()), (crate::router::link_local_of(GATEWAY), 1));
    // RFC 3810, 5: the router alert option in hop-by-hop options.
    assert_eq!((frame[20], &frame[54..62]), (0, &[58, 0, 5, 2, 0, 0, 1, 0][..]));
    assert_eq!(frame[..2], [0x33, 0x33]);
    (icmp.slice()[0], to.to_string(), icmp.slice()[4..].to_vec())
}

fn reports(outputs: &[Output]) -> Vec<(u8, String, Vec<u8>)> {
    let frames = sent(outputs).into_iter().map(|(_, frame)| frame);
    frames
        .filter(|frame| frame.get(20) == Some(&0) && frame[12] == 0x86)
        .map(|frame| report(&frame))
        .collect()
}

/// The records of all groups of network 0, in order, each of the kind.
fn records(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 3];
    for group in ["ff02::2", "ff02::1:ff00:1"] {
        bytes.extend([kind, 0, 0, 0]);
        compose::put_address(&mut bytes, address(group));
        if group == "ff02::2" {
            bytes.extend([kind, 0, 0, 0]);
            compose::put_address(&mut bytes, address("ff02::1:2"));
        }
    }
    bytes
}

fn lab() -> Lab {
    let mut interface = settings(0, 1500, &["10.0.0.1/24", "fd00::1/64"]);
    interface.serves.dhcp_v6 = true;
    let mut lab = Lab::new();
    lab.set_routing(Routing::default());
    lab.set_routing(Routing::compile([interface], []).unwrap());
    lab
}

fn query(source: &str, delay_ms: u16, length: usize, hops: u8) -> Vec<u8> {
    let message = [&[130, 0, 0, 0][..], &delay_ms.to_be_bytes(), &vec![0; length - 6]].concat();
    let mut frame = samples::mld(source, "ff02::1", &message);
    frame[21] = hops;
    frame
}

#[test]
fn a_new_interface_joins_its_groups_twice() {
    let mut lab = lab();
    let joined = (143, "ff02::16".to_owned(), records(4));
    assert_eq!(reports(&lab.wait(0)), std::slice::from_ref(&joined));
    // RFC 9776, 8.11.
    assert_eq!(reports(&lab.wait(1000)), [joined]);
    assert_eq!(reports(&lab.wait(100_000)), []);
}

#[test]
fn a_querier_is_answered_once_within_the_time_that_it_gives() {
    let mut lab = lab();
    lab.wait(10_000);
    for _ in 0..5 {
        assert_eq!(lab.receive(5, 0, &query("fe80::5", 3000, 28, 1)), []);
    }
    assert_eq!(reports(&lab.wait(3000)), [(143, "ff02::16".to_owned(), records(2))]);
    assert_eq!(lab.wait(100_000), []);
    // RFC 3810, 8.2.1: to one of the first version in its language.
    lab.receive(5, 0, &query("fe80::5", 65_535, 24, 1));
    let out = lab.wait(10_000);
    let mut told: Vec<_> = reports(&out).into_iter().map(|(kind, to, body)| (kind, to, body.len())).collect();
    told.sort();
    let expected = ["ff02::1:2", "ff02::1:ff00:1", "ff02::2"].map(|group| (131, group.to_owned(), 20));
    assert_eq!(told, expected);
}

/// RFC 9777, 5.1.14 and 6.2.
#[test]
fn queries_from_elsewhere_are_not_answered() {
    let mut lab = lab();
    lab.wait(10_000);
    let mut damaged = query("fe80::5", 1000, 28, 1);
    *damaged.last_mut().unwrap() ^= 1;
    for frame in
        [query("fd00::5", 1000, 28, 1), query("fe80::5", 1000, 28, 2), query("fe80::5", 1000, 20, 1), damaged]
    {
        assert_eq!(dropped(&lab.receive(5, 0, &frame)), [(5, DropReason::GatewayBadMessage)]);
    }
    assert_eq!(lab.wait(20_000), []);
}

/// Network 2 is an uplink's, where the gateway is a member of these groups.
fn at_uplink(groups: &[&str]) -> Routing {
    let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    let settings = settings(2, 1500, &["192.0.2.1/24"]);
    Routing::compile([InterfaceSettings { is_outside: true, groups, ..settings }], []).unwrap()
}

/// The IGMP messages that the gateway sends: from which address, and what stands in them.
fn igmps(outputs: &[Output]) -> Vec<(String, Vec<u8>)> {
    let igmp = |(_, frame): (usize, Vec<u8>)| match read(&frame) {
        Contents::Ip(packet) if packet.protocol == 2 => {
            Some((packet.source.to_string(), frame[usize::from(packet.transport_at)..].to_vec()))
        }
        _ => None,
    };
    sent(outputs).into_iter().filter_map(igmp).collect()
}

#[test]
fn groups_at_an_uplink_are_joined_told_and_left() {
    let mut lab = Lab::new();
    lab.set_routing(at_uplink(&[]));
    assert_eq!(igmps(&lab.wait(10_000)), []);
    lab.receive(5, 2, &igmp_query([192, 0, 2, 9], 10, 3));
    assert_eq!(igmps(&lab.wait(10_000)), [], "it is a member of none");
    lab.set_routing(at_uplink(&["239.1.1.101", "ff0e::1:101"]));
    let told = lab.wait(1000);
    let of = |kind| {
        (
            "192.0.2.1".to_owned(),
            [&[0x22, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0][..], &[239, 1, 1, 101]].concat(),
        )
    };
    let unsummed = |mut told: Vec<(String, Vec<u8>)>| {
        told.iter_mut().for_each(|(_, message)| message[2..4].fill(0));
        told
    };
    assert_eq!(unsummed(igmps(&told)), [of(4), of(4)]);
    let listens =
        |told: &[Output]| reports(told).iter().filter(|(_, _, body)| body.ends_with(&[0, 1, 1, 1])).count();
    assert_eq!(listens(&told), 2, "{told:?}");
    lab.receive(5, 2, &igmp_query([192, 0, 2, 9], 10, 3));
    assert_eq!(unsummed(igmps(&lab.wait(1000))), [of(2)]);
    lab.set_routing(at_uplink(&[]));
    let told = lab.wait(1000);
    assert_eq!((unsummed(igmps(&told)), listens(&told)), (vec![of(3), of(3)], 2));
    assert_eq!((lab.wait(100_000), lab.gateway.due()), (vec![], None));
}

#[test]
fn a_gateway_that_ends_leaves_its_groups() {
    let mut lab = Lab::new();
    lab.set_routing(at_uplink(&["239.1.1.101"]));
    lab.wait(10_000);
    lab.gateway.cease(lab.now);
    let told = lab.wait(0);
    assert_eq!((sent(&told).len(), igmps(&told).len()), (1, 1));
    assert_eq!(lab.gateway.due(), None);
}
