//! Which class a frame belongs to.

use super::plan::ClassIndex;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Packet, Transport};
use crate::security::{GroupIndex, Prefix, Protocol};

/// What a filter wants of a frame; what is `None` may be anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Match {
    /// Where the packet comes from.
    pub source: Option<Prefix>,
    /// Where it goes.
    pub destination: Option<Prefix>,
    /// The protocol above IP.
    pub protocol: Option<Protocol>,
    /// The lowest and the highest source port.
    pub source_ports: Option<(u16, u16)>,
    /// The lowest and the highest destination port.
    pub destination_ports: Option<(u16, u16)>,
    /// The differentiated services code point.
    pub dscp: Option<u8>,
    /// The network that the frame is in: what a VLAN tag told is that, inside of the switch.
    pub network: Option<NetworkIndex>,
    /// The port that the frame came from.
    pub port: Option<PortIndex>,
    /// A security group of the port that the frame came from.
    pub group: Option<GroupIndex>,
    /// What the port that the frame came from, or that port's meter, chose for it ([`Marks::mark`](crate::Marks)).
    pub mark: Option<u16>,
}

/// A filter: what it wants, and the class of what it matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterPlan {
    /// What it wants.
    pub wants: Match,
    /// The class of such frames.
    pub class: ClassIndex,
}

/// A frame as filters see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The IP packet that it carries, if it is one.
    pub packet: Option<&'a Packet>,
    /// Its network.
    pub network: Option<NetworkIndex>,
    /// The port that it came from.
    pub port: Option<PortIndex>,
    /// The security groups of that port.
    pub groups: &'a [GroupIndex],
    /// Its mark; 0 if nobody set one.
    pub mark: u16,
}

impl Match {
    /// Whether a frame has all that is wanted. Fragments but the first have no ports.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let of_frame = self.network.is_none_or(|network| subject.network == Some(network))
            && self.port.is_none_or(|port| subject.port == Some(port))
            && self.group.is_none_or(|group| subject.groups.contains(&group))
            && self.mark.is_none_or(|mark| subject.mark == mark);
        of_frame && (!self.wants_packet() || subject.packet.is_some_and(|packet| self.matches_packet(packet)))
    }

    fn wants_packet(&self) -> bool {
        let Self { source, destination, protocol, source_ports, destination_ports, dscp, .. } = self;
        source.is_some()
            || destination.is_some()
            || protocol.is_some()
            || source_ports.is_some()
            || destination_ports.is_some()
            || dscp.is_some()
    }

    fn matches_packet(&self, packet: &Packet) -> bool {
        let ports = match packet.transport {
            Transport::Tcp(tcp) => Some(tcp.ports),
            Transport::Ports(ports) => Some(ports),
            _ => None,
        };
        let within = |wanted: Option<(u16, u16)>, port: Option<u16>| {
            wanted.is_none_or(|(low, high)| port.is_some_and(|port| (low..=high).contains(&port)))
        };
        // What is not wanted costs nothing: addresses are put together for who asks for them.
        self.source.is_none_or(|prefix| prefix.contains(packet.source.into()))
            && self.destination.is_none_or(|prefix| prefix.contains(packet.destination.into()))
            && self.protocol.is_none_or(|protocol| protocol.0 == packet.protocol)
            && within(self.source_ports, ports.map(|ports| ports.source))
            && within(self.destination_ports, ports.map(|ports| ports.destination))
            && self.dscp.is_none_or(|dscp| dscp == packet.traffic_class >> 2)
    }
}

/// The class of `subject` by the first of `filters` that matches.
pub(crate) fn class_of(filters: &[FilterPlan], subject: &Subject<'_>) -> Option<ClassIndex> {
    filters.iter().find(|filter| filter.wants.matches(subject)).map(|filter| filter.class)
}

#[cfg(test)]
#[path = "tests/filter.rs"]
mod tests;
