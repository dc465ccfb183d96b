//! Clients and what is lent to them.

use std::fmt;

use super::table::State;
use crate::domain::DomainName;
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// What a client is known by, within its port: option 61, else its hardware address (RFC 2131, 4.2). A client that sends
/// its hardware address as option 61 (type 1 and the address) is the same as one that sends none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(Vec<u8>);

/// The longest client identifier in bytes.
pub const CLIENT_ID_MAX: usize = 255;

impl ClientId {
    /// The identifier with these bytes, 1 to 255.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 1..=CLIENT_ID_MAX).then(|| Self(bytes.to_vec()))
    }

    /// The identifier of a client that sends none.
    #[must_use]
    pub fn of_mac(mac: MacAddress) -> Self {
        Self([&[1], mac.0.as_slice()].concat())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// What a client is found by: its port, and what it is known by there.
pub(crate) type Key = (PortIndex, ClientId);

/// Who asks for an address, or has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// The port at which it is.
    pub port: PortIndex,
    /// What it is known by there.
    pub id: ClientId,
    /// Its station.
    pub mac: MacAddress,
    /// How it calls itself.
    pub host_name: Option<DomainName>,
}

impl Client {
    pub(crate) fn key(&self) -> Key {
        (self.port, self.id.clone())
    }
}

/// An address that is lent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease<A> {
    /// The address.
    pub address: A,
    /// The port at which the client is.
    pub port: PortIndex,
    /// What the client is known by there.
    pub client: ClientId,
    /// Its station.
    pub mac: MacAddress,
    /// How it calls itself: the first label of what it said. Nobody vouches for it.
    pub host_name: Option<DomainName>,
    /// When the lease ends.
    pub until: Nanos,
}

/// An address of which something is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<A> {
    /// The address.
    pub address: A,
    /// What it is to its client.
    pub state: State,
    /// When the state ends; of an idle address, when it became so.
    pub until: Nanos,
    /// Who has it, had it, or declined it.
    pub client: Option<Client>,
}

/// How a client calls itself, if that is a name: its first label.
pub(crate) fn first_label(text: &str) -> Option<DomainName> {
    let name: DomainName = text.parse().ok()?;
    name.first_label().parse().ok()
}
