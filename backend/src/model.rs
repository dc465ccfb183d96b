//! What the daemon tells about itself: the shapes of the API's answers and of every `--json`.

mod bond;
mod configuration;
mod connection;
mod event;
mod gateway;
mod numa;
mod qos;
mod security;
mod spanning_tree;
mod trace;
mod tunnels;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_switch::FlowCacheSnapshot;

pub use bond::{BondLinkStatus, BondStatus, LacpEnd, LacpLinkStatus, NeighbourStatus};
pub use configuration::{ConfigurationStatus, Differences};
pub use connection::{Cleared, ConnectionPage, ConnectionStatus, RestoredStatus};
pub use event::{Event, EventKind, EventLine, EventPlace, EventsLost};
pub use gateway::{
    ClaimStatus, DhcpClientStatus, LeaseStatus, MappingStatus, NatAddressStatus, NatStatus, NeighbourTables,
    OutsideStatus, RouteStatus, ServiceEventStatus, StationStatus,
};
pub use numa::NumaStatus;
pub use qos::{CountedStatus, MeterStatus, QosDeclared, QosStatus, ShapingClassStatus, ShapingStatus};
pub use security::{AddressGroupStatus, GroupPort, GroupStatus, RuleStatus, SecurityStatus};
pub use spanning_tree::{StpPortStatus, StpStatus};
pub use trace::{
    LostAt, Trace, TraceField, TraceQueue, TraceReceiver, TraceRequest, TraceStep, Verdict, VerdictKind,
    WatchEvent, WatchLine, WatchTally,
};
pub use tunnels::{
    DuplicateStatus, Fed, RemoteStation, StationPage, SuppressionStatus, TunnelledNetwork, VtepStatus,
    VtepTables,
};

/// The whole state at one moment; learned addresses are told by pages, [`FdbPage`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Counts applied configurations, from 1.
    pub generation: u64,
    /// Whether that is what the file says, and survives.
    #[serde(default)]
    pub configuration: ConfigurationStatus,
    /// What became of connections of before the restart, and whether those of now would survive one.
    #[serde(default)]
    pub restored: RestoredStatus,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// All ports, by name.
    pub ports: Vec<PortStatus>,
    /// All networks, by name.
    pub networks: Vec<NetworkStatus>,
    /// Ethernet addresses that move again and again between machines.
    pub duplicates: Vec<DuplicateStatus>,
    /// Multicast groups with members, and multicast routers, by network and group.
    pub multicast_groups: Vec<MulticastGroupStatus>,
    /// What multicast snooping did so far.
    pub multicast: MulticastStatus,
    /// Spanning trees, by their first network.
    pub stp: Vec<StpStatus>,
    /// Bonds, by uplink.
    pub bonds: Vec<BondStatus>,
    /// What the switch itself is at uplinks, by uplink.
    #[serde(default)]
    pub outsides: Vec<OutsideStatus>,
    /// Neighbours that were heard by LLDP, by uplink and interface.
    pub neighbours: Vec<NeighbourStatus>,
    /// What QoS lets through.
    #[serde(default)]
    pub qos: QosStatus,
    /// The data path's workers.
    pub workers: Vec<WorkerStatus>,
}

/// That the daemon is well: the control thread answers, and all workers turn.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// The running configuration's number.
    pub generation: u64,
    /// Workers that gave a sign of life.
    pub workers: usize,
    /// Why a restart would forget run-time changes, if it would: nobody is worse off before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

impl Snapshot {
    /// The ports that are uplinks.
    pub fn uplinks(&self) -> impl Iterator<Item = &PortStatus> {
        self.ports.iter().filter(|port| port.is_uplink())
    }
}

impl PortStatus {
    /// Whether it is a way to the outside.
    #[must_use]
    pub fn is_uplink(&self) -> bool {
        self.kind == "uplink"
    }
}

/// How far a port has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// We listen and nobody has come yet.
    Listening,
    /// QEMU listens and we try to reach it.
    Connecting,
    /// A frontend is connected, and no ring runs.
    Connected,
    /// At least one ring runs: the guest's driver is up.
    Running,
    /// A ring was stopped because the guest broke it; `detail` says how.
    Broken,
    /// The interface is missing, down or refused; `detail` says which.
    Waiting,
    /// The interface is attached: frames come and go.
    Attached,
}

