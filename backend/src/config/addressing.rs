//! `address` and `gateway` of an uplink: what the switch itself is out there.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::security::Family;

use super::addresses::{self, Subnet};
use super::reader::TableReader;
use super::values;

/// The most addresses of an uplink.
const ADDRESSES_MAX: usize = 16;

const ADDRESS: &str = "an address with the length of its subnet's prefix in quotes, like \"192.168.99.108/24\", \"dhcp\", or a list of them";
const GATEWAY: &str = "an address in quotes, or one of each version of IP in a list, like \"192.168.99.1\"";

/// The addresses by which networks of mode `nat` and `routed` are known outside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addressing {
    /// Whether an IPv4 address and the routers come from a DHCP server out there.
    pub is_dhcp: bool,
    /// The addresses and their subnets as they are written, the preferred one of each version first.
    pub addresses: Vec<Subnet>,
    /// The next routers, at most one of each version of IP.
    pub gateways: Vec<IpAddr>,
}

impl Addressing {
    /// Whether there is an address of this version of IP, or will be.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        let is_written = self.addresses.iter().any(|subnet| subnet.family() == family);
        is_written || (self.is_dhcp && family == Family::Ipv4)
    }

    /// Whether nothing that is written is right.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_dhcp && self.addresses.is_empty()
    }

    /// The next router of this version of IP.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| Family::of(*gateway) == family)
    }

    /// The first IPv4 address, if one is written.
    #[must_use]
    pub fn address_v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|subnet| match subnet.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// As in a file.
    #[must_use]
    pub fn written(&self) -> String {
        let dhcp = self.is_dhcp.then(|| "dhcp".to_owned());
        let all: Vec<String> =
            dhcp.into_iter().chain(self.addresses.iter().map(ToString::to_string)).collect();
        if all.is_empty() { "none".to_owned() } else { all.join("+") }
    }
}

/// The addresses as far as they are right; `None` if none is written.
pub(super) fn read(table: &TableReader<'_>) -> Option<Addressing> {
    if !table.has("address") {
        if table.has("gateway") {
            let expected =
                "`address` beside it: without an address of its own the switch sends nothing there";
            table.note("gateway", "the field `gateway`".to_owned(), expected.to_owned());
        }
        return None;
    }
    let (is_dhcp, addresses) = addresses_of(table);
    // What fits an address that is wrong nobody knows.
    let is_known = table.list_len("address").unwrap_or(1) == addresses.len() + usize::from(is_dhcp);
    let gateways = gateways(table, is_dhcp, is_known, &addresses);
    Some(Addressing { is_dhcp, addresses, gateways })
}

fn addresses_of(table: &TableReader<'_>) -> (bool, Vec<Subnet>) {
    let (mut is_dhcp, mut found): (bool, Vec<Subnet>) = (false, Vec::new());
    table.read_items("address", ADDRESS, |value| {
        let text = values::text(value).ok_or_else(|| ADDRESS.to_owned())?;
        if text == "dhcp" {
            is_dhcp = true;
            return Ok(());
        }
        if !text.contains('/') {
            return Err(ADDRESS.to_owned());
        }
        let subnet = addresses::subnet(text, false)?;
        if found.iter().any(|other| other.address == subnet.address) {
            return Err("each address once".to_owned());
        }
        let same = |other: &&Subnet| {
            addresses::overlap(other.prefix, subnet.prefix) && other.prefix != subnet.prefix
        };
        if let Some(other) = found.iter().find(same) {
            return Err(format!("the prefix of {other}, whose addresses these are too, or another subnet"));
        }
        found.push(subnet);
        Ok(())
    });
    if is_dhcp && found.iter().any(|subnet| subnet.family() == Family::Ipv4) {
        let expected = "either \"dhcp\" or addresses of IPv4";
        table.note("address", "both".to_owned(), expected.to_owned());
    }
    let length = table.list_len("address").unwrap_or(1);
    if !(1..=ADDRESSES_MAX).contains(&length) {
        table.note("address", format!("{length} addresses"), format!("1 to {ADDRESSES_MAX}"));
    }
    (is_dhcp, found)
}

fn gateways(table: &TableReader<'_>, is_dhcp: bool, is_known: bool, addresses: &[Subnet]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    table.read_items("gateway", GATEWAY, |value| {
        let gateway = addresses::address(value).ok_or_else(|| GATEWAY.to_owned())?;
        if found.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            return Err("one of each version of IP".to_owned());
        }
        found.push(gateway);
        if is_dhcp && gateway.is_ipv4() {
            return Err("none of IPv4: the DHCP server names it".to_owned());
        }
        if addresses.iter().any(|subnet| subnet.address == gateway) {
            return Err("the next router's address, not the uplink's own".to_owned());
        }
        let is_near = !is_known
            || gateway.is_ipv6() && addresses::is_link_local(gateway)
            || addresses.iter().any(|subnet| subnet.is_station(gateway));
        if is_near { Ok(()) } else { Err(reachable(gateway, addresses)) }
    });
    found
}

/// What to write instead of a gateway that is in none of the uplink's subnets.
fn reachable(gateway: IpAddr, addresses: &[Subnet]) -> String {
    let same = addresses.iter().find(|subnet| subnet.family() == Family::of(gateway));
    match same {
        Some(subnet) => {
            format!("the address of a router in one of the uplink's subnets, such as {}", subnet.prefix)
        }
        None => format!("an `address` of {} beside it", Family::of(gateway)),
    }
}
