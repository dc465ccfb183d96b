//! Whom a message concerns that all stations of a network get, or that is about their addresses: ARP, neighbour discovery.

use super::{Interface, Neighbours, Routing};
use crate::dhcp::datagram::{CLIENT_PORT, SERVER_PORT};
use crate::ids::NetworkIndex;
use crate::multicast::{Family, query_in};
use crate::packet::{Address, Arp, Contents, Icmp, IcmpMessage, Packet, Transport, number};

/// Whom a frame concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Concern {
    /// Not the gateway.
    Nobody,
    /// The gateway as well as others.
    All,
    /// The gateway and nobody else.
    GatewayAlone,
    /// It claims an address of the gateway's, and must reach no station. If it is ARP or neighbour discovery, the gateway
    /// gets it, which has to defend its address where stations are that heard it (RFC 5227, 2.4).
    Spoofed,
}

/// Whom clients send their requests to that know no server yet, and on which port (RFC 2131, 4.1; RFC 8415, 7).
pub(crate) const DHCP_V4: (Address, u16) = (Address::from_v4([255; 4]), 67);
pub(crate) const DHCP_V6: (Address, u16) = (Address::from_bits(0xff02 << 112 | 0x1_0002), 547);

/// What stands in an ARP probe for its sender, who has no address yet (RFC 5227, 1.1).
const NOBODY: Address = Address::from_v4([0; 4]);

/// ARP's request (RFC 826).
const REQUEST: u16 = 1;

/// All stations of IPv4 (RFC 1112, 4).
const ALL_STATIONS: Address = Address::from_v4([224, 0, 0, 1]);

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
            Contents::Ip(packet) => of_packet(interface, head, packet, is_known),
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
    } else if is_known(arp.sender) || (interface.is_outside && arp.sender == NOBODY) {
        // Somebody has moved, or says that he is still there; or wants an address that the gateway may be about to take, too
        // (RFC 5227, 2.1.1).
        Concern::All
    } else {
        Concern::Nobody
    }
}

fn of_packet(
    interface: &Interface,
    head: &[u8],
    packet: &Packet,
    is_known: impl Fn(Address) -> bool,
) -> Concern {
    if interface.has(packet.source) {
        return Concern::Spoofed;
    }
    let neighbour = match packet.transport {
        Transport::Icmp(Icmp { kind, message: IcmpMessage::Neighbour(neighbour), .. }) => {
            (kind, neighbour.target)
        }
        // It tells of the groups to which it listens, as stations do.
        Transport::Icmp(_) | Transport::Other if asks_for_groups(interface, head, packet) => {
            return Concern::All;
        }
        Transport::Ports(_) if is_served(interface, packet) => return Concern::GatewayAlone,
        Transport::Ports(_) if is_for_dhcp_client(interface, packet) => return Concern::All,
        _ => return Concern::Nobody,
    };
    match neighbour {
        (ROUTER_SOLICITATION, _) if interface.serves.router_advertisements => Concern::GatewayAlone,
        (SOLICITATION, Some(target)) if interface.has(target) => Concern::GatewayAlone,
        (ADVERTISEMENT, Some(target)) if interface.has(target) => Concern::Spoofed,
        (ADVERTISEMENT, Some(target)) if is_known(target) => Concern::All,
        _ => Concern::Nobody,
    }
}

/// Whether a datagram may be what a DHCP server says to the gateway's client, whose address need not be known yet.
#[inline]
pub(crate) fn is_for_dhcp_client(interface: &Interface, packet: &Packet) -> bool {
    let is_answer = packet.ports().is_some_and(|ports| {
        (ports.source, ports.destination) == (SERVER_PORT, CLIENT_PORT) && packet.protocol == number::UDP
    });
    is_answer && interface.is_outside && packet.fragment.is_none() && packet.source.is_v4()
}

/// Whether a packet asks for groups of the interface's (RFC 9776, 4.1.12; RFC 9777, 5.1.15). It has some of IPv6 anyway.
fn asks_for_groups(interface: &Interface, head: &[u8], packet: &Packet) -> bool {
    let to = packet.destination;
    match query_in(head, packet) {
        Some(Family::V4) if to == ALL_STATIONS => interface.groups.iter().any(|group| group.is_v4()),
        Some(Family::V4) => interface.groups.binary_search(&to).is_ok(),
        Some(Family::V6) => true,
        None => false,
    }
}

/// Whether a datagram to many stations asks for what the gateway gives. A request in fragments is nobody's to answer.
fn is_served(interface: &Interface, packet: &Packet) -> bool {
    let Some(ports) = packet.ports().filter(|_| packet.protocol == number::UDP && packet.fragment.is_none())
    else {
        return false;
    };
    let to = (packet.destination, ports.destination);
    (interface.serves.dhcp_v4 && to == DHCP_V4) || (interface.serves.dhcp_v6 && to == DHCP_V6)
}
