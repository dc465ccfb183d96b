//! The daemon's log, on standard error or in systemd's journal. Whoever writes a line never waits for whoever reads it.
//!
//! Standard error may be a pipe that nobody reads: a thread of its own waits there. Lines for which there is no room
//! meanwhile are left out and counted, and the count is told as soon as somebody reads again.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use parking_lot::{Condvar, Mutex};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::journal::{Entries, Entry, Sender, reads_standard_error};
use crate::sandbox::confine_helper;

/// Chooses the log lines, in the notation of `tracing_subscriber`: `debug`, `warn,viaduct::api=debug`.
const LOG_VARIABLE: &str = "VIADUCT_LOG";
/// Bytes of lines that wait to be written.
const WAITING_MAX: usize = 1 << 20;
/// How long the end of the daemon waits for lines to be written.
const END_MAX: Duration = Duration::from_millis(300);
/// Pause before another attempt, where standard error refuses instead of waiting.
const RETRY: Duration = Duration::from_millis(20);

/// The log; dropping it waits a moment until what was logged is written.
#[derive(Debug)]
pub(super) struct Log(Arc<Queue>);

impl Log {
    /// Begins to log: to the journal if that reads standard error, which adds its own time; else to standard error.
    ///
    /// # Errors
    /// The thread could not be made.
    pub(super) fn start() -> io::Result<Self> {
        let journal = reads_standard_error().then(Sender::new).transpose()?;
        let is_journal = journal.is_some();
        let queue = Queue::start(Output { journal, error: io::stderr() })?;
        let (filter, misread) = filter(std::env::var(LOG_VARIABLE).ok().as_deref());
        let lines = Arc::clone(&queue);
        let started = if is_journal {
            tracing_subscriber::registry()
                .with(filter)
                .with(Entries(move |entry| lines.push(entry)))
                .try_init()
        } else {
            let format = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(move || Pen(Arc::clone(&lines)))
                .with_ansi(wants_colour())
                .with_target(false);
            format.with_timer(SystemTime).finish().try_init()
        };
        // Only a test that runs two daemons in one process has a log already; it may keep it.
        drop(started);
        if let Some(misread) = misread {
            tracing::warn!(
                "{LOG_VARIABLE} is not understood: {misread}; try `info`, or `warn,viaduct::api=debug`"
            );
        }
        Ok(Self(queue))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.wait_until_written(END_MAX);
    }
}

/// What `text` chooses; if it cannot be read, what is usual, and why.
fn filter(text: Option<&str>) -> (EnvFilter, Option<String>) {
    let usual = || EnvFilter::new("info");
    match text.filter(|text| !text.is_empty()).map(EnvFilter::try_new) {
        None => (usual(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (usual(), Some(error.to_string())),
    }
}

fn wants_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Lines between those who log and the thread that writes.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// What they take.
    bytes: usize,
    /// Lines for which there was no room.
    left_out: u64,
    writing: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left_out == 0
    }
}

impl Queue {
    /// Starts the thread that writes to `output`. It takes no signals: they belong to the control thread, but for what its own
    /// system calls raise.
    fn start<W: Write + Send + 'static>(output: Output<W>) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let lines = Arc::clone(&queue);
        let mut others = SigSet::all();
        others.remove(Signal::SIGSYS);
        let mask = others.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let write = move || {
            confine_helper();
            lines.write_all_to(output);
        };
        let thread = thread::Builder::new().name("log".to_owned()).spawn(write);
        mask.thread_set_mask()?;
        thread.map(|_| queue)
    }

    fn push(&self, entry: Entry) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + entry.bytes() <= WAITING_MAX {
            waiting.bytes += entry.bytes();
            waiting.entries.push_back(entry);
        } else {
            waiting.left_out += 1;
        }
        self.changed.notify_all();
    }

    fn write_all_to<W: Write>(&self, mut output: Output<W>) {
        loop {
            let Waiting { entries, left_out, .. } = self.take();
            output.put(&entries);
            if left_out > 0 {
                output.tell(&format!("{left_out} log lines were left out: nobody read them in time"));
            }
        }
    }

    /// Waits until there is something to write, and takes it.
    fn take(&self) -> Waiting {
        let mut waiting = self.waiting.lock();
        waiting.writing = false;
        self.changed.notify_all();
        self.changed.wait_while(&mut waiting, |waiting| waiting.is_empty());
        std::mem::replace(&mut *waiting, Waiting { writing: true, ..Waiting::default() })
    }

    /// Waits until nothing is left to write, at most `limit`.
    fn wait_until_written(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut waiting = self.waiting.lock();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.is_empty();
        // Whatever is not written by then has no reader.
        let _ = self.changed.wait_while_until(&mut waiting, busy, end);
    }
}

