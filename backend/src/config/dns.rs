//! `dns` of a network: the name server at its gateway.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use toml::de::DeValue;
use viaduct_switch::domain::DomainName;

use super::addresses;
use super::dhcp::{self, DOMAIN};
use super::reader::TableReader;
use super::{schema, values};

/// The port of name servers (RFC 1035, 4.2).
const PORT: u16 = 53;
/// How many name servers are asked at most.
const UPSTREAM_MAX: usize = 8;
/// How many addresses a host may have, and how many hosts there may be.
const HOST_ADDRESSES_MAX: usize = 16;
const HOSTS_MAX: usize = 4096;

const UPSTREAM: &str = "a list of 1 to 8 name servers in quotes, with a port if it is not 53, like [\"9.9.9.9\", \"[fd00::53]:5353\"]";
const TABLE: &str =
    "a table, like { domain = \"home.lan\", upstream = [\"9.9.9.9\"] }, or {} for every default";
const HOST: &str = "an address in quotes, or a list of them, like \"10.0.0.53\"";

/// A network's name server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// The domain of its stations' names.
    pub domain: Option<DomainName>,
    /// The servers that are asked for all else; empty: those that came with the uplink's address, or else those of this machine
    /// (resolv.conf(5)).
    pub upstream: Vec<SocketAddr>,
    /// By whose sockets they are asked; `None`: the uplink's, if packets of the network leave by one.
    pub via: Option<AskedVia>,
    /// Domains in which stations look names up; empty: `domain`.
    pub search: Vec<DomainName>,
    /// Further names and their addresses.
    pub hosts: BTreeMap<DomainName, Vec<IpAddr>>,
}

/// By whose sockets other name servers are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskedVia {
    /// The switch's own at the uplink, with its address there.
    Uplink,
    /// This machine's.
    Host,
}

impl AskedVia {
    /// All of them, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[("uplink", Self::Uplink), ("host", Self::Host)];
}

/// The name server as far as it is right; what is wrong is noted.
pub(super) fn read(network: &TableReader<'_>) -> Option<Dns> {
    if network.has("dns") && !network.is_table("dns") {
        return network.read("dns", TABLE, |_| None);
    }
    let table = network.table("dns")?;
    table.check_fields(&schema::DNS);
    Some(Dns {
        domain: table.read("domain", DOMAIN, dhcp::domain),
        upstream: upstream(&table),
        via: table.read_word("via", AskedVia::ALL, &[]),
        search: dhcp::domains(&table, "search").unwrap_or_default(),
        hosts: hosts(&table),
    })
}

fn upstream(table: &TableReader<'_>) -> Vec<SocketAddr> {
    let expected = "a name server's address in quotes, with a port if it is not 53";
    let read =
        table.read_items("upstream", UPSTREAM, |value| server(value).ok_or_else(|| expected.to_owned()));
    let length = table.list_len("upstream").unwrap_or(1);
    if !(1..=UPSTREAM_MAX).contains(&length) {
        table.note("upstream", format!("{length} servers"), UPSTREAM.to_owned());
    }
    read.unwrap_or_default()
}

fn server(value: &DeValue<'_>) -> Option<SocketAddr> {
    if let Some(address) = addresses::address(value) {
        return Some(SocketAddr::new(address, PORT));
    }
    let server: SocketAddr = values::text(value)?.parse().ok()?;
    (server.port() > 0 && addresses::is_station(server.ip())).then_some(server)
}

/// `hosts`: a table from names to addresses.
fn hosts(dns: &TableReader<'_>) -> BTreeMap<DomainName, Vec<IpAddr>> {
    let Some(table) = dns.table("hosts") else { return BTreeMap::new() };
    if table.len() > HOSTS_MAX {
        dns.note("hosts", format!("{} names", table.len()), format!("at most {HOSTS_MAX}"));
        return BTreeMap::new();
    }
    let mut hosts: BTreeMap<DomainName, Vec<IpAddr>> = BTreeMap::new();
    for field in table.fields() {
        let Ok(name) = DomainName::from_str(field) else {
            table.note(field, format!("the name \"{}\"", values::shortened(field)), DOMAIN.to_owned());
            continue;
        };
        let read =
            table.read_items(field, HOST, |value| addresses::address(value).ok_or_else(|| HOST.to_owned()));
        let length = table.list_len(field).unwrap_or(1);
        if !(1..=HOST_ADDRESSES_MAX).contains(&length) {
            table.note(field, format!("{length} addresses"), format!("1 to {HOST_ADDRESSES_MAX} addresses"));
        }
        hosts.entry(name).or_default().extend(read.unwrap_or_default());
    }
    hosts
}
