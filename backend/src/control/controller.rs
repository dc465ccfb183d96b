//! The control thread's only subscriber: it owns all sockets, sessions and timers, so that nothing is locked.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use tracing::{error, info, warn};
use viaduct_switch::{Policy, PortIndex, Switch};

use crate::config::Config;
use crate::control::bonds::Bonds;
use crate::control::driver::SETTLE;
use crate::control::handle::{Command, Commands};
use crate::control::interfaces::{Interfaces, Opener};
use crate::control::links::Links;
use crate::control::neighbours::Neighbours;
use crate::control::port::{Link, Port, process};
use crate::control::registry::{Numbers, Ports};
use crate::control::routing::Outsides;
use crate::control::security::Security;
use crate::control::timer::{Deadline, Timer};
use crate::control::token::Token;
use crate::control::trees::Trees;
use crate::control::watch::Watchers;
use crate::control::{ApplyError, Changes, notify};
use crate::gateway;
use crate::ring::RingError;
use crate::vhost_user::socket;
use crate::vhost_user::{Access, BrokenRing, FailedDevice, PatchBay, SessionEnd};

/// Pause between two rounds of the data path's housekeeping.
const TICK: Duration = Duration::from_millis(100);

/// Pause after descriptors ran out, before connections are accepted again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Pause before a port whose frontends sent too much, or left too much behind, is served again.
const THROTTLE_PAUSE: Duration = Duration::from_millis(100);

/// Where the configuration comes from when SIGHUP asks for it.
pub(super) type Reload = Box<dyn FnMut() -> Result<Config, String>>;

/// What the controller is made of.
pub(super) struct Parts {
    pub(super) bay: PatchBay,
    pub(super) switch: Arc<Switch>,
    pub(super) security: Security,
    pub(super) commands: Commands,
    pub(super) signals: SignalFd,
    pub(super) gateways: gateway::Handle,
    pub(super) open: Opener,
    pub(super) reload: Reload,
    pub(super) first: Config,
}

/// The control thread's state.
pub(super) struct Controller {
    pub(super) bay: PatchBay,
    pub(super) switch: Arc<Switch>,
    pub(super) policy: Arc<Policy>,
    /// The security groups in the policy.
    pub(super) security: Security,
    pub(super) config: Config,
    pub(super) access: Access,
    pub(super) numbers: Numbers,
    pub(super) ports: Ports,
    /// The ports that are interfaces, and what the kernel says of those.
    pub(super) interfaces: Interfaces,
    pub(super) links: Links,
    pub(super) trees: Trees,
    pub(super) bonds: Bonds,
    pub(super) neighbours: Neighbours,
    pub(super) gateways: gateway::Handle,
    /// Uplinks at which the switch has addresses, as the policy has them.
    pub(super) outsides: Outsides,
    pub(super) open: Opener,
    pub(super) generation: u64,
    pub(super) started: Instant,
    pub(super) timer: Timer,
    commands: Commands,
    signals: SignalFd,
    reload: Reload,
    /// The first configuration, until it is applied, and then what came of it.
    first: Option<Config>,
    pub(super) outcome: Option<Result<Changes, ApplyError>>,
    pub(super) stopping: bool,
    pub(super) watchers: Watchers,
    /// A mismatch of a flow cache was told of.
    mismatch_reported: bool,
}

