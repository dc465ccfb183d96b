//! The switch: a burst of frames goes in, and out come calls of the caller's [`Egress`].

use std::sync::Arc;

use crate::counters::{Counters, FdbSnapshot, Tally};
use crate::decision::{Action, Decision, Scene, address_at};
use crate::fdb::{Fdb, FdbEntry, Key, Limits, Sighting};
use crate::frame::Frame;
use crate::ids::PortIndex;
use crate::policy::Policy;
use crate::stages;
use crate::storm::{StormClass, StormMeters};
use crate::time::Nanos;

/// Where frames leave the switch. `P` is the frames' payload.
pub trait Egress<P> {
    /// Lets `frame`, which stands at position `slot` of the burst, leave by port `to` alone. A frame for
    /// which there is no call was dropped and counted.
    fn send(&mut self, to: PortIndex, slot: usize, frame: &Frame<P>);

    /// Lets copies of `frame`, which stands at position `slot` of the burst, leave by all of `receivers`
    /// but the frame's own port, which may be among them. `receivers` ascend.
    fn flood(&mut self, receivers: &[PortIndex], slot: usize, frame: &Frame<P>);
}

/// The switch: what all workers share.
#[derive(Debug)]
pub struct Switch {
    fdb: Fdb,
    counters: Counters,
    storm: StormMeters,
}

/// What one worker has for itself.
#[derive(Debug)]
pub struct WorkerState {
    policy: Arc<Policy>,
}

impl WorkerState {
    /// A worker that goes by `policy`.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }

    /// Goes by `policy` from the next burst on.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// The policy that the worker goes by.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}

impl Switch {
    /// A switch that knows no address yet. `seed` must be random and unknown to the guests, which choose
    /// the addresses that are hashed.
    #[must_use]
    pub fn new(seed: u64, limits: Limits) -> Self {
        Self { fdb: Fdb::new(seed, limits), counters: Counters::default(), storm: StormMeters::default() }
    }

    /// Takes in a burst of frames, all from one source port, and sends them on in order. No lock is
    /// waited for and nothing is allocated.
    pub fn process<P>(
        &self,
        worker: &mut WorkerState,
        now: Nanos,
        burst: &mut [Frame<P>],
        egress: &mut impl Egress<P>,
    ) {
        let Some(first) = burst.first() else { return };
        let (policy, source) = (&*worker.policy, first.meta.source);
        let scene = Scene { policy, fdb: &self.fdb, now_s: now.seconds(), source, port: policy.port(source) };
        let mut commit = Commit {
            scene: &scene,
            counters: &self.counters,
            storm: &self.storm,
            now,
            tally: Tally::default(),
            learned: None,
            egress,
        };
        for (slot, frame) in burst.iter().enumerate() {
            debug_assert_eq!(frame.meta.source, source, "a burst comes from one port");
            let decision = stages::decide(&scene, frame.head.bytes(), &frame.meta);
            commit.frame(slot, frame, &decision);
        }
        self.counters.port(source).add_entered(&commit.tally);
    }

    /// Forgets addresses that were silent too long, or whose port left their network. Looks at about
    /// `budget` entries and goes on from there at the next call.
    pub fn expire(&self, now: Nanos, policy: &Policy, budget: usize) {
        self.fdb.expire(now.seconds(), policy, budget, &self.counters.fdb);
    }

    /// Forgets all addresses learned at `port`. Its counters stay: see
    /// [`PortCounters::reset`](crate::counters::PortCounters::reset).
    pub fn forget_port(&self, port: PortIndex) {
        self.fdb.forget_port(port, &self.counters.fdb);
    }

    /// The addresses known now, in no particular order.
    #[must_use]
    pub fn fdb(&self, now: Nanos, policy: &Policy) -> Vec<FdbEntry> {
        self.fdb.entries(now.seconds(), policy)
    }

    /// The counters of ports and tables.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the address table did so far.
    #[must_use]
    pub fn fdb_counters(&self) -> FdbSnapshot {
        self.counters.fdb.snapshot()
    }
}

/// Carries out decisions: the only place where a frame has effects.
struct Commit<'a, E> {
    scene: &'a Scene<'a>,
    counters: &'a Counters,
    storm: &'a StormMeters,
    now: Nanos,
    tally: Tally,
    /// The address that the burst's last frame taught: a guest's burst mostly has one sender.
    learned: Option<Key>,
    egress: &'a mut E,
}

impl<E> Commit<'_, E> {
    #[inline]
    fn frame<P>(&mut self, slot: usize, frame: &Frame<P>, decision: &Decision)
    where
        E: Egress<P>,
    {
        self.tally.received(frame.meta.length);
        for &action in decision.actions() {
            match action {
                Action::Learn(network) => {
                    self.learn(Key::new(network, address_at::<6>(frame.head.bytes())));
                }
                Action::Meter(class) if !self.admits(class) => {
                    return self.tally.dropped(class.drop_reason());
                }
                Action::Meter(_) => {}
                Action::Output(port) => self.egress.send(port, slot, frame),
                Action::Flood(network) => {
                    let members = self.scene.policy.network(network).map_or(&[][..], |n| n.members());
                    self.egress.flood(members, slot, frame);
                }
                Action::Drop(reason) => self.tally.dropped(reason),
            }
        }
    }

    #[cold]
    fn admits(&self, class: StormClass) -> bool {
        let Scene { source, port, .. } = *self.scene;
        port.is_none_or(|port| self.storm.admits(source, class, &port.storm, self.now))
    }

    #[inline]
    fn learn(&mut self, key: Key) {
        if self.learned == Some(key) {
            return;
        }
        self.learned = Some(key);
        let Scene { source: port, now_s, policy, .. } = *self.scene;
        self.scene.fdb.learn(&Sighting { key, port, now_s, policy, counters: &self.counters.fdb });
    }
}

#[cfg(test)]
mod tests;
