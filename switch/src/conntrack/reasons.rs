//! Why a packet is no packet of a connection, and why a connection was not opened: each with a name and a counter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! reasons {
    ($(#[$doc:meta])* $kind:ident: $($variant:ident $name:literal $sentence:literal)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        #[repr(u8)]
        pub enum $kind { $(#[doc = $sentence] #[error($sentence)] $variant),* }

        impl $kind {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reason's name in tables, JSON and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

reasons! {
    /// Why a packet is neither one of a connection nor one that may open one.
    Invalid:
    NotSyn "ct-not-syn" "The TCP segment belongs to no connection and is no SYN that could open one."
    BadFlags "ct-bad-flags" "The TCP segment has flags that no segment may have together."
    SequenceAhead "ct-sequence-ahead" "The TCP segment begins beyond the window that its receiver offered."
    SequenceBehind "ct-sequence-behind" "The TCP segment ends more than a window before what its sender sent already."
    AckAhead "ct-ack-ahead" "The TCP segment acknowledges what was never sent."
    AckBehind "ct-ack-behind" "The TCP segment acknowledges less than its sender's window allows to be outstanding."
    ResetOutside "ct-reset-outside" "The TCP reset lies outside of its receiver's window."
    StraySyn "ct-stray-syn" "The TCP SYN comes from the side that did not open the connection, or answers none."
    UnsolicitedReply "ct-unsolicited-reply" "The ICMP reply answers no request."
    UnknownQuote "ct-unknown-quote" "The ICMP error is about a packet of no connection."
    ForgedQuote "ct-forged-quote" "The ICMP error quotes a packet that its receiver cannot have sent just now, or that was not for who reports it."
    LaterFragment "ct-later-fragment" "The fragment has no transport header: what holds is the verdict about the first one."
    Gone "ct-gone" "The connection has ended."
}

reasons! {
    /// Why a connection was not opened.
    Refused:
    NotNew "ct-not-new" "The packet may not open a connection."
    PortFull "ct-port-full" "The port holds as many connections as one port may, and none of its own could give way."
    TableFull "ct-table-full" "What is left of the table is kept for ports that hold fewer connections, and none may be displaced by this port's."
    Crowded "ct-crowded" "Both places in the table where the connection might stand are full."
}

/// How many reasons there are for a packet to be invalid.
const INVALID: usize = Invalid::ALL.len();

/// How many reasons there are to refuse a connection.
const REFUSED: usize = Refused::ALL.len();

/// What the table did since it was made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) restored: AtomicU64,
    /// Connections that became open in both directions.
    pub(super) assured: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) evicted_of_others: AtomicU64,
    pub(super) invalid: [AtomicU64; INVALID],
    pub(super) refused: [AtomicU64; REFUSED],
}

/// What comes and goes most in a shard; written by who holds its lock alone, so that no write has to be a locked one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Turnover {
    pub(super) opened: AtomicU64,
    pub(super) evicted: AtomicU64,
}

impl Turnover {
    /// Adds one to a number that nobody else writes.
    pub(super) fn add_one(number: &AtomicU64) {
        number.store(number.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// What all shards opened, and what gave way there.
    pub(super) fn sum(all: &[Self]) -> [u64; 2] {
        all.iter().fold([0; 2], |[opened, evicted], shard| {
            [opened + shard.opened.load(Relaxed), evicted + shard.evicted.load(Relaxed)]
        })
    }
}

/// The values of the table's counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CountersSnapshot {
    /// Connections that were opened.
    pub opened: u64,
    /// Connections of an earlier table that were opened once more.
    pub restored: u64,
    /// Connections that ended because nothing was heard of them for too long.
    pub expired: u64,
    /// Connections that were closed by a caller, or gave way to their own successor.
    pub closed: u64,
    /// Connections that gave way to a new one: embryonic or ended ones only.
    pub evicted: u64,
    /// Those among them that belonged to another port than the new one.
    pub evicted_of_others: u64,
    /// Packets that [`Conntrack::track`](super::Conntrack::track) refused, in the order of [`Invalid::ALL`].
    pub invalid: [u64; INVALID],
    /// Connections that were not opened, in the order of [`Refused::ALL`].
    pub refused: [u64; REFUSED],
}

impl Counters {
    pub(super) fn snapshot(&self, turnover: &[Turnover]) -> CountersSnapshot {
        let [opened, evicted] = Turnover::sum(turnover);
        CountersSnapshot {
            opened,
            restored: self.restored.load(Relaxed),
            expired: self.expired.load(Relaxed),
            closed: self.closed.load(Relaxed),
            evicted,
            evicted_of_others: self.evicted_of_others.load(Relaxed),
            invalid: self.invalid.each_ref().map(|counter| counter.load(Relaxed)),
            refused: self.refused.each_ref().map(|counter| counter.load(Relaxed)),
        }
    }
}

impl CountersSnapshot {
    /// How many packets were refused for `reason`.
    #[must_use]
    pub fn invalid(&self, reason: Invalid) -> u64 {
        self.invalid[reason as usize]
    }

    /// How many connections were refused for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refused) -> u64 {
        self.refused[reason as usize]
    }
}
