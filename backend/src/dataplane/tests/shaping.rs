//! Trees of queues before ports, with workers that run.

use viaduct_switch::qos::{
    BitRate, Burst, FifoPlan, PlanError, QueuePlan, RootPlan, TbfPlan, TreeLimits, TreePlan,
};

use super::*;

/// Bytes of a test frame.
const FRAME: u64 = 200;

/// A token bucket of so many bits a second, with a queue of so many frames.
fn bucket(bits: u64, frames: u32) -> TreePlan {
    let queue = QueuePlan::Fifo(FifoPlan { frames, ..FifoPlan::default() });
    let (rate, burst) = (BitRate::new(bits).unwrap(), Burst::new(1600).unwrap());
    TreePlan {
        root: RootPlan::Queue(QueuePlan::Tbf(Box::new(TbfPlan { rate, burst, peak: None, queue }))),
        filters: Vec::new(),
        overhead_bytes: 0,
        limits: TreeLimits::default(),
    }
}

fn set(dataplane: &mut Dataplane, trees: &[(&str, TreePlan, &[usize])]) {
    let setup = |(name, plan, ports): &(&str, TreePlan, &[usize])| TreeSetup {
        name: (*name).into(),
        plan: Arc::new(plan.clone()),
        ports: ports.iter().map(|index| port(*index)).collect(),
    };
    let refused: Vec<(_, PlanError)> = dataplane.set_shaping(trees.iter().map(setup).collect());
    assert!(refused.is_empty(), "{refused:?}");
}

/// A guest that sends, and one that receives behind a tree.
fn pair(cpus: &[usize], receiver: usize, plan: TreePlan) -> (Dataplane, Guest, Guest) {
    let mut dataplane = dataplane(cpus);
    set(&mut dataplane, &[("tree", plan, &[receiver])]);
    let (a, mut b) = (Guest::new(0), Guest::new(receiver));
    (0..SIZE).for_each(|_| b.offer(0, &[]));
    dataplane.attach(a.setup([0, 0]));
    dataplane.attach(b.setup([0, 0]));
    (dataplane, a, b)
}

/// Waits until the guest has got so many frames in all, or more.
fn wait_for(guest: &Guest, frames: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while guest.used(0) < frames {
        assert!(Instant::now() < deadline, "{} of {frames} frames came", guest.used(0));
        thread::sleep(Duration::from_micros(100));
    }
}

/// Takes `frames` frames as they come, and asserts that they are numbered from `first` on.
fn take_in_order(guest: &mut Guest, first: u16, frames: u16) {
    take(guest, first..first + frames, |number| number);
}

/// Takes the frames at these places as they come, and asserts that their numbers are as they have to be.
fn take(guest: &mut Guest, places: std::ops::Range<u16>, expected: impl Fn(u16) -> u16) {
    for place in places {
        wait_for(guest, place + 1);
        let number = u16::from(guest.received(place % SIZE));
        assert_eq!(number, expected(place) % 256, "frame {place}");
        guest.offer(0, &[]);
        guest.kick(0);
    }
}

fn send(guest: &mut Guest, to: u8, numbers: std::ops::Range<u16>) {
    for number in numbers {
        guest.send(to, u8::try_from(number % 256).unwrap());
        guest.wait_used(1, number + 1);
    }
}

#[test]
fn frames_leave_at_their_rate_and_in_order_whichever_worker_has_the_tree() {
    // Port 1 belongs to worker 1 where there are two; who sends is on the other one.
    for (cpus, receiver) in [(&[0][..], 1), (&[0, 1], 1), (&[0, 1], 2)] {
        let (dataplane, mut a, mut b) = pair(cpus, receiver, bucket(4_000_000, 1000));
        let started = Instant::now();
        let frames = 250;
        send(&mut a, u8::try_from(receiver).unwrap(), 0..frames);
        take_in_order(&mut b, 0, frames);
        let (took, sent) = (started.elapsed(), u64::from(frames) * FRAME);
        let least = Duration::from_micros((sent - 1600 - FRAME) * 2);
        assert!(took >= least, "{sent} bytes in {took:?} at 4 mbit");
        let reports = dataplane.shaping();
        let root = &reports[0].report.root;
        assert_eq!((&*reports[0].name, root.sent.frames, root.sent.bytes), ("tree", u64::from(frames), sent));
        assert_eq!((root.backlog.frames, root.dropped), (0, 0));
        assert_eq!(
            dataplane.switch().counters().port(port(receiver)).snapshot().sent.frames,
            u64::from(frames)
        );
    }
}

