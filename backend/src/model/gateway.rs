//! What gateways know: routes, the stations that they send to, and what they lent.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NeighbourStatus;

/// A way that packets go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NeighbourTables {
    /// Stations that gateways send to, by network and address.
    pub stations: Vec<StationStatus>,
    /// Switches and routers that tell of themselves by LLDP, by uplink.
    pub lldp: Vec<NeighbourStatus>,
}

/// An address that is lent, or about to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseStatus {
    /// The network.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// `offered`, `bound`, `idle` (it was, and is kept for its client), `aside` (somebody else uses it), or `own`: it was lent to the
    /// switch itself, at the uplink `port`.
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

/// How often something happened at a service of gateways.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceEventStatus {
    /// `dhcp`, `dhcp6`, or `services`: names, metadata and the connections with them.
    pub service: String,
    /// The network; nothing for what is counted of all networks together.
    pub network: Option<String>,
    /// The event's name.
    pub event: String,
    /// The event in a sentence.
    pub meaning: String,
    /// How often, since the process began; of `dhcp` and `dhcp6` since the network has such a server.
    pub count: u64,
}

/// What the switch itself is at an uplink, while its interface is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct OutsideStatus {
    /// The uplink.
    pub uplink: String,
    /// Its own addresses that are in use, like `192.168.99.108/24`.
    pub addresses: Vec<String>,
    /// The next routers.
    pub gateways: Vec<IpAddr>,
    /// Name servers that came with an address.
    pub name_servers: Vec<IpAddr>,
    /// Stations that claim its addresses.
    pub claims: Vec<ClaimStatus>,
    /// Where its DHCP client stands, if it has one.
    pub dhcp: Option<DhcpClientStatus>,
}

/// That a station claims an address of an uplink's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClaimStatus {
    /// The address.
    pub address: String,
    /// The station.
    pub mac: String,
    /// Whether the switch uses the address nevertheless.
    pub in_use: bool,
    /// How many seconds ago it did so.
    pub age_s: u64,
}

/// Where an uplink's DHCP client stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct DhcpClientStatus {
    /// `down`, `waiting`, `selecting`, `requesting`, `rebooting`, `probing`, `bound`, `renewing` or `rebinding` (RFC 2131, 4.4).
    pub state: String,
    /// The address that it was lent.
    pub address: Option<Ipv4Addr>,
    /// By which server.
    pub server: Option<Ipv4Addr>,
    /// In how many seconds it asks to go on.
    pub renews_s: Option<u64>,
    /// In how many seconds the lease ends.
    pub expires_s: Option<u64>,
    /// What is wrong, if anything is.
    pub trouble: Option<String>,
}

/// What translates addresses, and a part of the mappings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NatStatus {
    /// Mappings, those included whose port is held for a while after its last connection.
    pub mappings: usize,
    /// For how many there is room.
    pub room: usize,
    /// Stations that have some.
    pub guests: usize,
    /// The memory that the tables take, in bytes.
    pub bytes: usize,
    /// Mappings that were made since the start.
    pub made: u64,
    /// Mappings of before the start that were made once more.
    #[serde(default)]
    pub restored: u64,
    /// Mappings that were taken up again while their port was held.
    pub renewed: u64,
    /// Mappings whose port is free again.
    pub ended: u64,
    /// Connections for which there was no port.
    pub exhausted: u64,
    /// Packets from outside that a mapping's filtering kept out.
    pub filtered: u64,
    /// Outside addresses, by network and address.
    pub addresses: Vec<NatAddressStatus>,
    /// Mappings, in the table's order.
    pub page: Vec<MappingStatus>,
    /// Where the list goes on (`from`); none: it ends here.
    pub next: Option<u32>,
}

/// How much of an outside address is taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NatAddressStatus {
    /// Its network.
    pub network: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Ports of TCP that are taken.
    pub tcp: u32,
    /// Ports of UDP.
    pub udp: u32,
    /// Identifiers of ICMP.
    pub icmp: u32,
}

/// An outside port that stands for a station's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MappingStatus {
    /// The station's network.
    pub network: String,
    /// The port of the switch where it is.
    pub port: String,
    /// The protocol's name or number.
    pub protocol: String,
    /// The station's address and port.
    pub inside: SocketAddrV4,
    /// The outside network.
    pub outside_network: String,
    /// The address and port that stand for it there.
    pub outside: SocketAddrV4,
    /// Towards whom, if not towards everybody.
    pub peer: Option<SocketAddrV4>,
    /// How many connections use it; none: its port is held.
    pub connections: u32,
    /// For how many seconds it has been there.
    pub age_s: u32,
}
