//! The client that gets an uplink its address (RFC 2131, 4.4).
//!
//! ```text
//!   Down -- link_up --> Waiting -----> Selecting -- OFFER --> Requesting -- ACK --> Probing -- free --> Bound
//!             |            ^              |  ^                    |                    |                 |  T1
//!             | a lease    |              |  +---- no answer -----+                    | in use          v
//!             v is kept    +---- NAK -----+----------------- DECLINE, 10 s <-----------+             Renewing
//!         Rebooting -- ACK -> Probing     no server, a lease is kept -> Probing                          |  T2
//!                                                                                                        v
//!                        Waiting <------------------------ NAK, the lease ends ---------------------- Rebinding
//! ```
//!
//! The caller sends what [`Client::next_message`] gives, probes for addresses by ARP (RFC 5227, 2.1) when
//! [`ClientEvent::Probe`] asks for it, uses what [`ClientEvent::Configured`] says, and keeps it for the next start.

mod answers;
mod counters;
mod lease;
mod message;
mod state;

use std::collections::VecDeque;

pub use counters::ClientCounters;
pub use lease::Lease;
pub use message::Outgoing;
pub use state::{ClientEvent, ClientSettings, ClientState};

use crate::random::Random;
use crate::time::Nanos;
use message::Request;

const SECOND_NS: u64 = 1_000_000_000;

/// The first wait for an answer, and the longest (RFC 2131, 4.1); each is twice the one before, and up to a second more or
/// less.
const WAIT_FIRST_S: u64 = 4;
const WAIT_MAX_S: u64 = 64;

/// How often a request is sent before the client begins anew.
const REQUESTS: u32 = 4;

/// How often the lease of before is asked for.
const REBOOTS: u32 = 2;

/// How many times servers are looked for before a lease of before that has not ended is used without one (RFC 2131, 3.2).
const DISCOVERS: u32 = 3;

/// How long to wait after an address turned out to be in use (RFC 2131, 3.1, 5.).
const DECLINED_S: u64 = 10;

/// The shortest wait between requests to go on with a lease (RFC 2131, 4.4.5).
const RENEW_WAIT_MIN_S: u64 = 60;

/// How long the caller may take to probe for an address; after that it counts as free (RFC 5227, 1.1: it takes 5 to 7 s).
const PROBE_MAX_S: u64 = 15;

/// A client on one interface.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    random: Random,
    state: ClientState,
    xid: u32,
    /// When the exchange began, which the field `secs` counts from.
    started: Nanos,
    /// When the last message was sent: what a lease's time counts from.
    asked: Nanos,
    attempt: u32,
    next: Option<Nanos>,
    /// What is asked for or probed for.
    wanted: Option<Lease>,
    /// What was lent last, until it ends.
    lease: Option<Lease>,
    is_configured: bool,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<ClientEvent>,
    counters: ClientCounters,
}

impl Client {
    /// A client without a link. `kept` is what was lent before, and `seed` comes from a good source of randomness.
    #[must_use]
    pub fn new(settings: ClientSettings, kept: Option<Lease>, seed: u64) -> Self {
        Self {
            settings,
            random: Random::new(seed),
            state: ClientState::Down,
            xid: 0,
            started: Nanos(0),
            asked: Nanos(0),
            attempt: 0,
            next: None,
            wanted: None,
            lease: kept,
            is_configured: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            counters: ClientCounters::default(),
        }
    }

    /// Uses the lease of before at once, while its server is asked: for a process that was away for so short a time that its
    /// address is still its own. Who refuses it is obeyed.
    pub fn resume(&mut self, now: Nanos) {
        if let Some(kept) = self.lease.clone().filter(|kept| now < kept.until && !self.is_configured) {
            self.is_configured = true;
            self.events.push_back(ClientEvent::Configured(kept));
        }
    }

    /// There is a link: a lease that has not ended is asked for, else any.
    pub fn link_up(&mut self, now: Nanos) {
        self.advance(now);
        match self.lease.clone() {
            Some(kept) => self.reboot(now, kept),
            None => self.wait(now, 0, 1),
        }
    }

