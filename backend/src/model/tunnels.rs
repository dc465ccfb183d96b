//! Tunnels of overlay networks.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DropStatus;

/// What is known of the other ends of tunnels, and of the stations behind them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct VtepTables {
    /// The ends, by uplink, kind and address.
    pub vteps: Vec<VtepStatus>,
    /// What is answered for stations behind them.
    pub suppression: SuppressionStatus,
    /// Ethernet addresses that move again and again between them, or between one and a port.
    pub duplicates: Vec<DuplicateStatus>,
}

/// An Ethernet address that moves again and again, five times within three minutes: two stations have it, or there is a loop.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct DuplicateStatus {
    /// The network.
    pub network: String,
    /// The address.
    pub mac: String,
    /// The port where it was last; that of a VTEP is `vtep ADDRESS`.
    pub port: String,
    /// The one where it was before.
    pub other_port: String,
    /// How often it moved since it began to.
    pub moves: u32,
    /// Seconds since it moved last; after 180 it counts no more.
    pub age_s: u32,
}

/// The other end of tunnels: a VTEP, or a group of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VtepStatus {
    /// The uplink over which it is reached.
    pub uplink: String,
    /// `vxlan`, `geneve` or `gre`.
    pub kind: String,
    /// Its address.
    pub address: IpAddr,
    /// The address of this machine's end.
    pub local: IpAddr,
    /// The networks of that end, with their numbers (VNIs or keys).
    pub networks: Vec<TunnelledNetwork>,
    /// Whether the file names it, or a station that is fed; else it was heard of.
    pub is_configured: bool,
    /// `resolved`: packets to it can leave; `unresolved`: the Ethernet address of the next station is not known; `unreachable`: there
    /// is no route to it now.
    pub state: String,
    /// How many seconds ago it was heard last; `null`: never.
    pub heard_s: Option<u32>,
    /// How many stations are known to be behind it.
    pub stations: u64,
    /// Frames and bytes that came from there, without outer headers.
    pub received_frames: u64,
    /// The same in bytes.
    pub received_bytes: u64,
    /// Frames that went there.
    pub sent_frames: u64,
    /// The same in bytes.
    pub sent_bytes: u64,
    /// What came from there and was not delivered, by reason.
    pub drops: Vec<DropStatus>,
}

/// A network behind an end of tunnels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TunnelledNetwork {
    /// Its name.
    pub network: String,
    /// Its number on the wire.
    pub id: u32,
}

/// What suppression of ARP and neighbour discovery did, and what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SuppressionStatus {
    /// Questions that were answered here.
    pub answered: u64,
    /// Questions that were passed on, since nobody here knew the answer.
    pub passed: u64,
    /// Addresses for which there was no room.
    pub refused: u64,
    /// Addresses that were learned.
    pub learned: usize,
    /// Addresses that are written down.
    pub fixed: usize,
}

/// A page of an overlay network's stations on other machines whose place is told, not learned.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StationPage {
    /// The network.
    pub network: String,
    /// The number of the table of those that are fed: it grows with each change, and begins at 0.
    pub generation: u64,
    /// How many are fed.
    pub fed: usize,
    /// How many the file has.
    pub written: usize,
    /// The stations, in ascending order of their Ethernet addresses.
    pub stations: Vec<RemoteStation>,
    /// Where the list goes on; `null`: it ends here.
    pub next: Option<String>,
}

/// A station on another machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RemoteStation {
    /// Its Ethernet address.
    pub mac: String,
    /// Its IP addresses.
    pub address: Vec<IpAddr>,
    /// The other end of the tunnel.
    pub vtep: IpAddr,
    /// `file` or `api`: who told of it.
    pub origin: String,
}

/// What a change of the stations that are fed came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Fed {
    /// The network.
    pub network: String,
    /// The table's number now.
    pub generation: u64,
    /// How many stations are fed now.
    pub fed: usize,
    /// How many are new.
    pub added: usize,
    /// How many are at another place or have other addresses.
    pub changed: usize,
    /// How many are no more.
    pub removed: usize,
    /// How many of those that were added or changed found no room in the switch's tables, so that they are asked for and learned as others.
    pub without_room: usize,
}
