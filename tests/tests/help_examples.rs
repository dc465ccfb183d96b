//! Every literal example of every `--help` is run as it stands, beside a daemon whose guests speak: none asks for what is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::driver::nic::{Nic, NicOptions};

/// Has all that the examples name. Its uplink's interface never comes.
const CONFIG: &str = r#"
[network.lab]
[port.vm1]
network = "lab"
[port.vm1-storage]
network = "lab"
[port.web1]
network = "lab"
mac = "52:54:00:00:00:05"
addresses = ["10.0.0.5", "fd00::5"]
[port.web2]
network = "lab"
mac = "52:54:00:00:00:0a"
addresses = ["10.0.0.9", "fd00::9"]
[port.web3]
network = "lab"
addresses = ["10.0.0.13"]
groups = ["db"]
[group.web]
rules = [{ direction = "ingress", protocol = "tcp", ports = 80 }]
[group.monitored]
[group.db]
[qos.gold]
egress = { kind = "tbf", rate = "80mbit", burst = "64KiB" }
[uplink.wan]
interface = "never-either"
[uplink.isp]
interface = "never-there"
address = "192.168.99.1/24"
[network.dmz]
[network.tenant101]
vlan = 101
overlay = { kind = "vxlan", vni = 101, uplink = "isp" }
"#;

/// How an example is run that cannot be left to itself.
enum Way {
    /// It goes on until somebody ends it: after this time, as by Ctrl-C.
    Ended,
    /// Its words alone are read (`--help` is put behind them).
    ReadOnly,
    /// Another line comes before it.
    After(&'static str),
    /// It is run as it stands, though what begins as it does is not.
    Plain,
}

/// Examples by their beginning, with the reason.
const SPECIAL: &[(&str, Way, &str)] = &[
    ("viaduct run --takeover", Way::ReadOnly, "takes a daemon that ends then; tests/takeover.rs runs it"),
    ("viaduct run", Way::Ended, "a daemon runs until it is ended"),
    ("viaduct watch", Way::Ended, "samples come until it is ended"),
    ("viaduct console", Way::Ended, "it is served until it is ended"),
    ("viaduct events", Way::Ended, "events come until it is ended"),
    ("viaduct capture", Way::Ended, "frames come until it is ended"),
    (
        "viaduct station remove",
        Way::After("viaduct station add tenant101 52:54:00:00:01:02 --vtep 192.168.99.2"),
        "of one that is there",
    ),
    ("viaduct port remove vm9", Way::After("viaduct port add vm9 --network lab"), "of one that is there"),
    ("viaduct save --to /", Way::ReadOnly, "writes where the test has nothing to write"),
    ("viaduct top --once", Way::Plain, "needs no terminal"),
    ("viaduct top --json", Way::Ended, "lines come until it is ended"),
    ("viaduct top", Way::ReadOnly, "needs a terminal, which its own test has"),
    ("viaduct bench", Way::ReadOnly, "takes minutes and the machine for itself; tests/bench.rs runs it"),
];

/// Prepares a folder of mounts that nobody else sees: what examples write into /etc and /usr/local goes with it, and /run is empty.
const MOUNTS: &str = "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mount --bind etc /etc && \
    mount -t tmpfs none /usr/local/share && mkdir -p /usr/local/share/man/man1 && \
    ip link set lo up";

fn help(words: &[String]) -> String {
    let output = Command::new(binary()).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a help below `heading`, up to an empty one.
fn below<'h>(help: &'h str, heading: &str) -> Vec<&'h str> {
    let lines = help.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// The command of a line with an example, without the words for people behind it.
fn literal(line: &str) -> Option<&str> {
    let line = line.strip_prefix("  ")?;
    line.starts_with("viaduct ").then(|| line.split("  ").next().unwrap_or(line).trim_end())
}

/// The literal examples of the command `words` and of all below it.
fn collect(words: &[String], into: &mut BTreeSet<String>) {
    let help = help(words);
    let lines = below(&help, "Example");
    let is_cut = |pair: &[&str]| {
        let goes_on = pair[1].starts_with("  ") && !pair[1].starts_with("   ") && literal(pair[1]).is_none();
        goes_on && literal(pair[0]).is_some_and(|command| command.len() + 2 == pair[0].len())
    };
    assert!(
        !lines.windows(2).any(is_cut),
        "viaduct {} --help: an example is too long for a line",
        words.join(" ")
    );
    let examples: Vec<&str> = lines.into_iter().filter_map(literal).collect();
    assert!(!examples.is_empty(), "viaduct {} --help has no example", words.join(" "));
    into.extend(examples.into_iter().map(str::to_owned));
    let names = below(&help, "Commands:").into_iter().filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        collect(&[words, &[name.to_owned()]].concat(), into);
    }
}