#[test]
fn a_tree_that_is_never_short_of_tokens_copies_nothing() {
    let (dataplane, mut a, mut b) = pair(&[0], 1, bucket(10_000_000_000, 1000));
    send(&mut a, 1, 0..300);
    drop(dataplane.shaping());
    assert_eq!(dataplane.shaped_bytes(), 0, "memory of frames that wait");
    take_in_order(&mut b, 0, 60);
}

#[test]
fn what_is_more_than_the_queue_holds_is_lost_and_counted_at_the_receiver() {
    let (dataplane, mut a, b) = pair(&[0], 1, bucket(100_000, 10));
    send(&mut a, 1, 0..60);
    // Eight frames pass as a burst, ten wait; what leaves meanwhile makes room for others.
    wait_for(&b, 8);
    let lost = drops(&dataplane, 1, DropReason::QueueFull);
    let root = &dataplane.shaping()[0].report.root;
    assert_eq!(root.dropped, lost);
    // One more is out of the queue, and waits for its tokens.
    assert!(lost > 0 && root.backlog.frames <= 11, "{root:?}");
    assert_eq!(root.sent.frames + u64::from(root.backlog.frames) + lost, 60);
    assert_eq!(drops(&dataplane, 0, DropReason::QueueFull), 0);
}

#[test]
fn a_worker_sleeps_between_departures() {
    // A machine that has others to run wakes it later, so that several leave at once, and it sleeps less often.
    let mut seen = Vec::new();
    let has_slept = (0..5).any(|_| {
        let (dataplane, mut a, mut b) = pair(&[0], 1, bucket(1_000_000, 1000));
        let before = dataplane.workers()[0].sleeps;
        send(&mut a, 1, 0..108);
        take_in_order(&mut b, 0, 108);
        seen.push(dataplane.workers()[0].sleeps - before);
        // A hundred frames, 1.6 ms each.
        seen.last() >= Some(&50)
    });
    assert!(has_slept, "{seen:?}");
}

#[test]
fn a_change_of_rate_loses_nothing_and_comes_at_once() {
    let (mut dataplane, mut a, mut b) = pair(&[0, 1], 1, bucket(10_000, 1000));
    send(&mut a, 1, 0..200);
    thread::sleep(Duration::from_millis(5));
    // At the old rate the first of them would have to wait for 160 ms, all of them for half a minute.
    set(&mut dataplane, &[("tree", bucket(20_000_000, 1000), &[1])]);
    let started = Instant::now();
    take_in_order(&mut b, 0, 200);
    assert!(started.elapsed() < Duration::from_secs(5));
    send(&mut a, 1, 200..230);
    take_in_order(&mut b, 200, 30);
}

#[test]
fn what_waits_in_a_tree_that_is_taken_away_goes_first_and_nothing_is_lost() {
    for cpus in [&[0][..], &[0, 1]] {
        let (mut dataplane, mut a, mut b) = pair(cpus, 1, bucket(10_000, 1000));
        send(&mut a, 1, 0..200);
        set(&mut dataplane, &[]);
        send(&mut a, 1, 200..260);
        let taker = thread::spawn(move || take_in_order(&mut b, 0, 260));
        let started = Instant::now();
        while !taker.is_finished() && started.elapsed() < Duration::from_secs(10) {
            dataplane.tick();
            thread::sleep(Duration::from_millis(10));
        }
        taker.join().unwrap();
        assert!(dataplane.shaping().is_empty());
        assert_eq!(drops(&dataplane, 1, DropReason::NoBuffer), 0);
    }
}

