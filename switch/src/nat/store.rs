//! The tables of mappings, under their lock: see `mappings`.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::hint::black_box;
use std::net::Ipv4Addr;

use super::addresses::{Table, class_of};
use super::ahead::Opener;
use super::chained::Chained;
use super::mappings::{
    AddressUse, Endpoint, Exhausted, Granted, HOLD_S, Mapping, MappingId, NatCounters, NatSnapshot,
    PROTOCOLS, Request, Unwanted,
};
use super::ports::PortSet;
use super::settings::{FilteringBehavior, MappingBehavior};
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::timer_wheel::TimerWheel;

/// The chains of mappings.
const BY_INSIDE: usize = 0;
const BY_OUTSIDE: usize = 1;

/// A mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) inside: Endpoint,
    pub(super) outside: Endpoint,
    pub(super) protocol: u8,
    /// For mappings that depend on it.
    pub(super) peer: Option<(Ipv4Addr, u16)>,
    /// The port of the switch that pays for it.
    pub(super) port: PortIndex,
    pub(super) guest: u32,
    /// The ports of its outside address.
    pub(super) table: u32,
    /// What tells it from others that had the slot.
    pub(super) life: u32,
    pub(super) connections: u32,
    pub(super) created_s: u32,
    /// When the last connection ended.
    pub(super) idle_s: u32,
}

/// A station with mappings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest {
    pub(super) network: NetworkIndex,
    pub(super) address: Ipv4Addr,
    /// Its outside address.
    pub(super) table: u32,
    pub(super) mappings: u32,
}

/// A peer to whom a mapping's station has sent.
#[derive(Clone, Copy, Debug)]
struct Contact {
    slot: u32,
    peer: Ipv4Addr,
    connections: u32,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) mappings: Chained<Entry, 2>,
    pub(super) guests: Chained<Guest, 1>,
    contacts: Chained<Contact, 1>,
    pub(super) tables: Vec<Option<Table>>,
    pub(super) by_address: HashMap<(NetworkIndex, Ipv4Addr), u32>,
    pub(super) wheel: TimerWheel,
    pub(super) per_port: Box<[u32]>,
    hasher: foldhash::quality::FixedState,
    seed: u64,
    /// How many random numbers were drawn, and mappings named.
    drawn: u64,
    pub(super) lives: u32,
    pub(super) counters: NatCounters,
}

impl Entry {
    pub(super) fn view(&self, now_s: u32) -> Mapping {
        let Self { inside, outside, protocol, peer, port, connections, created_s, idle_s, .. } = *self;
        let age_s = now_s.saturating_sub(created_s);
        let idle_s = if connections > 0 { 0 } else { now_s.saturating_sub(idle_s) };
        Mapping { inside, outside, protocol, peer, port, connections, age_s, idle_s }
    }
}

impl Store {
    pub(super) fn new(entries: usize, seed: u64) -> Self {
        let entries = entries.clamp(1, 1 << 22);
        Self {
            mappings: Chained::new(entries),
            guests: Chained::new(entries),
            contacts: Chained::new(entries),
            tables: Vec::new(),
            by_address: HashMap::new(),
            wheel: TimerWheel::new(entries, 0),
            per_port: vec![0; PORTS_MAX].into(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            seed,
            drawn: 0,
            lives: 0,
            counters: NatCounters::default(),
        }
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.mappings.get(slot)
    }

    pub(super) fn counters(&self) -> NatCounters {
        self.counters
    }

    pub(super) fn end_of_slots(&self) -> u32 {
        self.mappings.end()
    }

    pub(super) fn hash_end(&self, end: Endpoint, protocol: u8, peer: Option<(Ipv4Addr, u16)>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let ports = u64::from(end.port) << 32 | u64::from(protocol) << 16 | u64::from(end.network.raw());
        hasher.write_u64(ports);
        hasher.write_u32(end.address.to_bits());
        if let Some((address, port)) = peer {
            hasher.write_u64(u64::from(address.to_bits()) << 16 | u64::from(port));
        }
        hasher.finish()
    }

    pub(super) fn hashes(&self, entry: &Entry) -> [u64; 2] {
        let inside = self.hash_end(entry.inside, entry.protocol, entry.peer);
        [inside, self.hash_end(entry.outside, entry.protocol, None)]
    }

    fn hash_guest(&self, network: NetworkIndex, address: Ipv4Addr) -> u64 {
        self.hasher.hash_one((network.raw(), address.to_bits()))
    }

    fn hash_contact(&self, slot: u32, peer: Ipv4Addr) -> u64 {
        self.hasher.hash_one((slot, peer.to_bits()))
    }

    /// A number that nobody can guess who does not know the seed: SipHash of it and of how many there were before.
    pub(super) fn draw(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.drawn);
        self.drawn += 1;
        hasher.finish()
    }

