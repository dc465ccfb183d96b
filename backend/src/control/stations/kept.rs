//! Stations that are fed, for the next process: a file of lines with checksums, one for each change.
//!
//! ```text
//! 51a0c3b2 {"viaduct_stations":1}
//! 0c9d11e4 {"feed":{"network":"t1","generation":16,"set":[{"mac":"52:54:00:00:01:02","addresses":["10.0.0.2"],"vtep":"192.168.99.2"}],"gone":[]}}
//! 77b1f09a {"forget":"t2"}
//! ```
//!
//! A thread of its own writes, so that neither the control thread nor who feeds waits for a disk. A line holds a whole change: after a crash
//! a network's stations are those of some generation, which says to a control plane what is missing. What follows a damaged line
//! does not count. A file of mostly changes of before is written anew as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use viaduct_switch::MacAddress;

use super::table::Step;
use crate::changes::Receipt;
use crate::config::{STATIONS_MAX, StaticStation};
use crate::durable::{checked, line, replace};
use crate::sandbox::confine_helper;

/// The version of the format.
const VERSION: u32 = 1;

/// The longest file that is read, in bytes: that of all stations there can be, several times.
const FILE_MAX: u64 = 512 << 20;

/// Stations in lines out of date that are let be, however few there are.
const STALE_MIN: usize = 1000;

/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A station, in words.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    mac: String,
    addresses: Vec<IpAddr>,
    vtep: IpAddr,
}

impl Words {
    fn of(station: &StaticStation) -> Self {
        let StaticStation { mac, addresses, vtep } = station;
        Self { mac: mac.to_string(), addresses: addresses.clone(), vtep: *vtep }
    }

    fn station(self) -> Option<StaticStation> {
        Some(StaticStation { mac: self.mac.parse().ok()?, addresses: self.addresses, vtep: self.vtep })
    }
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    ViaductStations(u32),
    Feed { network: String, generation: u64, set: Vec<Words>, gone: Vec<String> },
    Forget(String),
}

/// The stations of a network.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct KeptTable {
    pub(super) generation: u64,
    pub(super) stations: BTreeMap<MacAddress, Arc<StaticStation>>,
}

/// Those of all networks.
pub(super) type Tables = BTreeMap<String, KeptTable>;

/// What happened to a network's stations.
#[derive(Clone, Debug)]
pub(super) enum Noted {
    /// These steps were made, and this is the table's generation now.
    Feed { network: String, generation: u64, steps: Vec<Step> },
    /// The network is no more.
    Forget(String),
}

impl Noted {
    fn line(&self) -> Line {
        match self {
            Self::Forget(network) => Line::Forget(network.clone()),
            Self::Feed { network, generation, steps } => Line::Feed {
                network: network.clone(),
                generation: *generation,
                set: steps.iter().filter_map(|step| step.after.as_deref().map(Words::of)).collect(),
                gone: steps
                    .iter()
                    .filter(|step| step.after.is_none())
                    .map(|step| step.mac.to_string())
                    .collect(),
            },
        }
    }

    fn apply(&self, tables: &mut Tables) {
        match self {
            Self::Forget(network) => drop(tables.remove(network)),
            Self::Feed { network, generation, steps } => {
                let table = tables.entry(network.clone()).or_default();
                table.generation = *generation;
                for Step { mac, after, .. } in steps {
                    match after {
                        Some(station) => drop(table.stations.insert(*mac, Arc::clone(station))),
                        None => drop(table.stations.remove(mac)),
                    }
                }
            }
        }
    }

    fn stations(&self) -> usize {
        match self {
            Self::Forget(_) => 1,
            Self::Feed { steps, .. } => steps.len() + 1,
        }
    }
}

fn noted(line: Line) -> Option<Noted> {
    match line {
        Line::ViaductStations(_) => None,
        Line::Forget(network) => Some(Noted::Forget(network)),
        Line::Feed { network, generation, set, gone } => {
            let set = set.into_iter().map(|words| {
                let station = words.station()?;
                Some(Step { mac: station.mac, before: None, after: Some(Arc::new(station)) })
            });
            let gone =
                gone.iter().map(|mac| Some(Step { mac: mac.parse().ok()?, before: None, after: None }));
            let steps = gone.chain(set).collect::<Option<_>>()?;
            Some(Noted::Feed { network, generation, steps })
        }
    }
}