#[test]
fn frames_that_wait_survive_a_restart_of_their_ports_driver() {
    for cpus in [&[0][..], &[0, 1]] {
        let (mut dataplane, mut a, mut b) = pair(cpus, 1, bucket(2_000_000, 1000));
        send(&mut a, 1, 0..100);
        let mut bases = [0, 0];
        for _ in 0..5 {
            let positions = dataplane.detach(port(1));
            bases[0] = positions[0].base;
            thread::sleep(Duration::from_millis(5));
            dataplane.attach(b.setup(bases));
            thread::sleep(Duration::from_millis(5));
        }
        take_in_order(&mut b, 0, 100);
        assert_eq!(drops(&dataplane, 1, DropReason::ReceiverDown), 0);
    }
}

#[test]
fn a_port_that_does_not_come_back_frees_what_waits_for_it() {
    let (mut dataplane, mut a, b) = pair(&[0], 1, bucket(10_000, 1000));
    send(&mut a, 1, 0..100);
    wait_for(&b, 8);
    dataplane.detach(port(1));
    (0..40).for_each(|_| dataplane.tick());
    let lost = drops(&dataplane, 1, DropReason::ReceiverDown);
    assert_eq!(lost + u64::from(b.used(0)), 100);
    assert_eq!(dataplane.shaped_bytes(), 0);
    assert_eq!(dataplane.shaping()[0].report.root.backlog.frames, 0);
}

#[test]
fn a_port_that_is_down_holds_up_no_other_of_its_tree() {
    let (mut dataplane, mut a, mut b) = pair(&[0], 1, bucket(2_000_000, 1000));
    let mut c = Guest::new(2);
    (0..SIZE).for_each(|_| c.offer(0, &[]));
    set(&mut dataplane, &[("tree", bucket(2_000_000, 1000), &[1, 2])]);
    dataplane.attach(c.setup([0, 0]));
    for number in 0..40u16 {
        a.send(1, u8::try_from(number).unwrap());
        a.send(2, u8::try_from(number).unwrap());
        a.wait_used(1, 2 * number + 2);
    }
    // Nobody knows where the two are, so that both get all of them.
    let base = dataplane.detach(port(1))[0].base;
    take(&mut c, 0..80, |place| place / 2);
    dataplane.attach(b.setup([base, 0]));
    take(&mut b, 0..80, |place| place / 2);
    assert_eq!(drops(&dataplane, 1, DropReason::ReceiverDown), 0);
}

#[test]
fn floods_pass_the_trees_of_those_who_get_them_too() {
    // Few receivers get a flood within its burst, many in turns.
    for ports in [4, 30] {
        let mut dataplane = dataplane_of(&[0, 1], ports);
        set(&mut dataplane, &[("tree", bucket(2_000_000, 1000), &[2])]);
        let mut guests: Vec<_> = (0..ports).map(Guest::new).collect();
        for guest in &mut guests {
            (0..SIZE).for_each(|_| guest.offer(0, &[]));
            dataplane.attach(guest.setup([0, 0]));
        }
        let started = Instant::now();
        for number in 0..60 {
            guests[0].send(200, number);
        }
        wait_for(&guests[3], 60);
        take_in_order(&mut guests[2], 0, 60);
        assert!(started.elapsed() >= Duration::from_micros((60 * FRAME - 1600 - FRAME) * 4));
        let lost = (0..ports).map(|index| dataplane.switch().counters().port(port(index)).snapshot());
        assert_eq!(lost.map(|snapshot| snapshot.dropped().count()).sum::<usize>(), 0);
        assert_eq!(dataplane.shaping()[0].report.root.sent.frames, 60);
    }
}

