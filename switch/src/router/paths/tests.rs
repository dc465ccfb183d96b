use proptest::prelude::*;

use super::*;
use crate::conntrack::{Conntrack, Limits};
use crate::mac::MacAddress;
use crate::packet::{Address, Contents, SynOptions, Tcp, parse};
use crate::time::Nanos;

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn udp(from: [u8; 4], to: [u8; 4], ports: (u16, u16)) -> Packet {
    let mut frame = Vec::new();
    let builder =
        etherparse::PacketBuilder::ethernet2([2; 6], [2; 6]).ipv4(from, to, 9).udp(ports.0, ports.1);
    builder.write(&mut frame, &[0; 20]).unwrap();
    match parse(&frame, u32::try_from(frame.len()).unwrap()) {
        Ok(Contents::Ip(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

fn key(number: u16) -> PathKey {
    let packet = udp([10, 0, 0, 1], [10, 0, 1, 1], (number, 53));
    Origin::new(port(1), network(0), true).key_like(&packet).unwrap()
}

fn path(neighbours: &Neighbours, to: usize) -> Path {
    let (mac, address) = (MacAddress([2, 0, 0, 0, 0, 9]), Ipv4Addr::new(10, 0, 1, 1).into());
    neighbours.set(network(1), address, mac, 0);
    let (destination, seen) = neighbours.resolve_seen(network(1), address, 0).unwrap();
    let hop = Hop { network: network(1), source: mac, destination, seen, mtu: 1500 };
    Path { hop, to: port(to), translation: None, station: Seen::NEVER }
}

fn table<K: Key>() -> Table<K> {
    let mut paths = Table::none();
    paths.make_room(7);
    paths
}

fn found<K: Key>(paths: &Table<K>, key: &K, now_s: u32) -> Option<PortIndex> {
    let mut sought = paths.seek(*key);
    let before = paths.find(&sought, now_s).map(|path| path.to);
    paths.locate(&mut sought);
    assert_eq!(paths.find(&sought, now_s).map(|path| path.to), before, "looking ahead finds the same");
    before
}

#[test]
fn a_path_holds_in_the_second_in_which_it_was_found_out_under_one_policy() {
    let (mut paths, neighbours) = (table(), Neighbours::new(16, 1));
    paths.keep(key(1), path(&neighbours, 3), 5);
    assert_eq!(found(&paths, &key(1), 5), Some(port(3)));
    assert_eq!((found(&paths, &key(1), 6), found(&paths, &key(2), 5)), (None, None));
    paths.keep(key(1), path(&neighbours, 4), 5);
    assert_eq!(found(&paths, &key(1), 5), Some(port(4)), "the last one counts");
    paths.start_epoch();
    assert_eq!(found(&paths, &key(1), 5), None);
}

#[test]
fn without_room_nothing_is_kept() {
    let (mut paths, neighbours) = (Table::none(), Neighbours::new(16, 1));
    paths.keep(key(1), path(&neighbours, 3), 5);
    assert!(!paths.has_room());
    assert_eq!(found(&paths, &key(1), 5), None);
}

#[test]
fn a_path_ends_with_what_is_known_of_the_next_station() {
    let neighbours = Neighbours::new(16, 1);
    let path = path(&neighbours, 3);
    assert!(neighbours.is_current(path.hop.seen));
    let address = Ipv4Addr::new(10, 0, 1, 1).into();
    neighbours.set(network(1), address, MacAddress([2, 0, 0, 0, 0, 9]), 1);
    assert!(neighbours.is_current(path.hop.seen), "nothing changed");
    neighbours.set(network(1), address, MacAddress([2, 0, 0, 0, 0, 8]), 1);
    assert!(!neighbours.is_current(path.hop.seen));
}

#[test]
fn packets_with_few_hops_left_and_long_ones_are_looked_at_by_themselves() {
    let path = path(&Neighbours::new(16, 1), 3);
    assert!(path.admits(9, 1514) && !path.admits(9, 1515));
    assert!(path.admits(2, 60) && !path.admits(1, 60) && !path.admits(0, 60));
}

#[test]
fn a_key_tells_apart_whatever_the_answer_depends_on() {
    let packet = udp([10, 0, 0, 1], [10, 0, 1, 1], (1, 2));
    let of = |port_index, network_index, packet: &Packet, is_translated| {
        Origin::new(port(port_index), network(network_index), is_translated).key_like(packet)
    };
    let own = of(1, 0, &packet, true).unwrap();
    let others = [
        of(2, 0, &packet, true),
        of(1, 1, &packet, true),
        of(1, 0, &packet, false),
        of(1, 0, &udp([10, 0, 0, 2], [10, 0, 1, 1], (1, 2)), true),
        of(1, 0, &udp([10, 0, 0, 1], [10, 0, 1, 2], (1, 2)), true),
        of(1, 0, &udp([10, 0, 0, 1], [10, 0, 1, 1], (3, 2)), true),
        of(1, 0, &udp([10, 0, 0, 1], [10, 0, 1, 1], (1, 3)), true),
        of(1, 0, &segment(TcpFlags::ACK), true),
    ];
    assert!(others.iter().all(|other| other.unwrap() != own));
    let other_ports = udp([10, 0, 0, 1], [10, 0, 1, 1], (3, 4));
    assert_eq!(of(1, 0, &packet, false), of(1, 0, &other_ports, false), "a route depends on no port");
    assert!(own.is_of_connection() && !of(1, 0, &packet, false).unwrap().is_of_connection());
    assert_eq!(of(1, 0, &Packet { network_at: 18, ..packet }, false), None);
    assert_eq!(of(1, 0, &segment(TcpFlags::SYN), true), None, "what may open a connection");
    assert_eq!(of(1, 0, &Packet { protocol: 136, ..packet }, true), None, "no plain packet asks for that");
}

/// A segment of the ports 1 and 2 with these flags.
fn segment(flags: u8) -> Packet {
    let packet = udp([10, 0, 0, 1], [10, 0, 1, 1], (1, 2));
    let ports = packet.ports().unwrap();
    let tcp = Tcp {
        ports,
        sequence: 0,
        acknowledgement: 0,
        flags: TcpFlags(flags),
        window: 0,
        payload: 0,
        syn: SynOptions::default(),
    };
    Packet { protocol: number::TCP, transport: Transport::Tcp(tcp), ..packet }
}

#[test]
fn a_plain_packet_has_the_key_under_which_its_path_is_kept() {
    for is_translated in [true, false] {
        let mut frame = Vec::new();
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [2; 6]);
        builder.ipv4([10, 0, 0, 1], [10, 0, 1, 1], 9).udp(1, 2).write(&mut frame, &[0; 20]).unwrap();
        let origin = Origin::new(port(1), network(0), is_translated);
        let plain = Plain::read(&frame, u32::try_from(frame.len()).unwrap()).unwrap();
        let packet = udp([10, 0, 0, 1], [10, 0, 1, 1], (1, 2));
        assert_eq!(Some(origin.key(&plain)), origin.key_like(&packet));
    }
}

#[test]
fn a_path_of_ipv6_is_found_by_all_bits_of_its_addresses() {
    let neighbours = Neighbours::new(16, 1);
    let packet = udp([10, 0, 0, 1], [10, 0, 1, 1], (1, 2));
    let [from, to, other] = [1_u128, 2, 1 | 1 << 64].map(|low| Address::from_bits(0xfd00 << 112 | low));
    let of = |port_index, network_index, source, destination| {
        let packet = Packet { source, destination, ..packet };
        PathKeyV6::of(port(port_index), network(network_index), &packet).unwrap()
    };
    let own = of(1, 0, from, to);
    assert_eq!(PathKeyV6::of(port(1), network(0), &packet), None, "IPv4 has its own table");
    let mut paths = table();
    paths.keep(own, path(&neighbours, 3), 5);
    assert_eq!(found(&paths, &own, 5), Some(port(3)));
    for other in [of(2, 0, from, to), of(1, 1, from, to), of(1, 0, other, to), of(1, 0, from, other)] {
        assert_eq!(found(&paths, &other, 5), None);
    }
}

/// Both directions of 10,000 flows: hardly a bucket has more of them than it has room for.
#[test]
fn as_many_flows_as_there_is_room_for_have_paths() {
    let (mut paths, neighbours) = (table(), Neighbours::new(16, 1));
    let path = path(&neighbours, 3);
    let keys: Vec<PathKey> = (0..20_000).map(key).collect();
    for now_s in [5, 6] {
        keys.iter().for_each(|key| paths.keep(*key, path, now_s));
        let known = keys.iter().filter(|key| found(&paths, key, now_s).is_some()).count();
        assert!(known > 19_800, "{known} of 20,000 in second {now_s}");
    }
}

/// Who makes a new flow of each packet displaces few of those that others follow.
#[test]
fn a_flood_of_flows_leaves_most_paths_where_they_are() {
    let (mut paths, neighbours) = (table(), Neighbours::new(16, 1));
    let path = path(&neighbours, 3);
    let keys: Vec<PathKey> = (0..4000).map(key).collect();
    keys.iter().for_each(|key| paths.keep(*key, path, 5));
    let known = |paths: &Table<PathKey>| keys.iter().filter(|key| found(paths, key, 5).is_some()).count();
    let before = known(&paths);
    assert!(before > 3900, "{before} of 4000");
    for host in 0..=255 {
        for number in 0..256 {
            let flood = udp([10, 9, 0, host], [10, 0, 1, 1], (number, 53));
            paths.keep(Origin::new(port(2), network(0), true).key_like(&flood).unwrap(), path, 5);
        }
    }
    let after = known(&paths);
    assert!(after * 4 > before * 3, "{after} of {before}");
}

#[test]
fn who_follows_a_connection_is_told_when_it_is_gone() {
    let conntrack = Conntrack::new(Limits::of(1024), 1);
    let packet = udp([10, 0, 0, 1], [10, 0, 1, 1], (1, 2));
    let now = Nanos(0);
    let found = conntrack.open(network(0), &packet, port(1), 0, now).unwrap();
    let follows =
        || [conntrack.track(found, &packet, now).is_ok(), conntrack.follows_whole(found, None, now)];
    assert_eq!(follows(), [true; 2]);
    conntrack.close(found.id);
    assert_eq!(follows(), [false; 2]);
}

proptest! {
    #[test]
    fn what_is_kept_is_found(numbers in prop::collection::vec((any::<u16>(), 0..4_usize), 1..60)) {
        let (mut paths, neighbours) = (table(), Neighbours::new(16, 1));
        let mut last = std::collections::BTreeMap::new();
        for (number, to) in numbers {
            paths.keep(key(number), path(&neighbours, to), 5);
            last.insert(number, to);
            prop_assert_eq!(found(&paths, &key(number), 5), Some(port(to)));
        }
        for (number, to) in last {
            prop_assert!(found(&paths, &key(number), 5).is_none_or(|found| found == port(to)));
        }
    }
}
