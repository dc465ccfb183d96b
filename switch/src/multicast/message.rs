//! IGMP and MLD messages: IGMPv1 (RFC 1112), IGMPv2 (RFC 2236), IGMPv3 (RFC 9776), MLDv1 (RFC 2710) and
//! MLDv2 (RFC 9777).
//!
//! A message is checked as a whole before anything in it counts: headers, lengths and checksums (RFC 4541,
//! 2.1.1, 5). Source lists are passed over, as a switch that forwards by group may (RFC 4541, 2.1.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::classify::{ETHERNET, Family, HOP_BY_HOP, ICMPV6};
use super::query::{IGMP_QUERY, MLD_QUERY, Query, Version, is_alert};
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

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
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

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&pair| u16::from_be_bytes(pair))
}

/// The header and the message of an IGMP packet in a frame; `None` where something is cut or wrong, as in all that follows.
pub(super) fn igmp_parts(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let packet = frame.get(ETHERNET..)?;
    let header_length = 4 * usize::from(packet.first()? & 0xf);
    let header = packet.get(..header_length).filter(|header| header.len() >= 20)?;
    let message = packet.get(header_length..usize::from(be16(packet, 2)?))?;
    // RFC 791, 3.1: more fragments, or an offset; IGMP messages are never fragmented.
    let is_fragment = be16(header, 6)? & 0x3fff != 0;
    let is_right = [header, message].iter().all(|part| fold(sum(part)) == 0xffff);
    (!is_fragment && message.len() >= 8 && is_right).then_some((header, message))
}

fn parse_igmp(frame: &[u8]) -> Option<Result<Message<'_>, Malformed>> {
    let (header, message) = igmp_parts(frame)?;
    let group = Ipv4Addr::from(*message.get(4..)?.first_chunk::<4>()?);
    let one = |change| Ok(Message::Report(Records::of_one(group.into(), change)));
    Some(match message[0] {
        IGMP_QUERY => Ok(igmp_query(frame, header, message)),
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
fn igmp_query<'a>(frame: &[u8], header: &[u8], message: &'a [u8]) -> Message<'a> {
    let to_all = frame.starts_with(&[0x01, 0x00, 0x5e, 0, 0, 1]) && header[16..20] == [224, 0, 0, 1];
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let is_station = !source.is_unspecified() && !source.is_multicast() && !source.is_loopback();
    let Some(query) = Query::of_igmp(message).filter(Query::is_general) else { return Message::OtherQuery };
    if !(to_all && is_station && (query.version == Version::Oldest || is_alert(header)) && header[8] == 1) {
        return Message::OtherQuery;
    }
    Message::GeneralQuery { response_s: query.response_ms.div_ceil(1000) }
}

/// The header, the hop-by-hop options and the message of an MLD packet in a frame.
pub(super) fn mld_parts(frame: &[u8], is_summed: bool) -> Option<(&[u8; 40], &[u8], &[u8])> {
    let packet = frame.get(ETHERNET..)?;
    let header = packet.first_chunk::<40>()?;
    let payload = packet.get(40..40 + usize::from(be16(header, 4)?))?;
    let options = payload.get(..8 * (1 + usize::from(*payload.get(1)?)))?;
    let message = payload.get(options.len()..).filter(|message| message.len() >= 8)?;
    let is_mld = (header[6], payload[0]) == (HOP_BY_HOP, ICMPV6);
    (is_mld && (is_summed || is_sum_right(header, message))).then_some((header, options, message))
}

/// RFC 9777, 5: link-local source, hop limit 1, Router Alert. RFC 3590, 4: a report may come from ::.
pub(super) fn is_on_link(header: &[u8; 40], options: &[u8], message: &[u8]) -> bool {
    let source = header[8..].first_chunk::<16>().map_or(Ipv6Addr::LOCALHOST, |&source| source.into());
    let is_own = source.is_unicast_link_local() || (source.is_unspecified() && message[0] != MLD_QUERY);
    is_own && header[7] == 1 && options.get(2..6) == Some(&[5, 2, 0, 0])
}

fn parse_mld(frame: &[u8], is_summed: bool) -> Option<Result<Message<'_>, Malformed>> {
    let (header, options, message) = mld_parts(frame, is_summed)?;
    if !is_on_link(header, options, message) {
        return Some(Ok(Message::Unknown));
    }
    if message[0] == 143 {
        return Some(Records::of_many(message.get(8..)?, be16(message, 6)?, 16).map(Message::Report));
    }
    let group = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    let one = |change| Message::Report(Records::of_one(group.into(), change));
    Some(Ok(match message[0] {
        MLD_QUERY => mld_query(frame, header, message),
        131 => one(Change::Join),
        132 => one(Change::Leave),
        _ => Message::Unknown,
    }))
}

/// As [`igmp_query`]: it must come to all nodes. What else RFC 9777, 5.1 asks was seen to.
fn mld_query<'a>(frame: &[u8], header: &[u8; 40], message: &'a [u8]) -> Message<'a> {
    const ALL_NODES: [u8; 16] = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let to_all = frame.starts_with(&[0x33, 0x33, 0, 0, 0, 1]) && header[24..] == ALL_NODES;
    match Query::of_mld(message).filter(|query| to_all && query.is_general()) {
        Some(query) => Message::GeneralQuery { response_s: query.response_ms.div_ceil(1000) },
        None => Message::OtherQuery,
    }
}

/// The checksum of RFC 4443, 2.3, with the pseudo-header of RFC 8200, 8.1.
fn is_sum_right(header: &[u8; 40], message: &[u8]) -> bool {
    let pseudo_header = sum(&header[8..]) + message.len() as u64 + u64::from(ICMPV6);
    fold(pseudo_header + sum(message)) == 0xffff
}

#[cfg(test)]
mod tests;
