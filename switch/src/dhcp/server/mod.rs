//! The server of one network (RFC 2131, 4.3): a frame in, at most one frame out, at once.
//!
//! A switch knows more than a server on a wire: the port at which a client is. So clients are told apart by port and
//! identifier, and nobody gets or ends another port's lease whatever he claims to be. Answers go to the port that asked.
//!
//! ```text
//!            DISCOVER              REQUEST               the lease ends, RELEASE
//!   unused ------------> Offered ------------> Bound ----------------------------> Idle
//!      ^                    |                    |                                  |
//!      |  not taken up      |            DECLINE |                                  | somebody else
//!      +--------------------+                    v       ten minutes                | needs it
//!      |                                       Aside ------------+                  |
//!      +---------------------------------------------------------+------------------+
//! ```
//!
//! Every port has its share of the range, which falls as addresses get scarce ([`Event::ShareExceeded`]); ports with an
//! address of their own always get that one. All tables are bounded by the range and the number of ports.
//!
//! Who else uses an address is the caller's to know: it is asked before a new one is offered, by the `taken` argument of
//! [`Server::receive`], and may tell by [`Server::report_conflict`] what it learns later.

mod answer;
mod choice;
mod events;
mod lease;
mod settings;
mod table;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

pub use events::{Counters, Event};
pub use lease::{CLIENT_ID_MAX, ClientId, Lease};
pub use settings::{
    Boot, Fixed, LEASE_MAX_S, LEASE_MIN_S, LIST_MAX, Parameters, RANGE_MAX, Settings, SettingsError,
};

use super::datagram::{self, Envelope, SERVER_PORT};
use super::options::code;
use super::{Malformed, Message, MessageType, Operation};
use crate::domain::DomainName;
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;
use lease::{Holder, host_name};
use table::{Binding, State, Table};

/// For how long an offer is kept.
const OFFER_S: u32 = 60;

/// For how long an address in use is put aside.
const ASIDE_S: u32 = 600;

/// Tells whether an address is known to be used by somebody to whom it was not lent.
pub type Taken<'a> = dyn FnMut(Ipv4Addr) -> bool + 'a;

/// Who sent a message.
#[derive(Debug)]
struct Client {
    port: PortIndex,
    id: ClientId,
    mac: MacAddress,
    host_name: Option<DomainName>,
}

/// What a message leads to: a frame, or nothing but a count.
type Outcome = Result<Vec<u8>, Event>;

/// The server of one network.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    table: Table,
    counters: Counters,
    changed: BTreeSet<Ipv4Addr>,
}

