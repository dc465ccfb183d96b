//! Frames about which security groups are asked: see [`crate::filter`].

use super::Egress;
use super::commit::Commit;
use super::translate::Translated;
use crate::conntrack::Hint;
use crate::conntrack::Reference;
use crate::decision::Scene;
use crate::drops::DropReason;
use crate::filter::{Arrival, Carried, Crossing, Denied, Entrance, Filter, First, Parcel, Passage};
use crate::flow_cache::FlowHasher;
use crate::fragments::DatagramId;
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::packet::{Contents, Icmp, IcmpMessage, Packet, Transport};
use crate::security::{SecurityPolicy, Service};
use crate::storm::JudgeLimits;
use crate::time::Nanos;

/// What it takes to ask security groups during a burst.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) filter: &'a Filter,
    pub(super) security: &'a SecurityPolicy,
    /// Hashes kinds of openings.
    pub(super) hasher: &'a FlowHasher,
    pub(super) limits: JudgeLimits,
    /// Whether the burst's port may have rules asked about what is not known.
    pub(super) judges: bool,
    /// The network of frames without a tag.
    pub(super) untagged: Option<NetworkIndex>,
}

/// Room for lists of ports; reused from frame to frame, with room for all ports there are.
#[derive(Debug)]
pub(super) struct Receivers {
    /// Who wants a frame.
    pub(super) wanted: Vec<PortIndex>,
    /// Who may get it.
    allowed: Vec<PortIndex>,
}

impl Default for Receivers {
    fn default() -> Self {
        let room = || Vec::with_capacity(PORTS_MAX);
        Self { wanted: room(), allowed: room() }
    }
}

/// A frame that may go on: what is known of a fragment.
#[derive(Clone, Copy)]
pub(super) struct Admitted {
    pub(super) first: Option<First>,
    /// Its datagram, which waits for what is decided.
    pub(super) datagram: Option<DatagramId>,
}

/// A frame as rules are asked about it.
#[derive(Clone, Copy)]
pub(super) struct Judged<'c> {
    /// What it said when it came in.
    pub(super) contents: &'c Contents,
    pub(super) admitted: Admitted,
    /// How it is translated, and what it says then.
    pub(super) translated: Option<(Translated<'c>, &'c Packet)>,
}

impl<'c> Judged<'c> {
    fn parcel(self, hint: Hint) -> Parcel<'c> {
        let Self { contents, admitted, translated } = self;
        Parcel { contents, seen: translated.map(|(_, seen)| seen), first: admitted.first, hint }
    }
}

impl<'a> Rules<'a> {
    fn crossing(&self, [network, to]: [NetworkIndex; 2], from: PortIndex, now: Nanos) -> Crossing<'a> {
        Crossing { security: self.security, network, to, from, now, judges: self.judges }
    }
}

/// Whether a network's gateway itself tells a station that a packet did not go on. It only says so to who sent that, and the packet
/// that did not go on belongs to no connection.
#[cold]
pub(super) fn is_gateways_error(scene: &Scene<'_>, network: NetworkIndex, contents: &Contents) -> bool {
    let gateway = scene.policy.network(network).and_then(|network| network.gateway());
    let is_error = matches!(
        contents,
        Contents::Ip(Packet { transport: Transport::Icmp(Icmp { message: IcmpMessage::Error(_), .. }), .. })
    );
    is_error && gateway.is_some_and(|gateway| gateway.port == scene.source)
}

impl<'a, E> Commit<'a, E> {
    /// Lets a frame leave by a port if the rules of both sides allow it.
    #[inline(never)]
    pub(super) fn judge<P>(&mut self, slot: usize, frame: &Frame<P>, to: PortIndex)
    where
        E: Egress<P>,
    {
        let native = self.rules.and_then(|rules| rules.untagged);
        match frame.meta.tag.map(|tag| tag.network).or(native) {
            Some(network) if self.is_vouched(slot, frame, network, to) => self.egress.send(to, slot, frame),
            Some(network) => self.judge_anew(slot, frame, network, to),
            // Such a decision is only made about a frame of a network.
            None => self.drop(slot, frame, DropReason::NoNetwork),
        }
    }

