//! A worker: reads the transmit rings given to it, burst by burst, and delivers what it read.
//!
//! A ring is *polled* while frames come; after a spell without any it is *armed*: the guest is asked to kick,
//! and the ring is left alone until it does. With every ring armed the worker sleeps in epoll. Messages of the
//! control thread are taken between bursts, so that nothing of a ring is in use when it is given back.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use viaduct_switch::{DropReason, Nanos, PortIndex, Switch, WorkerState, ids::PORTS_MAX};

use super::delivery::{Delivered, Outbox, Send, Workshop, count};
use super::mailbox::{Mailbox, Message};
use super::outlet::{Outcome, Outlet};
use super::poller::{Poller, Wake};
use super::shared::{Reporter, WorkerShared};
use super::signal::report_error;
use super::{DataplaneEvent, Signal};
use crate::config::Polling;
use crate::ring::{Burst, RingError, TransmitRing};

/// How long a ring is polled without a frame before it is armed.
const SPIN: Duration = Duration::from_micros(50);

/// How often a worker that polls some rings looks for kicks of the others.
const LOOK_INTERVAL: Duration = Duration::from_micros(30);

/// How often a ring whose frontend gave no kick is looked at while the worker sleeps.
const KICKLESS_INTERVAL_MS: i32 = 1;

/// One transmit ring and what its worker keeps with it.
pub(super) struct Inlet {
    pub(super) index: u16,
    pub(super) ring: TransmitRing,
    pub(super) kick: Option<Signal>,
    pub(super) call: Option<Signal>,
    pub(super) error: Option<Signal>,
    pub(super) polled: bool,
    pub(super) broken: bool,
    pub(super) last_frame: Instant,
}

impl Inlet {
    fn call(&self) -> Option<RawFd> {
        self.call.as_ref().map(|call| call.as_raw_fd())
    }
}

/// What a worker is made of.
pub(super) struct Worker {
    switch: Arc<Switch>,
    state: WorkerState,
    polling: Polling,
    started: Instant,
    shared: Arc<WorkerShared>,
    mailbox: Mailbox,
    reporter: Reporter,
    poller: Poller,
    outlets: Vec<Option<Arc<Outlet>>>,
    inlets: Vec<Option<Inlet>>,
    /// Places in `inlets` of the rings that are polled.
    polled: Vec<u32>,
    /// Receive queues with frames waiting: port, queue, and since when.
    waiting: Vec<(PortIndex, u16, Instant)>,
    burst: Burst,
    outbox: Outbox,
    workshop: Workshop,
    looked: Instant,
}

/// What a worker is started with.
pub(super) struct WorkerParts {
    pub(super) switch: Arc<Switch>,
    pub(super) state: WorkerState,
    pub(super) polling: Polling,
    pub(super) started: Instant,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) mailbox: Mailbox,
    pub(super) reporter: Reporter,
    pub(super) poller: Poller,
}

impl Worker {
    pub(super) fn new(parts: WorkerParts) -> Option<Self> {
        Some(Self {
            switch: parts.switch,
            state: parts.state,
            polling: parts.polling,
            started: parts.started,
            shared: parts.shared,
            mailbox: parts.mailbox,
            reporter: parts.reporter,
            poller: parts.poller,
            outlets: (0..PORTS_MAX).map(|_| None).collect(),
            inlets: Vec::new(),
            polled: Vec::new(),
            waiting: Vec::new(),
            burst: Burst::new(PortIndex::new(0)?),
            outbox: Outbox::default(),
            workshop: Workshop::new(),
            looked: parts.started,
        })
    }

    /// Runs until the control thread says stop.
    pub(super) fn run(mut self) {
        loop {
            if self.mailbox.has_some() && self.take_messages() {
                return;
            }
            let now = Instant::now();
            self.poll_inlets(now);
            self.retry_waiting(now);
            self.look_for_kicks(now);
        }
    }

