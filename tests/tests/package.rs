//! The Debian package, as a new user meets it: made, checked, installed in a bare Debian, started there as its own user with the one
//! capability that it needs, and taken away again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use viaduct_tests::daemon::binary;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::process::Process;
use viaduct_tests::stream::{frame, mac, number_of};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The switch's own user, in the group of QEMU, with what an uplink needs and nothing else. It ends with who started it still: a change of
/// user would take that away.
const AS_ITS_USER: [&str; 8] = [
    "--pdeathsig",
    "keep",
    "--reuid=viaduct",
    "--regid=viaduct",
    "--groups=kvm",
    "--inh-caps=-all,+net_raw",
    "--ambient-caps=-all,+net_raw",
    "--bounding-set=-all,+net_raw",
];

/// Blocks of the page for new users: what they type, and what stands in their file.
fn blocks() -> Vec<String> {
    let page = fs::read_to_string(format!("{ROOT}/docs/start.md")).unwrap();
    let mut blocks = vec![String::new()];
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(line) => *blocks.last_mut().unwrap() += &format!("{line}\n"),
            None if line.is_empty() && !blocks.last().unwrap().is_empty() => {
                blocks.last_mut().unwrap().push('\n')
            }
            None => blocks.push(String::new()),
        }
    }
    blocks.into_iter().map(|block| block.trim().to_owned()).filter(|block| !block.is_empty()).collect()
}

/// What is typed there that begins so, without what is said about it behind.
fn typed(beginning: &str) -> Vec<String> {
    let blocks = blocks();
    let lines = blocks.iter().flat_map(|block| block.lines()).filter(|line| line.starts_with(beginning));
    let lines: Vec<String> = lines.map(|line| line.split("   ").next().unwrap().to_owned()).collect();
    assert!(!lines.is_empty(), "docs/start.md has nothing that begins with {beginning}");
    lines
}

/// What is typed in the text between two backticks, where it says what goes without systemd.
fn without_systemd(command: &str) -> String {
    let page = fs::read_to_string(format!("{ROOT}/docs/start.md")).unwrap();
    assert!(page.contains(&format!("`{command}`")), "docs/start.md does not say {command}");
    command.to_owned()
}

fn run(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| {
        panic!("{}: {error}; scripts/setup installs it", command.get_program().display())
    })
}

/// What a command prints, which must not fail.
fn said(command: &mut Command) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

/// A folder with a bare Debian, in which commands run with a process table and mounts of their own.
struct Bare(tempfile::TempDir);

impl Bare {
    /// Whether no process has the folder for its root.
    fn is_idle(&self) -> bool {
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        !processes
            .any(|entry| fs::read_link(entry.path().join("root")).is_ok_and(|root| root == self.path("")))
    }

    /// Of the release and from the mirror that this machine has.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.expect("a release of Debian has a name").trim_matches('"');
        let format = ["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"];
        let suites = said(Command::new("apt-get").args(format));
        let mirror = suites.lines().find_map(|line| line.strip_prefix(codename)?.strip_prefix(' '));
        let mirror = mirror.unwrap_or_else(|| panic!("apt knows no mirror of {codename}"));
        said(
            Command::new("debootstrap").args(["--variant=minbase", codename]).arg(folder.path()).arg(mirror),
        );
        Self(folder)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside.trim_start_matches('/'))
    }

    /// A command in there; `arguments` start with the program.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(format!("--root={}", self.0.path().display())).args(arguments);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn said(&self, arguments: &[&str]) -> String {
        said(&mut self.command(arguments))
    }

    /// As a line that somebody types.
    fn types(&self, line: &str) -> String {
        self.said(&["sh", "-c", line])
    }
}

fn package(folder: &Path) -> PathBuf {
    let mut make = Command::new(format!("{ROOT}/{}", typed("scripts/package")[0]));
    // The address of a packager, as a machine of a developer's has it.
    make.arg(folder).env("VIADUCT_BIN", binary()).env("DEBEMAIL", "packager@example.org");
    PathBuf::from(said(&mut make).trim())
}

