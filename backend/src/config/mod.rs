//! The desired state: one TOML file, checked as a whole.
//!
//! [`load()`] reads a file and [`parse`] a text. Either gives a [`Config`] in which everything is checked and every
//! default is filled in, or all that is wrong at once, each [`Problem`] with line, column, field, what was found
//! and what would be right. The fields that exist are data ([`schema`]); the rest of the folder is a small
//! toolkit that reads typed values and goes on after an error.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use viaduct_switch::security::Prefix;
use viaduct_switch::spanning_tree::TreeSettings;
use viaduct_switch::{JudgeLimits, MacAddress, Priority, StormLimits, TagTypes, VlanId};

mod addresses;
mod addressing;
mod bond;
pub mod compile;
mod cross;
mod dhcp;
mod dhcp6;
mod dns;
mod gateway;
mod groups;
mod host;
mod interface;
mod json_schema;
mod load;
mod membership;
mod names;
mod nat;
mod network;
mod outside;
mod overlay;
mod port;
mod port_security;
mod problem;
mod publish;
mod qos;
mod reader;
mod router;
mod routing;
pub mod schema;
pub(crate) mod spanning_tree;
mod storm;
mod switch;
#[cfg(test)]
mod tests;
mod uplink;
mod values;
mod vlans;

pub use self::bond::{Bond, BondMode, Probing};
pub use self::spanning_tree::UplinkStp;
pub use addresses::Subnet;
pub(crate) use addresses::is_station as is_station_address;
pub use addressing::Addressing;
pub use dhcp::Dhcp;
pub use dhcp6::{AdvertisingMode, Dhcp6};
pub use dns::{AskedVia, Dns};
pub use gateway::{GatewaySettings, Metadata, MetadataServer};
pub use groups::{DEFAULT_GROUP, Egress, Group, GroupRule};
#[cfg(test)]
pub(crate) use host::PlainHost;
pub use host::{Host, InterfaceUse, ThisHost, group_of};
pub(crate) use interface::NAMED_NAMESPACES;
pub use json_schema::json_schema;
pub use load::{FILE_SIZE_MAX, Loaded, load, parse, read};
pub(crate) use membership::written as written_tag_types;
pub use membership::{Membership, Trunk};
pub(crate) use names::is_name;
pub use nat::{Filtering, Mapping, NatOptions, PrefixPair, SourceRule, SourceTarget};
pub(crate) use overlay::fits as fits_subnets;
pub use overlay::{Overlay, OverlayKind, STATIONS_MAX, StaticStation, VTEPS_MAX};
pub use port::{default_mac, type_name};
pub use port_security::{AddressPair, PortSecurity};
pub use problem::{ConfigError, Problem, WrongFile};
pub use publish::{PortProtocol, Publication};
pub use qos::{Filter, Police, Qos, Tree};
pub(crate) use qos::{advice as qos_advice, queue_name, users as qos_users, written_marking, written_rate};
pub use router::{Router, StaticRoute};
pub(crate) use storm::{written as written_limit, written_in as written_limit_in};
pub use switch::Confinement;
pub(crate) use values::duration_of;

/// Where `viaduct run` looks for its file unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/viaduct/viaduct.toml";

/// Name of the API's socket inside of `runtime_dir`.
pub const API_SOCKET: &str = "api.sock";

/// The whole file, checked and with every default filled in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// The process.
    pub switch: SwitchSettings,
    /// Broadcast domains by name.
    pub networks: BTreeMap<String, Network>,
    /// Ports by name.
    pub ports: BTreeMap<String, Port>,
    /// Ways to the outside by name; none has the name of a port.
    pub uplinks: BTreeMap<String, Uplink>,
    /// Routers between networks by name.
    pub routers: BTreeMap<String, Router>,
    /// What ports are held to, by name.
    pub qos: BTreeMap<String, Qos>,
    /// Security groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Address groups by name.
    pub address_groups: BTreeMap<String, Vec<Prefix>>,
}

/// `[switch]`: everything about the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwitchSettings {
    /// The guests' sockets and the API's.
    pub runtime_dir: PathBuf,
    /// What survives a restart.
    pub state_dir: PathBuf,
    /// One worker each.
    pub cpus: Vec<usize>,
    /// How a worker waits for frames.
    pub polling: Polling,
    /// Whether what flow caches replay is decided each time as well, and compared.
    pub verify_flow_cache: bool,
    /// Mode of the guests' sockets.
    pub socket_mode: u32,
    /// Group of the guests' sockets; `None` where the default group does not exist.
    pub socket_group: Option<String>,
    /// Mode of the API's socket.
    pub api_mode: u32,
    /// Group of the API's socket; `None` leaves the daemon's own.
    pub api_group: Option<String>,
    /// Where the API can be read by TCP; `None`: nowhere.
    pub api_listen: Option<SocketAddr>,
    /// What ports may send to many receivers at once, unless they say something else.
    pub storm: StormLimits,
    /// Connections that are tracked at once at most.
    pub connections: usize,
    /// Whether the process gives up what it does not need.
    pub sandbox: Confinement,
    /// Whether ports may be in other network namespaces; `None`: if one is at the start.
    pub namespaces: Option<bool>,
}

