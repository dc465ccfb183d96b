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
pub fn ask(daemon: &Daemon, what: (&str, &str), if_match: Option<u64>, body: &str) -> (u16, u64, Value) {
    let tag = if_match.map(|number| format!("\"{number}\""));
    let (status, tag, body) = ask_text(daemon, what, tag.as_deref(), body);
    let number = tag.trim_matches('"').parse().unwrap_or(0);
    (status, number, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{what:?}: {status}\n{body}")))
}

/// The same with the whole entity tag, and the body as it came.
///
/// # Panics
/// If the daemon does not answer in time.
#[must_use]
pub fn ask_text(
    daemon: &Daemon,
    (method, path): (&str, &str),
    if_match: Option<&str>,
    body: &str,
) -> (u16, String, String) {
    let mut stream = UnixStream::connect(daemon.directory().join("run/api.sock")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let condition = if_match.map_or(String::new(), |tag| format!("If-Match: {tag}\r\n"));
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{condition}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let tag = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("etag").then(|| value.to_owned())
    });
    (status, tag.unwrap_or_default(), body.to_owned())
}
