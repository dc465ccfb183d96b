//! The table is bounded, fair, and forgets everything in the end.

use super::*;

#[test]
fn a_connection_takes_at_most_128_bytes() {
    let limits = Limits::default();
    let table = Conntrack::new(limits, 1);
    let each = table.bytes().div_ceil(limits.connections);
    assert!((126..=128).contains(&each), "{each} bytes, with all its parts");
    // A table for next to nothing consists of what there is for each port.
    let least = Conntrack::new(Limits { connections: 1, ..limits }, 1).bytes();
    assert!((PORTS_MAX * 8..PORTS_MAX * 8 + 2048).contains(&least), "{least} bytes");
}

#[test]
fn a_million_connections_fit_and_are_found() {
    let limits =
        Limits { connections: 1 << 20, per_port: 1 << 20, embryonic_per_port: 1 << 20, ..Limits::default() };
    let table = Conntrack::new(limits, 1);
    for flow in 0..1_000_000 {
        table.open(zone(1), &udp(flow, false), port(1), 1, at(0)).unwrap();
    }
    for flow in (0..1_000_000).step_by(101) {
        assert!(is_established(table.look_up(zone(1), &udp(flow, true), at(0)), Direction::Reply), "{flow}");
    }
    let counters = table.counters();
    assert_eq!((counters.opened, counters.evicted, counters.refused), (1_000_000, 0, [0; 4]));
    table.run_to(timeouts::DATAGRAM_UNREPLIED_S + 1);
    assert_eq!((table.held(port(1)), table.counters().expired), ((0, 0), 1_000_000));
}

/// Opens and answers UDP connections of `owner`.
fn establish(table: &Conntrack, owner: usize, flows: std::ops::Range<u32>) {
    for flow in flows {
        let found = table.open(zone(1), &udp(flow, false), port(owner), 1, at(0)).unwrap();
        let reply = Reference { direction: Direction::Reply, ..found };
        table.track(reply, &udp(flow, true), at(0)).unwrap();
    }
}

fn syn(flow: u32) -> Packet {
    tcp(flow, false, SYN, (flow, 0), 0)
}

#[test]
fn a_flood_displaces_itself_and_nobody_else() {
    let table = table();
    establish(&table, 1, 0..100);
    // Somebody is just opening.
    for flow in 100..120 {
        table.open(zone(1), &syn(flow), port(2), 1, at(0)).unwrap();
    }
    for flow in 10_000..60_000 {
        let _ = table.open(zone(1), &syn(flow), port(3), 1, at(0));
        let (all, embryonic) = table.held(port(3));
        assert!(all <= 256 && embryonic <= 256);
    }
    assert_eq!((table.held(port(1)), table.held(port(2))), ((100, 0), (20, 20)));
    let counters = table.counters();
    assert!(counters.evicted > 0 && counters.evicted_of_others == 0);
    assert_eq!(counters.opened + counters.refused(Refused::PortFull), 50_120);
    assert_eq!(counters.opened - counters.evicted, 120 + 256);
}