impl Default for SwitchSettings {
    fn default() -> Self {
        Self {
            runtime_dir: PathBuf::from("/run/viaduct"),
            state_dir: PathBuf::from("/var/lib/viaduct"),
            cpus: vec![0],
            polling: Polling::Adaptive,
            verify_flow_cache: false,
            socket_mode: 0o660,
            socket_group: None,
            api_mode: 0o600,
            api_group: None,
            api_listen: None,
            storm: StormLimits::default(),
            connections: viaduct_switch::conntrack::Limits::default().connections,
            sandbox: Confinement::On,
            namespaces: None,
        }
    }
}

impl SwitchSettings {
    /// Where the API listens.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.runtime_dir.join(API_SOCKET)
    }

    /// Where a process that takes over knocks.
    #[must_use]
    pub fn takeover_socket(&self) -> PathBuf {
        self.runtime_dir.join(crate::takeover::SOCKET)
    }
}

/// How a worker waits for frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Polling {
    /// Poll while there is work, spin for some tens of microseconds, then sleep with kicks armed.
    #[default]
    Adaptive,
    /// Never sleep.
    Busy,
    /// Sleep as soon as there is no work.
    Interrupt,
}

impl Polling {
    /// All ways, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("adaptive", Self::Adaptive), ("busy", Self::Busy), ("interrupt", Self::Interrupt)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// `[network.NAME]`: one broadcast domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// How it reaches the outside.
    pub mode: NetworkMode,
    /// The uplink of a bridged network, or the one by which packets leave a network of mode `nat` or `routed`, by name.
    pub uplink: Option<String>,
    /// The uplink into whose segment a network of mode `nat` or `routed` reaches, by name.
    pub segment: Option<String>,
    /// Its tag on trunks and uplinks; without, it has none there.
    pub vlan: Option<VlanId>,
    /// Whether its stations may use VLAN tags of their own.
    pub inner_tags: bool,
    /// Whose network it is: addresses are one tenant's.
    pub tenant: Option<String>,
    /// Further uplinks into the same segment, by name.
    pub parallel_uplinks: Vec<String>,
    /// Its spanning tree; `None`: it takes part in none.
    pub stp: Option<TreeSettings>,
    /// How long an address that is not seen stays learned.
    pub ageing: Duration,
    /// Whether frames to multicast groups go only where they are wanted.
    pub multicast_snooping: bool,
    /// How long a port is a member of a multicast group after a host behind it said so.
    pub multicast_membership: Duration,
    /// Whether a port leaves a multicast group as soon as one host behind it does.
    pub multicast_fast_leave: bool,
    /// Its subnets, and what its gateway does.
    pub gateway: GatewaySettings,
    /// Its stations on other machines, behind tunnels; `None`: it has none of these.
    pub overlay: Option<Overlay>,
}

impl Network {
    /// The uplinks into whose segments it reaches, by name.
    pub fn uplinks(&self) -> impl Iterator<Item = &String> {
        let first = if self.mode.is_routed() { &self.segment } else { &self.uplink };
        first.iter().chain(&self.parallel_uplinks)
    }

    /// The uplink by which packets leave it that its gateway routes, by name.
    #[must_use]
    pub fn way_out(&self) -> Option<&str> {
        self.uplink.as_deref().filter(|_| self.mode.is_routed())
    }
}

/// How a network reaches the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkMode {
    /// Not at all: its guests talk among themselves.
    #[default]
    Isolated,
    /// Its guests are in the segment of its uplink, like machines that are plugged in there.
    Bridged,
    /// Its gateway routes their packets, and makes them its uplink's own.
    Nat,
    /// Its gateway routes their packets as they are.
    Routed,
}

impl NetworkMode {
    /// All modes, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("isolated", Self::Isolated),
        ("bridged", Self::Bridged),
        ("nat", Self::Nat),
        ("routed", Self::Routed),
    ];

    /// Whether the network's packets leave it by its gateway.
    #[must_use]
    pub fn is_routed(self) -> bool {
        matches!(self, Self::Nat | Self::Routed)
    }

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// `[port.NAME]`: where one guest's NIC, or an interface of the kernel, is plugged in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its networks.
    pub membership: Membership,
    /// The priority of frames that come without one.
    pub priority: Priority,
    /// What is plugged in.
    pub attachment: Attachment,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u16,
    /// What it may send to many receivers at once.
    pub storm: StormLimits,
    /// What of it may have rules of security groups asked.
    pub judging: JudgeLimits,
    /// What it is held to, by name; `None`: to nothing.
    pub qos: Option<String>,
    /// Whether a multicast router may be behind it.
    pub multicast_router: bool,
    /// The addresses that it is held to; `None`: it may send what it likes.
    pub security: Option<PortSecurity>,
    /// The groups whose rules hold for it, by name; `None`: it is not filtered.
    pub groups: Option<Vec<String>>,
    /// Its own addresses, whether it is held to them or not.
    pub addresses: Vec<IpAddr>,
    /// Addresses outside that are its own IPv4 addresses, in the same order.
    pub floating: Vec<Ipv4Addr>,
    /// Ports outside that are its own.
    pub publish: Vec<Publication>,
}