    /// There is none. What was configured stays so until the lease ends: the link may come back.
    pub fn link_down(&mut self) {
        self.state = ClientState::Down;
        self.outgoing.clear();
        self.wanted = None;
        self.next = None;
    }

    /// Gives the address back, and does no more until the link comes again.
    pub fn release(&mut self, now: Nanos) {
        let lent = self.lease.take().filter(|_| self.is_configured);
        self.link_down();
        if let Some(lease) = lent {
            self.begin(now);
            self.send(now, &Request::Release(&lease));
            self.is_configured = false;
            self.events.push_back(ClientEvent::Lost(lease.address));
        }
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: Nanos) {
        if self.lease.as_ref().is_some_and(|lease| lease.until <= now) {
            self.expire(now);
        }
        if self.next.is_some_and(|next| next <= now) {
            self.next = None;
            self.act(now);
        }
    }

    /// When [`Client::advance`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let end = self.lease.as_ref().map(|lease| lease.until);
        self.next.into_iter().chain(end).min()
    }

    /// The next message to be sent.
    pub fn next_message(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// The next thing to be done.
    pub fn next_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Where the client stands.
    #[must_use]
    pub fn state(&self) -> ClientState {
        self.state
    }

    /// What is in use.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().filter(|_| self.is_configured)
    }

    /// What happened.
    #[must_use]
    pub fn counters(&self) -> ClientCounters {
        self.counters
    }

    /// Takes a frame that came by the interface.
    pub fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.advance(now);
        match self.accept(frame) {
            Ok(Some((message, kind))) => self.hear(now, &message, kind),
            Ok(None) => self.counters.ignored += 1,
            Err(_) => self.counters.malformed += 1,
        }
    }

    /// Tells what [`ClientEvent::Probe`] asked: whether somebody uses the address.
    pub fn probed(&mut self, now: Nanos, is_in_use: bool) {
        if self.state != ClientState::Probing {
            return;
        }
        let Some(lease) = self.wanted.take() else { return };
        if is_in_use { self.decline(now, lease) } else { self.configure(now, lease) }
    }

    /// Tells that somebody else uses our address, and that it cannot be defended (RFC 5227, 2.4).
    pub fn conflict(&mut self, now: Nanos) {
        if self.is_configured
            && let Some(lease) = self.lease.take()
        {
            self.is_configured = false;
            self.events.push_back(ClientEvent::Lost(lease.address));
            self.decline(now, lease);
        }
    }

    fn is_extending(&self) -> bool {
        matches!(self.state, ClientState::Renewing | ClientState::Rebinding)
    }

    /// Does what the state has to do when its wait is over.
    fn act(&mut self, now: Nanos) {
        match self.state {
            ClientState::Down => {}
            ClientState::Waiting => {
                self.begin(now);
                self.state = ClientState::Selecting;
                self.discover(now);
            }
            ClientState::Selecting => self.discover(now),
            ClientState::Requesting => self.request(now),
            ClientState::Rebooting => self.ask_for_kept(now),
            ClientState::Probing => self.probed(now, false),
            ClientState::Bound => {
                self.begin(now);
                self.state = ClientState::Renewing;
                self.extend(now);
            }
            ClientState::Renewing | ClientState::Rebinding => self.extend(now),
        }
    }

    fn discover(&mut self, now: Nanos) {
        if self.attempt >= DISCOVERS
            && let Some(kept) = self.lease.clone()
        {
            return self.probe(now, kept);
        }
        let kept = self.lease.as_ref().map(|lease| lease.address);
        self.send(now, &Request::Discover(kept));
        self.next = Some(self.backoff(now));
    }

    fn request(&mut self, now: Nanos) {
        let Some(offer) = self.wanted.clone().filter(|_| self.attempt < REQUESTS) else {
            return self.wait(now, 0, 1);
        };
        self.send(now, &Request::Select(&offer));
        self.next = Some(self.backoff(now));
    }

    fn reboot(&mut self, now: Nanos, kept: Lease) {
        self.begin(now);
        self.state = ClientState::Rebooting;
        self.wanted = Some(kept);
        self.ask_for_kept(now);
    }

    fn ask_for_kept(&mut self, now: Nanos) {
        let Some(kept) = self.wanted.clone().filter(|_| self.attempt < REBOOTS) else {
            self.begin(now);
            self.state = ClientState::Selecting;
            return self.discover(now);
        };
        self.send(now, &Request::Reboot(&kept));
        self.next = Some(self.backoff(now));
    }

    /// Asks to go on with the lease: its server until T2, then all, each time after half of what is left, and a minute at
    /// least (RFC 2131, 4.4.5).
    fn extend(&mut self, now: Nanos) {
        let Some(lease) = self.lease.clone() else { return self.wait(now, 0, 1) };
        if now >= lease.rebind_at && self.state == ClientState::Renewing {
            self.begin(now);
            self.state = ClientState::Rebinding;
        }
        let (request, limit) = match self.state {
            ClientState::Renewing => (Request::Renew(&lease), lease.rebind_at),
            _ => (Request::Rebind(&lease), lease.until),
        };
        self.send(now, &request);
        let half = limit.0.saturating_sub(now.0) / 2;
        let wait = half.max(RENEW_WAIT_MIN_S * SECOND_NS);
        self.next = Some(Nanos(now.0.saturating_add(wait).min(limit.0)));
    }

    fn probe(&mut self, now: Nanos, lease: Lease) {
        if self.is_configured && self.lease.as_ref().is_some_and(|own| own.address == lease.address) {
            return self.configure(now, lease);
        }
        self.events.push_back(ClientEvent::Probe(lease.address));
        self.state = ClientState::Probing;
        self.wanted = Some(lease);
        self.next = Some(Nanos(now.0.saturating_add(PROBE_MAX_S * SECOND_NS)));
    }

    /// Uses the lease. It is renewed a second later at the earliest: a short one may be due when probing for its address ends,
    /// and the request to go on with it leaves by that address, which the caller has to configure first.
    fn configure(&mut self, now: Nanos, lease: Lease) {
        self.state = ClientState::Bound;
        self.next = Some(lease.renew_at.max(now + Nanos::from_seconds(1)));
        self.wanted = None;
        self.is_configured = true;
        self.events.push_back(ClientEvent::Configured(lease.clone()));
        self.lease = Some(lease);
    }

    fn decline(&mut self, now: Nanos, lease: Lease) {
        self.counters.declined += 1;
        self.begin(now);
        self.send(now, &Request::Decline(&lease));
        self.lease = None;
        self.wait(now, DECLINED_S, 1);
    }

    fn expire(&mut self, now: Nanos) {
        self.counters.expired += 1;
        self.lose();
        if self.state != ClientState::Down {
            self.wait(now, 0, 1);
        }
    }

    /// Nothing of what was lent counts any more.
    fn lose(&mut self) {
        let lost = self.lease.take().filter(|_| self.is_configured);
        self.is_configured = false;
        self.events.extend(lost.map(|lease| ClientEvent::Lost(lease.address)));
    }

    /// Begins anew after `least_s` and up to `more_s` seconds more, so that many do not begin at once (RFC 2131, 4.4.1).
    fn wait(&mut self, now: Nanos, least_s: u64, more_s: u64) {
        self.state = ClientState::Waiting;
        self.wanted = None;
        let wait = least_s * SECOND_NS + self.random.below(more_s * SECOND_NS);
        self.next = Some(Nanos(now.0.saturating_add(wait)));
    }

    /// A new exchange.
    fn begin(&mut self, now: Nanos) {
        self.xid = self.random.next_u32();
        self.started = now;
        self.attempt = 0;
    }

    /// When to send again (RFC 2131, 4.1).
    fn backoff(&mut self, now: Nanos) -> Nanos {
        let wait_s = (WAIT_FIRST_S << (self.attempt - 1).min(8)).min(WAIT_MAX_S);
        let jitter = self.random.below(2 * SECOND_NS);
        Nanos(now.0.saturating_add((wait_s - 1) * SECOND_NS + jitter))
    }

    fn send(&mut self, now: Nanos, request: &Request<'_>) {
        let seconds = (now.0.saturating_sub(self.started.0)) / SECOND_NS;
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        self.outgoing.push_back(message::outgoing(&self.settings, self.xid, seconds, request));
        self.counters.sent += 1;
        self.attempt += 1;
        self.asked = now;
    }
}

#[cfg(test)]
mod tests;
