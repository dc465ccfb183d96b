//! Senders that wait: the rate is reached exactly, nothing is lost, and who shares it gets as many bytes as the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::super::*;
use super::rates::{bits, frames};
use crate::claims::RawClaims;

const SECOND: u64 = 1_000_000_000;

fn waiting(committed: Limits) -> Meter {
    let plan = MeterPlan { committed, exceeding: Exceeding::Waits, ..MeterPlan::default() };
    Meter::new(plan, Nanos(0))
}

fn packets(per_second: u64, burst: u64) -> Limits {
    Limits { bits: None, packets: Some(Allowance { per_second, burst }) }
}

/// A super-frame of TCP with this payload in segments of that, behind 54 bytes of headers.
fn super_frame(payload: u32, segment: u16) -> Frame<()> {
    let raw = RawClaims {
        flags: 1,
        gso_type: 1,
        gso_size: segment,
        csum_start: 34,
        csum_offset: 16,
        ..RawClaims::default()
    };
    let mut frame = frames(54 + payload, 1).remove(0);
    frame.head.bytes_mut()[46] = 0x50;
    frame.meta.claims = raw.check(54 + payload).unwrap();
    frame
}

/// One that always has frames to send, all alike.
struct Sender {
    frame: Frame<()>,
    /// How long after its moment it is looked at, at most.
    late_ns: u64,
    turn: Turn,
    passed: Volume,
    dropped: u64,
    visits: u64,
    longest_pause_ns: u64,
}

impl Sender {
    fn new(frame: Frame<()>, late_ns: u64) -> Self {
        Self {
            frame,
            late_ns,
            turn: Turn::default(),
            passed: Volume::default(),
            dropped: 0,
            visits: 0,
            longest_pause_ns: 0,
        }
    }

    /// A visit as a worker makes it; gives when it is to be visited again.
    fn visit(&mut self, meter: &Meter, now: Nanos) -> Nanos {
        self.visits += 1;
        let room = meter.room(now);
        let (mut burst, mut bytes) = (Vec::new(), 0);
        while burst.is_empty()
            || (burst.len() < 64 && burst.len() as u64 <= room.frames && bytes < room.bytes.min(128 << 10))
        {
            burst.push(self.frame.clone());
            bytes += u64::from(self.frame.meta.length);
        }
        let (cost, mut refused) = (meter.cost(&burst), Vec::new());
        meter.police(&mut burst, now, &mut refused);
        refused.resize(burst.len(), false);
        for (frame, refused) in burst.iter().zip(&refused) {
            if *refused { self.dropped += 1 } else { self.passed += frame.wire_volume() }
        }
        self.turn.took(meter, cost, now).unwrap_or(now + Nanos(1000))
    }
}

/// Lets them send for so long.
fn run(meter: &Meter, senders: &mut [Sender], seconds: u64) {
    let mut due: BinaryHeap<_> = (0..senders.len()).map(|place| Reverse((Nanos(0), place, false))).collect();
    let mut random = 1_u64;
    while let Some(Reverse((at, place, paused))) = due.pop() {
        if at.seconds() >= seconds.try_into().unwrap() {
            return;
        }
        let sender = &mut senders[place];
        let again = if paused { sender.turn.resume(meter, at) } else { None };
        let next = again.unwrap_or_else(|| sender.visit(meter, at));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pauses = next > at + Nanos(1000);
        let late = if sender.late_ns == 0 || !pauses { 0 } else { (random >> 33) % sender.late_ns };
        sender.longest_pause_ns = sender.longest_pause_ns.max((next - at).0);
        due.push(Reverse((next + Nanos(late), place, pauses)));
    }
}

