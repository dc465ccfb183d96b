//! Packets for another network, or for the gateway itself: see [`crate::router`].

use super::Egress;
use super::commit::Commit;
use super::judge::Admitted;
use super::readings::Reading;
use crate::decision::{Lengths, Scene};
use crate::drops::DropReason;
use crate::frame::{Frame, TakenTag};
use crate::ids::NetworkIndex;
use crate::packet::{Contents, Icmp, IcmpMessage, Packet, Transport};
use crate::router::{Arrival, Concern, Hop, Neighbours, Routing, Way, rewrite};
use crate::storm::StormClass;

/// What it takes to route packets during a burst.
#[derive(Clone, Copy)]
pub(super) struct Routes<'a> {
    pub(super) routing: &'a Routing,
    pub(super) neighbours: &'a Neighbours,
}

impl Routes<'_> {
    /// What becomes of a packet that came to the gateway of `network`.
    pub(super) fn way<P>(
        &self,
        network: NetworkIndex,
        frame: &Frame<P>,
        contents: &Contents,
        now_s: u32,
    ) -> Result<(Packet, Way), DropReason> {
        let Contents::Ip(packet) = contents else { return Err(DropReason::NotRoutable) };
        let head = frame.head.bytes();
        let wire_length = Lengths::of(head, &frame.meta).wire;
        let arrival = Arrival { network, head, packet, wire_length };
        Ok((*packet, self.routing.way(&arrival, self.neighbours, now_s)))
    }
}

impl<E> Commit<'_, E> {
    /// Sends a packet that came to the gateway's Ethernet address on its way.
    #[inline(never)]
    pub(super) fn route<P>(&mut self, slot: usize, frame: &mut Frame<P>, network: NetworkIndex)
    where
        E: Egress<P>,
    {
        let Some(routes) = self.routes else { return self.drop(slot, frame, DropReason::NotRoutable) };
        let contents = match self.contents(slot, frame) {
            Ok(contents) => contents,
            Err(reason) => return self.drop(slot, frame, reason),
        };
        if let Contents::Arp(_) = contents {
            return self.hand_over(slot, frame, network);
        }
        match routes.way(network, frame, &contents, self.scene.now_s) {
            Ok((packet, Way::To(hop))) => self.pass(slot, frame, (network, packet), hop, &contents),
            Ok((_, Way::Gateway(_))) => self.hand_over(slot, frame, network),
            Ok((_, Way::Drop(reason))) | Err(reason) => self.drop(slot, frame, reason),
        }
    }

    /// What the frame at this position says.
    fn contents<P>(&self, slot: usize, frame: &Frame<P>) -> Result<Contents, DropReason> {
        match self.readings.get(slot) {
            Some(Reading::Read(contents)) => Ok(*contents),
            Some(Reading::Unreadable(reason)) => Err(*reason),
            Some(Reading::Tagged) | None => Contents::of(frame),
        }
    }

    /// Lets a packet leave in the network of its next hop. Where rules are asked, a fragment has to be known before the head is
    /// changed: one that waits for the first comes in here once more.
    fn pass<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, packet): (NetworkIndex, Packet),
        hop: Hop,
        contents: &Contents,
    ) where
        E: Egress<P>,
    {
        let Scene { policy, source, .. } = *self.scene;
        let networks = [network, hop.network];
        let station = self.scene.station(hop.network, hop.destination);
        let receives_filtered = match station {
            Some(to) => policy.is_filtered(to),
            None => policy.has_filtered(hop.network),
        };
        let admitted = if receives_filtered || policy.is_filtered(source) {
            let Some(admitted) = self.admit_between(slot, frame, networks, contents) else { return };
            Some((contents, admitted))
        } else {
            None
        };
        rewrite::pass(frame.head.bytes_mut(), &packet, hop.source, hop.destination);
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network: hop.network, priority });
        match (station, admitted) {
            (Some(to), Some(admitted)) => self.judge_admitted(slot, frame, networks, to, admitted),
            (Some(to), None) => self.egress.send(to, slot, frame),
            (None, admitted) => self.pass_to_all(slot, frame, networks, admitted),
        }
    }

    /// The station's place is unknown, though its Ethernet address is not.
    #[cold]
    fn pass_to_all<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        networks: [NetworkIndex; 2],
        admitted: Option<(&Contents, Admitted)>,
    ) where
        E: Egress<P>,
    {
        let members = self.scene.policy.network(networks[1]).map_or(&[][..], |network| network.members());
        if !members.iter().any(|member| *member != self.scene.source) {
            return self.drop(slot, frame, DropReason::NoReceiver);
        }
        if !self.admits(StormClass::UnknownUnicast) {
            return self.drop(slot, frame, StormClass::UnknownUnicast.drop_reason());
        }
        match admitted {
            Some(admitted) => self.flood_admitted(slot, frame, networks, members, admitted),
            None => self.egress.flood(networks[1], members, slot, frame),
        }
    }

    /// Hands a frame to the gateway of `network`, if its port did not send too many that it has to look at.
    #[cold]
    fn hand_over<P>(&mut self, slot: usize, frame: &Frame<P>, network: NetworkIndex)
    where
        E: Egress<P>,
    {
        if !self.storm.admits_to_gateway(self.scene.source, self.now) {
            self.drop(slot, frame, DropReason::GatewayRate);
        } else if !self.egress.offer(network, slot, frame) {
            self.drop(slot, frame, DropReason::GatewayQueueFull);
        }
    }

    /// Hands a frame to the gateway of `network` if it concerns that; says whether nobody else gets it.
    #[inline(never)]
    pub(super) fn offer<P>(&mut self, slot: usize, frame: &Frame<P>, network: NetworkIndex) -> bool
    where
        E: Egress<P>,
    {
        let Some(Routes { routing, neighbours }) = self.routes else { return false };
        // What cannot be read is none of the gateway's business; others may know what to do with it.
        let Ok(contents) = self.contents(slot, frame) else { return false };
        match routing.concern(network, frame.head.bytes(), &contents, neighbours) {
            Concern::Nobody => false,
            Concern::All => {
                // Whether there was room or not, the others get it.
                let _ = self.storm.admits_to_gateway(self.scene.source, self.now)
                    && self.egress.offer(network, slot, frame);
                false
            }
            Concern::GatewayAlone => {
                self.hand_over(slot, frame, network);
                true
            }
            Concern::Spoofed => {
                // The gateway gets what it has to defend its addresses against, if there is room.
                let _ = is_claim(&contents)
                    && self.storm.admits_to_gateway(self.scene.source, self.now)
                    && self.egress.offer(network, slot, frame);
                self.drop(slot, frame, DropReason::GatewaySpoofed);
                true
            }
        }
    }
}

/// Whether the frame says who has an address, and does not merely come from there.
fn is_claim(contents: &Contents) -> bool {
    match contents {
        Contents::Arp(_) => true,
        Contents::Ip(Packet { transport: Transport::Icmp(Icmp { message, .. }), .. }) => {
            matches!(message, IcmpMessage::Neighbour(_))
        }
        _ => false,
    }
}
