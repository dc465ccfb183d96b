//! A server with a control thread that only counts, and clients of every kind.

mod stations;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tags::of_configuration;
use super::*;
use crate::changes::Running;
use crate::control::{
    Changes, Command, FeedRequest, Figures, Handle, PortEdit, RunningState, StationChange, StationError,
    Tables, TraceError, channel,
};
use crate::model::{Fed, RemoteStation, SecurityStatus, Snapshot, StationPage, Trace};
use crate::vhost_user::{Access, Listener};

const LAB: &[u8] = b"[network.lab]\n[port.vm1]\nnetwork = 'lab'\n";

/// A control thread that counts how often a configuration was applied; it ends with its last handle's `stop`.
struct Control {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    fn start() -> Self {
        let (handle, commands) = channel().unwrap();
        let mut generation = 1;
        let answer_all = move || {
            loop {
                commands.acknowledge();
                match commands.next() {
                    None => std::thread::sleep(Duration::from_millis(1)),
                    Some(Command::Stop) => return,
                    Some(Command::Trace { answer, .. }) => {
                        answer.send(Err(TraceError::NoPort("vm9".to_owned()))).unwrap();
                    }
                    Some(Command::Feed { request, answer }) => answer.send(feed(*request)).unwrap(),
                    Some(Command::Stations { network, from, limit, answer }) => {
                        let (next, fed) = (from.map(|mac| mac.to_string()), limit);
                        let generation = 7;
                        let page = StationPage { network, generation, fed, next, ..StationPage::default() };
                        answer.send(Ok(page)).unwrap();
                    }
                    Some(Command::Tables(answer)) => answer.send(Tables::empty()).unwrap(),
                    Some(Command::Pulse(_) | Command::News(_) | Command::HandOver(_)) => {}
                    Some(Command::Capture { answer, .. }) => {
                        answer.send(Err(TraceError::TooManyCapture(4))).unwrap();
                    }
                    Some(Command::Names { answer, .. }) => answer.send(None).unwrap(),
                    Some(Command::Watch { answer, .. }) => {
                        answer.send(Err(TraceError::TooManyWatch(4))).unwrap();
                    }
                    Some(Command::Tell { answer, .. }) => answer.send(Vec::new()).unwrap(),
                    Some(Command::TraceSample { answer, .. }) => answer.send(Trace::default()).unwrap(),
                    Some(Command::Running(answer)) => {
                        let (file, running) = (PathBuf::new(), Running::of_file("[network.lab]\n"));
                        let ports = ["vm1".to_owned()].into();
                        let state = RunningState { generation, file, running, ports, not_kept: None };
                        answer.send(Box::new(state)).unwrap();
                    }
                    Some(Command::Figures(answer)) => {
                        let snapshot = Snapshot { generation, ..Snapshot::default() };
                        answer.send(Box::new(Figures { snapshot, tables: Tables::empty() })).unwrap();
                    }
                    Some(Command::Security(answer)) => {
                        answer.send(SecurityStatus { generation, ..SecurityStatus::default() }).unwrap();
                    }
                    Some(Command::Edit { port, edit, expected, dry_run, answer }) => {
                        assert_eq!(port, "vm1");
                        let groups = edit.groups.as_ref().map(Vec::len);
                        let qos = edit.qos.as_ref().map(Option::as_deref);
                        let is_known =
                            matches!((groups, qos), (Some(2), None) | (None, Some(None | Some("gold"))));
                        assert!(is_known, "{edit:?}");
                        let outcome = expected.check(generation);
                        generation += u64::from(!dry_run && outcome.is_ok());
                        let changes = Changes { generation, ..Changes::default() };
                        answer.send(outcome.map(|()| (changes, None))).unwrap();
                    }
                    Some(Command::Apply { candidate, expected, dry_run, answer }) => {
                        assert!(!candidate.config.networks.is_empty());
                        let outcome = expected.check(generation);
                        generation += u64::from(!dry_run && outcome.is_ok());
                        let changes = Changes { generation, ..Changes::default() };
                        answer.send(outcome.map(|()| (changes, None))).unwrap();
                    }
                }
            }
        };
        Self { handle, thread: Some(std::thread::spawn(answer_all)) }
    }
}