#[test]
fn one_that_waits_gets_exactly_its_rate_and_loses_nothing() {
    for rate in [1_000_000, 50_000_000, 1_000_000_000, 10_000_000_000] {
        let burst = (rate / 8 / 50).max(128 << 10);
        for frame in [frames(60, 1).remove(0), frames(1514, 1).remove(0), super_frame(65_000, 1448)] {
            let meter = waiting(bits(rate, burst));
            let mut senders = [Sender::new(frame, 200_000)];
            let seconds = if rate > 100_000_000 { 1 } else { 10 };
            run(&meter, &mut senders, seconds);
            let [sender] = &senders;
            let (ideal, longest) = (rate / 8 * seconds, sender.frame.wire_volume().bytes);
            let early = sender.passed.bytes.saturating_sub(ideal);
            assert!(early <= burst + longest + 1518 + rate / 8 / 500, "{rate} {longest}: {early} too much");
            assert!(
                sender.passed.bytes + longest + rate / 8 / 500 >= ideal,
                "{rate} {longest}: {:?}",
                sender.passed
            );
            assert_eq!((sender.dropped, meter.counters().dropped), (0, Volume::default()));
            assert_eq!(meter.counters().conforming, sender.passed);
            assert!(
                sender.visits <= 2000 * seconds + 200 || rate >= 1_000_000_000,
                "{rate}: {} visits",
                sender.visits
            );
        }
    }
}

#[test]
fn one_that_waits_gets_exactly_its_rate_in_packets() {
    let meter = waiting(packets(5000, 256));
    let mut senders = [Sender::new(super_frame(65_000, 1448), 100_000)];
    run(&meter, &mut senders, 10);
    assert!((49_950..50_400).contains(&senders[0].passed.frames), "{:?}", senders[0].passed);
}

#[test]
fn who_shares_a_rate_gets_as_many_bytes_whatever_frames_he_sends() {
    for rate in [20_000_000, 200_000_000] {
        let meter = waiting(bits(rate, 128 << 10));
        let kinds = [frames(60, 1).remove(0), super_frame(65_000, 1448), frames(1514, 1).remove(0)];
        let mut senders = kinds.map(|frame| Sender::new(frame, 20_000));
        run(&meter, &mut senders, 20);
        let total: u64 = senders.iter().map(|sender| sender.passed.bytes).sum();
        assert!(total.abs_diff(rate / 8 * 20) <= 400 << 10, "{rate}: {total}");
        for sender in &senders {
            let share = sender.passed.bytes * 300 / total;
            assert!(
                (90..=110).contains(&share),
                "{rate}: {share} % of a third with {}",
                sender.frame.meta.length
            );
            assert!(sender.longest_pause_ns < SECOND, "{rate}: paused for {} ns", sender.longest_pause_ns);
        }
    }
}

#[test]
fn one_that_comes_while_others_owe_goes_first_and_waits_then() {
    let meter = waiting(bits(8_000_000, 73_728));
    let mut greedy = [Sender::new(super_frame(65_000, 1448), 0)];
    run(&meter, &mut greedy, 1);
    let now = Nanos(SECOND);
    meter.police(&mut [super_frame(65_000, 1448)], now, &mut Vec::new());
    let level_at = meter.level_at(now);
    assert!(level_at > now + Nanos(SECOND / 20), "others owe for 65 ms");
    let (mut sparse, ping) = (Turn::default(), frames(98, 1));
    meter.police(&mut ping.clone(), now, &mut Vec::new());
    assert_eq!(sparse.took(&meter, meter.cost(&ping), now), None, "little is no turn");
    let many = frames(1514, 10);
    meter.police(&mut many.clone(), now, &mut Vec::new());
    let until = sparse.took(&meter, meter.cost(&many), now).unwrap();
    assert_eq!(until, meter.level_at(now), "behind all that was taken before");
    assert_eq!(until, level_at + Nanos((98 + 15_140) * 1000));
}

