//! The thread that keeps connections.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};
use viaduct_switch::conntrack::Extent;
use viaduct_switch::{Nanos, Switch};

use super::file::{REFRESH, Selection, Source, Written, write};
use super::temporary::{sweep, temporary};
use super::{BootClock, Names, rest_of};
use crate::sandbox::confine_helper;

/// The shortest time from one file to the next.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How many bytes are written in a second, on average.
const RATE: f64 = 4.0 * 1024.0 * 1024.0;

/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// For how long the thread sleeps after it has worked, in times of that.
const REST: u32 = 19;

/// And at most: what took long for another reason, like a disk, is no work.
const REST_MAX: Duration = Duration::from_secs(1);

/// Why connections cannot be kept.
type Problem = String;

#[derive(Debug, Default)]
struct Orders {
    /// Set once the thread may write.
    names: Option<Arc<Names>>,
    /// Another process will go on: all is to be written at once, and this is to hear of it.
    begun: Option<SyncSender<io::Result<()>>>,
    /// Another process goes on, or wants to: what comes now is to be written apart.
    is_handing_over: bool,
    is_ending: bool,
}

#[derive(Debug, Default)]
struct Shared {
    orders: Mutex<Orders>,
    wake: Condvar,
    problem: Mutex<Option<Problem>>,
    /// Nobody waits any more for what the thread writes, and another one writes beside it.
    is_given_up: AtomicBool,
}

/// Talks to the thread, which writes once more and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What came of the last thing that the thread wrote.
    ended: Receiver<io::Result<()>>,
}

impl Keeper {
    /// Starts the thread. Nothing is written before names are told. The switch's time began at `started`.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(
        path: &Path,
        clock: BootClock,
        switch: Arc<Switch>,
        started: Instant,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            clock,
            switch,
            started,
            last: None,
            interval: INTERVAL_MIN,
            seen: None,
            is_swept: false,
        };
        let (tell, ended) = sync_channel(1);
        let run = move || {
            confine_helper();
            // Who drops the keeper has stopped listening.
            let _ = tell.send(worker.run());
        };
        let thread = thread::Builder::new().name("connections".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread), ended })
    }

    /// Has all written for another process, while everything runs; whoever asks hears when it is. What comes after that will be written
    /// apart, by [`Keeper::hand_over`].
    pub(crate) fn begin_hand_over(&self) -> Receiver<io::Result<()>> {
        let (begun, is_written) = sync_channel(1);
        let mut orders = self.shared.orders.lock();
        (orders.begun, orders.is_handing_over) = (Some(begun), true);
        self.shared.wake.notify_one();
        is_written
    }

    /// No other process goes on.
    pub(crate) fn stay(&self) {
        self.shared.orders.lock().is_handing_over = false;
    }

    /// Writes what there was not when handing over began, where another process finds it, and ends.
    ///
    /// # Errors
    /// It could not be written, or not within `limit`.
    pub(crate) fn hand_over(mut self, limit: Duration) -> io::Result<()> {
        self.end();
        match self.ended.recv_timeout(limit) {
            Ok(written) => written,
            // Whatever holds it up shall not hold up guests.
            Err(RecvTimeoutError::Timeout) => {
                self.shared.is_given_up.store(true, Ordering::Release);
                drop(self.thread.take());
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("it took longer than {} ms", limit.as_millis()),
                ))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the thread that writes them has ended"))
            }
        }
    }

    fn end(&self) {
        self.shared.orders.lock().is_ending = true;
        self.shared.wake.notify_one();
    }

    /// Says what ports and networks are called from now on; from the first time on, connections are kept.
    pub(crate) fn follow(&self, names: Names) {
        self.shared.orders.lock().names = Some(Arc::new(names));
    }

    /// Why connections cannot be kept, if they cannot.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.shared.problem.lock().clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

/// What was written last.
struct Last {
    at: Instant,
    /// What had happened in the table until then.
    changes: u64,
    names: u64,
}

