//! Clients and what is lent to them.

use std::fmt;
use std::net::Ipv4Addr;

use super::super::options::{Options, code};
use super::super::{Malformed, Message};
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

    /// What a client says of itself. An identifier has at least a type and a byte (RFC 2132, 9.14).
    pub(super) fn of(message: &Message) -> Result<Self, Malformed> {
        let Some(value) = message.options.get(code::CLIENT_IDENTIFIER) else {
            return Ok(Self::of_mac(message.chaddr));
        };
        let malformed = Malformed::OptionLength { code: code::CLIENT_IDENTIFIER, length: value.len() };
        Self::new(value).filter(|id| id.0.len() >= 2).ok_or(malformed)
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

/// Who has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pub(super) port: PortIndex,
    pub(super) client: ClientId,
    pub(super) mac: MacAddress,
    pub(super) host_name: Option<DomainName>,
}

impl Holder {
    pub(super) fn key(&self) -> (PortIndex, ClientId) {
        (self.port, self.client.clone())
    }
}

/// An address that is lent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
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

/// How a client calls itself (option 12), if that is a name: its first label.
pub(super) fn host_name(options: &Options) -> Option<DomainName> {
    let name: DomainName = options.text(code::HOST_NAME)?.parse().ok()?;
    name.first_label().parse().ok()
}
