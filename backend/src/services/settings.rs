//! What the services of a network are to do.

use std::net::{IpAddr, SocketAddr};

use viaduct_switch::domain::DomainName;
use viaduct_switch::ids::NetworkIndex;
use viaduct_switch::security::Prefix;

/// The services of one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkServices {
    /// Whose services these are.
    pub network: NetworkIndex,
    /// The gateway's own addresses in the network, link-local ones too: those at which the services are reached.
    pub addresses: Vec<IpAddr>,
    /// The network's subnets: only who has an address of theirs is answered.
    pub subnets: Vec<Prefix>,
    /// The longest IP packet in the network, in bytes.
    pub mtu: u16,
    /// Names; `None`: the network has no name server.
    pub dns: Option<Dns>,
}

/// A network's name server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// The domain in which the guests' names are; `None`: they have no names but single labels.
    pub domain: Option<DomainName>,
    /// The name servers that are asked about all else, the first one first; none: those of the host's
    /// `/etc/resolv.conf`.
    pub upstream: Vec<SocketAddr>,
    /// Names that the configuration gives: those of guests with configured addresses, and others. A single label is a name in
    /// the domain.
    pub hosts: Vec<(DomainName, IpAddr)>,
}
