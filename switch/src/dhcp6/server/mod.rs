//! The server of one network (RFC 8415, 18.3): a frame in, at most one frame out, at once.
//!
//! | message | answer |
//! |---|---|
//! | Solicit | Advertise with an address offered for each IA_NA; where both want a rapid commit, Reply with it lent |
//! | Request | Reply: each IA_NA is lent an address, NotOnLink if it names one of elsewhere, or NoAddrsAvail |
//! | Renew, Rebind | Reply: what is lent goes on; what is not the client's ends (lifetimes of 0), or NoBinding |
//! | Confirm | Reply: whether all addresses are ones of the link; none if there are none |
//! | Release, Decline | Reply: Success, and NoBinding for what the client does not hold |
//! | Information-request | Reply with what is asked for beside addresses |
//!
//! IA_TA gets NoAddrsAvail and IA_PD NoPrefixAvail when they are asked for, NoBinding when they are to go on.

mod answer;
mod settings;

use std::net::Ipv6Addr;

pub use settings::{BOOT_URL_MAX, Fixed, Parameters, Settings, SettingsError};

use super::association::{self, Association, AssociationKind};
use super::message::{Message, MessageType, Options, code, status};
use super::{ALL_SERVERS, Malformed, SERVER_PORT};
use crate::dhcp::datagram::{Envelope, open_v6};
use crate::dhcp::lending::{self, Client, ClientId, State, first_label};
use crate::dhcp::{self, Event};
use crate::domain::{self, DomainName};
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// The station of all servers and relays (RFC 2464, 7).
const ALL_SERVERS_MAC: MacAddress = MacAddress([0x33, 0x33, 0, 1, 0, 2]);

/// Tells whether an address is known to be used by somebody to whom it was not lent.
pub type Taken<'a> = lending::Taken<'a, Ipv6Addr>;

/// A message, and who sent it.
#[derive(Debug)]
struct Question {
    port: PortIndex,
    envelope: Envelope<Ipv6Addr>,
    message: Message,
    associations: Vec<Association>,
    host_name: Option<DomainName>,
}

/// What a message leads to: an answer, or nothing but a count.
type Outcome = Result<Message, Event>;

/// The server of one network.
pub type Server = dhcp::Server<Settings>;

impl Server {
    fn answer(
        &mut self,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken,
    ) -> Result<Vec<u8>, Event> {
        let question = self.accept(port, frame)?;
        if question.envelope.destination != ALL_SERVERS {
            return self.refuse_unicast(&question);
        }
        let mut answer = match question.message.kind {
            MessageType::Solicit => self.solicit(now, &question, taken),
            MessageType::Request => self.request(now, &question, taken),
            MessageType::Renew | MessageType::Rebind => self.extend(now, &question),
            MessageType::Confirm => self.confirm(&question),
            MessageType::Release => self.give_back(now, &question, Event::Release),
            MessageType::Decline => self.give_back(now, &question, Event::Decline),
            MessageType::InformationRequest => self.inform(&question),
            _ => Err(Event::NotARequest),
        }?;
        answer::put_parameters(&mut answer, &self.settings.parameters, &question);
        Ok(answer::frame(&self.settings, &question, &answer))
    }

    /// Takes a frame apart, and refuses what is not for us.
    fn accept(&self, port: PortIndex, frame: &[u8]) -> Result<Question, Event> {
        let (envelope, payload) = open_v6(frame).map_err(Malformed::from)?;
        let is_for_us = [ALL_SERVERS_MAC, self.settings.mac].contains(&envelope.destination_mac)
            && [ALL_SERVERS, self.settings.address].contains(&envelope.destination)
            && envelope.destination_port == SERVER_PORT;
        if !is_for_us {
            return Err(Event::NotForUs);
        }
        let message = Message::decode(payload)?;
        match message.kind {
            MessageType::RelayForward => return Err(Event::Relayed),
            MessageType::Advertise
            | MessageType::Reply
            | MessageType::Reconfigure
            | MessageType::RelayReply => return Err(Event::NotARequest),
            _ => {}
        }
        let associations = Association::all(&message.options)?;
        self.check_identifiers(&message, &associations)?;
        let host_name = message.options.get(code::CLIENT_NAME).and_then(client_name);
        let is_of_link = envelope.source.segments()[0] & 0xffc0 == 0xfe80;
        let question = Question { port, envelope, message, associations, host_name };
        if is_of_link { Ok(question) } else { Err(Event::InvalidRequest) }
    }

