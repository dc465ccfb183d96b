//! Packets that are translated on their way to another network: see [`crate::nat`].

use super::Egress;
use super::commit::Commit;
use super::judge::{Admitted, Judged};
use crate::conntrack::{self, Reference, Verdict};
use crate::decision::Scene;
use crate::drops::DropReason;
use crate::filter::{Crossing, Denied, Filter, First, Passage};
use crate::frame::{Frame, TakenTag};
use crate::ids::{NetworkIndex, PortIndex};
use crate::nat::{Belongs, Change, Leave, Plan, Translator, rewrite as addresses};
use crate::packet::{Contents, Packet};
use crate::router::{Leaving, Why, rewrite};
use crate::time::Nanos;

/// How a packet is translated that rules are asked about.
#[derive(Clone, Copy)]
pub(super) struct Translated<'a> {
    translator: Translator<'a>,
    belongs: Belongs,
    /// Addresses for a connection that it opens.
    opened: Option<conntrack::Path>,
    port: PortIndex,
    now: Nanos,
}

impl Translated<'_> {
    /// Takes note of a packet that rules allow; gives its connection.
    pub(super) fn note(
        &self,
        filter: &Filter,
        crossing: &Crossing<'_>,
        packet: &Packet,
        passage: Passage,
    ) -> Result<Option<Reference>, Denied> {
        match (passage, self.opened) {
            (Passage::Opens(judged), Some(_)) => self.open(packet, judged),
            (Passage::Follows(..), None) => filter.note(crossing, packet, passage),
            // Rules without memory allow it, but what it belongs to has to be known.
            _ => self.note_unfiltered(packet),
        }
    }

    /// The same for one about which no rules are asked.
    #[inline]
    fn note_unfiltered(&self, packet: &Packet) -> Result<Option<Reference>, Denied> {
        match self.belongs {
            Belongs::To(found) if packet.is_later_fragment() => Ok(Some(found)),
            Belongs::To(found) => {
                self.translator.conntrack.track(found, packet, self.now)?;
                Ok(Some(found))
            }
            Belongs::About(_) => Ok(None),
            Belongs::New(_) => self.open(packet, conntrack::Judged::default()),
        }
    }

    fn open(&self, packet: &Packet, judged: conntrack::Judged) -> Result<Option<Reference>, Denied> {
        let Some(opened) = self.opened else { return Ok(None) };
        match self.translator.open(&opened, packet, self.port, judged, self.now) {
            Ok(found) => Ok(Some(found)),
            Err(conntrack::Refused::NotNew) => Err(Denied::Invalid(conntrack::Invalid::NotSyn)),
            Err(reason) => Err(Denied::Refused(reason)),
        }
    }

    /// Gives a packet the addresses that it leaves with.
    #[inline]
    fn rewrite<P>(&self, frame: &mut Frame<P>, packet: &Packet, leave: &Leave) {
        let (head, claims) = (frame.head.bytes_mut(), &frame.meta.claims);
        match &leave.change {
            Change::Packet(leaving) => {
                let opened = self.opened.map(|opened| opened.leaving());
                if let Some(leaving) = Leaving::of(opened.as_ref().unwrap_or(leaving)) {
                    addresses::translate(head, packet, &leaving, claims);
                }
            }
            Change::Error(ends, quoted) => {
                addresses::translate_error(head, packet, *ends, quoted, claims);
            }
        }
        let hop = leave.hop;
        rewrite::pass(head, packet, hop.source, hop.destination);
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network: hop.network, priority });
    }

    /// Gives back what was taken for a packet that does not pass.
    pub(super) fn give_back(&self) {
        if let Some(opened) = &self.opened {
            self.translator.give_back(opened);
        }
    }
}

impl<'a, E> Commit<'a, E> {
    /// Sends a packet on its way that may be translated.
    #[inline(never)]
    pub(super) fn route_translated<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        (contents, translator): (&Contents, Translator<'a>),
    ) where
        E: Egress<P>,
    {
        let Some(admitted) = self.admit_from(slot, frame, network, contents) else { return };
        let plan = self.plan(slot, frame, (network, packet), admitted, translator);
        match plan {
            Plan::Plain => self.route_admitted(slot, frame, network, contents, Some(admitted)),
            Plan::Leave(leave) => {
                self.leave(slot, frame, (network, packet), (contents, admitted), (leave, translator));
            }
            Plan::Gateway(why) => self.stay(slot, frame, network, (contents, admitted), why),
            Plan::Drop(reason) => {
                self.refuse(admitted, contents, reason);
                self.drop(slot, frame, reason);
            }
            // Only what is planned anew is stale, and that has ended.
            Plan::Stale(_) => self.drop(slot, frame, DropReason::CtGone),
        }
    }

