//! What a guarded port may send, point by point.

use etherparse::PacketBuilder;

use super::frames::*;
use super::*;
use crate::packet::{Contents, Plain};

/// Whether a port that is set up so may send this from its own MAC address.
fn check(port: &PortSecurity, contents: &Contents) -> Result<(), SourceError> {
    check_from(port, port.mac, contents)
}

fn check_from(port: &PortSecurity, source: MacAddress, contents: &Contents) -> Result<(), SourceError> {
    SourceGuard::new(port).check(source, contents)
}

/// Station 1 with both versions of IP.
fn station() -> PortSecurity {
    PortSecurity { guarded: true, ..member(&["10.0.0.1", "fd00::1"], &[]) }
}

/// A station whose address is not known.
fn unknown() -> PortSecurity {
    PortSecurity { addresses: Vec::new(), ..station() }
}

fn trusted() -> PortSecurity {
    PortSecurity { trusted: true, ..station() }
}

const LINK_LOCAL: &str = "fe80::ff:fe00:1";

fn packet_from(source: &str) -> Contents {
    let destination = if source.contains(':') { "fd00::9" } else { "10.0.0.9" };
    ip(source, destination, 47, &[0; 8])
}

/// Point 8, hostile input 28: the MAC address.
#[test]
fn only_the_ports_own_mac_addresses_may_be_a_source() {
    for contents in
        [packet_from("10.0.0.1"), arp(2, (mac(2), "10.0.0.1"), "10.0.0.9"), contents(&frame(0x88b5, &[]))]
    {
        assert_eq!(check_from(&station(), mac(2), &contents), Err(SourceError::Mac));
        assert_eq!(check_from(&unknown(), mac(2), &contents), Err(SourceError::Mac));
        assert_eq!(check_from(&trusted(), ROUTER, &contents), Err(SourceError::Mac));
    }
    assert_eq!(check(&station(), &contents(&frame(0x88b5, &[]))), Ok(()));
}

/// A guard finds out of a plain packet by few words what it finds out with care, but for DHCP, of which it says nothing then.
#[test]
fn plain_packets_are_known_as_those_that_are_read_with_care() {
    let pair = |prefix: &str, mac| AddressPair { prefix: prefix.parse().unwrap(), mac };
    let pairs = [("10.0.0.100/32", None), ("10.9.0.0/16", Some(mac(9))), ("fd09::/16", Some(mac(9)))]
        .map(|(prefix, mac)| pair(prefix, mac));
    let with = |pairs: &[AddressPair]| PortSecurity { pairs: pairs.to_vec(), ..station() };
    let all = ["0.0.0.0/0", "::/0"].map(|prefix| with(&[pair(prefix, None)]));
    let ports = [station(), unknown(), trusted(), with(&pairs)].into_iter().chain(all);
    let (mut own, mut others) = (0, 0);
    for (port, sender) in ports.flat_map(|port| [1, 2, 9].map(|last| (port.clone(), mac(last)))) {
        let guard = SourceGuard::new(&port);
        for source in
            ["10.0.0.1", "10.0.0.2", "10.0.0.100", "10.9.255.255", "10.10.0.0", "0.0.0.0", "255.255.255.255"]
        {
            for (to, is_tcp) in
                [53, 66, 67, 68, 69, 546, 547, 548].into_iter().flat_map(|to| [(to, false), (to, true)])
            {
                let source = source.parse::<std::net::Ipv4Addr>().unwrap().octets();
                let builder = PacketBuilder::ethernet2(sender.0, [4; 6]).ipv4(source, [10, 0, 0, 9], 64);
                let mut head = Vec::new();
                if is_tcp {
                    builder.tcp(68, to, 1, 1).ack(1).write(&mut head, &[]).unwrap();
                } else {
                    builder.udp(68, to).write(&mut head, &[]).unwrap();
                }
                let plain = Plain::read(&head, u32::try_from(head.len()).unwrap()).unwrap();
                let [a, b, c, d, e, f] = sender.0;
                let is_own = guard.is_plainly_own(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), &plain);
                let contents = contents(&head);
                let Contents::Ip(packet) = contents else { panic!("no packet of IP") };
                assert_eq!(plain.may_be_dhcp(), may_be_essential(&packet), "{to}");
                let is_allowed = guard.check(sender, &contents).is_ok();
                assert!(is_allowed || !is_own, "{source:?} to {to}");
                let may_be_dhcp = !is_tcp && [67, 68, 546, 547].contains(&to);
                assert_eq!(
                    is_own,
                    is_allowed && !may_be_dhcp,
                    "{source:?} from {sender} to {to} by {port:?}"
                );
                own += u32::from(is_own);
                others += u32::from(!is_own);
            }
        }
    }
    assert!(own > 100 && others > 100, "{own} and {others}");
}

