//! The file: what it keeps, what is left of one that is damaged, and who writes it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use viaduct_switch::conntrack::{Extent, Record, Tuple};
use viaduct_switch::nat::{Endpoint, Mapping};
use viaduct_switch::packet::Address;
use viaduct_switch::security::{PortSecurity, SecurityControl, Zone};
use viaduct_switch::{
    Limits, MacAddress, Nanos, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch,
    conntrack,
};

use super::block::{Blocks, Kind};
use super::file::{Selection, Source, parse, write};
use super::record::{Bytes, Reader, put_connection, put_mapping, take_connection, take_mapping};
use super::*;

/// What the table says of a connection of TCP that is open, and of UDP that went both ways.
const OPEN: u32 = 0xf9;
const REPLIED: u32 = 1 << 25 | 1;

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// A connection of this number: TCP or UDP, of either version.
fn record(number: u32) -> Record {
    let (is_tcp, is_v6) = (number.is_multiple_of(2), number.is_multiple_of(3));
    let (source, destination) = if is_v6 {
        (address("fd00::1"), address("fd00::2"))
    } else {
        (address("10.0.0.1"), address("10.0.0.2"))
    };
    let original = Tuple {
        zone: network(1),
        source,
        destination,
        protocol: if is_tcp { 6 } else { 17 },
        source_port: u16::try_from(number % 60_000).unwrap(),
        destination_port: u16::try_from(80 + number / 60_000).unwrap(),
    };
    let sides = if is_tcp { [[number, 2, 3, 4], [5, 6, 7, 8]] } else { [[0; 4]; 2] };
    Record {
        tuples: [original, original.reversed()],
        port: port(2),
        vouchers: [None; 2],
        is_mapped: [false; 2],
        flags: if is_tcp { OPEN } else { REPLIED },
        sides,
        asked: 0,
        idle_s: [number % 200, number % 100],
    }
}

fn policy() -> Policy {
    let ports = [2, 5].map(|index| (port(index), PortPolicy::new(network(1), 1500)));
    let policy = Policy::compile(ports, [(network(1), NetworkSettings::default())]).unwrap();
    // Somebody is filtered, so that connections are tracked.
    let mut security = SecurityControl::new(3);
    let filtered = PortSecurity::new(Zone(1), MacAddress([2, 0, 0, 0, 0, 5]));
    security.set_port(port(5), Some(PortSecurity { groups: Some(Vec::new()), ..filtered }));
    policy.with_security(Arc::new(security.policy().clone()))
}

const NOW: Nanos = Nanos::from_seconds(100_000);

/// A switch with connections of these numbers.
fn switch(numbers: std::ops::Range<u32>) -> Switch {
    let connections = conntrack::Limits { per_port: 1 << 20, ..conntrack::Limits::DEFAULT };
    let switch = Switch::new(3, Limits { connections, ..Limits::default() });
    let policy = policy();
    switch.prepare(&policy);
    for number in numbers {
        let restored = switch.restore_connection(&record(number), &policy, true, NOW);
        assert!(restored.is_ok(), "{number}: {restored:?}");
    }
    switch
}

fn names() -> Names {
    let networks = [(network(1), "lab".to_owned())].into();
    let ports = [(port(2), "vm1".to_owned())].into();
    Names { generation: 1, networks, ports, ..Names::default() }
}

fn clock() -> BootClock {
    BootClock::this().unwrap()
}

/// A file of all that a switch has.
fn file(switch: &Switch, is_exact: bool) -> Vec<u8> {
    let (names, clock, mut bytes) = (names(), clock(), Vec::new());
    let extent = if is_exact { Extent::All } else { Extent::Lasting };
    let source = Source { switch, names: &names, clock: &clock, extent, is_exact, now: &|| NOW };
    let written = write(&source, &mut Selection::All, &mut bytes, || Ok(())).unwrap();
    assert_eq!(written.bytes, bytes.len());
    bytes
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| (record.tuples[0].source_port, record.tuples[0].destination_port));
    records
}

