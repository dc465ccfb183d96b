//! A worker: reads the transmit rings given to it, burst by burst, and delivers what it read.
//!
//! A ring is *polled* while frames come; after a spell without any it is *armed*: the guest is asked to kick,
//! and the ring is left alone until it does. With every ring armed the worker sleeps in epoll. Messages of the
//! control thread are taken between bursts, so that nothing of a ring is in use when it is given back.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use viaduct_switch::{DropReason, PortIndex, Switch, WorkerState, ids::PORTS_MAX};

use super::delivery::{Delivered, Outbox, Released, Workshop, count};
use super::held::HeldFragments;
use super::inlet::Inlet;
use super::message::Message;
use super::outlet::{Kick, Outcome, Outlet};
use super::poller::{Poller, Wake};
use super::replicator::{FloodMemory, Replicator};
use super::shaping::{Agenda, Shaping};
use super::shared::{Reporter, WorkerShared, add, elapsed};
use super::steering::seconds;
use super::sync::mailbox::Mailbox;
use super::tap::Taps;
use super::visits::{ADDRESSEES, Delivery, after_visit};
use super::way::Fault;
use crate::config::Polling;
use crate::ring::{BURST_FRAMES, Burst};

/// How long a receiver is tried that has no buffers before it is asked to kick.
const SPIN: Duration = Duration::from_micros(50);

/// Receivers with waiting frames that one round tries at most.
const RETRIES: usize = 64;

/// What moving waiting frames may cost, in bytes, before a round tries no more receivers.
const RETRY_COST: u64 = 256 << 10;

/// What a worker is made of.
pub(super) struct Worker {
    pub(super) switch: Arc<Switch>,
    pub(super) state: WorkerState,
    pub(super) polling: Polling,
    pub(super) started: Instant,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) mailbox: Mailbox<Message>,
    pub(super) reporter: Reporter,
    pub(super) poller: Poller,
    pub(super) outlets: Vec<Option<Arc<Outlet>>>,
    pub(super) inlets: Vec<Option<Inlet>>,
    /// Places in `inlets` of the rings that are polled.
    pub(super) polled: Vec<u32>,
    /// Receive queues with frames waiting: port, queue, and since when.
    pub(super) waiting: Vec<(PortIndex, u16, Instant)>,
    pub(super) burst: Burst,
    /// Room for what a frame of it is taken apart into.
    pub(super) apart: Burst,
    pub(super) outbox: Outbox,
    pub(super) workshop: Workshop,
    /// Floods to many receivers, which get their copies round by round.
    pub(super) replicator: Replicator,
    /// The place in `waiting` that is tried next.
    pub(super) retry_next: usize,
    /// Transmit rings that it has.
    pub(super) ring_count: usize,
    /// Some rings have no kick.
    pub(super) kickless: bool,
    /// When kicks were last looked for.
    pub(super) looked: Instant,
    /// When the rings without a kick were last looked at.
    pub(super) looked_at_kickless: Instant,
    /// Where the transmit rings of each port are in `inlets`.
    pub(super) places: Vec<Vec<u32>>,
    /// The next time to look at an armed ring without a kick, and which.
    pub(super) foreseen: Option<(Instant, u32)>,
    /// When the last round began or the last sleep ended.
    pub(super) round: Instant,
    /// Bursts that it had carried when a round's time was last taken note of.
    pub(super) noted_bursts: u64,
    /// Others want the processor, until then.
    pub(super) crowded: Instant,
    /// Who watches.
    pub(super) taps: Taps,
    /// The trees before ports' queues.
    pub(super) shaping: Shaping,
    /// When rings that pause are to be read again, by their places in `inlets`.
    pub(super) pauses: Agenda,
    /// Fragments that wait for the first one of their datagram, and those that wait no longer.
    pub(super) held: Arc<HeldFragments>,
    pub(super) released: Vec<Released>,
}

/// What a worker is started with.
pub(super) struct WorkerParts {
    /// Its number.
    pub(super) number: usize,
    pub(super) switch: Arc<Switch>,
    pub(super) state: WorkerState,
    pub(super) polling: Polling,
    pub(super) started: Instant,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) mailbox: Mailbox<Message>,
    pub(super) reporter: Reporter,
    pub(super) poller: Poller,
    pub(super) flood_memory: Arc<FloodMemory>,
    pub(super) held: Arc<HeldFragments>,
}

