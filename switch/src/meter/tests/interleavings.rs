//! A bucket under loom, which runs each test in every order that the steps of its threads may take. `bucket.rs` is the very file
//! that runs.
#![expect(clippy::duplicate_mod, reason = "compiled here over loom's types")]
#![allow(dead_code, reason = "a model needs only parts of it")]

#[path = "../bucket.rs"]
mod bucket;

use loom::sync::Arc;
use loom::thread;

use bucket::{Bucket, Terms};

mod atomic {
    //! loom's types under the names of the real ones.
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

const TERMS: Terms = Terms { depth: 10, slack: 100 };
const NOW: u64 = 1000;

/// How much two threads get that take these one after the other, of a bucket that holds ten.
fn taken(costs: [[u64; 2]; 2]) -> u64 {
    let bucket = Arc::new(Bucket::lacking(0, NOW));
    let threads = costs.map(|costs| {
        let bucket = Arc::clone(&bucket);
        thread::spawn(move || {
            costs.into_iter().filter(|cost| bucket.take(*cost, TERMS, NOW).is_some()).sum::<u64>()
        })
    });
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

#[test]
fn two_workers_get_all_that_there_is_and_no_more() {
    loom::model(|| assert_eq!(taken([[5, 1], [3, 1]]), 10));
    loom::model(|| assert_eq!(taken([[4, 4], [4, 4]]), 8));
}

#[test]
fn what_two_workers_owe_adds_up() {
    loom::model(|| {
        let bucket = Arc::new(Bucket::lacking(0, NOW));
        let threads = [8, 9].map(|cost| {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.charge(cost, NOW))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(bucket.full_in(NOW), 17);
    });
}

#[test]
fn whoever_settles_a_bucket_beside_a_worker_gives_nothing_back() {
    loom::model(|| {
        let bucket = Arc::new(Bucket::lacking(0, NOW - 500));
        let settling = Arc::clone(&bucket);
        let settler = thread::spawn(move || settling.settle(NOW));
        let takes = bucket.take(10, TERMS, NOW).is_some();
        settler.join().unwrap();
        assert!(takes && !bucket.has(1, TERMS, NOW));
    });
}

/// One worker takes of one bucket, finds that another one lacks as much, and gives it back, while a second one takes of the first
/// bucket at a later time, at which it is full again.
#[test]
fn whoever_gives_back_late_gives_nothing_that_came_meanwhile() {
    loom::model(|| {
        let later = NOW + 3 * TERMS.depth;
        let bucket = Arc::new(Bucket::lacking(0, NOW));
        let other = Arc::clone(&bucket);
        let second = thread::spawn(move || {
            (0..3).filter(|_| other.take(4, TERMS, later).is_some()).count() as u64 * 4
        });
        let taken = bucket.take(6, TERMS, NOW);
        if let Some(taken) = taken {
            bucket.give_back(taken);
        }
        let passed = second.join().unwrap();
        let left = (0..TERMS.depth).filter(|_| bucket.take(1, TERMS, later).is_some()).count() as u64;
        assert!(passed + left <= TERMS.depth, "{passed} and {left} of {}", TERMS.depth);
        // Whoever is alone gives back all.
        let taken = bucket.take(5, TERMS, later + TERMS.depth).unwrap();
        bucket.give_back(taken);
        assert!(bucket.has(TERMS.depth, TERMS, later + TERMS.depth));
    });
}
