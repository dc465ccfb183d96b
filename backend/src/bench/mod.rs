//! `viaduct bench`: measures on this machine what Viaduct does, and what the kernel does in its place.
//!
//! A run consists of parts, a part of works, and a work is done by one path after the other, round after round, so
//! that whatever else the machine does meanwhile hits them alike. Everything is started for the run and ends with it:
//! a switch process in a folder of its own, cards that poll ([`card`]), and for the kernel's side a network namespace
//! without a name, which is gone as soon as nobody is in it.

mod card;
mod error;
mod frame;
mod generator;
mod interrupt;
mod latency;
mod machine;
mod process;
mod report;
mod stats;
mod switch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use card::Card;
pub(crate) use card::Side;
pub(crate) use error::BenchError;
pub(crate) use frame::{BYTES_MAX, BYTES_MIN};
pub(crate) use latency::Work as LatencyWork;
pub(crate) use report::Report;

use crate::config::Polling;
use machine::Places;
use process::Folder;
use report::Row;
use switch::Switch;

/// What Viaduct is called in tables.
const VIADUCT: &str = "viaduct";

/// A switch that somebody else runs, with two ports on one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Other {
    /// Its sockets.
    pub(crate) sockets: [PathBuf; 2],
    /// Who makes the connection.
    pub(crate) side: Side,
    /// What it is called in tables.
    pub(crate) name: String,
}

/// What is to be measured.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Part {
    /// Frames per second, and what they cost.
    Generator {
        /// Bytes of a frame, each in turn.
        sizes: Vec<usize>,
        /// How long each.
        time: Duration,
    },
    /// The round trip at low load.
    Latency {
        /// What is sent.
        work: LatencyWork,
        /// Through another switch than Viaduct.
        other: Option<Other>,
    },
}

/// How it is to be measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    /// How often everything is done.
    pub(crate) rounds: u32,
    /// The command as it was typed.
    pub(crate) command: String,
}

/// Measures all `parts`.
pub(crate) fn run(parts: &[Part], options: &Options) -> Result<Report, BenchError> {
    interrupt::install()?;
    let mut report = Report::begin(&options.command)?;
    let run = Run { started: Instant::now(), folder: Folder::new()?, rounds: options.rounds };
    for part in parts {
        run.part(part, &mut report)?;
    }
    Ok(report)
}

/// What the parts share.
struct Run {
    started: Instant,
    folder: Folder,
    rounds: u32,
}

impl Run {
    fn part(&self, part: &Part, report: &mut Report) -> Result<(), BenchError> {
        match part {
            Part::Generator { sizes, time } => self.generator(sizes, *time, &mut report.rows),
            Part::Latency { work, other } => self.latency(*work, other.as_ref(), &mut report.rows),
        }
    }

    /// Says on standard error what takes its time now.
    fn say(&self, what: &str) {
        eprintln!("[{:3} s] {what}", self.started.elapsed().as_secs());
    }

    /// Does something in every round, and says which.
    fn each_round(
        &self,
        what: &str,
        mut round: impl FnMut(&str) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        for number in 1..=self.rounds {
            interrupt::check()?;
            round(&format!("{what}, round {number} of {}", self.rounds))?;
        }
        Ok(())
    }

    /// A switch of our own with `ports` ports.
    fn switch(&self, ports: usize, polling: Polling) -> Result<Switch, BenchError> {
        Switch::start(self.folder.path(), ports, Places::choose()?.switch, polling)
    }

    fn generator(&self, sizes: &[usize], time: Duration, rows: &mut Vec<Row>) -> Result<(), BenchError> {
        self.each_round("generator", |round| {
            for &bytes in sizes {
                self.say(&format!("{round}: {bytes} B, {VIADUCT}"));
                let mut switch = self.switch(2, Polling::Adaptive)?;
                let [a, b] = &switch.sockets()[..] else { return Ok(()) };
                let process = switch.process();
                let carried = on_generator(|| {
                    let mut cards = pair([a, b], Side::Connect, generator::ENTRIES)?;
                    generator::measure(&mut cards, (bytes, time), VIADUCT, || process.cpu())
                })?;
                process.check()?;
                report::merge(rows, carried.rows(bytes, VIADUCT));
            }
            Ok(())
        })
    }

    fn latency(
        &self,
        work: LatencyWork,
        other: Option<&Other>,
        rows: &mut Vec<Row>,
    ) -> Result<(), BenchError> {
        self.each_round("latency", |round| match other {
            Some(Other { sockets: [a, b], side, name }) => {
                self.say(&format!("{round}: {name}"));
                report::merge(rows, trips([a, b], *side, work, name)?);
                Ok(())
            }
            None => [Polling::Busy, Polling::Adaptive].into_iter().try_for_each(|polling| {
                let path = format!("{VIADUCT} {}", polling.name());
                self.say(&format!("{round}: {path}"));
                let switch = self.switch(2, polling)?;
                let [a, b] = &switch.sockets()[..] else { return Ok(()) };
                report::merge(rows, trips([a, b], Side::Connect, work, &path)?);
                Ok(())
            }),
        })
    }
}

/// Two cards with rings of `entries`, plugged into `sockets`.
fn pair([a, b]: [&Path; 2], side: Side, entries: u16) -> Result<[Card; 2], BenchError> {
    // As many cards as sockets.
    Card::plug(&[a, b], side, entries)?.try_into().map_err(|_| BenchError::Interrupted)
}

/// One round of round trips.
fn trips(sockets: [&Path; 2], side: Side, work: LatencyWork, path: &str) -> Result<Vec<Row>, BenchError> {
    on_generator(|| {
        let mut cards = pair(sockets, side, latency::ENTRIES)?;
        Ok(latency::rows(work, path, &latency::measure(&mut cards, work, path)?))
    })
}

/// Works in a thread of its own on the generator's processor, so that nothing else of this process is bound to it.
fn on_generator<T: Send>(work: impl FnOnce() -> Result<T, BenchError> + Send) -> Result<T, BenchError> {
    let cpu = Places::choose()?.generator;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| machine::pin(cpu).and_then(|()| work()));
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Rounds and seconds of a short run.
pub(crate) const QUICK: (u32, Duration) = (1, Duration::from_secs(1));
