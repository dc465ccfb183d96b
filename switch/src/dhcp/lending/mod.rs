//! What servers of IPv4 and IPv6 have in common: who is lent which address of a range, and for how long.
//!
//! ```text
//!             offered               lent                the lease ends, is given back
//!   unused ------------> Offered ------------> Bound ----------------------------> Idle
//!      ^                    |                    |                                  |
//!      |  not taken up      |           declined |                                  | somebody else
//!      +--------------------+                    v       ten minutes                | needs it
//!      |                                       Aside ------------+                  |
//!      +---------------------------------------------------------+------------------+
//! ```
//!
//! Clients are told apart by port and identifier, and nobody gets or ends another port's lease. Every port has its share of
//! the range ([`Event::ShareExceeded`]); ports with an address of their own always get that one. All tables are bounded by
//! the range and the number of ports.

mod address;
mod choice;
mod lease;
mod table;

use std::collections::{BTreeMap, BTreeSet};

pub use address::Address;
pub(crate) use lease::first_label;
pub use lease::{CLIENT_ID_MAX, Client, ClientId, Entry, Lease};
pub use table::State;
pub(crate) use table::{Binding, Table};

use super::events::{Counters, Event};
use crate::domain::DomainName;
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// For how long an offer is kept.
const OFFER_S: u32 = 60;

/// For how long an address in use is put aside.
const ASIDE_S: u32 = 600;

/// Tells whether an address is known to be used by somebody to whom it was not lent.
pub type Taken<'a, A> = dyn FnMut(A) -> bool + 'a;

/// The address that belongs to a port. No other port ever gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fixed<A> {
    /// The station that gets it; `None`: whichever station asks at this port.
    pub mac: Option<MacAddress>,
    /// Its address.
    pub address: A,
    /// Its name, which it is told.
    pub host_name: Option<DomainName>,
}

/// What may be lent, and to whom.
#[derive(Clone, Debug)]
pub struct Rules<A> {
    /// All addresses that are lent to whoever asks.
    pub pool: BTreeSet<A>,
    /// How many ports may yet ask for one of them: one is kept for each that holds none.
    pub ports: usize,
    /// Ports with many stations behind them, such as uplinks: these may hold whatever is not kept for others.
    pub wide_ports: BTreeSet<PortIndex>,
    /// Ports that are held to addresses of their own, and so could use none of the range.
    pub held_ports: BTreeSet<PortIndex>,
    /// Addresses that belong to ports.
    pub fixed: BTreeMap<PortIndex, Fixed<A>>,
}

/// Which port has which number now; `None`: it is gone.
pub type Renumber<'a> = dyn Fn(PortIndex) -> Option<PortIndex> + 'a;

/// What is lent of one network's addresses.
#[derive(Debug)]
pub struct Lender<A> {
    rules: Rules<A>,
    pub(crate) table: Table<A>,
    pub(crate) counters: Counters,
    changed: BTreeSet<A>,
}

impl<A: Address> Lender<A> {
    /// One that has lent nothing yet.
    pub(crate) fn new(mut rules: Rules<A>) -> Self {
        let table = Table::new(std::mem::take(&mut rules.pool));
        Self { rules, table, counters: Counters::default(), changed: BTreeSet::new() }
    }

    /// Takes new rules. What fits them stays; the rest is forgotten.
    pub(crate) fn change(&mut self, mut rules: Rules<A>, renumber: &Renumber) {
        let table = Table::new(std::mem::take(&mut rules.pool));
        self.rules = rules;
        for (address, binding) in std::mem::replace(&mut self.table, table).into_bindings() {
            let was_lent = binding.state == State::Bound;
            let is_kept = binding.renumbered(renumber).is_some_and(|binding| self.adopt(address, binding));
            if was_lent && !is_kept {
                self.changed.insert(address);
            }
        }
    }