/// Point 8: the fixed addresses, and the link-local one of the port's MAC address.
#[test]
fn only_the_ports_own_addresses_may_be_a_source() {
    for source in ["10.0.0.1", "fd00::1", LINK_LOCAL] {
        assert_eq!(check(&station(), &packet_from(source)), Ok(()), "{source}");
    }
    for source in ["10.0.0.2", "127.0.0.1", "255.255.255.255", "224.0.0.1"] {
        assert_eq!(check(&station(), &packet_from(source)), Err(SourceError::Ipv4), "{source}");
        assert_eq!(check(&trusted(), &packet_from(source)), Err(SourceError::Ipv4), "{source}");
    }
    for source in ["fd00::2", "fe80::1", "fe80::ff:fe00:2", "fe80:0:0:1:0:ff:fe00:1", "ff02::1", "::1"] {
        assert_eq!(check(&station(), &packet_from(source)), Err(SourceError::Ipv6), "{source}");
    }
    assert_eq!(check(&station(), &fragment("10.0.0.2", "10.0.0.9", (1, 2))), Err(SourceError::Ipv4));
}

/// RFC 4291, appendix A: the bit that says that the address is the whole world's is turned.
#[test]
fn the_link_local_address_follows_from_the_mac_address() {
    let mac = "52:54:00:12:34:56".parse().unwrap();
    let port = PortSecurity { mac, ..station() };
    assert_eq!(check(&port, &packet_from("fe80::5054:ff:fe12:3456")), Ok(()));
    assert_eq!(check(&port, &packet_from("fe80::5254:ff:fe12:3456")), Err(SourceError::Ipv6));
}

/// Point 8: address pairs.
#[test]
fn address_pairs_hold_for_their_own_mac_address() {
    let pair = |prefix: &str, mac| AddressPair { prefix: prefix.parse().unwrap(), mac };
    let pairs =
        vec![pair("10.0.0.100", None), pair("10.9.0.0/16", Some(mac(9))), pair("fd09::/16", Some(mac(9)))];
    let port = PortSecurity { pairs, ..station() };
    let from = |source, address: &str| check_from(&port, source, &packet_from(address));
    for (source, address) in [(1, "10.0.0.100"), (1, "10.0.0.1"), (9, "10.9.8.7"), (9, "fd09::1")] {
        assert_eq!(from(mac(source), address), Ok(()), "{source} {address}");
    }
    for (source, address) in [(1, "10.9.8.7"), (9, "10.0.0.100"), (9, "10.0.0.1"), (9, "10.10.0.1")] {
        assert_eq!(from(mac(source), address), Err(SourceError::Ipv4), "{source} {address}");
    }
    assert_eq!(from(mac(9), "fe80::ff:fe00:9"), Ok(()), "each of its MAC addresses has a link-local one");
    assert_eq!(from(mac(9), LINK_LOCAL), Err(SourceError::Ipv6));
    assert_eq!(from(mac(1), "fe80::ff:fe00:9"), Err(SourceError::Ipv6));
    let claim = |source, address| check_from(&port, source, &arp(2, (source, address), "10.0.0.9"));
    assert_eq!([claim(mac(9), "10.9.0.1"), claim(mac(1), "10.0.0.100")], [Ok(()); 2]);
    assert_eq!(claim(mac(1), "10.9.0.1"), Err(SourceError::Arp));
}

/// Addresses of both versions stand in one space, of which all of IPv6 is more than a part.
#[test]
fn a_pair_of_all_addresses_of_one_version_says_nothing_of_the_other() {
    for (prefix, own, other, error) in [
        ("::/0", "fd77::1", "10.7.7.7", SourceError::Ipv4),
        ("::/64", "::7", "10.7.7.7", SourceError::Ipv4),
        ("0.0.0.0/0", "10.7.7.7", "fd77::1", SourceError::Ipv6),
        ("128.0.0.0/1", "200.1.1.1", "10.7.7.7", SourceError::Ipv4),
    ] {
        let pairs = vec![AddressPair { prefix: prefix.parse().unwrap(), mac: None }];
        let port = PortSecurity { pairs, ..station() };
        assert_eq!(check(&port, &packet_from(own)), Ok(()), "{prefix}");
        assert_eq!(check(&port, &packet_from(other)), Err(error), "{prefix}");
    }
}

