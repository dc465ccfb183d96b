//! The server of one network (RFC 2131, 4.3): a frame in, at most one frame out, at once.
//!
//! A switch knows more than a server on a wire: the port at which a client is. So clients are told apart by port and
//! identifier, and nobody gets or ends another port's lease whatever he claims to be. Answers go to the port that asked.
//!
//! What becomes of the addresses is [`super::lending`]'s to know; a DISCOVER has one offered, a REQUEST lent.
//!
//! Who else uses an address is the caller's to know: it is asked before a new one is offered, by the `taken` argument of
//! [`Server::receive`], and may tell by [`Lender::report_conflict`](lending::Lender::report_conflict) what it learns later.

mod answer;
mod settings;

use std::net::Ipv4Addr;

pub use settings::{
    Boot, Fixed, LEASE_MAX_S, LEASE_MIN_S, LIST_MAX, Parameters, RANGE_MAX, Settings, SettingsError,
};

use super::datagram::{self, Envelope, SERVER_PORT};
use super::lending::{self, Client, ClientId, State, first_label};
use super::options::code;
use super::{Event, Malformed, Message, MessageType, Operation, serving};
use crate::domain::DomainName;
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// Tells whether an address is known to be used by somebody to whom it was not lent.
pub type Taken<'a> = lending::Taken<'a, Ipv4Addr>;

/// An address that is lent.
pub type Lease = lending::Lease<Ipv4Addr>;

/// What a message leads to: a frame, or nothing but a count.
type Outcome = Result<Vec<u8>, Event>;

/// The server of one network.
pub type Server = serving::Server<Settings>;

impl Server {
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
            self.lender.counters.count(Event::RelayInformation);
        }
        let kind = message.kind()?;
        let id = client_id(&message)?;
        let client = Client { port, id, mac: message.chaddr, host_name: host_name(&message) };
        Ok((message, kind, client))
    }

    fn is_for_us(&self, envelope: &Envelope) -> bool {
        let settings = &self.settings;
        let is_station = [MacAddress::BROADCAST, settings.mac].contains(&envelope.destination_mac);
        let addresses = [Ipv4Addr::BROADCAST, settings.address, settings.broadcast()];
        is_station && addresses.contains(&envelope.destination) && envelope.destination_port == SERVER_PORT
    }

    fn discover(&mut self, now: Nanos, message: &Message, client: Client, taken: &mut Taken) -> Outcome {
        self.lender.counters.count(Event::Discover);
        let wanted = message.options.address(code::REQUESTED_ADDRESS)?;
        let lease_s = answer::lease_s(&self.settings, message)?;
        let address = self.lender.choose(now, &client, wanted, taken)?;
        let frame = self.grant(message, MessageType::Offer, Some((address, lease_s)), &client)?;
        self.lender.offer(now, address, client);
        Ok(frame)
    }

    /// RFC 2131, 4.3.2 and table 5: what the client's state is says which fields are set.
    fn request(&mut self, now: Nanos, message: &Message, client: Client) -> Outcome {
        self.lender.counters.count(Event::Request);
        let wanted = message.options.address(code::REQUESTED_ADDRESS)?;
        let server = message.options.address(code::SERVER_IDENTIFIER)?;
        let current = Some(message.ciaddr).filter(|address| !address.is_unspecified());
        match (server, wanted, current) {
            (Some(server), _, _) if server != self.settings.address => {
                self.lender.withdraw_offer(&client);
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
        self.lender.lend(now, address, lease_s, client);
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
        if let Some(fixed) = self.lender.fixed(client) {
            let is_own = fixed.address == address;
            return if is_own { Ok(()) } else { Err(Refusal::Told("the port has another address")) };
        }
        match self.lender.known(client) {
            Some((found, _)) if found != address => Err(Refusal::Told("the client has another address")),
            Some((_, State::Offered | State::Bound)) => Ok(()),
            Some(_) => self.lender.admit(now, client).map_err(|_| Refusal::Told("no address is left")),
            None if knowledge == Knowledge::OrSilence => Err(Refusal::Silent),
            None if knowledge == Knowledge::Needed => Err(Refusal::Told("the offer is over")),
            None if !self.lender.is_ours(address) => Err(Refusal::Silent),
            None if !self.lender.table.is_unused(address) => {
                Err(Refusal::Told("the address is not the client's"))
            }
            None => self.lender.admit(now, client).map_err(|_| Refusal::Told("no address is left")),
        }
    }

    fn inform(&mut self, message: &Message, client: &Client) -> Outcome {
        self.lender.counters.count(Event::Inform);
        if !self.settings.is_station(message.ciaddr) {
            return Err(Event::InvalidRequest);
        }
        let frame = self.grant(message, MessageType::Ack, None, client)?;
        self.lender.counters.count(Event::Ack);
        Ok(frame)
    }

    fn decline(&mut self, now: Nanos, message: &Message, client: Client) -> Result<(), Event> {
        let address = message.options.address(code::REQUESTED_ADDRESS)?.ok_or(Event::InvalidRequest)?;
        self.check_server(message)?;
        self.lender.decline(now, address, client)
    }

    fn release(&mut self, now: Nanos, message: &Message, client: &Client) -> Result<(), Event> {
        self.check_server(message)?;
        self.lender.release(now, message.ciaddr, client)
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

    fn grant(
        &mut self,
        question: &Message,
        kind: MessageType,
        grant: answer::Grant,
        client: &Client,
    ) -> Outcome {
        let name = self.lender.fixed(client).and_then(|fixed| fixed.host_name.as_ref());
        let (frame, left_out) = answer::grant(&self.settings, question, kind, grant, name)?;
        self.lender.counters.add(Event::OptionLeftOut, u64::try_from(left_out).unwrap_or(0));
        Ok(frame)
    }

    fn refuse(&mut self, question: &Message, reason: &str) -> Vec<u8> {
        self.lender.counters.count(Event::Nak);
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

impl From<Malformed> for Event {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NoType | Malformed::NoCookie => Self::Bootp,
            _ => Self::Malformed,
        }
    }
}

/// What a client says of itself. An identifier has at least a type and a byte (RFC 2132, 9.14).
fn client_id(message: &Message) -> Result<ClientId, Malformed> {
    let Some(value) = message.options.get(code::CLIENT_IDENTIFIER) else {
        return Ok(ClientId::of_mac(message.chaddr));
    };
    let malformed = Malformed::OptionLength { code: code::CLIENT_IDENTIFIER, length: value.len() };
    ClientId::new(value).filter(|id| id.bytes().len() >= 2).ok_or(malformed)
}

/// How a client calls itself (option 12), if that is a name.
fn host_name(message: &Message) -> Option<DomainName> {
    first_label(message.options.text(code::HOST_NAME)?)
}

#[cfg(test)]
mod tests;
