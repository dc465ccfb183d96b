//! What `viaduct show --json` tells, read as an outside program would read it.

use serde::Deserialize;

/// The whole state at one moment.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    /// Counts applied configurations.
    pub generation: u64,
    /// All ports.
    pub ports: Vec<Port>,
    /// All networks.
    pub networks: Vec<Network>,
    /// The data path's workers.
    pub workers: Vec<Worker>,
}

/// One port.
#[derive(Clone, Debug, Deserialize)]
pub struct Port {
    /// Its name in the configuration.
    pub name: String,
    /// `listening`, `connecting`, `connected`, `running` or `broken`; of interfaces `attached` or `waiting`.
    pub state: String,
    /// The interface, if one is plugged in.
    pub interface: Option<Interface>,
    /// The last error, the peer.
    pub detail: Option<String>,
    /// The frontend's process.
    pub peer_pid: Option<i32>,
    /// Rings that run now.
    pub rings_running: u16,
    /// Names of the virtio features in force.
    pub features: Vec<String>,
    /// Entered the switch here.
    pub received: Traffic,
    /// Left the switch here.
    pub sent: Traffic,
    /// Frames dropped, by reason.
    pub drops: Vec<Drops>,
    /// How often a frontend connected.
    pub connections: u64,
    /// How often frames were left in a ring because of the port's rate.
    pub pauses: u64,
    /// For how long, in milliseconds.
    pub paused_ms: u64,
}

impl Port {
    /// Frames dropped here for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: &str) -> u64 {
        self.drops.iter().filter(|drops| drops.reason == reason).map(|drops| drops.frames).sum()
    }

    /// Frames dropped here for whatever reason.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.drops.iter().map(|drops| drops.frames).sum()
    }
}

/// The interface behind a port.
#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    /// Its name now, if it was renamed.
    pub renamed: Option<String>,
    /// Its number.
    pub index: Option<u32>,
    /// The driver that carries its frames.
    pub driver: Option<String>,
    /// `missing`, `down`, `no-carrier` or `up`.
    pub link: String,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
}

/// A number of frames and their bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One reason's count.
#[derive(Clone, Debug, Deserialize)]
pub struct Drops {
    /// The reason's name.
    pub reason: String,
    /// The reason in a sentence.
    pub meaning: String,
    /// Frames.
    pub frames: u64,
}

/// One network.
#[derive(Clone, Debug, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Names of its ports.
    pub ports: Vec<String>,
    /// Addresses learned in it.
    pub addresses: u64,
}

/// One learned address.
#[derive(Clone, Debug, Deserialize)]
pub struct Learned {
    /// The network's VLAN id, if it has one.
    pub vlan: Option<u16>,
    /// The network's name.
    pub network: String,
    /// The address.
    pub mac: String,
    /// The port's name.
    pub port: String,
}

/// One worker.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Worker {
    /// Frames handled.
    pub frames: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Kicks of rings that it had armed.
    pub wakes: u64,
    /// Its flow cache.
    pub flow_cache: FlowCache,
}

/// What a worker's flow cache did.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct FlowCache {
    /// Frames for which an earlier decision was replayed.
    pub hits: u64,
    /// Frames that were decided about.
    pub misses: u64,
    /// Hits that verification found wrong.
    pub mismatched: u64,
}

impl Snapshot {
    /// The interface of the port `name`; panics when there is none.
    #[must_use]
    pub fn interface(&self, name: &str) -> &Interface {
        self.port(name).interface.as_ref().unwrap_or_else(|| panic!("{name} is no interface: {self:?}"))
    }

    /// The port `name`; panics when there is none.
    #[must_use]
    pub fn port(&self, name: &str) -> &Port {
        self.ports
            .iter()
            .find(|port| port.name == name)
            .unwrap_or_else(|| panic!("no port {name} in {self:?}"))
    }
}

/// Keys whose values change by themselves while nothing else does.
const RESTLESS: [&str; 17] = [
    "uptime_s",
    "received",
    "sent",
    "drops",
    "age_s",
    "bursts",
    "frames",
    "sleeps",
    "wakes",
    "spins",
    "contended",
    "addresses",
    "fdb",
    "groups",
    "multicast",
    "workers",
    "bytes",
];

/// What of `viaduct show --json` stays as it is while only traffic flows and time passes.
#[must_use]
pub fn settled(mut state: serde_json::Value) -> serde_json::Value {
    strip(&mut state);
    state
}

fn strip(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|key, _| !RESTLESS.contains(&key.as_str()));
            map.values_mut().for_each(strip);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
