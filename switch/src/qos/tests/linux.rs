//! Beside what Linux's own disciplines did with the same frames, as it was recorded: `scripts/record-qdiscs` makes the recordings anew.

use super::support::*;
use crate::qos::*;
use crate::time::Nanos;

const TBF: &str = include_str!("linux/tbf.txt");
const ALL_BUSY: &str = include_str!("linux/htb-all-busy.txt");
const ONE_IDLE: &str = include_str!("linux/htb-one-idle.txt");

/// What a recorded time may be wrong by: Linux wakes late, and the stamps are not the qdisc's. A frame takes 8 ms.
const JITTER: u64 = 2_000_000;

/// When frames came or left, in nanoseconds, and their classes.
type Events = Vec<(u64, usize)>;

fn events(trace: &str, kind: &str) -> Events {
    let of_kind =
        trace.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| words[0] == kind);
    of_kind.map(|words| (words[1].parse::<u64>().unwrap() * 1000, words[2].parse().unwrap())).collect()
}

/// What the tree makes of the same arrivals.
fn replayed(plan: &TreePlan, trace: &str) -> Events {
    let mut lab = Lab::new(plan);
    for (at, place) in events(trace, "a") {
        lab.run(Nanos(at));
        lab.send(place, item(0, 1000));
    }
    lab.run(Nanos::from_seconds(60));
    assert!(lab.dropped.0.is_empty());
    lab.departed.iter().map(|departure| (departure.at.0, departure.class)).collect()
}

/// By how many frames of a class the two are apart at worst, at any departure.
fn difference(plan: &TreePlan, trace: &str, classes: usize) -> usize {
    let (ours, linux) = (replayed(plan, trace), events(trace, "d"));
    assert_eq!(ours.len(), linux.len());
    let until = |events: &Events, at: u64, place| {
        events.iter().filter(|event| event.0 <= at && event.1 == place).count()
    };
    let mut worst = 0;
    for (at, _) in &linux {
        for place in 0..classes {
            let theirs = until(&linux, *at, place);
            let (early, late) =
                (until(&ours, at.saturating_sub(JITTER), place), until(&ours, at + JITTER, place));
            worst = worst.max(early.saturating_sub(theirs)).max(theirs.saturating_sub(late));
        }
    }
    worst
}

fn hierarchy() -> TreePlan {
    let kbit = 1000;
    let shares = |bits| Shares {
        burst: burst(2000),
        cburst: burst(2000),
        ..Shares::new(rate(bits), rate(1000 * kbit))
    };
    let mut plan = htb(1000 * kbit, &[(None, 300 * kbit, 1000 * kbit); 3]);
    let RootPlan::Htb(tree) = &mut plan.root else { unreachable!() };
    tree.root = shares(1000 * kbit);
    for (class, (bits, quantum)) in tree.classes.iter_mut().zip([(300, 4542), (100, 1514), (600, 9084)]) {
        class.shares = shares(bits * kbit);
        class.quantum = Some(quantum);
    }
    plan
}

#[test]
fn a_token_bucket_lets_frames_go_when_linux_does() {
    let plan = TbfPlan { rate: rate(1_000_000), burst: burst(5000), peak: None, queue: fifo(1000) };
    assert_eq!(difference(&of_queue(QueuePlan::Tbf(Box::new(plan))), TBF, 1), 0);
}

#[test]
fn classes_that_are_all_busy_send_when_linux_has_them_send() {
    assert_eq!(difference(&hierarchy(), ALL_BUSY, 3), 0);
    let classes = |events: Events| events.into_iter().map(|event| event.1).collect::<Vec<_>>();
    assert_eq!(classes(replayed(&hierarchy(), ALL_BUSY))[..60], classes(events(ALL_BUSY, "d"))[..60]);
}

#[test]
fn classes_that_borrow_send_when_linux_has_them_send_but_for_one_frame() {
    assert!(difference(&hierarchy(), ONE_IDLE, 3) <= 1);
}
