//! IGMP and MLD messages: IGMPv1 (RFC 1112), IGMPv2 (RFC 2236), IGMPv3 (RFC 9776), MLDv1 (RFC 2710) and
//! MLDv2 (RFC 9777).
//!
//! A message is checked as a whole before anything in it counts: headers, lengths and checksums (RFC 4541,
//! 2.1.1, 5). Source lists are passed over, as a switch that forwards by group may (RFC 4541, 2.1.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::classify::{ETHERNET, Family, ICMPV6};
use crate::offload::checksum::{fold, sum};

/// The message is cut, contradicts itself, or fails its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message<'a> {
    /// A querier asks all hosts for all their groups, and they answer within this time.
    GeneralQuery {
        /// In seconds, rounded up.
        response_s: u32,
    },
    /// Hosts may answer, but not all about all groups.
    OtherQuery,
    /// A host says which groups it joins and leaves.
    Report(Records<'a>),
    /// A type that we do not know.
    Unknown,
}

/// What a host says about a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It wants the group's packets, all of them or those of some sources.
    Join,
    /// It wants none any more.
    Leave,
}

/// What a report says, group by group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Records<'a> {
    /// The one group of an old report.
    single: Option<(IpAddr, Change)>,
    /// The records of a new one, checked.
    rest: &'a [u8],
    left: u16,
    /// The length in bytes of an address.
    address: usize,
}

impl<'a> Records<'a> {
    fn of_one(group: IpAddr, change: Change) -> Self {
        Self { single: Some((group, change)), rest: &[], left: 0, address: 4 }
    }

    /// `count` records of the same layout in both protocols (RFC 9776, 4.2 and RFC 9777, 5.2); all must be there.
    fn of_many(rest: &'a [u8], count: u16, address: usize) -> Result<Self, Malformed> {
        let mut all = Self { single: None, rest, left: count, address };
        let records = all.clone();
        while all.left > 0 {
            all.step().ok_or(Malformed)?;
        }
        Ok(records)
    }

    /// Takes the next record: its group, if it has a valid one, and what it says, if that is known.
    fn step(&mut self) -> Option<Option<(IpAddr, Change)>> {
        self.left = self.left.checked_sub(1)?;
        let &[kind, auxiliary, high, low] = self.rest.first_chunk()?;
        let sources = usize::from(u16::from_be_bytes([high, low]));
        let group = self.rest.get(4..4 + self.address)?;
        let length = 4 + self.address * (1 + sources) + 4 * usize::from(auxiliary);
        self.rest = self.rest.get(length..)?;
        let change = match (kind, sources) {
            // MODE_IS_INCLUDE and CHANGE_TO_INCLUDE_MODE: from these sources; from none is a leave.
            (3, 0) => Some(Change::Leave),
            (1 | 3, 1..) => Some(Change::Join),
            // MODE_IS_EXCLUDE, CHANGE_TO_EXCLUDE_MODE and ALLOW_NEW_SOURCES.
            (2 | 4, _) | (5, 1..) => Some(Change::Join),
            // BLOCK_OLD_SOURCES: others may be left, so the membership ends by its time.
            _ => None,
        };
        Some(change.zip(address(group)).map(|(change, group)| (group, change)))
    }
}

impl Iterator for Records<'_> {
    type Item = (IpAddr, Change);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(single) = self.single.take() {
            return Some(single);
        }
        while self.left > 0 {
            if let Some(record) = self.step()? {
                return Some(record);
            }
        }
        None
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|&octets| Ipv4Addr::from(octets).into()),
        _ => bytes.first_chunk::<16>().map(|&octets| Ipv6Addr::from(octets).into()),
    }
}

/// Reads the message in a whole frame, which was classified as control of this family. `is_summed` says that
/// the sender left the checksum to be computed.
pub(crate) fn parse(frame: &[u8], family: Family, is_summed: bool) -> Result<Message<'_>, Malformed> {
    match family {
        Family::V4 => parse_igmp(frame),
        Family::V6 => parse_mld(frame, is_summed),
    }
    .ok_or(Malformed)?
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&pair| u16::from_be_bytes(pair))
}

/// `None` where something is cut or wrong, as in all that follows.
fn parse_igmp(frame: &[u8]) -> Option<Result<Message<'_>, Malformed>> {
    let packet = frame.get(ETHERNET..)?;
    let header_length = 4 * usize::from(packet.first()? & 0xf);
    let header = packet.get(..header_length).filter(|header| header.len() >= 20)?;
    let message = packet.get(header_length..usize::from(be16(packet, 2)?))?;
    // RFC 791, 3.1: more fragments, or an offset; IGMP messages are never fragmented.
    let is_fragment = be16(header, 6)? & 0x3fff != 0;
    if is_fragment || message.len() < 8 || [header, message].iter().any(|part| fold(sum(part)) != 0xffff) {
        return None;
    }
    let group = Ipv4Addr::from(*message.get(4..)?.first_chunk::<4>()?);
    let one = |change| Ok(Message::Report(Records::of_one(group.into(), change)));
    Some(match message[0] {
        0x11 => Ok(igmp_query(frame, header, message, group)),
        0x12 | 0x16 => one(Change::Join),
        0x17 => one(Change::Leave),
        0x22 => Records::of_many(message.get(8..)?, be16(message, 6)?, 4).map(Message::Report),
        _ => Ok(Message::Unknown),
    })
}

