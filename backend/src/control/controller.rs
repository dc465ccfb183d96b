//! The control thread's only subscriber: it owns all sockets, sessions and timers, so that nothing is locked.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use tracing::{error, info, warn};
use viaduct_switch::{Policy, Switch};

use crate::changes::{Keeper, Running, Start};
use crate::config::Config;
use crate::control::bonds::Bonds;
use crate::control::capture::Captures;
use crate::control::handle::{Command, Commands};
use crate::control::handover::Takeover;
use crate::control::interfaces::{Interfaces, Opener};
use crate::control::keeping::Keeping;
use crate::control::links::Links;
use crate::control::neighbours::Neighbours;
use crate::control::outside::UplinkNews;
use crate::control::qos::Meters;
use crate::control::registry::{Numbers, Ports};
use crate::control::restoring::Restoring;
use crate::control::routing::Outsides;
use crate::control::security::Security;
use crate::control::stations::Feeds;
use crate::control::stopwatch::Stopwatch;
use crate::control::suppression::Addresses;
use crate::control::timer::{Deadline, Timer};
use crate::control::token::Token;
use crate::control::trees::Trees;
use crate::control::tunnels::{Stations, Vteps};
use crate::control::watch::Watchers;
use crate::control::watchdog::Watchdog;
use crate::control::{ApplyError, Candidate, Changes, Journal, notify};
use crate::gateway;
use crate::model::EventKind;
use crate::ring::RingError;
use crate::sandbox;
use crate::takeover::Successor;
use crate::vhost_user::{Access, BrokenRing, FailedDevice, PatchBay};

/// Pause between two rounds of the data path's housekeeping.
const TICK: Duration = Duration::from_millis(100);

/// Where the configuration comes from when SIGHUP asks for it.
pub(super) type Reload = Box<dyn FnMut() -> Result<Candidate, String>>;

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
    pub(super) first: Start,
    pub(super) keeper: Option<Keeper>,
    pub(super) restoring: Restoring,
    pub(super) feeds: Feeds,
}

/// The control thread's state.
pub(super) struct Controller {
    pub(super) bay: PatchBay,
    pub(super) switch: Arc<Switch>,
    pub(super) policy: Arc<Policy>,
    /// The security groups in the policy.
    pub(super) security: Security,
    pub(super) config: Config,
    /// How it came about, and who keeps it.
    pub(super) keeping: Keeping,
    /// Connections of the process before, and who keeps those of this one.
    pub(super) restoring: Restoring,
    pub(super) access: Access,
    pub(super) numbers: Numbers,
    pub(super) ports: Ports,
    /// The ports that are interfaces, and what the kernel says of those.
    pub(super) interfaces: Interfaces,
    pub(super) links: Links,
    pub(super) trees: Trees,
    pub(super) bonds: Bonds,
    pub(super) neighbours: Neighbours,
    /// What ports may send, as the policy has it.
    pub(super) meters: Meters,
    pub(super) gateways: gateway::Handle,
    /// Uplinks at which the switch has addresses, as the policy has them.
    pub(super) outsides: Outsides,
    /// Stations of overlay networks that are written down, as the switch has them.
    pub(super) stations: Stations,
    /// Their addresses, for which the switch answers.
    pub(super) addresses: Addresses,
    /// Stations of overlay networks that are fed by the API.
    pub(super) feeds: Feeds,
    /// The ports of VTEPs that the file names, and of those behind which fed stations are.
    pub(super) vteps: Vteps,
    /// What is known of them that no interface tells.
    pub(super) uplinks: UplinkNews,
    pub(super) open: Opener,
    pub(super) generation: u64,
    pub(super) started: Instant,
    pub(super) timer: Timer,
    commands: Commands,
    signals: SignalFd,
    reload: Reload,
    /// The first configuration, until it is applied, and then what came of it.
    first: Option<(Config, Option<(Config, Running)>)>,
    pub(super) outcome: Option<Result<Changes, ApplyError>>,
    pub(super) stopping: bool,
    /// Another process is about to take over.
    pub(super) takeover: Takeover,
    /// This process is about to take over from another one, which still runs everything.
    pub(super) succession: Option<Successor>,
    pub(super) watchers: Watchers,
    pub(super) captures: Captures,
    /// How many addresses that move again and again were told of.
    pub(super) duplicates_told: u64,
    /// A mismatch of a flow cache was told of.
    mismatch_reported: bool,
    /// The generation that was told of.
    told_generation: u64,
    pub(super) watchdog: Option<Watchdog>,
    stopwatch: Stopwatch,
}

