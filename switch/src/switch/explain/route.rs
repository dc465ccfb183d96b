//! What a router would do with a packet: the pure half of `Commit::route` and `Commit::offer`.

use super::Explainer;
use super::rules::Aim;
use crate::drops::DropReason;
use crate::explain::{Fate, Looked, Observer, Outcome, Place};
use crate::frame::{Frame, TakenTag};
use crate::ids::NetworkIndex;
use crate::packet::{Contents, Packet};
use crate::router::{Concern, Hop, Way, Why};
use crate::storm::{GATEWAY_RATE, StormClass};
use crate::switch::route::is_claim;

impl Explainer<'_> {
    /// Where a packet goes that came to the gateway's Ethernet address.
    pub(super) fn route(&self, network: NetworkIndex, frame: &Frame<&[u8]>) -> Fate {
        self.notes.enter(Place::Router);
        match self.routed(network, frame) {
            Fate::Dropped(reason) => {
                self.notes.outcome(|| Outcome::Dropped(reason));
                Fate::Dropped(reason)
            }
            other => other,
        }
    }

    fn routed(&self, network: NetworkIndex, frame: &Frame<&[u8]>) -> Fate {
        let Some(routes) = self.switch.routes(self.scene.policy) else {
            return Fate::Dropped(DropReason::NotRoutable);
        };
        let contents = match Contents::of(frame) {
            Ok(contents) => contents,
            Err(reason) => return Fate::Dropped(reason),
        };
        self.notes.contents(&contents);
        if is_claim(&contents) && routes.is_forged(network, frame, &contents) {
            return Fate::Dropped(DropReason::GatewaySpoofed);
        }
        if let Contents::Arp(_) = contents {
            return self.hand_over(true, None);
        }
        if let Contents::Ip(packet) = &contents
            && routes.is_for_dhcp_client(network, packet)
        {
            return self.hand_over(false, None);
        }
        if let (Contents::Ip(packet), Some(interface)) = (&contents, routes.routing.interface(network)) {
            let route = routes.routing.route(interface.router, packet.destination);
            self.notes.looked(|| Looked::Route(route));
        }
        if let (Contents::Ip(packet), Some(translator)) = (&contents, &routes.translator) {
            let arrival = routes.arrival(network, frame, packet);
            if let Some(fate) = self.translated(translator, &arrival, frame) {
                return fate;
            }
        }
        match routes.way(network, frame, &contents, self.scene.now_s) {
            Ok((_, Way::To(hop))) => self.pass(network, frame, hop, None),
            Ok((_, Way::Gateway(why))) => self.bring_to_gateway(network, frame, &contents, why),
            Ok((_, Way::Drop(reason))) | Err(reason) => Fate::Dropped(reason),
        }
    }

    /// `seen` is what the packet is when it leaves, if that is something else.
    pub(super) fn pass(
        &self,
        network: NetworkIndex,
        frame: &Frame<&[u8]>,
        hop: Hop,
        seen: Option<&Packet>,
    ) -> Fate {
        let networks = [network, hop.network];
        self.notes.outcome(|| Outcome::Hop(hop.network, hop.destination));
        self.seen.set(seen.copied());
        let mut frame = frame.clone();
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network: hop.network, priority });
        let (policy, source) = (self.scene.policy, self.scene.source);
        let Some((to, _)) = self.scene.station(hop.network, hop.destination) else {
            return self.pass_to_all(networks, &frame, seen);
        };
        if policy.is_filtered(source) || policy.is_filtered(to) {
            return self.judge(Some(networks), Aim::Port(to), &frame, seen);
        }
        Fate::Leaves(vec![self.departure(to, &frame.meta)])
    }

    fn pass_to_all(&self, networks: [NetworkIndex; 2], frame: &Frame<&[u8]>, seen: Option<&Packet>) -> Fate {
        let (policy, source) = (self.scene.policy, self.scene.source);
        let members = policy.network(networks[1]).map_or(&[][..], |network| network.members());
        if !members.iter().any(|member| *member != source) {
            return Fate::Dropped(DropReason::NoReceiver);
        }
        if !self.would_admit(StormClass::UnknownUnicast) {
            return Fate::Dropped(StormClass::UnknownUnicast.drop_reason());
        }
        self.notes.outcome(|| Outcome::Floods);
        if policy.has_filtered(networks[1]) || policy.is_filtered(source) {
            return self.judge(Some(networks), Aim::Ports(members), frame, seen);
        }
        Fate::Leaves(self.departures(members, &frame.meta))
    }

    /// What becomes of a packet that the gateway gets, about which its sender's rules may be asked.
    pub(super) fn bring_to_gateway(
        &self,
        network: NetworkIndex,
        frame: &Frame<&[u8]>,
        contents: &Contents,
        why: Why,
    ) -> Fate {
        let policy = self.scene.policy;
        if why == Why::Local
            && policy.is_filtered(self.scene.source)
            && let Some(gateway) = policy.network(network).and_then(|network| network.gateway())
        {
            match self.judge(Some([network; 2]), Aim::Port(gateway.port), frame, None) {
                Fate::Leaves(_) => {}
                refused => return refused,
            }
        }
        self.hand_over(is_claim(contents), Some(why))
    }

    pub(super) fn hand_over(&self, is_claim: bool, why: Option<Why>) -> Fate {
        self.notes.looked(|| Looked::Limit(GATEWAY_RATE));
        if !self.switch.storm.would_admit_to_gateway(self.scene.source, is_claim, self.now) {
            return Fate::Dropped(DropReason::GatewayRate);
        }
        self.notes.outcome(|| Outcome::ToGateway(why));
        Fate::ToGateway
    }

    /// What becomes of a frame that is offered to the gateway; `None`: it goes on.
    pub(super) fn offer(&self, network: NetworkIndex, frame: &Frame<&[u8]>) -> Option<Fate> {
        let routes = self.switch.routes(self.scene.policy)?;
        let contents = Contents::of(frame).ok()?;
        self.notes.enter(Place::Router);
        self.notes.contents(&contents);
        let fate = match routes.routing.concern(network, frame.head.bytes(), &contents, routes.neighbours) {
            Concern::Nobody => {
                self.notes.outcome(|| Outcome::NotOffered);
                None
            }
            Concern::All => {
                self.hand_over(is_claim(&contents), None);
                None
            }
            Concern::GatewayAlone => Some(self.hand_over(is_claim(&contents), None)),
            Concern::Spoofed => Some(Fate::Dropped(DropReason::GatewaySpoofed)),
        };
        if let Some(Fate::Dropped(reason)) = fate {
            self.notes.outcome(|| Outcome::Dropped(reason));
        }
        fate
    }
}
