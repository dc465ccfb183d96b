//! Classes that share a rate.

use super::support::*;
use crate::qos::*;
use crate::time::Nanos;

const MBIT: u64 = 1_000_000;

/// Scenario S6: 30, 10 and 60 of 100 mbit.
fn shared() -> TreePlan {
    htb(
        100 * MBIT,
        &[(None, 30 * MBIT, 100 * MBIT), (None, 10 * MBIT, 100 * MBIT), (None, 60 * MBIT, 100 * MBIT)],
    )
}

/// The bits a second of each of `places` while those in `busy` have something to send: so long that a frame is no matter.
fn rates(plan: &TreePlan, busy: &[usize], length: u32) -> Vec<u64> {
    let mut lab = Lab::new(plan);
    let sources: Vec<(usize, Item)> = busy.iter().map(|place| (*place, item(0, length))).collect();
    let seconds = 1 + length / 3000;
    lab.keep_busy(&sources, Nanos::from_seconds(1 + seconds));
    let RootPlan::Htb(htb) = &plan.root else { return Vec::new() };
    let within = (Nanos::from_seconds(1), Nanos::from_seconds(1 + seconds));
    (0..htb.classes.len())
        .map(|place| lab.bytes(place, within.0, within.1) * 8 / u64::from(seconds))
        .collect()
}

/// That each rate is within `parts` in a thousand of what is expected.
fn assert_near(rates: &[u64], expected: &[u64], parts: u64) {
    for (place, (rate, expected)) in rates.iter().zip(expected).enumerate() {
        assert!(rate.abs_diff(*expected) * 1000 <= expected * parts, "class {place}: {rates:?}");
    }
}

#[test]
fn all_busy_classes_get_their_rates() {
    for length in [64, 1518, 65_000] {
        let rates = rates(&shared(), &[0, 1, 2], length);
        assert_near(&rates, &[30 * MBIT, 10 * MBIT, 60 * MBIT], 10);
    }
}

#[test]
fn what_an_idle_class_leaves_is_lent_in_proportion_to_rates() {
    for length in [300, 1518, 65_000] {
        assert_near(&rates(&shared(), &[0, 1], length), &[75 * MBIT, 25 * MBIT, 0], 10);
        assert_near(&rates(&shared(), &[1, 2], length), &[0, 100 * MBIT / 7, 600 * MBIT / 7], 10);
        assert_near(&rates(&shared(), &[0, 2], length), &[100 * MBIT / 3, 0, 200 * MBIT / 3], 10);
    }
}

#[test]
fn a_class_that_is_alone_reaches_its_ceil() {
    for place in 0..3 {
        let mut expected = [0; 3];
        expected[place] = 100 * MBIT;
        assert_near(&rates(&shared(), &[place], 1518), &expected, 1);
    }
    let narrow = htb(100 * MBIT, &[(None, 30 * MBIT, 40 * MBIT), (None, 10 * MBIT, 100 * MBIT)]);
    assert_near(&rates(&narrow, &[0], 1518), &[40 * MBIT, 0], 1);
    assert_near(&rates(&narrow, &[0, 1], 1518), &[40 * MBIT, 60 * MBIT], 10);
}

#[test]
fn what_a_frame_costs_does_not_depend_on_the_number_of_classes() {
    let steps_of = |count: usize| {
        let classes: Vec<_> =
            (0..count).map(|_| (None, 10_000_000_000 / count as u64, 10_000_000_000)).collect();
        let mut plan = htb(10_000_000_000, &classes);
        let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
        // So that all but the first frame has to wait.
        (tree.root.burst, tree.root.cburst) = (burst(1), burst(1));
        tree.classes.iter_mut().for_each(|class| class.shares.burst = burst(1));
        let mut lab = Lab::new(&plan);
        for round in 0..4 {
            for place in 0..count {
                lab.send(place, item(0, 200 + 300 * round));
            }
        }
        let (steps, before) = (crate::qos::steps::so_far(), lab.departed.len());
        lab.run(Nanos::from_seconds(10));
        (crate::qos::steps::so_far() - steps) / (lab.departed.len() - before) as u64
    };
    let steps = [10, 100, 1000, 10_000].map(steps_of);
    assert!(steps.iter().all(|steps| *steps <= 30), "{steps:?}");
}

