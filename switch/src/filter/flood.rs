//! Frames that reach many ports: the sender's rules are asked once, each receiver's about what it would get.

use super::assess::{Passage, Sides, stands};
use super::crossing::{Crossing, Opened, Side};
use super::denied::Denied;
use super::{Filter, Parcel};
use crate::conntrack::{Judged, Verdict};
use crate::explain::{Observer, Outcome};
use crate::ids::PortIndex;
use crate::packet::{Contents, Packet};
use crate::security::{GroupIndex, Match, SecurityPolicy, Tracking, Zone};

/// Receivers of a flood of which it is told which rule lets the frame in: what all of a network's ports say is more than anybody
/// reads.
const TOLD_MAX: usize = 16;

/// One frame, and who may get it.
struct Flood<'a, O> {
    filter: &'a Filter,
    crossing: &'a Crossing<'a>,
    packet: &'a Packet,
    parcel: Parcel<'a>,
    verdict: Verdict,
    /// How its connection was opened.
    opened: Option<Opened>,
    /// Who listens.
    observer: &'a O,
}

/// What was said about the last receiver: most ports of a network are in the same groups.
struct Recent<'a> {
    groups: &'a [GroupIndex],
    zone: Zone,
    allows: Option<Allowance>,
}

/// Why a side lets the frame pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Allowance {
    /// By a rule.
    Rule(Match),
    /// By the connection, for which it vouched.
    Vouched,
}

impl Filter {
    /// Puts those of `members` into `receivers` that may get the frame, and gives what is to be noted. Ports whose groups are
    /// the same as the last one's are asked about once.
    ///
    /// # Errors
    /// The sender may not send it, or nobody may get it.
    pub(crate) fn assess_flood(
        &self,
        crossing: &Crossing<'_>,
        parcel: Parcel<'_>,
        members: &[PortIndex],
        receivers: &mut Vec<PortIndex>,
    ) -> Result<Passage, Denied> {
        self.assess_flood_observed(crossing, parcel, members, receivers, &())
    }

    /// The same, with somebody who listens.
    pub(crate) fn assess_flood_observed(
        &self,
        crossing: &Crossing<'_>,
        parcel: Parcel<'_>,
        members: &[PortIndex],
        receivers: &mut Vec<PortIndex>,
        observer: &impl Observer,
    ) -> Result<Passage, Denied> {
        receivers.clear();
        let contents = parcel.contents;
        let Contents::Ip(packet) = contents else {
            return self.assess_other(crossing, contents, members, receivers);
        };
        let verdict = self.verdict(crossing, packet, &parcel);
        observer.looked(|| self.looked(verdict, crossing));
        if verdict == Verdict::New && !crossing.judges {
            return Err(Denied::TooFast);
        }
        let opened = match verdict {
            Verdict::Established(found) | Verdict::Related(found) => self.opened(found),
            _ => None,
        };
        let flood = Flood { filter: self, crossing, packet, parcel, verdict, opened, observer };
        flood.reach(members, receivers)?;
        Ok(flood.passage())
    }

    /// What is no packet of IP passes where no rules are asked.
    fn assess_other(
        &self,
        crossing: &Crossing<'_>,
        contents: &Contents,
        members: &[PortIndex],
        receivers: &mut Vec<PortIndex>,
    ) -> Result<Passage, Denied> {
        if crossing.sender(contents).is_some() {
            return Err(Denied::NotIp);
        }
        receivers.extend(members.iter().filter(|to| crossing.receiver(**to, contents).is_none()));
        if reaches_nobody(receivers, crossing.from) { Err(Denied::NotIp) } else { Ok(Passage::Free) }
    }
}

