//! The data path: workers that carry frames from ring to ring, and the control side's handle on them.
//!
//! The control thread hands a port's rings over with [`Dataplane::attach`] and takes them back with
//! [`Dataplane::detach`], which returns once every worker has let go of them at a burst boundary. Whatever
//! changes (an address, an eventfd, the memory map), the port is detached, changed and attached again.

mod backlog;
mod build;
mod delivery;
mod mailbox;
mod outlet;
mod poller;
mod shared;
mod signal;
mod worker;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use viaduct_switch::{Nanos, Policy, PortIndex, Switch, WorkerState};
use vmm_sys_util::eventfd::EventFd;

use self::build::build;
use self::mailbox::{Acknowledge, Message, Postbox, mailbox};
use self::outlet::Outlet;
use self::poller::{Poller, Wake};
use self::shared::{Reporter, WorkerShared};
use self::worker::{Inlet, Worker, WorkerParts};
use crate::config::Polling;
use crate::memory::{DirtyLog, GuestMemory};
use crate::model::WorkerStatus;
use crate::ring::RingError;

/// What the control side asks of the data path.
pub trait Datapath {
    /// Starts a port's rings. Gives the rings that could not start, with the reason; the others run.
    fn attach(&mut self, setup: PortSetup) -> Vec<(u16, RingError)>;

    /// Takes a port's rings back, once every worker has let go of them at a burst boundary; empty if the port
    /// was not attached.
    fn detach(&mut self, port: PortIndex) -> Vec<RingPosition>;

    /// Lets a frame enter the switch at `port` as if its guest had sent it.
    fn inject(&mut self, port: PortIndex, frame: Vec<u8>);

    /// Makes every worker use `policy`; returns once they do.
    fn set_policy(&mut self, policy: Arc<Policy>);
}

/// What the data path tells the control side.
#[derive(Debug)]
pub enum DataplaneEvent {
    /// The guest broke a ring: it is stopped, and the others of the port run on.
    RingBroken {
        /// The port.
        port: PortIndex,
        /// The ring's number.
        ring: u16,
        /// What was wrong.
        error: RingError,
    },
}

/// An eventfd shared by the session and the data path; checked to be an eventfd when it came in.
pub type Signal = Arc<OwnedFd>;

/// All that the data path needs to run one port's rings.
#[derive(Clone, Debug)]
pub struct PortSetup {
    /// The port.
    pub port: PortIndex,
    /// Virtio features in force (those that the driver accepted).
    pub features: u64,
    /// The guest's memory as it is mapped now.
    pub memory: GuestMemory,
    /// Where writes to the guest's memory are noted while it is being migrated.
    pub log: Option<Arc<DirtyLog>>,
    /// The rings to run: started and enabled ones only.
    pub rings: Vec<RingSetup>,
}

/// One split ring, as the frontend described it.
#[derive(Clone, Debug)]
pub struct RingSetup {
    /// Its number: even ones receive for the guest, odd ones transmit (virtio 1.2, 5.1.2).
    pub index: u16,
    /// Entries: a power of two, 1 to 32768.
    pub size: u16,
    /// Available entries consumed so far, modulo 65536.
    pub base: u16,
    /// Address of the descriptor table, in the frontend's address space.
    pub descriptor: u64,
    /// Address of the available ring, in the frontend's address space.
    pub available: u64,
    /// Address of the used ring, in the frontend's address space.
    pub used: u64,
    /// The used ring's guest-physical address, if its writes are to be noted in the dirty log.
    pub used_log: Option<u64>,
    /// Written by the guest when it made buffers available; `None`: the ring has to be polled.
    pub kick: Option<Signal>,
    /// Written by us when we used buffers; `None`: the guest polls.
    pub call: Option<Signal>,
    /// Written by us when the ring is broken.
    pub error: Option<Signal>,
}

/// Where a ring stopped: what SET_VRING_BASE takes to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingPosition {
    /// The ring's number.
    pub index: u16,
    /// Available entries consumed so far, modulo 65536; all of them are completed.
    pub base: u16,
}

/// Why the data path could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// No processor was given.
    #[error("switch.cpus names no processor: give at least one, such as cpus = [0]")]
    NoCpu,
    /// The kernel refused something that a worker needs.
    #[error("cannot start the worker for processor {cpu}: {error}")]
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
    postbox: Postbox,
    shared: Arc<WorkerShared>,
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
    attached: HashMap<PortIndex, Attached>,
    reporter: Reporter,
    events: Receiver<DataplaneEvent>,
}

/// What the control thread keeps of a port whose rings run.
struct Attached {
    outlet: Option<Arc<Outlet>>,
    memory: GuestMemory,
    poisoned: bool,
}

/// How long the control thread waits for an acknowledgement before it looks for a stuck worker.
const PATIENCE: Duration = Duration::from_millis(50);

/// Entries of the fdb that one tick looks at for ageing.
const EXPIRE_BUDGET: usize = 4096;

impl Dataplane {
    /// Starts one worker for each of `cpus`, pinned to it.
    pub fn start(
        switch: Arc<Switch>,
        policy: Arc<Policy>,
        cpus: &[usize],
        polling: Polling,
    ) -> Result<Self, DataplaneError> {
        if cpus.is_empty() {
            return Err(DataplaneError::NoCpu);
        }
        let (sender, events) = channel();
        let refused = |error| DataplaneError::Start { cpu: cpus[0], error };
        let wake = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(refused)?;
        let reporter = Reporter { events: sender, wake: Arc::new(wake) };
        let started = Instant::now();
        let mut dataplane =
            Self { switch, policy, started, workers: Vec::new(), attached: HashMap::new(), reporter, events };
        for &cpu in cpus {
            let worker = dataplane.start_worker(cpu, polling);
            dataplane.workers.push(worker.map_err(|error| DataplaneError::Start { cpu, error })?);
        }
        Ok(dataplane)
    }

