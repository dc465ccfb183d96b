//! Connections: which packets belong together, in both directions, and which belong to nothing.
//!
//! ```text
//! packet ─ Tuple ─ Index ──────► Entry ─ Word: the state     ─ Side: what each end of a TCP connection said
//!          zone,   two buckets,         life, flags             end, acknowledged, offered, window
//!          ends,   one line each
//!          ports                ▲
//!                               └─ Shard: free entries and timer wheel, under a lock; opening and ending only
//! ```
//!
//! One table of fixed size for all workers. A connection is one entry for both directions, found by either one's
//! [`Tuple`] through a hash that is seeded, since guests choose tuples. Looking up and following a connection takes no
//! lock: its state is one word, changed by compare-and-swap, and numbers that only move on. Opening and ending
//! takes the lock of one of a few shards for some hundred nanoseconds; both directions of a connection have the
//! same, so that two workers that see it open at once agree on one entry.
//!
//! The table is fair: each port has bounds, which fall as the table fills, and a share that is kept for it. A connection
//! that is open in both directions is never displaced; one that is not (or is over) only by its own port, or by one that has
//! fewer. So who floods displaces himself.
//!
//! What holds for a packet is asked with [`Conntrack::look_up`], which changes nothing; once the packet passes,
//! [`Conntrack::open`] or [`Conntrack::track`] takes note of it. Who has a whole burst of packets has
//! [`Conntrack::look_ahead`] fetch what their look-ups will read.

mod ahead;
mod displace;
mod entry;
mod index;
mod judged;
mod list;
mod live;
mod open;
mod reasons;
mod record;
mod shard;
mod state;
mod tcp;
pub mod timeouts;
mod track;
mod tuple;

pub use ahead::Hint;
pub use judged::Judged;
pub(crate) use judged::{Vouched, Vouching};
pub use list::{Connection, Filter, Page};
pub(crate) use open::Path;
pub use reasons::{CountersSnapshot, Invalid, Refused};
pub use record::{Extent, NotRestored, Record};
pub use state::State;
pub use tuple::Tuple;

use std::sync::{Mutex, OnceLock};

use atomic::{AtomicU32, Ordering::Relaxed};

use crate::counters::count;
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::nat::Mappings;
use crate::packet::{Packet, Tcp, Transport};
use crate::time::Nanos;
use entry::{Back, Ended, Entry, Front};
use index::Index;
use reasons::{Counters, Turnover};
use shard::Shard;
use state::Word;
use tcp::{Effect, Segment};
use tuple::Kind;

/// The types that entries are made of; the tests have loom's in their place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

const _: () = assert!(size_of::<Front>() == 64 && size_of::<Back>() == 40);

/// How large the table may grow, and what it takes for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections that the table has room for, at most 4,194,304; each takes 127 bytes. They are split among
    /// sixteen parts by their hash, one of which may be full a little sooner than another.
    pub connections: usize,
    /// Connections that one port may have opened.
    pub per_port: usize,
    /// Connections that one port may have opened and that are not open in both directions.
    pub embryonic_per_port: usize,
    /// Whether a TCP connection may be taken up in its midst, which leaves its windows unchecked. Not by default: any
    /// segment would open one.
    pub may_take_up: bool,
}

impl Limits {
    /// 262,144 connections: 32 MiB.
    pub const DEFAULT: Self = Self::of(1 << 18);

    /// A table for this many connections, of which one port may have opened a quarter, and a sixteenth that nobody answered.
    #[must_use]
    pub const fn of(connections: usize) -> Self {
        let connections = if connections < 16 { 16 } else { connections };
        let (per_port, embryonic_per_port) = (connections / 4, connections / 16);
        Self { connections, per_port, embryonic_per_port, may_take_up: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Direction {
    /// That of the packet that opened it.
    Original = 0,
    /// The other one.
    Reply = 1,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    #[inline]
    pub fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// Names a connection for as long as it lives: once it ended, nothing that took its place is mistaken for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    entry: u32,
    life: u32,
}

impl ConnectionId {
    /// The name as a number: in its lower half the place in the table, in its upper half which connection of that place.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.entry)
    }
}

/// A connection, and the direction in which a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    /// The connection.
    pub id: ConnectionId,
    /// The packet's direction.
    pub direction: Direction,
}

impl Reference {
    /// The same connection in the other direction.
    fn turned(self) -> Self {
        Self { direction: self.direction.other(), ..self }
    }
}

/// What a packet is to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may open a connection: of none that is known.
    New,
    /// It belongs to this connection.
    Established(Reference),
    /// It is an ICMP error about a packet of this connection, and goes in this direction.
    Related(Reference),
    /// It is nothing that may pass.
    Invalid(Invalid),
    /// It is of a kind that has no connections: neighbour discovery, membership messages and such.
    Untracked,
}