/// What the examples find in the folder in which they are run.
fn furnish(folder: &Path, daemon: &Daemon) {
    let copy = |from: &Path, to: &str| {
        let done = Command::new("cp").arg("-a").arg(from).arg(folder.join(to)).status().unwrap();
        assert!(done.success(), "{}", from.display());
    };
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"), "examples");
    copy(Path::new("/etc"), "etc");
    fs::create_dir_all(folder.join("etc/bash_completion.d")).unwrap();
    fs::copy(daemon.config_path(), folder.join("viaduct.toml")).unwrap();
    fs::create_dir(folder.join("bin")).unwrap();
    std::os::unix::fs::symlink(binary().canonicalize().unwrap(), folder.join("bin/viaduct")).unwrap();
    // Whatever reads manual pages here: it must be given one.
    fs::write(folder.join("bin/man"), "#!/bin/sh\ngrep -q '^.TH viaduct'\n").unwrap();
    fs::set_permissions(folder.join("bin/man"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs one line in the folder, as somebody would at a shell.
fn run(line: &str, folder: &Path, daemon: &Daemon) -> Output {
    let path = format!("{}/bin:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "bash", "-c", &format!("{MOUNTS} && set -o pipefail && {line}")]);
    command.current_dir(folder).env("PATH", path);
    command.env("VIADUCT_SOCKET", daemon.directory().join("run/api.sock"));
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

/// What is wrong with an example, if anything is.
fn try_out(example: &str, folder: &Path, daemon: &Daemon) -> Option<String> {
    // What another example changed is as it was.
    daemon.apply(CONFIG);
    let special = SPECIAL.iter().find(|(beginning, ..)| example.starts_with(beginning));
    let (line, expected): (String, &[i32]) = match special.map(|(_, way, _)| way) {
        None | Some(Way::Plain) => (format!("timeout 20 {example}"), &[0]),
        Some(Way::After(before)) => (format!("{before} && timeout 20 {example}"), &[0]),
        // Who is ended says so by his status, or has ended by himself.
        Some(Way::Ended) => (format!("timeout --preserve-status -s INT 1 {example}"), &[0, 130]),
        Some(Way::ReadOnly) => (format!("{example} --help"), &[0]),
    };
    let output = run(&line, folder, daemon);
    let status = output.status.code();
    let errors = String::from_utf8_lossy(&output.stderr);
    let is_right = status.is_some_and(|status| expected.contains(&status));
    (!is_right).then(|| format!("{example}\nended with {status:?}, expected {expected:?}: {errors}"))
}

#[test]
fn every_example_of_every_help_does_what_it_says() {
    let mut examples = BTreeSet::new();
    collect(&[], &mut examples);
    let daemon = Daemon::start(CONFIG);
    let [mut web1, _web2] =
        ["web1", "web2"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    let folder = tempfile::tempdir().unwrap();
    furnish(folder.path(), &daemon);
    let frame = daemon.described("web1", "tcp 10.0.0.5:4000 > 10.0.0.9:3306");
    let done = AtomicBool::new(false);
    let wrong = thread::scope(|scope| {
        let tries = scope.spawn(|| {
            let tried = examples.iter().filter_map(|example| try_out(example, folder.path(), &daemon));
            let wrong: Vec<String> = tried.collect();
            done.store(true, Ordering::Release);
            wrong
        });
        while !done.load(Ordering::Acquire) && !tries.is_finished() {
            web1.send(&frame);
            thread::sleep(Duration::from_millis(5));
        }
        tries.join().unwrap()
    });
    assert!(wrong.is_empty(), "{} of {} examples:\n{}", wrong.len(), examples.len(), wrong.join("\n\n"));
    assert!(examples.len() > 50, "{examples:#?}");
}
