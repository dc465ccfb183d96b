//! Each frame of a burst finds its record, or gets one.

use super::Egress;
use super::commit::Commit;
use crate::counters::FlowTally;
use crate::decision::{Action, Covered, Decision, Learned, Lengths, Scene, Subject, address_at};
use crate::drops::DropReason;
use crate::flow_cache::{Entry, FlowCache, FlowHasher, FlowKey, Kept, Place, Verification};
use crate::frame::{Frame, TakenTag};
use crate::ids::{NetworkIndex, PortIndex};
use crate::policy::{Classified, Ingress, Refused};
use crate::security::SourceGuard;
use crate::stages;

/// What a frame is found by in the cache.
#[derive(Clone, Copy)]
struct Wanted {
    key: FlowKey,
    hash: u64,
}

/// Where a kind of frame from a known station goes, found to hold in this burst: to a known station's port, or to the gateway of
/// its network.
#[derive(Clone, Copy)]
pub(super) struct Steady<T> {
    key: FlowKey,
    covered: Covered,
    to: T,
}

impl<T> Steady<T> {
    #[inline(always)]
    fn is_about(&self, key: FlowKey, lengths: Lengths) -> bool {
        self.key.is(key) && self.covered.contains(lengths)
    }
}

/// What became of the frame before this one, if it was none that went to a known station.
pub(super) enum Recent {
    /// What may come again costs a look at the cache.
    Unknown,
    /// This was decided, once only.
    Once(Entry),
    /// It was for the gateway.
    Routed(Steady<NetworkIndex>),
    /// It went to a known station, if security groups allowed it.
    Judged(Steady<PortIndex>),
}

/// The network to which a frame belongs, or why it belongs to none or may not be sent.
type Home = Result<NetworkIndex, Refused>;

/// One burst with what it needs.
pub(super) struct Run<'a, E> {
    pub(super) commit: Commit<'a, E>,
    pub(super) ingress: Ingress<'a>,
    /// Where frames without a tag belong.
    pub(super) untagged: Home,
    pub(super) flows: &'a mut FlowCache,
    pub(super) hasher: &'a FlowHasher,
    pub(super) verification: &'a Verification,
    pub(super) verifies: bool,
    /// Whether the burst came by a tunnel.
    pub(super) is_from_vtep: bool,
    pub(super) counted: FlowTally,
    /// What became of the burst's last frame: the next one is mostly of its kind, and no time passes within a
    /// burst.
    pub(super) steady: Option<Steady<PortIndex>>,
    /// What else is known of the frame before this one.
    pub(super) recent: Recent,
}

