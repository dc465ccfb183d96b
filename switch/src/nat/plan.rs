//! What becomes of a packet that a router got and that may be translated. Nothing is changed here but by [`Translator::open`].
//!
//! ```text
//! packet ─ known connection? ── as its two tuples say ──────────────────────────────┐
//!        └ new ─ to whom (floating, published, mapping) ─ route ─ from whom (SNAT) ─┴─ leaves with these addresses
//! ```
//!
//! What leaves by a connection is what its other direction's tuple says, turned round: so a translation is nothing but two
//! tuples that do not mirror each other, and packets of an open connection ask no rule.

use std::net::Ipv4Addr;

use super::compiled::{Nat, Source};
use super::mappings::{Endpoint, Granted, MappingId, Mappings, Request, Unwanted};
use super::settings::FilteringBehavior;
use crate::conntrack::{Conntrack, Direction, Judged, Path, Reference, Refused, Tuple, Verdict};
use crate::drops::DropReason;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Address, Packet, number};
use crate::router::{Arrival, Hop, Interface, Neighbours, Route, Routing, Way, Why};
use crate::time::Nanos;

/// What it takes to translate packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translator<'a> {
    pub(crate) nat: &'a Nat,
    pub(crate) routing: &'a Routing,
    pub(crate) neighbours: &'a Neighbours,
    pub(crate) conntrack: &'a Conntrack,
    pub(crate) mappings: &'a Mappings,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// It keeps its addresses, and its way is that of any packet.
    Plain,
    /// It goes on with others.
    Leave(Leave),
    /// The gateway has to see it as it came in.
    Gateway(Why),
    /// It does not go on.
    Drop(DropReason),
    /// Routes have changed, so that the translation of its connection no longer holds: that has to end first.
    Stale(Reference),
}

/// How a packet goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leave {
    pub(crate) hop: Hop,
    pub(crate) change: Change,
    pub(crate) connection: Belongs,
}

/// What is changed in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It gets these addresses and ports.
    Packet(Tuple),
    /// It is an error, which gets these addresses, source first, and quotes a packet of this tuple.
    Error([Address; 2], Tuple),
}

/// To which connection it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Belongs {
    /// To this one.
    To(Reference),
    /// To this one, about which it says something.
    About(Reference),
    /// To one that it opens.
    New(Opening),
}

/// A connection to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opening {
    /// The packet's own tuple.
    pub(crate) original: Tuple,
    /// Who stands for the sender.
    source: Substitute,
    /// Who stands behind the address to which it was sent, and why.
    target: Option<(Endpoint, Cause)>,
    /// The network where it leaves.
    to: NetworkIndex,
}

/// Who stands for a packet's sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Substitute {
    /// Nobody.
    Nobody,
    /// This address, with the sender's own port.
    Floating(Ipv4Addr),
    /// A mapping, by the rule of this number.
    Mapping(usize),
}

/// Why a packet gets another address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Its connection was opened so.
    Connection,
    /// A floating address.
    Floating,
    /// A published port.
    Published,
    /// A mapping that a station has.
    Mapping,
    /// The rule of this number of its network, counted from 0.
    Rule(usize),
    /// A prefix that is translated.
    Prefix,
}

/// What would be changed in a packet, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Preview {
    /// Its addresses and ports when it leaves; a port that is to be chosen then is 0.
    pub(crate) leaving: Tuple,
    pub(crate) source: Option<Cause>,
    pub(crate) target: Option<Cause>,
}

impl<'a> Translator<'a> {
    /// Whether packets that come in in `network` may be translated by connections.
    #[inline]
    pub(crate) fn concerns(&self, network: NetworkIndex, packet: &Packet) -> bool {
        packet.source.is_v4() && self.nat.concerns(network)
    }

    /// What becomes of a packet that is what `verdict` says to the table of connections.
    #[inline]
    pub(crate) fn plan(&self, arrival: &Arrival<'_>, verdict: Verdict, now: Nanos) -> Plan {
        let interface = match self.routing.admit(arrival) {
            Ok(interface) => interface,
            Err(reason) => return Plan::Drop(reason),
        };
        match verdict {
            Verdict::Established(found) => self.follow(arrival, found, now),
            Verdict::Related(found) => self.report(arrival, found, now),
            Verdict::New => self.begin(arrival, interface, None, now),
            Verdict::Invalid(reason) => self.begin(arrival, interface, Some(reason.into()), now),
            Verdict::Untracked => self.begin(arrival, interface, Some(DropReason::NatProtocol), now),
        }
    }