    /// The mapping that has this outside end.
    pub(super) fn find_outside(&self, outside: Endpoint, protocol: u8) -> Option<u32> {
        let hash = self.hash_end(outside, protocol, None);
        let is_it = |entry: &Entry| entry.outside == outside && entry.protocol == protocol;
        self.mappings.find(BY_OUTSIDE, hash, is_it)
    }

    /// Loads where the search for a mapping from its inside begins.
    pub(super) fn touch_inside(&self, hash: u64) -> u32 {
        self.mappings.touch(BY_INSIDE, hash)
    }

    /// The mapping that a packet probably goes by, and its outside end.
    pub(super) fn find_like(
        &self,
        opener: &Opener,
        peer: Option<(Ipv4Addr, u16)>,
    ) -> Option<(u32, Endpoint)> {
        let is_it = |entry: &Entry| {
            entry.inside == opener.inside && entry.protocol == opener.protocol && entry.peer == peer
        };
        let slot = self.mappings.find(BY_INSIDE, opener.hash, is_it)?;
        Some((slot, self.entry(slot)?.outside))
    }

    /// Loads what counts the connections of these mappings with these peers.
    pub(super) fn touch_contacts<I: Iterator<Item = (u32, Ipv4Addr)>>(&self, of: impl Fn() -> I) {
        let heads = of().map(|(slot, peer)| self.contacts.touch(0, self.hash_contact(slot, peer)));
        black_box(heads.fold(0, |sum, head| sum ^ head));
        let found = of().map(|(slot, peer)| {
            let is_it = |contact: &Contact| contact.slot == slot && contact.peer == peer;
            self.contacts.find(0, self.hash_contact(slot, peer), is_it)
        });
        black_box(found.fold(0, |sum, found| sum ^ found.unwrap_or(0)));
    }

    /// What a mapping of the request depends on beside the station's own end.
    fn peer_of(request: &Request<'_>) -> Option<(Ipv4Addr, u16)> {
        (request.source.mapping == MappingBehavior::EndpointDependent).then_some(request.peer)
    }

    /// The mapping that the request has already, on an address that it may still have.
    fn find_inside(&self, request: &Request<'_>) -> Option<u32> {
        let (inside, protocol, peer) = (request.inside, request.protocol, Self::peer_of(request));
        let hash = self.hash_end(inside, protocol, peer);
        let is_it = |entry: &Entry| {
            entry.inside == inside
                && entry.protocol == protocol
                && entry.peer == peer
                && entry.outside.network == request.source.outside
                && is_in(request.pool, entry.outside.address)
        };
        self.mappings.find(BY_INSIDE, hash, is_it)
    }

    pub(super) fn take(&mut self, request: &Request<'_>, now_s: u32) -> Result<Granted, Exhausted> {
        let granted = match self.find_inside(request) {
            Some(slot) => self.count_in(slot, request.peer.0),
            None => self.make(request, now_s).and_then(|slot| {
                let granted = self.count_in(slot, request.peer.0);
                if granted.is_none() {
                    self.end(slot);
                }
                granted
            }),
        };
        granted.ok_or_else(|| {
            self.counters.exhausted += 1;
            Exhausted
        })
    }

    pub(super) fn peek(&mut self, request: &Request<'_>) -> Option<Endpoint> {
        if let Some(slot) = self.find_inside(request) {
            return self.entry(slot).map(|entry| entry.outside);
        }
        let (table, _) = self.place_for(request)?;
        let table = self.tables.get(table as usize)?.as_ref()?;
        Some(Endpoint { network: table.network, address: table.address, port: 0 })
    }