impl Controller {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { bay, switch, security, commands, signals, gateways, open, reload, first } = parts;
        let config = Config { switch: first.switch.clone(), ..Config::default() };
        Ok(Self {
            bay,
            switch,
            policy: Arc::default(),
            security,
            access: Access { mode: config.switch.socket_mode, group: None },
            config,
            numbers: Numbers::default(),
            ports: Ports::default(),
            interfaces: Interfaces::new(),
            links: Links::default(),
            trees: Trees::default(),
            bonds: Bonds::default(),
            neighbours: Neighbours::default(),
            gateways,
            outsides: Outsides::default(),
            open,
            generation: 0,
            started: Instant::now(),
            timer: Timer::new()?,
            commands,
            signals,
            reload,
            first: Some(first),
            outcome: None,
            stopping: false,
            watchers: Watchers::default(),
            mismatch_reported: false,
        })
    }

    /// Ends all sessions and removes all sockets; the rest is dropped.
    pub(super) fn end(mut self) {
        self.report_mismatch();
        for port in self.ports.iter_mut() {
            if let Some(guest) = port.guest.take() {
                guest.session.close(&mut self.bay);
            }
        }
        for port in self.interfaces.values().filter(|port| port.attached.is_some()) {
            self.bay.detach_device(port.index);
        }
    }

    fn serve_commands(&mut self, ops: &mut EventOps) {
        self.commands.acknowledge();
        while let Some(command) = self.commands.next() {
            match command {
                // Whoever asked may have stopped waiting: then the answer is nobody's.
                Command::Snapshot(answer) => drop(answer.send(self.snapshot())),
                Command::Security(answer) => drop(answer.send(self.security_status())),
                Command::SetGroups { port, groups, expected, dry_run, answer } => {
                    let allowed = expected.check(self.generation);
                    drop(answer.send(allowed.and_then(|()| self.set_groups(&port, groups, dry_run))));
                }
                Command::Apply { config, expected, dry_run, answer } => {
                    let allowed = expected.check(self.generation);
                    let outcome = allowed.and_then(|()| self.apply(*config, dry_run, ops));
                    drop(answer.send(outcome));
                }
                Command::Trace { port, description, answer } => {
                    drop(answer.send(self.trace(&port, &description)));
                }
                Command::Tables(answer) => drop(answer.send(self.tables())),
                Command::Watch { question, answer } => drop(answer.send(self.watch(&question))),
                Command::Tell { samples, answer } => drop(answer.send(self.tell(&samples))),
                Command::TraceSample { sample, answer } => drop(answer.send(self.trace_sample(&sample))),
                Command::Stop => self.stopping = true,
            }
        }
    }

    fn serve_signals(&mut self, ops: &mut EventOps) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGHUP) => self.reload(ops),
                Ok(signal) => {
                    info!("{signal}: the switch stops");
                    self.stopping = true;
                }
                Err(_) => {}
            }
        }
    }

    fn reload(&mut self, ops: &mut EventOps) {
        notify::reloading();
        let outcome = match (self.reload)() {
            Ok(config) => self.apply(config, false, ops).map_err(|error| error.to_string()),
            Err(problem) => Err(problem),
        };
        match outcome {
            Ok(Changes { generation, changes }) => {
                info!("SIGHUP: configuration {generation} runs, {} changes", changes.len());
                for change in changes {
                    info!("{change}");
                }
            }
            Err(problem) => error!("SIGHUP: the configuration stays as it was: {problem}"),
        }
        notify::ready();
    }

    /// Tells once of a hit of a flow cache that verification found wrong.
    fn report_mismatch(&mut self) {
        if let Some(mismatch) = self.switch.flow_mismatch().filter(|_| !self.mismatch_reported) {
            self.mismatch_reported = true;
            error!("flow cache mismatch, which is a mistake of this program; please report it: {mismatch}");
        }
    }

    fn serve_deadlines(&mut self, ops: &mut EventOps) {
        self.timer.acknowledge();
        for deadline in self.timer.take_due(Instant::now()) {
            match deadline {
                Deadline::Tick => {
                    self.bay.tick();
                    self.report_mismatch();
                    self.measure_interfaces();
                    self.look_at_carriers();
                }
                Deadline::Connect(port) => self.connect(port, ops),
                Deadline::Accept(port) => self.watch_listener(port, EventSet::IN, ops),
                Deadline::Resume(port) => self.resume(port, ops),
                Deadline::Tell(port) => self.tell_driver(port),
                // Done after each event.
                Deadline::Trees | Deadline::Neighbours => {}
                Deadline::Attach(port) => self.retry_interface(port),
                Deadline::Namespaces => self.look_after_namespaces(ops),
            }
        }
    }

    /// Takes note of rings and devices that broke; the data path stopped them already.
    fn serve_dataplane(&mut self) {
        self.serve_control_frames();
        for FailedDevice { port, link, error } in self.bay.take_failed() {
            match link {
                Some(link) => self.link_failed(port, link, &error.to_string()),
                None => self.interface_failed(port, &error.to_string()),
            }
        }
        for BrokenRing { port, ring, error } in self.bay.take_broken() {
            let Some(port) = self.ports.get_mut(port) else { continue };
            let Some(guest) = &mut port.guest else { continue };
            if error == RingError::MemoryGone {
                guest.session.memory_gone(&mut self.bay);
            } else {
                guest.session.ring_broken(ring, error);
            }
            port.log.warn(format_args!(
                "the guest broke ring {ring}, which stops until the driver resets it: {error}"
            ));
        }
    }

    /// Arms the timer for what is due next.
    fn rearm(&mut self) {
        let now = Instant::now();
        if self.bay.attached() > 0 {
            self.timer.set_if_clear(Deadline::Tick, now + TICK);
        } else {
            self.timer.clear(Deadline::Tick);
        }
        self.rearm_links(now);
        self.serve_neighbours();
        self.serve_outsides();
        self.serve_trees();
        if let Err(error) = self.timer.arm(now) {
            error!("cannot set the timer: {error}; reconnecting may come late");
        }
    }
}

