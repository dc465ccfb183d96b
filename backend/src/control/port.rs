//! A port at run time: its socket, its frontend, and what there is to tell about it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use event_manager::EventSet;
use viaduct_switch::{PortIndex, Switch};

use crate::config;
use crate::control::driver::Driver;
use crate::control::log::PortLog;
use crate::model::{DropStatus, PortState, PortStatus, Traffic};
use crate::ring::Ledger;
use crate::vhost_user::{Allowance, Disposal, Limits, Listener, Session, features};

/// First pause before another attempt to reach a frontend that listens.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A session this old was a real one: when it ends, the next attempt comes at once.
const SETTLED: Duration = Duration::from_secs(1);

/// How a port and its frontend find each other.
#[derive(Debug)]
pub(super) enum Link {
    /// We listen.
    Server(Listener),
    /// The frontend listens; the pause before the next attempt.
    Client(Duration),
}

/// A connected frontend.
pub(super) struct Guest {
    pub(super) session: Session,
    pub(super) since: Instant,
    /// What its socket is watched for.
    pub(super) watched: EventSet,
    /// It sent too much, and is not read for now.
    pub(super) throttled: bool,
    /// It was told in the log that it is read slowly.
    pub(super) slowed: bool,
    /// What the log knows of its driver.
    pub(super) told: Driver,
}

/// A port.
pub(super) struct Port {
    pub(super) name: String,
    pub(super) index: PortIndex,
    pub(super) config: config::Port,
    /// The part of the configuration that is about the socket.
    pub(super) end: config::VhostUser,
    pub(super) link: Link,
    pub(super) guest: Option<Guest>,
    pub(super) log: PortLog,
    /// Why there is no frontend, if that is not just normal.
    pub(super) trouble: Option<String>,
    pub(super) connections: u64,
    /// What its sessions left behind.
    pub(super) disposal: Disposal,
    crowded_told: bool,
    /// Where its packed rings note how far they have come.
    pub(super) ledger: Ledger,
    /// Messages that its frontends may send.
    pub(super) messages: Allowance,
    /// Connections that they may make.
    pub(super) frontends: Allowance,
}

