//! Work that goes on all the time in a thread of its own, round by round, while something happens to somebody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::deadline::wait_until;

/// Who works, and how patiently.
pub struct Pace {
    /// Who, in a failure's text and as the thread's name.
    pub who: &'static str,
    /// Between two rounds, when others have the processors.
    pub pause: Duration,
    /// How long each round may be waited for.
    pub patience: Duration,
}

/// The work, until it is dropped. A round that fails panics.
pub struct Rounds {
    pace: Pace,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    worst_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Rounds {
    /// Begins: `prepare` gives what is done again and again, and is called in the work's own thread.
    #[must_use]
    pub fn start<W: FnMut()>(pace: Pace, prepare: impl FnOnce() -> W + Send + 'static) -> Self {
        let (stop, count, worst_us) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let shared = (Arc::clone(&stop), Arc::clone(&count), Arc::clone(&worst_us));
        let pause = pace.pause;
        let work = move || {
            let (stop, count, worst_us) = shared;
            let mut round = prepare();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                round();
                worst_us.fetch_max(start.elapsed().as_micros() as u64, Ordering::Relaxed);
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(pause);
            }
        };
        let thread = Some(std::thread::Builder::new().name(pace.who.into()).spawn(work).unwrap());
        Self { pace, stop, count, worst_us, thread }
    }

    /// Rounds done so far, none of which failed.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The longest round so far.
    #[must_use]
    pub fn worst_round(&self) -> Duration {
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }

    /// How many rounds there are in a second, over `time`.
    #[must_use]
    pub fn rate(&self, time: Duration) -> f64 {
        let (start, first) = (Instant::now(), self.rounds());
        std::thread::sleep(time);
        (self.rounds() - first) as f64 / start.elapsed().as_secs_f64()
    }

    /// Waits for `count` rounds more: the work goes on.
    pub fn wait_for_rounds(&self, count: u64) {
        let (goal, who) = (self.rounds() + count, self.pace.who);
        while self.rounds() < goal {
            let so_far = self.rounds();
            wait_until(&format!("the next round of the {who}"), self.pace.patience, || {
                let is_over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
                assert!(!is_over, "the {who} lost a frame: see their panic above");
                self.rounds() > so_far
            });
        }
    }

    /// Ends the work; panics when a round failed.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok(), "the {} lost a frame: see their panic above", self.pace.who);
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