/// Frontends that come and go.
impl Controller {
    fn accept(&mut self, index: PortIndex, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        if port.must_wait(Instant::now()) {
            // Who wants to connect waits with the listener.
            return self.accept_later(index, THROTTLE_PAUSE, ops);
        }
        let Link::Server(listener) = &port.link else { return };
        match listener.accept() {
            Ok(None) => {}
            Ok(Some(socket)) => self.accepted(index, socket, ops),
            Err(error) => {
                port.log.warn(format_args!("cannot accept a connection: {error}; trying again in a second"));
                self.accept_later(index, ACCEPT_PAUSE, ops);
            }
        }
    }

    fn accept_later(&mut self, index: PortIndex, pause: Duration, ops: &mut EventOps) {
        self.watch_listener(index, EventSet::empty(), ops);
        self.timer.set(Deadline::Accept(index), Instant::now() + pause);
    }

    fn accepted(&mut self, index: PortIndex, socket: UnixStream, ops: &mut EventOps) {
        // A frontend that died and was started again may be back before we have heard of its end.
        let gone = |port: &Port| port.guest.as_ref().is_some_and(|guest| guest.session.has_hung_up());
        if self.ports.get(index).is_some_and(gone) {
            self.end_session(index, &SessionEnd::hung_up(), ops);
        }
        let Some(port) = self.ports.get_mut(index) else { return };
        port.frontends.spend();
        if let Some(guest) = &port.guest {
            port.log.warn(format_args!(
                "{} is turned away: {} is connected already",
                process(socket::peer_pid(&socket)),
                process(guest.session.peer_pid())
            ));
            return port.disposal.hang_up(socket);
        }
        self.begin_session(index, socket, ops);
    }

    fn begin_session(&mut self, index: PortIndex, socket: UnixStream, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let begun = port.connected(socket, Instant::now()).map(|guest| {
            guest.watched = EventSet::IN;
            let (session, data) = (&guest.session, Token::Session(index).to_data());
            (session.peer_pid(), ops.add(Events::with_data(session, data, EventSet::IN)))
        });
        match begun {
            Ok((peer, Ok(()))) => port.log.info(format_args!("{} is connected", process(peer))),
            Ok((_, Err(error))) => {
                if let Some(guest) = port.guest.take() {
                    guest.session.close(&mut self.bay);
                }
                port.log.warn(format_args!("cannot watch the connection: {error}; raise LimitNOFILE="));
            }
            Err(error) => port.log.warn(format_args!("cannot begin a session: {error}; raise LimitNOFILE=")),
        }
    }

