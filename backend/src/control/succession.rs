//! The successor's part of a takeover that is the control thread's: what the incumbent has is made anew, and runs when that says so.
//!
//! Until then nothing of it touches what the incumbent runs: listeners are not listened to, rings and devices are not attached, nobody is
//! connected to, and nothing is written.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use event_manager::{EventOps, EventSet, Events};
use tracing::{info, warn};
use viaduct_switch::{FdbEntry, MacAddress};

use crate::control::controller::Controller;
use crate::control::port::{Link, process};
use crate::control::token::Token;
use crate::control::watchdog::Watchdog;
use crate::control::{ApplyError, notify, stale};
use crate::model::EventKind;
use crate::takeover::{DeviceRecord, Inheritance, LearnedRecord, SessionHeritage, Successor, TakeoverError};
use crate::vhost_user::device::DeviceError;
use crate::vhost_user::session::{Refusal, SessionEnd};
use crate::vhost_user::{Listener, Session, SocketError};

/// What the incumbent has, made anew; its owner until the word is given.
pub(super) struct Heirs {
    /// By port, with the session's generation; without a session where it is refused here.
    sessions: BTreeMap<String, (u64, Option<Session>)>,
    devices: Vec<(DeviceRecord, Vec<OwnedFd>)>,
}

impl Controller {
    /// Whether this process runs nothing yet, since another one does.
    pub(super) fn is_waiting(&self) -> bool {
        self.succession.is_some()
    }

    /// What is watched of a listener: nobody is accepted while another process does that.
    pub(super) fn listening(&self) -> EventSet {
        if self.is_waiting() { EventSet::empty() } else { EventSet::IN }
    }

    /// Listens at `path`, by the incumbent's socket if it has one there.
    pub(super) fn listen_at(
        &mut self,
        path: &Path,
        access: crate::vhost_user::Access,
    ) -> Result<Listener, SocketError> {
        let lent =
            self.succession.as_mut().map(|successor| successor.listener(path, access)).transpose()?.flatten();
        lent.map_or_else(|| Listener::bind(path, access), Ok)
    }

    /// Takes over, once the configuration is in force.
    pub(super) fn succeed(&mut self, ops: &mut EventOps) -> Result<(), ApplyError> {
        let Some(mut successor) = self.succession.take() else { return Ok(()) };
        let heirs = self.become_ready(&mut successor);
        // Whatever is inserted while it is still lent shall wait.
        let heirs = heirs.map_err(ApplyError::Takeover)?;
        self.take_office(heirs, ops);
        stale::remove_unclaimed(&successor.unclaimed());
        Ok(())
    }

    /// All up to the incumbent's word.
    fn become_ready(&mut self, successor: &mut Successor) -> Result<Heirs, TakeoverError> {
        let described = successor.describe()?;
        let mut heirs = Heirs { sessions: BTreeMap::new(), devices: Vec::new() };
        self.inherit(described.sessions, &mut heirs)?;
        self.learn(&described.learned);
        self.take_over_fed();
        self.take_over_connections().map_err(|error| TakeoverError::Here(error.to_string()))?;
        let Inheritance { sessions, rings, devices, .. } = successor.prepared()?;
        let named = sessions.iter().map(|session| session.port.clone());
        let alive: Vec<String> = named.chain(rings.iter().map(|(port, ..)| port.clone())).collect();
        self.inherit(sessions, &mut heirs)?;
        for (port, generation, bases) in rings {
            match heirs.sessions.get(&port) {
                Some((found, session)) if *found == generation => {
                    session.iter().for_each(|session| session.set_bases(&bases));
                }
                _ => return Err(TakeoverError::Garbage(format!("port {port} is not as it was told"))),
            }
        }
        // Whose session ended meanwhile is not named any more.
        heirs.sessions.retain(|port, _| alive.contains(port));
        heirs.devices = devices;
        self.take_over_rest_of_connections();
        successor.ready()?;
        if let Some((socket, watchdog_us)) = successor.manager() {
            notify::inherit(socket, watchdog_us);
            self.watchdog = Watchdog::wanted();
        }
        Ok(heirs)
    }