    /// Handles all messages; says whether to stop.
    fn take_messages(&mut self) -> bool {
        while let Some(message) = self.mailbox.take() {
            match message {
                Message::Attach { outlet, inlets, acknowledge } => {
                    self.attach(outlet, inlets);
                    acknowledge.done(Vec::new());
                }
                Message::Detach { port, acknowledge } => acknowledge.done(self.detach(port)),
                Message::SetPolicy { policy, acknowledge } => {
                    self.state.set_policy(policy);
                    acknowledge.done(Vec::new());
                }
                Message::Inject { port, mut frame } => self.inject(port, &mut frame),
                Message::Stop => return true,
            }
        }
        false
    }

    fn attach(&mut self, outlet: Option<Arc<Outlet>>, inlets: Vec<Inlet>) {
        let owner = !inlets.is_empty();
        for inlet in inlets {
            self.add_inlet(inlet);
        }
        let Some(outlet) = outlet else { return };
        if owner {
            self.watch_outlet(&outlet);
        }
        if let Some(place) = self.outlets.get_mut(outlet.port.get()) {
            *place = Some(outlet);
        }
        self.shared.rings.store(self.inlets.iter().flatten().count() as u64, Ordering::Relaxed);
    }

    fn add_inlet(&mut self, mut inlet: Inlet) {
        let place = self.inlets.iter().position(Option::is_none).unwrap_or(self.inlets.len());
        let Ok(number) = u32::try_from(place) else { return };
        if let Some(kick) = &inlet.kick {
            // Without the event the ring would never be looked at again: keep polling it then.
            if self.poller.add(kick.as_raw_fd(), Wake::Inlet(number)).is_err() {
                inlet.kick = None;
            }
        }
        inlet.polled = true;
        inlet.ring.core().disarm();
        self.polled.push(number);
        match self.inlets.get_mut(place) {
            Some(free) => *free = Some(inlet),
            None => self.inlets.push(Some(inlet)),
        }
    }

    /// Listens for the kicks of a port's receive rings; they matter only while frames wait for one.
    fn watch_outlet(&self, outlet: &Outlet) {
        for (queue, kick) in outlet.kicks.iter().enumerate() {
            let (Some(kick), Ok(queue)) = (kick, u16::try_from(queue)) else { continue };
            // A failure only means that waiting frames leave with the next one instead.
            let _ = self.poller.add(kick.as_raw_fd(), Wake::Outlet { port: outlet.port.raw(), queue });
        }
    }

    fn detach(&mut self, port: PortIndex) -> Vec<Inlet> {
        let outlet = self.outlets.get_mut(port.get()).and_then(Option::take);
        for kick in outlet.iter().flat_map(|outlet| &outlet.kicks).flatten() {
            self.poller.remove(kick.as_raw_fd());
        }
        self.waiting.retain(|(waiting, ..)| *waiting != port);
        let is_its = |inlet: &mut Inlet| inlet.ring.port() == port;
        let taken: Vec<Inlet> = self.inlets.iter_mut().filter_map(|place| place.take_if(is_its)).collect();
        for kick in taken.iter().filter_map(|inlet| inlet.kick.as_ref()) {
            self.poller.remove(kick.as_raw_fd());
        }
        let inlets = &self.inlets;
        self.polled.retain(|place| inlets.get(*place as usize).is_some_and(Option::is_some));
        self.shared.rings.store(self.inlets.iter().flatten().count() as u64, Ordering::Relaxed);
        taken
    }

    fn inject(&mut self, port: PortIndex, frame: &mut [u8]) {
        self.burst.load(port, frame);
        self.switch_burst(0, Instant::now());
    }

