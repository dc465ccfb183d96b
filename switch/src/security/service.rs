//! What is asked for: a protocol, and its port or its ICMP type, as intervals of one number.
//!
//! A packet's service is a number of 24 bits: the protocol, and behind it the destination port, or ICMP type and code, or
//! 0. Then whatever a rule can name is one interval of such numbers: one port, a range of ports, a type with all of its
//! codes, a whole protocol, everything. The rules for one remote only allow, so together they are the union of their
//! intervals: a sorted list in which one binary search answers for all of them.

use std::fmt;

use crate::packet::{Packet, Transport};

/// What a packet asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(u32);

impl Service {
    /// What a packet asks for; `None`: its first fragment says.
    #[must_use]
    #[inline]
    pub fn of(packet: &Packet) -> Option<Self> {
        let protocol = Protocol(packet.protocol);
        match packet.transport {
            Transport::Tcp(tcp) => Some(Self::port(protocol, tcp.ports.destination)),
            Transport::Ports(ports) => Some(Self::port(protocol, ports.destination)),
            Transport::Icmp(icmp) => Some(Self::icmp(protocol, icmp.kind, icmp.code)),
            Transport::Fragment => None,
            Transport::Other => Some(Self::protocol(protocol)),
        }
    }

    /// The number.
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// Of a protocol with ports: the destination's.
    #[must_use]
    #[inline]
    pub const fn port(protocol: Protocol, port: u16) -> Self {
        Self((protocol.0 as u32) << 16 | port as u32)
    }

    /// Of ICMP or ICMPv6.
    #[must_use]
    #[inline]
    pub fn icmp(protocol: Protocol, kind: u8, code: u8) -> Self {
        Self::port(protocol, u16::from_be_bytes([kind, code]))
    }

    /// Of a protocol without either.
    #[must_use]
    #[inline]
    pub fn protocol(protocol: Protocol) -> Self {
        Self::port(protocol, 0)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A protocol above IP, by its number (IANA, Protocol Numbers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protocol(pub u8);

impl Protocol {
    /// RFC 792.
    pub const ICMP: Self = Self(1);
    /// RFC 9293.
    pub const TCP: Self = Self(6);
    /// RFC 768.
    pub const UDP: Self = Self(17);
    /// RFC 4340.
    pub const DCCP: Self = Self(33);
    /// RFC 4443.
    pub const ICMPV6: Self = Self(58);
    /// RFC 9260.
    pub const SCTP: Self = Self(132);
    /// RFC 3828.
    pub const UDP_LITE: Self = Self(136);

    /// The names that rules may use.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("ah", Self(51)),
        ("dccp", Self::DCCP),
        ("egp", Self(8)),
        ("esp", Self(50)),
        ("gre", Self(47)),
        ("icmp", Self::ICMP),
        ("icmpv6", Self::ICMPV6),
        ("igmp", Self(2)),
        ("ipip", Self(4)),
        ("ipv6", Self(41)),
        ("ospf", Self(89)),
        ("pgm", Self(113)),
        ("rsvp", Self(46)),
        ("sctp", Self::SCTP),
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("udplite", Self::UDP_LITE),
        ("vrrp", Self(112)),
    ];

    /// The protocol of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, protocol)| *protocol)
    }

    /// Whether it has ports, at the place where TCP has them.
    #[must_use]
    #[inline]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::DCCP | Self::SCTP | Self::UDP_LITE)
    }

    /// Whether it has types and codes.
    #[must_use]
    #[inline]
    pub fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }

    /// Whether the number is that of an IPv6 extension header, behind which the protocol stands (RFC 8200, 4): hop-by-hop
    /// options, routing, fragment, destination options.
    #[must_use]
    pub fn is_extension(self) -> bool {
        matches!(self.0, 0 | 43 | 44 | 60)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, known)| known == self) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// The services that one rule names: an interval, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Services {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Services {
    /// Everything.
    pub(crate) const ALL: Self = Self { first: 0, last: 0xff_ffff };

    /// A whole protocol.
    pub(crate) fn of(protocol: Protocol) -> Self {
        Self::between(protocol, 0, 0xffff)
    }

    /// A protocol's ports from `first` to `last`, or what stands at their place.
    pub(crate) fn between(protocol: Protocol, first: u16, last: u16) -> Self {
        Self { first: Service::port(protocol, first).0, last: Service::port(protocol, last).0 }
    }

    #[cfg(test)]
    fn contains(self, service: Service) -> bool {
        (self.first..=self.last).contains(&service.0)
    }
}

