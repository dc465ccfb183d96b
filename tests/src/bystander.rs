//! Two cards that exchange numbered frames all the time, while something happens to somebody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::deadline::wait_until;
use crate::driver::nic::{Nic, NicOptions};
use crate::stream::Flow;

/// The two cards' addresses.
pub const ADDRESSES: [[u8; 6]; 2] = [[2, 0, 0, 0xb0, 0, 1], [2, 0, 0, 0xb0, 0, 2]];
/// Frames of one round, each way.
const BURST: usize = 16;
/// Between two rounds.
const PAUSE: Duration = Duration::from_micros(500);
/// A round in which nothing is lost ends within this time, whatever others do.
const ROUND_LIMIT: Duration = Duration::from_secs(2);

/// The pair at work, in a thread of its own.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    worst_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Connects to the two ports' sockets and begins.
    #[must_use]
    pub fn start(sockets: [PathBuf; 2]) -> Self {
        let options = NicOptions { queue_size: 1024, ..NicOptions::default() };
        let [a, b] = sockets.map(|path| Nic::connect(&path, &options));
        let bystander =
            Self { stop: Arc::default(), rounds: Arc::default(), worst_us: Arc::default(), thread: None };
        bystander.run(a, b)
    }

    fn run(mut self, mut a: Nic, mut b: Nic) -> Self {
        let (stop, rounds, worst_us) =
            (Arc::clone(&self.stop), Arc::clone(&self.rounds), Arc::clone(&self.worst_us));
        let work = move || {
            let [here, there] = ADDRESSES;
            let mut flows = [Flow::new(here, there), Flow::new(there, here)];
            flows.iter_mut().for_each(|flow| flow.limit = ROUND_LIMIT);
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                flows[0].carry(&mut a, &mut b, (0..BURST).map(|index| 60 + 90 * index));
                flows[1].carry(&mut b, &mut a, (0..BURST).map(|index| 60 + 90 * index));
                worst_us.fetch_max(start.elapsed().as_micros() as u64, Ordering::Relaxed);
                rounds.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        };
        self.thread = Some(std::thread::Builder::new().name("bystander".into()).spawn(work).unwrap());
        self.wait_for_rounds(3);
        self
    }

    /// Rounds done so far: each carried 16 frames both ways, lost none and kept their order.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// The longest round so far.
    #[must_use]
    pub fn worst_round(&self) -> Duration {
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }

    /// Waits for `count` rounds more: traffic flows on.
    pub fn wait_for_rounds(&self, count: u64) {
        let goal = self.rounds() + count;
        let what = format!("{count} more rounds of the bystanders' traffic");
        wait_until(&what, Duration::from_secs(10), || {
            assert!(!self.is_over(), "the bystanders lost a frame: see their panic above");
            self.rounds() >= goal
        });
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the traffic; panics when a frame was lost, doubled, out of order or changed.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok(), "the bystanders lost a frame: see their panic above");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
