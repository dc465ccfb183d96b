//! What is told of spanning trees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A spanning tree as this bridge sees it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StpStatus {
    /// The networks that are in it, by name.
    pub networks: Vec<String>,
    /// What it speaks: `rstp` or `stp`.
    pub protocol: String,
    /// This bridge: priority and address; `None` until an uplink has had a link.
    pub bridge: Option<String>,
    /// The tree's root.
    pub root: Option<String>,
    /// What the way to the root costs; 0: this bridge is it.
    pub root_cost: u32,
    /// The uplink by which the way to the root leads.
    pub root_port: Option<String>,
    /// How old the root's information is here, in seconds.
    pub message_age_s: Option<f64>,
    /// The age at which it is not believed any more, in seconds.
    pub max_age_s: Option<f64>,
    /// Seconds between two hellos.
    pub hello_time_s: Option<f64>,
    /// Seconds that a port listens, and then learns, where nobody agrees to less.
    pub forward_delay_s: Option<f64>,
    /// Changes of the topology that this bridge saw or was told of.
    pub topology_changes: u64,
    /// Seconds since the last one.
    pub since_change_s: Option<u64>,
    /// Its uplinks, by name.
    pub ports: Vec<StpPortStatus>,
}

/// An uplink in a spanning tree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StpPortStatus {
    /// The uplink.
    pub uplink: String,
    /// `root`, `designated`, `alternate`, `backup` or `disabled`.
    pub role: String,
    /// `forwarding`, `learning` or `discarding`.
    pub state: String,
    /// What the way by it costs.
    pub cost: u32,
    /// Its priority.
    pub priority: u8,
    /// Its number in the tree.
    pub number: u16,
    /// No bridge is behind it.
    pub edge: bool,
    /// One bridge at most is behind it.
    pub point_to_point: bool,
    /// What is spoken with the neighbour: `rstp` or `stp`.
    pub protocol: String,
    /// The neighbour does not hear this bridge, or the uplink hears itself: it stays closed.
    pub disputed: bool,
    /// The best bridge on this link: priority and address.
    pub designated_bridge: String,
    /// What its way to the root costs.
    pub designated_cost: u32,
    /// RST messages received.
    pub rst_received: u64,
    /// Configuration messages of STP received.
    pub configuration_received: u64,
    /// Topology change notifications of STP received.
    pub notification_received: u64,
    /// Frames to the bridges' address that were no message.
    pub invalid_received: u64,
    /// Own messages that came back.
    pub own_received: u64,
    /// RST messages sent.
    pub rst_sent: u64,
    /// Configuration messages of STP sent.
    pub configuration_sent: u64,
    /// Topology change notifications of STP sent.
    pub notification_sent: u64,
    /// Times that it became forwarding.
    pub forward_transitions: u64,
}
