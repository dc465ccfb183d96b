//! A guest's shell on its serial line: type a command, get its output (images/README.md describes the shell).

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::error::BenchError;
use crate::bench::interrupt;
use crate::bench::process::Process;

/// What the guest prints when its shell is there.
const READY: &str = "VIADUCT-GUEST-READY";
/// The prompt of its shell.
const PROMPT: &str = "guest# ";
/// How long QEMU may take to connect its serial line.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// Longest time without a look at whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much of the console is shown when something goes wrong.
const TAIL_BYTES: usize = 800;

/// One connection to a console.
#[derive(Debug)]
pub(super) struct Console {
    name: String,
    stream: UnixStream,
    received: Vec<u8>,
    commands: u32,
}

impl Console {
    /// Listens where QEMU will connect, so that not a byte of the guest's first words is lost.
    pub(super) fn listen(path: &Path) -> Result<UnixListener, BenchError> {
        let what = || format!("listen on {}", path.display());
        let listener = UnixListener::bind(path).map_err(BenchError::system(what()))?;
        listener.set_nonblocking(true).map_err(BenchError::system(what()))?;
        Ok(listener)
    }

    /// Takes QEMU's connection.
    pub(super) fn accept(
        name: &str,
        listener: &UnixListener,
        qemu: &mut Process,
    ) -> Result<Self, BenchError> {
        let stream = qemu.await_ready(CONNECT_WITHIN, || listener.accept().ok())?.0;
        let set_up = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(LOOK_EVERY)));
        set_up.map_err(BenchError::system("set a console up"))?;
        Ok(Self { name: name.to_owned(), stream, received: Vec::new(), commands: 0 })
    }

    /// Waits until the guest's shell is there.
    pub(super) fn await_shell(&mut self, limit: Duration) -> Result<(), BenchError> {
        self.expect(READY, "boot", limit).map(drop)
    }

    /// Runs a command that must succeed; what it printed.
    pub(super) fn run(&mut self, command: &str, limit: Duration) -> Result<String, BenchError> {
        self.commands += 1;
        let number = self.commands;
        // The marks are made from parts, so that an echo of the command itself is never taken for one.
        let line = format!(
            "printf '@%s@\\n' begin{number}; {{ {command}\n}} 2>&1; printf '@%s:%d@\\n' end{number} $?\n"
        );
        self.stream
            .write_all(line.as_bytes())
            .map_err(BenchError::system(format!("type to {}", self.name)))?;
        self.expect(&format!("@begin{number}@\n"), command, limit)?;
        let output = self.expect(&format!("@end{number}:"), command, limit)?.replace(PROMPT, "");
        let status = self.expect("@\n", command, limit)?;
        if status.trim() == "0" {
            return Ok(output);
        }
        let name = format!("{command:?} in the guest {}", self.name);
        Err(BenchError::Ended { name, status: format!("exit status {status}"), tail: output })
    }

    /// Waits until `text` has come; what came before it.
    fn expect(&mut self, text: &str, doing: &str, limit: Duration) -> Result<String, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = find(&self.received, text.as_bytes()) {
                let before = String::from_utf8_lossy(&self.received[..at]).into_owned();
                self.received.drain(..at + text.len());
                return Ok(before);
            }
            interrupt::check()?;
            let more =
                self.read().map_err(BenchError::system(format!("read the console of {}", self.name)))?;
            if !more || Instant::now() > deadline {
                return Err(self.silent(doing, limit));
            }
        }
    }

    /// Whether there may be more to come.
    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.received.extend(bytes[..count].iter().filter(|byte| **byte != b'\r'));
                Ok(count > 0)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    fn silent(&self, doing: &str, limit: Duration) -> BenchError {
        let tail = &self.received[self.received.len().saturating_sub(TAIL_BYTES)..];
        BenchError::NotReady {
            name: format!("the guest {} (doing: {doing})", self.name),
            seconds: limit.as_secs(),
            tail: String::from_utf8_lossy(tail).into_owned(),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(2);

    /// A shell without echo at the far end, as the guest's console is one.
    fn shell() -> (Console, std::process::Child) {
        let (stream, far) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(LOOK_EVERY)).unwrap();
        let (input, output) =
            (std::os::fd::OwnedFd::from(far.try_clone().unwrap()), std::os::fd::OwnedFd::from(far));
        let child = std::process::Command::new("sh").stdin(input).stdout(output).spawn().unwrap();
        (Console { name: "vm".to_owned(), stream, received: Vec::new(), commands: 0 }, child)
    }

    #[test]
    fn a_command_gives_its_output_and_a_failed_one_its_status() {
        let (mut console, mut child) = shell();
        assert_eq!(console.run("echo one; echo two >&2", SECOND).unwrap(), "one\ntwo\n");
        let error = console.run("echo why; (exit 3)", SECOND).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains("status 3"), "{error}");
        let error = console.run("echo before; sleep 5", Duration::from_millis(200)).unwrap_err().to_string();
        assert!(error.contains("before") && error.contains("sleep 5"), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
