//! `/metrics` is read by Prometheus' own parsers, passes its linter and says what `viaduct show` says; on TCP the API only tells, and only whoever
//! names this machine; `/v1/health` knows when nobody turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss, reason = "a test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::network;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::stopped::Stopped;
use viaduct_tests::tun::within;

/// Reads a scrape with both of Debian's parsers (python3-prometheus-client) and prints samples as JSON.
const PARSER: &str = "import json, sys\n\
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict\n\
    from prometheus_client.parser import text_string_to_metric_families as classic\n\
    text = sys.stdin.read()\n\
    families = list((strict if sys.argv[1] == 'open' else classic)(text))\n\
    assert all(family.documentation and family.type in ('counter', 'gauge', 'histogram') for family in families)\n\
    print(json.dumps([[s.name, s.labels, s.value] for family in families for s in family.samples]))\n";

fn parse(kind: &str, text: &str) -> Vec<(String, Value, f64)> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", PARSER, kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the parser (python3-prometheus-client) refuses\n{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What promtool finds to be against convention in a scrape, or wrong.
fn linted(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian's prometheus) runs");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    if output.status.success() { said } else { format!("{}: {said}", output.status) }
}

/// Where the daemon listens: in a namespace of its own, in which nobody else has the port.
const LISTEN: (&str, u16) = ("127.0.0.1", 9477);

/// A daemon that listens there.
fn start() -> (Daemon, Namespace) {
    let place = Namespace::new("metrics");
    let listen = format!("api_listen = \"{}:{}\"", LISTEN.0, LISTEN.1);
    (Daemon::start_in_with(&place, &listen, &network("lab", &["a", "b"], "")), place)
}

fn connect(place: &Namespace) -> TcpStream {
    within(place, || TcpStream::connect(LISTEN).unwrap())
}