/// Point 8: a port without addresses.
#[test]
fn a_port_whose_addresses_are_not_known_is_held_to_its_mac_address() {
    for source in ["10.0.0.2", "fd00::2", LINK_LOCAL, "fe80::9"] {
        assert_eq!(check(&unknown(), &packet_from(source)), Ok(()), "{source}");
    }
    assert_eq!(check(&unknown(), &arp(2, (mac(1), "10.0.0.2"), "10.0.0.9")), Ok(()));
    assert_eq!(check(&unknown(), &arp(2, (mac(2), "10.0.0.2"), "10.0.0.9")), Err(SourceError::Arp));
    let advertised = |mac| neighbour("fd00::2", "ff02::1", 136, "fd00::2", &option(2, mac));
    assert_eq!(check(&unknown(), &advertised(mac(1))), Ok(()));
    assert_eq!(check(&unknown(), &advertised(mac(2))), Err(SourceError::Neighbour));
    assert_eq!(check(&unknown(), &packet_from("0.0.0.0")), Err(SourceError::Unspecified));
    assert_eq!(check(&unknown(), &udp("10.0.0.2", "10.0.0.9", (67, 68))), Err(SourceError::DhcpServer));
}

/// Point 8, hostile input 28: ARP, and gratuitous ARP for the gateway.
#[test]
fn arp_claims_nothing_but_the_ports_own_addresses() {
    for operation in [1, 2] {
        let claim = |mac, address: &str| check(&station(), &arp(operation, (mac, address), address));
        assert_eq!(claim(mac(1), "10.0.0.1"), Ok(()));
        assert_eq!(claim(mac(1), "10.0.0.254"), Err(SourceError::Arp));
        assert_eq!(claim(mac(2), "10.0.0.1"), Err(SourceError::Arp));
        assert_eq!(claim(ROUTER, "10.0.0.254"), Err(SourceError::Arp));
    }
    assert_eq!(
        check(&station(), &arp(1, (mac(1), "10.0.0.1"), "10.0.0.254")),
        Ok(()),
        "asks for the gateway"
    );
}

/// RFC 5227: a probe asks whether an address is free; for another one's it would keep him from it.
#[test]
fn arp_probes_ask_for_the_ports_own_address_only() {
    let probe = |operation, target| check(&station(), &arp(operation, (mac(1), "0.0.0.0"), target));
    assert_eq!(probe(1, "10.0.0.1"), Ok(()));
    assert_eq!(probe(1, "10.0.0.2"), Err(SourceError::Arp));
    assert_eq!(probe(2, "10.0.0.1"), Err(SourceError::Arp), "no answer comes from nobody");
    assert_eq!(check(&unknown(), &arp(1, (mac(1), "0.0.0.0"), "10.0.0.2")), Ok(()));
}

/// Point 8, hostile input 28: neighbour advertisements.
#[test]
fn neighbour_advertisements_claim_nothing_but_the_ports_own_addresses() {
    let claim = |target: &str, options: &[u8]| {
        check(&station(), &neighbour(LINK_LOCAL, "ff02::1", 136, target, options))
    };
    for target in ["fd00::1", LINK_LOCAL] {
        assert_eq!(claim(target, &[]), Ok(()));
        assert_eq!(claim(target, &option(2, mac(1))), Ok(()));
        assert_eq!(claim(target, &option(2, mac(2))), Err(SourceError::Neighbour));
        assert_eq!(claim(target, &option(1, mac(2))), Err(SourceError::Neighbour));
    }
    assert_eq!(claim("fd00::2", &option(2, mac(1))), Err(SourceError::Neighbour));
    assert_eq!(claim("fd00::2", &[]), Err(SourceError::Neighbour));
}

#[test]
fn neighbour_solicitations_ask_for_all_and_claim_the_senders_address_alone() {
    let ask =
        |options: &[u8]| check(&station(), &neighbour("fd00::1", "ff02::1:ff00:2", 135, "fd00::2", options));
    assert_eq!(ask(&[]), Ok(()));
    assert_eq!(ask(&option(1, mac(1))), Ok(()));
    assert_eq!(ask(&option(1, mac(2))), Err(SourceError::Neighbour));
    let solicitation = |mac| check(&station(), &neighbour(LINK_LOCAL, "ff02::2", 133, "", &option(1, mac)));
    assert_eq!(solicitation(mac(1)), Ok(()));
    assert_eq!(solicitation(mac(2)), Err(SourceError::Neighbour));
}

