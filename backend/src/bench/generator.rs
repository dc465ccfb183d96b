//! As many frames as go through: from card A to card B, whose rings one thread serves in turn.
//!
//! At most [`WINDOW`] frames are under way, as many as B has buffers: a switch that loses frames does so for a reason
//! of its own.

use std::time::{Duration, Instant};

use super::card::{Arrived, Card};
use super::error::BenchError;
use super::frame;
use super::interrupt;
use super::report::{Better, Row};

/// What this part is called in tables.
pub(super) const PART: &str = "generator";
/// Entries of the cards' rings: what `viaduct qemu-args` gives guests.
pub(super) const ENTRIES: u16 = 1024;
/// Frames that may be under way.
pub(super) const WINDOW: u64 = 1024;
/// Frames that are sent or received in one go.
pub(super) const BURST: usize = 64;
/// How long frames go through before it counts.
pub(super) const WARM_UP: Duration = Duration::from_millis(300);
/// When nothing arrives for so long, what is under way is lost.
pub(super) const LOST_AFTER: Duration = Duration::from_millis(200);
/// How long a switch may take until the first frame comes through.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// One frame of so many is compared byte by byte.
const SAMPLE: u64 = 61;

/// What went through in a time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Carried {
    /// Frames sent, the warm-up included.
    pub(super) sent: u64,
    /// Of those, frames that did not arrive.
    pub(super) lost: u64,
    /// Frames that arrived while it counted.
    pub(super) frames: u64,
    /// How long that was.
    pub(super) time: Duration,
    /// Processor time that it took to carry them.
    pub(super) cpu: Duration,
}

impl Carried {
    /// Its rows in the table.
    pub(super) fn rows(&self, bytes: usize, path: &str) -> Vec<Row> {
        let work = format!("{bytes} B");
        let per_second = self.frames as f64 / self.time.as_secs_f64();
        let gigabits = self.frames as f64 * bytes as f64 * 8.0 / 1e9;
        let row = |measure: &str, unit: &str, better, value: f64| {
            Row::new(PART, &work, measure, path, (unit, better), value)
        };
        vec![
            row("frames", "Mframes/s", Better::More, per_second / 1e6),
            row("bits", "Gbit/s", Better::More, gigabits / self.time.as_secs_f64()),
            row("lost", "%", Better::Less, 100.0 * self.lost as f64 / self.sent.max(1) as f64),
            row("CPU", "ms/Gbit", Better::Less, self.cpu.as_secs_f64() * 1000.0 / gigabits),
        ]
    }
}

/// Checks what arrives.
pub(super) struct Inspector<'p> {
    template: Vec<u8>,
    path: &'p str,
    seen: u64,
    room: [u8; frame::BYTES_MAX],
}

impl<'p> Inspector<'p> {
    /// For frames of `bytes` bytes from end 0 to end 1.
    pub(super) fn new(bytes: usize, path: &'p str) -> Self {
        Self { template: frame::template(bytes, 0, 1), path, seen: 0, room: [0; frame::BYTES_MAX] }
    }

    /// Looks at a frame in a card's buffer: at its length and its first cache line, and at all of some.
    #[inline]
    fn see(&mut self, arrived: &Arrived<'_>) -> Result<(), BenchError> {
        std::hint::black_box(arrived.number());
        if self.is_due(arrived.bytes()) {
            frame::compare(arrived.copy(&mut self.room), &self.template, self.path)?;
        }
        Ok(())
    }

    /// The same for a frame that was copied already.
    #[inline]
    pub(super) fn see_bytes(&mut self, arrived: &[u8]) -> Result<(), BenchError> {
        if self.is_due(arrived.len()) { frame::compare(arrived, &self.template, self.path) } else { Ok(()) }
    }

    fn is_due(&mut self, bytes: usize) -> bool {
        self.seen += 1;
        self.seen.is_multiple_of(SAMPLE) || bytes != self.template.len()
    }
}

/// Sends frames of `bytes` bytes for `time`; `cpu` tells the processor time used so far by what carries them.
pub(super) fn measure(
    cards: &mut [Card; 2],
    (bytes, time): (usize, Duration),
    path: &str,
    cpu: impl Fn() -> Duration,
) -> Result<Carried, BenchError> {
    introduce(cards, bytes, path)?;
    let [a, b] = cards;
    let mut flow = Flow { a, b, inspector: Inspector::new(bytes, path), sent: 0, received: 0, lost: 0 };
    flow.run(WARM_UP)?;
    let (start, frames, before) = (Instant::now(), flow.received, cpu());
    flow.run(time)?;
    let (time, frames, cpu) = (start.elapsed(), flow.received - frames, cpu() - before);
    flow.drain()?;
    if frames == 0 {
        return Err(BenchError::Silence { path: path.to_owned(), seconds: time.as_secs() });
    }
    Ok(Carried { sent: flow.sent, lost: flow.sent.saturating_sub(flow.received), frames, time, cpu })
}

/// Lets the switch learn where both cards are: nothing is flooded afterwards.
fn introduce(cards: &mut [Card; 2], bytes: usize, path: &str) -> Result<(), BenchError> {
    let [a, b] = cards;
    a.load(&frame::template(bytes, 0, 1));
    b.load(&frame::template(bytes, 1, 0));
    pass_one(b, a, path)?;
    pass_one(a, b, path)
}

fn pass_one(from: &mut Card, to: &mut Card, path: &str) -> Result<(), BenchError> {
    let start = Instant::now();
    while start.elapsed() < FIRST_WITHIN {
        from.send(0, 1)?;
        interrupt::sleep(Duration::from_millis(20))?;
        if to.receive(BURST, |_| Ok(()))? > 0 && from.is_sent()? {
            return Ok(());
        }
    }
    Err(BenchError::Silence { path: path.to_owned(), seconds: FIRST_WITHIN.as_secs() })
}

struct Flow<'c> {
    a: &'c mut Card,
    b: &'c mut Card,
    inspector: Inspector<'c>,
    sent: u64,
    received: u64,
    /// Given up while it ran, so that the window opens again.
    lost: u64,
}

impl Flow<'_> {
    fn run(&mut self, time: Duration) -> Result<(), BenchError> {
        let (start, mut last) = (Instant::now(), Instant::now());
        let mut before = self.received;
        while start.elapsed() < time {
            for _ in 0..BURST {
                self.turn()?;
            }
            if self.received != before {
                (before, last) = (self.received, Instant::now());
            } else if last.elapsed() > LOST_AFTER {
                (self.lost, last) = (self.sent - self.received, Instant::now());
            }
            interrupt::check()?;
        }
        Ok(())
    }

    #[inline]
    fn turn(&mut self) -> Result<(), BenchError> {
        self.receive()?;
        let room = WINDOW.saturating_sub(self.sent.saturating_sub(self.received + self.lost));
        let room = usize::try_from(room).unwrap_or(0).min(BURST);
        // Whole bursts, as a driver with a queue of frames makes them.
        if room == BURST {
            self.sent += self.a.send(self.sent, room)? as u64;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<(), BenchError> {
        let inspector = &mut self.inspector;
        self.received += self.b.receive(BURST, |frame| inspector.see(frame))? as u64;
        Ok(())
    }

    /// Takes what is still under way.
    fn drain(&mut self) -> Result<(), BenchError> {
        let start = Instant::now();
        while self.received < self.sent && start.elapsed() < LOST_AFTER {
            self.receive()?;
        }
        Ok(())
    }
}
