//! `viaduct show routes`, `neighbours`, `leases` and `services`: what gateways know.

use std::collections::BTreeMap;

use super::connections::{Paging, path};
use super::failure::Failure;
use super::neighbours::neighbour_text;
use super::show::What;
use super::table::{Align, Table};
use super::{Style, json, units};
use crate::api::Client;
use crate::model::{
    LeaseStatus, MappingStatus, NatStatus, NeighbourTables, RouteStatus, ServiceEventStatus, StationStatus,
};

/// Asks the daemon for one of these tables; with a name, for what belongs to that router, network or uplink.
pub(super) fn show(client: &Client, what: What, name: Option<&str>, style: Style) -> Result<String, Failure> {
    let is_meant = |of: &str| name.is_none_or(|name| name == of);
    match what {
        What::Routes => {
            let mut routes: Vec<RouteStatus> = client.get("/v1/routes")?;
            routes.retain(|route| is_meant(&route.router));
            if style.json { json(&routes) } else { Ok(route_text(&routes, style.colour)) }
        }
        What::Leases => {
            let mut leases: Vec<LeaseStatus> = client.get("/v1/leases")?;
            leases.retain(|lease| is_meant(&lease.network));
            if style.json { json(&leases) } else { Ok(lease_text(&leases, style.colour)) }
        }
        What::Services => {
            let mut events: Vec<ServiceEventStatus> = client.get("/v1/services")?;
            events.retain(|event| name.is_none() || event.network.as_deref() == name);
            if style.json { json(&events) } else { Ok(event_text(&events, style.colour)) }
        }
        _ => {
            let mut tables: NeighbourTables = client.get("/v1/neighbours")?;
            tables.stations.retain(|station| is_meant(&station.network));
            tables.lldp.retain(|neighbour| is_meant(&neighbour.uplink));
            if style.json { json(&tables) } else { Ok(neighbours_text(&tables, style.colour)) }
        }
    }
}

/// A page of mappings, and what there is in all.
pub(super) fn nat(client: &Client, paging: &Paging, style: Style) -> Result<String, Failure> {
    let words: Vec<_> = paging.words().collect();
    let status: NatStatus = client.get(&path("/v1/nat", &words)?)?;
    if style.json { json(&status) } else { Ok(nat_text(&status, style.colour)) }
}

fn nat_text(status: &NatStatus, colour: bool) -> String {
    let head = format!(
        "{} of {} mappings, {} of stations; {} made, {} without a free port, {} packets kept out by filtering\n",
        status.mappings, status.room, status.guests, status.made, status.exhausted, status.filtered
    );
    let mut addresses = Table::new(&[
        ("OUTSIDE", Align::Left),
        ("ADDRESS", Align::Left),
        ("TCP PORTS", Align::Right),
        ("UDP PORTS", Align::Right),
        ("ICMP IDS", Align::Right),
    ]);
    for used in &status.addresses {
        addresses.row([
            used.network.as_str().into(),
            used.address.to_string().into(),
            used.tcp.to_string().into(),
            used.udp.to_string().into(),
            used.icmp.to_string().into(),
        ]);
    }
    let next =
        status.next.map_or_else(String::new, |next| format!("there are more; go on with --from {next}\n"));
    format!("{head}\n{}\n{}{next}", addresses.render(colour), mapping_table(&status.page).render(colour))
}

fn mapping_table(mappings: &[MappingStatus]) -> Table {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("PORT", Align::Left),
        ("PROTOCOL", Align::Left),
        ("INSIDE", Align::Left),
        ("OUTSIDE", Align::Left),
        ("TOWARDS", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("AGE", Align::Right),
    ]);
    for mapping in mappings {
        table.row([
            mapping.network.as_str().into(),
            mapping.port.as_str().into(),
            mapping.protocol.as_str().into(),
            mapping.inside.to_string().into(),
            mapping.outside.to_string().into(),
            mapping.peer.map_or("all".to_owned(), |peer| peer.to_string()).into(),
            mapping.connections.to_string().into(),
            units::seconds(u64::from(mapping.age_s)).into(),
        ]);
    }
    table
}

fn or_nothing(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

fn route_text(routes: &[RouteStatus], colour: bool) -> String {
    if routes.is_empty() {
        return "nothing is routed; give networks `subnets`, and [router.NAME] or mode = \"nat\"\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        ("ROUTER", Align::Left),
        ("TO", Align::Left),
        ("KIND", Align::Left),
        ("NETWORK", Align::Left),
        ("VIA", Align::Left),
    ]);
    for route in routes {
        table.row([
            route.router.as_str().into(),
            route.to.as_str().into(),
            route.kind.as_str().into(),
            or_nothing(route.network.as_deref()).into(),
            or_nothing(route.via.map(|via| via.to_string()).as_deref()).into(),
        ]);
    }
    table.render(colour)
}

