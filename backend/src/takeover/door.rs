//! The incumbent's side of the conversation, but for its last part, which is the control thread's.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tracing::{error, info, warn};

use super::record::Record;
use super::{FORM, Line, Parcel, TakeoverError};
use crate::api::Gate;
use crate::control::{Handle, Heirloom};
use crate::sandbox::confine_helper;
use crate::vhost_user::{LentFile, Listener};

/// How long a record may take, where nothing has to be done before.
const RECORD_LIMIT: Duration = Duration::from_secs(1);

/// How long the successor may take to start, and to make all sessions anew. The API's clients wait as long.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What belongs to the process and not to the control thread.
#[derive(Debug, Default)]
pub struct Estate {
    /// The API's socket, and whether the service manager made it.
    pub api: Option<(PathBuf, Arc<UnixListener>, bool)>,
    /// That of TCP.
    pub tcp: Option<TcpListener>,
    /// The lock of `state_dir`.
    pub lock: Option<(PathBuf, File)>,
}

/// Where successors knock, one after the other. Dropping it takes the socket's name away.
#[derive(Debug)]
pub struct Door {
    _listener: Listener,
}

impl Door {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel starts no more threads.
    pub fn open(listener: Listener, estate: Estate, handle: Handle, gate: Gate) -> io::Result<Self> {
        let socket = listener.lend();
        let incumbent = Incumbent { own: listener.path().to_owned(), socket, estate, handle, gate };
        let run = move || {
            confine_helper();
            incumbent.run();
        };
        thread::Builder::new().name("takeover".to_owned()).spawn(run)?;
        Ok(Self { _listener: listener })
    }
}

/// The thread's own. It ends with the process.
struct Incumbent {
    own: PathBuf,
    socket: Arc<UnixListener>,
    estate: Estate,
    handle: Handle,
    gate: Gate,
}

impl Incumbent {
    fn run(&self) {
        loop {
            match self.accept() {
                // Whoever knocks from now on is the successor's.
                Ok(Some(stream)) => {
                    if self.receive(stream) {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    warn!("cannot accept a connection at {}: {error}", self.own.display());
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn accept(&self) -> io::Result<Option<UnixStream>> {
        poll(&mut [PollFd::new(&*self.socket, PollFlags::IN)], None)?;
        match self.socket.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says whether everything was handed over.
    fn receive(&self, stream: UnixStream) -> bool {
        let line = match Line::over(stream, RECORD_LIMIT) {
            Ok(line) => line,
            Err(error) => {
                warn!("no takeover: {error}");
                return false;
            }
        };
        let process = line.process();
        let Err(error) = self.converse(&line) else { return true };
        line.refuse(&error);
        warn!("process {process} did not take over, and this one goes on as before: {error}");
        if self.handle.go_on().is_err() {
            error!("the control thread does not answer");
        }
        self.gate.open();
        false
    }

    fn converse(&self, line: &Line) -> Result<(), TakeoverError> {
        let (form, version) = match line.receive()? {
            (Record::Hello { form, version }, _) => (form, version),
            (other, _) => return Err(other.unexpected("hello")),
        };
        if form != FORM {
            return Err(TakeoverError::Form { version, found: form });
        }
        info!("process {}, viaduct {version}, wants to take over", line.process());
        self.gate.close();
        for parcel in self.offer()? {
            line.send(&parcel)?;
        }
        line.say(Record::Offered)?;
        let patient = line.within(START_LIMIT);
        patient.expect(&Record::Describe)?;
        let Heirloom { parcels, tables, connections } = self.handle.describe().map_err(gone)?;
        parcels.iter().try_for_each(|parcel| patient.send(parcel))?;
        tables.learned_records().try_for_each(|addresses| patient.say(Record::Learned { addresses }))?;
        if let Some(connections) = connections {
            let noted =
                connections.recv_timeout(START_LIMIT).unwrap_or_else(|error| Err(io::Error::other(error)));
            noted.map_err(|error| TakeoverError::Here(format!("connections could not be noted: {error}")))?;
        }
        line.say(Record::Described)?;
        patient.expect(&Record::Prepared)?;
        self.handle.hand_over(line.clone()).map_err(gone)?
    }

    /// What the successor needs before it can start.
    fn offer(&self) -> Result<Vec<Parcel>, TakeoverError> {
        let listener = |path: PathBuf, socket: &Arc<UnixListener>, is_managed| Parcel {
            record: Record::Listener { path, is_managed },
            files: vec![LentFile::Listener(Arc::clone(socket))],
        };
        let Estate { api, tcp, lock } = &self.estate;
        let mut parcels = vec![listener(self.own.clone(), &self.socket, false)];
        parcels
            .extend(api.iter().map(|(path, socket, is_managed)| listener(path.clone(), socket, *is_managed)));
        let copy = |file: BorrowedFd<'_>| file.try_clone_to_owned().map_err(TakeoverError::Socket);
        if let Some(tcp) = tcp {
            let address = tcp.local_addr().map_err(TakeoverError::Socket)?;
            parcels.push(Parcel::with(Record::Tcp { address }, copy(tcp.as_fd())?));
        }
        if let Some((state_dir, file)) = lock {
            parcels.push(Parcel::with(Record::Lock { state_dir: state_dir.clone() }, copy(file.as_fd())?));
        }
        parcels.extend(self.handle.offer().map_err(gone)?.map_err(TakeoverError::Here)?);
        Ok(parcels)
    }
}

fn gone(error: crate::control::ControlGone) -> TakeoverError {
    TakeoverError::Here(error.to_string())
}