    /// The same for a frame for which nobody vouches.
    #[inline(never)]
    pub(super) fn judge_anew<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        to: PortIndex,
    ) where
        E: Egress<P>,
    {
        match self.open_as_before(slot, frame, network, to) {
            Some(Ok(())) => self.egress.send(to, slot, frame),
            Some(Err(denied)) => self.drop(slot, frame, denied.into()),
            None => self.judge_between(slot, frame, [network; 2], to),
        }
    }

    /// The same as [`Commit::judge`] for a frame that came in the first of `networks` and leaves in the second.
    pub(super) fn judge_between<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        networks: [NetworkIndex; 2],
        to: PortIndex,
    ) where
        E: Egress<P>,
    {
        let Some((rules, crossing)) = self.crossing(networks) else {
            // Such a decision is only made under a policy with rules.
            return self.drop(slot, frame, DropReason::NoNetwork);
        };
        let mut read = None;
        let contents = match self.readings.contents(slot, frame, &mut read) {
            Ok(contents) => contents,
            Err(reason) => return self.drop(slot, frame, reason),
        };
        let Some(admitted) = self.admit(slot, frame, contents, rules.filter, crossing.network) else {
            return;
        };
        self.judge_admitted(slot, frame, networks, to, Judged { contents, admitted, translated: None });
    }

    /// The same for a frame that is no fragment, or whose datagram is known.
    #[inline]
    pub(super) fn judge_admitted<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        networks: [NetworkIndex; 2],
        to: PortIndex,
        judged: Judged<'_>,
    ) where
        E: Egress<P>,
    {
        let Some((rules, crossing)) = self.crossing(networks) else { return };
        let parcel = judged.parcel(self.readings.hint(slot));
        let assessed = rules.filter.assess(&crossing, parcel, to);
        let noted = self.note(&rules, &crossing, judged, assessed);
        // What is refused for its number is not remembered: a flood of it would push out all others' kinds.
        if judged.translated.is_none() && noted.is_ok() {
            self.remember_opening(&rules, judged.contents, to, assessed);
        }
        match noted {
            Ok(()) => self.egress.send(to, slot, frame),
            Err(_) if is_gateways_error(self.scene, networks[0], judged.contents) => {
                self.egress.send(to, slot, frame);
            }
            // The receiver's reason is counted where people look for it.
            Err(Denied::Ingress) => {
                self.counters.port(to).add_drops(DropReason::GroupIngress, 1);
                self.egress.dropped(slot, frame, DropReason::GroupIngress);
            }
            Err(denied) => self.drop(slot, frame, denied.into()),
        }
    }

    /// Whether its sender's rules allow a packet to the gateway of `network` itself. It belongs to a connection as one to a station
    /// does, so that what the gateway answers is a reply.
    #[cold]
    pub(super) fn may_reach_gateway<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        judged: Judged<'_>,
    ) -> bool
    where
        E: Egress<P>,
    {
        let policy = self.scene.policy;
        let gateway = policy.network(network).and_then(|network| network.gateway());
        let is_filtered = policy.is_filtered(self.scene.source);
        let (Some((rules, crossing)), Some(gateway), true) =
            (self.crossing([network; 2]), gateway, is_filtered)
        else {
            if let Some(filter) = self.filter {
                self.settle(filter, judged.admitted, judged.contents, Ok(None));
            }
            return true;
        };
        let assessed = rules.filter.assess(&crossing, judged.parcel(self.readings.hint(slot)), gateway.port);
        let noted = self.note(&rules, &crossing, judged, assessed);
        if let Err(denied) = noted {
            self.drop(slot, frame, denied.into());
        }
        noted.is_ok()
    }

    /// Whether rules are to be asked now about a frame that came in in `network`, before it is changed for another one: a
    /// fragment may have to wait for the first one, and comes in once more then, as it is.
    pub(super) fn admit_from<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        contents: &Contents,
    ) -> Option<Admitted>
    where
        E: Egress<P>,
    {
        let Some(filter) = self.filter else {
            // Somebody is filtered only under a policy with rules.
            self.drop(slot, frame, DropReason::NoNetwork);
            return None;
        };
        self.admit(slot, frame, contents, filter, network)
    }

    /// Lets copies of a frame leave by those of `members` whose rules, and the sender's, allow it.
    pub(super) fn flood<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        members: &[PortIndex],
    ) where
        E: Egress<P>,
    {
        if !self.scene.policy.has_filtered(network) {
            return self.egress.flood(network, members, slot, frame);
        }
        self.flood_judged(slot, frame, [network; 2], members);
    }

    #[inline(never)]
    fn flood_judged<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        networks: [NetworkIndex; 2],
        members: &[PortIndex],
    ) where
        E: Egress<P>,
    {
        let Some((rules, crossing)) = self.crossing(networks) else {
            return self.egress.flood(networks[1], members, slot, frame);
        };
        let contents = match Contents::of(frame) {
            Ok(contents) => contents,
            Err(reason) => return self.drop(slot, frame, reason),
        };
        let Some(admitted) = self.admit(slot, frame, &contents, rules.filter, crossing.network) else {
            return;
        };
        let judged = Judged { contents: &contents, admitted, translated: None };
        self.flood_admitted(slot, frame, networks, members, judged);
    }

    /// The same for a frame that is no fragment, or whose datagram is known.
    pub(super) fn flood_admitted<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        networks: [NetworkIndex; 2],
        members: &[PortIndex],
        judged: Judged<'_>,
    ) where
        E: Egress<P>,
    {
        let Some((rules, crossing)) = self.crossing(networks) else { return };
        let parcel = judged.parcel(Hint::default());
        let mut receivers = std::mem::take(&mut self.receivers.allowed);
        let assessed = rules.filter.assess_flood(&crossing, parcel, members, &mut receivers);
        match self.note(&rules, &crossing, judged, assessed) {
            Ok(()) => self.egress.flood(networks[1], &receivers, slot, frame),
            Err(denied) => self.drop(slot, frame, denied.into()),
        }
        self.receivers.allowed = receivers;
    }

    pub(super) fn crossing(&self, networks: [NetworkIndex; 2]) -> Option<(Rules<'a>, Crossing<'a>)> {
        let Scene { source, .. } = *self.scene;
        let rules = self.rules?;
        Some((rules, rules.crossing(networks, source, self.now)))
    }

    /// Whether it is to be found out now what becomes of a frame: fragments may have to wait for their first one.
    #[inline]
    pub(super) fn admit<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        contents: &Contents,
        filter: &Filter,
        network: NetworkIndex,
    ) -> Option<Admitted>
    where
        E: Egress<P>,
    {
        let admitted = |first, datagram| Some(Admitted { first, datagram });
        let egress = &mut *self.egress;
        let arrival = match self.carried {
            Some(Carried(Ok(first))) => Arrival::Later(first),
            Some(Carried(Err(reason))) => Arrival::Drop(reason, None),
            None => {
                let release = |datagram| egress.release(datagram, None);
                let entrance = Entrance { network, from: self.scene.source, now: self.now };
                filter.arrive(entrance, contents, frame.meta.length, release)
            }
        };
        match arrival {
            Arrival::Whole => return admitted(None, None),
            Arrival::First(datagram) => return admitted(None, Some(datagram)),
            Arrival::Later(first) => return admitted(Some(first), None),
            Arrival::Hold(datagram) => {
                if !self.egress.hold(datagram, slot, frame) {
                    self.drop(slot, frame, DropReason::FragmentHeldFull);
                }
            }
            Arrival::Drop(reason, datagram) => {
                if let Some(datagram) = datagram {
                    self.egress.release(datagram, None);
                }
                self.drop(slot, frame, reason);
            }
        }
        None
    }

    /// Takes note of a frame that rules allow, unless its port opens too much, and of what that means for the rest of its
    /// datagram.
    fn note<P>(
        &mut self,
        rules: &Rules<'_>,
        crossing: &Crossing<'_>,
        judged: Judged<'_>,
        assessed: Result<Passage, Denied>,
    ) -> Result<(), Denied>
    where
        E: Egress<P>,
    {
        let Judged { contents, admitted, translated } = judged;
        let noted = match (contents, assessed, translated) {
            (Contents::Ip(packet), Ok(passage), None) => {
                self.bill(rules, assessed).and_then(|()| rules.filter.note(crossing, packet, passage))
            }
            (Contents::Ip(packet), Ok(passage), Some((translated, _))) => {
                let billed = self.bill(rules, assessed).inspect_err(|_| translated.give_back());
                billed.and_then(|()| translated.note(rules.filter, crossing, packet, passage))
            }
            (_, Ok(_), _) => Ok(None),
            (_, Err(denied), _) => {
                if let Some((translated, _)) = translated {
                    translated.give_back();
                }
                self.bill(rules, assessed).and(Err(denied))
            }
        };
        self.settle(rules.filter, admitted, contents, noted.map_err(DropReason::from));
        noted.map(|_| ())
    }

    /// Says what was decided about a datagram by its first fragment, if this is one.
    pub(super) fn settle<P>(
        &mut self,
        filter: &Filter,
        admitted: Admitted,
        contents: &Contents,
        noted: Result<Option<Reference>, DropReason>,
    ) where
        E: Egress<P>,
    {
        if let Some(datagram) = admitted.datagram
            && let Contents::Ip(packet) = contents
        {
            let service = Service::of(packet).ok_or(DropReason::Unreadable);
            let carried = Carried(noted.and_then(|found| Ok(First { service: service?, found })));
            filter.decide(datagram, carried);
            self.egress.release(datagram, Some(carried));
        }
    }

    /// Counts what it cost to find out.
    pub(super) fn bill(&self, rules: &Rules<'_>, assessed: Result<Passage, Denied>) -> Result<(), Denied> {
        let source = self.scene.source;
        match assessed {
            Ok(Passage::Free | Passage::Follows(_, None))
            | Err(Denied::TooFast | Denied::Invalid(_) | Denied::NotIp) => return Ok(()),
            Ok(Passage::Opens(_)) if !self.storm.admits_connection(source, &rules.limits, self.now) => {
                return Err(Denied::TooFast);
            }
            _ => {}
        }
        self.storm.count_judged(source, &rules.limits, self.now);
        Ok(())
    }
}
