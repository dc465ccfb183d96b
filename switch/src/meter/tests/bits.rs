//! A bucket's arithmetic: there is no overflow and no wrap of the clock that changes an answer. It is gone through in full where moments
//! have five bits. The very function runs with 64, and nothing in it depends on their number but the mask; there the same is asserted
//! of values of all magnitudes. What is right is reckoned with more bits than any of them has.

use proptest::prelude::*;

use super::super::bucket::{Terms, charged, lacking, owing};
use super::super::gauge::{Pair, ticks};
use super::super::plan::Allowance;
use super::super::*;
use super::rates::{bits, frames};

const FEW: u32 = 5;

/// How many moments there are.
const fn all(bits: u32) -> u128 {
    1 << bits
}

/// A sum of moments and times, as a moment.
fn moment<const BITS: u32>(terms: [u64; 2]) -> u64 {
    u64::try_from((u128::from(terms[0]) + u128::from(terms[1])) % all(BITS)).unwrap()
}

/// What a bucket lacks that is full `ahead` from now; `None`: that was left by a slower rate.
fn meant<const BITS: u32>(ahead: u64, terms: Terms) -> Option<u128> {
    let ahead = u128::from(ahead);
    let lacks = if ahead >= all(BITS) / 2 { 0 } else { ahead };
    (lacks <= u128::from(terms.depth) + u128::from(terms.slack)).then_some(lacks)
}

/// A bucket gives what it holds, and no more.
fn gives_what_it_holds<const BITS: u32>(now: u64, ahead: u64, cost: u64, terms: Terms) {
    let lacks = meant::<BITS>(ahead, terms);
    let (depth, cost_exactly) = (u128::from(terms.depth), u128::from(cost));
    // One that seems to lack more than all gives one frame and is empty then, as after a change of its rate.
    let gives = cost_exactly <= depth && lacks.is_none_or(|lacks| lacks + cost_exactly <= depth);
    let charged = charged::<BITS>(moment::<BITS>([now, ahead]), now, cost, terms);
    assert_eq!(charged.is_some(), gives, "{now} {ahead} {cost} {terms:?}");
    if let Some(then) = charged {
        assert!(u128::from(then) < all(BITS));
        let expected = lacks.map_or(depth, |lacks| lacks + cost_exactly);
        assert_eq!(u128::from(lacking::<BITS>(then, now)), expected, "{now} {ahead} {cost} {terms:?}");
    }
}

/// What is owed is what was taken.
fn owes_what_was_taken<const BITS: u32>(now: u64, ahead: u64, cost: u64) {
    let lacks = if u128::from(ahead) >= all(BITS) / 2 { 0 } else { u128::from(ahead) };
    let then = owing::<BITS>(moment::<BITS>([now, ahead]), now, cost);
    assert!(u128::from(then) < all(BITS));
    let expected = (lacks + u128::from(cost)).min(all(BITS) / 4 - 1);
    assert_eq!(u128::from(lacking::<BITS>(then, now)), expected, "{now} {ahead} {cost}");
}

/// Time fills it again, and no faster.
fn fills_as_time_passes<const BITS: u32>(now: u64, ahead: u64, passed: u64, terms: Terms) {
    let full_at = moment::<BITS>([now, ahead]);
    let lacks = lacking::<BITS>(full_at, now);
    let may_be_told = u128::from(passed) + u128::from(lacks) < all(BITS) / 2;
    if lacks <= terms.depth && may_be_told && u128::from(ahead) < all(BITS) / 2 {
        let left = lacking::<BITS>(full_at, moment::<BITS>([now, passed]));
        assert_eq!(left, lacks.saturating_sub(passed), "{now} {ahead} {passed}");
    }
}

/// Asks with all there is: where now lies, by how much a bucket is ahead, what it holds and what is taken.
fn for_all(check: impl Fn(u64, u64, u64, Terms)) {
    let all = 1 << FEW;
    for depth in 0..all / 4 {
        for slack in 0..=3 {
            for now in 0..all {
                for ahead in 0..all {
                    for cost in 0..all {
                        check(now, ahead, cost, Terms { depth, slack });
                    }
                }
            }
        }
    }
}

#[test]
fn in_all_of_the_few_bits_a_bucket_gives_what_it_holds_and_no_more() {
    for_all(gives_what_it_holds::<FEW>);
}

#[test]
fn in_all_of_the_few_bits_what_is_owed_is_what_was_taken() {
    for_all(|now, ahead, cost, _| owes_what_was_taken::<FEW>(now, ahead, cost));
}

#[test]
fn in_all_of_the_few_bits_time_fills_it_again_and_no_faster() {
    for_all(fills_as_time_passes::<FEW>);
}

