//! What holds for any tree and anything that is sent through it.

use proptest::prelude::*;

use super::support::*;
use crate::qos::*;
use crate::time::Nanos;

fn queue() -> impl Strategy<Value = QueuePlan> {
    let small = FqCodelPlan { flows: 8, frames: 30, ..FqCodelPlan::default() };
    let quick = FqCodelPlan { target: Nanos(100_000), interval: Nanos(1_000_000), ..small };
    let perturb = Some(Nanos(1_000_000));
    let leaf = prop_oneof![
        (1..30_u32, 1..50_000_u64).prop_map(|(frames, bytes)| QueuePlan::Fifo(FifoPlan { frames, bytes })),
        (1..30_u32, 1..10_u32).prop_map(move |(frames, depth)| {
            QueuePlan::Sfq(SfqPlan { frames, depth, divisor: 4, perturb, ..SfqPlan::default() })
        }),
        Just(QueuePlan::FqCodel(small)),
        Just(QueuePlan::FqCodel(quick)),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            (inner.clone(), 500_000..50_000_000_u64, 1..5000_u32).prop_map(|(queue, bits, bytes)| {
                let plan = TbfPlan { rate: rate(bits), burst: burst(bytes), peak: None, queue };
                QueuePlan::Tbf(Box::new(plan))
            }),
            proptest::collection::vec(inner, 1..4)
                .prop_map(|bands| QueuePlan::Prio(Box::new(PrioPlan { bands, ..PrioPlan::default() }))),
        ]
    })
}

/// Classes of which some are below one another; rates that fit.
fn tree() -> impl Strategy<Value = TreePlan> {
    let class = (any::<prop::sample::Index>(), 1..10_u64, 1..20_u64, 0..8_u8, queue(), 1..5000_u32);
    proptest::collection::vec(class, 1..8).prop_map(|specs| {
        let total = 100_000_000;
        let mut plan = htb(total, &[]);
        let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
        for (place, (parent, share, more, priority, queue, bytes)) in specs.into_iter().enumerate() {
            let parent = parent.index(place + 1).checked_sub(1).map(class_index);
            let of_parent = parent.map_or(total, |parent| htb.classes[parent.get()].shares.rate.bits());
            let bits = (of_parent * share / 100).max(1000);
            let ceil = (bits * more).min(total);
            let mut shares = Shares::new(rate(bits), rate(ceil));
            (shares.burst, shares.cburst) = (burst(bytes), burst(bytes + 1));
            htb.classes.push(ClassPlan {
                name: format!("class{place}").into(),
                parent,
                shares,
                quantum: None,
                priority,
                queue,
            });
        }
        htb.default = class_index(htb.classes.len() - 1);
        plan.limits = TreeLimits { frames: 100, bytes: 200_000 };
        plan
    })
}

fn class_index(place: usize) -> ClassIndex {
    ClassIndex::new(place).unwrap()
}

/// What is sent: after so many nanoseconds, to which class, of which flow, how long, of which class of service.
fn traffic() -> impl Strategy<Value = Vec<(u64, prop::sample::Index, u32, u32, u8)>> {
    let length = prop_oneof![64..1515_u32, 1514..9000_u32, Just(65_000)];
    proptest::collection::vec(
        (0..300_000_u64, any::<prop::sample::Index>(), 0..6_u32, length, 0..64_u8),
        1..300,
    )
}

