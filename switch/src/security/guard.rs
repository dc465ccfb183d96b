//! Port security: what a guest may send is its own (RFC 2827, for one station).
//!
//! A guarded port sends from its pairs of MAC and IP address only: its own ones, its allowed address pairs, and the
//! link-local address that follows from each of its MAC addresses (RFC 4291, appendix A). ARP and neighbour discovery
//! must not claim anything else, either, nor deny others their addresses while these look whether they are free. A guest
//! is no router and no DHCP server unless the operator trusts it. All of this follows from the configuration and the frame
//! alone; nothing that a guest does changes it.
//!
//! A port without addresses of its own is held to its MAC address alone, and to all that needs no address to be known.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::port::PortSecurity;
use super::prefix::{Family, Prefix};
use crate::decision::address_at;
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::packet::{
    Address, Arp, Contents, Icmp, IcmpMessage, Neighbour, Packet, Plain, Ports, Transport, number,
};
use crate::vlan::is_tag_type;

/// Ethernet types below are lengths (IEEE 802.3-2018, 3.2.6).
const TYPES_BEGIN: u16 = 0x600;

/// Types of ICMPv6 messages.
pub(super) mod icmpv6 {
    pub(in super::super) const MLD_QUERY: u8 = 130;
    pub(in super::super) const MLD_REPORT: u8 = 131;
    pub(in super::super) const MLD_DONE: u8 = 132;
    pub(in super::super) const ROUTER_SOLICITATION: u8 = 133;
    pub(in super::super) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(in super::super) const SOLICITATION: u8 = 135;
    pub(in super::super) const ADVERTISEMENT: u8 = 136;
    pub(in super::super) const REDIRECT: u8 = 137;
    pub(in super::super) const MLD_REPORT_2: u8 = 143;
}

/// ICMP's router advertisement (RFC 1256, 3).
const ICMP_ROUTER_ADVERTISEMENT: u8 = 9;

/// The ports at which clients of DHCP wait (RFC 2131, 4.1; RFC 8415, 7.2).
const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;

/// Why a guarded port may not send a frame; the sentences are [`DropReason`]'s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SourceError {
    /// Another MAC address.
    Mac,
    /// Another IPv4 address.
    Ipv4,
    /// Another IPv6 address.
    Ipv6,
    /// ARP about other addresses.
    Arp,
    /// Neighbour discovery about other addresses.
    Neighbour,
    /// No source address, and no reason for it.
    Unspecified,
    /// A DHCP server's message.
    DhcpServer,
    /// A router's message.
    Router,
    /// Something that cannot be looked into.
    Hidden,
}

impl From<SourceError> for DropReason {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Mac => Self::SpoofMac,
            SourceError::Ipv4 => Self::SpoofIpv4,
            SourceError::Ipv6 => Self::SpoofIpv6,
            SourceError::Arp => Self::SpoofArp,
            SourceError::Neighbour => Self::SpoofNeighbour,
            SourceError::Unspecified => Self::SpoofUnspecified,
            SourceError::DhcpServer => Self::RogueDhcp,
            SourceError::Router => Self::RogueRouter,
            SourceError::Hidden => Self::SpoofHidden,
        }
    }
}

/// Addresses that go together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Binding {
    mac: MacAddress,
    /// The addresses: those with these bits where the mask has ones. Without ones, any.
    bits: u128,
    mask: u128,
    /// Whether these are of IPv6 alone: a short prefix holds where addresses of IPv4 stand ([`Address`]), too.
    is_v6: bool,
}

impl Binding {
    /// `prefix` is `None` for any address.
    fn new(mac: MacAddress, prefix: Option<Prefix>) -> Self {
        let Some(prefix) = prefix else { return Self { mac, bits: 0, mask: 0, is_v6: false } };
        let behind = u32::from(prefix.family().bits() - prefix.length());
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        let bits = Address::from(prefix.address()).to_bits() & mask;
        Self { mac, bits, mask, is_v6: prefix.family() == Family::Ipv6 }
    }

    #[inline]
    fn has(&self, address: Address) -> bool {
        address.to_bits() & self.mask == self.bits && !(self.is_v6 && address.is_v4())
    }
}

/// The same for plain packets: addresses of IPv4 that go with an Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PlainBinding {
    /// The Ethernet address, its first byte in the lowest eight bits.
    mac: u64,
    bits: u32,
    mask: u32,
}

impl PlainBinding {
    /// `None`: no address of IPv4 is among them.
    fn new(binding: &Binding) -> Option<Self> {
        const LOW: u128 = 0xffff_ffff;
        let Binding { mac: MacAddress([a, b, c, d, e, f]), bits, mask, is_v6 } = *binding;
        let above = Address::from(Ipv4Addr::UNSPECIFIED).to_bits() & mask & !LOW;
        let [low_bits, low_mask] = [bits, mask].map(|word| u32::try_from(word & LOW).unwrap_or(0));
        let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        (!is_v6 && above == bits & !LOW).then_some(Self { mac, bits: low_bits, mask: low_mask })
    }
}

