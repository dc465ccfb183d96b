//! What becomes of one packet that a router got.

use super::neighbours::Sighting;
use super::rewrite::is_intact;
use super::{Interface, Neighbours, Route, Routing, is_link_local};
use crate::drops::DropReason;
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::packet::{Address, Packet};

/// The bytes of an Ethernet header, which no MTU counts.
const ETHERNET: u32 = 14;

/// A packet that a station sent to its gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// The network where it came from.
    pub(crate) network: NetworkIndex,
    /// The frame's beginning.
    pub(crate) head: &'a [u8],
    /// What it says.
    pub(crate) packet: &'a Packet,
    /// The longest frame that it becomes on a wire, in bytes with its Ethernet header: a super-frame's longest segment.
    pub(crate) wire_length: u32,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// It goes on.
    To(Hop),
    /// The gateway has to see it.
    Gateway(Why),
    /// It does not go on, and nobody is told.
    Drop(DropReason),
}

/// The next station on a packet's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// The network where it is.
    pub(crate) network: NetworkIndex,
    /// The gateway's Ethernet address there.
    pub(crate) source: MacAddress,
    /// The station's.
    pub(crate) destination: MacAddress,
    /// By what entry that is known.
    pub(crate) seen: Sighting,
    /// The MTU of the network in bytes.
    pub(crate) mtu: u16,
}

/// Why the gateway has to see a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is for the gateway itself.
    Local,
    /// It is the switch's own, from an address of the gateway's: a tunnel's packet to a VTEP whose next station is not known.
    Own,
    /// It passed as many routers as it may (RFC 1812, 5.3.1; RFC 8200, 3).
    Expired,
    /// There is no route, or one that says so.
    Unreachable,
    /// There is no address and port left by which it could leave: communication is administratively prohibited (RFC 5508, 6,
    /// REQ-8: type 3, code 13).
    Exhausted,
    /// It is longer than the next network's stations take.
    TooBig {
        /// The MTU of that network in bytes.
        mtu: u16,
        /// Whether it may be cut to fragments.
        may_be_cut: bool,
        /// Where it would go.
        network: NetworkIndex,
        /// The next station's address there.
        next: Address,
    },
    /// The Ethernet address of the next station is unknown.
    Unresolved {
        /// The network where it is.
        network: NetworkIndex,
        /// Its address.
        next: Address,
    },
}

impl Routing {
    /// What becomes of a packet that came to a gateway's Ethernet address.
    #[inline]
    pub(crate) fn way(&self, arrival: &Arrival<'_>, neighbours: &Neighbours, now_s: u32) -> Way {
        let interface = match self.admit(arrival) {
            Ok(interface) => interface,
            Err(reason) => return Way::Drop(reason),
        };
        let Arrival { network, packet, .. } = *arrival;
        if interface.has(packet.destination) {
            return Way::Gateway(Why::Local);
        }
        self.lead(arrival, (network, packet.destination), neighbours, now_s)
    }

    /// The interface where a packet came in, if it is one that a router forwards.
    #[inline]
    pub(crate) fn admit(&self, arrival: &Arrival<'_>) -> Result<&Interface, DropReason> {
        let Arrival { network, packet, .. } = *arrival;
        let interface = self.interface(network).ok_or(DropReason::NotRoutable)?;
        // A tag that a station put on itself would name another network where the packet goes.
        let is_tagged = u32::from(packet.network_at) != ETHERNET;
        if is_tagged
            || is_nobodys(packet.source)
            || is_nobodys(packet.destination)
            || !is_intact(arrival.head, packet)
        {
            return Err(DropReason::NotRoutable);
        }
        // No station has one of the gateway's own addresses (RFC 1812, 5.3.7); what answers such a packet would be the gateway's.
        if interface.has(packet.source) {
            return Err(DropReason::GatewaySpoofed);
        }
        Ok(interface)
    }

    /// The way of a packet to this address, by the routes of this network's router: both are other ones than where the packet
    /// came in and what it says, if it is translated.
    #[inline]
    pub(crate) fn lead(
        &self,
        arrival: &Arrival<'_>,
        (network, destination): (NetworkIndex, Address),
        neighbours: &Neighbours,
        now_s: u32,
    ) -> Way {
        let Some(interface) = self.interface(network) else { return Way::Drop(DropReason::NotRoutable) };
        if is_link_local(destination) || is_link_local(arrival.packet.source) {
            return Way::Drop(DropReason::NotRoutable);
        }
        let (to, next) = match self.route(interface.router, destination) {
            Some(Route::Local) => return Way::Gateway(Why::Local),
            Some(Route::Broadcast) => return Way::Drop(DropReason::NotRoutable),
            Some(Route::Unreachable) | None => return Way::Gateway(Why::Unreachable),
            Some(Route::Link(to)) => (to, destination),
            Some(Route::Via(to, next)) => (to, next),
        };
        if arrival.packet.hop_limit <= 1 {
            return Way::Gateway(Why::Expired);
        }
        self.hop(arrival, to, next, neighbours, now_s)
    }

    /// The way to the station `next` of network `to`.
    #[inline]
    fn hop(
        &self,
        arrival: &Arrival<'_>,
        to: NetworkIndex,
        next: Address,
        neighbours: &Neighbours,
        now_s: u32,
    ) -> Way {
        let Some(interface) = self.interface(to) else { return Way::Gateway(Why::Unreachable) };
        if arrival.wire_length.saturating_sub(ETHERNET) > interface.mtu.into() {
            let may_be_cut = may_be_cut(arrival.head, arrival.packet);
            return Way::Gateway(Why::TooBig { mtu: interface.mtu, may_be_cut, network: to, next });
        }
        match neighbours.resolve_seen(to, next, now_s) {
            Some((destination, seen)) => {
                Way::To(Hop { network: to, source: interface.mac, destination, seen, mtu: interface.mtu })
            }
            None => Way::Gateway(Why::Unresolved { network: to, next }),
        }
    }
}

/// Whether no single station has this address, so that a router forwards nothing from or to it (RFC 1812, 5.3.7; RFC 4291,
/// 2.5.2, 2.5.3 and 2.7).
#[inline]
pub(crate) fn is_nobodys(address: Address) -> bool {
    let bits = address.to_bits();
    if !address.is_v4() {
        return bits <= 1 || bits >> 120 == 0xff;
    }
    // This network, loopback, groups, and what is reserved behind them.
    matches!(bits >> 24 & 0xff, 0 | 127 | 224..)
}

/// Whether a router may cut the packet: IPv6 forbids it, and IPv4 allows the sender to (RFC 791, 3.1: DF).
fn may_be_cut(head: &[u8], packet: &Packet) -> bool {
    let flags = head.get(usize::from(packet.network_at) + 6);
    packet.source.is_v4() && flags.is_some_and(|flags| flags & 0x40 == 0)
}
