//! Frames above a rate that stay in their sender's ring: none is lost, the rate holds, and whatever happens to the ring meanwhile
//! happens at once.

use viaduct_switch::meter::{Allowance, Exceeding, Limits as Rates, Meter, MeterPlan};

use super::super::assignment::Move;
use super::sharing::{WINDOW, three};
use super::*;

fn by_packets(per_second: u64, burst: u64) -> Arc<Meter> {
    meter(Rates { bits: None, packets: Some(Allowance { per_second, burst }) })
}

/// One byte a second: what is owed after a frame takes a minute.
fn by_the_minute() -> Arc<Meter> {
    meter(Rates { bits: Some(Allowance { per_second: 8, burst: 400 }), packets: None })
}

fn meter(committed: Rates) -> Arc<Meter> {
    let plan = MeterPlan { committed, exceeding: Exceeding::Waits, ..MeterPlan::default() };
    Arc::new(Meter::new(plan, viaduct_switch::Nanos(0)))
}

/// Lets these ports keep to these meters from now on.
fn police(dataplane: &mut Dataplane, meters: &[(usize, &Arc<Meter>)]) {
    let network = NetworkIndex::new(0).unwrap();
    let ports = (0..6).map(|index| {
        let mut policy = PortPolicy::new(network, 1500);
        policy.police = meters.iter().find(|(of, _)| *of == index).map(|(_, meter)| Arc::clone(meter));
        (port(index), policy)
    });
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    dataplane.set_policy(Arc::new(policy));
}

fn pauses(dataplane: &Dataplane, index: usize) -> (u64, Duration) {
    let counted = dataplane.switch().counters().port(port(index)).snapshot();
    (counted.pauses, Duration::from_nanos(counted.paused.0))
}

/// Sends a frame more than the port may, and sees that no more than two are taken: what was held and what is owed.
fn pause(dataplane: &mut Dataplane, guests: &mut [Guest; 3]) {
    (0..8).for_each(|number| guests[0].send(2, number));
    guests[0].wait_used(1, 3);
    let deadline = Instant::now() + Duration::from_secs(5);
    while pauses(dataplane, 0).0 == 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_micros(200));
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!((guests[0].used(1), pauses(dataplane, 0).0), (3, 1), "the others stay in the ring");
}

/// Sends `count` frames by each of the senders as fast as rings have room; gives how many had arrived of each when the first one had
/// all of its, and checks that all arrive once and in order.
fn carry(guests: &mut [Guest; 3], senders: usize, count: u32, mut between: impl FnMut()) -> [u32; 2] {
    let [first, second, receiver] = guests;
    let (mut sent, mut expected, mut taken, mut when_done) = ([0; 2], [0; 2], 0, None);
    let deadline = Instant::now() + Duration::from_secs(30);
    while expected[..senders].iter().any(|expected| *expected < count) {
        for (sender, place) in [&mut *first, &mut *second].into_iter().zip(0..senders) {
            sender.send_up_to(2, &mut sent[place], count.min(expected[place] + WINDOW));
        }
        for (from, number) in receiver.take_numbered(&mut taken) {
            let expected = &mut expected[usize::from(from)];
            assert_eq!(number, *expected, "from guest {from}");
            *expected += 1;
        }
        if when_done.is_none() && expected.contains(&count) {
            when_done = Some(expected);
        }
        between();
        assert!(Instant::now() < deadline, "sent {sent:?}, arrived {expected:?}");
    }
    when_done.unwrap_or(expected)
}

/// How long frames take at a rate in packets at least, the first ones of which pass as a burst and the last one of which is owed.
fn least(frames: u32, burst: u32, per_second: u32) -> Duration {
    Duration::from_secs_f64(f64::from(frames - burst - 64) / f64::from(per_second))
}

#[test]
fn what_comes_above_the_rate_waits_in_the_ring_and_none_of_it_is_lost() {
    let mut dataplane = dataplane(&[0]);
    let mut guests = three(&mut dataplane);
    let meter = by_packets(10_000, 128);
    police(&mut dataplane, &[(0, &meter)]);
    let begun = Instant::now();
    carry(&mut guests, 1, 6000, || {});
    let took = begun.elapsed();
    assert!(took >= least(6000, 128, 10_000), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?} instead of 590 ms");
    for reason in [DropReason::Policed, DropReason::NoBuffer] {
        assert_eq!(drops(&dataplane, 0, reason) + drops(&dataplane, 2, reason), 0);
    }
    assert_eq!(meter.counters().conforming.frames, 6000);
    let (times, paused) = pauses(&dataplane, 0);
    assert!(times >= 20, "{times} pauses");
    assert!(paused >= Duration::from_millis(100) && paused <= took, "{paused:?} of {took:?}");
}

