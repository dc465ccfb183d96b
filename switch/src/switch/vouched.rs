//! Frames of connections for which all vouch who are asked: passed by one look, as by far the most are.

use super::Egress;
use super::commit::Commit;
use crate::conntrack::{Hint, Reference};
use crate::filter::{Between, Denied, Parcel, Passage};
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Contents, Packet, Plain, Transport};

/// What it takes to go from the burst's port to another one: mostly the same for many of its frames.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    network: NetworkIndex,
    to: PortIndex,
    /// `None`: each packet is looked at with care.
    between: Option<Between>,
}

impl<E> Commit<'_, E> {
    /// Lets a frame with a plain packet that teaches nothing leave, if security groups allow it.
    #[inline(always)]
    pub(super) fn ask_plain<P>(&mut self, slot: usize, frame: &Frame<P>, plain: &Plain, to: PortIndex)
    where
        E: Egress<P>,
    {
        self.tally.received(frame.meta.length);
        self.learned = None;
        let native = self.rules.as_ref().and_then(|rules| rules.untagged);
        match native.filter(|_| frame.meta.tag.is_none()) {
            Some(network) if self.is_vouched_plain(slot, frame, plain, (network, to)) => {
                self.egress.send(to, slot, frame);
            }
            Some(network) => self.judge_anew(slot, frame, network, to),
            None => self.judge(slot, frame, to),
        }
    }

    /// Whether a frame whose head was read belongs to a connection for which both sides vouch, which takes note of it then.
    #[inline]
    pub(super) fn is_vouched<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        to: PortIndex,
    ) -> bool {
        let readings = self.readings;
        if let Some(plain) = readings.plain(slot) {
            return self.is_vouched_plain(slot, frame, plain, (network, to));
        }
        let (Some(Contents::Ip(packet)), Some(hint)) = (readings.careful(slot), readings.known(slot)) else {
            return false;
        };
        if !hint.names_one() {
            return false;
        }
        let (Some(between), Some(filter)) = (self.between(network, to), self.filter) else { return false };
        let Some(vouched) = filter.vouched(&between, packet, hint, self.now) else { return false };
        if self.verifies && !self.is_rightly_vouched((network, packet), (*hint, to), vouched.found) {
            self.mismatched += 1;
            return false;
        }
        let tcp = if let Transport::Tcp(tcp) = &packet.transport { Some(tcp) } else { None };
        filter.conntrack.follows_vouched(&vouched, tcp, self.now)
    }

    /// The same for a frame with a plain packet.
    #[inline(always)]
    fn is_vouched_plain<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        plain: &Plain,
        (network, to): (NetworkIndex, PortIndex),
    ) -> bool {
        let (Some(hint), Some(filter)) = (self.readings.known(slot), self.filter) else { return false };
        let Some(between) = self.between(network, to) else { return false };
        let Some(vouched) = filter.vouched_plain(&between, plain, hint, self.now) else { return false };
        let head = frame.head.bytes();
        if self.verifies {
            let packet = plain.packet(head);
            let is_right = |packet| self.is_rightly_vouched((network, packet), (*hint, to), vouched.found);
            if !packet.as_ref().is_some_and(is_right) {
                self.mismatched += 1;
                return false;
            }
        }
        let segment = plain.segment(head);
        if segment.is_none() && plain.is_tcp() {
            return false;
        }
        filter.conntrack.follows_vouched(&vouched, segment.as_ref(), self.now)
    }

    /// What it takes to go to a port; `None`: that is not known beforehand.
    #[inline(always)]
    fn between(&mut self, network: NetworkIndex, to: PortIndex) -> Option<Between> {
        match &self.pair {
            Some(pair) if (pair.network, pair.to) == (network, to) => pair.between,
            _ => self.pair_with(network, to),
        }
    }

    #[inline(never)]
    fn pair_with(&mut self, network: NetworkIndex, to: PortIndex) -> Option<Between> {
        // What a fragment's datagram belongs to was decided by its first one.
        let rules = self.rules.as_ref().filter(|_| self.carried.is_none());
        let between = rules.and_then(|rules| Between::new(rules.security, network, [self.scene.source, to]));
        self.pair = Some(Pair { network, to, between });
        between
    }

    /// Whether a packet that was found to belong to a connection for which all vouch would be found so by all that may be asked.
    #[cold]
    fn is_rightly_vouched(
        &self,
        (network, packet): (NetworkIndex, &Packet),
        (hint, to): (Hint, PortIndex),
        found: Reference,
    ) -> bool {
        let Some((rules, crossing)) = self.crossing([network; 2]) else { return false };
        let contents = Contents::Ip(*packet);
        let parcel = Parcel { contents: &contents, seen: None, first: None, hint };
        match rules.filter.assess(&crossing, parcel, to) {
            Ok(Passage::Follows(known, None)) if known == found => true,
            // Its connection refuses this segment, as it will where it is followed.
            Ok(Passage::Free) | Err(Denied::Invalid(_)) if matches!(packet.transport, Transport::Tcp(_)) => {
                true
            }
            // Another worker may have changed its connection meanwhile.
            _ => {
                let between = Between::new(rules.security, network, [self.scene.source, to]);
                let again = between.and_then(|between| {
                    rules.filter.vouched(&between, packet, &hint, self.now)?.found.into()
                });
                again != Some(found)
            }
        }
    }
}
