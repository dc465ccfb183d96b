//! Rates: in no span of time more than the rate and one burst, and never less than what an ideal bucket gives.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::gauge::{Pair, ticks};
use super::super::*;
use crate::claims::RawClaims;
use crate::frame::{Claims, Head, Metadata};
use crate::ids::PortIndex;

const SECOND: u64 = 1_000_000_000;

pub(super) fn bits(per_second: u64, burst: u64) -> Limits {
    Limits { bits: Some(Allowance { per_second, burst }), packets: None }
}

fn packets(per_second: u64, burst: u64) -> Limits {
    Limits { bits: None, packets: Some(Allowance { per_second, burst }) }
}

/// Frames of this length, without any claims.
pub(super) fn frames(length: u32, count: usize) -> Vec<Frame<()>> {
    let meta = Metadata::new(PortIndex::new(1).unwrap(), length, Claims::default());
    let mut head = [0; 64];
    head[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    vec![Frame { head: Head::from_bytes(&head), meta, payload: () }; count]
}

/// How many of a burst pass.
fn passed(meter: &Meter, burst: &mut [Frame<()>], now: u64) -> usize {
    let mut refused = Vec::new();
    meter.police(burst, Nanos(now), &mut refused);
    burst.len() - refused.iter().filter(|refused| **refused).count()
}

/// A bucket as it is thought of, in billionths of a bit or packet.
struct Ideal {
    rate: u128,
    full: u128,
    held: u128,
    then: u64,
}

impl Ideal {
    fn new(per_second: u64, burst_units: u64) -> Self {
        let full = u128::from(burst_units) * u128::from(SECOND);
        Self { rate: per_second.into(), full, held: full, then: 0 }
    }

    fn takes(&mut self, units: u64, now: u64) -> bool {
        self.held = (self.held + self.rate * u128::from(now - self.then)).min(self.full);
        self.then = now;
        let cost = u128::from(units) * u128::from(SECOND);
        let takes = self.held >= cost;
        self.held -= if takes { cost } else { 0 };
        takes
    }
}

#[test]
fn a_port_gets_one_burst_and_then_its_rate_by_bits() {
    let meter =
        Meter::new(MeterPlan { committed: bits(8_000_000, 10_000), ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&meter, &mut frames(1000, 64), 0), 10);
    assert_eq!(passed(&meter, &mut frames(1000, 64), 999_999), 0, "a thousand bytes a millisecond");
    assert_eq!(passed(&meter, &mut frames(1000, 64), 1_000_000), 1);
    assert_eq!(passed(&meter, &mut frames(1000, 64), 500 * SECOND), 10, "idle time fills one burst only");
    let counted = meter.counters();
    assert_eq!(counted.conforming, Volume { frames: 21, bytes: 21_000 });
    assert_eq!(counted.dropped, Volume { frames: 235, bytes: 235_000 });
}

#[test]
fn a_port_gets_one_burst_and_then_its_rate_by_packets() {
    let meter = Meter::new(MeterPlan { committed: packets(1000, 50), ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&meter, &mut frames(60, 64), 0), 50);
    assert_eq!(passed(&meter, &mut frames(9000, 64), 10_000_000), 10);
}

#[test]
fn by_both_the_lower_one_decides_and_the_other_loses_nothing() {
    let committed = Limits { packets: packets(1000, 50).packets, ..bits(8_000_000, 10_000) };
    let meter = Meter::new(MeterPlan { committed, ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&meter, &mut frames(1000, 64), 0), 10, "bytes");
    assert_eq!(
        passed(&meter, &mut frames(60, 64), 5_000_000),
        45,
        "of 50 packets, ten were taken and five came back"
    );
    assert_eq!(passed(&meter, &mut frames(1000, 64), 20_000_000), 10);
}

#[test]
fn a_super_frame_counts_as_its_segments_with_their_headers() {
    // 54 bytes of headers and 14,600 of payload: ten segments of 1514 bytes.
    let raw = RawClaims {
        flags: 1,
        gso_type: 1,
        gso_size: 1460,
        csum_start: 34,
        csum_offset: 16,
        ..RawClaims::default()
    };
    let mut burst = frames(14_654, 1);
    burst[0].head.bytes_mut()[46] = 0x50;
    burst[0].meta.claims = raw.check(14_654).unwrap();
    assert_eq!(burst[0].wire_volume(), Volume { frames: 10, bytes: 15_140 });
    let enough = Meter::new(MeterPlan { committed: bits(8, 15_140), ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&enough, &mut burst.clone(), 0), 1);
    let short = Meter::new(MeterPlan { committed: bits(8, 15_139), ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&short, &mut burst.clone(), 0), 0);
    let nine = Meter::new(MeterPlan { committed: packets(1, 9), ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&nine, &mut burst, 0), 0);
}

#[test]
fn a_hostile_super_frame_of_tiny_segments_counts_as_all_of_them() {
    let raw = RawClaims {
        flags: 1,
        gso_type: 1,
        gso_size: 1,
        csum_start: u16::MAX - 18,
        csum_offset: 16,
        ..RawClaims::default()
    };
    let mut burst = frames(65_550, 1);
    burst[0].meta.claims = raw.check(65_550).unwrap();
    let volume = burst[0].wire_volume();
    assert!(volume.frames >= 1 && volume.bytes >= 65_550);
    burst[0].head.bytes_mut()[46] = 0x50;
    burst[0].meta.claims = RawClaims { csum_start: 34, ..raw }.check(65_550).unwrap();
    assert_eq!(burst[0].wire_volume(), Volume { frames: 65_496, bytes: 65_496 * 55 });
}

#[test]
fn what_is_for_the_bridge_itself_passes_and_counts_nothing() {
    let meter = Meter::new(MeterPlan { committed: packets(1, 1), ..MeterPlan::default() }, Nanos(0));
    let mut burst = frames(60, 10);
    for frame in &mut burst[..4] {
        frame.head.bytes_mut()[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 2]);
    }
    assert_eq!(passed(&meter, &mut burst, 0), 5);
}

