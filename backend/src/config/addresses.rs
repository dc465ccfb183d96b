//! Addresses, prefixes and ranges as they are written in a file.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::de::DeValue;
use viaduct_switch::security::{Family, Prefix};

use super::values;

/// The lengths that a subnet's prefix may have. One of IPv4 has room for a gateway and a station, and so has one of IPv6.
pub(super) const LENGTHS_V4: RangeInclusive<u8> = 8..=30;
pub(super) const LENGTHS_V6: RangeInclusive<u8> = 16..=126;

/// A subnet, and an address of the switch's own in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subnet {
    /// The switch's own address.
    pub address: IpAddr,
    /// All addresses of the subnet.
    pub prefix: Prefix,
}

impl fmt::Display for Subnet {
    /// As in a file: `10.0.0.1/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix.length())
    }
}

impl Subnet {
    /// The version of IP.
    #[must_use]
    pub fn family(&self) -> Family {
        self.prefix.family()
    }

    /// Whether a station of the subnet may have the address: neither the first one, which stands for the subnet (RFC 1812,
    /// 4.2.3.1) or for its routers (RFC 4291, 2.6.1), nor the last one of IPv4, which is for all.
    #[must_use]
    pub fn is_station(&self, address: IpAddr) -> bool {
        is_station_of(self.prefix, address)
    }

    /// The first and the last address of stations.
    #[must_use]
    pub fn stations(&self) -> (IpAddr, IpAddr) {
        let last = last_of(self.prefix);
        match (self.prefix.address(), last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (
                Ipv4Addr::from_bits(first.to_bits() + 1).into(),
                Ipv4Addr::from_bits(last.to_bits().saturating_sub(1)).into(),
            ),
            (IpAddr::V6(first), last) => (Ipv6Addr::from_bits(first.to_bits() | 1).into(), last),
            (first, last) => (first, last),
        }
    }
}

/// Whether a station of `prefix` may have the address.
fn is_station_of(prefix: Prefix, address: IpAddr) -> bool {
    let is_last = address.is_ipv4() && address == last_of(prefix);
    prefix.contains(address) && address != prefix.address() && !is_last
}

/// The highest address of a prefix.
pub(super) fn last_of(prefix: Prefix) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(first) => {
            let host_bits = u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            Ipv4Addr::from_bits(first.to_bits() | host_bits).into()
        }
        IpAddr::V6(first) => {
            let host_bits = u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            Ipv6Addr::from_bits(first.to_bits() | host_bits).into()
        }
    }
}

/// Whether two prefixes have an address in common.
pub(super) fn overlap(one: Prefix, other: Prefix) -> bool {
    one.contains(other.address()) || other.contains(one.address())
}

/// Whether the address can be that of one station on a network.
pub(crate) fn is_station(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    let is_mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || is_broadcast
        || is_mapped)
}

/// Whether packets to or from the address stay on their link (RFC 3927, RFC 4291, 2.5.6).
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The address of one station.
pub(super) fn address(value: &DeValue<'_>) -> Option<IpAddr> {
    values::text(value)?.parse().ok().filter(|address| is_station(*address))
}

/// The IPv4 address of one station.
pub(super) fn address_v4(value: &DeValue<'_>) -> Option<Ipv4Addr> {
    values::text(value)?.parse().ok().filter(|address: &Ipv4Addr| is_station((*address).into()))
}

/// The IPv6 address of one station.
pub(super) fn address_v6(value: &DeValue<'_>) -> Option<Ipv6Addr> {
    values::text(value)?.parse().ok().filter(|address: &Ipv6Addr| is_station((*address).into()))
}

/// `FIRST-LAST`, or `ONE`; the first is not above the last.
pub(super) fn range<T: FromStr + Copy + PartialOrd>(text: &str) -> Option<(T, T)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// A port, or a range of ports, from 1 to 65535: `80`, `8000-8010`.
pub(super) fn ports(text: &str) -> Option<(u16, u16)> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    range(text).filter(|(first, _)| is_plain && *first > 0)
}

