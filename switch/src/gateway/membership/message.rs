//! What is said about groups, as frames.

use super::ALL_ROUTERS;
use super::host::{Record, Said};
use crate::gateway::compose::{self, Header, NETWORK_CONTROL};
use crate::mac::MacAddress;
use crate::multicast::{IGMP, Version};
use crate::offload::checksum::{fold, sum};
use crate::packet::{Address, number};

/// Who hears reports of the current versions (RFC 9776, 4.2.14; RFC 9777, 5.2.14).
pub(super) const REPORTS_V4: Address = Address::from_v4([224, 0, 0, 22]);
pub(super) const REPORTS_V6: Address = Address::from_bits(0xff02 << 112 | 0x16);

/// Who hears that a host leaves a group: all routers (RFC 2236, 3; RFC 2710, 4).
const ROUTERS_V4: Address = Address::from_v4([224, 0, 0, 2]);

/// Types of messages: RFC 9776, 4 and RFC 9777, 5.
const IGMP_REPORT: u8 = 0x22;
const IGMP_OLDER_REPORT: u8 = 0x16;
const IGMP_OLDEST_REPORT: u8 = 0x12;
const IGMP_LEAVE: u8 = 0x17;
const MLD_REPORT: u8 = 143;
const MLD_OLDER_REPORT: u8 = 131;
const MLD_LEAVE: u8 = 132;

/// The frame that says it: from this station to whom it is for, no further than the link, with the Router Alert option.
pub(super) fn frame(mac: MacAddress, source: Address, said: &Said) -> Vec<u8> {
    let is_v4 = source.is_v4();
    let destination = match (said, is_v4) {
        (Said::Report(_), true) => REPORTS_V4,
        (Said::Report(_), false) => REPORTS_V6,
        (Said::OldReport(_, group), _) => *group,
        (Said::OldLeave(_), true) => ROUTERS_V4,
        (Said::OldLeave(_), false) => ALL_ROUTERS,
    };
    let message = if is_v4 { igmp(said) } else { mld((source, destination), said) };
    let header = Header {
        source,
        destination,
        protocol: if is_v4 { IGMP } else { number::ICMPV6 },
        hop_limit: 1,
        traffic_class: NETWORK_CONTROL,
        id: None,
    };
    compose::frame(mac, compose::group_mac(destination), &compose::alerting_packet(&header, &message))
}

fn igmp(said: &Said) -> Vec<u8> {
    let old = |kind: u8, group: Address| {
        let mut message = vec![kind, 0, 0, 0];
        compose::put_address(&mut message, group);
        message
    };
    let mut message = match said {
        Said::Report(records) => {
            [&[IGMP_REPORT, 0, 0, 0][..], &[0, 0], &count(records.len()), &bytes(records)].concat()
        }
        Said::OldReport(Version::Oldest, group) => old(IGMP_OLDEST_REPORT, *group),
        Said::OldReport(_, group) => old(IGMP_OLDER_REPORT, *group),
        Said::OldLeave(group) => old(IGMP_LEAVE, *group),
    };
    let checksum = !fold(sum(&message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

fn mld(ends: (Address, Address), said: &Said) -> Vec<u8> {
    let old = |kind: u8, group: Address| {
        let mut body = Vec::with_capacity(16);
        compose::put_address(&mut body, group);
        compose::icmp(ends, [kind, 0], [0; 4], &body)
    };
    match said {
        Said::Report(records) => {
            let [high, low] = count(records.len());
            compose::icmp(ends, [MLD_REPORT, 0], [0, 0, high, low], &bytes(records))
        }
        Said::OldReport(_, group) => old(MLD_OLDER_REPORT, *group),
        Said::OldLeave(group) => old(MLD_LEAVE, *group),
    }
}

/// RFC 9776, 4.2.3 and RFC 9777, 5.2.3: the same but for the addresses' length.
fn bytes(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Record { kind, group, sources } in records {
        bytes.extend([*kind as u8, 0]);
        bytes.extend(count(sources.len()));
        compose::put_address(&mut bytes, *group);
        sources.iter().for_each(|source| compose::put_address(&mut bytes, *source));
    }
    bytes
}

fn count(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
