//! `viaduct events`: what happens is told as it happens, and once more to who comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::network;
use viaduct_tests::town::{LIMIT, Town, with_stations};

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

#[test]
fn an_uplinks_link_and_an_address_that_is_lent_are_told() {
    let town = Town::new("wan0");
    let station = town.station("guest");
    let config = "[uplink.wan]\ninterface = \"wan0\"\n[network.home]\nmode = \"routed\"\nsubnets = [\"10.0.0.0/24\"]\n\
                  dhcp = { range = \"10.0.0.100-10.0.0.110\" }\n[port.guest]\nnetwork = \"home\"\n";
    let daemon = town.start(&with_stations(config.to_owned(), &[&station]), &["wan", "guest"]);
    let mut command = Command::new(binary());
    command.arg("--socket").arg(daemon.directory().join("run/api.sock")).args(["events", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (lines, heard) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&told));
    let reader = thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .for_each(|line| heard.lock().unwrap().push(serde_json::from_str(&line).unwrap()));
    });
    let hears = |kind: &str, words: &str| {
        wait_until(kind, LIMIT, || {
            let told = told.lock().unwrap();
            let is_it =
                |line: &Value| line["event"]["kind"] == kind && line["event"].to_string().contains(words);
            told.iter().any(is_it)
        });
    };
    wait_until("the listener's place", LIMIT, || !told.lock().unwrap().is_empty());
    town.outside.ip("link set eth0 down");
    hears("link-down", "wan");
    town.outside.ip("link set eth0 up");
    hears("link-up", "wan");
    station.lease(town.folder.path());
    hears("lease-granted", &station.address());
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
}

/// They have eight places and no more; nobody else waits for them, and a place is free when its listener is gone.
#[test]
fn deaf_listeners_keep_others_from_nothing_but_their_places() {
    let daemon = Daemon::start(&network("lab", &["a"], ""));
    let listen = || {
        let mut stream = UnixStream::connect(daemon.directory().join("run/api.sock")).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8(status[9..].to_vec()).unwrap())
    };
    let mut deaf: Vec<_> = (0..8).map(|_| listen()).collect();
    assert!(deaf.iter().all(|(_, status)| status == "200"), "{deaf:?}");
    assert_eq!(listen().1, "503", "a ninth has no place");
    let start = Instant::now();
    for ports in [&["a", "b"][..], &["a"]] {
        daemon.apply(&network("lab", ports, ""));
        assert_eq!(daemon.show().ports.len(), ports.len());
    }
    assert!(start.elapsed() < LIMIT, "deaf listeners held up changes: {:?}", start.elapsed());
    deaf.pop();
    // It is noticed when there is something to tell.
    daemon.apply(&network("lab", &["a", "b"], ""));
    wait_until("the place of one that is gone", LIMIT, || listen().1 == "200");
}
