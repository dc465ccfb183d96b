//! Whom a message concerns that all stations of a network get, or that is about their addresses: ARP, neighbour discovery.

use super::{Interface, Neighbours, Routing};
use crate::ids::NetworkIndex;
use crate::packet::{Address, Arp, Contents, Icmp, IcmpMessage, Packet, Transport};

/// Whom a frame concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Concern {
    /// Not the gateway.
    Nobody,
    /// The gateway as well as others.
    All,
    /// The gateway and nobody else.
    GatewayAlone,
    /// It claims an address of the gateway's, and must reach nobody.
    Spoofed,
}

/// ARP's request (RFC 826).
const REQUEST: u16 = 1;

/// Router solicitation, neighbour solicitation and neighbour advertisement (RFC 4861, 4.1, 4.3 and 4.4).
const ROUTER_SOLICITATION: u8 = 133;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

impl Routing {
    /// Whom a frame of a station of `network` concerns that is not to the gateway's Ethernet address.
    pub(crate) fn concern(
        &self,
        network: NetworkIndex,
        head: &[u8],
        contents: &Contents,
        neighbours: &Neighbours,
    ) -> Concern {
        let Some(interface) = self.interface(network) else { return Concern::Nobody };
        let is_known = |address| neighbours.get(network, address).is_some();
        // The bit that tells groups (IEEE 802.3-2018, 3.2.3).
        let is_to_group = head.first().is_some_and(|first| first & 1 != 0);
        match contents {
            Contents::Arp(arp) => of_arp(interface, arp, is_to_group, is_known),
            Contents::Ip(packet) => of_packet(interface, packet, is_known),
            Contents::Other(_) => Concern::Nobody,
        }
    }
}

fn of_arp(
    interface: &Interface,
    arp: &Arp,
    is_to_group: bool,
    is_known: impl Fn(Address) -> bool,
) -> Concern {
    if interface.has(arp.sender) || arp.sender_mac == interface.mac {
        Concern::Spoofed
    } else if !is_to_group {
        Concern::Nobody
    } else if arp.operation == REQUEST && interface.has(arp.target) {
        Concern::GatewayAlone
    } else if is_known(arp.sender) {
        // Somebody has moved, or says that he is still there.
        Concern::All
    } else {
        Concern::Nobody
    }
}

fn of_packet(interface: &Interface, packet: &Packet, is_known: impl Fn(Address) -> bool) -> Concern {
    if interface.has(packet.source) {
        return Concern::Spoofed;
    }
    let Transport::Icmp(Icmp { kind, message: IcmpMessage::Neighbour(neighbour), .. }) = packet.transport
    else {
        return Concern::Nobody;
    };
    match (kind, neighbour.target) {
        (ROUTER_SOLICITATION, _) => Concern::GatewayAlone,
        (SOLICITATION, Some(target)) if interface.has(target) => Concern::GatewayAlone,
        (ADVERTISEMENT, Some(target)) if interface.has(target) => Concern::Spoofed,
        (ADVERTISEMENT, Some(target)) if is_known(target) => Concern::All,
        _ => Concern::Nobody,
    }
}
