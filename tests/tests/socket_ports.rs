//! Ports and networks that come and go while others carry traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::network;
use viaduct_tests::stream::{frame, mac, number_of};

const PAIR: [&str; 2] = ["a", "b"];

#[test]
fn a_third_port_comes_and_goes_under_load_and_the_others_lose_nothing() {
    let (two, three) = (network("lab", &PAIR, ""), network("lab", &["a", "b", "c"], ""));
    let daemon = Daemon::start(&two);
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    daemon.apply(&three);
    daemon.apply(&two);
    let before = daemon.settled_usage();
    for round in 0..20 {
        let printed = daemon.apply(&three);
        assert!(printed.contains("port c"), "the difference is printed: {printed:?}");
        let mut c = Nic::connect(&daemon.socket("c"), &NicOptions::default());
        c.send(&frame([0xff; 6], mac(0xc), round, 60));
        bystander.wait_for_rounds(3);
        daemon.apply(&two);
        wait_until("the removed port's connection to close", Duration::from_secs(2), || {
            !c.session.is_alive()
        });
        assert!(!daemon.socket("c").exists(), "the removed port's socket goes");
        bystander.wait_for_rounds(1);
    }
    daemon.usage_given_back(before);
    println!("the bystanders' longest round: {:?}", bystander.worst_round());
    bystander.finish();
}

