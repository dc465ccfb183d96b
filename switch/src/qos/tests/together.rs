//! Frames that are reckoned with together depart as if each had been by itself.

use proptest::prelude::*;

use super::support::*;
use crate::qos::{steps, *};
use crate::time::Nanos;

/// Rates at which a byte takes whole nanoseconds: nothing is rounded, however much is put together.
fn exact(bits: &'static [u64]) -> impl Strategy<Value = u64> {
    proptest::sample::select(bits)
}

const RATES: &[u64] = &[1_000_000, 2_000_000, 4_000_000, 8_000_000, 10_000_000];
const CEILS: &[u64] = &[20_000_000, 40_000_000, 80_000_000];

/// A root, two classes, and two below each; one of the leaves has a rate of its own inside.
fn plan() -> impl Strategy<Value = TreePlan> {
    let class = (exact(RATES), exact(CEILS), 200..20_000_u32, 0..3_u8);
    (proptest::collection::vec(class, 6), exact(CEILS), 200..50_000_u32).prop_map(|(specs, bits, bytes)| {
        let parents = [None, None, Some(0), Some(0), Some(1), Some(1)];
        let shapes: Vec<_> = parents.into_iter().map(|parent| (parent, 1_000_000, 80_000_000)).collect();
        let mut plan = htb(80_000_000, &shapes);
        let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
        htb.root =
            Shares { burst: burst(bytes), cburst: burst(bytes), ..Shares::new(rate(bits), rate(bits)) };
        for (class, (bits, more, bytes, priority)) in htb.classes.iter_mut().zip(specs) {
            let shares = Shares::new(rate(bits), rate(more));
            class.shares = Shares { burst: burst(bytes), cburst: burst(bytes * 2), ..shares };
            class.priority = priority;
        }
        let inner = TbfPlan { rate: rate(8_000_000), burst: burst(3000), peak: None, queue: fifo(50) };
        htb.classes[5].queue = QueuePlan::Tbf(Box::new(inner));
        plan.limits = TreeLimits { frames: 500, bytes: 200_000 };
        plan
    })
}

/// Visits: after so many nanoseconds, frames of these leaves and lengths.
fn visits() -> impl Strategy<Value = Vec<(u64, Vec<(usize, u32)>)>> {
    let length = prop_oneof![64..100_u32, 64..1515_u32, Just(9000)];
    let frames = proptest::collection::vec((2..6_usize, length), 1..40);
    proptest::collection::vec((0..2_000_000_u64, frames), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn frames_depart_as_if_each_were_reckoned_with_by_itself(plan in plan(), visits in visits()) {
        let [mut together, mut alone] = [Lab::new(&plan), Lab::new(&plan)];
        alone.is_alone = true;
        for lab in [&mut together, &mut alone] {
            for (after, frames) in &visits {
                lab.run(lab.now + Nanos(*after));
                for (place, length) in frames {
                    lab.send(*place, item(0, *length));
                }
            }
            lab.run(lab.now + Nanos::from_seconds(60));
            lab.tree.settle();
        }
        let departed = |lab: &Lab| -> Vec<_> {
            lab.departed.iter().map(|departure| (departure.item.ticket, departure.at)).collect()
        };
        prop_assert_eq!(departed(&together), departed(&alone));
        prop_assert_eq!(together.tree.report(together.now), alone.tree.report(alone.now));
    }
}

#[test]
fn frames_of_several_classes_pass_with_few_looks_at_the_tree() {
    let classes = [
        (None, 400_000_000, 400_000_000),
        (Some(0), 100_000_000, 100_000_000),
        (Some(0), 100_000_000, 100_000_000),
    ];
    let mut tree = Tree::new(&htb(1_000_000_000, &classes), 7, Nanos(0)).unwrap();
    let before = steps::so_far();
    for number in 0..64 {
        assert!(tree.admit_of_many(Nanos(1000), class(1 + number % 2), 64));
    }
    tree.settle();
    let steps = steps::so_far() - before;
    assert!(steps < 64, "{steps} steps for 64 frames");
    let report = tree.report(Nanos(1000));
    assert_eq!((report.root.sent.frames, report.root.sent.bytes), (64, 64 * 64));
    assert_eq!((report.classes[1].sent.frames, report.classes[2].sent.frames), (32, 32));
}
