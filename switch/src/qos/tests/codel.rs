//! The law by the formula of RFC 8289, and its pseudocode's course.

use super::*;
use crate::qos::item::Ecn;

const MS: u64 = 1_000_000;

const LIMITS: Limits =
    Limits { target: Nanos::from_millis(5), interval: Nanos::from_millis(100), least_bytes: 1514 };

/// A queue that is never empty, and in which everything has waited for `waited`.
struct Standing {
    now: Nanos,
    waited: Nanos,
    left_bytes: u64,
    ecn: Ecn,
    dropped_at: Vec<u64>,
}

impl Source for Standing {
    fn pop(&mut self) -> Option<(Item, u64)> {
        let arrived = self.now - self.waited;
        let item = Item { ticket: 0, length: 1514, flow: 0, dscp: 0, ecn: self.ecn, arrived, marked: false };
        Some((item, self.left_bytes))
    }

    fn signal(&mut self, item: Item) -> Option<Item> {
        self.dropped_at.push(self.now.0);
        (self.ecn != Ecn::NotCapable).then_some(Item { marked: true, ..item })
    }
}

fn standing(ecn: Ecn) -> Standing {
    Standing {
        now: Nanos::from_seconds(1),
        waited: Nanos(10 * MS),
        left_bytes: 100_000,
        ecn,
        dropped_at: Vec::new(),
    }
}

/// Takes one out every tenth of a millisecond until `until`, in milliseconds since the first second.
fn run(codel: &mut Codel, source: &mut Standing, until: u64) {
    while source.now.0 < (1000 + until) * MS {
        source.now = source.now + Nanos(MS / 10);
        codel.dequeue(source.now, &LIMITS, source);
    }
}

#[test]
fn the_next_drop_comes_after_the_interval_by_the_root_of_the_count() {
    for count in 1..10_000_u32 {
        let after = control_law(Nanos(7), Nanos(100 * MS), count).0 - 7;
        let exact = 100.0 * MS as f64 / f64::from(count).sqrt();
        assert!((after as f64 - exact).abs() <= 1.0, "{count}: {after} for {exact}");
    }
}

#[test]
fn drops_begin_after_an_interval_and_come_ever_faster() {
    for ecn in [Ecn::NotCapable, Ecn::Capable] {
        let (mut codel, mut source) = (Codel::default(), standing(ecn));
        run(&mut codel, &mut source, 1000);
        let mut expected = vec![1100.1];
        // The first one is above the target at 0.1 ms; drops come when the next frame goes, at most 0.1 ms late.
        let mut at = 1100.1;
        for count in 1..source.dropped_at.len() {
            at += 100.0 / (count as f64).sqrt();
            expected.push(at);
        }
        assert!(expected.len() > 20, "{}", expected.len());
        for (got, expected) in source.dropped_at.iter().zip(expected) {
            let got = *got as f64 / MS as f64;
            assert!((0.0..0.11).contains(&(got - expected + 0.001)), "{got} for {expected}");
        }
    }
}

#[test]
fn a_short_queue_and_a_single_frame_are_left_alone() {
    let (mut codel, mut source) = (Codel::default(), standing(Ecn::NotCapable));
    source.waited = Nanos(5 * MS - 1);
    run(&mut codel, &mut source, 1000);
    source.waited = Nanos(50 * MS);
    source.left_bytes = 1514;
    run(&mut codel, &mut source, 2000);
    assert!(source.dropped_at.is_empty());
}

#[test]
fn one_frame_in_time_ends_it_and_the_rate_is_remembered_for_a_while() {
    let (mut codel, mut source) = (Codel::default(), standing(Ecn::NotCapable));
    run(&mut codel, &mut source, 1000);
    let dropped = source.dropped_at.len();
    source.waited = Nanos(0);
    run(&mut codel, &mut source, 1010);
    assert!(!codel.is_dropping);
    source.waited = Nanos(10 * MS);
    // An interval passes, and then it goes on about as fast as before.
    run(&mut codel, &mut source, 1110);
    assert_eq!(source.dropped_at.len(), dropped);
    run(&mut codel, &mut source, 1210);
    let again = source.dropped_at.len() - dropped;
    assert!(again >= 4, "{again}");
    // After sixteen intervals it begins as the first time.
    source.waited = Nanos(0);
    run(&mut codel, &mut source, 3000);
    source.waited = Nanos(10 * MS);
    let dropped = source.dropped_at.len();
    run(&mut codel, &mut source, 3150);
    assert_eq!(source.dropped_at.len() - dropped, 1);
}
