//! `viaduct show ports NAME`: all about one port.

use super::check::counted;
use super::show::{dropped, memory, paused, state_name};
use super::units;
use crate::config::Role;
use crate::model::{Capabilities, InterfaceStatus, PortState, PortStatus, Traffic};

/// Widest line, in characters.
const WIDTH_MAX: usize = 100;
/// Where the right column begins.
const INDENT: usize = 10;

/// The port in sentences, a labelled line or some for each thing.
pub(super) fn one_port(port: &PortStatus) -> String {
    let PortStatus { name, network, .. } = port;
    let place = if port.is_uplink() { "to" } else { "in" };
    let network = match (network.as_str(), &port.native) {
        ("", _) => "no network".to_owned(),
        (name, Some(native)) if name == native => format!("network {name}"),
        (names, None) => format!("networks {names}, all tagged"),
        (names, Some(native)) => format!("networks {names}, {native} untagged"),
    };
    let state = format!("{}, {}", state_name(port.state), state_meaning(port.state));
    let head = format!("{name} {place} {network}: {state}\n");
    let about = port.interface.as_ref().map_or_else(|| connection(port), |found| interface(port, found));
    [head, labelled(&about), "\n".to_owned(), labelled(&traffic(port)), drops(port)].concat()
}

fn state_meaning(state: PortState) -> &'static str {
    match state {
        PortState::Listening => "nobody is connected, and QEMU may come",
        PortState::Connecting => "QEMU listens, and is being looked for",
        PortState::Connected => "QEMU is there, and its guest's driver is not up yet",
        PortState::Running => "the guest's driver is up",
        PortState::Broken => "the guest broke a ring",
        PortState::Waiting => "the interface cannot be used yet",
        PortState::Attached => "frames come and go by the interface",
    }
}

fn interface(port: &PortStatus, found: &InterfaceStatus) -> Vec<(&'static str, String)> {
    let place = found.netns.as_ref().map_or(String::new(), |path| format!(" in {}", path.display()));
    let renamed = found.renamed.as_ref().map_or(String::new(), |now| format!(", which is called {now} now"));
    let speed = found
        .speed_mbps
        .map_or(String::new(), |mbps| format!(", {}", units::bit_rate(u64::from(mbps) * 1_000_000)));
    let driver = found.driver.as_deref().map(|driver| match &found.reason {
        Some(reason) => format!("{driver}: {reason}"),
        None => driver.to_owned(),
    });
    let told = |rate: Traffic| {
        format!("{} a second, {}", units::count(rate.frames), units::bit_rate(rate.bytes.saturating_mul(8)))
    };
    let times = counted(port.connections, "time");
    vec![
        ("problem", port.detail.clone().unwrap_or_default()),
        ("interface", format!("{}{place}{renamed}: {}{speed}", found.name, found.link.name())),
        ("driver", driver.unwrap_or_default()),
        ("attached", format!("{times} so far")),
        ("address", format!("MAC {}, MTU {}", port.mac, port.mtu)),
        ("groups", groups(port)),
        ("takes", found.offloads.join(" ")),
        ("rates", format!("{} received; {} sent", told(found.received_rate), told(found.sent_rate))),
    ]
}

