//! Routes to prefixes of any length (RFC 3442).

use std::net::Ipv4Addr;

use super::Malformed;
use super::options::code;

/// A way to a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The prefix' first address: bits behind the prefix are zero.
    pub destination: Ipv4Addr,
    /// The prefix' length, 0 to 32.
    pub prefix: u8,
    /// The router; unspecified: the destination is on the link (RFC 3442, "Local Subnet Routes").
    pub router: Ipv4Addr,
}

/// The mask of a prefix of 0 to 32 bits.
#[must_use]
pub fn mask(prefix: u8) -> Ipv4Addr {
    let host_bits = 32 - u32::from(prefix.min(32));
    u32::MAX.checked_shl(host_bits).unwrap_or(0).into()
}

/// The prefix length of a mask whose ones stand before its zeroes.
#[must_use]
pub fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    let is_mask = bits.count_ones() == ones;
    if is_mask { u8::try_from(ones).ok() } else { None }
}

/// The option's bytes: of each destination only the bytes that its prefix covers.
#[must_use]
pub fn encode(routes: &[Route]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for route in routes {
        bytes.push(route.prefix);
        bytes.extend(&route.destination.octets()[..usize::from(route.prefix.min(32)).div_ceil(8)]);
        bytes.extend(route.router.octets());
    }
    bytes
}

/// Reads the option. Bits of a destination behind its prefix are taken as zero (RFC 3442, "DHCP Client Behavior").
///
/// # Errors
/// [`Malformed::OptionLength`] if it is empty or ends within a route, [`Malformed::OptionValue`] if a prefix is longer than
/// 32 bits.
pub fn decode(bytes: &[u8]) -> Result<Vec<Route>, Malformed> {
    let cut = Malformed::OptionLength { code: code::CLASSLESS_ROUTES, length: bytes.len() };
    let mut routes = Vec::new();
    let mut rest = bytes;
    while let Some((&prefix, behind)) = rest.split_first() {
        if prefix > 32 {
            return Err(Malformed::OptionValue { code: code::CLASSLESS_ROUTES });
        }
        let (significant, behind) = behind.split_at_checked(usize::from(prefix).div_ceil(8)).ok_or(cut)?;
        let (router, behind) = behind.split_first_chunk::<4>().ok_or(cut)?;
        let mut octets = [0; 4];
        octets[..significant.len()].copy_from_slice(significant);
        let destination = Ipv4Addr::from(octets) & mask(prefix);
        routes.push(Route { destination, prefix, router: Ipv4Addr::from(*router) });
        rest = behind;
    }
    if routes.is_empty() { Err(cut) } else { Ok(routes) }
}
