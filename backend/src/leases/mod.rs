//! Leases that outlive the process: a file of lines, one for each change.
//!
//! ```text
//! 3f1c9a02 {"viaduct_leases":1}
//! 9be05d11 {"network":"home","address":"10.0.0.100","port":"vm1","client":"0152540000000a","mac":"52:54:00:00:00:0a","until_s":1790000000,"noted_s":1789996400}
//! 07aa41c3 {"network":"home","address":"10.0.0.100","until_s":0}
//! ```
//!
//! Each line begins with the CRC-32 of what follows, so that a line that was cut or damaged is known; the last line about an
//! address counts, and `until_s` 0 says that the address is free.
//!
//! **What survives.** A change is one `write` to a file opened for appending, before the client is answered: it is with the
//! kernel then, and a process that is killed loses nothing. [`LeaseFile::unsynced`] gives, to whoever may wait for a disk,
//! what brings it there: a power failure, which takes the guests along, costs a second of changes. Should a lease be lost, its
//! client goes on when it renews ([`viaduct_switch::dhcp::server`]).
//!
//! **What cannot be written is not so.** A change that the system refuses changes nothing: [`LeaseFile::record`] goes on
//! saying what stands in the file.
//!
//! **Why not a database.** All of it is in memory anyway, bounded by the ranges of the networks; a change is one system call;
//! the file can be read and mended by people, and needs no library.
//!
//! **Clocks.** What is noted is the wall clock's time. A clock that is set while the process runs has everything noted anew
//! ([`LeaseFile::shift`]); one that says less than when a lease was noted makes no lease last longer. One that leapt ahead between two
//! processes ends leases early, as if they had been lost.
//!
//! **Bounds.** Where more than half of the lines are out of date, [`LeaseFile::tidy`] writes the file anew beside itself and
//! renames it, so that at any moment there is one whole file. One that is longer than [`FILE_MAX`] is not read.

mod clock;
mod error;
mod line;
mod own;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub(crate) use clock::WallClock;
pub use error::{LeaseFileError, LeaseFileWarning};
pub use line::Record;
pub(crate) use own::OwnLease;

use crate::durable;

/// The longest file that is read, in bytes: that of half a million leases.
pub const FILE_MAX: u64 = 128 << 20;

/// Lines out of date that are let be, however few leases there are.
const STALE_MIN: usize = 1000;

/// What an address is known by: its network's name, and itself.
type Key = (String, IpAddr);

/// The file, and what stands in it.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    file: File,
    records: BTreeMap<Key, Record>,
    /// Lines in the file, the first one not counted.
    lines: usize,
    is_synced: bool,
    /// Whether the last line may have been written in part.
    is_torn: bool,
}

impl LeaseFile {
    /// Opens the file, or makes it, and reads what stands in it. Leases that ended before `now_s`, in seconds since 1970,
    /// are dropped. Lines that are wrong are passed over and told.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is of another version: then it is left as it is.
    pub fn open(path: &Path, now_s: u64) -> Result<(Self, Vec<LeaseFileWarning>), LeaseFileError> {
        let failed = |what, source| LeaseFileError::Io { what, path: path.to_owned(), source };
        let content = read(path)?;
        let mut warnings = Vec::new();
        let mut records = line::read(path, &content, &mut warnings)?;
        records.values_mut().for_each(|record| record.settle_clock(now_s));
        records.retain(|_, record| record.until_s > now_s);
        let file = write_anew(path, &records).map_err(|source| failed("write", source))?;
        let lines = records.len();
        let file = Self { path: path.to_owned(), file, records, lines, is_synced: true, is_torn: false };
        Ok((file, warnings))
    }

    /// All leases.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// What is noted about an address.
    #[must_use]
    pub fn record(&self, network: &str, address: IpAddr) -> Option<&Record> {
        self.records.get(&(network.to_owned(), address))
    }

    /// Notes a lease, or that it goes on.
    ///
    /// # Errors
    /// If the file cannot be written: then nothing is noted.
    pub fn put(&mut self, record: Record) -> Result<(), LeaseFileError> {
        let key = (record.network.clone(), record.address);
        if self.records.get(&key) != Some(&record) {
            self.append(&line::of_record(&record))?;
            self.records.insert(key, record);
        }
        Ok(())
    }

