//! `viaduct capture`: whole frames of ports as they come, into a file or another program, or told in lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::fs::{Access, access};
use serde_json::json;

use super::failure::Failure;
use super::watch::say;
use super::{Style, units};
use crate::api::Client;
use crate::bench::utc;
use crate::capture::{Block, Reader, Record, compile};
use crate::config::duration_of;
use crate::interrupt::{self, Second};
use crate::trace::describe;

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct capture vm1                             a line for each frame that enters or leaves there
  viaduct capture vm1 -w vm1.pcapng tcp port 80   frames of such packets, for Wireshark
  viaduct capture vm1,wan -w - | tshark -r -      of two ports, live
  viaduct capture --all -c 100 -w some.pcapng     the first hundred of all ports
  viaduct capture vm1 --duration 10s -Q in        for ten seconds what vm1 sends

FILTER is what tcpdump takes: see pcap-filter(7). Each frame has its port, its direction (in: it enters the switch) and what
became of it as a comment. What finds no room because it is read too slowly is lost and counted. End it with Ctrl-C.";

/// How often progress is told.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// Which way frames go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Direction {
    /// They enter the switch
    In,
    /// They leave it
    Out,
    /// Both
    #[value(name = "inout")]
    InOut,
}

/// What is to be captured.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The port or uplink; several are separated by commas
    #[arg(required_unless_present = "all")]
    port: Option<String>,
    /// Only packets that this means, in tcpdump's words
    filter: Vec<String>,
    /// At all ports and uplinks that there are
    #[arg(long)]
    all: bool,
    /// Write whole frames into this file as pcapng; `-`: to standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many frames
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep so many bytes of each frame; all unless said
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    snaplen: Option<u32>,
    /// End after this time, for example 10s
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// Only frames that go this way
    #[arg(short = 'Q', long, value_enum, default_value = "inout")]
    direction: Direction,
}

/// A time of the command line.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = duration_of(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "write a number and its unit: 500ms, 10s, 5m, 12h".to_owned())
}

impl Arguments {
    /// The question of `POST /v1/capture`.
    fn question(&self) -> Result<Vec<u8>, Failure> {
        let mut words: Vec<&str> = self.filter.iter().map(String::as_str).collect();
        let mut ports = Vec::new();
        match self.port.as_deref() {
            // There is no port then: it is the filter's first word.
            Some(word) if self.all => words.insert(0, word),
            Some(names) => ports = names.split(',').filter(|name| !name.is_empty()).collect(),
            None => {}
        }
        let filter = words.join(" ");
        let program = if filter.is_empty() { Vec::new() } else { compile(&filter).map_err(Failure::new)? };
        let direction = match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::InOut => "in-out",
        };
        let question = json!({
            "ports": ports, "all": self.all, "direction": direction, "snaplen": self.snaplen, "program": program,
        });
        Ok(question.to_string().into_bytes())
    }

    fn output(&self, style: Style) -> Result<Output, Failure> {
        match self.write.as_deref() {
            None => Ok(Output::Lines { json: style.json }),
            Some(path) if path == Path::new("-") => standard_output().map(Output::File),
            Some(path) => {
                let refused = |error| Failure::new(not_written(path, &error));
                may_write(path).map_err(refused)?;
                // It is made when the daemon has agreed: until then what stands there stays.
                Ok(Output::Path(path.to_owned()))
            }
        }
    }
}

fn not_written(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}; name another file", path.display())
}

/// Whether a file can be written or made, as far as that is known before; nothing is changed.
fn may_write(path: &Path) -> io::Result<()> {
    match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        opened => opened.map(drop),
    }
}

fn standard_output() -> Result<File, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            "a capture is nothing for a terminal; pipe it into a program, as `| tshark -r -`, or write it with -w FILE",
        ));
    }
    let refused = |error| Failure::new(format!("cannot write to standard output: {error}; use -w FILE"));
    io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(refused)
}

