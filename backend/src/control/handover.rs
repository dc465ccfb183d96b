//! The incumbent's part of a takeover that is the control thread's: telling of sessions, stopping, and going on when it comes to nothing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use viaduct_switch::{FdbEntry, PortIndex};

use crate::changes::Receipt;
use crate::control::controller::Controller;
use crate::control::port::Link;
use crate::control::{Tables, notify};
use crate::device::LentDevice;
use crate::takeover::{LearnedRecord, Line, Parcel, Record, SessionRecord, TakeoverError};
use crate::vhost_user::{Heritage, LentFile, Session, Told};

/// How long the successor, and all else that is waited for, may take while nothing runs.
const LIMIT: Duration = Duration::from_secs(1);

/// Requests in one record: few enough files for it.
const REQUESTS_MAX: usize = 64;

/// Files in one record of a session.
const FILES_MAX: usize = 96;

/// Learned addresses in one record.
const LEARNED_MAX: usize = 1000;

/// How long leases that are being given may take to be noted.
const LEASES_LIMIT: Duration = Duration::from_millis(100);

/// What the thread of takeovers asks of the control thread.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// What a successor needs before it can start; changes are refused from now on.
    Offer(SyncSender<Offer>),
    /// The sessions as they are, and the tables.
    Describe(SyncSender<Heirloom>),
    /// Stop, tell the rest, and end, unless it comes to nothing.
    Switch { line: Line, answer: SyncSender<Result<(), TakeoverError>> },
    /// It came to nothing before anything was stopped.
    GoOn,
}

/// What a successor needs before it can start.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) parcels: Vec<Parcel>,
    /// Will tell when all changes, and all stations that were fed, are where the successor reads them.
    pub(crate) noted: Vec<Receipt>,
}

/// What it needs before this process stops.
#[derive(Debug)]
pub(crate) struct Heirloom {
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) tables: Tables,
    /// Will tell when connections are where the successor reads them.
    pub(crate) connections: Option<Receiver<io::Result<()>>>,
}

/// A takeover that is under way.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    /// Changes are refused.
    pub(super) is_under_way: bool,
    /// The process has handed everything over, and does nothing more.
    pub(super) is_done: bool,
    /// The sessions that were told, in which state.
    told: BTreeMap<PortIndex, u64>,
    /// Devices that were taken off the data path and stay open.
    pub(super) suspended: Vec<(PortIndex, LentDevice)>,
}

impl Controller {
    pub(super) fn serve_hand_over(&mut self, asked: HandOver) {
        match asked {
            // Whoever asked may have stopped waiting: he will say so.
            HandOver::Offer(answer) => drop(answer.send(self.offer())),
            HandOver::Describe(answer) => {
                let connections = self.begin_connections();
                let (parcels, tables) = (self.describe(), self.tables());
                drop(answer.send(Heirloom { parcels, tables, connections }));
            }
            HandOver::Switch { line, answer } => drop(answer.send(self.hand_over(&line))),
            HandOver::GoOn if self.takeover.is_done => {}
            HandOver::GoOn => {
                self.stay_with_connections();
                self.takeover = Takeover::default();
            }
        }
    }

    fn offer(&mut self) -> Offer {
        self.takeover = Takeover { is_under_way: true, ..Takeover::default() };
        let listeners = self.ports.iter().filter_map(|port| match &port.link {
            Link::Server(listener) => Some(Parcel {
                record: Record::Listener { path: listener.path().to_owned(), is_managed: false },
                files: vec![LentFile::Listener(listener.lend())],
            }),
            Link::Client(_) => None,
        });
        let manager = notify::manager().map(|(socket, watchdog_us)| Record::Manager { socket, watchdog_us });
        let parcels = manager.map(Parcel::of).into_iter().chain(listeners).collect();
        let changes = self.keeping.keeper.as_ref().map(crate::changes::Keeper::barrier);
        Offer { parcels, noted: changes.into_iter().chain(self.feeds.barrier()).collect() }
    }