/// What an option says that lies behind the bytes that are looked at is not known.
#[test]
fn neighbour_messages_that_hide_their_options_are_refused() {
    let padding = [&[14, 8][..], &[0; 62]].concat();
    let hidden = [padding, option(2, mac(2))].concat();
    let message = neighbour("fd00::1", "ff02::1", 136, "fd00::1", &hidden);
    assert_eq!(check(&station(), &message), Err(SourceError::Neighbour));
    let router = neighbour(LINK_LOCAL, "ff02::1", 134, "", &hidden);
    assert_eq!(check(&trusted(), &router), Ok(()), "a router's options may be many");
}

/// Point 9: 0.0.0.0.
#[test]
fn without_an_address_a_guest_sends_nothing_of_ipv4_but_dhcp_to_all() {
    let from_nobody = |destination, ports| check(&station(), &udp("0.0.0.0", destination, ports));
    assert_eq!(from_nobody("255.255.255.255", (68, 67)), Ok(()));
    for (destination, ports) in [
        ("10.0.0.9", (68, 67)),
        ("224.0.0.1", (68, 67)),
        ("255.255.255.255", (68, 68)),
        ("255.255.255.255", (67, 67)),
        ("255.255.255.255", (546, 547)),
    ] {
        assert_eq!(from_nobody(destination, ports), Err(SourceError::Unspecified), "{destination} {ports:?}");
    }
    assert_eq!(check(&station(), &icmp("0.0.0.0", "255.255.255.255", 8)), Err(SourceError::Unspecified));
    let fragment = fragment("0.0.0.0", "255.255.255.255", (68, 67));
    assert_eq!(check(&station(), &fragment), Err(SourceError::Unspecified));
    let tcp = [&[0, 68, 0, 67][..], &[0; 8], &[0x50, 2], &[0; 6]].concat();
    assert_eq!(check(&station(), &ip("0.0.0.0", "255.255.255.255", 6, &tcp)), Err(SourceError::Unspecified));
}

/// Point 9: `::`.
#[test]
fn without_an_address_a_guest_sends_nothing_of_ipv6_but_what_comes_before_it_has_one() {
    let probe = |target: &str, options: &[u8]| {
        check(&station(), &neighbour("::", "ff02::1:ff00:1", 135, target, options))
    };
    assert_eq!([probe("fd00::1", &[]), probe(LINK_LOCAL, &[])], [Ok(()); 2]);
    assert_eq!(probe("fd00::2", &[]), Err(SourceError::Neighbour), "keeps station 2 from its address");
    assert_eq!(probe("fd00::1", &option(1, mac(1))), Err(SourceError::Neighbour), "RFC 4861, 7.1.1");
    let router = |options: &[u8]| check(&station(), &neighbour("::", "ff02::2", 133, "", options));
    assert_eq!(router(&[]), Ok(()));
    assert_eq!(router(&option(1, mac(1))), Err(SourceError::Neighbour));
    for kind in [131, 132, 143] {
        assert_eq!(check(&station(), &icmp("::", "ff02::16", kind)), Ok(()), "{kind}");
        assert_eq!(check(&station(), &icmp("::", "ff05::16", kind)), Err(SourceError::Unspecified), "{kind}");
        assert_eq!(check(&station(), &icmp("::", "fd00::16", kind)), Err(SourceError::Unspecified), "{kind}");
    }
    for kind in [128, 129, 130, 142] {
        assert_eq!(check(&station(), &icmp("::", "ff02::1", kind)), Err(SourceError::Unspecified), "{kind}");
    }
    let advertisement = neighbour("::", "ff02::1", 136, "fd00::1", &[]);
    assert_eq!(check(&station(), &advertisement), Err(SourceError::Unspecified));
    assert_eq!(check(&station(), &udp("::", "ff02::1:2", (546, 547))), Err(SourceError::Unspecified));
}