    /// Counts one connection more with `peer`; `None`: there is no room for that.
    pub(super) fn count_in(&mut self, slot: u32, peer: Ipv4Addr) -> Option<Granted> {
        let hash = self.hash_contact(slot, peer);
        let is_it = |contact: &Contact| contact.slot == slot && contact.peer == peer;
        match self.contacts.find(0, hash, is_it).and_then(|contact| self.contacts.get_mut(contact)) {
            Some(contact) => contact.connections += 1,
            None => {
                self.contacts.insert(Contact { slot, peer, connections: 1 }, [hash])?;
            }
        }
        let entry = self.mappings.get_mut(slot)?;
        if entry.connections == 0 {
            self.wheel.remove(slot);
            if entry.idle_s > 0 {
                self.counters.renewed += 1;
            }
        }
        entry.connections += 1;
        Some(Granted { id: MappingId { slot, life: entry.life }, end: entry.outside })
    }

    /// Makes a mapping that no connection uses yet.
    fn make(&mut self, request: &Request<'_>, now_s: u32) -> Option<u32> {
        let (table, port) = self.place_for(request)?;
        let class = class_of(request.protocol)?;
        let Request { inside, protocol, port: payer, .. } = *request;
        let guest = self.guest_for(inside, table)?;
        let own = self.tables.get_mut(table as usize)?.as_mut()?;
        let outside = Endpoint { network: own.network, address: own.address, port };
        own.ports[class].take(port);
        own.used[class] += 1;
        self.lives = self.lives.wrapping_add(1);
        let entry = Entry {
            inside,
            outside,
            protocol,
            peer: Self::peer_of(request),
            port: payer,
            guest,
            table,
            life: self.lives,
            connections: 0,
            created_s: now_s,
            idle_s: 0,
        };
        let hashes = self.hashes(&entry);
        // Room was looked for before anything was taken.
        let slot = self.mappings.insert(entry, hashes)?;
        self.per_port[payer.get()] += 1;
        self.counters.made += 1;
        Some(slot)
    }

    /// The station of a new mapping, with its outside address, and one mapping more.
    pub(super) fn guest_for(&mut self, inside: Endpoint, table: u32) -> Option<u32> {
        let Endpoint { network, address, .. } = inside;
        let number = match self.find_guest(network, address) {
            Some(guest) => guest,
            None => {
                let hash = self.hash_guest(network, address);
                self.guests.insert(Guest { network, address, table, mappings: 0 }, [hash])?
            }
        };
        let guest = self.guests.get_mut(number)?;
        guest.table = table;
        guest.mappings += 1;
        Some(number)
    }

    pub(super) fn find_guest(&self, network: NetworkIndex, address: Ipv4Addr) -> Option<u32> {
        let hash = self.hash_guest(network, address);
        self.guests.find(0, hash, |guest| guest.network == network && guest.address == address)
    }

    /// The mapping by which a packet from outside may come in.
    pub(super) fn admitting(
        &mut self,
        outside: Endpoint,
        protocol: u8,
        peer: (Ipv4Addr, bool),
        filtering: impl FnOnce(NetworkIndex) -> FilteringBehavior,
    ) -> Result<u32, Unwanted> {
        let slot = self.find_outside(outside, protocol).ok_or(Unwanted::Unknown)?;
        let entry = self.mappings.get(slot).filter(|entry| entry.connections > 0);
        let entry = entry.ok_or(Unwanted::Unknown)?;
        let (peer, is_from_inside) = peer;
        let is_let_in = entry.peer.is_none()
            && (is_from_inside
                || match filtering(entry.inside.network) {
                    FilteringBehavior::EndpointIndependent => true,
                    FilteringBehavior::AddressDependent => {
                        let is_it = |contact: &Contact| contact.slot == slot && contact.peer == peer;
                        self.contacts.find(0, self.hash_contact(slot, peer), is_it).is_some()
                    }
                    FilteringBehavior::AddressAndPortDependent => false,
                });
        if is_let_in {
            return Ok(slot);
        }
        self.counters.filtered += 1;
        Err(Unwanted::Filtered)
    }

