//! Mappings that an earlier table had.

use std::net::Ipv4Addr;

use super::addresses::class_of;
use super::mappings::{Endpoint, HOLD_S, Mapping, MappingId};
use super::plan::Translator;
use super::store::{Entry, Store};
use crate::conntrack::{NotRestored, Record, Tuple};

impl Translator<'_> {
    /// Makes a mapping that an earlier table had.
    pub(crate) fn restore(&self, mapping: &Mapping, now_s: u32) -> Result<(), NotRestored> {
        let Mapping { inside, outside, .. } = *mapping;
        if !self.nat.has_outside(outside.network, outside.address) {
            return Err(NotRestored::Waits);
        }
        if !self.may_appear(inside.network, inside.address, outside.network, outside.address) {
            return Err(NotRestored::NotAllowed);
        }
        self.mappings.restore(mapping, now_s)
    }

    /// The mappings by which a connection's packets are translated, each of which counts one connection more.
    pub(crate) fn rejoin(&self, record: &Record) -> Result<[Option<MappingId>; 2], NotRestored> {
        let [original, reply] = record.tuples;
        let leaving = reply.reversed();
        if !self.stands([original, reply]) {
            let waits = self.awaits([original, reply]);
            return Err(if waits { NotRestored::Waits } else { NotRestored::NotAllowed });
        }
        let outside = self.nat.source(original.zone).map_or(original.zone, |source| source.outside);
        let own = |tuple: &Tuple| end(tuple.zone, tuple.source, tuple.source_port);
        let rejoin = |ends: [Option<Endpoint>; 2], peer: crate::packet::Address| {
            let ([Some(inside), Some(seen)], Some(peer)) = (ends, peer.to_v4()) else {
                return Err(NotRestored::Unsound);
            };
            self.mappings.rejoin([inside, seen], original.protocol, peer)
        };
        let [has_source, has_target] = record.is_mapped;
        let source = has_source.then(|| {
            let seen = end(outside, leaving.source, leaving.source_port);
            rejoin([own(&original), seen], original.destination)
        });
        let source = source.transpose()?;
        let target = has_target.then(|| {
            let seen = end(outside, original.destination, original.destination_port);
            rejoin([own(&reply), seen], reply.destination)
        });
        let target = target.transpose().inspect_err(|_| {
            self.leave([original, reply], [source, None]);
        })?;
        Ok([source, target])
    }

    /// Takes back what [`Translator::rejoin`] counted.
    pub(crate) fn leave(&self, [original, reply]: [Tuple; 2], mappings: [Option<MappingId>; 2]) {
        for (mapping, peer) in mappings.into_iter().zip([original.destination, reply.destination]) {
            if let (Some(id), Some(peer)) = (mapping, peer.to_v4()) {
                self.mappings.release(id, peer);
            }
        }
    }
}

fn end(network: crate::NetworkIndex, address: crate::packet::Address, port: u16) -> Option<Endpoint> {
    Some(Endpoint { network, address: address.to_v4()?, port })
}

impl Store {
    pub(super) fn restore(&mut self, mapping: &Mapping, now_s: u32) -> Result<(), NotRestored> {
        let Mapping { inside, outside, protocol, peer, port, connections, age_s, idle_s } = *mapping;
        let class = class_of(protocol).ok_or(NotRestored::Unsound)?;
        if connections == 0 && idle_s > HOLD_S {
            return Err(NotRestored::Over);
        }
        if !self.has_room_for(port) {
            return Err(NotRestored::NoRoom);
        }
        let table = self.by_address.get(&(outside.network, outside.address)).copied();
        let table = table.ok_or(NotRestored::Waits)?;
        if !self.take_port(table, class, outside.port) {
            return Err(NotRestored::Taken);
        }
        // Room for a mapping is room for its station.
        let guest = self.guest_for(inside, table).ok_or(NotRestored::NoRoom)?;
        self.lives = self.lives.wrapping_add(1);
        let idle_s = now_s.saturating_sub(if connections > 0 { 0 } else { idle_s }).max(1);
        let created_s = now_s.saturating_sub(age_s);
        let life = self.lives;
        let entry = Entry {
            inside,
            outside,
            protocol,
            peer,
            port,
            guest,
            table,
            life,
            connections: 0,
            created_s,
            idle_s,
        };
        let hashes = self.hashes(&entry);
        let slot = self.mappings.insert(entry, hashes).ok_or(NotRestored::NoRoom)?;
        self.per_port[port.get()] += 1;
        self.counters.restored += 1;
        self.wheel.insert(slot, idle_s.saturating_add(HOLD_S).into());
        Ok(())
    }

    /// Takes a port of an address; says whether it was free.
    fn take_port(&mut self, table: u32, class: usize, port: u16) -> bool {
        let Some(Some(table)) = self.tables.get_mut(table as usize) else { return false };
        if table.is_gone || !table.ports[class].take(port) {
            return false;
        }
        table.used[class] += 1;
        true
    }

    pub(super) fn rejoin(
        &mut self,
        [inside, outside]: [Endpoint; 2],
        protocol: u8,
        peer: Ipv4Addr,
    ) -> Result<MappingId, NotRestored> {
        let slot = self.find_outside(outside, protocol).ok_or(NotRestored::NotAllowed)?;
        if self.entry(slot).is_none_or(|entry| entry.inside != inside) {
            return Err(NotRestored::Taken);
        }
        self.count_in(slot, peer).map(|granted| granted.id).ok_or(NotRestored::NoRoom)
    }
}
