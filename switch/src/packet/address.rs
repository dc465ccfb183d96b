//! Addresses of both versions of IP in one space.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address in 128 bits: IPv4 stands where RFC 4291, 2.5.5.2 maps it, in `::ffff:0:0/96`. Packets of IPv6
/// with such addresses are refused when they are parsed, so that the two versions never meet, and a prefix of IPv4 is one
/// that is 96 bits longer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(u128);

/// What stands before an IPv4 address.
const MAPPED: u128 = 0xffff << 32;

impl Address {
    /// The address that stands for none: `::`.
    pub const UNSPECIFIED: Self = Self(0);

    /// The address with these bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// All 128 bits, the first of the address being the highest.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// Whether this is an address of IPv4.
    #[must_use]
    #[inline]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    /// Whether this is a group's address, or IPv4's broadcast to all of the link.
    #[must_use]
    pub fn is_group(self) -> bool {
        match IpAddr::from(self) {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        }
    }

    /// The address of IPv4 that this is, if it is one.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "these are the 32 bits of an IPv4 address")]
    pub const fn to_v4(self) -> Option<Ipv4Addr> {
        if self.is_v4() { Some(Ipv4Addr::from_bits(self.0 as u32)) } else { None }
    }

    /// The IPv4 address in network order.
    #[inline]
    pub(crate) const fn from_v4(octets: [u8; 4]) -> Self {
        Self(MAPPED | u32::from_be_bytes(octets) as u128)
    }

    /// The IPv6 address in network order.
    #[inline]
    pub(crate) const fn from_v6(octets: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(octets))
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4(address.octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self(address.to_bits())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from_bits(address.0).to_canonical()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_told_apart_and_come_back() {
        for text in
            ["0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "::1", "::10.1.2.3", "fe80::1", "ff02::1"]
        {
            let address: IpAddr = text.parse().unwrap();
            let packed = Address::from(address);
            assert_eq!(packed.is_v4(), address.is_ipv4(), "{text}");
            assert_eq!(IpAddr::from(packed), address);
            assert_eq!(packed.to_string(), address.to_string());
            assert_eq!(Address::from_bits(packed.to_bits()), packed);
        }
    }

    #[test]
    fn groups_are_told_from_stations() {
        let is_group = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).is_group();
        assert!(is_group("224.0.0.1") && is_group("255.255.255.255") && is_group("ff02::1"));
        assert!(!is_group("223.255.255.255") && !is_group("fe80::1") && !is_group("::"));
    }
}
