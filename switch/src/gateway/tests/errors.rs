//! ICMP: RFC 792, RFC 1122, RFC 1812, RFC 4443.

use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};

use super::*;
use crate::packet::TcpFlags;

/// Sender, receiver, type and code, the four bytes behind the checksum, and the rest.
pub(super) type Message = (String, String, [u8; 2], [u8; 4], Vec<u8>);

/// What a message of ICMP says, all of whose checksums etherparse finds right.
fn message(frame: &[u8]) -> Message {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let (from, to) = match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            (IpAddr::from(header.source), IpAddr::from(header.destination))
        }
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let bytes = match (sliced.transport.unwrap(), from, to) {
        (TransportSlice::Icmpv4(icmp), ..) => {
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            icmp.slice().to_vec()
        }
        (TransportSlice::Icmpv6(icmp), IpAddr::V6(from), IpAddr::V6(to)) => {
            assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
            icmp.slice().to_vec()
        }
        other => panic!("{other:?}"),
    };
    let four = [bytes[4], bytes[5], bytes[6], bytes[7]];
    (from.to_string(), to.to_string(), [bytes[0], bytes[1]], four, bytes[8..].to_vec())
}

pub(super) fn echo(to_mac: MacAddress, source: &str, destination: &str, payload: usize) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(mac(5).0, to_mac.0);
    let mut frame = Vec::new();
    let payload: Vec<u8> = (0..payload).map(|at| u8::try_from(at % 251).unwrap()).collect();
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let builder = ethernet.ipv4(from.octets(), to.octets(), 9).icmpv4_echo_request(77, 3);
            builder.write(&mut frame, &payload).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let builder = ethernet.ipv6(from.octets(), to.octets(), 9).icmpv6_echo_request(77, 3);
            builder.write(&mut frame, &payload).unwrap();
        }
        _ => panic!("one version"),
    }
    frame
}

#[test]
fn an_echo_request_is_answered_to_the_station_that_sent_it() {
    let own = crate::router::link_local_of(GATEWAY).to_string();
    for (from, to, kind) in [
        ("10.0.0.5", "10.0.0.1", 0),
        ("10.0.0.5", "10.0.1.1", 0),
        ("fd00::5", "fd00::1", 129),
        ("fd00::5", "fd00:1::1", 129),
        ("fe80::5", own.as_str(), 129),
    ] {
        for length in [0, 1, 56, 1400] {
            let mut lab = Lab::new();
            let request = echo(GATEWAY, from, to, length);
            let out = lab.receive(5, 0, &request);
            let [(0, reply)] = &sent(&out)[..] else { panic!("{out:?}") };
            let (source, destination, kind_and_code, rest, body) = message(reply);
            assert_eq!((source.as_str(), destination.as_str(), kind_and_code), (to, from, [kind, 0]));
            assert_eq!((rest, body), ([0, 77, 0, 3], request[request.len() - length..].to_vec()));
            assert_eq!((&reply[..6], &reply[6..12]), (&mac(5).0[..], &GATEWAY.0[..]));
            assert_eq!((out.len(), lab.gateway.table.len()), (1, 0), "nobody needs to be asked for");
        }
    }
}

/// Echoes with a forged sender of the same network come back to the forger, those of other networks to their owner, who is
/// asked for at the forger's expense.
#[test]
fn a_forged_echo_request_reaches_nobody_of_its_network() {
    let mut lab = Lab::new();
    let out = lab.receive(5, 0, &echo(GATEWAY, "10.0.0.6", "10.0.0.1", 8));
    assert_eq!(sent(&out)[0].1[..6], mac(5).0);
    for forged in
        ["10.0.0.255", "10.0.0.1", "10.0.1.1", "10.9.9.9", "192.0.2.1", "127.0.0.1", "0.0.0.0", "224.0.0.1"]
    {
        let out = lab.receive(5, 0, &echo(GATEWAY, forged, "10.0.0.1", 8));
        assert!(sent(&out).is_empty(), "{forged}: {out:?}");
        let is_own = forged == "10.0.0.1";
        let reason = if is_own { DropReason::GatewaySpoofed } else { DropReason::NotRoutable };
        assert_eq!(dropped(&out), [(5, reason)], "{forged}");
    }
    let out = lab.receive(5, 0, &echo(GATEWAY, "10.0.1.6", "10.0.0.1", 8));
    assert_eq!(questions(&out), [(1, "10.0.1.6".to_owned(), None)]);
    let out = lab.receive(6, 1, &answer(6, 1, "10.0.1.6"));
    let [(1, reply)] = &sent(&out)[..] else { panic!("{out:?}") };
    assert_eq!((&reply[..6], message(reply).2), (&mac(6).0[..], [0, 0]));
}

