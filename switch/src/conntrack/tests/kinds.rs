//! What belongs together: UDP, ICMP, other protocols, both versions of IP, networks with the same addresses; and lists.

use super::*;
use crate::packet::{Fragment, Neighbour, Quote, QuotedTransport};

#[test]
fn a_reply_is_found_by_its_own_tuple_and_assures() {
    let table = table();
    assert_eq!(table.look_up(zone(1), &udp(1, false), at(0)), Verdict::New);
    assert_eq!(table.pass(&udp(1, false), 0), Verdict::New);
    assert!(is_established(table.pass(&udp(1, false), 1), Direction::Original));
    assert_eq!(table.states(1), [State::Unreplied]);
    assert!(is_established(table.pass(&udp(1, true), 2), Direction::Reply));
    assert_eq!(table.states(2), [State::Replied]);
    assert_eq!(table.look_up(zone(1), &udp(2, true), at(2)), Verdict::New, "another flow");
    assert_eq!(table.held(port(7)), (1, 0));
}

#[test]
fn networks_with_the_same_addresses_never_meet() {
    let table = table();
    table.pass(&udp(1, false), 0);
    for packet in [udp(1, false), udp(1, true)] {
        assert_eq!(table.look_up(zone(2), &packet, at(0)), Verdict::New);
    }
    assert!(table.open(zone(2), &udp(1, true), port(3), 1, at(0)).is_ok());
    assert_eq!(table.list(&Filter::default(), 0, 9, at(0)).connections.len(), 2);
}

#[test]
fn ipv6_addresses_count_in_full() {
    let table = table();
    let ends = [address("2001:db8::1"), address("2001:db8:ffff::ffff")];
    let ports = Transport::Ports(Ports { source: 5, destination: 6 });
    let back = Transport::Ports(Ports { source: 6, destination: 5 });
    let there = between(ends[0], ends[1], number::UDP, ports);
    assert_eq!(table.pass(&there, 0), Verdict::New);
    assert!(is_established(table.pass(&between(ends[1], ends[0], number::UDP, back), 0), Direction::Reply));
    for bit in 0..128 {
        let other = Address::from_bits(ends[0].to_bits() ^ 1 << bit);
        let packet = between(other, ends[1], number::UDP, ports);
        assert_eq!(table.look_up(zone(1), &packet, at(0)), Verdict::New, "bit {bit}");
    }
    for protocol in [number::UDP_LITE, number::SCTP] {
        assert_eq!(table.look_up(zone(1), &between(ends[0], ends[1], protocol, ports), at(0)), Verdict::New);
    }
}

#[test]
fn a_connection_is_told_with_all_that_is_known_of_it() {
    let table = table();
    let packet = udp(0x2_0005, false);
    let found = table.open(zone(3), &packet, port(9), 77, at(10)).unwrap();
    let connection = table.connection(found.id, at(15)).unwrap();
    assert_eq!((connection.port, connection.policy_generation), (port(9), 77));
    assert_eq!((connection.original.source, connection.original.source_port), (address("10.0.0.2"), 5));
    assert_eq!((connection.reply.source, connection.reply.source_port), (address("10.99.0.1"), 53));
    assert_eq!((connection.original.zone, connection.original.protocol), (zone(3), number::UDP));
    assert_eq!(connection.reply, connection.original.reversed());
    assert_eq!((connection.idle_s, connection.expires_s), (5, timeouts::DATAGRAM_UNREPLIED_S - 5));
    table.set_policy_generation(found.id, 78);
    assert_eq!(table.policy_generation(found.id), Some(78));
    assert!(table.close(found.id) && !table.close(found.id));
    assert_eq!(table.policy_generation(found.id), None);
    assert_eq!(table.connection(found.id, at(15)), None);
    assert_eq!(table.track(found, &packet, at(15)), Err(Invalid::Gone));
    assert_eq!(table.held(port(9)), (0, 0));
}

