//! When the frames of a ring come, and how long it is therefore worth polling for.
//!
//! A kick that wakes a sleeping worker costs the guest and the frame some 10 and 25 µs (docs/performance.md), a look
//! at an empty ring 5 ns. So a ring stays polled while the next frame is likely within a few times that cost, which is
//! told by the mean of the last gaps between frames; one whose frames come seldom is armed at once. Two kinds of
//! frames can be told in advance and are waited for although gaps are long: the answer to a frame that was just
//! delivered, and the next frame of a regular row.

use std::time::{Duration, Instant};

/// Mean gap up to which a ring stays polled from frame to frame, and the longest that is polled for a frame: a
/// few times what sleeping costs.
const POLLED_MAX: Duration = Duration::from_micros(200);

/// The shortest that is polled after a frame: guests send a few frames one after the other.
const POLLED_MIN: Duration = Duration::from_micros(10);

/// How long is polled for the answer to a frame.
const ANSWER: Duration = Duration::from_micros(50);

/// The longest gap of a row of frames whose next one is foreseen.
const FORESEEN_MAX: Duration = Duration::from_millis(10);

/// How much two gaps of a regular row differ at most.
const REGULAR: Duration = Duration::from_micros(80);

/// How long before a foreseen frame the worker wants to be awake, its own lateness included, and how long after it
/// polls on.
const LEAD: Duration = Duration::from_micros(120);
const TAIL: Duration = Duration::from_micros(80);

/// Longer gaps say no more than this one, so that the mean forgets a pause within some frames.
const GAP_MAX: Duration = Duration::from_millis(1);

/// Answers that did not come double the number of frames after which the next one is waited for, this often.
const DOUBLINGS: u8 = 6;

/// The times of one ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When frames were last found.
    last: Instant,
    /// Polled until then.
    until: Instant,
    /// Mean of the gaps in nanoseconds, the last ones counting most.
    mean_ns: u64,
    /// The last gap and the one before.
    gaps: [Duration; 2],
    /// Polled because a frame was foreseen, or an answer.
    foreseen: bool,
    answer: bool,
    /// Answers in a row that did not come.
    missed: u8,
    /// Frames whose answers are not waited for.
    skipped: u8,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: now,
            until: now + POLLED_MIN,
            mean_ns: nanoseconds(GAP_MAX),
            gaps: [Duration::ZERO; 2],
            foreseen: false,
            answer: false,
            missed: 0,
            skipped: 0,
        }
    }

    /// Notes that frames were found.
    #[inline]
    pub(super) fn arrived(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        self.mean_ns = (self.mean_ns * 3 + nanoseconds(gap.min(GAP_MAX))) / 4;
        self.gaps = [gap, self.gaps[0]];
        self.last = now;
        self.until = now + self.patience();
        self.foreseen = false;
        if std::mem::take(&mut self.answer) {
            self.missed = 0;
            self.skipped = 0;
        }
    }

    /// How long is polled after a frame.
    fn patience(&self) -> Duration {
        let mean = Duration::from_nanos(self.mean_ns);
        if mean <= POLLED_MAX { (mean * 2).clamp(POLLED_MIN, POLLED_MAX) } else { POLLED_MIN }
    }

    /// Whether the ring stays polled though it has nothing. `crowded`: others want the processor.
    #[inline]
    pub(super) fn is_patient(&self, now: Instant, crowded: bool) -> bool {
        let until = if crowded { self.last + POLLED_MIN } else { self.until };
        now < until
    }

    /// Notes that the ring is armed now; tells when it had better be looked at again, though no kick came.
    pub(super) fn armed(&mut self) -> Option<Instant> {
        if std::mem::take(&mut self.answer) {
            self.missed = (self.missed + 1).min(DOUBLINGS);
            self.skipped = (1 << self.missed) - 1;
        }
        if std::mem::take(&mut self.foreseen) {
            self.gaps = [Duration::ZERO; 2];
        }
        let [gap, before] = self.gaps;
        let regular = gap.abs_diff(before) <= REGULAR && gap > LEAD + POLLED_MIN && gap <= FORESEEN_MAX;
        regular.then(|| self.last + gap - LEAD)
    }

    /// Notes that a kick came.
    pub(super) fn kicked(&mut self, now: Instant) {
        self.until = now + POLLED_MIN;
    }

    /// Notes that the ring is polled because a frame was foreseen.
    pub(super) fn foresee(&mut self) {
        self.foreseen = true;
        self.until = self.last + self.gaps[0] + TAIL;
    }

    /// Whether to poll for an answer to the frame that was just delivered.
    pub(super) fn await_answer(&mut self, now: Instant) -> bool {
        if self.skipped > 0 {
            self.skipped -= 1;
            return false;
        }
        self.answer = true;
        self.until = self.until.max(now + ANSWER);
        true
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn microseconds(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    /// A ring whose frames came with these gaps, in microseconds, and when the last one did.
    fn after(gaps: impl IntoIterator<Item = u64>) -> (Pace, Instant) {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for gap in gaps {
            now += microseconds(gap);
            pace.arrived(now);
        }
        (pace, now)
    }

    #[test]
    fn a_ring_with_short_gaps_stays_polled_between_frames() {
        for gap in [1, 20, 100, 180] {
            let (pace, now) = after([gap; 40]);
            assert!(pace.is_patient(now + microseconds(gap), false), "{gap} us");
            assert!(!pace.is_patient(now + POLLED_MAX, false), "{gap} us: never longer than this");
        }
    }

    #[test]
    fn a_ring_with_long_gaps_is_left_at_once() {
        for gap in [400, 1000, 1_000_000] {
            let (pace, now) = after([gap; 40]);
            assert!(!pace.is_patient(now + POLLED_MIN, false), "{gap} us");
        }
    }

    #[test]
    fn a_pause_is_forgotten_within_some_frames() {
        let (pace, now) = after([50; 40].into_iter().chain([3_000_000]).chain([50; 8]));
        assert!(pace.is_patient(now + microseconds(50), false));
    }

    #[test]
    fn where_others_want_the_processor_nothing_is_waited_for() {
        let (mut pace, now) = after([100; 40]);
        assert!(pace.await_answer(now));
        assert!(!pace.is_patient(now + POLLED_MIN, true));
    }

    #[test]
    fn the_next_frame_of_a_regular_row_is_foreseen_until_one_stays_away() {
        let (mut pace, now) = after([5000, 5020, 4990]);
        assert_eq!(pace.armed(), Some(now + microseconds(4990) - LEAD));
        pace.foresee();
        assert!(pace.is_patient(now + microseconds(5000), false));
        assert!(!pace.is_patient(now + microseconds(4990) + TAIL, false));
        assert_eq!(pace.armed(), None, "it did not come");
        pace.arrived(now + microseconds(6000));
        assert_eq!(pace.armed(), None);
    }

    #[test]
    fn irregular_frames_and_long_gaps_are_not_foreseen() {
        for gaps in [[3000, 4000], [1_000_000, 1_000_000], [20, 20]] {
            assert_eq!(after(gaps).0.armed(), None, "{gaps:?}");
        }
    }

    #[test]
    fn answers_are_waited_for_less_and_less_where_none_come() {
        let (mut pace, now) = after([10_000]);
        let mut waited = 0;
        for _ in 0..1000 {
            waited += u32::from(pace.await_answer(now));
            pace.armed();
        }
        assert!((10..30).contains(&waited), "{waited}");
        while !pace.await_answer(now) {}
        pace.arrived(now);
        assert!((0..100).all(|_| pace.await_answer(now)), "it came");
    }
}
