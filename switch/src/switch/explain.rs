//! Explaining: what would become of a frame, told by the functions that decide about real ones.
//!
//! Deciding is pure already; what carries decisions out is asked in its pure half: meters whether they would admit,
//! snooping for its verdict. So an explanation changes nothing, and may be had at any time beside the workers.

mod route;
mod rules;
mod suppress;
mod translate;

use std::cell::Cell;

use super::Switch;
use super::run::take_off;
use crate::control::CONTROL_RATE;
use crate::decision::{Action, Decision, Lengths, Scene, Subject};
use crate::drops::DropReason;
use crate::explain::{Departure, Explanation, Fate, Leaving, Looked, Notes, Observer, Outcome, Place};
use crate::frame::{Frame, Metadata};
use crate::ids::{NetworkIndex, PortIndex};
use crate::meter::{self, Dscp};
use crate::multicast::{Class, Scratch, Snooping, Verdict, classify};
use crate::packet::{Packet, ip_packet, parse};
use crate::policy::Policy;
use crate::security::SourceGuard;
use crate::stages;
use crate::storm::{MESSAGES, StormClass};
use crate::time::Nanos;
use crate::vlan::{TAG_LEN, TAGS_MAX, TYPE_FIELD, is_tag_at, type_at};
use rules::{Aim, within};

impl Switch {
    /// What would become of `frame` if it entered now, under `policy`, and why; nothing is changed. The payload is what
    /// follows the head, as far as it is known: messages to the switch may be longer than a head.
    #[must_use]
    pub fn explain(&self, policy: &Policy, now: Nanos, frame: &Frame<&[u8]>) -> Explanation {
        let source = frame.meta.source;
        let scene = Scene::new(policy, &self.fdb, now.seconds(), source);
        let (notes, network, seen) = (Notes::default(), Cell::default(), Cell::default());
        let explainer = Explainer { switch: self, scene, now, notes, network, seen };
        explainer.explain(frame.clone())
    }
}

/// A frame's way, step by step.
struct Explainer<'a> {
    switch: &'a Switch,
    scene: Scene<'a>,
    now: Nanos,
    notes: Notes,
    /// The network in which the frame leaves.
    network: Cell<Option<NetworkIndex>>,
    /// What it carries then, if that is not what came.
    seen: Cell<Option<Packet>>,
}

