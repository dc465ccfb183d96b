//! Mappings: which address and port of an outside network stands for which station's (RFC 4787, 4.1).
//!
//! ```text
//! inside network, address, port, protocol ── Entry ── outside network, address, port
//!                 │                            │ connections that use it; when none is left, held for two minutes
//!                 └─ Guest: its outside address, how many mappings it has
//!                                              └─ Contact: a peer's address, and how many connections go there
//! ```
//!
//! Mappings live beside the connections that use them, and as long as one of these does: a mapping counts its connections,
//! which give it back when they end. Then its port is held for [`HOLD_S`], during which only the same station's port gets
//! it again. All tables are of fixed size (`chained`); nothing is allocated after they are made, but the ports of an
//! address that is new in the policy. One lock guards them, taken when a connection opens or ends, never by a packet of an
//! open one.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ahead::Opener;
use super::compiled::Source;
use super::settings::FilteringBehavior;
use super::store::Store;
use crate::conntrack::NotRestored;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::number;
use crate::time::Nanos;

/// For how many seconds a port is kept from other stations after its last connection (RFC 6888, 3, REQ-8).
pub const HOLD_S: u32 = 120;

/// Protocols whose ports, or identifiers, are mapped.
pub(super) const PROTOCOLS: [u8; 3] = [number::TCP, number::UDP, number::ICMP];

/// An address and a port of a network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// The network.
    pub network: NetworkIndex,
    /// The address.
    pub address: Ipv4Addr,
    /// The port; for ICMP requests, the identifier.
    pub port: u16,
}

/// Names a mapping for as long as it is that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MappingId {
    pub(super) slot: u32,
    pub(super) life: u32,
}

impl MappingId {
    /// The name as a number above 0.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.slot + 1)
    }

    /// The name that [`MappingId::to_bits`] made a number of; `None`: 0.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
        Some(Self { slot: half(bits).checked_sub(1)?, life: half(bits >> 32) })
    }
}

/// What a station wants to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) inside: Endpoint,
    pub(crate) protocol: u8,
    /// To whom, as the outside sees it.
    pub(crate) peer: (Ipv4Addr, u16),
    /// How packets leave the station's network.
    pub(crate) source: &'a Source,
    /// By which addresses.
    pub(crate) pool: &'a [(Ipv4Addr, Ipv4Addr)],
    /// The port of the switch that pays for it.
    pub(crate) port: PortIndex,
}

/// An address of an outside network that mappings may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OutsideAddress {
    pub(crate) network: NetworkIndex,
    pub(crate) address: Ipv4Addr,
    /// Published ports of it, with their protocols.
    pub(crate) reserved: Vec<(u8, RangeInclusive<u16>)>,
}

/// A mapping that counts one connection more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Granted {
    pub(crate) id: MappingId,
    /// What is on the other side.
    pub(crate) end: Endpoint,
}

/// There is no port for a station: its address has none left, the station or its port of the switch has as many as it
/// may, or there is no address at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exhausted;

/// Why a packet from outside goes to no station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unwanted {
    /// Nobody has this port.
    Unknown,
    /// Who has it has not sent to the packet's sender.
    Filtered,
}

/// What the tables did since they were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatCounters {
    /// Mappings that were made.
    pub made: u64,
    /// Mappings of earlier tables that were made once more.
    pub restored: u64,
    /// Mappings that were taken up again by their station while their port was held.
    pub renewed: u64,
    /// Mappings whose port is free again.
    pub ended: u64,
    /// Connections for which there was no port.
    pub exhausted: u64,
    /// Packets from outside that the mapping's filtering kept out.
    pub filtered: u64,
}

/// How much of an outside address is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressUse {
    /// The outside network.
    pub network: NetworkIndex,
    /// The address.
    pub address: Ipv4Addr,
    /// Ports of TCP, ports of UDP and identifiers of ICMP that are taken by mappings, those included that are held.
    pub used: [u32; 3],
}

