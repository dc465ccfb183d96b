//! Small configurations, and pairs of cards on them.

use crate::daemon::Daemon;
use crate::driver::nic::{Nic, NicOptions};

/// The largest MTU: frames of up to 65,549 bytes without being super-frames.
pub const MTU_MAX: u64 = 65_535;
/// The longest frame of a port with [`MTU_MAX`].
pub const FRAME_MAX: usize = 65_549;

/// A network with the ports `a` and `b` for bystanders, and port `c` in a network that is bridged to `eth1`, the uplink
/// `wan`.
pub const LAB_AND_OFFICE: &str = r#"
[network.lab]
[port.a]
network = "lab"
[port.b]
network = "lab"
[uplink.wan]
interface = "eth1"
[network.office]
mode = "bridged"
uplink = "wan"
[port.c]
network = "office"
"#;

/// `[network.NETWORK]` and a `[port.NAME]` for each of `ports`, with `lines` in each.
#[must_use]
pub fn network(name: &str, ports: &[&str], lines: &str) -> String {
    let mut text = format!("[network.{name}]\n");
    for port in ports {
        text += &format!("[port.{port}]\nnetwork = \"{name}\"\n{lines}\n");
    }
    text
}

/// A network `lab` with the ports `a` and `b`, with frames of any length.
#[must_use]
pub fn two_ports() -> String {
    network("lab", &["a", "b"], &format!("mtu = {MTU_MAX}"))
}

/// Cards on the ports `a` and `b`.
#[must_use]
pub fn pair(daemon: &Daemon, options: &NicOptions) -> [Nic; 2] {
    ["a", "b"].map(|port| Nic::connect(&daemon.socket(port), options))
}
