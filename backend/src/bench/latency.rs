//! The round trip through a switch at low load: a frame from card A to card B, and at once back to A.
//!
//! One thread drives both cards and looks at their rings without a pause, so that what is measured is the switch: its
//! wake-up, its look at the rings, its decision and its copy, there and back.

use std::time::{Duration, Instant};

use super::card::{Arrived, Card};
use super::error::BenchError;
use super::frame;
use super::interrupt;
use super::report::{Better, Row};
use super::stats::percentile;

/// What this part is called in tables.
const PART: &str = "latency";
/// Small rings: at low load a few buffers do.
pub(super) const ENTRIES: u16 = 256;
/// Frames that are taken out of a ring at once.
const BURST: usize = 32;
/// How long after the last frame was sent the last one may come back.
const SETTLE: Duration = Duration::from_millis(500);
/// How long is waited for the first frame before it is sent once more.
const RETRY: Duration = Duration::from_millis(20);
/// How long a switch may take until the first frame comes through.
const FIRST_WITHIN: Duration = Duration::from_secs(20);

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Work {
    /// Bytes of a frame, without FCS.
    pub(crate) bytes: usize,
    /// Trains of frames a second.
    pub(crate) rate: u32,
    /// Frames of a train; each starts when the one before it is back.
    pub(crate) train: u32,
    /// How long.
    pub(crate) time: Duration,
}

/// Times in nanoseconds, sorted, and frames that did not come back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Trips {
    /// Of the first frame of each train.
    pub(super) first_ns: Vec<u64>,
    /// Of the others.
    pub(super) following_ns: Vec<u64>,
    /// How many frames were lost.
    pub(super) lost: u64,
}

/// Measures; `path` names the switch in errors.
pub(super) fn measure(cards: &mut [Card; 2], work: Work, path: &str) -> Result<Trips, BenchError> {
    cards[0].load(&frame::template(work.bytes, 0, 1));
    cards[1].load(&frame::template(work.bytes, 1, 0));
    let mut driver = Driver { cards, sent: Vec::new(), back: Vec::with_capacity(BURST) };
    driver.first_frame(path)?;
    driver.run(work)
}

/// Where a frame that was sent belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// It only woke the switch up and made the addresses known.
    WarmUp,
    /// This one of its train, from 0.
    InTrain(u32),
    /// It is back.
    Back,
}

/// Drives both cards.
struct Driver<'c> {
    cards: &'c mut [Card; 2],
    /// When each frame was sent; its index is the frame's number.
    sent: Vec<(Instant, Place)>,
    /// Numbers of frames that have just come back.
    back: Vec<u64>,
}

impl Driver<'_> {
    /// Lets the switch learn both addresses, and waits until something comes back.
    fn first_frame(&mut self, path: &str) -> Result<(), BenchError> {
        let start = Instant::now();
        while start.elapsed() < FIRST_WITHIN {
            self.send(Place::WarmUp)?;
            self.look_for(RETRY)?;
            if !self.back.is_empty() {
                return self.look_for(SETTLE);
            }
        }
        Err(BenchError::Silence { path: path.to_owned(), seconds: FIRST_WITHIN.as_secs() })
    }

    fn look_for(&mut self, time: Duration) -> Result<(), BenchError> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.look()?;
            interrupt::check()?;
        }
        Ok(())
    }

    fn send(&mut self, place: Place) -> Result<(), BenchError> {
        let number = self.sent.len() as u64;
        self.sent.push((Instant::now(), place));
        self.cards[0].send(number, 1).map(drop)
    }

    /// Sends back what came to B, and notes what came to A.
    #[inline]
    fn look(&mut self) -> Result<(), BenchError> {
        let [a, b] = &mut *self.cards;
        let mut number = 0;
        while b.receive(1, |frame| {
            number = frame.number();
            Ok(())
        })? == 1
        {
            b.send(number, 1)?;
        }
        let back = &mut self.back;
        let note = |frame: &Arrived<'_>| {
            back.push(frame.number());
            Ok(())
        };
        a.receive(BURST, note).map(drop)
    }

    fn run(&mut self, work: Work) -> Result<Trips, BenchError> {
        let seconds = usize::try_from(work.time.as_secs() + 1).unwrap_or(1);
        // Growing in the middle of it would be measured.
        self.sent.reserve(seconds * work.rate as usize * work.train as usize);
        self.back.clear();
        let warm_up = self.sent.len();
        let mut trips = Trips::default();
        let (start, mut due) = (Instant::now(), Duration::ZERO);
        loop {
            self.look()?;
            self.welcome(work.train, &mut trips)?;
            let elapsed = start.elapsed();
            if elapsed >= due && elapsed < work.time {
                due += Duration::from_secs(1) / work.rate;
                self.send(Place::InTrain(0))?;
            }
            if elapsed > work.time + SETTLE {
                break;
            }
            interrupt::check()?;
        }
        trips.lost = (self.sent.len() - warm_up - trips.first_ns.len() - trips.following_ns.len()) as u64;
        trips.first_ns.sort_unstable();
        trips.following_ns.sort_unstable();
        Ok(trips)
    }

    /// Notes the times of frames that are back, and lets the next ones of their trains start.
    fn welcome(&mut self, train: u32, trips: &mut Trips) -> Result<(), BenchError> {
        while let Some(number) = self.back.pop() {
            let sent = usize::try_from(number).ok().and_then(|index| self.sent.get_mut(index));
            let Some((at, place @ Place::InTrain(_))) = sent else { continue };
            let time_ns = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let Place::InTrain(index) = std::mem::replace(place, Place::Back) else { continue };
            let times = if index == 0 { &mut trips.first_ns } else { &mut trips.following_ns };
            times.push(time_ns);
            if index + 1 < train {
                self.send(Place::InTrain(index + 1))?;
            }
        }
        Ok(())
    }
}

/// The rows of a round for the table: percentiles in microseconds, of the first frames and of the following ones.
pub(super) fn rows(work: Work, path: &str, trips: &Trips) -> Vec<Row> {
    let name = |which: &str| format!("{} B, {} /s{which}", work.bytes, work.rate);
    let (first, following) = match work.train {
        1 => (name(""), None),
        _ => (name(", first of a train"), Some(name(", following"))),
    };
    let mut rows = percentiles(&first, path, &trips.first_ns);
    if let Some(following) = following {
        rows.extend(percentiles(&following, path, &trips.following_ns));
    }
    rows.push(Row::new(PART, &first, "lost", path, ("frames", Better::Less), trips.lost as f64));
    rows
}

fn percentiles(work: &str, path: &str, sorted_ns: &[u64]) -> Vec<Row> {
    let row = |measure: &str, per_mille| {
        let value_us = percentile(sorted_ns, per_mille) as f64 / 1000.0;
        Row::new(PART, work, measure, path, ("us", Better::Less), value_us)
    };
    [("p50", 500), ("p99", 990), ("p99.9", 999)].map(|(measure, per_mille)| row(measure, per_mille)).into()
}
