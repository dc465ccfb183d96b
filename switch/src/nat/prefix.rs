//! Prefixes of IPv6 that appear as others, without state and without a change to any checksum (RFC 6296).

use super::settings::{NatError, PrefixNat};
use crate::ids::NetworkIndex;
use crate::packet::Address;
use crate::security::{Family, Prefix};

/// The longest prefix: behind it must be a word of 16 bits for the checksum's sake.
const LENGTH_MAX: u8 = 112;

/// A prefix that appears as another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PrefixTranslation {
    pub(crate) inside: NetworkIndex,
    pub(crate) outside: NetworkIndex,
    pub(crate) inner: Prefix,
    pub(crate) outer: Prefix,
    mask: u128,
    /// What is added to a word of the rest, in ones' complement, on the way out.
    adjustment: u16,
}

impl PrefixTranslation {
    pub(super) fn compile(settings: &PrefixNat) -> Result<Self, NatError> {
        let PrefixNat { inside, inner, outside, outer } = *settings;
        let is_v6 = [inner, outer].iter().all(|prefix| prefix.family() == Family::Ipv6);
        if !is_v6 || inner.length() != outer.length() || inner.length() > LENGTH_MAX {
            return Err(NatError::BadPrefixes { inner, outer });
        }
        if inside == outside {
            return Err(NatError::OutsideIsInside(inside));
        }
        let mask = u128::MAX.checked_shl(128 - u32::from(inner.length())).unwrap_or(0);
        let sum_of = |prefix: Prefix| sum(Address::from(prefix.address()).to_bits());
        let adjustment = add(sum_of(inner), !sum_of(outer));
        Ok(Self { inside, outside, inner, outer, mask, adjustment })
    }

    /// The outer address of a station; `None`: it has none (RFC 6296, 3.5).
    #[inline]
    pub(crate) fn out(&self, address: Address) -> Option<Address> {
        self.translate(address, self.inner, self.outer, self.adjustment)
    }

    /// The station of an outer address.
    #[inline]
    pub(crate) fn back(&self, address: Address) -> Option<Address> {
        self.translate(address, self.outer, self.inner, !self.adjustment)
    }

    fn translate(&self, address: Address, from: Prefix, to: Prefix, adjustment: u16) -> Option<Address> {
        let bits = address.to_bits();
        if bits & self.mask != Address::from(from.address()).to_bits() {
            return None;
        }
        let translated = Address::from(to.address()).to_bits() | bits & !self.mask;
        adjust(translated, to.length(), adjustment).map(Address::from_bits)
    }
}

/// Adds to the first word behind the prefix that can take it: bits 48 to 63 for short prefixes, else the first of the
/// interface's identifier that is not all ones (RFC 6296, 3.4 and 3.5).
fn adjust(bits: u128, length: u8, adjustment: u16) -> Option<u128> {
    let word = |number: u32| u16::try_from(bits >> (112 - 16 * number) & 0xffff).unwrap_or(0);
    let number = if length <= 48 {
        3
    } else {
        (4..8).find(|&number| {
            length <= 64.max(u8::try_from(number * 16).unwrap_or(u8::MAX)) && word(number) != 0xffff
        })?
    };
    if word(number) == 0xffff {
        return None;
    }
    // Zero has two forms, of which all ones is never used (RFC 6296, 3.4).
    let changed = match add(word(number), adjustment) {
        0xffff => 0,
        other => other,
    };
    let shift = 112 - 16 * number;
    Some(bits & !(0xffff << shift) | u128::from(changed) << shift)
}

/// The sum of an address's words in ones' complement.
fn sum(bits: u128) -> u16 {
    (0..8).fold(0, |sum, word| add(sum, u16::try_from(bits >> (16 * word) & 0xffff).unwrap_or(0)))
}

/// Addition in ones' complement.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carries) = a.overflowing_add(b);
    sum + u16::from(carries)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn translation(inner: &str, outer: &str) -> PrefixTranslation {
        let network = |index| NetworkIndex::new(index).unwrap();
        let (inner, outer) = (inner.parse().unwrap(), outer.parse().unwrap());
        let settings = PrefixNat { inside: network(0), inner, outside: network(1), outer };
        PrefixTranslation::compile(&settings).unwrap()
    }

    fn address(text: &str) -> Address {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn the_example_of_the_standard_comes_out() {
        // RFC 6296, 3.6 (appendix of examples): fd01:203:405::/48 to 2001:db8:1::/48.
        let prefix = translation("fd01:203:405::/48", "2001:db8:1::/48");
        let (inner, outer) = (address("fd01:203:405:1::1234"), address("2001:db8:1:d550::1234"));
        assert_eq!(prefix.out(inner), Some(outer));
        assert_eq!(prefix.back(outer), Some(inner));
        assert_eq!(prefix.out(address("fd01:203:406:1::1234")), None);
        assert_eq!(prefix.out(address("fd01:203:405:ffff::1")), None, "a word of ones takes nothing");
    }

    proptest! {
        #[test]
        fn it_comes_back_and_changes_no_checksum(
            length in 1..=112_u8,
            ends in any::<[u128; 3]>(),
        ) {
            let [inner, outer, host] = ends.map(Ipv6Addr::from_bits);
            let [inner, outer] = [inner, outer].map(|end| Prefix::covering(end.into(), length).unwrap().to_string());
            let prefix = translation(&inner, &outer);
            let mask = u128::MAX << (128 - u32::from(length));
            let station = Address::from_bits(Address::from(prefix.inner.address()).to_bits() | host.to_bits() & !mask);
            if let Some(out) = prefix.out(station) {
                prop_assert_eq!(sum(out.to_bits()) % 0xffff, sum(station.to_bits()) % 0xffff);
                prop_assert_eq!(prefix.back(out), Some(station));
                prop_assert!(prefix.outer.contains(out.into()));
            }
        }
    }
}
