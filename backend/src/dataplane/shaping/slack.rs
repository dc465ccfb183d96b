//! How late departures may be without a loss of rate.

use viaduct_switch::Nanos;
use viaduct_switch::qos::{BitRate, Burst, QueuePlan, RootPlan, Shares, TreePlan};

/// How long departures are put off, for several to leave together: so that small frames at a low rate wake a worker two thousand
/// times a second at most,
const ALWAYS_NS: u64 = 500_000;
/// so that four frames of the usual length leave together at rates at which even these are further apart,
const FRAMES: u64 = 4;
/// and never longer than this.
const SLACK_MAX_NS: u64 = 5_000_000;

/// Bytes of a burst that a frame needs, and that make up for nothing.
const FRAME_BYTES: u64 = 1600;

/// For how long departures from such a tree may be put off: three fifths of the time in which the least of its bursts
/// fills up at most. The rest makes up for a wake that comes late.
pub(super) fn slack(plan: &TreePlan) -> Nanos {
    let slack_ns = match &plan.root {
        RootPlan::Queue(queue) => of_queue(queue),
        RootPlan::Htb(htb) => {
            let classes =
                htb.classes.iter().map(|class| of_shares(&class.shares).min(of_queue(&class.queue)));
            classes.fold(of_shares(&htb.root), u64::min)
        }
    };
    Nanos(slack_ns)
}

fn of_shares(shares: &Shares) -> u64 {
    of_bucket(shares.rate, shares.burst).min(of_bucket(shares.ceil, shares.cburst))
}

fn of_queue(queue: &QueuePlan) -> u64 {
    match queue {
        QueuePlan::Tbf(bucket) => {
            let peak = bucket.peak.map_or(SLACK_MAX_NS, |(rate, burst)| of_bucket(rate, burst));
            of_bucket(bucket.rate, bucket.burst).min(peak).min(of_queue(&bucket.queue))
        }
        QueuePlan::Prio(prio) => prio.bands.iter().map(of_queue).fold(SLACK_MAX_NS, u64::min),
        QueuePlan::Fifo(_) | QueuePlan::Sfq(_) | QueuePlan::FqCodel(_) => SLACK_MAX_NS,
    }
}

fn of_bucket(rate: BitRate, burst: Burst) -> u64 {
    let time_ns = |bytes: u64| bytes.saturating_mul(8_000_000_000) / rate.bits();
    let spare_bytes = u64::from(burst.bytes()).saturating_sub(FRAME_BYTES);
    let wanted_ns = time_ns(FRAMES * FRAME_BYTES).clamp(ALWAYS_NS, SLACK_MAX_NS);
    (time_ns(spare_bytes) / 5 * 3).min(wanted_ns)
}

#[cfg(test)]
mod tests {
    use viaduct_switch::qos::{FifoPlan, TbfPlan, TreeLimits};

    use super::*;

    fn bucket(bits: u64, burst: u32) -> TreePlan {
        let (rate, burst) = (BitRate::new(bits).unwrap(), Burst::new(burst).unwrap());
        let queue = QueuePlan::Fifo(FifoPlan::default());
        TreePlan {
            root: RootPlan::Queue(QueuePlan::Tbf(Box::new(TbfPlan { rate, burst, peak: None, queue }))),
            filters: Vec::new(),
            overhead_bytes: 0,
            limits: TreeLimits::default(),
        }
    }

    #[test]
    fn a_bucket_that_fills_up_soon_lets_nothing_be_put_off() {
        assert_eq!(slack(&bucket(1_000_000, 1600)), Nanos(0));
        // 10,000 bytes take 80 us at 1 gbit.
        assert_eq!(slack(&bucket(1_000_000_000, 11_600)), Nanos(48_000));
        assert_eq!(slack(&bucket(1_000_000_000, 1_000_000)), Nanos(ALWAYS_NS));
        // 6,400 bytes take 2.56 ms at 20 mbit, and 51 ms at 1 mbit.
        assert_eq!(slack(&bucket(20_000_000, 100_000)), Nanos(2_560_000));
        assert_eq!(slack(&bucket(1_000_000, 100_000)), Nanos(SLACK_MAX_NS));
        for bits in [1_000_000, 100_000_000, 40_000_000_000, 400_000_000_000] {
            let plan = bucket(bits, Burst::suiting(BitRate::new(bits).unwrap()).bytes());
            assert!(slack(&plan) >= Nanos(40_000), "{bits}: {:?}", slack(&plan));
        }
    }
}
