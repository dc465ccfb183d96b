//! What would be translated in a packet: the pure half of `Commit::route_translated` and `Commit::route_prefixed`.

use super::Explainer;
use crate::conntrack::Verdict;
use crate::drops::DropReason;
use crate::explain::{Fate, Looked, Observer, Outcome};
use crate::filter::{Carried, First};
use crate::frame::Frame;
use crate::nat::{Cause, Leave, Plan, Prefixed, Preview, Translator};
use crate::packet::{Contents, Icmp, IcmpMessage, Packet, Ports, Tcp, Transport};
use crate::router::{Arrival, Why};

impl Explainer<'_> {
    /// What becomes of a packet whose addresses may be translated; `None`: they are not.
    pub(super) fn translated(
        &self,
        translator: &Translator<'_>,
        arrival: &Arrival<'_>,
        frame: &Frame<&[u8]>,
    ) -> Option<Fate> {
        let (network, packet) = (arrival.network, arrival.packet);
        if translator.concerns_prefixes(packet) {
            return self.prefixed(translator, arrival, frame);
        }
        if !translator.concerns(network, packet) {
            return None;
        }
        let verdict = if packet.is_later_fragment() {
            let fragments = &self.switch.filter().fragments;
            match fragments.decided(network, self.scene.source, packet, self.now) {
                Some(Carried(Ok(First { found: Some(found), .. }))) => Verdict::Established(found),
                Some(Carried(Ok(_))) => return None,
                Some(Carried(Err(reason))) => return Some(Fate::Dropped(reason)),
                None => return Some(Fate::Unknown),
            }
        } else {
            translator.conntrack.look_up(network, packet, self.now)
        };
        let state = match verdict {
            Verdict::Established(found) | Verdict::Related(found) => {
                translator.conntrack.connection(found.id, self.now).map(|connection| connection.state)
            }
            _ => None,
        };
        self.notes.looked(|| Looked::Connection { verdict, state });
        let plan = match translator.plan(arrival, verdict, self.now) {
            Plan::Stale(_) => translator.plan(arrival, Verdict::New, self.now),
            plan => plan,
        };
        match plan {
            Plan::Plain => None,
            Plan::Leave(leave) => Some(self.leave(translator, &leave, arrival, frame)),
            Plan::Gateway(why) => {
                Some(self.bring_to_gateway(arrival.network, frame, &Contents::Ip(*arrival.packet), why))
            }
            Plan::Drop(reason) => Some(Fate::Dropped(reason)),
            Plan::Stale(_) => Some(Fate::Dropped(DropReason::CtGone)),
        }
    }

    fn leave(
        &self,
        translator: &Translator<'_>,
        leave: &Leave,
        arrival: &Arrival<'_>,
        frame: &Frame<&[u8]>,
    ) -> Fate {
        let packet = arrival.packet;
        let Preview { leaving, source, target } = match translator.preview(leave, self.scene.source) {
            Ok(preview) => preview,
            Err(reason) => {
                self.notes.outcome(|| Outcome::ToGateway(Some(Why::Exhausted)));
                return Fate::Dropped(reason);
            }
        };
        let (from, to) = (leaving.source.into(), leaving.destination.into());
        if let Some(cause) = target.filter(|_| leaving.destination != packet.destination) {
            self.notes.outcome(|| Outcome::Redirected(to, leaving.destination_port, cause));
        }
        if let Some(cause) = source.filter(|_| leaving.source != packet.source) {
            let port = Some(leaving.source_port).filter(|port| *port != 0);
            self.notes.outcome(|| Outcome::Disguised(from, port, cause));
        }
        let ports = Ports { source: leaving.source_port, destination: leaving.destination_port };
        let transport = with_ports(packet.transport, ports);
        let seen = Packet { source: leaving.source, destination: leaving.destination, transport, ..*packet };
        self.pass(arrival.network, frame, leave.hop, Some(&seen))
    }

    fn prefixed(
        &self,
        translator: &Translator<'_>,
        arrival: &Arrival<'_>,
        frame: &Frame<&[u8]>,
    ) -> Option<Fate> {
        match translator.plan_prefixes(arrival, self.scene.now_s) {
            Prefixed::Plain => None,
            Prefixed::Gateway(why) => {
                Some(self.bring_to_gateway(arrival.network, frame, &Contents::Ip(*arrival.packet), why))
            }
            Prefixed::Drop(reason) => Some(Fate::Dropped(reason)),
            Prefixed::Leave { hop, leaving: [source, destination], .. } => {
                let packet = arrival.packet;
                if destination != packet.destination {
                    let port = packet.ports().map_or(0, |ports| ports.destination);
                    self.notes.outcome(|| Outcome::Redirected(destination.into(), port, Cause::Prefix));
                }
                if source != packet.source {
                    let port = packet.ports().map(|ports| ports.source);
                    self.notes.outcome(|| Outcome::Disguised(source.into(), port, Cause::Prefix));
                }
                let seen = Packet { destination, ..*packet };
                Some(self.pass(arrival.network, frame, hop, Some(&seen)))
            }
        }
    }
}

/// The transport header with other ports.
fn with_ports(transport: Transport, ports: Ports) -> Transport {
    match transport {
        Transport::Tcp(tcp) => Transport::Tcp(Tcp { ports, ..tcp }),
        Transport::Ports(_) => Transport::Ports(ports),
        Transport::Icmp(Icmp { kind, code, message: IcmpMessage::Request(_) }) => {
            Transport::Icmp(Icmp { kind, code, message: IcmpMessage::Request(ports.source) })
        }
        other => other,
    }
}