#[test]
fn four_workers_get_exactly_what_there_is() {
    let plan = MeterPlan { committed: bits(8_000_000, 1_000_000), ..MeterPlan::default() };
    let meter = Arc::new(Meter::new(plan, Nanos(0)));
    let total: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| (0..200).map(|_| passed(&meter, &mut frames(100, 64), SECOND)).sum::<usize>())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(total, 10_000);
    assert_eq!(meter.counters().conforming.frames, 10_000);
    assert_eq!(meter.counters().dropped.frames, 4 * 200 * 64 - 10_000);
}

#[test]
fn another_rate_holds_at_once_and_what_was_taken_stays_taken() {
    let meter =
        Meter::new(MeterPlan { committed: bits(8_000_000, 10_000), ..MeterPlan::default() }, Nanos(0));
    assert_eq!(passed(&meter, &mut frames(1000, 6), SECOND), 6);
    let faster = MeterPlan { committed: bits(80_000_000, 10_000), ..MeterPlan::default() };
    let meter = meter.succeeded_by(faster, Nanos(SECOND));
    assert_eq!(passed(&meter, &mut frames(1000, 64), SECOND), 4, "the rest of the burst");
    assert_eq!(
        passed(&meter, &mut frames(1000, 64), SECOND + 500_000),
        5,
        "ten thousand bytes a millisecond"
    );
    let smaller = MeterPlan { committed: bits(8_000_000, 3000), ..MeterPlan::default() };
    let meter = meter.succeeded_by(smaller, Nanos(2 * SECOND));
    assert_eq!(passed(&meter, &mut frames(1000, 64), 2 * SECOND), 3);
    assert_eq!(meter.counters().conforming.frames, 18, "it goes on counting");
}

#[test]
fn a_bucket_that_nobody_asks_for_years_is_full() {
    let meter = Meter::new(MeterPlan { committed: packets(1, 10), ..MeterPlan::default() }, Nanos(0));
    let month = 30 * 86_400 * SECOND;
    for months in 1..200 {
        meter.settle(Nanos(months * month));
    }
    assert_eq!(passed(&meter, &mut frames(60, 64), 199 * month), 10);
    let unsettled = Meter::new(MeterPlan { committed: packets(1, 10), ..MeterPlan::default() }, Nanos(0));
    assert!(passed(&unsettled, &mut frames(60, 64), 4 * month) >= 1, "at worst it is empty");
}

