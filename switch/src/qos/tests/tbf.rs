//! The token bucket before a queue.

use super::support::*;
use crate::qos::*;
use crate::time::Nanos;

fn tbf(bits: u64, bytes: u32, peak: Option<(u64, u32)>) -> TreePlan {
    let peak = peak.map(|(bits, bytes)| (rate(bits), burst(bytes)));
    let plan = TbfPlan { rate: rate(bits), burst: burst(bytes), peak, queue: fifo(1000) };
    of_queue(QueuePlan::Tbf(Box::new(plan)))
}

#[test]
fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
    let mut lab = Lab::new(&tbf(8_000_000, 3000, None));
    for _ in 0..5 {
        lab.send(0, item(0, 1000));
    }
    lab.run(Nanos(SECOND));
    let times: Vec<u64> = lab.departed.iter().map(|departure| departure.at.0).collect();
    // 1000 bytes take 1 ms at 8 mbit.
    assert_eq!(times, [0, 0, 0, 1_000_000, 2_000_000]);
}

#[test]
fn a_peak_rate_spreads_the_burst() {
    let mut lab = Lab::new(&tbf(8_000_000, 3000, Some((80_000_000, 1000))));
    for _ in 0..5 {
        lab.send(0, item(0, 1000));
    }
    lab.run(Nanos(SECOND));
    let times: Vec<u64> = lab.departed.iter().map(|departure| departure.at.0).collect();
    assert_eq!(times, [0, 100_000, 200_000, 1_000_000, 2_000_000]);
}

#[test]
fn a_frame_that_is_longer_than_the_burst_is_owed_for() {
    let mut lab = Lab::new(&tbf(8_000_000, 1000, None));
    for _ in 0..3 {
        lab.send(0, item(0, 4000));
    }
    lab.run(Nanos(SECOND));
    let times: Vec<u64> = lab.departed.iter().map(|departure| departure.at.0).collect();
    assert_eq!(times, [0, 4_000_000, 8_000_000]);
}

#[test]
fn another_rate_loses_nothing_and_gives_no_second_burst() {
    let mut lab = Lab::new(&tbf(8_000_000, 3000, None));
    for _ in 0..6 {
        lab.send(0, item(0, 1000));
    }
    lab.run(Nanos(1_500_000));
    lab.tree.reconfigure(&tbf(4_000_000, 9000, None), lab.now, &mut lab.dropped).unwrap();
    lab.run(Nanos(SECOND));
    let times: Vec<u64> = lab.departed.iter().map(|departure| departure.at.0).collect();
    let tickets: Vec<u32> = lab.departed.iter().map(|departure| departure.item.ticket).collect();
    // Half a millisecond's worth is there at 1.5 ms, and stays so.
    assert_eq!(times, [0, 0, 0, 1_000_000, 3_000_000, 5_000_000]);
    assert_eq!(tickets, [0, 1, 2, 3, 4, 5]);
    assert_eq!(lab.bytes(0, Nanos(0), Nanos(SECOND)), 6000);
}

#[test]
fn a_busy_sender_has_the_rate() {
    let mut lab = Lab::new(&tbf(8_000_000, 2000, None));
    lab.keep_busy(&[(0, item(0, 1000))], Nanos(SECOND));
    assert_eq!(lab.bytes(0, Nanos(1), Nanos(SECOND)), 999_000);
}

#[test]
fn every_rate_is_kept_to_with_frames_of_any_length() {
    let depth = 65_550;
    for bits in [1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 40_000_000_000] {
        for length in [64, 1518, 65_550] {
            let mut lab = Lab::new(&tbf(bits, depth, None));
            let frames = (100 * depth / length).min(20_000);
            let until = Nanos(u64::from(frames) * u64::from(length) * 8 * SECOND / bits);
            lab.keep_busy(&[(0, item(0, length))], until);
            let sent = lab.bytes(0, Nanos(0), Nanos(u64::MAX));
            let allowed = u64::from(depth) + u64::from(frames) * u64::from(length);
            // Exact but for the part of the next frame that is saved up.
            let missing = allowed.checked_sub(sent);
            assert!(
                missing.is_some_and(|bytes| bytes <= u64::from(length)),
                "{bits} bit/s, {length} bytes: {missing:?}"
            );
        }
    }
}

#[test]
fn it_tells_its_rate_and_its_peak() {
    let told = |peak| {
        let shares =
            Tree::new(&tbf(8_000_000, 3000, peak), 1, Nanos(0)).unwrap().report(Nanos(0)).root.shares;
        shares.map(|shares| [shares.rate.bits(), shares.ceil.bits()])
    };
    assert_eq!(told(None), Some([8_000_000, 8_000_000]));
    assert_eq!(told(Some((80_000_000, 1000))), Some([8_000_000, 80_000_000]));
}
