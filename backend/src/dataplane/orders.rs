//! What the control thread has a worker do, by messages that are taken between bursts: rings and ways out come and go,
//! frames of its own leave.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use viaduct_switch::{DropReason, PortIndex};

use super::Signal;
use super::inlet::Inlet;
use super::message::{Belongings, Message};
use super::outlet::{Kick, Outlet};
use super::poller::Wake;
use super::switching::Entry;
use super::worker::Worker;

/// Time between two looks for messages while it rests: it is told several things within a millisecond then.
const NAP: Duration = Duration::from_micros(20);

/// How long what waits may take before it rests.
const SETTLE: Duration = Duration::from_micros(500);

impl Worker {
    /// Handles all messages, also those that come while it is to rest; says whether to stop.
    pub(super) fn take_messages(&mut self) -> bool {
        let mut rests = false;
        while self.take_waiting(&mut rests) {
            if !rests {
                return false;
            }
            thread::sleep(NAP);
        }
        true
    }

    /// Handles the messages that are there; says whether to go on.
    fn take_waiting(&mut self, rests: &mut bool) -> bool {
        while let Some(message) = self.mailbox.take() {
            match message {
                Message::Attach { outlet, watch, inlets, acknowledge } => {
                    self.attach(outlet, watch, inlets);
                    acknowledge.done(Vec::new());
                }
                Message::Detach { what, acknowledge } => acknowledge.done(self.detach(&what)),
                Message::SetPolicy { policy, acknowledge } => {
                    self.replicator.keep_to(&policy);
                    self.state.set_policy(policy);
                    self.fit_pressures();
                    self.shaping.classes.clear();
                    acknowledge.done(Vec::new());
                }
                Message::SetPolling { polling, acknowledge } => {
                    self.set_polling(polling);
                    acknowledge.done(Vec::new());
                }
                Message::Mute { port, descriptor } => self.mute(port, descriptor),
                Message::Announce { port, frame } => self.announce(port, &frame),
                Message::Inject { port, network, frame, ticket } => {
                    self.inject(port, network, &frame);
                    drop(ticket);
                }
                Message::Emit { port, link, mut frame } => self.emit(port, link, &mut frame),
                Message::SetTrees { table, acknowledge } => {
                    self.shaping.set_table(table);
                    acknowledge.done(Vec::new());
                }
                Message::Depart { tree, at } => self.shaping.bring(tree, at),
                Message::Tap(tap) => self.taps.add(tap),
                Message::Capture(capture) => self.taps.add_capture(*capture),
                Message::Pulse(beat) => beat.give(),
                Message::Rest { acknowledge } => {
                    *rests = true;
                    self.settle();
                    acknowledge.done(Vec::new());
                }
                Message::Work => *rests = false,
                Message::Stop => return false,
            }
        }
        true
    }

    /// Brings what waits to its receivers, as far as that takes no longer than a moment.
    fn settle(&mut self) {
        let end = Instant::now() + SETTLE;
        let mut now = Instant::now();
        while now < end && !(self.replicator.is_empty() && self.waiting.is_empty()) {
            self.replicate(now);
            self.see_to_trees(now);
            self.retry_waiting(now);
            now = Instant::now();
        }
    }

    fn attach(&mut self, outlet: Option<Arc<Outlet>>, watch: bool, inlets: Vec<Inlet>) {
        for inlet in inlets {
            self.add_inlet(inlet);
        }
        if let Some(outlet) = outlet.as_ref().filter(|_| watch) {
            self.watch_outlet(outlet);
        }
        if let Some(outlet) = outlet {
            self.put_outlet(outlet);
        }
        self.count_rings();
    }

    /// Takes stock after rings came or went.
    fn count_rings(&mut self) {
        self.ring_count = self.inlets.iter().flatten().count();
        self.places.iter_mut().for_each(Vec::clear);
        for (place, inlet) in (0..).zip(&self.inlets) {
            if let Some(inlet) = inlet
                && let Some(places) = self.places.get_mut(inlet.port.get())
            {
                places.push(place);
            }
        }
        self.kickless = self.has_kickless();
        self.shared.rings.store(self.ring_count as u64, Ordering::Relaxed);
    }

    /// Writes no more to an eventfd that held up a worker; the guest that made it so goes without.
    fn mute(&mut self, port: PortIndex, descriptor: RawFd) {
        let drop_if_it = |signal: &mut Option<Signal>| {
            signal.take_if(|signal| signal.as_raw_fd() == descriptor);
        };
        for inlet in self.inlets.iter_mut().flatten().filter(|inlet| inlet.port == port) {
            drop_if_it(&mut inlet.call);
            drop_if_it(&mut inlet.error);
        }
        let outlet = self.outlets.get(port.get()).and_then(Option::as_ref);
        for queue in outlet.iter().flat_map(|outlet| &outlet.queues) {
            let mut queue = queue.lock();
            drop_if_it(&mut queue.call);
            drop_if_it(&mut queue.error);
        }
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
        // Polled as soon as it may be read.
        inlet.polled = false;
        inlet.way.disarm();
        match self.inlets.get_mut(place) {
            Some(free) => *free = Some(inlet),
            None => self.inlets.push(Some(inlet)),
        }
        self.fit_newcomer(number);
    }

    fn detach(&mut self, what: &Belongings) -> Vec<Inlet> {
        if let &Belongings::Port(port) = what {
            let outlet = self.outlets.get_mut(port.get()).and_then(Option::take);
            for kick in outlet.iter().flat_map(|outlet| &outlet.kicks).filter_map(Kick::descriptor) {
                self.poller.remove(kick);
            }
            self.waiting.retain(|(waiting, ..)| *waiting != port);
        }
        self.part_with_pauses(what);
        let belongs = |inlet: &mut Inlet| what.include(inlet);
        let mut taken: Vec<Inlet> =
            self.inlets.iter_mut().filter_map(|place| place.take_if(belongs)).collect();
        taken.iter_mut().for_each(|inlet| inlet.notify(&self.shared));
        for kick in taken.iter().filter_map(|inlet| inlet.kick.as_ref()) {
            self.poller.remove(kick.as_raw_fd());
        }
        let inlets = &self.inlets;
        self.polled.retain(|place| inlets.get(*place as usize).is_some_and(Option::is_some));
        self.count_rings();
        taken
    }

    fn announce(&mut self, port: PortIndex, frame: &[u8]) {
        for mut tagged in self.state.policy().announcements(port, frame) {
            self.burst.load(port, &mut tagged);
            self.switch_burst(0, Instant::now(), Entry::Anew);
            self.readmit(Instant::now());
        }
    }

    /// Lets a frame of the control thread's leave by a link of `port`, without asking the switch. A bond's links are its
    /// queues; every other port has one link, number 0, whose frames leave by the first queue.
    fn emit(&mut self, port: PortIndex, link: u8, frame: &mut [u8]) {
        let has_it = |outlet: &Arc<Outlet>| {
            link == 0 || (outlet.bond.is_some() && usize::from(link) < outlet.queues.len())
        };
        if !self.outlets.get(port.get()).and_then(Option::as_ref).is_some_and(has_it) {
            return self.switch.counters().port(port).add_drops(DropReason::ReceiverDown, 1);
        }
        self.burst.load(port, frame);
        self.outbox.clear();
        self.outbox.push(port, 0, false);
        self.deliver(Instant::now(), Some(u16::from(link)));
    }
}