/// One port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PortStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its network's name; those of a trunk or an uplink are joined by commas.
    pub network: String,
    /// The name of the network whose frames have no VLAN tag there, if there is one.
    pub native: Option<String>,
    /// What is plugged in: a port's `type` in the file, or `uplink`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The interface, if one is plugged in and no guest.
    pub interface: Option<InterfaceStatus>,
    /// Where its socket is; empty for an interface.
    pub socket: PathBuf,
    /// `server` (we listen) or `client` (QEMU listens); empty for an interface.
    pub role: String,
    /// The address that the guest should use, or that the interface has; empty while that is unknown.
    pub mac: String,
    /// The security groups that it is in; `null`: it is not filtered.
    pub groups: Option<Vec<String>>,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u16,
    /// Queue pairs that the guest may use.
    pub queues: u16,
    /// How far it has come.
    pub state: PortState,
    /// What is worth knowing about the state: the last error, the peer.
    pub detail: Option<String>,
    /// The frontend's process, where the kernel tells.
    pub peer_pid: Option<i32>,
    /// Rings that run now (two a queue pair).
    pub rings_running: u16,
    /// Names of the virtio features in force.
    pub features: Vec<String>,
    /// Frames that entered the switch here.
    pub received: Traffic,
    /// Frames that left the switch here.
    pub sent: Traffic,
    /// Frames dropped, each reason that occurred.
    pub drops: Vec<DropStatus>,
    /// How often a frontend connected, or the interface was attached.
    pub connections: u64,
    /// How often its guest's frames were left in a ring for a while, because they came faster than its QoS lets them.
    #[serde(default)]
    pub pauses: u64,
    /// For how long, in milliseconds; several rings count each.
    #[serde(default)]
    pub paused_ms: u64,
    /// Where its guest's memory lies, while its driver is up.
    #[serde(default)]
    pub numa: Option<NumaStatus>,
}

/// The interface behind a port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceStatus {
    /// Its name in the file.
    pub name: String,
    /// The file of its network namespace; none is the daemon's own.
    pub netns: Option<PathBuf>,
    /// Its name now, if it was renamed.
    pub renamed: Option<String>,
    /// Its number in its namespace, while it is there.
    pub index: Option<u32>,
    /// The driver that carries its frames, while it is attached.
    pub driver: Option<String>,
    /// Why that one.
    pub reason: Option<String>,
    /// How far it is from carrying frames.
    pub link: LinkState,
    /// Its MTU in bytes, while it is there.
    pub mtu: Option<u32>,
    /// Its speed in Mbit/s, where it says one.
    pub speed_mbps: Option<u32>,
    /// What the kernel finishes for frames that leave by it.
    pub offloads: Vec<String>,
    /// Frames and bytes that entered the switch here in the last second.
    pub received_rate: Traffic,
    /// Frames and bytes that left the switch here in the last second.
    pub sent_rate: Traffic,
}

impl LinkState {
    /// The state in a word, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Down => "down",
            Self::NoCarrier => "no-carrier",
            Self::Up => "up",
        }
    }
}

/// What the kernel says about an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It is not there, or nor is its network namespace.
    #[default]
    Missing,
    /// It is there, and not set up.
    Down,
    /// It is up, and reaches nothing: no cable, no other end.
    NoCarrier,
    /// It is up.
    Up,
}

/// A port's virtio features, sorted by what they say about the guest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities<'a> {
    /// Work that the guest may leave to whoever gets its frames: `csum`, `tso4`.
    pub sends: Vec<&'a str>,
    /// Forms in which the guest takes frames: `csum`, `tso4`, `mrg-rxbuf`.
    pub takes: Vec<&'a str>,
    /// Everything else, of the rings and the device.
    pub other: Vec<&'a str>,
}

impl<'a> Capabilities<'a> {
    /// Sorts the names of features, as in [`PortStatus::features`] (virtio 1.2, 5.1.3).
    #[must_use]
    pub fn of(features: &'a [String]) -> Self {
        let mut sorted = Self::default();
        for name in features {
            match (name.as_str(), name.split_once('-')) {
                ("csum", _) => sorted.sends.push("csum"),
                ("mrg-rxbuf", _) => sorted.takes.push("mrg-rxbuf"),
                (other @ "guest-announce", _) => sorted.other.push(other),
                (_, Some(("host", what))) => sorted.sends.push(what),
                (_, Some(("guest", what))) => sorted.takes.push(what),
                (other, _) => sorted.other.push(other),
            }
        }
        sorted
    }
}

/// A number of frames and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Frames; a super-frame counts once.
    pub frames: u64,
    /// Their bytes, Ethernet header included, without FCS.
    pub bytes: u64,
}

/// One reason's count.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DropStatus {
    /// The reason's name.
    pub reason: String,
    /// The reason in a sentence.
    pub meaning: String,
    /// Frames.
    pub frames: u64,
}

/// One network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NetworkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its mode, as in the file.
    pub mode: String,
    /// Its uplink's name, if it is bridged.
    pub uplink: Option<String>,
    /// Its VLAN id on trunks and uplinks, if it has one.
    pub vlan: Option<u16>,
    /// Names of its ports.
    pub ports: Vec<String>,
    /// Addresses learned in it.
    pub addresses: u64,
    /// Seconds after which an address that was not seen is forgotten.
    pub ageing_s: u32,
}

/// One learned address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FdbStatus {
    /// The network's name.
    pub network: String,
    /// The network's VLAN id, if it has one.
    pub vlan: Option<u16>,
    /// The address.
    pub mac: String,
    /// The port's name.
    pub port: String,
    /// Seconds since it was last seen.
    pub age_s: u32,
}

/// A part of the learned addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FdbPage {
    /// The addresses, in the table's order.
    pub addresses: Vec<FdbStatus>,
    /// Where the list goes on (`from`); none: it ends here.
    pub next: Option<u32>,
}

