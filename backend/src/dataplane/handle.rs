//! The control thread's handle on the workers: starts them, hands ports over, takes them back, looks after them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use viaduct_switch::qos::PlanError;
use viaduct_switch::{DropReason, FlowCacheCounters, Nanos, Policy, PortIndex, Switch, WorkerState};
use vmm_sys_util::eventfd::EventFd;

use super::assignment::Assignment;
use super::build::{Built, Parked, build, build_device};
use super::held::HeldFragments;
use super::injector::Injector;
use super::inlet::Inlet;
use super::message::{Belongings, Done, Message};
use super::offers::Offers;
use super::outlet::Outlet;
use super::poller::{Poller, Wake};
use super::pulse::Pulse;
use super::punts::{PuntReceiver, punts};
use super::replicator::FloodMemory;
use super::shared::{Reporter, WorkerShared};
use super::sync::mailbox::{Answer, Answers, Postbox, mailbox};
use super::sync::primitives::{Bell, into_inner};
use super::tap::{CaptureReader, CaptureShared, CaptureWanted, TapCounters, Wanted, Watch, captures, taps};
use super::worker::{Worker, WorkerParts, pin_to};
use super::{Datapath, DataplaneEvent, PortSetup, RingPosition};

mod links;
mod nodes;
mod purge;
mod stepped;
mod trees;
mod upkeep;

pub use self::stepped::Stepped;
pub use self::trees::{ShapingReport, TreeSetup};

use self::nodes::AttachedGuest;
use self::trees::Trees;
use crate::config::Polling;
use crate::device::{Device, DeviceQueue};
use crate::model::WorkerStatus;
use crate::numa::Topology;
use crate::ring::RingError;
use crate::sandbox::confine_worker;

/// How long before its start the switch's time began: what is restored at the start may have been silent for as long, which is longer
/// than any connection is remembered.
pub(crate) const PAST: Duration = Duration::from_secs(2 * 86_400);

/// Why the data path could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// No processor was given.
    #[error("switch.cpus names no processor: give at least one, such as cpus = [0]")]
    NoCpu,
    /// The kernel refused something that a worker needs.
    #[error(
        "cannot start the worker for processor {cpu}: {error}; raise the limits of open files and threads (ulimit -n, -u)"
    )]
    Start {
        /// The processor.
        cpu: usize,
        /// What the kernel said.
        error: io::Error,
    },
}

/// One worker, seen from the control thread.
struct WorkerHandle {
    cpu: usize,
    postbox: Arc<Postbox<Message>>,
    shared: Arc<WorkerShared>,
    flow_cache: Arc<FlowCacheCounters>,
    thread: Option<JoinHandle<()>>,
    /// The watch's sequence at the last tick.
    watched: u64,
}

/// The control thread's handle on all workers.
pub struct Dataplane {
    switch: Arc<Switch>,
    policy: Arc<Policy>,
    started: Instant,
    workers: Vec<WorkerHandle>,
    flood_memory: Arc<FloodMemory>,
    held: Arc<HeldFragments>,
    attached: HashMap<PortIndex, Attached>,
    /// The nodes of the machine, and the port whose guest's memory was looked at last.
    topology: Topology,
    examined: Option<PortIndex>,
    /// Which worker has which transmit ring.
    assignment: Assignment,
    /// When what the rings carry was last looked at.
    measured: Instant,
    /// When a trunk may be announced again.
    announced: HashMap<PortIndex, Instant>,
    /// Frames that waited for ports which are detached just now.
    parked: HashMap<PortIndex, Parked>,
    /// Trees of queues before the ports' own.
    trees: Trees,
    ticks: u64,
    reporter: Reporter,
    events: Receiver<DataplaneEvent>,
    punted: PuntReceiver,
}

/// How long a trunk's announcement keeps its next one away, for each network that it enters: a worker spends a twentieth
/// of its time on them at most.
const ANNOUNCE_PAUSE: Duration = Duration::from_micros(50);

/// What the control thread keeps of a port that runs.
struct Attached {
    outlet: Option<Arc<Outlet>>,
    /// Its guest; none where a device is.
    guest: Option<AttachedGuest>,
}

