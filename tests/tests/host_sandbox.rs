//! What the daemon gave up before it serves guests, as the kernel sees it; every other test shows that it needs none of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::driver::nic::NicOptions;
use viaduct_tests::lab::{network, pair};
use viaduct_tests::stream::{Flow, mac};

/// Bits of capabilities (linux/capability.h).
const CHOWN: u64 = 1 << 0;
const NET_RAW: u64 = 1 << 13;
/// Other users' identities, modules, other processes, mounts and namespaces.
const WITHOUT: u64 = 1 << 6 | 1 << 7 | 1 << 16 | 1 << 19 | 1 << 21;

/// The lines of /proc/PID/task/TID/status, by thread's name; of several with one name those of the first, which is the process's own.
fn threads(daemon: &Daemon) -> BTreeMap<String, BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let fields = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    let mut threads = BTreeMap::new();
    for status in texts.map(|text| fields(&text)) {
        threads.entry(status["Name"].clone()).or_insert(status);
    }
    threads
}

fn bits(status: &BTreeMap<String, String>, field: &str) -> u64 {
    u64::from_str_radix(&status[field], 16).unwrap()
}

fn assert_threads_are_confined(daemon: &Daemon) {
    // A thread takes its name when it first runs, which it may not have done yet.
    let names = ["viaduct", "worker-0", "api", "gateway", "leases", "changes", "services", "log"];
    let threads = wait_for(&format!("threads of the names {names:?}"), Duration::from_secs(10), || {
        let _ = daemon.show();
        Some(threads(daemon)).filter(|threads| names.iter().all(|name| threads.contains_key(*name)))
    });
    for name in names {
        let status = &threads[name];
        let filters = if name == "worker-0" { "4" } else { "3" };
        let seen = ["Seccomp", "Seccomp_filters", "NoNewPrivs"].map(|field| status[field].as_str());
        assert_eq!(seen, ["2", filters, "1"], "{name}");
        let effective = bits(status, "CapEff");
        assert_eq!(effective & WITHOUT, 0, "{name} has {effective:x}");
        assert_eq!((bits(status, "CapBnd") & WITHOUT, bits(status, "CapInh")), (0, 0), "{name}");
        if !["viaduct", "leases", "changes"].contains(&name) {
            assert_eq!((effective, bits(status, "CapPrm")), (0, 0), "{name}");
        }
    }
    // Ports that come later may be packet sockets, and have groups.
    assert_eq!(bits(&threads["viaduct"], "CapEff") & (NET_RAW | CHOWN), NET_RAW | CHOWN);
}

#[test]
fn the_daemon_has_given_up_what_it_does_not_need() {
    let lab = |more: &str| network("lab", &["a", "b"], "") + more;
    let daemon = Daemon::start(&lab(""));
    assert_threads_are_confined(&daemon);
    for told in
        ["system calls that a switch makes", "files are changed only in", "of all capabilities only CAP_BPF"]
    {
        daemon.wait_for_log(told);
    }
    let [a, b] = &mut pair(&daemon, &NicOptions::default());
    Flow::new(mac(1), mac(2)).carry(a, b, [60; 100]);

    // A socket where none can be made is refused before anything changes, with what helps.
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = elsewhere.path().join("c.sock");
    let port = |socket: &str| lab(&format!("[port.c]\nnetwork = \"lab\"\nsocket = \"{socket}\"\n"));
    let refused = daemon.try_apply(&port(socket.to_str().unwrap()));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("start the daemon again with this file"), "{told}");
    daemon.apply(&port(daemon.socket("else").to_str().unwrap()));

    // The kernel itself: root may read that file, and this process may not, wherever a link leads it.
    let real = elsewhere.path().join("real.toml");
    fs::write(&real, daemon.whole_config(&lab(""))).unwrap();
    fs::remove_file(daemon.config_path()).unwrap();
    symlink(&real, daemon.config_path()).unwrap();
    daemon.signal(libc::SIGHUP);
    wait_until("the file to be refused", Duration::from_secs(10), || {
        daemon
            .log()
            .lines()
            .any(|line| line.contains("stays as it was") && line.contains("permission denied"))
    });
    Flow::new(mac(2), mac(1)).carry(b, a, [60; 100]);
}

#[test]
fn who_wants_no_sandbox_has_none_and_is_warned() {
    let daemon = Daemon::start_with("sandbox = \"off\"", &network("lab", &["a", "b"], ""));
    for (name, status) in threads(&daemon) {
        assert_eq!((status["Seccomp"].as_str(), status["NoNewPrivs"].as_str()), ("0", "0"), "{name}");
    }
    daemon.wait_for_log("switch.sandbox is \"off\"");
}