struct Worker {
    shared: Arc<Shared>,
    path: PathBuf,
    clock: BootClock,
    switch: Arc<Switch>,
    started: Instant,
    last: Option<Last>,
    interval: Duration,
    /// What another process knows of already, while one is about to go on.
    seen: Option<Selection>,
    /// What earlier writes left is removed.
    is_swept: bool,
}

/// What the thread is to do.
struct Wanted {
    names: Option<Arc<Names>>,
    begun: Option<SyncSender<io::Result<()>>>,
    is_ending: bool,
}

impl Worker {
    /// Until the end; what came of what was written then.
    fn run(&mut self) -> io::Result<()> {
        loop {
            let Wanted { names, begun, is_ending } = self.wait();
            if let Some(begun) = begun {
                // Who asked may have stopped waiting.
                let _ = begun.send(self.begin_hand_over(names.as_ref()));
            }
            if let Some(names) = names {
                // Not before: until names are told, another process may be writing.
                if !std::mem::replace(&mut self.is_swept, true) {
                    sweep(&self.path);
                }
                if is_ending && self.seen.is_some() {
                    return self.write_rest(&names);
                }
                if self.seen.is_none() && (self.is_due(&names) || (is_ending && self.last.is_some())) {
                    self.keep(&names);
                }
            }
            if is_ending {
                return Ok(());
            }
        }
    }

    fn wait(&mut self) -> Wanted {
        let mut orders = self.shared.orders.lock();
        if !orders.is_ending && orders.begun.is_none() {
            let _ = self.shared.wake.wait_for(&mut orders, self.interval);
        }
        if !orders.is_handing_over {
            self.seen = None;
        }
        Wanted { names: orders.names.clone(), begun: orders.begun.take(), is_ending: orders.is_ending }
    }

    /// Writes everything for another process, and notes what that was.
    fn begin_hand_over(&mut self, names: Option<&Arc<Names>>) -> io::Result<()> {
        // Who was not told names yet has not restored all that the process before it left.
        let names = names.ok_or_else(|| {
            io::Error::other(
                "those of before the last restart still wait for what they rely on, like an uplink's address: try again in a minute",
            )
        })?;
        let mut seen = Selection::unseen();
        if self.has_any() {
            self.replace(names, &mut seen, &self.path)
                .and_then(is_named)
                .map_err(|error| self.named(error))?;
            // What an earlier attempt left is in there.
            self.remove_rest()?;
        }
        self.seen = Some(seen);
        Ok(())
    }

    fn write_rest(&mut self, names: &Arc<Names>) -> io::Result<()> {
        let mut seen = self.seen.take().unwrap_or_default();
        if !self.has_any() {
            return Ok(());
        }
        let written = self.replace(names, &mut seen, &rest_of(&self.path)).and_then(is_named);
        written.map_err(|error| self.named(error))
    }

    /// Whether there is anything to keep, or was.
    fn has_any(&self) -> bool {
        self.changes() > 0 || self.path.exists() || rest_of(&self.path).exists()
    }

