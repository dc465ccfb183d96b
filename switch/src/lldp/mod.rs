//! Neighbours on uplinks: tells them who and where we are, and notes who they are (IEEE 802.1AB-2016).
//!
//! One [`Agent`] for each link: what came goes into its [`Agent::receive`], and [`Agent::next_frame`] gives what is to
//! be sent. It is told its time: call [`Agent::advance`] when [`Agent::due`] has come.

mod pdu;

pub use pdu::{
    Capabilities, Identity, LLDP_TYPE, Local, Malformed, NEAREST_BRIDGE, Neighbour, chassis, decode, encode,
    port,
};

use crate::mac::MacAddress;
use crate::time::Nanos;

/// The most neighbours that are noted for one link; a link has one, unless something between passes the frames on.
pub const NEIGHBOURS_MAX: usize = 8;

const SECOND_NS: u64 = 1_000_000_000;

/// Timing (IEEE 802.1AB-2016, 9.2.5 and table 11-2: the defaults of `msgTxInterval`, `msgTxHold`, `msgFastTx`,
/// `txFastInit`, `txCreditMax`).
const INTERVAL_S: u64 = 30;
const HOLD: u64 = 4;
const FAST_INTERVAL_S: u64 = 1;
const FAST_COUNT: u8 = 4;
const CREDIT_MAX: u8 = 5;

/// How long the neighbours remember us, in seconds (IEEE 802.1AB-2016, 9.2.5.22: `txTTL`).
pub const TTL_S: u16 = 121;
const _: () = assert!(TTL_S as u64 == INTERVAL_S * HOLD + 1);

/// What happened at a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AgentCounters {
    /// LLDPDUs that came.
    pub received: u64,
    /// LLDPDUs that were sent.
    pub sent: u64,
    /// Frames of the protocol that are wrong.
    pub malformed: u64,
    /// LLDPDUs of neighbours for which there was no room.
    pub refused: u64,
    /// Neighbours that were not heard of in time.
    pub expired: u64,
}

/// A neighbour, and until when it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it said last.
    pub neighbour: Neighbour,
    /// The moment at which it counts as gone.
    pub until: Nanos,
}

/// The protocol on one link.
#[derive(Debug)]
pub struct Agent {
    local: Local,
    source: MacAddress,
    enabled: bool,
    neighbours: Vec<Entry>,
    counters: AgentCounters,
    next: Nanos,
    /// LLDPDUs that are still to come quickly, since there is somebody new.
    fast: u8,
    /// LLDPDUs that may be sent at once; one more each second.
    credit: u8,
    credit_grows: Nanos,
    is_needed: bool,
    says_goodbye: bool,
    now: Nanos,
}

impl Agent {
    /// The protocol on a link with this address, which has no carrier yet.
    #[must_use]
    pub fn new(local: Local, source: MacAddress, now: Nanos) -> Self {
        Self {
            local,
            source,
            enabled: false,
            neighbours: Vec::new(),
            counters: AgentCounters::default(),
            next: now,
            fast: 0,
            credit: CREDIT_MAX,
            credit_grows: now,
            is_needed: false,
            says_goodbye: false,
            now,
        }
    }

    /// The link has carrier now, or has none. Neighbours of a dead link are gone (IEEE 802.1AB-2016, 9.2.9).
    pub fn set_carrier(&mut self, carrier: bool, now: Nanos) {
        if carrier != self.enabled {
            self.enabled = carrier;
            self.neighbours.clear();
            self.fast = FAST_COUNT;
            self.next = now;
            self.is_needed = false;
        }
        self.advance(now);
    }

    /// The protocol ends on this link: the next frame tells neighbours to forget us (IEEE 802.1AB-2016, 9.1.2.2).
    pub fn shut_down(&mut self) {
        self.says_goodbye = self.enabled;
    }

    /// A frame of the protocol came in by this link.
    pub fn receive(&mut self, frame: &[u8], now: Nanos) {
        self.advance(now);
        match decode(frame) {
            Ok(neighbour) => self.note(neighbour),
            Err(_) => self.counters.malformed += 1,
        }
    }

    fn note(&mut self, neighbour: Neighbour) {
        self.counters.received += 1;
        let is_same = |entry: &Entry| {
            (&entry.neighbour.chassis, &entry.neighbour.port) == (&neighbour.chassis, &neighbour.port)
        };
        let known = self.neighbours.iter().position(is_same);
        let until = Nanos(self.now.0.saturating_add(u64::from(neighbour.ttl_s) * SECOND_NS));
        let entry = Entry { neighbour, until };
        match known {
            // Time to live 0: it is leaving.
            Some(at) if entry.neighbour.ttl_s == 0 => drop(self.neighbours.remove(at)),
            Some(at) => self.neighbours[at] = entry,
            None if entry.neighbour.ttl_s == 0 => {}
            None if self.neighbours.len() >= NEIGHBOURS_MAX => self.counters.refused += 1,
            None => {
                self.neighbours.push(entry);
                self.hasten();
            }
        }
    }

    /// Somebody new is to know of us soon (IEEE 802.1AB-2016, 9.2.5.20: `txFast`).
    fn hasten(&mut self) {
        if self.fast == 0 {
            self.fast = FAST_COUNT;
            self.next = self.next.min(Nanos(self.now.0.saturating_add(FAST_INTERVAL_S * SECOND_NS)));
        }
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        let now = self.now;
        let before = self.neighbours.len();
        self.neighbours.retain(|entry| now < entry.until);
        self.counters.expired += (before - self.neighbours.len()) as u64;
        if now >= self.credit_grows {
            let seconds = (now.0 - self.credit_grows.0) / SECOND_NS + 1;
            let credit = u64::from(self.credit).saturating_add(seconds).min(u64::from(CREDIT_MAX));
            self.credit = u8::try_from(credit).unwrap_or(CREDIT_MAX);
            self.credit_grows = Nanos(self.credit_grows.0.saturating_add(seconds.saturating_mul(SECOND_NS)));
        }
        if self.enabled && now >= self.next {
            self.is_needed = true;
            self.fast = self.fast.saturating_sub(1);
            let interval_s = if self.fast > 0 { FAST_INTERVAL_S } else { INTERVAL_S };
            self.next = Nanos(now.0.saturating_add(interval_s * SECOND_NS));
        }
    }

    /// When [`Agent::advance`] has to be called.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let expiry = self.neighbours.iter().map(|entry| entry.until).min();
        let credit = (self.is_needed && self.credit == 0).then_some(self.credit_grows);
        [self.enabled.then_some(self.next), expiry, credit].into_iter().flatten().min()
    }

    /// The next frame to send.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.says_goodbye) {
            self.enabled = false;
            self.is_needed = false;
            return Some(encode(&self.local, self.source, 0));
        }
        if !self.is_needed || self.credit == 0 {
            return None;
        }
        self.is_needed = false;
        self.credit -= 1;
        self.counters.sent += 1;
        Some(encode(&self.local, self.source, TTL_S))
    }

    /// Who is at the other end.
    #[must_use]
    pub fn neighbours(&self) -> &[Entry] {
        &self.neighbours
    }

    /// What happened.
    #[must_use]
    pub fn counters(&self) -> AgentCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