impl<O: Observer> Flood<'_, O> {
    fn reach(&self, members: &[PortIndex], receivers: &mut Vec<PortIndex>) -> Result<(), Denied> {
        let Self { crossing, parcel, .. } = *self;
        let sides = Sides { sender: crossing.sender(parcel.contents), receiver: None };
        if let (Verdict::Related(found), Some(opened)) = (self.verdict, &self.opened) {
            sides.may_report(found, opened)?;
        }
        sides.all(|side| self.passes(side)).map_err(|denied| self.denied(denied))?;
        let (mut recent, mut told): (Option<Recent<'_>>, usize) = (None, 0);
        for &to in members.iter().filter(|to| **to != crossing.from) {
            let Some(side) = crossing.receiver(to, parcel.contents) else {
                receivers.push(to);
                continue;
            };
            if let Some(allowance) = self.as_recent(&side, crossing.security, &mut recent) {
                receivers.push(to);
                told += 1;
                if told <= TOLD_MAX {
                    self.tell(&side, allowance);
                }
            }
        }
        if reaches_nobody(receivers, crossing.from) { Err(self.denied(Denied::Ingress)) } else { Ok(()) }
    }

    fn denied(&self, denied: Denied) -> Denied {
        match self.verdict {
            Verdict::Invalid(reason) => Denied::Invalid(reason),
            _ => denied,
        }
    }

    fn as_recent<'p>(
        &self,
        side: &Side<'_>,
        security: &'p SecurityPolicy,
        recent: &mut Option<Recent<'p>>,
    ) -> Option<Allowance> {
        // Whose connection it is depends on the port itself.
        if matches!(self.verdict, Verdict::Established(_) | Verdict::Related(_)) {
            return self.allowance(side);
        }
        let tables = security.port(side.port)?;
        let (groups, zone) = (tables.groups().unwrap_or_default(), tables.zone());
        if let Some(recent) = recent
            && (recent.groups, recent.zone) == (groups, zone)
        {
            return recent.allows;
        }
        let allows = self.allowance(side);
        *recent = Some(Recent { groups, zone, allows });
        allows
    }

    /// Whether a side lets it pass, with word of why.
    fn passes(&self, side: &Side<'_>) -> bool {
        let allowance = self.allowance(side);
        if let Some(allowance) = allowance {
            self.tell(side, allowance);
        }
        allowance.is_some()
    }

    fn tell(&self, side: &Side<'_>, allowance: Allowance) {
        let Side { port, direction, .. } = *side;
        self.observer.outcome(|| match allowance {
            Allowance::Rule(rule) => Outcome::Allowed { port, direction, rule },
            Allowance::Vouched => Outcome::Vouched(port),
        });
    }

    fn allowance(&self, side: &Side<'_>) -> Option<Allowance> {
        let packet = side.packet(self.packet, self.parcel.seen.unwrap_or(self.packet));
        let by_rules = |tracking| side.allows(packet, self.parcel.first, tracking).map(Allowance::Rule);
        let by_connection = match (self.verdict, &self.opened) {
            (Verdict::Established(found) | Verdict::Related(found), Some(opened)) => {
                let judged = self.filter.conntrack.judged(found.id);
                let stands = judged.is_some_and(|judged| stands(side, found, judged));
                let vouches =
                    || self.crossing.judges.then(|| side.vouches(found.direction, opened)).flatten();
                if stands { Some(Allowance::Vouched) } else { vouches().map(Allowance::Rule) }
            }
            _ => None,
        };
        let may_be_new = !matches!(self.verdict, Verdict::Invalid(_) | Verdict::Established(_));
        by_connection
            .or_else(|| may_be_new.then(|| by_rules(Tracking::Stateful)).flatten())
            .or_else(|| by_rules(Tracking::Stateless))
    }

    /// A packet to one station whose place is unknown opens its connection as any other, and who is there vouches for it by
    /// its answer. What is for groups is answered by others, if at all.
    fn passage(&self) -> Passage {
        match self.verdict {
            Verdict::Established(found) => Passage::Follows(found, None),
            Verdict::New if !self.packet.destination.is_group() => {
                let sender = self.crossing.sender(self.parcel.contents);
                let vouches = sender
                    .filter(|side| side.allows(self.packet, self.parcel.first, Tracking::Stateful).is_some());
                let vouchers = [vouches.map(|side| side.port), None];
                Passage::Opens(Judged { vouchers, generation: self.crossing.security.generation() })
            }
            _ => Passage::Free,
        }
    }
}

fn reaches_nobody(receivers: &[PortIndex], from: PortIndex) -> bool {
    receivers.iter().all(|to| *to == from)
}