/// A table of generation 7, which tells how many stations the request names.
fn feed(request: FeedRequest) -> Result<Fed, StationError> {
    let FeedRequest { network, change, generation, expected } = request;
    if !expected.allows(7) {
        return Err(StationError::Generation { running: 7 });
    }
    let [mut added, mut changed, mut removed] = [0; 3];
    match change {
        StationChange::Replace(stations) => added = stations.len(),
        StationChange::Set(stations) => {
            changed = stations.iter().map(|station| station.addresses.len()).sum();
        }
        StationChange::Remove(macs) => removed = macs.len(),
    }
    let generation = generation.unwrap_or(8);
    Ok(Fed { network, generation, added, changed, removed, ..Fed::default() })
}

impl Drop for Control {
    fn drop(&mut self) {
        self.handle.stop().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Api {
    _server: Server,
    control: Control,
    directory: TempDir,
}

impl Api {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener =
            Listener::bind(&directory.path().join("api.sock"), Access { mode: 0o600, group: None }).unwrap();
        let control = Control::start();
        Self { _server: Server::start(control.handle.clone(), listener, None).unwrap(), control, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends bytes as they are; gives the status line's code, the head and the body.
    fn raw(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, head.to_owned(), body.to_owned())
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, Value) {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, head, body) = self.raw(text.as_bytes());
        (status, head, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}")))
    }

    fn generation(&self) -> u64 {
        self.client().get::<Snapshot>("/v1/status").unwrap().generation
    }
}

#[test]
fn every_path_answers_with_its_generation() {
    let api = Api::start();
    let kinds = ["status", "ports", "networks", "groups", "address_groups", "multicast", "workers"];
    for path in kinds.map(|kind| format!("/v1/{kind}")) {
        let path = path.as_str();
        let (status, head, _) = api.request("GET", path, "", "");
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("etag: {}", of_configuration(1))), "{path}: {head}");
    }
}

#[test]
fn the_document_has_what_is_served_and_nothing_else() {
    let api = Api::start();
    let (status, _, document) = api.request("GET", "/v1/openapi.json", "", "");
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 25, "{}", paths.len());
    for (path, methods) in paths {
        for method in ["get", "put", "post", "patch", "delete"] {
            // Its answer lasts.
            if (path.as_str(), method) == ("/v1/events", "get") {
                continue;
            }
            let (status, _, text) = api.raw(
                format!(
                    "{} {} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n}}{{",
                    method.to_uppercase(),
                    path.replace("{name}", "vm1").replace("{mac}", "x")
                )
                .as_bytes(),
            );
            assert_eq!(methods[method].is_object(), status != 405, "{method} {path}: {status} {text}");
        }
    }
    let documentation = include_str!("../../../docs/api.md");
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let row = format!(
                "`{} {}",
                method.to_uppercase(),
                path.replace("{name}", "NAME").replace("{mac}", "MAC")
            );
            assert!(documentation.contains(&row), "docs/api.md has no {row}");
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = openapi::whole();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50, "{}", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| collect(field, found));
        }
        _ => {}
    }
}

#[test]
fn what_does_not_exist_says_what_does() {
    let api = Api::start();
    let (status, _, body) = api.request("GET", "/v2/ports", "", "");
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("/v1/ports"));
    assert_eq!(api.request("GET", "/v1/ports/vm9", "", "").0, 404);
    assert_eq!(api.request("DELETE", "/v1/status", "", "").0, 405);
}

#[test]
fn a_configuration_is_applied_once_and_a_dry_run_never() {
    let api = Api::start();
    let client = api.client();
    assert_eq!(client.put_config(LAB.to_vec(), true).unwrap().changes.generation, 1);
    assert_eq!(api.generation(), 1);
    assert_eq!(client.put_config(LAB.to_vec(), false).unwrap().changes.generation, 2);
    assert_eq!(api.generation(), 2);
}