#[test]
fn a_receiver_without_buffers_has_its_frames_wait_as_without_a_tree() {
    let (dataplane, mut a, mut b) = pair(&[0], 1, bucket(20_000_000, 1000));
    send(&mut a, 1, 0..180);
    wait_for(&b, SIZE);
    while dataplane.shaping()[0].report.root.backlog.frames > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    take_in_order(&mut b, 0, 180);
    assert_eq!(drops(&dataplane, 1, DropReason::NoBuffer), 0);
}

#[test]
fn a_plan_that_is_no_good_changes_nothing() {
    let (mut dataplane, mut a, mut b) = pair(&[0], 1, bucket(20_000_000, 1000));
    let mut wrong = bucket(1000, 10);
    wrong.limits.frames = 0;
    let setup = TreeSetup { name: "tree".into(), plan: Arc::new(wrong), ports: vec![port(1)] };
    assert_eq!(dataplane.set_shaping(vec![setup]).len(), 1);
    send(&mut a, 1, 0..60);
    take_in_order(&mut b, 0, 60);
}

#[test]
fn a_port_that_is_away_for_less_than_a_second_loses_nothing() {
    let (mut dataplane, mut a, mut b) = pair(&[0], 1, bucket(2_000_000, 1000));
    send(&mut a, 1, 0..100);
    // What is done once a second is about to be done.
    (0..9).for_each(|_| dataplane.tick());
    for _ in 0..3 {
        let base = dataplane.detach(port(1))[0].base;
        (0..10).for_each(|_| dataplane.tick());
        dataplane.attach(b.setup([base, 0]));
    }
    take_in_order(&mut b, 0, 100);
    assert_eq!(drops(&dataplane, 1, DropReason::ReceiverDown), 0);
}

#[test]
fn what_waits_for_ports_is_given_up_though_none_is_attached_any_more() {
    let (mut dataplane, mut a, b) = pair(&[0], 1, bucket(10_000, 1000));
    send(&mut a, 1, 0..100);
    wait_for(&b, 8);
    dataplane.detach(port(0));
    dataplane.detach(port(1));
    let mut ticks = 0;
    while dataplane.has_leftovers() {
        dataplane.tick();
        ticks += 1;
        assert!(ticks < 60, "{} bytes are left", dataplane.shaped_bytes());
    }
    assert!(ticks >= 20, "after {ticks} ticks");
    assert_eq!(drops(&dataplane, 1, DropReason::ReceiverDown) + u64::from(b.used(0)), 100);
    assert_eq!(dataplane.shaped_bytes(), 0);
}

/// A policy of two networks; of six ports these are in the second one.
fn two_networks(second: &[usize]) -> Policy {
    let network = |index| NetworkIndex::new(index).unwrap();
    let of = |index: usize| network(usize::from(second.contains(&index)));
    let ports = (0..6).map(|index| (port(index), PortPolicy::new(of(index), 1500)));
    Policy::compile(ports, [0, 1].map(|index| (network(index), NetworkSettings::default()))).unwrap()
}

#[test]
fn a_port_that_moves_to_another_network_gets_nothing_that_waited_of_the_one_before() {
    let (mut dataplane, mut a, mut b) = pair(&[0, 1], 1, bucket(10_000, 1000));
    dataplane.set_policy(Arc::new(two_networks(&[])));
    send(&mut a, 1, 0..100);
    wait_for(&b, 8);
    dataplane.set_policy(Arc::new(two_networks(&[2])));
    assert_eq!(drops(&dataplane, 1, DropReason::NoNetwork), 0, "another port's move");
    dataplane.set_policy(Arc::new(two_networks(&[1, 2])));
    let got = b.used(0);
    assert_eq!(drops(&dataplane, 1, DropReason::NoNetwork) + u64::from(got), 100);
    // What comes in its network now is not held up by what was thrown away.
    set(&mut dataplane, &[("tree", bucket(20_000_000, 1000), &[1])]);
    let mut c = Guest::new(2);
    dataplane.attach(c.setup([0, 0]));
    for number in 0..10_u8 {
        c.send(1, number);
        c.wait_used(1, u16::from(number) + 1);
    }
    take(&mut b, 0..got + 10, |place| if place < got { place } else { place - got });
}
