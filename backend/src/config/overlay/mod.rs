//! `overlay`, `arp_suppression` and `static` of a network: stations of it that are on other machines, behind tunnels.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use toml::de::DeValue;
use viaduct_switch::security::Family;

use super::addresses::{self, Subnet};
use super::dhcp::required;
use super::names::{choice, reference};
use super::reader::TableReader;
use super::{Addressing, NetworkMode, name_of, schema, values};

mod stations;
mod underlay;

pub(crate) use stations::fits;
pub use stations::{STATIONS_MAX, StaticStation};
pub use underlay::VTEPS_MAX;
pub(super) use underlay::{check, warnings};

/// The highest VNI of VXLAN (RFC 7348, 5) and Geneve (RFC 8926, 3.4): 24 bits.
const VNI_MAX: u32 = (1 << 24) - 1;

/// How many routers outer packets may pass.
const TTL: u8 = 64;

const BOOLEAN: &str = "true or false, without quotes";
const TABLE: &str = "a table like { kind = \"vxlan\", vni = 101, uplink = \"isp\", group = \"239.1.1.101\" }";
const GROUP: &str = "a multicast address in quotes, like \"239.1.1.101\" or \"ff05::101\", that is none of 224.0.0.0/24, \
                     ff02::/16 and of the scopes that leave no machine: those are for neighbours' protocols";
const PEERS: &str =
    "a list of other machines' addresses in quotes, like [\"192.168.99.2\", \"192.168.99.3\"]";
const PEER: &str = "another machine's address in quotes, like \"192.168.99.2\"";

/// How frames are wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OverlayKind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 2784, with the key of RFC 2890 as the network's number; what is carried is Ethernet.
    Gre,
}

impl OverlayKind {
    /// All kinds, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("vxlan", Self::Vxlan), ("geneve", Self::Geneve), ("gre", Self::Gre)];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(Self::ALL, self)
    }

    /// The UDP port that is its own by IANA's registry; GRE has none.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Vxlan => Some(4789),
            Self::Geneve => Some(6081),
            Self::Gre => None,
        }
    }

    /// The field that says the network's number.
    #[must_use]
    pub fn id_field(self) -> &'static str {
        match self {
            Self::Vxlan | Self::Geneve => "vni",
            Self::Gre => "key",
        }
    }

    /// How many bytes of a packet of the underlay a packet of the overlay does not have: the frame's Ethernet header, the
    /// tunnel's, UDP's if there is one, and that of the underlay's version of IP.
    #[must_use]
    pub fn overhead(self, underlay: Family) -> u16 {
        let tunnel = match self {
            Self::Vxlan | Self::Geneve => 8 + 8,
            Self::Gre => 8,
        };
        let outer = match underlay {
            Family::Ipv4 => 20,
            Family::Ipv6 => 40,
        };
        14 + tunnel + outer
    }
}

/// `[network.NAME.overlay]`, and what else a network says about stations on other machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlay {
    /// How frames are wrapped.
    pub kind: OverlayKind,
    /// The network's number on the wire: its VNI, or GRE's key.
    pub id: u32,
    /// The uplink over which tunnels go, by name. Its address is this machine's end of them.
    pub uplink: String,
    /// Whom frames for many go to, if it is a multicast group.
    pub group: Option<IpAddr>,
    /// Whom frames for many go to, one copy each, if there is no group.
    pub peers: Vec<IpAddr>,
    /// The UDP port to which packets go and at which they come; 0 with GRE.
    pub port: u16,
    /// The hop limit of outer packets.
    pub ttl: u8,
    /// Whether outer UDP packets have a checksum; `None`: with IPv6 alone, see [`Self::has_udp_checksum`].
    pub udp_checksum: Option<bool>,
    /// Whether it is learned from frames behind which VTEP their senders are.
    pub learning: bool,
    /// Whether packets of VTEPs that are neither peers nor those of static stations are dropped.
    pub known_vteps_only: bool,
    /// Whether ARP requests and neighbour solicitations for known stations are answered here.
    pub suppression: bool,
    /// Stations whose place is written.
    pub stations: Vec<StaticStation>,
}

