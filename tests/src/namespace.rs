//! Network namespaces of a test's own, with cables between them; all is gone when they are dropped.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::guest::counters_of;
use crate::process::run_to_end;

/// How long a command in a namespace may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// A network namespace with a name under /run/netns, made by this test for itself.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with its loopback interface up.
    ///
    /// # Panics
    /// If this process may not make one: these tests need root.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("viaduct-{}-{number}-{name}", std::process::id()) };
        namespace.make();
        namespace
    }

    /// Makes it again, after [`Namespace::remove`].
    ///
    /// # Panics
    /// If that is refused.
    pub fn make(&self) {
        run_to_end(COMMAND_WITHIN, "ip", &["netns", "add", &self.name]);
        self.ip("link set lo up");
    }

    /// Takes its name away, as `ip netns del` does; it goes when nobody uses it any more.
    ///
    /// # Panics
    /// If that is refused.
    pub fn remove(&self) {
        run_to_end(COMMAND_WITHIN, "ip", &["netns", "del", &self.name]);
    }

    /// Its name under /run/netns.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `ip` with these words in it, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, words: &str) -> String {
        let arguments: Vec<&str> = ["-n", &self.name].into_iter().chain(words.split_whitespace()).collect();
        run_to_end(COMMAND_WITHIN, "ip", &arguments)
    }

    /// Runs a line of shell in it, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, line: &str) -> String {
        run_to_end(COMMAND_WITHIN, "ip", &["netns", "exec", &self.name, "sh", "-c", line])
    }

    /// Whether a line of shell succeeds in it.
    #[must_use]
    pub fn succeeds(&self, line: &str) -> bool {
        let mut command = self.command("timeout");
        command.args(["30", "sh", "-c", line]).output().is_ok_and(|output| output.status.success())
    }

    /// A command that runs in it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Packets with wrong checksums here, of all protocols and both versions of IP.
    ///
    /// # Panics
    /// If the kernel does not tell.
    #[must_use]
    pub fn checksum_errors(&self) -> u64 {
        self.wrong_packets()
            .into_iter()
            .filter(|(name, _)| name.ends_with("InCsumErrors"))
            .map(|(_, count)| count)
            .sum()
    }

    /// What the kernel counted of packets that it found wrong: headers, lengths, checksums, fragments that fit nowhere.
    ///
    /// # Panics
    /// If the kernel does not tell.
    #[must_use]
    pub fn wrong_packets(&self) -> Vec<(String, u64)> {
        let ends = ["InErrors", "InErrs", "InHdrErrors", "InAddrErrors", "InCsumErrors", "ReasmFails"];
        let is_wrong = |name: &str| ends.iter().any(|end| name.ends_with(end));
        let table = self.run("cat /proc/net/snmp /proc/net/snmp6");
        counters_of(&table).filter(|(name, count)| is_wrong(name) && *count > 0).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A veth pair between two namespaces, both ends up.
///
/// # Panics
/// If it cannot be made.
pub fn cable(one: (&Namespace, &str), other: (&Namespace, &str)) {
    let (there, name) = (other.0.name(), other.1);
    one.0.ip(&format!("link add {} type veth peer name {name} netns {there}", one.1));
    one.0.ip(&format!("link set {} up", one.1));
    other.0.ip(&format!("link set {name} up"));
}

/// A segment as a Linux bridge makes it, in a namespace of its own.
#[derive(Debug)]
pub struct Segment {
    namespace: Namespace,
}

impl Segment {
    /// A segment without stations, whose bridge forwards at once.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let namespace = Namespace::new("segment");
        namespace.ip("link add segment type bridge forward_delay 0 mcast_snooping 0");
        namespace.ip("link set segment up");
        Self { namespace }
    }

    /// Plugs in a station's new interface `name`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn plug(&self, station: &Namespace, name: &str) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let port = format!("p{}", COUNT.fetch_add(1, Ordering::Relaxed));
        cable((station, name), (&self.namespace, &port));
        self.namespace.ip(&format!("link set {port} master segment"));
    }

    /// The namespace of the bridge `segment`.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self::new()
    }
}
