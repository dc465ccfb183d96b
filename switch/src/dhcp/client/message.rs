//! What a client says (RFC 2131, 4.4, tables 4 and 5).

use std::net::Ipv4Addr;

use super::super::datagram::{CLIENT_PORT, Envelope, SERVER_PORT, seal};
use super::super::lending::ClientId;
use super::super::options::code;
use super::super::{Message, MessageType, Operation};
use super::{ClientSettings, Lease};
use crate::mac::MacAddress;

/// What we want to know. Routes to prefixes come before routers (RFC 3442).
const WANTED: [u8; 8] = [
    code::SUBNET_MASK,
    code::CLASSLESS_ROUTES,
    code::ROUTERS,
    code::DNS_SERVERS,
    code::DOMAIN_NAME,
    code::DOMAIN_SEARCH,
    code::INTERFACE_MTU,
    code::NTP_SERVERS,
];

/// The longest IP datagram that we take.
const DATAGRAM_MAX: u16 = 1500;

/// A message on its way: the payload of a UDP datagram from port 68 to port 67.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Our address, unspecified as long as there is none.
    pub source: Ipv4Addr,
    /// The server's address, whose station the caller finds out by ARP; or the broadcast address.
    pub destination: Ipv4Addr,
    /// The datagram's payload.
    pub payload: Vec<u8>,
}

impl Outgoing {
    /// The frame that carries it from one station to another, or to all.
    #[must_use]
    pub fn frame(&self, source_mac: MacAddress, destination_mac: MacAddress) -> Vec<u8> {
        let envelope = Envelope {
            source_mac,
            destination_mac,
            source: self.source,
            destination: self.destination,
            source_port: CLIENT_PORT,
            destination_port: SERVER_PORT,
        };
        seal(&envelope, &self.payload)
    }
}

/// What is to be said.
pub(super) enum Request<'a> {
    /// Who has an address? This one, if possible.
    Discover(Option<Ipv4Addr>),
    /// I take what you offered.
    Select(&'a Lease),
    /// May I use this one again?
    Reboot(&'a Lease),
    /// May I go on? To its server.
    Renew(&'a Lease),
    /// May I go on? To all.
    Rebind(&'a Lease),
    /// Somebody uses it.
    Decline(&'a Lease),
    /// I need it no more.
    Release(&'a Lease),
}

impl Request<'_> {
    fn kind(&self) -> MessageType {
        match self {
            Self::Discover(_) => MessageType::Discover,
            Self::Decline(_) => MessageType::Decline,
            Self::Release(_) => MessageType::Release,
            _ => MessageType::Request,
        }
    }

    /// The address to be named in an option, where it is not in use yet.
    fn requested(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Discover(address) => *address,
            Self::Select(lease) | Self::Reboot(lease) | Self::Decline(lease) => Some(lease.address),
            _ => None,
        }
    }

    /// The server to be named.
    fn server(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Select(lease) | Self::Decline(lease) | Self::Release(lease) => Some(lease.server),
            _ => None,
        }
    }

    /// The address that is in use.
    fn current(&self) -> Ipv4Addr {
        match self {
            Self::Renew(lease) | Self::Rebind(lease) | Self::Release(lease) => lease.address,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    fn destination(&self) -> Ipv4Addr {
        match self {
            Self::Renew(lease) | Self::Release(lease) => lease.server,
            _ => Ipv4Addr::BROADCAST,
        }
    }
}

/// What a client is known by: type 1 and its hardware address, unless it is told otherwise.
pub(super) fn client_id(settings: &ClientSettings) -> Vec<u8> {
    settings.client_id.clone().unwrap_or_else(|| ClientId::of_mac(settings.mac).bytes().to_vec())
}

/// The message with all that belongs to it.
pub(super) fn outgoing(settings: &ClientSettings, xid: u32, seconds: u16, request: &Request<'_>) -> Outgoing {
    let mut message = Message::new(Operation::Request, xid, settings.mac);
    let is_asking = matches!(request.kind(), MessageType::Discover | MessageType::Request);
    message.seconds = if is_asking { seconds } else { 0 };
    message.ciaddr = request.current();
    let options = &mut message.options;
    options.set(code::MESSAGE_TYPE, [request.kind().number()]);
    options.set(code::CLIENT_IDENTIFIER, client_id(settings));
    if let Some(address) = request.requested() {
        options.set(code::REQUESTED_ADDRESS, address.octets());
    }
    if let Some(server) = request.server() {
        options.set(code::SERVER_IDENTIFIER, server.octets());
    }
    if is_asking {
        options.set(code::PARAMETER_REQUEST, WANTED);
        options.set(code::MAXIMUM_SIZE, DATAGRAM_MAX.to_be_bytes());
        if let Some(name) = &settings.host_name {
            options.set(code::HOST_NAME, name.as_str());
        }
    }
    let (payload, _) = message.encode(DATAGRAM_MAX);
    Outgoing { source: message.ciaddr, destination: request.destination(), payload }
}
