//! What kind of multicast frame this is, told from its head alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mac::MacAddress;

/// The length of an Ethernet header in bytes. Snooping looks at untagged frames only.
pub(super) const ETHERNET: usize = 14;

/// The protocol number of IGMP (RFC 3376, 4).
pub(crate) const IGMP: u8 = 2;

/// The next header of hop-by-hop options (RFC 8200, 4.3), before every MLD message (RFC 3810, 5).
pub(super) const HOP_BY_HOP: u8 = 0;

/// The next header of ICMPv6 (RFC 4443, 1).
pub(super) const ICMPV6: u8 = 58;

/// The two versions of IP, which are snooped apart from each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Family {
    /// IPv4, with IGMP.
    V4,
    /// IPv6, with MLD.
    V6,
}

impl Family {
    /// The address that stands for the routers of a network: no group has it.
    pub(super) fn routers(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The family of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What a frame to an IP multicast address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// A packet to this group.
    Data(IpAddr),
    /// An IGMP or MLD message.
    Control(Family),
    /// For all stations of the link, members or not, or nothing that snooping knows.
    All,
}

/// Whether snooping looks at frames with this destination and type: RFC 1112, 6.4 maps IPv4 groups to
/// 01:00:5e, RFC 2464, 7 IPv6 groups to 33:33. A tagged frame has another type, so it is left alone.
#[inline]
pub(crate) fn is_ip_multicast(destination: MacAddress, ether_type: [u8; 2]) -> bool {
    match (destination.0, ether_type) {
        ([0x01, 0x00, 0x5e, third, ..], [0x08, 0x00]) => third < 0x80,
        ([0x33, 0x33, ..], [0x86, 0xdd]) => true,
        _ => false,
    }
}

/// What the frame is that begins with `head`, and for which [`is_ip_multicast`] holds.
#[inline]
pub(crate) fn classify(head: &[u8]) -> Class {
    let Some(packet) = head.get(ETHERNET..) else { return Class::All };
    let class = match packet.first().map(|first| first >> 4) {
        Some(4) => classify_4(packet),
        Some(6) => classify_6(packet),
        _ => None,
    };
    class.unwrap_or(Class::All)
}

fn classify_4(packet: &[u8]) -> Option<Class> {
    let header = packet.first_chunk::<20>()?;
    if header[9] == IGMP {
        return Some(Class::Control(Family::V4));
    }
    let group = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    is_snooped(group.into()).then_some(Class::Data(group.into()))
}

fn classify_6(packet: &[u8]) -> Option<Class> {
    let header = packet.first_chunk::<40>()?;
    if header[6] == HOP_BY_HOP && is_mld(packet) {
        return Some(Class::Control(Family::V6));
    }
    let group = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
    is_snooped(group.into()).then_some(Class::Data(group.into()))
}

/// Whether the hop-by-hop options are followed by an MLD message (RFC 3810, 5: types 130 to 132 and 143).
fn is_mld(packet: &[u8]) -> bool {
    let Some(&[next, length]) = packet.get(40..42) else { return false };
    let message = 48 + 8 * usize::from(length);
    next == ICMPV6 && matches!(packet.get(message), Some(130..=132 | 143))
}

/// Whether frames to `group` go to its members only.
///
/// RFC 4541, 2.1.2: 224.0.0.0/24 reaches all. Of IPv6's link scope, RFC 4541, 3 says so for ff02::1 only;
/// here all of it does, since neighbour discovery must depend neither on a table that others can fill nor on
/// a report that was lost. Smaller scopes never leave a node (RFC 4291, 2.7).
#[inline]
pub(crate) fn is_snooped(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.is_multicast() && group.octets()[..3] != [224, 0, 0],
        IpAddr::V6(group) => group.is_multicast() && group.octets()[1] & 0xf > 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip4(protocol: u8, group: [u8; 4]) -> Vec<u8> {
        let mut head = vec![0; 34];
        head[14] = 0x45;
        head[23] = protocol;
        head[30..].copy_from_slice(&group);
        head
    }

    fn ip6(group: &str) -> Vec<u8> {
        let mut head = vec![0; 54];
        head[14] = 0x60;
        head[20] = 17;
        head[38..].copy_from_slice(&group.parse::<Ipv6Addr>().unwrap().octets());
        head
    }

    #[test]
    fn groups_beyond_the_link_are_snooped_and_the_links_own_reach_all() {
        assert_eq!(classify(&ip4(17, [239, 1, 2, 3])), Class::Data("239.1.2.3".parse().unwrap()));
        assert_eq!(classify(&ip4(17, [224, 0, 1, 0])), Class::Data("224.0.1.0".parse().unwrap()));
        for group in [[224, 0, 0, 251], [224, 0, 0, 1], [10, 0, 0, 1], [255; 4]] {
            assert_eq!(classify(&ip4(17, group)), Class::All, "{group:?}");
        }
        assert_eq!(classify(&ip6("ff05::1:3")), Class::Data("ff05::1:3".parse().unwrap()));
        for group in ["ff02::1", "ff02::fb", "ff02::1:ff00:1", "ff12::5", "ff01::1", "ff00::1", "fe80::1"] {
            assert_eq!(classify(&ip6(group)), Class::All, "{group}");
        }
    }

    #[test]
    fn igmp_is_control_even_to_a_groups_own_address() {
        assert_eq!(classify(&ip4(2, [239, 1, 2, 3])), Class::Control(Family::V4));
        assert_eq!(classify(&ip4(2, [224, 0, 0, 22])), Class::Control(Family::V4));
    }

    #[test]
    fn a_head_cut_anywhere_reaches_all() {
        let (four, six) = (ip4(17, [239, 1, 2, 3]), ip6("ff05::1:3"));
        for whole in [four, six] {
            for end in 0..whole.len() {
                assert_eq!(classify(&whole[..end]), Class::All);
            }
        }
    }

    #[test]
    fn only_untagged_ip_frames_to_ip_groups_are_looked_at() {
        let to = |text: &str| text.parse().unwrap();
        assert!(is_ip_multicast(to("01:00:5e:7f:00:01"), [8, 0]));
        assert!(is_ip_multicast(to("33:33:00:00:00:01"), [0x86, 0xdd]));
        assert!(!is_ip_multicast(to("01:00:5e:80:00:01"), [8, 0]));
        assert!(!is_ip_multicast(to("01:00:5e:7f:00:01"), [0x81, 0]));
        assert!(!is_ip_multicast(to("33:33:00:00:00:01"), [8, 0]));
        assert!(!is_ip_multicast(MacAddress::BROADCAST, [8, 0]));
    }
}
