//! The successor's side of the conversation.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{DeviceRecord, LearnedRecord, Record, SessionRecord};
use super::{Line, SOCKET, TakeoverError};
use crate::vhost_user::{Access, Heritage, Listener, SocketError, Told};

/// How long the incumbent may take for a record: it goes on when it has heard nothing for a second.
const LIMIT: Duration = Duration::from_secs(5);

/// Records of one part of the conversation at most: a thousand for each of 4096 ports.
const RECORDS_MAX: usize = 1 << 22;

/// A process that is about to take over. All that it has of the incumbent's is borrowed, and dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Successor {
    line: Line,
    /// With whether the service manager made them.
    listeners: BTreeMap<PathBuf, (OwnedFd, bool)>,
    tcp: Option<(SocketAddr, OwnedFd)>,
    lock: Option<(PathBuf, OwnedFd)>,
    manager: Option<(String, Option<u64>)>,
}

/// A session of the incumbent's.
#[derive(Debug)]
pub(crate) struct SessionHeritage {
    pub(crate) port: String,
    pub(crate) generation: u64,
    /// The path of the socket by which the frontend came.
    pub(crate) place: Option<PathBuf>,
    pub(crate) socket: OwnedFd,
    pub(crate) heritage: Heritage<OwnedFd>,
}

/// What the incumbent told in one part of the conversation.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    pub(crate) sessions: Vec<SessionHeritage>,
    pub(crate) learned: Vec<LearnedRecord>,
    /// Where rings of sessions stand that are as they were told before: the port, the session's generation, the places.
    pub(crate) rings: Vec<(String, u64, Vec<u16>)>,
    pub(crate) devices: Vec<(DeviceRecord, Vec<OwnedFd>)>,
    /// A session of which there is more to come.
    partial: Option<SessionHeritage>,
}

impl Successor {
    /// Knocks at the daemon of `runtime_dir`, and borrows what it offers.
    ///
    /// # Errors
    /// Nobody is there, or it refuses.
    pub fn knock(runtime_dir: &Path) -> Result<Self, TakeoverError> {
        let path = runtime_dir.join(SOCKET);
        let stream = UnixStream::connect(&path).map_err(|error| TakeoverError::Nobody { path, error })?;
        let line = Line::over(stream, LIMIT)?;
        line.say(Line::hello())?;
        let mut successor = Self { line, listeners: BTreeMap::new(), tcp: None, lock: None, manager: None };
        while successor.borrow()? {}
        Ok(successor)
    }

    /// Takes one thing; says whether there may be more.
    fn borrow(&mut self) -> Result<bool, TakeoverError> {
        let (record, files) = self.line.receive()?;
        let mut files = files.into_iter();
        match (record, files.next()) {
            (Record::Offered, None) => return Ok(false),
            (Record::Listener { path, is_managed }, Some(file)) => {
                self.listeners.insert(path, (file, is_managed));
            }
            (Record::Tcp { address }, Some(file)) => self.tcp = Some((address, file)),
            (Record::Lock { state_dir }, Some(file)) => self.lock = Some((state_dir, file)),
            (Record::Manager { socket, watchdog_us }, None) => self.manager = Some((socket, watchdog_us)),
            (other, _) => return Err(other.unexpected("something to begin with")),
        }
        Ok(true)
    }