/// The union of what several rules name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct ServiceSet(Box<[Services]>);

impl ServiceSet {
    /// The union of these, which are in ascending order.
    pub(crate) fn union(sorted: &[Services]) -> Self {
        let mut merged: Vec<Services> = Vec::new();
        for next in sorted {
            match merged.last_mut() {
                Some(last) if next.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(next.last)
                }
                _ => merged.push(*next),
            }
        }
        Self(merged.into())
    }

    /// Whether one of the rules names `service`.
    #[inline]
    pub(crate) fn contains(&self, service: Service) -> bool {
        let behind = self.0.partition_point(|services| services.first <= service.0);
        behind.checked_sub(1).is_some_and(|at| service.0 <= self.0[at].last)
    }

    /// Whether all that is in `other` is in this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|part| {
            let behind = self.0.partition_point(|services| services.first <= part.first);
            behind.checked_sub(1).is_some_and(|at| part.last <= self.0[at].last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_sorted_and_say_the_number() {
        assert!(Protocol::NAMES.is_sorted_by_key(|(name, _)| name));
        assert_eq!(Protocol::named("tcp"), Some(Protocol(6)));
        assert_eq!(Protocol::named("icmpv6"), Some(Protocol(58)));
        assert_eq!(Protocol::named("TCP"), None);
        assert_eq!((Protocol(132).to_string(), Protocol(99).to_string()), ("sctp".into(), "99".into()));
    }

    #[test]
    fn protocols_have_ports_or_types_or_neither() {
        for (number, ports, icmp, extension) in (0..=255_u8).map(|number| {
            let protocol = Protocol(number);
            (number, protocol.has_ports(), protocol.is_icmp(), protocol.is_extension())
        }) {
            assert_eq!(ports, [6, 17, 33, 132, 136].contains(&number), "{number}");
            assert_eq!(icmp, [1, 58].contains(&number), "{number}");
            assert_eq!(extension, [0, 43, 44, 60].contains(&number), "{number}");
        }
    }

    #[test]
    fn neighbouring_intervals_become_one_and_others_stay_apart() {
        let tcp = |first, last| Services::between(Protocol::TCP, first, last);
        let set = ServiceSet::union(&[tcp(1, 2), tcp(3, 9), tcp(4, 5), tcp(11, 11)]);
        assert_eq!(*set.0, [tcp(1, 9), tcp(11, 11)]);
        assert!(!set.contains(Service::port(Protocol::TCP, 10)));
        assert!(!set.contains(Service::port(Protocol::UDP, 5)));
        // 65535 of one protocol and 0 of the next are neighbours by number, and are told apart all the same.
        let edges = ServiceSet::union(&[tcp(65_535, 65_535), Services::between(Protocol(7), 0, 0)]);
        assert!(
            edges.contains(Service::protocol(Protocol(7))) && !edges.contains(Service::port(Protocol(7), 1))
        );
        assert_eq!(*ServiceSet::union(&[Services::ALL, Services::of(Protocol(255))]).0, [Services::ALL]);
    }

    #[test]
    fn services_say_what_they_are() {
        assert_eq!(format!("{:?}", Service::port(Protocol::TCP, 443)), "6:443");
        assert_eq!(Service::icmp(Protocol::ICMP, 8, 1), Service::port(Protocol::ICMP, 0x0801));
    }

    fn intervals() -> impl Strategy<Value = Vec<Services>> {
        let one = (0..40_u32, 0..6_u32).prop_map(|(first, more)| Services { first, last: first + more });
        prop::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn a_union_holds_what_one_of_its_parts_holds(mut parts in intervals(), mut others in intervals()) {
            parts.sort();
            others.sort();
            let (set, other) = (ServiceSet::union(&parts), ServiceSet::union(&others));
            let all = || (0..50).map(Service);
            for service in all() {
                prop_assert_eq!(set.contains(service), parts.iter().any(|part| part.contains(service)));
            }
            let covers = all().all(|service| set.contains(service) || !other.contains(service));
            prop_assert_eq!(set.covers(&other), covers);
            prop_assert!(set.0.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
        }
    }
}