impl Overlay {
    /// The VTEPs that are written: peers, and those of static stations. One may be named several times.
    pub fn vteps(&self) -> impl Iterator<Item = IpAddr> {
        self.peers.iter().copied().chain(self.stations.iter().map(|station| station.vtep))
    }

    /// The underlay's version of IP; `None` if no address of it is written, so that the uplink's says it.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        self.group.into_iter().chain(self.vteps()).next().map(Family::of)
    }

    /// The version of IP of an underlay that is reached by an uplink with these addresses: as other ends are written, else IPv4 unless
    /// the uplink has addresses of IPv6 alone.
    #[must_use]
    pub fn family_over(&self, uplink: Option<&Addressing>) -> Family {
        let has_v6_alone = |uplink: &Addressing| uplink.has(Family::Ipv6) && !uplink.has(Family::Ipv4);
        let of_uplink = || if uplink.is_some_and(has_v6_alone) { Family::Ipv6 } else { Family::Ipv4 };
        self.family().unwrap_or_else(of_uplink)
    }

    /// Whether outer UDP packets have a checksum. Without one they are cheaper, which RFC 7348, 5, advises; but over IPv6 many
    /// receivers drop them unless they are told otherwise (RFC 6936).
    #[must_use]
    pub fn has_udp_checksum(&self, underlay: Family) -> bool {
        self.udp_checksum.unwrap_or(underlay == Family::Ipv6)
    }

    /// The largest packet in bytes of the network that fits into one of the underlay.
    #[must_use]
    pub fn inner_mtu(&self, underlay_mtu: u16, underlay: Family) -> u16 {
        underlay_mtu.saturating_sub(self.kind.overhead(underlay))
    }
}

/// The overlay as far as it is right; what is wrong is noted.
pub(super) fn read(
    network: &TableReader<'_>,
    mode: Option<NetworkMode>,
    uplinks: &BTreeSet<&str>,
    subnets: &[Subnet],
) -> Option<Overlay> {
    let suppression = network.read("arp_suppression", BOOLEAN, values::boolean).unwrap_or(false);
    let stations = stations::read(network, subnets);
    check_beside(network, mode);
    let table = network.table("overlay")?;
    table.check_fields(&schema::OVERLAY);
    let before = table.noted();
    let read = settings(&table, uplinks);
    // What else follows from a field that is wrong, nobody knows.
    let overlay = Overlay { suppression, stations, ..read.filter(|_| table.noted() == before)? };
    check_families(network, &table, &overlay);
    check_flooding(&table, &overlay);
    Some(overlay)
}

/// What goes with an overlay, and what does not.
fn check_beside(network: &TableReader<'_>, mode: Option<NetworkMode>) {
    if !network.has("overlay") {
        for field in ["arp_suppression", "static"].into_iter().filter(|field| network.has(field)) {
            let expected = format!("`overlay` beside it, {TABLE}");
            network.note(field, format!("the field `{field}`"), expected);
        }
        return;
    }
    if mode == Some(NetworkMode::Bridged) {
        let expected = "another `mode`, or no overlay: a bridged network reaches other machines by its uplink's segment, and \
                        by both ways frames would come twice";
        network.note("overlay", "the field `overlay`".to_owned(), expected.to_owned());
    } else if network.has("segment") {
        let expected = "either `segment` or `overlay`: by both ways frames would come twice";
        network.note("segment", "the field `segment`".to_owned(), expected.to_owned());
    }
}

fn settings(table: &TableReader<'_>, uplinks: &BTreeSet<&str>) -> Option<Overlay> {
    if !table.has("kind") {
        table.note("kind", "nothing".to_owned(), "how frames are wrapped, like \"vxlan\"".to_owned());
    }
    if !table.has("uplink") {
        let expected = format!("the name of the uplink over which tunnels go: {}", choice("uplink", uplinks));
        table.note("uplink", "nothing".to_owned(), expected);
    }
    let kind = table.read_word("kind", OverlayKind::ALL, &[]);
    let uplink = reference(table, "uplink", "uplink", uplinks);
    let id = kind.and_then(|kind| id(table, kind));
    let port = kind.map(|kind| port(table, kind));
    let ttl = table.read("ttl", "a number from 1 to 255", |value| values::number(value, 1..=u8::MAX));
    let boolean = |field: &str| table.read(field, BOOLEAN, values::boolean);
    Some(Overlay {
        group: table.read("group", GROUP, group),
        peers: peers(table),
        ttl: ttl.unwrap_or(TTL),
        udp_checksum: boolean("udp_checksum"),
        learning: boolean("learning").unwrap_or(true),
        known_vteps_only: boolean("known_vteps_only").unwrap_or(false),
        suppression: false,
        stations: Vec::new(),
        kind: kind?,
        id: id?,
        uplink: uplink?,
        port: port?,
    })
}