impl Controller {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts {
            bay,
            switch,
            security,
            commands,
            signals,
            gateways,
            open,
            reload,
            first,
            keeper,
            restoring,
            feeds,
        } = parts;
        let Start { file, config: first, running, fallback, kept: _, succession } = first;
        let config = Config { switch: first.switch.clone(), ..Config::default() };
        Ok(Self {
            bay,
            switch,
            policy: Arc::default(),
            security,
            access: Access { mode: config.switch.socket_mode, group: None },
            config,
            keeping: Keeping { file, running, keeper },
            restoring,
            numbers: Numbers::default(),
            ports: Ports::default(),
            interfaces: Interfaces::new(),
            links: Links::default(),
            trees: Trees::default(),
            bonds: Bonds::default(),
            neighbours: Neighbours::default(),
            meters: Meters::default(),
            gateways,
            outsides: Outsides::default(),
            stations: Stations::default(),
            addresses: Addresses::default(),
            feeds,
            vteps: Vteps::default(),
            uplinks: UplinkNews::default(),
            open,
            generation: 0,
            started: Instant::now(),
            timer: Timer::new()?,
            commands,
            signals,
            reload,
            first: Some((first, fallback)),
            outcome: None,
            stopping: false,
            takeover: Takeover::default(),
            succession,
            watchers: Watchers::default(),
            captures: Captures::default(),
            duplicates_told: 0,
            mismatch_reported: false,
            told_generation: 0,
            watchdog: Watchdog::wanted(),
            stopwatch: Stopwatch::new(Instant::now()),
        })
    }

    /// Ends all sessions and removes all sockets; the rest is dropped.
    pub(super) fn end(mut self) {
        self.report_mismatch();
        self.gateways.cease();
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
            let what = command.name();
            match command {
                // Whoever asked may have stopped waiting: then the answer is nobody's.
                Command::Figures(answer) => drop(answer.send(Box::new(self.figures()))),
                Command::Pulse(answer) => drop(answer.send((self.generation, self.bay.pulse()))),
                Command::Security(answer) => drop(answer.send(self.security_status())),
                Command::HandOver(asked) => self.serve_hand_over(asked),
                Command::Edit { port, edit, expected, dry_run, answer } => {
                    let allowed = self.may_change().and_then(|()| expected.check(self.generation));
                    drop(answer.send(allowed.and_then(|()| self.edit_kept(&port, edit, dry_run, ops))));
                }
                Command::Apply { candidate, expected, dry_run, answer } => {
                    let allowed = self.may_change().and_then(|()| expected.check(self.generation));
                    let outcome = allowed.and_then(|()| self.apply_kept(*candidate, dry_run, ops));
                    drop(answer.send(outcome));
                }
                Command::Trace { port, description, answer } => {
                    drop(answer.send(self.trace(&port, &description)));
                }
                Command::Running(answer) => drop(answer.send(Box::new(self.running_state()))),
                Command::Tables(answer) => drop(answer.send(self.tables())),
                Command::Capture { question, answer } => drop(answer.send(self.capture(*question))),
                Command::Names { known, answer } => drop(answer.send(self.newer_names(known))),
                Command::Watch { question, answer } => drop(answer.send(self.watch(&question))),
                Command::Tell { samples, answer } => drop(answer.send(self.tell(&samples))),
                Command::TraceSample { sample, answer } => drop(answer.send(self.trace_sample(&sample))),
                Command::Feed { request, answer } => drop(answer.send(self.feed(*request))),
                Command::Stations { network, from, limit, answer } => {
                    drop(answer.send(self.feeds.page(&self.config, &network, from, limit)));
                }
                Command::News(news) => self.hear(*news),
                Command::Stop => self.stopping = true,
            }
            self.stopwatch.stop(what, Instant::now());
            if self.takeover.is_done {
                return;
            }
        }
    }

    /// A part of what is done now is done.
    pub(super) fn lap(&mut self, part: &'static str) {
        self.stopwatch.lap(part, Instant::now());
    }

    /// What would change now, a process that is about to take over would not know of.
    fn may_change(&self) -> Result<(), ApplyError> {
        if self.takeover.is_under_way { Err(ApplyError::TakeoverUnderWay) } else { Ok(()) }
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
        let outcome =
            match self.may_change().map_err(|error| error.to_string()).and_then(|()| (self.reload)()) {
                // Nobody waits for what is kept: the file is there.
                Ok(candidate) => self.apply_kept(candidate, false, ops).map_err(|error| error.to_string()),
                Err(problem) => Err(problem),
            };
        match outcome {
            Ok((Changes { generation, changes, .. }, _)) => {
                info!("SIGHUP: configuration {generation} runs, {} changes", changes.len());
                for change in changes {
                    info!("{change}");
                }
            }
            Err(problem) => error!("SIGHUP: the configuration stays as it was: {problem}"),
        }
        notify::ready();
    }

    /// Where it is noted what happens.
    pub(super) fn journal(&self) -> &Journal {
        self.commands.journal()
    }

    /// Tells that another configuration runs, if one does.
    fn tell_generation(&mut self) {
        if std::mem::replace(&mut self.told_generation, self.generation) != self.generation {
            let object = format!("configuration {}", self.generation);
            self.journal().tell(EventKind::Configuration, object, String::new());
        }
    }

    /// To be called at first when the switch runs, and then at each deadline.
    fn tell_watchdog(&mut self) {
        let Some(watchdog) = &mut self.watchdog else { return };
        watchdog.tell(self.bay.pulse());
        self.timer.set(Deadline::Watchdog, Instant::now() + watchdog.every);
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
                    self.meters.settle(self.bay.now());
                    self.report_mismatch();
                    self.tell_of_duplicates();
                    self.settle_restored();
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
                Deadline::Watchdog => self.tell_watchdog(),
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
            port.log.trouble(
                EventKind::Broken,
                format_args!("the guest broke ring {ring}, which stops until the driver resets it: {error}"),
            );
        }
    }

    /// Arms the timer for what is due next.
    fn rearm(&mut self) {
        let now = Instant::now();
        if self.bay.needs_ticks() {
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

/// Forgets a descriptor; to be called before it is closed.
pub(super) fn unwatch(descriptor: &impl AsRawFd, ops: &mut EventOps) {
    if let Err(error) = ops.remove(Events::empty(descriptor)) {
        warn!("cannot stop watching a descriptor: {error}");
    }
}

impl MutEventSubscriber for Controller {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        // Sockets are another process's, and what comes by them is for it: of the events that came together, none is served any more.
        if self.takeover.is_done {
            return;
        }
        self.stopwatch.start(Instant::now());
        let token = Token::from_data(events.data());
        match token {
            Some(Token::Commands) => self.serve_commands(ops),
            Some(Token::Signals) => self.serve_signals(ops),
            Some(Token::Timer) => self.serve_deadlines(ops),
            Some(Token::Dataplane) => self.serve_dataplane(),
            Some(Token::Listener(port)) => self.accept(port, ops),
            Some(Token::Session(port)) => self.serve_session(port, events.event_set(), ops),
            Some(Token::Links(slot)) => self.serve_links(slot, ops),
            Some(Token::Refusals) => sandbox::tell_refusals(),
            None => {}
        }
        if !self.takeover.is_done {
            self.tell_generation();
            self.rearm();
        }
        self.stopwatch.stop(token.map_or("an event", Token::name), Instant::now());
    }

    fn init(&mut self, ops: &mut EventOps) {
        let own = [
            (self.commands.as_raw_fd(), Token::Commands),
            (self.signals.as_raw_fd(), Token::Signals),
            (self.timer.as_raw_fd(), Token::Timer),
            (self.bay.events(), Token::Dataplane),
        ];
        let refusals = sandbox::refusals_descriptor().map(|descriptor| (descriptor, Token::Refusals));
        for (descriptor, token) in own.into_iter().chain(refusals) {
            let watched = ops.add(Events::with_data_raw(descriptor, token.to_data(), EventSet::IN));
            if let Err(error) = watched {
                self.outcome = Some(Err(ApplyError::Watch { port: "none yet".to_owned(), error }));
                return;
            }
        }
        if let Some((first, fallback)) = self.first.take() {
            self.stopwatch.start(Instant::now());
            let begun = self.begin(first, fallback, ops);
            if !self.is_waiting() {
                self.restore_fed();
            }
            self.outcome = Some(begun.and_then(|changes| self.succeed(ops).map(|()| changes)));
            if matches!(self.outcome, Some(Ok(_))) {
                self.remove_stale_sockets();
            }
            self.stopwatch.stop("the first configuration", Instant::now());
            self.tell_generation();
        }
        self.tell_watchdog();
        self.rearm();
    }
}
