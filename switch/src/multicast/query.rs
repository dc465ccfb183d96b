//! What queriers ask: IGMP's queries (RFC 9776, 4.1 and 7.1; RFC 2236, 2; RFC 1112, appendix I) and MLD's (RFC 9777, 5.1 and 8.1;
//! RFC 2710, 3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::classify::{Family, IGMP};
use super::message::{address, be16, igmp_parts, is_on_link, mld_parts};
use crate::packet::{Icmp, Packet, Transport};

/// A query of either protocol.
pub(crate) const IGMP_QUERY: u8 = 0x11;
pub(crate) const MLD_QUERY: u8 = 130;

/// Router Alert in an IPv4 header (RFC 2113, 2.1).
pub(crate) const ROUTER_ALERT_V4: [u8; 4] = [0x94, 4, 0, 0];

/// Hosts of IGMPv1 answer within 10 s (RFC 2236, 4).
const RESPONSE_V1_MS: u32 = 10_000;

/// Which version of its protocol a querier or a host speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Version {
    /// IGMPv1: nobody tells that he leaves a group.
    Oldest,
    /// IGMPv2 or MLDv1.
    Older,
    /// IGMPv3 or MLDv2.
    Current,
}

/// What a querier asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query<'a> {
    /// How long the message is, and so what it can say.
    pub(crate) version: Version,
    /// The group that it is about; `None`: about all.
    pub(crate) group: Option<IpAddr>,
    /// Within which time hosts answer, in milliseconds.
    pub(crate) response_ms: u32,
    /// The querier's robustness variable: what may be lost, and one more. 0: it does not tell.
    pub(crate) robustness: u8,
    /// The addresses of the sources that it is about, one behind the other; none: about all.
    sources: &'a [u8],
}

impl Query<'_> {
    /// The sources that it is about; none: it is about all.
    pub(crate) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        let length = if self.group.is_some_and(|group| group.is_ipv4()) { 4 } else { 16 };
        self.sources.chunks_exact(length).filter_map(address)
    }

    /// The query in a whole frame without tags, as a host takes it that is a member of groups: to all stations about all groups, or to
    /// the one that it is about, from this link and with the Router Alert option (RFC 9776, 4; RFC 9777, 5), but for IGMPv1.
    /// All checksums must be there. `None`: it is none, or not for hosts.
    pub(crate) fn read(frame: &[u8], family: Family) -> Option<Query<'_>> {
        match family {
            Family::V4 => read_igmp(frame),
            Family::V6 => read_mld(frame),
        }
    }

    /// What an IGMP message of type [`IGMP_QUERY`] asks, wherever it came from; `None`: hosts ignore it.
    pub(super) fn of_igmp(message: &[u8]) -> Option<Query<'_>> {
        let group = Ipv4Addr::from(*message.get(4..)?.first_chunk::<4>()?);
        let group = (!group.is_unspecified()).then_some(IpAddr::from(group));
        let code = u32::from(*message.get(1)?);
        let query = |version, response_ms| Query { version, group, response_ms, robustness: 0, sources: &[] };
        // RFC 9776, 7.1: of 8 bytes, version 1 or 2; of 12 or more, version 3; hosts ignore all others.
        Some(match (message.len(), code) {
            (8, 0) if group.is_some() => return None,
            (8, 0) => query(Version::Oldest, RESPONSE_V1_MS),
            (8, _) => query(Version::Older, 100 * code),
            (12.., _) => {
                let sources = message.get(12..12 + 4 * usize::from(be16(message, 10)?))?;
                let newest = query(Version::Current, 100 * floating(code, 4));
                Query { robustness: message[8] & 7, sources, ..newest }
            }
            _ => return None,
        })
    }

    /// What an MLD message of type [`MLD_QUERY`] asks, wherever it came from; `None`: nodes ignore it.
    pub(super) fn of_mld(message: &[u8]) -> Option<Query<'_>> {
        let group = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
        let group = (!group.is_unspecified()).then_some(IpAddr::from(group));
        let code = u32::from(be16(message, 4)?);
        // RFC 9777, 8.1: of 24 bytes, version 1; of 28 or more, version 2; nodes ignore all others.
        match message.len() {
            24 => {
                Some(Query { version: Version::Older, group, response_ms: code, robustness: 0, sources: &[] })
            }
            28.. => {
                let sources = message.get(28..28 + 16 * usize::from(be16(message, 26)?))?;
                let (robustness, response_ms) = (message[24] & 7, floating(code, 12));
                Some(Query { version: Version::Current, group, response_ms, robustness, sources })
            }
            _ => None,
        }
    }

    /// Whether it is about everything: all groups and all sources.
    pub(super) fn is_general(&self) -> bool {
        self.group.is_none() && self.sources.is_empty()
    }

    /// Whether it came where hosts expect it. Sources make sense with a group only.
    fn is_to(&self, destination: IpAddr, all: IpAddr) -> bool {
        destination == self.group.unwrap_or(all) && (self.group.is_some() || self.sources.is_empty())
    }
}

fn read_igmp(frame: &[u8]) -> Option<Query<'_>> {
    let (header, message) = igmp_parts(frame)?;
    let query = Query::of_igmp(message).filter(|_| message[0] == IGMP_QUERY)?;
    let to = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let is_alert = query.version == Version::Oldest || is_alert(header);
    let is_right = header[8] == 1 && is_alert && query.is_to(to.into(), Ipv4Addr::new(224, 0, 0, 1).into());
    is_right.then_some(query)
}

fn read_mld(frame: &[u8]) -> Option<Query<'_>> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (header, options, message) = mld_parts(frame, false)?;
    let to = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
    let query = Query::of_mld(message).filter(|_| message[0] == MLD_QUERY)?;
    (is_on_link(header, options, message) && query.is_to(to.into(), ALL_NODES.into())).then_some(query)
}

/// Of which protocol the query is that a packet carries, if it carries one.
pub(crate) fn query_in(frame: &[u8], packet: &Packet) -> Option<Family> {
    match packet.transport {
        Transport::Icmp(Icmp { kind: MLD_QUERY, .. }) if !packet.source.is_v4() => Some(Family::V6),
        Transport::Other if packet.protocol == IGMP && packet.source.is_v4() => {
            let kind = frame.get(usize::from(packet.transport_at));
            (kind == Some(&IGMP_QUERY)).then_some(Family::V4)
        }
        _ => None,
    }
}

/// Whether an IPv4 header begins its options with Router Alert, as all do that send it.
pub(super) fn is_alert(header: &[u8]) -> bool {
    header.get(20..22) == Some(&ROUTER_ALERT_V4[..2])
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

#[cfg(test)]
mod tests;
