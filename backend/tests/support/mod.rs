//! A daemon of its own in a temporary folder, and commands against it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_viaduct");
pub(crate) const PAIR: &str =
    "[network.lab]\n[port.vm1]\nnetwork = 'lab'\n[port.vm2]\nnetwork = 'lab'\nqueues = 2\nmtu = 9000\n";

/// A running daemon; it is ended with the test.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) directory: TempDir,
}

impl Daemon {
    pub(crate) fn start(ports: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(&directory, "viaduct.toml", ports);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        Self::start_in(directory, Command::new(PROGRAM).stderr(log))
    }

    /// Starts what `command` says, with the words for the file in `directory`, and waits until it answers.
    pub(crate) fn start_in(directory: TempDir, command: &mut Command) -> Self {
        command.args(["run", "--config"]).arg(directory.path().join("viaduct.toml"));
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let daemon = Self { child, directory };
        wait_for("the daemon answers", || daemon.command(&["show"]).status.success());
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, ports: &str) -> String {
        write(&self.directory, name, ports)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        viaduct(arguments, &[("VIADUCT_SOCKET", self.path("api.sock").to_str().unwrap())])
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.done(&["show", "--json"])).unwrap()
    }

    pub(crate) fn port_names(&self) -> Vec<String> {
        let status = self.status();
        let ports = status["ports"].as_array().unwrap();
        ports.iter().map(|port| port["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file whose daemon lives in `directory`.
pub(crate) fn write(directory: &TempDir, name: &str, ports: &str) -> String {
    let path = directory.path().join(name);
    let folder = directory.path().display();
    std::fs::write(
        &path,
        format!("{ports}[switch]\nruntime_dir = '{folder}'\nstate_dir = '{folder}/state'\n"),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

pub(crate) fn viaduct(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("VIADUCT_SOCKET").envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