#[test]
fn what_is_kept_is_read_again_and_is_older_by_then() {
    let (bytes, now_s) = (file(&switch(0..3000), true), clock().now_s().unwrap());
    let read = |later_s| parse(&bytes, &clock(), now_s + later_s).unwrap().unwrap();
    let kept = read(0);
    assert!(kept.is_exact && !kept.is_damaged);
    assert_eq!((&kept.names.networks, &kept.names.ports), (&names().networks, &names().ports));
    let as_read = |lain_s: u32| -> Vec<Record> {
        let older = |number| {
            let record = record(number);
            Record { idle_s: record.idle_s.map(|idle_s| idle_s + lain_s), ..record }
        };
        sorted((0..3000).map(older).collect())
    };
    let found = sorted(kept.connections);
    // The machine's clock may have gone on by a second meanwhile.
    assert!(found == as_read(0) || found == as_read(1));
    assert!([50, 51].map(as_read).contains(&sorted(read(50).connections)));
    // What was heard within half a minute may not be in a file of a process that went on.
    let kept = parse(&file(&switch(0..3000), false), &clock(), now_s + 1).unwrap().unwrap();
    let most = kept.connections.iter().flat_map(|record| record.idle_s).max();
    assert!(!kept.is_exact && kept.connections.len() == 3000 && (170..=171).contains(&most.unwrap()));
}

/// A start with a large table has to be quick; on a machine with nothing else to do and an optimised build, it takes a fraction of this.
#[test]
fn a_hundred_thousand_connections_are_written_and_restored_within_a_moment() {
    const COUNT: u32 = 100_000;
    let table = switch(0..COUNT);
    let began = Instant::now();
    let bytes = file(&table, false);
    let written = began.elapsed();
    let kept = parse(&bytes, &clock(), clock().now_s().unwrap()).unwrap().unwrap();
    let read = began.elapsed() - written;
    let (other, policy) = (switch(0..0), policy());
    let began = Instant::now();
    let restored = |record| other.restore_connection(record, &policy, false, NOW).is_ok();
    assert_eq!(kept.connections.iter().filter(|record| restored(record)).count(), COUNT as usize);
    let restored = began.elapsed();
    println!("{} bytes: written in {written:?}, read in {read:?}, restored in {restored:?}", bytes.len());
    assert!(bytes.len() <= 150 * COUNT as usize);
    assert!(written + read + restored < Duration::from_secs(10), "{written:?} {read:?} {restored:?}");
}

#[test]
fn what_is_of_before_the_machines_start_or_of_a_later_program_does_not_count() {
    let bytes = file(&switch(0..9), false);
    let other = BootClock { boot: "an earlier one".to_owned() };
    assert!(parse(&bytes, &other, 0).unwrap().is_none());
    for text in [&b""[..], b"viaduct", &[0xff; 5000]] {
        assert!(matches!(parse(text, &clock(), 0), Err(KeptError::NotOurs)));
    }
    let (mut newer, mut head) = (Vec::new(), b"viaduct\0".to_vec());
    Bytes(&mut head).u32(2);
    Blocks::new(&mut newer).put(Kind::Head, &head).unwrap();
    assert!(matches!(parse(&newer, &clock(), 0), Err(KeptError::Newer { found: 2 })));
}

/// What was damaged is told, and all that is accepted is what was written.
fn assert_sound(bytes: &[u8], whole: &BTreeSet<String>, damage: &str) {
    match parse(bytes, &clock(), 0) {
        // Names, or the file's beginning.
        Err(KeptError::NotOurs) => {}
        Ok(Some(kept)) => {
            assert!(kept.is_damaged, "{damage}");
            assert_eq!(kept.names.ports, names().ports, "{damage}");
            for record in &kept.connections {
                let told = format!("{:?}", Record { idle_s: [0; 2], ..*record });
                assert!(whole.contains(&told), "{damage}: {told}");
            }
        }
        other => panic!("{damage}: {other:?}"),
    }
}

#[test]
fn of_a_damaged_file_what_is_whole_counts_and_nothing_else() {
    let table = switch(0..6);
    let told = |number| format!("{:?}", Record { idle_s: [0; 2], ..record(number) });
    let whole: BTreeSet<String> = (0..6).map(told).collect();
    let bytes = file(&table, true);
    for length in 0..bytes.len() {
        assert_sound(bytes.get(..length).unwrap(), &whole, &format!("cut at {length}"));
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_sound(&damaged, &whole, &format!("bit {bit}"));
    }
    // Several blocks: the others stay, whether one is damaged, missing or twice there.
    let bytes = file(&switch(0..3000), true);
    let mut damaged = bytes.clone();
    damaged[70_000] ^= 1;
    let kept = parse(&damaged, &clock(), 0).unwrap().unwrap();
    assert!(kept.is_damaged && kept.connections.len() > 1000 && kept.connections.len() < 3000);
    let whole = parse(&bytes, &clock(), 0).unwrap().unwrap();
    assert!(!whole.is_damaged && whole.connections.len() == 3000);
}

