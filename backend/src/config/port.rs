//! `[port.NAME]`: where one guest's NIC is plugged in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use viaduct_switch::{JudgeLimits, MacAddress};

use super::names::reference;
use super::reader::TableReader;
use super::{
    Attachment, Driver, Port, Role, SwitchSettings, VhostUser, groups, interface, membership, port_security,
    publish, schema, storm, values,
};

/// The most queue pairs: vhost-user names a ring with 8 bits (vhost-user protocol, "vring descriptor index"),
/// two rings a pair.
const QUEUES_MAX: u16 = 128;
/// The smallest MTU of virtio 1.2, 5.1.4.1.
const MTU_MIN: u16 = 68;

const SOCKET: &str =
    "an absolute path of at most 106 bytes in quotes, without `..`, like \"/run/viaduct/vm1.sock\"";
const MAC: &str = "an Ethernet address of one station in quotes, like \"52:54:00:12:34:56\"";

/// What a port's `type` asks for: a guest's socket, or an interface by a driver.
const TYPES: &[(&str, Option<Driver>)] = &[
    ("vhost-user", None),
    ("veth", Some(Driver::Auto)),
    ("af-packet", Some(Driver::AfPacket)),
    ("af-xdp", Some(Driver::AfXdp)),
    ("tap", Some(Driver::Tap)),
];

/// Fields that say something about a guest's socket, and about an interface.
const OF_GUESTS: &[&str] = &["socket", "role"];
const OF_INTERFACES: &[&str] = &["interface", "netns", "gro"];

/// The names that a port may use.
pub(super) struct Known<'a> {
    pub(super) networks: &'a BTreeSet<&'a str>,
    pub(super) groups: &'a BTreeSet<&'a str>,
    pub(super) qos: &'a BTreeSet<&'a str>,
}

/// The port as far as it is right; what is wrong is noted.
pub(super) fn read(
    name: &str,
    table: &TableReader<'_>,
    settings: &SwitchSettings,
    known: &Known<'_>,
) -> Port {
    table.check_fields(&schema::PORT);
    let kind = table.read_word("type", TYPES, &[]);
    if !table.has("type") || kind.is_some() {
        check_kind(table, kind.flatten().is_some());
    }
    let attachment = match kind.flatten() {
        Some(driver) => Attachment::Interface(interface::read(table, driver)),
        None => Attachment::VhostUser(vhost_user(name, table, settings)),
    };
    let mac = match &attachment {
        Attachment::VhostUser(guest) => Some(guest.mac),
        Attachment::Interface(_) => mac(table),
    };
    let groups = groups::of_port(table, known.groups);
    let addresses = port_security::addresses(table);
    Port {
        membership: membership::read(table, known.networks),
        priority: membership::priority(table),
        attachment,
        mtu: table
            .read("mtu", "a number from 68 to 65535", |value| values::number(value, MTU_MIN..=u16::MAX))
            .unwrap_or(1500),
        storm: storm::read(table, settings.storm),
        judging: storm::judging(table, JudgeLimits::default()),
        qos: reference(table, "qos", "qos", known.qos),
        multicast_router: table
            .read("multicast_router", "true or false, without quotes", values::boolean)
            .unwrap_or(false),
        security: port_security::read(table, mac, &addresses, groups.is_some()),
        groups,
        addresses,
        floating: publish::floating(table),
        publish: publish::publications(table),
    }
}

/// Notes fields that say nothing about a port of this type.
fn check_kind(table: &TableReader<'_>, is_interface: bool) {
    let (strange, expected) = if is_interface {
        (OF_GUESTS, "none: only a port of type \"vhost-user\" has it; leave it out")
    } else {
        (
            OF_INTERFACES,
            "type = \"veth\", \"tap\", \"af-packet\" or \"af-xdp\" beside it: a guest has a socket instead",
        )
    };
    for field in strange.iter().filter(|field| table.has(field)) {
        table.note(field, format!("the field `{field}`"), expected.to_owned());
    }
}

fn vhost_user(name: &str, table: &TableReader<'_>, settings: &SwitchSettings) -> VhostUser {
    VhostUser {
        socket: socket(table).unwrap_or_else(|| settings.runtime_dir.join(format!("{name}.sock"))),
        role: table.read_word("role", Role::ALL, &[]).unwrap_or_default(),
        mac: mac(table).unwrap_or_else(|| default_mac(name)),
        queues: table
            .read("queues", "a number from 1 to 128", |value| values::number(value, 1..=QUEUES_MAX))
            .unwrap_or(1),
    }
}

/// The word that stands for a driver as a port's `type`.
#[must_use]
pub fn type_name(attachment: &Attachment) -> &'static str {
    let wanted = match attachment {
        Attachment::VhostUser(_) => None,
        Attachment::Interface(interface) => Some(interface.driver),
    };
    super::name_of(TYPES, wanted)
}

/// A group address is told with the nearest address of one station: group bit cleared, locally administered.
pub(super) fn mac(table: &TableReader<'_>) -> Option<MacAddress> {
    let written = table.text("mac").and_then(|text| text.parse::<MacAddress>().ok());
    let expected = match written.filter(|mac| mac.is_group()) {
        Some(MacAddress([first, rest @ ..])) => {
            let [b, c, d, e, f] = rest;
            format!("{MAC}, or here \"{}\"", MacAddress([(first & !1) | 2, b, c, d, e, f]))
        }
        None => MAC.to_owned(),
    };
    table.read("mac", &expected, values::station)
}

fn socket(table: &TableReader<'_>) -> Option<PathBuf> {
    table.read("socket", SOCKET, |value| values::path(value).filter(|path| values::fits_socket(path)))
}

/// The address of a port that has none in the file: QEMU's prefix 52:54:00, then 24 bits of a hash of the name
/// (FNV-1a, 64 bits, folded). It never changes, so that a guest keeps its address from version to version.
#[must_use]
pub fn default_mac(name: &str) -> MacAddress {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 24) ^ (hash >> 48)) & 0x00ff_ffff;
    MacAddress::from_u64(0x5254_0000_0000 | folded)
}
