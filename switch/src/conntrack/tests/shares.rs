//! Ports that work together cannot take what belongs to the others.

use super::*;

const CONNECTIONS: usize = 1 << 14;
const PORTS: usize = 64;

/// A table that one port may fill up to a quarter, as by default.
fn shared() -> Conntrack {
    let limits = Limits {
        connections: CONNECTIONS,
        per_port: CONNECTIONS / 4,
        embryonic_per_port: CONNECTIONS / 16,
        may_take_up: false,
    };
    let table = Conntrack::new(limits, 11);
    table.set_ports(PORTS);
    table
}

/// What a port may always have.
const SHARE: usize = CONNECTIONS / 16 / PORTS;

/// Opens and answers a connection; says whether there was room.
fn establish(table: &Conntrack, owner: usize, flow: u32) -> bool {
    let Ok(found) = table.open(zone(1), &udp(flow, false), port(owner), 1, at(0)) else { return false };
    let reply = Reference { direction: Direction::Reply, ..found };
    table.track(reply, &udp(flow, true), at(0)).unwrap();
    true
}

/// Has ports open all that they get, one after the other or in turns.
fn collude(table: &Conntrack, colluding: usize, in_turns: bool) -> Vec<usize> {
    let owners = 1..=colluding;
    let mut flows = 1_000_000u32..;
    let mut got = |owner: usize| flows.next().is_some_and(|flow| establish(table, owner, flow));
    if in_turns {
        while owners.clone().filter(|owner| got(*owner)).count() > 0 {}
    } else {
        owners.clone().for_each(|owner| while got(owner) {});
    }
    owners.map(|owner| table.held(port(owner)).0).collect()
}

#[test]
fn colluding_ports_leave_every_other_port_its_share() {
    for (colluding, in_turns) in [(4, false), (4, true), (20, false), (20, true), (PORTS - 8, false)] {
        let table = shared();
        let held = collude(&table, colluding, in_turns);
        assert!(held.iter().all(|held| *held >= SHARE), "{colluding}: {held:?}");
        let mut flows = 0u32..;
        for owner in colluding + 1..=PORTS {
            let opened = flows.by_ref().take(SHARE).filter(|flow| establish(&table, owner, *flow));
            assert_eq!(opened.count(), SHARE, "{colluding} colluding, in turns: {in_turns}, port {owner}");
        }
        let after: Vec<_> = (1..=colluding).map(|owner| table.held(port(owner)).0).collect();
        assert_eq!((after, table.counters().evicted), (held, 0), "nobody lost a connection");
    }
}

#[test]
fn ports_that_open_at_once_come_to_equal_shares_and_leave_another_one_as_much() {
    let table = shared();
    let held = collude(&table, 7, true);
    // What is shared, less the reserve, in eight parts: one stays free.
    let part = (CONNECTIONS - CONNECTIONS / 16) / 8;
    assert!(held.iter().all(|held| held.abs_diff(part) < part / 4), "{held:?}, not {part}");
    let opened = (0..).take_while(|flow| establish(&table, 8, *flow)).count();
    assert!(opened > part / 3, "{opened} of {part}");
}

#[test]
fn what_is_not_wanted_by_others_is_for_whoever_wants_it() {
    let table = shared();
    // Two ports fill their bounds, and nobody else is there.
    let held = collude(&table, 2, false);
    assert_eq!(held, [CONNECTIONS / 4; 2], "{held:?}");
    assert_eq!(table.counters().refused(Refused::TableFull), 0);
}

#[test]
fn a_flood_in_a_scarce_table_gives_way_to_who_has_less() {
    let table = shared();
    collude(&table, 20, false);
    for flow in 0..30_000 {
        let packet = tcp(flow, false, SYN, (flow, 0), 0);
        let _ = table.open(zone(1), &packet, port(21 + flow as usize % 3), 1, at(0));
    }
    let opened = (40_000..).take(SHARE).filter(|flow| establish(&table, 30, *flow)).count();
    assert_eq!(opened, SHARE);
    assert!((1..=20).all(|owner| table.held(port(owner)).1 == 0), "what is open stays open");
}

#[test]
fn shares_follow_the_number_of_ports() {
    let table = shared();
    collude(&table, 40, false);
    table.set_ports(PORTS / 8);
    let opened = (0..).take_while(|flow| establish(&table, 50, *flow)).count();
    assert!(opened >= 8 * SHARE, "{opened}");
}
