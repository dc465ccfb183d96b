//! Which address a client gets (RFC 2131, 4.3.1), and whether its port may have one more.

use super::super::events::Event;
use super::address::Address;
use super::lease::{Client, ClientId};
use super::table::{Binding, State};
use super::{ASIDE_S, Lender, OFFER_S, Taken, after};
use crate::time::Nanos;

/// How many addresses that turn out to be in use a client's question may put aside.
const TRIES: usize = 4;

impl<A: Address> Lender<A> {
    /// The address that a client is to be offered: its port's own, the one that it has or had, the one that it asks for,
    /// else any. `Err` says why there is none.
    pub(crate) fn choose(
        &mut self,
        now: Nanos,
        client: &Client,
        wanted: Option<A>,
        taken: &mut Taken<A>,
    ) -> Result<A, Event> {
        if let Some(fixed) = self.fixed(client) {
            return Ok(fixed.address);
        }
        let known = self.known(client);
        if let Some((address, State::Offered | State::Bound)) = known {
            return Ok(address);
        }
        self.admit(now, client)?;
        let wanted = wanted.filter(|address| self.table.is_unused(*address));
        for address in known.map(|(address, _)| address).into_iter().chain(wanted) {
            if !self.is_taken(now, address, taken) {
                return Ok(address);
            }
        }
        (0..TRIES)
            .find_map(|_| {
                let address = self.next_free(&client.id)?;
                (!self.is_taken(now, address, taken)).then_some(address)
            })
            .ok_or(Event::NoAddress)
    }

    /// The address of the range that a client has or had. A port's own address belongs to one station; another one at the
    /// port that calls itself by the same identifier does not get it by that.
    pub(crate) fn known(&self, client: &Client) -> Option<(A, State)> {
        let (address, binding) = self.table.of_client(&client.key())?;
        self.table.is_in_pool(address).then_some((address, binding.state))
    }

    /// Whether somebody uses the address though nobody should; if so, it is put aside.
    pub(crate) fn is_taken(&mut self, now: Nanos, address: A, taken: &mut Taken<A>) -> bool {
        let is_taken = taken(address);
        if is_taken {
            self.put_aside(now, address, None);
            self.counters.count(Event::Conflict);
        }
        is_taken
    }

    /// Puts an address aside for a while, at the expense of `holder`'s port if somebody declined it.
    pub(crate) fn put_aside(&mut self, now: Nanos, address: A, holder: Option<Client>) {
        self.table.put(address, Binding { state: State::Aside, until: after(now, ASIDE_S), holder });
        self.changed.insert(address);
    }

    /// An unused address, or the one that has been idle for the longest time. Where the search begins depends on the
    /// client, so that one that comes back after all was forgotten likely finds its address again.
    fn next_free(&self, client: &ClientId) -> Option<A> {
        let (first, last) = self.table.bounds()?;
        let start = A::within(first, last, hash(client.bytes()));
        self.table.unused_from(start).or_else(|| self.table.longest_idle())
    }

    /// Whether a port may hold one more address of the pool. One that is held to its own never may. One that holds none always may, if need be at the expense of
    /// an offer. Of what is free, one address is kept for each port that holds none; one that has some may hold no more
    /// than are left for others then, so that the share falls as addresses get scarce.
    pub(crate) fn admit(&mut self, now: Nanos, client: &Client) -> Result<(), Event> {
        if self.rules.held_ports.contains(&client.port) {
            return Err(Event::HeldToOthers);
        }
        let (held, free) = (self.table.held_by(client.port), self.table.free());
        if held == 0 {
            return if free > 0 || self.displace(now) { Ok(()) } else { Err(Event::NoAddress) };
        }
        let spare = free.saturating_sub(self.rules.ports.saturating_sub(self.table.holding_ports()));
        let is_wide = self.rules.wide_ports.contains(&client.port);
        match (spare, is_wide) {
            (0, true) => Err(Event::NoAddress),
            (_, true) => Ok(()),
            (spare, false) if held < spare => Ok(()),
            _ => Err(Event::ShareExceeded),
        }
    }

    /// Takes back an offer of the port that holds the most.
    fn displace(&mut self, now: Nanos) -> bool {
        let Some(address) = self.table.offer_to_displace(after(now, OFFER_S)) else { return false };
        self.table.take(address);
        self.counters.count(Event::Displaced);
        true
    }
}

/// Spreads clients over the range (FNV-1a, 64 bits). Nothing is looked up by it, so collisions cost nothing.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