/// What a guarded port may send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceGuard {
    bindings: Box<[Binding]>,
    /// What follows from these for plain packets.
    plain: Box<[PlainBinding]>,
    trusted: bool,
}

impl SourceGuard {
    /// What follows from the port's addresses and pairs.
    #[must_use]
    pub fn new(port: &PortSecurity) -> Self {
        let own = port.addresses.iter().map(|address| (port.mac, Some(Prefix::host(*address))));
        let pairs = port.pairs.iter().map(|pair| (pair.mac.unwrap_or(port.mac), Some(pair.prefix)));
        let any = port.addresses.is_empty().then_some((port.mac, None));
        let stated: BTreeSet<_> = own.chain(pairs).chain(any).collect();
        let macs: BTreeSet<_> = stated.iter().map(|(mac, _)| *mac).chain([port.mac]).collect();
        let local = macs.into_iter().map(|mac| (mac, Some(Prefix::host(link_local(mac).into()))));
        let bindings = stated.iter().copied().chain(local).map(|(mac, prefix)| Binding::new(mac, prefix));
        let bindings: Box<[_]> = bindings.collect();
        let plain = bindings.iter().filter_map(PlainBinding::new).collect();
        Self { bindings, plain, trusted: port.trusted }
    }

    /// Whether a plain packet is what most are: from the port's own addresses, and nothing in which anybody claims anything else. What is
    /// not may still be allowed. `source` is its sender's Ethernet address, the first byte in the lowest eight bits.
    #[inline(always)]
    pub(crate) fn is_plainly_own(&self, source: u64, plain: &Plain) -> bool {
        let address = plain.source();
        let is_own = |own: &PlainBinding| own.mac == source && address & own.mask == own.bits;
        address != 0 && !plain.may_be_dhcp() && self.plain.iter().any(is_own)
    }

    /// Whether the port may send a frame that comes from `source` and carries this. Contents that cannot be read must not
    /// come this far.
    ///
    /// # Errors
    /// What the frame pretends.
    #[inline]
    pub fn check(&self, source: MacAddress, contents: &Contents) -> Result<(), SourceError> {
        match contents {
            Contents::Ip(packet) if self.is_harmlessly_own(source, packet) => Ok(()),
            _ => self.check_all(source, contents),
        }
    }

    /// Whether it is what most packets are: from the port's own addresses, by a protocol in which nobody claims anything else. What is
    /// not may still be allowed.
    #[inline]
    fn is_harmlessly_own(&self, source: MacAddress, packet: &Packet) -> bool {
        let is_harmless = match packet.transport {
            Transport::Tcp(_) => true,
            Transport::Ports(ports) => !matches!(ports.destination, DHCP_CLIENT | DHCPV6_CLIENT),
            _ => false,
        };
        is_harmless && !is_unspecified(packet.source) && self.has(source, packet.source)
    }

    fn check_all(&self, source: MacAddress, contents: &Contents) -> Result<(), SourceError> {
        if !self.has_mac(source) {
            return Err(SourceError::Mac);
        }
        match contents {
            Contents::Ip(packet) => self.check_packet(source, packet),
            Contents::Arp(message) => self.check_arp(source, message),
            Contents::Other(kind) if *kind < TYPES_BEGIN || is_tag_type(kind.to_be_bytes()) => {
                Err(SourceError::Hidden)
            }
            Contents::Other(_) => Ok(()),
        }
    }

    /// Whether the port may send this frame, of which the tags that told its network are off.
    pub(crate) fn admit<P>(&self, frame: &Frame<P>) -> Result<(), DropReason> {
        let head = frame.head.bytes();
        Ok(self.check(address_at::<6>(head), &Contents::of(frame)?)?)
    }

    /// Whether all of its frames are believed to be a router's or a DHCP server's, if they look like it.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    #[inline]
    pub(crate) fn has_mac(&self, mac: MacAddress) -> bool {
        self.bindings.iter().any(|binding| binding.mac == mac)
    }

    #[inline]
    fn has(&self, mac: MacAddress, address: Address) -> bool {
        self.bindings.iter().any(|binding| binding.mac == mac && binding.has(address))
    }

    /// RFC 826; RFC 5227, 1.1: a probe has the sender 0.0.0.0. One for somebody else's address would keep him from it
    /// (2.1.1), so only for what would be the port's own.
    fn check_arp(&self, source: MacAddress, message: &Arp) -> Result<(), SourceError> {
        const REQUEST: u16 = 1;
        let is_unspecified = message.sender == Address::from(Ipv4Addr::UNSPECIFIED);
        let claimed =
            if is_unspecified && message.operation == REQUEST { message.target } else { message.sender };
        let is_own = message.sender_mac == source && self.has(source, claimed);
        if is_own { Ok(()) } else { Err(SourceError::Arp) }
    }

