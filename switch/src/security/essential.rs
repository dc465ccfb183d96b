//! What groups are not asked about, because without it there would be no network to filter: finding one's neighbours,
//! one's router and one's own address.

use super::guard::{icmpv6, icmpv6_type, is_dhcp_client, is_dhcp_server, udp};
use super::rule::Direction;
use crate::packet::{Address, Contents, Packet};

/// Who sent a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The network's own router or DHCP server, or what may be it: the outside, a port that is trusted or not guarded.
    Infrastructure,
    /// A guest, which port security holds to being one.
    Guest,
}

/// Whether a frame passes in this direction whatever the port's groups say: ARP, neighbour discovery, what keeps multicast
/// groups, and DHCP. In egress, that is once port security had no objection.
///
/// A router's and a DHCP server's messages pass to a guest only from [`Origin::Infrastructure`]. A guest's DHCP messages
/// pass to all servers of the link; those to a certain server, such as renewals, are judged by the rules, or they would
/// be a way to anybody.
#[must_use]
pub fn is_essential(contents: &Contents, direction: Direction, origin: Origin) -> bool {
    match (contents, direction) {
        (Contents::Arp(_), _) => true,
        (Contents::Other(_), _) => false,
        // Neither of these is ever fragmented (RFC 6980), and nobody could tell what the rest of it is.
        (Contents::Ip(packet), _) if packet.fragment.is_some() => false,
        (Contents::Ip(packet), Direction::Ingress) => is_essential_to(packet, origin),
        (Contents::Ip(packet), Direction::Egress) => is_essential_from(packet),
    }
}

/// Whether a packet with ports may be essential: a short cut past asking in which direction it goes.
#[inline]
pub(crate) fn may_be_essential(packet: &Packet) -> bool {
    udp(packet).is_some_and(|udp| matches!(udp.destination, 67 | 68 | 546 | 547))
}

fn is_essential_to(packet: &Packet, origin: Origin) -> bool {
    let from_infrastructure = origin == Origin::Infrastructure;
    match icmpv6_type(packet) {
        Some(icmpv6::SOLICITATION | icmpv6::ADVERTISEMENT | icmpv6::MLD_QUERY) => true,
        Some(icmpv6::ROUTER_ADVERTISEMENT) => from_infrastructure,
        Some(_) => false,
        None => from_infrastructure && is_dhcp_server(packet),
    }
}

fn is_essential_from(packet: &Packet) -> bool {
    use icmpv6::{ADVERTISEMENT, MLD_DONE, MLD_REPORT, MLD_REPORT_2, ROUTER_SOLICITATION, SOLICITATION};
    match icmpv6_type(packet) {
        Some(ADVERTISEMENT | MLD_DONE | MLD_REPORT | MLD_REPORT_2 | ROUTER_SOLICITATION | SOLICITATION) => {
            true
        }
        Some(_) => false,
        None => is_dhcp_client(packet) && is_for_all(packet.destination),
    }
}

fn is_for_all(destination: Address) -> bool {
    destination.is_group()
}