#[test]
fn what_is_owed_is_paid_at_the_rate_that_holds_now() {
    let meter = waiting(bits(8_000_000, 73_728));
    for _ in 0..3 {
        meter.police(&mut [super_frame(65_000, 1448)], Nanos(0), &mut Vec::new());
    }
    let owed_ns = meter.level_at(Nanos(0)).0;
    assert!((110_000_000..140_000_000).contains(&owed_ns), "{owed_ns}");
    let fast = MeterPlan { committed: bits(80_000_000, 73_728), ..*meter.plan() };
    let faster = meter.succeeded_by(fast, Nanos(0));
    assert!(faster.level_at(Nanos(0)).0.abs_diff(owed_ns / 10) <= 100, "{:?}", faster.level_at(Nanos(0)));
    let dropping = faster.succeeded_by(MeterPlan { exceeding: Exceeding::Dropped, ..fast }, Nanos(0));
    assert_eq!(dropping.level_at(Nanos(0)), Nanos(0), "where frames are dropped nothing is owed");
    assert!(!dropping.waits());
}

#[test]
fn what_would_never_keep_within_the_rate_is_dropped() {
    let meter = waiting(bits(8_000_000, 73_728));
    // 40,000 segments of one byte with 54 bytes of headers each.
    let mut burst = [super_frame(40_000, 1), frames(60, 1).remove(0)];
    let mut refused = Vec::new();
    meter.police(&mut burst, Nanos(0), &mut refused);
    assert_eq!(refused, [true, false]);
    assert_eq!(meter.counters().conforming, Volume { frames: 1, bytes: 60 });
    assert_eq!(meter.level_at(Nanos(0)), Nanos(0));
    // Many that would each: four buckets are let through at once.
    let mut burst = vec![super_frame(1300, 1); 64];
    meter.police(&mut burst, Nanos(SECOND), &mut refused);
    let passed = refused.iter().filter(|refused| !**refused).count();
    assert_eq!(passed, 4 * 73_728 / (1300 * 55));
}

#[test]
fn a_packet_that_would_wait_is_told_so() {
    let meter = waiting(bits(8_000_000, 73_728));
    assert_eq!(meter.assess(&frames(1514, 1)[0], Nanos(0)), (Colour::Green, Fate::Conforms));
    assert_eq!(meter.assess(&super_frame(40_000, 1), Nanos(0)), (Colour::Red, Fate::Refused));
    for _ in 0..100 {
        meter.police(&mut [super_frame(65_000, 1448)], Nanos(0), &mut Vec::new());
    }
    // It owes for longer than what a bucket may seem to because clocks differ.
    assert_eq!(meter.assess(&frames(60, 1)[0], Nanos(0)), (Colour::Yellow, Fate::Waits));
}

proptest! {
    /// Whoever sends what, by however many workers that come late: no more than the rate, a burst and a visit each, and no less
    /// than the rate.
    #[test]
    fn any_number_of_senders_reach_the_rate_together(
        rate in 1_000_000_u64..1_000_000_000,
        senders in prop::collection::vec((0..4_usize, 0..400_000_u64), 1..6),
    ) {
        let burst = (rate / 8 / 50).max(128 << 10);
        let meter = waiting(bits(rate, burst));
        let kinds = [frames(60, 1).remove(0), frames(1514, 1).remove(0), super_frame(65_000, 1448), super_frame(9000, 536)];
        let mut senders: Vec<_> =
            senders.into_iter().map(|(kind, late)| Sender::new(kinds[kind].clone(), late)).collect();
        run(&meter, &mut senders, 2);
        let total: u64 = senders.iter().map(|sender| sender.passed.bytes).sum();
        let (ideal, visits) = (rate / 4, senders.len() as u64 * (140 << 10));
        prop_assert!(total <= ideal + burst + visits + rate / 8 / 100, "{total} of {ideal}");
        prop_assert!(total + visits + rate / 8 / 100 >= ideal, "{total} of {ideal}");
        prop_assert!(senders.iter().all(|sender| sender.dropped == 0));
    }
}