/// Captures until there are enough, the time is over, Ctrl-C, the reader is gone, or the daemon ends.
pub(super) fn capture(client: &Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let question = arguments.question()?;
    let output = arguments.output(style)?;
    interrupt::install(Second::Ends)
        .map_err(|error| Failure::new(format!("cannot note Ctrl-C: {error}; this is a bug")))?;
    let end = arguments.duration.map(|time| Instant::now() + time);
    let is_over = || interrupt::is_noted() || end.is_some_and(|end| Instant::now() >= end);
    let mut taking = Taking::new(output, arguments.count.unwrap_or(u64::MAX));
    let ended = client.capture(question, is_over, |bytes, is_wanted| {
        taking.is_over |= !is_wanted;
        taking.piece(bytes)
    });
    taking.end();
    let Taking { failure, captured, .. } = &taking;
    if ended.is_ok() || *captured > 0 {
        eprintln!("{}", taking.summary(style.json));
    }
    match (ended?, failure) {
        (_, Some(failure)) => Err(Failure::new(failure)),
        (true, None) => Ok(String::new()),
        (false, None) => {
            Err(Failure::new("the daemon ended the capture; start it again once the daemon runs"))
        }
    }
}

/// Where frames go.
enum Output {
    /// A file that is still to be made.
    Path(PathBuf),
    File(File),
    Lines {
        json: bool,
    },
}

/// A capture that is taken.
struct Taking {
    reader: Reader,
    output: Output,
    /// Frames that are still wanted.
    left: u64,
    /// No frame is wanted any more, only how many were lost until now.
    is_over: bool,
    /// Interfaces whose last statistics have come.
    told_last: BTreeSet<u32>,
    captured: u64,
    ports: Vec<String>,
    /// The last statistics of each interface, as they are written, with how many were seen and lost there.
    statistics: BTreeMap<u32, (Vec<u8>, [u64; 2])>,
    /// What waits to be written.
    room: Vec<u8>,
    /// When progress was told last, if somebody sees it.
    told: Option<Instant>,
    failure: Option<String>,
}

impl Taking {
    fn new(output: Output, left: u64) -> Self {
        let sees_progress = !matches!(output, Output::Lines { .. }) && io::stderr().is_terminal();
        Self {
            reader: Reader::default(),
            output,
            left,
            is_over: false,
            told_last: BTreeSet::new(),
            captured: 0,
            ports: Vec::new(),
            statistics: BTreeMap::new(),
            room: Vec::new(),
            told: sees_progress.then(Instant::now),
            failure: None,
        }
    }

    /// Makes the file, now that there is something for it; says whether that could be done.
    fn open(&mut self) -> bool {
        let Output::Path(path) = &self.output else { return true };
        match File::create(path) {
            Ok(file) => self.output = Output::File(file),
            Err(error) => {
                self.failure = Some(not_written(path, &error));
            }
        }
        self.failure.is_none()
    }

    /// Takes a piece of the answer; says whether more is wanted.
    fn piece(&mut self, bytes: &[u8]) -> bool {
        if !self.open() {
            return false;
        }
        let mut reader = std::mem::take(&mut self.reader);
        let read = reader.read(bytes, |raw, block| self.block(raw, block));
        self.reader = reader;
        if let Err(error) = read {
            self.failure = Some(format!("the daemon's answer is no capture: {error}; see its log"));
            self.is_over = true;
        }
        self.write() && !self.is_over && self.progress()
    }

