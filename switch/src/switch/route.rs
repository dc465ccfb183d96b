//! Packets for another network, or for the gateway itself: see [`crate::router`].

use super::Egress;
use super::commit::Commit;
use super::judge::{Admitted, Judged};
use crate::decision::Lengths;
use crate::dhcp::datagram::CLIENT_PORT;
use crate::drops::DropReason;
use crate::frame::{Frame, TakenTag};
use crate::ids::NetworkIndex;
use crate::nat::Translator;
use crate::packet::{Contents, Icmp, IcmpMessage, Packet, Transport};
use crate::router::{Arrival, Concern, Hop, Neighbours, Routing, Way, Why, is_for_dhcp_client, rewrite};
use crate::storm::StormClass;

/// What it takes to route packets during a burst.
#[derive(Clone, Copy)]
pub(super) struct Routes<'a> {
    pub(super) routing: &'a Routing,
    pub(super) neighbours: &'a Neighbours,
    /// What it takes to translate addresses; `None`: none are.
    pub(super) translator: Option<Translator<'a>>,
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
        let arrival = self.arrival(network, frame, packet);
        Ok((*packet, self.routing.way(&arrival, self.neighbours, now_s)))
    }

    /// Whether a packet is for the gateway's DHCP client whatever its address is, which is one that the gateway has not got yet.
    #[inline]
    pub(super) fn is_for_dhcp_client(&self, network: NetworkIndex, packet: &Packet) -> bool {
        // Looked at first, since it tells nearly all packets apart.
        let is_answer = packet.ports().is_some_and(|ports| ports.destination == CLIENT_PORT);
        let interface = || self.routing.interface(network);
        is_answer && interface().is_some_and(|interface| is_for_dhcp_client(interface, packet))
    }

    /// Whether a message to the gateway of `network` claims an address of that gateway's.
    #[cold]
    pub(super) fn is_forged<P>(&self, network: NetworkIndex, frame: &Frame<P>, contents: &Contents) -> bool {
        let concern = self.routing.concern(network, frame.head.bytes(), contents, self.neighbours);
        concern == Concern::Spoofed
    }

    /// A packet that came to the gateway of `network`.
    #[inline]
    pub(super) fn arrival<'p, P>(
        &self,
        network: NetworkIndex,
        frame: &'p Frame<P>,
        packet: &'p Packet,
    ) -> Arrival<'p> {
        let head = frame.head.bytes();
        let wire_length = Lengths::of(head, &frame.meta).wire;
        Arrival { network, head, packet, wire_length }
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
        // Before any path is followed, since that of a packet without translation serves for all ports.
        if let Some(tunnels) = self.scene.policy.tunnels()
            && tunnels.is_imitated_by(network, frame.head.bytes(), frame.meta.length)
        {
            return self.drop(slot, frame, DropReason::TunnelForged);
        }
        if self.follow_plain(slot, frame, network, &routes) {
            return;
        }
        let mut read = None;
        let contents = match self.readings.contents(slot, frame, &mut read) {
            Ok(contents) => contents,
            Err(reason) => return self.drop(slot, frame, reason),
        };
        if self.follow_read(slot, frame, (network, contents), &routes) {
            return;
        }
        if is_claim(contents) && routes.is_forged(network, frame, contents) {
            return self.refuse_claim(slot, frame, network);
        }
        if let Contents::Arp(_) = contents {
            return self.hand_over(slot, frame, network, None);
        }
        if let Contents::Ip(packet) = contents
            && routes.is_for_dhcp_client(network, packet)
        {
            return self.hand_over(slot, frame, network, None);
        }
        if let (Contents::Ip(packet), Some(translator)) = (contents, routes.translator)
            && translator.concerns(network, packet)
        {
            return self.route_translated(slot, frame, (network, packet), (contents, translator));
        }
        if let (Contents::Ip(packet), Some(translator)) = (contents, routes.translator)
            && translator.concerns_prefixes(packet)
        {
            return self.route_prefixed(slot, frame, (network, packet), (contents, translator));
        }
        self.route_admitted(slot, frame, network, contents, None);
    }

    /// The same for a packet that keeps its addresses. `admitted` says what is known of a fragment, if anybody has asked.
    pub(super) fn route_admitted<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        network: NetworkIndex,
        contents: &Contents,
        admitted: Option<Admitted>,
    ) where
        E: Egress<P>,
    {
        let Some(routes) = self.routes else { return self.drop(slot, frame, DropReason::NotRoutable) };
        match (routes.way(network, frame, contents, self.scene.now_s), admitted) {
            (Ok((packet, Way::To(hop))), admitted) => {
                self.pass(slot, frame, (network, packet), hop, (contents, admitted));
            }
            (Ok((_, Way::Gateway(why))), Some(admitted)) => {
                self.stay(slot, frame, network, (contents, admitted), why);
            }
            (Ok((_, Way::Gateway(why))), None) => {
                self.bring_to_gateway(slot, frame, network, contents, (why, None));
            }
            (Ok((_, Way::Drop(reason))) | Err(reason), _) => self.drop(slot, frame, reason),
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
        (contents, admitted): (&Contents, Option<Admitted>),
    ) where
        E: Egress<P>,
    {
        let found = self.scene.station(hop.network, hop.destination);
        let station = found.map(|(port, _)| port);
        let judged = if self.is_judged(station, hop.network) {
            let admitted = admitted.or_else(|| self.admit_from(slot, frame, network, contents));
            let Some(admitted) = admitted else { return };
            Some(Judged { contents, admitted, translated: None })
        } else {
            if let (Some(admitted), Some(filter)) = (admitted, self.filter) {
                self.settle(filter, admitted, contents, Ok(None));
            }
            None
        };
        let networks = [network, hop.network];
        rewrite::pass(frame.head.bytes_mut(), &packet, hop.source, hop.destination);
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network: hop.network, priority });
        match (station, judged) {
            (Some(to), Some(judged)) => self.judge_admitted(slot, frame, networks, to, judged),
            (Some(to), None) => {
                if let Some(found) = found.filter(|_| admitted.is_none()) {
                    self.keep_path((network, &packet), (hop, None), found);
                }
                self.egress.send(to, slot, frame);
            }
            (None, judged) => self.pass_to_all(slot, frame, networks, judged),
        }
    }

    /// The station's place is unknown, though its Ethernet address is not.
    #[cold]
    pub(super) fn pass_to_all<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        networks: [NetworkIndex; 2],
        judged: Option<Judged<'_>>,
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
        match judged {
            Some(judged) => self.flood_admitted(slot, frame, networks, members, judged),
            None => self.egress.flood(networks[1], members, slot, frame),
        }
    }

    /// Hands a packet to the gateway of `network`, about which rules were not asked yet: those of its sender are if it is for the
    /// gateway itself. `told` is why, if the gateway cannot find that out.
    #[cold]
    pub(super) fn bring_to_gateway<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        contents: &Contents,
        (why, told): (Why, Option<Why>),
    ) where
        E: Egress<P>,
    {
        if why != Why::Local || !self.scene.policy.is_filtered(self.scene.source) {
            return self.hand_over(slot, frame, network, told);
        }
        if let Some(admitted) = self.admit_from(slot, frame, network, contents) {
            self.stay(slot, frame, network, (contents, admitted), why);
        }
    }

    /// Hands a frame to the gateway of `network`, if its port did not send too many that it has to look at.
    #[cold]
    pub(super) fn hand_over<P>(
        &mut self,
        slot: usize,
        frame: &Frame<P>,
        network: NetworkIndex,
        why: Option<Why>,
    ) where
        E: Egress<P>,
    {
        let is_claim = self.readings.contents(slot, frame, &mut None).is_ok_and(is_claim);
        if !self.storm.admits_to_gateway(self.scene.source, is_claim, self.now) {
            self.drop(slot, frame, DropReason::GatewayRate);
        } else if !self.egress.offer(network, slot, frame, why) {
            self.drop(slot, frame, DropReason::GatewayQueueFull);
        }
    }

    /// Hands a frame to the gateway of `network` if it concerns that; says whether nobody else gets it.
    #[inline(never)]
    pub(super) fn offer<P>(&mut self, slot: usize, frame: &Frame<P>, network: NetworkIndex) -> bool
    where
        E: Egress<P>,
    {
        let Some(Routes { routing, neighbours, .. }) = self.routes else { return false };
        // What cannot be read is none of the gateway's business; others may know what to do with it.
        let mut read = None;
        let Ok(contents) = self.readings.contents(slot, frame, &mut read) else { return false };
        match routing.concern(network, frame.head.bytes(), contents, neighbours) {
            Concern::Nobody => false,
            Concern::All => {
                // Whether there was room or not, the others get it.
                let _ = self.storm.admits_to_gateway(self.scene.source, is_claim(contents), self.now)
                    && self.egress.offer(network, slot, frame, None);
                false
            }
            Concern::GatewayAlone => {
                self.hand_over(slot, frame, network, None);
                true
            }
            Concern::Spoofed => {
                if is_claim(contents) {
                    self.refuse_claim(slot, frame, network);
                } else {
                    self.drop(slot, frame, DropReason::GatewaySpoofed);
                }
                true
            }
        }
    }

    /// Drops a message that claims an address of the gateway's, who gets it to defend that, if there is room.
    #[cold]
    fn refuse_claim<P>(&mut self, slot: usize, frame: &Frame<P>, network: NetworkIndex)
    where
        E: Egress<P>,
    {
        let _ = self.storm.admits_to_gateway(self.scene.source, true, self.now)
            && self.egress.offer(network, slot, frame, None);
        self.drop(slot, frame, DropReason::GatewaySpoofed);
    }
}

/// Whether the frame says who has an address, and does not merely come from there.
pub(super) fn is_claim(contents: &Contents) -> bool {
    match contents {
        Contents::Arp(_) => true,
        Contents::Ip(Packet { transport: Transport::Icmp(Icmp { message, .. }), .. }) => {
            matches!(message, IcmpMessage::Neighbour(_))
        }
        _ => false,
    }
}