#[test]
fn floods_of_several_ports_leave_what_is_open_and_give_way_to_who_has_less() {
    let limits = Limits { connections: 1024, per_port: 1024, embryonic_per_port: 1024, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    establish(&table, 1, 0..300);
    for flow in 10_000..40_000u32 {
        let _ = table.open(zone(1), &syn(flow), port(3 + flow as usize % 2), 1, at(0));
    }
    assert_eq!(table.held(port(1)), (300, 0));
    let mut opened = 0;
    for flow in 50_000..50_100 {
        opened += usize::from(table.open(zone(1), &syn(flow), port(9), 1, at(0)).is_ok());
    }
    assert_eq!((opened, table.held(port(9)).0, table.held(port(1))), (100, 100, (300, 0)));
    assert!(table.counters().evicted_of_others >= 100);
}

#[test]
fn open_connections_are_displaced_by_nobody() {
    let limits = Limits { connections: 64, per_port: 64, embryonic_per_port: 64, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    establish(&table, 1, 0..64);
    assert_eq!(table.open(zone(1), &syn(900), port(2), 1, at(0)), Err(Refused::TableFull));
    assert_eq!(table.open(zone(1), &syn(900), port(1), 1, at(0)), Err(Refused::PortFull));
    assert_eq!(table.held(port(1)), (64, 0));
    assert_eq!(table.counters().refused(Refused::TableFull), 1);
}

#[test]
fn what_is_over_gives_way() {
    let limits = Limits { connections: 64, per_port: 32, embryonic_per_port: 32, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    establish(&table, 1, 0..31);
    let found = table.open(zone(1), &syn(900), port(1), 1, at(0)).unwrap();
    let reset = tcp(900, true, RST | ACK, (0, 901), 0);
    table.track(Reference { direction: Direction::Reply, ..found }, &reset, at(0)).unwrap();
    assert!(table.open(zone(1), &syn(901), port(1), 1, at(0)).is_ok());
    assert_eq!(table.connection(found.id, at(0)), None);
}

#[test]
fn each_state_ends_at_its_time() {
    let table = table();
    table.pass(&udp(1, false), 0);
    table.pass(&udp(2, false), 0);
    table.pass(&udp(2, true), 0);
    table.pass(&icmp(false, 8, IcmpMessage::Request(7)), 0);
    table.pass(&between(address("10.0.0.1"), address("10.0.0.2"), 47, Transport::Other), 0);
    table.pass(&syn(3), 0);
    table.pass(&syn(4), 0);
    table.pass(&tcp(4, true, SYN | ACK, (9, 5), 0), 0);
    table.pass(&tcp(4, false, ACK, (5, 10), 0), 0);
    let ends = [
        timeouts::QUERY_S,
        timeouts::DATAGRAM_UNREPLIED_S,
        timeouts::TCP_TRANSITORY_S,
        timeouts::DATAGRAM_REPLIED_S,
        timeouts::OTHER_S,
        timeouts::TCP_ESTABLISHED_S,
    ];
    for (gone, end) in ends.into_iter().enumerate() {
        table.run_to(end);
        assert_eq!(table.states(end).len(), 6 - gone, "just before {end}");
        assert_eq!(table.held(port(7)).0, 6 - gone);
        table.run_to(end + 1);
        assert_eq!(table.held(port(7)).0, 5 - gone, "just after {end}");
    }
    assert_eq!((table.held(port(7)), table.counters().expired), ((0, 0), 6));
}

#[test]
fn packets_keep_a_connection_alive() {
    let table = table();
    table.pass(&udp(1, false), 0);
    for minute in 1..1000 {
        table.run_to(minute * 60);
        assert!(is_established(table.pass(&udp(1, false), minute * 60), Direction::Original), "{minute}");
    }
    assert_eq!(
        table.look_up(zone(1), &udp(1, false), at(999 * 60 + 121)),
        Verdict::New,
        "though nothing swept"
    );
}

#[test]
fn a_day_of_churn_leaves_nothing_behind() {
    let table = table();
    let bytes = table.bytes();
    for second in 0..100_000u32 {
        let _ = table.open(zone(1), &udp(second, false), port(second as usize % 7), 1, at(second));
        if second % 3 == 0 {
            table.pass(&udp(second, true), second);
        }
        table.advance(at(second), 16);
    }
    table.run_to(200_000);
    let counters = table.counters();
    assert_eq!(counters.opened, counters.expired + counters.evicted);
    assert!((0..7).all(|owner| table.held(port(owner)) == (0, 0)));
    assert_eq!((table.bytes(), table.states(200_000)), (bytes, vec![]));
    let found = (0..1024).filter(|flow| {
        table.open(zone(1), &udp(*flow, false), port(8 + *flow as usize % 4), 1, at(200_000)).is_ok()
    });
    assert!(found.count() >= 960, "all places are to be had again");
}

#[test]
fn clocks_may_jump_and_stand_at_their_end() {
    let table = table();
    table.pass(&udp(1, false), 5);
    // Workers read the clock apart from each other.
    assert!(is_established(table.pass(&udp(1, false), 4), Direction::Original));
    table.advance(at(3), 100);
    assert_eq!(table.states(5).len(), 1);
    table.run_to(u32::MAX);
    assert_eq!(table.held(port(7)), (0, 0));
    table.pass(&udp(2, false), u32::MAX);
    assert!(is_established(table.look_up(zone(1), &udp(2, false), Nanos(u64::MAX)), Direction::Original));
    table.run_to(u32::MAX);
    assert_eq!(table.held(port(7)), (1, 1), "nothing ends when time stands still");
}

#[test]
fn sweeping_does_no_more_than_it_is_told() {
    let table = Conntrack::new(Limits { connections: 64, ..small() }, 9);
    for flow in 0..64 {
        let _ = table.open(zone(1), &udp(flow, false), port(1), 1, at(0));
    }
    let mut rounds = 0;
    while table.held(port(1)).0 > 0 {
        let before = table.held(port(1)).0;
        table.advance(at(500), 4);
        assert!(before - table.held(port(1)).0 <= 4);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds >= 16);
}

#[test]
fn who_held_most_once_does_not_give_way_for_who_does_now() {
    let limits = Limits { connections: 1024, per_port: 1024, embryonic_per_port: 1024, may_take_up: false };
    let table = Conntrack::new(limits, 5);
    let open = |owner: usize, flows: std::ops::Range<u32>| -> Vec<_> {
        flows.filter_map(|flow| table.open(zone(1), &syn(flow), port(owner), 1, at(0)).ok()).collect()
    };
    let first = open(1, 0..2000);
    open(3, 2000..2050);
    assert!(table.held(port(1)).0 > 900 && table.held(port(3)).0 == 50);
    // It gives up nearly all of them, and another port takes what is free.
    let kept = 60;
    for found in &first {
        if table.held(port(1)).0 > kept {
            table.close(found.id);
        }
    }
    open(2, 3000..6000);
    let (before, rich) = (table.held(port(1)).0, table.held(port(2)).0);
    assert!(before > kept / 2 && rich > 800, "{before}, {rich}");
    open(4, 6000..6030);
    assert_eq!(table.held(port(4)).0, 30);
    assert!(table.held(port(1)).0 + 4 >= before, "{before}, then {}", table.held(port(1)).0);
}

#[test]
fn a_port_that_is_full_displaces_its_own_however_empty_the_table_is() {
    for connections in [1 << 14, 1 << 16] {
        let table = Conntrack::new(Limits::of(connections), 5);
        establish(&table, 1, 0..40);
        let bound = connections / 16;
        for flow in 1000..20_000 {
            let opened = table.open(zone(1), &syn(flow), port(2), 1, at(0));
            assert!(opened.is_ok(), "{flow} of {connections}: {opened:?}");
        }
        assert_eq!((table.held(port(1)), table.held(port(2))), ((40, 0), (bound, bound)));
        assert_eq!(table.counters().evicted_of_others, 0);
    }
}