/// A general query counts only if every host on the link takes it: else a switch would wait in vain for the
/// reports of those who did not. So it must come to all hosts, by their address on both layers, from a
/// router's own address (RFC 4541, 2.1.1, 1: not from 0.0.0.0), on this link only, and with the Router Alert
/// option that hosts ask of all but IGMPv1 (RFC 9776, 4).
fn igmp_query<'a>(frame: &[u8], header: &[u8], message: &[u8], group: Ipv4Addr) -> Message<'a> {
    let to_all = frame.starts_with(&[0x01, 0x00, 0x5e, 0, 0, 1]) && header[16..20] == [224, 0, 0, 1];
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let is_station = !source.is_unspecified() && !source.is_multicast() && !source.is_loopback();
    let is_alert = (message.len(), message[1]) == (8, 0) || header.get(20..22) == Some(&[0x94, 4]);
    if !(to_all && is_station && is_alert && header[8] == 1 && group.is_unspecified()) {
        return Message::OtherQuery;
    }
    // RFC 9776, 7.1: of 8 bytes, version 1 or 2; of 12 or more, version 3; hosts ignore all others.
    let tenths = match (message.len(), message[1]) {
        (8, 0) => 100, // RFC 2236, 4: hosts of version 1 answer within 10 s.
        (8, code) => u32::from(code),
        (12.., code) if message[10..12] == [0, 0] => floating(u32::from(code), 4),
        _ => return Message::OtherQuery,
    };
    Message::GeneralQuery { response_s: tenths.div_ceil(10) }
}

/// A code whose upper half of the values is a number with exponent: 3 bits of exponent above `bits` bits of
/// mantissa, below a bit that is set (RFC 9776, 4.1.1 and RFC 9777, 5.1.3).
fn floating(code: u32, bits: u32) -> u32 {
    if code < 1 << (bits + 3) {
        return code;
    }
    let (exponent, mantissa) = ((code >> bits) & 7, code & ((1 << bits) - 1));
    (mantissa | 1 << bits) << (exponent + 3)
}

fn parse_mld(frame: &[u8], is_summed: bool) -> Option<Result<Message<'_>, Malformed>> {
    let packet = frame.get(ETHERNET..)?;
    let header = packet.first_chunk::<40>()?;
    let payload = packet.get(40..40 + usize::from(be16(header, 4)?))?;
    let options = payload.get(..8 * (1 + usize::from(*payload.get(1)?)))?;
    let message = payload.get(options.len()..).filter(|message| message.len() >= 8)?;
    if !is_summed && !is_sum_right(header, message) {
        return None;
    }
    let source = Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?);
    // RFC 9777, 5: link-local source, hop limit 1, Router Alert. RFC 3590, 4: a report may come from ::.
    let is_own = source.is_unicast_link_local() || (source.is_unspecified() && message[0] != 130);
    if !is_own || header[7] != 1 || options.get(2..6) != Some(&[5, 2, 0, 0]) {
        return Some(Ok(Message::Unknown));
    }
    if message[0] == 143 {
        return Some(Records::of_many(message.get(8..)?, be16(message, 6)?, 16).map(Message::Report));
    }
    let group = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    let one = |change| Message::Report(Records::of_one(group.into(), change));
    Some(Ok(match message[0] {
        130 => mld_query(frame, header, message, group)?,
        131 => one(Change::Join),
        132 => one(Change::Leave),
        _ => Message::Unknown,
    }))
}

/// As [`igmp_query`]: it must come to all nodes. What else RFC 9777, 5.1 asks was seen to.
fn mld_query<'a>(frame: &[u8], header: &[u8; 40], message: &[u8], group: Ipv6Addr) -> Option<Message<'a>> {
    const ALL_NODES: [u8; 16] = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let to_all = frame.starts_with(&[0x33, 0x33, 0, 0, 0, 1]) && header[24..] == ALL_NODES;
    if !(to_all && group.is_unspecified()) {
        return Some(Message::OtherQuery);
    }
    let code = u32::from(be16(message, 4)?);
    // RFC 9777, 8.1: of 24 bytes, version 1; of 28 or more, version 2; nodes ignore all others.
    let response_ms = match message.len() {
        24 => code,
        28.. if message[26..28] == [0, 0] => floating(code, 12),
        _ => return Some(Message::OtherQuery),
    };
    Some(Message::GeneralQuery { response_s: response_ms.div_ceil(1000) })
}

/// The checksum of RFC 4443, 2.3, with the pseudo-header of RFC 8200, 8.1.
fn is_sum_right(header: &[u8; 40], message: &[u8]) -> bool {
    let pseudo_header = sum(&header[8..]) + message.len() as u64 + u64::from(ICMPV6);
    fold(pseudo_header + sum(message)) == 0xffff
}

#[cfg(test)]
mod tests;
