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
