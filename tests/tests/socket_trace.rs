//! `viaduct trace`: what it says of a packet is what happens when a guest sends it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(40);

const CONFIG: &str = r#"
[network.lab]
[network.tenant10]
vlan = 10
[port.web]
network = "lab"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.5", "fd00::5"]
[port.db]
network = "lab"
mac = "02:00:00:00:00:09"
addresses = ["10.0.0.9", "fd00::9"]
[port.firewall]
native = "lab"
trunk = ["tenant10"]
mac = "02:00:00:00:00:01"
[port.other]
network = "tenant10"
mac = "02:00:00:00:00:0a"
"#;

fn trace(daemon: &Daemon, port: &str, packet: &str) -> Value {
    let output = daemon.command(&["trace", port, packet, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The receivers of a trace with their tags, or the reason.
fn verdict(traced: &Value) -> Vec<String> {
    let verdict = &traced["verdict"];
    if let Some(reason) = verdict["reason"].as_str() {
        return vec![reason.to_owned()];
    }
    let receivers = verdict["receivers"].as_array().unwrap().iter();
    receivers
        .map(|to| format!("{} {}", to["port"].as_str().unwrap(), to["tags"].as_array().unwrap().len()))
        .collect()
}

fn bytes(traced: &Value) -> Vec<u8> {
    let hex = traced["bytes"].as_str().unwrap();
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn what_is_traced_is_what_happens_to_the_same_frame() {
    let daemon = Daemon::start(CONFIG);
    let ports = ["web", "db", "firewall", "other"];
    let mut cards = ports.map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    let packets = [
        ("web", "arp 10.0.0.5 > 10.0.0.9"),
        ("db", "arp 10.0.0.9 > 10.0.0.5 reply to 02:00:00:00:00:05"),
        ("web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306"),
        ("web", "udp 10.0.0.7:53 > 10.0.0.9:53"),
        ("web", "icmp6 fd00::5 > fd00::9 from 02:00:00:00:00:06"),
        ("firewall", "icmp 10.0.0.1 > 10.0.0.9 vlan 10 priority 3 to 02:00:00:00:00:0a"),
        ("firewall", "icmp 10.0.0.1 > 10.0.0.9 vlan 11 to 02:00:00:00:00:0a"),
        ("other", "icmp 10.0.0.1 > 10.0.0.9 to 02:00:00:00:00:01"),
        ("other", "ethernet type 0x88b5 to 01:80:c2:00:00:00"),
    ];
    for (port, packet) in packets {
        let traced = trace(&daemon, port, packet);
        let frame = bytes(&traced);
        let again = trace(&daemon, port, traced["bytes"].as_str().unwrap());
        assert_eq!(again["verdict"], traced["verdict"], "the same frame in hex");
        let at = ports.iter().position(|name| *name == port).unwrap();
        let received = daemon.show().port(port).received.frames;
        cards[at].send(&frame);
        cards[at].drain();
        wait_until("the frame to be decided about", Duration::from_secs(5), || {
            daemon.show().port(port).received.frames > received
        });
        let mut happened = Vec::new();
        for (name, card) in ports.iter().zip(&mut cards) {
            for arrived in card.collect(QUIET) {
                let tags = u8::from(arrived.bytes[12..14] == [0x81, 0x00]);
                happened.push(format!("{name} {tags}"));
            }
        }
        if happened.is_empty() {
            assert_eq!(traced["verdict"]["kind"], "dropped", "{packet}: {traced:#}");
            let reason = traced["verdict"]["reason"].as_str().unwrap();
            assert!(daemon.show().port(port).drops.iter().any(|drops| drops.reason == reason), "{packet}");
            continue;
        }
        assert_eq!(verdict(&traced), happened, "{packet}");
    }
}

#[test]
fn a_trace_is_told_in_steps_changes_nothing_and_says_what_is_wrong_with_its_packet() {
    let daemon = Daemon::start(CONFIG);
    let output = daemon.command(&["trace", "web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "tcp 10.0.0.5:4000 > 10.0.0.9:3306 flags syn from 02:00:00:00:00:05 to 02:00:00:00:00:09 length 54 enters at web",
        "-> belongs to network lab",
        "port-security",
        "learned 02:00:00:00:00:09 nowhere",
        "verdict: leaves by db (no tag), firewall (no tag)",
        "nobody is there to take it now at db, firewall",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let show = daemon.show();
    assert!(
        daemon.fdb().is_empty()
            && show.ports.iter().all(|port| port.received.frames == 0 && port.drops.is_empty())
    );
    for (port, packet, expected) in [
        ("nobody", "arp 10.0.0.5 > 10.0.0.9", "there is no port nobody; `viaduct show ports` lists all"),
        (
            "web",
            "tpc 10.0.0.5:1 > 10.0.0.9:2",
            "`tpc` (word 1 of the packet) is not right: did you mean `tcp`?",
        ),
        ("web", "icmp 10.0.0.5 > 10.0.0.77", "no port of the networks of web has the address 10.0.0.77"),
        ("web", "", "the packet ends where word 1 should be"),
    ] {
        let output = daemon.command(&["trace", port, packet]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains(expected), "{told}");
    }
}
