//! By which rules a connection may go on: whose word counts, and for which connection.

use super::*;

fn vouched(opener: Option<usize>, responder: Option<usize>) -> Judged {
    Judged { vouchers: [opener.map(port), responder.map(port)], generation: 3 }
}

/// Opens flow 1 by port 7.
fn opened(table: &Conntrack, judged: Judged) -> Reference {
    table.open_judged([zone(1); 2], &udp(1, false), port(7), judged, at(0)).unwrap()
}

/// The same, and its first answer came.
fn answered(table: &Conntrack, judged: Judged) -> ConnectionId {
    let found = opened(table, judged);
    let reply = Reference { direction: Direction::Reply, ..found };
    table.track(reply, &udp(1, true), at(0)).unwrap();
    found.id
}

/// A packet of the side that opened the connection.
fn sends(id: ConnectionId) -> Reference {
    Reference { id, direction: Direction::Original }
}

#[test]
fn it_is_known_which_sides_rules_vouch_for_a_connection() {
    for judged in [
        vouched(None, None),
        vouched(Some(7), None),
        vouched(None, Some(0)),
        vouched(None, Some(9)),
        vouched(Some(7), Some(PORTS_MAX - 1)),
    ] {
        let table = table();
        let id = opened(&table, judged).id;
        assert_eq!(table.judged(id), Some(judged));
        assert_eq!(table.connection(id, at(0)).unwrap().port, port(7));
        assert_eq!(table.original(id).unwrap().source_port, 1);
    }
}

/// What one look says of a packet that goes from one of these ports to the other.
fn look(table: &Conntrack, packet: &Packet, ports: [Option<usize>; 2], seconds: u32) -> Option<Reference> {
    let mut hints = [table.hint(zone(1), packet)];
    table.look_ahead(&mut hints);
    let vouching = Vouching::new(zone(1), ports.map(|index| index.map(port)));
    let Vouched { found, generation, .. } = table.vouched(&vouching, packet, &hints[0], at(seconds))?;
    assert_eq!(Some(generation), table.policy_generation(found.id));
    Some(found)
}

/// The same of a plain packet, as it stands in a head.
fn look_plainly(
    table: &Conntrack,
    plain: &Plain,
    ports: [Option<usize>; 2],
    seconds: u32,
) -> Option<Reference> {
    let mut hints = [table.hint_plain(zone(1), plain)];
    table.look_ahead(&mut hints);
    let vouching = Vouching::new(zone(1), ports.map(|index| index.map(port)));
    let Vouched { found, generation, .. } = table.vouched_plain(&vouching, plain, &hints[0], at(seconds))?;
    assert_eq!(Some(generation), table.policy_generation(found.id));
    Some(found)
}

#[test]
fn one_look_tells_of_which_packets_both_sides_vouch() {
    let table = table();
    let found = opened(&table, vouched(Some(7), Some(9)));
    let back = Reference { direction: Direction::Reply, ..found };
    let (there, reply) = (udp(1, false), udp(1, true));
    for (packet, ports, expected) in [
        (there, [Some(7), Some(9)], Some(found)),
        (there, [Some(7), None], Some(found)),
        (there, [None, Some(9)], Some(found)),
        (there, [Some(9), Some(7)], None),
        (there, [Some(7), Some(8)], None),
        (there, [Some(8), Some(9)], None),
        (reply, [Some(9), Some(7)], Some(back)),
        (reply, [Some(7), Some(9)], None),
        (reply, [Some(9), Some(0)], None),
        (udp(2, false), [Some(7), Some(9)], None),
    ] {
        assert_eq!(look(&table, &packet, ports, 0), expected, "{packet:?} {ports:?}");
    }
    let end = timeouts::DATAGRAM_UNREPLIED_S;
    let looks = [end, end + 1].map(|seconds| look(&table, &there, [Some(7), Some(9)], seconds));
    assert_eq!(looks, [Some(found), None], "it is over");
    let mut hint = [table.hint(zone(1), &there)];
    table.look_ahead(&mut hint);
    assert!(table.close(found.id));
    let anybody = Vouching::new(zone(1), [None; 2]);
    assert!(table.vouched(&anybody, &there, &hint[0], at(0)).is_none(), "it has ended");
}

