//! The switch as its caller sees it: each test is a sentence, and asserts all counters.

use std::sync::Arc;

use super::*;
use crate::drops::DropReason;
use crate::frame::{Claims, Gso, GsoKind, Head, Metadata, PartialChecksum};
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::policy::{NetworkSettings, PortPolicy};
use crate::{PortSnapshot, StormLimits, Volume};

/// A switch with ports 0 to 3 in one network, 4 and 5 in another, 6 alone in a third and 7 in none, and
/// the values that its counters should have.
struct Bench {
    switch: Switch,
    worker: WorkerState,
    now: Nanos,
    expected: Vec<PortSnapshot>,
}

/// Whether a frame leaves by one port or by many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cast {
    Unicast,
    Flood,
}

#[derive(Default)]
struct Sent(Vec<(usize, Cast, usize)>);

impl Egress<()> for Sent {
    fn send(&mut self, to: PortIndex, slot: usize, _: &Frame<()>) {
        self.0.push((to.get(), Cast::Unicast, slot));
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        assert!(receivers.is_sorted());
        let others = receivers.iter().filter(|&&port| port != frame.meta.source);
        self.0.extend(others.map(|port| (port.get(), Cast::Flood, slot)));
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn policy() -> Arc<Policy> {
    let network = |index| NetworkIndex::new(index).unwrap();
    let of = [0, 0, 0, 0, 1, 1, 2].into_iter().enumerate();
    let ports = of.map(|(index, of)| (port(index), PortPolicy::new(network(of), 1500)));
    let networks = (0..3).map(|index| (network(index), NetworkSettings::default()));
    Arc::new(Policy::compile(ports, networks).unwrap())
}

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const BROADCAST: [u8; 6] = [0xff; 6];

fn frame(source: usize, to: [u8; 6], from: [u8; 6]) -> Frame<()> {
    let mut bytes = [0; 60];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[12] = 8;
    let meta = Metadata::new(port(source), 60, Claims::default());
    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
}

fn long(length: u32) -> Frame<()> {
    let mut frame = frame(0, BROADCAST, A);
    frame.meta.length = length;
    frame
}

impl Bench {
    fn new() -> Self {
        let expected = vec![PortSnapshot::default(); 8];
        let switch = Switch::new(1, Limits::default());
        Self { switch, worker: WorkerState::new(policy()), now: Nanos(0), expected }
    }

    /// Where the frame goes; all counters are checked.
    fn send(&mut self, frame: Frame<()>, dropped: Option<DropReason>) -> Vec<usize> {
        let expected = &mut self.expected[frame.meta.source.get()];
        expected.received.add(frame.meta.length);
        if let Some(reason) = dropped {
            expected.drops[reason as usize] += 1;
        }
        let mut sent = Sent::default();
        self.switch.process(&mut self.worker, self.now, &mut [frame], &mut sent);
        for (index, expected) in self.expected.iter().enumerate() {
            assert_eq!(self.switch.counters().port(port(index)).snapshot(), *expected, "port {index}");
        }
        if dropped.is_some() {
            assert_eq!(sent.0, []);
        }
        sent.0.into_iter().map(|(to, ..)| to).collect()
    }

    fn passes(&mut self, frame: Frame<()>) -> Vec<usize> {
        self.send(frame, None)
    }

    fn drops(&mut self, frame: Frame<()>, reason: DropReason) {
        self.send(frame, Some(reason));
    }
}

#[test]
fn an_unknown_destination_reaches_all_others_and_a_known_one_only_its_port() {
    let mut bench = Bench::new();
    assert_eq!(bench.passes(frame(0, B, A)), [1, 2, 3]);
    assert_eq!(bench.passes(frame(2, A, B)), [0]);
    assert_eq!(bench.passes(frame(0, B, A)), [2]);
    let known: Vec<_> =
        bench.switch.fdb(bench.now, bench.worker.policy()).into_iter().map(|e| e.mac.0).collect();
    assert!(known.len() == 2 && known.contains(&A) && known.contains(&B));
}

#[test]
fn broadcast_and_multicast_reach_all_others() {
    let mut bench = Bench::new();
    assert_eq!(bench.passes(frame(1, BROADCAST, A)), [0, 2, 3]);
    assert_eq!(bench.passes(frame(1, [0x33, 0x33, 0, 0, 0, 1], A)), [0, 2, 3]);
    assert_eq!(bench.passes(frame(1, [1, 0x80, 0xc2, 0, 0, 16], A)), [0, 2, 3]);
}

#[test]
fn networks_never_see_each_other() {
    let mut bench = Bench::new();
    assert_eq!(bench.passes(frame(4, BROADCAST, B)), [5]);
    assert_eq!(bench.passes(frame(0, B, A)), [1, 2, 3], "B is known in another network only");
    assert_eq!(bench.passes(frame(5, A, BROADCAST.map(|_| 2))), [4], "and so is A");
}

#[test]
fn link_local_groups_are_never_forwarded() {
    let mut bench = Bench::new();
    for last in 0..16 {
        bench.drops(frame(0, [1, 0x80, 0xc2, 0, 0, last], A), DropReason::LinkLocal);
    }
}

#[test]
fn a_frame_never_goes_back_by_its_own_port() {
    let mut bench = Bench::new();
    bench.drops(frame(0, A, A), DropReason::SamePort);
    bench.drops(frame(0, A, B), DropReason::SamePort);
}

#[test]
fn a_frame_without_any_receiver_is_counted() {
    let mut bench = Bench::new();
    bench.drops(frame(6, BROADCAST, A), DropReason::NoReceiver);
    bench.drops(frame(6, B, A), DropReason::NoReceiver);
    bench.drops(frame(7, BROADCAST, A), DropReason::NoNetwork);
}

#[test]
fn a_sender_must_be_one_station() {
    let mut bench = Bench::new();
    for from in [BROADCAST, [3, 0, 0, 0, 0, 1], [0; 6]] {
        bench.drops(frame(0, B, from), DropReason::BadSource);
    }
    assert!(bench.switch.fdb(bench.now, bench.worker.policy()).is_empty());
}

#[test]
fn a_frame_is_neither_shorter_than_its_header_nor_longer_than_virtio_allows() {
    let mut bench = Bench::new();
    let mut runt = frame(0, B, A);
    runt.meta.length = 13;
    bench.drops(runt, DropReason::Runt);
    let mut headless = frame(0, B, A);
    headless.head = Head::from_bytes(&[2; 13]);
    bench.drops(headless, DropReason::Runt);
    bench.drops(long(65_551), DropReason::TooLong);
}

#[test]
fn the_mtu_counts_neither_ethernet_nor_two_tags_of_the_stations_own() {
    let mut bench = Bench::new();
    let network = |index| NetworkIndex::new(index).unwrap();
    let ports = (0..4).map(|index| (port(index), PortPolicy::new(network(0), 1500)));
    let settings = NetworkSettings { inner_tags: true, ..NetworkSettings::default() };
    let policy = Policy::compile(ports, [(network(0), settings)]).unwrap();
    bench.worker.set_policy(Arc::new(policy));
    let tagged = |length, tags: usize| {
        let mut frame = long(length);
        for tag in 0..tags {
            frame.head.bytes_mut()[12 + 4 * tag..14 + 4 * tag].copy_from_slice(&[0x81, 0]);
            frame.head.bytes_mut()[15 + 4 * tag] = 7;
        }
        frame
    };
    for (tags, most) in [(0, 1514), (1, 1518), (2, 1522), (3, 1522)] {
        assert_eq!(bench.passes(tagged(most, tags)), [1, 2, 3]);
        bench.drops(tagged(most + 1, tags), DropReason::OverMtu);
    }
}

#[test]
fn a_super_frame_passes_if_its_segments_would() {
    let mut bench = Bench::new();
    let superframe = |kind, size, start, offset| {
        let mut frame = long(65_226);
        frame.head = Head::from_bytes(&[[0xff; 6].as_slice(), &[2; 122]].concat());
        frame.head.bytes_mut()[34 + 12] = 8 << 4;
        let checksum = Some(PartialChecksum { start, offset });
        frame.meta.claims = Claims { checksum, gso: Some(Gso { kind, size, ecn: false }) };
        frame
    };
    let most = [(GsoKind::Tcp4, 1448, 16), (GsoKind::Udp, 1472, 6), (GsoKind::UdpFragment, 1480, 6)];
    for (kind, size, offset) in most {
        assert_eq!(bench.passes(superframe(kind, size, 34, offset)).len(), 3);
        bench.drops(superframe(kind, size + 1, 34, offset), DropReason::OverMtu);
    }
    // The TCP header lies beyond what was copied: it has at least 20 bytes.
    assert_eq!(bench.passes(superframe(GsoKind::Tcp6, 1364, 130, 16)).len(), 3);
    bench.drops(superframe(GsoKind::Tcp6, 1365, 130, 16), DropReason::OverMtu);
}

#[test]
fn an_address_that_moved_is_followed_and_a_silent_one_forgotten() {
    let mut bench = Bench::new();
    bench.passes(frame(1, BROADCAST, B));
    assert_eq!(bench.passes(frame(0, B, A)), [1]);
    bench.passes(frame(2, BROADCAST, B));
    assert_eq!(bench.passes(frame(0, B, A)), [2]);
    bench.now = Nanos::from_seconds(300);
    assert_eq!(bench.passes(frame(0, B, A)), [2]);
    bench.now = Nanos::from_seconds(301);
    assert_eq!(bench.passes(frame(0, B, A)), [1, 2, 3]);
    bench.switch.expire(bench.now, &policy(), usize::MAX);
    let counted = FdbSnapshot { learned: 2, moved: 1, expired: 1, ..FdbSnapshot::default() };
    assert_eq!(bench.switch.fdb_counters(), counted);
}

#[test]
fn a_removed_port_is_forgotten_at_once() {
    let mut bench = Bench::new();
    bench.passes(frame(1, BROADCAST, B));
    bench.switch.forget_port(port(1));
    assert_eq!(bench.passes(frame(0, B, A)), [1, 2, 3]);
}

#[test]
fn an_address_behind_a_port_that_changed_its_network_is_unknown() {
    let mut bench = Bench::new();
    bench.passes(frame(1, BROADCAST, B));
    let network = |index| NetworkIndex::new(index).unwrap();
    let ports = [(0, 0), (1, 1), (2, 0)];
    let ports = ports.map(|(index, of)| (port(index), PortPolicy::new(network(of), 1500)));
    let networks = [0, 1].map(|index| (network(index), NetworkSettings::default()));
    bench.worker.set_policy(Arc::new(Policy::compile(ports, networks).unwrap()));
    assert_eq!(bench.passes(frame(0, B, A)), [2]);
}

#[test]
fn a_burst_is_decided_in_order_and_counted_once() {
    let mut bench = Bench::new();
    bench.passes(frame(1, BROADCAST, B));
    let mut burst = [frame(0, B, A), frame(0, A, A), frame(0, BROADCAST, A), long(9000)];
    let mut sent = Sent::default();
    bench.switch.process(&mut bench.worker, bench.now, &mut burst, &mut sent);
    let flood = |to| (to, Cast::Flood, 2);
    assert_eq!(sent.0, [(1, Cast::Unicast, 0), flood(1), flood(2), flood(3)]);
    let counted = bench.switch.counters().port(port(0)).snapshot();
    assert_eq!(counted.received, Volume { frames: 4, bytes: 3 * 60 + 9000 });
    let dropped: Vec<_> = counted.dropped().collect();
    assert_eq!(dropped, [(DropReason::OverMtu, 1), (DropReason::SamePort, 1)]);
    bench.switch.process(&mut bench.worker, bench.now, &mut [], &mut Sent::default());
}

#[test]
fn a_guest_with_ten_tables_of_addresses_does_not_stop_its_neighbours() {
    let mut bench = Bench::new();
    bench.switch = Switch::new(7, Limits { fdb_entries: 1024, ..Limits::default() });
    bench.passes(frame(1, BROADCAST, A));
    bench.passes(frame(2, BROADCAST, B));
    for round in 0..160 {
        bench.now = Nanos(round * 10_000_000);
        let from = |slot: u64| MacAddress::from_u64(0x0600_0000_0000 | round << 8 | slot).0;
        let mut burst: Vec<_> = (0..64).map(|slot| frame(0, BROADCAST, from(slot))).collect();
        bench.switch.process(&mut bench.worker, bench.now, &mut burst, &mut Sent::default());
        bench.expected[0].received.frames += 64;
        bench.expected[0].received.bytes += 64 * 60;
        assert_eq!(bench.passes(frame(1, B, A)), [2]);
        assert_eq!(bench.passes(frame(2, A, B)), [1]);
    }
    let counted = bench.switch.fdb_counters();
    assert_eq!(counted.learned + counted.refused, 2 + 160 * 64);
    assert_eq!(counted.moved + counted.held + counted.contended, 0);
}

#[test]
fn a_storm_is_cut_to_its_limit_and_known_unicast_is_not() {
    let mut bench = Bench::new();
    let network = NetworkIndex::new(0).unwrap();
    let rate = |per_second| crate::FrameRate::new(per_second);
    let storm = StormLimits { broadcast: rate(1000), multicast: rate(1), unknown_unicast: rate(1) };
    let ports = [0, 1, 2].map(|index| (port(index), PortPolicy { storm, ..PortPolicy::new(network, 1500) }));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    bench.worker.set_policy(Arc::new(policy));
    bench.passes(frame(1, BROADCAST, B));
    let classes = [
        (BROADCAST, 250, DropReason::StormBroadcast),
        ([1, 0, 0x5e, 1, 2, 3], 64, DropReason::StormMulticast),
        ([2, 9, 9, 9, 9, 9], 64, DropReason::StormUnknownUnicast),
    ];
    for (to, burst, reason) in classes {
        for _ in 0..burst {
            assert_eq!(bench.passes(frame(0, to, A)), [1, 2]);
        }
        bench.drops(frame(0, to, A), reason);
        assert_eq!(bench.passes(frame(0, B, A)), [1], "known unicast is no storm");
    }
    assert_eq!(bench.passes(frame(1, BROADCAST, B)), [0, 2], "each port has its own limit");
    bench.drops(frame(0, [1, 0x80, 0xc2, 0, 0, 1], A), DropReason::LinkLocal);
    bench.now = Nanos(1_000_000);
    assert_eq!(bench.passes(frame(0, BROADCAST, A)), [1, 2]);
    bench.drops(frame(0, BROADCAST, A), DropReason::StormBroadcast);
}

#[test]
fn what_one_frame_of_a_burst_teaches_counts_for_the_next_one() {
    const C: [u8; 6] = [2, 0, 0, 0, 0, 0xc];
    let mut bench = Bench::new();
    let mut burst = [frame(0, B, A), frame(0, B, A), frame(0, C, B), frame(0, B, A)];
    let mut sent = Sent::default();
    bench.switch.process(&mut bench.worker, bench.now, &mut burst, &mut sent);
    let reached = |slot| sent.0.iter().filter(|(.., at)| *at == slot).count();
    assert_eq!([0, 1, 2, 3].map(reached), [3, 3, 3, 0], "the last one's receiver is where it came from");
    assert_eq!(bench.switch.counters().port(port(0)).drops(DropReason::SamePort), 1);
}

#[test]
fn between_two_ports_nothing_is_a_storm() {
    let mut bench = Bench::new();
    let network = NetworkIndex::new(0).unwrap();
    let rate = |per_second| crate::FrameRate::new(per_second);
    let storm = StormLimits { broadcast: rate(1), multicast: rate(1), unknown_unicast: rate(1) };
    let ports = [0, 1].map(|index| (port(index), PortPolicy { storm, ..PortPolicy::new(network, 1500) }));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    bench.worker.set_policy(Arc::new(policy));
    for to in [BROADCAST, [1, 0, 0x5e, 1, 2, 3], [2, 9, 9, 9, 9, 9]] {
        for _ in 0..500 {
            assert_eq!(bench.passes(frame(0, to, A)), [1]);
        }
    }
}

#[test]
fn several_workers_share_one_switch_without_losing_count() {
    const ROUNDS: u64 = 2000;
    let switch = Switch::new(3, Limits { fdb_entries: 64, ..Limits::default() });
    std::thread::scope(|scope| {
        for source in 0..4 {
            let switch = &switch;
            scope.spawn(move || {
                let mut worker = WorkerState::new(policy());
                for round in 0..ROUNDS {
                    // Slowly enough for storm control.
                    let now = Nanos(round * 1_000_000);
                    // All fight for some of the same addresses.
                    let from = MacAddress::from_u64(0x0200_0000_0000 | (round * 7 % 100)).0;
                    let to = MacAddress::from_u64(0x0200_0000_0000 | (round % 100)).0;
                    let mut burst = [frame(source, to, from), frame(source, BROADCAST, from)];
                    let mut sent = Sent::default();
                    switch.process(&mut worker, now, &mut burst, &mut sent);
                    assert!(sent.0.iter().all(|&(port, ..)| port < 4 && port != source));
                    if round % 64 == 0 {
                        switch.expire(now, worker.policy(), 16);
                    }
                }
            });
        }
    });
    for source in 0..4 {
        let counted = switch.counters().port(port(source)).snapshot();
        assert_eq!(counted.received, Volume { frames: 2 * ROUNDS, bytes: 2 * ROUNDS * 60 });
        assert!(counted.dropped().all(|(reason, _)| reason == DropReason::SamePort));
    }
    let counted = switch.fdb_counters();
    let known = switch.fdb(Nanos(0), &policy()).len() as u64;
    assert_eq!(known, counted.learned - counted.evicted - counted.expired - counted.forgotten);
}