    fn remove_rest(&self) -> io::Result<()> {
        match fs::remove_file(rest_of(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.named(error)),
            _ => Ok(()),
        }
    }

    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", self.path.display()))
    }

    /// What happened in the table so far.
    fn changes(&self) -> u64 {
        self.switch.conntrack().map_or(0, |table| table.changes())
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Whether the file no longer tells what there is.
    fn is_due(&self, names: &Names) -> bool {
        let changes = self.changes();
        // Who has nothing to keep writes nothing, but in the place of what was kept before.
        let Some(last) = &self.last else { return changes > 0 || self.path.exists() };
        let is_changed = last.changes != changes || (last.names != names.generation && changes > 0);
        is_changed || (last.at.elapsed() >= REFRESH && self.was_heard_since(last.at))
    }

    /// Whether any connection was heard since then.
    fn was_heard_since(&self, then: Instant) -> bool {
        let Some(table) = self.switch.conntrack() else { return false };
        let since_s = u32::try_from(then.elapsed().as_secs()).unwrap_or(u32::MAX);
        let (mut was_heard, mut from, now) = (false, Some(0), self.now());
        while let Some(place) = from.filter(|_| !was_heard) {
            from = table.records(place, 1024, Extent::Lasting, now, |_, record| {
                was_heard |= record.idle_s.iter().any(|idle_s| *idle_s < since_s);
            });
        }
        was_heard
    }

    fn keep(&mut self, names: &Arc<Names>) {
        let (at, changes) = (Instant::now(), self.changes());
        let kept = self.replace(names, &mut Selection::All, &self.path);
        if matches!(kept, Ok(Some(_))) {
            // All that a takeover told apart is in there; what cannot be removed is only older.
            let _ = self.remove_rest();
        }
        self.interval = match &kept {
            Ok(Some(written)) => {
                self.last = Some(Last { at, changes, names: names.generation });
                #[expect(clippy::cast_precision_loss, reason = "a time to wait need not be exact")]
                let seconds = written.bytes as f64 / RATE;
                Duration::from_secs_f64(seconds).max(INTERVAL_MIN)
            }
            Ok(None) => INTERVAL_MIN,
            Err(_) => RETRY,
        };
        self.tell(kept.err());
    }

    /// Writes a file in the place of the last one at `path`; `None`: names have changed meanwhile, so that what was written may be somebody
    /// else's.
    fn replace(
        &self,
        names: &Arc<Names>,
        selection: &mut Selection,
        path: &Path,
    ) -> io::Result<Option<Written>> {
        if let Some(folder) = path.parent() {
            // Should that fail, writing says why.
            let _ = fs::create_dir_all(folder);
        }
        let (file, temporary) = temporary(path)?;
        let mut to = BufWriter::new(file);
        let written = self.write(names, selection, &mut to).and_then(|written| to.flush().map(|()| written));
        let is_current = self.shared.orders.lock().names.as_ref() == Some(names);
        let written = written.and_then(|written| self.unless_given_up().map(|()| written));
        let written = written.and_then(|written| match is_current {
            true => fs::rename(&temporary, path).map(|()| Some(written)),
            false => fs::remove_file(&temporary).map(|()| None),
        });
        if written.is_err() {
            // On a full disk, what was written of it takes room.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// What nobody waits for any more takes no other file's place.
    fn unless_given_up(&self) -> io::Result<()> {
        match self.shared.is_given_up.load(Ordering::Acquire) {
            true => Err(io::Error::other("it took too long, and nobody waits for it any more")),
            false => Ok(()),
        }
    }

    fn write(&self, names: &Names, selection: &mut Selection, to: impl io::Write) -> io::Result<Written> {
        let now = || self.now();
        let source = Source {
            switch: &self.switch,
            names,
            clock: &self.clock,
            extent: Extent::Lasting,
            is_exact: false,
            now: &now,
        };
        let mut began = Instant::now();
        write(&source, selection, to, || {
            // Whoever waits for the end, or for another process's beginning, waits no longer than it takes.
            let mut orders = self.shared.orders.lock();
            if !orders.is_ending && !orders.is_handing_over {
                let rest = (began.elapsed() * REST).min(REST_MAX);
                let _ = self.shared.wake.wait_for(&mut orders, rest);
            }
            drop(orders);
            began = Instant::now();
            self.unless_given_up()
        })
    }

    /// Says once that something failed, and once that it is over.
    fn tell(&self, failed: Option<io::Error>) {
        let path = self.path.display();
        let mut problem = self.shared.problem.lock();
        match failed {
            None => {
                if problem.take().is_some() {
                    info!("connections can be kept again in {path}");
                }
            }
            Some(error) => {
                let sentence = format!("cannot write {path}: {error}");
                if problem.is_none() {
                    warn!(
                        "{sentence}: a restart would end connections that opened since; make room there, or let the daemon write \
                         there"
                    );
                }
                *problem = Some(sentence);
            }
        }
    }
}

/// What was written under names that hold no more is nobody's.
fn is_named(written: Option<Written>) -> io::Result<()> {
    written.map(drop).ok_or_else(|| io::Error::other("ports or networks were renamed meanwhile"))
}