impl Port {
    pub(super) fn new(
        name: &str,
        index: PortIndex,
        (config, end): (config::Port, config::VhostUser),
        link: Link,
        folder: &Path,
    ) -> Self {
        let ledger = Ledger::at(Ledger::path_in(folder, name), 2 * usize::from(end.queues));
        let (log, now) = (PortLog::new(name), Instant::now());
        Self {
            name: name.to_owned(),
            index,
            config,
            end,
            link,
            guest: None,
            log,
            trouble: None,
            connections: 0,
            disposal: Disposal::default(),
            crowded_told: false,
            ledger,
            messages: Allowance::of_messages(now),
            frontends: Allowance::of_connections(now),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { port: self.index, queues: self.end.queues, mtu: self.config.mtu }
    }

    /// Begins a session.
    pub(super) fn connected(&mut self, socket: UnixStream, now: Instant) -> io::Result<&mut Guest> {
        let session = Session::new(socket, self.limits(), self.disposal.clone())?;
        session.device().keep_notes(self.ledger.clone());
        self.connections += 1;
        self.trouble = None;
        let (watched, told) = (EventSet::empty(), Driver::default());
        let guest = Guest { session, since: now, watched, throttled: false, slowed: false, told };
        Ok(self.guest.insert(guest))
    }

    /// Goes on with a session of another process's.
    pub(super) fn taken_over(&mut self, session: Session, now: Instant) {
        self.connections += 1;
        let (watched, told) = (EventSet::empty(), Driver::default());
        self.guest = Some(Guest { session, since: now, watched, throttled: false, slowed: false, told });
    }

    /// Whether no other frontend may come yet.
    pub(super) fn must_wait(&mut self, now: Instant) -> bool {
        self.is_crowded() || self.frontends.refill(now) == 0
    }

    /// Whether so much waits to be put away that no more must come; told when it begins.
    pub(super) fn is_crowded(&mut self) -> bool {
        let crowded = self.disposal.crowded();
        if let Some(crowded) = crowded
            && !self.crowded_told
        {
            self.log.warn(crowded);
        }
        self.crowded_told = crowded.is_some();
        self.crowded_told
    }

    /// The pause before the next attempt, after a session that began at `since` or an attempt that failed.
    pub(super) fn next_pause(&mut self, since: Option<Instant>, now: Instant) -> Option<Duration> {
        let Link::Client(pause) = &mut self.link else { return None };
        if since.is_some_and(|since| now.duration_since(since) >= SETTLED) {
            *pause = BACKOFF_MIN;
            return Some(Duration::ZERO);
        }
        let this = *pause;
        *pause = (this * 2).min(BACKOFF_MAX);
        Some(this)
    }

    /// The pause of a link that never tried.
    pub(super) fn fresh_client() -> Link {
        Link::Client(BACKOFF_MIN)
    }

    /// What keeps the port from working as it should.
    fn trouble(&self) -> Option<String> {
        self.disposal.crowded().map(|crowded| crowded.to_string()).or_else(|| self.trouble.clone())
    }

    pub(super) fn state(&self) -> (PortState, Option<String>) {
        let Some(guest) = &self.guest else {
            let state = match self.link {
                Link::Server(_) => PortState::Listening,
                Link::Client(_) => PortState::Connecting,
            };
            return (state, self.trouble());
        };
        let device = guest.session.device();
        if let Some((ring, error)) = device.broken() {
            let detail = format!("ring {ring}: {error}; it works again after a reset of the guest's driver");
            return (PortState::Broken, Some(detail));
        }
        let paused = device.paused().map(|(ring, error)| format!("ring {ring} waits: {error}"));
        let detail = paused.or_else(|| self.trouble());
        let state = if device.rings_running() > 0 { PortState::Running } else { PortState::Connected };
        (state, detail)
    }

    /// What there is to tell.
    pub(super) fn status(&self, switch: &Switch) -> PortStatus {
        let counted = Counted::of(switch, self.index);
        let (state, detail) = self.state();
        let session = self.guest.as_ref().map(|guest| &guest.session);
        PortStatus {
            name: self.name.clone(),
            network: self.config.membership.networks().collect::<Vec<_>>().join(","),
            native: self.config.membership.native().map(str::to_owned),
            kind: config::type_name(&self.config.attachment).to_owned(),
            interface: None,
            socket: self.end.socket.clone(),
            role: self.end.role.name().to_owned(),
            mac: self.end.mac.to_string(),
            groups: self.config.groups.clone(),
            mtu: self.config.mtu,
            queues: self.end.queues,
            state,
            detail,
            peer_pid: session.and_then(Session::peer_pid),
            rings_running: session
                .map_or(0, |session| u16::try_from(session.device().rings_running()).unwrap_or(u16::MAX)),
            features: session.map_or_else(Vec::new, |session| features::names(session.device().features())),
            received: counted.received,
            sent: counted.sent,
            drops: counted.drops,
            connections: self.connections,
            pauses: counted.pauses,
            paused_ms: counted.paused_ms,
            numa: None,
        }
    }
}

/// What was counted at a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
    pub(super) drops: Vec<DropStatus>,
    pub(super) pauses: u64,
    pub(super) paused_ms: u64,
}

impl Counted {
    pub(super) fn of(switch: &Switch, port: PortIndex) -> Self {
        let counters = switch.counters().port(port).snapshot();
        let traffic = |volume: viaduct_switch::Volume| Traffic { frames: volume.frames, bytes: volume.bytes };
        let drops = counters.dropped().map(|(reason, frames)| DropStatus {
            reason: reason.name().to_owned(),
            meaning: reason.sentence().to_owned(),
            frames,
        });
        Self {
            received: traffic(counters.received),
            sent: traffic(counters.sent),
            drops: drops.collect(),
            pauses: counters.pauses,
            paused_ms: counters.paused.0 / 1_000_000,
        }
    }
}

/// A process for people.
pub(super) fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "an unknown process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples;

    #[test]
    fn attempts_come_at_once_after_a_real_session_and_otherwise_slower_and_slower() {
        let end = config::VhostUser { role: config::Role::Client, ..samples::vhost_user("/run/a.sock", 1) };
        let config = samples::port(end.clone());
        let index = PortIndex::new(0).unwrap();
        let mut port = Port::new("a", index, (config, end), Port::fresh_client(), Path::new("/nowhere"));
        let start = Instant::now();
        let pauses: Vec<u128> = (0..7).map(|_| port.next_pause(None, start).unwrap().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(port.next_pause(Some(start), start + SETTLED), Some(Duration::ZERO));
        assert_eq!(port.next_pause(Some(start), start).unwrap(), BACKOFF_MIN);
    }
}
