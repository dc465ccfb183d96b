//! Hostile clients of the API: malformed, huge, slow, many at once; the data path does not notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::lab::network;

const PAIR: [&str; 2] = ["a", "b"];
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one of several writers may be turned away: nobody says whose turn it is.
const TURN_LIMIT: Duration = Duration::from_secs(60);

fn start() -> (Daemon, Bystander) {
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    (daemon, bystander)
}

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.directory().join("run/api.sock")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends `bytes` and reads until the daemon closes; returns the answer's status, if there is an answer.
fn ask(daemon: &Daemon, bytes: &[u8]) -> Option<u16> {
    let mut stream = connect(daemon);
    // The daemon may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn request(method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let fixed = format!("Host: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    [format!("{method} {path} HTTP/1.1\r\n{fixed}{headers}\r\n").as_bytes(), body].concat()
}

/// Puts a configuration in force; while the daemon has its hands full (503), again.
fn put(daemon: &Daemon, config: &str) {
    let bytes = request("PUT", "/v1/config", "", config);
    viaduct_tests::deadline::wait_until("the configuration to be in force", TURN_LIMIT, || {
        let status = ask(daemon, &bytes);
        assert!(matches!(status, Some(200 | 503)), "{status:?}");
        status == Some(200)
    });
}

#[test]
fn requests_that_are_wrong_are_refused_and_nothing_changes() {
    let (mut daemon, bystander) = start();
    let right = daemon.whole_config(&network("lab", &PAIR, ""));
    assert_eq!(ask(&daemon, &request("GET", "/v1/status", "", "")), Some(200), "a right one first");
    let refused: [(&str, Vec<u8>); 9] = [
        ("an unknown path", request("GET", "/v1/nonsense", "", "")),
        ("a path that climbs", request("GET", "/v1/../../etc/passwd", "", "")),
        ("a port that is not there", request("GET", "/v1/ports/none", "", "")),
        ("a method that is none", request("BREW", "/v1/status", "", "")),
        ("a method that does not fit", request("DELETE", "/v1/config", "", "")),
        ("a body that is no configuration", request("PUT", "/v1/config", "", "}{")),
        ("a body that is no text", request("PUT", "/v1/config", "", [0xff; 10])),
        ("an unknown field", request("PUT", "/v1/config", "", "[network.lab]\ncolour = 1\n")),
        (
            "another generation than the one in force",
            request("PUT", "/v1/config", "If-Match: \"99\"\r\n", &right),
        ),
    ];
    for (what, bytes) in refused {
        let status = ask(&daemon, &bytes);
        assert!(status.is_some_and(|status| (400..500).contains(&status)), "{what}: {status:?}");
    }
    assert!(daemon.is_alive());
    bystander.finish();
}

#[test]
fn garbage_and_endless_requests_are_cut_off() {
    let (mut daemon, bystander) = start();
    let garbage: Vec<u8> =
        (0..100_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let header = [b"GET /v1/status HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 4 << 20]].concat();
    let many = [b"GET /v1/status HTTP/1.1\r\n".to_vec(), b"X: y\r\n".repeat(100_000)].concat();
    let before = daemon.settled_usage();
    for bytes in [garbage, header, many, vec![0; 1 << 20], b"\r\n".repeat(100_000)] {
        let status = ask(&daemon, &bytes);
        assert!(status.is_none_or(|status| status >= 400), "{status:?}");
    }
    let huge = "#".repeat(20 << 20);
    let status = ask(&daemon, &request("PUT", "/v1/config", "", &huge));
    assert!(status.is_none_or(|status| status == 413 || status == 400), "20 MiB: {status:?}");
    assert!(daemon.is_alive());
    let after = daemon.usage_given_back(before);
    assert!(after.anonymous_kib < before.anonymous_kib + 64 * 1024, "{before:?} {after:?}");
    bystander.finish();
}

#[test]
fn clients_that_say_nothing_and_clients_that_do_not_read_keep_nobody_else_out_for_long() {
    let (daemon, bystander) = start();
    let silent: Vec<UnixStream> = (0..100).map(|_| connect(&daemon)).collect();
    let deaf: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = connect(&daemon);
            let _ = stream.write_all(&b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500));
            stream
        })
        .collect();
    let start = Instant::now();
    let state = daemon.show();
    println!("an answer beside 150 bad clients took {:?}", start.elapsed());
    assert_eq!(state.ports.len(), 2);
    assert!(start.elapsed() < Duration::from_secs(20));
    drop((silent, deaf));
    bystander.wait_for_rounds(3);
    bystander.finish();
}

#[test]
fn many_changes_at_once_are_made_one_after_the_other() {
    let (daemon, bystander) = start();
    let configs = [
        network("lab", &PAIR, ""),
        network("lab", &["a", "b", "c"], ""),
        network("lab", &["a", "b", "d"], ""),
    ]
    .map(|config| daemon.whole_config(&config));
    let before = daemon.show().generation;
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (daemon, configs) = (&daemon, &configs);
            scope.spawn(move || {
                for round in 0..20 {
                    let text = &configs[(worker + round) % 3];
                    put(daemon, text);
                }
            });
        }
    });
    put(&daemon, &configs[1]);
    let state = daemon.show();
    let names: Vec<&str> = state.ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(state.generation > before);
    assert!(daemon.socket("c").exists() && !daemon.socket("d").exists());
    bystander.finish();
}

#[test]
fn the_sockets_permissions_are_the_authorisation_and_nothing_listens_on_the_network() {
    let daemon = Daemon::start_with("socket_mode = \"0600\"", &network("lab", &PAIR, ""));
    for path in [daemon.socket("a"), daemon.socket("b"), daemon.directory().join("run/api.sock")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
    let network: String = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/{}/net/{table}", daemon.pid())).ok())
        .collect();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap() {
        let Ok(link) = std::fs::read_link(entry.unwrap().path()) else { continue };
        let text = link.to_string_lossy().into_owned();
        let Some(inode) = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else {
            continue;
        };
        let listed = network.lines().any(|line| line.split_whitespace().nth(9) == Some(inode));
        assert!(!listed, "{text} is a network socket");
    }
}
