//! Multicast listener discovery: RFC 3810.

use super::*;
use crate::gateway::groups::{QUERY, REPORTS};

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
    let ends = (address(source), address("ff02::1"));
    let [high, low] = delay_ms.to_be_bytes();
    let message = compose::icmp(ends, [QUERY, 0], [high, low, 0, 0], &vec![0; length - 8]);
    let header = compose::Header {
        source: ends.0,
        destination: ends.1,
        protocol: number::ICMPV6,
        hop_limit: hops,
        traffic_class: 0,
        id: None,
    };
    compose::frame(mac(5), compose::group_mac(ends.1), &compose::packet(&header, &message))
}

#[test]
fn a_new_interface_joins_its_groups_twice() {
    let mut lab = lab();
    let joined = (143, "ff02::16".to_owned(), records(4));
    assert_eq!(reports(&lab.wait(0)), std::slice::from_ref(&joined));
    assert_eq!(reports(&lab.wait(2000)), [joined]);
    assert_eq!(lab.wait(100_000), []);
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
    let told: Vec<_> = reports(&out).into_iter().map(|(kind, to, body)| (kind, to, body.len())).collect();
    let expected = ["ff02::2", "ff02::1:2", "ff02::1:ff00:1"].map(|group| (131, group.to_owned(), 20));
    assert_eq!(told, expected);
}

/// RFC 3810, 5.1.14 and 6.2.
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
    assert!(!lab.gateway.own.is_tentative((network(0), REPORTS)));
}
