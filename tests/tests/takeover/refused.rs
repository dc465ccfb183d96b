//! What is in the way of a takeover: processes that end before their turn, wrong files, other people. The old process goes on.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::lab::network;
use viaduct_tests::stream::{Flow, mac};

use crate::{LIMIT, acquainted, carry, options};

/// What a successor says, without being one.
struct Impostor(UnixStream);

impl Impostor {
    fn knock(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(daemon.directory().join("run/takeover.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    fn say(&mut self, record: &serde_json::Value) {
        let body = record.to_string();
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        self.0.write_all(&[length.as_slice(), &[0; 4], body.as_bytes()].concat()).unwrap();
    }

    /// The next record; `None` at the end. Files that come are closed.
    fn hear(&mut self) -> Option<serde_json::Value> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).ok()?;
        let mut body = vec![0; u32::from_le_bytes(head[..4].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body).ok()?;
        Some(serde_json::from_slice(&body).unwrap())
    }

    fn hear_until(&mut self, record: &str) -> serde_json::Value {
        loop {
            let heard = self.hear().unwrap_or_else(|| panic!("no {record} came"));
            if heard["record"] == record {
                return heard;
            }
        }
    }

    /// As far as there is something to hear.
    fn go_to(daemon: &Daemon, last: &str) -> Self {
        let mut impostor = Self::knock(daemon);
        impostor.say(&serde_json::json!({"record": "hello", "form": 2, "version": "0"}));
        let steps = [("offered", "describe"), ("described", "prepared"), ("stopped", "")];
        for (heard, said) in steps {
            impostor.hear_until(heard);
            if heard == last {
                break;
            }
            impostor.say(&serde_json::json!({"record": said}));
        }
        impostor
    }
}

#[test]
fn whatever_becomes_of_the_new_process_before_its_turn_the_old_one_goes_on() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [mut a, mut b] = acquainted(&daemon, &options(0));
    let done = AtomicBool::new(false);
    let pid = daemon.pid();
    let before = daemon.settled_usage();
    std::thread::scope(|scope| {
        let upgrader = scope.spawn(|| {
            for step in ["offered", "described", "stopped"] {
                // It ends without a word.
                drop(Impostor::go_to(&daemon, step));
                // It says why it does not go on.
                let mut impostor = Impostor::go_to(&daemon, step);
                impostor
                    .say(&serde_json::json!({"record": "refusal", "reason": format!("no room at {step}")}));
                wait_until("the reason in the log", LIMIT, || {
                    daemon.log().contains(&format!("no room at {step}"))
                });
                // What it says makes no sense.
                let mut impostor = Impostor::go_to(&daemon, step);
                impostor.say(&serde_json::json!({"record": "hello", "form": 2, "version": "0"}));
                impostor.hear_until("refusal");
            }
            // It is silent when its word is wanted: nothing runs for a second, and then all goes on.
            let mut impostor = Impostor::go_to(&daemon, "stopped");
            let reason = impostor.hear_until("refusal")["reason"].to_string();
            assert!(reason.contains("silent"), "{reason}");
            // What is no record at all.
            let mut impostor = Impostor::knock(&daemon);
            impostor.0.write_all(&[0xff; 64]).unwrap();
            impostor.hear_until("refusal");
            let mut impostor = Impostor::knock(&daemon);
            impostor.say(&serde_json::json!({"record": "hello", "form": 3, "version": "9.0"}));
            let reason = impostor.hear_until("refusal")["reason"].to_string();
            assert!(reason.contains("9.0") && reason.contains("restart the daemon instead"), "{reason}");
            done.store(true, Ordering::Relaxed);
        });
        carry(&mut a, &mut b, &done);
        upgrader.join().unwrap();
    });
    assert_eq!(daemon.pid(), pid);
    assert_eq!(daemon.show().port("a").connections, 1);
    // Changes are allowed again.
    let set = daemon.command(&["port", "add", "late", "--network", "lab"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let set = daemon.command(&["port", "remove", "late"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    daemon.usage_given_back(before);
}

/// Starts the command, and gives what it said when it has failed.
fn refused(mut command: std::process::Command) -> String {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_take_over_says_why_and_changes_nothing() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [mut a, mut b] = acquainted(&daemon, &options(0));
    let mut still_carries = || {
        Flow::new(mac(1), mac(2)).carry(&mut a, &mut b, [60, 1000]);
    };
    let right = fs::read_to_string(daemon.config_path()).unwrap();
    let with = |config: &str| fs::write(daemon.config_path(), daemon.whole_config(config)).unwrap();
    // A file that is wrong, and one that is right and cannot run.
    with("[port.a]\nnetwork = \"none\"\n");
    assert!(refused(daemon.successor()).contains("none"));
    still_carries();
    let place = daemon.directory().join("taken");
    fs::create_dir(&place).unwrap();
    with(&format!("{}socket = \"{}\"\n", network("lab", &["a", "b"], ""), place.display()));
    let why = refused(daemon.successor());
    assert!(why.contains("not a socket"), "{why}");
    // The log is written by a thread of its own.
    wait_until("the same in the log", LIMIT, || {
        daemon.log().contains("goes on as before") && daemon.log().contains("not a socket")
    });
    still_carries();
    fs::write(daemon.config_path(), &right).unwrap();
    // Run-time changes on another text of the file are not thrown away.
    assert!(daemon.command(&["port", "add", "late", "--network", "lab"]).status.success());
    fs::write(daemon.config_path(), format!("{right}\n# Another text.\n")).unwrap();
    let why = refused(daemon.successor());
    assert!(why.contains("viaduct save"), "{why}");
    fs::write(daemon.config_path(), &right).unwrap();
    assert_eq!(daemon.show().ports.len(), 3);
    // Another user.
    let open = |path: &str, mode| {
        fs::set_permissions(daemon.directory().join(path), fs::Permissions::from_mode(mode))
    };
    for (path, mode) in [("", 0o755), ("run", 0o755), ("run/takeover.sock", 0o666)] {
        open(path, mode).unwrap();
    }
    let mut other = daemon.successor();
    other.uid(65_534).gid(65_534);
    let why = refused(other);
    assert!(why.contains("own user alone"), "{why}");
    wait_until("the same in the log", LIMIT, || daemon.log().contains("no takeover: process"));
    still_carries();
    // The one that runs is killed while it is asked.
    daemon.signal(libc::SIGSTOP);
    let child = daemon.successor().stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the other process ended"), "{output:?}");
    // Nobody is there at all.
    let why = refused(daemon.successor());
    assert!(why.contains("start one with `viaduct run`"), "{why}");
    daemon.restart();
    assert_eq!(daemon.show().ports.len(), 3);
    wait_for("the port", LIMIT, || (daemon.show().port("a").state == "listening").then_some(()));
}

#[test]
fn a_session_belongs_to_its_socket_and_not_to_a_ports_name() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [_a, _b] = acquainted(&daemon, &options(0));
    let place = daemon.directory().join("run").join("b.sock");
    // The port b is somebody else's now; and sockets are for fewer.
    let config = format!(
        "{}socket = \"{}/other.sock\"\n",
        network("lab", &["a", "b"], ""),
        daemon.directory().display()
    );
    let config = daemon.whole_config(&config).replace("[switch]\n", "[switch]\nsocket_mode = \"0600\"\n");
    assert!(config.contains("socket_mode"), "{config}");
    fs::write(daemon.config_path(), config).unwrap();
    daemon.take_over();
    let shown = daemon.show();
    assert_eq!((shown.port("a").connections, shown.port("a").state.as_str()), (1, "running"));
    assert_eq!((shown.port("b").connections, shown.port("b").state.as_str()), (0, "listening"));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.with_file_name("a.sock")), 0o600);
    assert_eq!(mode(&daemon.directory().join("other.sock")), 0o600);
}

#[test]
fn sockets_of_ports_that_are_no_more_are_removed_and_nobody_elses() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b", "c"], ""));
    let place = |daemon: &Daemon, name: &str| daemon.directory().join("run").join(name);
    let with = |daemon: &Daemon, ports: &[&str]| {
        fs::write(daemon.config_path(), daemon.whole_config(&network("lab", ports, ""))).unwrap();
    };
    let is_there = |daemon: &Daemon, name: &str| place(daemon, name).symlink_metadata().is_ok();
    // A process that is killed leaves all of them; some are not its own.
    daemon.kill();
    drop(UnixListener::bind(place(&daemon, "earlier.sock")).unwrap());
    drop(UnixListener::bind(place(&daemon, "other")).unwrap());
    drop(UnixListener::bind(daemon.directory().join("elsewhere.sock")).unwrap());
    let busy = UnixListener::bind(place(&daemon, "busy.sock")).unwrap();
    fs::write(place(&daemon, "file.sock"), "precious").unwrap();
    drop(UnixListener::bind(place(&daemon, "owned.sock")).unwrap());
    std::os::unix::fs::chown(place(&daemon, "owned.sock"), Some(65_534), None).unwrap();
    with(&daemon, &["a", "b"]);
    daemon.restart();
    for (name, stays) in [
        ("a.sock", true),
        ("b.sock", true),
        ("c.sock", false),
        ("earlier.sock", false),
        ("other", true),
        ("../elsewhere.sock", true),
        ("busy.sock", true),
        ("file.sock", true),
        ("owned.sock", true),
        ("api.sock", true),
    ] {
        assert_eq!(is_there(&daemon, name), stays, "{name}: {}", daemon.log_tail());
    }
    wait_until("the log to name it", LIMIT, || daemon.log().contains("c.sock was removed: no port"));
    drop(busy);
    // Whoever takes over is lent the socket of a port that it does not have.
    let [_a, _b] = acquainted(&daemon, &options(0));
    with(&daemon, &["a"]);
    daemon.take_over();
    wait_until("the socket of the port to be gone", LIMIT, || !is_there(&daemon, "b.sock"));
    assert_eq!(daemon.show().port("a").state, "running");
    assert!(is_there(&daemon, "a.sock") && is_there(&daemon, "owned.sock"));
    wait_until("the one at which nobody listens any more to be gone", LIMIT, || {
        !is_there(&daemon, "busy.sock")
    });
}
