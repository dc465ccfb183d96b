//! Flow queues with controlled delay.

use super::support::*;
use crate::drops::DropReason;
use crate::qos::*;
use crate::time::Nanos;

const MS: u64 = 1_000_000;

/// The flow that sends little.
const SPARSE: u32 = 100;

/// What 99 of 100 frames of a sparse flow wait at most beside eight bulk flows of which each keeps 100 frames waiting, in
/// nanoseconds.
fn sparse_p99(queue: QueuePlan, ecn: Ecn) -> u64 {
    let mut lab = Lab::new(&shaped(20_000_000, queue));
    let mut waiting = [0_u32; 8];
    for tick in 0..10_000_u32 {
        for (flow, waiting) in (0..).zip(&mut waiting) {
            while *waiting < 100 {
                lab.send(0, Item { ecn, ..of_flow(flow, 1514) });
                *waiting += 1;
            }
        }
        if tick % 20 == 0 {
            lab.send(0, of_flow(SPARSE, 100));
        }
        let (departed, dropped) = (lab.departed.len(), lab.dropped.0.len());
        lab.run(lab.now + Nanos(MS));
        let gone = lab.departed[departed..].iter().map(|departure| departure.item);
        for item in gone.chain(lab.dropped.0[dropped..].iter().map(|(item, _)| *item)) {
            let flow = (0..8).find(|flow| of_flow(*flow, 0).flow == item.flow);
            if let Some(flow) = flow {
                waiting[flow as usize] -= 1;
            }
        }
    }
    lab.assert_in_order();
    let mut waits = lab.waits(SPARSE);
    assert!(waits.len() > 450, "{}", waits.len());
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

#[test]
fn who_sends_little_hardly_waits_beside_eight_bulk_flows() {
    let fair = QueuePlan::FqCodel(FqCodelPlan::default());
    for ecn in [Ecn::NotCapable, Ecn::Capable] {
        let p99 = sparse_p99(fair.clone(), ecn);
        assert!(p99 < 5 * MS, "{p99}");
    }
    let p99 = sparse_p99(fifo(1000), Ecn::NotCapable);
    assert!(p99 > 100 * MS, "{p99}");
}

#[test]
fn frames_that_may_be_are_marked_and_others_dropped() {
    for (ecn, is_marked) in [(Ecn::NotCapable, false), (Ecn::Capable, true), (Ecn::Experienced, true)] {
        let mut lab = Lab::new(&shaped(20_000_000, QueuePlan::FqCodel(FqCodelPlan::default())));
        for _ in 0..1000 {
            lab.send(0, Item { ecn, ..of_flow(1, 1514) });
        }
        lab.run(Nanos::from_seconds(1));
        let marked = lab.departed.iter().filter(|departure| departure.item.marked).count();
        assert_eq!(marked > 3, is_marked);
        assert_eq!(lab.dropped.0.is_empty(), is_marked);
        assert!(lab.dropped.0.iter().all(|(_, reason)| *reason == DropReason::QueueDelay));
        let report = lab.tree.report(lab.now).root;
        assert_eq!((report.marked, report.dropped), (marked as u64, lab.dropped.0.len() as u64));
    }
    // Without ECN they are dropped, too.
    let plan = FqCodelPlan { ecn: false, ..FqCodelPlan::default() };
    let mut lab = Lab::new(&shaped(20_000_000, QueuePlan::FqCodel(plan)));
    (0..1000).for_each(|_| {
        lab.send(0, Item { ecn: Ecn::Capable, ..of_flow(1, 1514) });
    });
    lab.run(Nanos::from_seconds(1));
    assert!(!lab.dropped.0.is_empty());
}

#[test]
fn what_waits_longer_than_a_threshold_is_marked() {
    let ce_threshold = Some(Nanos::from_millis(1));
    let plan = FqCodelPlan { ce_threshold, ..FqCodelPlan::default() };
    let mut lab = Lab::new(&shaped(20_000_000, QueuePlan::FqCodel(plan)));
    (0..10).for_each(|_| {
        lab.send(0, Item { ecn: Ecn::Capable, ..of_flow(1, 1514) });
    });
    lab.run(Nanos::from_seconds(1));
    // Each takes 0.6 ms: the bucket lets one pass, and the queue gives one ahead.
    let marked: Vec<bool> = lab.departed.iter().map(|departure| departure.item.marked).collect();
    assert_eq!(marked[..3], [false; 3]);
    assert_eq!(marked[4..], [true; 6]);
}

#[test]
fn a_flood_costs_the_flooder_and_memory_is_bounded() {
    let plan = FqCodelPlan { frames: 500, bytes: 200_000, ..FqCodelPlan::default() };
    let mut lab = Lab::new(&shaped(20_000_000, QueuePlan::FqCodel(plan)));
    for tick in 0..2000_u32 {
        for _ in 0..50 {
            lab.send(0, of_flow(1, 1514));
        }
        if tick % 10 == 0 {
            lab.send(0, of_flow(SPARSE, 100));
        }
        let backlog = lab.tree.backlog();
        assert!(backlog.frames <= 501 && backlog.bytes <= 200_000 + 1514, "{backlog:?}");
        lab.run(lab.now + Nanos(MS));
    }
    let sparse = of_flow(SPARSE, 0).flow;
    assert!(lab.dropped.0.len() > 90_000);
    assert!(lab.dropped.0.iter().all(|(item, _)| item.flow != sparse));
    lab.assert_in_order();
}

#[test]
fn flows_share_by_bytes_whatever_their_frames_lengths() {
    let mut lab = Lab::new(&shaped(100_000_000, QueuePlan::FqCodel(FqCodelPlan::default())));
    let sources: Vec<_> =
        [(1, 100), (2, 1514), (3, 9000)].map(|(flow, length)| (0, of_flow(flow, length))).into();
    lab.keep_busy(&sources, Nanos::from_seconds(1));
    let bytes = [1, 2, 3].map(|flow| {
        let flow = of_flow(flow, 0).flow;
        let of_flow = lab.departed.iter().filter(|departure| departure.item.flow == flow);
        of_flow.map(|departure| u64::from(departure.item.length)).sum::<u64>()
    });
    let expected = 100_000_000 / 8 / 3;
    assert!(bytes.iter().all(|bytes| bytes.abs_diff(expected) < expected / 100), "{bytes:?}");
}