/// How long the control thread waits for an acknowledgement before it looks for a stuck worker.
const PATIENCE: Duration = Duration::from_millis(50);

/// Features that no guest's are: all of them.
const NO_FEATURES: u64 = u64::MAX;

impl Dataplane {
    /// Starts one worker for each of `cpus`, pinned to it.
    pub fn start(
        switch: Arc<Switch>,
        policy: Arc<Policy>,
        cpus: &[usize],
        polling: Polling,
    ) -> Result<Self, DataplaneError> {
        let Some(&first) = cpus.first() else { return Err(DataplaneError::NoCpu) };
        let refused = |error| DataplaneError::Start { cpu: first, error };
        let mut dataplane = Self::empty(switch, policy, cpus, Instant::now() - PAST).map_err(refused)?;
        for &cpu in cpus {
            let worker = dataplane.start_worker(dataplane.workers.len(), cpu, polling);
            dataplane.workers.push(worker.map_err(|error| DataplaneError::Start { cpu, error })?);
        }
        Ok(dataplane)
    }

    /// One without workers, with room for so many.
    fn empty(switch: Arc<Switch>, policy: Arc<Policy>, cpus: &[usize], started: Instant) -> io::Result<Self> {
        let topology = Topology::of_this_machine();
        let (sender, events) = channel();
        let wake = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let (punts, punted) = punts();
        let reporter = Reporter { events: sender, wake: Arc::new(wake), punts, offers: Arc::default() };
        Ok(Self {
            switch,
            policy,
            started,
            workers: Vec::new(),
            flood_memory: Arc::default(),
            held: Arc::default(),
            attached: HashMap::new(),
            assignment: Assignment::new(cpus.iter().map(|cpu| topology.node_of(*cpu)).collect()),
            topology,
            examined: None,
            measured: Instant::now(),
            announced: HashMap::new(),
            parked: HashMap::new(),
            trees: Trees::default(),
            ticks: 0,
            reporter,
            events,
            punted,
        })
    }

    fn start_worker(&self, number: usize, cpu: usize, polling: Polling) -> io::Result<WorkerHandle> {
        let (mut handle, parts) = self.prepare_worker(number, cpu, polling)?;
        let run = move || {
            pin_to(cpu);
            if let Some(worker) = Worker::new(parts) {
                confine_worker();
                worker.run();
            }
        };
        handle.thread = Some(thread::Builder::new().name(format!("worker-{cpu}")).spawn(run)?);
        Ok(handle)
    }

    /// What a worker is made of, and the handle on it, which has no thread yet.
    fn prepare_worker(
        &self,
        number: usize,
        cpu: usize,
        polling: Polling,
    ) -> io::Result<(WorkerHandle, WorkerParts)> {
        let bell = Bell::new()?;
        let poller = Poller::new()?;
        poller.add(bell.descriptor(), Wake::Mailbox)?;
        let (postbox, mailbox) = mailbox(bell);
        let postbox = Arc::new(postbox);
        let shared = Arc::new(WorkerShared::default());
        let state = WorkerState::new(Arc::clone(&self.policy));
        let flow_cache = Arc::clone(state.flow_counters());
        let parts = WorkerParts {
            number,
            switch: Arc::clone(&self.switch),
            state,
            polling,
            started: self.started,
            shared: Arc::clone(&shared),
            mailbox,
            reporter: self.reporter.clone(),
            poller,
            flood_memory: Arc::clone(&self.flood_memory),
            held: Arc::clone(&self.held),
        };
        Ok((WorkerHandle { cpu, postbox, shared, flow_cache, thread: None, watched: 0 }, parts))
    }

    /// The switch that the workers run.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// What workers have for the networks' gateways.
    #[must_use]
    pub fn offers(&self) -> &Arc<Offers> {
        &self.reporter.offers
    }

    /// By what the gateways' own frames enter.
    #[must_use]
    pub fn injector(&self) -> Injector {
        Injector::new(self.workers.iter().map(|worker| Arc::clone(&worker.postbox)).collect())
    }

    /// When the switch's time began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The switch's time now.
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Becomes readable when [`Dataplane::take_events`] has something.
    #[must_use]
    pub fn events(&self) -> &EventFd {
        &self.reporter.wake
    }

