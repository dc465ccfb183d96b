//! Rates and buckets.

use super::*;
use proptest::prelude::*;

#[test]
fn rates_and_bursts_have_bounds() {
    assert_eq!(BitRate::new(999), None);
    assert_eq!(BitRate::new(400_000_000_001), None);
    assert_eq!(BitRate::new(1000), Some(BitRate::MIN));
    assert_eq!(Burst::new(0), None);
    assert_eq!(Burst::new((1 << 30) + 1), None);
}

#[test]
fn an_unmarked_burst_is_five_milliseconds_of_the_rate_and_sixteen_of_a_low_one() {
    let of = |bits| Burst::suiting(BitRate::new(bits).unwrap()).bytes();
    assert_eq!([of(1_000), of(1_000_000), of(10_000_000)], [1600, 2000 + 1600, 20_000 + 1600]);
    assert_eq!([of(20_000_000), of(100_000_000)], [20_000 + 1600, 62_500 + 1600]);
    assert_eq!(of(400_000_000_000), (4 << 20) + 1600);
}

#[test]
fn a_bucket_never_holds_more_than_its_depth() {
    let mut tokens = Tokens::new(BitRate::new(8_000_000_000).unwrap(), Burst::new(1000).unwrap(), Nanos(5));
    tokens.refill(Nanos(u64::MAX));
    assert_eq!(tokens.covers_at(1000), Nanos(u64::MAX));
    tokens.charge(1000);
    assert!(tokens.is_solvent());
    tokens.charge(1);
    assert!(!tokens.is_solvent());
}

#[test]
fn debt_ends_after_a_minute_unless_one_frame_takes_longer() {
    let mut tokens = Tokens::new(BitRate::new(1_000_000).unwrap(), Burst::new(1000).unwrap(), Nanos(0));
    for _ in 0..10_000 {
        tokens.charge(65_550);
    }
    assert_eq!(tokens.solvent_at(), Nanos::from_seconds(60));
    let mut tokens = Tokens::new(BitRate::MIN, Burst::new(1).unwrap(), Nanos(0));
    tokens.charge(65_550);
    // The bucket held what one byte costs.
    assert_eq!(tokens.solvent_at(), Nanos(8 * 65_549 * 1_000_000));
}

proptest! {
    /// Against numbers without bounds.
    #[test]
    fn no_bucket_drifts(
        bits in 1_000..400_000_000_000_u64,
        burst in 1..100_000_000_u32,
        steps in proptest::collection::vec((0..2_000_000_u64, 1..70_000_u32), 1..200),
    ) {
        let mut tokens = Tokens::new(BitRate::new(bits).unwrap(), Burst::new(burst).unwrap(), Nanos(0));
        // In bits times 10^9.
        let unit = i128::from(bits);
        let full = i128::from(burst) * 8_000_000_000;
        let (mut held, mut now) = (full, 0);
        for (charged, (passed, bytes)) in steps.into_iter().enumerate() {
            now += passed;
            held = (held + i128::from(passed) * unit).min(full);
            tokens.refill(Nanos(now));
            let wait = (i128::from(bytes) * 8_000_000_000).min(full) - held;
            let expected = i128::from(now) + (wait.max(0) + unit - 1) / unit;
            let got = i128::from(tokens.covers_at(bytes).0);
            prop_assert!((got - expected).abs() <= 1 + (charged as i128 >> 10), "{got} for {expected}");
            if got <= i128::from(now) {
                tokens.charge(bytes);
                held -= i128::from(bytes) * 8_000_000_000;
            }
        }
    }
}

/// A number of any magnitude, near the powers of two as often as between them.
fn any_magnitude() -> impl Strategy<Value = u64> {
    (0..=63_u32, any::<u64>(), -2..=2_i64).prop_map(|(bit, within, beside)| match within % 2 {
        0 => within >> bit,
        _ => (1_u64 << bit).wrapping_add_signed(beside),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// At any rate and burst, whatever is taken and however long nothing is: no step overflows, a bucket never holds more than its
    /// depth, and who waits as long as he is told to finds what he waited for.
    #[test]
    fn the_widest_values_there_are_end_in_an_answer(
        rate in any_magnitude().prop_map(|bits| bits.clamp(BitRate::MIN.bits(), BitRate::MAX.bits())),
        depth in any_magnitude().prop_map(|bytes| bytes.clamp(1, Burst::MAX.bytes().into())),
        steps in proptest::collection::vec((any_magnitude(), any::<u32>(), any::<bool>()), 1..30),
    ) {
        let (rate, depth) = (BitRate::new(rate).unwrap(), Burst::new(u32::try_from(depth).unwrap()).unwrap());
        // Half of all nanoseconds that there are: 292 years.
        let (mut now, end) = (Nanos(0), Nanos(u64::MAX / 2));
        let mut tokens = Tokens::new(rate, depth, now);
        for (after, bytes, is_refilled) in steps {
            now = Nanos(now.0.saturating_add(after)).min(end);
            if is_refilled {
                tokens.refill(now);
                prop_assert!(tokens.held <= tokens.depth);
            }
            tokens.charge(bytes);
            let mut later = tokens;
            later.refill(tokens.solvent_at());
            prop_assert!(later.is_solvent());
            // Who has to wait for longer than a bucket reckons with is told so twice.
            later.refill(tokens.covers_at(bytes));
            later.refill(later.covers_at(bytes));
            prop_assert!(later.held >= later.pace.units(bytes).min(later.depth));
        }
    }
}

#[test]
fn what_is_owed_takes_no_longer_at_a_faster_rate_than_its_bytes_do() {
    let bucket = |bits| Tokens::new(BitRate::new(bits).unwrap(), Burst::new(1000).unwrap(), Nanos(0));
    let mut tokens = bucket(1_000_000);
    tokens.charge(10_000);
    let ends = |bits| bucket(bits).succeeding(tokens, Nanos(0)).solvent_at();
    assert_eq!(ends(1_000_000), Nanos(72_000_000));
    assert_eq!(ends(10_000_000), Nanos(7_200_000));
    // A slower one makes it no worse.
    assert_eq!(ends(100_000), Nanos(72_000_000));
    // From one end to the other, with all that can be owed.
    let mut tokens = bucket(1_000);
    (0..100).for_each(|_| tokens.charge(u32::MAX));
    let ended = bucket(400_000_000_000).succeeding(tokens, Nanos(0)).solvent_at();
    assert!(ended < Nanos(1_000_000), "{ended:?}");
}