#[test]
fn a_wrong_configuration_is_located_and_changes_nothing() {
    let api = Api::start();
    let (status, _, body) = api.request("PUT", "/v1/config", "", "[network.lab]\nageing = 5\n");
    assert_eq!(status, 422);
    let problem = json!({
        "line": 2, "column": 10, "field": "network.lab.ageing", "found": "5",
        "expected": "a duration from \"10s\" to \"1000000s\" with its unit (ms, s, m, h, d), like \"5m\""
    });
    assert_eq!(body["problems"], json!([problem]));
    assert_eq!(api.generation(), 1);
}

#[test]
fn a_port_is_put_into_groups_by_itself() {
    let api = Api::start();
    let patch = |path: &str, head: &str, body: &str| api.request("PATCH", path, head, body).0;
    let groups = r#"{"groups": ["web", "db"]}"#;
    assert_eq!(patch("/v1/ports/vm1?dry_run=true", "", groups), 200);
    assert_eq!(api.generation(), 1);
    assert_eq!(patch("/v1/ports/vm1", &if_match(7), groups), 412);
    assert_eq!(patch("/v1/ports/vm1", &if_match(1), groups), 200);
    assert_eq!(api.generation(), 2);
    let names = ["web", "db"].map(str::to_owned);
    let edit = PortEdit::groups(names.to_vec());
    assert_eq!(api.client().edit("vm1", &edit, false).unwrap().changes.generation, 3);
    for wrong in ["", "{}", r#"{"groups": "web"}"#, r#"{"groups": [], "mtu": 9000}"#, r#"{"groups": null}"#] {
        assert_eq!(patch("/v1/ports/vm1", "", wrong), 422, "{wrong}");
    }
    assert_eq!(patch("/v1/ports/vm1?now=true", "", groups), 400);
    let long = format!("{{\"groups\": [\"{}\"]}}", "x".repeat(PORT_PATCH_MAX));
    assert_eq!(patch("/v1/ports/vm1", "", &long), 413);
    assert_eq!(api.generation(), 3);
}

#[test]
fn fields_of_a_table_are_changed_by_themselves() {
    let api = Api::start();
    let patch = |path: &str, head: &str, body: &str| api.request("PATCH", path, head, body);
    for path in ["/v1/groups/nobody", "/v1/address_groups/nobody", "/v1/qos/nobody", "/v1/networks/nobody"] {
        let (status, _, told) = patch(path, "", "{}");
        assert_eq!(
            (status, told["error"].as_str().unwrap().contains("PUT /v1/config makes one")),
            (404, true)
        );
        assert_eq!(patch(path, &if_match(7), "{}").0, 412);
        assert_eq!(patch(&format!("{path}?now=true"), "", "{}").0, 400);
        for wrong in ["", "[]", "{"] {
            assert_eq!(patch(path, "", wrong).0, 422, "{wrong}");
        }
    }
    assert_eq!(api.generation(), 1);
}