/// That no more than `ceil` and what may leave at once ever leaves, and one frame: over any time, from any departure on.
fn assert_below_ceil(lab: &Lab, place: usize, shares: &Shares) {
    let departed: Vec<_> = lab.departed.iter().filter(|departure| departure.class == place).collect();
    let mut worst: i128 = 0;
    for departure in &departed {
        worst = worst.max(i128::from(departure.item.length));
    }
    // The greatest sum of what leaves less what may: from each departure on, in bits times nanoseconds a second.
    let unit = 8_000_000_000_i128;
    let allowed = (i128::from(shares.cburst.bytes()) + worst) * unit + unit;
    let (mut excess, mut last) = (0_i128, 0);
    for departure in departed {
        let passed = i128::from(departure.at.0) - last;
        last = i128::from(departure.at.0);
        excess = (excess - passed * i128::from(shares.ceil.bits())).max(0);
        excess += i128::from(departure.item.length) * unit;
        assert!(excess <= allowed, "class {place}: {} bytes above its ceil", (excess - allowed) / unit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Every frame comes out once (the lab looks at each step), flows stay in order, no class exceeds its ceil, memory
    /// is bounded, and everything that waits leaves in the end.
    #[test]
    fn trees_keep_their_promises(plan in tree(), next in tree(), traffic in traffic(), change_at in 0..300_usize) {
        let mut lab = Lab::new(&plan);
        let leaves_of = |plan: &TreePlan| {
            let RootPlan::Htb(htb) = &plan.root else { unreachable!() };
            let parents: Vec<_> = htb.classes.iter().filter_map(|class| class.parent).collect();
            (0..htb.classes.len()).filter(|place| !parents.contains(&class_index(*place))).collect::<Vec<_>>()
        };
        let mut leaves = leaves_of(&plan);
        let changes = change_at < traffic.len();
        for (number, (after, class, flow, length, dscp)) in traffic.into_iter().enumerate() {
            lab.run(lab.now + Nanos(after));
            if number == change_at {
                lab.tree.reconfigure(&next, lab.now, &mut lab.dropped).unwrap();
                leaves = leaves_of(&next);
            }
            // A flow has one class of service.
            let item = Item { dscp, ..of_flow(flow * 64 + u32::from(dscp), length) };
            lab.send(leaves[class.index(leaves.len())], item);
            let backlog = lab.tree.backlog();
            prop_assert!(backlog.frames <= 100 + 8 && backlog.bytes <= 200_000, "{:?}", backlog);
        }
        lab.run(Nanos::from_seconds(3600));
        prop_assert_eq!(lab.tree.backlog(), Backlog::default());
        prop_assert_eq!(lab.tree.report(lab.now).root.dropped, lab.dropped.0.len() as u64);
        if !changes {
            lab.assert_in_order();
            let RootPlan::Htb(htb) = &plan.root else { unreachable!() };
            for (place, class) in htb.classes.iter().enumerate() {
                assert_below_ceil(&lab, place, &class.shares);
            }
        }
    }
}

/// Leaves of a tree that changes: how many there are of [`LEAVES`], and of each its queue, its rate, its priority, and whether it is below another
/// class.
type Leaves = (usize, Vec<(usize, u64, u8, bool)>);

const LEAVES: usize = 6;

fn leaves() -> impl Strategy<Value = Leaves> {
    (1..=LEAVES, proptest::collection::vec((0..5_usize, 1..5_u64, 0..8_u8, any::<bool>()), LEAVES))
}

/// The tree, with room for all that comes.
fn ample((_, leaves): &Leaves, count: usize) -> TreePlan {
    let mbit = 1_000_000;
    let parent = |is_below: bool| is_below.then_some(count);
    let mut classes: Vec<_> = leaves
        .iter()
        .take(count)
        .map(|(_, rate, _, below)| (parent(*below), rate * mbit, 50 * mbit))
        .collect();
    if classes.iter().any(|(parent, ..)| parent.is_some()) {
        classes.push((None, 30 * mbit, 60 * mbit));
    }
    let mut plan = htb(100 * mbit, &classes);
    let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
    for (class, (queue, _, priority, _)) in htb.classes.iter_mut().zip(leaves).take(count) {
        (class.priority, class.queue) = (*priority, super::reconfigure::queues()[*queue].clone());
    }
    htb.default = class_index(0);
    plan
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// However often a tree changes while frames wait in it: whoever has room for all of them loses none, and no flow is overtaken by
    /// itself. Classes that are gone stay so: a flow whose class comes back would wait there, beside what it has in the default class.
    #[test]
    fn changes_lose_nothing_and_keep_each_flow_in_order(
        first in leaves(),
        changes in proptest::collection::vec((0..200_usize, leaves()), 1..10),
        traffic in proptest::collection::vec((0..400_000_u64, 0..12_u32, 64..9000_u32), 50..200),
    ) {
        let mut count = first.0;
        let mut lab = Lab::new(&ample(&first, count));
        let sent = traffic.len();
        for (number, (after, flow, length)) in traffic.into_iter().enumerate() {
            lab.run(lab.now + Nanos(after));
            for (_, leaves) in changes.iter().filter(|(at, _)| *at == number) {
                count = count.min(leaves.0);
                lab.tree.reconfigure(&ample(leaves, count), lab.now, &mut lab.dropped).unwrap();
            }
            let own = flow as usize % LEAVES;
            let item = Item { dscp: u8::try_from(flow).unwrap() * 5, ..of_flow(flow, length) };
            lab.send(if own < count { own } else { 0 }, item);
        }
        lab.run(Nanos::from_seconds(3600));
        prop_assert_eq!((lab.departed.len(), lab.dropped.0.len()), (sent, 0));
        let mut last = std::collections::HashMap::new();
        for departure in &lab.departed {
            let before = last.insert(departure.item.flow, departure.item.ticket);
            prop_assert!(before.is_none_or(|before| before < departure.item.ticket), "{:?} after {:?}", departure, before);
        }
    }
}