/// `ADDRESS/LENGTH`. An address with bits behind the prefix is the switch's own; else its own is the first one, where
/// `first` says that there is such a default.
///
/// # Errors
/// What would be right.
pub(super) fn subnet(text: &str, first: bool) -> Result<Subnet, String> {
    let example = if first { "\"10.0.0.0/24\" or \"fd00:2::/64\"" } else { "\"192.168.99.108/24\"" };
    let malformed = || format!("an address and the length of its subnet's prefix in quotes, like {example}");
    let (written, length) = text.split_once('/').ok_or_else(malformed)?;
    let written: IpAddr = written.parse().map_err(|_| malformed())?;
    let is_number = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    let lengths = if written.is_ipv4() { LENGTHS_V4 } else { LENGTHS_V6 };
    let length: Option<u8> = length.parse().ok().filter(|length| is_number && lengths.contains(length));
    let too_long = || {
        let family = Family::of(written);
        format!("a prefix of {} to {} bits: a subnet of {family}", lengths.start(), lengths.end())
    };
    let prefix = length.and_then(|length| Prefix::covering(written, length)).ok_or_else(too_long)?;
    if !is_station(prefix.address()) || !is_station(written) || is_link_local(written) {
        return Err(
            "a subnet of addresses that stations may have: no link-local, loopback or multicast ones"
                .to_owned(),
        );
    }
    let (lowest, _) = Subnet { address: written, prefix }.stations();
    let address = if first && written == prefix.address() { lowest } else { written };
    let subnet = Subnet { address, prefix };
    if subnet.is_station(address) {
        return Ok(subnet);
    }
    Err(format!("the address of a station, such as \"{}\"", Subnet { address: lowest, prefix }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_subnets_own_address_is_the_first_unless_said() {
        for (text, address) in [
            ("10.0.0.0/24", "10.0.0.1"),
            ("10.0.0.254/24", "10.0.0.254"),
            ("10.0.0.4/30", "10.0.0.5"),
            ("fd00:2::/64", "fd00:2::1"),
            ("fd00:2::fe/64", "fd00:2::fe"),
        ] {
            let subnet = subnet(text, true).unwrap();
            assert_eq!(subnet.address.to_string(), address, "{text}");
        }
    }

    #[test]
    fn what_no_station_can_have_is_no_subnet() {
        for (text, remedy) in [
            ("10.0.0.0", "like \"10.0.0.0/24\""),
            ("10.0.0.0/", "8 to 30 bits"),
            ("10.0.0.0/+8", "8 to 30 bits"),
            ("10.0.0.0/31", "8 to 30 bits"),
            ("10.0.0.0/7", "8 to 30 bits"),
            ("fd00::/127", "16 to 126 bits"),
            ("10.0.0.255/24", "\"10.0.0.1/24\""),
            ("127.0.0.0/8", "no link-local"),
            ("224.0.0.0/8", "no link-local"),
            ("169.254.0.0/16", "no link-local"),
            ("fe80::/64", "no link-local"),
            ("0.0.0.0/8", "no link-local"),
            ("x/8", "like \"10.0.0.0/24\""),
        ] {
            let error = subnet(text, true).unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
        assert!(subnet("192.168.99.0/24", false).unwrap_err().contains("\"192.168.99.1/24\""));
    }

    #[test]
    fn ports_and_ranges_are_written_with_digits_alone() {
        assert_eq!(ports("80"), Some((80, 80)));
        assert_eq!(ports("8000-8010"), Some((8000, 8010)));
        for bad in ["", "0", "80-79", "65536", "+80", "80-", "-80", " 80", "80 - 90", "1-2-3"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_subnet_is_read_as_it_is_written(bits in any::<u32>(), length in LENGTHS_V4) {
            let text = format!("{}/{length}", Ipv4Addr::from_bits(bits));
            if let Ok(read) = subnet(&text, true) {
                prop_assert!(read.is_station(read.address));
                prop_assert_eq!(subnet(&read.to_string(), false), Ok(read));
                let (first, last) = read.stations();
                prop_assert!(first <= read.address && read.address <= last);
            }
        }

        #[test]
        fn anything_is_a_subnet_or_refused(text in "[0-9a-f:./]{0,24}") {
            let _ = (subnet(&text, true), ports(&text), range::<IpAddr>(&text));
        }
    }
}
