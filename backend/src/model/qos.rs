//! What QoS lets through, as the API tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Quality of service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct QosStatus {
    /// Meters of what ports send, by QoS and port.
    pub meters: Vec<MeterStatus>,
    /// Trees of queues before ports, by name.
    #[serde(default)]
    pub trees: Vec<ShapingStatus>,
    /// What the configuration declares, by name, in use or not.
    #[serde(default)]
    pub declared: Vec<QosDeclared>,
}

/// A `[qos.NAME]` of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct QosDeclared {
    /// Its name.
    pub qos: String,
    /// The ports and uplinks that have it, by name.
    pub ports: Vec<String>,
}

/// A meter: a port's, or that of several.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MeterStatus {
    /// The QoS, by its name in the file.
    pub qos: String,
    /// The ports and uplinks that it holds for, by name.
    pub ports: Vec<String>,
    /// Whether they share what it lets through.
    pub shared: bool,
    /// What it lets through, in words.
    pub limits: String,
    /// What kept within the rates.
    pub conforming: CountedStatus,
    /// What exceeded the committed rate and passed, marked or not.
    pub exceeding: CountedStatus,
    /// What was dropped as `policed`.
    pub dropped: CountedStatus,
    /// Whether what exceeds the rates waits in the guests' rings.
    #[serde(default)]
    pub waits: bool,
    /// How often rings of these ports were left alone for a while, since each port was added.
    #[serde(default)]
    pub pauses: u64,
    /// For how long, in milliseconds; several rings count each.
    #[serde(default)]
    pub paused_ms: u64,
}

/// Packets, as they are on a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CountedStatus {
    /// How many; a super-frame counts as its segments.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on, without FCS.
    pub bytes: u64,
}

/// A tree of queues, or one queue, before the queues of ports.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ShapingStatus {
    /// The QoS, by its name in the file.
    pub qos: String,
    /// Whether all ports with the QoS share it; else it is one port's own.
    pub shared: bool,
    /// The ports whose frames pass it.
    pub ports: Vec<String>,
    /// Its classes, the root first; a tree that is one queue has the root alone.
    pub classes: Vec<ShapingClassStatus>,
}

/// A class of such a tree. What happened in the classes below it counts for it, but for drops and backlog, which the root alone
/// has of all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ShapingClassStatus {
    /// Its name; `root` for the root.
    pub name: String,
    /// The class above it; `None`: the root, or this is the root.
    pub parent: Option<String>,
    /// What it is guaranteed, in bits a second; `None` for a tree that is one queue.
    pub rate_bits: Option<u64>,
    /// What it may have with what others leave, in bits a second; `None` for a tree that is one queue.
    pub ceil_bits: Option<u64>,
    /// What it sends now, in bits a second.
    pub bits_per_second: u64,
    /// Frames that left.
    pub sent_frames: u64,
    /// Their bytes on the wire.
    pub sent_bytes: u64,
    /// Frames that wait.
    pub backlog_frames: u64,
    /// Their bytes on the wire.
    pub backlog_bytes: u64,
    /// Frames that were dropped.
    pub dropped: u64,
    /// How often it had to wait for tokens.
    pub overlimits: u64,
    /// Frames that were marked with CE instead of dropped.
    pub marked: u64,
    /// Bytes that it sent with tokens of classes above.
    pub borrowed_bytes: u64,
    /// Bytes that classes below sent with its tokens.
    pub lent_bytes: u64,
}
