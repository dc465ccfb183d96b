//! May a packet go from this port to that one? Nothing is changed here but by [`Filter::note`].

use super::crossing::{Crossing, Opened, Side};
use super::denied::Denied;
use super::{Filter, First, Parcel};
use crate::conntrack::{Invalid, Judged, Reference, Verdict};
use crate::explain::{Looked, Observer, Outcome};
use crate::ids::PortIndex;
use crate::packet::{Contents, Packet};
use crate::security::{Match, Tracking};

/// What is to be noted of a packet that may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    /// Nothing: no rule is asked, or one without memory allows it.
    Free,
    /// It belongs to this connection, which was judged anew if that is given.
    Follows(Reference, Option<Judged>),
    /// It opens a connection.
    Opens(Judged),
}

/// The sides whose rules are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub(super) sender: Option<Side<'a>>,
    pub(super) receiver: Option<Side<'a>>,
}

impl<'a> Sides<'a> {
    fn each(&self) -> impl Iterator<Item = Side<'a>> {
        self.sender.into_iter().chain(self.receiver)
    }

    /// Whether the sender may say that a packet of the connection came to nothing: who it was for, or a router.
    pub(super) fn may_report(&self, found: Reference, opened: &Opened) -> Result<(), Denied> {
        let may = self.sender.is_none_or(|sender| sender.may_report(found.direction, opened));
        if may { Ok(()) } else { Err(Denied::Invalid(Invalid::ForgedQuote)) }
    }

    /// Whether all sides say so.
    pub(super) fn all(&self, says: impl Fn(&Side<'a>) -> bool) -> Result<(), Denied> {
        match self.each().find(|side| !says(side)) {
            Some(side) => Err(Denied::by(side.direction)),
            None => Ok(()),
        }
    }
}

/// A packet, and who listens to what is found out about it.
struct Case<'a, O> {
    crossing: &'a Crossing<'a>,
    packet: &'a Packet,
    /// As the receiver gets it.
    seen: &'a Packet,
    first: Option<First>,
    sides: Sides<'a>,
    observer: &'a O,
}

impl<O: Observer> Case<'_, O> {
    /// Whether rules of this kind allow this very packet.
    fn by_rules(&self, side: &Side<'_>, tracking: Tracking) -> bool {
        self.noted(side, side.allows(side.packet(self.packet, self.seen), self.first, tracking))
    }

    fn stateless(&self, side: &Side<'_>) -> bool {
        self.by_rules(side, Tracking::Stateless)
    }

    /// Whether the side's rules allow the connection that was opened so.
    fn vouches(&self, side: &Side<'_>, found: Reference, opened: &Opened) -> bool {
        self.noted(side, side.vouches(found.direction, opened))
    }

    fn noted(&self, side: &Side<'_>, rule: Option<Match>) -> bool {
        if let Some(rule) = rule {
            let Side { port, direction, .. } = *side;
            self.observer.outcome(|| Outcome::Allowed { port, direction, rule });
        }
        rule.is_some()
    }

    /// Whether this side vouched for the connection, and may still.
    #[inline]
    fn stands(&self, side: &Side<'_>, found: Reference, judged: Judged) -> bool {
        let stands = stands(side, found, judged);
        if stands {
            self.observer.outcome(|| Outcome::Vouched(side.port));
        }
        stands
    }
}

impl Filter {
    /// Whether the packet may leave by port `to`, and what is to be noted then.
    #[inline]
    pub(crate) fn assess(
        &self,
        crossing: &Crossing<'_>,
        parcel: Parcel<'_>,
        to: PortIndex,
    ) -> Result<Passage, Denied> {
        self.assess_observed(crossing, parcel, to, &())
    }

    /// The same, with somebody who listens.
    #[inline]
    pub(crate) fn assess_observed(
        &self,
        crossing: &Crossing<'_>,
        parcel: Parcel<'_>,
        to: PortIndex,
        observer: &impl Observer,
    ) -> Result<Passage, Denied> {
        let contents = parcel.contents;
        let sides = Sides { sender: crossing.sender(contents), receiver: crossing.receiver(to, contents) };
        if sides.sender.is_none() && sides.receiver.is_none() {
            return Ok(Passage::Free);
        }
        match contents {
            Contents::Ip(packet) => {
                let seen = parcel.seen.unwrap_or(packet);
                let case = Case { crossing, packet, seen, first: parcel.first, sides, observer };
                self.assess_packet(&case, &parcel)
            }
            Contents::Arp(_) | Contents::Other(_) => Err(Denied::NotIp),
        }
    }

    fn assess_packet<O: Observer>(&self, case: &Case<'_, O>, parcel: &Parcel<'_>) -> Result<Passage, Denied> {
        let Case { crossing, packet, sides, .. } = case;
        let verdict = self.verdict(crossing, packet, parcel);
        case.observer.looked(|| self.looked(verdict, crossing));
        match verdict {
            Verdict::Established(found) => self.assess_known(case, found),
            Verdict::New if !crossing.judges => Err(Denied::TooFast),
            Verdict::New => Self::assess_new(case),
            Verdict::Related(found) => {
                let judged = self.conntrack.judged(found.id).ok_or(Invalid::Gone)?;
                let opened = self.opened(found).ok_or(Invalid::Gone)?;
                sides.may_report(found, &opened)?;
                sides.all(|side| {
                    case.stands(side, found, judged)
                        || case.vouches(side, found, &opened)
                        || case.by_rules(side, Tracking::Stateful)
                        || case.stateless(side)
                })?;
                Ok(Passage::Free)
            }
            Verdict::Untracked => {
                sides.all(|side| case.by_rules(side, Tracking::Stateful) || case.stateless(side))?;
                Ok(Passage::Free)
            }
            Verdict::Invalid(reason) => {
                sides.all(|side| case.stateless(side)).map_err(|_| Denied::Invalid(reason))?;
                Ok(Passage::Free)
            }
        }
    }

