//! The desired state: one TOML file, checked as a whole.
//!
//! [`load`] reads a file and [`parse`] a text. Either gives a [`Config`] in which everything is checked and every
//! default is filled in, or all that is wrong at once, each [`Problem`] with line, column, field, what was found
//! and what would be right. The fields that exist are data ([`schema`]); the rest of the folder is a small
//! toolkit that reads typed values and goes on after an error.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use viaduct_switch::{MacAddress, StormLimits};

mod cross;
mod host;
mod load;
mod names;
mod network;
mod port;
mod problem;
mod reader;
pub mod schema;
mod storm;
mod switch;
#[cfg(test)]
mod tests;
mod values;

pub use host::{Host, ThisHost};
pub use load::{FILE_SIZE_MAX, Loaded, load, parse, read};
pub use port::default_mac;
pub use problem::{ConfigError, Problem, WrongFile};
pub(crate) use storm::written as written_limit;

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
    /// What ports may send to many receivers at once, unless they say something else.
    pub storm: StormLimits,
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
            storm: StormLimits::default(),
        }
    }
}

impl SwitchSettings {
    /// Where the API listens.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.runtime_dir.join(API_SOCKET)
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
    /// How long an address that is not seen stays learned.
    pub ageing: Duration,
    /// Whether frames to multicast groups go only where they are wanted.
    pub multicast_snooping: bool,
    /// How long a port is a member of a multicast group after a host behind it said so.
    pub multicast_membership: Duration,
    /// Whether a port leaves a multicast group as soon as one host behind it does.
    pub multicast_fast_leave: bool,
}

/// How a network reaches the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkMode {
    /// Not at all: its guests talk among themselves.
    #[default]
    Isolated,
}

impl NetworkMode {
    /// All modes, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[("isolated", Self::Isolated)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }
}

/// `[port.NAME]`: where one guest's NIC is plugged in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its network's name.
    pub network: String,
    /// The socket's path, `runtime_dir/NAME.sock` unless said.
    pub socket: PathBuf,
    /// Who listens.
    pub role: Role,
    /// The guest's address; made from the port's name unless said.
    pub mac: MacAddress,
    /// Queue pairs at most.
    pub queues: u16,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u16,
    /// What it may send to many receivers at once.
    pub storm: StormLimits,
    /// Whether a multicast router may be behind it.
    pub multicast_router: bool,
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