#[test]
fn damaged_and_cut_echo_requests_are_not_answered() {
    for (from, to) in [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")] {
        let mut lab = Lab::new();
        let good = echo(GATEWAY, from, to, 20);
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(dropped(&lab.receive(5, 0, &damaged)), [(5, DropReason::GatewayBadMessage)]);
        for length in 0..good.len() {
            let out = lab.receive(5, 0, &good[..length]);
            assert_eq!((dropped(&out).len(), out.len()), (1, 1), "{length}: {out:?}");
        }
        // What stands behind the packet is no part of it.
        let padded = [&good[..], &[0xff; 30]].concat();
        assert_eq!(message(&sent(&lab.receive(5, 0, &padded))[0].1).4, good[good.len() - 20..]);
    }
    // Fragments are not put together.
    let mut fragment = echo(GATEWAY, "10.0.0.5", "10.0.0.1", 16);
    fragment[20] = 0x20;
    cutting::sum_header(&mut fragment);
    assert_eq!(dropped(&Lab::new().receive(5, 0, &fragment)), [(5, DropReason::GatewayNotServed)]);
}

/// An error that the gateway sends because of a packet, and for which reason that is dropped.
pub(super) fn error_about(lab: &mut Lab, frame: &[u8]) -> (Message, DropReason) {
    let out = lab.receive(5, 0, frame);
    let [(0, error)] = &sent(&out)[..] else { panic!("{out:?}") };
    assert_eq!(error[..6], mac(5).0);
    let [(5, reason)] = dropped(&out)[..] else { panic!("{out:?}") };
    assert_eq!(out.len(), 2);
    (message(error), reason)
}

#[test]
fn who_sends_what_cannot_go_on_is_told_why() {
    let mut lab = Lab::new();
    for (from, to, hops, kinds, reason) in [
        (
            ["10.0.0.5", "fd00::5"],
            ["10.0.1.6", "fd00:1::6"],
            1,
            [[11, 0], [3, 0]],
            DropReason::HopLimitExceeded,
        ),
        (["10.0.0.5", "fd00::5"], ["192.0.2.1", "2001::1"], 64, [[3, 0], [1, 0]], DropReason::NoRoute),
    ] {
        for version in 0..2 {
            let packet = udp(mac(5), from[version], to[version], hops, 40);
            let ((source, destination, kind, rest, quote), dropped) = error_about(&mut lab, &packet);
            let own = ["10.0.0.1", "fd00::1"][version];
            assert_eq!((source.as_str(), destination.as_str()), (own, from[version]));
            assert_eq!((kind, rest, dropped), (kinds[version], [0; 4], reason));
            assert_eq!(quote, packet[14..], "the packet as it came");
        }
    }
}

#[test]
fn what_is_too_long_and_may_not_be_cut_is_told_with_the_mtu() {
    let mut lab = Lab::new();
    for (from, to, kind, most) in
        [("10.0.0.5", "10.0.1.6", [3, 4], 1400 - 28), ("fd00::5", "fd00:1::6", [2, 0], 1400 - 48)]
    {
        let ((_, _, kind_and_code, rest, _), reason) =
            error_about(&mut lab, &udp(mac(5), from, to, 64, most + 1));
        assert_eq!((kind_and_code, rest, reason), (kind, [0, 0, 5, 120], DropReason::PacketTooBig));
        // One that just fits waits for its next station.
        assert_eq!(questions(&lab.receive(5, 0, &udp(mac(5), from, to, 64, most))).len(), 1);
        // Padding does not count.
        lab.receive(6, 1, &answer(6, 1, to));
        let fits = udp(mac(5), from, to, 64, most);
        let out = lab.receive(5, 0, &[&fits[..], &[0; 50]].concat());
        assert_eq!(again(&out), [(5, 0, fits)]);
    }
}

/// RFC 1812, 4.3.2.3 and RFC 4443, 2.4 c.
#[test]
fn an_error_quotes_as_much_as_it_may() {
    let mut lab = Lab::new();
    for (from, to, most) in [("10.0.0.5", "192.0.2.1", 576), ("fd00::5", "2001::1", 1280)] {
        for length in [0, 1, 400, 500, 600, 1150, 1200, 1300, 1400] {
            let packet = udp(mac(5), from, to, 64, length);
            let out = lab.receive(5, 0, &packet);
            let error = &sent(&out)[0].1;
            let quote = message(error).4;
            assert_eq!(quote, packet[14..14 + quote.len()]);
            let header = if most == 576 { 28 } else { 48 };
            assert_eq!(error.len() - 14, (packet.len() - 14 + header).min(most), "{length}");
            lab.wait(1000);
        }
    }
}

