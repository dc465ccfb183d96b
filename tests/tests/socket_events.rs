//! `viaduct events`: what happens is told as it happens, and once more to who comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::network;

fn kinds(lines: &[Value]) -> Vec<(u64, &str, &str)> {
    lines
        .iter()
        .filter_map(|line| line.get("event"))
        .map(|event| {
            (
                event["id"].as_u64().unwrap(),
                event["kind"].as_str().unwrap(),
                event["object"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_guests_life_and_a_configuration_are_told_in_their_order_and_again_from_a_number() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let mut command = Command::new(binary());
    command
        .arg("--socket")
        .arg(daemon.directory().join("run/api.sock"))
        .args(["events", "--json", "--count", "4"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let place = lines.next().unwrap()["place"].clone();
    assert_eq!(place["next"], 2, "the first configuration was the first event");
    let a = Nic::connect(&daemon.socket("a"), &NicOptions::default());
    let mut told: Vec<Value> = lines.by_ref().take(2).collect();
    drop(a);
    told.extend(lines.by_ref().take(1));
    daemon.apply(&network("lab", &["a", "b", "c"], ""));
    told.extend(lines.by_ref().take(1));
    let expected = [
        (2, "connected", "port a"),
        (3, "driver-up", "port a"),
        (4, "disconnected", "port a"),
        (5, "configuration", "configuration 2"),
    ];
    assert_eq!(kinds(&told), expected);
    assert!(child.wait().unwrap().success(), "it had its four events");
    let again = daemon.command(&["events", "--json", "--from", "1", "--count", "5"]);
    let text = String::from_utf8_lossy(&again.stdout);
    let again: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds(&again)[0], (1, "configuration", "configuration 1"));
    assert_eq!(kinds(&again)[1..], expected);
    let told = daemon.command(&["events", "--from", "3", "--count", "1"]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.contains(" 3 port a driver-up: the guest's driver is up"), "{text}");
}
