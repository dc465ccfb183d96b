//! Processes that the benchmark starts: their output in a file, ended by their id whatever happens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::BenchError;
use super::interrupt;

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much of a log is shown.
const TAIL_LINES: usize = 20;

/// A folder of the benchmark's own, removed with all that is in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A new one where temporary files are.
    pub(super) fn new() -> Result<Self, BenchError> {
        Self::at(std::env::temp_dir().join(format!("viaduct-bench.{}", std::process::id())))
    }

    /// A new one at `path`, for this user alone.
    pub(super) fn at(path: PathBuf) -> Result<Self, BenchError> {
        let what = format!("make the folder {}", path.display());
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(BenchError::system(what))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running program, ended when dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, which `package` contains, with both its outputs in `folder`. The kernel ends it should we die
    /// without a chance to clean up, as far as the machine has setpriv(1); Ctrl-C is ours alone.
    pub(super) fn start<A: AsRef<OsStr>>(
        name: &str,
        (program, package): (&Path, &str),
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.map_err(BenchError::system(format!("write {}", log.display())))?;
        let errors = output.try_clone().map_err(BenchError::system("copy a descriptor"))?;
        let mut command = wrapped(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.spawn().map_err(|error| missing(program, package, &error))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(BenchError::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                tail: self.tail(),
            }),
            Err(error) => Err(BenchError::system(format!("ask how {} is", self.name))(error)),
        }
    }

    /// Waits until `ready` gives something.
    pub(super) fn await_ready<T>(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            self.check()?;
            if Instant::now() > deadline {
                let (name, tail) = (self.name.clone(), self.tail());
                return Err(BenchError::NotReady { name, seconds: limit.as_secs(), tail });
            }
            interrupt::sleep(LOOK_EVERY)?;
        }
    }

    /// Processor time of all its threads so far.
    pub(super) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id()));
        let each = tasks.into_iter().flatten().flatten().filter_map(|task| {
            // "time spent on the cpu (in nanoseconds)" (Linux, Documentation/scheduler/sched-stats).
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(each.sum())
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn signal(&mut self, signal: Signal) {
        // A child that was not waited for keeps its id, so it cannot be another's.
        if let (Ok(None), Ok(id)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn wrapped(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The path of a program that `package` contains.
pub(super) fn find(program: &str, package: &str) -> Result<PathBuf, BenchError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(usual).map(|folder| folder.join(program));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| BenchError::Refused {
        what: format!("find {program}"),
        error: "it is nowhere on PATH".to_owned(),
        remedy: format!("install the package {package}"),
    })
}

/// Runs a program that `package` contains to its end; what it printed.
pub(super) fn run((program, package): (&Path, &str), arguments: &[&str]) -> Result<String, BenchError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(program, package, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(BenchError::Ended {
        name: format!("{} {}", program.display(), arguments.join(" ")),
        status: output.status.to_string(),
        tail: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
    })
}

fn missing(program: &Path, package: &str, error: &std::io::Error) -> BenchError {
    BenchError::Refused {
        what: format!("start {}", program.display()),
        error: error.to_string(),
        remedy: format!("install the package {package}"),
    }
}
