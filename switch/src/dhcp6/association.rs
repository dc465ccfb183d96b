//! Associations: what a client asks for, each known by a number of its own (RFC 8415, 12 and 21.4 to 21.6).

use std::net::Ipv6Addr;

use super::message::{Options, code};
use super::{Malformed, status};

/// The longest identifier of a client (DUID) in bytes (RFC 8415, 11.1).
pub const DUID_MAX: usize = 130;

/// The shortest: a type and a byte.
const DUID_MIN: usize = 3;

/// The most associations that are read of a message, and the most addresses of one.
const LIST_MAX: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssociationKind {
    /// An address.
    Address,
    /// A temporary address.
    Temporary,
    /// A prefix.
    Prefix,
}

impl AssociationKind {
    fn of(code: u16) -> Option<Self> {
        match code {
            code::IA_NA => Some(Self::Address),
            code::IA_TA => Some(Self::Temporary),
            code::IA_PD => Some(Self::Prefix),
            _ => None,
        }
    }

    fn code(self) -> u16 {
        match self {
            Self::Address => code::IA_NA,
            Self::Temporary => code::IA_TA,
            Self::Prefix => code::IA_PD,
        }
    }

    /// Bytes before an association's options: its number, and two times unless it is of temporary addresses.
    fn fixed(self) -> usize {
        if self == Self::Temporary { 4 } else { 12 }
    }

    /// Why there is none.
    pub(super) fn none(self) -> u16 {
        if self == Self::Prefix { status::NO_PREFIX } else { status::NO_ADDRESS }
    }
}

/// One thing that a client asks for, or is answered about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Association {
    /// What it is.
    pub kind: AssociationKind,
    /// The client's number for it (IAID).
    pub number: [u8; 4],
    /// The addresses that the client has, or wants. Of prefixes, none are read.
    pub addresses: Vec<Ipv6Addr>,
}

impl Association {
    /// All associations of a message.
    ///
    /// # Errors
    /// What is wrong with one.
    pub fn all(options: &Options) -> Result<Vec<Self>, Malformed> {
        let mut all = Vec::new();
        for (code, value) in options.iter() {
            let Some(kind) = AssociationKind::of(code) else { continue };
            if all.len() >= LIST_MAX {
                return Err(Malformed::TooMany { code, max: LIST_MAX });
            }
            all.push(Self::read(kind, value)?);
        }
        Ok(all)
    }

    fn read(kind: AssociationKind, value: &[u8]) -> Result<Self, Malformed> {
        let short = Malformed::OptionLength { code: kind.code(), length: value.len() };
        let (fixed, options) = value.split_at_checked(kind.fixed()).ok_or(short)?;
        let number = *fixed.first_chunk().ok_or(short)?;
        let options = Options::decode(options)?;
        let addresses = options.iter().filter(|(code, _)| *code == code::IA_ADDRESS);
        let addresses = addresses.map(|(_, value)| address(value)).collect::<Result<Vec<_>, _>>()?;
        if addresses.len() > LIST_MAX {
            return Err(Malformed::TooMany { code: code::IA_ADDRESS, max: LIST_MAX });
        }
        Ok(Self { kind, number, addresses })
    }

    /// The same association in an answer: when to renew it, and what is in it.
    pub(super) fn answer(&self, times: (u32, u32), within: &Options) -> (u16, Vec<u8>) {
        let mut value = self.number.to_vec();
        if self.kind != AssociationKind::Temporary {
            value.extend(times.0.to_be_bytes());
            value.extend(times.1.to_be_bytes());
        }
        value.extend(within.encode());
        (self.kind.code(), value)
    }
}

/// An address in an association; for how long a client would like it is not asked.
fn address(value: &[u8]) -> Result<Ipv6Addr, Malformed> {
    let short = Malformed::OptionLength { code: code::IA_ADDRESS, length: value.len() };
    let (address, rest) = value.split_first_chunk::<16>().ok_or(short)?;
    Options::decode(rest.get(8..).ok_or(short)?)?;
    Ok(Ipv6Addr::from(*address))
}

/// What a client is known by, if it says so.
pub(super) fn duid(options: &Options, code: u16) -> Result<Option<&[u8]>, Malformed> {
    let Some(duid) = options.get(code) else { return Ok(None) };
    let is_one = (DUID_MIN..=DUID_MAX).contains(&duid.len());
    if is_one { Ok(Some(duid)) } else { Err(Malformed::OptionLength { code, length: duid.len() }) }
}
