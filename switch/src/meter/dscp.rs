//! The field of differentiated services in a frame (RFC 2474, 3): six bits of the octet that once was TOS or traffic class, beside
//! two for congestion (RFC 3168, 5).

use std::fmt;
use std::str::FromStr;

use super::plan::Colour;
use crate::offload::checksum::fold;
use crate::vlan::{TAG_LEN, TYPE_FIELD, is_tag_at, type_at};

/// The type field of IPv4 and IPv6.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Names of code points, beside `cs0` to `cs7` and `af11` to `af43`.
const NAMES: [(&str, u8); 5] = [("default", 0), ("be", 0), ("le", 1), ("va", 44), ("ef", 46)];

/// A code point of differentiated services, from 0 to 63.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Dscp(u8);

impl Dscp {
    /// The highest code point.
    pub const MAX: u8 = 63;

    /// Lower effort (RFC 8622): behind everything else.
    pub const LOWER_EFFORT: Self = Self(1);

    /// The code point of this number; `None` above [`Dscp::MAX`].
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// That of a frame of IP, whose head begins with its Ethernet header; `None` if it is none, or the head is cut.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        Some(Self(traffic_class(head)? >> 2))
    }

    /// Writes it into a frame of IP, with the checksum of an IPv4 header kept as right or wrong as it was; says whether it is one.
    pub fn write(self, head: &mut [u8]) -> bool {
        rewrite(head, |class| self.0 << 2 | class & 3)
    }

    /// The colour with which a frame of this code point comes (RFC 2597, 6): its class's drop precedence.
    #[must_use]
    pub fn colour(self) -> Colour {
        let is_assured = matches!(self.0 >> 3, 1..=4);
        match self.0 & 7 {
            4 if is_assured => Colour::Yellow,
            6 if is_assured => Colour::Red,
            _ => Colour::Green,
        }
    }
}

impl fmt::Display for Dscp {
    /// Its name, or its number if it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, rest) = (self.0 >> 3, self.0 & 7);
        match (NAMES.iter().rev().find(|(_, number)| *number == self.0 && self.0 != 0), rest) {
            (Some((name, _)), _) => f.write_str(name),
            (None, 0) => write!(f, "cs{class}"),
            (None, 2 | 4 | 6) if matches!(class, 1..=4) => write!(f, "af{class}{}", rest / 2),
            (None, _) => write!(f, "{}", self.0),
        }
    }
}

/// There is no such code point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a DSCP: a number from 0 to 63, or a name like cs1, af41, ef, le or default")]
pub struct InvalidDscp;

impl FromStr for Dscp {
    type Err = InvalidDscp;

    fn from_str(text: &str) -> Result<Self, InvalidDscp> {
        if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*number));
        }
        let number = match text.as_bytes() {
            [b'c', b's', class @ b'0'..=b'7'] => Some((class - b'0') << 3),
            [b'a', b'f', class @ b'1'..=b'4', drop @ b'1'..=b'3'] => {
                Some((class - b'0') << 3 | (drop - b'0') << 1)
            }
            [b'0'..=b'9', ..] => text.parse().ok(),
            _ => None,
        };
        number.and_then(Self::new).ok_or(InvalidDscp)
    }
}

/// Where the packet of IP begins in a frame, and of which version it is.
fn network(head: &[u8]) -> Option<(usize, [u8; 2])> {
    let mut at = TYPE_FIELD;
    // As many as there are: stations may have tags of their own behind those of the switch.
    while is_tag_at(head, at) {
        at += TAG_LEN;
    }
    Some((at + 2, type_at(head, at)?))
}

/// The octet of traffic class, or TOS, of a frame of IP; `None` if it is none, or the head is cut before it.
#[must_use]
pub fn traffic_class(head: &[u8]) -> Option<u8> {
    let (at, kind) = network(head)?;
    let &[first, second] = head.get(at..at + 2)?.first_chunk::<2>()?;
    match (kind, first >> 4) {
        (IPV4, 4) => Some(second),
        (IPV6, 6) => Some(first << 4 | second >> 4),
        _ => None,
    }
}

/// Rewrites the octet of traffic class, or TOS, of a frame of IP, with the checksum of an IPv4 header kept as right or wrong as it
/// was (RFC 1624); says whether it is one, and its head is not cut.
pub fn rewrite(head: &mut [u8], change: impl FnOnce(u8) -> u8) -> bool {
    let (Some((at, kind)), Some(class)) = (network(head), traffic_class(head)) else { return false };
    let new = change(class);
    let Some(packet) = head.get_mut(at..) else { return false };
    if kind == IPV6 {
        packet[0] = packet[0] & 0xf0 | new >> 4;
        packet[1] = packet[1] & 0x0f | new << 4;
        return true;
    }
    let Some(checksum) = packet.get(10..12).and_then(|bytes| bytes.first_chunk::<2>()) else { return false };
    let sum = u64::from(!u16::from_be_bytes(*checksum)) + u64::from(!u16::from(class)) + u64::from(new);
    packet[10..12].copy_from_slice(&(!fold(sum)).to_be_bytes());
    packet[1] = new;
    true
}
