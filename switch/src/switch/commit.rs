//! What was decided about a frame is carried out.

use super::Egress;
use super::judge::{Receivers, Rules};
use super::readings::Readings;
use super::route::Routes;
use super::vouched::Pair;
use crate::counters::{Counters, Tally};
use crate::decision::{Action, Learned, Scene, address_at};
use crate::drops::DropReason;
use crate::fdb::{Key, Sighting};
use crate::filter::{Carried, Filter, Openings};
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::multicast::{Groups, Scratch, Snooping, Verdict};
use crate::router::Paths;
use crate::storm::{StormClass, StormMeters};
use crate::suppression::Suppression;
use crate::time::Nanos;

/// Carries out decisions: the only place where a frame has effects.
pub(super) struct Commit<'a, E> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) counters: &'a Counters,
    pub(super) storm: &'a StormMeters,
    pub(super) now: Nanos,
    pub(super) tally: &'a mut Tally,
    /// The address that the burst's last frame taught, and what came of it: a guest's burst mostly has one
    /// sender.
    pub(super) learned: Option<(Key, Learned)>,
    pub(super) egress: &'a mut E,
    pub(super) groups: &'a Groups,
    pub(super) scratch: &'a mut Scratch,
    /// Security groups; `None`: no port is filtered.
    pub(super) rules: Option<Rules<'a>>,
    /// Connections and fragments; `None`: nobody needs any.
    pub(super) filter: Option<&'a Filter>,
    /// What holds for the burst's frames, which are later fragments of one datagram and waited for its first one.
    pub(super) carried: Option<Carried>,
    pub(super) receivers: &'a mut Receivers,
    /// What the burst's heads say, as far as they were read.
    pub(super) readings: &'a Readings,
    /// Routes and neighbours; `None`: no network has a gateway.
    pub(super) routes: Option<Routes<'a>>,
    /// What is known of stations on other hosts; `None`: nobody asks.
    pub(super) suppression: Option<&'a Suppression>,
    /// Ways that packets went.
    pub(super) paths: &'a mut Paths,
    /// What it takes to go where the frame before this one went; `None`: nobody has asked.
    pub(super) pair: Option<Pair>,
    /// Openings that rules allowed.
    pub(super) openings: &'a mut Openings,
    /// Whether each of those, and what is known of connections, is found out anew, and compared.
    pub(super) verifies: bool,
    /// Connections of which something else was found out then.
    pub(super) mismatched: u32,
}

