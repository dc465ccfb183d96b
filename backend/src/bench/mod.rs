//! `viaduct bench`: measures on this machine what Viaduct does, and what the kernel does in its place.
//!
//! A run consists of parts, a part of works, and a work is done by one path after the other, round after round, so
//! that whatever else the machine does meanwhile hits them alike. Everything is started for the run and ends with it:
//! a switch process in a folder of its own, cards that poll ([`card`]), and for the kernel's side a network namespace
//! without a name, which is gone as soon as nobody is in it.

mod card;
mod error;
mod file;
mod flows;
mod frame;
mod generator;
mod guests;
mod idle;
mod interrupt;
mod latency;
mod machine;
mod namespace;
mod plot;
mod process;
mod report;
mod stats;
mod switch;
mod tap;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use card::Card;
pub(crate) use card::Side;
pub(crate) use error::BenchError;
pub(crate) use file::{read, same_run, save};
pub(crate) use flows::{Ends, FLOWS_MAX, Work as FlowsWork};
pub(crate) use frame::{BYTES_MAX, BYTES_MIN};
pub(crate) use guests::{request, respond};
pub(crate) use latency::Work as LatencyWork;
pub(crate) use plot::svg;
pub(crate) use report::{Report, utc};

use crate::config::Polling;
use generator::Carried;
use guests::Lab;
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
    /// Two guests.
    Guests {
        /// The folder with the test guest.
        image: PathBuf,
        /// How long each work.
        time: Duration,
    },
    /// Frames per second, and what they cost.
    Generator {
        /// Bytes of a frame, each in turn.
        sizes: Vec<usize>,
        /// How long each.
        time: Duration,
    },
    /// The processor time of a switch that nobody uses.
    Idle {
        /// Ports with a card each.
        ports: usize,
        /// How long.
        time: Duration,
    },
    /// The round trip at low load.
    Latency {
        /// What is sent.
        work: LatencyWork,
        /// Through another switch than Viaduct.
        other: Option<Other>,
    },
    /// Many flows, known or new.
    Flows {
        /// What is sent.
        work: FlowsWork,
        /// Through this switch.
        through: Other,
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
            Part::Guests { image, time } => namespace::within(|| self.guests(image, *time, report)),
            Part::Generator { sizes, time } => self.generator(sizes, *time, report),
            Part::Idle { ports, time } => self.idle(*ports, *time, &mut report.rows),
            Part::Latency { work, other } => self.latency(*work, other.as_ref(), &mut report.rows),
            Part::Flows { work, through } => self.flows(*work, through, &mut report.rows),
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

    fn guests(&self, image: &Path, time: Duration, report: &mut Report) -> Result<(), BenchError> {
        self.say("guests: four of them boot");
        let mut lab = Lab::boot(image, self.folder.path(), self.switch(2, Polling::Adaptive)?)?;
        [report.machine.qemu, report.machine.guests] = lab.facts.clone();
        self.each_round("guests", |round| {
            let rows = lab.round(time, |path| self.say(&format!("{round}: {path}")))?;
            report::merge(&mut report.rows, rows);
            Ok(())
        })
    }

    fn generator(&self, sizes: &[usize], time: Duration, report: &mut Report) -> Result<(), BenchError> {
        let with_tap = namespace::is_allowed();
        if !with_tap {
            let sentence =
                "TAP + bridge was left out of the generator: it needs root for a network namespace";
            report.warnings.push(sentence.to_owned());
        }
        self.each_round("generator", |round| {
            for &bytes in sizes {
                self.say(&format!("{round}: {bytes} B, {VIADUCT}"));
                let carried = self.flow_through_viaduct(bytes, time)?;
                report::merge(&mut report.rows, carried.rows(bytes, VIADUCT));
                if with_tap {
                    self.say(&format!("{round}: {bytes} B, {}", tap::PATH));
                    let places = Places::choose()?;
                    let carried = namespace::within(|| tap::measure(bytes, time, places))?;
                    report::merge(&mut report.rows, carried.rows(bytes, tap::PATH));
                }
            }
            Ok(())
        })
    }

    fn flow_through_viaduct(&self, bytes: usize, time: Duration) -> Result<Carried, BenchError> {
        let mut switch = self.switch(2, Polling::Adaptive)?;
        let sockets = switch.sockets();
        let process = switch.process();
        let carried = on_generator(|| {
            let mut cards = pair(&sockets, Side::Connect, generator::ENTRIES)?;
            generator::measure(&mut cards, (bytes, time), VIADUCT, || process.cpu())
        })?;
        process.check().map(|()| carried)
    }

    fn idle(&self, ports: usize, time: Duration, rows: &mut Vec<Row>) -> Result<(), BenchError> {
        self.each_round("idle", |round| {
            self.say(&format!("{round}: {ports} ports"));
            let mut switch = self.switch(ports, Polling::Adaptive)?;
            let sockets = switch.sockets();
            report::merge(rows, idle::measure(&sockets, switch.process(), time, VIADUCT)?);
            switch.process().check()
        })
    }

    fn flows(&self, work: FlowsWork, through: &Other, rows: &mut Vec<Row>) -> Result<(), BenchError> {
        self.each_round("flows", |round| {
            self.say(&format!("{round}: {}", through.name));
            report::merge(rows, carried(through, work)?);
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
            Some(Other { sockets, side, name }) => {
                self.say(&format!("{round}: {name}"));
                report::merge(rows, trips(sockets, *side, work, name)?);
                Ok(())
            }
            None => [Polling::Busy, Polling::Adaptive].into_iter().try_for_each(|polling| {
                let path = format!("{VIADUCT} {}", polling.name());
                self.say(&format!("{round}: {path}"));
                let switch = self.switch(2, polling)?;
                report::merge(rows, trips(&switch.sockets(), Side::Connect, work, &path)?);
                Ok(())
            }),
        })
    }
}

/// One round of many flows.
fn carried(through: &Other, work: FlowsWork) -> Result<Vec<Row>, BenchError> {
    on_generator(|| {
        let mut cards = pair(&through.sockets, through.side, generator::ENTRIES)?;
        Ok(flows::measure(&mut cards, work, &through.name)?.rows(work, &through.name))
    })
}

/// Two cards with rings of `entries`, plugged into `sockets`.
fn pair(sockets: &[PathBuf], side: Side, entries: u16) -> Result<[Card; 2], BenchError> {
    let paths: Vec<&Path> = sockets.iter().map(PathBuf::as_path).collect();
    let cards = Card::plug(&paths, side, entries)?;
    cards.try_into().map_err(|cards: Vec<Card>| BenchError::NotTwo { found: cards.len() })
}

/// One round of round trips.
fn trips(sockets: &[PathBuf], side: Side, work: LatencyWork, path: &str) -> Result<Vec<Row>, BenchError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sockets_are_needed() {
        let told = pair(&[], Side::Connect, 64).map(drop).unwrap_err().to_string();
        assert_eq!(told, "0 sockets were named, and two are needed");
    }
}
