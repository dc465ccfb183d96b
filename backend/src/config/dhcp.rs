//! `dhcp` of a network: what its server lends and tells.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;
use viaduct_switch::dhcp::Route;
use viaduct_switch::dhcp::server::{Boot, LEASE_MAX_S, LEASE_MIN_S, LIST_MAX, RANGE_MAX};
use viaduct_switch::domain::DomainName;
use viaduct_switch::security::{Family, Prefix};

use super::addresses::{self, Subnet};
use super::reader::TableReader;
use super::{schema, values};

/// How long an address is lent unless said.
pub(super) const LEASE_S: u32 = 12 * 3600;

/// A duration is told in whole days where that is exact: ten years.
const LEASE: &str = "a duration from \"60s\" to \"3650d\" with its unit (s, m, h, d), like \"12h\"";
const RANGE: &str = "the first and the last address in quotes, like \"10.0.0.100-10.0.0.200\", or \"none\"";
const ADDRESSES: &str = "a list of at most 16 IPv4 addresses in quotes, like [\"10.0.0.53\"]";
const NAMES: &str = "a list of at most 16 domains in quotes, like [\"home.lan\"]";
pub(super) const DOMAIN: &str = "a domain's name in quotes, like \"home.lan\": labels of letters, digits, `-` and `_`, at most 63 \
                                 each and 253 in all";
const ROUTES: &str = "a list of at most 16 tables, like [{ to = \"10.9.0.0/16\", via = \"10.0.0.9\" }]";

/// The longest names of a boot file and of its server (RFC 2131, 2: 128 and 64 bytes with the final zero).
const BOOT_FILE_MAX: usize = 127;
const BOOT_NAME_MAX: usize = 63;

/// A network's DHCP server. What is `None` follows from the rest of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dhcp {
    /// The subnet whose addresses are lent, and the server's own address there.
    pub subnet: Subnet,
    /// The first and the last address that are lent to whoever asks; `None`: only ports with an address of their own get one.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// For how long an address is lent.
    pub lease_s: u32,
    /// Routers; `None`: the gateway, if packets leave the network by it.
    pub routers: Option<Vec<Ipv4Addr>>,
    /// Name servers; `None`: the gateway, if it is one.
    pub dns_servers: Option<Vec<Ipv4Addr>>,
    /// The domain; `None`: the name server's.
    pub domain: Option<DomainName>,
    /// Domains in which names are looked up; `None`: the name server's.
    pub search: Option<Vec<DomainName>>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The MTU that stations are told; `None`: the network's.
    pub mtu: Option<u16>,
    /// Routes beside the default one.
    pub routes: Vec<Route>,
    /// What to boot from.
    pub boot: Option<Boot>,
}

/// The server as far as it is right; what is wrong is noted.
pub(super) fn read(network: &TableReader<'_>, subnets: &[Subnet]) -> Option<Dhcp> {
    let table = network.table("dhcp")?;
    table.check_fields(&schema::DHCP);
    let mut candidates = subnets.iter().filter(|subnet| subnet.family() == Family::Ipv4);
    let written = written_range(&table);
    let first = written.flatten().map(|(first, _)| IpAddr::from(first));
    let subnet = first
        .and_then(|first| candidates.clone().find(|subnet| subnet.prefix.contains(first)))
        .or_else(|| candidates.next());
    if subnet.is_none() && network.has("subnets") {
        let expected = "a subnet of IPv4 among `subnets`: DHCP lends addresses of IPv4";
        network.note("dhcp", "the field `dhcp`".to_owned(), expected.to_owned());
    }
    // What else is wrong is told as well.
    let read = settings(&table, subnet, written);
    if let Some(subnet) = subnet {
        check_near(&table, subnet, &read);
    }
    subnet.map(|subnet| Dhcp { subnet: *subnet, ..read })
}

fn settings(table: &TableReader<'_>, subnet: Option<&Subnet>, range: Option<Range>) -> Dhcp {
    if let (Some(subnet), Some(Some(range))) = (subnet, range) {
        check_range(table, subnet, range);
    }
    let placeholder = Subnet { address: Ipv4Addr::UNSPECIFIED.into(), prefix: Prefix::all(Family::Ipv4) };
    Dhcp {
        subnet: placeholder,
        range: range.unwrap_or_else(|| subnet.and_then(whole)),
        lease_s: lease(table).unwrap_or(LEASE_S),
        routers: list(table, "routers"),
        dns_servers: list(table, "dns_servers"),
        domain: table.read("domain", DOMAIN, domain),
        search: domains(table, "search"),
        ntp_servers: list(table, "ntp_servers").unwrap_or_default(),
        mtu: table.read("mtu", "a number from 68 to 65535 (RFC 2132, 5.1)", |value| {
            values::number(value, 68..=u16::MAX)
        }),
        routes: routes(table),
        boot: boot(table),
    }
}

/// As it is written: addresses, or none.
type Range = Option<(Ipv4Addr, Ipv4Addr)>;

fn written_range(table: &TableReader<'_>) -> Option<Range> {
    table.read("range", RANGE, |value| match values::text(value)? {
        "none" => Some(None),
        text => addresses::range(text).map(Some),
    })
}

/// All stations of the subnet, or as many as a range may have.
fn whole(subnet: &Subnet) -> Range {
    let (IpAddr::V4(first), IpAddr::V4(last)) = subnet.stations() else { return None };
    let last = last.to_bits().min(first.to_bits().saturating_add(RANGE_MAX - 1));
    Some((first, last.into()))
}