impl<E> Commit<'_, E> {
    /// Does what was decided about a frame; `learned` is the record's own.
    #[inline(always)]
    pub(super) fn frame<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        actions: &[Action],
        learned: &mut Learned,
    ) where
        E: Egress<P>,
    {
        self.tally.received(frame.meta.length);
        self.each(slot, frame, actions, learned);
    }

    /// Lets a frame leave that teaches nothing.
    #[inline(always)]
    pub(super) fn forward<P>(&mut self, slot: usize, frame: &Frame<P>, to: PortIndex)
    where
        E: Egress<P>,
    {
        self.tally.received(frame.meta.length);
        // Another frame's address stands between what was learned before and what comes next.
        self.learned = None;
        self.egress.send(to, slot, frame);
    }

    /// Has a frame routed that teaches nothing.
    #[inline(always)]
    pub(super) fn lead<P>(&mut self, slot: usize, frame: &mut Frame<P>, network: NetworkIndex)
    where
        E: Egress<P>,
    {
        self.tally.received(frame.meta.length);
        self.learned = None;
        self.route(slot, frame, network);
    }

    /// How often in this burst something else was found out than what was known.
    #[inline]
    pub(super) fn take_mismatched(&mut self) -> u32 {
        if self.verifies { self.paths.take_mismatched() + self.mismatched } else { 0 }
    }

    /// Lets a frame leave that teaches nothing, if security groups allow it.
    #[inline(always)]
    pub(super) fn ask<P>(&mut self, slot: usize, frame: &Frame<P>, to: PortIndex)
    where
        E: Egress<P>,
    {
        self.tally.received(frame.meta.length);
        self.learned = None;
        self.judge(slot, frame, to);
    }

    /// Counts a frame that is not delivered, and tells whoever listens.
    #[inline]
    pub(super) fn drop<P>(&mut self, slot: usize, frame: &Frame<P>, reason: DropReason)
    where
        E: Egress<P>,
    {
        self.tally.dropped(reason);
        self.egress.dropped(slot, frame, reason);
    }

    /// Carries out one action after the other.
    fn each<P>(&mut self, slot: usize, frame: &mut Frame<P>, actions: &[Action], learned: &mut Learned)
    where
        E: Egress<P>,
    {
        for &action in actions {
            match action {
                // Nothing would change; but another frame's address stands between this one's and the next.
                Action::Learn(_) if learned.is_known(self.scene) => self.learned = None,
                Action::Learn(network) => self.learn(network, frame.head.bytes(), learned),
                Action::Meter(class) if !self.admits(class) => {
                    return self.drop(slot, frame, class.drop_reason());
                }
                Action::Meter(_) => {}
                Action::Output(port) => self.egress.send(port, slot, frame),
                Action::Judge(port) => self.judge(slot, frame, port),
                Action::Flood(network) => {
                    let members = self.scene.peers(network);
                    self.flood(slot, frame, network, members);
                }
                Action::Multicast(network) => self.multicast(slot, frame, network),
                Action::Route(network) => self.route(slot, frame, network),
                Action::Offer(network) => {
                    if self.offer(slot, frame, network) || self.suppress(slot, frame, network) {
                        return;
                    }
                }
                Action::Hear(network) => {
                    self.suppress(slot, frame, network);
                }
                Action::Punt => self.punt(slot, frame),
                Action::Drop(reason) => self.drop(slot, frame, reason),
            }
        }
    }

    #[inline(never)]
    fn multicast<P>(&mut self, slot: usize, frame: &Frame<P>, network: NetworkIndex)
    where
        E: Egress<P>,
    {
        let Scene { policy, source, .. } = *self.scene;
        let (groups, meters) = (self.groups, self.storm);
        let snooping = Snooping { groups, meters, policy, network, source, now: self.now, is_trial: false };
        let rest = |to: &mut [u8]| self.egress.read(frame, to);
        match snooping.verdict(self.scratch, frame.head.bytes(), &frame.meta, rest) {
            Verdict::To(receivers) if policy.has_filtered(network) => {
                let mut wanted = std::mem::take(&mut self.receivers.wanted);
                wanted.clear();
                wanted.extend_from_slice(receivers);
                self.flood(slot, frame, network, &wanted);
                self.receivers.wanted = wanted;
            }
            Verdict::To(receivers) => self.egress.flood(network, receivers, slot, frame),
            Verdict::Flood => {
                let members = self.scene.peers(network);
                self.flood(slot, frame, network, members);
            }
            Verdict::Drop(reason) => self.drop(slot, frame, reason),
        }
    }

    #[cold]
    fn punt<P>(&mut self, slot: usize, frame: &Frame<P>)
    where
        E: Egress<P>,
    {
        if !self.storm.admits_control(self.scene.source, self.now) {
            self.drop(slot, frame, DropReason::StormControl);
        } else if !self.egress.punt(slot, frame) {
            self.drop(slot, frame, DropReason::ControlQueueFull);
        }
    }

    #[cold]
    pub(super) fn admits(&self, class: StormClass) -> bool {
        let Scene { source, port, .. } = *self.scene;
        port.is_none_or(|port| self.storm.admits(source, class, &port.storm, self.now))
    }

    fn learn(&mut self, network: NetworkIndex, head: &[u8], learned: &mut Learned) {
        let key = Key::new(network, address_at::<6>(head));
        if let Some((last, what_came)) = self.learned
            && last == key
        {
            *learned = what_came;
            return;
        }
        let Scene { source: port, now_s, policy, .. } = *self.scene;
        let seen = self.scene.fdb.learn(&Sighting { key, port, now_s, policy, counters: &self.counters.fdb });
        *learned = Learned::new(seen, now_s);
        self.learned = Some((key, *learned));
    }
}