#[test]
fn a_port_gets_another_qos_or_none_by_itself() {
    let api = Api::start();
    let patch = |body: &str| api.request("PATCH", "/v1/ports/vm1", "", body).0;
    assert_eq!(patch(r#"{"qos": "gold"}"#), 200);
    assert_eq!(patch(r#"{"qos": null}"#), 200);
    let edit = PortEdit { qos: Some(None), ..PortEdit::default() };
    assert_eq!(api.client().edit("vm1", &edit, false).unwrap().changes.generation, 4);
    for wrong in [r#"{"qos": 7}"#, r#"{"qos": ["gold"]}"#, r#"{"qoz": "gold"}"#] {
        assert_eq!(patch(wrong), 422, "{wrong}");
    }
    assert_eq!(api.generation(), 4);
}

#[test]
fn a_misspelt_query_is_no_real_change() {
    let api = Api::start();
    for query in ["dry-run=true", "dry_run=yes", "dry_run=true&x=1", "dryrun"] {
        assert_eq!(api.request("PUT", &format!("/v1/config?{query}"), "", "").0, 400, "{query}");
    }
    assert_eq!(api.generation(), 1);
}

#[test]
fn if_match_guards_against_a_state_that_moved_on() {
    let api = Api::start();
    let put =
        |tag: &str| api.request("PUT", "/v1/config", &format!("if-match: {tag}\r\n"), "[network.lab]").0;
    let tag = of_configuration;
    assert_eq!(put(&tag(7)), 412);
    assert_eq!(put(tag(1).trim_matches('"')), 412, "an entity tag has quotes");
    assert_eq!(put("\"1\""), 412, "another process may have had a configuration of this number");
    assert_eq!(api.generation(), 1);
    assert_eq!(put(&tag(1)), 200);
    assert_eq!(put(&tag(1)), 412);
    assert_eq!(put(&format!("{}, {}", tag(9), tag(2))), 200);
    assert_eq!(put(&format!("W/{}", tag(3))), 412, "a weak tag never matches (RFC 9110, 13.1.1)");
    assert_eq!(put("*"), 200);
    let (_, _, body) = api.request("PUT", "/v1/config", &if_match(1), "[network.lab]");
    assert!(body["error"].as_str().unwrap().contains("generation 4 runs"), "{body}");
    let (text, told) = api.client().config().unwrap();
    assert_eq!(told, tag(4));
    assert!(api.client().expecting(told.clone()).put_config(text.clone().into_bytes(), false).is_ok());
    let refused = api.client().expecting(told).put_config(text.into_bytes(), false);
    assert!(matches!(refused, Err(ClientError::Refused { status: 412, .. })), "{refused:?}");
}

fn if_match(generation: u64) -> String {
    format!("if-match: {}\r\n", of_configuration(generation))
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let api = Api::start();
    let head = format!("PUT /v1/config HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 17 << 20);
    let mut stream = api.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b'#'; 1 << 20];
    // The server may close before everything is sent.
    while stream.write_all(&piece).is_ok() {}
    assert_eq!(api.generation(), 1);
}

#[test]
fn malformed_requests_end_their_own_connection_only() {
    let api = Api::start();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for request in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "PUT /v1/config HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        &long,
        &many,
    ] {
        let mut stream = api.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(api.generation(), 1);
}

#[test]
fn silent_clients_are_cut_off_and_others_served_meanwhile() {
    let api = Api::start();
    let mut silent: Vec<UnixStream> = (0..20).map(|_| api.connect()).collect();
    let start = Instant::now();
    assert_eq!(api.generation(), 1);
    assert!(start.elapsed() < Duration::from_secs(2));
    silent[0].write_all(b"GET /v1/sta").unwrap();
    for stream in &mut silent {
        // Nothing, or 408: either way it ends.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn more_clients_than_slots_are_served_one_after_the_other() {
    let api = Api::start();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let client = api.client();
            std::thread::spawn(move || client.get::<Value>("/v1/status").unwrap())
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn the_socket_is_removed_at_the_end() {
    let Api { _server: server, control: _control, directory } = Api::start();
    drop(server);
    assert!(!directory.path().join("api.sock").exists());
}

#[test]
fn a_daemon_that_is_not_there_is_said_so() {
    let error = Client::new(PathBuf::from("/nonexistent/api.sock")).get::<Value>("/v1/status").unwrap_err();
    assert!(error.to_string().contains("start one with `viaduct run`"), "{error}");
}

/// The refusal itself needs another user: tests/command_line.rs has it.
#[test]
fn a_socket_that_may_not_be_opened_names_who_may() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _listener = Listener::bind(&socket, Access { mode: 0o600, group: None }).unwrap();
    let told = client::who_may(&socket);
    assert!(told.starts_with("run as ") && told.contains("api_mode = \"0660\" and api_group"), "{told}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    std::fs::set_permissions(&socket, mode).unwrap();
    let told = client::who_may(&socket);
    assert!(told.contains("usermod --append --groups "), "{told}");
    let told = client::who_may(&directory.path().join("none/api.sock"));
    assert!(told.contains("its folder cannot be entered"), "{told}");
}

#[test]
fn a_daemon_that_talks_something_else_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"220 smtp ready\r\n");
    });
    let error = Client::new(socket).get::<Value>("/v1/status").unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    other.join().unwrap();
}