    /// Takes a block; says whether the next one is to be looked at.
    fn block(&mut self, raw: &[u8], block: Block<'_>) -> bool {
        match block {
            Block::Statistics(told) => {
                // Only the last ones belong into a file: the first after the last frame, which come within a tenth of a second.
                if !self.is_over || self.told_last.insert(told.interface) {
                    self.statistics.insert(told.interface, (raw.to_vec(), [told.seen, told.lost]));
                }
                return true;
            }
            Block::Interface(name) => self.ports.push(name),
            Block::Record(_) if self.is_over => return true,
            Block::Record(record) => {
                (self.left, self.captured) = (self.left - 1, self.captured + 1);
                self.is_over = self.left == 0;
                if let Output::Lines { json } = self.output {
                    let port = usize::try_from(record.interface).ok().and_then(|at| self.ports.get(at));
                    let port = port.map_or("?", String::as_str);
                    let line = if json { json_line(&record, port) } else { line(&record, port) };
                    // A reader that went away has read what it wanted.
                    self.is_over |= say(&line).is_err();
                }
            }
            Block::Other => {}
        }
        if matches!(self.output, Output::File(_)) {
            self.room.extend_from_slice(raw);
        }
        true
    }

    /// Writes what waits, so that whoever reads along has all of it; says whether that goes on.
    fn write(&mut self) -> bool {
        let Output::File(file) = &mut self.output else { return true };
        let mut rest = self.room.as_slice();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !interrupt::is_noted() => {}
                Err(error) => {
                    let is_over =
                        matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted);
                    self.failure = (!is_over).then(|| {
                        format!("cannot write the capture: {error}; free some space or write elsewhere")
                    });
                    self.room.clear();
                    return false;
                }
            }
        }
        self.room.clear();
        true
    }

    fn progress(&mut self) -> bool {
        if let Some(told) = &mut self.told
            && told.elapsed() >= PROGRESS_PAUSE
        {
            *told = Instant::now();
            eprint!("\r{} frames captured, {} lost ", units::count(self.captured), units::count(self.lost()));
        }
        true
    }

    /// Ends the file.
    fn end(&mut self) {
        let statistics = std::mem::take(&mut self.statistics);
        if self.failure.is_none() {
            for (raw, _) in statistics.values() {
                self.room.extend_from_slice(raw);
            }
            self.write();
        }
        self.statistics = statistics;
        if self.told.is_some() {
            eprint!("\r\x1b[K");
        }
    }

    fn lost(&self) -> u64 {
        self.statistics.values().map(|(_, [_, lost])| lost).sum()
    }

    fn summary(&self, json: bool) -> String {
        let seen: u64 = self.statistics.values().map(|(_, [seen, _])| seen).sum();
        let (captured, seen, lost) = (self.captured, seen.max(self.captured), self.lost());
        if json {
            return json!({ "captured": captured, "seen": seen, "lost": lost }).to_string();
        }
        format!("{captured} frames captured\n{seen} frames came by\n{lost} frames lost for lack of room")
    }
}