    pub(super) fn connect(&mut self, index: PortIndex, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index).filter(|port| port.guest.is_none()) else { return };
        let now = Instant::now();
        if port.must_wait(now) {
            return self.timer.set(Deadline::Connect(index), now + THROTTLE_PAUSE);
        }
        match socket::connect(&port.end.socket) {
            Ok(socket) => self.begin_session(index, socket, ops),
            Err(error) => port.trouble = Some(error.to_string()),
        }
        let now = Instant::now();
        let Some(port) = self.ports.get_mut(index).filter(|port| port.guest.is_none()) else { return };
        if let Some(pause) = port.next_pause(None, now) {
            self.timer.set(Deadline::Connect(index), now + pause);
        }
    }

    fn serve_session(&mut self, index: PortIndex, events: EventSet, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let Some(guest) = &mut port.guest else { return };
        let hung_up = events.intersects(EventSet::HANG_UP | EventSet::ERROR);
        if hung_up && guest.throttled {
            // epoll would tell it again and again until the last of it is read, which is not to be now.
            return self.end_session(index, &SessionEnd::hung_up(), ops);
        }
        let outcome = if events.contains(EventSet::IN) || hung_up {
            guest.session.readable(&mut self.bay, &mut port.messages)
        } else {
            guest.session.writable().map(|()| Vec::new())
        };
        match outcome {
            Ok(refused) => {
                for refused in refused {
                    let trouble = format!("{} is refused: {}", refused.request, refused.refusal);
                    port.log.warn(&trouble);
                    port.trouble = Some(trouble);
                }
                self.throttle(index);
                self.watch_session(index, ops);
                self.timer.set(Deadline::Tell(index), Instant::now() + SETTLE);
            }
            Err(end) => self.end_session(index, &end, ops),
        }
    }

    /// Stops reading a frontend for a while if it sends without end, or what it sent waits to be put away.
    fn throttle(&mut self, index: PortIndex) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let crowded = port.is_crowded();
        let Some(guest) = port.guest.as_mut().filter(|guest| !guest.throttled) else { return };
        if !crowded && !port.messages.is_spent() {
            return;
        }
        guest.throttled = true;
        self.timer.set(Deadline::Resume(index), Instant::now() + THROTTLE_PAUSE);
        if !crowded && !std::mem::replace(&mut guest.slowed, true) {
            port.log.warn("the frontend sends messages without end; it is read more slowly");
        }
    }

    fn end_session(&mut self, index: PortIndex, end: &SessionEnd, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let Some(guest) = port.guest.take() else { return };
        let peer = process(guest.session.peer_pid());
        if end.is_goodbye() {
            port.log.info(format_args!("{peer} is gone"));
        } else {
            port.log.warn(format_args!("the session with {peer} is closed: {end}"));
            port.trouble = Some(end.to_string());
        }
        self.timer.clear(Deadline::Resume(index));
        self.timer.clear(Deadline::Tell(index));
        let since = guest.since;
        unwatch(&guest.session, ops);
        guest.session.close(&mut self.bay);
        let now = Instant::now();
        match port.next_pause(Some(since), now) {
            Some(Duration::ZERO) => self.connect(index, ops),
            Some(pause) => self.timer.set(Deadline::Connect(index), now + pause),
            None => {}
        }
    }

    /// Watches a session's socket for what it needs now.
    pub(super) fn watch_session(&mut self, index: PortIndex, ops: &mut EventOps) {
        let Some(guest) = self.ports.get_mut(index).and_then(|port| port.guest.as_mut()) else { return };
        let mut wanted = if guest.throttled { EventSet::empty() } else { EventSet::IN };
        if guest.session.wants_to_write() {
            wanted |= EventSet::OUT;
        }
        if wanted == guest.watched {
            return;
        }
        guest.watched = wanted;
        let events = Events::with_data(&guest.session, Token::Session(index).to_data(), wanted);
        if let Err(error) = ops.modify(events) {
            warn!("cannot change what a session is watched for: {error}");
        }
    }

    fn resume(&mut self, index: PortIndex, ops: &mut EventOps) {
        if let Some(guest) = self.ports.get_mut(index).and_then(|port| port.guest.as_mut()) {
            guest.throttled = false;
            self.watch_session(index, ops);
        }
    }

    fn tell_driver(&mut self, index: PortIndex) {
        if let Some(port) = self.ports.get_mut(index) {
            port.tell_driver();
        }
    }

    fn watch_listener(&mut self, index: PortIndex, events: EventSet, ops: &mut EventOps) {
        let Some(Link::Server(listener)) = self.ports.get(index).map(|port| &port.link) else { return };
        if let Err(error) = ops.modify(Events::with_data(listener, Token::Listener(index).to_data(), events))
        {
            warn!("cannot change what a listener is watched for: {error}");
        }
    }
}

/// Forgets a descriptor; to be called before it is closed.
pub(super) fn unwatch(descriptor: &impl AsRawFd, ops: &mut EventOps) {
    if let Err(error) = ops.remove(Events::empty(descriptor)) {
        warn!("cannot stop watching a descriptor: {error}");
    }
}

impl MutEventSubscriber for Controller {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        match Token::from_data(events.data()) {
            Some(Token::Commands) => self.serve_commands(ops),
            Some(Token::Signals) => self.serve_signals(ops),
            Some(Token::Timer) => self.serve_deadlines(ops),
            Some(Token::Dataplane) => self.serve_dataplane(),
            Some(Token::Listener(port)) => self.accept(port, ops),
            Some(Token::Session(port)) => self.serve_session(port, events.event_set(), ops),
            Some(Token::Links(slot)) => self.serve_links(slot, ops),
            None => {}
        }
        self.rearm();
    }

    fn init(&mut self, ops: &mut EventOps) {
        let own = [
            (self.commands.as_raw_fd(), Token::Commands),
            (self.signals.as_raw_fd(), Token::Signals),
            (self.timer.as_raw_fd(), Token::Timer),
            (self.bay.events(), Token::Dataplane),
        ];
        for (descriptor, token) in own {
            let watched = ops.add(Events::with_data_raw(descriptor, token.to_data(), EventSet::IN));
            if let Err(error) = watched {
                self.outcome = Some(Err(ApplyError::Watch { port: "none yet".to_owned(), error }));
                return;
            }
        }
        if let Some(first) = self.first.take() {
            self.outcome = Some(self.apply(first, false, ops));
        }
        self.rearm();
    }
}
