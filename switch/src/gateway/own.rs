//! The gateway's own addresses: whether anybody else has them, telling stations of them, and defending them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Gateway, Key, Offered, Output, arp, discovery};
use crate::drops::DropReason;
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::packet::Address;
use crate::time::Nanos;

/// How often stations are told of a new address, and how long after each other (RFC 5227, 2.3; within RFC 4861, 7.2.6).
const ANNOUNCEMENTS: u8 = 2;
const BETWEEN_ANNOUNCEMENTS: Nanos = Nanos::from_millis(2000);

/// RFC 5227, 1.1: `PROBE_NUM`, `PROBE_WAIT`, the middle of `PROBE_MIN` and `PROBE_MAX`, and `ANNOUNCE_WAIT`.
const PROBES_V4: u8 = 3;
const PROBE_WAIT: Nanos = Nanos::from_millis(1000);
const BETWEEN_PROBES: Nanos = Nanos::from_millis(1500);
const AFTER_PROBES_V4: Nanos = Nanos::from_millis(2000);

/// RFC 4862, 5.1 and 5.4: `DupAddrDetectTransmits`, and how long an answer is waited for.
const PROBES_V6: u8 = 1;
const AFTER_PROBES_V6: Nanos = Nanos::from_millis(1000);

/// How often one address is defended at most (RFC 5227, 1.1: `DEFEND_INTERVAL`).
const DEFEND_INTERVAL: Nanos = Nanos::from_millis(10_000);

/// A time that does not come.
const NEVER: Nanos = Nanos(u64::MAX);

/// What is going on about an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    /// It is found out whether anybody has it; so many questions are still to be asked.
    Probe(u8),
    /// Stations are told of it, so many times more.
    Announce(u8),
    /// Another one has it: the gateway must not use it.
    Taken,
}

/// All that is going on.
#[derive(Debug, Default)]
pub(super) struct Own {
    tasks: BTreeMap<Key, (Nanos, Task)>,
    deadlines: BTreeSet<(Nanos, Key)>,
    defended: HashMap<Key, Nanos>,
}

impl Own {
    /// Whether the gateway must not use the address: it is not known yet whether anybody else has it, or somebody has.
    pub(super) fn is_tentative(&self, key: Key) -> bool {
        matches!(self.tasks.get(&key), Some((_, Task::Probe(_) | Task::Taken)))
    }

    pub(super) fn first_due(&self) -> Option<(Nanos, Key)> {
        self.deadlines.first().copied()
    }

    fn set(&mut self, key: Key, due: Nanos, task: Task) {
        self.remove(key);
        self.tasks.insert(key, (due, task));
        if due != NEVER {
            self.deadlines.insert((due, key));
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some((due, _)) = self.tasks.remove(&key) {
            self.deadlines.remove(&(due, key));
        }
    }

    /// Something is to be said again after a while, if it is not said often enough.
    fn again(&mut self, key: Key, now: Nanos, task: Task) {
        match task {
            Task::Announce(0) => self.remove(key),
            _ => self.set(key, now + BETWEEN_ANNOUNCEMENTS, task),
        }
    }

    /// Nothing is to be done any more about addresses of which `is_ours` does not hold, which is told whether it is being found out
    /// if anybody has them.
    pub(super) fn retain(&mut self, is_ours: impl Fn(Key, bool) -> bool) {
        let is_gone = |(key, (_, task)): (&Key, &(Nanos, Task))| {
            (!is_ours(*key, matches!(task, Task::Probe(_)))).then_some(*key)
        };
        let gone: Vec<Key> = self.tasks.iter().filter_map(is_gone).collect();
        gone.into_iter().for_each(|key| self.remove(key));
        self.defended.retain(|key, _| is_ours(*key, false));
    }

    /// Stations are to be told of an address.
    pub(super) fn announce(&mut self, key: Key, now: Nanos) {
        self.set(key, now, Task::Announce(ANNOUNCEMENTS));
    }

    /// Whether an address may be defended now; counts it if so.
    fn may_defend(&mut self, key: Key, now: Nanos) -> bool {
        let last = self.defended.get(&key);
        let may = last.is_none_or(|last| now >= *last + DEFEND_INTERVAL);
        if may {
            self.defended.insert(key, now);
        }
        may
    }
}

impl Gateway {
    /// Finds out whether any station of `network` has `address` before the gateway uses it (RFC 5227, 2.1; RFC 4862, 5.4). Until
    /// an [`Output::Probed`] tells that nobody has it, the gateway does not answer for it, nor speaks with it. An address that is
    /// none of the interface's own can be probed for at uplinks, whose stations answer to the gateway alone; if somebody has one
    /// that is, the caller takes it off there, or probes again.
    pub fn probe(&mut self, network: NetworkIndex, address: Address, now: Nanos) {
        let probes = if address.is_v4() { PROBES_V4 } else { PROBES_V6 };
        let due = now + self.random.below(PROBE_WAIT);
        self.own.set((network, address), due, Task::Probe(probes));
    }

