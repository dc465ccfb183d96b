//! Several workers at the same table.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

#[test]
fn workers_that_see_a_connection_open_at_once_agree_on_one() {
    let table = table();
    for flow in 0..300 {
        let ids: Vec<_> = thread::scope(|scope| {
            let open = |is_back| {
                let table = &table;
                scope.spawn(move || table.open(zone(1), &udp(flow, is_back), port(1), 1, at(0)).unwrap().id)
            };
            let workers = [open(false), open(true), open(false)];
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(table.held(port(1)), (1, 1));
        assert!(table.close(ids[0]));
    }
}

/// Two workers carry the two directions of connections, each as soon as the other side's words allow; a third opens and
/// closes others, a fourth sweeps and lists. Nothing valid is refused, and all are assured once.
#[test]
fn both_directions_are_followed_by_different_workers() {
    let table = Conntrack::new(
        Limits { connections: 4096, per_port: 4096, embryonic_per_port: 4096, may_take_up: false },
        3,
    );
    const FLOWS: u32 = 50;
    const ROUNDS: u32 = 200;
    let is_done = AtomicBool::new(false);
    for flow in 0..FLOWS {
        table.pass(&tcp(flow, false, SYN, (0, 0), 0), 0);
        table.pass(&tcp(flow, true, SYN | ACK, (0, 1), 0), 0);
    }
    let said: Vec<[AtomicU32; 2]> = (0..FLOWS).map(|_| [AtomicU32::new(1), AtomicU32::new(1)]).collect();
    let talk = |is_back: bool| {
        use std::sync::atomic::Ordering::{Acquire, Release};
        let (own, other) = (usize::from(is_back), usize::from(!is_back));
        for _ in 0..ROUNDS {
            for flow in 0..FLOWS {
                let said = &said[flow as usize];
                let (sequence, ack) = (said[own].load(Acquire), said[other].load(Acquire));
                let packet = tcp(flow, is_back, ACK, (sequence, ack), 100);
                // Not further than the other side's last word allows.
                if matches!(table.look_up(zone(1), &packet, at(0)), Verdict::Invalid(Invalid::SequenceAhead))
                {
                    continue;
                }
                let Verdict::Established(found) = table.look_up(zone(1), &packet, at(0)) else {
                    panic!("{:?}", table.look_up(zone(1), &packet, at(0)));
                };
                assert_eq!(table.track(found, &packet, at(0)), Ok(()));
                said[own].store(sequence + 100, Release);
            }
        }
    };
    thread::scope(|scope| {
        let talkers = [scope.spawn(|| talk(false)), scope.spawn(|| talk(true))];
        scope.spawn(|| {
            for flow in 100_000.. {
                let found = table.open(zone(1), &udp(flow % 500, false), port(9), 1, at(0)).unwrap();
                table
                    .track(Reference { direction: Direction::Reply, ..found }, &udp(flow % 500, true), at(0))
                    .ok();
                table.close(found.id);
                if is_done.load(Relaxed) {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                table.advance(at(0), 100);
                let listed =
                    table.list(&Filter { protocol: Some(6), ..Filter::default() }, 0, usize::MAX, at(0));
                assert_eq!(listed.connections.len(), FLOWS as usize);
            }
        });
        for talker in talkers {
            let joined = talker.join();
            is_done.store(true, Relaxed);
            joined.unwrap();
        }
    });
    assert_eq!((table.held(port(7)), table.held(port(9))), ((FLOWS as usize, 0), (0, 0)));
    assert!(table.states(0).iter().all(|state| *state == State::Established));
}