/// Asks by TCP; gives the status, the head and the body.
fn ask(place: &Namespace, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = connect(place);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

fn host() -> String {
    format!("Host: {}:{}\r\n", LISTEN.0, LISTEN.1)
}

#[test]
fn a_scrape_is_what_parsers_read_and_what_show_says() {
    let (daemon, place) = start();
    let [mut a, mut b] = ["a", "b"].map(|name| Nic::connect(&daemon.socket(name), &NicOptions::default()));
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    (0..5).for_each(|_| a.send(&frame));
    (0..5).for_each(|_| drop(b.expect_frame("a broadcast")));
    // The source is a group: dropped.
    let wrong = [&[0xff; 6][..], &[3, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    a.send(&wrong);
    viaduct_tests::deadline::wait_until("the drop to be counted", Duration::from_secs(5), || {
        daemon.show().port("a").dropped("bad-source") == 1
    });
    let (status, head, text) = ask(&place, "GET", "/metrics", &host());
    assert_eq!(status, 200, "{text}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert_eq!(linted(&text), "");
    assert!(
        linted(&text.replace("viaduct_port_up", "viaduct_portUp")).contains("viaduct_portUp"),
        "promtool judges nothing"
    );
    let samples = parse("classic", &text);
    let value = |name: &str, labels: Value| {
        let found = samples.iter().find(|(other, its, _)| other == name && *its == labels);
        found.unwrap_or_else(|| panic!("no {name} {labels} in\n{text}")).2
    };
    let output = daemon.command(&["show", "ports", "--json"]);
    let ports: Value = serde_json::from_slice(&output.stdout).unwrap();
    for shown in ports.as_array().unwrap() {
        let labels = || serde_json::json!({ "port": shown["name"] });
        for (name, told) in [
            ("viaduct_port_receive_frames_total", &shown["received"]["frames"]),
            ("viaduct_port_receive_bytes_total", &shown["received"]["bytes"]),
            ("viaduct_port_transmit_frames_total", &shown["sent"]["frames"]),
            ("viaduct_port_transmit_bytes_total", &shown["sent"]["bytes"]),
            ("viaduct_port_running_rings", &shown["rings_running"]),
            ("viaduct_port_connects_total", &shown["connections"]),
        ] {
            assert_eq!(Some(value(name, labels())), told.as_f64(), "{name} of {shown}");
        }
    }
    assert_eq!(value("viaduct_port_receive_frames_total", serde_json::json!({ "port": "a" })), 6.0);
    assert_eq!(value("viaduct_port_transmit_frames_total", serde_json::json!({ "port": "b" })), 5.0);
    assert_eq!(
        value("viaduct_port_drops_total", serde_json::json!({ "port": "a", "reason": "bad-source" })),
        1.0
    );
    let rounds = |what: &str| {
        value(&format!("viaduct_worker_round_seconds_{what}"), serde_json::json!({ "cpu": "0" }))
    };
    assert!(
        (1.0..=6.0).contains(&rounds("count")) && rounds("sum") > 0.0,
        "frames came in at most six rounds"
    );
    assert_eq!(value("viaduct_network_fdb_entries", serde_json::json!({ "network": "lab" })), 1.0);
    let usage = daemon.usage();
    let open_fds = value("process_open_fds", serde_json::json!({}));
    assert!((open_fds - usage.descriptors as f64).abs() <= 4.0, "{open_fds} {usage:?}");
    assert!(
        value("process_resident_memory_bytes", serde_json::json!({})) >= usage.anonymous_kib as f64 * 512.0
    );
    let accept = format!("{}Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n", host());
    let (status, head, open) = ask(&place, "GET", "/metrics", &accept);
    assert!(status == 200 && head.contains("application/openmetrics-text"), "{head}");
    let opened = parse("open", &open);
    assert_eq!(samples.len() + 1, opened.len(), "the first scrape's own answer is counted in the second");
}

#[test]
fn tcp_only_tells_and_only_whoever_names_this_machine() {
    let (daemon, place) = start();
    assert_eq!(ask(&place, "GET", "/v1/ports", &host()).0, 200);
    assert_eq!(ask(&place, "HEAD", "/v1/ports", "Host: localhost\r\n").0, 200);
    for (method, path) in [
        ("PUT", "/v1/config"),
        ("PATCH", "/v1/ports/a"),
        ("DELETE", "/v1/connections?all=true"),
        ("POST", "/v1/watch"),
        ("POST", "/v1/capture"),
        ("POST", "/v1/trace"),
        ("OPTIONS", "/v1/config"),
    ] {
        let (status, _, body) = ask(&place, method, path, &format!("{}Content-Length: 0\r\n", host()));
        assert_eq!(status, 405, "{method} {path} {body}");
        assert!(body.contains("Unix socket"), "{body}");
    }
    for strange in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{}\r\n", LISTEN.1),
        "Host: \r\n".to_owned(),
    ] {
        let (status, _, body) = ask(&place, "GET", "/v1/status", &strange);
        assert!(matches!(status, 400 | 421), "{strange} {status} {body}");
    }
    // Clients that say nothing have places of their own: the Unix socket does not notice.
    let silent: Vec<_> = (0..20).map(|_| connect(&place)).collect();
    assert_eq!(daemon.show().generation, 1);
    drop(silent);
    assert_eq!(ask(&place, "GET", "/v1/health", &host()).0, 200);
    daemon.wait_for_log("TCP has no authorisation");
}

#[test]
fn health_names_a_worker_that_does_not_turn_and_a_control_thread_that_does_not_answer() {
    let (daemon, place) = start();
    let health = || {
        let (status, _, body) = ask(&place, "GET", "/v1/health", &host());
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    assert_eq!(health(), (200, serde_json::json!({ "generation": 1, "workers": 1 })));
    let worker = Stopped::thread(daemon.pid(), "worker-0");
    let (status, body) = health();
    let told = body["error"].as_str().unwrap();
    assert!(
        status == 503 && told.contains("workers on processors 0 gave no sign of life"),
        "{status} {told}"
    );
    drop(worker);
    assert_eq!(health().0, 200);
    let control = Stopped::main_thread(daemon.pid());
    let (status, body) = health();
    let told = body["error"].as_str().unwrap();
    assert!(status == 503 && told.contains("the control thread does not answer"), "{status} {told}");
    drop(control);
    assert_eq!(health().0, 200);
}