/// Its security groups; empty where it is in none.
fn groups(port: &PortStatus) -> String {
    port.groups.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn connection(port: &PortStatus) -> Vec<(&'static str, String)> {
    let listener = if port.role == Role::Client.name() { "QEMU listens" } else { "the switch listens" };
    let peer = port.peer_pid.map_or("nobody".to_owned(), |pid| format!("process {pid}"));
    let Capabilities { sends, takes, other } = Capabilities::of(&port.features);
    let other: Vec<&str> = other.into_iter().filter(|name| *name != "protocol-features").collect();
    let rings = 2 * u64::from(port.queues);
    vec![
        ("problem", port.detail.clone().unwrap_or_default()),
        ("socket", format!("{} ({listener})", port.socket.display())),
        ("peer", format!("{peer}; {} so far", counted(port.connections, "connection"))),
        ("guest", format!("MAC {}, MTU {}", port.mac, port.mtu)),
        ("groups", groups(port)),
        (
            "queues",
            format!(
                "{}; {} of {rings} rings run",
                counted(u64::from(port.queues), "pair"),
                port.rings_running
            ),
        ),
        ("memory", port.numa.as_ref().map_or(String::new(), memory)),
        ("sends", sends.join(" ")),
        ("takes", takes.join(" ")),
        ("features", other.join(" ")),
    ]
}

fn traffic(port: &PortStatus) -> Vec<(&'static str, String)> {
    let told = |traffic: Traffic| {
        let frames = if traffic.frames == 1 { "frame" } else { "frames" };
        format!("{} {frames}, {}", units::count(traffic.frames), units::bytes(traffic.bytes))
    };
    let there = if port.interface.is_some() { "interface" } else { "guest" };
    vec![
        ("received", format!("{} from the {there}", told(port.received))),
        ("sent", format!("{} to the {there}", told(port.sent))),
        ("dropped", units::count(dropped(port))),
        ("waited", if port.pauses > 0 { paused(port.pauses, port.paused_ms) } else { String::new() }),
    ]
}

/// The reasons below the number of drops, each with its sentence.
fn drops(port: &PortStatus) -> String {
    let counts: Vec<String> = port.drops.iter().map(|drops| units::count(drops.frames)).collect();
    let width = counts.iter().map(|count| count.chars().count()).max().unwrap_or(0);
    let lines = counts.iter().zip(&port.drops).map(|(count, drops)| {
        let indent = INDENT + width + 1;
        let text = format!("{}: {}", drops.reason, drops.meaning);
        let rest = wrapped(&text, WIDTH_MAX - indent).join(&format!("\n{:indent$}", ""));
        format!("{:INDENT$}{count:>width$} {rest}\n", "")
    });
    lines.collect()
}

/// The lines that have something to say.
fn labelled(lines: &[(&str, String)]) -> String {
    let told = lines.iter().filter(|(_, text)| !text.is_empty());
    let blocks = told.map(|(label, text)| {
        let rest = wrapped(text, WIDTH_MAX - INDENT).join(&format!("\n{:INDENT$}", ""));
        format!("{label:INDENT$}{rest}\n")
    });
    blocks.collect()
}

/// Lines of at most `width` characters, cut between words; a word that is longer keeps its line for itself.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::{DropStatus, NumaStatus};

    fn port() -> PortStatus {
        let features = "csum guest-csum guest-tso4 host-tso4 mrg-rxbuf event-idx protocol-features version-1";
        let drops =
            |reason: &str, meaning: String, frames| DropStatus { reason: reason.to_owned(), meaning, frames };
        PortStatus {
            name: "vm1".to_owned(),
            network: "lab".to_owned(),
            native: Some("lab".to_owned()),
            kind: "vhost-user".to_owned(),
            interface: None,
            socket: PathBuf::from("/run/viaduct/vm1.sock"),
            role: "server".to_owned(),
            mac: "52:54:00:00:00:01".to_owned(),
            groups: Some(vec!["web".to_owned(), "db".to_owned()]),
            mtu: 1500,
            queues: 2,
            state: PortState::Running,
            detail: None,
            peer_pid: Some(4711),
            rings_running: 4,
            features: features.split(' ').map(str::to_owned).collect(),
            received: Traffic { frames: 1_234_567, bytes: 1_900_000_000 },
            sent: Traffic { frames: 1, bytes: 60 },
            drops: vec![
                drops("runt", "Too short.".to_owned(), 7),
                drops("no-buffer", "Full. ".repeat(20), 1234),
            ],
            connections: 1,
            pauses: 0,
            paused_ms: 0,
            numa: None,
        }
    }

    #[test]
    fn a_port_is_told_in_full() {
        let expected = "\
vm1 in network lab: running, the guest's driver is up
socket    /run/viaduct/vm1.sock (the switch listens)
peer      process 4711; 1 connection so far
guest     MAC 52:54:00:00:00:01, MTU 1500
groups    web db
queues    2 pairs; 4 of 4 rings run
sends     csum tso4
takes     csum tso4 mrg-rxbuf
features  event-idx version-1

received  1.23M frames, 1.90 GB from the guest
sent      1 frame, 60 B to the guest
dropped   1.24k
              7 runt: Too short.
          1.23k no-buffer: Full. Full. Full. Full. Full. Full. Full. Full. Full. Full. Full. Full.
                Full. Full. Full. Full. Full. Full. Full. Full.
";
        assert_eq!(one_port(&port()), expected);
        let told = |memory_node, is_local| {
            let numa = NumaStatus { memory_node, cpus: vec![0, 2], is_local };
            one_port(&PortStatus { numa: Some(numa), ..port() })
        };
        let near = "\nmemory    on node 1; its workers are near (processors 0 2)\n";
        assert!(told(1, true).contains(near), "{}", told(1, true));
        let far = "\nmemory    on node 1; not all of its workers are near (processors 0 2)\n";
        assert!(told(1, false).contains(far), "{}", told(1, false));
    }

    #[test]
    fn a_port_that_nobody_uses_is_short_and_says_why() {
        let detail = Some("/run/x.sock: nobody listens there ".repeat(6));
        let (role, state) = ("client".to_owned(), PortState::Connecting);
        let lonely = PortStatus { role, state, detail, peer_pid: None, features: Vec::new(), ..port() };
        let text = one_port(&PortStatus { drops: Vec::new(), rings_running: 0, ..lonely });
        assert!(text.starts_with(
            "vm1 in network lab: connecting, QEMU listens, and is being looked for\nproblem   "
        ));
        assert!(text.contains("(QEMU listens)\npeer      nobody; 1 connection so far\n"), "{text}");
        assert!(text.ends_with("dropped   0\n") && !text.contains("sends"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH_MAX), "{text}");
    }
}
