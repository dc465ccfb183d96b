//! The thread that keeps connections.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};
use viaduct_switch::conntrack::Extent;
use viaduct_switch::{Nanos, Switch};

use super::file::{REFRESH, Source, Written, write};
use super::{BootClock, Names};
use crate::durable::beside;
use crate::sandbox::confine_helper;

/// The shortest time from one file to the next.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How many bytes are written in a second, on average.
const RATE: f64 = 4.0 * 1024.0 * 1024.0;

/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// For how long the thread sleeps after it has worked, in times of that.
const REST: u32 = 19;

/// Why connections cannot be kept.
type Problem = String;

#[derive(Debug, Default)]
struct Orders {
    /// Set once the thread may write.
    names: Option<Arc<Names>>,
    is_ending: bool,
}

#[derive(Debug, Default)]
struct Shared {
    orders: Mutex<Orders>,
    wake: Condvar,
    problem: Mutex<Option<Problem>>,
}

/// Talks to the thread, which writes once more and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
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
        };
        let run = move || {
            confine_helper();
            worker.run();
        };
        let thread = thread::Builder::new().name("connections".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
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
        self.shared.orders.lock().is_ending = true;
        self.shared.wake.notify_one();
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
}

impl Worker {
    fn run(&mut self) {
        loop {
            let (names, is_ending) = self.wait();
            if let Some(names) = names
                && (self.is_due(&names) || (is_ending && self.last.is_some()))
            {
                self.keep(&names, is_ending);
            }
            if is_ending {
                return;
            }
        }
    }

    fn wait(&self) -> (Option<Arc<Names>>, bool) {
        let mut orders = self.shared.orders.lock();
        if !orders.is_ending {
            let _ = self.shared.wake.wait_for(&mut orders, self.interval);
        }
        (orders.names.clone(), orders.is_ending)
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
            from = table.records(place, 1024, Extent::Lasting, now, |record| {
                was_heard |= record.idle_s.iter().any(|idle_s| *idle_s < since_s);
            });
        }
        was_heard
    }

    fn keep(&mut self, names: &Arc<Names>, is_ending: bool) {
        let (at, changes) = (Instant::now(), self.changes());
        let kept = self.replace(names, is_ending);
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

    /// Writes a file in the place of the last one; `None`: names have changed meanwhile, so that what was written may be somebody else's.
    fn replace(&self, names: &Arc<Names>, is_ending: bool) -> io::Result<Option<Written>> {
        if let Some(folder) = self.path.parent() {
            // Should that fail, writing says why.
            let _ = fs::create_dir_all(folder);
        }
        let (file, temporary) = beside(&self.path)?;
        let mut to = BufWriter::new(file);
        let written = self.write(names, &mut to, is_ending).and_then(|written| to.flush().map(|()| written));
        let is_current = self.shared.orders.lock().names.as_ref() == Some(names);
        let written = written.and_then(|written| match is_current {
            true => fs::rename(&temporary, &self.path).map(|()| Some(written)),
            false => fs::remove_file(&temporary).map(|()| None),
        });
        if written.is_err() {
            // On a full disk, what was written of it takes room.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write(&self, names: &Names, to: impl io::Write, is_ending: bool) -> io::Result<Written> {
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
        write(&source, to, || {
            // Whoever waits for the end waits no longer than it takes.
            if !is_ending && !self.shared.orders.lock().is_ending {
                thread::sleep(began.elapsed() * REST);
            }
            began = Instant::now();
            Ok(())
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