    /// RFC 8415, 16.2 to 16.12: which messages name a server and which must not, and who must say who he is.
    fn check_identifiers(&self, message: &Message, associations: &[Association]) -> Result<(), Event> {
        let client = association::duid(&message.options, code::CLIENT_ID)?;
        let server = message.options.get(code::SERVER_ID);
        let is_ours = server.is_some_and(|server| server == self.settings.duid());
        match message.kind {
            MessageType::InformationRequest => {
                if server.is_some() && !is_ours {
                    return Err(Event::OtherServer);
                }
                if !associations.is_empty() {
                    return Err(Event::InvalidRequest);
                }
                Ok(())
            }
            _ if client.is_none() => Err(Event::InvalidRequest),
            MessageType::Solicit | MessageType::Confirm | MessageType::Rebind if server.is_some() => {
                Err(Event::InvalidRequest)
            }
            MessageType::Solicit | MessageType::Confirm | MessageType::Rebind => Ok(()),
            _ if server.is_none() => Err(Event::InvalidRequest),
            _ if is_ours => Ok(()),
            _ => Err(Event::OtherServer),
        }
    }

    /// RFC 8415, 16 and 18.4: messages to all servers are thrown away, and others refused.
    fn refuse_unicast(&mut self, question: &Question) -> Result<Vec<u8>, Event> {
        match question.message.kind {
            MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline => {
                self.lender.counters.count(Event::Unicast);
                Ok(answer::use_multicast(&self.settings, question))
            }
            _ => Err(Event::Unicast),
        }
    }

    fn solicit(&mut self, now: Nanos, question: &Question, taken: &mut Taken) -> Outcome {
        self.lender.counters.count(Event::Discover);
        let is_rapid = question.message.options.get(code::RAPID_COMMIT).is_some();
        let kind = if is_rapid { MessageType::Reply } else { MessageType::Advertise };
        let mut answer = answer::begin(&self.settings, question, kind);
        if is_rapid {
            answer.options.put(code::RAPID_COMMIT, []);
        }
        for association in &question.associations {
            let within = self.grant(now, question, association, is_rapid, taken);
            answer::put(&mut answer, association, self.settings.lease_s, &within);
        }
        Ok(answer)
    }

    fn request(&mut self, now: Nanos, question: &Question, taken: &mut Taken) -> Outcome {
        self.lender.counters.count(Event::Request);
        let mut answer = answer::begin(&self.settings, question, MessageType::Reply);
        for association in &question.associations {
            let is_elsewhere =
                association.addresses.iter().any(|address| !self.settings.is_on_link(*address));
            let within = if is_elsewhere && association.kind != AssociationKind::Prefix {
                self.lender.counters.count(Event::Nak);
                answer::none(status::NOT_ON_LINK, "an address is not one of this network")
            } else {
                self.grant(now, question, association, true, taken)
            };
            answer::put(&mut answer, association, self.settings.lease_s, &within);
        }
        Ok(answer)
    }

    /// Offers or lends an address for an association, or says that there is none.
    fn grant(
        &mut self,
        now: Nanos,
        question: &Question,
        association: &Association,
        is_lent: bool,
        taken: &mut Taken,
    ) -> Options {
        let lease_s = self.settings.lease_s;
        match self.choose(now, question, association, taken) {
            Ok((address, client)) => {
                if is_lent {
                    self.lender.lend(now, address, lease_s, client);
                } else {
                    self.lender.offer(now, address, client);
                }
                let mut within = Options::new();
                answer::address(&mut within, address, lease_s);
                within
            }
            Err(event) => {
                self.lender.counters.count(event);
                answer::none(association.kind.none(), "there is none for you here")
            }
        }
    }

    fn choose(
        &mut self,
        now: Nanos,
        question: &Question,
        association: &Association,
        taken: &mut Taken,
    ) -> Result<(Ipv6Addr, Client), Event> {
        let client = question.client(association).ok_or(Event::NotLent)?;
        let address = self.lender.choose(now, &client, association.addresses.first().copied(), taken)?;
        Ok((address, client))
    }

    fn extend(&mut self, now: Nanos, question: &Question) -> Outcome {
        self.lender.counters.count(Event::Request);
        let mut answer = answer::begin(&self.settings, question, MessageType::Reply);
        let mut is_known = question.associations.is_empty();
        for association in &question.associations {
            let Some(within) = self.extended(now, question, association) else { continue };
            is_known = true;
            answer::put(&mut answer, association, self.settings.lease_s, &within);
        }
        if is_known { Ok(answer) } else { Err(Event::UnknownClient) }
    }