    #[inline]
    fn plan<P>(
        &self,
        slot: usize,
        frame: &Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        admitted: Admitted,
        translator: Translator<'a>,
    ) -> Plan {
        let (conntrack, now) = (translator.conntrack, self.now);
        let verdict = match admitted.first {
            Some(First { found: Some(found), .. }) => Verdict::Established(found),
            // Its datagram is not translated.
            Some(First { found: None, .. }) => return Plan::Plain,
            None => conntrack.look_up_hinted(network, packet, self.readings.hint(slot), now),
        };
        let Some(routes) = self.routes else { return Plan::Drop(DropReason::NotRoutable) };
        let arrival = routes.arrival(network, frame, packet);
        match translator.plan(&arrival, verdict, now) {
            Plan::Stale(found) => {
                conntrack.close(found.id);
                translator.plan(&arrival, Verdict::New, now)
            }
            plan => plan,
        }
    }

    /// Lets a packet leave with other addresses.
    fn leave<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        (contents, admitted): (&Contents, Admitted),
        (leave, translator): (Leave, Translator<'a>),
    ) where
        E: Egress<P>,
    {
        let (port, now) = (self.scene.source, self.now);
        let Leave { hop, change, connection: belongs } = leave;
        let opened = match belongs {
            Belongs::New(opening) => match translator.allocate(&opening, port, now) {
                Ok(opened) => Some(opened),
                Err(reason) => return self.turn_away(slot, frame, network, (contents, admitted), reason),
            },
            Belongs::To(_) | Belongs::About(_) => None,
        };
        let translated = Translated { translator, belongs, opened, port, now };
        let place = self.scene.station(hop.network, hop.destination);
        let station = place.map(|(port, _)| port);
        let networks = [network, hop.network];
        if self.is_judged(station, hop.network) {
            translated.rewrite(frame, packet, &leave);
            let seen = match Contents::of(frame) {
                Ok(Contents::Ip(seen)) => seen,
                _ => *packet,
            };
            let judged = Judged { contents, admitted, translated: Some((translated, &seen)) };
            return match station {
                Some(to) => self.judge_admitted(slot, frame, networks, to, judged),
                None => self.pass_to_all(slot, frame, networks, Some(judged)),
            };
        }
        let noted = translated.note_unfiltered(packet).map_err(DropReason::from);
        if let Some(filter) = self.filter {
            self.settle(filter, admitted, contents, noted);
        }
        if let Err(reason) = noted {
            return self.drop(slot, frame, reason);
        }
        translated.rewrite(frame, packet, &leave);
        let Some(place) = place else { return self.pass_to_all(slot, frame, networks, None) };
        if let (Change::Packet(leaving), Belongs::To(found)) = (change, belongs) {
            self.keep_path((network, packet), (hop, Some((found, leaving))), place);
        }
        self.egress.send(place.0, slot, frame);
    }

    /// Has no packet pass for which there is no address or port to stand for its sender.
    #[cold]
    fn turn_away<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        (contents, admitted): (&Contents, Admitted),
        reason: DropReason,
    ) where
        E: Egress<P>,
    {
        if reason == DropReason::NatExhausted {
            return self.stay(slot, frame, network, (contents, admitted), Why::Exhausted);
        }
        self.refuse(admitted, contents, reason);
        self.drop(slot, frame, reason);
    }

    /// Whether rules are asked about a packet that leaves for this station, whose place may be unknown.
    #[inline]
    pub(super) fn is_judged(&self, station: Option<PortIndex>, network: NetworkIndex) -> bool {
        let Scene { policy, source, .. } = *self.scene;
        let receives_filtered = match station {
            Some(to) => policy.is_filtered(to),
            None => policy.has_filtered(network),
        };
        receives_filtered || policy.is_filtered(source)
    }

    /// Tells the rest of a datagram that its first fragment does not pass.
    fn refuse<P>(&mut self, admitted: Admitted, contents: &Contents, reason: DropReason)
    where
        E: Egress<P>,
    {
        if let Some(filter) = self.filter {
            self.settle(filter, admitted, contents, Err(reason));
        }
    }

    /// Has the gateway see a packet as it came in. If that is a datagram's first fragment, and the gateway may let it come in once
    /// more, the others wait for that.
    #[cold]
    pub(super) fn stay<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        (contents, admitted): (&Contents, Admitted),
        why: Why,
    ) where
        E: Egress<P>,
    {
        if let (Some(filter), Contents::Ip(packet)) = (self.filter, contents) {
            if why == Why::Local {
                let judged = Judged { contents, admitted, translated: None };
                if !self.may_reach_gateway(slot, frame, network, judged) {
                    return;
                }
            } else {
                filter.put_back(network, self.scene.source, packet);
            }
        }
        if why == Why::Exhausted {
            self.drop(slot, frame, DropReason::NatExhausted);
            // Whether there was room or not, it was counted.
            let _ = self.storm.admits_to_gateway(self.scene.source, false, self.now)
                && self.egress.offer(network, slot, frame, Some(why));
            return;
        }
        self.hand_over(slot, frame, network, Some(why));
    }
}
