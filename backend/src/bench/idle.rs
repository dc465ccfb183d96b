//! What the switch costs when nobody sends: the processor time of its process with cards on all ports.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::card::{Card, Side};
use super::error::BenchError;
use super::interrupt;
use super::process::Process;
use super::report::{Better, Row};

/// Small rings, so that many cards fit everywhere.
const ENTRIES: u16 = 64;
/// From the last card's start until it counts.
const SETTLE: Duration = Duration::from_secs(1);

/// Plugs a card into each socket and looks on for `time`.
pub(super) fn measure(
    sockets: &[PathBuf],
    process: &Process,
    time: Duration,
    path: &str,
) -> Result<Vec<Row>, BenchError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it stays too low, the card that finds no descriptor says so.
    let _ = setrlimit(Resource::Nofile, raised);
    let paths: Vec<_> = sockets.iter().map(PathBuf::as_path).collect();
    let _cards = Card::plug(&paths, Side::Connect, ENTRIES)?;
    interrupt::sleep(SETTLE)?;
    let (start, before) = (Instant::now(), process.cpu());
    interrupt::sleep(time)?;
    let share = (process.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64();
    let work = format!("{} ports, no frames", sockets.len());
    Ok(vec![Row::new("idle", &work, "CPU", path, ("% of a core", Better::Less), 100.0 * share)])
}
