//! What gateways know: routes, the stations that they send to, and what they lent.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::NeighbourStatus;

/// A way that packets go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The router's name: its own, that of its only network, or that of its uplink.
    pub router: String,
    /// The addresses that packets are to, like `10.0.0.0/24`.
    pub to: String,
    /// What becomes of them: `local` (they are for the gateway), `link` (their station is in the network), `via` (another router
    /// is there), `broadcast` and `unreachable` (they go nowhere).
    pub kind: String,
    /// The network where they go.
    pub network: Option<String>,
    /// The next router.
    pub via: Option<IpAddr>,
}

/// A station that a gateway sends to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StationStatus {
    /// Its network.
    pub network: String,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, if it is known.
    pub mac: Option<String>,
    /// What is known about it, in the words of RFC 4861, 7.3.2: `incomplete`, `reachable`, `stale`, `delay`, `probe`; or `failed`.
    pub state: String,
    /// The port where it was heard.
    pub port: Option<String>,
    /// For how many seconds it has been so.
    pub age_s: u32,
}

/// Neighbours of both kinds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NeighbourTables {
    /// Stations that gateways send to, by network and address.
    pub stations: Vec<StationStatus>,
    /// Switches and routers that tell of themselves by LLDP, by uplink.
    pub lldp: Vec<NeighbourStatus>,
}

/// An address that is lent, or about to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The network.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// `offered`, `bound`, `idle` (it was, and is kept for its client) or `aside` (somebody else uses it).
    pub state: String,
    /// The client's port.
    pub port: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<String>,
    /// What the client is known by.
    pub client: Option<String>,
    /// How it calls itself.
    pub host_name: Option<String>,
    /// In how many seconds the state ends; nothing for one that has no end.
    pub expires_s: Option<u64>,
    /// When it ends, in seconds since 1970.
    pub until_s: u64,
}
