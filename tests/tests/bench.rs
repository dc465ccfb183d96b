//! `viaduct bench`: every part runs and tells plausible figures. How good they are is nobody's business here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_for;
use viaduct_tests::lab::network;
use viaduct_tests::machine::image_folder;

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
fn flows_that_are_known_and_new_ones_pass_a_switch_that_tracks_them() {
    let guest = |name: &str, index: u8| {
        format!(
            "[port.{name}]\nnetwork = \"lab\"\nmac = \"02:76:64:00:00:0{index}\"\naddresses = [\"192.0.2.{}\"]\n\
             groups = [\"all\"]\nnew_connections = \"unlimited\"\njudged_packets = \"unlimited\"\n",
            index + 1
        )
    };
    let rule = "{ direction = \"ingress\", protocol = \"udp\", remote = \"192.0.2.0/24\" }";
    let groups = format!("[network.lab]\n[group.all]\nrules = [{rule}]\n");
    let daemon = Daemon::start(&format!("{groups}{}{}", guest("a", 0), guest("b", 1)));
    let sockets = ["a", "b"].map(|port| daemon.socket(port).display().to_string());
    let through = |options: &[&str]| {
        let all = [&["flows", "--sockets", &sockets[0], &sockets[1], "--name", "peer"], options].concat();
        bench(&all)
    };
    let rows = through(&["--flows", "500"]);
    assert!(figure(&rows, "64 B, 500 flows", "frames", "peer") > 0.001, "{rows:#?}");
    assert!(figure(&rows, "64 B, 500 flows", "lost", "peer") < 100.0);
    let rows = through(&["--new"]);
    assert!(figure(&rows, "64 B, new flows", "new flows", "peer") > 0.001, "{rows:#?}");
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

#[test]
fn the_generator_measures_tap_devices_too_and_leaves_none_behind() {
    let rows = bench(&["generator", "--sizes", "512"]);
    let value = |measure| figure(&rows, "512 B", measure, "TAP + bridge");
    assert!(value("frames") > 0.0001 && value("CPU") > 0.0 && value("lost") < 100.0);
    assert!(!std::path::Path::new("/sys/class/net/bench0").exists(), "the bridge is in our own namespace");
}

#[test]
fn an_idle_switch_with_cards_on_all_ports_is_measured() {
    let rows = bench(&["idle", "--ports", "20"]);
    assert!((0.0..150.0).contains(&figure(&rows, "20 ports, no frames", "CPU", "viaduct")));
}

#[test]
fn guests_are_measured_over_viaduct_and_over_tap_in_one_run() {
    let image = image_folder().display().to_string();
    let rows = bench(&["guests", "--image", &image]);
    for path in ["viaduct", "TAP + bridge"] {
        for work in ["TCP, 1 stream, a > b", "TCP, 8 streams, b > a", "UDP, 1472 B, a > b"] {
            assert!(figure(&rows, work, "throughput", path) > 0.1, "{work}");
        }
        for work in ["ping", "TCP_RR, 1 B"] {
            let [p50, p99] = ["p50", "p99"].map(|measure| figure(&rows, work, measure, path));
            assert!(0.0 < p50 && p50 <= p99, "{work}: {p50} {p99}");
        }
    }
}

#[test]
fn runs_are_written_plotted_and_not_compared_with_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["a", "b"] {
        bench(&["idle", "--ports", "2", "--save", &path(name), "--svg", &path(&format!("{name}.svg"))]);
    }
    let picture = std::fs::read_to_string(path("a.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("2 ports, no frames"), "{picture}");
    let compare = |a: &str, b: &str| {
        Command::new(binary()).args(["bench", "compare", &path(a), &path(b)]).output().unwrap()
    };
    assert!(compare("a", "a").status.success());
    let refusal = compare("a", "b");
    assert_eq!(refusal.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refusal.stderr).contains("they come from different runs"),
        "{refusal:?}"
    );
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(binary())
        .args(["bench", "idle", "--seconds", "60"])
        .env("TMPDIR", folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let left = || std::fs::read_dir(folder.path()).unwrap().count();
    wait_for("the benchmark to begin", Duration::from_secs(20), || (left() == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    // SAFETY: kill has no memory effects here; the pid is our own unreaped child's.
    unsafe { libc::kill(libc::pid_t::try_from(child.id()).unwrap(), libc::SIGINT) };
    let status = child.wait().unwrap();
    assert_eq!((status.code(), left()), (Some(1), 0));
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains("interrupted"), "{errors}");
}