/// Where lines go.
struct Output<W> {
    journal: Option<Sender>,
    error: W,
}

impl<W: Write> Output<W> {
    /// Writes lines, of which those that the journal does not take go to standard error, which it may read nevertheless.
    fn put(&mut self, entries: &VecDeque<Entry>) {
        let mut text = Vec::new();
        for entry in entries {
            let is_sent = self.journal.as_ref().is_some_and(|journal| journal.send(entry).is_ok());
            if !is_sent {
                text.extend_from_slice(&entry.text);
            }
        }
        write_patiently(&mut self.error, &text);
    }

    /// Writes a line about the log itself.
    fn tell(&mut self, sentence: &str) {
        let entry = if self.journal.is_some() {
            Entry::warning(sentence)
        } else {
            Entry::of_text(format!(" WARN {sentence}\n").as_bytes())
        };
        self.put(&[entry].into());
    }
}

/// Writes as soon as the output takes it; if it never will, nobody is there to be told.
fn write_patiently(output: &mut impl Write, mut text: &[u8]) {
    while !text.is_empty() {
        match output.write(text) {
            Ok(0) => return,
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Takes one line.
struct Pen(Arc<Queue>);

impl Write for Pen {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(Entry::of_text(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Lines that were written, and those that were said to be left out.
    fn accounted_for(text: &[u8]) -> usize {
        let text = String::from_utf8_lossy(text);
        let count = |line: &str| match line.strip_suffix("in time") {
            Some(told) => told.split_whitespace().nth(1).unwrap().parse().unwrap(),
            None => 1,
        };
        text.lines().map(count).sum()
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(Output { journal: None, error: writer }).unwrap();
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        let start = Instant::now();
        for _ in 0..10_000 {
            queue.push(Entry::of_text(&line));
        }
        queue.wait_until_written(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let held: usize = queue.waiting.lock().entries.iter().map(Entry::bytes).sum();
        assert!(held <= WAITING_MAX && held == queue.waiting.lock().bytes);
        // As soon as somebody reads, what was kept comes, and how much was not, wherever that is.
        let mut text = Vec::new();
        let mut piece = [0; 65_536];
        while !text.ends_with(b"\n") || accounted_for(&text) < 10_000 {
            let length = reader.read(&mut piece).unwrap();
            text.extend_from_slice(&piece[..length]);
        }
        assert_eq!(accounted_for(&text), 10_000);
        assert!(String::from_utf8_lossy(&text).contains("were left out"));
        queue.wait_until_written(Duration::from_secs(5));
        assert!(!queue.waiting.lock().writing);
    }

    #[test]
    fn a_reader_that_went_away_ends_nothing() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let queue = Queue::start(Output { journal: None, error: writer }).unwrap();
        for _ in 0..3 {
            queue.push(Entry::of_text(b"a line\n"));
            queue.wait_until_written(Duration::from_secs(5));
        }
        assert!(queue.waiting.lock().is_empty());
    }

    #[test]
    fn what_is_to_be_logged_is_chosen_and_a_misspelt_choice_told() {
        assert_eq!(filter(None).0.to_string(), "info");
        assert_eq!(filter(Some("")).0.to_string(), "info");
        assert_eq!(filter(Some("debug")).0.to_string(), "debug");
        let (usual, misread) = filter(Some("viaduct=loud"));
        assert!(usual.to_string() == "info" && misread.is_some());
    }
}