/// Scenario S6 as it is written, in all but speed: short FIFOs, and fair queueing with perturbation.
#[test]
fn the_noisy_neighbour_leaves_everybody_his_share() {
    let mut plan = shared();
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    tree.classes[0].queue = fifo(5);
    tree.classes[1].queue = fifo(5);
    let perturb = Some(Nanos::from_seconds(10));
    tree.classes[2].queue = QueuePlan::Sfq(SfqPlan { perturb, ..SfqPlan::default() });
    assert_near(&rates(&plan, &[0, 1, 2], 1518), &[30 * MBIT, 10 * MBIT, 60 * MBIT], 10);
    assert_near(&rates(&plan, &[0, 2], 1518), &[100 * MBIT / 3, 0, 200 * MBIT / 3], 10);
    assert_near(&rates(&plan, &[1], 1518), &[0, 100 * MBIT, 0], 1);
}

#[test]
fn what_is_left_goes_to_the_first_priority() {
    let mut plan = shared();
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    // The second takes all that the third leaves idle.
    tree.classes[0].priority = 1;
    assert_near(&rates(&plan, &[0, 1], 1518), &[30 * MBIT, 70 * MBIT, 0], 10);
    // What is guaranteed is so whatever the priority.
    assert_near(&rates(&plan, &[0, 1, 2], 1518), &[30 * MBIT, 10 * MBIT, 60 * MBIT], 10);
}

/// Two customers of 60 and 40 mbit with two stations each, of which one has classes.
fn three_levels() -> TreePlan {
    let customer = |bits| (None, bits * MBIT, 100 * MBIT);
    let station = |parent, bits: u64| (Some(parent), bits * MBIT, 100 * MBIT);
    let classes = [
        customer(60),
        customer(40),
        station(0, 40),
        station(0, 20),
        station(1, 30),
        station(1, 10),
        station(2, 30),
        station(2, 10),
    ];
    htb(100 * MBIT, &classes)
}

#[test]
fn what_is_left_is_lent_within_a_branch_first_and_in_proportion_at_every_level() {
    let of = |busy: &[usize]| rates(&three_levels(), busy, 1000);
    let expect = |busy: &[usize], expected: [u64; 5]| {
        let got = of(busy);
        let leaves = [got[3], got[4], got[5], got[6], got[7]];
        assert_near(&leaves, &expected.map(|tenths| tenths * MBIT / 10), 15);
    };
    expect(&[3, 4, 5, 6, 7], [200, 300, 100, 300, 100]);
    // The classes of station 2 share what is its own.
    expect(&[3, 4, 5, 7], [200, 300, 100, 0, 400]);
    // The first customer's stations share what is his.
    expect(&[3, 4, 5], [600, 300, 100, 0, 0]);
    // With the second customer's second station idle, the first one takes his share.
    expect(&[3, 4, 6, 7], [200, 400, 0, 300, 100]);
    // A customer that is idle leaves his share to the other, whose stations have it by their rates: 2 of 3 and 1 of 3.
    expect(&[3, 6, 7], [333, 0, 0, 500, 167]);
}

#[test]
fn a_tree_of_all_levels_there_may_be_lends_as_a_flat_one() {
    // Each class has one below it, and the last one two, which share what the root has.
    let one_below_another = (0..30).map(|place: usize| (place.checked_sub(1), 10 * MBIT, 100 * MBIT));
    let two = [6, 4].map(|bits: u64| (Some(29), bits * MBIT, 100 * MBIT));
    let classes: Vec<_> = one_below_another.chain(two).collect();
    let got = rates(&htb(100 * MBIT, &classes), &[30, 31], 1000);
    assert_near(&got[30..], &[60 * MBIT, 40 * MBIT], 15);
}

#[test]
fn who_borrowed_and_who_lent_is_told() {
    let mut lab = Lab::new(&shared());
    lab.keep_busy(&[(0, item(0, 1000))], Nanos::from_seconds(4));
    let report = lab.tree.report(lab.now);
    let class = &report.classes[0];
    let bytes = |mbit: u64| mbit * MBIT / 8 * 4;
    let near =
        |got: u64, expected: u64| assert!(got.abs_diff(expected) < expected / 50, "{got} for {expected}");
    near(class.sent.bytes, bytes(100));
    near(class.borrowed_bytes, bytes(70));
    assert_eq!(report.root.lent_bytes, class.borrowed_bytes);
    assert_eq!(report.root.sent, class.sent);
    near(class.bits_per_second, 100 * MBIT);
    near(report.root.bits_per_second, 100 * MBIT);
    assert_eq!((report.root.backlog, &*report.root.name), (class.backlog, "root"));
    assert_eq!(report.classes[1].sent.frames, 0);
    // What was is not what is.
    assert_eq!(lab.tree.report(Nanos::from_seconds(400)).classes[0].bits_per_second / MBIT, 0);
}

