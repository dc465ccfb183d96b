//! The desired state: one TOML file, checked as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use viaduct_switch::MacAddress;

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
    /// Mode of the sockets that we make.
    pub socket_mode: u32,
    /// Group of the sockets that we make; `None` where the default group does not exist.
    pub socket_group: Option<String>,
}

impl Default for SwitchSettings {
    fn default() -> Self {
        Self {
            runtime_dir: PathBuf::from("/run/viaduct"),
            state_dir: PathBuf::from("/var/lib/viaduct"),
            cpus: vec![0],
            polling: Polling::Adaptive,
            socket_mode: 0o660,
            socket_group: None,
        }
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

/// `[network.NAME]`: one broadcast domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// How it reaches the outside.
    pub mode: NetworkMode,
    /// How long an address that is not seen stays learned.
    pub ageing: Duration,
}

/// How a network reaches the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkMode {
    /// Not at all: its guests talk among themselves.
    #[default]
    Isolated,
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
