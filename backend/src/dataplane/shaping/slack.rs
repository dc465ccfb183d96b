//! How late departures may be without a loss of rate.

use viaduct_switch::Nanos;
use viaduct_switch::qos::{BitRate, Burst, QueuePlan, RootPlan, Shares, TreePlan};

/// How long departures are put off, for several to leave together: so that small frames at a low rate wake a worker two thousand
/// times a second at most,
const ALWAYS_NS: u64 = 500_000;

/// Bytes of a burst that a frame needs, and that make up for nothing.
const FRAME_BYTES: u64 = 1600;

/// So many frames of the usual length leave together at rates at which even these are further apart, and none is put off for longer
/// than that: a wake costs more of a processor than they do.
#[derive(Clone, Copy)]
struct Patience {
    frames: u64,
    most_ns: u64,
}

/// Where some frames are to be quicker than others.
const SHORT: Patience = Patience { frames: 4, most_ns: 5_000_000 };

/// Where all stand in one row, and the last one of it waits for all others in any case.
const LONG: Patience = Patience { frames: 8, most_ns: 10_000_000 };

/// For how long departures from such a tree may be put off: three fifths of the time in which the least of its bursts
/// fills up at most. The rest makes up for a wake that comes late.
pub(super) fn slack(plan: &TreePlan) -> Nanos {
    let slack_ns = match &plan.root {
        RootPlan::Queue(queue) => of_queue(queue, if is_one_row(queue) { LONG } else { SHORT }),
        RootPlan::Htb(htb) => {
            let classes = htb
                .classes
                .iter()
                .map(|class| of_shares(&class.shares, SHORT).min(of_queue(&class.queue, SHORT)));
            classes.fold(of_shares(&htb.root, SHORT), u64::min)
        }
    };
    Nanos(slack_ns)
}

/// Whether what comes first leaves first, whatever it is.
fn is_one_row(queue: &QueuePlan) -> bool {
    match queue {
        QueuePlan::Fifo(_) => true,
        QueuePlan::Tbf(bucket) => is_one_row(&bucket.queue),
        QueuePlan::Prio(_) | QueuePlan::Sfq(_) | QueuePlan::FqCodel(_) => false,
    }
}

fn of_shares(shares: &Shares, patience: Patience) -> u64 {
    of_bucket(shares.rate, shares.burst, patience).min(of_bucket(shares.ceil, shares.cburst, patience))
}

fn of_queue(queue: &QueuePlan, patience: Patience) -> u64 {
    match queue {
        QueuePlan::Tbf(bucket) => {
            let peak = bucket.peak.map_or(patience.most_ns, |(rate, burst)| of_bucket(rate, burst, patience));
            of_bucket(bucket.rate, bucket.burst, patience).min(peak).min(of_queue(&bucket.queue, patience))
        }
        QueuePlan::Prio(prio) => {
            prio.bands.iter().map(|band| of_queue(band, patience)).fold(patience.most_ns, u64::min)
        }
        QueuePlan::Fifo(_) | QueuePlan::Sfq(_) | QueuePlan::FqCodel(_) => patience.most_ns,
    }
}

fn of_bucket(rate: BitRate, burst: Burst, Patience { frames, most_ns }: Patience) -> u64 {
    let time_ns = |bytes: u64| bytes.saturating_mul(8_000_000_000) / rate.bits();
    let spare_bytes = u64::from(burst.bytes()).saturating_sub(FRAME_BYTES);
    let wanted_ns = time_ns(frames * FRAME_BYTES).clamp(ALWAYS_NS, most_ns);
    (time_ns(spare_bytes) / 5 * 3).min(wanted_ns)
}

#[cfg(test)]
mod tests {
    use viaduct_switch::qos::{FifoPlan, FqCodelPlan, TbfPlan, TreeLimits};

    use super::*;

    fn bucket(bits: u64, burst: u32) -> TreePlan {
        bucket_of(bits, burst, QueuePlan::FqCodel(FqCodelPlan::default()))
    }

    fn bucket_of(bits: u64, burst: u32, queue: QueuePlan) -> TreePlan {
        let (rate, burst) = (BitRate::new(bits).unwrap(), Burst::new(burst).unwrap());
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
        assert_eq!(slack(&bucket(1_000_000, 100_000)), Nanos(5_000_000));
        // Twice as long where nobody is quicker than others.
        let row = |bits| bucket_of(bits, 100_000, QueuePlan::Fifo(FifoPlan::default()));
        assert_eq!((slack(&row(20_000_000)), slack(&row(1_000_000))), (Nanos(5_120_000), Nanos(10_000_000)));
        for bits in [1_000_000, 100_000_000, 40_000_000_000, 400_000_000_000] {
            let plan = bucket(bits, Burst::suiting(BitRate::new(bits).unwrap()).bytes());
            assert!(slack(&plan) >= Nanos(40_000), "{bits}: {:?}", slack(&plan));
        }
    }
}
