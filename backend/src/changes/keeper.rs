//! The thread that brings run-time changes to the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{error, info};

use super::file::ChangeFile;
use super::{Noted, Running};

/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long somebody waits for the disk. A change that takes longer is made, and said to be not kept yet.
const DISK_MAX: Duration = Duration::from_secs(5);

/// What becomes of a change that has been made.
type Kept = Result<(), String>;

/// Will tell whether a change is on the disk.
#[derive(Debug)]
pub(crate) struct Receipt(Receiver<Kept>);

impl Receipt {
    /// Of something else that is kept, and the sender that is to tell what came of it.
    pub(crate) fn new() -> (SyncSender<Kept>, Self) {
        let (sender, receipt) = sync_channel(1);
        (sender, Self(receipt))
    }

    /// Waits for the disk, some seconds at most; gives why the change is not kept, if it is not.
    pub(crate) fn not_kept(&self) -> Option<String> {
        let late = || {
            let seconds = DISK_MAX.as_secs();
            Err(format!("the disk did not answer within {seconds} seconds; look after the disk of state_dir"))
        };
        self.0.recv_timeout(DISK_MAX).unwrap_or_else(|_| late()).err()
    }
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Queue {
    noted: Vec<Noted>,
    waiting: Vec<SyncSender<Kept>>,
    is_ending: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Why changes cannot be kept.
    problem: Mutex<Option<String>>,
}

/// Talks to the thread, which ends, with all that was noted written, when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. What runs is `running`; with `is_dirty` the file at `path` does not say so yet.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(path: &Path, running: Running, is_dirty: bool) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut worker =
            Worker { shared: Arc::clone(&shared), file: ChangeFile::new(path.to_owned()), running, is_dirty };
        // Before anybody asks, so that what is wrong with the disk is known from the beginning.
        worker.begin();
        let thread = thread::Builder::new().name("changes".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has what happened brought to the disk; does not wait.
    pub(crate) fn note(&self, noted: Noted) -> Receipt {
        let (sender, receipt) = sync_channel(1);
        let mut queue = self.shared.queue.lock();
        if !matches!(noted, Noted::Port { .. }) {
            // What came before does not count any more, so that a disk that hangs fills no memory with texts.
            queue.noted.retain(|before| matches!(before, Noted::File(_)));
            if matches!(noted, Noted::File(_)) {
                queue.noted.clear();
            }
        }
        queue.noted.push(noted);
        queue.waiting.push(sender);
        self.shared.wake.notify_one();
        Receipt(receipt)
    }

    /// Will tell when all that was noted before is on the disk.
    pub(crate) fn barrier(&self) -> Receipt {
        let (sender, receipt) = Receipt::new();
        self.shared.queue.lock().waiting.push(sender);
        self.shared.wake.notify_one();
        receipt
    }

    /// Why changes cannot be kept, if they cannot.
    pub(crate) fn problem(&self) -> Option<String> {
        self.shared.problem.lock().clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.queue.lock().is_ending = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Worker {
    shared: Arc<Shared>,
    file: ChangeFile,
    running: Running,
    /// The file does not say yet what runs.
    is_dirty: bool,
}

impl Worker {
    fn begin(&mut self) {
        let begun = if self.is_dirty { self.file.keep(&self.running, &[]) } else { self.file.probe() };
        let _ = self.tell(begun);
    }

    fn run(mut self) {
        loop {
            let (noted, waiting, is_ending) = self.wait();
            if !noted.is_empty() || self.is_dirty {
                for one in &noted {
                    self.running.note(one.clone());
                }
                self.is_dirty = true;
                let kept = self.file.keep(&self.running, &noted);
                let answer = self.tell(kept);
                answer_all(waiting, &answer);
            } else if !waiting.is_empty() {
                answer_all(waiting, &Ok(()));
            } else if self.shared.problem.lock().is_some() {
                let probed = self.file.probe();
                let _ = self.tell(probed);
            }
            if is_ending {
                return;
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> (Vec<Noted>, Vec<SyncSender<Kept>>, bool) {
        let has_failed = self.shared.problem.lock().is_some();
        let mut queue = self.shared.queue.lock();
        while queue.noted.is_empty() && queue.waiting.is_empty() && !queue.is_ending {
            if !has_failed {
                self.shared.wake.wait(&mut queue);
            } else if self.shared.wake.wait_for(&mut queue, RETRY).timed_out() {
                break;
            }
        }
        let Queue { noted, waiting, is_ending } = &mut *queue;
        (std::mem::take(noted), std::mem::take(waiting), *is_ending)
    }

    /// Says once that something failed, and once that it is over.
    fn tell(&mut self, kept: io::Result<()>) -> Kept {
        let path = self.file.path().display();
        let mut problem = self.shared.problem.lock();
        match kept {
            Ok(()) => {
                self.is_dirty = false;
                if problem.take().is_some() {
                    info!("run-time changes can be kept again in {path}");
                }
                Ok(())
            }
            Err(failed) => {
                let sentence = format!("cannot write {path}: {failed}");
                if problem.is_none() {
                    error!(
                        "{sentence}: run-time changes are made, but a restart would forget them; make room there, or let the \
                         daemon write there"
                    );
                }
                *problem = Some(sentence.clone());
                Err(sentence)
            }
        }
    }
}

fn answer_all(waiting: Vec<SyncSender<Kept>>, answer: &Kept) {
    for asker in waiting {
        // Whoever asked may have stopped waiting.
        let _ = asker.try_send(answer.clone());
    }
}