/// A multicast group with its members, or the multicast routers of a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MulticastGroupStatus {
    /// The network's name.
    pub network: String,
    /// The group's address; for routers `0.0.0.0` or `::`, by their version of IP.
    pub group: String,
    /// Whether these are routers: they get all groups, and the reports of hosts.
    pub routers: bool,
    /// Who gets the group's frames.
    pub members: Vec<MemberStatus>,
}

/// One member of a multicast group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MemberStatus {
    /// The port's name.
    pub port: String,
    /// Seconds until it is forgotten unless it is heard again.
    pub expires_s: u32,
}

/// Counters of multicast snooping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MulticastStatus {
    /// General queries of routers that were believed.
    pub queries: u64,
    /// Ports that became members of a group, or routers.
    pub joined: u64,
    /// Memberships that a host left.
    pub left: u64,
    /// Memberships that ended by their time.
    pub expired: u64,
    /// Memberships that gave way to another one.
    pub evicted: u64,
    /// Joins for which there was no room.
    pub refused: u64,
    /// Memberships removed with their port.
    pub forgotten: u64,
    /// Messages not noted, because another worker was writing.
    pub contended: u64,
    /// Messages that were malformed.
    pub malformed: u64,
    /// Messages too long to be read.
    pub unread: u64,
}

/// Classes of times by powers of two: up to 2^0, 2^1, ... 2^15 microseconds, and what took longer.
pub const ROUND_TIMES: usize = 17;

/// What 99 of 100 rounds took at most, in microseconds, of such classes: a power of two; `None` where that is more than the last of them,
/// 0 without rounds.
#[must_use]
pub fn p99_us(round_times: &[u64; ROUND_TIMES]) -> Option<u64> {
    let all: u64 = round_times.iter().sum();
    if all == 0 {
        return Some(0);
    }
    let mut left = all.saturating_mul(99).div_ceil(100);
    for (class, count) in round_times.iter().enumerate().take(ROUND_TIMES - 1) {
        left = left.saturating_sub(*count);
        if left == 0 {
            return Some(1 << class);
        }
    }
    None
}

/// One worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// The processor it is pinned to.
    pub cpu: usize,
    /// The processor's node (NUMA), where the kernel tells.
    #[serde(default)]
    pub node: Option<u32>,
    /// Rings that it reads.
    pub rings: u64,
    /// Bursts handled.
    pub bursts: u64,
    /// Frames handled.
    pub frames: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Kicks of rings that it had armed.
    pub wakes: u64,
    /// Looks at rings that had nothing and stayed polled.
    pub spins: u64,
    /// Receive queues that it found taken by another worker.
    pub contended: u64,
    /// Rounds in which it carried frames: how many took at most 1, 2, 4, ... 32,768 microseconds, each counted once, and how many
    /// longer. A round is one burst of each ring with frames.
    pub round_times: [u64; ROUND_TIMES],
    /// How long these took in all, in nanoseconds.
    pub rounds_ns: u64,
    /// Its flow cache.
    pub flow_cache: FlowCacheStatus,
}

/// What a worker's flow cache did since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FlowCacheStatus {
    /// Frames for which an earlier decision was replayed.
    pub hits: u64,
    /// Frames that were decided about.
    pub misses: u64,
    /// Decisions that were kept.
    pub inserted: u64,
    /// Decisions that gave way to others.
    pub evicted: u64,
    /// Decisions not kept, because every place was taken.
    pub refused: u64,
    /// Decisions found out of date.
    pub invalidated: u64,
    /// Hits that verification found wrong: mistakes of the daemon.
    pub mismatched: u64,
}

impl From<FlowCacheSnapshot> for FlowCacheStatus {
    fn from(counted: FlowCacheSnapshot) -> Self {
        let FlowCacheSnapshot { hits, misses, inserted, evicted, refused, invalidated, mismatched } = counted;
        Self { hits, misses, inserted, evicted, refused, invalidated, mismatched }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_100_rounds_is_found() {
        let of = |pairs: &[(usize, u64)]| {
            let mut times = [0; ROUND_TIMES];
            pairs.iter().for_each(|(class, count)| times[*class] = *count);
            p99_us(&times)
        };
        assert_eq!(of(&[]), Some(0));
        assert_eq!(of(&[(3, 1)]), Some(8));
        assert_eq!(of(&[(3, 99), (9, 1)]), Some(8));
        assert_eq!(of(&[(3, 98), (9, 2)]), Some(512));
        assert_eq!(of(&[(15, 1000), (16, 11)]), None);
    }

    #[test]
    fn features_are_sorted_from_the_guests_side() {
        let names: Vec<String> =
            "csum guest-csum guest-tso4 host-tso4 host-uso mrg-rxbuf guest-announce event-idx"
                .split(' ')
                .map(str::to_owned)
                .collect();
        let sorted = Capabilities::of(&names);
        assert_eq!(sorted.sends, ["csum", "tso4", "uso"]);
        assert_eq!(sorted.takes, ["csum", "tso4", "mrg-rxbuf"]);
        assert_eq!(sorted.other, ["guest-announce", "event-idx"]);
    }
}
