//! `port_security`, `addresses`, `allowed_address_pairs` and `trusted` of a port: what its guest may send.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use viaduct_switch::MacAddress;
use viaduct_switch::security::Prefix;

use super::cross::Placed;
use super::reader::TableReader;
use super::{Port, addresses, port, schema, values};

/// How many addresses, and how many pairs, a port has at most: each is compared with each frame.
const ADDRESSES_MAX: usize = 64;

const SWITCH: &str = "true or false, without quotes";
const ADDRESS: &str =
    "an address of one station in quotes, without a length, like \"10.0.0.5\" or \"fd00::5\"";
const PAIRS: &str = "a list of tables, like [{ address = \"10.0.0.100\" }]";
const PAIR: &str = "an IP address or a prefix in quotes, like \"10.0.0.100\" or \"10.9.0.0/16\"";

/// What a port's guest is held to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSecurity {
    /// Its MAC address.
    pub mac: MacAddress,
    /// Its addresses; without any, it is held to its MAC address.
    pub addresses: Vec<IpAddr>,
    /// Addresses that it may use beside them.
    pub pairs: Vec<AddressPair>,
    /// Whether it may be a router and a DHCP server.
    pub trusted: bool,
}

/// An item of `allowed_address_pairs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressPair {
    /// The addresses.
    pub prefix: Prefix,
    /// The MAC address that they come with; `None`: the port's.
    pub mac: Option<MacAddress>,
}

impl fmt::Display for AddressPair {
    /// For people: `10.0.0.100/32`, or `10.9.0.0/16 at 52:54:00:00:00:09`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)?;
        self.mac.map_or(Ok(()), |mac| write!(f, " at {mac}"))
    }
}

/// What the port is held to, as far as it is right; what is wrong is noted. `mac` is the guest's address, if it is known.
pub(super) fn read(
    table: &TableReader<'_>,
    mac: Option<MacAddress>,
    addresses: &[IpAddr],
    is_filtered: bool,
) -> Option<PortSecurity> {
    let pairs = pairs(table);
    let trusted = table.read("trusted", SWITCH, values::boolean).unwrap_or(false);
    let is_implied = is_filtered || table.has("addresses") || table.has("allowed_address_pairs");
    let is_on = table.read("port_security", SWITCH, values::boolean).unwrap_or(is_implied);
    if !is_on {
        note_idle(table);
        return None;
    }
    if mac.is_none() && !table.has("mac") {
        let expected = "the `mac` of what is behind the interface, which port security needs";
        table.note("mac", "nothing".to_owned(), expected.to_owned());
    }
    Some(PortSecurity { mac: mac?, addresses: addresses.to_vec(), pairs, trusted })
}

/// Notes fields that say something only to port security, where there is none.
fn note_idle(table: &TableReader<'_>) {
    let of_interfaces =
        if table.has("type") && table.text("type") != Some("vhost-user") { &["mac"][..] } else { &[] };
    let fields = ["allowed_address_pairs", "trusted"].iter().chain(of_interfaces);
    for field in fields.filter(|field| table.has(field)) {
        let expected = "port_security = true beside it: without, it says nothing; or leave it out";
        table.note(field, format!("the field `{field}`"), expected.to_owned());
    }
}

/// A port's own addresses, as far as they are right.
pub(super) fn addresses(table: &TableReader<'_>) -> Vec<IpAddr> {
    let read = table.read_list("addresses", &format!("a list, each item {ADDRESS}"), |value| {
        addresses::address(value).ok_or_else(|| ADDRESS.to_owned())
    });
    let addresses = read.unwrap_or_default();
    check_length(table, "addresses", addresses.len());
    addresses
}

fn pairs(table: &TableReader<'_>) -> Vec<AddressPair> {
    let tables = table.read_tables("allowed_address_pairs", PAIRS);
    check_length(table, "allowed_address_pairs", tables.len());
    tables.iter().filter_map(pair).collect()
}

fn pair(table: &TableReader<'_>) -> Option<AddressPair> {
    table.check_fields(&schema::ADDRESS_PAIR);
    let mac = port::mac(table);
    if !table.has("address") {
        table.note("address", "nothing".to_owned(), PAIR.to_owned());
    }
    let written = table.text("address").map(str::parse::<Prefix>);
    let expected = match written {
        Some(Err(error)) => error.to_string(),
        Some(Ok(prefix)) if prefix.length() == 0 => {
            "fewer than all addresses; a port that may use any has port_security = false".to_owned()
        }
        _ => PAIR.to_owned(),
    };
    let prefix = table
        .read("address", &expected, |_| written.and_then(Result::ok).filter(|prefix| prefix.length() > 0))?;
    Some(AddressPair { prefix, mac })
}

fn check_length(table: &TableReader<'_>, field: &str, length: usize) {
    if length > ADDRESSES_MAX {
        let expected = format!("at most {ADDRESSES_MAX}; one pair with a prefix can stand for many");
        table.note(field, format!("{length} items"), expected);
    }
}

/// Two ports of one network must not have one address of their own; one that moves between them is an address pair.
pub(super) fn check(ports: &[Placed<'_, Port>]) {
    let mut first: HashMap<(&str, IpAddr), &Placed<'_, Port>> = HashMap::new();
    for placed in ports {
        let addresses = placed.value.security.iter().flat_map(|security| &security.addresses);
        for address in addresses {
            for network in placed.value.membership.networks() {
                let other = *first.entry((network, *address)).or_insert(placed);
                // Also what one port says twice.
                if other.name != placed.name {
                    let expected = format!(
                        "an address of its own: port.{} (line {}) has it in the same network; what several ports use belongs \
                         into allowed_address_pairs",
                        other.name,
                        other.table.line("addresses")
                    );
                    placed.table.note("addresses", format!("\"{address}\""), expected);
                }
            }
        }
    }
}