    /// The socket that listens at `path`, if the incumbent has one there.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn listener(&mut self, path: &Path, access: Access) -> Result<Option<Listener>, SocketError> {
        let lent = self.listeners.remove(path);
        lent.map(|(socket, is_managed)| Listener::lent(socket, path, is_managed, access)).transpose()
    }

    /// Where the incumbent listens by sockets of its own that were not asked for.
    pub(crate) fn unclaimed(&self) -> Vec<PathBuf> {
        let own = self.listeners.iter().filter(|(_, (_, is_managed))| !is_managed);
        own.map(|(path, _)| path.clone()).collect()
    }

    /// The API's socket of TCP, if it is this one.
    pub fn tcp(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let (_, socket) = self.tcp.take_if(|(address, _)| *address == wanted)?;
        Some(socket.into())
    }

    /// The lock of `state_dir`, if it is this one.
    pub fn lock(&mut self, wanted: &Path) -> Option<File> {
        let (_, lock) = self.lock.take_if(|(state_dir, _)| state_dir == wanted)?;
        Some(lock.into())
    }

    /// The service manager's socket, and how often it wants to hear of the switch, in microseconds.
    pub(crate) fn manager(&mut self) -> Option<(String, Option<u64>)> {
        self.manager.take()
    }

    /// A way to tell the incumbent, at the end, why it comes to nothing.
    pub fn refuser(&self) -> impl Fn(&str) + 'static {
        let line = self.line.clone();
        move |reason| line.refuse(reason)
    }

    /// Has all told that can be told while the incumbent runs.
    pub(crate) fn describe(&self) -> Result<Inheritance, TakeoverError> {
        self.line.say(Record::Describe)?;
        self.collect(&Record::Described)
    }

    /// Has the incumbent stop; tells what became different since, and where rings stand.
    pub(crate) fn prepared(&self) -> Result<Inheritance, TakeoverError> {
        self.line.say(Record::Prepared)?;
        self.collect(&Record::Stopped)
    }

    /// All is there: asks the incumbent for its word. Without an error it does nothing more.
    pub(crate) fn ready(&self) -> Result<(), TakeoverError> {
        self.line.say(Record::Ready)?;
        self.line.expect(&Record::Go)
    }

    fn collect(&self, end: &Record) -> Result<Inheritance, TakeoverError> {
        let mut inheritance = Inheritance::default();
        for _ in 0..RECORDS_MAX {
            let (record, files) = self.line.receive()?;
            if record == *end {
                return Ok(inheritance);
            }
            inheritance.add(record, files)?;
        }
        Err(TakeoverError::Garbage(format!("more than {RECORDS_MAX} records")))
    }
}

impl Inheritance {
    fn add(&mut self, record: Record, files: Vec<OwnedFd>) -> Result<(), TakeoverError> {
        match record {
            Record::Session(session) => self.add_session(session, files)?,
            Record::Learned { addresses } => self.learned.extend(addresses),
            Record::Rings { port, generation, bases } => self.rings.push((port, generation, bases)),
            Record::Device(device) => self.devices.push((device, files)),
            other => return Err(other.unexpected("something of the state")),
        }
        Ok(())
    }

    fn add_session(&mut self, record: SessionRecord, files: Vec<OwnedFd>) -> Result<(), TakeoverError> {
        let lacks = || TakeoverError::Garbage("a session without its files".to_owned());
        let mut files = files.into_iter();
        let SessionRecord { port, generation, socket: place, is_more, is_last, requests, .. } = record;
        let SessionRecord { bases, unread, unread_files, unsent, .. } = record;
        let mut session = match (self.partial.take(), is_more) {
            (Some(partial), true) if partial.port == port => partial,
            (None, false) => {
                let socket = files.next().ok_or_else(lacks)?;
                let unread_files: Vec<OwnedFd> = files.by_ref().take(unread_files).collect();
                let heritage = Heritage { told: Vec::new(), bases, unread, unread_files, unsent };
                SessionHeritage { port, generation, place, socket, heritage }
            }
            _ => return Err(TakeoverError::Garbage("a session that is not whole".to_owned())),
        };
        for request in requests {
            let of_request: Vec<OwnedFd> = files.by_ref().take(request.files).collect();
            if of_request.len() != request.files {
                return Err(lacks());
            }
            session.heritage.told.push(Told { request, files: of_request });
        }
        if is_last {
            self.sessions.push(session);
        } else {
            self.partial = Some(session);
        }
        Ok(())
    }
}
