//! Where the daemon is, or the file that stands in for it.

use std::path::PathBuf;

use clap::Args;
use viaduct_qemu::{GuestPort, Listener};

use super::failure::Failure;
use crate::api::{Client, ClientError};
use crate::config::{self, Config, DEFAULT_FILE, Role, SwitchSettings, ThisHost, VhostUser, type_name};
use crate::model::PortStatus;

/// Names the daemon's socket when neither `--socket` nor `--config` does.
const VARIABLE: &str = "VIADUCT_SOCKET";

/// The options that say where the daemon is.
#[derive(Debug, Args)]
pub(super) struct Locate {
    /// The daemon's API socket [default: $VIADUCT_SOCKET, else /run/viaduct/api.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,

    /// The daemon's configuration: `run` reads it, qemu-args and libvirt-xml need no daemon then, and the other
    /// commands find the daemon in its runtime_dir
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Locate {
    /// The file that `run` reads.
    pub(super) fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    /// Whether the options say which daemon.
    pub(super) fn is_said(&self) -> bool {
        self.socket.is_some() || self.config.is_some() || variable().is_some()
    }

    /// A client of the daemon: as `--socket` or `--config` says, else the variable, else at the usual place.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let socket = match (&self.socket, &self.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(file)) => config::load(file, &ThisHost)?.config.switch.api_socket(),
            (None, None) => variable().unwrap_or_else(|| SwitchSettings::default().api_socket()),
        };
        Ok(Client::new(socket))
    }

    /// The port as QEMU has to know it: from the file that `--config` names, else from the daemon.
    pub(super) fn port(&self, name: &str) -> Result<GuestPort, Failure> {
        match &self.config {
            Some(file) => from_file(&config::load(file, &ThisHost)?.config, name),
            None => from_daemon(&self.client()?, name),
        }
    }
}

fn variable() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn from_file(config: &Config, name: &str) -> Result<GuestPort, Failure> {
    let port =
        config.ports.get(name).ok_or_else(|| no_port(name, config.ports.keys().map(String::as_str)))?;
    let end = port.vhost_user().ok_or_else(|| no_guest(name, type_name(&port.attachment)))?;
    Ok(guest_port(name, end, port.mtu))
}

fn guest_port(name: &str, end: &VhostUser, mtu: u16) -> GuestPort {
    GuestPort {
        name: name.to_owned(),
        socket: end.socket.to_string_lossy().into_owned(),
        listener: match end.role {
            Role::Server => Listener::Switch,
            Role::Client => Listener::Qemu,
        },
        mac: end.mac.to_string(),
        queues: end.queues,
        mtu,
        packed: false,
    }
}

fn no_guest(name: &str, kind: &str) -> Failure {
    Failure::new(format!("{name} is of type {kind}, an interface: no QEMU is plugged in there"))
}

fn from_daemon(client: &Client, name: &str) -> Result<GuestPort, Failure> {
    let ports: Vec<PortStatus> = client.get("/v1/ports").map_err(without_daemon)?;
    let port = ports.iter().find(|port| port.name == name);
    let port = port.ok_or_else(|| no_port(name, ports.iter().map(|port| port.name.as_str())))?;
    if port.interface.is_some() {
        return Err(no_guest(name, &port.kind));
    }
    let listener = if port.role == Role::Client.name() { Listener::Qemu } else { Listener::Switch };
    Ok(GuestPort {
        name: port.name.clone(),
        socket: port.socket.to_string_lossy().into_owned(),
        listener,
        mac: port.mac.clone(),
        queues: port.queues,
        mtu: port.mtu,
        packed: false,
    })
}

/// For these commands there is a way without a daemon.
fn without_daemon(error: ClientError) -> Failure {
    match error {
        ClientError::NotRunning(_) => Failure::new(format!("{error}, or read a file with --config FILE")),
        other => other.into(),
    }
}

fn no_port<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Failure {
    let mut known: Vec<&str> = known.take(9).collect();
    let more = if known.len() == 9 { ", …" } else { "" };
    known.truncate(8);
    if known.is_empty() {
        return Failure::new(format!("there is no port {name}, and no other; declare one as [port.{name}]"));
    }
    Failure::new(format!("there is no port {name}; there are {}{more}", known.join(", ")))
}
