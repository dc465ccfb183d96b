//! A network's subnets, and what its gateway does for its stations.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;
use viaduct_switch::security::Family;

use super::addresses::{self, Subnet};
use super::reader::TableReader;
use super::{
    AdvertisingMode, Config, Dhcp, Dhcp6, Dns, NatOptions, NetworkMode, Overlay, SourceRule, dhcp, dhcp6,
    dns, nat, schema, values,
};

/// How many subnets a network may have: as many as a router advertisement names.
pub(super) const SUBNETS_MAX: usize = 8;

/// The smallest MTU of IPv4 (RFC 791, 3.2) and of IPv6 (RFC 8200, 5).
const MTU_MIN: u16 = 68;
const MTU_MIN_V6: u16 = 1280;

/// The MTU of a network without ports.
const MTU: u16 = 1500;

const SUBNETS: &str = "a list of subnets in quotes, like [\"10.0.0.0/24\", \"fd00:2::/64\"]";
const METADATA: &str =
    "\"unix:\" and the absolute path of a socket, or an address and a port, like \"127.0.0.1:8775\"";
const METADATA_TABLE: &str = "\"unix:\" and the absolute path of a socket, an address and a port, like \"127.0.0.1:8775\", or a \
                              table, like { to = \"127.0.0.1:8775\", proxy_protocol = false }";

/// Fields that say something about a network's gateway or its stations' addresses: they need `subnets`, but for the MTU of
/// what goes by tunnels.
const OF_SUBNETS: &[&str] = &["mtu", "dhcp", "dhcp6", "ra", "dns", "metadata"];

/// What a network's gateway is and does. Whether the network has one, [`Config::has_gateway`] says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GatewaySettings {
    /// The network's subnets, and the gateway's address in each.
    pub subnets: Vec<Subnet>,
    /// Largest packet in bytes that goes to the network's stations; `None`: the least of its ports'.
    pub mtu: Option<u16>,
    /// Its DHCP server.
    pub dhcp: Option<Dhcp>,
    /// Its DHCPv6 server.
    pub dhcp6: Option<Dhcp6>,
    /// What its router advertisements say; `None`: there are none. Defaults are filled in.
    pub advertising: Option<AdvertisingMode>,
    /// Its name server.
    pub dns: Option<Dns>,
    /// Where requests to the metadata address (169.254.169.254) are answered.
    pub metadata: Option<Metadata>,
    /// How addresses are translated, where the mode is `nat`.
    pub nat: NatOptions,
    /// Addresses that are not translated to the uplink's, the first one that fits counts.
    pub source_rules: Vec<SourceRule>,
}

/// Where metadata comes from, and how it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Who has it.
    pub server: MetadataServer,
    /// Whether a header of the PROXY protocol tells the server which guest asks.
    pub proxy_protocol: bool,
}

/// A server that has metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataServer {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.server, if self.proxy_protocol { "" } else { " without proxy_protocol" })
    }
}

impl std::fmt::Display for MetadataServer {
    /// As in a file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl GatewaySettings {
    /// The subnets of a version of IP.
    pub fn of(&self, family: Family) -> impl Iterator<Item = &Subnet> {
        self.subnets.iter().filter(move |subnet| subnet.family() == family)
    }

    /// The subnet in which an address is.
    #[must_use]
    pub fn subnet_of(&self, address: std::net::IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(address))
    }

    /// Whether something is served that needs a gateway's address in the network.
    #[must_use]
    pub fn serves(&self) -> bool {
        let Self { dhcp, dhcp6, advertising, dns, metadata, .. } = self;
        dhcp.is_some() || dhcp6.is_some() || advertising.is_some() || dns.is_some() || metadata.is_some()
    }
}

impl Config {
    /// Whether a network has a gateway: one of mode `nat` or `routed`, one that a router names, and one to whose stations
    /// something is served (DHCP, DNS and so on).
    #[must_use]
    pub fn has_gateway(&self, name: &str) -> bool {
        self.networks.get(name).is_some_and(|network| network.gateway.serves()) || self.is_routed(name)
    }

    /// Whether packets leave a network by its gateway. A gateway that only serves something forwards nothing, and no station is
    /// told to send it any.
    #[must_use]
    pub fn is_routed(&self, name: &str) -> bool {
        let is_in_router = || self.routers.values().any(|router| router.networks.iter().any(|n| n == name));
        self.networks.get(name).is_some_and(|network| network.mode.is_routed() || is_in_router())
    }

    /// The version of IP of the underlay that an overlay crosses.
    #[must_use]
    pub fn underlay_family(&self, overlay: &Overlay) -> Family {
        let uplink = self.uplinks.get(&overlay.uplink);
        overlay.family_over(uplink.and_then(|uplink| uplink.addressing.as_ref()))
    }

    /// Largest packet in bytes that goes to a network's stations, if its uplink's interface takes 1500 bytes where the file does not say
    /// what it takes; see [`Self::mtu_over`].
    #[must_use]
    pub fn mtu_of(&self, name: &str) -> u16 {
        self.mtu_over(name, |_| None)
    }

