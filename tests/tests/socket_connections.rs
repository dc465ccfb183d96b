//! `viaduct show connections`, `viaduct connections clear`, and the connections and rules that `viaduct trace` names.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::stations::{Body, Family, Stations};

const CONFIG: &str = "[network.lab]\n[port.web]\nnetwork = \"lab\"\n";

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = daemon.command(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn without_filtered_ports_there_are_no_connections() {
    let daemon = Daemon::start(CONFIG);
    let page = json(&daemon, &["show", "connections", "--json", "--network", "lab", "--limit", "5"]);
    assert_eq!(page, serde_json::json!({ "connections": [], "next": null }));
    let text = daemon.command(&["show", "connections"]);
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("NETWORK  OPENED AT  PROTOCOL"));
    assert_eq!(json(&daemon, &["connections", "clear", "--all", "--json"])["connections"], 0);
}

#[test]
fn what_is_selected_is_checked() {
    let daemon = Daemon::start(CONFIG);
    for (arguments, told) in [
        (&["show", "connections", "--network", "lob"][..], "there is no network lob"),
        (&["show", "connections", "--state", "open"], "there is no state open; there are syn-sent"),
        (&["show", "connections", "--limit", "1001"], "limit is 1001; write a number from 1 to 1000"),
        (&["show", "connections", "web"], "connections have no names; say --network NAME"),
        (&["show", "ports", "--state", "established"], "are for `viaduct show connections`"),
        (&["connections", "clear"], "say which connections are to be ended, or all=true"),
        (&["connections", "clear", "--port", "vm9"], "there is no port vm9"),
    ] {
        let output = daemon.command(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}

/// Station 1 lets in UDP port 53; station 4 is anybody.
const GROUPS: &str = "[network.lab]\n\
    [group.names]\nrules = [{ direction = 'ingress', protocol = 'udp', ports = 53, remote = '10.0.0.0/8' }]\n\
    [port.server]\nnetwork = 'lab'\nmac = '02:00:00:00:00:01'\naddresses = ['10.0.0.1']\ngroups = ['names']\n\
    [port.client]\nnetwork = 'lab'\nmac = '02:00:00:00:00:04'\nport_security = false\n";

#[test]
fn connections_are_listed_by_what_is_asked_for_and_end_when_they_are_cleared() {
    let mut stage = Stations::new(GROUPS, &[("server", 1), ("client", 4)]);
    for number in [1000, 1001, 1002] {
        assert!(stage.passes(Family::V4, "client", "server", &Body::Udp(number, 53)));
    }
    assert!(stage.passes(Family::V4, "server", "client", &Body::Udp(53, 1001)));
    let page = |daemon: &Daemon, more: &[&str]| {
        json(daemon, &[&["show", "connections", "--json"], more].concat())["connections"].clone()
    };
    let daemon = &stage.daemon;
    assert_eq!(page(daemon, &[]).as_array().unwrap().len(), 3);
    assert_eq!(page(daemon, &["--port", "client"]).as_array().unwrap().len(), 3);
    assert_eq!(page(daemon, &["--port", "server"]).as_array().unwrap().len(), 0, "it opened none");
    let replied = page(daemon, &["--state", "replied"]);
    assert_eq!(replied.as_array().unwrap().len(), 1, "{replied}");
    assert!(replied.to_string().contains("1001"), "{replied}");
    let first = json(daemon, &["show", "connections", "--json", "--limit", "2"]);
    let next = first["next"].as_u64().unwrap().to_string();
    let rest = page(daemon, &["--limit", "2", "--from", &next]);
    assert_eq!((first["connections"].as_array().unwrap().len(), rest.as_array().unwrap().len()), (2, 1));

    let cleared = json(daemon, &["connections", "clear", "--transport-port", "1001", "--json"]);
    assert_eq!(cleared["connections"], 1);
    assert_eq!(page(daemon, &[]).as_array().unwrap().len(), 2);
    assert!(stage.passes(Family::V4, "client", "server", &Body::Udp(1001, 53)), "it opens another one");
}

#[test]
fn a_trace_names_the_rule_and_the_connection_that_let_a_packet_pass() {
    let mut stage = Stations::new(GROUPS, &[("server", 1), ("client", 4)]);
    let step = |daemon: &Daemon, port: &str, packet: &str| {
        let trace = json(daemon, &["trace", port, packet, "--json"]);
        let steps = trace["steps"].as_array().unwrap().clone();
        steps.into_iter().find(|step| step["stage"] == "security-groups").unwrap().to_string()
    };
    stage.passes(Family::V4, "server", "client", &Body::Udp(9, 9));
    let request = "udp 10.0.0.4:1000 > 10.0.0.1:53";
    let opening = step(&stage.daemon, "client", request);
    let rule = "ingress of server is allowed by a rule of group names for 10.0.0.0/8";
    assert!(opening.contains(rule) && opening.contains("none yet"), "{opening}");
    assert!(stage.passes(Family::V4, "client", "server", &Body::Udp(1000, 53)));
    let known = step(&stage.daemon, "client", request);
    assert!(known.contains("server vouches for the connection") && known.contains("unreplied"), "{known}");
    let other = step(&stage.daemon, "client", "udp 10.0.0.4:1000 > 10.0.0.1:54");
    assert!(other.contains("dropped as group-ingress"), "{other}");
    // What goes to all is asked about at each receiver.
    let to_all = step(&stage.daemon, "client", "udp 10.0.0.4:1000 > 255.255.255.255:53");
    assert!(to_all.contains(rule) && to_all.contains("none yet"), "{to_all}");
    let closed = step(&stage.daemon, "client", "udp 10.0.0.4:1000 > 255.255.255.255:54");
    assert!(closed.contains("dropped as group-ingress"), "{closed}");
}
