//! The service manager's watchdog (sd_watchdog_enabled(3)): it hears of the switch as long as the control thread and all workers turn.
//! A switch of which nothing is heard any more is started again by it, and guests carry on with the new one.

use std::time::Duration;

use tracing::error;

use crate::control::notify;
use crate::dataplane::Pulse;

/// Signs of life within the time in which the manager wants one.
const SIGNS: u32 = 4;

/// What the service manager wants to hear.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// The time between two signs.
    pub(super) every: Duration,
    /// Workers that were asked before the last sign.
    asked: Option<Pulse>,
}

impl Watchdog {
    /// `None` if no service manager waits for signs.
    pub(super) fn wanted() -> Option<Self> {
        let limit_us = notify::watchdog_us()?;
        Some(Self { every: Duration::from_micros(limit_us) / SIGNS, asked: None })
    }

    /// Processors whose workers have not answered since the last call; `next` are those that are asked now.
    fn silent(&mut self, next: Pulse) -> Vec<usize> {
        let asked = self.asked.replace(next);
        asked.map(|pulse| pulse.silent(Duration::ZERO)).unwrap_or_default()
    }

    /// Tells the manager that the switch lives, if all workers that were asked the last time have answered; `next` are those that are
    /// asked now.
    pub(super) fn tell(&mut self, next: Pulse) {
        let silent = self.silent(next);
        if silent.is_empty() {
            notify::alive();
        } else {
            error!(
                "the workers on processors {silent:?} give no sign of life; the watchdog is not told that the switch lives"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hears_nothing_while_a_worker_is_silent() {
        let mut watchdog = Watchdog { every: Duration::from_secs(5), asked: None };
        let (first, beats) = Pulse::of(vec![0, 1]);
        assert_eq!(watchdog.silent(first), Vec::<usize>::new());
        beats.into_iter().for_each(|beat| beat.give());
        let (second, mut beats) = Pulse::of(vec![0, 1]);
        assert_eq!(watchdog.silent(second), Vec::<usize>::new());
        beats.remove(0).give();
        let (third, beats) = Pulse::of(vec![0, 1]);
        assert_eq!(watchdog.silent(third), [1]);
        beats.into_iter().for_each(|beat| beat.give());
        assert_eq!(watchdog.silent(Pulse::of(vec![0, 1]).0), Vec::<usize>::new());
    }
}
