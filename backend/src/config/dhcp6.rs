//! `ra` and `dhcp6` of a network: how its stations get their IPv6 addresses.

use std::net::{IpAddr, Ipv6Addr};

use toml::de::DeValue;
use viaduct_switch::dhcp::server::LIST_MAX;
use viaduct_switch::dhcp6::server::BOOT_URL_MAX;
use viaduct_switch::domain::DomainName;
use viaduct_switch::security::{Family, Prefix};

use super::addresses::{self, Subnet};
use super::reader::TableReader;
use super::{NetworkMode, dhcp, name_of, schema, values};

/// The longest range of addresses of IPv6, as for IPv4.
const RANGE_MAX: u128 = 65_536;

/// The most name servers: as many as a router advertisement names.
const SERVERS_MAX: usize = viaduct_switch::ra::LIST_MAX;

const RANGE: &str = "the first and the last address in quotes, like \"fd00:2::100-fd00:2::1ff\", or \"none\"";
const SERVERS: &str = "a list of at most 8 IPv6 addresses in quotes, like [\"fd00:2::53\"]";
const TIME_SERVERS: &str = "a list of at most 16 IPv6 addresses in quotes, like [\"fd00:2::7b\"]";
const BOOT_URL: &str = "a URL in quotes, like \"tftp://[fd00:2::2]/boot.efi\": printable ASCII without blanks, at most 255 bytes";

/// What router advertisements say about how stations get their addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AdvertisingMode {
    /// Stations make their addresses themselves (SLAAC: RFC 4862).
    #[default]
    Slaac,
    /// The same; the rest is had from DHCPv6 (flag O).
    Stateless,
    /// Addresses are had from DHCPv6 (flag M), and stations make none.
    Stateful,
}

impl AdvertisingMode {
    /// All modes, by their name in the file; `None`: no advertisements.
    pub const ALL: &'static [(&'static str, Option<Self>)] = &[
        ("off", None),
        ("slaac", Some(Self::Slaac)),
        ("stateless", Some(Self::Stateless)),
        ("stateful", Some(Self::Stateful)),
    ];

    /// The name in the file.
    #[must_use]
    pub fn name(mode: Option<Self>) -> &'static str {
        name_of(Self::ALL, mode)
    }
}

/// A network's DHCPv6 server. What is `None` follows from the rest of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dhcp6 {
    /// The subnet whose addresses are lent.
    pub subnet: Subnet,
    /// The first and the last address that are lent to whoever asks; `None`: only ports with an address of their own get one,
    /// or nobody (stateless).
    pub range: Option<(Ipv6Addr, Ipv6Addr)>,
    /// For how long an address is lent.
    pub lease_s: u32,
    /// Name servers; `None`: the gateway, if it is one.
    pub dns_servers: Option<Vec<Ipv6Addr>>,
    /// Domains in which names are looked up; `None`: the name server's.
    pub search: Option<Vec<DomainName>>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv6Addr>,
    /// What to boot, as a URL.
    pub boot_url: Option<String>,
}

/// `ra`, or what holds without: in networks whose packets leave by the gateway, stations make their addresses themselves, or have
/// them from the DHCPv6 server if there is one.
pub(super) fn advertising(
    network: &TableReader<'_>,
    mode: NetworkMode,
    subnets: &[Subnet],
) -> Option<AdvertisingMode> {
    let has_v6 = subnets.iter().any(|subnet| subnet.family() == Family::Ipv6);
    if network.has("ra") {
        if !has_v6 && network.has("subnets") {
            let expected = "a subnet of IPv6 among `subnets`: router advertisements are of IPv6";
            network.note("ra", "the field `ra`".to_owned(), expected.to_owned());
        }
        let written = network.read_word("ra", AdvertisingMode::ALL, &[]).flatten();
        if matches!(written, Some(AdvertisingMode::Slaac | AdvertisingMode::Stateless)) {
            check_lengths(network, subnets);
        }
        return written;
    }
    if !has_v6 || !(mode.is_routed() || network.has("dhcp6")) {
        return None;
    }
    Some(if network.has("dhcp6") { AdvertisingMode::Stateful } else { AdvertisingMode::Slaac })
}

/// Stations make addresses of prefixes of 64 bits alone.
fn check_lengths(network: &TableReader<'_>, subnets: &[Subnet]) {
    let mut v6 = subnets.iter().filter(|subnet| subnet.family() == Family::Ipv6).peekable();
    if v6.peek().is_some() && v6.all(|subnet| subnet.prefix.length() != 64) {
        let expected = "\"stateful\" or \"off\", or a subnet of 64 bits: stations make addresses of no other (RFC 4291, 2.5.1)";
        network.note("ra", format!("\"{}\"", network.text("ra").unwrap_or_default()), expected.to_owned());
    }
}

