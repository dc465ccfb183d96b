//! Signs of life: each worker says between two bursts that it turns.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A worker's end: it says once that it turns, and waits for nobody.
#[derive(Debug)]
pub(crate) struct Beat {
    cpu: usize,
    heard: SyncSender<usize>,
}

impl Beat {
    /// The worker turns.
    pub(crate) fn give(self) {
        // There is room for one of each worker; whoever asked may have gone.
        _ = self.heard.try_send(self.cpu);
    }
}

/// Workers that were asked for a sign of life.
#[derive(Debug)]
pub struct Pulse {
    cpus: Vec<usize>,
    heard: Receiver<usize>,
}

impl Pulse {
    /// Asks the workers on these processors.
    pub(crate) fn of(cpus: Vec<usize>) -> (Self, Vec<Beat>) {
        let (sender, heard) = sync_channel(cpus.len().max(1));
        let beats = cpus.iter().map(|&cpu| Beat { cpu, heard: sender.clone() }).collect();
        (Self { cpus, heard }, beats)
    }

    /// How many workers were asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.cpus.len()
    }

    /// Waits until all have answered, at most for `limit`; gives the processors whose workers did not.
    #[must_use]
    pub fn silent(mut self, limit: Duration) -> Vec<usize> {
        let end = Instant::now() + limit;
        while !self.cpus.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(heard) = self.heard.recv_timeout(left) else { break };
            self.cpus.retain(|&cpu| cpu != heard);
        }
        self.cpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_no_sign_within_the_limit_is_named() {
        let (pulse, beats) = Pulse::of(vec![0, 3]);
        beats.into_iter().for_each(Beat::give);
        assert_eq!(pulse.silent(Duration::from_secs(60)), Vec::<usize>::new());
        let (pulse, mut beats) = Pulse::of(vec![0, 3]);
        assert_eq!(pulse.asked(), 2);
        beats.remove(0).give();
        assert_eq!(pulse.silent(Duration::from_millis(20)), [3]);
    }
}
