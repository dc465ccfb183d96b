//! What plans are refused, and why.

use super::support::*;
use crate::qos::*;
use crate::time::Nanos;

const MBIT: u64 = 1_000_000;

/// Three classes, the last below the first, changed by `change`; what is said of it.
fn said(change: impl FnOnce(&mut HtbPlan)) -> String {
    let mut plan = htb(10 * MBIT, &[(None, 5 * MBIT, 10 * MBIT), (None, MBIT, MBIT), (Some(0), MBIT, MBIT)]);
    plan.check().unwrap();
    let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
    change(htb);
    let error = plan.check().unwrap_err();
    assert_eq!(Tree::new(&plan, 0, Nanos(0)).map(drop).unwrap_err(), error);
    error.to_string()
}

#[test]
fn a_wrong_plan_is_refused_by_name_with_a_remedy() {
    let said = [
        said(|htb| htb.classes[1].name = "class0".into()),
        said(|htb| htb.classes[1].name = "root".into()),
        said(|htb| htb.classes[1].parent = Some(class(9))),
        said(|htb| htb.classes[0].parent = Some(class(2))),
        said(|htb| htb.classes[1].shares.ceil = rate(MBIT - 1)),
        said(|htb| htb.classes[1].priority = 8),
        said(|htb| htb.classes[1].shares = Shares::new(rate(6 * MBIT), rate(6 * MBIT))),
        said(|htb| htb.default = class(0)),
        said(|htb| htb.classes[1].quantum = Some(255)),
        said(|htb| htb.classes.clear()),
    ];
    let expected = [
        "there are two classes class0: each needs a name of its own",
        "there is a class root, which is the name of the tree itself: give it another one",
        "class class1 is below itself, or below a class that does not exist: correct its parent",
        "class class0 is below itself, or below a class that does not exist: correct its parent",
        "class class1 has a ceil below its rate: raise the ceil, or leave it out",
        "class class1 has priority 8: it may be 0 to 7",
        "the classes below root are guaranteed 11000000 bits a second, but root may have 10000000 at most: lower their rates",
        "default leads to a class that does not exist or has classes below it: name one without",
        "class class1: quantum is 255: it may be 256 to 1073741824",
        "the tree has 0 classes: it needs 1 to 16384",
    ];
    for (said, expected) in said.iter().zip(expected) {
        assert_eq!(said, expected);
    }
    let mut plan = htb(10 * MBIT, &[(None, 5 * MBIT, 10 * MBIT)]);
    let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
    htb.classes[0].priority = 8;
    assert_eq!(plan.check(), Err(PlanError::Priority("class0".into(), 8)));
    let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
    (htb.classes[0].priority, htb.classes[0].quantum) = (7, Some(1 << 31));
    let (class, field, value) = ("class0".into(), "quantum", 1 << 31);
    assert_eq!(plan.check(), Err(PlanError::Parameter { class, field, value, least: 256, most: 1 << 30 }));
}

#[test]
fn a_tree_may_have_so_many_levels_and_no_more() {
    let chain = |count: usize| {
        let classes: Vec<_> = (0..count).map(|place| (place.checked_sub(1), MBIT, MBIT)).collect();
        htb(MBIT, &classes).check()
    };
    assert_eq!(chain(31), Ok(()));
    assert!(matches!(chain(32), Err(PlanError::Depth(name)) if &*name == "class31"));
}

#[test]
fn queues_are_not_nested_without_end_and_their_memory_is_bounded() {
    let mut queue = fifo(1);
    for depth in 0..4 {
        let plan = TbfPlan { rate: rate(MBIT), burst: burst(1600), peak: None, queue };
        queue = QueuePlan::Tbf(Box::new(plan));
        assert_eq!(of_queue(queue.clone()).check().is_ok(), depth < 2);
    }
    let mut plan = htb(1000 * MBIT, &[(None, MBIT, MBIT); 100]);
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    let many = QueuePlan::FqCodel(FqCodelPlan { flows: 65_536, ..FqCodelPlan::default() });
    tree.classes.iter_mut().for_each(|class| class.queue = many.clone());
    assert_eq!(plan.check(), Err(PlanError::Flows(6_553_600)));
    let filter = FilterPlan { wants: Match::default(), class: class(1) };
    let plan = TreePlan { filters: vec![filter], ..of_queue(fifo(1)) };
    assert_eq!(plan.check(), Err(PlanError::NoLeaf("filter 1".into())));
}