    /// Largest packet in bytes that goes to a network's stations: as it is written, else the least of its ports', and what fits
    /// into its tunnels if there are some. `found` is what the interface of an uplink takes, for which the file says nothing;
    /// as long as it is not known, it counts as 1500 bytes.
    #[must_use]
    pub fn mtu_over(&self, name: &str, found: impl Fn(&str) -> Option<u16>) -> u16 {
        let network = self.networks.get(name);
        let ports = self.ports.values().filter(|port| port.membership.has(name)).map(|port| port.mtu);
        let tunnels = network.and_then(|network| network.overlay.as_ref()).map(|overlay| {
            let uplink = self.uplinks.get(&overlay.uplink);
            let written = uplink.and_then(|uplink| uplink.mtu);
            let underlay = written.or_else(|| found(&overlay.uplink)).unwrap_or(MTU);
            overlay.inner_mtu(underlay, self.underlay_family(overlay))
        });
        let written = network.and_then(|network| network.gateway.mtu);
        written.or_else(|| ports.chain(tunnels).min()).unwrap_or(MTU)
    }
}

/// The settings as far as they are right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, mode: NetworkMode) -> GatewaySettings {
    let subnets = subnets(table);
    check_needs(table, mode, &subnets);
    let dns = dns::read(table);
    let advertising = dhcp6::advertising(table, mode, &subnets);
    GatewaySettings {
        mtu: mtu(table, &subnets),
        dhcp: dhcp::read(table, &subnets),
        dhcp6: dhcp6::read(table, &subnets, advertising),
        advertising,
        dns,
        metadata: metadata(table),
        nat: nat::options(table, mode, &subnets),
        source_rules: nat::source_rules(table, mode),
        subnets,
    }
}

fn subnets(table: &TableReader<'_>) -> Vec<Subnet> {
    let mut seen: Vec<Subnet> = Vec::new();
    let read = table.read_list("subnets", SUBNETS, |value| {
        let text = values::text(value).ok_or_else(|| SUBNETS.to_owned())?;
        let subnet = addresses::subnet(text, true)?;
        match seen.iter().find(|other| addresses::overlap(other.prefix, subnet.prefix)) {
            Some(other) => {
                return Err(format!("a subnet that has no address in common with {}", other.prefix));
            }
            None => seen.push(subnet),
        }
        Ok(())
    });
    if read.is_some_and(|items| items.len() > SUBNETS_MAX) {
        let expected = format!("at most {SUBNETS_MAX}");
        table.note("subnets", format!("{} subnets", seen.len()), expected);
    }
    seen
}

/// Notes what is missing beside what is written.
fn check_needs(table: &TableReader<'_>, mode: NetworkMode, subnets: &[Subnet]) {
    if !table.has("subnets") {
        let is_alone = |field: &&&str| table.has(field) && !(**field == "mtu" && table.has("overlay"));
        for field in OF_SUBNETS.iter().filter(is_alone) {
            let expected = "`subnets` beside it, in which the network's gateway has its addresses";
            table.note(field, format!("the field `{field}`"), expected.to_owned());
        }
        if mode.is_routed() {
            let expected = "the subnets of the network's stations, like [\"10.0.0.0/24\"]";
            table.note("subnets", "nothing".to_owned(), expected.to_owned());
        }
    } else if mode == NetworkMode::Nat && subnets.iter().all(|subnet| subnet.family() == Family::Ipv6) {
        let expected = "a subnet of IPv4, whose addresses are translated; mode = \"routed\" does without";
        table.note("subnets", "no subnet of IPv4".to_owned(), expected.to_owned());
    }
}

fn mtu(table: &TableReader<'_>, subnets: &[Subnet]) -> Option<u16> {
    let has_v6 = subnets.iter().any(|subnet| subnet.family() == Family::Ipv6);
    let least = if has_v6 { MTU_MIN_V6 } else { MTU_MIN };
    let reason = if has_v6 { " (IPv6 needs 1280: RFC 8200, 5)" } else { "" };
    let expected = format!("a number from {least} to 65535{reason}");
    table.read("mtu", &expected, |value| values::number(value, least..=u16::MAX))
}

/// A server alone, or a table with it and how it is asked.
fn metadata(network: &TableReader<'_>) -> Option<Metadata> {
    if !network.is_table("metadata") {
        let server = network.read("metadata", METADATA_TABLE, metadata_server)?;
        return Some(Metadata { server, proxy_protocol: true });
    }
    let table = network.table("metadata")?;
    table.check_fields(&schema::METADATA);
    let proxy_protocol =
        table.read("proxy_protocol", "true or false, without quotes", values::boolean).unwrap_or(true);
    let server = dhcp::required(&table, "to", METADATA, metadata_server)?;
    Some(Metadata { server, proxy_protocol })
}

fn metadata_server(value: &DeValue<'_>) -> Option<MetadataServer> {
    let text = values::text(value)?;
    if let Some(path) = text.strip_prefix("unix:") {
        let path = values::path_of(path).filter(|path| values::fits_peer(path));
        return path.map(MetadataServer::Unix);
    }
    let address: SocketAddr = text.parse().ok()?;
    let is_right = address.port() > 0 && !address.ip().is_multicast() && !address.ip().is_unspecified();
    is_right.then_some(MetadataServer::Tcp(address))
}
