//! Under systemd the log is in the journal (systemd-journald, with a /run of its own): with priorities, and the port as a field.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::binary;
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(20);

/// Starts the journal and then, with it as standard error, the daemon. The journal's files are the folder's.
const START: &str = "set -e
mount -t tmpfs -o mode=755 own /run
mkdir -p /run/systemd/journal /run/log/journal
mount --bind \"$1/journal\" /run/log/journal
/lib/systemd/systemd-journald &
until systemd-cat -t probe true 2>/dev/null; do sleep 0.05; done
systemd-cat -t stream sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$0\" run --config \"$1/viaduct.toml\"' \"$2\" \"$1\" &
# Without the way for entries the lines still come, by the stream.
while [ ! -e \"$1/remove\" ]; do sleep 0.05; done
rm /run/systemd/journal/socket
wait";

/// All entries of the daemon, oldest first.
fn entries(folder: &Path) -> Vec<Value> {
    let mut journal = Command::new("journalctl");
    journal.args(["--output=json", "--no-pager", "-D"]).arg(folder.join("journal"));
    // systemd-journald reads the kernel's messages, too, of which there may be very many.
    journal.args(["SYSLOG_IDENTIFIER=viaduct", "+", "SYSLOG_IDENTIFIER=stream"]);
    let output = journal.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Connects a guest's driver and takes it away again.
fn visit(socket: &Path) {
    wait_until("the port to listen", LIMIT, || socket.exists());
    drop(Nic::connect(socket, &NicOptions::default()));
}

#[test]
fn the_journal_has_priorities_and_ports() {
    let folder = tempfile::Builder::new().prefix("viaduct-test-").tempdir_in("/dev/shm").unwrap();
    let at = folder.path();
    let text = format!(
        "[switch]\nruntime_dir = '{0}/run'\nstate_dir = '{0}/state'\n[network.lab]\n[port.a]\nnetwork = 'lab'\n",
        at.display()
    );
    fs::write(at.join("viaduct.toml"), text).unwrap();
    fs::create_dir(at.join("journal")).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        START,
        "sh",
    ]);
    command.arg(at).arg(binary());
    let manager = Process::spawn("journal", &command, at);
    let socket = at.join("run/a.sock");
    visit(&socket);
    let is_of_port = |entry: &&Value| entry["VIADUCT_PORT"] == "a";
    let of_port = wait_for("the port's entries", LIMIT, || {
        let all = entries(at);
        let of_port: Vec<Value> = all.iter().filter(is_of_port).cloned().collect();
        let tells = |entry: &Value| entry["MESSAGE"].as_str().is_some_and(|it| it.contains("connected"));
        (of_port.len() >= 2 && of_port.iter().any(tells)).then_some(of_port)
    });
    for entry in &of_port {
        assert_eq!(entry["_TRANSPORT"], "journal", "{entry}");
        assert_eq!(entry["PRIORITY"], "6", "{entry}");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "viaduct", "{entry}");
        assert!(entry["VIADUCT_MODULE"].as_str().unwrap().starts_with("viaduct::"), "{entry}");
        let message = entry["MESSAGE"].as_str().unwrap();
        assert!(message.ends_with(" port=a") && !message.contains("INFO"), "{entry}");
    }
    let words = of_port.iter().map(|entry| entry["MESSAGE"].as_str().unwrap()).collect::<Vec<_>>().join("\n");
    assert!(words.contains("connected"), "{words}\n{}", manager.output());

    fs::write(at.join("remove"), "").unwrap();
    wait_until("lines by the stream", LIMIT, || {
        visit(&socket);
        let by_stream = |entry: &Value| {
            entry["_TRANSPORT"] == "stdout"
                && entry["PRIORITY"] == "6"
                && entry["MESSAGE"].as_str().is_some_and(|it| it.ends_with(" port=a") && !it.starts_with('<'))
        };
        entries(at).iter().any(by_stream)
    });
}