/// The tables as they stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NatSnapshot {
    /// What they did.
    pub counters: NatCounters,
    /// Mappings, those included whose port is held.
    pub mappings: usize,
    /// For how many there is room.
    pub room: usize,
    /// Stations that have some.
    pub guests: usize,
    /// Outside addresses, in no order.
    pub addresses: Vec<AddressUse>,
    /// The memory that all of it takes, in bytes.
    pub bytes: usize,
}

/// A mapping as people see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The station's address and port.
    pub inside: Endpoint,
    /// What stands for it.
    pub outside: Endpoint,
    /// The protocol's number.
    pub protocol: u8,
    /// Towards whom, if it is not for all peers.
    pub peer: Option<(Ipv4Addr, u16)>,
    /// The port of the switch that pays for it.
    pub port: PortIndex,
    /// How many connections use it; none: its port is held.
    pub connections: u32,
    /// For how many seconds it has been there.
    pub age_s: u32,
    /// For how many seconds no connection has used it; 0 while one does.
    pub idle_s: u32,
}

/// All mappings; shared by all workers.
#[derive(Debug)]
pub struct Mappings {
    store: Mutex<Store>,
    now_s: AtomicU32,
}

impl Mappings {
    /// Empty tables for so many mappings, and as many connections; takes all their memory, of which the system gives what is
    /// used. `seed` must be random and secret.
    #[must_use]
    pub(crate) fn new(entries: usize, seed: u64) -> Self {
        Self { store: Mutex::new(Store::new(entries, seed)), now_s: AtomicU32::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which outside addresses mappings may have, and which of their ports are published, which no mapping gets.
    pub(crate) fn set_addresses(&self, addresses: &[OutsideAddress]) {
        self.lock().set_addresses(addresses);
    }

    /// Takes the mapping for what a station wants to send, which counts one connection more, or makes it.
    pub(crate) fn take(&self, request: &Request<'_>, now_s: u32) -> Result<Granted, Exhausted> {
        self.now_s.fetch_max(now_s, Relaxed);
        self.lock().take(request, now_s)
    }

    /// What [`Mappings::take`] would give; a port that is to be chosen then is 0. Changes nothing.
    pub(crate) fn peek(&self, request: &Request<'_>) -> Result<Endpoint, Exhausted> {
        self.lock().peek(request).ok_or(Exhausted)
    }

    /// The station to whom a packet for an outside port goes; its mapping counts one connection more. `peer` is who sent it,
    /// and whether that is a station of an inside network, who is always let in; `filtering` says who else may send to the
    /// mappings of a network.
    pub(crate) fn let_in(
        &self,
        outside: Endpoint,
        protocol: u8,
        peer: (Ipv4Addr, bool),
        filtering: impl FnOnce(NetworkIndex) -> FilteringBehavior,
    ) -> Result<Granted, Unwanted> {
        let mut store = self.lock();
        let slot = store.admitting(outside, protocol, peer, filtering)?;
        let granted = store.count_in(slot, peer.0).ok_or(Unwanted::Unknown)?;
        store.entry(slot).map(|entry| Granted { end: entry.inside, ..granted }).ok_or(Unwanted::Unknown)
    }

    /// The same, without a count.
    pub(crate) fn would_let_in(
        &self,
        outside: Endpoint,
        protocol: u8,
        peer: (Ipv4Addr, bool),
        filtering: impl FnOnce(NetworkIndex) -> FilteringBehavior,
    ) -> Result<Endpoint, Unwanted> {
        let mut store = self.lock();
        let slot = store.admitting(outside, protocol, peer, filtering)?;
        store.entry(slot).map(|entry| entry.inside).ok_or(Unwanted::Unknown)
    }

    /// Loads what it takes to open connections for these packets, and notes their mappings. `is_dependent` says whether those depend on
    /// the peer. Nothing is done while somebody else is at the mappings: to be quicker is not worth waiting for.
    pub(super) fn look_ahead(&self, openers: &mut [Option<Opener>], is_dependent: bool) {
        if openers.iter().any(Option::is_some)
            && let Ok(store) = self.store.try_lock()
        {
            store.look_ahead(openers, is_dependent);
        }
    }

    /// Loads what it takes to end connections by these mappings, with these peers; nothing while somebody else is at the mappings.
    pub(crate) fn look_ahead_to_end(&self, ends: &[Option<(MappingId, Ipv4Addr)>]) {
        if ends.iter().any(Option::is_some)
            && let Ok(store) = self.store.try_lock()
        {
            store.look_ahead_to_end(ends);
        }
    }

    /// A connection with `peer` has ended.
    pub(crate) fn release(&self, id: MappingId, peer: Ipv4Addr) {
        self.lock().release(id, peer, self.now_s.load(Relaxed), true);
    }

    /// A connection was not opened after all: a mapping that was made for it is forgotten at once, for nothing left by it.
    pub(crate) fn cancel(&self, id: MappingId, peer: Ipv4Addr) {
        self.lock().release(id, peer, self.now_s.load(Relaxed), false);
    }

    /// Ends mappings that were held long enough; looks at no more than about `budget`.
    pub(crate) fn advance(&self, now: Nanos, budget: usize) {
        self.now_s.fetch_max(now.seconds(), Relaxed);
        self.lock().advance(now.seconds(), budget);
    }

    /// Gives `each` the mappings among the next `slots` places of the table, from where an earlier call ended or from 0, each with a number:
    /// in its lower half the place, in its upper half which mapping of that place. Tells where the next one begins, and `None` at the end.
    /// Others wait meanwhile who open or end a connection.
    pub fn records(
        &self,
        from: u32,
        slots: u32,
        now: Nanos,
        mut each: impl FnMut(u64, Mapping),
    ) -> Option<u32> {
        let store = self.lock();
        let end = store.end_of_slots();
        let to = from.saturating_add(slots).min(end);
        for (slot, entry) in (from..to).filter_map(|slot| Some((slot, store.entry(slot)?))) {
            each(u64::from(entry.life) << 32 | u64::from(slot), entry.view(now.seconds()));
        }
        (to < end).then_some(to)
    }

    /// Makes a mapping that an earlier table had; as long as no connection uses it, its port is held as if the last one had just ended, or when
    /// it did.
    pub(crate) fn restore(&self, mapping: &Mapping, now_s: u32) -> Result<(), NotRestored> {
        self.now_s.fetch_max(now_s, Relaxed);
        self.lock().restore(mapping, now_s)
    }

    /// The mapping that stands for a station's end towards `peer`, which counts one connection more.
    pub(crate) fn rejoin(
        &self,
        [inside, outside]: [Endpoint; 2],
        protocol: u8,
        peer: Ipv4Addr,
    ) -> Result<MappingId, NotRestored> {
        self.lock().rejoin([inside, outside], protocol, peer)
    }

    /// How often a mapping began or ended, or its port was held or taken up again.
    pub(crate) fn changes(&self) -> u64 {
        let NatCounters { made, restored, renewed, ended, .. } = self.lock().counters();
        [made, restored, renewed, ended].into_iter().fold(0, u64::wrapping_add)
    }

    /// Counters and sums.
    #[must_use]
    pub fn snapshot(&self) -> NatSnapshot {
        self.lock().snapshot()
    }

    /// At most `limit` mappings from where an earlier page ended, or from 0, and where the list goes on.
    #[must_use]
    pub fn list(&self, from: u32, limit: usize, now: Nanos) -> (Vec<Mapping>, Option<u32>) {
        let store = self.lock();
        let mut found = Vec::with_capacity(limit.min(1024));
        for slot in from..store.end_of_slots() {
            let Some(entry) = store.entry(slot) else { continue };
            if found.len() == limit {
                return (found, Some(slot));
            }
            found.push(entry.view(now.seconds()));
        }
        (found, None)
    }
}