/// The network's number, by the name that it has with this kind.
fn id(table: &TableReader<'_>, kind: OverlayKind) -> Option<u32> {
    let field = kind.id_field();
    let range: RangeInclusive<u32> = 0..=if field == "vni" { VNI_MAX } else { u32::MAX };
    for other in ["vni", "key"].into_iter().filter(|other| *other != field && table.has(other)) {
        let expected = format!("`{field}`, which is what {} has", kind.name());
        table.note(other, format!("the field `{other}`"), expected);
        if !table.has(field) {
            return None;
        }
    }
    let expected = format!("a number from 0 to {}, which no other network has there", range.end());
    required(table, field, &expected, |value| values::number(value, range))
}

fn port(table: &TableReader<'_>, kind: OverlayKind) -> u16 {
    let Some(default) = kind.port() else {
        for field in ["port", "udp_checksum"].into_iter().filter(|field| table.has(field)) {
            let expected = "none: with kind = \"gre\" there is no UDP";
            table.note(field, format!("the field `{field}`"), expected.to_owned());
        }
        return 0;
    };
    let expected = "a number from 1 to 65535";
    table.read("port", expected, |value| values::number(value, 1..=u16::MAX)).unwrap_or(default)
}

/// A group that routers or switches of the underlay do not take for neighbours' protocols: RFC 5771, 4; RFC 4291, 2.7.
fn group(value: &DeValue<'_>) -> Option<IpAddr> {
    let group: IpAddr = values::text(value)?.parse().ok()?;
    let is_reserved = match group {
        IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
        IpAddr::V6(group) => {
            let first = group.segments()[0];
            first == 0xff02 || first & 0xf < 2
        }
    };
    (group.is_multicast() && !is_reserved).then_some(group)
}

fn peers(table: &TableReader<'_>) -> Vec<IpAddr> {
    if table.has("group") && table.has("peers") {
        let expected = "either `group` or `peers`: frames for many go to the one or the others";
        table.note("peers", "the field `peers`".to_owned(), expected.to_owned());
    }
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    let peers = table.read_list("peers", PEERS, |value| {
        let peer = addresses::address(value).ok_or_else(|| PEER.to_owned())?;
        if seen.insert(peer) { Ok(peer) } else { Err("each address once".to_owned()) }
    });
    if table.list_len("peers") == Some(0) {
        let expected = "at least one, or no `peers`: frames for many then go nowhere";
        table.note("peers", "an empty list".to_owned(), expected.to_owned());
    }
    peers.unwrap_or_default()
}

/// All ends of tunnels have addresses of one version.
fn check_families(network: &TableReader<'_>, table: &TableReader<'_>, overlay: &Overlay) {
    let Some(family) = overlay.family() else { return };
    let expected = || format!("an address of {family}, as all ends of the network's tunnels have");
    for peer in overlay.peers.iter().filter(|peer| Family::of(**peer) != family) {
        table.note("peers", format!("\"{peer}\""), expected());
    }
    for (station, vtep) in stations::vteps(network) {
        if Family::of(vtep) != family {
            station.note("vtep", format!("\"{vtep}\""), expected());
        }
    }
}

/// Who takes frames of known VTEPs alone has to know some.
fn check_flooding(table: &TableReader<'_>, overlay: &Overlay) {
    if overlay.known_vteps_only && overlay.vteps().next().is_none() && overlay.group.is_some() {
        let expected = "false, or VTEPs that are known, as `peers` in the place of `group` or as those of `static` stations: \
                        nobody would be heard";
        table.note("known_vteps_only", "true".to_owned(), expected.to_owned());
    }
}