#[test]
fn numbers_are_those_of_the_same_names_and_what_has_none_is_left() {
    let networks = [("lab".to_owned(), network(7)), ("other".to_owned(), network(1))].into();
    let ports = [("vm1".to_owned(), port(9)), ("vm2".to_owned(), port(2))].into();
    let renumbering = Renumbering::new(&names(), &networks, &ports);
    let kept = Record { vouchers: [Some(port(2)), Some(port(3))], ..record(1) };
    let found = renumbering.connection(&kept).unwrap();
    assert_eq!((found.port, found.vouchers), (port(9), [Some(port(9)), None]));
    assert_eq!(found.tuples.map(|tuple| tuple.zone), [network(7); 2]);
    assert_eq!(renumbering.connection(&Record { port: port(3), ..kept }), None);
    let gone = Renumbering::new(&names(), &[("other".to_owned(), network(1))].into(), &ports);
    assert_eq!(gone.connection(&kept), None);
}

fn end() -> impl Strategy<Value = Endpoint> {
    (0..4096_usize, any::<u32>(), any::<u16>()).prop_map(|(of, bits, port)| Endpoint {
        network: network(of),
        address: std::net::Ipv4Addr::from_bits(bits),
        port,
    })
}

fn connection() -> impl Strategy<Value = Record> {
    let tuple = (0..4096_usize, any::<u16>(), any::<u16>());
    let ports = (0..4096_usize, prop::array::uniform2(prop::option::of(0..4096_usize)));
    let ends = (any::<bool>(), any::<[u64; 4]>(), any::<u8>());
    let rest = (any::<[bool; 2]>(), any::<u32>(), any::<[[u32; 4]; 2]>(), any::<u32>(), any::<[u32; 2]>());
    (tuple.clone(), tuple, ports, ends, rest).prop_map(|(one, two, (own, vouchers), ends, rest)| {
        let (is_v4, bits, protocol) = ends;
        let v4 = |bits: u64| Address::from_bits(0xffff_0000_0000 | u128::from(bits & 0xffff_ffff));
        let v6 = |bits: u64| Address::from_bits(0xfd00 << 112 | u128::from(bits));
        let [a, b, c, d] = bits.map(if is_v4 { v4 } else { v6 });
        let tuple = |(zone, source_port, destination_port), source, destination| Tuple {
            zone: network(zone),
            source,
            destination,
            protocol,
            source_port,
            destination_port,
        };
        let reply = if is_v4 { tuple(two, c, d) } else { tuple(two, b, a) };
        let (is_mapped, flags, sides, asked, idle_s) = rest;
        let (sides, asked) = if protocol == 6 { (sides, asked) } else { ([[0; 4]; 2], 0) };
        let vouchers = vouchers.map(|index| index.map(port));
        Record {
            tuples: [tuple(one, a, b), reply],
            port: port(own),
            vouchers,
            is_mapped,
            flags,
            sides,
            asked,
            idle_s,
        }
    })
}

proptest! {
    #[test]
    fn whatever_a_connection_is_it_is_read_as_it_was_written(record in connection()) {
        let mut bytes = Vec::new();
        put_connection(&mut Bytes(&mut bytes), &record);
        let mut reader = Reader(&bytes);
        prop_assert_eq!(take_connection(&mut reader), Some(record));
        prop_assert!(reader.0.is_empty() && bytes.len() <= 128);
        for length in 0..bytes.len() {
            prop_assert_eq!(take_connection(&mut Reader(&bytes[..length])), None);
        }
    }

    #[test]
    fn whatever_a_mapping_is_it_is_read_as_it_was_written(
        (inside, outside, protocol) in (end(), end(), any::<u8>()),
        peer in prop::option::of((any::<u32>().prop_map(std::net::Ipv4Addr::from_bits), any::<u16>())),
        (own, [connections, age_s, idle_s]) in (0..4096_usize, any::<[u32; 3]>()),
    ) {
        let port = port(own);
        let mapping = Mapping { inside, outside, protocol, peer, port, connections, age_s, idle_s };
        let mut bytes = Vec::new();
        put_mapping(&mut Bytes(&mut bytes), &mapping);
        prop_assert_eq!(take_mapping(&mut Reader(&bytes)), Some(mapping));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, &clock(), 0);
        let _ = (take_connection(&mut Reader(&bytes)), take_mapping(&mut Reader(&bytes)));
    }
}

/// Waits for something that a thread does.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kept_in(path: &std::path::Path) -> usize {
    read(path, &clock()).ok().flatten().map_or(0, |kept| kept.connections.len())
}

