//! The API's socket, made by a service manager.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use viaduct_tests::daemon::binary;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(20);

/// Writes a file whose daemon has its sockets in `folder/runtime`.
fn write_file(folder: &Path, runtime: &str) {
    let at = folder.display();
    let text =
        format!("[switch]\nruntime_dir = \"{at}/{runtime}\"\nstate_dir = \"{at}/state\"\n[network.lab]\n");
    fs::write(folder.join("viaduct.toml"), text).unwrap();
}

fn ask(folder: &Path) -> Child {
    let mut show = Command::new(binary());
    show.args(["show", "networks"]).env("VIADUCT_SOCKET", folder.join("run/api.sock"));
    show.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn text_of(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn who_asks_first_starts_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("run")).unwrap();
    let start = |name: &str| {
        let mut manager = Command::new("systemd-socket-activate");
        manager.arg(format!("--listen={}", path("run/api.sock").display()));
        manager.arg(binary()).args(["run", "--config"]).arg(path("viaduct.toml"));
        let manager = Process::spawn(name, &manager, folder.path());
        wait_until("systemd-socket-activate to listen", LIMIT, || manager.output().contains("Listening on"));
        manager
    };
    write_file(folder.path(), "run");
    let mut daemon = start("first");
    let shown = text_of(&ask(folder.path()).wait_with_output().unwrap());
    assert!(shown.contains("lab"), "{shown}{}", daemon.output());
    assert_eq!(fs::metadata(path("run/api.sock")).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait(LIMIT).success(), "{}", daemon.output());
    assert!(path("run/api.sock").exists(), "it is the service manager's, who removes it");

    // One that listens elsewhere is not the API's, and the daemon says so instead of leaving everybody waiting.
    fs::remove_file(path("run/api.sock")).unwrap();
    write_file(folder.path(), "elsewhere");
    let mut daemon = start("second");
    assert!(!ask(folder.path()).wait_with_output().unwrap().status.success());
    assert!(!daemon.wait(LIMIT).success());
    assert!(daemon.output().contains("have to agree"), "{}", daemon.output());
}

#[test]
fn who_asks_while_the_daemon_is_away_waits_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    write_file(folder.path(), "run");
    // What systemd does with Restart= and a socket unit: it keeps the socket, whatever becomes of the daemon.
    let socket = UnixListener::bind(folder.path().join("run/api.sock")).unwrap();
    let start = || {
        let passed = socket.as_fd().try_clone_to_owned().unwrap();
        let mut launch = Command::new("sh");
        launch.args(["-c", "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$@\" 3<&0 </dev/null", "sh"]);
        launch.arg(binary()).args(["run", "--config"]).arg(folder.path().join("viaduct.toml"));
        launch.stdin(passed).stdout(Stdio::null()).stderr(Stdio::null());
        launch.spawn().unwrap()
    };
    let mut shown = Vec::new();
    for _ in 0..3 {
        let waiting = ask(folder.path());
        let mut daemon = start();
        shown.push(text_of(&waiting.wait_with_output().unwrap()));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    assert!(shown.iter().all(|text| text.contains("lab")), "{shown:?}");
}
