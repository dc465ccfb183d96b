//! What differs in addresses: subnets and what gateways do, uplinks' own addresses, what the outside reaches, routers.

use std::fmt::{Debug, Display};

use super::difference;
use crate::config::{Addressing, AdvertisingMode, GatewaySettings, Network, Port, Router, Uplink};

/// Items with blanks between, or `none`.
pub(super) fn listed<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(" ") }
}

/// That a table differs, without what it says.
fn changed<T: PartialEq + Debug>(what: &str, running: &T, wanted: &T) -> Option<String> {
    (running != wanted).then(|| format!("{what} changed"))
}

/// The same of a table that may be left out.
fn table<T: PartialEq + Debug>(what: &str, running: Option<&T>, wanted: Option<&T>) -> Option<String> {
    match (running, wanted) {
        (None, None) => None,
        (None, Some(_)) => Some(format!("{what} added")),
        (Some(_), None) => Some(format!("{what} removed")),
        (Some(running), Some(wanted)) => changed(what, running, wanted),
    }
}

pub(super) fn network_differences(running: &Network, wanted: &Network) -> [Option<String>; 10] {
    let segment = |network: &Network| network.segment.clone().unwrap_or("none".to_owned());
    let mtu = |gateway: &GatewaySettings| gateway.mtu.map_or("the ports'".to_owned(), |mtu| mtu.to_string());
    let metadata =
        |gateway: &GatewaySettings| gateway.metadata.as_ref().map_or("none".to_owned(), ToString::to_string);
    let segment = difference("segment", segment(running), segment(wanted));
    let (running, wanted) = (&running.gateway, &wanted.gateway);
    let mode = AdvertisingMode::name;
    [
        segment,
        difference("subnets", listed(&running.subnets), listed(&wanted.subnets)),
        difference("mtu", mtu(running), mtu(wanted)),
        table("dhcp", running.dhcp.as_ref(), wanted.dhcp.as_ref()),
        difference("ra", mode(running.advertising), mode(wanted.advertising)),
        table("dhcp6", running.dhcp6.as_ref(), wanted.dhcp6.as_ref()),
        table("dns", running.dns.as_ref(), wanted.dns.as_ref()),
        difference("metadata", metadata(running), metadata(wanted)),
        changed("nat", &running.nat, &wanted.nat),
        difference_of_rules(running, wanted),
    ]
}

fn difference_of_rules(running: &GatewaySettings, wanted: &GatewaySettings) -> Option<String> {
    let written = |gateway: &GatewaySettings| {
        let rules: Vec<String> = gateway.source_rules.iter().map(ToString::to_string).collect();
        if rules.is_empty() { "none".to_owned() } else { rules.join("; ") }
    };
    difference("snat", written(running), written(wanted))
}

pub(super) fn uplink_differences(running: &Uplink, wanted: &Uplink) -> [Option<String>; 2] {
    let address = |uplink: &Uplink| uplink.addressing.as_ref().map_or("none".to_owned(), Addressing::written);
    let gateway = |uplink: &Uplink| {
        let gateways = uplink.addressing.as_ref().map(|addressing| listed(&addressing.gateways));
        gateways.unwrap_or("none".to_owned())
    };
    [
        difference("address", address(running), address(wanted)),
        difference("gateway", gateway(running), gateway(wanted)),
    ]
}

pub(super) fn port_differences(running: &Port, wanted: &Port) -> [Option<String>; 3] {
    [
        difference("addresses", listed(&running.addresses), listed(&wanted.addresses)),
        difference("floating", listed(&running.floating), listed(&wanted.floating)),
        difference("publish", listed(&running.publish), listed(&wanted.publish)),
    ]
}

pub(super) fn router_differences(running: &Router, wanted: &Router) -> Vec<String> {
    let routes = |router: &Router| {
        let routes: Vec<String> = router.routes.iter().map(ToString::to_string).collect();
        if routes.is_empty() { "none".to_owned() } else { routes.join("; ") }
    };
    let networks = difference("networks", listed(&running.networks), listed(&wanted.networks));
    [networks, difference("routes", routes(running), routes(wanted))].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{ThisHost, parse};
    use crate::control::plan::diff;

    const NAT: &str = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.0.2.2/24'\ngateway = '192.0.2.1'\n\
                       [network.home]\nmode = 'nat'\nuplink = 'isp'\nsubnets = ['10.0.0.0/24']\n\
                       dhcp = { lease = '1h' }\n[port.a]\nnetwork = 'home'\naddresses = ['10.0.0.10']\npublish = ['80:80']\n\
                       [router.r]\nnetworks = ['home']\n";

    fn lines(changes: &[(&str, &str)]) -> Vec<String> {
        let read = |text: &str| parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config;
        let wanted = changes.iter().fold(NAT.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let plan = diff(&read(NAT), &read(&wanted)).unwrap();
        plan.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_change_of_an_address_is_told() {
        assert_eq!(lines(&[]), Vec::<String>::new());
        for (from, to, told) in [
            ("192.0.2.2/24", "192.0.2.3/24", "~ uplink isp: address 192.0.2.2/24 -> 192.0.2.3/24"),
            ("'192.0.2.1'", "'192.0.2.9'", "~ uplink isp: gateway 192.0.2.1 -> 192.0.2.9"),
            (
                "10.0.0.0/24",
                "10.0.0.9/24",
                "~ network home: subnets 10.0.0.1/24 -> 10.0.0.9/24, dhcp changed",
            ),
            ("'1h'", "'2h'", "~ network home: dhcp changed"),
            ("dhcp = { lease = '1h' }\n", "", "~ network home: dhcp removed"),
            ("[port.a]", "dns = {}\n[port.a]", "~ network home: dns added"),
            ("[port.a]", "mtu = 1400\n[port.a]", "~ network home: mtu the ports' -> 1400"),
            (
                "[port.a]",
                "metadata = 'unix:/run/m'\n[port.a]",
                "~ network home: metadata none -> unix:/run/m",
            ),
            ("[port.a]", "nat = { port_limit = 9 }\n[port.a]", "~ network home: nat changed"),
            (
                "[port.a]",
                "snat = [{ source = '10.0.0.0/25', to = '192.0.2.7' }]\n[port.a]",
                "~ network home: snat none -> 10.0.0.0/25 to 192.0.2.7",
            ),
            (
                "[port.a]",
                "snat = [{ source = '10.0.0.0/25', to = ['192.0.2.7', '192.0.2.9-192.0.2.10'] }]\n[port.a]",
                "~ network home: snat none -> 10.0.0.0/25 to 192.0.2.7, 192.0.2.9-192.0.2.10",
            ),
            ("'80:80'", "'81:80'", "~ port a: publish 80:80/tcp -> 81:80/tcp"),
            ("publish", "floating = '192.0.2.7'\npublish", "~ port a: floating none -> 192.0.2.7"),
            (
                "networks = ['home']\n",
                "networks = ['home']\nroutes = [{ to = '10.9.0.0/16', via = '10.0.0.9' }]\n",
                "~ router r: routes none -> 10.9.0.0/16 via 10.0.0.9",
            ),
        ] {
            assert_eq!(lines(&[(from, to)]), [told]);
        }
    }
}