    /// What happened on the data path since the last call.
    pub fn take_events(&mut self) -> Vec<DataplaneEvent> {
        // Nothing to read means that nothing was reported.
        let _ = self.reporter.wake.read();
        let control = self.punted.take().map(DataplaneEvent::Control);
        self.events.try_iter().chain(control).collect()
    }

    /// Each worker's counters.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let rounds = |worker: &WorkerHandle| worker.shared.rounds.read();
        let status = |worker: &WorkerHandle| WorkerStatus {
            cpu: worker.cpu,
            node: self.topology.node_of(worker.cpu),
            rings: worker.shared.rings.load(Ordering::Relaxed),
            bursts: worker.shared.bursts.load(Ordering::Relaxed),
            frames: worker.shared.frames.load(Ordering::Relaxed),
            sleeps: worker.shared.sleeps.load(Ordering::Relaxed),
            wakes: worker.shared.wakes.load(Ordering::Relaxed),
            spins: worker.shared.spins.load(Ordering::Relaxed),
            contended: worker.shared.contended.load(Ordering::Relaxed),
            round_times: rounds(worker).0,
            rounds_ns: rounds(worker).1,
            flow_cache: worker.flow_cache.snapshot().into(),
        };
        self.workers.iter().map(status).collect()
    }

    /// Sends a message to each worker for which there is one, and waits until all have handled theirs; gives what
    /// they gave back.
    fn ask(&mut self, mut message: impl FnMut(usize, Done) -> Option<Message>) -> Vec<Inlet> {
        let mut answers = Answers::new();
        for (number, worker) in self.workers.iter().enumerate() {
            if let Some(message) = answers.one_more().and_then(|done| message(number, done)) {
                worker.postbox.post(message);
            }
        }
        let mut inlets = Vec::new();
        loop {
            match answers.next(PATIENCE) {
                Answer::Given(given) => inlets.extend(given),
                Answer::Late => self.unblock_workers(),
                Answer::Complete => return inlets,
            }
        }
    }

    /// Gives a port's ways to the workers; gives the rings that can't run.
    fn run(&mut self, port: PortIndex, built: Built, guest: Option<AttachedGuest>) -> Vec<(u16, RingError)> {
        let outlet = built.outlet.map(Arc::new);
        let node = guest.as_ref().and_then(|guest| guest.node);
        self.attached.insert(port, Attached { outlet: outlet.clone(), guest });
        let watcher = self.worker_of(port);
        let mut shares: Vec<Vec<Inlet>> = self.workers.iter().map(|_| Vec::new()).collect();
        for inlet in built.inlets {
            let worker = self.assignment.place(port, inlet.index, Arc::clone(&inlet.meter), node);
            if let Some(share) = shares.get_mut(worker) {
                share.push(inlet);
            }
        }
        self.ask(|number, acknowledge| {
            let inlets = shares.get_mut(number).map(std::mem::take).unwrap_or_default();
            Some(Message::Attach { outlet: outlet.clone(), watch: number == watcher, inlets, acknowledge })
        });
        self.resume_trees(port);
        built.refused
    }

    /// The worker that looks after a port's receive rings, and takes what is announced.
    fn worker_of(&self, port: PortIndex) -> usize {
        port.get() % self.workers.len().max(1)
    }

    /// Ends all workers.
    pub fn stop(mut self) {
        self.end_workers();
    }

    fn end_workers(&mut self) {
        for worker in &self.workers {
            worker.postbox.post(Message::Stop);
        }
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.end_workers();
    }
}

impl Datapath for Dataplane {
    fn attach(&mut self, setup: PortSetup) -> Vec<(u16, RingError)> {
        let parked = self.parked.remove(&setup.port);
        let built = build(&setup, parked);
        self.switch.counters().port(setup.port).add_drops(DropReason::ReceiverDown, built.lost);
        let port = setup.port;
        self.run(port, built, Some(AttachedGuest::new(setup)))
    }

    fn attach_device(&mut self, port: PortIndex, device: Device) {
        self.detach(port);
        self.run(port, build_device(port, device), None);
    }

    fn exchange_link(&mut self, port: PortIndex, link: u8, queue: DeviceQueue) {
        self.exchange(port, link, queue);
    }