#[test]
fn what_no_service_wants_is_refused() {
    let mut lab = Lab::new();
    for (from, to, kind) in [("10.0.0.5", "10.0.0.1", [3, 3]), ("fd00::5", "fd00::1", [1, 4])] {
        let frame = udp(mac(5), from, to, 64, 20);
        let out = lab.receive(5, 0, &frame);
        assert_eq!(out, [Output::Local { port: port(5), network: network(0), frame: frame.clone() }]);
        let offered = Offered { port: port(5), network: network(0), frame: &frame, why: None };
        let moment = Moment { neighbours: &lab.neighbours, now: lab.now };
        lab.gateway.refuse(&offered, moment);
        let out: Vec<_> = lab.gateway.drain().collect();
        assert_eq!(dropped(&out), [(5, DropReason::GatewayNotServed)]);
        let (source, _, kind_and_code, _, quote) = message(&sent(&out)[0].1);
        assert_eq!((source.as_str(), kind_and_code, quote), (to, kind, frame[14..].to_vec()));
    }
}

/// A TCP segment to the gateway, with these flags and four bytes of data.
fn tcp(source: &str, destination: &str, flags: u8) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(mac(5).0, GATEWAY.0);
    let ip = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 9),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 9),
        _ => panic!("one version"),
    };
    let mut header = etherparse::TcpHeader::new(4000, 80, 1000, 500);
    header.acknowledgment_number = 77;
    header.syn = flags & TcpFlags::SYN != 0;
    header.ack = flags & TcpFlags::ACK != 0;
    header.rst = flags & TcpFlags::RST != 0;
    header.fin = flags & TcpFlags::FIN != 0;
    let mut frame = Vec::new();
    ip.tcp_header(header).write(&mut frame, &[1, 2, 3, 4]).unwrap();
    frame
}

fn refuse(lab: &mut Lab, frame: &[u8]) -> Vec<Output> {
    let offered = Offered { port: port(5), network: network(0), frame, why: None };
    let moment = Moment { neighbours: &lab.neighbours, now: lab.now };
    lab.gateway.refuse(&offered, moment);
    lab.gateway.drain().collect()
}

/// RFC 9293, 3.10.7.1.
#[test]
fn a_tcp_segment_that_no_service_wants_is_answered_by_a_reset() {
    const ACK: u8 = TcpFlags::ACK;
    for (from, to) in [("10.0.0.5", "10.0.0.1"), ("10.0.0.5", "10.0.1.1"), ("fd00::5", "fd00::1")] {
        for (flags, expected) in [
            (TcpFlags::SYN, Some((0, 1005, true))),
            (0, Some((0, 1004, true))),
            (TcpFlags::FIN, Some((0, 1005, true))),
            (ACK, Some((77, 0, false))),
            (ACK | TcpFlags::SYN, Some((77, 0, false))),
            (TcpFlags::RST, None),
            (ACK | TcpFlags::RST, None),
        ] {
            let mut lab = Lab::new();
            let out = refuse(&mut lab, &tcp(from, to, flags));
            assert_eq!(dropped(&out), [(5, DropReason::GatewayNotServed)]);
            let answers = sent(&out);
            let resets: Vec<_> = answers.iter().map(|(_, frame)| reset_of(frame, to)).collect();
            assert_eq!(resets.first().copied(), expected, "{flags}");
        }
    }
    // Those for others are not answered.
    assert!(sent(&refuse(&mut Lab::new(), &tcp("10.0.0.5", "10.0.1.6", TcpFlags::SYN))).is_empty());
}

/// Sequence number, acknowledgement number and ACK of a reset to station 5, whose checksum etherparse finds right.
fn reset_of(frame: &[u8], from: &str) -> (u32, u32, bool) {
    assert_eq!(frame[..6], mac(5).0);
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:x?}") };
    let (checksum, source) = match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let checksum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).unwrap();
            (checksum, IpAddr::from(header.source))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let checksum = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload()).unwrap();
            (checksum, IpAddr::from(header.source))
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!((tcp.checksum(), source.to_string().as_str()), (checksum, from));
    assert!(tcp.rst() && !tcp.syn() && tcp.source_port() == 80 && tcp.destination_port() == 4000);
    (tcp.sequence_number(), tcp.acknowledgment_number(), tcp.ack())
}