/// Point 10, hostile input 28: DHCP.
#[test]
fn a_guest_is_a_dhcp_client_and_never_a_server() {
    for (source, destination, client, server) in
        [("10.0.0.1", "10.0.0.9", 68, 67), (LINK_LOCAL, "ff02::1:2", 546, 547)]
    {
        let asked = udp(source, destination, (client, server));
        let answer = udp(source, destination, (server, client));
        assert_eq!([check(&station(), &asked), check(&trusted(), &asked)], [Ok(()); 2]);
        assert_eq!(check(&station(), &answer), Err(SourceError::DhcpServer));
        assert_eq!(check(&trusted(), &answer), Ok(()));
        assert_eq!(check(&station(), &udp(source, destination, (server, server))), Ok(()), "between relays");
    }
    // The ports of the other version are ports like any.
    assert_eq!(check(&station(), &udp("10.0.0.1", "10.0.0.9", (547, 546))), Ok(()));
    assert_eq!(check(&station(), &udp("fd00::1", "fd00::9", (67, 68))), Ok(()));
    assert_eq!(check(&station(), &fragment("10.0.0.1", "10.0.0.9", (67, 68))), Err(SourceError::DhcpServer));
}

/// Point 10, hostile input 28: router advertisements, and what else only a router says.
#[test]
fn a_guest_is_no_router_unless_it_is_trusted() {
    let messages = [
        neighbour(LINK_LOCAL, "ff02::1", 134, "", &option(1, mac(1))),
        neighbour(LINK_LOCAL, "fd00::9", 137, "fd00::1", &[]),
        icmp("10.0.0.1", "224.0.0.1", 9),
    ];
    for message in messages {
        assert_eq!(check(&station(), &message), Err(SourceError::Router));
        assert_eq!(check(&unknown(), &message), Err(SourceError::Router));
        assert_eq!(check(&trusted(), &message), Ok(()));
    }
    let spoofed = neighbour("fe80::1", "ff02::1", 134, "", &[]);
    assert_eq!(
        check(&trusted(), &spoofed),
        Err(SourceError::Ipv6),
        "trusted to be a router, not to be another one"
    );
    let other = neighbour(LINK_LOCAL, "ff02::1", 134, "", &option(1, mac(2)));
    assert_eq!(check(&trusted(), &other), Err(SourceError::Neighbour));
    assert_eq!(
        check(&station(), &icmp("10.0.0.1", "10.0.0.9", 134)),
        Ok(()),
        "a number of the other version"
    );
    assert_eq!(check(&station(), &icmp("fd00::1", "fd00::9", 9)), Ok(()));
}

/// Tags that nobody has looked behind would hide everything.
#[test]
fn frames_with_more_tags_than_are_looked_behind_are_refused() {
    let arp = [&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2][..], &mac(1).0, &[10, 0, 0, 254], &[0; 10]].concat();
    for tags in 1..8 {
        let tag = [0, 1, 0x81, 0];
        let tags = [&tag.repeat(tags - 1)[..], &[0, 1], &arp].concat();
        let result = check(&station(), &contents(&frame(0x8100, &tags)));
        assert!(matches!(result, Err(SourceError::Arp | SourceError::Hidden)), "{result:?}");
    }
}

/// A header of IEEE 802.2 between the Ethernet header and the packet would hide the packet from the switch, not from every host.
#[test]
fn frames_with_a_length_in_place_of_a_type_are_refused() {
    for (kind, is_right) in [(0, false), (8, false), (0x5ff, false), (0x600, true), (0x88cc, true)] {
        let result = check(&station(), &contents(&frame(kind, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 6])));
        assert_eq!(result, if is_right { Ok(()) } else { Err(SourceError::Hidden) }, "{kind:#x}");
    }
}

/// Who is believed to be a router or a DHCP server: what the operator wrote decides that alone (point 12).
#[test]
fn ports_without_port_security_may_be_anything() {
    let mut security = SecurityControl::new(1);
    security.set_port(port(0), Some(PortSecurity { guarded: false, ..station() }));
    security.set_port(port(1), Some(trusted()));
    security.set_port(port(2), Some(station()));
    let of = |index| security.policy().port(port(index)).unwrap();
    let origins = [0, 1, 2].map(|index| of(index).origin());
    assert_eq!(origins, [Origin::Infrastructure, Origin::Infrastructure, Origin::Guest]);
}

