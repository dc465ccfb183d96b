//! Addresses and prefixes of both versions of IP, in one form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A version of IP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// Version 4.
    Ipv4,
    /// Version 6.
    Ipv6,
}

impl Family {
    /// Both versions.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The version of an address.
    #[must_use]
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// How many bits an address has.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// All addresses that begin with the same bits; canonical, so that equal prefixes compare equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    family: Family,
    length: u8,
    /// The address, its first bit the highest; 0 behind the prefix.
    bits: u128,
}

impl Prefix {
    /// The prefix that begins as `address` does, `length` bits long; what stands behind them does not count. `None`: the
    /// address has fewer bits.
    #[must_use]
    #[inline]
    pub fn covering(address: IpAddr, length: u8) -> Option<Self> {
        let family = Family::of(address);
        (length <= family.bits()).then(|| Self { family, length, bits: to_bits(address) & mask(length) })
    }

    /// The prefix that holds `address` alone.
    #[must_use]
    #[inline]
    pub fn host(address: IpAddr) -> Self {
        let family = Family::of(address);
        Self { family, length: family.bits(), bits: to_bits(address) }
    }

    /// The prefix of all addresses of a version.
    #[must_use]
    pub fn all(family: Family) -> Self {
        Self { family, length: 0, bits: 0 }
    }

    /// Its first `length` bits; itself, if it has no more.
    #[must_use]
    #[inline]
    pub(crate) fn shortened(self, length: u8) -> Self {
        let length = length.min(self.length);
        Self { length, bits: self.bits & mask(length), ..self }
    }

    /// The version of IP.
    #[must_use]
    #[inline]
    pub fn family(self) -> Family {
        self.family
    }

    /// How many bits it has.
    #[must_use]
    #[inline]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Its lowest address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        let bytes = self.bits.to_be_bytes();
        match self.family {
            Family::Ipv4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
            Family::Ipv6 => Ipv6Addr::from(bytes).into(),
        }
    }

    /// Whether `address` begins with it.
    #[must_use]
    #[inline]
    pub fn contains(self, address: IpAddr) -> bool {
        self.family == Family::of(address) && to_bits(address) & mask(self.length) == self.bits
    }

    /// The version and the length in one number, and the bits: what tells prefixes apart.
    #[inline]
    pub(crate) fn words(self) -> [u64; 3] {
        let [high, low] = [self.bits >> 64, self.bits & u128::from(u64::MAX)];
        let word = |half: u128| u64::try_from(half).unwrap_or(u64::MAX);
        [u64::from(self.length) << 1 | u64::from(self.family == Family::Ipv6), word(high), word(low)]
    }
}

/// The bits of an address, the first the highest.
#[inline]
fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

#[inline]
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum InvalidPrefix {
    /// No address.
    #[error("a prefix: an address and a length, like 10.0.0.0/8 or fd00::/64, or one address")]
    Malformed,
    /// A length that no address of this version has.
    #[error("a length from 0 to {max}, as prefixes of {family} have", max = family.bits())]
    TooLong {
        /// The version of IP.
        family: Family,
    },
    /// Bits behind the prefix.
    #[error("an address without bits set behind the prefix: {0} would be right")]
    HostBits(Prefix),
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    /// Reads `ADDRESS/LENGTH` or `ADDRESS`, which is the prefix of that address alone (RFC 4632, 3.1; RFC 4291, 2.3).
    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| InvalidPrefix::Malformed)?;
        let Some(length) = length else { return Ok(Self::host(address)) };
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(InvalidPrefix::Malformed);
        }
        let too_long = InvalidPrefix::TooLong { family: Family::of(address) };
        let length = length.parse().map_err(|_| too_long)?;
        let prefix = Self::covering(address, length).ok_or(too_long)?;
        if prefix.address() == address { Ok(prefix) } else { Err(InvalidPrefix::HostBits(prefix)) }
    }
}

