//! What QoS lets through, as the API tells it.

use serde::{Deserialize, Serialize};

/// Quality of service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QosStatus {
    /// Meters of what ports send, by QoS and port.
    pub meters: Vec<MeterStatus>,
}

/// A meter: a port's, or that of several.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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
}

/// Packets, as they are on a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CountedStatus {
    /// How many; a super-frame counts as its segments.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on, without FCS.
    pub bytes: u64,
}