    /// Puts back a lease of before, if it has not ended and the settings still allow it. Says whether it did.
    pub fn restore(&mut self, now: Nanos, lease: Lease<A>) -> bool {
        let Lease { address, port, client, mac, host_name, until } = lease;
        let holder = Client { port, id: client, mac, host_name };
        now < until && self.adopt(address, Binding { state: State::Bound, until, holder: Some(holder) })
    }

    fn adopt(&mut self, address: A, binding: Binding) -> bool {
        let own = binding.holder.as_ref().and_then(|holder| self.fixed(holder));
        let is_held =
            binding.holder.as_ref().is_some_and(|holder| self.rules.held_ports.contains(&holder.port));
        let may_have =
            own.map_or_else(|| !is_held && self.table.is_unused(address), |own| own.address == address);
        let has_other = |holder: &Client| self.table.of_client(&holder.key()).is_some();
        let fits =
            may_have && self.table.get(address).is_none() && !binding.holder.as_ref().is_some_and(has_other);
        if fits {
            self.table.put(address, binding);
        }
        fits
    }

    /// Undoes what could not be noted about an address: what was noted before holds again.
    pub fn revert(&mut self, now: Nanos, address: A, noted: Option<Lease<A>>) {
        self.table.take(address);
        if let Some(lease) = noted {
            self.restore(now, lease);
        }
    }

    /// Ends what is over at `now`.
    pub fn advance(&mut self, now: Nanos) {
        while let Some(address) = self.table.due(now) {
            let Some(binding) = self.table.take(address) else { return };
            match binding.state {
                State::Bound => {
                    self.end_lease(now, address, binding);
                    self.counters.count(Event::Expired);
                }
                State::Offered => self.counters.count(Event::OfferExpired),
                State::Aside | State::Idle => {}
            }
        }
    }

