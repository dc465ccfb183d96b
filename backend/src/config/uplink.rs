//! `[uplink.NAME]`: an interface by which networks reach the outside.

use std::collections::BTreeSet;

use viaduct_switch::{FrameRate, JudgeLimits, StormLimits};

use super::host::Host;
use super::names::reference;
use super::reader::TableReader;
use super::{Driver, Uplink, addressing, bond, membership, schema, spanning_tree, storm, values};

/// The smallest MTU: every module forwards 68 octets (RFC 791, 3.2).
const MTU_MIN: u16 = 68;

/// What the outside may send to many, unless told otherwise: more than a guest, since a whole segment is behind an
/// uplink, and far less than a loop out there would.
const STORM: StormLimits = StormLimits {
    broadcast: FrameRate::new(20_000),
    multicast: FrameRate::new(200_000),
    unknown_unicast: FrameRate::new(200_000),
};

/// The uplink as far as it is right; what is wrong is noted, warnings are appended.
pub(super) fn read(
    name: &str,
    table: &TableReader<'_>,
    host: &dyn Host,
    qos: &BTreeSet<&str>,
    warnings: &mut Vec<String>,
) -> Uplink {
    table.check_fields(&schema::UPLINK);
    let driver = table.read_word("driver", Driver::ALL, &[]).unwrap_or_default();
    let (interface, bond) = bond::read(table, driver);
    let further = bond.iter().flat_map(|bond| bond.interfaces.iter().skip(1));
    for interface in std::iter::once(&interface.name).chain(further) {
        warnings.extend(warning(name, interface, host));
    }
    let addressing = addressing::read(table);
    Uplink {
        interface,
        bond,
        lldp: table.read("lldp", "true or false, without quotes", values::boolean).unwrap_or_default(),
        service_vlan: membership::vlan(table, "service_vlan"),
        tag_types: membership::tag_types(table),
        priority: membership::priority(table),
        mtu: table
            .read("mtu", "a number from 68 to 65535", |value| values::number(value, MTU_MIN..=u16::MAX)),
        storm: storm::read(table, STORM),
        judging: storm::judging(table, JudgeLimits::UNLIMITED),
        qos: reference(table, "qos", "qos", qos),
        multicast_router: table
            .read("multicast_router", "true or false, without quotes", values::boolean)
            .unwrap_or(true),
        stp: spanning_tree::of_uplink(table),
        addressing,
    }
}

/// An interface that the machine itself uses is rarely meant.
fn warning(uplink: &str, interface: &str, host: &dyn Host) -> Option<String> {
    let found = host.interface_use(interface);
    let what = match (found.addresses.as_slice(), found.default_route) {
        ([], false) => return None,
        ([], true) => "the machine's default route".to_owned(),
        ([first, ..], false) => format!("the machine's address {first}"),
        ([first, ..], true) => format!("the machine's address {first} and its default route"),
    };
    Some(format!(
        "uplink.{uplink}: {interface} has {what}; guests cannot reach the machine itself by it, and some drivers would cut \
         the machine off: use an interface of its own, or put the address elsewhere"
    ))
}
