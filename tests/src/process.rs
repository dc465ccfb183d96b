//! Processes that a test starts: their output in a file, ended by their id whatever happens to the test.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::wait_for;

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How many lines of a log are shown when a test fails.
const TAIL_LINES: usize = 40;

/// A running program, ended when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`; both its outputs go to `folder/name.log`.
    ///
    /// # Panics
    /// If it cannot be started; the message names the program.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        name: &str,
        program: &str,
        arguments: &[A],
        folder: &Path,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(name, &command, folder)
    }

    /// Starts `command`, which the kernel also ends should the test's own process die.
    ///
    /// # Panics
    /// If it cannot be started; the message names the program.
    pub fn spawn(name: &str, command: &Command, folder: &Path) -> Self {
        Self::spawn_with(name, command, folder, Stdio::null())
    }

    /// As [`Process::start`], for a program that is told what to do by [`Process::tell`].
    ///
    /// # Panics
    /// If it cannot be started; the message names the program.
    pub fn start_listening(name: &str, program: &str, arguments: &[String], folder: &Path) -> Self {
        Self::spawn_with(name, Command::new(program).args(arguments), folder, Stdio::piped())
    }

    fn spawn_with(name: &str, command: &Command, folder: &Path, input: Stdio) -> Self {
        let log = folder.join(format!("{name}.log"));
        let child = File::options().create(true).append(true).open(&log).and_then(|output| {
            wrapped(command).stdin(input).stdout(output.try_clone()?).stderr(output).spawn()
        });
        match child {
            Ok(child) => Self { name: name.to_owned(), child, log },
            Err(error) => panic!("cannot start {name} ({}): {error}", command.get_program().display()),
        }
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// If it does not listen.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut();
        let told = input.map(|input| input.write_all(format!("{line}\n").as_bytes()));
        assert!(matches!(told, Some(Ok(()))), "{} does not listen: {told:?}", self.name);
    }

    /// All that it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        read_lossy(&self.log)
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the kernel does not know the process.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        match self.child.try_wait() {
            Ok(status) => status,
            Err(error) => panic!("cannot ask how {} is: {error}", self.name),
        }
    }

    /// Sends a signal; a process that is gone already does not mind.
    pub fn signal(&mut self, signal: libc::c_int) {
        if self.ended().is_none() {
            let pid = libc::pid_t::try_from(self.child.id()).unwrap();
            // SAFETY: kill has no memory effects here; the pid is that of our own child, not yet reaped.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait(GRACE);
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it is still there after `within`.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        wait_for(&what, within, || self.ended())
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&read_lossy(&self.log), TAIL_LINES)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "--- the last that {} said ({}):\n{}",
                self.name,
                describe(self.child.try_wait()),
                self.tail()
            );
        }
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

fn describe(ended: io::Result<Option<ExitStatus>>) -> String {
    match ended {
        Ok(None) => "running".to_owned(),
        Ok(Some(status)) if status.core_dumped() => format!("{status}, core dumped"),
        Ok(Some(status)) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// `command` through setpriv, which asks the kernel to kill it when its parent thread is gone.
fn wrapped(command: &Command) -> Command {
    let mut wrapper = Command::new("setpriv");
    wrapper.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapper.current_dir(folder);
    }
    wrapper
}

/// Runs a command to its end and returns what it printed on standard output.
///
/// # Panics
/// If it fails or takes longer than `within`; the message has the command and its standard error.
pub fn run_to_end(within: Duration, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(format!("{}", within.as_secs().max(1))).arg(program).args(arguments);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run {program}: {error}"),
    };
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The last `lines` lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn read_lossy(path: &Path) -> String {
    fs::read(path).map_or_else(
        |error| format!("(no log: {error})"),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