impl Explainer<'_> {
    fn explain(self, mut frame: Frame<&[u8]>) -> Explanation {
        self.mark(&mut frame);
        if self.police(&mut frame) == meter::Fate::Refused {
            let fate = Fate::Dropped(DropReason::Policed);
            return Explanation { steps: self.notes.into_steps(), network: None, fate, leaving: None };
        }
        let guard = self.scene.port.and_then(|port| port.guard.as_deref());
        let home = self.classify(&mut frame).and_then(|network| match guard {
            Some(guard) => self.admit(guard, &frame).map(|()| network),
            None => Ok(network),
        });
        let lengths = Lengths::of(frame.head.bytes(), &frame.meta);
        let subject = Subject::of(&frame, lengths, home);
        let decision = stages::decide_observed(&self.scene, &subject, &self.notes);
        let fate = self.carry_out(&decision, &frame, home.ok());
        let leaving = matches!(fate, Fate::Leaves(_)).then(|| self.leaving(&frame));
        Explanation { steps: self.notes.into_steps(), network: home.ok(), fate, leaving }
    }

    /// The frame as it leaves.
    fn leaving(&self, frame: &Frame<&[u8]>) -> Leaving {
        let came = || ip_packet(frame.head.bytes(), frame.meta.length);
        let (packet, network) = (self.seen.get().or_else(came), self.network.get());
        Leaving { packet, network, mark: frame.meta.marks.mark }
    }

    /// What the port writes instead of what came.
    fn mark(&self, frame: &mut Frame<&[u8]>) {
        let Some((port, marking)) = self.scene.port.and_then(|port| Some((port, port.marking.as_deref()?)))
        else {
            return;
        };
        self.notes.enter(Place::Marking);
        self.notes.looked(|| Looked::Trust(marking.trust));
        let came = Dscp::of(frame.head.bytes());
        if let Some(dscp) = came {
            self.notes.looked(|| Looked::Dscp(dscp));
        }
        self.note_tags(frame.head.bytes());
        let ingress = self.scene.policy.ingress(self.scene.source);
        marking.mark(std::slice::from_mut(frame), ingress, port.priority);
        let goes_on = Dscp::of(frame.head.bytes());
        if let Some(dscp) = goes_on.filter(|dscp| Some(*dscp) != came) {
            self.notes.outcome(|| Outcome::Marked(dscp));
        }
        if let Some(priority) = frame.meta.marks.priority {
            self.notes.outcome(|| Outcome::Prioritised(priority));
        }
        self.known(frame.meta.marks.mark);
    }

    fn known(&self, mark: u16) {
        if mark != 0 {
            self.notes.outcome(|| Outcome::Known(mark));
        }
    }

    /// What the port's meter says, whose mark is written.
    fn police(&self, frame: &mut Frame<&[u8]>) -> meter::Fate {
        let Some(meter) = self.scene.port.and_then(|port| port.police.as_deref()) else {
            return meter::Fate::Conforms;
        };
        self.notes.enter(Place::Meter);
        self.notes.looked(|| Looked::OnTheWire(frame.wire_volume()));
        let (colour, fate) = meter.assess(frame, self.now);
        self.notes.outcome(|| Outcome::Coloured(colour));
        match fate {
            meter::Fate::Conforms => {}
            meter::Fate::Exceeds(dscp) => {
                if let Some(dscp) = dscp.filter(|dscp| dscp.write(frame.head.bytes_mut())) {
                    self.notes.outcome(|| Outcome::Marked(dscp));
                }
                meter.mark_exceeding(&mut frame.meta.marks);
                self.known(meter.plan().exceeding_mark);
            }
            meter::Fate::Waits => self.notes.outcome(|| Outcome::Waits),
            meter::Fate::Refused => self.notes.outcome(|| Outcome::Dropped(DropReason::Policed)),
        }
        fate
    }

    fn classify(&self, frame: &mut Frame<&[u8]>) -> Result<NetworkIndex, DropReason> {
        self.notes.enter(Place::Classification);
        self.note_tags(frame.head.bytes());
        let classified = self.scene.policy.ingress(self.scene.source).classify(frame.head.bytes());
        let taken = classified.and_then(|classified| take_off(frame, classified).map(|()| classified));
        match taken {
            Ok(classified) => {
                let tags = classified.tags / TAG_LEN;
                let (network, priority) = (classified.network, classified.priority);
                self.notes.outcome(|| Outcome::Belongs { network, tags, priority });
                Ok(network)
            }
            Err(reason) => {
                self.notes.outcome(|| Outcome::Dropped(reason));
                Err(reason)
            }
        }
    }

    /// Notes the tags that stand there, one more than are ever taken off.
    fn note_tags(&self, head: &[u8]) {
        let places = (0..=TAGS_MAX).map(|number| TYPE_FIELD + number * TAG_LEN);
        let tags: Vec<usize> = places.take_while(|&at| is_tag_at(head, at)).collect();
        if tags.is_empty() {
            self.notes.looked(|| Looked::Untagged);
        }
        for at in tags {
            let [kind, control] = [at, at + 2].map(|at| type_at(head, at).map_or(0, u16::from_be_bytes));
            let priority = u8::try_from(control >> 13).unwrap_or(0);
            self.notes.looked(|| Looked::Tag { kind, vlan: control & 0xfff, priority });
        }
    }

    fn admit(&self, guard: &SourceGuard, frame: &Frame<&[u8]>) -> Result<(), DropReason> {
        self.notes.enter(Place::PortSecurity);
        let head = frame.head.bytes();
        self.notes.looked(|| Looked::Source(crate::decision::address_at::<6>(head)));
        if let Ok(contents) = parse(head, frame.meta.length) {
            self.notes.contents(&contents);
        }
        let admitted = guard.admit(frame);
        if let Err(reason) = admitted {
            self.notes.outcome(|| Outcome::Dropped(reason));
        }
        admitted
    }

    /// What carrying out a decision would come to. The actions are those of `Commit::each`, in the same order.
    fn carry_out(&self, decision: &Decision, frame: &Frame<&[u8]>, home: Option<NetworkIndex>) -> Fate {
        let mut departures = Vec::new();
        for &action in decision.actions() {
            match action {
                Action::Learn(_) => {}
                Action::Meter(class) => {
                    if !self.would_admit(class) {
                        return Fate::Dropped(class.drop_reason());
                    }
                }
                Action::Output(port) => departures.extend(self.departures(&[port], &frame.meta)),
                Action::Judge(port) => match self.judge(home.map(within), Aim::Port(port), frame, None) {
                    Fate::Leaves(receivers) => departures.extend(receivers),
                    other => return other,
                },
                Action::Flood(network) => match self.flood_judged(network, None, frame) {
                    Fate::Leaves(receivers) => departures.extend(receivers),
                    other => return other,
                },
                Action::Multicast(network) => match self.multicast(network, frame) {
                    Fate::Leaves(receivers) => departures.extend(receivers),
                    other => return other,
                },
                Action::Route(network) => return self.route(network, frame),
                Action::Offer(network) => {
                    if let Some(fate) = self.offer(network, frame).or_else(|| self.suppress(network, frame)) {
                        return fate;
                    }
                }
                Action::Hear(_) => {}
                Action::Punt => return self.punt(),
                Action::Drop(reason) => return Fate::Dropped(reason),
            }
        }
        Fate::Leaves(departures)
    }

    pub(super) fn would_admit(&self, class: StormClass) -> bool {
        self.notes.enter(Place::StormMeter);
        let Some(port) = self.scene.port else { return true };
        if let Some(limit) = port.storm.of(class) {
            self.notes.looked(|| Looked::StormLimit(class, limit));
        }
        let admits = self.switch.storm.would_admit(self.scene.source, class, &port.storm, self.now);
        let outcome = if admits { Outcome::WithinLimit } else { Outcome::Dropped(class.drop_reason()) };
        self.notes.outcome(|| outcome);
        admits
    }

    fn punt(&self) -> Fate {
        self.notes.enter(Place::ControlMeter);
        self.notes.looked(|| Looked::Limit(CONTROL_RATE));
        if self.switch.storm.would_admit_control(self.scene.source, self.now) {
            self.notes.outcome(|| Outcome::Punted);
            return Fate::Punted;
        }
        self.notes.outcome(|| Outcome::Dropped(DropReason::StormControl));
        Fate::Dropped(DropReason::StormControl)
    }

    /// Copies for all of `ports` but the source.
    pub(super) fn departures(&self, ports: &[PortIndex], meta: &Metadata) -> Vec<Departure> {
        ports.iter().filter(|port| **port != meta.source).map(|port| self.departure(*port, meta)).collect()
    }

    /// A copy for one port.
    pub(super) fn departure(&self, port: PortIndex, meta: &Metadata) -> Departure {
        let native = || self.scene.port?.native();
        self.network.set(meta.tag.map(|tag| tag.network).or_else(native));
        let tags = self.scene.policy.tags_of(port).and_then(|tags| tags.of(meta)).unwrap_or_default();
        Departure { port, tags }
    }

    fn multicast(&self, network: NetworkIndex, frame: &Frame<&[u8]>) -> Fate {
        self.notes.enter(Place::Snooping);
        let (head, meta) = (frame.head.bytes(), &frame.meta);
        match classify(head) {
            Class::Data(group) => self.notes.looked(|| Looked::Group(group)),
            Class::Control(_) => {
                self.notes.looked(|| Looked::MembershipMessage);
                self.notes.looked(|| Looked::Limit(MESSAGES));
                let known = head.len() + frame.payload.len();
                if u32::try_from(known).is_ok_and(|known| known < meta.length) {
                    self.notes.outcome(|| Outcome::Unread);
                    return Fate::Unknown;
                }
            }
            Class::All => self.notes.looked(|| Looked::Destination(crate::decision::address_at::<0>(head))),
        }
        self.snooped(network, frame)
    }

    fn snooped(&self, network: NetworkIndex, frame: &Frame<&[u8]>) -> Fate {
        let Scene { policy, source, .. } = self.scene;
        let (groups, meters, now) = (&self.switch.groups, &self.switch.storm, self.now);
        let snooping = Snooping { groups, meters, policy, network, source, now, is_trial: true };
        let rest = |to: &mut [u8]| {
            let len = to.len().min(frame.payload.len());
            to[..len].copy_from_slice(&frame.payload[..len]);
            len
        };
        let mut scratch = Scratch::default();
        match snooping.verdict(&mut scratch, frame.head.bytes(), &frame.meta, rest) {
            Verdict::To(receivers) => {
                let receivers: Vec<PortIndex> =
                    receivers.iter().copied().filter(|port| *port != source).collect();
                self.notes.outcome(|| Outcome::ToGroup(receivers.clone()));
                self.flood_judged(network, Some(&receivers), frame)
            }
            Verdict::Flood => {
                self.notes.outcome(|| Outcome::Floods);
                self.flood_judged(network, None, frame)
            }
            Verdict::Drop(reason) => {
                self.notes.outcome(|| Outcome::Dropped(reason));
                Fate::Dropped(reason)
            }
        }
    }
}
