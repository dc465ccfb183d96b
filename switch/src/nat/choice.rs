//! Which outside address and port a new mapping gets, and who may have one.

use std::net::Ipv4Addr;

use super::addresses::class_of;
use super::mappings::Request;
use super::store::{Store, is_in};
use crate::ids::PortIndex;

/// Mappings that a port of the switch may always have if there is room, and the part of the table, one in so many, of
/// which ports that have more get nothing. Beyond it, one may have no more than what is free.
const PORT_SHARE: u32 = 64;
const RESERVE_DIVISOR: usize = 16;

/// Mappings that a station may have on its outside address if any is free, however few that are.
const GUEST_SHARE: u32 = 16;

/// Addresses of a pool that are compared for the one with most free ports.
const POOL_PROBES: u64 = 16;

/// The first port that need no privilege (RFC 4787, 4.2.2, REQ-3: a port stays on its side of this).
const UNPRIVILEGED: u16 = 1024;

impl Store {
    /// Whether a port of the switch may have one more.
    pub(super) fn has_room_for(&self, port: PortIndex) -> bool {
        let held = self.per_port[port.get()];
        let free = self.mappings.room() - self.mappings.len();
        let beyond = free.saturating_sub(self.mappings.room() / RESERVE_DIVISOR);
        free > 0 && (held < PORT_SHARE || (held as usize) < beyond)
    }

    /// The address and the port that a new mapping gets.
    pub(super) fn place_for(&mut self, request: &Request<'_>) -> Option<(u32, u16)> {
        if !self.has_room_for(request.port) {
            return None;
        }
        let table = self.choose_address(request)?;
        let class = class_of(request.protocol)?;
        let used = self.tables.get(table as usize)?.as_ref()?.used[class];
        let guest = self.find_guest(request.inside.network, request.inside.address);
        let own = guest.and_then(|guest| self.guests.get(guest)).map_or(0, |guest| guest.mappings);
        let ports = &request.source.ports;
        let left = (u32::from(ports.end() - ports.start()) + 1).saturating_sub(used);
        let limit = request.source.ports_per_guest.unwrap_or_else(|| left.max(GUEST_SHARE));
        if own >= limit { None } else { Some((table, self.choose_port(request, table, class)?)) }
    }

    /// The address that the station has already, if it may still have that; else that with most free ports of some.
    fn choose_address(&mut self, request: &Request<'_>) -> Option<u32> {
        let Request { inside, pool, .. } = *request;
        let outside = request.source.outside;
        let guest = self.find_guest(inside.network, inside.address).and_then(|guest| self.guests.get(guest));
        if let Some(guest) = guest
            && let Some(Some(table)) = self.tables.get(guest.table as usize)
            && table.network == outside
            && !table.is_gone
            && is_in(pool, table.address)
        {
            return Some(guest.table);
        }
        let size: u64 = pool.iter().map(|range| u64::from(range.1.to_bits() - range.0.to_bits()) + 1).sum();
        let start = if size > POOL_PROBES { self.draw() } else { 0 };
        let candidates = (0..size.min(POOL_PROBES)).filter_map(|probe| {
            let address = nth_of(pool, start.wrapping_add(probe) % size)?;
            let number = *self.by_address.get(&(outside, address))?;
            let table = self.tables.get(number as usize)?.as_ref()?;
            (!table.is_gone).then_some((table.used.iter().sum::<u32>(), number))
        });
        candidates.min().map(|(_, number)| number)
    }

    /// A free port of the same parity as the station's own, and on the same side of 1024, as RFC 4787, 4.2, wants it: the first
    /// one from a random one on. Another parity, if there is none.
    fn choose_port(&mut self, request: &Request<'_>, table: u32, class: usize) -> Option<u16> {
        let (lowest, highest) = (*request.source.ports.start(), *request.source.ports.end());
        let own = request.inside.port;
        let is_privileged = own < UNPRIVILEGED && lowest < UNPRIVILEGED;
        let (from, to) = if is_privileged {
            (lowest, highest.min(UNPRIVILEGED - 1))
        } else {
            (lowest.max(UNPRIVILEGED), highest)
        };
        let width = u64::from(to.checked_sub(from)?) + 1;
        let start = from + u16::try_from(self.draw() % width).unwrap_or(0);
        let ports = &self.tables.get(table as usize)?.as_ref()?.ports[class];
        let parity = usize::from(own % 2);
        [parity, 1 - parity]
            .into_iter()
            .find_map(|parity| ports.free(start, to, parity).or_else(|| ports.free(from, start, parity)))
    }
}

/// The address of this number, counted through all ranges.
fn nth_of(ranges: &[(Ipv4Addr, Ipv4Addr)], mut number: u64) -> Option<Ipv4Addr> {
    for (first, last) in ranges {
        let size = u64::from(last.to_bits() - first.to_bits()) + 1;
        if number < size {
            return Some(Ipv4Addr::from_bits(first.to_bits() + u32::try_from(number).ok()?));
        }
        number -= size;
    }
    None
}
