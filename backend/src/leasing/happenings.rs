//! What happened to leases, for who listens to events.

use std::collections::BTreeMap;
use std::net::IpAddr;

use viaduct_switch::Nanos;

/// What happened to a lease. That one goes on is no event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseChange {
    /// It is new, or another client's.
    Granted,
    /// The client gave it back, or its port may not have it any more.
    Released,
    /// It was not renewed.
    Expired,
    /// Somebody else uses the address, which is put aside.
    Conflict,
}

/// What happened to an address that is lent, or was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseEvent {
    /// What.
    pub change: LeaseChange,
    /// The network's name.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The client's port, by name; empty if nobody had it.
    pub port: String,
    /// Its station, and how that calls itself, for which nobody vouches; empty if nobody had it.
    pub client: String,
}

/// Events of one port in a second at most, as lines of its log: clients can make leases come and go at will.
const EVENTS_MAX: u32 = 10;
/// Events of all ports that wait to be taken.
const WAITING_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Happenings {
    waiting: Vec<LeaseEvent>,
    second: u64,
    /// How many there were of each port in this second.
    counted: BTreeMap<String, u32>,
}

impl Happenings {
    pub(super) fn tell(&mut self, now: Nanos, event: LeaseEvent) {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.counted.clear();
        }
        let count = self.counted.entry(event.port.clone()).or_default();
        *count = count.saturating_add(1);
        if *count <= EVENTS_MAX && self.waiting.len() < WAITING_MAX {
            self.waiting.push(event);
        }
    }

    pub(super) fn take(&mut self) -> Vec<LeaseEvent> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_ten_events_a_second_and_keeps_none_from_others() {
        let mut happenings = Happenings::default();
        let event = |port: &str| LeaseEvent {
            change: LeaseChange::Granted,
            network: "lab".to_owned(),
            address: [10, 0, 0, 9].into(),
            port: port.to_owned(),
            client: String::new(),
        };
        (0..1000).for_each(|_| happenings.tell(Nanos(5_000_000_000), event("loud")));
        happenings.tell(Nanos(5_999_999_999), event("quiet"));
        let taken = happenings.take();
        assert_eq!((taken.len(), taken.iter().filter(|event| event.port == "quiet").count()), (11, 1));
        happenings.tell(Nanos(6_000_000_000), event("loud"));
        assert_eq!(happenings.take(), [event("loud")]);
        // Whoever takes nothing has no more than fits.
        (0..2000).for_each(|number| happenings.tell(Nanos(7_000_000_000), event(&format!("p{number}"))));
        assert_eq!(happenings.take().len(), WAITING_MAX);
    }
}