    #[inline]
    fn check_packet(&self, source: MacAddress, packet: &Packet) -> Result<(), SourceError> {
        if !self.trusted {
            check_role(packet)?;
        }
        if is_unspecified(packet.source) {
            may_be_unspecified(packet).then_some(()).ok_or(SourceError::Unspecified)?;
        } else if !self.has(source, packet.source) {
            return Err(if packet.source.is_v4() { SourceError::Ipv4 } else { SourceError::Ipv6 });
        }
        match &packet.transport {
            Transport::Icmp(Icmp { kind, message: IcmpMessage::Neighbour(message), .. }) => {
                let is_own = self.has_neighbour(source, packet, *kind, message);
                if is_own { Ok(()) } else { Err(SourceError::Neighbour) }
            }
            _ => Ok(()),
        }
    }

    /// Whether a neighbour discovery message claims what is the port's (RFC 4861, 4.1 to 4.5).
    fn has_neighbour(&self, source: MacAddress, packet: &Packet, kind: u8, message: &Neighbour) -> bool {
        let from_nobody = is_unspecified(packet.source);
        // RFC 4861, 7.1.1 and 6.1.1: without a source address there is no option with its MAC address.
        let own_source = message.source_mac.is_none_or(|mac| !from_nobody && self.has(mac, packet.source));
        let own_target = |mac| message.target.is_some_and(|target| self.has(mac, target));
        let own = match kind {
            // Duplicate address detection: RFC 4862, 5.4.3: whoever asks for another's address keeps him from it.
            icmpv6::SOLICITATION if from_nobody => own_target(source),
            icmpv6::ADVERTISEMENT => own_target(source) && message.target_mac.is_none_or(own_target),
            _ => true,
        };
        // What an option behind the head says is not known; a router's may be many, and it is trusted.
        let is_routers = matches!(kind, icmpv6::ROUTER_ADVERTISEMENT | icmpv6::REDIRECT);
        (message.is_complete || is_routers) && own_source && own
    }
}

/// The address of the link that follows from a MAC address (RFC 4291, 2.5.6 and appendix A).
pub(super) fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

#[inline]
fn is_unspecified(address: Address) -> bool {
    address == Address::UNSPECIFIED || address == Address::from(Ipv4Addr::UNSPECIFIED)
}

/// Whether the packet is for the group of all or some stations of the link: ff02::/16.
fn is_to_link(packet: &Packet) -> bool {
    !packet.destination.is_v4() && packet.destination.to_bits() >> 112 == 0xff02
}

/// The ports of a datagram of UDP.
pub(super) fn udp(packet: &Packet) -> Option<Ports> {
    packet.ports().filter(|_| packet.protocol == number::UDP)
}

/// Whether the packet is of a kind that hosts send before they have an address: DHCP to all (RFC 2131, 4.1), duplicate address
/// detection, router solicitations and reports of groups (RFC 4862, 5.4.2; RFC 4861, 4.1; RFC 3590, 3).
fn may_be_unspecified(packet: &Packet) -> bool {
    use icmpv6::{MLD_DONE, MLD_REPORT, MLD_REPORT_2, ROUTER_SOLICITATION, SOLICITATION};
    if packet.fragment.is_some() {
        return false;
    }
    if packet.source.is_v4() {
        let to_all = packet.destination == Address::from(Ipv4Addr::BROADCAST);
        return to_all && is_dhcp_client(packet);
    }
    let kinds = [MLD_REPORT, MLD_DONE, MLD_REPORT_2, ROUTER_SOLICITATION, SOLICITATION];
    is_to_link(packet) && icmpv6_type(packet).is_some_and(|kind| kinds.contains(&kind))
}

/// Refuses what only routers and DHCP servers say (RFC 6105, RFC 7610).
fn check_role(packet: &Packet) -> Result<(), SourceError> {
    if is_dhcp_server(packet) {
        return Err(SourceError::DhcpServer);
    }
    let is_router = match icmpv6_type(packet) {
        Some(kind) => matches!(kind, icmpv6::ROUTER_ADVERTISEMENT | icmpv6::REDIRECT),
        None => icmp_type(packet, number::ICMP) == Some(ICMP_ROUTER_ADVERTISEMENT),
    };
    if is_router { Err(SourceError::Router) } else { Ok(()) }
}

/// From a client's port to a server's (RFC 2131, 4.1; RFC 8415, 7.2).
pub(super) fn is_dhcp_client(packet: &Packet) -> bool {
    let ports = if packet.source.is_v4() { (68, 67) } else { (546, 547) };
    udp(packet).is_some_and(|udp| (udp.source, udp.destination) == ports)
}

/// From a server's port to a client's.
pub(super) fn is_dhcp_server(packet: &Packet) -> bool {
    let ports = if packet.source.is_v4() { (67, DHCP_CLIENT) } else { (547, DHCPV6_CLIENT) };
    udp(packet).is_some_and(|udp| (udp.source, udp.destination) == ports)
}

/// The type of an ICMPv6 message.
#[inline]
pub(super) fn icmpv6_type(packet: &Packet) -> Option<u8> {
    icmp_type(packet, number::ICMPV6)
}

#[inline]
fn icmp_type(packet: &Packet, protocol: u8) -> Option<u8> {
    match packet.transport {
        Transport::Icmp(icmp) if packet.protocol == protocol => Some(icmp.kind),
        _ => None,
    }
}