/// What stands in a file, and whether all of it is whole.
///
/// # Errors
/// Why nothing of it counts.
pub(super) fn read(path: &Path) -> io::Result<(Tables, bool)> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Tables::new(), true)),
        opened => opened?.take(FILE_MAX).read_to_end(&mut bytes)?,
    };
    parse(&bytes)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it is damaged, or of another version"))
}

fn parse(bytes: &[u8]) -> Option<(Tables, bool)> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut next = || -> Option<Option<Line>> {
        let text = lines.next()?.strip_suffix(b"\n").and_then(checked);
        Some(text.and_then(|text| serde_json::from_str(text).ok()))
    };
    let Some(Some(Line::ViaductStations(VERSION))) = next() else { return None };
    let mut tables = Tables::new();
    while let Some(line) = next() {
        let Some(noted) = line.and_then(noted) else { return Some((tables, false)) };
        noted.apply(&mut tables);
    }
    Some((tables, true))
}

fn whole(tables: &Tables) -> String {
    let mut text = line(&Line::ViaductStations(VERSION));
    for (network, table) in tables {
        let set = table.stations.values().map(|station| Words::of(station)).collect();
        let (network, generation) = (network.clone(), table.generation);
        text += &line(&Line::Feed { network, generation, set, gone: Vec::new() });
    }
    text
}