/// The head of a datagram of a flow, with no payload, and what is read of it.
fn plain_and_packet(flow: u32, is_reply: bool) -> (Plain, Packet) {
    let packet = udp(flow, is_reply);
    let ports = packet.ports().unwrap();
    let [source, destination] = [packet.source, packet.destination].map(|end| end.to_v4().unwrap().octets());
    let mut head = Vec::new();
    let ip = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, 64);
    ip.udp(ports.source, ports.destination).write(&mut head, &[]).unwrap();
    let length = u32::try_from(head.len()).unwrap();
    (Plain::read(&head, length).unwrap(), Packet::plain(&head, length).unwrap())
}

#[test]
fn a_plain_packet_is_looked_at_as_what_is_read_of_it() {
    let table = table();
    opened(&table, vouched(Some(7), Some(9)));
    let sides = [None, Some(0), Some(7), Some(8), Some(9)];
    let mut found = 0;
    for (flow, is_reply) in [(1, false), (1, true), (2, false), (2, true)] {
        let (plain, packet) = plain_and_packet(flow, is_reply);
        assert_eq!(Tuple::of_plain(zone(1), &plain), Tuple::of_flow(zone(1), &packet).unwrap());
        for ports in sides.iter().flat_map(|one| sides.map(|other| [*one, other])) {
            for seconds in [0, timeouts::DATAGRAM_UNREPLIED_S, timeouts::DATAGRAM_UNREPLIED_S + 1] {
                let looked = look_plainly(&table, &plain, ports, seconds);
                assert_eq!(looked, look(&table, &packet, ports, seconds), "{plain:?} {ports:?} {seconds}");
                found += usize::from(looked.is_some());
            }
        }
    }
    // Either direction, with both ports, one of them or none, twice.
    assert_eq!(found, 16);
}

#[test]
fn a_plain_packet_of_another_network_belongs_to_no_connection_of_this_one() {
    let table = table();
    opened(&table, vouched(Some(7), Some(9)));
    let (plain, packet) = plain_and_packet(1, false);
    let mut hints = [table.hint_plain(zone(1), &plain)];
    table.look_ahead(&mut hints);
    for other in [0, 2, 0xfff] {
        let vouching = Vouching::new(zone(other), [None; 2]);
        assert!(table.vouched_plain(&vouching, &plain, &hints[0], at(0)).is_none(), "{other}");
        assert!(table.vouched(&vouching, &packet, &hints[0], at(0)).is_none(), "{other}");
    }
}

#[test]
fn nobody_vouches_for_a_connection_that_was_opened_without_rules() {
    let table = table();
    opened(&table, vouched(None, None));
    for ports in [[Some(7), Some(9)], [Some(7), None], [None, Some(0)]] {
        assert_eq!(look(&table, &udp(1, false), ports, 0), None, "{ports:?}");
    }
}

#[test]
fn segments_that_open_and_errors_are_looked_at_with_care() {
    let table = table();
    table.pass(&tcp(1, false, TcpFlags::SYN, (1000, 0), 0), 0);
    table.pass(&tcp(1, true, TcpFlags::SYN | TcpFlags::ACK, (5000, 1001), 0), 0);
    let is_seen = |flags| look(&table, &tcp(1, false, flags, (1001, 5001), 0), [None; 2], 0).is_some();
    assert!(is_seen(TcpFlags::ACK) && is_seen(TcpFlags::ACK | TcpFlags::FIN) && is_seen(TcpFlags::RST));
    assert!(!is_seen(TcpFlags::SYN) && !is_seen(TcpFlags::SYN | TcpFlags::ACK));
    table.pass(&icmp(false, 8, IcmpMessage::Request(7)), 0);
    assert_eq!(look(&table, &icmp(false, 8, IcmpMessage::Request(7)), [None; 2], 0), None);
}