fn direction(record: &Record<'_>) -> &'static str {
    if record.is_outbound { "out" } else { "in" }
}

/// A frame in a line.
fn line(record: &Record<'_>, port: &str) -> String {
    let (packet, comment) = (describe(record.bytes, record.length), &record.comment);
    format!("{} {port} {} {packet} - {comment}", moment(record.at), direction(record))
}

fn json_line(record: &Record<'_>, port: &str) -> String {
    json!({
        "at": moment(record.at),
        "port": port,
        "direction": direction(record),
        "length": record.length,
        "packet": describe(record.bytes, record.length),
        "comment": record.comment,
    })
    .to_string()
}

/// A time since 1970, as RFC 3339 writes it, with microseconds.
fn moment(at: Duration) -> String {
    utc(at.as_secs()).replace('Z', &format!(".{:06}Z", at.subsec_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Interface, Statistics, Writer};

    fn record() -> Record<'static> {
        Record {
            interface: 0,
            at: Duration::new(1_767_225_600, 1_002_000),
            length: 60,
            bytes: &[0; 60],
            is_outbound: true,
            comment: "from web".into(),
        }
    }

    fn capture(frames: usize) -> Vec<u8> {
        let mut writer = Writer::new().unwrap();
        writer.interface(&Interface { name: "db".to_owned(), snaplen: 60 }).unwrap();
        (0..frames).for_each(|_| writer.record(&record()).unwrap());
        let counted = Statistics { at: record().at, seen: 9, captured: 7, lost: 2, interface: 0 };
        writer.statistics(&counted).unwrap();
        writer.take()
    }

    #[test]
    fn a_frame_is_a_line_with_port_direction_and_what_became_of_it() {
        let line = line(&record(), "db");
        assert!(line.starts_with("2026-01-01T00:00:00.001002Z db out "), "{line}");
        assert!(line.ends_with("length 60 - from web"), "{line}");
        let json: serde_json::Value = serde_json::from_str(&json_line(&record(), "db")).unwrap();
        assert_eq!((&json["port"], &json["direction"]), (&"db".into(), &"out".into()));
    }

    #[test]
    fn a_file_ends_with_the_last_statistics_and_after_as_many_frames_as_are_wanted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut taking = Taking::new(Output::File(file.reopen().unwrap()), 8);
        let (first, second) = (capture(7), capture(7));
        assert!(taking.piece(&first));
        // The head would not come again; a reader of blocks does not mind.
        assert!(!taking.piece(&second));
        assert_eq!((taking.captured, taking.lost()), (8, 2));
        assert!(!taking.piece(&first), "what comes then is not wanted");
        assert_eq!(taking.captured, 8);
        taking.end();
        assert!(
            taking.summary(false).contains("2 frames lost for lack of room"),
            "{}",
            taking.summary(false)
        );
        let (mut reader, mut told) = (Reader::default(), Vec::new());
        let written = std::fs::read(file.path()).unwrap();
        let read = reader.read(&written, |_, block| {
            told.push(matches!(block, Block::Statistics(_)));
            true
        });
        assert!(read.unwrap());
        assert_eq!(told.iter().filter(|is_statistics| **is_statistics).count(), 1);
        assert_eq!(told.last(), Some(&true));
    }

    #[test]
    fn what_was_lost_until_the_last_frame_is_told_and_nothing_later() {
        let mut taking = Taking::new(Output::Lines { json: true }, 1);
        assert!(!taking.piece(&capture(1)));
        let told = |lost| {
            let mut writer = Writer::new().unwrap();
            writer.interface(&Interface { name: "db".to_owned(), snaplen: 60 }).unwrap();
            let counted = Statistics { at: record().at, seen: 50, captured: 1, lost, interface: 0 };
            writer.statistics(&counted).unwrap();
            // Without the head, which came.
            let head = {
                let mut head = Writer::new().unwrap();
                head.interface(&Interface { name: "db".to_owned(), snaplen: 60 }).unwrap();
                head.take().len()
            };
            writer.take().split_off(head)
        };
        // The statistics that came with the frame were those of before, or the last: the first that come after it count.
        taking.told_last.clear();
        assert!(!taking.piece(&told(49)));
        assert!(!taking.piece(&told(99)));
        assert_eq!(taking.lost(), 49);
    }

    #[test]
    fn a_file_that_is_there_stays_until_the_daemon_has_agreed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "yesterday's").unwrap();
        let mut taking = Taking::new(Output::Path(file.path().to_owned()), 8);
        taking.end();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "yesterday's");
        assert!(taking.piece(&capture(1)));
        assert!(!std::fs::read(file.path()).unwrap().starts_with(b"yesterday"));
        assert!(may_write(file.path()).is_ok() && may_write(&file.path().with_extension("new")).is_ok());
        assert!(
            may_write(Path::new("/nonexistent/x.pcapng")).is_err() && may_write(Path::new("/tmp")).is_err()
        );
        assert!(!file.path().with_extension("new").exists());
        let mut taking = Taking::new(Output::Path("/nonexistent/x.pcapng".into()), 8);
        assert!(!taking.piece(&capture(1)));
        assert!(taking.failure.is_some_and(|told| told.contains("/nonexistent/x.pcapng")));
    }

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert!(time("10").is_err() && time("0s").is_err());
    }
}
