//! Names of domains and hosts, and lists of them as DHCP and router advertisements carry them (RFC 1035, 3.1 and 4.1.4).

use std::fmt;
use std::str::FromStr;

/// The longest label in bytes (RFC 1035, 2.3.4).
const LABEL_MAX: usize = 63;

/// The longest name in bytes, with lengths and the root (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;

/// The upper two bits of a length that make it a pointer (RFC 1035, 4.1.4).
const POINTER: u8 = 0xc0;

/// A name such as `home.lan`: labels of letters, digits, hyphens and underscores, not the root. Capitals count as small
/// letters (RFC 4343) and are written so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DomainName(String);

/// The text or the bytes are no name, or no list of names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a domain name is labels of 1 to 63 letters, digits, hyphens and underscores with dots between, at most 253 in all"
)]
pub struct InvalidName;

impl DomainName {
    /// The name as text, without a dot at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a host alone, or its first label.
    #[must_use]
    pub fn first_label(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }

    /// The name's bytes: each label behind its length, and the root.
    fn wire(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap_or(0));
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes
    }
}

impl FromStr for DomainName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_name = text.len() + 2 <= NAME_MAX && text.split('.').all(is_label);
        if is_name { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    matches!(label.len(), 1..=LABEL_MAX)
        && label.bytes().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A list without compression, as DHCPv6 and router advertisements have it (RFC 8415, 10; RFC 8106, 5.2).
#[must_use]
pub fn encode(names: &[DomainName]) -> Vec<u8> {
    names.iter().flat_map(DomainName::wire).collect()
}

/// A list in which the end of a name that came before is pointed to (RFC 3397, 2; RFC 1035, 4.1.4).
#[must_use]
pub fn encode_compressed(names: &[DomainName]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut known: Vec<(&str, u16)> = Vec::new();
    for name in names {
        let mut rest = name.as_str();
        loop {
            if let Some((_, at)) = known.iter().find(|(suffix, _)| *suffix == rest) {
                out.extend((at | u16::from(POINTER) << 8).to_be_bytes());
                break;
            }
            if let Ok(at) = u16::try_from(out.len())
                && at < u16::from(POINTER) << 6
            {
                known.push((rest, at));
            }
            let (label, behind) = rest.split_once('.').unwrap_or((rest, ""));
            out.push(u8::try_from(label.len()).unwrap_or(0));
            out.extend(label.bytes());
            if behind.is_empty() {
                out.push(0);
                break;
            }
            rest = behind;
        }
    }
    out
}

/// Reads a list, compressed or not. A pointer leads to where a label stood before, so that reading ends.
///
/// # Errors
/// [`InvalidName`] for anything that is no list of names.
pub fn decode(bytes: &[u8]) -> Result<Vec<DomainName>, InvalidName> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (name, end) = decode_one(bytes, at)?;
        names.push(name);
        at = end;
    }
    Ok(names)
}

/// As [`decode`], where nothing may be compressed.
///
/// # Errors
/// [`InvalidName`] for anything that is no list of names.
pub fn decode_plain(bytes: &[u8]) -> Result<Vec<DomainName>, InvalidName> {
    let names = decode(bytes)?;
    if encode(&names).len() == bytes.len() { Ok(names) } else { Err(InvalidName) }
}

/// The name at `start`, and where it ends.
fn decode_one(bytes: &[u8], start: usize) -> Result<(DomainName, usize), InvalidName> {
    let mut text = String::new();
    let (mut at, mut end, mut limit) = (start, None, start);
    loop {
        let &length = bytes.get(at).ok_or(InvalidName)?;
        match length {
            0 => break,
            1..=0x3f => {
                let label = bytes.get(at + 1..=at + usize::from(length)).ok_or(InvalidName)?;
                push_label(&mut text, label)?;
                at += 1 + usize::from(length);
            }
            POINTER.. => {
                let &low = bytes.get(at + 1).ok_or(InvalidName)?;
                end = end.or(Some(at + 2));
                at = usize::from(length & !POINTER) << 8 | usize::from(low);
                // Each pointer leads further back than the one before.
                if at >= limit {
                    return Err(InvalidName);
                }
                limit = at;
            }
            _ => return Err(InvalidName),
        }
    }
    Ok((text.parse()?, end.unwrap_or(at + 1)))
}

fn push_label(text: &mut String, label: &[u8]) -> Result<(), InvalidName> {
    let label = std::str::from_utf8(label).map_err(|_| InvalidName)?;
    if text.len() + label.len() + 2 > NAME_MAX || !is_label(label) {
        return Err(InvalidName);
    }
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(label);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(texts: &[&str]) -> Vec<DomainName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_example_of_rfc_3397_is_compressed_as_it_stands_there() {
        let list = names(&["eng.apple.com", "marketing.apple.com"]);
        let expected = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(encode_compressed(&list), expected);
        assert_eq!(decode(expected).unwrap(), list);
        assert_eq!(decode_plain(expected), Err(InvalidName));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        let overlong = vec!["a23456789"; 26].join(".");
        for text in ["", ".", "a..b", ".a", "-a", "a-", "a b", "a\u{e4}", &long, &overlong] {
            assert!(text.parse::<DomainName>().is_err(), "{text}");
        }
        assert_eq!("Home.LAN.".parse::<DomainName>().unwrap().as_str(), "home.lan");
    }

    #[test]
    fn pointers_that_lead_forward_to_themselves_or_in_circles_are_refused() {
        let bad: [&[u8]; 6] =
            [b"\xc0\x00", b"\x01a\xc0\x02", b"\x01a\xc0\x00", b"\xc0", b"\x40a", b"\x01a\xc0\x05\x01b\0"];
        for bytes in bad {
            assert_eq!(decode(bytes), Err(InvalidName), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_written(labels in proptest::collection::vec("[a-z0-9]{1,5}(\\.[a-c]{1,2}){0,5}", 0..60)) {
            let list: Vec<DomainName> = labels.iter().map(|text| text.parse().unwrap()).collect();
            prop_assert_eq!(&decode(&encode_compressed(&list)).unwrap(), &list);
            prop_assert_eq!(&decode_plain(&encode(&list)).unwrap(), &list);
            prop_assert!(encode_compressed(&list).len() <= encode(&list).len());
        }

        #[test]
        fn reading_anything_ends(bytes in proptest::collection::vec(prop_oneof![Just(0xc0), 0..4_u8, Just(b'a')], 0..80)) {
            let _ = decode(&bytes);
        }
    }
}