#[derive(Debug, Default)]
struct Queue {
    /// As they are now.
    tables: Tables,
    noted: Vec<Noted>,
    /// How many stations these speak of; too many are written as a whole.
    waiting: usize,
    /// Who wants to know when all of it is written.
    asking: Vec<SyncSender<Result<(), String>>>,
    is_ending: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// Talks to the thread, which ends, with all that was noted written, when this is dropped.
#[derive(Debug)]
pub(super) struct StationKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl StationKeeper {
    /// Starts the thread; the file at `path` is written anew with the first thing that is noted.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            file: None,
            written: 0,
            has_failed: false,
        };
        let run = move || {
            confine_helper();
            worker.run();
        };
        let thread = thread::Builder::new().name("stations".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes note of what happened; does not wait for a disk.
    pub(super) fn note(&self, noted: Noted) {
        let mut queue = self.shared.queue.lock();
        noted.apply(&mut queue.tables);
        queue.waiting += noted.stations();
        // A disk that hangs fills no memory: what waits is in the tables, too.
        if queue.waiting <= STATIONS_MAX {
            queue.noted.push(noted);
        } else {
            queue.noted.clear();
        }
        self.shared.wake.notify_one();
    }

    /// Will tell when all that was noted before is written.
    pub(super) fn barrier(&self) -> Receipt {
        let (sender, receipt) = Receipt::new();
        self.shared.queue.lock().asking.push(sender);
        self.shared.wake.notify_one();
        receipt
    }
}

impl Drop for StationKeeper {
    fn drop(&mut self) {
        self.shared.queue.lock().is_ending = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

/// What is to be written.
enum Work {
    Lines(Vec<Noted>),
    Whole(Tables),
}

/// Why the thread goes on.
struct Woken {
    work: Option<Work>,
    asking: Vec<SyncSender<Result<(), String>>>,
    is_ending: bool,
}

struct Worker {
    shared: Arc<Shared>,
    path: PathBuf,
    /// For appending: what stands in it is known and whole.
    file: Option<File>,
    /// Of how many stations it speaks.
    written: usize,
    has_failed: bool,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let Woken { work, asking, is_ending } = self.wait();
            if let Some(work) = work {
                let done = self.write(&work);
                self.tell(done);
            }
            for asking in asking {
                // Who asked may have stopped waiting.
                let _ = asking.send(match self.has_failed {
                    true => {
                        Err(format!("stations that were fed cannot be written to {}", self.path.display()))
                    }
                    false => Ok(()),
                });
            }
            if is_ending {
                return;
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Woken {
        let mut queue = self.shared.queue.lock();
        while queue.waiting == 0 && queue.asking.is_empty() && !queue.is_ending {
            if !self.has_failed {
                self.shared.wake.wait(&mut queue);
            } else if self.shared.wake.wait_for(&mut queue, RETRY).timed_out() {
                break;
            }
        }
        let Queue { tables, noted, waiting, asking, is_ending } = &mut *queue;
        let stations: usize = tables.values().map(|table| table.stations.len()).sum();
        let is_whole =
            self.file.is_none() || *waiting > STATIONS_MAX || self.written > 2 * stations + STALE_MIN;
        let work = match (*waiting > 0 || self.has_failed, is_whole) {
            (false, _) => None,
            (true, true) => Some(Work::Whole(tables.clone())),
            (true, false) => Some(Work::Lines(std::mem::take(noted))),
        };
        noted.clear();
        *waiting = 0;
        Woken { work, asking: std::mem::take(asking), is_ending: *is_ending }
    }

    fn write(&mut self, work: &Work) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            // Should that fail, writing says why.
            let _ = fs::create_dir_all(folder);
        }
        let written = match (work, self.file.take()) {
            (Work::Lines(noted), Some(mut file)) => {
                let text: String = noted.iter().map(|noted| line(&noted.line())).collect();
                file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map(|()| {
                    self.written += noted.iter().map(Noted::stations).sum::<usize>();
                    file
                })
            }
            (Work::Lines(_), None) => Err(io::Error::other("nothing is known of the file")),
            (Work::Whole(tables), _) => replace(&self.path, whole(tables).as_bytes()).inspect(|_| {
                self.written = tables.values().map(|table| table.stations.len()).sum();
            }),
        };
        self.file = Some(written?);
        Ok(())
    }

    /// Says once that something failed, and once that it is over.
    fn tell(&mut self, done: io::Result<()>) {
        let path = self.path.display();
        match done {
            Ok(()) if self.has_failed => info!("stations that are fed can be kept again in {path}"),
            Err(error) if !self.has_failed => {
                warn!("cannot write {path}: {error}: after a restart, stations have to be fed anew");
            }
            _ => {}
        }
        self.has_failed = self.file.is_none();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn station(number: u8) -> Arc<StaticStation> {
        let mac = MacAddress([2, 0, 0, 0, 0, number]);
        let addresses = vec![IpAddr::from([10, 0, 0, number])];
        Arc::new(StaticStation { mac, addresses, vtep: IpAddr::from([192, 168, 99, 2]) })
    }

    fn feed(network: &str, generation: u64, set: &[u8], gone: &[u8]) -> Noted {
        let set = set.iter().map(|number| station(*number));
        let set = set.map(|station| Step { mac: station.mac, before: None, after: Some(station) });
        let gone = gone.iter().map(|number| Step { mac: station(*number).mac, before: None, after: None });
        Noted::Feed { network: network.to_owned(), generation, steps: gone.chain(set).collect() }
    }

    /// What all these come to.
    fn after(noted: &[Noted]) -> Tables {
        let mut tables = Tables::new();
        noted.iter().for_each(|noted| noted.apply(&mut tables));
        tables
    }

    #[test]
    fn what_was_noted_is_read_whether_it_was_appended_or_written_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/stations");
        assert_eq!(read(&path).unwrap(), (Tables::new(), true));
        let all = [
            feed("t1", 7, &[1, 2, 3], &[]),
            feed("t2", 1, &[4], &[]),
            feed("t1", 8, &[5], &[2]),
            Noted::Forget("t2".to_owned()),
        ];
        let keeper = StationKeeper::start(&path).unwrap();
        for noted in &all {
            keeper.note(noted.clone());
        }
        drop(keeper);
        assert_eq!(read(&path).unwrap(), (after(&all), true));
        assert_eq!(parse(whole(&after(&all)).as_bytes()).unwrap(), (after(&all), true));
        // Many changes of the same leave a short file.
        let keeper = StationKeeper::start(&path).unwrap();
        for generation in 0..5000 {
            keeper.note(feed("t1", generation, &[1], &[]));
        }
        drop(keeper);
        assert_eq!(read(&path).unwrap(), (after(&[feed("t1", 4999, &[1], &[])]), true));
    }

    #[test]
    fn of_a_damaged_file_what_comes_before_counts_and_nothing_else() {
        let all = [feed("t1", 7, &[1, 2], &[]), feed("t1", 8, &[3], &[1]), feed("t2", 1, &[4], &[])];
        let lines = std::iter::once(line(&Line::ViaductStations(VERSION)));
        let text: String = lines.chain(all.iter().map(|noted| line(&noted.line()))).collect();
        let states: Vec<Tables> = (0..=all.len()).map(|count| after(&all[..count])).collect();
        let check = |bytes: &[u8], damage: &str| {
            if let Some((tables, is_whole)) = parse(bytes) {
                assert!(states.contains(&tables), "{damage}");
                assert!(!is_whole || bytes.ends_with(b"\n"), "{damage}");
            }
        };
        for length in 0..text.len() {
            check(&text.as_bytes()[..length], &format!("cut at {length}"));
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check(&bytes, &format!("bit {bit}"));
            assert!(parse(&bytes).is_none_or(|(_, is_whole)| !is_whole), "bit {bit}");
        }
    }
}
