//! Datagrams in order and out of order, whole and never, honest and not.

use super::*;
use crate::packet::{Ports, Transport};

fn zone(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn at(seconds: u32) -> Nanos {
    Nanos::from_seconds(seconds)
}

/// A fragment of UDP between two stations of IPv4.
fn part(id: u32, offset: u16, length: u16, more: bool) -> Packet {
    let transport = match offset {
        0 => Transport::Ports(Ports { source: 1, destination: 2 }),
        _ => Transport::Fragment,
    };
    let address = |last: u128| Address::from_bits(0xffff_0a00_0000 | last);
    Packet {
        source: address(1),
        destination: address(2),
        protocol: 17,
        hop_limit: 64,
        traffic_class: 0,
        network_at: 14,
        transport_at: 34,
        end_at: 34 + u32::from(length),
        fragment: Some(Fragment { id, offset, length, more }),
        transport,
    }
}

fn store() -> Fragments<char> {
    Fragments::new(Limits::default(), 7)
}

impl Fragments<char> {
    fn pass(&self, packet: &Packet) -> Answer<char> {
        self.pass_at(packet, 1, 0)
    }

    fn pass_at(&self, packet: &Packet, owner: usize, seconds: u32) -> Answer<char> {
        self.note(zone(1), port(owner), (packet, packet.end_at), at(seconds), |_| {})
    }

    fn begin(&self, packet: &Packet) -> DatagramId {
        match self.pass(packet) {
            Answer::First(id) => id,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_verdict_about_the_first_holds_for_the_rest() {
    let store = store();
    let id = store.begin(&part(5, 0, 800, true));
    assert_eq!(store.decide(id, 'a'), Some(0));
    assert_eq!(store.pass(&part(5, 800, 800, true)), Answer::Decided('a'));
    assert_eq!(store.snapshot().datagrams, 1);
    assert_eq!(store.pass(&part(5, 1600, 3, false)), Answer::Decided('a'));
    let snapshot = store.snapshot();
    assert_eq!((snapshot.datagrams, snapshot.begun, snapshot.completed), (0, 1, 1));
    assert_eq!(store.decide(id, 'b'), None);
}

#[test]
fn what_comes_before_the_first_waits_for_it() {
    let store = store();
    let Answer::Hold(id) = store.pass(&part(5, 1600, 3, false)) else { panic!() };
    assert_eq!(store.pass(&part(5, 800, 800, true)), Answer::Hold(id));
    assert_eq!(store.snapshot().held_bytes, 37 + 834);
    assert_eq!(store.begin(&part(5, 0, 800, true)), id);
    assert_eq!(store.decide(id, 'a'), Some(2));
    let snapshot = store.snapshot();
    assert_eq!((snapshot.datagrams, snapshot.held_bytes, snapshot.completed), (0, 0, 1));
}

#[test]
fn datagrams_are_told_apart_by_all_that_they_have_in_common() {
    let store = store();
    let id = store.begin(&part(5, 0, 800, true));
    store.decide(id, 'a');
    let later = part(5, 800, 8, false);
    let holds = |answer| matches!(answer, Answer::Hold(other) if other != id);
    assert!(holds(store.pass(&part(6, 800, 8, false))));
    assert!(holds(store.pass(&Packet { protocol: 1, ..later })));
    assert!(holds(store.pass(&Packet { source: Address::from_bits(0xffff_0a00_0009), ..later })));
    assert!(holds(store.pass(&Packet { destination: Address::from_bits(0xffff_0a00_0009), ..later })));
    assert!(holds(store.pass_at(&later, 2, 0)), "nobody adds to another port's");
    assert!(holds(store.note(zone(2), port(1), (&later, 50), at(0), |_| {})));
    assert_eq!(store.pass(&later), Answer::Decided('a'));
    // In IPv6 only the first fragment knows the protocol behind all headers.
    let v6 = |packet: Packet, protocol| {
        let [source, destination] = [1, 2].map(Address::from_bits);
        Packet { source, destination, protocol, ..packet }
    };
    let id = store.begin(&v6(part(5, 0, 800, true), 17));
    store.decide(id, 'c');
    assert_eq!(store.pass(&v6(later, 60)), Answer::Decided('c'));
}

#[test]
fn an_overlap_ends_the_whole_datagram() {
    // RFC 5722, 3.
    let store = store();
    let id = store.begin(&part(5, 0, 800, true));
    store.decide(id, 'a');
    assert_eq!(store.pass(&part(5, 792, 800, true)), Answer::DropAll(id, Refused::Overlap));
    assert_eq!(store.pass(&part(5, 800, 800, true)), Answer::Drop(Refused::Overlap));
    assert_eq!(store.pass(&part(5, 0, 800, true)), Answer::Drop(Refused::Overlap), "not even anew");
    assert_eq!(store.snapshot().refused(Refused::Overlap), 3);

    let Answer::Hold(id) = store.pass(&part(6, 16, 16, true)) else { panic!() };
    assert_eq!(store.pass(&part(6, 0, 24, true)), Answer::DropAll(id, Refused::Overlap));
    assert_eq!((store.decide(id, 'a'), store.snapshot().held_bytes), (Some(0), 0), "nothing waits any more");
}

#[test]
fn a_fragment_that_comes_twice_passes_once() {
    let store = store();
    let id = store.begin(&part(5, 0, 800, true));
    store.decide(id, 'a');
    assert_eq!(store.pass(&part(5, 0, 800, true)), Answer::Drop(Refused::Duplicate));
    assert_eq!(store.pass(&part(5, 8, 16, true)), Answer::Drop(Refused::Duplicate));
    assert_eq!(store.pass(&part(5, 800, 8, false)), Answer::Decided('a'));
}

#[test]
fn a_datagram_has_one_end() {
    for (offset, length, more) in [(1608, 8, true), (1592, 24, false), (800, 8, false), (1600, 16, true)] {
        let store = store();
        let id = store.begin(&part(5, 0, 800, true));
        store.decide(id, 'a');
        assert_eq!(store.pass(&part(5, 1600, 8, false)), Answer::Decided('a'));
        assert_eq!(
            store.pass(&part(5, offset, length, more)),
            Answer::DropAll(id, Refused::BeyondEnd),
            "{offset}"
        );
    }
    let store = store();
    let Answer::Hold(id) = store.pass(&part(5, 1600, 8, true)) else { panic!() };
    assert_eq!(store.pass(&part(5, 800, 8, false)), Answer::DropAll(id, Refused::BeyondEnd));
    let whole = Packet { fragment: None, ..part(5, 0, 8, false) };
    assert_eq!(store.pass(&whole), Answer::Drop(Refused::NotAFragment));
}

#[test]
fn what_never_completes_is_forgotten_with_what_waits() {
    let store = store();
    let Answer::Hold(waiting) = store.pass_at(&part(5, 800, 8, false), 1, 100) else { panic!() };
    let Answer::First(begun) = store.pass_at(&part(6, 0, 8, true), 1, 100) else { panic!() };
    store.decide(begun, 'a');
    let ended = |seconds| {
        let mut ended = Vec::new();
        store.advance(at(seconds), 100, |id| ended.push(id));
        ended.sort_unstable_by_key(|id| id.slot);
        ended
    };
    assert_eq!(ended(114), []);
    let mut all = [waiting, begun];
    all.sort_unstable_by_key(|id| id.slot);
    assert_eq!(ended(115), all);
    let snapshot = store.snapshot();
    assert_eq!((snapshot.datagrams, snapshot.held_bytes, snapshot.expired), (0, 0, 2));
    assert_eq!(store.decide(begun, 'b'), None);
}

#[test]
fn a_datagram_whose_time_is_over_begins_anew() {
    let store = store();
    let Answer::Hold(first) = store.pass_at(&part(5, 800, 8, false), 1, 100) else { panic!() };
    let mut ended = Vec::new();
    let packet = part(5, 0, 8, true);
    let answer = store.note(zone(1), port(1), (&packet, 60), at(115), |id| ended.push(id));
    assert!(matches!(answer, Answer::First(id) if id != first));
    assert_eq!(ended, [first]);
    assert_eq!(store.decide(first, 'x'), None);
}

#[test]
fn a_flood_is_bounded_by_its_port() {
    // RFC 4787, REQ-14a; HOSTILE fragments that are never completed.
    let store = store();
    for id in 0..10_000 {
        store.pass_at(&part(id, 800, 8, false), 3, 0);
    }
    let snapshot = store.snapshot();
    assert_eq!((snapshot.datagrams, snapshot.refused(Refused::PortFull)), (250, 9750));
    let id = store.begin(&part(5, 0, 800, true));
    assert_eq!(store.decide(id, 'a'), Some(0));
    let mut forgotten = 0;
    store.forget(port(3), |_| forgotten += 1);
    assert_eq!((forgotten, store.snapshot().datagrams, store.snapshot().held_bytes), (250, 1, 0));
}

#[test]
fn what_waits_is_bounded_in_number_and_bytes() {
    let store = store();
    for number in 1..=64 {
        assert!(matches!(store.pass(&part(5, number * 8, 8, true)), Answer::Hold(_)));
    }
    assert_eq!(store.pass(&part(5, 65 * 8, 8, true)), Answer::Drop(Refused::HeldFull));
    let mut refused = 0;
    for id in 100..300 {
        refused += u32::from(store.pass(&part(id, 8, 1472, true)) == Answer::Drop(Refused::HeldFull));
    }
    assert!(refused > 20 && store.snapshot().held_bytes <= 256 * 1024);
    assert!(
        matches!(store.pass_at(&part(1, 8, 1472, true), 2, 0), Answer::Hold(_)),
        "another port's room is its own"
    );
}

#[test]
fn a_full_store_makes_room_at_the_expense_of_who_has_most() {
    let store =
        Fragments::<char>::new(Limits { datagrams: 100, datagrams_per_port: 60, ..Limits::default() }, 7);
    for id in 0..60 {
        store.pass_at(&part(id, 800, 8, false), 3, 0);
        store.pass_at(&part(id, 800, 8, false), 4, 0);
    }
    let mut ended = 0;
    for id in 0..10 {
        let packet = part(id, 0, 8, true);
        let answer = store.note(zone(1), port(1), (&packet, 60), at(0), |_| ended += 1);
        assert!(matches!(answer, Answer::First(_)), "{answer:?}");
    }
    let snapshot = store.snapshot();
    assert_eq!((snapshot.datagrams, ended), (100, 10));
    assert!(snapshot.evicted >= 10);
}

#[test]
fn workers_share_the_store() {
    let store = store();
    std::thread::scope(|scope| {
        for owner in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for id in 0..2000 {
                    let Answer::Hold(held) = store.pass_at(&part(id, 8, 8, false), owner, 0) else {
                        panic!()
                    };
                    let Answer::First(first) = store.pass_at(&part(id, 0, 8, true), owner, 0) else {
                        panic!()
                    };
                    assert_eq!((held, store.decide(first, 'a')), (first, Some(1)));
                }
            });
        }
    });
    let snapshot = store.snapshot();
    assert_eq!((snapshot.completed, snapshot.datagrams, snapshot.held_bytes), (8000, 0, 0));
}

#[test]
fn what_was_decided_is_known_for_as_long_as_the_datagram_is() {
    let store = store();
    let (first, second) = (part(1, 0, 8, true), part(1, 8, 8, true));
    let decided = |owner, seconds| store.decided(zone(1), port(owner), &second, at(seconds));
    assert_eq!(decided(1, 0), None);
    let id = store.begin(&first);
    assert_eq!(decided(1, 0), None, "nothing yet");
    store.decide(id, 'a');
    assert_eq!(
        [decided(1, 0), decided(1, 14), decided(1, 15), decided(1, 99)],
        [Some('a'), Some('a'), None, None]
    );
    assert_eq!(decided(2, 0), None, "another port's");
    assert_eq!(store.decided(zone(2), port(1), &second, at(0)), None, "another network's");
    let whole = Packet { fragment: None, ..second };
    assert_eq!(store.decided(zone(1), port(1), &whole, at(0)), None);
    assert_eq!(store.snapshot().datagrams, 1, "asking changes nothing");
}

#[test]
fn each_datagram_whose_time_is_over_is_counted() {
    let store = store();
    for round in 0..3 {
        assert!(matches!(store.pass_at(&part(1, 0, 8, true), 1, round * 15), Answer::First(_)));
        assert_eq!(
            (store.snapshot().expired, store.snapshot().begun),
            (u64::from(round), u64::from(round) + 1)
        );
    }
}

#[test]
fn bytes_that_wait_count_to_the_last_one() {
    let limits = Limits { held_bytes_per_port: 300, ..Limits::default() };
    let store = Fragments::<char>::new(limits, 7);
    let holds = |offset, length| {
        let packet = part(5, offset, 8, true);
        matches!(store.note(zone(1), port(1), (&packet, length), at(0), |_| {}), Answer::Hold(_))
    };
    assert!(holds(8, 100) && holds(16, 199) && !holds(24, 2) && holds(24, 1) && !holds(32, 1));
    assert_eq!(store.snapshot().held_bytes, 300);
}

#[test]
fn who_holds_as_much_is_not_displaced_and_who_holds_more_is_found_in_the_end() {
    let slots = 4 * EVICTION_PROBES;
    let store = Fragments::<char>::new(Limits { datagrams: slots, ..Limits::default() }, 7);
    let begin = |id: usize, owner| {
        let packet = part(u32::try_from(id).unwrap(), 800, 8, false);
        matches!(store.pass_at(&packet, owner, 0), Answer::Hold(_))
    };
    // Each port has one, but for one port, whose are two that no search but that of the second quarter sees.
    let greedy = [EVICTION_PROBES + 1, EVICTION_PROBES + 3];
    for slot in 0..slots {
        let owner = if greedy.contains(&slot) { 500 } else { slot + 1 };
        assert!(begin(slot, owner));
    }
    // A port that has one already asks for another, which only who has more may lose.
    let places = |store: &Fragments<char>| {
        let store = store.lock();
        let of = |slot: &usize| store.slots[*slot].datagram.as_ref().unwrap().0.port;
        (0..slots).filter(|slot| of(slot) == port(500)).collect::<Vec<_>>()
    };
    let found = places(&store);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|slot| slot / EVICTION_PROBES == found[0] / EVICTION_PROBES), "{found:?}");
    let quarter = found[0] / EVICTION_PROBES;
    for search in 0..4 {
        let evicted = begin(1000 + search, 1);
        assert_eq!(evicted, search == quarter, "search {search}, {found:?}");
        if evicted {
            break;
        }
    }
    assert_eq!((store.snapshot().evicted, places(&store).len()), (1, 1));
}
