//! The program as its users meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Daemon, PAIR, PROGRAM, stderr, viaduct, wait_for};

mod support;

fn identity(path: &Path) -> (u64, u64) {
    let found = std::fs::symlink_metadata(path).unwrap();
    (found.dev(), found.ino())
}

#[test]
fn a_daemon_makes_its_sockets_shows_itself_and_cleans_up() {
    let mut daemon = Daemon::start(PAIR);
    for (name, expected) in [("api.sock", 0o600), ("vm1.sock", 0o660), ("vm2.sock", 0o660)] {
        let mode = std::fs::metadata(daemon.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{name}");
    }
    let text = daemon.done(&["show", "ports"]);
    assert!(text.lines().count() == 3 && text.contains("vm2   lab      listening"), "{text}");
    daemon.signal("TERM");
    assert!(daemon.child.wait().unwrap().success(), "{}", daemon.log());
    for name in ["api.sock", "vm1.sock", "vm2.sock"] {
        assert!(!daemon.path(name).exists(), "{name}");
    }
}

#[test]
fn apply_adds_and_removes_and_leaves_the_others_sockets_alone() {
    let daemon = Daemon::start(PAIR);
    let before = identity(&daemon.path("vm1.sock"));
    let file =
        daemon.write("new.toml", "[network.lab]\n[port.vm1]\nnetwork = 'lab'\n[port.vm3]\nnetwork = 'lab'\n");
    let planned = daemon.done(&["apply", "--dry-run", &file]);
    assert_eq!(planned, "- port vm2\n+ port vm3\n2 changes would be made; nothing was changed\n");
    assert_eq!(daemon.port_names(), ["vm1", "vm2"]);
    let made = daemon.done(&["apply", &file]);
    assert_eq!(made, "- port vm2\n+ port vm3\n2 changes made; generation 2 runs\n");
    assert_eq!(daemon.port_names(), ["vm1", "vm3"]);
    assert_eq!(identity(&daemon.path("vm1.sock")), before);
    assert!(!daemon.path("vm2.sock").exists());
    assert_eq!(daemon.done(&["apply", &file]), "nothing to change; generation 2 runs\n");
}

#[test]
fn a_reload_applies_the_daemons_own_file() {
    let daemon = Daemon::start(PAIR);
    daemon.write("viaduct.toml", "[network.lab]\n[port.vm9]\nnetwork = 'lab'\n");
    daemon.signal("HUP");
    wait_for("the reload", || daemon.port_names() == ["vm9"]);
}

#[test]
fn a_wrong_file_changes_nothing_by_apply_or_by_reload() {
    let daemon = Daemon::start(PAIR);
    let before = daemon.status()["generation"].clone();
    let file = daemon.write("viaduct.toml", "[network.lab]\n[port.vm9]\nnetwork = 'lob'\nmtu = 1\n");
    let output = daemon.command(&["apply", &file]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains(&format!("{file}:3:11: port.vm9.network: found \"lob\", expected \"lab\"")),
        "{told}"
    );
    assert!(told.contains(&format!("{file}:4:7: port.vm9.mtu: found 1")), "{told}");
    assert!(told.ends_with("viaduct: the configuration is wrong; nothing was changed\n"), "{told}");
    daemon.signal("HUP");
    wait_for("the refusal in the log", || daemon.log().contains("port.vm9.mtu: found 1"));
    assert_eq!(daemon.port_names(), ["vm1", "vm2"]);
    assert_eq!(daemon.status()["generation"], before);
    assert!(!daemon.path("vm9.sock").exists());
}

#[test]
fn programs_get_json_for_failures_too() {
    let daemon = Daemon::start(PAIR);
    let file = daemon.write("wrong.toml", "[network.lab]\nageing = 1\n");
    for command in ["apply", "check"] {
        let output = daemon.command(&[command, &file, "--json"]);
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(
            (&told["problems"][0]["line"], &told["problems"][0]["field"]),
            (&2.into(), &"network.lab.ageing".into())
        );
    }
}

#[test]
fn a_check_counts_security_groups_and_says_who_is_in_them() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s5.toml");
    let check = |more: &[&str]| viaduct(&[&["check", example.to_str().unwrap()], more].concat(), &[]);
    let text = String::from_utf8(check(&[]).stdout).unwrap();
    assert!(text.lines().next().unwrap().ends_with(", 0 uplinks, 2 groups with 5 rules"), "{text}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let table: Vec<String> = text.lines().skip_while(|line| !line.starts_with("GROUP")).map(words).collect();
    let expected = ["GROUP KIND EGRESS RULES PORTS", "db stateful all 3 db1", "web stateful all 2 web1 web2"];
    assert_eq!(table, expected);
    let told: Value = serde_json::from_slice(&check(&["--json"]).stdout).unwrap();
    assert_eq!((&told["groups"][1]["name"], &told["groups"][1]["rules"]), (&"web".into(), &2.into()));
    assert_eq!(told["groups"][1]["ports"], serde_json::json!(["web1", "web2"]));
    // Nothing is said of groups where there are none.
    let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s1.toml");
    let text = String::from_utf8(viaduct(&["check", plain.to_str().unwrap()], &[]).stdout).unwrap();
    assert!(text.contains(", 0 uplinks\n") && !text.contains("group"), "{text}");
}

#[test]
fn a_second_daemon_in_the_same_folder_ends_at_once_and_harms_nobody() {
    let daemon = Daemon::start(PAIR);
    let sockets = ["api.sock", "vm1.sock"].map(|name| identity(&daemon.path(name)));
    let file = daemon.path("viaduct.toml");
    let output = viaduct(&["run", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("process {} listens there", daemon.child.id())),
        "{}",
        stderr(&output)
    );
    assert_eq!(["api.sock", "vm1.sock"].map(|name| identity(&daemon.path(name))), sockets);
}

#[test]
fn a_daemon_killed_without_warning_starts_again_over_its_stale_sockets() {
    let mut daemon = Daemon::start(PAIR);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(daemon.path("api.sock").exists());
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(daemon.path("viaduct.toml"));
    daemon.child = command.stderr(Stdio::null()).spawn().unwrap();
    wait_for("the daemon answers again", || daemon.command(&["show"]).status.success());
}

#[test]
fn qemu_and_libvirt_get_the_same_from_the_daemon_and_from_its_file() {
    let daemon = Daemon::start(PAIR);
    let file = daemon.path("viaduct.toml");
    for command in ["qemu-args", "libvirt-xml"] {
        let asked = daemon.done(&[command, "vm2"]);
        let read = viaduct(&["--config", file.to_str().unwrap(), command, "vm2"], &[]);
        assert_eq!(asked.as_bytes(), read.stdout, "{command}");
        assert!(asked.contains("vm2.sock") && asked.contains("9000"), "{asked}");
    }
    let unknown = daemon.command(&["qemu-args", "vm7"]);
    assert!(stderr(&unknown).contains("there is no port vm7; there are vm1, vm2"), "{}", stderr(&unknown));
}

#[test]
fn the_exit_status_tells_done_failed_and_wrong_usage() {
    let nowhere = [("VIADUCT_SOCKET", "/nonexistent/api.sock")];
    let code = |arguments: &[&str]| viaduct(arguments, &nowhere).status.code();
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["show", "--help"]), Some(0));
    assert_eq!(code(&["show"]), Some(1));
    assert_eq!(code(&["check", "/nonexistent.toml"]), Some(1));
    assert_eq!(code(&["run", "--config", "/nonexistent.toml"]), Some(1));
    for wrong in
        [&["shwo"][..], &["show", "nothing"], &["apply"], &[], &["qemu-args", "a", "--memory", "lots"]]
    {
        assert_eq!(code(wrong), Some(2), "{wrong:?}");
    }
    assert!(stderr(&viaduct(&["show"], &nowhere)).contains("start one with `viaduct run`"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let script = format!("{PROGRAM} completions bash | head -c 1");
    let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}

/// Root may open everything, so root asks as somebody else; the program is copied to where that one can reach it.
#[test]
fn a_user_who_may_not_ask_is_told_who_may() {
    let daemon = Daemon::start(PAIR);
    std::fs::set_permissions(daemon.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (program, socket) = (daemon.path("viaduct"), daemon.path("api.sock"));
    std::fs::copy(PROGRAM, &program).unwrap();
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];
    let is_root = socket.metadata().unwrap().uid() == 0;
    if !is_root {
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).unwrap();
    }
    let mut command = Command::new("env");
    command.args(as_nobody.iter().filter(|_| is_root)).arg(&program).arg("show").arg("--socket").arg(&socket);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("api.sock: permission denied; run as "), "{told}");
    assert!(told.contains("api_group under [switch]") && told.lines().count() == 1, "{told}");
}

