//! The table alone: room, fairness, age, and readers beside a writer.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::thread;

use super::super::table::{AGE_MAX_S, Noted, PORT_MAX, Table};
use super::*;

fn host(number: u32) -> Address {
    Ipv4Addr::from(0x0a00_0000 | number).into()
}

fn station(number: u32) -> MacAddress {
    MacAddress::from_u64(0x0200_0000_0000 | u64::from(number))
}

fn told(number: u32, mac: u32) -> Told {
    Told { address: host(number), mac: station(mac), is_router: None, overrides: true }
}

fn learn(table: &Table, number: u32, mac: u32, port_number: usize, now_s: u32) -> Noted {
    table.learn((network(1), host(number)), &told(number, mac), port(port_number), now_s)
}

fn get(table: &Table, number: u32, now_s: u32) -> Option<MacAddress> {
    table.get((network(1), host(number)), now_s).map(|known| known.mac)
}

#[test]
fn a_tunnel_that_teaches_without_end_displaces_its_own() {
    let table = Table::new(4096, 3);
    for number in 0..50 {
        assert_eq!(learn(&table, number, number, 1, 0), Noted::Yes);
    }
    for number in 1000..41_000 {
        learn(&table, number, number, 2, 0);
    }
    let left = (0..50).filter(|number| get(&table, *number, 0).is_some()).count();
    assert_eq!(left, 50, "who holds less keeps it");
    let (learned, fixed) = table.counts();
    assert!(learned <= 50 + PORT_MAX as usize && fixed == 0, "{learned}");
    assert_eq!(learn(&table, 60, 60, 3, 0), Noted::Yes, "a newcomer finds room");
}

#[test]
fn one_port_teaches_a_bounded_number() {
    let table = Table::new(65_536, 3);
    for number in 0..3 * PORT_MAX {
        learn(&table, number, number, 1, 0);
    }
    assert!(table.counts().0 <= PORT_MAX as usize, "{:?}", table.counts());
}

#[test]
fn what_is_set_stays_whatever_is_learned() {
    let table = Table::new(4096, 5);
    let set = |number: u32| table.set((network(1), host(number)), station(number));
    let refused = (0..4096).filter(|number| !set(*number)).count();
    assert!(refused < 40, "{refused}");
    let fixed = table.counts().1;
    for number in 0..100_000 {
        learn(&table, number, number + 1, (number % 7 + 1) as usize, 0);
    }
    assert_eq!(table.counts().1, fixed);
    let kept = (0..4096).filter(|number| get(&table, *number, 1_000_000) == Some(station(*number))).count();
    assert_eq!(kept, fixed);
}

#[test]
fn a_hundred_thousand_addresses_are_set_and_found() {
    let table = Table::new(super::super::ENTRIES, 9);
    for number in 0..100_000 {
        assert!(table.set((network(1), host(number)), station(number)), "{number}");
    }
    assert!((0..100_000).all(|number| get(&table, number, 0) == Some(station(number))));
    table.forget_network(network(2));
    assert_eq!(table.counts().1, 100_000, "another network's");
    table.forget_network(network(1));
    assert_eq!((table.counts().1, get(&table, 7, 0)), (0, None));
}

#[test]
fn what_is_old_gives_way_first() {
    let table = Table::new(1, 1);
    // One bucket of four.
    for (number, at_s) in [(0, 900), (1, 900), (2, 500), (3, 900)] {
        assert_eq!(learn(&table, number, number, 1, at_s), Noted::Yes);
    }
    assert_eq!(learn(&table, 99, 99, 2, 1000), Noted::Yes);
    let known = [0, 1, 2, 3, 99].map(|number| get(&table, number, 1000).is_some());
    assert_eq!(known, [true, true, false, true, true]);
}

#[test]
fn an_advertisement_that_overrides_nothing_changes_nothing_that_is_believed() {
    let table = Table::new(64, 1);
    let key = (network(1), host(1));
    assert_eq!(learn(&table, 1, 1, 1, 0), Noted::Yes);
    let meek = Told { overrides: false, ..told(1, 2) };
    assert_eq!(table.learn(key, &meek, port(1), 0), Noted::Unbelieved);
    assert_eq!(table.learn(key, &meek, port(1), AGE_MAX_S + 1), Noted::Yes);
    assert_eq!(get(&table, 1, AGE_MAX_S + 1), Some(station(2)));
}

/// Whoever reads while an entry is given to one after the other sees a whole entry or none.
#[test]
fn no_half_entry_is_ever_seen() {
    let table = Table::new(1, 1);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for number in 0..300_000_u32 {
                let found = get(&table, number % 16, 0);
                assert!(found.is_none_or(|found| found == station(number % 16)), "{found:?}");
            }
        });
        let mut turn = 0_u32;
        while !reader.is_finished() {
            learn(&table, turn % 16, turn % 16, 1, 0);
            table.clear((network(1), host((turn + 5) % 16)));
            turn = turn.wrapping_add(1);
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Learn { number: u32, mac: u32, port: usize },
    Set { number: u32, mac: u32 },
    Clear(u32),
    Contradict { number: u32, mac: u32 },
    Forget(usize),
    Later(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u32, 0..3_u32, 1..4_usize).prop_map(|(number, mac, port)| Step::Learn { number, mac, port }),
        2 => (0..12_u32, 0..3_u32).prop_map(|(number, mac)| Step::Set { number, mac }),
        1 => (0..12_u32).prop_map(Step::Clear),
        1 => (0..12_u32, 0..3_u32).prop_map(|(number, mac)| Step::Contradict { number, mac }),
        1 => (1..4_usize).prop_map(Step::Forget),
        1 => (1..400_u32).prop_map(Step::Later),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    /// With room enough, the table says what a map would.
    #[test]
    fn the_table_says_what_a_map_would(steps in steps(), seed: u64) {
        let table = Table::new(64, seed);
        // By address: the station, its port unless it was set, and when it was told.
        let mut model: HashMap<u32, (u32, Option<usize>, u32)> = HashMap::new();
        let mut now_s = 0;
        for step in steps {
            match step {
                Step::Learn { number, mac, port } => {
                    let noted = learn(&table, number, mac, port, now_s);
                    match model.get(&number).copied() {
                        Some((known, None, _)) => prop_assert_eq!(noted == Noted::Yes, known == mac),
                        _ => {
                            prop_assert_eq!(noted, Noted::Yes);
                            model.insert(number, (mac, Some(port), now_s));
                        }
                    }
                }
                Step::Set { number, mac } => {
                    prop_assert!(table.set((network(1), host(number)), station(mac)));
                    model.insert(number, (mac, None, 0));
                }
                Step::Clear(number) => {
                    table.clear((network(1), host(number)));
                    model.remove(&number);
                }
                Step::Contradict { number, mac } => {
                    table.contradict((network(1), host(number)), station(mac));
                    model.retain(|known, (at, port, _)| *known != number || *at == mac || port.is_none());
                }
                Step::Forget(gone) => {
                    table.forget_port(port(gone));
                    model.retain(|_, (_, port, _)| *port != Some(gone));
                }
                Step::Later(by) => now_s += by,
            }
            let fixed = model.values().filter(|(_, port, _)| port.is_none()).count();
            prop_assert_eq!(table.counts(), (model.len() - fixed, fixed));
            for number in 0..12 {
                let believed = model.get(&number).filter(|(_, port, at)| port.is_none() || now_s - at <= AGE_MAX_S);
                prop_assert_eq!(get(&table, number, now_s), believed.map(|(mac, _, _)| station(*mac)));
            }
        }
    }
}