/// The table.
#[derive(Debug)]
pub struct Conntrack {
    index: Index,
    fronts: Box<[Front]>,
    backs: Box<[Back]>,
    shards: Box<[Mutex<Shard>]>,
    /// Connections that each port holds, and those of them that are not open in both directions.
    held: Box<[Held]>,
    hasher: foldhash::quality::FixedState,
    limits: Limits,
    /// Among how many ports the reserve is shared; 0: there is none.
    ports: AtomicU32,
    counters: Counters,
    /// For each shard.
    turnover: Box<[Turnover]>,
    /// Made when the first connection may be translated.
    mappings: OnceLock<Mappings>,
}

/// What a port holds.
#[derive(Debug, Default)]
struct Held {
    all: AtomicU32,
    embryonic: AtomicU32,
}

impl Conntrack {
    /// An empty table; takes all its memory. `seed` must be random and secret.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        let entries = limits.connections.clamp(1, index::ENTRIES_MAX);
        let shards = Shard::split(entries);
        Self {
            index: Index::new(entries),
            fronts: std::iter::repeat_with(Front::default).take(entries).collect(),
            backs: std::iter::repeat_with(Back::default).take(entries).collect(),
            turnover: shards.iter().map(|_| Turnover::default()).collect(),
            shards: shards.into_iter().map(Mutex::new).collect(),
            held: std::iter::repeat_with(Held::default).take(PORTS_MAX).collect(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            limits: Limits { connections: entries, ..limits },
            ports: AtomicU32::new(0),
            counters: Counters::default(),
            mappings: OnceLock::new(),
        }
    }

    /// Says how many ports there are. From now on a sixteenth of the table is kept for them, in equal shares: a port that
    /// holds less than its share of that always finds room, and what one may hold beyond it is no more than what is free. Until
    /// it is said, who comes first may take all up to the limits.
    pub fn set_ports(&self, ports: usize) {
        self.ports.store(u32::try_from(ports.clamp(1, PORTS_MAX)).unwrap_or(1), Relaxed);
    }

    /// What `packet` of network `zone` is. Changes nothing.
    #[must_use]
    #[inline]
    pub fn look_up(&self, zone: NetworkIndex, packet: &Packet, now: Nanos) -> Verdict {
        let now_s = now.seconds();
        let find = |tuple: &Tuple| self.find(tuple, now_s);
        self.try_look_up(zone, packet, find).unwrap_or_else(Verdict::Invalid)
    }

    /// The same for a packet whose [`Conntrack::hint`] is known. It need not be right: the verdict is the same.
    #[must_use]
    #[inline]
    pub fn look_up_hinted(&self, zone: NetworkIndex, packet: &Packet, hint: Hint, now: Nanos) -> Verdict {
        let now_s = now.seconds();
        let hinted = |tuple: &Tuple| hint.candidate.and_then(|candidate| self.is_at(candidate, tuple, now_s));
        let find = |tuple: &Tuple| hinted(tuple).or_else(|| self.find(tuple, now_s));
        self.try_look_up(zone, packet, find).unwrap_or_else(Verdict::Invalid)
    }

    #[inline]
    fn try_look_up(
        &self,
        zone: NetworkIndex,
        packet: &Packet,
        find: impl Fn(&Tuple) -> Option<(Reference, Word)>,
    ) -> Result<Verdict, Invalid> {
        match Tuple::of(zone, packet)? {
            Kind::Untracked => Ok(Verdict::Untracked),
            Kind::Error(tuple, sequence) => {
                // Where the quoted packet left for this network, by a router, its answers tell it.
                let left = || find(&tuple.reversed()).map(|(answer, word)| (answer.turned(), word));
                self.look_up_error(find(&tuple).or_else(left), sequence)
            }
            Kind::Reply(tuple) => match find(&tuple) {
                Some((found, _)) => Ok(Verdict::Established(found)),
                None => Err(Invalid::UnsolicitedReply),
            },
            Kind::Flow(tuple) => match (find(&tuple), &packet.transport) {
                (None, Transport::Tcp(tcp)) => {
                    tcp::opens(tcp, self.limits.may_take_up).map(|()| Verdict::New)
                }
                (None, _) => Ok(Verdict::New),
                (Some((_, word)), Transport::Tcp(tcp)) if word.is_spent() && tcp::is_first(tcp) => {
                    Ok(Verdict::New)
                }
                (Some((found, word)), Transport::Tcp(tcp)) => {
                    self.segment(found, word, tcp, packet.fragment.is_some()).judge()?;
                    Ok(Verdict::Established(found))
                }
                (Some((found, _)), _) => Ok(Verdict::Established(found)),
            },
        }
    }

