//! What would become of a packet, and what became of others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The question of `POST /v1/trace`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["packet"], "properties": { "packet": { "type": "string" } } },
    { "required": ["next"], "properties": { "next": { "type": "string" } } },
]))]
pub struct TraceRequest {
    /// The port where the packet enters.
    pub port: String,
    /// The packet in words, or its bytes in hex; `None`: the next real one.
    pub packet: Option<String>,
    /// Which real packets are meant; `None`: any.
    pub next: Option<String>,
    /// How many seconds to wait for one; `None`: 10.
    pub timeout_s: Option<u64>,
}

/// A line of `GET /v1/watch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchLine {
    /// A frame, and what became of it.
    Sample(Box<WatchEvent>),
    /// How much of all is told; comes once a second.
    Sampling(WatchTally),
}

/// A frame that entered, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct WatchEvent {
    /// When, in microseconds since the daemon's start.
    pub at_us: u64,
    /// The port where it entered.
    pub port: String,
    /// The network to which it belongs, if it belongs to one.
    pub network: Option<String>,
    /// The packet in words.
    pub packet: String,
    /// What became of it.
    pub verdict: Verdict,
    /// To how many ports it was flooded, if they are too many to be named.
    pub flooded_to: Option<u16>,
    /// The first receiver that lost it, if one did.
    pub lost_at: Option<LostAt>,
    /// The step that dropped it, if it would be so now, too.
    pub step: Option<TraceStep>,
}

/// A receiver that lost a frame.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LostAt {
    /// The port.
    pub port: String,
    /// The reason's name.
    pub reason: String,
}

/// How much a watch saw so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct WatchTally {
    /// Frames that entered.
    pub frames: u64,
    /// Those of them that were looked at.
    pub looked_at: u64,
    /// Samples for which there was no room, because they are read too slowly.
    pub lost: u64,
}

/// A packet's way through the switch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// The port where it enters.
    pub port: String,
    /// The packet in words.
    pub packet: String,
    /// Its first bytes in hex, at most 128.
    pub bytes: String,
    /// The network to which it belongs, if it belongs to one.
    pub network: Option<String>,
    /// What is done one after the other.
    pub steps: Vec<TraceStep>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What became of it, if it is a real one.
    pub happened: Option<Verdict>,
}

/// One step on a packet's way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TraceStep {
    /// The stage's name.
    pub stage: String,
    /// What was looked at.
    pub looked_at: Vec<TraceField>,
    /// What came of it, in words.
    pub outcome: String,
    /// The reason's name, if the packet ends here.
    pub dropped: Option<String>,
}

/// Something that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TraceField {
    /// What it is.
    pub field: String,
    /// Its value.
    pub value: String,
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// In a word.
    pub kind: VerdictKind,
    /// By which ports it leaves.
    pub receivers: Vec<TraceReceiver>,
    /// The reason's name, if it is dropped.
    pub reason: Option<String>,
    /// The reason in a sentence.
    pub meaning: Option<String>,
}

/// What becomes of a packet, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    /// It leaves by ports.
    Sent,
    /// It is for the switch itself.
    Control,
    /// It is dropped.
    Dropped,
    /// That depends on bytes that are not known.
    #[default]
    Unknown,
}

/// A port by which a packet leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TraceReceiver {
    /// The port.
    pub port: String,
    /// The VLAN tags before the packet, in words; the outer one first.
    pub tags: Vec<String>,
    /// Whether somebody is there to take it now: the guest's driver runs, the interface is attached.
    pub running: bool,
    /// The queues before the port's own, if it has any.
    #[serde(default)]
    pub queue: Option<TraceQueue>,
}

/// Where a packet would wait, if it had to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TraceQueue {
    /// The port's QoS.
    pub qos: String,
    /// The class; empty where there is one queue and no classes.
    pub class: String,
    /// The place in the file of the filter that chose it, from 0; none: no filter matches, and it is the default class.
    pub filter: Option<usize>,
    /// Frames that wait in that class now.
    pub waiting_frames: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
}