    /// What is to be done about an address of the gateway's at its time.
    pub(super) fn attend(&mut self, key: Key, now: Nanos) {
        let Some((_, task)) = self.own.tasks.get(&key).copied() else { return };
        let (network, address) = key;
        let routing = Arc::clone(&self.routing);
        let Some(interface) = routing.interface(network) else { return self.own.remove(key) };
        let mac = interface.mac;
        match task {
            Task::Probe(0) => {
                self.outputs.push_back(Output::Probed { network, address, taken_by: None });
                if interface.has(address) {
                    self.own.announce(key, now);
                } else {
                    // It is announced when it is the gateway's.
                    self.own.remove(key);
                }
            }
            Task::Probe(left) => {
                self.send(network, if address.is_v4() { arp::probe } else { discovery::probe }(mac, address));
                let after = self.after_probe(address, left);
                self.own.set(key, now + after, Task::Probe(left - 1));
            }
            Task::Taken => self.own.set(key, NEVER, task),
            Task::Announce(left) => {
                if interface.is_outside && address.is_v4() {
                    // Nobody answers an announcement; who has the address answers this.
                    self.send(network, arp::probe(mac, address));
                }
                self.send(network, announcement(mac, address));
                self.own.again(key, now, Task::Announce(left.saturating_sub(1)));
            }
        }
    }

    fn after_probe(&mut self, address: Address, left: u8) -> Nanos {
        match (address.is_v4(), left) {
            (false, _) => AFTER_PROBES_V6,
            (true, 1) => AFTER_PROBES_V4,
            // From 1 to 2 s: the middle, and as much as a third more or less.
            (true, _) => {
                BETWEEN_PROBES - Nanos::from_millis(500) + self.random.below(Nanos::from_millis(1000))
            }
        }
    }

    /// A station claims an address of the gateway's.
    pub(super) fn claimed(&mut self, offered: &Offered<'_>, address: Address, mac: MacAddress, now: Nanos) {
        let Offered { port, network, .. } = *offered;
        let key = (network, address);
        let Some(interface) = self.routing.interface(network) else { return };
        let (own, is_own) = (interface.mac, interface.has(address));
        if mac == own {
            // An echo of what the gateway sent.
            return;
        }
        match self.own.tasks.get(&key) {
            Some((_, Task::Taken)) => return,
            Some((_, Task::Probe(_))) => {
                if is_own {
                    self.own.set(key, NEVER, Task::Taken);
                } else {
                    self.own.remove(key);
                }
                return self.outputs.push_back(Output::Probed { network, address, taken_by: Some(mac) });
            }
            _ => {}
        }
        if self.own.may_defend(key, now) {
            self.outputs.push_back(Output::Conflict { port, network, address, mac });
            self.send(network, announcement(own, address));
        }
    }

    pub(super) fn send(&mut self, network: NetworkIndex, frame: Vec<u8>) {
        self.outputs.push_back(Output::Send { network, frame });
    }

    /// Drops a message that contradicts itself or the network.
    pub(super) fn reject(&mut self, offered: &Offered<'_>) {
        self.drop(offered, DropReason::GatewayBadMessage);
    }
}

/// Tells all stations of an address.
fn announcement(mac: MacAddress, address: Address) -> Vec<u8> {
    if address.is_v4() {
        arp::announcement(mac, address)
    } else {
        discovery::advertisement(mac, address, None)
    }
}
