//! Packets of IPv6 whose prefixes are translated: see [`crate::nat`].

use super::Egress;
use super::commit::Commit;
use super::judge::Judged;
use crate::frame::{Frame, TakenTag};
use crate::ids::NetworkIndex;
use crate::nat::{Prefixed, Translator, rewrite as addresses};
use crate::packet::{Contents, Packet};
use crate::router::rewrite;

impl<'a, E> Commit<'a, E> {
    /// Sends a packet of IPv6 on its way whose prefixes may be translated.
    #[inline(never)]
    pub(super) fn route_prefixed<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        (contents, translator): (&Contents, Translator<'a>),
    ) where
        E: Egress<P>,
    {
        let Some(routes) = self.routes else { return };
        let arrival = routes.arrival(network, frame, packet);
        let (hop, inner, leaving) = match translator.plan_prefixes(&arrival, self.scene.now_s) {
            Prefixed::Plain => return self.route_admitted(slot, frame, network, contents, None),
            Prefixed::Gateway(why) => {
                return self.bring_to_gateway(slot, frame, network, contents, (why, Some(why)));
            }
            Prefixed::Drop(reason) => return self.drop(slot, frame, reason),
            Prefixed::Leave { hop, inner, leaving } => (hop, inner, leaving),
        };
        let station = self.scene.station(hop.network, hop.destination).map(|(port, _)| port);
        // Connections and rules know stations of inside networks by their own addresses.
        let [source, destination] = inner;
        let seen = Contents::Ip(Packet { source, destination, ..*packet });
        let judged = if self.is_judged(station, hop.network) {
            let Some(admitted) = self.admit_from(slot, frame, network, &seen) else { return };
            Some(Judged { contents: &seen, admitted, translated: None })
        } else {
            None
        };
        let head = frame.head.bytes_mut();
        addresses::put_prefixes(head, packet, leaving, |quoted| translator.nat.quoted_out(network, quoted));
        rewrite::pass(head, packet, hop.source, hop.destination);
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network: hop.network, priority });
        let networks = [network, hop.network];
        match (station, judged) {
            (Some(to), Some(judged)) => self.judge_admitted(slot, frame, networks, to, judged),
            (Some(to), None) => self.egress.send(to, slot, frame),
            (None, judged) => self.pass_to_all(slot, frame, networks, judged),
        }
    }
}
