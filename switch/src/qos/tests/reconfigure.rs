//! Another plan while frames wait.

use super::support::*;
use crate::drops::DropReason;
use crate::qos::*;
use crate::time::Nanos;

const MBIT: u64 = 1_000_000;

pub(super) fn queues() -> [QueuePlan; 5] {
    let tbf = TbfPlan { rate: rate(20 * MBIT), burst: burst(2000), peak: None, queue: fifo(1000) };
    [
        fifo(1000),
        QueuePlan::Sfq(SfqPlan { frames: 1000, depth: 1000, ..SfqPlan::default() }),
        // A target that is never exceeded.
        QueuePlan::FqCodel(FqCodelPlan { target: Nanos::from_seconds(60), ..FqCodelPlan::default() }),
        QueuePlan::Prio(Box::default()),
        QueuePlan::Tbf(Box::new(tbf)),
    ]
}

/// Two classes with these queues, and perhaps one more.
fn tree(queue: &QueuePlan, others: usize) -> TreePlan {
    let classes: Vec<_> = (0..2 + others).map(|_| (None, 5 * MBIT, 10 * MBIT)).collect();
    let mut plan = htb(30 * MBIT, &classes);
    let RootPlan::Htb(htb) = &mut plan.root else { unreachable!() };
    htb.classes.iter_mut().for_each(|class| class.queue = queue.clone());
    htb.default = class(0);
    plan
}

#[test]
fn whatever_queue_follows_another_nothing_is_lost_and_flows_stay_in_order() {
    for before in queues() {
        for after in queues() {
            let mut lab = Lab::new(&tree(&before, 0));
            for number in 0..200 {
                lab.send(number as usize % 2, of_flow(number / 2 % 5, 500 + 10 * (number % 7)));
            }
            lab.run(Nanos(5_000_000));
            let waiting = lab.tree.backlog();
            assert!(waiting.frames > 100);
            lab.tree.reconfigure(&tree(&after, 1), lab.now, &mut lab.dropped).unwrap();
            assert_eq!(lab.tree.backlog(), waiting, "{before:?}, {after:?}");
            for number in 0..20 {
                lab.send(number as usize % 2, of_flow(number / 2 % 5, 500));
            }
            lab.run(Nanos::from_seconds(10));
            assert_eq!(lab.departed.len(), 220, "{before:?}, {after:?}");
            lab.assert_in_order();
        }
    }
}

#[test]
fn what_waits_in_a_class_that_ends_goes_to_the_default_class() {
    let mut lab = Lab::new(&tree(&fifo(1000), 1));
    (0..300).for_each(|number| {
        lab.send(number % 3, of_flow(1, 1000));
    });
    let waiting = lab.tree.backlog().frames;
    lab.tree.reconfigure(&tree(&fifo(1000), 0), lab.now, &mut lab.dropped).unwrap();
    let report = lab.tree.report(lab.now);
    assert_eq!(report.classes.len(), 2);
    assert_eq!(report.classes.iter().map(|class| class.backlog.frames).sum::<u32>(), waiting);
    assert!(report.classes[0].backlog.frames > report.classes[1].backlog.frames);
    lab.run(Nanos::from_seconds(10));
    assert_eq!(lab.departed.len(), 300);
}

#[test]
fn a_queue_with_less_room_drops_what_it_has_none_for() {
    let mut lab = Lab::new(&of_queue(QueuePlan::Tbf(Box::new(TbfPlan {
        rate: rate(MBIT),
        burst: burst(1000),
        peak: None,
        queue: fifo(100),
    }))));
    (0..101).for_each(|_| {
        lab.send(0, item(0, 1000));
    });
    let smaller = shaped(MBIT, fifo(10));
    lab.tree.reconfigure(&smaller, lab.now, &mut lab.dropped).unwrap();
    assert_eq!(lab.tree.backlog().frames, 10);
    assert_eq!(lab.dropped.0.len(), 90);
    assert_eq!(lab.tree.report(lab.now).root.dropped, 90);
}

#[test]
fn a_wrong_plan_changes_nothing() {
    let mut lab = Lab::new(&tree(&fifo(1000), 0));
    (0..50).for_each(|_| {
        lab.send(0, item(0, 1000));
    });
    let waiting = lab.tree.backlog();
    let mut wrong = tree(&fifo(1000), 0);
    let RootPlan::Htb(htb) = &mut wrong.root else { unreachable!() };
    htb.default = class(7);
    assert!(lab.tree.reconfigure(&wrong, lab.now, &mut lab.dropped).is_err());
    assert_eq!(lab.tree.backlog(), waiting);
}

#[test]
fn a_change_gives_no_class_another_burst() {
    let mut lab = Lab::new(&tree(&fifo(1000), 0));
    let mut until = Nanos(0);
    for change in 0..100 {
        (0..50).for_each(|_| {
            lab.send(0, item(0, 1000));
        });
        until = until + Nanos::from_millis(10);
        lab.run(until);
        let mut plan = tree(&fifo(1000), 0);
        plan.overhead_bytes = change % 2;
        lab.tree.reconfigure(&plan, lab.now, &mut lab.dropped).unwrap();
    }
    let allowed = 10 * MBIT / 8 + u64::from(Burst::suiting(rate(10 * MBIT)).bytes()) + 1000;
    assert!(lab.bytes(0, Nanos(0), until) <= allowed);
    assert!(lab.bytes(0, Nanos(0), until) >= 10 * MBIT / 8);
}