impl Port {
    /// Its IPv4 addresses in the subnets of a network, the first one the one to which published ports lead.
    pub fn addresses_in<'a>(&'a self, network: &'a Network) -> impl Iterator<Item = Ipv4Addr> + 'a {
        self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => network.gateway.subnet_of(*address).map(|_| *v4),
            IpAddr::V6(_) => None,
        })
    }

    /// The guest's end, if a guest is behind the port.
    #[must_use]
    pub fn vhost_user(&self) -> Option<&VhostUser> {
        match &self.attachment {
            Attachment::VhostUser(guest) => Some(guest),
            Attachment::Interface(_) => None,
        }
    }

    /// The interface, if one is behind the port.
    #[must_use]
    pub fn interface(&self) -> Option<&Interface> {
        match &self.attachment {
            Attachment::VhostUser(_) => None,
            Attachment::Interface(interface) => Some(interface),
        }
    }
}

/// What is plugged into a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// A guest's NIC, by a socket between QEMU and the switch.
    VhostUser(VhostUser),
    /// An interface of the kernel: a container's, or the machine's own.
    Interface(Interface),
}

/// A guest's NIC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VhostUser {
    /// The socket's path, `runtime_dir/NAME.sock` unless said.
    pub socket: PathBuf,
    /// Who listens.
    pub role: Role,
    /// The guest's address; made from the port's name unless said.
    pub mac: MacAddress,
    /// Queue pairs at most.
    pub queues: u16,
}

/// An interface of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How frames get in and out.
    pub driver: Driver,
    /// The file of the network namespace in which it is; `None` is the daemon's own.
    pub netns: Option<PathBuf>,
    /// Its queues; `None`: as many as the driver does best with.
    pub queues: Option<u16>,
    /// Whether segments that come together may become super-frames.
    pub gro: bool,
}

/// How frames get in and out of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Driver {
    /// The best that the interface and the machine can do.
    #[default]
    Auto,
    /// A packet socket (packet(7)).
    AfPacket,
    /// AF_XDP sockets: the machine itself hears nothing more by the interface.
    AfXdp,
    /// The other end of a TAP device, which is made if it is not there.
    Tap,
}

impl Driver {
    /// All drivers, by their name as an uplink's `driver`.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("af-packet", Self::AfPacket), ("af-xdp", Self::AfXdp), ("tap", Self::Tap)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// `[uplink.NAME]`: an interface by which networks reach the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uplink {
    /// The interface; the first of them if there are several.
    pub interface: Interface,
    /// All of them, if there are several, and how they are used together.
    pub bond: Option<Bond>,
    /// Whether neighbours are told of this switch, and heard.
    pub lldp: bool,
    /// The service provider's tag before all frames there.
    pub service_vlan: Option<VlanId>,
    /// Types of tags that are taken beside the standard's.
    pub tag_types: TagTypes,
    /// The priority of frames that come without one.
    pub priority: Priority,
    /// Largest packet in bytes, without the Ethernet header; `None` is the interface's own.
    pub mtu: Option<u16>,
    /// What the outside may send to many receivers at once.
    pub storm: StormLimits,
    /// What from there may have rules of security groups asked.
    pub judging: JudgeLimits,
    /// What it is held to, by name; `None`: to nothing.
    pub qos: Option<String>,
    /// Whether a multicast router may be behind it.
    pub multicast_router: bool,
    /// What it is in its networks' spanning tree.
    pub stp: UplinkStp,
    /// What the switch itself is there; `None`: nobody.
    pub addressing: Option<Addressing>,
}

impl Uplink {
    /// Its interfaces, by their links' numbers.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        let further = self.bond.iter().flat_map(|bond| bond.interfaces.iter().skip(1));
        let further = further.map(|name| Interface { name: name.clone(), ..self.interface.clone() });
        std::iter::once(self.interface.clone()).chain(further)
    }
}

/// Who listens on a port's socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// We listen and QEMU connects.
    #[default]
    Server,
    /// QEMU listens; we connect, and connect again.
    Client,
}

impl Role {
    /// Both roles, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[("server", Self::Server), ("client", Self::Client)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// The name under which `value` stands in `words`; every value stands there once.
fn name_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, word)| *word == value).map_or("", |(name, _)| name)
}
