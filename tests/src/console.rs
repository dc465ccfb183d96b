//! A guest's serial console, driven like a session at a terminal: type a command, get its output.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::tail;

/// The prompt of the test guest's shell (images/README.md).
const PROMPT: &str = "guest# ";
/// How many lines are shown when a test fails.
const TAIL_LINES: usize = 40;

/// One connection to a console; it is read all the time, so that QEMU never waits for us.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    received: Arc<Received>,
    /// Everything before this byte has been looked at.
    seen: usize,
    commands: u32,
}

/// How a command in the guest ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandResult {
    /// The shell's exit status.
    pub status: i32,
    /// Standard output and standard error together, without the prompt.
    pub output: String,
}

/// The awaited text did not come.
#[derive(Debug, thiserror::Error)]
#[error("the console did not show {awaited:?} within {within:?}{}; its last lines:\n{tail}", if *.closed { " (it is closed)" } else { "" })]
pub struct NotShown {
    awaited: String,
    within: Duration,
    closed: bool,
    tail: String,
}

#[derive(Debug, Default)]
struct Received {
    text: Mutex<Text>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    closed: bool,
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// Reads `stream` from now on, in a thread of its own that ends with the stream.
    ///
    /// # Errors
    /// If the stream cannot be shared with that thread.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let received = Arc::new(Received::default());
        let (source, sink) = (stream.try_clone()?, Arc::clone(&received));
        thread::spawn(move || read_all(source, &sink));
        Ok(Self { stream, received, seen: 0, commands: 0 })
    }

    /// Waits until `text` has come and returns what came before it.
    ///
    /// # Errors
    /// If it has not come after `within`.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String, NotShown> {
        let deadline = Instant::now() + within;
        let mut received = self.received.lock();
        loop {
            if let Some(at) = find(&received.bytes[self.seen..], text.as_bytes()) {
                let before = String::from_utf8_lossy(&received.bytes[self.seen..self.seen + at]).into_owned();
                self.seen += at + text.len();
                return Ok(before);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || received.closed {
                let (closed, tail) =
                    (received.closed, tail(&String::from_utf8_lossy(&received.bytes), TAIL_LINES));
                return Err(NotShown { awaited: text.to_owned(), within, closed, tail });
            }
            received =
                self.received.more.wait_timeout(received, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs a command in the guest's shell to its end.
    ///
    /// # Errors
    /// If it has not ended after `within`.
    pub fn run(&mut self, command: &str, within: Duration) -> Result<CommandResult, NotShown> {
        self.commands += 1;
        let (begin, end) = (format!("@begin{}@\n", self.commands), format!("@end{}:", self.commands));
        // The marks are made by printf from parts, so that an echo of the command itself is never taken for one.
        self.type_line(&format!(
            "printf '@%s@\\n' begin{n}; {{ {command}\n}} 2>&1; printf '@%s:%d@\\n' end{n} $?",
            n = self.commands
        ));
        self.expect(&begin, within)?;
        let output = self.expect(&end, within)?;
        let status = self.expect("@\n", within)?;
        Ok(CommandResult { status: status.trim().parse().unwrap_or(-1), output: output.replace(PROMPT, "") })
    }

    /// Types one line; a console that is gone shows at the next `expect`.
    pub fn type_line(&mut self, line: &str) {
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// The last lines that came.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&String::from_utf8_lossy(&self.received.lock().bytes), TAIL_LINES)
    }
}

fn read_all(mut source: UnixStream, sink: &Received) {
    let mut buffer = [0; 4096];
    loop {
        let count = source.read(&mut buffer).unwrap_or(0);
        let mut text = sink.lock();
        text.bytes.extend(buffer[..count].iter().filter(|&&byte| byte != b'\r'));
        text.closed = count == 0;
        sink.more.notify_all();
        if count == 0 {
            return;
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A shell without echo at the far end of a socket, as the guest's console is one.
    fn shell() -> (Console, std::process::Child) {
        let (near, far) = UnixStream::pair().unwrap();
        let input: std::os::fd::OwnedFd = far.try_clone().unwrap().into();
        let output: std::os::fd::OwnedFd = far.into();
        let child = std::process::Command::new("sh").stdin(input).stdout(output).spawn().unwrap();
        (Console::new(near).unwrap(), child)
    }

    #[test]
    fn a_command_gives_its_output_and_its_exit_status() {
        let (mut console, mut child) = shell();
        let good = console.run("echo one; echo two >&2", SECOND).unwrap();
        assert_eq!(good, CommandResult { status: 0, output: "one\ntwo\n".to_owned() });
        assert_eq!(console.run("(exit 3)", SECOND).unwrap().status, 3);
        console.type_line("exit");
        child.wait().unwrap();
        assert!(console.run("true", SECOND).unwrap_err().to_string().contains("closed"));
    }

    #[test]
    fn a_command_that_does_not_end_is_named_with_the_last_output() {
        let (mut console, mut child) = shell();
        let error = console.run("echo before; sleep 2", Duration::from_millis(200)).unwrap_err().to_string();
        assert!(error.contains("before") && error.contains("200ms"), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