#[test]
fn slow_and_fast_rates_are_exact_over_hours() {
    for (rate, length, gap) in
        [(8_000, 100, 100_000_000), (30_000_000, 1500, 400_000), (400_000_000_000, 1500, 30)]
    {
        let pair = Pair::new(&bits(rate, 10 * length), None, false, 0);
        let rounds = 200_000_u64;
        let volume = Volume { frames: 1, bytes: length };
        // Offered four times as often as the rate lets pass.
        let passed =
            (0..rounds).filter(|round| pair.take(volume, ticks(Nanos(round * gap / 4))).is_some()).count();
        let ideal = 10 + rate * (rounds - 1) * gap / 4 / (8 * length * SECOND);
        let passed = u64::try_from(passed).unwrap();
        assert!(passed.abs_diff(ideal) <= 1, "{rate}: {passed} of {ideal}");
    }
}

#[test]
fn a_frame_is_green_yellow_or_red_by_two_rates() {
    let plan = MeterPlan {
        committed: bits(8_000_000, 2000),
        peak: Some(bits(16_000_000, 5000)),
        exceeding: Exceeding::Passed,
        ..MeterPlan::default()
    };
    let meter = Meter::new(plan, Nanos(0));
    assert_eq!(passed(&meter, &mut frames(1000, 10), 0), 5);
    let counted = meter.counters();
    let volumes = [counted.conforming.frames, counted.exceeding.frames, counted.dropped.frames];
    assert_eq!(volumes, [2, 3, 5]);
    // A millisecond: one of the committed rate, two of the peak rate.
    assert_eq!(passed(&meter, &mut frames(1000, 10), 1_000_000), 2);
    assert_eq!(meter.counters().conforming.frames, 3);
}

proptest! {
    /// Whatever comes whenever, in bursts of several lengths: exactly the frames pass that an ideal bucket lets pass, within one
    /// packet at each decision's edge, and over any span no more than the rate and one burst.
    #[test]
    fn what_passes_is_what_an_ideal_bucket_lets_pass(
        per_second in 8_000_u64..40_000_000_000,
        burst in 2_000_u64..1_000_000,
        came in prop::collection::vec((0_u64..3_000_000, 60_u32..9000, 1_usize..20), 1..100),
    ) {
        let meter = Meter::new(MeterPlan { committed: bits(per_second, burst), ..MeterPlan::default() }, Nanos(0));
        let mut ideal = Ideal::new(per_second, burst * 8);
        let (mut now, mut ideally, mut really) = (0, 0_u64, 0_u64);
        let mut spans = vec![(0_u64, 0_u64)];
        for (gap, length, count) in came {
            now += gap;
            let conforming = (0..count).filter(|_| ideal.takes(u64::from(length) * 8, now)).count();
            ideally += u64::try_from(conforming).unwrap() * u64::from(length);
            let counted = passed(&meter, &mut frames(length, count), now);
            really += u64::try_from(counted).unwrap() * u64::from(length);
            prop_assert!(really <= ideally + 9000 && ideally <= really + 9000, "{} of {}", really, ideally);
            for (then, before) in &spans {
                let most = u128::from(burst) + u128::from(per_second) * u128::from(now - then) / (8 * u128::from(SECOND)) + 1;
                prop_assert!(u128::from(really - before) <= most);
            }
            spans.push((now, really - u64::try_from(counted).unwrap() * u64::from(length)));
        }
    }

    /// A burst is answered as its frames one by one, at rates of which a unit lasts a whole number of ticks: at others, each frame
    /// is rounded up by itself, and one may be the one too many.
    #[test]
    fn a_burst_is_metered_as_its_frames_are(
        lengths in prop::collection::vec(60_u32..3000, 1..64),
        exponent in 10..=22_u32,
    ) {
        let rate = 1_u64 << exponent;
        let committed = Limits { packets: packets(rate >> 6, 40).packets, ..bits(rate, 50_000) };
        let plan = MeterPlan { committed, peak: Some(bits(2 * rate, 80_000)), exceeding: Exceeding::Passed, ..MeterPlan::default() };
        let (whole, single) = (Meter::new(plan, Nanos(0)), Meter::new(plan, Nanos(0)));
        let mut burst: Vec<_> = lengths.iter().flat_map(|length| frames(*length, 1)).collect();
        for round in 0..5 {
            let now = round * SECOND / 7;
            let one_by_one: usize = burst.iter_mut().map(|frame| passed(&single, std::slice::from_mut(frame), now)).sum();
            prop_assert_eq!(passed(&whole, &mut burst, now), one_by_one);
            prop_assert_eq!(whole.counters(), single.counters());
        }
    }
}
