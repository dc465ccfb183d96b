//! A bucket's arithmetic, gone through in full where moments have five bits: there is no overflow and no wrap of the clock that
//! changes an answer. The very function runs with 64, and nothing in it depends on their number but the mask.

use super::super::bucket::{Terms, charged, lacking, owing};

const BITS: u32 = 5;
const ALL: u64 = 1 << BITS;
const HALF: u64 = ALL / 2;
const DEPTH_MAX: u64 = ALL / 4;

/// What a bucket lacks that is full `ahead` from now, where that is not counted in any number of bits.
fn meant(ahead: u64, terms: Terms) -> u64 {
    if ahead > terms.depth + terms.slack { u64::MAX } else { ahead }
}

/// Asks with all there is: where now lies, by how much a bucket is ahead, what it holds and what is taken.
fn for_all(check: impl Fn(u64, u64, u64, Terms)) {
    for depth in 0..DEPTH_MAX {
        for slack in 0..=3 {
            for now in 0..ALL {
                for ahead in 0..ALL {
                    for cost in 0..ALL {
                        check(now, ahead, cost, Terms { depth, slack });
                    }
                }
            }
        }
    }
}

#[test]
fn in_all_of_the_few_bits_a_bucket_gives_what_it_holds_and_no_more() {
    for_all(|now, ahead, cost, terms| {
        let full_at = (now + ahead) % ALL;
        let lacks = if ahead >= HALF { 0 } else { meant(ahead, terms) };
        // One that seems to lack more than all gives one frame and is empty then, as after a change of its rate.
        let gives = cost <= terms.depth && (lacks == u64::MAX || lacks + cost <= terms.depth);
        let charged = charged::<BITS>(full_at, now, cost, terms);
        assert_eq!(charged.is_some(), gives, "{now} {ahead} {cost} {terms:?}");
        if let Some(then) = charged {
            assert!(then < ALL);
            let after = lacking::<BITS>(then, now);
            let expected = if lacks == u64::MAX { terms.depth } else { lacks + cost };
            assert_eq!(after, expected, "{now} {ahead} {cost} {terms:?}");
        }
    });
}

#[test]
fn in_all_of_the_few_bits_what_is_owed_is_what_was_taken() {
    for_all(|now, ahead, cost, terms| {
        let lacks = if ahead >= HALF { 0 } else { ahead };
        let then = owing::<BITS>((now + ahead) % ALL, now, cost);
        assert!(then < ALL);
        assert_eq!(
            lacking::<BITS>(then, now),
            (lacks + cost).min(DEPTH_MAX - 1),
            "{now} {ahead} {cost} {terms:?}"
        );
    });
}

#[test]
fn in_all_of_the_few_bits_time_fills_it_again_and_no_faster() {
    for_all(|now, ahead, passed, terms| {
        let lacks = lacking::<BITS>((now + ahead) % ALL, now);
        if lacks > terms.depth || passed + lacks >= HALF {
            return;
        }
        let later = (now + passed) % ALL;
        let left = lacking::<BITS>((now + ahead) % ALL, later);
        if ahead < HALF {
            assert_eq!(left, lacks.saturating_sub(passed), "{now} {ahead} {passed}");
        }
    });
}

#[test]
fn the_widest_values_there_are_end_in_an_answer() {
    let edges = [0, 1, u64::MAX / 4, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
    let terms = Terms { depth: Terms::DEPTH_MAX, slack: 1 << 40 };
    for full_at in edges {
        for now in edges {
            for cost in edges {
                let charged = charged::<64>(full_at, now, cost, terms);
                assert!(charged.is_none_or(|then| lacking::<64>(then, now) <= terms.depth));
                assert!(cost <= terms.depth || charged.is_none());
            }
        }
    }
}