fn check_range(table: &TableReader<'_>, subnet: &Subnet, (first, last): (Ipv4Addr, Ipv4Addr)) {
    let found = || format!("\"{first}-{last}\"");
    let (low, high) = subnet.stations();
    if !subnet.is_station(first.into()) || !subnet.is_station(last.into()) {
        let expected = format!("addresses of stations of one subnet, {low} to {high} in {}", subnet.prefix);
        table.note("range", found(), expected);
    } else if (first..=last).contains(&own(subnet)) {
        let expected = format!("a range without {}, which is the gateway's own address", subnet.address);
        table.note("range", found(), expected);
    } else if last.to_bits() - first.to_bits() >= RANGE_MAX {
        table.note("range", found(), format!("at most {RANGE_MAX} addresses"));
    }
}

/// Stations reach routers that are in their own subnet.
fn check_near(table: &TableReader<'_>, subnet: &Subnet, read: &Dhcp) {
    let routers = read.routers.iter().flatten().map(|router| ("routers", *router));
    let routes = read.routes.iter().map(|route| ("routes", route.router));
    for (field, router) in routers.chain(routes).filter(|(_, router)| !subnet.is_station((*router).into())) {
        let expected = format!("routers that the stations reach: in {}", subnet.prefix);
        table.note(field, format!("\"{router}\""), expected);
    }
}

fn own(subnet: &Subnet) -> Ipv4Addr {
    match subnet.address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// `lease` in seconds.
pub(super) fn lease(table: &TableReader<'_>) -> Option<u32> {
    const BOUNDS: RangeInclusive<u32> = LEASE_MIN_S..=LEASE_MAX_S;
    let whole = |time: Duration| {
        if time.subsec_nanos() == 0 { u32::try_from(time.as_secs()).ok() } else { None }
    };
    table.read("lease", LEASE, |value| {
        values::duration(value).and_then(whole).filter(|seconds| BOUNDS.contains(seconds))
    })
}

/// A list of addresses; `None` if it is left out.
fn list(table: &TableReader<'_>, field: &str) -> Option<Vec<Ipv4Addr>> {
    let expected = "an IPv4 address of one station in quotes";
    let read = table.read_list(field, ADDRESSES, |value| {
        addresses::address_v4(value).ok_or_else(|| expected.to_owned())
    })?;
    check_length(table, field, read.len());
    Some(read)
}

/// A list of domains; `None` if it is left out.
pub(super) fn domains(table: &TableReader<'_>, field: &str) -> Option<Vec<DomainName>> {
    let read = table.read_list(field, NAMES, |value| domain(value).ok_or_else(|| DOMAIN.to_owned()))?;
    check_length(table, field, read.len());
    Some(read)
}

/// A domain's name.
pub(super) fn domain(value: &DeValue<'_>) -> Option<DomainName> {
    DomainName::from_str(values::text(value)?).ok()
}

/// Notes a list that is too long for a message.
pub(super) fn check_length(table: &TableReader<'_>, field: &str, length: usize) {
    if length > LIST_MAX {
        table.note(field, format!("{length} items"), format!("at most {LIST_MAX}"));
    }
}

fn routes(table: &TableReader<'_>) -> Vec<Route> {
    let tables = table.read_tables("routes", ROUTES);
    check_length(table, "routes", tables.len());
    let route = |table: &TableReader<'_>| {
        table.check_fields(&schema::DHCP_ROUTE);
        let prefix = prefix_v4(table, "to");
        let via =
            required(table, "via", "the IPv4 address of the next router in quotes", addresses::address_v4);
        let prefix = prefix?;
        let IpAddr::V4(destination) = prefix.address() else { return None };
        Some(Route { destination, prefix: prefix.length(), router: via? })
    };
    tables.iter().filter_map(route).collect()
}

/// A prefix of IPv4 that must be written.
pub(super) fn prefix_v4(table: &TableReader<'_>, field: &str) -> Option<Prefix> {
    let expected = "a prefix of IPv4 in quotes, like \"10.9.0.0/16\"";
    required_prefix(table, field, expected, |prefix| prefix.family() == Family::Ipv4)
}

/// A prefix that must be written. A text that is none is told why.
pub(super) fn required_prefix(
    table: &TableReader<'_>,
    field: &str,
    expected: &str,
    is_right: impl Fn(&Prefix) -> bool,
) -> Option<Prefix> {
    let written = table.text(field).map(str::parse::<Prefix>);
    let reason = written.as_ref().and_then(|read| read.as_ref().err()).map(ToString::to_string);
    let expected = reason.as_deref().unwrap_or(expected);
    required(table, field, expected, |_| written.and_then(Result::ok).filter(is_right))
}

/// A field that must be written.
pub(super) fn required<'f, T>(
    table: &TableReader<'f>,
    field: &str,
    expected: &str,
    parse: impl FnOnce(&DeValue<'f>) -> Option<T>,
) -> Option<T> {
    if !table.has(field) {
        table.note(field, "nothing".to_owned(), expected.to_owned());
    }
    table.read(field, expected, parse)
}

fn boot(dhcp: &TableReader<'_>) -> Option<Boot> {
    let table = dhcp.table("boot")?;
    table.check_fields(&schema::DHCP_BOOT);
    let server =
        required(&table, "server", "the boot server's IPv4 address in quotes", addresses::address_v4);
    let expected = format!("the file's name in quotes: at most {BOOT_FILE_MAX} bytes");
    let file = required(&table, "file", &expected, |value| plain(value, BOOT_FILE_MAX));
    let expected = format!("the boot server's name in quotes: at most {BOOT_NAME_MAX} bytes");
    let server_name = table.read("server_name", &expected, |value| plain(value, BOOT_NAME_MAX));
    Some(Boot { next_server: server?, server_name: server_name.unwrap_or_default(), file: file? })
}

/// A text without control characters that is not empty.
fn plain(value: &DeValue<'_>, most: usize) -> Option<String> {
    let text = values::text(value)?;
    let is_plain = !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned())
}
