//! The daemon as a child process, with directories of its own that go when it goes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

mod usage;

pub use usage::Usage;

use crate::deadline::wait_for;
use crate::namespace::Namespace;
use crate::snapshot::{Learned, Snapshot, Worker};

/// How long the daemon may take to say that it is ready, or to end.
const LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to answer a test that is over, in seconds: it may be stopped, or its socket be gone.
const ANSWER_LIMIT_S: &str = "3";
/// How much of the log a failing test shows.
const LOG_TAIL_LINES: usize = 60;

/// The binary under test: `VIADUCT_BIN`, else the release build in the workspace's target directory.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("VIADUCT_BIN") {
        return PathBuf::from(path);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let path = target.join("release/viaduct");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release -p viaduct` first, or set VIADUCT_BIN",
        path.display()
    );
    path
}

/// Whether the binary under test is a build for release, as `scripts/test` has it: only that one is held to what it may take of time and of
/// a processor. One for tests, of which next to nothing is optimized, takes several times as much.
#[must_use]
pub fn is_release() -> bool {
    binary().components().any(|part| part.as_os_str() == "release")
}

/// A running daemon. It verifies every hit of its flow caches unless told otherwise, and a test in which one
/// was wrong fails; so does one in which the daemon made a system call that its sandbox refuses. Dropping it ends the process, by its pid, and removes its directories.
pub struct Daemon {
    child: Child,
    started: Instant,
    notify: UnixDatagram,
    directory: tempfile::TempDir,
    /// The network namespace in which it runs, by name.
    namespace: Option<String>,
}

impl Daemon {
    /// Starts `viaduct run` on `config` (without a `[switch]` table: the test's own is put before it)
    /// and waits until it says that it is ready.
    #[must_use]
    pub fn start(config: &str) -> Self {
        Self::start_with("", config)
    }

    /// As [`Daemon::start`], with more lines for the `[switch]` table.
    #[must_use]
    pub fn start_with(switch_lines: &str, config: &str) -> Self {
        Self::launch(None, switch_lines, config)
    }

    /// As [`Daemon::start`], in a network namespace.
    #[must_use]
    pub fn start_in(namespace: &Namespace, config: &str) -> Self {
        Self::launch(Some(namespace.name().to_owned()), "", config)
    }

    /// As [`Daemon::start_with`], in a network namespace.
    #[must_use]
    pub fn start_in_with(namespace: &Namespace, switch_lines: &str, config: &str) -> Self {
        Self::launch(Some(namespace.name().to_owned()), switch_lines, config)
    }

    fn launch(namespace: Option<String>, switch_lines: &str, config: &str) -> Self {
        // In memory, as /run is: no disk's journal is measured where a test measures time.
        let directory = tempfile::Builder::new().prefix("viaduct-test-").tempdir_in("/dev/shm").unwrap();
        let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(LIMIT)).unwrap();
        fs::write(directory.path().join("viaduct.toml"), with_switch(directory.path(), switch_lines, config))
            .unwrap();
        let child = command(directory.path(), namespace.as_deref(), &[]).spawn().unwrap();
        let mut daemon = Self { child, started: Instant::now(), notify, directory, namespace };
        daemon.wait_until_ready();
        daemon
    }

    fn wait_until_ready(&mut self) {
        let mut text = [0; 4096];
        loop {
            let Ok(length) = self.notify.recv(&mut text) else {
                panic!("the daemon did not say READY=1 within {LIMIT:?}; its log:\n{}", self.log_tail());
            };
            if String::from_utf8_lossy(&text[..length]).lines().any(|line| line == "READY=1") {
                return;
            }
        }
    }

    /// What an earlier process said is not the next one's.
    fn forget_notifications(&self) {
        self.notify.set_nonblocking(true).unwrap();
        while self.notify.recv(&mut [0; 4096]).is_ok() {}
        self.notify.set_nonblocking(false).unwrap();
    }

    /// When the process was started (the last time).
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the daemon's files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The socket of the port `name`.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join("run").join(format!("{name}.sock"))
    }

    /// The file that the daemon was started on.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("viaduct.toml")
    }

    /// `config` as a whole file: with the `[switch]` table that this daemon runs with.
    #[must_use]
    pub fn whole_config(&self, config: &str) -> String {
        with_switch(self.directory.path(), "", config)
    }

    /// Runs `viaduct` with `arguments` against this daemon.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .env("VIADUCT_SOCKET", self.directory.path().join("run/api.sock"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The bytes of a packet that is told in words and enters at `port`, as `viaduct trace` makes them: the first 128.
    ///
    /// # Panics
    /// If the daemon does not understand it.
    #[must_use]
    pub fn described(&self, port: &str, packet: &str) -> Vec<u8> {
        let output = self.command(&["trace", port, packet, "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let traced: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let hex = traced["bytes"].as_str().unwrap();
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    /// `viaduct apply` with `config`; panics when it is refused.
    pub fn apply(&self, config: &str) -> String {
        let output = self.try_apply(config);
        assert!(output.status.success(), "apply failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `viaduct apply` with `config`, whatever comes of it.
    #[must_use]
    pub fn try_apply(&self, config: &str) -> Output {
        let path = self.directory.path().join("apply.toml");
        fs::write(&path, self.whole_config(config)).unwrap();
        self.command(&["apply", path.to_str().unwrap()])
    }

    /// `viaduct show --json` as it stands.
    #[must_use]
    pub fn show_json(&self) -> serde_json::Value {
        let output = self.command(&["show", "--json"]);
        assert!(
            output.status.success(),
            "show failed: {}\nlog:\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log_tail()
        );
        serde_json::from_slice(&output.stdout).expect("show --json prints JSON")
    }

    /// `viaduct show --json`.
    #[must_use]
    pub fn show(&self) -> Snapshot {
        let snapshot: Snapshot =
            serde_json::from_value(self.show_json()).expect("show --json has the documented shape");
        let wrong: u64 = snapshot.workers.iter().map(|worker| worker.flow_cache.mismatched).sum();
        assert_eq!(wrong, 0, "hits of a flow cache were wrong; the log:\n{}", self.log_tail());
        snapshot
    }

    /// `viaduct show fdb --json`: all learned addresses.
    #[must_use]
    pub fn fdb(&self) -> Vec<Learned> {
        let output = self.command(&["show", "fdb", "--json"]);
        assert!(output.status.success(), "show fdb failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("show fdb --json has the documented shape")
    }

    /// How many hits of a flow cache were wrong, from the counters if the process still answers, else from its
    /// log.
    fn mismatches(&mut self) -> u64 {
        let logged = u64::from(self.log().contains("flow cache mismatch"));
        if !self.is_alive() {
            return logged;
        }
        let show = Command::new("timeout")
            .arg(ANSWER_LIMIT_S)
            .arg(binary())
            .args(["show", "workers", "--json"])
            .env("VIADUCT_SOCKET", self.directory.path().join("run/api.sock"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let workers: Vec<Worker> = serde_json::from_slice(&show.stdout).unwrap_or_default();
        workers.iter().map(|worker| worker.flow_cache.mismatched).sum::<u64>().max(logged)
    }

    /// Waits until the port `name` is in `state`.
    pub fn wait_for_state(&self, name: &str, state: &str) {
        let mut last = String::new();
        let what = format!("port {name} to be {state}");
        wait_for(&what, LIMIT, || {
            last = self.show().port(name).state.clone();
            (last == state).then_some(())
        });
    }

    /// Sends `signal` to the process.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: kill has no memory effects here; the pid is our own unreaped child's.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "the daemon has gone: {}", self.log_tail());
    }

    /// Whether the process still runs.
    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills the process as kill -9 does and waits for its end.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.reap_killed();
    }

    /// Kills the process after `delay`, whatever the caller is doing then; [`Daemon::reap_killed`] must follow.
    pub fn kill_after(&self, delay: Duration) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            // SAFETY: kill has no memory effects here; the child is not reaped before it was killed, so the pid is its.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        });
    }

    /// Waits for the end of the process that is being killed.
    pub fn reap_killed(&mut self) {
        let status = self.child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(libc::SIGKILL),
            "the daemon had ended by itself: {}",
            self.log_tail()
        );
    }

    /// Starts the process again on the same files, after [`Daemon::kill`] or [`Daemon::terminate`].
    pub fn restart(&mut self) {
        self.restart_without_waiting();
        self.wait_until_ready();
    }

    /// As [`Daemon::restart`], without waiting until the daemon is ready.
    pub fn restart_without_waiting(&mut self) {
        assert!(!self.is_alive(), "the daemon still runs");
        self.forget_notifications();
        self.started = Instant::now();
        self.child = command(self.directory.path(), self.namespace.as_deref(), &[]).spawn().unwrap();
    }

    /// What starts a process that takes over from this one, on the same files.
    #[must_use]
    pub fn successor(&self) -> Command {
        command(self.directory.path(), self.namespace.as_deref(), &["--takeover"])
    }

    /// Starts such a process, which is the daemon from then on, and waits for the end of the one before.
    ///
    /// # Panics
    /// If it does not take over, or the one before does not end with status 0.
    pub fn take_over(&mut self) {
        self.forget_notifications();
        let next = self.successor().spawn().unwrap();
        let mut before = std::mem::replace(&mut self.child, next);
        // The service manager hears of the new process from the one before, and from the new one that it is ready.
        let main_process = format!("MAINPID={}", self.child.id());
        let (mut text, mut told) = ([0; 4096], String::new());
        while !told.contains("READY=1") || !told.contains(&main_process) {
            let Ok(length) = self.notify.recv(&mut text) else {
                panic!("nobody took over within {LIMIT:?}, only {told:?}; the log:\n{}", self.log_tail());
            };
            told += &String::from_utf8_lossy(&text[..length]);
        }
        let status = wait_for("the end of who was taken over", LIMIT, || before.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log_tail());
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        wait_for("the daemon to end after SIGTERM", LIMIT, || self.child.try_wait().unwrap())
    }

    /// What the process has in use at this moment.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// What the process has in use once that has not changed for a while: what its peers left is put away.
    #[must_use]
    pub fn settled_usage(&self) -> Usage {
        let held = |usage: Usage| (usage.descriptors, usage.mappings, usage.threads);
        let (mut last, mut same) = (self.usage(), 0);
        while same < 10 {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.usage();
            same = if held(now) == held(last) { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Waits until the process has no more descriptors and mappings in use than `before`, and gives what it has then: who has just been
    /// served may still be put away, and what leaks never is.
    ///
    /// # Panics
    /// It keeps more.
    pub fn usage_given_back(&self, before: Usage) -> Usage {
        let start = Instant::now();
        loop {
            let now = self.usage();
            if now.descriptors <= before.descriptors && now.mappings <= before.mappings {
                return now;
            }
            assert!(start.elapsed() < LIMIT, "{before:?} before, and {now:?} stays");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the log has `text`: a thread of its own writes it.
    ///
    /// # Panics
    /// It never comes.
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < LIMIT, "no `{text}` in the log:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The last lines that the daemon logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// All that the daemon logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("daemon.log")).unwrap_or_default())
            .into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let mismatches = if std::thread::panicking() { 0 } else { self.mismatches() };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ends so:\n{}\n---", self.log_tail());
        }
        let refused = self.log().lines().find(|line| line.contains("was refused (")).map(str::to_owned);
        assert!(refused.is_none() || std::thread::panicking(), "the sandbox lacks something: {refused:?}");
        // A second panic would end all tests of the file.
        assert!(
            mismatches == 0 || std::thread::panicking(),
            "{mismatches} hits of a flow cache were wrong; the log:\n{}",
            self.log_tail()
        );
    }
}

fn with_switch(directory: &Path, switch_lines: &str, config: &str) -> String {
    let directory = directory.display();
    let verify = if switch_lines.contains("verify_flow_cache") { "" } else { "verify_flow_cache = true\n" };
    // The tables of `config` come first, so that line numbers in errors are those of the test's text.
    format!(
        "{config}\n[switch]\nruntime_dir = \"{directory}/run\"\nstate_dir = \"{directory}/state\"\n{verify}{switch_lines}\n"
    )
}

fn command(directory: &Path, namespace: Option<&str>, more: &[&str]) -> Command {
    let log = |path: PathBuf| -> File { OpenOptions::new().create(true).append(true).open(path).unwrap() };
    let mut command = Command::new(namespace.map_or_else(binary, |_| PathBuf::from("ip")));
    if let Some(name) = namespace {
        // It becomes the program: the process is the same one.
        command.args(["netns", "exec", name]).arg(binary());
    }
    command
        .args(["run", "--config"])
        .arg(directory.join("viaduct.toml"))
        .args(more)
        .env("NOTIFY_SOCKET", directory.join("notify"))
        .stdin(Stdio::null())
        .stdout(log(directory.join("daemon.log")))
        .stderr(log(directory.join("daemon.log")));
    command
}
