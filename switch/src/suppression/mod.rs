//! Suppression of ARP and neighbour discovery (RFC 7348, 4.1; the way of RFC 9161): who asks for a station that is known to be on
//! another host is answered here, instead of all hosts.
//!
//! ```text
//! what came by a tunnel ── says who has an address ──> Table     (ARP; neighbour advertisements)
//! what a station here asks ── is the address in it? ── yes ──> the question becomes the answer, and goes back
//!                                                   └─ no ───> flooded, as it would be without
//! ```
//!
//! Only what stations themselves would answer is answered: questions to all for one address. Whoever asks whether an address is
//! free (probes; RFC 5227, RFC 4862) has all stations asked, since what is known here may be old. The answer is as long as the question
//! and takes its place in the private head, so that it needs no memory.

mod answer;
mod message;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::packet::{Address, Contents};
pub(crate) use answer::answer;
pub(crate) use message::{Question, Told, is_discovery};
use table::{Noted, Table};

/// How many addresses there is room for: 100,000 that are set, and as many as all tunnels may teach.
const ENTRIES: usize = 131_072;

/// What is known of stations on other hosts.
#[derive(Debug)]
pub struct Suppression {
    table: Table,
    answered: AtomicU64,
    passed: AtomicU64,
    refused: AtomicU64,
}

/// What suppression did, and what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SuppressionSnapshot {
    /// Questions that were answered here.
    pub answered: u64,
    /// Questions that were passed on: nobody here knew the answer.
    pub passed: u64,
    /// Addresses that were not noted, because there was no room.
    pub refused: u64,
    /// Addresses that are known, some of them perhaps too old to be used.
    pub learned: usize,
    /// Addresses that were set.
    pub fixed: usize,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// The station's Ethernet address.
    pub(crate) mac: MacAddress,
    /// Whether it is a router (RFC 4861, 4.4).
    pub(crate) is_router: bool,
}

impl Suppression {
    /// An empty table. `seed` must be random and unknown to guests, which choose addresses.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_room(ENTRIES, seed)
    }

    fn with_room(entries: usize, seed: u64) -> Self {
        let counter = AtomicU64::default;
        let table = Table::new(entries, seed);
        Self { table, answered: counter(), passed: counter(), refused: counter() }
    }

    /// Takes note of what a message says about its sender: of what came by a tunnel, who it is; of what came from here, that who had
    /// the address is another one now.
    pub(crate) fn hear(&self, network: NetworkIndex, told: &Told, tunnel: Option<PortIndex>, now_s: u32) {
        let key = (network, told.address);
        let Some(port) = tunnel else { return self.table.contradict(key, told.mac) };
        if self.table.learn(key, told, port, now_s) == Noted::NoRoom {
            self.refused.fetch_add(1, Relaxed);
        }
    }

    /// What a question is answered with; `None`: it is to be passed on.
    pub(crate) fn resolve(&self, network: NetworkIndex, question: &Question, now_s: u32) -> Option<Known> {
        let known = self.table.get((network, question.target), now_s);
        known.filter(|known| known.mac != question.mac)
    }

    /// Counts a question.
    pub(crate) fn count(&self, is_answered: bool) {
        let counter = if is_answered { &self.answered } else { &self.passed };
        counter.fetch_add(1, Relaxed);
    }

    /// Has it known that a station of `network` has `address` until it is told otherwise; says whether there was room.
    pub fn set(&self, network: NetworkIndex, address: Address, mac: MacAddress) -> bool {
        self.table.set((network, address), mac)
    }

    /// Forgets who has an address, whether that was set or learned.
    pub fn clear(&self, network: NetworkIndex, address: Address) {
        self.table.clear((network, address));
    }

    /// Forgets what was learned by a tunnel that is no more.
    pub fn forget_port(&self, port: PortIndex) {
        self.table.forget_port(port);
    }

    /// Forgets all of a network that is no more.
    pub fn forget_network(&self, network: NetworkIndex) {
        self.table.forget_network(network);
    }

    /// Who has an address, as it would be answered now.
    #[must_use]
    pub fn get(&self, network: NetworkIndex, address: Address, now_s: u32) -> Option<MacAddress> {
        self.table.get((network, address), now_s).map(|known| known.mac)
    }

    /// What was done, and what is known.
    #[must_use]
    pub fn snapshot(&self) -> SuppressionSnapshot {
        let (learned, fixed) = self.table.counts();
        let [answered, passed, refused] =
            [&self.answered, &self.passed, &self.refused].map(|counter| counter.load(Relaxed));
        SuppressionSnapshot { answered, passed, refused, learned, fixed }
    }
}

/// What a frame says and asks, as far as it is believed; nothing, if it is no message of ARP or neighbour discovery.
pub(crate) fn read<P>(frame: &Frame<P>, contents: &Contents) -> (Option<Told>, Option<Question>) {
    message::read(frame.head.bytes(), &frame.meta, contents)
}