/// A keeper of a switch that has been running for long, and which knows its names.
fn keeper(path: &std::path::Path, switch: &Arc<Switch>) -> Keeper {
    let started = Instant::now() - Duration::from_secs(100_000);
    let keeper = Keeper::start(path, clock(), Arc::clone(switch), started).unwrap();
    keeper.follow(names());
    keeper
}

#[test]
fn the_thread_writes_what_is_new_and_at_the_end_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder.path().join("state"));
    let switch = Arc::new(switch(0..5));
    let started = Instant::now() - Duration::from_secs(100_000);
    let start = || Keeper::start(&path, clock(), Arc::clone(&switch), started).unwrap();
    // Before it knows names, nothing is replaced.
    drop(start());
    assert!(!path.exists());
    let keeper = start();
    keeper.follow(names());
    wait_until("a file", || kept_in(&path) == 5);
    let restored = switch.restore_connection(&record(7), &policy(), true, NOW);
    assert!(restored.is_ok());
    wait_until("the new one", || kept_in(&path) == 6);
    assert!(switch.restore_connection(&record(8), &policy(), true, NOW).is_ok());
    drop(keeper);
    assert_eq!(kept_in(&path), 7);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn another_process_is_told_all_at_first_and_then_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder.path().join("state"));
    fs::create_dir(path.parent().unwrap()).unwrap();
    let switch = Arc::new(switch(0..5));
    let started = Instant::now() - Duration::from_secs(100_000);
    let start = || keeper(&path, &switch);
    let begin = |keeper: &Keeper| keeper.begin_hand_over().recv_timeout(Duration::from_secs(20)).unwrap();
    fs::write(rest_of(&path), "of an earlier attempt").unwrap();
    let keeper = start();
    begin(&keeper).unwrap();
    assert_eq!((kept_in(&path), rest_of(&path).exists()), (5, false));
    assert!(switch.restore_connection(&record(7), &policy(), true, NOW).is_ok());
    keeper.hand_over(Duration::from_secs(20)).unwrap();
    assert_eq!((kept_in(&path), kept_in(&rest_of(&path))), (5, 1));
    // An attempt that comes to nothing leaves the keeper as it was, and the next one tells all again.
    let keeper = start();
    begin(&keeper).unwrap();
    keeper.stay();
    assert!(switch.restore_connection(&record(8), &policy(), true, NOW).is_ok());
    wait_until("the new one", || kept_in(&path) == 7);
    begin(&keeper).unwrap();
    drop(keeper);
    assert_eq!((kept_in(&path), kept_in(&rest_of(&path))), (7, 0));
    // Who cannot write says so.
    let keeper = start();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path.parent().unwrap(), "no folder").unwrap();
    assert!(begin(&keeper).unwrap_err().to_string().contains("connections: "));
    // Nor does who has not restored all yet.
    let keeper = Keeper::start(&path, clock(), Arc::clone(&switch), started).unwrap();
    assert!(begin(&keeper).unwrap_err().to_string().contains("try again in a minute"));
}

#[test]
fn a_place_where_nothing_can_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder.path().join("state"));
    // Where the folder would be, something else is.
    fs::write(path.parent().unwrap(), "no folder").unwrap();
    let keeper = Keeper::start(&path, clock(), Arc::new(switch(0..5)), Instant::now()).unwrap();
    keeper.follow(names());
    wait_until("a problem", || keeper.problem().is_some_and(|problem| problem.contains("cannot write")));
    fs::remove_file(path.parent().unwrap()).unwrap();
    wait_until("the end of it", || keeper.problem().is_none());
    assert!(path.exists());
}

/// The thread of a keeper that was given up ends by itself, and all that it leaves is what the next one wrote.
#[test]
fn what_is_written_too_late_takes_nothing_s_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    let switch = Arc::new(switch(0..5));
    let start = || keeper(&path, &switch);
    let was_too_slow = || {
        let keeper = start();
        keeper.begin_hand_over().recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        // A thread that is quicker than one look has not taken too long.
        keeper.hand_over(Duration::ZERO).is_err_and(|error| error.to_string().contains("longer than 0 ms"))
    };
    wait_until("a write that takes too long", was_too_slow);
    let keeper = start();
    keeper.begin_hand_over().recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    drop(keeper);
    // Each thread has the switch.
    wait_until("the end of all threads", || Arc::strong_count(&switch) == 1);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "connections" || name == "connections.rest"), "{left:?}");
    assert_eq!((kept_in(&path), kept_in(&rest_of(&path))), (5, 0));
}
