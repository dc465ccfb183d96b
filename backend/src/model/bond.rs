//! What is told of bonds and of neighbours on their links.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_switch::lacp;

use super::LinkState;

/// A bond: several links as one uplink.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct BondStatus {
    /// The uplink's name.
    pub uplink: String,
    /// `active-backup`, `balance` or `lacp`.
    pub mode: String,
    /// By what flows are told apart: `layer2`, `layer2+3` or `layer3+4`.
    pub hash: String,
    /// How often the other end is to send LACPDUs: `slow` or `fast`; with LACP only.
    pub rate: Option<String>,
    /// The address that names this system to the other end, once a link has been there; with LACP only.
    pub system: Option<String>,
    /// How often another link became the active one; of an active-backup bond.
    pub failovers: u64,
    /// Its links, in the order of the file.
    pub links: Vec<BondLinkStatus>,
}

/// One link of a bond.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct BondLinkStatus {
    /// Its interface's name in the file.
    pub interface: String,
    /// How far the interface is from carrying frames.
    pub link: LinkState,
    /// The data path has it.
    pub attached: bool,
    /// Why not, although it is up.
    pub detail: Option<String>,
    /// Its speed in Mbit/s, where it says one.
    pub speed_mbps: Option<u32>,
    /// Whether somebody answers to ARP by it; `None` where nobody is asked.
    pub answered: Option<bool>,
    /// Frames leave by it.
    pub sends: bool,
    /// Frames that come by it are taken.
    pub takes: bool,
    /// How many of the 256 shares of all flows leave by it.
    pub share: u16,
    /// What LACP says; with LACP only.
    pub lacp: Option<LacpLinkStatus>,
}

/// What LACP knows of a link.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LacpLinkStatus {
    /// This end, as LACPDUs tell it.
    pub actor: LacpEnd,
    /// The other end, as it tells itself.
    pub partner: LacpEnd,
    /// It belongs to the group that carries traffic.
    pub selected: bool,
    /// Its other end is this same switch.
    pub looped: bool,
    /// What is known of the partner: `current`, `expired`, `defaulted` or `port-disabled`.
    pub receive: String,
    /// How far it is in service: `detached`, `waiting`, `attached`, `collecting` or `distributing`.
    pub mux: String,
    /// Whether this end gets into sync: `monitor`, `no-churn` or `churn`.
    pub actor_churn: String,
    /// Whether the other end does.
    pub partner_churn: String,
    /// LACPDUs that came.
    pub received: u64,
    /// LACPDUs that were sent.
    pub sent: u64,
    /// Slow protocol frames that were wrong.
    pub malformed: u64,
    /// Times at which it ceased to send.
    pub withdrawals: u64,
}

/// A neighbour on an uplink, as it tells itself by LLDP (IEEE 802.1AB-2016).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NeighbourStatus {
    /// The uplink's name.
    pub uplink: String,
    /// The interface by which it was heard.
    pub interface: String,
    /// Which system it is.
    pub chassis: String,
    /// Which of its ports.
    pub port: String,
    /// What the port is.
    pub port_description: Option<String>,
    /// The system's name.
    pub system_name: Option<String>,
    /// What the system is.
    pub system_description: Option<String>,
    /// What the system is able to do: `bridge`, `router` and so on.
    pub able: Vec<String>,
    /// What of that it does.
    pub enabled: Vec<String>,
    /// Where it is managed.
    pub management: Option<String>,
    /// For how many seconds what it says counts.
    pub ttl_s: u16,
    /// For how many seconds that still is.
    pub expires_s: u64,
    /// Frames of the protocol on this interface that were wrong.
    pub malformed: u64,
    /// Frames of neighbours on this interface for which there was no room.
    pub refused: u64,
}

/// One end of a link, as LACP tells it (IEEE 802.1AX-2020, 6.4.2.3).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LacpEnd {
    /// The system's address.
    pub system: String,
    /// The system's priority.
    pub system_priority: u16,
    /// Links with the same key may be together.
    pub key: u16,
    /// The port's number.
    pub port: u16,
    /// The port's priority.
    pub port_priority: u16,
    /// The flags that are set.
    pub state: Vec<String>,
}

impl From<&lacp::LinkStatus> for LacpLinkStatus {
    fn from(status: &lacp::LinkStatus) -> Self {
        let counters = status.counters;
        Self {
            actor: LacpEnd::from(&status.actor),
            partner: LacpEnd::from(&status.partner),
            selected: status.selected,
            looped: status.looped,
            receive: status.receive.name().to_owned(),
            mux: status.mux.name().to_owned(),
            actor_churn: status.actor_churn.name().to_owned(),
            partner_churn: status.partner_churn.name().to_owned(),
            received: counters.received,
            sent: counters.sent,
            malformed: counters.malformed,
            withdrawals: counters.withdrawals,
        }
    }
}

impl From<&lacp::PortInfo> for LacpEnd {
    fn from(info: &lacp::PortInfo) -> Self {
        Self {
            system: info.system.address.to_string(),
            system_priority: info.system.priority,
            key: info.key,
            port: info.port,
            port_priority: info.port_priority,
            state: info.state.names().map(str::to_owned).collect(),
        }
    }
}