impl Server {
    /// A server that has lent nothing yet.
    ///
    /// # Errors
    /// If the settings make no sense.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let table = Table::new(settings.pool());
        Ok(Self { settings, table, counters: Counters::default(), changed: BTreeSet::new() })
    }

    /// Takes new settings. Leases that fit them stay; the others are forgotten, and their clients are refused when they
    /// renew. Offers and what was put aside are forgotten.
    ///
    /// # Errors
    /// If the settings make no sense; then nothing changes.
    pub fn reconfigure(&mut self, now: Nanos, settings: Settings) -> Result<(), SettingsError> {
        let leases: Vec<Lease> = self.leases().collect();
        let mut next = Self::new(settings)?;
        for lease in leases {
            let address = lease.address;
            if !next.restore(now, lease) {
                self.changed.insert(address);
            }
        }
        (self.settings, self.table) = (next.settings, next.table);
        Ok(())
    }

    /// Puts back a lease of before, if it has not ended and the settings still allow it. Says whether it did.
    pub fn restore(&mut self, now: Nanos, lease: Lease) -> bool {
        let Lease { address, port, client, mac, host_name, until } = lease;
        let client = Client { port, id: client, mac, host_name };
        let may_have = match self.fixed(&client) {
            Some(fixed) => fixed.address == address,
            None => self.table.is_unused(address),
        };
        let fits = may_have && now < until && self.table.of_client(port, &client.id).is_none();
        if fits {
            self.table.put(address, Binding { state: State::Bound, until, holder: Some(client.into()) });
        }
        fits
    }

    /// Takes a frame that came by `port`, and gives the one to be sent back by it, if any. The frame has no VLAN tags, and
    /// its checksums are complete. A client may use an address once it got the frame: whoever keeps leases takes
    /// [`Server::take_changed`] before it is sent.
    pub fn receive(
        &mut self,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken,
    ) -> Option<Vec<u8>> {
        self.advance(now);
        match self.answer(now, port, frame, taken) {
            Ok(frame) => Some(frame),
            Err(event) => {
                self.counters.count(event);
                None
            }
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

    /// When [`Server::advance`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.table.next_deadline()
    }

    /// All that is lent, by address.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.table.iter().filter_map(|(address, binding)| lease_of(address, binding))
    }

    /// What is lent of an address.
    #[must_use]
    pub fn lease(&self, address: Ipv4Addr) -> Option<Lease> {
        self.table.get(address).and_then(|binding| lease_of(address, binding))
    }

    /// Addresses that were lent, went on being lent, or ceased to be, since this was last asked; see [`Server::lease`].
    pub fn take_changed(&mut self) -> BTreeSet<Ipv4Addr> {
        std::mem::take(&mut self.changed)
    }

    /// What happened, by name.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells that somebody uses an address of the range to whom it was not lent: it is put aside for ten minutes. Says
    /// whether it was free until now; what is lent or belongs to a port stays so.
    pub fn report_conflict(&mut self, now: Nanos, address: Ipv4Addr) -> bool {
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

    fn answer(&mut self, now: Nanos, port: PortIndex, frame: &[u8], taken: &mut Taken) -> Outcome {
        let (message, kind, client) = self.accept(port, frame)?;
        match kind {
            MessageType::Discover => self.discover(now, &message, client, taken),
            MessageType::Request => self.request(now, &message, client),
            MessageType::Decline => Err(self.decline(now, &message, client).err().unwrap_or(Event::Decline)),
            MessageType::Release => Err(self.release(now, &message, &client).err().unwrap_or(Event::Release)),
            MessageType::Inform => self.inform(&message, &client),
            MessageType::Offer | MessageType::Ack | MessageType::Nak => Err(Event::NotARequest),
        }
    }

    /// Takes a frame apart, and refuses what is not for us.
    fn accept(&mut self, port: PortIndex, frame: &[u8]) -> Result<(Message, MessageType, Client), Event> {
        let (envelope, payload) = datagram::open(frame)?;
        if !self.is_for_us(&envelope) {
            return Err(Event::NotForUs);
        }
        let message = Message::decode(payload)?;
        if message.operation != Operation::Request {
            return Err(Event::NotARequest);
        }
        if !message.giaddr.is_unspecified() {
            return Err(Event::Relayed);
        }
        if message.options.get(code::RELAY_INFORMATION).is_some() {
            self.counters.count(Event::RelayInformation);
        }
        let kind = message.kind()?;
        let id = ClientId::of(&message)?;
        let client = Client { port, id, mac: message.chaddr, host_name: host_name(&message.options) };
        Ok((message, kind, client))
    }

    fn is_for_us(&self, envelope: &Envelope) -> bool {
        let settings = &self.settings;
        let is_station = [MacAddress::BROADCAST, settings.mac].contains(&envelope.destination_mac);
        let addresses = [Ipv4Addr::BROADCAST, settings.address, settings.broadcast()];
        is_station && addresses.contains(&envelope.destination) && envelope.destination_port == SERVER_PORT
    }

    /// The address that belongs to the client's port, if it is the station that gets it.
    fn fixed(&self, client: &Client) -> Option<&Fixed> {
        let fixed = self.settings.fixed.get(&client.port)?;
        fixed.mac.is_none_or(|mac| mac == client.mac).then_some(fixed)
    }

    fn discover(&mut self, now: Nanos, message: &Message, client: Client, taken: &mut Taken) -> Outcome {
        self.counters.count(Event::Discover);
        let wanted = message.options.address(code::REQUESTED_ADDRESS)?;
        let lease_s = answer::lease_s(&self.settings, message)?;
        let address = self.choose(now, &client, wanted, taken)?;
        let frame = self.grant(message, MessageType::Offer, Some((address, lease_s)), &client)?;
        // What is lent stays so; a port's own address may be to the same station by another identifier.
        if self.table.get(address).is_none_or(|binding| binding.state != State::Bound) {
            self.bind(address, State::Offered, after(now, OFFER_S), client);
        }
        self.counters.count(Event::Offer);
        Ok(frame)
    }

    /// RFC 2131, 4.3.2 and table 5: what the client's state is says which fields are set.
    fn request(&mut self, now: Nanos, message: &Message, client: Client) -> Outcome {
        self.counters.count(Event::Request);
        let wanted = message.options.address(code::REQUESTED_ADDRESS)?;
        let server = message.options.address(code::SERVER_IDENTIFIER)?;
        let current = Some(message.ciaddr).filter(|address| !address.is_unspecified());
        match (server, wanted, current) {
            (Some(server), _, _) if server != self.settings.address => {
                self.withdraw_offer(&client);
                Err(Event::OtherServer)
            }
            // Selecting; an address of its own would be another one, or renewing with too much said.
            (Some(_), Some(wanted), None) => self.confirm(now, message, client, wanted, Knowledge::Needed),
            // Booting again with an address of before.
            (None, Some(wanted), None) => self.confirm(now, message, client, wanted, Knowledge::OrSilence),
            // Renewing or rebinding.
            (None, _, Some(current)) => self.confirm(now, message, client, current, Knowledge::Gained),
            _ => Err(Event::InvalidRequest),
        }
    }

    /// Lends a client the address that it asks for, or refuses.
    fn confirm(
        &mut self,
        now: Nanos,
        message: &Message,
        client: Client,
        address: Ipv4Addr,
        knowledge: Knowledge,
    ) -> Outcome {
        let lease_s = answer::lease_s(&self.settings, message)?;
        match self.may_have(now, &client, address, knowledge) {
            Ok(()) => {}
            Err(Refusal::Silent) => return Err(Event::UnknownClient),
            Err(Refusal::Told(reason)) => return Ok(self.refuse(message, reason)),
        }
        let frame = self.grant(message, MessageType::Ack, Some((address, lease_s)), &client)?;
        self.bind(address, State::Bound, after(now, lease_s), client);
        self.changed.insert(address);
        self.counters.count(Event::Ack);
        Ok(frame)
    }

    /// Whether a client may have exactly this address.
    fn may_have(
        &mut self,
        now: Nanos,
        client: &Client,
        address: Ipv4Addr,
        knowledge: Knowledge,
    ) -> Result<(), Refusal> {
        if !self.settings.is_station(address) {
            return Err(Refusal::Told("the address is not one of this network"));
        }
        if let Some(fixed) = self.fixed(client) {
            let is_own = fixed.address == address;
            return if is_own { Ok(()) } else { Err(Refusal::Told("the port has another address")) };
        }
        match self.known(client) {
            Some((found, _)) if found != address => Err(Refusal::Told("the client has another address")),
            Some((_, State::Offered | State::Bound)) => Ok(()),
            Some(_) => self.admit(now, client).map_err(|_| Refusal::Told("no address is left")),
            None if knowledge == Knowledge::OrSilence => Err(Refusal::Silent),
            None if knowledge == Knowledge::Needed => Err(Refusal::Told("the offer is over")),
            None if !self.is_ours(address) => Err(Refusal::Silent),
            None if !self.table.is_unused(address) => Err(Refusal::Told("the address is not the client's")),
            None => self.admit(now, client).map_err(|_| Refusal::Told("no address is left")),
        }
    }

    /// Whether the address is one that we lend, so that no other server does.
    fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.table.is_in_pool(address) || self.settings.fixed.values().any(|fixed| fixed.address == address)
    }

    fn inform(&mut self, message: &Message, client: &Client) -> Outcome {
        self.counters.count(Event::Inform);
        if !self.settings.is_station(message.ciaddr) {
            return Err(Event::InvalidRequest);
        }
        let frame = self.grant(message, MessageType::Ack, None, client)?;
        self.counters.count(Event::Ack);
        Ok(frame)
    }

    /// A port's own address stays its own.
    fn decline(&mut self, now: Nanos, message: &Message, client: Client) -> Result<(), Event> {
        let address = message.options.address(code::REQUESTED_ADDRESS)?.ok_or(Event::InvalidRequest)?;
        self.check_server(message)?;
        self.check_held(&client, address)?;
        if self.table.is_in_pool(address) {
            self.put_aside(now, address, Some(client.into()));
        } else {
            self.table.take(address);
            self.changed.insert(address);
        }
        Ok(())
    }

    fn release(&mut self, now: Nanos, message: &Message, client: &Client) -> Result<(), Event> {
        self.check_server(message)?;
        self.check_held(client, message.ciaddr)?;
        if let Some(binding) = self.table.take(message.ciaddr) {
            self.end_lease(now, message.ciaddr, binding);
        }
        Ok(())
    }

    /// Whether a message that need not name a server, but should, names us.
    fn check_server(&self, message: &Message) -> Result<(), Event> {
        let server = message.options.address(code::SERVER_IDENTIFIER)?;
        if server.is_none_or(|server| server == self.settings.address) {
            Ok(())
        } else {
            Err(Event::OtherServer)
        }
    }

    fn check_held(&self, client: &Client, address: Ipv4Addr) -> Result<(), Event> {
        let is_held = self.table.get(address).is_some_and(|binding| binding.is_held_by(client));
        if is_held { Ok(()) } else { Err(Event::NotHeld) }
    }

    /// A client that chose another server needs our offer no more (RFC 2131, 3.1, 4.).
    fn withdraw_offer(&mut self, client: &Client) {
        let known = self.table.of_client(client.port, &client.id);
        if let Some((address, State::Offered)) = known.map(|(address, binding)| (address, binding.state)) {
            self.table.take(address);
        }
    }

    fn bind(&mut self, address: Ipv4Addr, state: State, until: Nanos, client: Client) {
        let lost = self.table.put(address, Binding { state, until, holder: Some(client.into()) });
        self.changed.extend(lost);
    }

    /// What was lent from the range stays its client's until somebody else needs it.
    fn end_lease(&mut self, now: Nanos, address: Ipv4Addr, binding: Binding) {
        self.changed.insert(address);
        if self.table.is_in_pool(address) {
            self.table.put(address, Binding { state: State::Idle, until: now, ..binding });
        }
    }

    fn grant(
        &mut self,
        question: &Message,
        kind: MessageType,
        grant: answer::Grant,
        client: &Client,
    ) -> Outcome {
        let name = self.fixed(client).and_then(|fixed| fixed.host_name.as_ref());
        let (frame, left_out) = answer::grant(&self.settings, question, kind, grant, name)?;
        self.counters.add(Event::OptionLeftOut, u64::try_from(left_out).unwrap_or(0));
        Ok(frame)
    }

    fn refuse(&mut self, question: &Message, reason: &str) -> Vec<u8> {
        self.counters.count(Event::Nak);
        answer::refuse(&self.settings, question, reason)
    }
}