#[test]
fn overhead_counts_for_each_segment() {
    let with = |overhead_bytes| {
        let plan = TreePlan { overhead_bytes, ..of_queue(fifo(1)) };
        let tree = Tree::new(&plan, 0, Nanos(0)).unwrap();
        [tree.wire_length(1514, 1), tree.wire_length(64_000, 44)]
    };
    assert_eq!(with(0), [1514, 64_000]);
    assert_eq!(with(24), [1538, 65_056]);
    assert_eq!(with(-14), [1500, 63_384]);
    assert_eq!(with(i16::MIN), [1, 1]);
}

#[test]
fn a_super_frame_may_be_as_long_as_the_least_burst_on_its_way() {
    let longest = |queue| Tree::new(&of_queue(queue), 0, Nanos(0)).unwrap().longest(class(0));
    assert_eq!(longest(fifo(1)), u32::MAX);
    let tbf = TbfPlan {
        rate: rate(MBIT),
        burst: burst(5000),
        peak: Some((rate(2 * MBIT), burst(1600))),
        queue: fifo(1),
    };
    assert_eq!(longest(QueuePlan::Tbf(Box::new(tbf))), 1600);
    let tree = Tree::new(&htb(10 * MBIT, &[(None, MBIT, 10 * MBIT)]), 0, Nanos(0)).unwrap();
    assert_eq!(tree.longest(class(0)), 2000 + 1600);
}

#[test]
fn no_super_frame_takes_longer_than_a_millisecond_where_some_are_to_be_quicker() {
    let quick = [
        QueuePlan::FqCodel(FqCodelPlan::default()),
        QueuePlan::Sfq(SfqPlan::default()),
        QueuePlan::Prio(Box::default()),
    ];
    for queue in quick {
        for (megabits, bytes) in [(1, 1600), (20, 2500), (100, 12_500), (1000, 100_000)] {
            let tbf = TbfPlan {
                rate: rate(megabits * MBIT),
                burst: burst(100_000),
                peak: None,
                queue: queue.clone(),
            };
            let tree = Tree::new(&of_queue(QueuePlan::Tbf(Box::new(tbf))), 0, Nanos(0)).unwrap();
            assert_eq!(tree.longest(class(0)), bytes, "{megabits} mbit");
            // What a class is guaranteed tells how long others of it may have to wait.
            let mut plan = htb(2000 * MBIT, &[(None, megabits * MBIT, 2000 * MBIT)]);
            let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
            htb.classes[0].queue = queue.clone();
            htb.classes[0].shares.burst = burst(100_000);
            assert_eq!(Tree::new(&plan, 0, Nanos(0)).unwrap().longest(class(0)), bytes, "{megabits} mbit");
        }
    }
}

#[test]
fn what_no_filter_matches_goes_to_the_default_class() {
    let mut plan = htb(10 * MBIT, &[(None, MBIT, MBIT), (None, MBIT, MBIT)]);
    plan.filters = vec![FilterPlan { wants: Match { mark: Some(3), ..Match::default() }, class: class(0) }];
    let tree = Tree::new(&plan, 0, Nanos(0)).unwrap();
    assert_eq!(tree.class_of(&Subject { mark: 3, ..Subject::default() }), class(0));
    assert_eq!(tree.class_of(&Subject { mark: 2, ..Subject::default() }), class(1));
}

#[test]
fn what_may_leave_at_once_is_the_least_burst_on_the_way_to_the_root() {
    let bursts = |own: u32, ceil: u32| Shares {
        burst: burst(own),
        cburst: burst(ceil),
        ..Shares::new(rate(MBIT), rate(MBIT))
    };
    let mut plan = htb(10 * MBIT, &[(None, 5 * MBIT, 10 * MBIT), (Some(0), MBIT, MBIT), (None, MBIT, MBIT)]);
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    tree.root = Shares { burst: burst(50_000), cburst: burst(70_000), ..tree.root };
    // What an inner class may send at its rate is no bound for those who borrow of others.
    tree.classes[0].shares = Shares { burst: burst(2000), cburst: burst(30_000), ..tree.classes[0].shares };
    tree.classes[1].shares = bursts(40_000, 60_000);
    tree.classes[2].shares = bursts(90_000, 90_000);
    let longest = |plan: &TreePlan, place| Tree::new(plan, 0, Nanos(0)).unwrap().longest(class(place));
    assert_eq!((longest(&plan, 1), longest(&plan, 2)), (30_000, 50_000));
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    let bucket = TbfPlan { rate: rate(MBIT), burst: burst(9000), peak: None, queue: fifo(1) };
    tree.classes[1].queue = QueuePlan::Tbf(Box::new(bucket));
    assert_eq!(longest(&plan, 1), 9000);
}
