//! How much a peer may do: so much at once, and so much in each second.

use std::time::{Duration, Instant};

/// What time brings comes in portions of this length.
const PORTION: Duration = Duration::from_millis(100);

/// How much may still be done. It belongs to a port, not to a session: coming back brings nothing.
#[derive(Clone, Debug)]
pub struct Allowance {
    at_once: u32,
    per_s: u32,
    left: u32,
    refilled: Instant,
}

impl Allowance {
    /// All of `at_once`, and `per_s` more with each second.
    #[must_use]
    pub fn new(at_once: u32, per_s: u32, now: Instant) -> Self {
        Self { at_once, per_s, left: at_once, refilled: now }
    }

    /// Messages to a port. QEMU starts a guest with the most queues that it can have with about 3000; each that
    /// touches rings costs every worker a moment.
    #[must_use]
    pub fn of_messages(now: Instant) -> Self {
        Self::new(8192, 1000, now)
    }

    /// Connections to a port.
    #[must_use]
    pub fn of_connections(now: Instant) -> Self {
        Self::new(1024, 200, now)
    }

    /// Adds what time has brought; gives what there is.
    pub fn refill(&mut self, now: Instant) -> u32 {
        let portions = now.saturating_duration_since(self.refilled).as_millis() / PORTION.as_millis();
        if portions > 0 {
            let portions = u32::try_from(portions).unwrap_or(u32::MAX);
            let earned = (self.per_s / 10).saturating_mul(portions);
            self.left = self.left.saturating_add(earned).min(self.at_once);
            self.refilled = now;
        }
        self.left
    }

    /// Uses one up.
    pub fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Whether nothing is left, time not counted.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_with_time_and_never_beyond_the_most() {
        let start = Instant::now();
        let mut allowance = Allowance::new(50, 100, start);
        for left in (0..50).rev() {
            allowance.spend();
            assert_eq!(allowance.refill(start), left);
        }
        assert!(allowance.is_spent());
        assert_eq!(allowance.refill(start + PORTION / 2), 0);
        assert_eq!(allowance.refill(start + PORTION), 10);
        assert_eq!(allowance.refill(start + PORTION * 3), 30);
        assert_eq!(allowance.refill(start + Duration::from_secs(86_400 * 365 * 100)), 50);
    }
}