#[test]
fn a_tree_that_ends_gives_everything_back() {
    for queue in queues() {
        let mut lab = Lab::new(&tree(&queue, 0));
        (0..200).for_each(|number| {
            lab.send(number as usize % 2, of_flow(number % 3, 1000));
        });
        lab.run(Nanos(1));
        let waiting = lab.tree.backlog().frames;
        let drained = std::iter::from_fn(|| lab.tree.drain()).count();
        assert_eq!(drained, waiting as usize);
        assert_eq!(lab.tree.backlog(), Backlog::default());
        assert_eq!(lab.tree.dequeue(lab.now, &mut lab.dropped), Next::Empty);
    }
}

#[test]
fn a_full_queue_tells_before_a_frame_is_put_in() {
    let nested = TbfPlan { rate: rate(MBIT), burst: burst(1000), peak: None, queue: fifo(10) };
    let full = [
        fifo(10),
        QueuePlan::Tbf(Box::new(nested)),
        QueuePlan::Prio(Box::new(PrioPlan { bands: vec![fifo(10); 3], ..PrioPlan::default() })),
        QueuePlan::Sfq(SfqPlan { depth: 10, ..SfqPlan::default() }),
    ];
    for queue in full {
        let mut lab = Lab::new(&tree(&queue, 0));
        // The burst of 16 ms at 10 mbit passes.
        (0..70).for_each(|_| {
            lab.send(0, item(0, 1000));
        });
        assert!(lab.refused > 30 && lab.refused == lab.dropped.0.len(), "{queue:?}: {}", lab.refused);
    }
    // Where there is no more memory, only who drops nobody else's frames knows that it loses the next one.
    for (queue, knows) in [(fifo(1000), true), (QueuePlan::default(), false)] {
        let mut plan = tree(&queue, 0);
        plan.limits.bytes = 70_000;
        let mut lab = Lab::new(&plan);
        (0..90).for_each(|number| {
            lab.send(0, of_flow(number, 1000));
        });
        assert!(!lab.dropped.0.is_empty());
        assert_eq!(lab.refused > 0, knows, "{queue:?}");
        assert!(lab.dropped.0.iter().all(|(_, reason)| *reason == DropReason::QueueMemory));
    }
}

#[test]
fn what_is_taken_out_takes_neither_tokens_nor_room_and_the_others_keep_their_order() {
    for queue in queues() {
        let mut lab = Lab::new(&tree(&queue, 0));
        for number in 0..200 {
            lab.send(number as usize % 2, of_flow(number / 2 % 5, 1000));
        }
        lab.run(Nanos(5_000_000));
        let (waiting, departed) = (lab.tree.backlog(), lab.departed.len());
        let removed = lab.remove(|item| item.ticket % 4 < 2);
        let left = lab.tree.backlog();
        assert_eq!(
            (left.frames + removed, left.bytes),
            (waiting.frames, u64::from(left.frames) * 1000),
            "{queue:?}"
        );
        assert!(removed > 50 && left.frames > 50);
        let began = lab.now;
        lab.run(Nanos::from_seconds(10));
        assert_eq!(lab.departed.len() - departed, left.frames as usize);
        lab.assert_in_order();
        // Two classes of 10 mbit each at most: what is left takes its own time and no more.
        let took = lab.departed.last().unwrap().at - began;
        assert!(took <= Nanos(u64::from(left.frames) * 400_000 + 10_000_000), "{queue:?}: {took:?}");
        // All of it, with classes that wait for their tokens: nothing is left over.
        (0..200).for_each(|number| {
            lab.send(number as usize % 2, of_flow(number % 5, 1000));
        });
        lab.remove(|_| true);
        assert_eq!(lab.tree.backlog(), Backlog::default());
        lab.run(lab.now + Nanos::from_seconds(1));
        let sent = lab.departed.len();
        (0..5).for_each(|_| {
            lab.send(0, of_flow(0, 1000));
        });
        lab.run(lab.now + Nanos::from_seconds(1));
        assert_eq!(lab.departed.len() - sent, 5, "{queue:?}");
    }
}

#[test]
fn nothing_is_dropped_in_favour_of_a_frame_that_can_never_fit() {
    for queue in queues() {
        let plan = TreePlan { limits: TreeLimits { frames: 100, bytes: 65_536 }, ..shaped(8_000, queue) };
        let mut lab = Lab::new(&plan);
        for flow in 0..5 {
            lab.send(0, of_flow(flow, 1000));
        }
        let (waiting, dropped) = (lab.tree.backlog(), lab.dropped.0.len());
        let giant = of_flow(9, 70_000);
        assert!(lab.tree.refusal(lab.now, class(0), &giant).is_some());
        lab.send(0, giant);
        assert_eq!((lab.tree.backlog(), lab.dropped.0.len()), (waiting, dropped + 1));
    }
}
