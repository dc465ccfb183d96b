//! Connections that are tracked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of the connections.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionPage {
    /// The connections, in the table's order.
    pub connections: Vec<ConnectionStatus>,
    /// Where the list goes on (`from`); none: it ends here.
    pub next: Option<u32>,
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionStatus {
    /// Its network.
    pub network: String,
    /// The port where it was opened.
    pub port: String,
    /// Its protocol's name, or number.
    pub protocol: String,
    /// Who opened it.
    pub source: String,
    /// From which transport port, or with which ICMP id.
    pub source_port: u16,
    /// To whom.
    pub destination: String,
    /// To which transport port.
    pub destination_port: u16,
    /// Its state.
    pub state: String,
    /// For how many seconds nothing was heard of it.
    pub idle_s: u32,
    /// After how many seconds more it ends.
    pub expires_s: u32,
}

/// The answer to `DELETE /v1/connections`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cleared {
    /// How many connections were ended.
    pub connections: usize,
}

/// What became of the connections and mappings of the process before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RestoredStatus {
    /// Connections that were restored.
    pub connections: u64,
    /// Mappings that were restored.
    pub mappings: u64,
    /// Connections and mappings that are no longer allowed, or whose port, network or translation is no more.
    pub refused: u64,
    /// Connections and mappings whose time was over.
    pub over: u64,
    /// Connections and mappings for which there was no room, or whose place was taken.
    pub crowded: u64,
    /// Connections that wait for what they rely on, like an uplink's address.
    pub waiting: u64,
    /// Why connections of now would not survive a restart, if they would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}
