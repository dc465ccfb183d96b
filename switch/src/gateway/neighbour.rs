//! A neighbour as the gateway knows it, and how long it is believed (RFC 4861, 7.3 and 10).

use std::collections::VecDeque;

use super::Key;
use super::held::Held;
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// How often somebody is asked for, and how often somebody known is asked whether he is still there.
pub(super) const SOLICITATIONS: u8 = 3;

/// Between two questions (RFC 4861, 10: `RETRANS_TIMER`).
pub(super) const RETRANSMIT: Nanos = Nanos::from_millis(1000);

/// For how long an answer is believed, on average (`REACHABLE_TIME`); half of it is added or taken off at random.
pub(super) const REACHABLE: Nanos = Nanos::from_millis(30_000);

/// How long after the first use of an old answer it is asked for again (`DELAY_FIRST_PROBE_TIME`).
pub(super) const DELAY: Nanos = Nanos::from_millis(5000);

/// How often it is looked whether workers use an old answer.
pub(super) const POLL: Nanos = Nanos::from_millis(5000);

/// After how many seconds without use a neighbour is forgotten.
pub(super) const UNUSED_S: u32 = 300;

/// For how long nobody is asked for again who did not answer.
pub(super) const FAILED: Nanos = Nanos::from_millis(2000);

/// Between two questions to a station whose address another one claims.
pub(super) const CHALLENGE: Nanos = Nanos::from_millis(500);

/// For how long nobody is asked again who answered when another one claimed his address.
pub(super) const GUARDED: Nanos = Nanos::from_millis(10_000);

/// What is known of a neighbour (RFC 4861, 7.3.2). ARP follows the same rules (RFC 1122, 2.3.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NeighbourState {
    /// It is asked for, and has not answered yet.
    Incomplete,
    /// It answered a short time ago.
    Reachable,
    /// It answered or told of itself, but that was long ago; nobody has used it since.
    Stale,
    /// The same, and it is used: it will be asked soon.
    Delay,
    /// It is asked whether it is still there.
    Probe,
    /// It did not answer; for a short time nobody asks again.
    Failed,
}

impl NeighbourState {
    /// Whether there is an Ethernet address that may be sent to.
    pub(super) fn is_known(self) -> bool {
        !matches!(self, Self::Incomplete | Self::Failed)
    }
}

/// A station that claims the address of another one, at another port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rival {
    pub(super) mac: MacAddress,
    pub(super) port: PortIndex,
}

/// A neighbour.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) state: NeighbourState,
    /// Meaningless in a state that is not known.
    pub(super) mac: MacAddress,
    /// The port where it was heard.
    pub(super) port: Option<PortIndex>,
    /// Since when it has been in this state.
    pub(super) since: Nanos,
    /// How many questions were asked in this state.
    pub(super) asked: u8,
    pub(super) rival: Option<Rival>,
    /// Until when claims of others are not looked at.
    pub(super) guarded_until: Nanos,
    /// Packets that wait for its answer, the oldest first.
    pub(super) held: VecDeque<Held>,
}

impl Entry {
    pub(super) fn new(key: Key, state: NeighbourState, now: Nanos) -> Self {
        Self {
            key,
            state,
            mac: MacAddress([0; 6]),
            port: None,
            since: now,
            asked: 0,
            rival: None,
            guarded_until: Nanos::default(),
            held: VecDeque::new(),
        }
    }
}
