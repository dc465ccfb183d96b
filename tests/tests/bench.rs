//! `viaduct bench`: every part runs and tells plausible figures. How good they are is nobody's business here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::process::Command;

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::lab::network;

/// The rows that `viaduct bench ARGUMENTS` tells.
fn bench(arguments: &[&str]) -> Vec<Value> {
    let output =
        Command::new(binary()).arg("bench").args(arguments).args(["--quick", "--json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {arguments:?}: {errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{errors}{report:#}");
    assert!(report["run"].as_str().unwrap().len() == 16 && report["machine"]["kernel"].is_string());
    report["rows"].as_array().unwrap().clone()
}

/// The figure of one row.
fn figure(rows: &[Value], work: &str, measure: &str, path: &str) -> f64 {
    let is_it = |row: &&Value| row["work"] == work && row["measure"] == measure && row["path"] == path;
    let row =
        rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {work}, {measure}, {path}: {rows:#?}"));
    row["rounds"][0].as_f64().unwrap()
}

#[test]
fn round_trips_through_its_own_switch_are_told_for_busy_and_adaptive_polling() {
    let rows = bench(&["latency", "--rate", "500"]);
    for path in ["viaduct busy", "viaduct adaptive"] {
        let [p50, p99, lost] = ["p50", "p99", "lost"].map(|name| figure(&rows, "64 B, 500 /s", name, path));
        assert!(p50 > 0.1 && p50 <= p99 && p99 < 1e6 && lost < 500.0, "{path}: {p50} {p99} {lost}");
    }
}

#[test]
fn round_trips_through_another_switch_are_measured_whoever_connects() {
    for (role, listen) in [("server", None), ("client", Some("--listen"))] {
        let daemon = Daemon::start(&network("lab", &["a", "b"], &format!("role = \"{role}\"")));
        let sockets = ["a", "b"].map(|port| daemon.socket(port).display().to_string());
        let mut arguments =
            vec!["latency", "--sockets", &sockets[0], &sockets[1], "--name", "peer", "--train", "3"];
        arguments.extend(listen);
        let rows = bench(&arguments);
        for which in ["first of a train", "following"] {
            assert!(figure(&rows, &format!("64 B, 1000 /s, {which}"), "p50", "peer") > 0.1);
        }
    }
}

#[test]
fn the_generator_tells_frames_and_what_they_cost() {
    let rows = bench(&["generator", "--sizes", "64", "1518"]);
    for work in ["64 B", "1518 B"] {
        let value = |measure| figure(&rows, work, measure, "viaduct");
        assert!(value("frames") > 0.001 && value("bits") > 0.001 && value("CPU") > 0.0);
        assert!((0.0..=100.0).contains(&value("lost")));
    }
}