    /// Counts one connection with `peer` less. A mapping without any is held, or forgotten at once if it never had another.
    pub(super) fn release(&mut self, id: MappingId, peer: Ipv4Addr, now_s: u32, was_used: bool) {
        let Some(entry) = self.mappings.get_mut(id.slot).filter(|entry| entry.life == id.life) else {
            return;
        };
        entry.connections = entry.connections.saturating_sub(1);
        let (is_idle, was_idle_before) = (entry.connections == 0, entry.idle_s > 0);
        let table = entry.table;
        if is_idle && was_used {
            entry.idle_s = now_s.max(1);
        }
        let due = entry.idle_s.saturating_add(HOLD_S);
        self.forget_contact(id.slot, peer);
        if !is_idle {
            return;
        }
        let is_gone = self
            .tables
            .get(table as usize)
            .is_some_and(|table| table.as_ref().is_none_or(|table| table.is_gone));
        if is_gone || !(was_used || was_idle_before) {
            self.end(id.slot);
        } else {
            self.wheel.insert(id.slot, due.into());
        }
    }

    fn forget_contact(&mut self, slot: u32, peer: Ipv4Addr) {
        let hash = self.hash_contact(slot, peer);
        let is_it = |contact: &Contact| contact.slot == slot && contact.peer == peer;
        let Some(number) = self.contacts.find(0, hash, is_it) else { return };
        let Some(contact) = self.contacts.get_mut(number) else { return };
        contact.connections -= 1;
        if contact.connections == 0 {
            self.contacts.remove(number, [hash]);
        }
    }

    /// Forgets a mapping that no connection uses.
    fn end(&mut self, slot: u32) {
        let Some(&entry) = self.mappings.get(slot) else { return };
        self.mappings.remove(slot, self.hashes(&entry));
        self.wheel.remove(slot);
        self.counters.ended += 1;
        let held = &mut self.per_port[entry.port.get()];
        *held = held.saturating_sub(1);
        if let (Some(Some(table)), Some(class)) =
            (self.tables.get_mut(entry.table as usize), class_of(entry.protocol))
        {
            table.used[class] = table.used[class].saturating_sub(1);
            if !table.is_reserved(entry.protocol, entry.outside.port) {
                table.ports[class].give(entry.outside.port);
            }
        }
        self.drop_unused(entry.table);
        if let Some(guest) = self.guests.get_mut(entry.guest) {
            guest.mappings = guest.mappings.saturating_sub(1);
            if guest.mappings == 0 {
                let hash = self.hash_guest(entry.inside.network, entry.inside.address);
                self.guests.remove(entry.guest, [hash]);
            }
        }
    }

    pub(super) fn advance(&mut self, now_s: u32, budget: usize) {
        let mut wheel = std::mem::take(&mut self.wheel);
        wheel.advance(now_s.into(), budget, |slot| {
            let due = self.entry(slot)?.idle_s.saturating_add(HOLD_S);
            if due > now_s {
                return Some(due.into());
            }
            self.end(slot);
            None
        });
        self.wheel = wheel;
    }

    pub(super) fn snapshot(&self) -> NatSnapshot {
        let tables = self.tables.iter().flatten();
        let addresses: Vec<AddressUse> = tables
            .map(|Table { network, address, used, .. }| AddressUse {
                network: *network,
                address: *address,
                used: *used,
            })
            .collect();
        let ports = addresses.len() * (PROTOCOLS.len() * PortSet::BYTES + size_of::<Table>());
        let bytes = self.mappings.bytes()
            + self.guests.bytes()
            + self.contacts.bytes()
            + self.wheel.bytes()
            + size_of_val(&*self.per_port)
            + ports;
        NatSnapshot {
            counters: self.counters,
            mappings: self.mappings.len(),
            room: self.mappings.room(),
            guests: self.guests.len(),
            addresses,
            bytes,
        }
    }
}

/// Whether one of the ranges has the address.
pub(super) fn is_in(ranges: &[(Ipv4Addr, Ipv4Addr)], address: Ipv4Addr) -> bool {
    ranges.iter().any(|(first, last)| (first..=last).contains(&&address))
}