impl Worker {
    pub(super) fn new(parts: WorkerParts) -> Option<Self> {
        let workshop = Workshop::of(&parts.reporter.offers);
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
            apart: Burst::new(PortIndex::new(0)?),
            outbox: Outbox::default(),
            workshop,
            replicator: Replicator::new(parts.flood_memory),
            retry_next: 0,
            ring_count: 0,
            kickless: false,
            looked: parts.started,
            looked_at_kickless: parts.started,
            places: (0..PORTS_MAX).map(|_| Vec::new()).collect(),
            foreseen: None,
            round: parts.started,
            noted_bursts: 0,
            crowded: parts.started,
            taps: Taps::default(),
            shaping: Shaping::new(parts.number),
            pauses: Agenda::default(),
            held: parts.held,
            released: Vec::with_capacity(BURST_FRAMES),
        })
    }

    /// Runs until the control thread says stop.
    pub(super) fn run(mut self) {
        let mut now = Instant::now();
        loop {
            if self.mailbox.has_some() {
                if self.take_messages() {
                    return;
                }
                now = Instant::now();
            }
            self.notice_absence(now);
            self.round(now);
            now = self.look_for_kicks(now);
        }
    }

    /// Does what there is to do for everybody once.
    #[inline]
    pub(super) fn round(&mut self, now: Instant) {
        self.end_pauses(now);
        self.poll_inlets(now);
        self.replicate(now);
        self.see_to_trees(now);
        self.retry_waiting(now);
    }

    /// Serves every polled ring once.
    fn poll_inlets(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&place) = self.polled.get(at) {
            let keep = match self.inlets.get_mut(place as usize).and_then(Option::as_mut) {
                Some(inlet) if !inlet.broken => {
                    if inlet.pressure.is_some() {
                        inlet.keep_to_room(elapsed(self.started, now));
                    }
                    match inlet.way.read(inlet.port, &mut self.burst) {
                        Ok(0) => self.may_stay_polled(place, now),
                        Ok(_) => self.serve(place, now),
                        Err(error) => self.break_inlet(place, error),
                    }
                }
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
        inlet.pace.arrived(now);
        inlet.meter.add(self.burst.frames().0.len() as u64, self.burst.bytes());
        let pair = inlet.index / 2;
        let cost = inlet.pressure.as_ref().map(|pressure| pressure.cost(&self.burst));
        let (port, link) = (inlet.port, inlet.link);
        self.count_malformed(place, now);
        self.note_flows(port, pair, now);
        self.switch_arrivals(link, now);
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        let wanted = inlet.way.complete(&self.burst);
        let (frames, bytes) = (self.burst.frames().0.len(), self.burst.bytes());
        if inlet.deferral.completed(wanted, frames, bytes, now) {
            inlet.notify(&self.shared);
        }
        self.readmit(now);
        cost.is_none_or(|cost| self.keep_turn(place, cost, now))
    }

    /// Takes note of the pair on which a guest with several of them sends each flow.
    #[inline]
    fn note_flows(&self, port: PortIndex, pair: u16, now: Instant) {
        let outlet = self.outlets.get(port.get()).and_then(Option::as_ref);
        let Some(steering) = outlet.and_then(|outlet| outlet.steering.as_ref()) else { return };
        for frame in self.burst.frames().0 {
            steering.note(frame.head.bytes(), pair, seconds(now - self.started));
        }
    }

    fn count_malformed(&mut self, place: u32, now: Instant) {
        let Some(inlet) = self.inlets.get(place as usize).and_then(Option::as_ref) else { return };
        let (port, counters) = (inlet.port, self.switch.counters().port(inlet.port));
        let mut dropped = self.burst.dropped.iter().filter(|(_, frames)| *frames > 0).peekable();
        if dropped.peek().is_some() && !self.taps.is_empty() {
            self.taps.leave_unread(port, &self.burst.dropped, elapsed(self.started, now));
        }
        for (reason, frames) in dropped {
            counters.add_drops(*reason, *frames);
        }
    }

    /// Brings the burst to its receivers, with the tags of its frames' networks if they have some; gives some of those
    /// who may answer.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        link: Option<u16>,
    ) -> [Option<(PortIndex, u16)>; ADDRESSEES] {
        let mergeable = self.burst.mergeable();
        let (frames, segments) = self.burst.parts();
        let (frames_len, source) = (frames.len() as u64, frames.first().map(|frame| frame.meta.source));
        let flooded = self.outbox.flooded();
        let mut delivery = Delivery {
            to: Delivered {
                switch: &self.switch,
                policy: link.is_none().then_some(self.state.policy()),
                frames,
                segments,
                workshop: &mut self.workshop,
                mergeable,
                now: elapsed(self.started, now),
                notes: self.taps.notes(),
            },
            outlets: &self.outlets,
            link,
            shaping: &mut self.shaping,
            shared: &self.shared,
            reporter: &self.reporter,
            waiting: &mut self.waiting,
            now,
            started: self.started,
            now_s: seconds(now - self.started),
            flooded,
            reached: 0,
            addressees: [None; ADDRESSEES],
            untold: None,
        };
        let (switch, policy) = (&self.switch, self.state.policy());
        delivery.all(self.outbox.visits(|one, other| switch.share_uplink(policy, one, other)));
        let (reached, addressees) = (delivery.reached, delivery.addressees);
        // A flood passes ports by whose drivers don't run; one that met no other was for nobody.
        let alone = u64::from((flooded & !reached).count_ones());
        if let (true, Some(source)) = (alone > 0, source) {
            self.switch.counters().port(source).add_drops(DropReason::NoReceiver, alone);
        }
        add(&self.shared.bursts, 1);
        add(&self.shared.frames, frames_len);
        addressees
    }

    /// Moves on frames that wait for receive buffers. A receiver that takes none for a while is asked to kick. Many
    /// receivers wait for their turn, so that they hold up nobody else.
    pub(super) fn retry_waiting(&mut self, now: Instant) {
        let mut cost = 0;
        for _ in 0..self.waiting.len().min(RETRIES) {
            if cost >= RETRY_COST {
                return;
            }
            let at = if self.retry_next < self.waiting.len() { self.retry_next } else { 0 };
            self.retry_next = at;
            let Some(&(port, queue, since)) = self.waiting.get(at) else { return };
            let (again, moving) = self.retry(port, queue, now.saturating_duration_since(since) > SPIN);
            cost += moving;
            if again {
                self.retry_next += 1;
            } else {
                self.waiting.swap_remove(at);
            }
        }
    }

    /// Says whether to try again at the next round, and what moving frames on cost.
    fn retry(&mut self, port: PortIndex, number: u16, arm: bool) -> (bool, u64) {
        let outlet = self.outlets.get(port.get()).and_then(Option::as_ref);
        let Some((outlet, queue)) = outlet.and_then(|outlet| Some((outlet, outlet.queue(number)?))) else {
            return (false, 0);
        };
        let mut queue = queue.lock();
        let mut outcome = Outcome::default();
        queue.listed = false;
        queue.drain(&mut outcome);
        queue.finish(&mut outcome);
        let mut again = outcome.waiting;
        if again && arm && self.polling != Polling::Busy {
            again = match outlet.kicks.get(usize::from(number)) {
                Some(Kick::Writable(device)) => {
                    let wake = Wake::Outlet { port: port.raw(), queue: number };
                    self.poller.watch_for_room(device.as_raw_fd(), wake).is_err()
                }
                // Buffers that came in while we armed would never be kicked for.
                _ => queue.arm(),
            };
            queue.listed = again;
        }
        drop(queue);
        count(&self.switch, port, &outcome);
        after_visit(&self.shared, &self.reporter, outlet, number, &outcome);
        (again, outcome.moving_cost())
    }

    /// Decides whether a ring that had nothing is polled on.
    fn may_stay_polled(&mut self, place: u32, now: Instant) -> bool {
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        let stays = match self.polling {
            Polling::Busy => true,
            Polling::Adaptive => inlet.pace.is_patient(now, now < self.crowded),
            Polling::Interrupt => false,
        };
        if !stays || inlet.deferral.is_due(now) {
            inlet.notify(&self.shared);
        }
        if stays {
            add(&self.shared.spins, 1);
            return true;
        }
        match inlet.way.arm() {
            Ok(false) => {
                inlet.polled = false;
                let next = inlet.pace.armed().filter(|_| self.polling == Polling::Adaptive);
                self.foresee(place, next, now);
                false
            }
            // Something came while we armed: nobody kicks for it.
            Ok(true) => {
                inlet.way.disarm();
                true
            }
            Err(error) => self.break_inlet(place, error),
        }
    }

    /// Stops a ring that the guest broke, or a device that failed; never polled again until it is attached anew.
    fn break_inlet(&mut self, place: u32, fault: Fault) -> bool {
        let Some(inlet) = self.inlets.get_mut(place as usize).and_then(Option::as_mut) else { return false };
        inlet.notify(&self.shared);
        (inlet.broken, inlet.polled) = (true, false);
        let (port, ring) = (inlet.port, inlet.index);
        if let Some(signal) = &inlet.error {
            self.shared.watch.notify(port, signal.as_raw_fd());
        }
        self.reporter.report(fault.into_event(port, ring));
        false
    }
}

/// Keeps the calling thread on one processor, and lets its sleeps end in time. A machine without that processor runs it anywhere.
pub(super) fn pin_to(cpu: usize) {
    // SAFETY: all-zero is an empty set, and CPU_SET checks the number against the set's size.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is a whole `cpu_set_t`; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    // Sleeps that are to end at a certain time end 50 us later unless told otherwise (prctl(2)).
    // SAFETY: sets a number of the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000) };
}
