//! Who has which address: bounded by the range and the ports' own addresses, every step a few look-ups.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::lease::{ClientId, Holder};
use crate::ids::PortIndex;
use crate::time::Nanos;

/// What an address is to its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Offered, and kept for a moment.
    Offered,
    /// Lent.
    Bound,
    /// Lent once, and kept as long as nobody else needs it.
    Idle,
    /// Used by somebody whom we do not know, and put aside.
    Aside,
}

/// An address that is not free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Binding {
    pub(super) state: State,
    /// When the state ends; of an idle address, when it became so.
    pub(super) until: Nanos,
    /// Who has it, had it, or declined it. `None`: put aside without anybody's doing.
    pub(super) holder: Option<Holder>,
}

/// The addresses of one network.
#[derive(Debug, Default)]
pub(super) struct Table {
    bindings: BTreeMap<Ipv4Addr, Binding>,
    by_client: BTreeMap<(PortIndex, ClientId), Ipv4Addr>,
    /// All addresses of the range that may be lent.
    pool: BTreeSet<Ipv4Addr>,
    /// Those of the pool of which nothing is remembered.
    unused: BTreeSet<Ipv4Addr>,
    /// Idle ones, those first that have been so for the longest time.
    idle: BTreeSet<(Nanos, Ipv4Addr)>,
    /// When the states of the others end.
    deadlines: BTreeSet<(Nanos, Ipv4Addr)>,
    /// How many addresses of the pool each port holds.
    held: BTreeMap<PortIndex, usize>,
}

impl Table {
    pub(super) fn new(pool: BTreeSet<Ipv4Addr>) -> Self {
        Self { unused: pool.clone(), pool, ..Self::default() }
    }

    pub(super) fn get(&self, address: Ipv4Addr) -> Option<&Binding> {
        self.bindings.get(&address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, &Binding)> {
        self.bindings.iter().map(|(address, binding)| (*address, binding))
    }

    pub(super) fn is_in_pool(&self, address: Ipv4Addr) -> bool {
        self.pool.contains(&address)
    }

    pub(super) fn is_unused(&self, address: Ipv4Addr) -> bool {
        self.unused.contains(&address)
    }

    /// The address that a client has or had.
    pub(super) fn of_client(&self, port: PortIndex, client: &ClientId) -> Option<(Ipv4Addr, &Binding)> {
        let address = *self.by_client.get(&(port, client.clone()))?;
        Some((address, self.bindings.get(&address)?))
    }

    /// How many addresses of the pool a port holds.
    pub(super) fn held_by(&self, port: PortIndex) -> usize {
        self.held.get(&port).copied().unwrap_or(0)
    }

    /// How many ports hold addresses of the pool.
    pub(super) fn holding_ports(&self) -> usize {
        self.held.len()
    }

    /// How many addresses can be lent.
    pub(super) fn free(&self) -> usize {
        self.unused.len() + self.idle.len()
    }

    /// The first unused address from `start` on; behind the last one comes the first one.
    pub(super) fn unused_from(&self, start: Ipv4Addr) -> Option<Ipv4Addr> {
        self.unused.range(start..).next().or_else(|| self.unused.first()).copied()
    }

    /// The address that has been idle for the longest time.
    pub(super) fn longest_idle(&self) -> Option<Ipv4Addr> {
        self.idle.first().map(|(_, address)| *address)
    }

    /// The first and the last address of the pool.
    pub(super) fn bounds(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        Some((*self.pool.first()?, *self.pool.last()?))
    }

    /// Addresses whose state ends at `now` or before.
    pub(super) fn due(&self, now: Nanos) -> Option<Ipv4Addr> {
        self.deadlines.first().filter(|(until, _)| *until <= now).map(|(_, address)| *address)
    }

    /// When the next state ends.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Of the offers that end before `before`, the first one of the port that holds the most addresses, if that is more
    /// than one.
    pub(super) fn offer_to_displace(&self, before: Nanos) -> Option<Ipv4Addr> {
        let soon = self.deadlines.iter().take_while(|(until, _)| *until <= before);
        let offers = soon.filter_map(|(until, address)| {
            let binding = self.bindings.get(address).filter(|binding| binding.state == State::Offered)?;
            let port = binding.holder.as_ref()?.port;
            let held = self.held_by(port);
            (self.is_in_pool(*address) && held > 1).then_some(((held, Reverse(*until)), *address))
        });
        offers.max().map(|(_, address)| address)
    }

    /// Gives an address this binding. The client's other address, and whoever had this one, lose theirs: these are
    /// returned.
    pub(super) fn put(&mut self, address: Ipv4Addr, binding: Binding) -> Vec<Ipv4Addr> {
        let mut lost = Vec::new();
        self.take(address);
        if let Some(holder) = binding.holder.as_ref().filter(|_| binding.state != State::Aside) {
            if let Some(other) = self.by_client.get(&holder.key()).copied() {
                self.take(other);
                lost.push(other);
            }
            self.by_client.insert(holder.key(), address);
        }
        self.unused.remove(&address);
        let order = (binding.until, address);
        if binding.state == State::Idle {
            self.idle.insert(order)
        } else {
            self.deadlines.insert(order)
        };
        if let Some(port) = self.charged(address, &binding) {
            *self.held.entry(port).or_default() += 1;
        }
        self.bindings.insert(address, binding);
        lost
    }

    /// Makes an address free, with nothing remembered of it.
    pub(super) fn take(&mut self, address: Ipv4Addr) -> Option<Binding> {
        let binding = self.bindings.remove(&address)?;
        if let Some(holder) = binding.holder.as_ref().filter(|_| binding.state != State::Aside) {
            self.by_client.remove(&holder.key());
        }
        self.idle.remove(&(binding.until, address));
        self.deadlines.remove(&(binding.until, address));
        if let Some(port) = self.charged(address, &binding) {
            self.discharge(port);
        }
        if self.is_in_pool(address) {
            self.unused.insert(address);
        }
        Some(binding)
    }

    /// The port to whose share an address counts.
    fn charged(&self, address: Ipv4Addr, binding: &Binding) -> Option<PortIndex> {
        let is_charged = binding.state != State::Idle && self.is_in_pool(address);
        binding.holder.as_ref().filter(|_| is_charged).map(|holder| holder.port)
    }

    fn discharge(&mut self, port: PortIndex) {
        if let Some(held) = self.held.get_mut(&port) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&port);
            }
        }
    }
}