#[test]
fn the_widest_values_there_are_end_in_an_answer() {
    let edges = [0, 1, u64::MAX / 4, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
    for depth in [0, 1, Terms::DEPTH_MAX - 1, Terms::DEPTH_MAX] {
        let terms = Terms { depth, slack: 1 << 40 };
        for now in edges {
            for ahead in edges {
                for cost in edges {
                    gives_what_it_holds::<64>(now, ahead, cost, terms);
                    owes_what_was_taken::<64>(now, ahead, cost);
                    fills_as_time_passes::<64>(now, ahead, cost, terms);
                }
            }
        }
    }
}

/// A number of any magnitude, near the powers of two as often as between them.
pub(super) fn any_magnitude() -> impl Strategy<Value = u64> {
    (0..=63_u32, any::<u64>(), -2..=2_i64).prop_map(|(bit, within, beside)| match within % 2 {
        0 => within >> bit,
        _ => (1_u64 << bit).wrapping_add_signed(beside),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn with_all_64_bits_the_same_holds_of_values_of_any_magnitude(
        [now, ahead, cost, depth] in [any_magnitude(), any_magnitude(), any_magnitude(), any_magnitude()],
        slack in 0..1_u64 << 41,
    ) {
        let terms = Terms { depth: depth.min(Terms::DEPTH_MAX), slack };
        gives_what_it_holds::<64>(now, ahead, cost, terms);
        // What would just fit, and what would just not.
        let left = terms.depth.saturating_sub(ahead);
        for cost in [left, left.saturating_add(1), left.saturating_sub(1)] {
            gives_what_it_holds::<64>(now, ahead, cost, terms);
        }
        owes_what_was_taken::<64>(now, ahead, cost);
        fills_as_time_passes::<64>(now, ahead, cost, terms);
    }

    /// From a byte a second to more than there are wires for, with any burst and any volume: no step of what a frame costs overflows,
    /// and nothing costs less than it lasts. (Slower rates nobody can ask for.)
    #[test]
    fn a_pair_of_any_rates_costs_what_it_should(
        [rate, burst, units] in [any_magnitude(), any_magnitude(), any_magnitude()],
        now in any_magnitude(),
    ) {
        let rate = rate.max(8);
        let allowance = Some(Allowance { per_second: rate, burst });
        let volume = Volume { frames: units, bytes: units };
        for (limits, parts) in
            [(Limits { bits: allowance, packets: None }, 8), (Limits { bits: None, packets: allowance }, 1)]
        {
            let pair = Pair::new(&limits, None, true, now);
            let cost = u128::from(pair.cost(volume));
            let lasts = u128::from(units)
                .checked_mul(u128::from(ticks(Nanos(1_000_000_000))) * parts)
                .map_or(u128::MAX, |ticks| ticks / u128::from(rate));
            prop_assert!(cost >= lasts.min(u64::MAX.into()), "{cost} instead of {lasts}");
            let is_taken = pair.take(volume, now).is_some();
            prop_assert!(!is_taken || cost <= u128::from(Terms::DEPTH_MAX));
            pair.charge(volume, now);
            pair.charge(volume, now);
            pair.settle(now.wrapping_add(1));
            let _ = (pair.holds_in(units, now), pair.turn(), pair.room(now), pair.fits(volume, units));
            let next = Pair::new(&limits, Some(&pair), true, now);
            prop_assert!(next.holds_in(0, now) <= Terms::DEPTH_MAX);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The same comes at the beginning of time and where the count of ticks wraps: the same passes, whatever is metered, waits as
    /// long, and holds after a change of the rate midway.
    #[test]
    fn a_wrap_of_the_clock_changes_no_answer(
        rate in 1_000..100_000_000_000_u64,
        burst in 64..1_000_000_u64,
        bursts in proptest::collection::vec((0..200_000_000_u64, 60..1515_u32, 1..64_usize), 1..40),
        before in 0..2_000_000_000_u64,
        changed in 0..40_usize,
    ) {
        // Ticks are nanoseconds by 1024: they wrap here.
        let wrap = 1_u64 << 54;
        for plan in plans(rate, burst) {
            let answers = |start| answers(&plan, &bursts, changed, start);
            prop_assert_eq!(answers(0), answers(wrap - before), "{:?}", plan);
        }
    }
}

/// Meters of one rate in bits, in packets, in both, of two rates, and one whose senders wait.
fn plans(rate: u64, burst: u64) -> [MeterPlan; 5] {
    let packets = Some(Allowance { per_second: rate / 600 + 1, burst: burst / 600 + 1 });
    let of_bits = bits(rate, burst);
    let both = Limits { packets, ..of_bits };
    let committed = |committed| MeterPlan { committed, ..MeterPlan::default() };
    [
        committed(of_bits),
        committed(Limits { bits: None, packets }),
        committed(both),
        MeterPlan { peak: Some(bits(rate * 2, burst * 2)), ..committed(both) },
        MeterPlan { exceeding: Exceeding::Waits, ..committed(both) },
    ]
}

/// Which frames are refused of bursts that come so long after each other, counted from `start`, and for how long each has to
/// wait; from the burst `changed` on at half of the rate.
fn answers(
    plan: &MeterPlan,
    bursts: &[(u64, u32, usize)],
    changed: usize,
    start: u64,
) -> Vec<(Vec<bool>, Option<u64>)> {
    let mut meter = Meter::new(*plan, Nanos(start));
    let (mut now, mut turn) = (start, Turn::default());
    let mut answer = |(number, (after, length, count)): (usize, &(u64, u32, usize))| {
        now += after;
        if number == changed {
            let bits =
                plan.committed.bits.map(|all| Allowance { per_second: all.per_second.div_ceil(2), ..all });
            let committed = Limits { bits, ..plan.committed };
            meter = meter.succeeded_by(MeterPlan { committed, ..*plan }, Nanos(now));
        }
        let (mut refused, mut burst) = (Vec::new(), frames(*length, *count));
        meter.police(&mut burst, Nanos(now), &mut refused);
        let waits = meter.waits().then(|| turn.took(&meter, meter.cost(&burst), Nanos(now))).flatten();
        meter.settle(Nanos(now));
        (refused, waits.map(|until| until.0.wrapping_sub(start)))
    };
    bursts.iter().enumerate().map(&mut answer).collect()
}
