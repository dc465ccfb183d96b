//! Prefixes of IPv6: routed as they are by default, or translated (RFC 6296).

use std::net::Ipv6Addr;

use viaduct_switch::nat::{NatSettings, PrefixNat};
use viaduct_switch::packet::Address;

use crate::lab::*;

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

const A6: &str = "fd00:0:0:1::10";
const B6: &str = "fd00:0:0:1::11";
const PEER6: &str = "2001:db8:99::10";

/// Routers that are no stations of ours, in A's network and outside.
pub(crate) const ROUTER_INSIDE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0x200);
pub(crate) const ROUTER_OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 9);

/// A station's address.
pub(crate) fn address(station: usize) -> Ipv6Addr {
    v6([A6, B6, "", PEER6][station])
}

/// The prefix of A's network, and the one that it has out there.
pub(crate) fn translation() -> PrefixNat {
    PrefixNat {
        inside: network(0),
        inner: "fd00::/48".parse().unwrap(),
        outside: network(2),
        outer: "2001:db8:1::/48".parse().unwrap(),
    }
}

/// Has stations known by their addresses of IPv6.
pub(crate) fn introduce(lab: &Lab) {
    for station in [A, B, PEER] {
        let of = network(NETWORK_OF[station]);
        assert!(lab.switch.neighbours().set(of, Address::from(address(station)), mac(station), 1));
    }
}

/// A's network and the outside have prefixes of IPv6, of which the first appears as another one, or not.
fn lab(is_translated: bool) -> Lab {
    let prefixes = if is_translated { vec![translation()] } else { Vec::new() };
    let lab = Lab::with(NatSettings { prefixes, ..Lab::new().settings });
    introduce(&lab);
    lab
}

fn udp6(station: usize, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ethernet(station).ipv6(from.octets(), to.octets(), 9);
    ip.udp(5000, 53).write(&mut frame, &[7; 20]).unwrap();
    frame
}

fn ends6(frame: &[u8]) -> (Ipv6Addr, Ipv6Addr) {
    let at = |at: usize| Ipv6Addr::from_octets(frame[at..at + 16].try_into().unwrap());
    (at(22), at(38))
}

fn send6(lab: &mut Lab, station: usize, frame: &[u8]) -> (usize, Vec<u8>) {
    let outside = lab.send(station, frame);
    let [sent] = &outside.sent[..] else { panic!("{:?} {:?}", outside.offered, outside.dropped) };
    sent.clone()
}

#[test]
fn ipv6_is_routed_by_default() {
    let mut lab = lab(false);
    let (to, seen) = send6(&mut lab, A, &udp6(A, v6(A6), v6(PEER6)));
    assert_eq!((to, ends6(&seen)), (PEER, (v6(A6), v6(PEER6))));
}

#[test]
fn ipv6_prefixes_are_translated_both_ways_without_a_change_of_checksums() {
    let mut lab = lab(true);
    let sent = udp6(A, v6(A6), v6(PEER6));
    let (to, seen) = send6(&mut lab, A, &sent);
    let (outer, destination) = ends6(&seen);
    assert_eq!((to, destination), (PEER, v6(PEER6)));
    assert_eq!(outer.segments()[..3], [0x2001, 0xdb8, 1]);
    assert_eq!(seen[54..], sent[54..], "nothing behind the addresses is touched");
    let (to, answer) = send6(&mut lab, PEER, &udp6(PEER, v6(PEER6), outer));
    assert_eq!((to, ends6(&answer)), (A, (v6(PEER6), v6(A6))));
    assert_eq!(lab.connections(), 0, "nothing is remembered");
    // A neighbour that is asked by its outer address sees the asker's.
    let neighbour = Ipv6Addr::from_bits(outer.to_bits() + 1);
    let (to, seen) = send6(&mut lab, A, &udp6(A, v6(A6), neighbour));
    assert_eq!((to, ends6(&seen)), (B, (outer, v6(B6))));
}

#[test]
fn ipv6_errors_quote_what_was_sent() {
    let mut lab = lab(true);
    let sent = udp6(A, v6(A6), v6(PEER6));
    let (_, seen) = send6(&mut lab, A, &sent);
    let (outer, _) = ends6(&seen);
    let mut report = Vec::new();
    let ip = ethernet(PEER).ipv6(v6(PEER6).octets(), outer.octets(), 9);
    ip.icmpv6_raw(1, 4, [0; 4]).write(&mut report, &seen[14..]).unwrap();
    let (to, told) = send6(&mut lab, PEER, &report);
    assert_eq!((to, ends6(&told)), (A, (v6(PEER6), v6(A6))));
    assert_eq!(told[62 + 8..], sent[14 + 8..], "all but the hop limit");
    assert_eq!(told[56..58], report[56..58], "and the checksum holds");
}