    /// Serves every polled ring once.
    fn poll_inlets(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&place) = self.polled.get(at) {
            let keep = match self.inlets.get_mut(place as usize).and_then(Option::as_mut) {
                Some(inlet) if !inlet.broken => match inlet.ring.read(&mut self.burst) {
                    Ok(0) => self.may_stay_polled(place, now),
                    Ok(_) => self.serve(place, now),
                    Err(error) => self.break_inlet(place, error),
                },
                _ => false,
            };
            if keep {
                at += 1;
            } else {
                self.polled.swap_remove(at);
            }
        }
    }

    /// Carries the burst that was just read from the ring in `place`.
    fn serve(&mut self, place: u32, now: Instant) -> bool {
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        inlet.last_frame = now;
        let pair = usize::from(inlet.index / 2);
        self.count_malformed(place);
        self.switch_burst(pair, now);
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        if inlet.ring.complete(&self.burst)
            && let Some(call) = inlet.call()
        {
            self.shared.watch.notify(call);
        }
        true
    }

    fn count_malformed(&self, place: u32) {
        let Some(inlet) = self.inlets.get(place as usize).and_then(Option::as_ref) else { return };
        let counters = self.switch.counters().port(inlet.ring.port());
        for (reason, frames) in self.burst.dropped.iter().filter(|(_, frames)| *frames > 0) {
            counters.add_drops(*reason, *frames);
        }
    }

    /// Lets the switch decide about the burst, and delivers it.
    fn switch_burst(&mut self, pair: usize, now: Instant) {
        let elapsed = u64::try_from((now - self.started).as_nanos()).unwrap_or(u64::MAX);
        self.outbox.clear();
        let (frames, _) = self.burst.parts();
        self.switch.process(&mut self.state, Nanos(elapsed), frames, &mut self.outbox);
        let (frames, segments) = self.burst.frames();
        let frames_len = frames.len() as u64;
        let mut delivered =
            Delivered { switch: &self.switch, frames, segments, workshop: &mut self.workshop };
        let flooded = self.outbox.flooded();
        let mut reached = 0;
        for group in self.outbox.groups() {
            let Some(first) = group.first() else { continue };
            match self.outlets.get(first.to.get()).and_then(Option::as_ref) {
                Some(outlet) => {
                    if flooded != 0 {
                        reached |= group.iter().fold(0, |bits, send| bits | send.bit());
                    }
                    let outcome = delivered.deliver(outlet, pair, group);
                    let queue = u16::try_from(pair % outlet.queues.len().max(1)).unwrap_or(0);
                    after_visit(&self.shared, &self.reporter, outlet, queue, &outcome);
                    if outcome.waiting && !self.waiting.iter().any(|w| (w.0, w.1) == (first.to, queue)) {
                        self.waiting.push((first.to, queue, now));
                    }
                }
                None => count_down(&self.switch, group),
            }
        }
        // A flood passes ports by whose drivers don't run; one that met no other was for nobody.
        let alone = u64::from((flooded & !reached).count_ones());
        if let (true, Some(frame)) = (alone > 0, frames.first()) {
            self.switch.counters().port(frame.meta.source).add_drops(DropReason::NoReceiver, alone);
        }
        self.shared.bursts.fetch_add(1, Ordering::Relaxed);
        self.shared.frames.fetch_add(frames_len, Ordering::Relaxed);
    }

    /// Moves on frames that wait for receive buffers. A receiver that takes none for a while is asked to kick.
    fn retry_waiting(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&(port, queue, since)) = self.waiting.get(at) {
            if self.retry(port, queue, now - since > SPIN) {
                at += 1;
            } else {
                self.waiting.swap_remove(at);
            }
        }
    }

    /// Says whether to try again at the next round.
    fn retry(&mut self, port: PortIndex, number: u16, arm: bool) -> bool {
        let Some(outlet) = self.outlets.get(port.get()).and_then(Option::as_ref) else { return false };
        let Some(queue) = outlet.queue(usize::from(number)) else { return false };
        let mut queue = queue.lock();
        let mut outcome = Outcome::default();
        queue.drain(&mut outcome);
        queue.finish(&mut outcome);
        let mut again = outcome.waiting;
        if again && arm && self.polling != Polling::Busy {
            // Buffers that came in while we armed would never be kicked for.
            again = queue.ring.core().arm().unwrap_or(false);
        }
        drop(queue);
        count(&self.switch, port, &outcome);
        after_visit(&self.shared, &self.reporter, outlet, number, &outcome);
        again
    }

    /// Decides whether a ring that had nothing is polled on.
    fn may_stay_polled(&mut self, place: u32, now: Instant) -> bool {
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        let spin = if self.polling == Polling::Interrupt { Duration::ZERO } else { SPIN };
        if self.polling == Polling::Busy || now.saturating_duration_since(inlet.last_frame) < spin {
            return true;
        }
        match inlet.ring.core().arm() {
            Ok(false) => {
                inlet.polled = false;
                false
            }
            // Something came while we armed: nobody kicks for it.
            Ok(true) => {
                inlet.ring.core().disarm();
                true
            }
            Err(error) => self.break_inlet(place, error),
        }
    }

    /// Stops a ring that the guest broke; never polled again until it is attached anew.
    fn break_inlet(&mut self, place: u32, error: RingError) -> bool {
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        inlet.broken = true;
        inlet.polled = false;
        report_error(&self.shared.watch, inlet.error.as_ref());
        let (port, ring) = (inlet.ring.port(), inlet.index);
        self.reporter.report(DataplaneEvent::RingBroken { port, ring, error });
        false
    }

    /// Sleeps if no ring is polled; else looks for kicks now and then.
    fn look_for_kicks(&mut self, now: Instant) {
        let idle = self.polled.is_empty() && self.waiting.is_empty() && self.polling != Polling::Busy;
        if !idle && now.saturating_duration_since(self.looked) < LOOK_INTERVAL {
            return;
        }
        let all_polled = self.polled.len() == self.inlets.iter().flatten().count();
        if !idle && all_polled && self.waiting.is_empty() {
            self.looked = now;
            return;
        }
        self.wait_for_kicks(idle);
        self.looked = Instant::now();
    }

    fn wait_for_kicks(&mut self, idle: bool) {
        let kickless = |inlet: &Inlet| inlet.kick.is_none() && !inlet.broken;
        let any_kickless = self.inlets.iter().flatten().any(kickless);
        let timeout_ms = match (idle, any_kickless) {
            (false, _) => 0,
            (true, true) => KICKLESS_INTERVAL_MS,
            (true, false) => -1,
        };
        self.shared.sleeps.fetch_add(u64::from(idle), Ordering::Relaxed);
        let now = Instant::now();
        for wake in self.poller.wait(timeout_ms) {
            match wake {
                Wake::Mailbox => {}
                Wake::Inlet(place) => wake_inlet(&mut self.inlets, &mut self.polled, place, now),
                Wake::Outlet { port, queue } => {
                    let port = PortIndex::new(usize::from(port));
                    let known =
                        port.filter(|port| !self.waiting.iter().any(|w| (w.0, w.1) == (*port, queue)));
                    self.waiting.extend(known.map(|port| (port, queue, now)));
                }
            }
        }
        if any_kickless && idle {
            for place in 0..u32::try_from(self.inlets.len()).unwrap_or(0) {
                if self.inlets.get(place as usize).and_then(Option::as_ref).is_some_and(kickless) {
                    wake_inlet(&mut self.inlets, &mut self.polled, place, now);
                }
            }
        }
    }
}