    fn look_up_error(
        &self,
        quoted: Option<(Reference, Word)>,
        sequence: Option<u32>,
    ) -> Result<Verdict, Invalid> {
        let (quoted, word) = quoted.ok_or(Invalid::UnknownQuote)?;
        let is_true = sequence.is_none_or(|sequence| {
            tcp::is_outstanding(self.entry(quoted.id.entry), word, quoted.direction, sequence)
        });
        // The error goes to who sent the packet.
        if is_true { Ok(Verdict::Related(quoted.turned())) } else { Err(Invalid::ForgedQuote) }
    }

    #[inline]
    fn entry(&self, entry: u32) -> Entry<'_> {
        Entry { front: &self.fronts[entry as usize], back: &self.backs[entry as usize] }
    }

    /// The live connection to which packets of `tuple` belong, and its state.
    #[inline]
    fn find(&self, tuple: &Tuple, now_s: u32) -> Option<(Reference, Word)> {
        let place = self.index.place(tuple.hash(&self.hasher));
        self.index.candidates(place).find_map(|candidate| self.is_at(candidate, tuple, now_s))
    }

    /// The connection of `tuple`, if it lives in this entry.
    #[inline]
    fn is_at(&self, candidate: (u32, Direction), tuple: &Tuple, now_s: u32) -> Option<(Reference, Word)> {
        let (number, direction) = candidate;
        let entry = self.entry(number);
        let word = entry.holding(direction, tuple).filter(|word| !entry.back.is_over(*word, now_s))?;
        let id = ConnectionId { entry: number, life: word.life() };
        Some((Reference { id, direction }, word))
    }

    /// By which generation of the policy the connection was judged last; `None`: it has ended.
    #[must_use]
    #[inline]
    pub fn policy_generation(&self, id: ConnectionId) -> Option<u32> {
        let back = self.backs.get(id.entry as usize)?;
        let word = back.word();
        let generation = back.generation.load(Relaxed);
        (word.life() == id.life && back.is_still(word)).then_some(generation)
    }

    /// Notes that the connection was judged by this generation of the policy and may go on. Who is late, and marks a
    /// successor in the same place, marks one that was judged by its opener a moment ago.
    #[inline]
    pub fn set_policy_generation(&self, id: ConnectionId, generation: u32) {
        if let Some(back) = self.backs.get(id.entry as usize)
            && back.word().life() == id.life
        {
            back.generation.store(generation, Relaxed);
        }
    }

    /// How many connections `port` holds, and how many of them are not open in both directions.
    #[must_use]
    pub fn held(&self, port: PortIndex) -> (usize, usize) {
        let held = &self.held[port.get()];
        (held.all.load(Relaxed) as usize, held.embryonic.load(Relaxed) as usize)
    }

    /// The mappings by which connections are translated, as many as there may be connections; made by the first call.
    /// `seed` must be random and secret.
    pub(crate) fn make_mappings(&self, seed: u64) -> &Mappings {
        self.mappings.get_or_init(|| Mappings::new(self.limits.connections, seed))
    }

    /// The mappings by which connections are translated; `None`: none are.
    #[must_use]
    #[inline]
    pub fn mappings(&self) -> Option<&Mappings> {
        self.mappings.get()
    }

    /// The packets of both directions of a connection as they come in; `None`: it has ended.
    #[must_use]
    #[inline]
    pub(crate) fn tuples(&self, id: ConnectionId) -> Option<[Tuple; 2]> {
        let (front, back) = (self.fronts.get(id.entry as usize)?, self.backs.get(id.entry as usize)?);
        let word = back.word();
        let tuples = [front.tuple(Direction::Original)?, front.tuple(Direction::Reply)?];
        (word.is_live() && word.life() == id.life && back.is_still(word)).then_some(tuples)
    }

    /// What the table did since it was made.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot(&self.turnover)
    }

    /// The memory that the table takes, in bytes: all of it, for it never grows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let shards: usize = self.shards.iter().map(|shard| shard::lock(shard).bytes()).sum();
        self.index.bytes()
            + size_of_val(&*self.fronts)
            + size_of_val(&*self.backs)
            + size_of_val(&*self.held)
            + size_of_val(&*self.turnover)
            + shards
    }
}

#[cfg(test)]
mod tests;
