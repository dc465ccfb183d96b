//! `viaduct show connections` and `viaduct connections clear`: what is asked for is checked, and told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use serde_json::Value;
use viaduct_tests::daemon::Daemon;

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
