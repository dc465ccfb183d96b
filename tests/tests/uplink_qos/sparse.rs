//! The elephants and the mouse: pings beside eight TCP streams, behind one queue for all and behind one for each flow.

use std::process::Command;

use viaduct_tests::daemon::is_release;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::process::Process;

use super::{LIMIT, Stage, port};

/// How many pings are sent in a row, a hundred a second.
const PINGS: usize = 200;

/// Where c listens: a server takes one client after the other, and time between them.
const SERVERS: [u16; 6] = [5201, 5202, 5203, 5204, 5205, 5206];

fn config(queue: &str) -> String {
    let qos =
        format!("[qos.shared]\negress = {{ kind = \"tbf\", rate = \"20mbit\", queue = {{ {queue} }} }}\n");
    let ports = [port("a", ""), port("b", ""), port("c", "qos = \"shared\"\n")].concat();
    format!("{qos}[network.lab]\n{ports}")
}

/// How long b's pings to c take in milliseconds, from the shortest to the longest.
fn pings(stage: &Stage) -> Vec<f64> {
    let output = stage.stations[1].run(&format!("busybox ping -c {PINGS} -i 0.01 -W 2 10.0.1.3"));
    let time = |line: &str| line.split_once("time=")?.1.split_whitespace().next()?.parse().ok();
    let mut times: Vec<f64> = output.lines().filter_map(time).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Eight streams from a to this port of c, once they wait.
fn streams(stage: &Stage, port: u16) -> Process {
    let mut iperf: Command = stage.stations[0].command("iperf3");
    iperf.args(["-c", "10.0.1.3", "-P", "8", "-t", "60", "-p", &port.to_string()]);
    let streams = Process::spawn("iperf3-streams", &iperf, stage.folder.path());
    let waits = || {
        let shown = stage.daemon.command(&["show", "qos", "c", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let root = &shown["trees"][0]["classes"][0];
        root["backlog_frames"].as_u64().unwrap() > 10
    };
    wait_until("the streams to wait", LIMIT, waits);
    streams
}

#[test]
fn a_ping_beside_eight_streams_is_quick_where_each_flow_has_a_queue_and_not_where_all_share_one() {
    let stage = Stage::new(&config("kind = \"fq-codel\""), &SERVERS);
    // What else the machine has to do makes pings slower for a while, and never quicker.
    let mut tries = Vec::new();
    let is_quick = SERVERS[1..].iter().any(|&port| {
        let _streams = streams(&stage, port);
        let times = pings(&stage);
        assert!(times.len() * 100 >= PINGS * 99, "{} of {PINGS} pings came back", times.len());
        let [median, p99] = [50, 99].map(|percent| times[(times.len() - 1) * percent / 100]);
        tries.push((median, p99));
        median < 5.0 && (p99 < 5.0 || !is_release())
    });
    println!("with a queue for each flow, the median and the 99th percentile: {tries:?} ms");
    assert!(is_quick, "the median and the 99th percentile of pings: {tries:?} ms");
    stage.daemon.apply(&config("kind = \"fifo\", packets = 200"));
    let _streams = streams(&stage, SERVERS[0]);
    let times = pings(&stage);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::MAX);
    println!("with one queue for all, the median: {median} ms");
    assert!(median > 20.0, "the median of pings behind one queue: {median} ms");
}
