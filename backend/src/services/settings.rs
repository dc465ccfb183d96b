//! What the services of a network are to do.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use viaduct_switch::domain::DomainName;
use viaduct_switch::ids::{NetworkIndex, PortIndex};
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
    /// What guests are told about themselves; `None`: nothing.
    pub metadata: Option<Metadata>,
    /// The network's name, and those of the ports in it: what a metadata server knows guests by.
    pub name: String,
    /// See `name`.
    pub ports: Vec<(PortIndex, String)>,
}

/// Where a network's metadata come from: 169.254.169.254 and `fd00:ec2::254`, port 80, lead there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The server.
    pub target: Target,
    /// Whether the PROXY protocol's header (version 2) tells it the guest's address, port and network. A server that serves
    /// several guests needs it: addresses alone can be claimed by guests without port security.
    pub announces_port: bool,
}

/// How a server of the host's is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// By a Unix socket.
    Unix(PathBuf),
    /// By TCP.
    Address(SocketAddr),
}

/// A network's name server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// The domain in which the guests' names are; `None`: they have no names but single labels.
    pub domain: Option<DomainName>,
    /// The name servers that are asked about all else, the first one first; none: those of the host's
    /// `/etc/resolv.conf`.
    pub upstream: Vec<SocketAddr>,
    /// By which uplink they are asked; `None`: by the host's own sockets.
    pub uplink: Option<Uplink>,
    /// Names that the configuration gives: those of guests with configured addresses, and others. A single label is a name in
    /// the domain.
    pub hosts: Vec<(DomainName, IpAddr)>,
}

/// The gateway's own side of an uplink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uplink {
    /// The uplink's network: packets of the services leave by it, and answers come in from it.
    pub network: NetworkIndex,
    /// The gateway's own addresses out there, of which the first one of each version of IP is used.
    pub addresses: Vec<IpAddr>,
    /// The longest IP packet out there, in bytes.
    pub mtu: u16,
}