/// Polls a ring again after a kick.
fn wake_inlet(inlets: &mut [Option<Inlet>], polled: &mut Vec<u32>, place: u32, now: Instant) {
    let Some(inlet) = inlets.get_mut(place as usize).and_then(Option::as_mut) else { return };
    if inlet.polled || inlet.broken {
        return;
    }
    inlet.polled = true;
    inlet.last_frame = now;
    inlet.ring.core().disarm();
    polled.push(place);
}

/// Frames for a port whose driver does not run: a flood passes it by, the rest is counted there.
fn count_down(switch: &Switch, group: &[Send]) {
    let frames = group.iter().filter(|send| !send.is_flooded()).count() as u64;
    if let Some(first) = group.first() {
        switch.counters().port(first.to).add_drops(DropReason::ReceiverDown, frames);
    }
}

/// Tells the guest, and the control side if the ring broke.
fn after_visit(shared: &WorkerShared, reporter: &Reporter, outlet: &Outlet, queue: u16, outcome: &Outcome) {
    if let Some(call) = outcome.notify {
        shared.watch.notify(call);
    }
    if let Some(error) = outcome.broke
        && let Some(queue) = outlet.queue(usize::from(queue))
    {
        let queue = queue.lock();
        report_error(&shared.watch, queue.error.as_ref());
        reporter.report(DataplaneEvent::RingBroken { port: outlet.port, ring: queue.index, error });
    }
}
