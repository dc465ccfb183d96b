//! A control plane that speaks HTTP to a daemon's API.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The answer to a request: its status, the number in its entity tag, and its body.
///
/// # Panics
/// If the daemon does not answer in time, or not in JSON.
#[must_use]
pub fn ask(
    daemon: &Daemon,
    (method, path): (&str, &str),
    if_match: Option<u64>,
    body: &str,
) -> (u16, u64, Value) {
    let mut stream = UnixStream::connect(daemon.directory().join("run/api.sock")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let condition = if_match.map_or(String::new(), |tag| format!("If-Match: \"{tag}\"\r\n"));
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{condition}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let tag = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("etag: \"")?.strip_suffix('"')?.parse().ok());
    (status, tag.unwrap_or(0), serde_json::from_str(body).unwrap_or_else(|_| panic!("{head}\n{body}")))
}