/// Point 11: what reaches a guest whatever its groups say.
#[test]
fn a_guest_hears_its_neighbours_its_router_and_its_dhcp_server() {
    use Origin::{Guest, Infrastructure};
    let to_guest = |contents: &Contents| {
        [Infrastructure, Guest].map(|origin| is_essential(contents, Direction::Ingress, origin))
    };
    for message in [
        arp(1, (mac(9), "10.0.0.9"), "10.0.0.1"),
        arp(2, (mac(9), "10.0.0.9"), "10.0.0.1"),
        neighbour("fd00::9", "ff02::1:ff00:1", 135, "fd00::1", &[]),
        neighbour("fd00::9", "fd00::1", 136, "fd00::9", &[]),
        icmp("fe80::9", "ff02::1", 130),
    ] {
        assert_eq!(to_guest(&message), [true, true], "{message:?}");
    }
    for message in [
        neighbour("fe80::9", "ff02::1", 134, "", &[]),
        udp("10.0.0.9", "10.0.0.1", (67, 68)),
        udp("fe80::9", "fe80::1", (547, 546)),
    ] {
        assert_eq!(to_guest(&message), [true, false], "{message:?}");
    }
    for message in [
        neighbour("fe80::9", "ff02::2", 133, "", &[]),
        neighbour("fe80::9", "fd00::1", 137, "fd00::9", &[]),
        icmp("fd00::9", "fd00::1", 128),
        icmp("fd00::9", "ff02::16", 143),
        icmp("10.0.0.9", "10.0.0.1", 134),
        udp("10.0.0.9", "10.0.0.1", (68, 67)),
        fragment("10.0.0.9", "10.0.0.1", (67, 68)),
        contents(&frame(0x88cc, &[])),
    ] {
        assert_eq!(to_guest(&message), [false, false], "{message:?}");
    }
}

/// Points 10 and 11, from the guest: it finds its neighbours and its address even if its rules allow nothing.
#[test]
fn a_guest_asks_for_its_neighbours_its_router_and_its_address() {
    let from_guest = |contents: &Contents| is_essential(contents, Direction::Egress, Origin::Guest);
    for message in [
        arp(1, (mac(1), "10.0.0.1"), "10.0.0.9"),
        neighbour("fd00::1", "ff02::1:ff00:9", 135, "fd00::9", &[]),
        neighbour("fd00::1", "fd00::9", 136, "fd00::1", &[]),
        neighbour("::", "ff02::2", 133, "", &[]),
        icmp("::", "ff02::16", 143),
        icmp("::", "ff02::16", 131),
        icmp(LINK_LOCAL, "ff02::16", 132),
        udp("0.0.0.0", "255.255.255.255", (68, 67)),
        udp(LINK_LOCAL, "ff02::1:2", (546, 547)),
    ] {
        assert!(from_guest(&message), "{message:?}");
    }
    for message in [
        udp("10.0.0.1", "192.0.2.1", (68, 67)),
        udp("fd00::1", "fd00::9", (546, 547)),
        udp("10.0.0.1", "255.255.255.255", (67, 68)),
        neighbour(LINK_LOCAL, "ff02::1", 134, "", &[]),
        icmp(LINK_LOCAL, "ff02::1", 130),
        icmp("fd00::1", "fd00::9", 128),
        icmp("10.0.0.1", "10.0.0.9", 135),
        fragment("10.0.0.1", "255.255.255.255", (68, 67)),
        contents(&frame(0x88cc, &[])),
    ] {
        assert!(!from_guest(&message), "{message:?}");
    }
}

/// What rules see of a packet.
#[test]
fn services_are_read_from_packets() {
    let service = |contents: &Contents| match contents {
        Contents::Ip(packet) => Service::of(packet),
        _ => panic!("a packet"),
    };
    assert_eq!(service(&udp("10.0.0.1", "10.0.0.9", (1, 53))), Some(Service::port(Protocol::UDP, 53)));
    let tcp = [&[1, 1, 0x1f, 0x90][..], &[0; 8], &[0x50, 2], &[0; 6]].concat();
    assert_eq!(service(&ip("fd00::1", "fd00::9", 6, &tcp)), Some(Service::port(Protocol::TCP, 8080)));
    assert_eq!(service(&icmp("10.0.0.1", "10.0.0.9", 8)), Some(Service::icmp(Protocol::ICMP, 8, 0)));
    assert_eq!(service(&icmp("fd00::1", "fd00::9", 128)), Some(Service::icmp(Protocol::ICMPV6, 128, 0)));
    assert_eq!(service(&packet_from("10.0.0.1")), Some(Service::protocol(Protocol(47))));
    assert_eq!(service(&fragment("10.0.0.1", "10.0.0.9", (1, 2))), Some(Service::port(Protocol::UDP, 2)));
    let header = [17, 0, 0, 9, 0, 0, 0, 1];
    let later = ip("fd00::1", "fd00::9", 44, &[&header[..], &[0; 8]].concat());
    assert_eq!(service(&later), None, "a later fragment");
}