/// By those who judge packages, profiles and units for a living.
fn assert_right(package: &Path) {
    let lintian = ["--fail-on", "error,warning", "--allow-root"];
    said(Command::new("lintian").args(lintian).arg(package));
    let build = package.with_file_name("build");
    let profile = build.join("apparmor/usr.bin.viaduct");
    said(Command::new("apparmor_parser").args(["--skip-kernel-load", "--skip-cache"]).arg(profile));
    // 10 is a service without any limit; what is above 2.5 has been let out by mistake.
    let judge = ["security", "--offline=true", "--threshold=25", "--no-pager"];
    said(Command::new("systemd-analyze").args(judge).arg(build.join("debian/viaduct.service")));
}

#[test]
fn a_new_user_installs_the_package_and_two_guests_meet() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    assert_right(&package);

    let bare = Bare::new();
    fs::copy(&package, bare.path("viaduct.deb")).unwrap();
    let install = typed("apt install")[0].replace("./target/debian/viaduct_*.deb", "/viaduct.deb");
    bare.types(&install.replace("apt install", "apt install --yes --no-install-recommends"));
    assert!(bare.said(&["id", "viaduct"]).contains("(kvm)"));
    let enabled = bare.path("etc/systemd/system/sockets.target.wants/viaduct.socket");
    assert!(
        bare.path("lib/systemd/system/viaduct.socket").exists() && !enabled.exists(),
        "the socket is there for who wants it"
    );
    for page in ["viaduct.1.gz", "viaduct-run.1.gz"] {
        assert!(bare.path("usr/share/man/man1").join(page).exists(), "{page}");
    }
    let schema = fs::read_to_string(bare.path("usr/share/viaduct/viaduct.schema.json")).unwrap();
    assert!(schema.contains("http://json-schema.org/draft-07/schema#"));
    let example = "/usr/share/doc/viaduct/examples/s1.toml";
    assert!(bare.said(&["viaduct", "check", "/etc/viaduct/viaduct.toml"]).contains("is right"));
    assert!(bare.said(&["viaduct", "check", example]).contains("is right"));

    let mut start = vec!["setpriv"];
    start.extend(AS_ITS_USER);
    let by_hand = without_systemd("viaduct run");
    start.extend(by_hand.split(' '));
    let daemon = Process::spawn("viaduct", &bare.command(&start), folder.path());
    wait_until("the daemon", Duration::from_secs(20), || bare.path("run/viaduct/api.sock").exists());
    let file = blocks().into_iter().find(|block| block.starts_with("[network.lab]")).unwrap();
    fs::write(bare.path("etc/viaduct/viaduct.toml"), file).unwrap();
    assert!(bare.types(&typed("viaduct check")[0]).contains("is right: 1 network, 2 ports"));
    bare.types(&without_systemd("viaduct apply /etc/viaduct/viaduct.toml"));
    let socket = |port: &str| bare.path(&format!("run/viaduct/{port}.sock"));
    let both = || ["vm1", "vm2"].iter().all(|port| socket(port).exists());
    wait_until("sockets of both guests", Duration::from_secs(20), both);
    let [mut one, mut two] = ["vm1", "vm2"].map(|port| Nic::connect(&socket(port), &NicOptions::default()));
    one.send(&frame(mac(2), mac(1), 7, 60));
    let got: Vec<u64> = two
        .collect_at_least(1, Duration::from_millis(500))
        .iter()
        .filter_map(|got| number_of(&got.bytes))
        .collect();
    assert_eq!(got, [7], "{}", daemon.output());
    assert!(bare.said(&["viaduct", "show", "ports"]).contains("running"), "{}", daemon.output());
    let seen: Vec<String> = typed("viaduct show").iter().map(|line| bare.types(line)).collect();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.contains("running")), "{seen:?}");
    assert!(bare.types(&typed("viaduct trace")[0]).contains("vm2"));
    for prints in ["viaduct qemu-args vm1", "viaduct libvirt-xml vm1"] {
        assert!(bare.types(&without_systemd(prints)).contains("/run/viaduct/vm1.sock"));
    }
    drop((one, two, daemon));
    wait_until("all that ran in the folder to be gone", Duration::from_secs(10), || bare.is_idle());

    bare.said(&["apt-get", "purge", "-y", "viaduct"]);
    for left in
        ["usr/bin/viaduct", "var/lib/viaduct", "etc/viaduct/viaduct.toml", "etc/apparmor.d/usr.bin.viaduct"]
    {
        assert!(!bare.path(left).exists(), "{left} is still there");
    }
}