    /// Notes that an address is free.
    ///
    /// # Errors
    /// If the file cannot be written: then it counts as lent, until it is lent anew or its lease ends.
    pub fn remove(&mut self, network: &str, address: IpAddr) -> Result<(), LeaseFileError> {
        let key = (network.to_owned(), address);
        if self.records.contains_key(&key) {
            self.append(&line::of_end(network, address))?;
            self.records.remove(&key);
        }
        Ok(())
    }

    /// Tells that the clock says `by_s` more than what was noted by: everything is noted anew.
    ///
    /// # Errors
    /// If the file cannot be written: then it goes by the clock of before.
    pub fn shift(&mut self, by_s: i128) -> Result<(), LeaseFileError> {
        let mut records = self.records.clone();
        records.values_mut().for_each(|record| record.shift(by_s));
        self.file = write_anew(&self.path, &records).map_err(|source| self.failed("write", source))?;
        (self.lines, self.records) = (records.len(), records);
        (self.is_synced, self.is_torn) = (true, false);
        Ok(())
    }

    /// Tries whether the file can be written.
    ///
    /// # Errors
    /// If it cannot.
    pub fn probe(&mut self) -> Result<(), LeaseFileError> {
        self.append("\n")
    }

    /// Whether more than half of its lines are out of date.
    #[must_use]
    pub fn is_untidy(&self) -> bool {
        self.lines > 2 * self.records.len() + STALE_MIN
    }

    /// Writes the file anew if more than half of its lines are out of date.
    ///
    /// # Errors
    /// If the new file cannot be written. The old one goes on.
    pub fn tidy(&mut self) -> Result<(), LeaseFileError> {
        if !self.is_untidy() {
            return Ok(());
        }
        self.file = write_anew(&self.path, &self.records).map_err(|source| self.failed("compact", source))?;
        (self.lines, self.is_synced) = (self.records.len(), true);
        Ok(())
    }

    /// The file, if something was written to it since this was last asked, to be synced with its disk (`fsync`): that may
    /// take long, and needs no access to this.
    pub fn unsynced(&mut self) -> Option<File> {
        if self.is_synced {
            return None;
        }
        let file = self.file.try_clone().ok()?;
        self.is_synced = true;
        Some(file)
    }

    /// One line by one system call. After a line that was written in part comes an empty one, so that no other is lost.
    fn append(&mut self, line: &str) -> Result<(), LeaseFileError> {
        let text = if self.is_torn { format!("\n{line}") } else { line.to_owned() };
        self.is_synced = false;
        self.is_torn = true;
        self.file.write_all(text.as_bytes()).map_err(|source| self.failed("write", source))?;
        self.is_torn = false;
        self.lines += 1;
        Ok(())
    }

    fn failed(&self, what: &'static str, source: io::Error) -> LeaseFileError {
        LeaseFileError::Io { what, path: self.path.clone(), source }
    }
}

#[cfg(test)]
impl LeaseFile {
    /// From now on the disk is full, or has room again.
    pub(crate) fn set_full(&mut self, is_full: bool) {
        let path = if is_full { Path::new("/dev/full") } else { &self.path };
        self.file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    }
}

/// The file's bytes; none if there is no file.
fn read(path: &Path) -> Result<Vec<u8>, LeaseFileError> {
    let failed = |source| LeaseFileError::Io { what: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut content = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > FILE_MAX {
        return Err(LeaseFileError::TooLong { path: path.to_owned() });
    }
    Ok(content)
}

/// Writes all that counts beside the file, and puts it in its place once it is on the disk.
fn write_anew(path: &Path, records: &BTreeMap<Key, Record>) -> io::Result<File> {
    let lines = records.values().map(line::of_record);
    let text: String = std::iter::once(line::first()).chain(lines).collect();
    durable::replace(path, text.as_bytes())
}

#[cfg(test)]
mod tests;
