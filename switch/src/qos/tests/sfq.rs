//! Stochastic fair queueing.

use super::support::*;
use crate::drops::DropReason;
use crate::qos::*;
use crate::time::Nanos;

fn bytes_of(lab: &Lab, flow: u32) -> u64 {
    let flow = of_flow(flow, 0).flow;
    let departed = lab.departed.iter().filter(|departure| departure.item.flow == flow);
    departed.map(|departure| u64::from(departure.item.length)).sum()
}

#[test]
fn flows_share_by_bytes_whatever_their_frames_lengths() {
    let plan = SfqPlan { perturb: Some(Nanos::from_seconds(10)), ..SfqPlan::default() };
    let mut lab = Lab::new(&shaped(100_000_000, QueuePlan::Sfq(plan)));
    let sources = [(1, 100), (2, 1514), (3, 4000)].map(|(flow, length)| (0, of_flow(flow, length)));
    lab.keep_busy(&sources, Nanos::from_seconds(1));
    let bytes = [1, 2, 3].map(|flow| bytes_of(&lab, flow));
    let expected = 100_000_000 / 8 / 3;
    assert!(bytes.iter().all(|bytes| bytes.abs_diff(expected) < expected / 100), "{bytes:?}");
}

#[test]
fn a_full_queue_drops_the_oldest_of_the_longest_bucket() {
    let plan = SfqPlan { frames: 20, depth: 15, ..SfqPlan::default() };
    let mut lab = Lab::new(&shaped(8_000, QueuePlan::Sfq(plan)));
    // The bucket lets one pass.
    lab.send(0, of_flow(9, 1600));
    for _ in 0..17 {
        lab.send(0, of_flow(1, 1000));
    }
    assert_eq!(lab.dropped.0.len(), 2, "a bucket has fifteen at most");
    for flow in 2..12 {
        lab.send(0, of_flow(flow, 1000));
    }
    let longest = of_flow(1, 0).flow;
    assert_eq!(lab.dropped.0.len(), 7);
    assert!(
        lab.dropped.0.iter().all(|(item, reason)| item.flow == longest && *reason == DropReason::QueueFull)
    );
    assert_eq!(lab.dropped.0[2].0.ticket, 1, "the oldest");
    lab.run(Nanos::from_seconds(100));
    lab.assert_in_order();
    assert_eq!(lab.departed.len() + lab.dropped.0.len(), 28);
}

#[test]
fn flows_that_share_a_bucket_do_so_only_until_the_hash_changes() {
    let share = |perturb: Option<Nanos>| {
        let plan = SfqPlan { divisor: 2, perturb, ..SfqPlan::default() };
        let mut lab = Lab::new(&shaped(10_000_000, QueuePlan::Sfq(plan)));
        let sources: Vec<_> = (0..3).map(|flow| (0, of_flow(flow, 1000))).collect();
        lab.keep_busy(&sources, Nanos::from_seconds(4));
        lab.assert_in_order();
        assert!(lab.dropped.0.is_empty());
        (0..3).map(|flow| bytes_of(&lab, flow) * 100 / 5_000_000).collect::<Vec<u64>>()
    };
    // Three flows in two buckets: one of them is alone and gets half.
    let mut stuck = share(None);
    stuck.sort_unstable();
    assert!(stuck[2] >= 49 && stuck[0] <= 26, "{stuck:?}");
    let changing = share(Some(Nanos::from_millis(20)));
    assert!(changing.iter().all(|share| (26..=40).contains(share)), "{changing:?}");
}
