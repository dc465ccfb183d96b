//! The lease file while it may fail, and the two clocks.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tracing::{error, info, warn};
use viaduct_switch::Nanos;

use crate::leases::{LeaseFile, LeaseFileError, Record, WallClock};

/// How long to wait before a file that failed is tried again.
const RETRY: Nanos = Nanos::from_seconds(1);

/// What the wall clock may differ from the one that was counted on without having been set, in seconds.
const DRIFT_MAX_S: u128 = 2;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// `None`: it could not be opened yet.
    file: Option<LeaseFile>,
    clock: WallClock,
    /// Why it cannot be written, and when it is tried again.
    failing: Option<(String, Nanos)>,
    /// When it may be tidied.
    tidy_at: Nanos,
}

impl Journal {
    pub(super) fn open(path: &Path, now: Nanos, unix_s: u64) -> Self {
        let path = path.to_owned();
        let clock = WallClock::new(now, unix_s);
        let mut journal = Self { path, file: None, clock, failing: None, tidy_at: Nanos(0) };
        if let Err(error) = journal.try_again(now) {
            journal.fail(now, &error);
        }
        journal
    }

    /// Takes note of what the wall clock says. Where it was set, and did not just drift, all that is noted is noted by it.
    pub(super) fn set_clock(&mut self, now: Nanos, unix_s: u64) {
        let clock = WallClock::new(now, unix_s);
        let by_s = i128::from(clock.unix_s(now)) - i128::from(self.clock.unix_s(now));
        if by_s.unsigned_abs() <= DRIFT_MAX_S {
            return;
        }
        // Until that has been noted it is tried again.
        match self.file.as_mut().map(|file| file.shift(by_s)) {
            Some(Err(error)) => self.fail(now, &error),
            _ => self.clock = clock,
        }
    }

    /// The wall clock's time, in seconds since 1970; of a part of a second, its end.
    pub(super) fn unix_s(&self, moment: Nanos) -> u64 {
        self.clock.unix_s(moment)
    }

    /// The moment of a time of the wall clock; `None` if it is too far away.
    pub(super) fn moment(&self, unix_s: u64) -> Option<Nanos> {
        self.clock.moment(unix_s)
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failing.as_ref().map(|(problem, _)| problem.as_str())
    }

    /// Whether leases can be noted; what failed is tried again once a second.
    pub(super) fn is_ready(&mut self, now: Nanos) -> bool {
        let Some((_, retry_at)) = &self.failing else { return true };
        if now < *retry_at {
            return false;
        }
        match self.try_again(now) {
            Ok(()) => {
                info!(file = %self.path.display(), "leases can be noted again: DHCP servers answer");
                self.failing = None;
            }
            Err(error) => self.fail(now, &error),
        }
        !self.is_failing()
    }

    fn try_again(&mut self, now: Nanos) -> Result<(), LeaseFileError> {
        if let Some(file) = &mut self.file {
            return file.probe();
        }
        if let Some(folder) = self.path.parent() {
            // Should that fail, opening says why.
            let _ = fs::create_dir_all(folder);
        }
        let (file, warnings) = LeaseFile::open(&self.path, self.unix_s(now))?;
        for warning in warnings {
            warn!(file = %self.path.display(), "{warning}");
        }
        self.file = Some(file);
        Ok(())
    }

    fn fail(&mut self, now: Nanos, error: &LeaseFileError) {
        if self.failing.is_none() {
            error!("{error}: until it is mended, DHCP servers are silent, and clients keep what is noted");
        }
        self.failing = Some((error.to_string(), Nanos(now.0.saturating_add(RETRY.0))));
    }

    /// What is noted of a network's addresses, what ends last first.
    pub(super) fn records(&self, network: &str) -> Vec<Record> {
        let records = self.file.iter().flat_map(LeaseFile::records);
        let mut records: Vec<Record> = records.filter(|record| record.network == network).cloned().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.until_s));
        records
    }

    pub(super) fn record(&self, network: &str, address: IpAddr) -> Option<&Record> {
        self.file.as_ref()?.record(network, address)
    }

    /// Notes a lease. Says whether it did.
    pub(super) fn put(&mut self, now: Nanos, record: Record) -> bool {
        let written = self.file.as_mut().map(|file| file.put(record));
        self.is_written(now, written)
    }

    /// Notes that an address is free. Should that fail, it is noted when the file is mended, or lent anew.
    pub(super) fn remove(&mut self, now: Nanos, network: &str, address: IpAddr) {
        let written = self.file.as_mut().map(|file| file.remove(network, address));
        self.is_written(now, written);
    }

    fn is_written(&mut self, now: Nanos, written: Option<Result<(), LeaseFileError>>) -> bool {
        match written {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                self.fail(now, &error);
                false
            }
            None => false,
        }
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        let retry_at = self.failing.as_ref().map(|(_, retry_at)| *retry_at);
        let is_untidy = self.file.as_ref().is_some_and(LeaseFile::is_untidy);
        retry_at.or(is_untidy.then_some(self.tidy_at))
    }

    /// Writes the file anew if much of it is out of date. Should that fail, the one that is there goes on.
    pub(super) fn tidy(&mut self, now: Nanos) {
        let Some(file) = self.file.as_mut().filter(|file| file.is_untidy() && self.tidy_at <= now) else {
            return;
        };
        if let Err(error) = file.tidy() {
            warn!("{error}: the lease file grows on, and is tried again in a minute");
            self.tidy_at = now + Nanos::from_seconds(60);
        }
    }

    pub(super) fn unsynced(&mut self) -> Option<File> {
        self.file.as_mut().and_then(LeaseFile::unsynced)
    }
}

#[cfg(test)]
impl Journal {
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.file.as_mut().unwrap().set_full(is_full);
    }
}