#[test]
fn a_network_with_its_ports_comes_and_goes_by_sighup() {
    let (one, both) =
        (network("lab", &PAIR, ""), network("lab", &PAIR, "") + &network("more", &["c", "d"], ""));
    let daemon = Daemon::start(&one);
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    for text in [&both, &one, &both] {
        std::fs::write(daemon.config_path(), daemon.whole_config(text)).unwrap();
        daemon.signal(libc::SIGHUP);
        let wanted = text.matches("[port.").count();
        wait_until("the file to be in force", Duration::from_secs(5), || daemon.show().ports.len() == wanted);
    }
    let [mut c, mut d] = ["c", "d"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    c.send(&frame(mac(4), mac(3), 1, 100));
    assert_eq!(number_of(&d.expect_frame("traffic in the new network").bytes), Some(1));
    bystander.finish();
}

#[test]
fn a_port_moves_to_another_network_at_once_and_keeps_its_guest() {
    let before = network("red", &["a", "b"], "") + &network("blue", &["c"], "");
    let after = network("red", &["a"], "") + &network("blue", &["b", "c"], "");
    let daemon = Daemon::start(&before);
    let [mut a, mut b, mut c] =
        ["a", "b", "c"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    b.send(&frame([0xff; 6], mac(2), 1, 60));
    assert_eq!(number_of(&a.expect_frame("b is in a's network").bytes), Some(1));
    daemon.apply(&after);
    b.send(&frame([0xff; 6], mac(2), 2, 60));
    assert_eq!(number_of(&c.expect_frame("b is in c's network").bytes), Some(2));
    assert!(a.receive_within(Duration::from_millis(50)).is_none(), "and no longer in a's");
    a.send(&frame(mac(2), mac(1), 3, 60));
    assert!(b.receive_within(Duration::from_millis(50)).is_none(), "not even by its old address");
}

#[test]
fn a_dry_run_prints_the_difference_and_changes_nothing() {
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let path = daemon.directory().join("three.toml");
    std::fs::write(&path, daemon.whole_config(&network("lab", &["a", "b", "c"], ""))).unwrap();
    let output = daemon.command(&["apply", path.to_str().unwrap(), "--dry-run"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("port c"));
    let state = daemon.show();
    assert_eq!((state.ports.len(), state.generation), (2, 1));
    assert!(!daemon.socket("c").exists());
}

#[test]
fn a_second_frontend_on_a_port_is_sent_away_and_the_first_goes_on() {
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    for _ in 0..20 {
        let second = viaduct_tests::driver::session::connect(&daemon.socket("a"));
        assert!(
            viaduct_tests::driver::message::is_closed_within(&second, Duration::from_secs(2)),
            "one frontend a port"
        );
    }
    bystander.wait_for_rounds(3);
    bystander.finish();
}

#[test]
fn sigterm_ends_the_daemon_cleanly_and_its_sockets_go() {
    let mut daemon = Daemon::start(&network("lab", &PAIR, ""));
    let cards = PAIR.map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    let start = Instant::now();
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "log: {}", daemon.log_tail());
    assert!(start.elapsed() < Duration::from_secs(2));
    for path in [daemon.socket("a"), daemon.socket("b"), daemon.directory().join("run/api.sock")] {
        assert!(!path.exists(), "{} is removed at the end", path.display());
    }
    drop(cards);
    daemon.restart();
    assert_eq!(daemon.show().ports.len(), 2);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_left_alone() {
    let mut daemon = Daemon::start(&network("lab", &PAIR, ""));
    daemon.kill();
    assert!(daemon.socket("a").exists(), "kill -9 leaves the sockets behind");
    daemon.restart();
    let cards = PAIR.map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    let other = std::process::Command::new(viaduct_tests::daemon::binary())
        .args(["run", "--config", daemon.config_path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!other.status.success(), "a second daemon on the same sockets does not start");
    let said = String::from_utf8_lossy(&other.stderr).into_owned() + &String::from_utf8_lossy(&other.stdout);
    assert!(said.contains(".sock"), "it names the socket: {said}");
    assert!(cards.iter().all(|card| card.session.is_alive()), "the first one goes on");
}

/// The node that the kernel lists a processor under.
fn node_of(cpu: u64) -> u64 {
    let folder = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{cpu}")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut nodes = names.filter_map(|name| name.strip_prefix("node")?.parse().ok());
    nodes.next().expect("a kernel with NUMA")
}

#[test]
fn it_is_told_on_which_node_a_guests_memory_is_and_who_reads_it() {
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let port = |name: &str| {
        let shown = daemon.show_json();
        shown["ports"].as_array().unwrap().iter().find(|port| port["name"] == name).unwrap().clone()
    };
    assert!(port("a")["numa"].is_null(), "nobody is there");
    let mut a = Nic::connect(&daemon.socket("a"), &NicOptions::default());
    a.send(&frame(mac(2), mac(1), 1, 100));
    wait_until("the node to be known", Duration::from_secs(5), || !port("a")["numa"].is_null());
    let (numa, shown) = (port("a")["numa"].clone(), daemon.show_json());
    let workers = shown["workers"].as_array().unwrap();
    for worker in workers {
        assert_eq!(worker["node"].as_u64().unwrap(), node_of(worker["cpu"].as_u64().unwrap()), "{worker}");
    }
    let (node, cpus) = (numa["memory_node"].as_u64().unwrap(), numa["cpus"].as_array().unwrap());
    assert!(!cpus.is_empty() && cpus.iter().all(|cpu| workers.iter().any(|worker| worker["cpu"] == *cpu)));
    let is_local = cpus.iter().all(|cpu| node_of(cpu.as_u64().unwrap()) == node);
    assert_eq!(numa["is_local"], is_local, "{numa}");
    let one_node = !std::path::Path::new("/sys/devices/system/node/node1").exists();
    assert!(!one_node || (node == 0 && is_local), "{numa}");
    let said = |words: &[&str]| String::from_utf8(daemon.command(words).stdout).unwrap();
    let told = said(&["show", "ports", "a"]);
    assert!(told.contains(&format!("\nmemory    on node {node}; ")), "{told}");
    let told = said(&["show", "workers"]);
    let rows: Vec<Vec<&str>> = told.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..2], ["CPU", "NODE"], "{told}");
    let (cpu, node) = (workers[0]["cpu"].to_string(), workers[0]["node"].to_string());
    assert_eq!(rows[1][..2], [cpu.as_str(), node.as_str()], "{told}");
    drop(a);
    daemon.wait_for_state("a", "listening");
    assert!(port("a")["numa"].is_null(), "it is gone");
}
