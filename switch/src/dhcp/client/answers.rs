//! Which answers of servers count, and what the client makes of them.

use super::{Client, ClientState, Lease, message};
use crate::dhcp::datagram::{self, CLIENT_PORT, SERVER_PORT};
use crate::dhcp::options::code;
use crate::dhcp::{Malformed, Message, MessageType, Operation};
use crate::mac::MacAddress;
use crate::time::Nanos;

impl Client {
    /// What came, if it is an answer to what was asked.
    pub(super) fn accept(&self, frame: &[u8]) -> Result<Option<(Message, MessageType)>, Malformed> {
        let (envelope, payload) = datagram::open(frame)?;
        let is_for_us = [self.settings.mac, MacAddress::BROADCAST].contains(&envelope.destination_mac);
        if !is_for_us || (envelope.source_port, envelope.destination_port) != (SERVER_PORT, CLIENT_PORT) {
            return Ok(None);
        }
        let message = Message::decode(payload)?;
        let is_answer = message.operation == Operation::Reply
            && message.xid == self.xid
            && message.chaddr == self.settings.mac;
        // RFC 6842, 3: an answer with another identifier is for another client.
        let echoed = message.options.get(code::CLIENT_IDENTIFIER);
        let is_ours = echoed.is_none_or(|id| id == message::client_id(&self.settings));
        let kind = message.kind()?;
        Ok(Some((message, kind)).filter(|_| is_answer && is_ours))
    }

    pub(super) fn hear(&mut self, now: Nanos, message: &Message, kind: MessageType) {
        let is_from_server = self.is_from_server(message);
        match (self.state, kind) {
            (ClientState::Selecting, MessageType::Offer) => self.hear_offer(now, message),
            (
                ClientState::Requesting
                | ClientState::Rebooting
                | ClientState::Renewing
                | ClientState::Rebinding,
                MessageType::Ack,
            ) if is_from_server => self.hear_ack(now, message),
            (
                ClientState::Requesting
                | ClientState::Rebooting
                | ClientState::Renewing
                | ClientState::Rebinding,
                MessageType::Nak,
            ) if is_from_server => self.hear_nak(now),
            _ => self.counters.ignored += 1,
        }
    }

    /// Whether an answer is of the server that was asked; where all were, of one that says who it is.
    fn is_from_server(&self, message: &Message) -> bool {
        let Ok(Some(server)) = message.options.address(code::SERVER_IDENTIFIER) else { return false };
        let asked = match self.state {
            ClientState::Requesting => self.wanted.as_ref(),
            ClientState::Renewing => self.lease.as_ref(),
            _ => None,
        };
        asked.is_none_or(|lease| lease.server == server)
    }

    fn hear_offer(&mut self, now: Nanos, message: &Message) {
        self.counters.offers += 1;
        match Lease::of(message, self.asked) {
            Ok(offer) => {
                self.wanted = Some(offer);
                self.state = ClientState::Requesting;
                self.attempt = 0;
                self.act(now);
            }
            Err(_) => self.counters.malformed += 1,
        }
    }

    fn hear_ack(&mut self, now: Nanos, message: &Message) {
        let Ok(lease) = Lease::of(message, self.asked) else {
            self.counters.malformed += 1;
            return;
        };
        let asked = if self.is_extending() { self.lease.as_ref() } else { self.wanted.as_ref() };
        if asked.is_none_or(|asked| asked.address != lease.address) {
            self.counters.ignored += 1;
            return;
        }
        self.counters.acknowledged += 1;
        if self.is_extending() { self.configure(now, lease) } else { self.probe(now, lease) }
    }

    fn hear_nak(&mut self, now: Nanos) {
        self.counters.refused += 1;
        self.lose();
        self.wait(now, 1, 9);
    }
}
