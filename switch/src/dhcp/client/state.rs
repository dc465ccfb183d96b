//! What a client is told, what it asks for, and where it stands.

use std::net::Ipv4Addr;

use super::Lease;
use crate::domain::DomainName;
use crate::mac::MacAddress;

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSettings {
    /// The interface's address.
    pub mac: MacAddress,
    /// What to be known by, 2 to 255 bytes; `None`: the interface's address.
    pub client_id: Option<Vec<u8>>,
    /// Our name, which many servers pass on to DNS.
    pub host_name: Option<DomainName>,
}

/// Something that the caller has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    /// Find out whether somebody uses the address, and tell by [`Client::probed`](super::Client::probed).
    Probe(Ipv4Addr),
    /// Use this, instead of what was there before, and keep it.
    Configured(Lease),
    /// The address is ours no more.
    Lost(Ipv4Addr),
}

/// Where the client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientState {
    /// There is no link.
    Down,
    /// It waits before it begins.
    Waiting,
    /// It looks for servers.
    Selecting,
    /// It asked for what a server offered.
    Requesting,
    /// It asked to go on with the lease of before.
    Rebooting,
    /// The caller finds out whether somebody uses the address.
    Probing,
    /// It has an address.
    Bound,
    /// It asked its server to go on.
    Renewing,
    /// It asked all servers to go on.
    Rebinding,
}

impl ClientState {
    /// In words of RFC 2131, 4.4 (figure 5), as far as it has one for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Waiting => "waiting",
            Self::Selecting => "selecting",
            Self::Requesting => "requesting",
            Self::Rebooting => "rebooting",
            Self::Probing => "probing",
            Self::Bound => "bound",
            Self::Renewing => "renewing",
            Self::Rebinding => "rebinding",
        }
    }
}
