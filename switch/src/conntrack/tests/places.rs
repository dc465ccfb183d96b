//! Where connections stand: the index, the table's parts, and the lists made of them.

use std::ptr;

use super::*;

#[test]
fn what_is_put_into_the_index_is_found_and_taken_out_again() {
    let index = Index::new(1000);
    let place = |entry: u32| index.place(u64::from(entry).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let direction = |entry: u32| if entry.is_multiple_of(3) { Direction::Reply } else { Direction::Original };
    let is_found =
        |entry: u32| index.candidates(place(entry)).any(|found| found == (entry, direction(entry)));
    assert_eq!(index.neighbours(place(0)).count(), 0);
    for entry in 0..500 {
        assert!(index.insert(place(entry), entry, direction(entry)));
    }
    for entry in 0..500 {
        assert!(is_found(entry) && index.neighbours(place(entry)).any(|neighbour| neighbour == entry));
    }
    // Who stands in the other direction is another one.
    index.remove(place(7), 7, Direction::Reply);
    index.remove(place(9), 9, Direction::Original);
    assert!(is_found(7) && is_found(9));
    for entry in 0..500 {
        index.remove(place(entry), entry, direction(entry));
        assert!(!is_found(entry), "{entry}");
    }
    assert!((0..500).all(|entry| index.neighbours(place(entry)).count() == 0), "nothing is left behind");
}

#[test]
fn entries_stand_in_their_first_bucket_as_long_as_that_has_room_and_all_find_room() {
    let index = Index::new(1000);
    let place = |entry: u32| index.place(u64::from(entry).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let insert = |entry| assert!(index.insert(place(entry), entry, Direction::Original), "{entry}");
    let is_in = |entry, bucket| index.candidate(place(entry), bucket) == Some((entry, Direction::Original));
    (0..1000).for_each(insert);
    let first = (0..1000).filter(|entry| is_in(*entry, 0)).count();
    assert!(first > 900, "{first}");
    // As many as a full table has, both directions of each.
    (1000..2000).for_each(insert);
    let found = |entry: u32| index.candidates(place(entry)).any(|(found, _)| found == entry);
    assert!((0..2000).all(found));
}

#[test]
fn the_table_has_at_most_sixteen_parts_of_a_size() {
    for (entries, parts) in [(1, 1), (63, 1), (127, 1), (128, 2), (1000, 15), (1024, 16), (100_000, 16)] {
        let table = Conntrack::new(Limits { connections: entries, ..small() }, 1);
        assert_eq!(table.shards.len(), parts, "{entries}");
        let part_of = |entry: usize| {
            let own = table.shard_with(u32::try_from(entry).unwrap())?;
            table.shards.iter().position(|shard| ptr::eq(shard, own))
        };
        let mut sizes = vec![0; parts];
        (0..entries).for_each(|entry| sizes[part_of(entry).unwrap()] += 1);
        assert!(sizes.iter().all(|size| [entries / parts, entries / parts + 1].contains(size)), "{sizes:?}");
        assert_eq!((part_of(0), part_of(entries - 1), part_of(entries)), (Some(0), Some(parts - 1), None));
    }
}

#[test]
fn places_of_connections_that_were_closed_are_to_be_had_again_and_end_only_once() {
    let limits = Limits { connections: 1024, per_port: 1024, embryonic_per_port: 1024, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    let flows = 0..700;
    for round in 1..4 {
        let open = |flow| table.open(zone(1), &udp(flow, false), port(1), 1, at(round * 1000)).unwrap().id;
        let ids: Vec<_> = flows.clone().map(open).collect();
        assert_eq!(table.held(port(1)), (700, 700));
        let is_closed = |id: &ConnectionId| table.close(*id);
        assert!(ids.iter().all(is_closed) && !ids.iter().any(is_closed));
        // Nobody waits for the end of what has ended.
        table.run_to(round * 1000 + 999);
        assert_eq!((table.held(port(1)), table.states(round * 1000 + 999)), ((0, 0), vec![]));
        assert_eq!((table.counters().expired, table.counters().evicted), (0, 0));
    }
}

#[test]
fn a_sweep_does_all_that_it_may() {
    let limits = Limits { connections: 127, per_port: 127, embryonic_per_port: 127, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    for flow in 0..120 {
        table.open(zone(1), &udp(flow, false), port(1), 1, at(0)).unwrap();
    }
    table.advance(at(500), 10_000);
    assert_eq!(table.held(port(1)), (0, 0));
}

#[test]
fn a_list_has_what_lives_and_is_of_the_network_that_is_asked_for() {
    let table = table();
    for (number, flow) in [(1, 1), (2, 2), (2, 3)] {
        table.open(zone(number), &udp(flow, false), port(1), 1, at(0)).unwrap();
    }
    let listed = |filter: Filter, seconds| table.list(&filter, 0, 9, at(seconds)).connections.len();
    let of_zone = |number| Filter { zone: Some(zone(number)), ..Filter::default() };
    assert_eq!([1, 2, 3].map(|number| listed(of_zone(number), 0)), [1, 2, 0]);
    // What is over is in no list, though nothing swept.
    let end = timeouts::DATAGRAM_UNREPLIED_S;
    assert_eq!([listed(Filter::default(), end), listed(Filter::default(), end + 1)], [3, 0]);
}

#[test]
fn who_gives_way_to_another_port_is_counted() {
    let limits = Limits { connections: 64, per_port: 64, embryonic_per_port: 64, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    for flow in 0..64 {
        table.open(zone(1), &udp(flow, false), port(1), 1, at(0)).unwrap();
    }
    let counts = || (table.counters().evicted, table.counters().evicted_of_others);
    table.open(zone(1), &udp(100, false), port(2), 1, at(0)).unwrap();
    assert_eq!((counts(), table.held(port(1))), ((1, 1), (63, 63)));
    table.open(zone(1), &udp(101, false), port(1), 1, at(0)).unwrap();
    assert_eq!((counts(), table.held(port(1))), ((2, 1), (63, 63)), "its own");
}

#[test]
fn states_have_names() {
    use State::*;
    let states = [SynSent, SynReceived, Established, FinWait, LastAck, TimeWait, Reset, Unreplied, Replied]
        .map(State::name);
    let names = ["syn-sent", "syn-received", "established", "fin-wait", "last-ack", "time-wait", "reset"];
    assert_eq!((&states[..7], &states[7..]), (&names[..], &["unreplied", "replied"][..]));
}

#[test]
fn each_icmp_request_has_the_reply_of_its_kind() {
    let reversed = |source: &str, protocol, kind| {
        let (source, destination) = (address(source), address(source));
        let tuple =
            Tuple { zone: zone(1), source, destination, protocol, source_port: 7, destination_port: kind };
        let back = tuple.reversed();
        assert_eq!(back.reversed(), tuple);
        (back.source_port, back.destination_port)
    };
    // RFC 792: echo, timestamp, information; RFC 950: address mask; RFC 4443: echo.
    for (request, reply) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
        assert_eq!(reversed("10.0.0.1", number::ICMP, request), (7, reply));
        assert_eq!(reversed("10.0.0.1", number::ICMP, reply), (7, request));
        assert_eq!(reversed("2001:db8::1", number::ICMP, request), (request, 7), "no protocol of IPv6");
    }
    assert_eq!(reversed("2001:db8::1", number::ICMPV6, 128), (7, 129));
    assert_eq!(reversed("2001:db8::1", number::ICMPV6, 129), (7, 128));
    assert_eq!(reversed("10.0.0.1", number::ICMPV6, 128), (128, 7), "no protocol of IPv4");
    assert_eq!(reversed("10.0.0.1", number::ICMP, 9), (9, 7), "no request");
}

/// Another worker may have changed a state since this one read it.
#[test]
fn two_changes_of_a_state_at_once_are_both_kept() {
    let table = table();
    table.pass(&tcp(1, false, SYN, (1000, 0), 0), 0);
    table.pass(&tcp(1, true, SYN | ACK, (5000, 1001), 0), 0);
    let Verdict::Established(found) = table.look_up(zone(1), &tcp(1, false, ACK, (1001, 5001), 0), at(0))
    else {
        panic!()
    };
    let back = &table.backs[found.id.entry as usize];
    let after_syn_ack = back.word();
    // As if the SYN-ACK's acknowledgement were not seen by whoever carries the opener's, and the other way round.
    let before = Word(after_syn_ack.0 & !(Word(0).with_ack(Direction::Reply).0));
    assert_eq!(table.change(found, before, before.with_ack(Direction::Original)), Ok(()));
    assert!(back.word().is_assured(), "both have acknowledged");
    assert_eq!((table.states(0), table.held(port(7))), (vec![State::Established], (1, 0)));
    // Once more by who is late: nothing is counted twice.
    let late = before.with_ack(Direction::Original).with_ack(Direction::Reply);
    assert_eq!(table.change(found, before, late), Ok(()));
    assert_eq!(table.held(port(7)), (1, 0));
    assert!(table.close(found.id));
    assert_eq!(table.change(found, before, late), Err(Invalid::Gone));
    assert!(!back.word().is_live());
}
