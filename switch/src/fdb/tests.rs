//! The address table alone: fairness, ageing, moves.

use super::*;
use crate::policy::{NetworkSettings, PortPolicy};

const SMALL: Limits = Limits {
    fdb_entries: 1024,
    fdb_entries_per_port_max: usize::MAX,
    groups: GroupLimits { groups: 8, memberships: 16, memberships_per_port_max: 16 },
    connections: conntrack::Limits::DEFAULT,
    fragments: fragments::Limits::DEFAULT,
};

struct Bench {
    fdb: Fdb,
    policy: Policy,
    counters: FdbCounters,
}

impl Bench {
    /// A table with ports 0 to 7 in network 0, 8 and 9 in network 1 where addresses age within 10 s.
    fn new(limits: Limits) -> Self {
        let port_policy = |index| PortPolicy::new(network(usize::from(index >= 8)), 1500);
        let ports = (0..10).map(|index| (port(index), port_policy(index)));
        let quick = NetworkSettings { ageing_s: 10, ..NetworkSettings::default() };
        let networks = [(network(0), NetworkSettings::default()), (network(1), quick)];
        let policy = Policy::compile(ports, networks).unwrap();
        Self { fdb: Fdb::new(0x5eed, limits), policy, counters: FdbCounters::default() }
    }

    fn learn(&self, port_index: usize, mac: u64, now_s: u32) {
        let key = Key::new(network(usize::from(port_index >= 8)), address(mac));
        let (policy, counters) = (&self.policy, &self.counters);
        self.fdb.learn(&Sighting { key, port: port(port_index), now_s, policy, counters });
    }

    fn port_of(&self, mac: u64) -> Option<usize> {
        self.fdb.look_up(Key::new(network(0), address(mac))).1?.port().map(PortIndex::get)
    }

