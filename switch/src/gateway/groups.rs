//! Which groups of IPv6 the gateway listens to, told to switches that forward groups only where somebody wants them (RFC 3810;
//! RFC 2710 where a querier knows no better).

use std::collections::BTreeSet;

use super::compose::{self, Header};
use super::discovery::{is_summed, solicited_node};
use super::{Gateway, Moment, Offered};
use crate::mac::MacAddress;
use crate::offload::layout::protocol;
use crate::packet::{Address, Packet, number};
use crate::router::{DHCP_V6, Interface, is_link_local};
use crate::time::Nanos;

pub(super) const QUERY: u8 = 130;
const REPORT_V1: u8 = 131;
const REPORT_V2: u8 = 143;

/// Who hears reports (RFC 3810, 5.2.14). Its name stands for reports among what is to be done.
pub(super) const REPORTS: Address = Address::from_bits(0xff02 << 112 | 0x16);

/// All routers of the link (RFC 4291, 2.7.1).
const ALL_ROUTERS: Address = Address::from_bits(0xff02 << 112 | 2);

/// How long a query of the first version is (RFC 3810, 8.1).
const QUERY_V1: usize = 24;

/// The longest delay of an answer that is believed.
const DELAY_MAX: Nanos = Nanos::from_millis(10_000);

/// Options before the message: router alert for multicast listener discovery (RFC 2711, 2.1), and padding.
const ROUTER_ALERT: [u8; 8] = [number::ICMPV6, 0, 5, 2, 0, 0, 1, 0];

/// Records of a report: 20 bytes each, so that it passes any link.
const RECORDS_MAX: usize = 60;

/// How a report says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// The groups are wanted from now on (RFC 3810, 5.2.12: to exclude mode).
    Joined,
    /// They are wanted (mode is exclude).
    Wanted,
    /// The same for a querier of the first version.
    WantedV1,
}

impl Gateway {
    /// Has the groups of an interface told within the time that a querier gives (RFC 3810, 6.2).
    pub(super) fn hear_query(&mut self, offered: &Offered<'_>, packet: &Packet, moment: Moment<'_>) {
        let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
        let message = offered.frame.get(usize::from(packet.transport_at)..end).unwrap_or_default();
        let is_right = message.len() >= QUERY_V1 && packet.hop_limit == 1 && is_link_local(packet.source);
        if !is_right || !is_summed(offered.frame, packet) {
            return self.reject(offered);
        }
        let code = u32::from(u16::from_be_bytes([message[4], message[5]]));
        let most = Nanos::from_millis(code).min(DELAY_MAX);
        let report = if message.len() == QUERY_V1 { Report::WantedV1 } else { Report::Wanted };
        let due = moment.now + self.random.below(most);
        self.own.report(offered.network, due, report);
    }
}

/// The frames that tell the groups of an interface.
pub(super) fn reports(interface: &Interface, report: Report) -> Vec<Vec<u8>> {
    let groups: Vec<Address> = groups(interface).into_iter().collect();
    let kind = match report {
        Report::WantedV1 => return groups.iter().map(|group| report_v1(interface, *group)).collect(),
        Report::Wanted => 2,
        Report::Joined => 4,
    };
    groups.chunks(RECORDS_MAX).map(|groups| report_v2(interface, kind, groups)).collect()
}

/// All groups that an interface of IPv6 has to listen to but that of all stations (RFC 4291, 2.8).
fn groups(interface: &Interface) -> BTreeSet<Address> {
    let own = interface.own_addresses().filter(|address| !address.is_v4()).map(solicited_node);
    let servers = interface.serves.dhcp_v6.then_some(DHCP_V6.0);
    own.chain(servers).chain([ALL_ROUTERS]).collect()
}

fn report_v2(interface: &Interface, kind: u8, groups: &[Address]) -> Vec<u8> {
    let mut records = Vec::with_capacity(groups.len() * 20);
    for group in groups {
        records.extend([kind, 0, 0, 0]);
        compose::put_address(&mut records, *group);
    }
    let [high, low] = u16::try_from(groups.len()).unwrap_or(0).to_be_bytes();
    message(interface.mac, interface.link_local, REPORTS, (REPORT_V2, [0, 0, high, low]), &records)
}

fn report_v1(interface: &Interface, group: Address) -> Vec<u8> {
    let mut body = Vec::with_capacity(16);
    compose::put_address(&mut body, group);
    message(interface.mac, interface.link_local, group, (REPORT_V1, [0; 4]), &body)
}

fn message(
    mac: MacAddress,
    source: Address,
    destination: Address,
    (kind, rest): (u8, [u8; 4]),
    body: &[u8],
) -> Vec<u8> {
    let message = compose::icmp((source, destination), [kind, 0], rest, body);
    let header = Header {
        source,
        destination,
        protocol: protocol::HOP_BY_HOP,
        hop_limit: 1,
        traffic_class: 0,
        id: None,
    };
    let packet = compose::packet(&header, &[&ROUTER_ALERT[..], &message].concat());
    compose::frame(mac, compose::group_mac(destination), &packet)
}