    /// Makes sessions anew. One that is refused here ends, as the frontend then sees; but where this version lacks a feature, all stays
    /// with the incumbent.
    fn inherit(&mut self, sessions: Vec<SessionHeritage>, heirs: &mut Heirs) -> Result<(), TakeoverError> {
        for SessionHeritage { port, generation, place, socket, heritage } in sessions {
            let index = self.numbers.ports.get(&port);
            let found = index.and_then(|index| self.ports.get(*index));
            // Another socket is another one's, whatever the port is called.
            let found = found.filter(|found| place.is_none_or(|place| place == found.end.socket));
            let session = found.map(|found| {
                let parts = (UnixStream::from(socket), found.limits(), found.disposal.clone());
                Session::inherit(parts, found.ledger.clone(), heritage, &mut self.bay)
            });
            let session = match session {
                None => None,
                Some(Ok(session)) => Some(session),
                Some(Err(error)) if lacks_feature(&error) => {
                    let lacks = format!("port {port}: this version cannot go on with its guest: {error}");
                    return Err(TakeoverError::Here(lacks));
                }
                Some(Err(error)) => {
                    warn!("port {port}: the session with its frontend ends with the takeover: {error}");
                    None
                }
            };
            heirs.sessions.insert(port, (generation, session));
        }
        Ok(())
    }

    fn learn(&self, learned: &[LearnedRecord]) {
        let now = self.bay.now();
        for LearnedRecord { network, port, mac } in learned {
            let known = self.numbers.networks.get(network).zip(self.numbers.ports.get(port));
            let Some((&network, &port)) = known else { continue };
            let entry = FdbEntry { network, mac: MacAddress(*mac), port, age_s: 0 };
            self.switch.learn(&entry, now, &self.policy);
        }
    }

    /// The incumbent does nothing any more: everything runs from here on.
    fn take_office(&mut self, heirs: Heirs, ops: &mut EventOps) {
        let begun = Instant::now();
        let Heirs { sessions, devices } = heirs;
        // No frame finds its receiver not there yet.
        self.bay.rest();
        let mut running = Vec::new();
        for (name, (_, session)) in sessions {
            let port = self.numbers.ports.get(&name).and_then(|index| self.ports.get_mut(*index));
            let (Some(port), Some(mut session)) = (port, session) else { continue };
            session.release(&mut self.bay);
            port.taken_over(session, begun);
            running.push(port.index);
        }
        self.take_over_devices(devices);
        self.bay.work();
        let rings = begun.elapsed();
        for index in running {
            self.watch_inherited(index, ops);
        }
        self.open_to_all(ops);
        self.follow_names();
        self.keep_fed();
        self.gateways.begin_lending();
        info!(
            "taken over: frames went on after {} µs, and all the rest after {}",
            rings.as_micros(),
            begun.elapsed().as_micros()
        );
    }

    /// Stations that were fed to the incumbent are known by what it noted; none is fed while it hands over.
    fn take_over_fed(&mut self) {
        self.feeds.read(&self.config.switch.state_dir);
        self.restore_fed();
    }

    fn keep_fed(&mut self) {
        if let Err(error) = self.feeds.begin_keeping(&self.config.switch.state_dir) {
            warn!("stations that are fed are not kept any more: {error}");
        }
    }

    fn watch_inherited(&mut self, index: viaduct_switch::PortIndex, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let Some(guest) = &mut port.guest else { return };
        guest.watched = EventSet::IN;
        let watched =
            ops.add(Events::with_data(&guest.session, Token::Session(index).to_data(), EventSet::IN));
        match watched {
            Ok(()) => {
                let peer = process(guest.session.peer_pid());
                port.log.event(EventKind::Connected, format_args!("{peer} was taken over, and goes on"));
                // Replies may wait to be sent.
                self.watch_session(index, ops);
            }
            Err(error) => {
                if let Some(guest) = port.guest.take() {
                    guest.session.close(&mut self.bay);
                }
                port.log.warn(format_args!("cannot watch the connection: {error}; raise LimitNOFILE="));
            }
        }
    }

    /// Whoever connects is accepted from now on, and whoever listens is connected to.
    fn open_to_all(&mut self, ops: &mut EventOps) {
        let mut indices = Vec::new();
        for port in self.ports.iter_mut() {
            if let Link::Server(listener) = &mut port.link
                && let Err(error) = listener.claim()
            {
                port.log.warn(format_args!("{error}"));
            }
            indices.push((port.index, matches!(port.link, Link::Server(_))));
        }
        for (index, is_server) in indices {
            if is_server {
                self.watch_listener(index, EventSet::IN, ops);
            } else {
                self.connect(index, ops);
            }
        }
    }
}

/// Whether a session is refused since this version offers less than the incumbent's.
fn lacks_feature(error: &SessionEnd) -> bool {
    match error {
        SessionEnd::Refused { refusal: Refusal::Device(error), .. } => {
            matches!(error, DeviceError::Features(_) | DeviceError::ProtocolFeatures(_))
        }
        SessionEnd::Refused { refusal: Refusal::Unsupported, .. } => true,
        _ => false,
    }
}
