//! Networks and the tables of the switch: learned addresses, groups, connections, translations, leases, tunnels.

use std::fmt;
use std::net::IpAddr;

use viaduct_switch::FdbSnapshot;
use viaduct_switch::conntrack::CountersSnapshot;

use super::book::{Book, Family, Labels};
use crate::control::TableFigures;
use crate::model::{
    MulticastStatus, NatAddressStatus, NatStatus, NetworkStatus, Snapshot, SuppressionStatus, VtepStatus,
};

pub(super) fn write(book: &mut Book<'_>, snapshot: &Snapshot, tables: &TableFigures) -> fmt::Result {
    networks(book, &snapshot.networks)?;
    learned(book, &tables.fdb)?;
    multicast(book, &snapshot.multicast)?;
    connections(book, tables.connections.as_ref())?;
    translations(book, &tables.nat)?;
    leases(book, tables)?;
    vteps(book, &tables.vteps.vteps)?;
    suppression(book, &tables.vteps.suppression)
}

/// A counter for each of some events.
fn events<const N: usize>(
    book: &mut Book<'_>,
    family: (&str, &str),
    counted: [(&'static str, u64); N],
) -> fmt::Result {
    book.counters(family, counted.map(|(event, count)| ([("event", event)], count)))
}

fn networks(book: &mut Book<'_>, networks: &[NetworkStatus]) -> fmt::Result {
    let each = |value: fn(&NetworkStatus) -> u64| {
        networks.iter().map(move |network| ([("network", network.name.as_str())], value(network)))
    };
    book.gauges(("network_ports", "Ports and uplinks of the network."), each(|it| it.ports.len() as u64))?;
    book.gauges(
        ("network_fdb_entries", "Addresses that are learned in the network."),
        each(|it| it.addresses),
    )
}

fn learned(book: &mut Book<'_>, fdb: &FdbSnapshot) -> fmt::Result {
    let FdbSnapshot { learned, moved, held, evicted, refused, expired, forgotten, contended, duplicates } =
        *fdb;
    events(
        book,
        ("fdb_events", "What happened to learned addresses, of all networks together."),
        [
            ("learned", learned),
            ("moved", moved),
            ("held", held),
            ("evicted", evicted),
            ("refused", refused),
            ("expired", expired),
            ("forgotten", forgotten),
            ("contended", contended),
            ("duplicate", duplicates),
        ],
    )
}

fn multicast(book: &mut Book<'_>, multicast: &MulticastStatus) -> fmt::Result {
    let MulticastStatus { queries, joined, left, expired, evicted, .. } = *multicast;
    let MulticastStatus { refused, forgotten, contended, malformed, unread, .. } = *multicast;
    events(
        book,
        ("multicast_events", "What multicast snooping did."),
        [
            ("query", queries),
            ("joined", joined),
            ("left", left),
            ("expired", expired),
            ("evicted", evicted),
            ("refused", refused),
            ("forgotten", forgotten),
            ("contended", contended),
            ("malformed", malformed),
            ("unread", unread),
        ],
    )
}

fn connections(book: &mut Book<'_>, counted: Option<&CountersSnapshot>) -> fmt::Result {
    let counted = counted.copied().unwrap_or_default();
    let CountersSnapshot { opened, restored, expired, closed, evicted, .. } = counted;
    let CountersSnapshot { evicted_of_others, invalid, refused, .. } = counted;
    let live = (opened + restored).saturating_sub(expired + closed + evicted);
    book.gauge(("connections", "Connections that are tracked."), live)?;
    events(
        book,
        (
            "connection_events",
            "What happened to tracked connections, and packets and connections that were refused.",
        ),
        [
            ("opened", opened),
            ("restored", restored),
            ("expired", expired),
            ("closed", closed),
            ("evicted", evicted),
            ("evicted-of-others", evicted_of_others),
            ("invalid", invalid.iter().sum()),
            ("refused", refused.iter().sum()),
        ],
    )
}

fn translations(book: &mut Book<'_>, nat: &NatStatus) -> fmt::Result {
    book.gauge(("nat_mappings", "Mappings of NAT, those whose port is held included."), nat.mappings as u64)?;
    book.gauge(("nat_mappings_room", "Mappings for which there is room."), nat.room as u64)?;
    book.gauge(("nat_guests", "Stations that have mappings."), nat.guests as u64)?;
    let NatStatus { made, restored, renewed, ended, exhausted, filtered, .. } = *nat;
    events(
        book,
        ("nat_events", "What happened to mappings, and what found no port or was filtered."),
        [
            ("made", made),
            ("restored", restored),
            ("renewed", renewed),
            ("ended", ended),
            ("exhausted", exhausted),
            ("filtered", filtered),
        ],
    )?;
    let taken = nat.addresses.iter().flat_map(|of: &NatAddressStatus| {
        let labels = |protocol: &str| {
            let values = [of.network.clone(), of.address.to_string(), protocol.to_owned()];
            let [network, address, protocol] = values;
            [("network", network), ("address", address), ("protocol", protocol)]
        };
        [("tcp", of.tcp), ("udp", of.udp), ("icmp", of.icmp)]
            .map(|(protocol, count)| (labels(protocol), u64::from(count)))
    });
    book.gauges(
        ("nat_used_ports", "Ports, or identifiers of ICMP, of an outside address that are taken."),
        taken,
    )
}

fn leases(book: &mut Book<'_>, tables: &TableFigures) -> fmt::Result {
    let counted = tables.leases.iter().flatten().map(|((network, state), count)| {
        ([("network", network.as_str()), ("state", state.as_str())], *count)
    });
    book.gauges(("leases", "Addresses that are lent, by state."), counted)?;
    let happened = tables.services.iter().flatten().map(|counted| {
        let network = counted.network.as_deref().unwrap_or_default();
        let labels =
            [("service", counted.service.as_str()), ("network", network), ("event", counted.event.as_str())];
        (labels, counted.count)
    });
    book.counters(
        ("service_events", "What happened at DHCP, name and metadata servers (/v1/services)."),
        happened,
    )
}

fn labels(vtep: &VtepStatus) -> Labels<String, 3> {
    let address = |address: IpAddr| address.to_string();
    [("uplink", vtep.uplink.clone()), ("kind", vtep.kind.clone()), ("address", address(vtep.address))]
}

fn vteps(book: &mut Book<'_>, vteps: &[VtepStatus]) -> fmt::Result {
    let each = |value: fn(&VtepStatus) -> u64| vteps.iter().map(move |vtep| (labels(vtep), value(vtep)));
    let is_up = |vtep: &VtepStatus| u64::from(vtep.state == "resolved");
    book.gauges(("vtep_up", "1: packets to this other end of tunnels can leave."), each(is_up))?;
    book.gauges(("vtep_stations", "Stations that are known to be behind it."), each(|vtep| vtep.stations))?;
    let families: [Family<'_, VtepStatus>; 4] = [
        ("vtep_receive_frames", "Frames that came from there.", |vtep| vtep.received_frames),
        ("vtep_receive_bytes", "Their bytes, without outer headers.", |vtep| vtep.received_bytes),
        ("vtep_transmit_frames", "Frames that went there.", |vtep| vtep.sent_frames),
        ("vtep_transmit_bytes", "Their bytes, without outer headers.", |vtep| vtep.sent_bytes),
    ];
    for (name, help, value) in families {
        book.counters((name, help), each(value))?;
    }
    let drops = vteps.iter().flat_map(|vtep| {
        let [uplink, kind, address] = labels(vtep);
        vtep.drops.iter().map(move |drops| {
            let labels = [uplink.clone(), kind.clone(), address.clone(), ("reason", drops.reason.clone())];
            (labels, drops.frames)
        })
    });
    book.counters(("vtep_drops", "Frames from there that were not delivered, by reason."), drops)
}

fn suppression(book: &mut Book<'_>, suppression: &SuppressionStatus) -> fmt::Result {
    let SuppressionStatus { answered, passed, refused, learned, fixed } = *suppression;
    events(
        book,
        ("suppression_events", "Questions for stations on other hosts that were answered here or passed on."),
        [("answered", answered), ("passed", passed), ("refused", refused)],
    )?;
    let known = [("learned", learned), ("fixed", fixed)];
    book.gauges(
        ("suppression_addresses", "Addresses of stations on other hosts that are known."),
        known.map(|(kind, count)| ([("kind", kind)], count as u64)),
    )
}