/// What a server must know of a client that asks for an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// It offered the address, else it refuses.
    Needed,
    /// It lent the address, else it leaves the answer to others (RFC 2131, 4.3.2).
    OrSilence,
    /// Nothing: the client uses the address, and goes on doing so if it is nobody else's. So a client survives that leases
    /// were lost.
    Gained,
}

/// How a client is refused.
enum Refusal {
    Silent,
    Told(&'static str),
}

impl Binding {
    fn is_held_by(&self, client: &Client) -> bool {
        let is_kept = matches!(self.state, State::Offered | State::Bound);
        let is_client = |holder: &Holder| holder.port == client.port && holder.client == client.id;
        is_kept && self.holder.as_ref().is_some_and(is_client)
    }
}

impl From<Client> for Holder {
    fn from(client: Client) -> Self {
        let Client { port, id, mac, host_name } = client;
        Self { port, client: id, mac, host_name }
    }
}

impl From<Malformed> for Event {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NoType | Malformed::NoCookie => Self::Bootp,
            _ => Self::Malformed,
        }
    }
}

fn lease_of(address: Ipv4Addr, binding: &Binding) -> Option<Lease> {
    let holder = binding.holder.as_ref().filter(|_| binding.state == State::Bound)?;
    Some(Lease {
        address,
        port: holder.port,
        client: holder.client.clone(),
        mac: holder.mac,
        host_name: holder.host_name.clone(),
        until: binding.until,
    })
}

/// The moment `seconds` after `now`.
fn after(now: Nanos, seconds: u32) -> Nanos {
    Nanos(now.0.saturating_add(Nanos::from_seconds(seconds).0))
}

#[cfg(test)]
mod tests;
