//! The file of run-time changes: a line for each thing.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ChangesError, Noted, PortChange, Running};
use crate::durable::{checked, line, replace, sync_folder};

/// The version of the format.
const VERSION: u32 = 1;

/// The longest file that is read or written, in bytes.
pub(super) const FILE_MAX: usize = 128 << 20;

/// Lines out of date that are let be, however few ports were changed.
const STALE_MIN: usize = 1000;

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Record<'a> {
    ViaductChanges(u32),
    File(Cow<'a, str>),
    Document(Cow<'a, str>),
    Port { name: Cow<'a, str>, change: Cow<'a, PortChange> },
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) running: Running,
    /// The first line that is damaged, from 1, if that is not just a last one that was cut.
    pub(super) damaged: Option<usize>,
}

/// What stands in the file at `path`; `None`: there is none.
pub(super) fn read(path: &Path) -> Result<Option<Content>, ChangesError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_MAX {
        return Err(ChangesError::TooLong);
    }
    parse(&bytes).map(Some)
}

fn parse(bytes: &[u8]) -> Result<Content, ChangesError> {
    let mut lines =
        bytes.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").ok_or(line));
    let mut next = || lines.next().and_then(Result::ok);
    match next().and_then(record) {
        Some(Record::ViaductChanges(VERSION)) => {}
        Some(Record::ViaductChanges(found)) if found > VERSION => return Err(ChangesError::Newer { found }),
        _ => return Err(ChangesError::NotOurs),
    }
    let Some(Record::File(text)) = next().and_then(record) else { return Err(ChangesError::NotOurs) };
    let mut content = Content { running: Running::of_file(&*text), damaged: None };
    for (number, line) in (3..).zip(lines) {
        // Only the last one can lack its end: it was being written when the process or the machine ended.
        let Ok(line) = line else { break };
        match record(line).and_then(noted) {
            Some(noted) => content.running.note(noted),
            None => {
                content.damaged = Some(number);
                break;
            }
        }
    }
    Ok(content)
}

fn record(line: &[u8]) -> Option<Record<'static>> {
    serde_json::from_str(checked(line)?).ok()
}

fn noted(record: Record<'static>) -> Option<Noted> {
    match record {
        Record::Document(text) => Some(Noted::Document((&*text).into())),
        Record::Port { name, change } => {
            Some(Noted::Port { name: name.into_owned(), change: change.into_owned() })
        }
        Record::ViaductChanges(_) | Record::File(_) => None,
    }
}

fn of_port(name: &str, change: &PortChange) -> String {
    line(&Record::Port { name: name.into(), change: Cow::Borrowed(change) })
}

/// The file's whole content.
fn whole(running: &Running) -> String {
    let Running { file, document, ports } = running;
    let first = [line(&Record::ViaductChanges(VERSION)), line(&Record::File((&**file).into()))];
    let document = document.iter().map(|text| line(&Record::Document((&**text).into())));
    let ports =
        ports.iter().flat_map(|(name, port)| port.changes().map(move |change| of_port(name, &change)));
    first.into_iter().chain(document).chain(ports).collect()
}

/// The file while it is written.
#[derive(Debug)]
pub(super) struct ChangeFile {
    path: PathBuf,
    /// For appending: what stands in it is known and whole.
    file: Option<File>,
    /// Lines about ports in it.
    lines: usize,
    /// How long it is, in bytes.
    length: usize,
}

impl ChangeFile {
    /// The one at `path`, of which nothing is known yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, lines: 0, length: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings to the disk what runs, and how it became so since this was last called.
    pub(super) fn keep(&mut self, running: &Running, since: &[Noted]) -> io::Result<()> {
        let kept = match (running.is_file(), lines_of(since)) {
            (true, _) => self.remove(),
            (false, Some(lines)) if self.has_room(lines.len()) && !self.is_untidy(running) => {
                self.append(&lines, since.len())
            }
            _ => self.write_anew(running),
        };
        if kept.is_err() {
            // Something of it may have been written.
            self.file = None;
        }
        kept
    }

    /// Whether so much can be appended: what is longer would not be read again.
    fn has_room(&self, more: usize) -> bool {
        self.file.is_some() && self.length + more <= FILE_MAX
    }

    /// Whether most of its lines are out of date.
    fn is_untidy(&self, running: &Running) -> bool {
        self.lines > 2 * running.ports.len() + STALE_MIN
    }

    fn append(&mut self, lines: &str, count: usize) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(lines.as_bytes())?;
        self.lines += count;
        self.length += lines.len();
        file.sync_data()
    }

    fn write_anew(&mut self, running: &Running) -> io::Result<()> {
        let content = whole(running);
        if content.len() > FILE_MAX {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "what runs is too long to be kept"));
        }
        self.make_folder();
        self.file = Some(replace(&self.path, content.as_bytes())?);
        (self.lines, self.length) = (running.ports.len(), content.len());
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        self.file = None;
        match fs::remove_file(&self.path) {
            // Whoever removed it may not have got that to the disk.
            Err(error) if error.kind() == ErrorKind::NotFound => match sync_folder(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                synced => synced,
            },
            Err(error) => Err(error),
            Ok(()) => sync_folder(&self.path),
        }
    }

    /// Tries whether something could be written.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.make_folder();
        let (mut file, path) = crate::durable::beside(&self.path)?;
        let written = file.write_all(b"\n");
        fs::remove_file(path)?;
        written
    }

    fn make_folder(&self) {
        if let Some(folder) = self.path.parent() {
            // Should that fail, writing says why.
            let _ = fs::create_dir_all(folder);
        }
    }
}

/// The lines that say this; `None`: it takes more than lines.
fn lines_of(since: &[Noted]) -> Option<String> {
    let lines = since.iter().map(|noted| match noted {
        Noted::Port { name, change } => Some(of_port(name, change)),
        Noted::File(_) | Noted::Document(_) => None,
    });
    lines.collect()
}