#[test]
fn there_is_a_manual_page_for_each_command_and_one_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let output = viaduct(&["man", "--dir", folder.path().to_str().unwrap()], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("viaduct.1").contains("A virtual switch for QEMU guests"));
    assert!(page("viaduct-port-set.1").contains("no\\-qos") && !page("viaduct-show.1").contains("EXTRA"));
    let show = page("viaduct-show.1");
    assert!(show.contains(".TH viaduct-show 1") && show.contains("\n\\&  viaduct show ports vm1"), "{show}");
    assert_eq!(String::from_utf8(viaduct(&["man", "show"], &[]).stdout).unwrap(), show);
    let unknown = viaduct(&["man", "shwo"], &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("expected a command of viaduct: run, check"), "{}", stderr(&unknown));
    let nowhere = viaduct(&["man", "--dir", "/nonexistent"], &[]);
    assert!(stderr(&nowhere).contains("/nonexistent/viaduct.1"), "{}", stderr(&nowhere));
}

#[test]
fn a_service_manager_hears_again_and_again_that_the_switch_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let manager = std::os::unix::net::UnixDatagram::bind(path("notify")).unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let lines = format!("[switch]\nruntime_dir = {0:?}\nstate_dir = {0:?}\n{PAIR}", path("run"));
    std::fs::write(path("viaduct.toml"), lines).unwrap();
    // A service manager says which process it means; the shell becomes the program.
    let mut command = Command::new("sh");
    command
        .args(["-c", "WATCHDOG_PID=$$ exec \"$0\" run --config \"$1\"", PROGRAM])
        .arg(path("viaduct.toml"));
    command.env("NOTIFY_SOCKET", path("notify")).env("WATCHDOG_USEC", "200000").stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut heard = String::new();
    while heard.matches("WATCHDOG=1").count() < 4 {
        let mut text = [0; 256];
        let Ok(length) = manager.recv(&mut text) else { break };
        heard += &String::from_utf8_lossy(&text[..length]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(heard.contains("READY=1") && heard.matches("WATCHDOG=1").count() >= 4, "{heard}");
}
