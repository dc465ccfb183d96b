//! The way into the control thread for everybody else: the API's server, `viaduct run`, tests.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_switch::MacAddress;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::changes::Receipt;
use crate::control::{
    ApplyError, Candidate, Capture, CaptureQuestion, FeedRequest, Figures, HandOver, Heirloom, Journal,
    Names, Offer, PortEdit, RunningState, StationError, Tables, TraceError, WatchQuestion,
};
use crate::dataplane::{Pulse, Sample, Watch};
use crate::gateway::News;
use crate::model::{Fed, SecurityStatus, Snapshot, StationPage, Trace, WatchEvent};
use crate::takeover::{Line, Parcel, TakeoverError};
use crate::trace::Description;

/// How long a caller waits for an answer. Answers take microseconds; only a control thread that is gone or
/// stuck takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Sends commands to the control thread and waits for its answers. Clones are cheap and work in any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
    journal: Journal,
}

/// The control thread ended, or did not answer within ten seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the control thread does not answer; see the daemon's log and start it again if it is gone")]
pub struct ControlGone;

/// What happened to one object when a configuration was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another one now, or runs with other settings.
    Changed,
}

/// One line of the difference between the running and the wanted state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Added, removed or changed.
    pub kind: ChangeKind,
    /// The object: `port vm1`, `network lab`.
    pub object: String,
    /// The settings that changed, as `mtu 1500 -> 9000`; empty for what is added or removed.
    pub detail: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        write!(f, "{sign} {}", self.object)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// What applying a configuration changed, or would change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The running configuration's number afterwards, from 1; it grows with each change.
    pub generation: u64,
    /// The changes, networks before ports, by name.
    pub changes: Vec<Change>,
    /// Why a restart would forget them, if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

/// What came of a change, and who tells whether it is kept.
type Changed = Result<(Changes, Option<Receipt>), ApplyError>;

/// What must run for a configuration to replace it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Expected {
    /// Whatever runs.
    #[default]
    Any,
    /// One of these generations.
    OneOf(Vec<u64>),
}

impl Expected {
    /// Whether the generation `running` is one of those.
    #[must_use]
    pub fn allows(&self, running: u64) -> bool {
        match self {
            Self::OneOf(listed) => listed.contains(&running),
            Self::Any => true,
        }
    }

    /// Refuses if the generation `running` is none of those.
    ///
    /// # Errors
    /// [`ApplyError::Generation`].
    pub fn check(&self, running: u64) -> Result<(), ApplyError> {
        if self.allows(running) { Ok(()) } else { Err(ApplyError::Generation { running }) }
    }
}

/// A request to the control thread, with the place where its answer goes.
#[derive(Debug)]
pub(crate) enum Command {
    Figures(SyncSender<Box<Figures>>),
    Pulse(SyncSender<(u64, Pulse)>),
    Security(SyncSender<SecurityStatus>),
    Edit {
        port: String,
        edit: PortEdit,
        expected: Expected,
        dry_run: bool,
        answer: SyncSender<Changed>,
    },
    Apply {
        candidate: Box<Candidate>,
        /// Checked by the control thread itself: nothing can come between looking and changing.
        expected: Expected,
        dry_run: bool,
        answer: SyncSender<Changed>,
    },
    Trace {
        port: String,
        description: Box<Description>,
        answer: SyncSender<Result<Trace, TraceError>>,
    },
    Running(SyncSender<Box<RunningState>>),
    Tables(SyncSender<Tables>),
    Capture {
        question: Box<CaptureQuestion>,
        answer: SyncSender<Result<Capture, TraceError>>,
    },
    Names {
        /// The generation whose names are known.
        known: u64,
        answer: SyncSender<Option<Names>>,
    },
    Watch {
        question: WatchQuestion,
        answer: SyncSender<Result<Watch, TraceError>>,
    },
    Tell {
        samples: Vec<Sample>,
        answer: SyncSender<Vec<WatchEvent>>,
    },
    TraceSample {
        sample: Box<Sample>,
        answer: SyncSender<Trace>,
    },
    Feed {
        request: Box<FeedRequest>,
        answer: SyncSender<Result<Fed, StationError>>,
    },
    Stations {
        network: String,
        /// The first Ethernet address that is wanted.
        from: Option<MacAddress>,
        limit: usize,
        answer: SyncSender<Result<StationPage, StationError>>,
    },
    News(Box<News>),
    HandOver(HandOver),
    Stop,
}

impl Command {
    /// What it is, for who reads the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Figures(_) => "telling the state",
            Self::Pulse(_) => "asking for signs of life",
            Self::Security(_) => "telling security groups",
            Self::Edit { .. } => "a change of a port",
            Self::Apply { .. } => "a configuration",
            Self::Trace { .. } | Self::TraceSample { .. } => "a trace",
            Self::Running(_) => "telling what runs",
            Self::Tables(_) => "telling of tables",
            Self::Capture { .. } => "a capture",
            Self::Names { .. } => "telling names",
            Self::Watch { .. } | Self::Tell { .. } => "a watch",
            Self::Feed { .. } => "feeding stations",
            Self::Stations { .. } => "telling stations",
            Self::News(_) => "news of uplinks",
            Self::HandOver(_) => "a takeover",
            Self::Stop => "stopping",
        }
    }
}