#[test]
fn a_class_whose_queue_holds_back_leaves_its_share_to_others() {
    let mut plan = shared();
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    let slow = TbfPlan { rate: rate(5 * MBIT), burst: burst(2000), peak: None, queue: fifo(1000) };
    tree.classes[2].queue = QueuePlan::Tbf(Box::new(slow));
    let rates = rates(&plan, &[0, 1, 2], 1000);
    assert_near(&rates, &[95 * MBIT * 3 / 4, 95 * MBIT / 4, 5 * MBIT], 15);
}

#[test]
fn a_thousand_trees_with_ten_thousand_classes_cost_a_frame_no_more_than_one() {
    let steps_of = |trees: usize, classes: usize| {
        let specs: Vec<_> = (0..classes).map(|_| (None, 100 * MBIT / classes as u64, 100 * MBIT)).collect();
        let mut plan = htb(100 * MBIT, &specs);
        let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
        let flows = FqCodelPlan { flows: 64, ..FqCodelPlan::default() };
        tree.classes.iter_mut().for_each(|class| class.queue = QueuePlan::FqCodel(flows));
        let mut labs: Vec<_> = (0..trees).map(|_| Lab::new(&plan)).collect();
        let before = crate::qos::steps::so_far();
        for lab in &mut labs {
            let sources: Vec<_> = (0..classes).map(|place| (place, item(0, 1500))).collect();
            lab.keep_busy(&sources, Nanos::from_millis(20));
        }
        let departed: usize = labs.iter().map(|lab| lab.departed.len()).sum();
        (crate::qos::steps::so_far() - before) / departed as u64
    };
    let (one, many) = (steps_of(1, 10), steps_of(1000, 10));
    assert!(one <= 40 && many <= one, "{one}, {many}");
}

/// Turns are for those who wait: what passed while nobody did is owed to nobody.
#[test]
fn what_passed_uncontended_takes_no_turns_later() {
    let plan = htb(100 * MBIT, &[(None, 30 * MBIT, 100 * MBIT), (None, 30 * MBIT, 100 * MBIT)]);
    let mut lab = Lab::new(&plan);
    // The first borrows for ten seconds, alone.
    for _ in 0..50_000 {
        lab.now = lab.now + Nanos(200_000);
        assert!(lab.tree.admit(lab.now, class(0), 1500));
    }
    let (began, steps) = (lab.now, crate::qos::steps::so_far());
    lab.keep_busy(&[(0, item(0, 1500)), (1, item(0, 1500))], began + Nanos(SECOND));
    let shares = [0, 1].map(|place| lab.bytes(place, began, lab.now));
    assert!(shares[0].abs_diff(shares[1]) < 200_000, "{shares:?}");
    let departed = lab.departed.len() as u64;
    assert!(crate::qos::steps::so_far() - steps < departed * 40);
}

#[test]
fn a_queue_alone_has_all_the_room_of_its_tree() {
    let slow = TbfPlan { rate: rate(MBIT), burst: burst(1600), peak: None, queue: fifo(200) };
    let mut plan = of_queue(QueuePlan::Tbf(Box::new(slow)));
    plan.limits = TreeLimits { frames: 300, bytes: 1 << 20 };
    let mut lab = Lab::new(&plan);
    for _ in 0..250 {
        lab.send(0, item(0, 1500));
    }
    assert_eq!(lab.tree.backlog().frames, 200, "it is its own length that counts");
}

#[test]
fn a_flood_to_all_classes_takes_no_more_memory_than_is_set_aside_and_a_quiet_class_has_room() {
    let classes: Vec<_> = (0..100).map(|_| (None, MBIT, 100 * MBIT)).collect();
    let mut plan = htb(100 * MBIT, &classes);
    plan.limits = TreeLimits { frames: 5000, bytes: 4 << 20 };
    // One that runs into the limit of bytes, one into that of frames.
    for length in [1500, 64] {
        let mut lab = Lab::new(&plan);
        let mut lost = 0;
        for tick in 0..200_u32 {
            for number in 0..3000 / length * 99 {
                lab.send(1 + number as usize % 99, item(0, length));
            }
            let before = lab.dropped.0.len();
            // 0.6 mbit.
            if tick % 20 == 19 {
                lab.send(0, item(0, 1500));
            }
            lost += lab.dropped.0.len() - before;
            let backlog = lab.tree.backlog();
            assert!(backlog.frames <= 5000 && backlog.bytes <= 4 << 20, "{backlog:?} at {tick}");
            lab.run(lab.now + Nanos::from_millis(1));
        }
        assert!(lab.dropped.0.len() > 10_000);
        assert_eq!(lost, 0);
    }
}
