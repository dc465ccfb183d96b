//! A data path whose only worker does a round when it is told, at the time that it is told.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use viaduct_switch::{Nanos, Policy, Switch};

use super::{Dataplane, Worker};
use crate::config::Polling;

/// How far its time lies ahead of the machine's, so that nothing which reads that has the last word.
const AHEAD: Duration = Duration::from_secs(1 << 24);

/// A data path without threads, by which what a frame costs is counted, and what depends on time is the same on every machine. It
/// never sleeps: whoever has it does, or not, by [`Stepped::next`].
pub struct Stepped {
    dataplane: Dataplane,
    worker: Worker,
}

impl Stepped {
    /// One whose time begins at 0.
    ///
    /// # Errors
    /// What the kernel refused of the worker's descriptors.
    pub fn new(switch: Arc<Switch>, policy: Arc<Policy>) -> io::Result<Self> {
        let mut dataplane = Dataplane::empty(switch, policy, &[0], Instant::now() + AHEAD)?;
        let (handle, parts) = dataplane.prepare_worker(0, 0, Polling::Busy)?;
        dataplane.workers.push(handle);
        let worker = Worker::new(parts).ok_or_else(|| io::Error::other("a worker without a port 0"))?;
        Ok(Self { dataplane, worker })
    }

    /// Does something with the control thread's handle, which waits for the worker: so that happens on another thread meanwhile.
    pub fn control<T: Send>(&mut self, work: impl FnOnce(&mut Dataplane) -> T + Send) -> T {
        let Self { dataplane, worker } = self;
        thread::scope(|scope| {
            let control = scope.spawn(move || work(dataplane));
            while !control.is_finished() {
                worker.take_messages();
                thread::yield_now();
            }
            control.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Has the worker do one round at `now`, which never runs backwards: it serves each ring once, and lets depart what is due.
    pub fn round(&mut self, now: Nanos) {
        if self.worker.mailbox.has_some() {
            self.worker.take_messages();
        }
        let now = self.worker.started + Duration::from_nanos(now.0);
        self.worker.round(now);
    }

    /// When the next frame that waits is due; `None`: none waits.
    #[must_use]
    pub fn next(&self) -> Option<Nanos> {
        self.worker.shaping.next()
    }
}