/// The server as far as it is right; what is wrong is noted.
pub(super) fn read(
    network: &TableReader<'_>,
    subnets: &[Subnet],
    advertising: Option<AdvertisingMode>,
) -> Option<Dhcp6> {
    let Some(table) = network.table("dhcp6") else {
        check_missing(network, advertising);
        return None;
    };
    table.check_fields(&schema::DHCP6);
    if advertising != Some(AdvertisingMode::Stateful) {
        check_stateful(network, &table, advertising);
    }
    let mut candidates = subnets.iter().filter(|subnet| subnet.family() == Family::Ipv6);
    let written = written_range(&table);
    let first = written.flatten().map(|(first, _)| IpAddr::from(first));
    let subnet = first
        .and_then(|first| candidates.clone().find(|subnet| subnet.prefix.contains(first)))
        .or_else(|| candidates.next());
    match (subnet, written.flatten()) {
        (None, _) if network.has("subnets") => {
            let expected = "a subnet of IPv6 among `subnets`: DHCPv6 lends addresses of IPv6";
            network.note("dhcp6", "the field `dhcp6`".to_owned(), expected.to_owned());
        }
        (Some(subnet), Some(range)) => check_range(&table, subnet, range),
        _ => {}
    }
    let placeholder = Subnet { address: Ipv6Addr::UNSPECIFIED.into(), prefix: Prefix::all(Family::Ipv6) };
    let read = Dhcp6 {
        subnet: subnet.copied().unwrap_or(placeholder),
        range: written.unwrap_or_else(|| subnet.and_then(default_range)),
        lease_s: dhcp::lease(&table).unwrap_or(dhcp::LEASE_S),
        dns_servers: servers(&table, "dns_servers", SERVERS, SERVERS_MAX),
        search: dhcp::domains(&table, "search"),
        ntp_servers: servers(&table, "ntp_servers", TIME_SERVERS, LIST_MAX).unwrap_or_default(),
        boot_url: table.read("boot_url", BOOT_URL, boot_url),
    };
    subnet.is_some().then(|| Dhcp6 {
        range: read.range.filter(|_| advertising == Some(AdvertisingMode::Stateful)),
        ..read
    })
}

fn check_missing(network: &TableReader<'_>, advertising: Option<AdvertisingMode>) {
    if !network.has("dhcp6")
        && matches!(advertising, Some(AdvertisingMode::Stateful | AdvertisingMode::Stateless))
    {
        let expected = "`dhcp6 = {}` beside it: stations are told to ask a DHCPv6 server";
        let found = format!("\"{}\"", AdvertisingMode::name(advertising));
        network.note("ra", found, expected.to_owned());
    }
}

/// Who asks nobody for an address needs none lent.
fn check_stateful(network: &TableReader<'_>, table: &TableReader<'_>, advertising: Option<AdvertisingMode>) {
    if advertising != Some(AdvertisingMode::Stateless) && network.has("ra") {
        let expected = "ra = \"stateful\" or \"stateless\" beside it: without, stations do not ask";
        network.note("dhcp6", "the field `dhcp6`".to_owned(), expected.to_owned());
        return;
    }
    for field in ["range", "lease"].into_iter().filter(|field| table.has(field) && network.has("ra")) {
        let expected = "ra = \"stateful\": stations that make their addresses themselves are lent none";
        table.note(field, format!("the field `{field}`"), expected.to_owned());
    }
}

/// As it is written: addresses, or none.
type Range = Option<(Ipv6Addr, Ipv6Addr)>;

fn written_range(table: &TableReader<'_>) -> Option<Range> {
    table.read("range", RANGE, |value| match values::text(value)? {
        "none" => Some(None),
        text => addresses::range(text).map(Some),
    })
}

/// The last addresses of the subnet, as many as a range may have: the first ones are often given by hand.
fn default_range(subnet: &Subnet) -> Range {
    let (IpAddr::V6(first), IpAddr::V6(last)) = subnet.stations() else { return None };
    let low = last.to_bits().saturating_sub(RANGE_MAX - 1).max(first.to_bits());
    Some((low.into(), last))
}

fn check_range(table: &TableReader<'_>, subnet: &Subnet, (first, last): (Ipv6Addr, Ipv6Addr)) {
    let found = || format!("\"{first}-{last}\"");
    if !subnet.is_station(first.into()) || !subnet.is_station(last.into()) {
        table.note("range", found(), format!("addresses of stations of one subnet, {}", subnet.prefix));
    } else if (IpAddr::from(first)..=IpAddr::from(last)).contains(&subnet.address) {
        let expected = format!("a range without {}, which is the gateway's own address", subnet.address);
        table.note("range", found(), expected);
    } else if last.to_bits() - first.to_bits() >= RANGE_MAX {
        table.note("range", found(), format!("at most {RANGE_MAX} addresses"));
    }
}

/// A list of at most so many addresses; `None` if it is left out.
fn servers(table: &TableReader<'_>, field: &str, expected: &str, most: usize) -> Option<Vec<Ipv6Addr>> {
    let read = table.read_list(field, expected, |value| {
        addresses::address_v6(value).ok_or_else(|| "an IPv6 address of one station in quotes".to_owned())
    })?;
    if read.len() > most {
        table.note(field, format!("{} items", read.len()), format!("at most {most}"));
    }
    Some(read)
}

/// A URL as firmware wants it (RFC 5970, 3.1): a scheme, and behind it something that is read as it stands.
fn boot_url(value: &DeValue<'_>) -> Option<String> {
    let text = values::text(value)?;
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|one| one.is_ascii_alphanumeric() || "+-.".contains(one));
    let is_right = is_scheme
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && text.len() <= BOOT_URL_MAX;
    is_right.then(|| text.to_owned())
}