    /// What an association that is to go on is answered with. `None`: another server may know it.
    fn extended(&mut self, now: Nanos, question: &Question, association: &Association) -> Option<Options> {
        let client = question.client(association);
        let own = client.as_ref().and_then(|client| self.own(now, client, &association.addresses));
        let mut within = Options::new();
        if let (Some(address), Some(client)) = (own, client) {
            self.lender.lend(now, address, self.settings.lease_s, client);
            answer::address(&mut within, address, self.settings.lease_s);
        }
        for other in association.addresses.iter().filter(|address| Some(**address) != own) {
            if own.is_some() || !self.settings.is_on_link(*other) {
                answer::address(&mut within, *other, 0);
            }
        }
        if within.get(code::IA_ADDRESS).is_some() {
            return Some(within);
        }
        let is_ours = association.addresses.iter().any(|address| self.lender.is_ours(*address));
        if question.message.kind == MessageType::Rebind && !is_ours {
            return None;
        }
        self.lender.counters.count(Event::Nak);
        Some(answer::none(status::NO_BINDING, "that was not lent to you"))
    }

    /// The address with which a client may go on: its port's own, what it has, else one that it says it has and nobody was
    /// lent, so that clients survive that leases were lost.
    fn own(&mut self, now: Nanos, client: &Client, addresses: &[Ipv6Addr]) -> Option<Ipv6Addr> {
        if let Some(fixed) = self.lender.fixed(client) {
            return Some(fixed.address);
        }
        match self.lender.known(client) {
            Some((address, State::Offered | State::Bound)) => Some(address),
            Some((address, _)) => self.lender.admit(now, client).is_ok().then_some(address),
            None => {
                let unused =
                    addresses.iter().copied().find(|address| self.lender.table.is_unused(*address))?;
                self.lender.admit(now, client).is_ok().then_some(unused)
            }
        }
    }

    fn confirm(&mut self, question: &Question) -> Outcome {
        self.lender.counters.count(Event::Confirm);
        let mut addresses =
            question.associations.iter().flat_map(|association| &association.addresses).peekable();
        // RFC 8415, 18.3.3: a server that cannot tell sends nothing.
        addresses.peek().ok_or(Event::InvalidRequest)?;
        let mut answer = answer::begin(&self.settings, question, MessageType::Reply);
        if addresses.all(|address| self.settings.is_on_link(*address)) {
            answer::status(&mut answer.options, status::SUCCESS, "all are of this network");
        } else {
            self.lender.counters.count(Event::Nak);
            answer::status(&mut answer.options, status::NOT_ON_LINK, "an address is not one of this network");
        }
        Ok(answer)
    }

    /// Takes back what a client needs no more, or found in use.
    fn give_back(&mut self, now: Nanos, question: &Question, event: Event) -> Outcome {
        let mut answer = answer::begin(&self.settings, question, MessageType::Reply);
        answer::status(&mut answer.options, status::SUCCESS, "noted");
        for association in &question.associations {
            let client = question.client(association);
            let is_held = client.is_some_and(|client| self.take_back(now, association, &client, event));
            if !is_held {
                self.lender.counters.count(Event::NotHeld);
                let within = answer::none(status::NO_BINDING, "that was not lent to you");
                answer::put(&mut answer, association, 0, &within);
            }
        }
        Ok(answer)
    }

    /// Takes back the addresses of an association, and says whether its client held any of them, or named none.
    fn take_back(&mut self, now: Nanos, association: &Association, client: &Client, event: Event) -> bool {
        let mut is_held = association.addresses.is_empty() && self.lender.known(client).is_some();
        for address in &association.addresses {
            let taken = match event {
                Event::Decline => self.lender.decline(now, *address, client.clone()),
                _ => self.lender.release(now, *address, client),
            };
            if taken.is_ok() {
                self.lender.counters.count(event);
                is_held = true;
            }
        }
        is_held
    }

    fn inform(&mut self, question: &Question) -> Outcome {
        self.lender.counters.count(Event::Inform);
        Ok(answer::begin(&self.settings, question, MessageType::Reply))
    }
}

impl Question {
    /// Who asks for an address: the port, and the association's number with the client's identifier (RFC 8415, 12).
    fn client(&self, association: &Association) -> Option<Client> {
        if association.kind != AssociationKind::Address {
            return None;
        }
        let duid = self.message.options.get(code::CLIENT_ID)?;
        Some(Client {
            port: self.port,
            id: ClientId::new(&[&association.number, duid].concat())?,
            mac: self.envelope.source_mac,
            host_name: self.host_name.clone(),
        })
    }

    /// What the client says about its name (RFC 4704, 4.1), if it tells one.
    fn name_flags(&self) -> Option<u8> {
        self.message.options.get(code::CLIENT_NAME)?.first().copied()
    }
}

/// A client's name (RFC 4704, 4): flags, and a name with or without its root.
fn client_name(value: &[u8]) -> Option<DomainName> {
    let (_, name) = value.split_first()?;
    let with_root = [name, &[0]].concat();
    let names = domain::decode_plain(name).or_else(|_| domain::decode_plain(&with_root)).ok()?;
    first_label(names.first()?.as_str())
}

impl From<Malformed> for Event {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
