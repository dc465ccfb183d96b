//! Packets that the data path could not send on by itself.

use super::held::{Held, Origin};
use super::icmp::{Problem, is_echo_request};
use super::{Gateway, Moment, Offered, Output, fragment};
use crate::drops::DropReason;
use crate::packet::{Icmp, IcmpMessage, Packet, Transport, number};
use crate::router::{Arrival, Way, Why};

impl Gateway {
    /// Asks once more what becomes of a packet to the gateway's Ethernet address, and has that done.
    pub(super) fn route(&mut self, offered: &Offered<'_>, packet: &Packet, moment: Moment<'_>) {
        let Offered { network, frame, why, .. } = *offered;
        let wire_length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let arrival = Arrival { network, head: frame, packet, wire_length };
        let found = || self.routing.way(&arrival, moment.neighbours, moment.now.seconds());
        match why.map_or_else(found, Way::Gateway) {
            // What was missing has become known.
            Way::To(_) => self.again(offered, frame),
            Way::Drop(reason) => self.drop(offered, reason),
            Way::Gateway(Why::Local) => self.take_local(offered, packet, moment),
            // It has no Ethernet address of ours, or would have been sent.
            Way::Gateway(Why::Own) => self.reject(offered),
            Way::Gateway(Why::Expired) => {
                self.fail(offered, Problem::Expired, DropReason::HopLimitExceeded, moment);
            }
            Way::Gateway(Why::Unreachable) => {
                self.fail(offered, Problem::NoRoute, DropReason::NoRoute, moment)
            }
            // Who offers such a packet has counted it.
            Way::Gateway(Why::Exhausted) => self.tell(offered, Problem::Prohibited, moment),
            Way::Gateway(Why::Unresolved { network, next }) => {
                match why.and_then(|_| moment.neighbours.get(network, next)) {
                    Some(_) => self.again(offered, frame),
                    None => self.hold((network, next), offered.held(), moment),
                }
            }
            Way::Gateway(Why::TooBig { mtu, may_be_cut, network, next }) => {
                let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
                let is_padded = end.saturating_sub(usize::from(packet.network_at)) <= usize::from(mtu);
                if is_padded {
                    self.again(offered, frame.get(..end).unwrap_or(frame));
                } else if !may_be_cut {
                    self.fail(offered, Problem::TooBig(mtu), DropReason::PacketTooBig, moment);
                } else if moment.neighbours.get(network, next).is_none() {
                    // It is cut when it comes again.
                    self.hold((network, next), offered.held(), moment);
                } else {
                    self.cut(offered, packet, mtu);
                }
            }
        }
    }

    /// Sends a packet on in fragments (RFC 791, 3.2; RFC 1812, 5.2.7.3).
    fn cut(&mut self, offered: &Offered<'_>, packet: &Packet, mtu: u16) {
        let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
        let whole = offered.frame.get(..end).unwrap_or_default();
        match fragment::cut_v4(whole, mtu) {
            Some(fragments) => fragments.iter().for_each(|fragment| self.again(offered, fragment)),
            None => self.drop(offered, DropReason::PacketTooBig),
        }
    }

    /// A packet cannot go on, and its sender is told.
    fn fail(&mut self, offered: &Offered<'_>, problem: Problem, reason: DropReason, moment: Moment<'_>) {
        self.tell(offered, problem, moment);
        self.drop(offered, reason);
    }

    /// A packet for an address of the gateway's. Fragments are not put together.
    fn take_local(&mut self, offered: &Offered<'_>, packet: &Packet, moment: Moment<'_>) {
        if self.own.is_tentative((offered.network, packet.destination)) || packet.fragment.is_some() {
            return self.drop(offered, DropReason::GatewayNotServed);
        }
        match packet.transport {
            Transport::Icmp(icmp) if is_echo_request(packet, &icmp) => {
                self.echo(offered, (packet, &icmp), moment);
            }
            // Errors about what the services sent.
            Transport::Icmp(Icmp { message: IcmpMessage::Error(_), .. }) => self.hand_on(offered),
            Transport::Icmp(_) => self.drop(offered, DropReason::GatewayNotServed),
            Transport::Tcp(_) => self.hand_on(offered),
            Transport::Ports(_) if packet.protocol == number::UDP => self.hand_on(offered),
            _ => self.fail(offered, Problem::ProtocolUnknown, DropReason::GatewayNotServed, moment),
        }
    }

    /// Gives a frame to the services.
    pub(super) fn hand_on(&mut self, offered: &Offered<'_>) {
        let Offered { port, network, frame, .. } = *offered;
        self.outputs.push_back(Output::Local { port, network, frame: frame.to_vec() });
    }

    fn again(&mut self, offered: &Offered<'_>, frame: &[u8]) {
        let Offered { port, network, .. } = *offered;
        self.outputs.push_back(Output::Again { port, network, frame: frame.to_vec() });
    }

    pub(super) fn drop(&mut self, offered: &Offered<'_>, reason: DropReason) {
        let Offered { port, network, .. } = *offered;
        self.outputs.push_back(Output::Dropped { port, network, reason });
    }
}

impl Offered<'_> {
    fn held(&self) -> Held {
        Held { origin: Origin::Station(self.port, self.network), frame: self.frame.to_vec() }
    }
}
