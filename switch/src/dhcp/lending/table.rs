//! Who has which address: bounded by the range and the ports' own addresses, every step a few look-ups.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Renumber;
use super::address::Address;
use super::lease::{Client, Key};
use crate::ids::PortIndex;
use crate::time::Nanos;

/// What an address is to its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Offered, and kept for a moment.
    Offered,
    /// Lent.
    Bound,
    /// Lent once, and kept as long as nobody else needs it.
    Idle,
    /// Used by somebody whom we do not know, and put aside.
    Aside,
}

impl State {
    /// The state's name in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Bound => "bound",
            Self::Idle => "idle",
            Self::Aside => "aside",
        }
    }
}

/// An address that is not free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Binding {
    pub(crate) state: State,
    /// When the state ends; of an idle address, when it became so.
    pub(crate) until: Nanos,
    /// Who has it, had it, or declined it. `None`: put aside without anybody's doing.
    pub(crate) holder: Option<Client>,
}

impl Binding {
    /// The same where ports have other numbers now; `None` if its port is gone.
    pub(super) fn renumbered(mut self, renumber: &Renumber) -> Option<Self> {
        if let Some(holder) = &mut self.holder {
            holder.port = renumber(holder.port)?;
        }
        Some(self)
    }

    pub(super) fn is_held_by(&self, client: &Client) -> bool {
        let is_kept = matches!(self.state, State::Offered | State::Bound);
        let is_client = |holder: &Client| holder.port == client.port && holder.id == client.id;
        is_kept && self.holder.as_ref().is_some_and(is_client)
    }
}

/// The addresses of one network.
#[derive(Debug)]
pub(crate) struct Table<A> {
    bindings: BTreeMap<A, Binding>,
    by_client: BTreeMap<Key, A>,
    /// All addresses of the range that may be lent.
    pool: BTreeSet<A>,
    /// Those of the pool of which nothing is remembered.
    unused: BTreeSet<A>,
    /// Idle ones, those first that have been so for the longest time.
    idle: BTreeSet<(Nanos, A)>,
    /// When the states of the others end.
    deadlines: BTreeSet<(Nanos, A)>,
    /// How many addresses of the pool each port holds.
    held: BTreeMap<PortIndex, usize>,
}

impl<A: Address> Table<A> {
    pub(crate) fn new(pool: BTreeSet<A>) -> Self {
        Self {
            bindings: BTreeMap::new(),
            by_client: BTreeMap::new(),
            unused: pool.clone(),
            pool,
            idle: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            held: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, address: A) -> Option<&Binding> {
        self.bindings.get(&address)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (A, &Binding)> {
        self.bindings.iter().map(|(address, binding)| (*address, binding))
    }

    /// All bindings, given away.
    pub(crate) fn into_bindings(self) -> impl Iterator<Item = (A, Binding)> {
        self.bindings.into_iter()
    }

    pub(crate) fn is_in_pool(&self, address: A) -> bool {
        self.pool.contains(&address)
    }

    pub(crate) fn is_unused(&self, address: A) -> bool {
        self.unused.contains(&address)
    }

    /// The address that a client has or had.
    pub(crate) fn of_client(&self, client: &Key) -> Option<(A, &Binding)> {
        let address = *self.by_client.get(client)?;
        Some((address, self.bindings.get(&address)?))
    }

    /// How many addresses of the pool a port holds.
    pub(crate) fn held_by(&self, port: PortIndex) -> usize {
        self.held.get(&port).copied().unwrap_or(0)
    }

    /// How many ports hold addresses of the pool.
    pub(crate) fn holding_ports(&self) -> usize {
        self.held.len()
    }

    /// How many addresses can be lent.
    pub(crate) fn free(&self) -> usize {
        self.unused.len() + self.idle.len()
    }

    /// The first unused address from `start` on; behind the last one comes the first one.
    pub(crate) fn unused_from(&self, start: A) -> Option<A> {
        self.unused.range(start..).next().or_else(|| self.unused.first()).copied()
    }

    /// The address that has been idle for the longest time.
    pub(crate) fn longest_idle(&self) -> Option<A> {
        self.idle.first().map(|(_, address)| *address)
    }

    /// The first and the last address of the pool.
    pub(crate) fn bounds(&self) -> Option<(A, A)> {
        Some((*self.pool.first()?, *self.pool.last()?))
    }

    /// Addresses whose state ends at `now` or before.
    pub(crate) fn due(&self, now: Nanos) -> Option<A> {
        self.deadlines.first().filter(|(until, _)| *until <= now).map(|(_, address)| *address)
    }

    /// When the next state ends.
    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Of the offers that end before `before`, the first one of the port that holds the most addresses, if that is more
    /// than one.
    pub(crate) fn offer_to_displace(&self, before: Nanos) -> Option<A> {
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
    pub(crate) fn put(&mut self, address: A, binding: Binding) -> Vec<A> {
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
    pub(crate) fn take(&mut self, address: A) -> Option<Binding> {
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
    fn charged(&self, address: A, binding: &Binding) -> Option<PortIndex> {
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