/// The control thread's end of the channel.
#[derive(Debug)]
pub(crate) struct Commands {
    queue: Receiver<Command>,
    wake: Arc<EventFd>,
    journal: Journal,
}

/// A handle and the end where its commands arrive.
pub(crate) fn channel() -> std::io::Result<(Handle, Commands)> {
    let (commands, queue) = mpsc::channel();
    let wake = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
    let journal = Journal::default();
    let handle = Handle { commands, wake: Arc::clone(&wake), journal: journal.clone() };
    Ok((handle, Commands { queue, wake, journal }))
}

impl Handle {
    /// What happened; read without asking the control thread.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The whole state at this moment; only learned addresses are left out, of which there may be very many.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn snapshot(&self) -> Result<Snapshot, ControlGone> {
        Ok(self.ask(Command::Figures)?.whole())
    }

    /// What is measured at this moment.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn figures(&self) -> Result<Figures, ControlGone> {
        Ok(self.ask(Command::Figures)?.counted())
    }

    /// Has every worker asked for a sign of life; gives the running generation, too. Waits for the control thread for
    /// `limit` at most.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn pulse(&self, limit: Duration) -> Result<(u64, Pulse), ControlGone> {
        self.ask_within(limit, Command::Pulse)
    }

    /// What runs, in words of the file.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn running(&self) -> Result<RunningState, ControlGone> {
        self.ask(Command::Running).map(|state| *state)
    }

    /// Makes the running state match a configuration, all or nothing; with `dry_run` only tells what would change. What is
    /// changed is on the disk afterwards, unless the answer says otherwise.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn apply(&self, candidate: impl Into<Candidate>, dry_run: bool) -> Result<Changes, ApplyError> {
        self.apply_if(candidate, Expected::Any, dry_run)
    }

    /// As [`Handle::apply`], if a generation runs that is expected.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn apply_if(
        &self,
        candidate: impl Into<Candidate>,
        expected: Expected,
        dry_run: bool,
    ) -> Result<Changes, ApplyError> {
        let candidate = Box::new(candidate.into());
        self.ask(|answer| Command::Apply { candidate, expected, dry_run, answer })?.map(kept)
    }

    /// What would become of a packet that entered at `port` now; nothing is changed.
    ///
    /// # Errors
    /// There is no such port, or the description leaves something open.
    pub fn trace(&self, port: String, description: Description) -> Result<Trace, TraceError> {
        self.ask(|answer| Command::Trace { port, description: Box::new(description), answer })?
    }

    /// The switch's large tables with names, to be read beside the control thread.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn tables(&self) -> Result<Tables, ControlGone> {
        self.ask(Command::Tables)
    }

    /// Has whole frames of some ports captured, until the capture is dropped.
    ///
    /// # Errors
    /// There is no such port, or so many capture already.
    pub fn capture(&self, question: CaptureQuestion) -> Result<Capture, TraceError> {
        self.ask(|answer| Command::Capture { question: Box::new(question), answer })?
    }

    /// What is called how; `None`: as in the generation that is known.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn names(&self, known: u64) -> Result<Option<Names>, ControlGone> {
        self.ask(|answer| Command::Names { known, answer })
    }

    /// Has samples taken of real frames, until the watch is dropped.
    ///
    /// # Errors
    /// There is no such port, or so many watch already.
    pub fn watch(&self, question: WatchQuestion) -> Result<Watch, TraceError> {
        self.ask(|answer| Command::Watch { question, answer })?
    }

    /// Samples with names, in the same order. Some hundred take a few milliseconds of the control thread.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn tell(&self, samples: Vec<Sample>) -> Result<Vec<WatchEvent>, ControlGone> {
        self.ask(|answer| Command::Tell { samples, answer })
    }

    /// The way of a sample, and what really became of it.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn trace_sample(&self, sample: Sample) -> Result<Trace, ControlGone> {
        self.ask(|answer| Command::TraceSample { sample: Box::new(sample), answer })
    }

    /// All security groups, their rules and their ports.
    ///
    /// # Errors
    /// The control thread does not answer.
    pub fn security(&self) -> Result<SecurityStatus, ControlGone> {
        self.ask(Command::Security)
    }

    /// Changes one port, if a generation runs that is expected. The next configuration that is applied decides anew.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn edit(
        &self,
        port: String,
        edit: PortEdit,
        expected: Expected,
        dry_run: bool,
    ) -> Result<Changes, ApplyError> {
        self.ask(|answer| Command::Edit { port, edit, expected, dry_run, answer })?.map(kept)
    }

    /// Changes the stations of an overlay network that are fed, all or nothing.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn feed(&self, request: FeedRequest) -> Result<Fed, StationError> {
        self.ask(|answer| Command::Feed { request: Box::new(request), answer })?
    }

    /// Stations of an overlay network on other machines, in ascending order of their Ethernet addresses: at most `limit`, from `from` on.
    ///
    /// # Errors
    /// There is no such network, or it has no overlay.
    pub fn stations(
        &self,
        network: String,
        from: Option<MacAddress>,
        limit: usize,
    ) -> Result<StationPage, StationError> {
        self.ask(|answer| Command::Stations { network, from, limit, answer })?
    }

    /// Tells what happened at uplinks; does not wait.
    ///
    /// # Errors
    /// The control thread is gone.
    pub(crate) fn news(&self, news: News) -> Result<(), ControlGone> {
        self.send(Command::News(Box::new(news)))
    }

    /// What a successor needs before it can start, and why not, if changes that were made are not on the disk, where it would
    /// find them. Changes are refused from now on, until [`Handle::go_on`].
    pub(crate) fn offer(&self) -> Result<Result<Vec<Parcel>, String>, ControlGone> {
        let Offer { parcels, noted } = self.ask(|answer| Command::HandOver(HandOver::Offer(answer)))?;
        Ok(noted.iter().find_map(Receipt::not_kept).map_or(Ok(parcels), Err))
    }

    /// The sessions for a successor, the tables, and what will tell when connections are noted.
    pub(crate) fn describe(&self) -> Result<Heirloom, ControlGone> {
        self.ask(|answer| Command::HandOver(HandOver::Describe(answer)))
    }

    /// Stops everything, tells the successor at the other end the rest, and ends if it goes on.
    pub(crate) fn hand_over(&self, line: Line) -> Result<Result<(), TakeoverError>, ControlGone> {
        // Whoever waits must not decide otherwise meanwhile, however long it takes.
        self.ask_within(Duration::MAX, |answer| Command::HandOver(HandOver::Switch { line, answer }))
    }

    /// No successor comes: all is as before.
    pub(crate) fn go_on(&self) -> Result<(), ControlGone> {
        self.send(Command::HandOver(HandOver::GoOn))
    }

    /// Asks the control thread to end cleanly; does not wait for it.
    ///
    /// # Errors
    /// It is gone already.
    pub fn stop(&self) -> Result<(), ControlGone> {
        self.send(Command::Stop)
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, ControlGone> {
        self.ask_within(ANSWER_MAX, command)
    }

    fn ask_within<T>(
        &self,
        limit: Duration,
        command: impl FnOnce(SyncSender<T>) -> Command,
    ) -> Result<T, ControlGone> {
        let (answer, wait) = sync_channel(1);
        self.send(command(answer))?;
        wait.recv_timeout(limit).map_err(|_| ControlGone)
    }

    fn send(&self, command: Command) -> Result<(), ControlGone> {
        self.commands.send(command).map_err(|_| ControlGone)?;
        // The counter is far from its end, so that the write neither blocks nor fails while the eventfd lives.
        self.wake.write(1).map_err(|_| ControlGone)
    }
}