/// RFC 1122, 3.2.2.1; RFC 4443, 3.4.
#[test]
fn protocols_that_are_not_spoken_are_told() {
    let mut lab = Lab::new();
    let ethernet = || PacketBuilder::ethernet2(mac(5).0, GATEWAY.0);
    let mut v4 = Vec::new();
    let builder = ethernet().ipv4([10, 0, 0, 5], [10, 0, 0, 1], 9);
    builder.write(&mut v4, IpNumber(47), &[0; 20]).unwrap();
    let ((_, _, kind, rest, _), reason) = error_about(&mut lab, &v4);
    assert_eq!((kind, rest, reason), ([3, 2], [0; 4], DropReason::GatewayNotServed));
    let own = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut v6 = Vec::new();
    let builder = ethernet().ipv6(own("fd00::5"), own("fd00::1"), 9);
    builder.write(&mut v6, IpNumber(47), &[0; 20]).unwrap();
    let ((_, _, kind, rest, _), _) = error_about(&mut lab, &v6);
    assert_eq!((kind, rest), ([4, 1], [0, 0, 0, 6]), "the byte that names it");
    // Behind destination options, whose first byte names it.
    v6[20] = 60;
    v6[54] = 47;
    let ((_, _, kind, rest, _), _) = error_about(&mut lab, &v6);
    assert_eq!((kind, rest), ([4, 1], [0, 0, 0, 40]));
}

/// RFC 1122, 4.1.3.4; RFC 9293, 3.1; RFC 8200, 8.1: a datagram of IPv6 has a checksum.
#[test]
fn what_no_service_wants_and_is_damaged_is_dropped_without_a_word() {
    for (from, to) in [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")] {
        for whole in [udp(mac(5), from, to, 64, 20), tcp(from, to, TcpFlags::SYN)] {
            for at in [whole.len() - 1, if from == "10.0.0.5" { 34 } else { 54 }] {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                let out = refuse(&mut Lab::new(), &damaged);
                assert_eq!(dropped(&out), [(5, DropReason::GatewayBadMessage)], "{at}");
                assert!(sent(&out).is_empty(), "{out:?}");
            }
            assert_eq!(sent(&refuse(&mut Lab::new(), &whole)).len(), 1);
        }
    }
    // Without one, a datagram of IPv4 is right (RFC 768), and one of IPv6 wrong.
    for (from, to, at, answers) in [("10.0.0.5", "10.0.0.1", 40, 1), ("fd00::5", "fd00::1", 60, 0)] {
        let mut bare = udp(mac(5), from, to, 64, 20);
        bare[at..at + 2].fill(0);
        assert_eq!(sent(&refuse(&mut Lab::new(), &bare)).len(), answers, "{to}");
    }
}

/// RFC 1812, 4.3.2.8; RFC 4443, 2.4 f.
#[test]
fn errors_are_metered_for_each_port() {
    let mut lab = Lab::new();
    let told = |lab: &mut Lab, station: usize, packets: usize| {
        let packet = udp(mac(station), "10.0.0.5", "192.0.2.1", 64, 8);
        (0..packets).map(|_| sent(&lab.receive(station, 0, &packet)).len()).sum::<usize>()
    };
    assert_eq!(told(&mut lab, 5, 1000), 64, "what may come at once");
    assert_eq!(told(&mut lab, 6, 1), 1, "another port has its own rate");
    lab.wait(1000);
    assert_eq!(told(&mut lab, 5, 1000), 64);
    lab.wait(100);
    assert_eq!(told(&mut lab, 5, 1000), 10, "100 a second");
}

#[test]
fn a_scan_does_not_keep_senders_from_learning_an_mtu() {
    let mut lab = Lab::new();
    for _ in 0..1000 {
        lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "192.0.2.1", 64, 8));
    }
    assert!(sent(&lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "192.0.2.1", 64, 8))).is_empty());
    let out = lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "10.0.1.6", 64, 1450));
    assert_eq!(message(&sent(&out)[0].1).2, [3, 4]);
}

#[test]
fn all_ports_together_get_no_more_errors_than_there_are_for_all() {
    let mut lab = Lab::with(&Limits { errors: FrameRate::new(1000).unwrap(), ..Limits::default() });
    let told: usize = (100..200)
        .map(|station| {
            let packet = udp(mac(station), "10.0.0.5", "192.0.2.1", 64, 8);
            (0..10).map(|_| sent(&lab.receive(station, 0, &packet)).len()).sum::<usize>()
        })
        .sum();
    assert_eq!(told, 250);
}

#[test]
fn traceroute_sees_each_interface_by_the_address_where_it_came_in() {
    let mut lab = Lab::new();
    let out = lab.receive(9, 1, &udp(mac(9), "10.9.1.1", "10.0.0.5", 1, 8));
    let [(1, error)] = &sent(&out)[..] else { panic!("{out:?}") };
    let (source, destination, kind, ..) = message(error);
    assert_eq!((source.as_str(), destination.as_str(), kind), ("10.0.1.1", "10.9.1.1", [11, 0]));
    assert_eq!(error[..6], mac(9).0, "by the router that it came from");
}