/// A set of lengths of prefixes, 1 to 128.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Lengths(u128);

impl Lengths {
    /// Puts a length in, or takes it out. 0 is none of them.
    pub(crate) fn set(&mut self, length: u8, is_in: bool) {
        let Some(bit) = length.checked_sub(1).and_then(|shift| 1_u128.checked_shl(shift.into())) else {
            return;
        };
        self.0 = if is_in { self.0 | bit } else { self.0 & !bit };
    }

    /// The lengths, the longest first.
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = u8::try_from(128 - rest.leading_zeros()).unwrap_or(0);
            rest &= !1_u128.checked_shl(u32::from(length.checked_sub(1)?)).unwrap_or(0);
            Some(length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_read_and_written() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.7/32", "::/0", "fd00:1::/64", "fe80::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("10.0.0.1"), prefix("10.0.0.1/32"));
        assert_eq!(prefix("fd00::1"), prefix("fd00::1/128"));
        assert_eq!(Prefix::all(Family::Ipv6), prefix("::/0"));
        assert_eq!(prefix("10.0.0.0/8").family().to_string(), "IPv4");
        assert_eq!(format!("{:?}", prefix("10.0.0.0/8")), "10.0.0.0/8");
        assert_eq!(Prefix::covering("10.1.2.3".parse().unwrap(), 16), Some(prefix("10.1.0.0/16")));
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_a_remedy() {
        for text in ["", "10.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "web", "/8", "10.0.0.0/0008"] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix::Malformed), "{text}");
        }
        for (text, family) in
            [("10.0.0.0/33", Family::Ipv4), ("::/129", Family::Ipv6), ("::/999", Family::Ipv6)]
        {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix::TooLong { family }), "{text}");
        }
        let wrong = "10.0.0.5/24".parse::<Prefix>().unwrap_err();
        assert!(wrong.to_string().ends_with("10.0.0.0/24 would be right"), "{wrong}");
        assert!("::1/127".parse::<Prefix>().is_err());
    }

    #[test]
    fn a_version_4_address_is_in_no_prefix_of_version_6() {
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(!prefix("10.0.0.0/8").contains(mapped));
        assert!(!prefix("::/0").contains("10.0.0.1".parse().unwrap()));
        assert_ne!(Prefix::all(Family::Ipv4).words(), Prefix::all(Family::Ipv6).words());
    }

    #[test]
    fn lengths_come_longest_first() {
        let mut lengths = Lengths::default();
        [0, 1, 24, 32, 128, 129, 255].iter().for_each(|length| lengths.set(*length, true));
        assert_eq!(lengths.iter().collect::<Vec<_>>(), [128, 32, 24, 1]);
        [0, 24, 7].iter().for_each(|length| lengths.set(*length, false));
        assert_eq!(lengths.iter().collect::<Vec<_>>(), [128, 32, 1]);
    }

    proptest! {
        #[test]
        fn a_prefix_holds_the_addresses_that_begin_as_it_does(bits: u128, other: u128, v4: bool, length in 0..=128_u8) {
            let make = |bits: u128| -> IpAddr {
                if v4 { Ipv4Addr::from((bits >> 96) as u32).into() } else { Ipv6Addr::from(bits).into() }
            };
            let length = if v4 { length.min(32) } else { length };
            let prefix = Prefix::covering(make(bits), length).unwrap();
            let text = |address: IpAddr| match address {
                IpAddr::V4(address) => format!("{:032b}", u32::from(address)),
                IpAddr::V6(address) => format!("{:0128b}", u128::from(address)),
            };
            for candidate in [bits, other, bits ^ 1 << 96, bits ^ (other & other >> 1 & other << 1)].map(make) {
                let same = text(candidate)[..length.into()] == text(make(bits))[..length.into()];
                prop_assert_eq!(prefix.contains(candidate), same);
                prop_assert_eq!(Prefix::host(candidate).shortened(length) == prefix, same);
            }
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }
}