/// Waits for the disk.
fn kept((changes, receipt): (Changes, Option<Receipt>)) -> Changes {
    Changes { not_kept: receipt.and_then(|receipt| receipt.not_kept()), ..changes }
}

impl Commands {
    /// Where it is noted what happened.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The next command, if there is one.
    pub(crate) fn next(&self) -> Option<Command> {
        self.queue.try_recv().ok()
    }

    /// Makes the descriptor unreadable until the next command; to be called before the queue is emptied.
    pub(crate) fn acknowledge(&self) {
        // Nothing to read is no error: a command that an earlier round took had woken us.
        let _ = self.wake.read();
    }
}

impl AsRawFd for Commands {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_wakes_and_its_answer_comes_back() {
        let (handle, commands) = channel().unwrap();
        let asker = std::thread::spawn(move || handle.snapshot());
        let command = loop {
            commands.acknowledge();
            if let Some(command) = commands.next() {
                break command;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let Command::Figures(answer) = command else { panic!("{command:?}") };
        let snapshot = Snapshot { generation: 7, ..Snapshot::default() };
        answer.send(Box::new(Figures { snapshot, tables: Tables::empty() })).unwrap();
        assert_eq!(asker.join().unwrap().unwrap().generation, 7);
    }

    #[test]
    fn a_control_thread_that_is_gone_is_an_error() {
        let (handle, commands) = channel().unwrap();
        drop(commands);
        assert_eq!(handle.snapshot(), Err(ControlGone));
        assert_eq!(handle.stop(), Err(ControlGone));
    }

    #[test]
    fn a_change_reads_like_a_line_of_a_diff() {
        let change = |kind, detail: &str| Change { kind, object: "port vm3".into(), detail: detail.into() };
        assert_eq!(change(ChangeKind::Added, "").to_string(), "+ port vm3");
        assert_eq!(change(ChangeKind::Removed, "").to_string(), "- port vm3");
        assert_eq!(
            change(ChangeKind::Changed, "mtu 1500 -> 9000").to_string(),
            "~ port vm3: mtu 1500 -> 9000"
        );
    }
}
