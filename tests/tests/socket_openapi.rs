//! The API's own document describes what it really answers: each `GET` of a switch with a bit of everything is checked against it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};
use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::nic::{Nic, NicOptions};

const CONFIG: &str = r#"
[network.home]
mode = "routed"
subnets = ["10.0.0.0/24"]
dhcp = { range = "10.0.0.100-10.0.0.200" }
[network.lab]
[port.a]
network = "home"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.5"]
groups = ["web"]
qos = "gold"
[port.b]
network = "home"
mac = "02:00:00:00:00:09"
addresses = ["10.0.0.9"]
[port.c]
network = "lab"
[group.web]
rules = [{ direction = "ingress", protocol = "tcp", ports = 80, remote = "10.0.0.0/8" }]
[address_group.office]
addresses = ["192.0.2.0/24"]
[qos.gold]
ingress = { police = "50mbit", burst = "128KiB" }
egress = { kind = "tbf", rate = "80mbit", burst = "64KiB" }
"#;

/// Checks the document itself and each answer against its schema (python3-jsonschema); prints how many were checked.
const CHECK: &str = "import json, sys\n\
    from jsonschema import Draft202012Validator as Validator, RefResolver\n\
    document, answers = json.load(sys.stdin)\n\
    resolver = RefResolver('', document)\n\
    for schema in document['components']['schemas'].values(): Validator.check_schema(schema)\n\
    for path, answer in answers.items():\n    \
    content = document['paths'][path]['get']['responses']['200']['content']\n    \
    schema = content['application/json']['schema']\n    \
    for error in Validator(schema, resolver=resolver).iter_errors(answer):\n        \
    sys.exit('%s: %s at %s' % (path, error.message, list(error.absolute_path)))\n\
    print(len(answers))\n";

fn get(daemon: &Daemon, path: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(daemon.directory().join("run/api.sock")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn answers_have_the_shape_that_the_document_gives() {
    let daemon = Daemon::start(CONFIG);
    let [mut a, _b] = ["a", "b"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    // One address is learned, one connection opened, one frame dropped.
    for packet in ["udp 10.0.0.5:53 > 10.0.0.9:53", "udp 10.0.0.7:53 > 10.0.0.9:53"] {
        a.send(&daemon.described("a", packet));
    }
    viaduct_tests::deadline::wait_until("the drop to be counted", std::time::Duration::from_secs(5), || {
        daemon.show().port("a").dropped("spoof-ipv4") == 1
    });
    let (status, document) = get(&daemon, "/v1/openapi.json");
    assert_eq!(status, 200, "{document}");
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut answers = Map::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let is_json = methods["get"]["responses"]["200"]["content"]["application/json"].is_object();
        let name = if path.contains("/groups/") { "web" } else { "a" };
        // There is no uplink to be asked for by name, and no overlay.
        if is_json && path != "/v1/uplinks/{name}" && !path.contains("/stations") {
            let (status, body) = get(&daemon, &path.replace("{name}", name));
            assert_eq!(status, 200, "{path} {body}");
            answers.insert(path.clone(), serde_json::from_str(&body).unwrap());
        }
    }
    let asked = answers.len();
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", CHECK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let question = serde_json::to_vec(&(document, answers)).unwrap();
    child.stdin.take().unwrap().write_all(&question).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python3-jsonschema: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), asked.to_string());
    assert!(asked >= 20, "{asked}");
}
