//! Open vSwitch's userspace switch as a peer.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::deadline::wait_until;
use crate::namespace::Namespace;
use crate::process::Process;

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// Open vSwitch in a namespace, with its database and sockets in a folder of the test's own.
#[derive(Debug)]
pub struct OpenVswitch {
    folder: tempfile::TempDir,
    /// Where it runs.
    pub namespace: Namespace,
    _processes: Vec<Process>,
}

impl OpenVswitch {
    /// Starts it without a bridge.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        let made = Command::new("ovsdb-tool").args(["create", &file("db"), schema]).status();
        assert!(made.is_ok_and(|status| status.success()), "ovsdb-tool, of the package openvswitch-switch");
        // Its ports are interfaces of the kernel, which answers ARP there for any address of the namespace, and faster
        // than Open vSwitch: with addresses to which nobody listens.
        namespace.run("echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore");
        let start = |program: &str, arguments: &[String]| {
            let mut command = namespace.command(program);
            command.env("OVS_RUNDIR", folder.path()).env("OVS_LOGDIR", folder.path()).args(arguments);
            Process::spawn(program, &command, folder.path())
        };
        let remote = format!("--remote=punix:{}", file("db.sock"));
        let database = start("ovsdb-server", &[file("db"), remote, format!("--pidfile={}", file("db.pid"))]);
        wait_until("Open vSwitch's database", LIMIT, || Path::new(&file("db.sock")).exists());
        let switch = start(
            "ovs-vswitchd",
            &[format!("unix:{}", file("db.sock")), format!("--pidfile={}", file("vswitchd.pid"))],
        );
        Self { folder, namespace, _processes: vec![switch, database] }
    }

    /// What ovs-vsctl says to these words.
    ///
    /// # Panics
    /// If it refuses them.
    pub fn vsctl(&self, words: &str) -> String {
        let database = format!("--db=unix:{}/db.sock", self.folder.path().display());
        let mut command = self.namespace.command("ovs-vsctl");
        let output =
            command.args([&database, "--timeout=20"]).args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ovs-vsctl {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
