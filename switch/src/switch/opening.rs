//! Packets that open connections of a kind that rules allowed before.

use super::Egress;
use super::commit::Commit;
use super::judge::Rules;
use crate::conntrack::{Hint, Judged};
use crate::filter::{Denied, Kind, Parcel, Passage};
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Contents, Packet, Transport};

impl<E> Commit<'_, E> {
    /// Opens the connection of a frame that goes from `network` to port `to` there, if that is known to be allowed and the frame's connection
    /// is new; says what came of it. What [`Commit::judge_between`] does with such a frame, without asking any rule; `None`: that
    /// has to be done.
    #[inline(never)]
    pub(super) fn open_as_before<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        to: PortIndex,
    ) -> Option<Result<(), Denied>>
    where
        E: Egress<P>,
    {
        let packet = &self.readings.packet(slot, frame)?;
        let (rules, hint) = (self.rules?, self.readings.known(slot)?);
        // What came by a tag or a tunnel belongs to another network than was looked ahead to.
        if self.carried.is_some() || frame.meta.tag.is_some() || !rules.judges {
            return None;
        }
        // Who opens too many is refused before anybody's lock is taken.
        if !self.storm.would_admit_connection(self.scene.source, &rules.limits, self.now) {
            return None;
        }
        let ports = [self.scene.source, to];
        let [sender, receiver] = self.openings.find(&Kind::of(packet, ports)?, rules.hasher)?;
        let vouchers = [sender.then_some(ports[0]), receiver.then_some(ports[1])];
        let judged = Judged { vouchers, generation: rules.security.generation() };
        if self.verifies && !self.is_rightly_allowed((network, packet), (*hint, to), judged) {
            self.mismatched += 1;
            return None;
        }
        let bill = || self.bill(&rules, Ok(Passage::Opens(judged)));
        let opener = (self.scene.source, judged);
        let opened = rules.filter.conntrack.open_ahead((network, packet), hint, opener, self.now, bill);
        opened.map(|opened| opened.map(|_| ()))
    }

    /// Whether a packet would be allowed to open a connection by all that may be asked, and would be found to be judged so.
    #[cold]
    fn is_rightly_allowed(
        &self,
        (network, packet): (NetworkIndex, &Packet),
        (hint, to): (Hint, PortIndex),
        judged: Judged,
    ) -> bool {
        let Some((rules, crossing)) = self.crossing([network; 2]) else { return false };
        let contents = Contents::Ip(*packet);
        let parcel = Parcel { contents: &contents, seen: None, first: None, hint };
        match rules.filter.assess(&crossing, parcel, to) {
            Ok(Passage::Opens(anew)) => anew == judged,
            // It is of a connection by now, or of none and no opening: nothing is opened then.
            Ok(Passage::Follows(..)) => true,
            Ok(Passage::Free) | Err(Denied::Invalid(_)) => matches!(packet.transport, Transport::Tcp(_)),
            Err(_) => false,
        }
    }

    /// Takes note of what was found out about a packet that goes as it came from one port to the other, if it holds for all of its kind.
    #[inline]
    pub(super) fn remember_opening(
        &mut self,
        rules: &Rules<'_>,
        contents: &Contents,
        to: PortIndex,
        assessed: Result<Passage, Denied>,
    ) {
        if let (Contents::Ip(packet), Ok(Passage::Opens(judged))) = (contents, assessed)
            && let Some(kind) = Kind::of(packet, [self.scene.source, to])
        {
            self.openings.note(kind, judged.vouchers.map(|port| port.is_some()), rules.hasher);
        }
    }
}