    /// A packet of a known connection.
    #[inline]
    fn follow(&self, arrival: &Arrival<'_>, found: Reference, now: Nanos) -> Plan {
        let Some((own, other)) = self.tuples(found) else { return Plan::Drop(DropReason::CtGone) };
        let leaving = other.reversed();
        if leaving == (Tuple { zone: leaving.zone, ..own }) {
            return Plan::Plain;
        }
        // By the routes of the network that it left, unless it goes on to where its destination alone is known.
        let of = if leaving.destination == own.destination { own.zone } else { other.zone };
        match self.routing.lead(arrival, (of, leaving.destination), self.neighbours, now.seconds()) {
            Way::To(hop) if hop.network == other.zone => {
                Plan::Leave(Leave { hop, change: Change::Packet(leaving), connection: Belongs::To(found) })
            }
            Way::To(_) => Plan::Stale(found),
            Way::Gateway(why) => Plan::Gateway(why),
            Way::Drop(reason) => Plan::Drop(reason),
        }
    }

    /// The tuples of a packet's direction and of the other one.
    #[inline]
    fn tuples(&self, found: Reference) -> Option<(Tuple, Tuple)> {
        let [original, reply] = self.conntrack.tuples(found.id)?;
        Some(match found.direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        })
    }

    /// An ICMP error about a packet of a known connection, on the way that the connection's packets go in its direction.
    fn report(&self, arrival: &Arrival<'_>, found: Reference, now: Nanos) -> Plan {
        let Some((own, other)) = self.tuples(found) else { return Plan::Drop(DropReason::CtGone) };
        if other.reversed() == (Tuple { zone: other.zone, ..own }) {
            return Plan::Plain;
        }
        // Who hides behind an address hides routers behind that, too.
        let is_hidden = own.source != other.destination;
        let source = if is_hidden { other.destination } else { arrival.packet.source };
        let of = if other.source == own.destination { own.zone } else { other.zone };
        match self.routing.lead(arrival, (of, other.source), self.neighbours, now.seconds()) {
            Way::To(hop) if hop.network == other.zone => {
                let change = Change::Error([source, other.source], other);
                Plan::Leave(Leave { hop, change, connection: Belongs::About(found) })
            }
            // It would reach another station than the one that sent what it is about. Errors end nothing.
            Way::To(_) => Plan::Drop(DropReason::NotRoutable),
            Way::Gateway(why) => Plan::Gateway(why),
            Way::Drop(reason) => Plan::Drop(reason),
        }
    }

    /// A packet of no known connection, which may open none for the reason `refused`.
    fn begin(
        &self,
        arrival: &Arrival<'_>,
        interface: &Interface,
        refused: Option<DropReason>,
        now: Nanos,
    ) -> Plan {
        let Arrival { network, packet, .. } = *arrival;
        let flow = Tuple::of_flow(network, packet);
        let source = self.nat.source(network);
        let target = match self.target(network, source, packet, flow) {
            Ok(target) => target,
            Err(reason) => return Plan::Drop(reason),
        };
        let (of, destination) =
            target.map_or((network, packet.destination), |(end, _)| (end.network, end.address.into()));
        if target.is_none() && interface.has(packet.destination) {
            return self.local(network, source, packet);
        }
        let hop = match self.routing.lead(arrival, (of, destination), self.neighbours, now.seconds()) {
            Way::To(hop) => hop,
            Way::Gateway(Why::Local) => return self.local(network, source, packet),
            Way::Gateway(why) => return Plan::Gateway(why),
            Way::Drop(reason) => return Plan::Drop(reason),
        };
        if target.is_none() && self.is_hidden(network, hop.network, packet.destination) {
            return Plan::Drop(DropReason::NatUnsolicited);
        }
        let substitute = match source {
            Some(source) if target.is_some() || hop.network == source.outside => {
                self.substitute(network, source, packet)
            }
            _ => Substitute::Nobody,
        };
        if target.is_none() && substitute == Substitute::Nobody {
            return Plan::Plain;
        }
        if source.is_some() && self.is_forged(interface, network, packet.source) {
            return Plan::Drop(DropReason::NotRoutable);
        }
        match (refused, flow) {
            (Some(reason), _) => Plan::Drop(reason),
            (None, None) => Plan::Drop(DropReason::NatProtocol),
            (None, Some(_))
                if matches!(substitute, Substitute::Mapping(_)) && !is_mapped(packet.protocol) =>
            {
                Plan::Drop(DropReason::NatProtocol)
            }
            (None, Some(original)) => {
                let opening = Opening { original, source: substitute, target, to: hop.network };
                // What stands for the sender is known when there is a mapping.
                let change = Change::Packet(original);
                Plan::Leave(Leave { hop, change, connection: Belongs::New(opening) })
            }
        }
    }

    /// Whether a sender in `network` has an address that no station there can have, since its owner is elsewhere or the gateway itself (RFC 1812,
    /// 5.3.8; RFC 2827): no answer would come back to it.
    fn is_forged(&self, interface: &Interface, network: NetworkIndex, sender: Address) -> bool {
        let route = self.routing.route(interface.router, sender);
        !matches!(route, Some(Route::Link(back) | Route::Via(back, _)) if back == network)
    }

    /// What is for the gateway itself. A SYN to a port that mappings may have is not answered: the station behind one may be
    /// about to open the same connection (RFC 5382, 4.3, REQ-4).
    fn local(&self, network: NetworkIndex, source: Option<&Source>, packet: &Packet) -> Plan {
        let is_outside = source.is_none();
        let is_shared = packet.destination.to_v4().is_some_and(|own| self.nat.is_pooled(network, own));
        let port = packet.ports().map_or(0, |ports| ports.destination);
        if is_outside && is_shared && packet.protocol == number::TCP && self.nat.may_map(network, port) {
            return Plan::Drop(DropReason::NatUnsolicited);
        }
        Plan::Gateway(Why::Local)
    }

    /// Whether a station of network `to` appears in `from` with another address, and so is not reached by its own.
    fn is_hidden(&self, from: NetworkIndex, to: NetworkIndex, station: Address) -> bool {
        let (Some(source), Some(station)) = (self.nat.source(to), station.to_v4()) else { return false };
        source.outside == from
            && (source.choose(station).is_some() || self.nat.floating(to, station, from).is_some())
    }

    /// The station behind the address to which a packet was sent.
    fn target(
        &self,
        network: NetworkIndex,
        source: Option<&Source>,
        packet: &Packet,
        flow: Option<Tuple>,
    ) -> Result<Option<(Endpoint, Cause)>, DropReason> {
        let outside = source.map_or(network, |source| source.outside);
        let Some(address) = packet.destination.to_v4() else { return Ok(None) };
        let port = flow.map_or(0, |tuple| tuple.destination_port);
        if let Some(found) = self.nat.target(outside, address, (packet.protocol, port)) {
            let cause = if found.port.is_some() { Cause::Published } else { Cause::Floating };
            let port = found.port.unwrap_or(port);
            return Ok(Some((Endpoint { network: found.network, address: found.address, port }, cause)));
        }
        let is_mapped = is_mapped(packet.protocol) && packet.protocol != number::ICMP;
        let (Some(peer), true) = (packet.source.to_v4(), is_mapped && self.nat.is_pooled(outside, address))
        else {
            return Ok(None);
        };
        let end = Endpoint { network: outside, address, port };
        let peer = (peer, source.is_some());
        match self.mappings.would_let_in(end, packet.protocol, peer, |inside| self.filtering(inside)) {
            Ok(end) => Ok(Some((end, Cause::Mapping))),
            Err(Unwanted::Unknown) => Ok(None),
            Err(Unwanted::Filtered) => Err(DropReason::NatFiltered),
        }
    }

    fn filtering(&self, inside: NetworkIndex) -> FilteringBehavior {
        self.nat.source(inside).map_or(FilteringBehavior::default(), |source| source.filtering)
    }

    /// Who stands for a packet's sender outside.
    fn substitute(&self, network: NetworkIndex, source: &Source, packet: &Packet) -> Substitute {
        let Some(station) = packet.source.to_v4() else { return Substitute::Nobody };
        match self.nat.floating(network, station, source.outside) {
            Some(address) => Substitute::Floating(address),
            None => source.choose(station).map_or(Substitute::Nobody, |(rule, _)| Substitute::Mapping(rule)),
        }
    }

    /// Finds addresses and ports for a connection that is to be opened for `port` of the switch.
    pub(crate) fn allocate(
        &self,
        opening: &Opening,
        port: PortIndex,
        now: Nanos,
    ) -> Result<Path, DropReason> {
        let Opening { original, source, target, .. } = *opening;
        let granted = match source {
            Substitute::Mapping(_) => Some(self.take(&original, port, now)?),
            Substitute::Floating(_) | Substitute::Nobody => None,
        };
        let leaving = leaving(opening, granted.map(|granted| granted.end));
        let behind = match target {
            Some((_, Cause::Mapping)) => {
                let is_from_inside = source != Substitute::Nobody;
                let let_in = self.let_in(&original, leaving.source, is_from_inside);
                Some(let_in.inspect_err(|_| {
                    let mappings = [granted.map(|granted| granted.id), None];
                    self.give_back(&Path { tuples: [original, leaving.reversed()], mappings });
                })?)
            }
            _ => None,
        };
        let mappings = [granted.map(|granted| granted.id), behind];
        Ok(Path { tuples: [original, leaving.reversed()], mappings })
    }

    fn take(&self, original: &Tuple, port: PortIndex, now: Nanos) -> Result<Granted, DropReason> {
        let granted = self.with_request(original, port, |request| self.mappings.take(request, now.seconds()));
        granted.and_then(Result::ok).ok_or(DropReason::NatExhausted)
    }

    /// What would be changed in a packet that is planned to leave so. Changes nothing.
    pub(crate) fn preview(&self, leave: &Leave, port: PortIndex) -> Result<Preview, DropReason> {
        let opening = match (leave.connection, leave.change) {
            (Belongs::New(opening), _) => opening,
            (_, Change::Packet(leaving)) => {
                let cause = Some(Cause::Connection);
                return Ok(Preview { leaving, source: cause, target: cause });
            }
            (_, Change::Error([source, destination], quoted)) => {
                let leaving = Tuple { source, destination, ..quoted.reversed() };
                let cause = Some(Cause::Connection);
                return Ok(Preview { leaving, source: cause, target: cause });
            }
        };
        let (end, cause) = match opening.source {
            Substitute::Nobody => (None, None),
            Substitute::Floating(_) => (None, Some(Cause::Floating)),
            Substitute::Mapping(rule) => {
                let end = self.with_request(&opening.original, port, |request| self.mappings.peek(request));
                let end = end.and_then(Result::ok).ok_or(DropReason::NatExhausted)?;
                (Some(end), Some(Cause::Rule(rule)))
            }
        };
        let target = opening.target.map(|(_, cause)| cause);
        Ok(Preview { leaving: leaving(&opening, end), source: cause, target })
    }

    fn with_request<T>(
        &self,
        original: &Tuple,
        port: PortIndex,
        ask: impl FnOnce(&Request<'_>) -> T,
    ) -> Option<T> {
        let source = self.nat.source(original.zone)?;
        let station = original.source.to_v4()?;
        let (_, pool) = source.choose(station)?;
        let inside = Endpoint { network: original.zone, address: station, port: original.source_port };
        let peer = (original.destination.to_v4()?, original.destination_port);
        Some(ask(&Request { inside, protocol: original.protocol, peer, source, pool, port }))
    }

    fn let_in(
        &self,
        original: &Tuple,
        sender: Address,
        is_from_inside: bool,
    ) -> Result<MappingId, DropReason> {
        let outside = self.nat.source(original.zone).map_or(original.zone, |source| source.outside);
        let ends = original.destination.to_v4().zip(sender.to_v4());
        let (address, peer) = ends.ok_or(DropReason::NatUnsolicited)?;
        let end = Endpoint { network: outside, address, port: original.destination_port };
        let is_from_inside = is_from_inside || outside != original.zone;
        let filtering = |inside| self.filtering(inside);
        match self.mappings.let_in(end, original.protocol, (peer, is_from_inside), filtering) {
            Ok(granted) => Ok(granted.id),
            Err(Unwanted::Unknown) => Err(DropReason::NatUnsolicited),
            Err(Unwanted::Filtered) => Err(DropReason::NatFiltered),
        }
    }

    /// Opens the connection of `packet`, or takes that which another worker opened meanwhile; on an error the mappings are
    /// given back.
    pub(crate) fn open(
        &self,
        opened: &Path,
        packet: &Packet,
        port: PortIndex,
        judged: Judged,
        now: Nanos,
    ) -> Result<Reference, Refused> {
        let found = self.conntrack.open_translated(opened, packet, port, judged, now);
        if !matches!(found, Ok((_, true))) {
            self.give_back(opened);
        }
        found.map(|(found, _)| found)
    }

    /// Gives mappings back by which nothing left.
    pub(crate) fn give_back(&self, opened: &Path) {
        let [original, reply] = opened.tuples;
        for (mapping, peer) in opened.mappings.into_iter().zip([original.destination, reply.destination]) {
            if let (Some(id), Some(peer)) = (mapping, peer.to_v4()) {
                self.mappings.cancel(id, peer);
            }
        }
    }
}

/// A packet's addresses and ports when it leaves, with what a mapping gives its sender.
fn leaving(opening: &Opening, mapping: Option<Endpoint>) -> Tuple {
    let Opening { original, source, target, to } = *opening;
    let (address, port) = match (source, mapping) {
        (_, Some(end)) => (end.address.into(), end.port),
        (Substitute::Floating(address), None) => (address.into(), original.source_port),
        _ => (original.source, original.source_port),
    };
    let leaving = Tuple { zone: to, source: address, source_port: port, ..original };
    let Some((end, _)) = target else { return leaving };
    // The second port of ICMP is its type.
    let is_icmp = original.protocol == number::ICMP;
    let destination_port = if is_icmp { original.destination_port } else { end.port };
    Tuple { destination: end.address.into(), destination_port, ..leaving }
}

/// Whether the protocol has ports, or identifiers, that mappings stand for.
fn is_mapped(protocol: u8) -> bool {
    matches!(protocol, number::TCP | number::UDP | number::ICMP)
}