    fn describe(&mut self) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        self.takeover.told.clear();
        for port in self.ports.iter_mut() {
            let Some(guest) = &port.guest else { continue };
            let generation = generation(port.connections, &guest.session);
            if !guest.session.is_between_messages() {
                // It is told as a whole later.
                continue;
            }
            match told((&port.name, &port.end.socket), generation, &guest.session) {
                Ok(session) => {
                    parcels.extend(session);
                    self.takeover.told.insert(port.index, generation);
                }
                Err(error) => port.log.warn(format_args!("cannot be described yet: {error}")),
            }
        }
        parcels
    }

    /// Stops everything, tells where it stands, and has the successor go on; or goes on itself.
    fn hand_over(&mut self, line: &Line) -> Result<(), TakeoverError> {
        let begun = Instant::now();
        // From here on guests stand still: whatever takes long, or all of it together, is given up.
        let line = &line.within_all(LIMIT);
        let stopped = self.stop_rings();
        let stopping = begun.elapsed();
        let outcome = stopped.and_then(|()| self.tell_rest(line));
        match &outcome {
            Ok(()) => {
                let process = line.process();
                notify::main_process(process);
                info!(
                    "process {process} has taken over: nothing ran here for {} µs, of which stopping took {}; this process ends",
                    begun.elapsed().as_micros(),
                    stopping.as_micros()
                );
                (self.takeover.is_done, self.stopping) = (true, true);
            }
            Err(_) => {
                self.start_rings();
                warn!("nothing ran for {} µs", begun.elapsed().as_micros());
                self.takeover = Takeover::default();
            }
        }
        outcome
    }

    fn stop_rings(&mut self) -> Result<(), TakeoverError> {
        self.bay.rest();
        for port in self.ports.iter_mut() {
            if let Some(guest) = &mut port.guest {
                guest.session.hold(&mut self.bay);
            }
        }
        self.suspend_devices();
        let kept = self.hand_over_connections(LIMIT / 2);
        kept.map_err(|error| TakeoverError::Here(format!("connections could not be noted: {error}")))?;
        // No request for an address comes any more; what is being answered is noted before the successor reads the leases.
        let (answer, noted) = sync_channel(1);
        self.gateways.leases(answer);
        match noted.recv_timeout(LEASES_LIMIT) {
            Err(RecvTimeoutError::Timeout) => {
                let ms = LEASES_LIMIT.as_millis();
                Err(TakeoverError::Here(format!("leases could not be noted within {ms} ms")))
            }
            // Without a thread of leases there are none.
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    fn start_rings(&mut self) {
        for port in self.ports.iter_mut() {
            if let Some(guest) = &mut port.guest {
                guest.session.release(&mut self.bay);
            }
        }
        self.resume_devices();
        self.bay.work();
        self.keep_connections();
    }

    /// All that could not be told before; without an error the successor goes on.
    fn tell_rest(&mut self, line: &Line) -> Result<(), TakeoverError> {
        for port in self.ports.iter() {
            let Some(guest) = &port.guest else { continue };
            let (session, generation) = (&guest.session, generation(port.connections, &guest.session));
            let is_told = self.takeover.told.get(&port.index) == Some(&generation);
            if is_told && session.is_between_messages() {
                let (port, bases) = (port.name.clone(), session.bases());
                line.say(Record::Rings { port, generation, bases })?;
            } else {
                let names = (port.name.as_str(), port.end.socket.as_path());
                let session = told(names, generation, session).map_err(TakeoverError::Socket)?;
                session.iter().try_for_each(|parcel| line.send(parcel))?;
            }
        }
        self.tell_devices(line)?;
        line.say(Record::Stopped)?;
        line.expect(&Record::Ready)?;
        line.say(Record::Go)
    }
}

/// Another number for each state of a port's session: which connection it is, and how many messages it served.
fn generation(connections: u64, session: &Session) -> u64 {
    (connections << 32) | (session.served() & 0xffff_ffff)
}

/// The session of a port with this name and socket as records.
fn told((port, place): (&str, &Path), generation: u64, session: &Session) -> std::io::Result<Vec<Parcel>> {
    let Heritage { told, bases, unread, unread_files, unsent } = session.heritage()?;
    let socket: Arc<OwnedFd> = Arc::new(session.lend_socket()?);
    let (port, count) = (port.to_owned(), unread_files.len());
    let files = std::iter::once(LentFile::Shared(socket)).chain(unread_files).collect();
    let first = SessionRecord {
        port,
        generation,
        socket: Some(place.to_owned()),
        is_more: false,
        is_last: false,
        requests: Vec::new(),
        bases,
        unread,
        unread_files: count,
        unsent,
    };
    let more = SessionRecord {
        is_more: true,
        socket: None,
        bases: Vec::new(),
        unread: Vec::new(),
        unread_files: 0,
        unsent: Vec::new(),
        ..first.clone()
    };
    let mut parcels: Vec<(SessionRecord, Vec<LentFile>)> = vec![(first, files)];
    for Told { request, files } in told {
        let has_room = parcels.last().is_some_and(|(record, there)| {
            record.requests.len() < REQUESTS_MAX && there.len() + files.len() <= FILES_MAX
        });
        if !has_room {
            parcels.push((more.clone(), Vec::new()));
        }
        if let Some((record, there)) = parcels.last_mut() {
            record.requests.push(request);
            there.extend(files);
        }
    }
    if let Some((record, _)) = parcels.last_mut() {
        record.is_last = true;
    }
    let parcel = |(record, files)| Parcel { record: Record::Session(record), files };
    Ok(parcels.into_iter().map(parcel).collect())
}

impl Tables {
    /// All learned addresses, some at a time.
    pub(crate) fn learned_records(&self) -> impl Iterator<Item = Vec<LearnedRecord>> {
        let name_of_port: BTreeMap<_, _> = self.ports.iter().map(|(name, index)| (*index, name)).collect();
        let name_of_network: BTreeMap<_, _> =
            self.networks.iter().map(|(name, index)| (*index, name)).collect();
        let record = move |entry: &FdbEntry| {
            Some(LearnedRecord {
                network: (*name_of_network.get(&entry.network)?).clone(),
                port: (*name_of_port.get(&entry.port)?).clone(),
                mac: entry.mac.0,
            })
        };
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let (page, rest) = self.switch.fdb_page((next?, LEARNED_MAX), self.now, &self.policy, |_| true);
            next = rest;
            Some(page.iter().filter_map(&record).collect())
        })
    }
}