#[test]
fn a_side_that_moved_to_another_port_takes_its_connections_along() {
    let table = table();
    let id = answered(&table, vouched(Some(7), Some(9)));
    let after = Judged { generation: 4, ..vouched(Some(8), Some(5)) };
    assert!(table.set_judged(sends(id), after));
    assert_eq!(table.judged(id), Some(after));
    assert_eq!((table.held(port(7)), table.held(port(8))), ((0, 0), (1, 0)));
    assert_eq!(table.connection(id, at(0)).unwrap().port, port(8));
    // Where it is already it stays, and who vouches for nothing holds it all the same.
    assert!(table.set_judged(sends(id), after) && table.held(port(8)) == (1, 0));
    assert!(table.set_judged(sends(id), vouched(None, None)) && table.held(port(8)) == (1, 0));
    assert_eq!(table.judged(id), Some(vouched(None, None)));
    assert!(table.close(id) && table.held(port(8)) == (0, 0));
}

#[test]
fn who_only_gets_a_reply_takes_nothing_over() {
    let table = table();
    let before = vouched(Some(7), Some(9));
    let id = answered(&table, before);
    let gets = Reference { id, direction: Direction::Reply };
    assert!(table.set_judged(gets, Judged { generation: 4, ..vouched(Some(8), Some(5)) }));
    assert_eq!(table.judged(id), Some(before), "nothing of it is noted");
    assert_eq!((table.held(port(7)), table.held(port(8))), ((1, 0), (0, 0)));
    // The one that holds it may vouch for it anew, and a side without rules may have none.
    for after in [vouched(Some(7), Some(5)), vouched(None, Some(5))] {
        assert!(table.set_judged(gets, after));
        assert_eq!((table.judged(id), table.held(port(7))), (Some(after), (1, 0)));
    }
}

#[test]
fn only_its_opener_vouches_for_a_connection_that_nobody_answered() {
    let table = table();
    let id = opened(&table, vouched(None, None)).id;
    assert!(table.set_judged(sends(id), vouched(Some(8), Some(9))));
    assert_eq!(table.judged(id), Some(vouched(None, Some(9))), "another port would be counted wrong");
    assert_eq!((table.held(port(7)), table.held(port(8))), ((1, 1), (0, 0)));
    assert!(table.set_judged(sends(id), vouched(Some(7), Some(9))));
    assert_eq!(table.judged(id), Some(vouched(Some(7), Some(9))));
}

#[test]
fn what_was_found_of_a_connection_says_nothing_of_the_one_in_its_place() {
    let table = Conntrack::new(Limits { connections: 1, ..small() }, 1);
    let first = answered(&table, vouched(Some(7), None));
    assert!(table.close(first));
    for id in [first, ConnectionId { entry: 0, life: 0 }, ConnectionId { entry: 0, life: first.life + 1 }] {
        assert!(!table.set_judged(sends(id), vouched(None, None)), "nothing lives there");
        assert_eq!(table.original(id), None);
    }
    let second = answered(&table, vouched(Some(7), Some(2)));
    assert!(!table.set_judged(sends(first), vouched(Some(8), None)));
    assert_eq!((table.judged(first), table.original(first)), (None, None));
    assert_eq!(table.judged(second), Some(vouched(Some(7), Some(2))));
    assert_eq!((table.held(port(7)), table.held(port(8))), ((1, 0), (0, 0)));
    let nowhere = ConnectionId { entry: 1, life: second.life };
    assert!(!table.set_judged(sends(nowhere), vouched(None, None)) && !table.close(nowhere));
    assert_eq!((table.judged(nowhere), table.original(nowhere)), (None, None));
}