#[test]
fn what_took_a_place_is_not_mistaken_for_what_was_there() {
    let table = Conntrack::new(Limits { connections: 1, ..small() }, 1);
    let first = table.open(zone(1), &udp(1, false), port(1), 1, at(0)).unwrap();
    table.close(first.id);
    let second = table.open(zone(1), &udp(2, false), port(1), 2, at(0)).unwrap();
    assert_eq!(first.id.entry, second.id.entry);
    assert_eq!(table.track(first, &udp(1, false), at(0)), Err(Invalid::Gone));
    table.set_policy_generation(first.id, 9);
    assert_eq!(table.policy_generation(second.id), Some(2));
    assert!(!table.close(first.id));
    assert_eq!(table.look_up(zone(1), &udp(1, false), at(0)), Verdict::New);
    assert_eq!(table.counters().invalid(Invalid::Gone), 1);
}

#[test]
fn lists_come_in_pages_and_by_filter_and_are_cleared_so() {
    let table = table();
    for flow in 0..100 {
        table.open(zone(flow as usize % 2), &udp(flow, false), port(flow as usize % 5), 1, at(0)).unwrap();
    }
    let (mut from, mut seen) = (0, Vec::new());
    loop {
        let page = table.list(&Filter::default(), from, 7, at(0));
        assert!(page.connections.len() <= 7);
        seen.extend(page.connections.iter().map(|connection| connection.original.source_port));
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    let count = |filter: Filter| table.list(&filter, 0, usize::MAX, at(0)).connections.len();
    let all = Filter::default();
    assert_eq!(count(Filter { zone: Some(zone(1)), ..all }), 50);
    assert_eq!(count(Filter { port: Some(port(2)), ..all }), 20);
    assert_eq!(count(Filter { transport_port: Some(17), ..all }), 1);
    assert_eq!(count(Filter { transport_port: Some(53), ..all }), 100);
    assert_eq!(count(Filter { address: Some(address("10.99.0.1")), ..all }), 100);
    assert_eq!(count(Filter { address: Some(address("10.99.0.2")), ..all }), 0);
    assert_eq!(count(Filter { protocol: Some(6), ..all }), 0);
    assert_eq!(count(Filter { state: Some(State::Unreplied), protocol: Some(17), ..all }), 100);
    assert_eq!(count(Filter { state: Some(State::Replied), ..all }), 0);
    assert_eq!(table.clear(&Filter { port: Some(port(2)), ..all }, at(0)), 20);
    assert_eq!((count(all), table.held(port(2)), table.counters().closed), (80, (0, 0), 20));
}

#[test]
fn icmp_replies_need_a_request() {
    let table = table();
    let (request, reply) = (icmp(false, 8, IcmpMessage::Request(7)), icmp(true, 0, IcmpMessage::Reply(7)));
    assert_eq!(table.pass(&reply, 0), Verdict::Invalid(Invalid::UnsolicitedReply));
    assert_eq!(table.pass(&request, 0), Verdict::New);
    assert!(is_established(table.pass(&reply, 0), Direction::Reply));
    assert!(is_established(table.pass(&request, 0), Direction::Original));
    let other = icmp(true, 0, IcmpMessage::Reply(8));
    assert_eq!(table.pass(&other, 0), Verdict::Invalid(Invalid::UnsolicitedReply), "another id");
    let timestamp = icmp(true, 14, IcmpMessage::Reply(7));
    assert_eq!(table.pass(&timestamp, 0), Verdict::Invalid(Invalid::UnsolicitedReply), "another kind");
    // The other side pings with the same id: that is another one.
    assert_eq!(table.pass(&icmp(true, 8, IcmpMessage::Request(7)), 0), Verdict::New);
    let refused = table.open(zone(1), &reply, port(1), 1, at(0));
    assert_eq!(refused, Err(Refused::NotNew));
    assert_eq!(table.counters().refused(Refused::NotNew), 1);
}

#[test]
fn protocols_without_ports_go_by_their_addresses() {
    let table = table();
    let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
    assert_eq!(table.pass(&between(a, b, 47, Transport::Other), 0), Verdict::New);
    assert!(is_established(table.pass(&between(b, a, 47, Transport::Other), 0), Direction::Reply));
    assert_eq!(table.pass(&between(a, b, 50, Transport::Other), 0), Verdict::New);
}

#[test]
fn what_has_no_connections_is_not_tracked() {
    let none = Neighbour { target: None, source_mac: None, target_mac: None, is_complete: true };
    for message in [IcmpMessage::Neighbour(none), IcmpMessage::Other] {
        assert_eq!(table().pass(&icmp(false, 5, message), 0), Verdict::Untracked);
    }
    let mut later = between(address("10.0.0.1"), address("10.0.0.2"), 17, Transport::Fragment);
    later.fragment = Some(Fragment { id: 1, offset: 8, length: 8, more: false });
    assert_eq!(table().pass(&later, 0), Verdict::Invalid(Invalid::LaterFragment));
}

fn quote(packet: &Packet) -> Quote {
    let transport = match packet.transport {
        Transport::Tcp(tcp) => QuotedTransport::Tcp(tcp.ports, tcp.sequence),
        Transport::Ports(ports) => QuotedTransport::Ports(ports),
        Transport::Icmp(Icmp { kind, message: IcmpMessage::Request(id), .. }) => {
            QuotedTransport::Request(kind, id)
        }
        Transport::Icmp(Icmp { kind, message: IcmpMessage::Reply(id), .. }) => {
            QuotedTransport::Reply(kind, id)
        }
        _ => QuotedTransport::Other,
    };
    Quote { source: packet.source, destination: packet.destination, protocol: packet.protocol, transport }
}

/// An error from a router about `packet`, to whoever sent that.
fn error_about(packet: &Packet) -> Packet {
    let error = Icmp { kind: 3, code: 4, message: IcmpMessage::Error(quote(packet)) };
    between(address("10.0.0.254"), packet.source, number::ICMP, Transport::Icmp(error))
}

#[test]
fn an_error_belongs_to_the_connection_of_the_packet_that_it_quotes() {
    let table = table();
    let gre = between(address("10.0.0.1"), address("10.0.0.2"), 47, Transport::Other);
    for packet in [udp(1, false), icmp(false, 8, IcmpMessage::Request(7)), gre] {
        assert_eq!(table.pass(&error_about(&packet), 0), Verdict::Invalid(Invalid::UnknownQuote));
        table.pass(&packet, 0);
        let Verdict::Related(found) = table.pass(&error_about(&packet), 0) else { panic!("{packet:?}") };
        assert_eq!(found.direction, Direction::Reply, "it goes to who opened it");
    }
    table.pass(&udp(1, true), 0);
    let Verdict::Related(found) = table.pass(&error_about(&udp(1, true)), 0) else { panic!() };
    assert_eq!(found.direction, Direction::Original);
    let mut forged = error_about(&udp(1, false));
    forged.destination = address("10.0.0.77");
    assert_eq!(table.pass(&forged, 0), Verdict::Invalid(Invalid::ForgedQuote), "to somebody else");
    assert_eq!(
        table.look_up(zone(2), &error_about(&udp(1, false)), at(0)),
        Verdict::Invalid(Invalid::UnknownQuote)
    );
}

#[test]
fn errors_neither_refresh_nor_end_a_connection() {
    // RFC 5508, 7, REQ-6; RFC 5382, REQ-10.
    let table = table();
    table.pass(&udp(1, false), 0);
    assert!(matches!(table.pass(&error_about(&udp(1, false)), 100), Verdict::Related(_)));
    assert!(is_established(
        table.look_up(zone(1), &udp(1, false), at(timeouts::DATAGRAM_UNREPLIED_S)),
        Direction::Original
    ));
    let late = at(timeouts::DATAGRAM_UNREPLIED_S + 1);
    assert_eq!(table.look_up(zone(1), &udp(1, false), late), Verdict::New);
}

#[test]
fn an_error_about_a_segment_that_was_never_sent_or_is_acknowledged_is_forged() {
    // RFC 5927, 4.1.
    let table = table();
    table.pass(&tcp(1, false, SYN, (1000, 0), 0), 0);
    table.pass(&tcp(1, true, SYN | ACK, (5000, 1001), 0), 0);
    table.pass(&tcp(1, false, ACK, (1001, 5001), 0), 0);
    table.pass(&tcp(1, false, ACK, (1001, 5001), 500), 0);
    table.pass(&tcp(1, true, ACK, (5001, 1201), 0), 0);
    for (sequence, is_true) in [(1200, false), (1201, true), (1500, true), (1501, false), (99_999, false)] {
        let error = error_about(&tcp(1, false, ACK, (sequence, 5001), 100));
        let verdict = table.pass(&error, 0);
        assert_eq!(matches!(verdict, Verdict::Related(_)), is_true, "{sequence}: {verdict:?}");
    }
}
