//! `[[network.NAME.static]]`: stations whose place is written.

use std::collections::HashSet;
use std::net::IpAddr;

use toml::de::DeValue;
use viaduct_switch::MacAddress;
use viaduct_switch::security::Family;

use super::super::addresses::{self, Subnet};
use super::super::dhcp::required;
use super::super::reader::TableReader;
use super::super::{schema, values};

/// The most stations of a network whose place is written.
pub const STATIONS_MAX: usize = 100_000;

const STATIONS: &str =
    "tables, each under [[network.NAME.static]], like mac = \"52:54:00:00:01:02\", vtep = \"192.168.99.2\"";
const MAC: &str = "the Ethernet address of one station in quotes, like \"52:54:00:00:01:02\"";
const ADDRESS: &str = "the station's IP address in quotes, like \"10.101.0.2\", or a list of them";
const VTEP: &str = "the address of the machine behind which the station is, in quotes, like \"192.168.99.2\"";

/// A station on another machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticStation {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Its IP addresses, for which ARP and neighbour discovery are answered here.
    pub addresses: Vec<IpAddr>,
    /// The machine's end of the tunnel.
    pub vtep: IpAddr,
}

/// The stations as far as they are right; what is wrong is noted.
pub(super) fn read(network: &TableReader<'_>, subnets: &[Subnet]) -> Vec<StaticStation> {
    let tables = network.read_tables("static", STATIONS);
    if tables.len() > STATIONS_MAX {
        network.note("static", format!("{} tables", tables.len()), format!("at most {STATIONS_MAX}"));
        return Vec::new();
    }
    let mut seen = Seen::default();
    tables.iter().filter_map(|table| station(table, subnets, &mut seen)).collect()
}

/// What is taken already.
#[derive(Default)]
struct Seen {
    macs: HashSet<MacAddress>,
    addresses: HashSet<IpAddr>,
}

fn station(table: &TableReader<'_>, subnets: &[Subnet], seen: &mut Seen) -> Option<StaticStation> {
    table.check_fields(&schema::STATIC);
    let mac = required(table, "mac", MAC, values::station);
    let addresses = table.read_items("address", ADDRESS, |value| address(value, subnets, seen));
    let vtep = required(table, "vtep", VTEP, addresses::address);
    let station = StaticStation { mac: mac?, addresses: addresses.unwrap_or_default(), vtep: vtep? };
    if !seen.macs.insert(station.mac) {
        let expected = "each station once; a further `address` stands in a list with the first one";
        table.note("mac", format!("\"{}\"", station.mac), expected.to_owned());
    }
    Some(station)
}

/// An address that is a station's of the network, and nobody else's.
fn address(value: &DeValue<'_>, subnets: &[Subnet], seen: &mut Seen) -> Result<IpAddr, String> {
    let address = addresses::address(value).ok_or_else(|| ADDRESS.to_owned())?;
    fits(address, subnets)?;
    if seen.addresses.insert(address) { Ok(address) } else { Err("each address once".to_owned()) }
}

/// Whether a station of a network with these subnets may have the address.
///
/// # Errors
/// What would be right.
pub(crate) fn fits(address: IpAddr, subnets: &[Subnet]) -> Result<(), String> {
    let mut same = subnets.iter().filter(|subnet| subnet.family() == Family::of(address)).peekable();
    let subnet = subnets.iter().find(|subnet| subnet.prefix.contains(address));
    match subnet {
        Some(subnet) if subnet.address == address => {
            Err("an address that is not that of the network's gateway".to_owned())
        }
        Some(subnet) if !subnet.is_station(address) => {
            let (low, high) = subnet.stations();
            Err(format!("the address of a station, {low} to {high}"))
        }
        None if same.peek().is_some() && !addresses::is_link_local(address) => {
            let subnets: Vec<String> = same.map(|subnet| subnet.prefix.to_string()).collect();
            Err(format!("an address in {}, the network's subnets", subnets.join(" or ")))
        }
        _ => Ok(()),
    }
}

/// The VTEPs of stations, and where they stand; nothing is noted.
pub(super) fn vteps<'f>(network: &TableReader<'f>) -> impl Iterator<Item = (TableReader<'f>, IpAddr)> {
    let vtep = |table: TableReader<'f>| {
        let vtep = table.text("vtep")?.parse().ok()?;
        Some((table, vtep))
    };
    network.items("static").filter_map(vtep)
}

/// The Ethernet addresses of stations, and where they stand; nothing is noted.
pub(super) fn macs<'f>(network: &TableReader<'f>) -> impl Iterator<Item = (TableReader<'f>, MacAddress)> {
    let mac = |table: TableReader<'f>| {
        let mac = table.text("mac")?.parse().ok()?;
        Some((table, mac))
    };
    network.items("static").filter_map(mac)
}