    /// When [`Lender::advance`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.table.next_deadline()
    }

    /// All that is lent, by address.
    pub fn leases(&self) -> impl Iterator<Item = Lease<A>> {
        self.table.iter().filter_map(|(address, binding)| lease_of(address, binding))
    }

    /// What is lent of an address.
    #[must_use]
    pub fn lease(&self, address: A) -> Option<Lease<A>> {
        self.table.get(address).and_then(|binding| lease_of(address, binding))
    }

    /// What an address is to its client; `None`: nothing is known of it.
    #[must_use]
    pub fn state(&self, address: A) -> Option<State> {
        self.table.get(address).map(|binding| binding.state)
    }

    /// All addresses of which something is known.
    pub fn entries(&self) -> impl Iterator<Item = Entry<A>> {
        self.table.iter().map(|(address, binding)| entry_of(address, binding))
    }

    /// Addresses that were lent, went on being lent, or ceased to be, since this was last asked; see [`Lender::lease`].
    pub fn take_changed(&mut self) -> BTreeSet<A> {
        std::mem::take(&mut self.changed)
    }

    /// What happened, by name.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tells that somebody uses an address of the range to whom it was not lent: it is put aside for ten minutes. Says
    /// whether it was free until now; what is lent or belongs to a port stays so.
    pub fn report_conflict(&mut self, now: Nanos, address: A) -> bool {
        let is_idle = self.table.get(address).is_none_or(|binding| binding.state == State::Idle);
        let is_free = self.table.is_in_pool(address) && is_idle;
        if is_free {
            self.put_aside(now, address, None);
            self.counters.count(Event::Conflict);
        }
        is_free
    }

    /// Forgets all that a port holds, since the port is gone.
    pub fn remove_port(&mut self, port: PortIndex) {
        let is_of_port =
            |binding: &Binding| binding.holder.as_ref().is_some_and(|holder| holder.port == port);
        let held = self.table.iter().filter(|(_, binding)| is_of_port(binding));
        for address in held.map(|(address, _)| address).collect::<Vec<_>>() {
            self.table.take(address);
            self.changed.insert(address);
        }
    }

    /// The address that belongs to the client's port, if it is the station that gets it.
    pub(crate) fn fixed(&self, client: &Client) -> Option<&Fixed<A>> {
        let fixed = self.rules.fixed.get(&client.port)?;
        fixed.mac.is_none_or(|mac| mac == client.mac).then_some(fixed)
    }

    /// Whether the address is one that we lend, so that no other server does.
    pub(crate) fn is_ours(&self, address: A) -> bool {
        self.table.is_in_pool(address) || self.rules.fixed.values().any(|fixed| fixed.address == address)
    }

    /// Offers an address. What is lent stays so; a port's own address may be to the same station by another identifier.
    pub(crate) fn offer(&mut self, now: Nanos, address: A, client: Client) {
        if self.table.get(address).is_none_or(|binding| binding.state != State::Bound) {
            self.bind(address, State::Offered, after(now, OFFER_S), client);
        }
        self.counters.count(Event::Offer);
    }

    /// Lends an address.
    pub(crate) fn lend(&mut self, now: Nanos, address: A, lease_s: u32, client: Client) {
        self.bind(address, State::Bound, after(now, lease_s), client);
        self.changed.insert(address);
        self.counters.count(Event::Ack);
    }

    fn bind(&mut self, address: A, state: State, until: Nanos, client: Client) {
        let lost = self.table.put(address, Binding { state, until, holder: Some(client) });
        self.changed.extend(lost);
    }

    /// Takes back what a client gives back.
    ///
    /// # Errors
    /// [`Event::NotHeld`].
    pub(crate) fn release(&mut self, now: Nanos, address: A, client: &Client) -> Result<(), Event> {
        self.check_held(client, address)?;
        if let Some(binding) = self.table.take(address) {
            self.end_lease(now, address, binding);
        }
        Ok(())
    }

    /// Puts aside what a client found in use. A port's own address stays its own.
    ///
    /// # Errors
    /// [`Event::NotHeld`].
    pub(crate) fn decline(&mut self, now: Nanos, address: A, client: Client) -> Result<(), Event> {
        self.check_held(&client, address)?;
        if self.table.is_in_pool(address) {
            self.put_aside(now, address, Some(client));
        } else {
            self.table.take(address);
            self.changed.insert(address);
        }
        Ok(())
    }

    fn check_held(&self, client: &Client, address: A) -> Result<(), Event> {
        let is_held = self.table.get(address).is_some_and(|binding| binding.is_held_by(client));
        if is_held { Ok(()) } else { Err(Event::NotHeld) }
    }

    /// A client that chose another server needs our offer no more.
    pub(crate) fn withdraw_offer(&mut self, client: &Client) {
        let known = self.table.of_client(&client.key());
        if let Some((address, State::Offered)) = known.map(|(address, binding)| (address, binding.state)) {
            self.table.take(address);
        }
    }

    /// What was lent from the range stays its client's until somebody else needs it.
    fn end_lease(&mut self, now: Nanos, address: A, binding: Binding) {
        self.changed.insert(address);
        if self.table.is_in_pool(address) {
            self.table.put(address, Binding { state: State::Idle, until: now, ..binding });
        }
    }
}

fn lease_of<A: Copy>(address: A, binding: &Binding) -> Option<Lease<A>> {
    let holder = binding.holder.as_ref().filter(|_| binding.state == State::Bound)?;
    Some(Lease {
        address,
        port: holder.port,
        client: holder.id.clone(),
        mac: holder.mac,
        host_name: holder.host_name.clone(),
        until: binding.until,
    })
}

fn entry_of<A>(address: A, binding: &Binding) -> Entry<A> {
    Entry { address, state: binding.state, until: binding.until, client: binding.holder.clone() }
}

/// The moment `seconds` after `now`.
fn after(now: Nanos, seconds: u32) -> Nanos {
    Nanos(now.0.saturating_add(Nanos::from_seconds(seconds).0))
}
