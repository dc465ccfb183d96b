//! Deadlines of the control thread on one timerfd, which sleeps while there is none.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use viaduct_switch::PortIndex;
use vmm_sys_util::timerfd::TimerFd;

/// What is to be done at a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Deadline {
    /// The data path's housekeeping.
    Tick,
    /// What bonds and LLDP do at certain times.
    Neighbours,
    /// What spanning trees do at certain times.
    Trees,
    /// Trying to reach a frontend again.
    Connect(PortIndex),
    /// Accepting connections again, after descriptors had run out.
    Accept(PortIndex),
    /// Listening again to a frontend that sent too much.
    Resume(PortIndex),
    /// Telling in the log what became of the guest's driver.
    Tell(PortIndex),
    /// Trying again to attach an interface.
    Attach(PortIndex),
    /// Looking for network namespaces that came or went.
    Namespaces,
    /// Telling the service manager that the switch lives.
    Watchdog,
}

impl Deadline {
    /// All that a port can have.
    pub(super) fn of_port(port: PortIndex) -> [Self; 5] {
        [Self::Connect(port), Self::Accept(port), Self::Resume(port), Self::Tell(port), Self::Attach(port)]
    }
}

/// All deadlines.
#[derive(Debug)]
pub(super) struct Timer {
    descriptor: TimerFd,
    by_time: BTreeSet<(Instant, Deadline)>,
    times: HashMap<Deadline, Instant>,
    armed: Option<Instant>,
    expired: bool,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let descriptor = TimerFd::new()?;
        Ok(Self { descriptor, by_time: BTreeSet::new(), times: HashMap::new(), armed: None, expired: false })
    }

    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, deadline: Deadline, time: Instant) {
        self.clear(deadline);
        self.by_time.insert((time, deadline));
        self.times.insert(deadline, time);
    }

    /// Sets a deadline unless it is set already.
    pub(super) fn set_if_clear(&mut self, deadline: Deadline, time: Instant) {
        if !self.times.contains_key(&deadline) {
            self.set(deadline, time);
        }
    }

    /// Takes a deadline back.
    pub(super) fn clear(&mut self, deadline: Deadline) {
        if let Some(time) = self.times.remove(&deadline) {
            self.by_time.remove(&(time, deadline));
        }
    }

    /// Takes out what is due at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Deadline> {
        let mut due = Vec::new();
        while let Some(&(time, deadline)) = self.by_time.first().filter(|(time, _)| *time <= now) {
            self.by_time.remove(&(time, deadline));
            self.times.remove(&deadline);
            due.push(deadline);
        }
        due
    }

    /// Makes the descriptor readable at the earliest deadline, if that is not what it does already.
    pub(super) fn arm(&mut self, now: Instant) -> io::Result<()> {
        let next = self.by_time.first().map(|(time, _)| *time);
        if next == self.armed && !self.expired {
            return Ok(());
        }
        (self.armed, self.expired) = (next, false);
        match next {
            None => self.descriptor.clear()?,
            // Zero would disarm it.
            Some(time) => {
                let wait = time.saturating_duration_since(now).max(Duration::from_nanos(1));
                self.descriptor.reset(wait, None)?;
            }
        }
        Ok(())
    }

    /// Notes that the descriptor was found readable; the next [`Timer::arm`] makes it unreadable. It is not read:
    /// when another event of the same round has set it anew, reading would wait.
    pub(super) fn acknowledge(&mut self) {
        self.expired = true;
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    #[test]
    fn deadlines_come_in_their_order_and_can_be_moved_and_taken_back() {
        let mut timer = Timer::new().unwrap();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        timer.set(Deadline::Connect(port(1)), at(30));
        timer.set(Deadline::Connect(port(2)), at(10));
        timer.set(Deadline::Accept(port(2)), at(5));
        timer.set(Deadline::Tick, at(20));
        timer.set(Deadline::Connect(port(2)), at(40));
        timer.set_if_clear(Deadline::Tick, at(1));
        timer.clear(Deadline::Accept(port(2)));
        assert_eq!(timer.take_due(at(9)), []);
        assert_eq!(timer.take_due(at(35)), [Deadline::Tick, Deadline::Connect(port(1))]);
        assert_eq!(timer.take_due(at(40)), [Deadline::Connect(port(2))]);
    }

    #[test]
    fn the_descriptor_sleeps_while_there_is_no_deadline() {
        let mut timer = Timer::new().unwrap();
        let now = Instant::now();
        timer.arm(now).unwrap();
        assert!(!timer.descriptor.is_armed().unwrap());
        timer.set(Deadline::Tick, now);
        timer.arm(now).unwrap();
        timer.acknowledge();
        assert_eq!(timer.take_due(now), [Deadline::Tick]);
        timer.arm(now).unwrap();
        assert!(!timer.descriptor.is_armed().unwrap());
    }
}