    fn start_worker(&self, cpu: usize, polling: Polling) -> io::Result<WorkerHandle> {
        let (postbox, mailbox) = mailbox()?;
        let poller = Poller::new()?;
        poller.add(mailbox.wake_descriptor(), Wake::Mailbox)?;
        let shared = Arc::new(WorkerShared::default());
        let parts = WorkerParts {
            switch: Arc::clone(&self.switch),
            state: WorkerState::new(Arc::clone(&self.policy)),
            polling,
            started: self.started,
            shared: Arc::clone(&shared),
            mailbox,
            reporter: self.reporter.clone(),
            poller,
        };
        let run = move || {
            pin_to(cpu);
            if let Some(worker) = Worker::new(parts) {
                worker.run();
            }
        };
        let thread = thread::Builder::new().name(format!("worker-{cpu}")).spawn(run)?;
        Ok(WorkerHandle { cpu, postbox, shared, thread: Some(thread), watched: 0 })
    }

    /// The switch that the workers run.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
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
        self.events.try_iter().collect()
    }

    /// To be called about every 100 ms while ports are attached: frees workers that a peer blocked, lets
    /// addresses age, and reports guests whose memory file shrank.
    pub fn tick(&mut self) {
        self.unblock_workers();
        self.switch.expire(self.now(), &self.policy, EXPIRE_BUDGET);
        for (&port, attached) in &mut self.attached {
            if !attached.poisoned && attached.memory.is_poisoned() {
                attached.poisoned = true;
                let error = RingError::MemoryGone;
                self.reporter.report(DataplaneEvent::RingBroken { port, ring: 0, error });
            }
        }
    }

    fn unblock_workers(&mut self) {
        for worker in &mut self.workers {
            worker.watched = worker.shared.watch.unblock(worker.watched);
        }
    }

    /// Each worker's counters.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let status = |worker: &WorkerHandle| WorkerStatus {
            cpu: worker.cpu,
            rings: worker.shared.rings.load(Ordering::Relaxed),
            bursts: worker.shared.bursts.load(Ordering::Relaxed),
            frames: worker.shared.frames.load(Ordering::Relaxed),
            sleeps: worker.shared.sleeps.load(Ordering::Relaxed),
        };
        self.workers.iter().map(status).collect()
    }

    /// Sends each worker a message and waits until all have handled it; gives what they gave back.
    fn ask_all(&mut self, message: impl Fn(usize, Acknowledge) -> Message) -> Vec<Inlet> {
        let (sender, answers) = channel();
        for (number, worker) in self.workers.iter().enumerate() {
            worker.postbox.post(message(number, Acknowledge(sender.clone())));
        }
        drop(sender);
        let mut inlets = Vec::new();
        loop {
            match answers.recv_timeout(PATIENCE) {
                Ok(given) => inlets.extend(given),
                Err(RecvTimeoutError::Timeout) => self.unblock_workers(),
                Err(RecvTimeoutError::Disconnected) => return inlets,
            }
        }
    }

    /// The worker that reads a port's queue pair: pairs and ports are spread evenly.
    fn worker_of(&self, port: PortIndex, ring: u16) -> usize {
        (port.get() + usize::from(ring / 2)) % self.workers.len().max(1)
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
        let built = build(&setup);
        let outlet = built.outlet.map(Arc::new);
        let attached = Attached { outlet: outlet.clone(), memory: setup.memory, poisoned: false };
        self.attached.insert(setup.port, attached);
        let mut shares: Vec<Vec<Inlet>> = self.workers.iter().map(|_| Vec::new()).collect();
        for inlet in built.inlets {
            let worker = self.worker_of(setup.port, inlet.index);
            if let Some(share) = shares.get_mut(worker) {
                share.push(inlet);
            }
        }
        let shares = RefCell::new(shares);
        self.ask_all(|number, acknowledge| {
            let inlets = shares.borrow_mut().get_mut(number).map(std::mem::take).unwrap_or_default();
            Message::Attach { outlet: outlet.clone(), inlets, acknowledge }
        });
        built.refused
    }

    fn detach(&mut self, port: PortIndex) -> Vec<RingPosition> {
        let Some(attached) = self.attached.remove(&port) else { return Vec::new() };
        let inlets = self.ask_all(|_, acknowledge| Message::Detach { port, acknowledge });
        let position =
            |mut inlet: Inlet| RingPosition { index: inlet.index, base: inlet.ring.core().position() };
        let mut positions: Vec<RingPosition> = inlets.into_iter().map(position).collect();
        let outlet = attached.outlet.and_then(Arc::into_inner);
        positions.extend(outlet.into_iter().flat_map(|outlet| outlet.positions(&self.switch)));
        positions.sort_unstable_by_key(|position| position.index);
        positions
    }

    fn inject(&mut self, port: PortIndex, frame: Vec<u8>) {
        if let Some(worker) = self.workers.get(self.worker_of(port, 0)) {
            worker.postbox.post(Message::Inject { port, frame });
        }
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = Arc::clone(&policy);
        self.ask_all(|_, acknowledge| Message::SetPolicy { policy: Arc::clone(&policy), acknowledge });
    }
}

/// Keeps the calling thread on one processor. A machine without that processor runs it anywhere.
fn pin_to(cpu: usize) {
    // SAFETY: all-zero is an empty set, and CPU_SET checks the number against the set's size.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is a whole `cpu_set_t`; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

#[cfg(test)]
mod tests;
