//! Outer headers that nobody may send.

use super::*;

/// Where the UDP header begins, behind Ethernet and IPv4.
const UDP: usize = 14 + 20;

#[test]
fn what_follows_the_datagram_is_no_part_of_the_frame() {
    let (one, mut other) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 2, 1));
    let inside = inner(0x11, MacAddress::BROADCAST);
    let mut whole = one.wrap(one.peer, &inside);
    let length = u16::from_be_bytes([whole[UDP + 4], whole[UDP + 5]]) - 4;
    whole[UDP + 4..UDP + 6].copy_from_slice(&length.to_be_bytes());
    let arrived = other.take(UPLINK, &whole);
    assert_eq!(arrived[0], (port(GUEST), inside[..inside.len() - 4].to_vec()));
}

#[test]
fn a_datagram_that_is_shorter_than_its_own_header_is_none_of_a_tunnels() {
    let (one, mut other) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 2, 1));
    let mut whole = one.wrap(one.peer, &inner(0x11, MacAddress::BROADCAST));
    whole[UDP + 4..UDP + 6].copy_from_slice(&[0, 7]);
    let arrived = other.take(UPLINK, &whole);
    assert!(arrived.iter().all(|(to, _)| ![port(GUEST), port(OTHER)].contains(to)), "{arrived:?}");
}

#[test]
fn an_address_of_ipv4_in_a_packet_of_ipv6_is_nobodys() {
    let over_v6 = Kinds { is_v6: true, ..PLAIN };
    for at in [8, 24] {
        let (one, mut other) = (Host::new(over_v6, 1, 2), Host::new(over_v6, 2, 1));
        let mut whole = one.wrap(one.peer, &inner(0x11, MacAddress::BROADCAST));
        let mapped = vtep_address(PLAIN, if at == 8 { 1 } else { 2 });
        whole[14 + at..14 + at + 16].copy_from_slice(&mapped.to_bits().to_be_bytes());
        let arrived = other.take(UPLINK, &whole);
        assert!(arrived.iter().all(|(to, _)| ![port(GUEST), port(OTHER)].contains(to)), "{arrived:?}");
        assert_eq!(other.switch.vteps().entries().len(), 1, "no VTEP was heard");
    }
}