impl<E> Run<'_, E> {
    /// Takes in all frames of a burst but those that are `refused`, if any is.
    #[inline(always)]
    pub(super) fn burst<P>(&mut self, burst: &mut [Frame<P>], guard: Option<&SourceGuard>, refused: &[bool])
    where
        E: Egress<P>,
    {
        let source = self.commit.scene.source;
        debug_assert!(burst.iter().all(|frame| frame.meta.source == source), "a burst comes from one port");
        if !refused.is_empty() {
            self.policed_burst(burst, guard, refused);
        } else if self.is_from_vtep {
            for (slot, frame) in burst.iter_mut().enumerate() {
                self.tunnelled(slot, frame);
            }
        } else if let Some(guard) = guard {
            for (slot, frame) in burst.iter_mut().enumerate() {
                self.guarded(slot, frame, guard);
            }
        } else {
            for (slot, frame) in burst.iter_mut().enumerate() {
                self.frame(slot, frame);
            }
        }
    }

    /// The same of a burst with which the port sends more than it may: what is `refused` is dropped.
    #[inline(never)]
    fn policed_burst<P>(&mut self, burst: &mut [Frame<P>], guard: Option<&SourceGuard>, refused: &[bool])
    where
        E: Egress<P>,
    {
        for (slot, (frame, is_refused)) in burst.iter_mut().zip(refused).enumerate() {
            match guard {
                _ if *is_refused => {
                    self.commit.tally.received(frame.meta.length);
                    self.commit.drop(slot, frame, DropReason::Policed);
                }
                Some(guard) => self.guarded(slot, frame, guard),
                None if self.is_from_vtep => self.tunnelled(slot, frame),
                None => self.frame(slot, frame),
            }
        }
    }

    /// Replays the record of a frame that came by a tunnel, or makes it: its network was told by what stood before it.
    #[inline(never)]
    fn tunnelled<P>(&mut self, slot: usize, frame: &mut Frame<P>)
    where
        E: Egress<P>,
    {
        let home = frame.meta.tag.map(|tag| tag.network).ok_or(DropReason::NoNetwork);
        self.go_on(slot, frame, home);
    }

    /// Replays the record of the frame's kind, or makes it.
    #[inline(always)]
    fn frame<P>(&mut self, slot: usize, frame: &mut Frame<P>)
    where
        E: Egress<P>,
    {
        let head = frame.head.bytes();
        let Some(key) = FlowKey::untagged(frame.meta.source, head) else {
            return self.enter(slot, frame);
        };
        let lengths = Lengths::of(head, &frame.meta);
        match self.steady {
            // Never true of a frame with a tag: the key of a kind that has one says its network as well.
            Some(steady) if steady.is_about(key, lengths) => {
                self.commit.forward(slot, frame, steady.to);
            }
            _ if key.is_tagged() => self.enter(slot, frame),
            _ => self.replay(slot, frame, lengths, key, self.untagged),
        }
    }

    /// Finds out to which network a frame belongs that has a tag, or is too short for a key, and takes off the tags
    /// that tell it; then goes on as with any other.
    #[inline(never)]
    fn enter<P>(&mut self, slot: usize, frame: &mut Frame<P>)
    where
        E: Egress<P>,
    {
        let home = self.classify(frame);
        self.go_on(slot, frame, home);
    }

    /// The same for any frame of a port whose guest is held to its addresses. It is looked at before any record is, so
    /// a record is only ever replayed for frames that may be sent, and says nothing about what was looked at here.
    #[inline(always)]
    fn guarded<P>(&mut self, slot: usize, frame: &mut Frame<P>, guard: &SourceGuard)
    where
        E: Egress<P>,
    {
        if !self.follow_last(slot, frame, guard) {
            self.guarded_with_care(slot, frame, guard);
        }
    }

    /// Sends a guarded port's plain packet where the frame before it went, which was of its kind, if the port may send it and
    /// security groups allow it; says whether all that was to be done is done. What [`Run::guarded_with_care`] finds out, by fewer steps.
    #[inline(always)]
    fn follow_last<P>(&mut self, slot: usize, frame: &Frame<P>, guard: &SourceGuard) -> bool
    where
        E: Egress<P>,
    {
        let readings = self.commit.readings;
        let (Recent::Judged(judged), Some(plain)) = (&self.recent, readings.plain(slot)) else {
            return false;
        };
        let head = frame.head.bytes();
        let Some(key) = FlowKey::untagged(self.commit.scene.source, head) else { return false };
        let lengths = Lengths::of(head, &frame.meta);
        if !judged.is_about(key, lengths) || !guard.is_plainly_own(key.sender(), plain) {
            return false;
        }
        self.commit.ask_plain(slot, frame, plain, judged.to);
        true
    }

    /// The same for any frame of such a port.
    #[inline(never)]
    fn guarded_with_care<P>(&mut self, slot: usize, frame: &mut Frame<P>, guard: &SourceGuard)
    where
        E: Egress<P>,
    {
        let source = self.commit.scene.source;
        let key = FlowKey::untagged(source, frame.head.bytes()).filter(|key| !key.is_tagged());
        let home = if key.is_some() { self.untagged } else { self.classify(frame) };
        let home = home.and_then(|network| self.may_send(slot, frame, guard, key).map(|()| network));
        match (key, home) {
            // As any other frame that has no tag.
            (Some(key), Ok(_)) => {
                let lengths = Lengths::of(frame.head.bytes(), &frame.meta);
                match self.steady {
                    Some(steady) if steady.is_about(key, lengths) => {
                        self.commit.forward(slot, frame, steady.to);
                    }
                    _ => match &self.recent {
                        Recent::Judged(judged) if judged.is_about(key, lengths) => {
                            self.commit.ask(slot, frame, judged.to);
                        }
                        _ => self.replay(slot, frame, lengths, key, home),
                    },
                }
            }
            _ => self.go_on(slot, frame, home),
        }
    }

    /// Whether the guest may send a frame, of which the tags that told its network are off: what few steps tell of a plain packet,
    /// all of them have to tell as well where hits are verified.
    #[inline(always)]
    fn may_send<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        guard: &SourceGuard,
        key: Option<FlowKey>,
    ) -> Result<(), Refused> {
        let plain = self.commit.readings.plain(slot);
        let is_plainly_own =
            key.zip(plain).is_some_and(|(key, plain)| guard.is_plainly_own(key.sender(), plain));
        if is_plainly_own && !self.verifies {
            return Ok(());
        }
        let checked = self.check(slot, frame, guard);
        self.commit.mismatched += u32::from(is_plainly_own && checked.is_err());
        checked
    }

    /// The same by all steps.
    #[inline(never)]
    fn check<P>(&self, slot: usize, frame: &Frame<P>, guard: &SourceGuard) -> Result<(), Refused> {
        let mut read = None;
        let contents = self.commit.readings.contents(slot, frame, &mut read)?;
        Ok(guard.check(address_at::<6>(frame.head.bytes()), contents)?)
    }

    /// The network to which a frame belongs; its tags are taken off.
    #[inline(always)]
    fn classify<P>(&self, frame: &mut Frame<P>) -> Home {
        let classified = self.ingress.classify(frame.head.bytes())?;
        take_off(frame, classified).map(|()| classified.network)
    }

    /// Replays the record of a frame whose tags are off, or makes it.
    #[inline(always)]
    fn go_on<P>(&mut self, slot: usize, frame: &mut Frame<P>, home: Home)
    where
        E: Egress<P>,
    {
        let head = frame.head.bytes();
        let lengths = Lengths::of(head, &frame.meta);
        let key = home.ok().and_then(|network| FlowKey::classified(frame.meta.source, network, head));
        match (key, self.steady) {
            (Some(key), Some(steady)) if steady.is_about(key, lengths) => {
                self.commit.forward(slot, frame, steady.to);
            }
            (Some(key), _) => self.replay(slot, frame, lengths, key, home),
            (None, _) => self.decide(slot, frame, lengths, home),
        }
    }

    /// Replays the record of a frame that is of another kind than the one before it, or makes it.
    #[inline(always)]
    fn replay<P>(&mut self, slot: usize, frame: &mut Frame<P>, lengths: Lengths, key: FlowKey, home: Home)
    where
        E: Egress<P>,
    {
        self.steady = None;
        if !matches!(self.recent, Recent::Unknown) && self.recall(slot, frame, lengths, key) {
            return;
        }
        let hash = key.hash(self.hasher);
        let Some(place) = self.flows.find(hash, key, lengths) else {
            return self.miss(slot, frame, lengths, Wanted { key, hash }, home);
        };
        let scene = self.commit.scene;
        let entry = self.flows.at(place);
        if self.verifies || !entry.decision.is_current(scene.fdb, scene.now_s) {
            return self.doubt(slot, frame, lengths, place, home);
        }
        // By far the most frames: from one known station to another.
        if let &[Action::Learn(_), Action::Output(to)] = entry.decision.actions()
            && entry.learned.is_known(scene)
        {
            self.steady = Some(Steady { key, covered: entry.decision.covered(), to });
            return self.commit.forward(slot, frame, to);
        }
        if let &[Action::Learn(_), Action::Route(to)] = entry.decision.actions()
            && entry.learned.is_known(scene)
        {
            self.recent = Recent::Routed(Steady { key, covered: entry.decision.covered(), to });
            return self.commit.lead(slot, frame, to);
        }
        if let &[Action::Learn(_), Action::Judge(to)] = entry.decision.actions()
            && entry.learned.is_known(scene)
        {
            self.recent = Recent::Judged(Steady { key, covered: entry.decision.covered(), to });
            return self.commit.ask(slot, frame, to);
        }
        self.commit.frame(slot, frame, entry.decision.actions(), &mut entry.learned);
    }

    /// Does with a frame what became of the one before it, if it is of the same kind; says whether it is.
    #[inline(never)]
    fn recall<P>(&mut self, slot: usize, frame: &mut Frame<P>, lengths: Lengths, key: FlowKey) -> bool
    where
        E: Egress<P>,
    {
        match &mut self.recent {
            Recent::Once(once) if once.is_about(key, lengths) => {
                self.counted.misses += 1;
                self.commit.frame(slot, frame, once.decision.actions(), &mut once.learned);
            }
            Recent::Routed(routed) if routed.is_about(key, lengths) => {
                self.commit.lead(slot, frame, routed.to);
            }
            Recent::Judged(judged) if judged.is_about(key, lengths) => {
                self.commit.ask(slot, frame, judged.to);
            }
            _ => {
                self.recent = Recent::Unknown;
                return false;
            }
        }
        true
    }

    /// Decides about a frame that has no key.
    #[inline(never)]
    fn decide<P>(&mut self, slot: usize, frame: &mut Frame<P>, lengths: Lengths, home: Home)
    where
        E: Egress<P>,
    {
        (self.steady, self.recent) = (None, Recent::Unknown);
        self.make(slot, frame, lengths, home);
    }

    /// Decides about a frame of a kind that is not known, and keeps the record. One that holds once only serves
    /// for the frames of its kind that follow directly: no time passes within a burst, and they teach nothing
    /// that the first one did not.
    #[inline(never)]
    fn miss<P>(&mut self, slot: usize, frame: &mut Frame<P>, lengths: Lengths, wanted: Wanted, home: Home)
    where
        E: Egress<P>,
    {
        let (decision, learned) = self.make(slot, frame, lengths, home);
        if !decision.is_cacheable() {
            if !self.verifies {
                self.recent = Recent::Once(Entry::new(wanted.key, decision, learned));
            }
            return;
        }
        let Scene { source, fdb, now_s, .. } = *self.commit.scene;
        let Some((place, kept)) = self.flows.place_for(wanted.hash, source, fdb, now_s) else {
            self.counted.refused += 1;
            return;
        };
        self.counted.inserted += 1;
        self.counted.evicted += u32::from(kept == Kept::Displaced);
        *self.flows.at(place) = Entry::new(wanted.key, decision, learned);
    }

    /// Goes by a record that is not to be trusted: it is out of date, or every hit is verified.
    #[inline(never)]
    fn doubt<P>(&mut self, slot: usize, frame: &mut Frame<P>, lengths: Lengths, place: Place, home: Home)
    where
        E: Egress<P>,
    {
        let scene = self.commit.scene;
        if self.flows.at(place).decision.is_current(scene.fdb, scene.now_s) {
            return self.verify(slot, frame, lengths, place, home);
        }
        self.counted.invalidated += 1;
        let (decision, learned) = self.make(slot, frame, lengths, home);
        if decision.is_cacheable() {
            self.flows.at(place).renew(decision, learned);
        } else {
            self.flows.remove(place);
        }
    }

    /// Decides about a frame although its record is current, and compares. What another worker changed in
    /// between changed a generation before it could be seen.
    #[cold]
    fn verify<P>(&mut self, slot: usize, frame: &mut Frame<P>, lengths: Lengths, place: Place, home: Home)
    where
        E: Egress<P>,
    {
        let scene = self.commit.scene;
        let decision = stages::decide(scene, &Subject::of(frame, lengths, home));
        let entry = self.flows.at(place);
        if !entry.decision.agrees_with(&decision) && entry.decision.is_current(scene.fdb, scene.now_s) {
            self.counted.mismatched += 1;
            self.verification.keep(entry.mismatch(lengths, &decision));
        }
        self.commit.frame(slot, frame, decision.actions(), &mut entry.learned);
    }

    /// Decides about a frame and carries it out.
    #[inline(always)]
    fn make<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        lengths: Lengths,
        home: Home,
    ) -> (Decision, Learned)
    where
        E: Egress<P>,
    {
        self.counted.misses += 1;
        let decision = stages::decide(self.commit.scene, &Subject::of(frame, lengths, home));
        let mut learned = Learned::default();
        self.commit.frame(slot, frame, decision.actions(), &mut learned);
        (decision, learned)
    }
}

/// Takes off the tags that told a frame's network, and keeps what they said.
pub(super) fn take_off<P>(frame: &mut Frame<P>, classified: Classified) -> Result<(), DropReason> {
    let Classified { network, priority, tags } = classified;
    if tags > 0 {
        frame.take_tags(u16::try_from(tags).unwrap_or(u16::MAX))?;
        frame.meta.tag = Some(TakenTag { network, priority });
    }
    Ok(())
}