    /// What is seen of a connection by who listens.
    pub(super) fn looked(&self, verdict: Verdict, crossing: &Crossing<'_>) -> Looked {
        let state = match verdict {
            Verdict::Established(found) | Verdict::Related(found) => {
                self.conntrack.connection(found.id, crossing.now).map(|connection| connection.state)
            }
            _ => None,
        };
        Looked::Connection { verdict, state }
    }

    /// How a connection was opened.
    pub(super) fn opened(&self, found: Reference) -> Option<Opened> {
        self.conntrack.tuples(found.id).map(Opened::of)
    }

    /// What the packet is to the table of connections; a later fragment is what its first one was.
    #[inline]
    pub(super) fn verdict(&self, crossing: &Crossing<'_>, packet: &Packet, parcel: &Parcel<'_>) -> Verdict {
        match parcel.first {
            Some(First { found: Some(found), .. }) => Verdict::Established(found),
            Some(First { found: None, .. }) => Verdict::Untracked,
            None => self.conntrack.look_up_hinted(crossing.network, packet, parcel.hint, crossing.now),
        }
    }

    /// A packet of a known connection.
    #[inline]
    fn assess_known<O: Observer>(&self, case: &Case<'_, O>, found: Reference) -> Result<Passage, Denied> {
        let judged = self.conntrack.judged(found.id).ok_or(Invalid::Gone)?;
        if case.sides.each().all(|side| stands(&side, found, judged)) {
            case.sides.each().for_each(|side| case.observer.outcome(|| Outcome::Vouched(side.port)));
            return Ok(Passage::Follows(found, None));
        }
        self.assess_again(case, found, judged)
    }

    /// A packet of a connection for which not all sides vouch by what holds now.
    #[cold]
    fn assess_again<O: Observer>(
        &self,
        case: &Case<'_, O>,
        found: Reference,
        judged: Judged,
    ) -> Result<Passage, Denied> {
        let Crossing { judges, security, .. } = *case.crossing;
        let opened = self.opened(found).ok_or(Invalid::Gone)?;
        let mut vouchers = [None; 2];
        for side in case.sides.each() {
            if case.stands(&side, found, judged) || (judges && case.vouches(&side, found, &opened)) {
                vouchers[side.role(found.direction)] = Some(side.port);
            } else if !case.stateless(&side) {
                return Err(if judges { Denied::by(side.direction) } else { Denied::TooFast });
            }
        }
        let anew = Judged { vouchers, generation: security.generation() };
        // Where only rules without memory allow it, the connection is left as it is.
        let is_vouched = vouchers.iter().any(Option::is_some);
        let anew = (anew != judged).then_some(anew);
        Ok(if is_vouched { Passage::Follows(found, anew) } else { Passage::Free })
    }

    /// A packet that may open a connection.
    fn assess_new<O: Observer>(case: &Case<'_, O>) -> Result<Passage, Denied> {
        let Sides { sender, receiver } = case.sides;
        let mut vouchers = [None; 2];
        for (role, side) in [sender, receiver].into_iter().enumerate() {
            let Some(side) = side else { continue };
            if case.by_rules(&side, Tracking::Stateful) {
                vouchers[role] = Some(side.port);
            } else if !case.stateless(&side) {
                return Err(Denied::by(side.direction));
            }
        }
        let is_vouched = vouchers.iter().any(Option::is_some);
        let judged = Judged { vouchers, generation: case.crossing.security.generation() };
        Ok(if is_vouched { Passage::Opens(judged) } else { Passage::Free })
    }

    /// Takes note of a packet that passes; gives the connection to which it belongs.
    #[inline]
    pub(crate) fn note(
        &self,
        crossing: &Crossing<'_>,
        packet: &Packet,
        passage: Passage,
    ) -> Result<Option<Reference>, Denied> {
        match passage {
            Passage::Free => Ok(None),
            Passage::Follows(found, anew) => {
                if !packet.is_later_fragment() {
                    self.conntrack.track(found, packet, crossing.now)?;
                }
                if let Some(anew) = anew {
                    self.conntrack.set_judged(found, anew);
                }
                Ok(Some(found))
            }
            Passage::Opens(judged) => {
                let Crossing { network, to, from, now, .. } = *crossing;
                Ok(Some(self.conntrack.open_judged([network, to], packet, from, judged, now)?))
            }
        }
    }
}

/// Whether this side vouched for the connection, and may still.
#[inline]
pub(super) fn stands(side: &Side<'_>, found: Reference, judged: Judged) -> bool {
    judged.vouchers[side.role(found.direction)] == Some(side.port) && side.is_current(judged.generation)
}
