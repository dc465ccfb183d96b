//! What a hostile station can do to its neighbours' connections: nothing.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const NEIGHBOUR_FLOWS: u32 = 200;

/// A table of which the neighbour's connections are open.
fn table_with_neighbour() -> Conntrack {
    let limits = Limits { connections: 2048, per_port: 512, embryonic_per_port: 128, may_take_up: false };
    let table = Conntrack::new(limits, 21);
    table.set_ports(16);
    for flow in 0..NEIGHBOUR_FLOWS {
        table.pass(&tcp(flow, false, SYN, (1000, 0), 0), 0);
        table.pass(&tcp(flow, true, SYN | ACK, (5000, 1001), 0), 0);
        table.pass(&tcp(flow, false, ACK, (1001, 5001), 0), 0);
    }
    table
}

/// Sends a segment and its acknowledgement on each of the neighbour's connections; says how many passed.
fn talk(table: &Conntrack, round: u32) -> usize {
    let sequence = 1001 + round * 100;
    let passes = |packet: &Packet| {
        matches!(table.look_up(zone(1), packet, at(0)), Verdict::Established(found)
        if table.track(found, packet, at(0)) == Ok(()))
    };
    (0..NEIGHBOUR_FLOWS)
        .filter(|flow| {
            passes(&tcp(*flow, false, ACK, (sequence, 5001), 100))
                && passes(&tcp(*flow, true, ACK, (5001, sequence + 100), 0))
        })
        .count()
}

#[test]
fn a_syn_flood_beside_running_connections_costs_them_nothing() {
    let table = table_with_neighbour();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for flooder in [1, 2] {
            let (table, is_done) = (&table, &is_done);
            scope.spawn(move || {
                for flow in (0..).map(|number: u32| 1_000_000 * flooder + number % 900_000) {
                    let syn = tcp(flow, false, SYN, (flow, 0), 0);
                    let _ = table.open(zone(1), &syn, port(flooder as usize), 1, at(0));
                    if is_done.load(Relaxed) {
                        return;
                    }
                }
            });
        }
        let mut lost = 0;
        // The flood goes on for as long as the neighbour talks, and floods the table many times.
        let mut round = 0;
        while round < 50 || table.counters().evicted < 20_000 {
            lost += NEIGHBOUR_FLOWS as usize - talk(&table, round);
            round += 1;
            assert!(round < 1_000_000);
        }
        is_done.store(true, Relaxed);
        assert_eq!(lost, 0, "in {round} rounds");
    });
    assert_eq!(table.held(port(7)), (NEIGHBOUR_FLOWS as usize, 0));
    // Each flooder has what one may have, and not more.
    assert!([1, 2].iter().all(|flooder| table.held(port(*flooder)).1 <= 130));
}

#[test]
fn who_neither_sees_a_connection_nor_has_a_window_cannot_end_it() {
    let table = table_with_neighbour();
    let (flow, mut random) = (3, 1u64);
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(random >> 32).unwrap()
    };
    for number in 0..100_000u32 {
        // All but the very next number, which is one of four billion.
        let sequence = Some(next()).filter(|sequence| ![1001, 5001].contains(sequence)).unwrap_or(0);
        let is_back = number % 2 == 0;
        for flags in [RST, RST | ACK, FIN | ACK, SYN, SYN | ACK] {
            let forged = tcp(flow, is_back, flags, (sequence, next()), 0);
            if let Verdict::Established(found) = table.look_up(zone(1), &forged, at(0)) {
                let _ = table.track(found, &forged, at(0));
            }
        }
    }
    assert_eq!(talk(&table, 0), NEIGHBOUR_FLOWS as usize);
    assert!(table.states(0).iter().all(|state| *state == State::Established));
}

#[test]
fn a_flood_of_resets_to_a_port_scan_keeps_no_places() {
    let table = table_with_neighbour();
    for flow in 1000..20_000 {
        let syn = tcp(flow, false, SYN, (1, 0), 0);
        if table.open(zone(1), &syn, port(1), 1, at(0)).is_ok() {
            table.pass(&tcp(flow, true, RST | ACK, (0, 2), 0), 0);
        }
    }
    assert!(table.held(port(1)).0 <= 512);
    assert_eq!(talk(&table, 0), NEIGHBOUR_FLOWS as usize);
    // Who scanned can go on opening connections, in the places of those that are over.
    assert!(table.open(zone(1), &udp(90_000, false), port(1), 1, at(0)).is_ok());
}
