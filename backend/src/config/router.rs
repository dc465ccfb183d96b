//! `[router.NAME]`: networks whose stations reach one another by their gateways.

use std::collections::BTreeSet;
use std::net::IpAddr;

use viaduct_switch::security::Prefix;

use super::addresses;
use super::dhcp::{required, required_prefix};
use super::names::{choice, nearest};
use super::reader::TableReader;
use super::{schema, values};

/// The most routes of a router.
const ROUTES_MAX: usize = 4096;

const ROUTES: &str = "a list of tables, like [{ to = \"10.9.0.0/16\", via = \"10.0.0.9\" }]";
const VIA: &str = "the address of the next router in quotes, like \"10.0.0.9\"";

/// A router between networks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Router {
    /// Its networks, by name. No other router has one of them.
    pub networks: Vec<String>,
    /// Where else packets go.
    pub routes: Vec<StaticRoute>,
}

/// A way that the file names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StaticRoute {
    /// Where packets are to.
    pub to: Prefix,
    /// The next router; of the same version of IP.
    pub via: IpAddr,
}

impl std::fmt::Display for StaticRoute {
    /// For people: `10.9.0.0/16 via 10.0.0.9`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} via {}", self.to, self.via)
    }
}

/// The router as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, known: &BTreeSet<&str>) -> Router {
    table.check_fields(&schema::ROUTER);
    Router { networks: networks(table, known), routes: routes(table) }
}

fn networks(table: &TableReader<'_>, known: &BTreeSet<&str>) -> Vec<String> {
    let expected = format!("a list of networks' names in quotes: {}", choice("network", known));
    if !table.has("networks") {
        table.note("networks", "nothing".to_owned(), expected.clone());
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let read = table.read_list("networks", &expected, |value| {
        let name = values::text(value).ok_or_else(|| expected.clone())?;
        if !known.contains(name) {
            let near = nearest(name, known.iter().copied());
            let near = near.map(|near| format!("\"{near}\", the nearest known network"));
            return Err(near.unwrap_or_else(|| choice("network", known)));
        }
        if seen.insert(name.to_owned()) { Ok(name.to_owned()) } else { Err("each network once".to_owned()) }
    });
    if table.list_len("networks") == Some(0) {
        table.note("networks", "no network".to_owned(), expected);
    }
    read.unwrap_or_default()
}

fn routes(table: &TableReader<'_>) -> Vec<StaticRoute> {
    let tables = table.read_tables("routes", ROUTES);
    if tables.len() > ROUTES_MAX {
        table.note("routes", format!("{} items", tables.len()), format!("at most {ROUTES_MAX}"));
    }
    let mut routes: Vec<StaticRoute> = Vec::new();
    for table in tables.iter().take(ROUTES_MAX) {
        let Some(route) = route(table) else { continue };
        if let Some(other) = routes.iter().find(|other| other.to == route.to) {
            let expected = format!("each destination once: there is a route via {} already", other.via);
            table.note("to", format!("\"{}\"", route.to), expected);
        }
        routes.push(route);
    }
    routes
}

fn route(table: &TableReader<'_>) -> Option<StaticRoute> {
    table.check_fields(&schema::ROUTE);
    let to = if table.text("to") == Some("default") {
        required(
            table,
            "to",
            "\"0.0.0.0/0\" or \"::/0\", which is every address that no other route has",
            |_| None,
        )
    } else {
        required_prefix(table, "to", "a prefix in quotes, like \"10.9.0.0/16\"", |_| true)
    };
    let via = required(table, "via", VIA, addresses::address);
    let route = StaticRoute { to: to?, via: via? };
    if route.to.address().is_ipv4() != route.via.is_ipv4() {
        let expected = format!("an address of {}, as the destination's", route.to.family());
        table.note("via", format!("\"{}\"", route.via), expected);
        return None;
    }
    Some(route)
}
