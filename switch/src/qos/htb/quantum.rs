//! How much a class sends in a turn.

use crate::qos::plan::{ClassIndex, HtbPlan};

/// What the sibling with the lowest rate gets: a frame of the usual MTU.
const SMALLEST: u64 = 1514;

/// The most that a class gets by itself, so that its turn is not too long.
const GREATEST: u64 = 1 << 20;

/// The least that a class gets by itself: with less, a frame would take too many turns.
const LEAST: u64 = 256;

/// The quanta of the classes and of the root, in bytes: as the plan says, or in proportion to the rates of siblings, up to
/// one in four thousand.
pub(super) fn quanta(plan: &HtbPlan) -> Vec<i64> {
    let root = plan.classes.len();
    let mut spans = vec![(u64::MAX, 0); root + 1];
    let siblings = |parent: Option<ClassIndex>| parent.map_or(root, ClassIndex::get);
    for class in &plan.classes {
        let (lowest, highest) = &mut spans[siblings(class.parent)];
        let rate = class.shares.rate.bits();
        (*lowest, *highest) = ((*lowest).min(rate), (*highest).max(rate));
    }
    let by_rate = |rate: u64, (lowest, highest): (u64, u64)| {
        let of_lowest = u128::from(rate) * u128::from(SMALLEST) / u128::from(lowest);
        let greatest = u128::from(highest) * u128::from(SMALLEST) / u128::from(lowest);
        if greatest <= u128::from(GREATEST) {
            return i64::try_from(of_lowest).unwrap_or(i64::MAX);
        }
        let of_highest = u128::from(rate) * u128::from(GREATEST) / u128::from(highest);
        i64::try_from(of_highest.max(u128::from(LEAST))).unwrap_or(i64::MAX)
    };
    let quanta = plan.classes.iter().map(|class| match class.quantum {
        Some(quantum) => i64::from(quantum.max(1)),
        None => by_rate(class.shares.rate.bits(), spans[siblings(class.parent)]),
    });
    quanta.chain([i64::try_from(SMALLEST).unwrap_or(1)]).collect()
}
