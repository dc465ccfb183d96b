//! Members of a group of a thousand come and go while others' connections, which a rule about that group let in, carry what
//! they can: none loses a frame. Takes about ten seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};

const MEMBERS: usize = 1000;

fn config() -> String {
    let rule = "{ direction = 'ingress', protocol = 'udp', remote_group = 'all' }";
    let mut text = format!("[network.lab]\n[group.other]\n[group.all]\nrules = [{rule}]\n");
    for (name, number) in [("a", 0), ("b", 1)] {
        let limits = "new_connections = 'unlimited'\njudged_packets = 'unlimited'";
        let own = format!("mac = '02:76:64:00:00:0{number}'\naddresses = ['192.0.2.{}']", number + 1);
        writeln!(text, "[port.{name}]\nnetwork = 'lab'\n{own}\ngroups = ['all']\n{limits}").unwrap();
    }
    for member in 2..MEMBERS {
        let address = format!("10.9.{}.{}", member / 250, member % 250 + 1);
        writeln!(text, "[port.vm{member}]\nnetwork = 'lab'\naddresses = ['{address}']\ngroups = ['all']")
            .unwrap();
    }
    text
}

/// Puts a port into a group, and out of all others; how long the answer took.
fn put(api: &Path, port: &str, group: &str) -> Duration {
    let body = format!("{{\"groups\":[\"{group}\"]}}");
    let head = format!(
        "PATCH /v1/ports/{port} HTTP/1.1\r\nHost: viaduct\r\nContent-Type: application/json\r\nConnection: close"
    );
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let start = Instant::now();
    let mut stream = UnixStream::connect(api).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let time = start.elapsed();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    time
}

#[test]
fn members_of_a_group_of_a_thousand_come_and_go_and_no_open_connection_loses_a_frame() {
    let daemon = Daemon::start(&config());
    let api = daemon.directory().join("run/api.sock");
    let sockets = ["a", "b"].map(|port| daemon.socket(port));
    let traffic = Command::new(binary())
        .args(["bench", "flows", "--json", "--rounds", "1", "--seconds", "4", "--flows", "2000", "--sockets"])
        .args(sockets)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Before the flows are opened, while they are, and behind that.
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(6) {
        let port = format!("vm{}", 2 + times.len() / 2 % (MEMBERS - 2));
        let group = ["other", "all"][times.len() % 2];
        times.push(put(&api, &port, group));
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = traffic.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figure = |measure: &str| {
        let rows = report["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["measure"] == measure).expect(measure);
        row["rounds"][0].as_f64().unwrap()
    };
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("{} changes, {median:?} each by the API; {} M frames/s", times.len(), figure("frames"));
    assert!(figure("frames") > 0.001 && times.len() > 50);
    assert_eq!(figure("lost"), 0.0, "frames of open connections");
}
