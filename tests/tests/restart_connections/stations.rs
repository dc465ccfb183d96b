//! Stations that a control plane feeds.

use std::fs;

use serde_json::{Value, json};
use viaduct_tests::control_plane;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::town::LIMIT;

pub(super) const STATIONS: &str = "/v1/networks/tenant/stations";

/// A network with an overlay by an uplink that is not there, with these further lines.
fn overlay(lines: &str) -> String {
    format!(
        r#"
[uplink.isp]
interface = "nowhere0"
address = "192.168.99.1/24"
[network.tenant]
overlay = {{ kind = "vxlan", vni = 105, uplink = "isp" }}
{lines}"#
    )
}

#[test]
fn stations_that_are_fed_outlive_the_process() {
    let mut daemon = Daemon::start(&overlay(""));
    let station = |number: u8| {
        let (mac, address) = (format!("52:54:00:00:01:{number:02}"), format!("10.105.0.{number}"));
        json!({ "mac": mac, "address": [address], "vtep": "192.168.99.2" })
    };
    let feed = |daemon: &Daemon, method: &str, stations: &[Value], generation: u64| {
        let body = json!({ "stations": stations, "generation": generation }).to_string();
        let (status, now, told) = control_plane::ask(daemon, (method, STATIONS), None, &body);
        assert_eq!((status, now), (200, generation), "{told}");
    };
    let shown = |daemon: &Daemon| {
        let (status, generation, told) = control_plane::ask(daemon, ("GET", STATIONS), None, "");
        assert_eq!(status, 200, "{told}");
        let macs = told["stations"].as_array().unwrap().iter().map(|station| station["mac"].clone());
        (generation, macs.collect::<Vec<_>>())
    };
    feed(&daemon, "PUT", &[station(1), station(2), station(3)], 7);
    feed(&daemon, "POST", &[station(4)], 17);
    let before = shown(&daemon);
    assert_eq!((before.0, before.1.len()), (17, 4));
    let file = daemon.directory().join("state/stations");
    wait_until("all to be kept", LIMIT, || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("\"generation\":17"))
    });
    // Who takes over knows them, and those that were fed a moment before.
    feed(&daemon, "POST", &[station(5)], 18);
    let before = shown(&daemon);
    daemon.take_over();
    assert_eq!(shown(&daemon), before);
    feed(&daemon, "DELETE", &[json!("52:54:00:00:01:05")], 19);
    wait_until("that to be kept, too", LIMIT, || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("\"generation\":19"))
    });
    let before = shown(&daemon);
    daemon.kill();
    daemon.restart();
    assert_eq!(shown(&daemon), before);
    // The file names one of them by now.
    assert!(daemon.terminate().success());
    let named = "[[network.tenant.static]]\nmac = \"52:54:00:00:01:02\"\nvtep = \"192.168.99.3\"\n";
    fs::write(daemon.config_path(), daemon.whole_config(&overlay(named))).unwrap();
    daemon.restart();
    let (generation, after) = shown(&daemon);
    assert_eq!((generation, after.len()), (20, 4), "{after:?}");
    daemon.wait_for_log("3 stations that were fed before the restart are known");
    // What is no file of stations is said to be none, and all else runs.
    assert!(daemon.terminate().success());
    fs::write(&file, "garbage").unwrap();
    daemon.restart();
    assert_eq!(shown(&daemon).0, 0);
    daemon.wait_for_log("stations that were fed before the restart are forgotten");
}
