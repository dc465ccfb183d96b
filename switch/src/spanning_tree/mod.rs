//! RSTP (IEEE 802.1D-2004, clause 17), with STP towards neighbours that speak nothing else.
//!
//! A [`SpanningTree`] is a bridge's part in one tree: pure, with time and messages as arguments. Whoever calls it
//! does what the [`Effects`] say, **states first**: a message may promise a neighbour that a port is closed.
//!
//! ```text
//!   bpdu.rs      messages as frames              receive.rs            17.23  takes messages
//!   vector.rs    what bridges compare            migration.rs          17.24  RSTP or STP with this neighbour?
//!   settings.rs  what a person sets              detection.rs          17.25  is there a bridge at all?
//!   port.rs      the variables of a port         transmit.rs           17.26  sends messages
//!   tree.rs      the machines together           information.rs        17.27  whose word counts on this link?
//!                                                selection.rs          17.28  which port has which role?
//!                                                transitions.rs        17.29  from role to state, without loops
//!                                                (states: tree.rs)     17.30
//!                                                topology_change.rs    17.31  which addresses to forget
//! ```
//!
//! Timers count milliseconds down (17.22 counts seconds), so that nothing waits longer than it must. Each machine is
//! asked in turn whether it has a transition to make, until none has.

mod bpdu;
mod detection;
mod information;
mod migration;
mod port;
mod receive;
mod selection;
mod settings;
mod topology_change;
mod transitions;
mod transmit;
mod tree;
mod vector;

#[cfg(test)]
mod tests;

pub use bpdu::{BRIDGE_GROUP, Bpdu, BpduError, Configuration, MessageRole, RapidFlags};
pub use settings::{EdgePort, PortSettings, SettingsError, TreeSettings, Version};
pub use tree::SpanningTree;
pub use vector::{BridgeId, PortId, Times, Vector};

/// Migrate Time: 3 s (IEEE 802.1D-2004, table 17-1).
const MIGRATE_TIME_MS: u32 = 3000;

/// What a port is in its tree (IEEE 802.1D-2004, 17.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PortRole {
    /// It has no link.
    Disabled,
    /// The way to the root.
    Root,
    /// The way to the root for who is behind it.
    Designated,
    /// Another way to the root, closed.
    Alternate,
    /// Another way to a link that this bridge serves already, closed.
    Backup,
}

impl PortRole {
    /// As people and programs read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Root => "root",
            Self::Designated => "designated",
            Self::Alternate => "alternate",
            Self::Backup => "backup",
        }
    }
}

/// What a port does with frames (IEEE 802.1D-2004, 17.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PortState {
    /// Nothing.
    Discarding,
    /// It notes who is behind it.
    Learning,
    /// All that a bridge does.
    #[default]
    Forwarding,
}

impl PortState {
    /// As people and programs read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Discarding => "discarding",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
        }
    }
}

/// What a tree wants done; ports are named by their numbers. To be done in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// Ports whose state changed, with the new one.
    pub states: Vec<(u16, PortState)>,
    /// Ports behind which no address is known any more.
    pub flushes: Vec<u16>,
    /// Frames that leave by a port.
    pub frames: Vec<(u16, Vec<u8>)>,
}

/// What a port sent, received and went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    /// RST messages received.
    pub rst_received: u64,
    /// Configuration messages of STP received.
    pub configuration_received: u64,
    /// Topology change notifications of STP received.
    pub notification_received: u64,
    /// Frames that were no BPDU.
    pub invalid_received: u64,
    /// The port's own messages, which came back.
    pub own_received: u64,
    /// RST messages sent.
    pub rst_sent: u64,
    /// Configuration messages of STP sent.
    pub configuration_sent: u64,
    /// Topology change notifications of STP sent.
    pub notification_sent: u64,
    /// Times that the port became forwarding.
    pub forward_transitions: u64,
}

/// A port as people want to see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortStatus {
    /// Its number in the tree.
    pub number: u16,
    /// Its identifier: priority and number.
    pub id: PortId,
    /// Its role.
    pub role: PortRole,
    /// Its state.
    pub state: PortState,
    /// What the way by this port costs.
    pub cost: u32,
    /// Nobody but end stations is behind it.
    pub is_edge: bool,
    /// One bridge at most is at the other end.
    pub point_to_point: bool,
    /// It speaks RSTP, and else STP.
    pub speaks_rstp: bool,
    /// A neighbour contradicts itself, so the port stays closed: the link carries frames one way only, or back.
    pub is_disputed: bool,
    /// The best that was said on this link.
    pub designated: Vector,
    /// What was sent, received and gone through.
    pub counters: PortCounters,
}

/// A tree as people want to see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeStatus {
    /// This bridge.
    pub bridge: BridgeId,
    /// The root of the tree.
    pub root: BridgeId,
    /// What the way to the root costs; 0: this bridge is it.
    pub root_cost: u32,
    /// The way to the root.
    pub root_port: Option<u16>,
    /// The root's times, as old as they are here.
    pub times: Times,
    /// How often the topology changed at this bridge, or was said to have changed.
    pub topology_changes: u64,
    /// Milliseconds since it last did.
    pub since_change_ms: Option<u64>,
}
