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
        thread::spawn(move || costs.into_iter().filter(|cost| bucket.take(*cost, TERMS, NOW)).sum::<u64>())
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
        let takes = bucket.take(10, TERMS, NOW);
        settler.join().unwrap();
        assert!(takes && !bucket.has(1, TERMS, NOW));
    });
}
