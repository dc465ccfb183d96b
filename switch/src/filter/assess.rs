//! May a packet go from this port to that one? Nothing is changed here but by [`Filter::note`].

use super::crossing::{Crossing, Side};
use super::denied::Denied;
use super::{Filter, First, Parcel};
use crate::conntrack::{Invalid, Judged, Reference, Refused, Verdict};
use crate::ids::PortIndex;
use crate::packet::{Contents, Packet};
use crate::security::Tracking;

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

    /// Whether all sides say so.
    pub(super) fn all(&self, says: impl Fn(&Side<'a>) -> bool) -> Result<(), Denied> {
        match self.each().find(|side| !says(side)) {
            Some(side) => Err(Denied::by(side.direction)),
            None => Ok(()),
        }
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
        let contents = parcel.contents;
        let sides = Sides { sender: crossing.sender(contents), receiver: crossing.receiver(to, contents) };
        if sides.sender.is_none() && sides.receiver.is_none() {
            return Ok(Passage::Free);
        }
        match contents {
            Contents::Ip(packet) => self.assess_packet(crossing, packet, &parcel, &sides),
            Contents::Arp(_) | Contents::Other(_) => Err(Denied::NotIp),
        }
    }

    fn assess_packet(
        &self,
        crossing: &Crossing<'_>,
        packet: &Packet,
        parcel: &Parcel<'_>,
        sides: &Sides<'_>,
    ) -> Result<Passage, Denied> {
        let by_rules = |side: &Side<'_>, tracking| side.allows(packet, parcel.first, tracking).is_some();
        let stateless = |side: &Side<'_>| by_rules(side, Tracking::Stateless);
        match self.verdict(crossing, packet, parcel) {
            Verdict::Established(found) => self.assess_known(crossing, found, sides, stateless),
            Verdict::New if !crossing.judges => Err(Denied::TooFast),
            Verdict::New => Self::assess_new(crossing, sides, by_rules),
            Verdict::Related(found) => {
                let judged = self.conntrack.judged(found.id).ok_or(Invalid::Gone)?;
                let original = self.conntrack.original(found.id).ok_or(Invalid::Gone)?;
                sides.all(|side| {
                    stands(side, found, judged)
                        || side.vouches(found.direction, &original)
                        || by_rules(side, Tracking::Stateful)
                        || stateless(side)
                })?;
                Ok(Passage::Free)
            }
            Verdict::Untracked => {
                sides.all(|side| by_rules(side, Tracking::Stateful) || stateless(side))?;
                Ok(Passage::Free)
            }
            Verdict::Invalid(reason) => {
                sides.all(stateless).map_err(|_| Denied::Invalid(reason))?;
                Ok(Passage::Free)
            }
        }
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
    fn assess_known(
        &self,
        crossing: &Crossing<'_>,
        found: Reference,
        sides: &Sides<'_>,
        stateless: impl Fn(&Side<'_>) -> bool,
    ) -> Result<Passage, Denied> {
        let judged = self.conntrack.judged(found.id).ok_or(Invalid::Gone)?;
        if sides.each().all(|side| stands(&side, found, judged)) {
            return Ok(Passage::Follows(found, None));
        }
        self.assess_again(crossing, (found, judged), sides, stateless)
    }

    /// A packet of a connection for which not all sides vouch by what holds now.
    #[cold]
    fn assess_again(
        &self,
        crossing: &Crossing<'_>,
        (found, judged): (Reference, Judged),
        sides: &Sides<'_>,
        stateless: impl Fn(&Side<'_>) -> bool,
    ) -> Result<Passage, Denied> {
        let original = self.conntrack.original(found.id).ok_or(Invalid::Gone)?;
        let mut vouchers = [None; 2];
        for side in sides.each() {
            let holds =
                stands(&side, found, judged) || (crossing.judges && side.vouches(found.direction, &original));
            if holds {
                vouchers[side.role(found.direction)] = Some(side.port);
            } else if !stateless(&side) {
                return Err(if crossing.judges { Denied::by(side.direction) } else { Denied::TooFast });
            }
        }
        let anew = Judged { vouchers, generation: crossing.security.generation() };
        // Where only rules without memory allow it, the connection is left as it is.
        let is_vouched = vouchers.iter().any(Option::is_some);
        let anew = (anew != judged).then_some(anew);
        Ok(if is_vouched { Passage::Follows(found, anew) } else { Passage::Free })
    }

    /// A packet that may open a connection.
    fn assess_new(
        crossing: &Crossing<'_>,
        sides: &Sides<'_>,
        by_rules: impl Fn(&Side<'_>, Tracking) -> bool,
    ) -> Result<Passage, Denied> {
        let mut vouchers = [None; 2];
        for (role, side) in [sides.sender, sides.receiver].into_iter().enumerate() {
            let Some(side) = side else { continue };
            if by_rules(&side, Tracking::Stateful) {
                vouchers[role] = Some(side.port);
            } else if !by_rules(&side, Tracking::Stateless) {
                return Err(Denied::by(side.direction));
            }
        }
        let is_vouched = vouchers.iter().any(Option::is_some);
        let judged = Judged { vouchers, generation: crossing.security.generation() };
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
                    self.conntrack.set_judged(found.id, anew);
                }
                Ok(Some(found))
            }
            Passage::Opens(judged) => {
                let Crossing { network, from, now, .. } = *crossing;
                match self.conntrack.open_judged(network, packet, from, judged, now) {
                    Ok(found) => Ok(Some(found)),
                    Err(Refused::NotNew) => Err(Denied::Invalid(Invalid::NotSyn)),
                    Err(reason) => Err(Denied::Refused(reason)),
                }
            }
        }
    }
}

/// Whether this side vouched for the connection, and may still.
#[inline]
pub(super) fn stands(side: &Side<'_>, found: Reference, judged: Judged) -> bool {
    judged.vouchers[side.role(found.direction)] == Some(side.port) && side.is_current(judged.generation)
}