fn lease_text(leases: &[LeaseStatus], colour: bool) -> String {
    if leases.is_empty() {
        return "nothing is lent; give a network `dhcp`, and wait for a station to ask\n".to_owned();
    }
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("PORT", Align::Left),
        ("MAC", Align::Left),
        ("NAME", Align::Left),
        ("EXPIRES", Align::Right),
    ]);
    for lease in leases {
        table.row([
            lease.network.as_str().into(),
            lease.address.to_string().into(),
            lease.state.as_str().into(),
            or_nothing(lease.port.as_deref()).into(),
            or_nothing(lease.mac.as_deref()).into(),
            or_nothing(lease.host_name.as_deref()).into(),
            lease.expires_s.map_or("-".to_owned(), units::seconds).into(),
        ]);
    }
    table.render(colour)
}

fn event_text(events: &[ServiceEventStatus], colour: bool) -> String {
    if events.is_empty() {
        return "nothing has happened yet; networks with `dhcp`, `dhcp6`, `dns` or `metadata` have services\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        ("SERVICE", Align::Left),
        ("NETWORK", Align::Left),
        ("COUNT", Align::Right),
        ("EVENT", Align::Left),
    ]);
    let mut sentences = BTreeMap::new();
    for event in events {
        table.row([
            event.service.as_str().into(),
            event.network.as_deref().unwrap_or("all").into(),
            units::count(event.count).into(),
            event.event.as_str().into(),
        ]);
        sentences.insert(&event.event, &event.meaning);
    }
    let mut text = table.render(colour) + "\n";
    for (event, sentence) in sentences {
        text.push_str(&format!("{event}: {sentence}\n"));
    }
    text
}

fn neighbours_text(tables: &NeighbourTables, colour: bool) -> String {
    match (tables.stations.as_slice(), tables.lldp.as_slice()) {
        ([], lldp) => neighbour_text(lldp, colour),
        (stations, []) => station_text(stations, colour),
        (stations, lldp) => format!("{}\n{}", station_text(stations, colour), neighbour_text(lldp, colour)),
    }
}

fn station_text(stations: &[StationStatus], colour: bool) -> String {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("ADDRESS", Align::Left),
        ("MAC", Align::Left),
        ("PORT", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Right),
    ]);
    for station in stations {
        table.row([
            station.network.as_str().into(),
            station.address.to_string().into(),
            or_nothing(station.mac.as_deref()).into(),
            or_nothing(station.port.as_deref()).into(),
            station.state.as_str().into(),
            units::seconds(u64::from(station.age_s)).into(),
        ]);
    }
    table.render(colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_a_station_and_a_lease_are_told_in_a_line_each() {
        let route = RouteStatus {
            router: "home".to_owned(),
            to: "0.0.0.0/0".to_owned(),
            kind: "via".to_owned(),
            network: Some("isp".to_owned()),
            via: Some([192, 168, 99, 1].into()),
        };
        let text = route_text(&[route], false);
        assert!(text.contains("home    0.0.0.0/0  via   isp      192.168.99.1"), "{text}");
        let station = StationStatus {
            network: "home".to_owned(),
            address: [10, 0, 0, 5].into(),
            mac: None,
            state: "incomplete".to_owned(),
            port: Some("vm1".to_owned()),
            age_s: 2,
        };
        let tables = NeighbourTables { stations: vec![station], lldp: Vec::new() };
        let text = neighbours_text(&tables, false);
        assert!(text.contains("home     10.0.0.5  -    vm1   incomplete"), "{text}");
        let lease = LeaseStatus {
            network: "home".to_owned(),
            address: [10, 0, 0, 5].into(),
            state: "bound".to_owned(),
            port: Some("vm1".to_owned()),
            mac: Some("52:54:00:00:00:01".to_owned()),
            client: None,
            host_name: Some("debian".to_owned()),
            expires_s: Some(3600),
            until_s: 0,
        };
        let text = lease_text(&[lease], false);
        assert!(text.contains("home     10.0.0.5  bound  vm1   52:54:00:00:00:01  debian"), "{text}");
        let event = ServiceEventStatus {
            service: "dhcp".to_owned(),
            network: Some("home".to_owned()),
            event: "no-address".to_owned(),
            meaning: "A client got no offer.".to_owned(),
            count: 3,
        };
        let other = ServiceEventStatus { service: "services".to_owned(), network: None, ..event.clone() };
        let text = event_text(&[event, other], false);
        assert!(text.contains("dhcp      home         3  no-address\nservices  all          3"), "{text}");
        assert!(text.ends_with("\nno-address: A client got no offer.\n"), "{text}");
        assert!(event_text(&[], false).contains("nothing"));
        assert!(lease_text(&[], false).contains("dhcp") && route_text(&[], false).contains("subnets"));
    }
}