    fn held(&self, port_index: usize) -> usize {
        self.fdb.entries(0, &self.policy).iter().filter(|entry| entry.port == port(port_index)).count()
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn address(mac: u64) -> MacAddress {
    MacAddress::from_u64(0x0200_0000_0000 | mac)
}

#[test]
fn an_address_is_found_where_it_was_seen_last() {
    let bench = Bench::new(SMALL);
    assert_eq!(bench.port_of(1), None);
    bench.learn(3, 1, 0);
    assert_eq!(bench.port_of(1), Some(3));
    bench.learn(4, 1, 0);
    assert_eq!(bench.port_of(1), Some(4));
    let counted = bench.counters.snapshot();
    assert_eq!(counted, crate::FdbSnapshot { learned: 1, moved: 1, ..Default::default() });
}

#[test]
fn pages_have_each_address_once_and_only_those_that_are_wanted() {
    let bench = Bench::new(SMALL);
    for number in 0..300 {
        bench.learn(number % 3, number as u64, 0);
    }
    let page = |from, limit| bench.fdb.page((from, limit), (0, &bench.policy), |entry| entry.port == port(1));
    let (mut known, mut from, mut pages) = (Vec::new(), Some(0), 0);
    while let Some(place) = from {
        let (entries, next) = page(place, 7);
        assert!(entries.len() == 7 || next.is_none(), "a page that is not the last one is full");
        known.extend(entries);
        (from, pages) = (next, pages + 1);
    }
    let mut all = bench.fdb.entries(0, &bench.policy);
    all.retain(|entry| entry.port == port(1));
    assert_eq!((known, pages), (all, 15), "100 addresses");
    assert_eq!(page(u32::MAX, 7), (Vec::new(), None), "behind the end");
    assert_eq!(page(0, 100).1, None, "a page that holds all is the last one");
}

#[test]
fn a_refresh_changes_no_generation_and_a_move_does() {
    let bench = Bench::new(SMALL);
    let key = Key::new(network(0), address(1));
    let (before, _) = bench.fdb.look_up(key);
    bench.learn(3, 1, 0);
    assert!(bench.fdb.is_current(before), "a new address changes no generation");
    bench.learn(3, 1, 5);
    assert!(bench.fdb.is_current(before));
    assert_eq!(bench.fdb.look_up(key).1.unwrap().seen_s(), 5);
    bench.learn(4, 1, 5);
    assert!(!bench.fdb.is_current(before));
    let (moved, _) = bench.fdb.look_up(key);
    bench.fdb.forget(None, port(4), &bench.counters);
    assert!(!bench.fdb.is_current(moved));
}

#[test]
fn a_flood_of_addresses_displaces_nobody_elses() {
    let bench = Bench::new(SMALL);
    for victim in 1..8 {
        bench.learn(victim, victim as u64, 0);
    }
    for mac in 0..10 * 1024 {
        bench.learn(0, 0x10_0000 + mac, 0);
    }
    for victim in 1..8 {
        assert_eq!(bench.port_of(victim as u64), Some(victim));
    }
    // Who comes late still finds room, at the cost of the port that has most.
    for mac in 0..100 {
        bench.learn(1, 0x20_0000 + mac, 0);
    }
    assert_eq!(bench.held(1), 101);
    let counted = bench.counters.snapshot();
    assert_eq!(counted.learned - counted.evicted, bench.fdb.entries(0, &bench.policy).len() as u64);
    assert!(bench.held(0) > 1024 * 8 / 10, "the table fills well: {}", bench.held(0));
}

#[test]
fn two_greedy_ports_share_the_table() {
    let bench = Bench::new(SMALL);
    for mac in 0..20_000 {
        bench.learn(0, mac, 0);
    }
    for mac in 0..20_000 {
        bench.learn(1, 0x10_0000 + mac, 0);
    }
    let (first, second) = (bench.held(0), bench.held(1));
    assert!(first.abs_diff(second) < 1024 / 10, "{first} and {second}");
}

#[test]
fn nobody_gives_way_to_a_port_that_holds_as_much() {
    let bench = Bench::new(Limits { fdb_entries: 8, ..SMALL });
    let counts = || std::array::from_fn::<_, 5, _>(|index| bench.held(index));
    let mut evictions = 0;
    for step in 0..2000u64 {
        // Five ports, the first of which talks most, with an order that repeats only after long.
        let port = [0, 1, 0, 2, 0, 3, 0, 0, 4, 0, 1, 0, 0][(step * step % 13) as usize];
        let before = counts();
        bench.learn(port, ((port as u64) << 32) | step, 0);
        let after = counts();
        let losers = (0..5).filter(|&other| other != port && after[other] < before[other]);
        for loser in losers {
            evictions += 1;
            assert!(before[loser] > before[port], "port {port} displaced {loser}: {before:?}");
        }
    }
    assert!(evictions > 10, "{evictions}");
}

#[test]
fn a_port_has_its_own_limit() {
    let bench = Bench::new(Limits { fdb_entries_per_port_max: 5, ..SMALL });
    for mac in 0..10 {
        bench.learn(0, mac, 0);
        bench.learn(1, 0x10_0000 + mac, 0);
    }
    assert_eq!((bench.held(0), bench.held(1)), (5, 5));
    bench.learn(0, 0x10_0000, 0);
    assert_eq!(bench.held(0), 5, "nor does a move exceed it");
}

#[test]
fn silent_addresses_are_removed_after_their_networks_time() {
    let bench = Bench::new(SMALL);
    bench.learn(1, 1, 100);
    bench.learn(8, 1, 100);
    let entries = |now_s| bench.fdb.entries(now_s, &bench.policy).len();
    assert_eq!((entries(110), entries(111), entries(400), entries(401)), (2, 1, 1, 0));
    for _ in 0..1024 / 100 + 1 {
        bench.fdb.expire(111, &bench.policy, 100, &bench.counters);
    }
    assert_eq!(bench.counters.snapshot().expired, 1);
    assert_eq!(bench.port_of(1), Some(1));
}

#[test]
fn who_left_the_network_is_forgotten_by_the_sweep() {
    let mut bench = Bench::new(SMALL);
    bench.learn(1, 1, 0);
    bench.policy = Policy::default();
    assert!(bench.fdb.entries(0, &bench.policy).is_empty());
    bench.fdb.expire(0, &bench.policy, usize::MAX, &bench.counters);
    assert_eq!(bench.counters.snapshot().expired, 1);
}

#[test]
fn a_forgotten_port_leaves_the_others() {
    let bench = Bench::new(SMALL);
    for mac in 0..100 {
        bench.learn(1, mac, 0);
        bench.learn(2, 0x10_0000 + mac, 0);
    }
    bench.fdb.forget(None, port(1), &bench.counters);
    assert_eq!((bench.held(1), bench.held(2)), (0, 100));
    assert_eq!(bench.counters.snapshot().forgotten, 100);
}

#[test]
fn two_ports_fighting_for_an_address_move_it_a_few_times_a_second() {
    let bench = Bench::new(SMALL);
    for _ in 0..1000 {
        bench.learn(1, 7, 0);
        bench.learn(2, 7, 0);
    }
    let counted = bench.counters.snapshot();
    assert_eq!((counted.moved, counted.held), (8, 996));
    bench.learn(2, 7, 1);
    bench.learn(1, 7, 1);
    assert_eq!(bench.port_of(7), Some(1), "a second later the address moves again");
}

#[test]
fn who_finds_the_lock_taken_goes_on_without() {
    let bench = Bench::new(SMALL);
    let held = bench.fdb.writer.lock().unwrap();
    bench.learn(1, 1, 0);
    drop(held);
    assert_eq!(bench.port_of(1), None);
    bench.learn(1, 1, 0);
    assert_eq!(bench.port_of(1), Some(1));
    assert_eq!(bench.counters.snapshot().contended, 1);
}

#[test]
fn readers_beside_a_writer_see_only_what_was_stored() {
    let bench = Bench::new(Limits { fdb_entries: 8, ..SMALL });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20_000u64 {
                // Each address is only ever seen at the port of its own number.
                bench.learn((round % 8) as usize, (round % 8) | ((round % 24) << 8), 0);
            }
        });
        scope.spawn(|| {
            for round in 0..20_000u64 {
                let mac = (round % 8) | ((round % 24) << 8);
                assert!(bench.port_of(mac).is_none_or(|port| port as u64 == round % 8));
            }
        });
    });
}