    fn rest(&mut self) {
        self.ask(|_, acknowledge| Some(Message::Rest { acknowledge }));
    }

    fn work(&mut self) {
        for worker in &self.workers {
            worker.postbox.post(Message::Work);
        }
    }

    fn detach(&mut self, port: PortIndex) -> Vec<RingPosition> {
        let Some(attached) = self.attached.remove(&port) else { return Vec::new() };
        self.assignment.remove(port);
        let what = || Belongings::Port(port);
        let inlets = self.ask(|_, acknowledge| Some(Message::Detach { what: what(), acknowledge }));
        self.held.forget(port, &self.switch);
        let position = |mut inlet: Inlet| {
            let index = inlet.index;
            inlet.way.position().map(|base| RingPosition { index, base })
        };
        let mut positions: Vec<RingPosition> = inlets.into_iter().filter_map(position).collect();
        if let Some(mut outlet) = attached.outlet.and_then(into_inner) {
            // Frames are laid out for what the port takes; a device's are for nobody else.
            let features = attached.guest.map_or(NO_FEATURES, |guest| guest.features);
            let mut parked = Parked::new(features, outlet.steering.take());
            for (position, index, backlog) in outlet.take_apart() {
                positions.extend(position);
                parked.add(index, backlog);
            }
            self.parked.insert(port, parked);
        }
        positions.sort_unstable_by_key(|position| position.index);
        positions
    }

    fn announce(&mut self, port: PortIndex, frame: Vec<u8>) {
        let (now, networks) =
            (Instant::now(), self.policy.port(port).map_or(0, |port| port.networks().len()));
        if networks > 1 {
            let next = self.announced.entry(port).or_insert(now);
            if now < *next {
                return;
            }
            *next = now + ANNOUNCE_PAUSE * u32::try_from(networks).unwrap_or(u32::MAX);
        }
        if let Some(worker) = self.workers.get(self.worker_of(port)) {
            worker.postbox.post(Message::Announce { port, frame });
        }
    }

    fn emit(&mut self, port: PortIndex, link: u8, frame: Vec<u8>) {
        if let Some(worker) = self.workers.get(self.worker_of(port)) {
            worker.postbox.post(Message::Emit { port, link, frame });
        }
    }

    fn purge(&mut self, port: PortIndex, link: u8) {
        self.purge_link(port, link, DropReason::ReceiverDown);
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        self.switch.prepare(&policy);
        let before = std::mem::replace(&mut self.policy, Arc::clone(&policy));
        self.ask(|_, acknowledge| Some(Message::SetPolicy { policy: Arc::clone(&policy), acknowledge }));
        self.purge_closed(&before);
        self.purge_moved(&before);
        self.end_translations(&before);
    }

    fn watch(&mut self, wanted: Wanted) -> (Watch, Arc<TapCounters>) {
        let (watch, counters, taps) = taps(self.workers.len(), wanted);
        for (worker, tap) in self.workers.iter().zip(taps) {
            worker.postbox.post(Message::Tap(tap));
        }
        (watch, counters)
    }

    fn capture(&mut self, wanted: CaptureWanted) -> (CaptureReader, Arc<CaptureShared>) {
        let (reader, shared, captures) = captures(self.workers.len(), wanted, self.started);
        for (worker, capture) in self.workers.iter().zip(captures) {
            worker.postbox.post(Message::Capture(Box::new(capture)));
        }
        (reader, shared)
    }

    fn pulse(&mut self) -> Pulse {
        let (pulse, beats) = Pulse::of(self.workers.iter().map(|worker| worker.cpu).collect());
        for (worker, beat) in self.workers.iter().zip(beats) {
            worker.postbox.post(Message::Pulse(beat));
        }
        pulse
    }

    fn forget(&mut self, port: PortIndex) {
        self.abandon(port);
    }

    fn set_shaping(&mut self, wanted: Vec<TreeSetup>) -> Vec<(Arc<str>, PlanError)> {
        self.change_trees(wanted)
    }

    fn shaping(&self) -> Vec<ShapingReport> {
        self.report_trees()
    }

    fn set_polling(&mut self, polling: Polling) {
        self.ask(|_, acknowledge| Some(Message::SetPolling { polling, acknowledge }));
    }
}
