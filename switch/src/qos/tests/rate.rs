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
fn an_unmarked_burst_is_five_milliseconds_of_the_rate() {
    let of = |bits| Burst::suiting(BitRate::new(bits).unwrap()).bytes();
    assert_eq!([of(1_000), of(10_000_000), of(100_000_000)], [1600, 6250 + 1600, 62_500 + 1600]);
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