#[test]
fn a_worker_whose_rings_pause_sleeps_and_whatever_kicks_come_it_reads_none() {
    let mut dataplane = dataplane(&[0]);
    let mut guests = three(&mut dataplane);
    police(&mut dataplane, &[(0, &by_the_minute())]);
    pause(&mut dataplane, &mut guests);
    let before = dataplane.workers()[0];
    thread::sleep(Duration::from_millis(200));
    let after = dataplane.workers()[0];
    assert!(after.sleeps <= before.sleeps + 2 && after.spins == before.spins, "{before:?}, then {after:?}");
    for _ in 0..100 {
        guests[0].kick(1);
        thread::sleep(Duration::from_micros(100));
    }
    dataplane.set_polling(Polling::Busy);
    // Its neighbour waits for nothing.
    let (sent, came) = (guests[1].used(1), guests[2].used(0));
    guests[1].send(2, 77);
    guests[1].wait_used(1, sent + 1);
    guests[2].wait_used(0, came + 1);
    assert_eq!(guests[0].used(1), 3);
    dataplane.set_polling(Polling::Interrupt);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(guests[0].used(1), 3);
    // It ends at once.
    let begun = Instant::now();
    drop(dataplane);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn another_rate_or_none_ends_a_pause_at_once() {
    for none in [false, true] {
        let mut dataplane = dataplane(&[0]);
        let mut guests = three(&mut dataplane);
        let slow = by_the_minute();
        police(&mut dataplane, &[(0, &slow)]);
        pause(&mut dataplane, &mut guests);
        // The same meter in another policy ends nothing.
        police(&mut dataplane, &[(0, &slow), (3, &slow)]);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(guests[0].used(1), 3);
        let faster = Allowance { per_second: 8_000_000, burst: 100_000 };
        let plan = MeterPlan { committed: Rates { bits: Some(faster), packets: None }, ..*slow.plan() };
        let fast = Arc::new(slow.succeeded_by(plan, viaduct_switch::Nanos(0)));
        let wanted = [(0, &fast)];
        police(&mut dataplane, if none { &[] } else { &wanted });
        guests[0].wait_used(1, 8);
        guests[2].wait_used(0, 8);
        assert!((0..8).all(|number| guests[2].received(number) == u8::try_from(number).unwrap()));
        assert!(pauses(&dataplane, 0).1 >= Duration::from_millis(40));
    }
}

#[test]
fn a_ring_that_stops_while_it_pauses_stops_at_once_and_gains_nothing_by_starting_anew() {
    let mut dataplane = dataplane(&[0]);
    let mut guests = three(&mut dataplane);
    police(&mut dataplane, &[(0, &by_the_minute())]);
    pause(&mut dataplane, &mut guests);
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(dataplane.detach(port(0))[1], RingPosition { index: 1, base: 3 });
        assert!(begun.elapsed() < Duration::from_secs(2));
        dataplane.attach(guests[0].setup([0, 3]));
        guests[0].kick(1);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(guests[0].used(1), 3);
    }
    // Another ring in its place in the worker's table has nothing to do with it.
    dataplane.detach(port(0));
    let mut other = Guest::new(4);
    dataplane.attach(other.setup([0, 0]));
    other.send(2, 50);
    other.wait_used(1, 1);
    assert!(pauses(&dataplane, 0).1 >= Duration::from_millis(20));
}

#[test]
fn a_ring_that_moves_between_workers_takes_its_pause_along() {
    let mut dataplane = dataplane(&[0, 1]);
    let mut guests = three(&mut dataplane);
    police(&mut dataplane, &[(0, &by_packets(10_000, 128))]);
    let (begun, mut at, mut moves) = (Instant::now(), 0, 0);
    carry(&mut guests, 1, 6000, || {
        let (from, to) = (at, 1 - at);
        dataplane.hand_over(Move { port: port(0), ring: 1, from, to });
        (at, moves) = (to, moves + 1);
    });
    let took = begun.elapsed();
    assert!(moves > 50, "only {moves} moves");
    assert!(took >= least(6000, 128, 10_000), "{took:?}: it gained by {moves} moves");
    assert!(took < Duration::from_secs(3), "{took:?}");
    police(&mut dataplane, &[(0, &by_the_minute())]);
    let base = dataplane.detach(port(0))[1].base;
    assert_eq!(base, 6000);
}

#[test]
fn two_ports_of_two_workers_that_share_a_rate_come_in_turns() {
    let mut dataplane = dataplane(&[0, 1]);
    let mut guests = three(&mut dataplane);
    let shared = by_packets(10_000, 128);
    police(&mut dataplane, &[(0, &shared), (1, &shared)]);
    let begun = Instant::now();
    let arrived = carry(&mut guests, 2, 3000, || {});
    assert!(begun.elapsed() >= least(6000, 192, 10_000));
    assert!(arrived.iter().all(|arrived| *arrived >= 1000), "{arrived:?}");
    assert_eq!(shared.counters().conforming.frames, 6000);
}
