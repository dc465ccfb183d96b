//! Packets that the data path could not send on by itself.

use super::held::{Held, Origin};
use super::icmp::{Problem, is_echo_request};
use super::{Gateway, Moment, Output, Subject, fragment};
use crate::drops::DropReason;
use crate::packet::{Icmp, IcmpMessage, Packet, Transport, number};
use crate::router::{Arrival, Way, Why};

impl Gateway {
    /// Asks once more what becomes of a packet to the gateway's Ethernet address, and has that done.
    pub(super) fn route(&mut self, subject: &Subject<'_>, packet: &Packet, moment: Moment<'_>) {
        let Subject { network, frame, .. } = *subject;
        let wire_length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let arrival = Arrival { network, head: frame, packet, wire_length };
        let way = self.routing.way(&arrival, moment.neighbours, moment.now.seconds());
        match way {
            // What was missing has become known.
            Way::To(_) => self.again(subject, frame),
            Way::Drop(reason) => self.drop(subject, reason),
            Way::Gateway(Why::Local) => self.take_local(subject, packet, moment),
            Way::Gateway(Why::Expired) => {
                self.fail(subject, Problem::Expired, DropReason::HopLimitExceeded, moment);
            }
            Way::Gateway(Why::Unreachable) => {
                self.fail(subject, Problem::NoRoute, DropReason::NoRoute, moment)
            }
            Way::Gateway(Why::Unresolved { network, next }) => {
                self.hold((network, next), subject.held(), moment);
            }
            Way::Gateway(Why::TooBig { mtu, may_be_cut, network, next }) => {
                let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
                let is_padded = end.saturating_sub(usize::from(packet.network_at)) <= usize::from(mtu);
                if is_padded {
                    self.again(subject, frame.get(..end).unwrap_or(frame));
                } else if !may_be_cut {
                    self.fail(subject, Problem::TooBig(mtu), DropReason::PacketTooBig, moment);
                } else if moment.neighbours.get(network, next).is_none() {
                    // It is cut when it comes again.
                    self.hold((network, next), subject.held(), moment);
                } else {
                    self.cut(subject, packet, mtu);
                }
            }
        }
    }

    /// Sends a packet on in fragments (RFC 791, 3.2; RFC 1812, 5.2.7.3).
    fn cut(&mut self, subject: &Subject<'_>, packet: &Packet, mtu: u16) {
        let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
        let whole = subject.frame.get(..end).unwrap_or_default();
        match fragment::cut_v4(whole, mtu) {
            Some(fragments) => fragments.iter().for_each(|fragment| self.again(subject, fragment)),
            None => self.drop(subject, DropReason::PacketTooBig),
        }
    }

    /// A packet cannot go on, and its sender is told.
    fn fail(&mut self, subject: &Subject<'_>, problem: Problem, reason: DropReason, moment: Moment<'_>) {
        self.tell(subject, problem, moment);
        self.drop(subject, reason);
    }

    /// A packet for an address of the gateway's. Fragments are not put together.
    fn take_local(&mut self, subject: &Subject<'_>, packet: &Packet, moment: Moment<'_>) {
        if self.own.is_tentative((subject.network, packet.destination)) || packet.fragment.is_some() {
            return self.drop(subject, DropReason::GatewayNotServed);
        }
        match packet.transport {
            Transport::Icmp(icmp) if is_echo_request(packet, &icmp) => {
                self.echo(subject, (packet, &icmp), moment);
            }
            // Errors about what the services sent.
            Transport::Icmp(Icmp { message: IcmpMessage::Error(_), .. }) => self.hand_on(subject),
            Transport::Icmp(_) => self.drop(subject, DropReason::GatewayNotServed),
            Transport::Tcp(_) => self.hand_on(subject),
            Transport::Ports(_) if packet.protocol == number::UDP => self.hand_on(subject),
            _ => self.fail(subject, Problem::ProtocolUnknown, DropReason::GatewayNotServed, moment),
        }
    }

    /// Gives a frame to the services.
    pub(super) fn hand_on(&mut self, subject: &Subject<'_>) {
        let Subject { port, network, frame } = *subject;
        self.outputs.push_back(Output::Local { port, network, frame: frame.to_vec() });
    }

    fn again(&mut self, subject: &Subject<'_>, frame: &[u8]) {
        let Subject { port, network, .. } = *subject;
        self.outputs.push_back(Output::Again { port, network, frame: frame.to_vec() });
    }

    pub(super) fn drop(&mut self, subject: &Subject<'_>, reason: DropReason) {
        let Subject { port, network, .. } = *subject;
        self.outputs.push_back(Output::Dropped { port, network, reason });
    }
}

impl Subject<'_> {
    fn held(&self) -> Held {
        Held { origin: Origin::Station(self.port, self.network), frame: self.frame.to_vec() }
    }
}
