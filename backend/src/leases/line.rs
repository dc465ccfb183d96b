//! A line: a checksum and what it says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Key, LeaseFileError, LeaseFileWarning};
use crate::durable::{checked, line};

/// The version of the format.
const VERSION: u32 = 1;

/// A lease as it is kept: names and wall-clock time, which mean the same to the next process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The network's name.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The port's name.
    #[serde(default)]
    pub port: String,
    /// What the client is known by, in hexadecimal digits.
    #[serde(default)]
    pub client: String,
    /// Its station's address.
    #[serde(default)]
    pub mac: String,
    /// How it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// When the lease ends, in seconds since 1970.
    pub until_s: u64,
    /// When that was noted, by the same clock.
    #[serde(default)]
    pub noted_s: u64,
}

impl Record {
    /// Where the clock says less than when this was noted, it was set back, or began anew: the lease lasts no longer for that.
    pub(super) fn settle_clock(&mut self, now_s: u64) {
        let back = self.noted_s.saturating_sub(now_s);
        self.shift(-i128::from(back));
    }

    /// The same moments by a clock that says `by_s` more.
    pub(super) fn shift(&mut self, by_s: i128) {
        let moved =
            |moment: u64, least| u64::try_from((i128::from(moment) + by_s).max(least)).unwrap_or(u64::MAX);
        (self.until_s, self.noted_s) = (moved(self.until_s, 1), moved(self.noted_s, 0));
    }
}

/// What says that an address is free.
#[derive(Serialize)]
struct End<'a> {
    network: &'a str,
    address: IpAddr,
    until_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    viaduct_leases: u32,
}

/// The file's first line.
pub(super) fn first() -> String {
    line(&First { viaduct_leases: VERSION })
}

/// The line that notes a lease.
pub(super) fn of_record(record: &Record) -> String {
    line(record)
}

/// The line that notes that an address is free.
pub(super) fn of_end(network: &str, address: IpAddr) -> String {
    line(&End { network, address, until_s: 0 })
}

/// What a file says in the end.
///
/// # Errors
/// [`LeaseFileError::Version`] if its first line is whole and not ours.
pub(super) fn read(
    path: &Path,
    content: &[u8],
    warnings: &mut Vec<LeaseFileWarning>,
) -> Result<BTreeMap<Key, Record>, LeaseFileError> {
    let mut records = BTreeMap::new();
    let mut lines = (1..).zip(content.split_inclusive(|byte| *byte == b'\n'));
    if let Some((_, line)) = lines.next() {
        check_first(path, line, warnings)?;
    }
    for (number, line) in lines.filter(|(_, line)| *line != b"\n") {
        match record(number, line) {
            Ok(record) if record.until_s == 0 => drop(records.remove(&(record.network, record.address))),
            Ok(record) => drop(records.insert((record.network.clone(), record.address), record)),
            Err(warning) => warnings.push(warning),
        }
    }
    Ok(records)
}

/// A file whose first line was cut holds nothing: it is written whole before it gets its name, so that only a disk that
/// failed leaves such a one.
fn check_first(path: &Path, line: &[u8], warnings: &mut Vec<LeaseFileWarning>) -> Result<(), LeaseFileError> {
    if !line.ends_with(b"\n") {
        warnings.push(LeaseFileWarning::Cut { line: 1 });
        return Ok(());
    }
    if line == first().as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&line[..line.len().min(80)]).trim_end().to_owned();
    Err(LeaseFileError::Version { path: path.to_owned(), found })
}

fn record(number: usize, line: &[u8]) -> Result<Record, LeaseFileWarning> {
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err(LeaseFileWarning::Cut { line: number });
    };
    let text = checked(line).ok_or(LeaseFileWarning::Damaged { line: number })?;
    let record: Record = serde_json::from_str(text)
        .map_err(|error| LeaseFileWarning::Unknown { line: number, problem: error.to_string() })?;
    Ok(record)
}
