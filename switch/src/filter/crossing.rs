//! A frame's way from one port to another, and what the rules on both sides have to say about it.

use std::net::IpAddr;

use super::First;
use crate::conntrack::{Direction as Way, Tuple};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Address, Contents, Packet, number};
use crate::security::{
    Direction, Match, Origin, PortTables, Protocol, SecurityPolicy, Service, Tracking, Verdict, is_essential,
};
use crate::time::Nanos;

/// A frame's way through the switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossing<'a> {
    pub(crate) security: &'a SecurityPolicy,
    /// The network where it came in: the zone of connections in this direction.
    pub(crate) network: NetworkIndex,
    /// The network where it leaves, and where answers come in: another one if it was routed.
    pub(crate) to: NetworkIndex,
    pub(crate) from: PortIndex,
    pub(crate) now: Nanos,
    /// Whether rules may be asked about what is not known: not, if that was done too often for this port.
    pub(crate) judges: bool,
}

/// One end of the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) security: &'a SecurityPolicy,
    pub(crate) port: PortIndex,
    /// Egress for the sender, ingress for the receiver.
    pub(crate) direction: Direction,
}

impl<'a> Crossing<'a> {
    /// The sender, if rules are to be asked about what it sends.
    pub(crate) fn sender(&self, contents: &Contents) -> Option<Side<'a>> {
        self.side(self.from, Direction::Egress, contents)
    }

    /// The receiver, if rules are to be asked about what it gets.
    pub(crate) fn receiver(&self, to: PortIndex, contents: &Contents) -> Option<Side<'a>> {
        self.side(to, Direction::Ingress, contents)
    }

    fn side(&self, port: PortIndex, direction: Direction, contents: &Contents) -> Option<Side<'a>> {
        let security = self.security;
        security.port(port).and_then(PortTables::groups)?;
        let origin = || security.port(self.from).map_or(Origin::Infrastructure, PortTables::origin);
        let is_asked = needs_rules(contents) && !is_essential(contents, direction, origin());
        is_asked.then_some(Side { security, port, direction })
    }
}

/// Whether nothing else can make the contents pass: a short cut for what most packets are.
#[inline]
fn needs_rules(contents: &Contents) -> bool {
    !matches!(contents, Contents::Arp(_))
}

/// A connection's packets, in the direction that opened it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    /// As the side that opened it sends them.
    pub(crate) sent: Tuple,
    /// As the other side gets them: others, if they are translated on their way.
    pub(crate) received: Tuple,
}

impl Opened {
    /// What the tuples of both directions say.
    pub(crate) fn of([original, reply]: [Tuple; 2]) -> Self {
        Self { sent: original, received: reply.reversed() }
    }
}

impl Side<'_> {
    /// Which of the connection's two sides this is: 0 opened it, 1 did not. `way` is that of the packet.
    pub(crate) fn role(&self, way: Way) -> usize {
        usize::from((self.direction == Direction::Egress) != (way == Way::Original))
    }

    /// The rule of this side's stateful groups that allows the connection that was opened so, of which the packet goes `way`. Nobody
    /// vouches for the opener who may not speak with its address: what he gets is no reply to anything that he sent.
    pub(crate) fn vouches(&self, way: Way, Opened { sent, received }: &Opened) -> Option<Match> {
        let (direction, remote, tuple) = match self.role(way) {
            0 if !self.may_be(sent.source) => return None,
            0 => (Direction::Egress, sent.destination, sent),
            _ => (Direction::Ingress, received.source, received),
        };
        let service = service_of(tuple);
        rule_of(self.security.judge(self.port, direction, remote.into(), service, Tracking::Stateful))
    }

    /// The packet as this side sees it: as it was sent, or as it is received.
    #[inline]
    pub(crate) fn packet<'p>(&self, sent: &'p Packet, received: &'p Packet) -> &'p Packet {
        match self.direction {
            Direction::Egress => sent,
            Direction::Ingress => received,
        }
    }

    /// The rule of the side's groups of this kind that allows this very packet.
    pub(crate) fn allows(&self, packet: &Packet, first: Option<First>, tracking: Tracking) -> Option<Match> {
        if tracking == Tracking::Stateless && !self.security.has(self.port, tracking) {
            return None;
        }
        let service = Service::of(packet).or(first.map(|first| first.service))?;
        let remote: IpAddr = match self.direction {
            Direction::Egress => packet.destination.into(),
            Direction::Ingress => packet.source.into(),
        };
        rule_of(self.security.judge(self.port, self.direction, remote, service, tracking))
    }

    /// Whether this side's guest may have got the packet that an ICMP error is about, which it sends `way`.
    pub(crate) fn may_report(&self, way: Way, Opened { sent, received }: &Opened) -> bool {
        let addressee = if way == Way::Original { sent.source } else { received.destination };
        self.direction == Direction::Ingress || self.may_be(addressee)
    }

    fn may_be(&self, address: Address) -> bool {
        self.security.port(self.port).is_none_or(|tables| tables.may_be(address.into()))
    }

    /// Whether nothing was taken away since `generation` on which this side's judgement may have depended.
    #[inline]
    pub(crate) fn is_current(&self, generation: u32) -> bool {
        self.security.is_current(self.port, generation)
    }
}

/// A side has groups, so that it is never unfiltered.
fn rule_of(verdict: Verdict) -> Option<Match> {
    match verdict {
        Verdict::Allowed(rule) => Some(rule),
        Verdict::Unfiltered | Verdict::Denied => None,
    }
}

/// What the packet asked for that opened a connection. Requests of ICMP have code 0 (RFC 792; RFC 4443, 4.1).
fn service_of(original: &Tuple) -> Service {
    let protocol = Protocol(original.protocol);
    match original.protocol {
        number::ICMP | number::ICMPV6 => {
            Service::icmp(protocol, u8::try_from(original.destination_port).unwrap_or(0), 0)
        }
        _ => Service::port(protocol, original.destination_port),
    }
}
